"""A classifier as it leaves: photos in, probabilities out, in Keras's own layers alone.

Calibration needs no layer: a temperature divides the weights of the head, and what is added to its
logits is added to its bias. So a saved file holds no class of this package.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from dermssl.models.classifier import LesionClassifier


class Scaling(NamedTuple):
    """What is done to logits: they are divided by `temperature`, then `offset` is added.

    Attributes:
        temperature: above 0.
        offset: float (K,), or 0.
    """

    temperature: float = 1.0
    offset: np.ndarray | float = 0.0


def probability_model(
    classifier: LesionClassifier, fine: Scaling, coarse: Scaling | None = None
) -> keras.Model:
    """The model of a classifier's calibrated probabilities.

    Args:
        classifier: `LesionClassifier`; the layers of its backbone are shared.
        fine: `Scaling` of the fine logits.
        coarse: that of an independent coarse head. The hierarchical head has none: its P(coarse)
            is the sum of P(fine).

    Returns:
        `keras.Model`: float32 or uint8 (n, size, size, 3) RGB in [0, 255] -> dict of float32
        "fine" (n, F) and "coarse" (n, C), rows summing to 1.

    Example:

    >>> run = dermssl.load_run("outputs/ssl_finetuned")
    >>> model = probability_model(run.model(), Scaling(temperature=2.0))
    >>> {name: tuple(p.shape) for name, p in model(np.zeros((1, 32, 32, 3))).items()}
    {'fine': (1, 7), 'coarse': (1, 4)}
    """
    taxonomy, embedding = classifier.taxonomy, classifier.backbone.output
    p_fine = _calibrated(classifier.fine, fine, embedding)
    if classifier.head == "hierarchical":
        sums = layers.Dense(len(taxonomy.coarse), use_bias=False, name="coarse", dtype="float32")
        p_coarse = sums(p_fine)
        sums.set_weights([taxonomy.matrix])
    else:
        p_coarse = _calibrated(classifier.coarse, coarse or Scaling(), embedding)
    outputs = {"fine": p_fine, "coarse": p_coarse}
    return keras.Model(classifier.backbone.input, outputs, name="probabilities")


def _calibrated(head, scaling, embedding):
    """Probabilities by a head with its scaling in its weights."""
    layer = layers.Dense(head.units, activation="softmax", name=head.name, dtype="float32")
    p = layer(embedding)
    kernel, bias = head.get_weights()
    layer.set_weights([kernel / scaling.temperature, bias / scaling.temperature + scaling.offset])
    return p

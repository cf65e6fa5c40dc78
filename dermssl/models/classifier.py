"""A backbone under a fine/coarse head whose two levels agree.

Both outputs are logits: softmax(fine) = P(fine), softmax(coarse) = P(coarse). With
the hierarchical head the coarse logits are log P(coarse) = logsumexp of log P(fine)
over the children, so P(coarse) is the sum of its P(fine) by construction.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops
from scipy.special import softmax

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import unknown_name
from dermssl.core.taxonomy import Taxonomy
from dermssl.models import fused_kernels, replicas

HEADS = ("hierarchical", "independent")


@keras.saving.register_keras_serializable("dermssl")
class CoarseFromFine(layers.Layer):
    """log P(coarse) from fine logits.

    Args:
        parents: sequence of int (fine,), the coarse index of each fine class.

    Call arguments:
        logits: float (n, fine).

    Returns:
        float32 (n, coarse), log-probabilities: they are logits too.

    Example:

    >>> layer = CoarseFromFine([0, 0, 1])  # three fine classes under two coarse ones
    >>> np.exp(layer(np.zeros((1, 3), "float32"))).round(2)
    array([[0.67, 0.33]], dtype=float32)
    """

    def __init__(self, parents: Sequence[int], **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.parents = [int(parent) for parent in parents]
        children = np.eye(max(self.parents) + 1, dtype="float32")[self.parents]  # (fine, coarse)
        # Log-space mask: -1e9 where the fine class is not a child, so that logsumexp skips it.
        self.mask = ((1.0 - children) * -1e9).astype("float32")

    def call(self, logits: Any) -> Any:
        log_p = ops.log_softmax(logits, axis=-1)
        return ops.logsumexp(log_p[:, :, None] + self.mask[None], axis=1)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (shape[0], max(self.parents) + 1)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.pop("dtype")  # always float32
        return {**config, "parents": self.parents}


@keras.saving.register_keras_serializable("dermssl")
class LesionClassifier(keras.Model):
    """A backbone under a head for fine and coarse classes.

    Called on float32 images (n, size, size, 3) in [0, 255] it gives a dict of float32 logits,
    "fine" (n, fine) and "coarse" (n, coarse); `predict_proba` gives probabilities.

    Args:
        backbone: `keras.Model`: (n, size, size, 3) in [0, 255] -> embedding (n, d); or its config.
        taxonomy: `dermssl.Taxonomy`, or its `as_dict()`.
        head: "hierarchical" (P(coarse) is the sum of its P(fine)) or "independent" (two dense
            layers).
        dropout: float in [0, 1), on the embedding.
        seed: int, of the head's first weights and of the dropout.

    Attributes:
        backbone: as given.
        taxonomy: `Taxonomy`.
        head: str, as given.
        fine, coarse, dropout: the layers of the head.

    Example:

    >>> backbone = dermssl.Backbone("cnn", image_size=32)
    >>> model = LesionClassifier(backbone, taxonomies.load("ham10000"))
    >>> model.predict_proba(np.zeros((2, 32, 32, 3), "float32"))["fine"].shape
    (2, 7)
    """

    def __init__(
        self, backbone: keras.Model, taxonomy: Taxonomy | dict[str, Any],
        head: str = "hierarchical", dropout: float = 0.2, seed: int = 0, **kwargs: Any,
    ) -> None:  # fmt: skip
        if head not in HEADS:
            raise unknown_name("finetune.head", head, HEADS)
        if isinstance(backbone, dict):  # a config; Keras takes it apart as it reads it
            backbone = keras.saving.deserialize_keras_object(copy.deepcopy(backbone))
        if isinstance(taxonomy, dict):
            taxonomy = taxonomies.from_dict(taxonomy)
        policy = keras.dtype_policies.get(kwargs.pop("dtype", None))
        # === Layers ===
        # The head computes in float32 also under mixed precision: log P needs the range.
        drop = layers.Dropout(dropout, seed=seed, name="dropout", dtype=policy)
        fine = _dense("fine", len(taxonomy.fine), seed + 1)
        if head == "hierarchical":
            coarse = CoarseFromFine(taxonomy.parent_index.tolist(), name="coarse")
        else:
            coarse = _dense("coarse", len(taxonomy.coarse), seed + 2)
        # === Functional model ===
        embedding = drop(backbone(backbone.input))
        outputs = {"fine": fine(embedding)}
        outputs["coarse"] = coarse(outputs["fine"] if head == "hierarchical" else embedding)
        super().__init__(backbone.input, outputs, **{"name": "classifier", **kwargs})
        # === Config ===
        self.dtype_policy = policy
        self.backbone, self.dropout, self.fine, self.coarse = backbone, drop, fine, coarse
        self.taxonomy, self.head, self.seed = taxonomy, head, seed
        fused_kernels.substitute(backbone)  # one that Keras has read or cloned has lost it

    def train_step(self, data: Any) -> dict[str, Any]:
        """Keras's own, with what several replicas need at its end."""
        return replicas.end_step(self, super().train_step(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Keras's own, with what several replicas need at its end."""
        return replicas.end_step(self, super().test_step(data), training=False)

    def predict_proba(self, images: Any) -> dict[str, np.ndarray]:
        """Probabilities at both levels.

        Args:
            images: float32 or uint8 (n, size, size, 3) in [0, 255], or a `tf.data.Dataset` of
                batches of them.

        Returns:
            dict of float64 arrays, "fine" (n, fine) and "coarse" (n, coarse). Rows sum to 1, and
            with the hierarchical head "coarse" is exactly "fine" summed over each group.
        """
        return self.probabilities(self.predict(images, verbose=0))

    def probabilities(self, logits: dict[str, Any]) -> dict[str, np.ndarray]:
        """What `predict_proba` gives, from the model's outputs."""
        return probabilities(logits, self.taxonomy, self.head)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "taxonomy": self.taxonomy.as_dict(),
            "head": self.head,
            "dropout": self.dropout.rate,
            "seed": self.seed,
        }


def _dense(name, units, seed):
    start = keras.initializers.GlorotUniform(seed=seed)
    return layers.Dense(units, name=name, dtype="float32", kernel_initializer=start)


def probabilities(
    logits: dict[str, Any], taxonomy: Taxonomy, head: str = "hierarchical"
) -> dict[str, np.ndarray]:
    """Probabilities at both levels, in float64, from a classifier's outputs.

    Args:
        logits: dict of float arrays, "fine" (n, fine) and "coarse" (n, coarse).
        taxonomy: `Taxonomy`.
        head: as of `LesionClassifier`.

    Returns:
        dict as of `LesionClassifier.predict_proba`.
    """
    p_fine = softmax(np.asarray(logits["fine"], np.float64), axis=-1)
    if head == "hierarchical":
        p_coarse = p_fine @ taxonomy.matrix.astype(np.float64)
    else:
        p_coarse = softmax(np.asarray(logits["coarse"], np.float64), axis=-1)
    return {"fine": p_fine, "coarse": p_coarse}

"""A backbone under a fine/coarse head whose two levels agree.

Both outputs are logits: softmax(fine) = P(fine), softmax(coarse) = P(coarse). With
the hierarchical head the coarse logits are log P(coarse) = logsumexp of log P(fine)
over the children, so P(coarse) is the sum of its P(fine) by construction.
"""

import keras
import numpy as np
from keras import layers, ops
from scipy.special import softmax

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
    """

    def __init__(self, parents, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.parents = [int(parent) for parent in parents]
        children = np.eye(max(self.parents) + 1, dtype="float32")[self.parents]  # (fine, coarse)
        # Log-space mask: -1e9 where the fine class is not a child, so that logsumexp skips it.
        self.mask = ((1.0 - children) * -1e9).astype("float32")

    def call(self, logits):
        log_p = ops.log_softmax(logits, axis=-1)
        return ops.logsumexp(log_p[:, :, None] + self.mask[None], axis=1)

    def compute_output_shape(self, shape):
        return (shape[0], max(self.parents) + 1)

    def get_config(self):
        config = super().get_config()
        config.pop("dtype")  # always float32
        return {**config, "parents": self.parents}


def build(backbone, taxonomy, head="hierarchical", dropout=0.2, seed=0):
    """The classifier.

    Args:
        backbone: `keras.Model`: (n, size, size, 3) in [0, 255] -> (n, d).
        taxonomy: `dermssl.core.taxonomy.Taxonomy`.
        head: "hierarchical" (P(coarse) = sum of P(fine)) or "independent" (two dense heads).
        dropout: float in [0, 1), on the embedding.
        seed: int, of the head's first weights and of the dropout.

    Returns:
        `keras.Model` with outputs {"fine": (n, fine), "coarse": (n, coarse)}, float32 logits.
    """
    features = backbone(backbone.input)
    features = layers.Dropout(dropout, seed=seed, name="dropout")(features)

    def dense(name, units, offset):
        # The head computes in float32 also under mixed precision: log P needs the range.
        start = keras.initializers.GlorotUniform(seed=seed + offset)
        return layers.Dense(units, name=name, dtype="float32", kernel_initializer=start)

    fine = dense("fine", len(taxonomy.fine), 1)(features)
    if head == "hierarchical":
        coarse = CoarseFromFine(taxonomy.parent_index.tolist(), name="coarse")(fine)
    else:
        coarse = dense("coarse", len(taxonomy.coarse), 2)(features)
    return keras.Model(backbone.input, {"fine": fine, "coarse": coarse}, name="classifier")


def probabilities(logits, taxonomy, head="hierarchical"):
    """Probabilities at both levels, in float64, from the classifier's outputs.

    Args:
        logits: dict of float arrays, "fine" (n, fine) and "coarse" (n, coarse).
        taxonomy: `Taxonomy`.
        head: as in `build`.

    Returns:
        p_fine (n, fine), p_coarse (n, coarse): float64; rows sum to 1, and with the
        hierarchical head p_coarse is exactly p_fine summed over each group's children.
    """
    p_fine = softmax(np.asarray(logits["fine"], np.float64), axis=-1)
    if head == "hierarchical":
        return p_fine, p_fine @ taxonomy.matrix.astype(np.float64)
    return p_fine, softmax(np.asarray(logits["coarse"], np.float64), axis=-1)

"""Train all tails of one trunk in one step."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from dermssl.core.taxonomy import Taxonomy
from dermssl.losses import focal
from dermssl.models import shared_trunk


class Tails:
    """All depths of one backbone, trained side by side on the features of one trunk.

    The graphs are traced once; `reset` makes new cells of it for the next seed or
    augmentation, since tracing may cost as much as training.

    Args:
        backbone: `keras.Model` from `backbones.build`. It is cut, and gives the weights.
        depths, unit, batchnorm: as in `shared_trunk.cut`.
        taxonomy, dropout, seed: as in `shared_trunk.own_cell`.
        learning_rate: float, of Adam; constant.
        gamma: float, of the focal loss; 0 is cross-entropy.
        feature_dtype: "float32" or "float16", to what the trunk's features are rounded.
    """

    def __init__(
        self, backbone: keras.Model, depths: Sequence[int], unit: str, batchnorm: str,
        taxonomy: Taxonomy, dropout: float, seed: int, learning_rate: float,
        gamma: float = 0.0, feature_dtype: str = "float32",
    ) -> None:  # fmt: skip
        self.backbone, self.taxonomy, self.dropout = backbone, taxonomy, dropout
        self.learning_rate, self._dtype = learning_rate, feature_dtype
        self.trunk, self.tails = shared_trunk.cut(backbone, depths, unit, batchnorm)
        self.cells = self._new_cells(seed)
        self._loss = focal.SparseFocalLoss(gamma)
        # Keras's own Adam, though TensorFlow's fused kernel is a little faster: it rounds
        # 1 - beta_2 otherwise, and where a channel is dead (a gradient of pure rounding error,
        # which Adam scales up to a whole step) predictions then differ by 1e-3.
        self._optimizers = [keras.optimizers.Adam(learning_rate) for _ in self.cells]
        for optimizer, cell in zip(self._optimizers, self.cells):
            optimizer.build(cell.trainable_variables)
        size = [None, *backbone.input.shape[1:]]
        read = [tf.TensorSpec(t.shape, tf.float32) for t in self.trunk.outputs]
        labels = tf.TensorSpec([None], tf.int64)
        self.features = tf.function(self._features, [tf.TensorSpec(size, tf.float32)])
        self.step = tf.function(self._step, [read, labels])
        self.logits = tf.function(self._logits, [read])

    def _new_cells(self, seed):
        return [
            shared_trunk.own_cell(self.backbone, tail, self.taxonomy, self.dropout, seed)
            for tail in self.tails
        ]

    def reset(self, seed: int) -> None:
        """Back to the first weights: the backbone's as they are now, new heads, new masks."""
        for cell, fresh in zip(self.cells, self._new_cells(seed)):
            for variable, start in zip(cell.variables, fresh.variables):  # dropout seeds too
                variable.assign(start)
        for optimizer in self._optimizers:
            for variable in optimizer.variables:
                variable.assign(keras.ops.zeros_like(variable))
            optimizer.learning_rate = self.learning_rate

    def _features(self, images):
        """list of float32 (n, ...), what the trunk gives for images (n, size, size, 3)."""
        found = keras.tree.flatten(self.trunk(images, training=False))
        # Rounded here, so that whether a photo's features are kept changes no number.
        return [tf.cast(tf.cast(item, self._dtype), tf.float32) for item in found]

    def _step(self, features, labels):
        """Train every tail on one batch; float32 (tails,), the losses before the update."""
        losses = []
        for tail, cell, optimizer in zip(self.tails, self.cells, self._optimizers):
            read, weights = _read(tail, features), cell.trainable_variables
            with tf.GradientTape() as tape:
                loss = self._loss(labels, cell(read, training=True))
            gradients = tape.gradient(loss, [weight.value for weight in weights])
            optimizer.apply(gradients, weights)
            losses.append(loss)
        return tf.stack(losses)

    def _logits(self, features):
        """float32 (tails, n, classes)."""
        return tf.stack([
            cell(_read(tail, features), training=False)
            for tail, cell in zip(self.tails, self.cells)
        ])  # fmt: skip


def _read(tail, features):
    """What a tail reads of a trunk's features, in one piece and taken apart again.

    So TensorFlow sees that the branches are equally long. Where it can't know, it adds them up
    in another way than within a whole network: a rounding error, of which Adam makes whole
    steps where a gradient is nothing else (a bias before a BatchNorm, in ResNet50), and which
    has grown to 0.27 in a prediction after ten epochs.
    """
    read = [features[k] for k in tail.places]
    if len(read) == 1:
        return read
    sizes = [math.prod(item.shape[1:]) for item in read]
    whole = tf.concat([tf.reshape(item, [-1, size]) for item, size in zip(read, sizes)], axis=1)
    parts = tf.split(whole, sizes, axis=1)
    return [tf.reshape(part, [-1, *item.shape[1:]]) for part, item in zip(parts, read)]

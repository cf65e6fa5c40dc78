"""SimCLR: a backbone and a projection head under NT-Xent (Chen et al., 2020)."""

import keras
import tensorflow as tf
from keras import layers, ops

from dermssl.losses import nt_xent


def projection_head(dimension, widths=(512, 128), seed=0):
    """Dense layers with BatchNorm and ReLU between them, none after the last.

    Args:
        dimension: int, width of the embedding h.
        widths: sequence of int; the last is the width of the projection z.
        seed: int, of the first weights.

    Returns:
        `keras.Sequential`: float (n, dimension) -> float (n, widths[-1]).
    """
    head = keras.Sequential([keras.Input((dimension,))], name="projection_head")
    for position, width in enumerate(widths):
        start = keras.initializers.GlorotUniform(seed=seed + position)
        head.add(layers.Dense(width, use_bias=False, kernel_initializer=start))
        if position < len(widths) - 1:
            head.add(layers.BatchNormalization(momentum=0.9))
            head.add(layers.ReLU())
    return head


class SimCLR(keras.Model):
    """Pretrains `backbone` on pairs of views.

    Args:
        backbone: `keras.Model`: (n, size, size, 3) in [0, 255] -> embedding h (n, d).
        projection: widths of the projection head.
        temperature: float, over 0.
        seed: int, of the head's first weights.

    Training data: float tensors (2, n, size, size, 3), the two views of n records,
    n of 2 or more. Logs: loss; accuracy, the share of views whose nearest neighbour is
    their other view; entropy, in nats (see `nt_xent.contrastive_statistics`).
    """

    def __init__(self, backbone, projection=(512, 128), temperature=0.1, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.projection_head = projection_head(backbone.output.shape[-1], projection, seed)
        self.temperature = float(temperature)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.entropy_tracker = keras.metrics.Mean(name="entropy")

    @property
    def metrics(self):
        return [self.loss_tracker, self.accuracy_tracker, self.entropy_tracker]

    def call(self, images, training=False):
        """Projections z (n, k) of images (n, size, size, 3)."""
        return self.projection_head(self.backbone(images, training=training), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """NT-Xent of `y_pred`, projections (2n, k): first views, then second ones."""
        first, second = ops.split(y_pred, 2, axis=0)
        logits, partner = nt_xent.pair_logits(first, second, self.temperature)
        accuracy, entropy = nt_xent.contrastive_statistics(logits, partner)
        self.accuracy_tracker.update_state(accuracy)
        self.entropy_tracker.update_state(entropy)
        return nt_xent.from_logits(logits, partner)

    def train_step(self, views):
        """One step. One forward pass over both views: BatchNorm sees them together."""
        images = ops.concatenate([views[0], views[1]], axis=0)  # (2n, size, size, 3)
        with tf.GradientTape() as tape:
            projections = self(images, training=True)
            loss = self.compute_loss(y_pred=projections)
            # Without this, small float16 gradients round to zero.
            scaled = self.optimizer.scale_loss(loss)
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, weights), weights))
        self.loss_tracker.update_state(loss)
        return {metric.name: metric.result() for metric in self.metrics}

"""Training all tails of one trunk in one step."""

import keras
import tensorflow as tf

from dermssl.losses import focal
from dermssl.models import shared_trunk

# Of keras.optimizers.Adam, and of Kingma & Ba (2015) but for epsilon.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


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
    """

    def __init__(
        self, backbone, depths, unit, batchnorm, taxonomy, dropout, seed, learning_rate, gamma=0.0
    ):
        self.backbone, self.taxonomy, self.dropout = backbone, taxonomy, dropout
        self.trunk, self.tails = shared_trunk.cut(backbone, depths, unit, batchnorm)
        self.cells = self._new_cells(seed)
        self._adams = [FusedAdam(cell.trainable_variables, learning_rate) for cell in self.cells]
        self._loss = focal.SparseFocalLoss(gamma)
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

    def reset(self, seed):
        """Back to the first weights: the backbone's as they are now, new heads, new masks."""
        for cell, fresh in zip(self.cells, self._new_cells(seed)):
            for variable, start in zip(cell.variables, fresh.variables):
                variable.assign(start)
        for adam in self._adams:
            adam.reset()

    def _features(self, images):
        """list of float32 (n, ...), what the trunk gives for images (n, size, size, 3)."""
        return keras.tree.flatten(self.trunk(images, training=False))

    def _step(self, features, labels):
        """Train every tail on one batch; float32 (tails,), the losses before the update."""
        losses = []
        for tail, cell, adam in zip(self.tails, self.cells, self._adams):
            read = [features[place] for place in tail.places]
            with tf.GradientTape() as tape:
                loss = self._loss(labels, cell(read, training=True))
            adam.apply(tape.gradient(loss, adam.variables))
            losses.append(loss)
        return tf.stack(losses)

    def _logits(self, features):
        """float32 (tails, n, classes)."""
        return tf.stack([
            cell([features[place] for place in tail.places], training=False)
            for tail, cell in zip(self.tails, self.cells)
        ])  # fmt: skip


class FusedAdam:
    """`keras.optimizers.Adam`'s update in one kernel a variable.

    Keras spells Adam out in some ten operations, each a pass over the weights and their
    moments; on a tail that trains a million weights on a batch of 32 they cost more than the
    gradient. TensorFlow's fused kernel does the same sums in one pass. Only the order of
    roundings differs.
    """

    def __init__(self, variables, learning_rate):
        self.variables = variables
        self._rate = learning_rate
        self._step = tf.Variable(0.0, trainable=False)
        self._moments = [
            [tf.Variable(tf.zeros(v.shape), trainable=False) for _ in range(2)] for v in variables
        ]

    def reset(self):
        """No step taken yet."""
        for variable in (self._step, *(v for pair in self._moments for v in pair)):
            variable.assign(tf.zeros_like(variable))

    def apply(self, gradients):
        """One update of the variables, in place."""
        step = self._step.assign_add(1.0)
        powers = {"beta1_power": BETA_1**step, "beta2_power": BETA_2**step}
        for variable, (first, second), gradient in zip(self.variables, self._moments, gradients):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle, m=first.handle, v=second.handle, **powers,
                lr=self._rate, beta1=BETA_1, beta2=BETA_2, epsilon=EPSILON, grad=gradient,
            )  # fmt: skip

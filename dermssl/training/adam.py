"""Adam by TensorFlow's fused kernel: one operation a variable, in place of some forty.

Keras 3 writes the update of each variable out, its powers of beta and its learning rate anew each
time: three fifths of the graph of a SimCLR step of EfficientNetB1, which TensorFlow has to trace
and to optimize before the first step.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """Keras's Adam, with its state in the same variables.

    The kernel takes 1 - beta_2 of a beta_2 in float32, 0.00099999 where Keras takes 0.001. So an
    update differs by some 6e-6 of itself, where Keras's own differs by rounding from run to run.
    A comparison to the last digit uses Keras's own, as the grid does.

    Args: as of `keras.optimizers.Adam`; without `amsgrad`.

    Example:

    >>> weight = keras.Variable([1.0])
    >>> Adam(0.1).apply([tf.constant([5.0])], [weight])
    >>> float(weight[0])  # the first step is as long as the learning rate
    0.9...
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing: `update_step` does it, where the learning rate is known."""

    def _backend_update_step(
        self, grads: Any, trainable_variables: Any, learning_rate: Any
    ) -> None:
        step = tf.cast(self.iterations + 1, tf.float32)
        powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
        rate = tf.cast(learning_rate, tf.float32)
        super()._backend_update_step(grads, trainable_variables, (rate, *powers))

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable; `learning_rate` is (the rate, beta_1 ** step, beta_2 ** step)."""
        rate, *powers = (tf.cast(value, variable.dtype) for value in learning_rate)
        if self.weight_decay is not None and self._use_weight_decay(variable):
            variable.assign_sub(variable * self.weight_decay * rate)
        place = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle, m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle, beta1_power=powers[0], beta2_power=powers[1],
            lr=rate, beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon,
            grad=tf.cast(gradient, variable.dtype),
        )  # fmt: skip

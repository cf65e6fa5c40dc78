"""The gradient of silu (swish) in one pass over memory, by XLA.

TensorFlow computes x sigmoid(x)'s gradient in six operations, each of which reads and writes a
whole tensor: a sixth of the CPU time of a SimCLR step of EfficientNetB1.
XLA makes one loop of it. It is slow at convolutions on a CPU, so it gets this alone.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers


def call(layer: layers.Activation, inputs: Any) -> Any:
    """What `Activation.call` computes; Keras's own for all but silu on CPUs."""
    if layer.activation is not keras.activations.silu or not _fits(inputs):
        return layers.Activation.call(layer, inputs)
    return silu(inputs)


@tf.custom_gradient
def silu(x: Any) -> Any:
    """`x * sigmoid(x)`; as `tf.nn.silu` it keeps nothing but x for its gradient.

    Args:
        x: float16, bfloat16 or float32 tensor of any shape.

    Returns:
        Tensor like `x`.
    """
    return x * tf.sigmoid(x), lambda slopes: _gradient(x, slopes)


@tf.function(jit_compile=True, autograph=False)
def _gradient(x, slopes):
    dtype = x.dtype
    x, slopes = tf.cast(x, tf.float32), tf.cast(slopes, tf.float32)  # free: it stays in registers
    sigmoid = tf.sigmoid(x)
    return tf.cast(slopes * sigmoid * (1.0 + x * (1.0 - sigmoid)), dtype)


def _fits(inputs):
    """Whether this pays: a GPU has a kernel of its own, and TensorFlow may come without XLA."""
    return (
        keras.backend.backend() == "tensorflow"
        and inputs.dtype in (tf.float32, tf.float16, tf.bfloat16)
        and tf.test.is_built_with_xla()
        and not tf.config.list_physical_devices("GPU")
    )

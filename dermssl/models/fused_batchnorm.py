"""BatchNormalization by TensorFlow's fused kernel, in place of Keras 3's chain of steps.

Keras computes it as Mean, SquaredDifference, Sub and Mul, and the gradient as as many steps and a
Tile: a pass over memory each, a third of a SimCLR step of EfficientNetB1. The fused kernel reads
the input twice. Outputs, gradients and moving statistics stay what they are but for rounding.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

# cuDNN takes no smaller one; some applications of Keras stand exactly here, for that reason.
SMALLEST_EPSILON = 1.001e-5
_DTYPES = (tf.float32, tf.float16, tf.bfloat16)


def call(
    layer: layers.BatchNormalization, inputs: Any, training: bool | None = None, mask: Any = None
) -> Any:
    """What `BatchNormalization.call` computes; same arguments. Keras's own where this can't."""
    if not _fits(layer, inputs, mask):
        return layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    channels = inputs.shape[-1]
    # The kernel takes float16 and bfloat16 images, and computes in float32 as Keras does.
    scale = _float32(layer.gamma) if layer.scale else tf.ones([channels])
    offset = _float32(layer.beta) if layer.center else tf.zeros([channels])
    moving = [_float32(layer.moving_mean), _float32(layer.moving_variance)]
    batch = bool(training and layer.trainable)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=scale, offset=offset, epsilon=layer.epsilon, is_training=batch,
        **dict(zip(("mean", "variance"), [[], []] if batch else moving)),
    )  # fmt: skip
    if batch:
        # The kernel gives the variance of a sample, over n - 1, and Keras keeps that over n.
        variance *= 1.0 - channels / tf.cast(tf.size(inputs), tf.float32)
        for weight, old, new in zip(
            (layer.moving_mean, layer.moving_variance), moving, (mean, variance)
        ):
            weight.assign(old * layer.momentum + new * (1.0 - layer.momentum))
    return keras.ops.cast(outputs, layer.compute_dtype)


def _float32(weight):
    return tf.cast(tf.convert_to_tensor(weight), tf.float32)


def _fits(layer, inputs, mask):
    """Whether the kernel computes this: (n, height, width, channels), the plain way."""
    return (
        mask is None
        and len(inputs.shape) == 4
        and layer.axis in (-1, 3)
        and inputs.dtype in _DTYPES  # float64 has no kernel
        and layer.epsilon >= SMALLEST_EPSILON
        and not layer.renorm
        and not layer.synchronized  # its statistics are those of all replicas
        and keras.backend.backend() == "tensorflow"
    )

"""Count the multiply-adds of a network's convolutions and dense layers."""

import math
from collections.abc import Collection

import keras

from dermssl.models.freezing import KERNELS

BACKWARD = 2  # of a layer that trains: the gradients of its kernel and of its input, each a forward


def multiply_adds(model: keras.Model, names: Collection[str] | None = None) -> int:
    """The multiply-adds of one photo's forward pass.

    A kernel is used once at each place of its layer's output. Biases, normalisation, activations
    and pooling are left out: a few percent of the whole.

    Args:
        model: with a flat graph and images of a known size.
        names: of the layers that count; None for all.

    Example:

    >>> inputs = keras.Input((8, 8, 3))
    >>> multiply_adds(keras.Model(inputs, keras.layers.Conv2D(5, 3, padding="same")(inputs)))
    8640
    """
    return sum(
        math.prod(weight.shape) * math.prod(layer.output.shape[1:-1])
        for layer in model.layers
        if names is None or layer.name in names
        for weight in layer.weights
        if weight.name in KERNELS
    )

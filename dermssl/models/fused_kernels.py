"""Let layers of a model compute by faster kernels than Keras gives them.

A kernel is set on the layers of a model, not put in place of their class. So a layer still is
Keras's own: it is saved as that, a file loads without this package, and Keras's own code goes on
to compute whatever the kernel can't. Each class and function here that makes a model calls
`substitute`, which also covers models that Keras loads or clones: their constructors run.

To add a kernel, add a line to `KERNELS`.
"""

from __future__ import annotations

import functools
from typing import TypeVar

import keras
from keras import layers

from dermssl.models import fused_batchnorm, fused_silu

# Keras's class -> what takes the place of its `call`: a function of (layer, inputs, ...).
KERNELS = {
    layers.BatchNormalization: fused_batchnorm.call,
    layers.Activation: fused_silu.call,
}

Model = TypeVar("Model", bound=keras.layers.Layer)


def substitute(model: Model) -> Model:
    """Let the layers of a model compute by `KERNELS`, where there is one.

    Outputs and gradients stay what they are but for rounding. A model that was traced before,
    as by `fit`, must be compiled anew.

    Args:
        model: a `keras.Model` or layer; those within it are found, whatever their depth.

    Returns:
        The same model.

    Example:

    >>> model = substitute(keras.Sequential([keras.Input((8, 8, 3)), layers.BatchNormalization()]))
    >>> model.layers[0].get_config()["momentum"]  # still Keras's layer
    0.99
    """
    for layer in model._flatten_layers():
        # Not a subclass, as that may compute something else.
        if kernel := KERNELS.get(type(layer)):
            layer.call = functools.partial(kernel, layer)
    return model

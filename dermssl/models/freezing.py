"""Choose which layers train, and list what will.

Keras has traps here: `model.trainable = True` is a no-op where it is True already,
an outer False silences inner Trues, and nothing takes effect before the next
`compile`. So every leaf layer is set, always, and every container is left True.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from dermssl.core.errors import UserError

ALL = -1
KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


@dataclass(frozen=True)
class Manifest:
    """What a depth trains.

    Attributes:
        trainable: names of the unfrozen layers that have weights.
        kernels: names of those that hold a kernel (convolutions, dense).
        parameters: number of trainable parameters in the backbone.
    """

    trainable: tuple[str, ...]
    kernels: tuple[str, ...]
    parameters: int


def holds_kernel(layer: keras.layers.Layer) -> bool:
    """True for layers that mix their inputs: convolutions of every kind and dense layers."""
    return any(weight.name in KERNELS for weight in layer.weights)


def set_depth(
    backbone: keras.Model, depth: int, unit: str = "layers", batchnorm: str = "train"
) -> Manifest:
    """Freeze all of a backbone but its last layers.

    Args:
        backbone: `keras.Model` with a flat graph, from `backbones.build`.
        depth: int; 0 freezes all, -1 unfreezes all, N the last N.
        unit: "layers" counts every layer of the graph but the pooling at its end, also
            those without weights; "kernels" counts only layers that hold a kernel, and
            takes the BatchNorm between them along.
        batchnorm: "train": BatchNorm of the unfrozen part trains and moves its
            statistics; "frozen": all BatchNorm stays in inference mode.

    Returns:
        `Manifest`. Compile the model anew before training.

    Raises:
        UserError: depth beyond the backbone.

    Example:

    >>> set_depth(dermssl.Backbone("cnn", image_size=32), 4).kernels
    ('stage4b_conv',)
    """
    graph = [layer for layer in backbone.layers if layer.name != "embedding"]
    start = 0 if depth == ALL else first_unfrozen(graph, depth, unit)
    backbone.trainable = True  # an outer False would silence inner Trues
    for position, layer in enumerate(graph):
        frozen_norm = batchnorm == "frozen" and isinstance(layer, layers.BatchNormalization)
        layer.trainable = position >= start and not frozen_norm
    return manifest(backbone)


def first_unfrozen(graph: list[keras.layers.Layer], depth: int, unit: str) -> int:
    """The position in `graph` from which on layers train."""
    counted = [i for i, layer in enumerate(graph) if unit == "layers" or holds_kernel(layer)]
    if not 0 <= depth <= len(counted):
        raise UserError(
            f"finetune.depth {depth} is beyond the backbone, which has {len(counted)} {unit}; "
            f"use 0 to {len(counted)}, or -1 for all"
        )
    return counted[-depth] if depth else len(graph)


def manifest(backbone: keras.Model) -> Manifest:
    """What a backbone trains as its layers are set now."""
    active = [layer for layer in backbone.layers if layer.trainable_weights]
    return Manifest(
        trainable=tuple(layer.name for layer in active),
        kernels=tuple(layer.name for layer in active if holds_kernel(layer)),
        parameters=sum(math.prod(weight.shape) for weight in backbone.trainable_weights),
    )

"""Refuse a batch that can't fit into memory, before training starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dermssl.core import memory

if TYPE_CHECKING:
    import keras

# What a training step held against the sum of all layers' outputs: 1.05 (MobileNet, 224 px) and
# 2.1 (EfficientNetB1, 128 px) on a CPU. XLA and mixed precision need less: half is the least.
KEPT = 0.5
# A forward pass alone holds a layer's input and output at once; measured against the largest output
# it was 4.2 (MobileNet, 224 px).
HELD = 2.0


def step_bytes(
    backbone: keras.Model, batch: int, trained: bool = True, bytes_a_number: int = 4,
    remat: bool = False, halves: bool = False,
) -> float:  # fmt: skip
    """The least memory of one training step, from the outputs of the backbone's layers.

    A rough lower bound: it is there to refuse what can't fit, not to promise what does.

    Args:
        backbone: built `keras.Model`, (n, size, size, 3) -> (n, d).
        batch: photos through the network at once.
        trained: whether gradients flow through it, so that the outputs of all layers are kept.
        bytes_a_number: 2 in mixed precision.
        remat: whether activations are computed again for the gradient.
        halves: whether half of them are, as in gradient caching.

    Returns:
        Bytes.
    """
    sizes = [
        math.prod(tensor.shape[1:])
        for layer in _layers(backbone)
        for tensor in (layer.output if isinstance(layer.output, list) else [layer.output])
    ]
    numbers = KEPT * sum(sizes) if trained else HELD * max(sizes)
    if trained and (remat or halves):
        from dermssl.models import rematerialise

        numbers = KEPT * rematerialise.numbers_kept(backbone, halves=not remat)
    return numbers * batch * bytes_a_number


def _layers(model):
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def batch_bytes(image_size: int, batch: int) -> float:
    """What a step of gradient caching holds of its whole batch: pixels and similarities.

    Args:
        image_size: int, side of the views, pixels.
        batch: photos, of two views each.

    Returns:
        Bytes.

    Example:

    >>> batch_bytes(96, 2048) / 1e6
    520.093696
    """
    views = 2 * batch
    return 4.0 * (views * 3 * image_size**2 + views**2)


def check(
    backbone: keras.Model,
    batch: int,
    settings: Sequence[str],
    trained: bool = True,
    views: int = 1,
    half: bool = False,
    remat: bool = False,
    halves: bool = False,
    beside: float = 0.0,
    room: int | None = None,
) -> None:
    """Refuse a training step that needs more than there is.

    Args:
        backbone: as for `step_bytes`.
        batch: photos through the network at once.
        settings: names of the settings that make it less, first that of `batch`.
        trained: as for `step_bytes`.
        views: of each photo in a step.
        half: whether outputs are float16 or bfloat16.
        remat, halves: as for `step_bytes`.
        beside: bytes that a step holds besides, as from `batch_bytes`.
        room: bytes; None: of the GPU where TensorFlow uses one, else what is free.

    Raises:
        memory.OutOfMemory: it can't fit.
    """
    device = "free"
    if room is None:
        room = memory.of_gpu() if _uses_gpu() else memory.available()
        device = "on the GPU" if _uses_gpu() else "free"
    if room is None:
        return
    one = step_bytes(backbone, views, trained, 2 if half else 4, remat, halves)
    need = one * batch + beside
    if need <= room:
        return
    size = backbone.input.shape[1]
    # A lower bound of the need, so half of what it allows.
    fits = max(0, int((room - beside) / (2 * one)))
    advice = f"use a smaller {settings[0]} ({fits} or less)" if fits else f"{settings[0]} 1 is too"
    advice += " or " if fits else " large: use a smaller "
    what = settings[0].rpartition(".")[2].removesuffix("_size")
    shown = f"{what} of {batch} photos{', two views each,' if views == 2 else ''} of {size} px"
    raise memory.OutOfMemory(
        f"out of memory at a {shown}: a step needs {memory.gigabytes(need)} at "
        f"least, {memory.gigabytes(room)} are {device}; {advice}{' or '.join(settings[1:])}"
    )


def _uses_gpu():
    import tensorflow as tf

    return bool(tf.config.list_logical_devices("GPU"))

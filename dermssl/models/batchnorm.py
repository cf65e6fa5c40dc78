"""Re-estimate BatchNorm statistics, as on photos of another place; no weight changes.

AdaBN (Li et al. 2016, "Revisiting batch normalization for practical domain adaptation"): what a
layer subtracts and divides by becomes the mean and variance of its inputs over the new photos.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

from dermssl.core.errors import UserError

FEWEST = 32  # photos; the statistics of fewer say more of these photos than of their place


def norm_layers(model: keras.Model) -> list[layers.BatchNormalization]:
    """Every BatchNorm layer of a model, also those within others."""
    found = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in found if isinstance(layer, layers.BatchNormalization)]


def synchronise(model: keras.Model) -> None:
    """Let every BatchNorm layer of a model use the statistics of all replicas' batches together."""
    for layer in norm_layers(model):
        layer.synchronized = True


def check(backbone: keras.Model) -> None:
    """Refuse a network without BatchNorm."""
    if not norm_layers(backbone):
        raise UserError(
            "the run's network has no BatchNorm, so there are no statistics to re-estimate; "
            "evaluate it as it is"
        )


def adapt(
    backbone: keras.Model,
    batches: Iterable[Any],
    forward: Callable[[Any], Any] | None = None,
    fewest: int = FEWEST,
) -> int:
    """Replace the moving means and variances of every BatchNorm layer, in place.

    Each batch is normalised by its own statistics on its way up, as in training, without dropout.
    A layer's new mean and variance are those of all batches together: the variance within
    batches and that between their means (the law of total variance).

    Args:
        backbone: `keras.Model`: (b, size, size, 3) in [0, 255] -> embedding.
        batches: float32 images; in mixed order, so that none is all of one kind.
        forward: function of a batch that runs all of the model in training mode; None calls it.
        fewest: photos that must come.

    Returns:
        int, the photos seen.

    Raises:
        UserError: the network has no BatchNorm, or too few photos came.
    """
    check(backbone)
    norms = norm_layers(backbone)
    drops = [
        layer
        for layer in backbone._flatten_layers(include_self=False, recursive=True)
        if isinstance(layer, layers.Dropout | layers.SpatialDropout2D) and layer.rate
    ]
    before = [(layer.momentum, layer.trainable) for layer in norms]
    old = [[_array(w) for w in (n.moving_mean, n.moving_variance)] for n in norms]
    rates = [layer.rate for layer in drops]
    sums = [np.zeros((3, *layer.moving_mean.shape)) for layer in norms]  # n, n mean, n mean square
    seen = 0
    try:
        for layer in norms:
            layer.momentum, layer.trainable = 0.0, True  # the moving values are then the batch's
        for layer in drops:
            layer.rate = 0.0
        for batch in batches:
            n = len(batch)
            forward(batch) if forward else backbone(batch, training=True)
            seen += n
            for layer, total in zip(norms, sums):
                mean = _array(layer.moving_mean)
                square = _array(layer.moving_variance) + mean**2
                total += n * np.stack([np.ones_like(mean), mean, square])
    finally:
        for layer, (momentum, trainable) in zip(norms, before):
            layer.momentum, layer.trainable = momentum, trainable
        for layer, rate in zip(drops, rates):
            layer.rate = rate
        for layer, (mean, variance), total in zip(norms, old, sums):
            if seen >= fewest:
                mean = total[1] / total[0]
                variance = np.maximum(0, total[2] / total[0] - mean**2)
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
    if seen < fewest:
        raise UserError(
            f"adapt.data: {seen} photos to adapt to; BatchNorm statistics need at least {fewest}"
        )
    return seen


@contextlib.contextmanager
def re_estimated(
    model: keras.Model, batches: Iterable[Any], forward: Callable[[Any], Any]
) -> Iterator[None]:
    """Statistics as `adapt` computes them for the time of a block; then those that were there.

    Moving averages are of past weights, which a training of few steps has left far behind: what
    the weights of now are worth shows with statistics of now ("precise BatchNorm"; Wu & Johnson
    2021, "Rethinking 'Batch' in BatchNorm"). Arguments are those of `adapt`.
    """
    norms = norm_layers(model)
    kept = [[keras.ops.convert_to_numpy(w) for w in (n.moving_mean, n.moving_variance)]
            for n in norms]  # fmt: skip
    try:
        if norms:
            adapt(model, batches, forward, fewest=1)
        yield
    finally:
        for layer, (mean, variance) in zip(norms, kept):
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)


def _array(weight):
    return keras.ops.convert_to_numpy(weight).astype(np.float64)

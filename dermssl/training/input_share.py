"""Measure which part of a training step waits for its input, and say so once where it is much."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class InputShare(keras.callbacks.Callback):
    """Adds `input_share`, the part of an epoch's steps that was spent waiting, to its logs.

    A step begins by asking for its batch. `watch` notes when the batch is there; what lies between
    is the wait.

    Args:
        say: function of a line, called at most once.
        told: bool, whether a part of the run that came before has said it.
        devices: int, of this process: a step takes a batch for each.

    Attributes:
        told: bool.
    """

    WARM_UP = 3  # steps that don't count: the first one traces the network
    STEPS = 50  # measured before anything is said
    FEWEST = 10  # measured, for a phase that ends before
    MUCH = 0.2

    def __init__(self, say: Callable[[str], None], told: bool = False, devices: int = 1) -> None:
        super().__init__()
        self.say, self.told, self.devices = say, told, devices
        self._arrived: list[float] = []
        self._begun = 0.0
        self._done = self._taken = 0  # steps of this phase; batches of the data set at hand
        self._times: list[tuple[float, float]] = []  # (wait, step) of the steps that count
        self._epoch = 0  # of these, those before the epoch at hand

    def watch(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """The same data set, for one call of `fit`."""
        arrived: list[float] = []
        self._arrived, self._taken = arrived, 0

        def note():
            arrived.append(time.perf_counter())
            return np.int64(0)

        def noted(*parts):
            with tf.control_dependencies([tf.numpy_function(note, [], tf.int64)]):
                parts = tf.nest.map_structure(tf.identity, parts)
            return parts if len(parts) > 1 else parts[0]

        options = tf.data.Options()
        # Behind a buffer of its own a batch would be noted long before it is asked for.
        options.experimental_optimization.inject_prefetch = False
        return dataset.map(noted).with_options(options)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._epoch = len(self._times)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._begun = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        whole = time.perf_counter() - self._begun
        self._done += 1
        self._taken += self.devices
        if self._done > self.WARM_UP:
            wait = self._arrived[self._taken - 1] - self._begun
            self._times.append((min(max(wait, 0.0), whole), whole))
        if len(self._times) == self.STEPS:
            self._tell()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["input_share"] = round(_share(self._times[self._epoch :]), 3)

    def end(self) -> None:
        """The phase is over."""
        if self.FEWEST <= len(self._times) < self.STEPS:
            self._tell()

    def _tell(self):
        share = _share(self._times)
        if share > self.MUCH and not self.told:
            self.told = True
            self.say(
                f"input {share:.0%} of a step: the bottleneck; use more CPU cores, keep decoded "
                "photos (data.cache_mb, data.cache_dir) or write smaller ones (dermssl.shards)"
            )


def _share(times):
    """Wait / whole of some steps; NaN of none."""
    whole = sum(step for _, step in times)
    return sum(wait for wait, _ in times) / whole if whole else math.nan


def of_run(rows: Sequence[dict[str, Any]]) -> float | None:
    """The input's share of a run's steps, from the rows of its history; None where none was long
    enough to be measured.

    Example:

    >>> of_run([{"input_share": 0.5, "seconds": 30.0}, {"input_share": 0.1, "seconds": 10.0}])
    0.4
    """
    known = [row for row in rows if not math.isnan(row.get("input_share", math.nan))]
    seconds = sum(row["seconds"] for row in known)
    if not seconds:
        return None
    return round(sum(row["input_share"] * row["seconds"] for row in known) / seconds, 3)

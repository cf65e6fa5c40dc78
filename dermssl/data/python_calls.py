"""The Python functions that a data set calls in TensorFlow's threads: how they fail, and end."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from dermssl.core import threads
from dermssl.core.errors import UserError

MOST_THREADS = 16  # more find Python's lock taken, see `pipeline`
AHEAD_BYTES = 4 * 2**30  # of the batches that are made at a time
QUIET, PATIENCE = 0.2, 60.0  # seconds without a call until all have ended; and at most

_lock = threading.Lock()
_running = 0
_last_end = 0.0
_failures: list[UserError] = []


def call(function: Callable[..., Any], inputs: Sequence[Any], types: Any) -> Any:
    """`tf.numpy_function` of a function of its inputs alone, for use in a data set.

    Args:
        function: of arrays; a `UserError` of it comes out of `guarded` as it is.
        inputs: tensors.
        types: of its results.
    """

    @functools.wraps(function)
    def watched(*values):
        global _running, _last_end
        with _lock:
            _running += 1
        try:
            return function(*values)
        except UserError as error:
            _failures.append(error)
            raise
        finally:
            with _lock:
                _running, _last_end = _running - 1, time.monotonic()

    return tf.numpy_function(watched, inputs, types, stateful=False)


def mapped(numbers: tf.data.Dataset, load: Callable[..., Any], batch_bytes: int) -> tf.data.Dataset:
    """Batches made in threads, in order, a few ahead of the network.

    How many threads is fixed here. Where tf.data tunes it, its tuning thread sleeps from 10 ms to a
    minute, twice as long each time, and what deletes an iterator of Keras's `fit` waits for it to
    wake up: as long again as the fit took, at worst.

    Args:
        numbers: data set of the numbers of batches.
        load: function from a number to its batch, made with `call`.
        batch_bytes: int, of a batch in memory.
    """
    most = min(threads.cores(), MOST_THREADS, AHEAD_BYTES // batch_bytes)
    options = tf.data.Options()
    options.autotune.enabled = False
    batches = numbers.map(load, num_parallel_calls=max(1, most), deterministic=True)
    return batches.prefetch(2).with_options(options)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """A block that reads data sets: what their functions refuse is raised as they said it.

    After an error the other functions that run are waited for: an iterator that is thrown away
    waits for them, with Python's lock held that they need, and so for ever.

    Raises:
        UserError: that a function raised, in place of TensorFlow's error about it.
    """
    before = len(_failures)
    try:
        yield
    except BaseException:
        _settle()
        if failures := _failures[before:]:
            raise failures[0] from None
        raise


def _settle():
    """Wait until no function has run for a while: a data set makes a few batches ahead."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        with _lock:
            if not _running and time.monotonic() - _last_end > QUIET:
                return
        time.sleep(QUIET / 4)

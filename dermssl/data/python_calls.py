"""The Python functions that a data set calls in TensorFlow's threads: how they fail, and end."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from dermssl.core.errors import UserError

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

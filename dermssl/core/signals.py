"""Handle Ctrl-C and SIGTERM: a run is saved before it ends."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run was told to end. Like Ctrl-C it passes every `except Exception`.

    Attributes:
        number: int, the signal; a shell shows 128 + number as the exit code.
    """

    def __init__(self, number: int, message: str = "") -> None:
        by = f"stopped by {signal.Signals(number).name}"
        super().__init__(f"{by}, {message}" if message else by)
        self.number = number


class StoppedWithoutRun(Stopped):
    """A command was told to end where no run was listening: nothing can be resumed."""


class Watch:
    """Whether a signal to stop has come. `watch_signals` makes one.

    Attributes:
        asked: int or None, the signal that waits for the end of the step.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._patient = False

    @contextlib.contextmanager
    def defer_signal(self) -> Iterator[None]:
        """In this block the first signal only sets `asked`; the block looks and ends itself.

        A second one ends it at once, like any signal outside such a block.
        """
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        if self.asked is not None:
            raise self.stopped()

    def stopped(self, message: str = "") -> Stopped:
        """The exception for the signal that waits."""
        assert self.asked is not None
        return Stopped(self.asked, message)

    def _heard(self, number, frame):
        if self._patient and self.asked is None:
            self.asked = number
        else:
            raise Stopped(number)


@contextlib.contextmanager
def watch_signals() -> Iterator[Watch]:
    """Yield a `Watch` for the block; the handlers of before are put back after it.

    Signals reach the main thread alone: elsewhere the watch never hears any.
    """
    watch = Watch()
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, watch._heard) for number in SIGNALS}
    try:
        yield watch
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """In this block SIGTERM raises `StoppedWithoutRun`; a run's own `watch_signals` goes first."""

    def heard(number, frame):
        raise StoppedWithoutRun(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

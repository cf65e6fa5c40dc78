"""Show how far a task is and how long it still takes."""

import math
import time
from types import TracebackType

from rich import progress
from rich.console import Console

from dermssl.core.cli import with_flags

NOT_AVAILABLE = "n/a"


def duration(seconds: float | None) -> str:
    """Seconds as "42 s", "3 min 20 s" or "1 h 05 min"; "n/a" for None or NaN."""
    if seconds is None or math.isnan(seconds):
        return NOT_AVAILABLE
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def log_progress(line: str) -> None:
    """Print a line of progress at once, also where the output is a file."""
    print(with_flags(line), flush=True)


class Progress:
    """How far a task is, and the time left.

    As a context it draws one moving line on a terminal. Without a terminal it prints a line now
    and then. A task whose parts draw lines of their own uses `announce` and no context.

    Args:
        title: str, what is being done.
        total: float, the work in all: steps, photos or any other unit.
        done: float, work that an earlier process has done.
        state: str, shown beside the bar; "": how much is done of how much.
        warm_up: float, work that says nothing of the pace: a network's first step takes longer
            than hundreds of others. No time left is shown before twice as much is done.
    """

    PLAIN_SECONDS = 15  # between two lines where there is no terminal
    LONG = 60  # seconds left from which the first estimate has a line of its own

    def __init__(
        self, title: str, total: float, done: float = 0, state: str = "", warm_up: float = 0
    ) -> None:
        self.title, self.total, self.done, self.state = title, total, done, state
        self.console = Console(stderr=True)
        self._first, self._started = done, time.time()
        self._printed = self._started
        self._warm_up = warm_up
        # From when on the pace is measured, and after how much work.
        self._since: tuple[float, float] | None = None if warm_up else (self._started, done)
        self._told = not warm_up

    def __enter__(self) -> "Progress":
        self._started = self._printed = time.time()
        if not self._warm_up:
            self._since = (self._started, self._first)
        if self._first:
            self.say(f"{self.title}: resumes after step {self._first} of {self.total}")
        columns = [
            progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[state]}{task.fields[left]}"),
        ]  # fmt: skip
        self._bar = progress.Progress(
            *columns, console=self.console, transient=True, disable=not self.console.is_terminal
        )
        self._task = self._bar.add_task(
            self.title,
            total=self.total,
            completed=self.done,  # type: ignore[arg-type]
            state=self.state,
            left="",
        )
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()  # also after an error: the terminal needs its cursor back
        if error is None and self.done > self._first:
            text = f", {self.state}" if self.state else ""
            self.say(f"{self.title}: done in {duration(time.time() - self._started)}{text}")

    def reach(self, done: float, state: str | None = None) -> None:
        """Show that `done` of the work is done; `state` replaces the text beside the bar."""
        self.done = done
        self.state = self.state if state is None else state
        text = self.state or f"{done:,.0f}/{self.total:,.0f}"
        now = time.time()
        if self._since is None and done - self._first >= self._warm_up:
            self._since = (now, done)
        left = self._seconds_left(now)
        self._bar.update(self._task, completed=done, state=text, left=self.left())
        if left is not None and not self._told:
            self._told = True
            if left > self.LONG:
                self.say(f"{self.title}: measured, {self.left().removeprefix(', ')}")
        if not self.console.is_terminal and now - self._printed > self.PLAIN_SECONDS:
            self.say(f"{self.title}: {text}{self.left()}")
            self._printed = now

    def announce(self, line: str) -> None:
        """Print what comes next, with the time left for all of it."""
        log_progress(line + self.left())

    def left(self) -> str:
        """ ", about 3 min 20 s left"; "" before enough work was done to tell."""
        seconds = self._seconds_left(time.time())
        return "" if seconds is None else f", about {duration(seconds)} left"

    def _seconds_left(self, now):
        if self._since is None:
            return None
        began, before = self._since
        worked = self.done - before
        if not worked or worked < self._warm_up:
            return None
        return (now - began) / worked * (self.total - self.done)

    def say(self, line: str) -> None:
        """Print a line above the moving one, with settings as flags."""
        self.console.print(with_flags(line), highlight=False, markup=False, soft_wrap=True)

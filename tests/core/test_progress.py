"""The progress display with and without a terminal, and durations in words."""

import math

import pytest
from rich.console import Console

from dermssl.core import progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(42, "42 s"), (200, "3 min 20 s"), (3900, "1 h 05 min"), (math.nan, "n/a"), (None, "n/a")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now = 1000.0

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def display(terminal, **options):
    shown = progress.Progress("a title that is longer than half of a line, " * 3, 4, **options)
    shown.console = Console(stderr=True, force_terminal=terminal, width=60)
    return shown


def test_without_a_terminal_a_line_now_and_then_and_one_at_the_end(capsys, clock):
    with display(terminal=False) as shown:
        for step in range(1, 5):
            clock.now += 10
            shown.reach(step)
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix(shown.title) for line in lines] == [
        ": 2/4, about 20 s left", ": 4/4, about 0 s left", ": done in 40 s",
    ]  # fmt: skip


def test_a_resumed_task_says_so_and_its_pace_is_that_of_this_process(capsys, clock):
    with display(terminal=False, done=2) as shown:
        assert shown.left() == ""
        clock.now += 5
        shown.reach(3)
        assert shown.left() == ", about 5 s left"
    assert "resumes after step 2 of 4" in capsys.readouterr().err


def test_what_comes_next_is_announced_with_the_time_left(capsys, clock):
    shown = progress.Progress("experiment", 3)
    shown.announce("[1/2] first")
    clock.now += 60
    shown.done += 1
    shown.announce("[2/2] second")
    assert capsys.readouterr().out == "[1/2] first\n[2/2] second, about 2 min 00 s left\n"


@pytest.mark.parametrize("fails", [False, True])
def test_the_terminal_gets_its_cursor_back(capsys, fails):
    try:
        with display(terminal=True) as shown:
            shown.reach(1)
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    text = capsys.readouterr().err
    assert "\x1b[?25l" in text  # hidden
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and shown again
    assert ("done in" in text) is not fails

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


def test_the_first_step_says_nothing_of_the_pace(capsys, clock):
    shown = progress.Progress("training", 1000, warm_up=3)
    shown.console = Console(stderr=True, force_terminal=False, width=60)
    with shown:
        for step in range(1, 8):
            clock.now += 40 if step == 1 else 1  # the first one traces the network
            shown.reach(step)
            if step < 6:  # 3 to warm up, 3 to measure
                assert shown.left() == ""
        assert shown.left() == ", about 16 min 33 s left"
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "training: 1/1,000"  # 40 s: the line of who waits
    assert lines[1] == "training: measured, about 16 min 34 s left"
    assert len([line for line in lines if "measured" in line]) == 1


def test_a_short_task_gets_no_line_of_its_own(capsys, clock):
    shown = progress.Progress("training", 10, warm_up=3)
    shown.console = Console(stderr=True, force_terminal=False, width=60)
    with shown:
        for step in range(1, 11):
            clock.now += 1
            shown.reach(step)
    assert "measured" not in capsys.readouterr().err

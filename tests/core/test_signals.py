"""Signals: at once, or at the end of what must not be cut."""

import os
import signal
import threading

import pytest

from dermssl.core import runs, signals


def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_outside_a_patient_block_a_signal_ends_at_once(number):
    before = [signal.getsignal(one) for one in signals.SIGNALS]
    with pytest.raises(signals.Stopped) as stopped, signals.watch_signals():
        send(number)
    assert stopped.value.number == number
    assert str(stopped.value) == f"stopped by {signal.Signals(number).name}"
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert [signal.getsignal(one) for one in signals.SIGNALS] == before


def test_in_a_patient_block_the_first_waits_and_the_second_does_not():
    done = []
    with pytest.raises(signals.Stopped), signals.watch_signals() as watch, watch.defer_signal():  # noqa: PT012
        assert watch.asked is None
        send()
        done.append(watch.asked)
        send()
        done.append("went on")
    assert done == [signal.SIGTERM]


def test_a_block_that_does_not_look_ends_after_it():
    done = []
    with pytest.raises(signals.Stopped), signals.watch_signals() as watch:  # noqa: PT012
        with watch.defer_signal():
            send()
            done.append("inside")
        done.append("after")
    assert done == ["inside"]


def test_an_error_in_the_block_is_not_hidden():
    wanted = pytest.raises(ValueError, match="own")
    with wanted, signals.watch_signals() as watch, watch.defer_signal():
        send()
        raise ValueError("own")


def test_in_another_thread_nothing_is_touched():
    before, found = [signal.getsignal(one) for one in signals.SIGNALS], []

    def work():
        with signals.watch_signals() as watch:
            found.append(watch.asked)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
    assert [signal.getsignal(one) for one in signals.SIGNALS] == before


def test_a_run_that_was_told_to_end_is_killed_unless_it_had_ended(tmp_path):
    for name, state in (("a", runs.RUNNING), ("b", runs.FINISHED)):
        opened = runs.open_run(tmp_path / name, "pretrain", {"seed": 0}, "hash")
        with pytest.raises(signals.Stopped), opened as run:  # noqa: PT012
            run.set_status(state)
            send()
    assert runs.read_json(tmp_path / "a" / "status.json")["status"] == runs.KILLED
    assert runs.read_json(tmp_path / "a" / "status.json")["reason"] == "stopped by SIGTERM"
    assert runs.read_json(tmp_path / "b" / "status.json")["status"] == runs.FINISHED

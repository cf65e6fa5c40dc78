"""Runs of two workers that are disturbed, against a run that never was."""

import json

import kills
import pytest
import tiny
import workers

SCRIPT = tiny.ROOT / "tests" / "one_worker.py"
COMMANDS = {
    "pretrain": ("--epochs", 2, "--projection", 16, 8, "--probe-photos", 8),
    "finetune": ("--weights", "none", "--frozen-epochs", 1, "--unfrozen-epochs", 1),
}


def attempt(command, photos, folder, accidents=()):
    """(exit code, stdout, stderr) of both workers; `accidents` are worker -> (signal, when)."""
    every, started = workers.addresses(), []
    for number in (0, 1):
        accident = dict(accidents).get(number, ("SIGTERM", 0))
        # Where worker 1 would write if it did.
        output = folder if number == 0 else folder.with_name("of worker 1")
        words = [command, "--data", photos, *tiny.SMALL, *COMMANDS[command], "--output", output]
        words += ["--checkpoint-steps", 2]
        cluster = workers.tf_config(every, number)
        started.append(workers.start(SCRIPT, *accident, *words, cluster=cluster))
    ended = workers.finish(started)
    assert not folder.with_name("of worker 1").exists()
    return ended


def status(folder):
    return json.loads((folder / "status.json").read_text())


def ended_well(ended):
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert ended[1][1].endswith("worker 1 of 2: done; worker 0 wrote the run\n")


@pytest.mark.slow
def test_a_killed_worker_ends_the_chief_and_the_run_goes_on_exactly(photos, tmp_path):
    never, folder = tmp_path / "never", tmp_path / "run"
    ended_well(attempt("pretrain", photos, never))
    ended = attempt("pretrain", photos, folder, {1: ("SIGKILL", 9)})
    assert [code for code, _, _ in ended] == [1, -9], ended
    last = ended[0][2].strip().splitlines()[-1]
    assert last.startswith("dermssl: error: worker 0 of 2 lost worker 1"), ended
    assert status(folder)["status"] == "FAILED"
    ended = attempt("pretrain", photos, folder)
    ended_well(ended)
    assert "resumes after step" in ended[0][2]
    kills.same(kills.content(folder), kills.content(never))
    ended_well(attempt("pretrain", photos, folder))  # finished: nobody waits for anybody


@pytest.mark.soak
def test_a_signal_to_one_worker_stops_all_at_the_same_step(photos, tmp_path):
    never, folder = tmp_path / "never", tmp_path / "run"
    ended_well(attempt("finetune", photos, never))
    ended = attempt("finetune", photos, folder, {1: ("SIGTERM", 12)})  # in the second phase
    assert [code for code, _, _ in ended] == [143, 143], ended
    said = [err.split("saved after step ")[1].split(";")[0] for _, _, err in ended]
    assert said[0] == said[1], ended
    assert status(folder)["status"] == "KILLED"
    ended_well(attempt("finetune", photos, folder))
    kills.same(kills.content(folder), kills.content(never))


@pytest.mark.soak
def test_a_chief_that_dies_ends_the_others_and_one_device_does_not_go_on(photos, tmp_path):
    folder = tmp_path / "run"
    ended = attempt("pretrain", photos, folder, {0: ("SIGKILL", 9)})
    assert [code for code, _, _ in ended] == [-9, 1], ended
    assert (
        ended[1][2]
        .strip()
        .splitlines()[-1]
        .startswith("dermssl: error: worker 1 of 2 lost worker 0")
    )
    words = ["--data", photos, *tiny.SMALL, *COMMANDS["pretrain"], "--output", folder]
    alone = tiny.python("-m", "dermssl.pretrain", *words)
    assert alone.returncode == 2
    assert "made on 2 device(s), this is a start on 1" in alone.stderr

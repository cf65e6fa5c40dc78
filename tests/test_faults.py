"""What goes wrong around a run: its status, its exit code, its one line, what is left.

Fine-tuning stands for pretraining too: both train, save and end through the same code. A
cell of a grid that runs out of memory is in tests/test_grid.py.
"""

import fcntl
import os
import resource
import shutil
import signal

import kills
import pandas as pd
import pytest
import tiny

from dermssl import finetune
from dermssl.core import runs
from dermssl.training import callbacks, checkpoint

pytestmark = pytest.mark.slow
FLAGS = (*tiny.SMALL, "--frozen-epochs", 0, "--unfrozen-epochs", 2)  # 12 steps


@pytest.fixture
def call(photos, tmp_path, capfd):
    """Fine-tune into tmp_path / "run"; (exit code, what dermssl says on stderr, status)."""

    def run(*argv, data=photos):
        output = tmp_path / "run"
        capfd.readouterr()
        code = tiny.call(finetune, "--data", data, *FLAGS, *argv, "--output", output)
        lines = capfd.readouterr().err.splitlines()
        assert not any("Traceback" in line for line in lines)
        said = [line for line in lines if line.startswith("dermssl: ")]
        assert len(said) == (code != 0)
        status = output / "status.json"
        state = runs.read_json(status) if status.is_file() else {}
        return code, " ".join(said), state

    return run


@pytest.fixture(scope="module")
def never_disturbed(photos, tmp_path_factory):
    output = tmp_path_factory.mktemp("faults") / "run"
    assert tiny.call(finetune, "--data", photos, *FLAGS, "--output", output) == 0
    return kills.content(output)


@pytest.fixture(scope="module")
def stopped(photos, tmp_path_factory):
    """A run that SIGTERM ended at step 8 of 12, with checkpoints of steps 7 and 8."""
    output = tmp_path_factory.mktemp("faults") / "run"
    seen = []

    class Terminated(callbacks.StopOnNaN):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)
            if len(seen) == 8:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(callbacks, "StopOnNaN", Terminated)
        argv = ["--data", photos, *FLAGS, "--checkpoint-steps", 1, "--output", output]
        assert tiny.call(finetune, *argv) == 143
    assert runs.read_json(output / "status.json")["status"] == runs.KILLED
    return output


@pytest.fixture
def again(stopped, tmp_path):
    """A copy of that run, to go on with by `call`."""
    return shutil.copytree(stopped, tmp_path / "run")


def left(folder):
    """Names of all files."""
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_it_saved_with_the_command_that_goes_on(
    call, monkeypatch, tmp_path, photos, number, code
):
    def told(self, batch, logs=None):
        if batch == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(callbacks.StopOnNaN, "on_train_batch_end", told)
    found, said, status = call()
    assert found == code
    name = signal.Signals(number).name
    assert said.startswith(f"dermssl: stopped by {name}, saved after step 4 of 12; go on with: ")
    assert f"python -m dermssl.finetune --data {photos} " in said
    assert status["status"] == runs.KILLED
    assert status["reason"] == f"stopped by {name}, saved after step 4 of 12"
    assert "000000004.ckpt" in left(tmp_path / "run")
    assert "model.keras" not in left(tmp_path / "run")


def test_it_goes_on_as_if_never_disturbed(call, again, never_disturbed):
    code, _, status = call()
    assert (code, status["status"], status["reason"]) == (0, runs.FINISHED, None)
    kills.same(kills.content(again), never_disturbed)
    assert not (again / "checkpoints").exists()


@pytest.mark.parametrize("size", [0.5, 1])
def test_a_damaged_checkpoint(call, again, never_disturbed, caplog, size):
    newest = again / "checkpoints" / "000000008.ckpt"
    data = newest.read_bytes()
    data = data[: len(data) // 2] if size < 1 else data[:-9] + b"x" + data[-8:]
    newest.write_bytes(data)
    assert call()[0] == 0
    assert "its checksum is wrong" in caplog.text
    assert "going on from 000000007.ckpt" in caplog.text
    kills.same(kills.content(again), never_disturbed)


def test_no_whole_checkpoint_is_refused(call, again):
    for path in (again / "checkpoints").iterdir():
        path.write_bytes(b"")
    code, said, status = call()
    assert code == 2
    assert "000000008.ckpt: damaged" in said
    assert "--overwrite" in said
    assert status["status"] == runs.FAILED
    assert "model.keras" not in left(again)


def test_another_setting_or_data_set_is_refused_with_the_difference(call, again, photos, tmp_path):
    before = {path: path.read_bytes() for path in again.rglob("*") if path.is_file()}
    code, said, _ = call("--gamma", 1)
    assert code == 2
    assert "holds a different run (--gamma: 2.0 there, 1.0 now)" in said
    other = shutil.copytree(photos, tmp_path / "photos")
    table = pd.read_csv(other / "labels.csv", dtype=str, keep_default_na=False)
    table.iloc[1:].to_csv(other / "labels.csv", index=False)
    code, said, status = call(data=other)
    assert code == 2
    assert "data: '" in said
    assert status["status"] == runs.KILLED
    assert {path: path.read_bytes() for path in again.rglob("*") if path.is_file()} == before


def test_two_processes_in_one_folder(call, again):
    with open(again / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, said, status = call()
    assert code == 2
    assert "another process is writing there; wait or stop it" in said
    assert status["status"] == runs.KILLED  # its own, as it was


def test_a_full_disk_while_saving(call, again, never_disturbed, monkeypatch):
    """The limit on a file's size stands for it: the write fails in the middle, in C too."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        code, said, status = call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert code == 1
    assert "000000012.ckpt: can't be written (File too large)" in said
    assert status["status"] == runs.FAILED
    assert "000000012.ckpt: can't be written" in status["reason"]
    assert {"000000007.ckpt", "000000008.ckpt"} <= left(again)
    assert not any(name.startswith(".tmp") for name in left(again))
    assert call()[0] == 0  # with room again
    kills.same(kills.content(again), never_disturbed)


def test_a_place_that_can_t_be_written_shows_before_training(call, again, monkeypatch):
    import keras

    monkeypatch.setattr(keras.Model, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    shutil.rmtree(again / "checkpoints")
    (again / "checkpoints").touch()
    code, said, status = call()
    assert (code, status["status"]) == (1, runs.FAILED)
    assert "checkpoints: can't be written" in said


def test_a_loss_that_is_no_number_is_never_the_best(call, tmp_path, monkeypatch):
    saved, save = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda run, step, *rest: saved.append(step) or save(run, step, *rest)
    )
    monkeypatch.setattr(callbacks.StopOnNaN, "on_train_batch_end", _nan_at(9))
    code, said, status = call("--checkpoint-steps", 1)
    assert code == 1
    assert "diverged, the loss became nan at step 3" in said
    assert status["status"] == runs.DIVERGED
    assert saved == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not {"model.keras", "predictions.csv"} & left(tmp_path / "run")


def _nan_at(step):
    original, seen = callbacks.StopOnNaN.on_train_batch_end, []

    def check(self, batch, logs=None):
        seen.append(batch)
        loss = float("nan") if len(seen) == step else logs["loss"]
        original(self, batch, {**logs, "loss": loss})

    return check


CUT = """
import os, signal, sys
import pandas as pd
from dermssl.core import atomic_files
path = sys.argv[1]
atomic_files.write_csv(path, pd.DataFrame({"a": range(1000)}))
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
atomic_files.write_csv(path, pd.DataFrame({"a": range(5000)}))
"""


def test_a_kill_while_a_table_is_written(tmp_path):
    with runs.open_run(tmp_path / "run", "grid", {"seed": 0}, "hash") as run:
        process = tiny.python("-c", CUT, run / "results.csv")
        assert process.returncode == -signal.SIGKILL
        assert len(pd.read_csv(run / "results.csv")) == 1000
        assert any(name.startswith(".tmp") for name in left(run.path))
    # The next process sweeps up what the killed one was writing, and nothing else.
    (tmp_path / "run" / ".tmp").touch()
    with runs.open_run(tmp_path / "run", "grid", {"seed": 0}, "hash"):
        assert left(tmp_path / "run") == {
            ".lock", ".tmp", "config.toml", "results.csv", "status.json",
        }  # fmt: skip

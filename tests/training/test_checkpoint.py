"""Checkpoints: whole or refused, two kept, nothing that runs."""

import hashlib
import io
import json
import logging
import math
import os
import pickle

import numpy as np
import pytest

from dermssl.core import runs
from dermssl.core.errors import RunFailed, UserError
from dermssl.training import checkpoint

ARRAYS = {
    "model": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64)],
    "metrics": [],
    "best": [np.array([np.nan, -0.0], np.float16)],
}


@pytest.fixture
def run(tmp_path):
    with runs.open_run(tmp_path / "run", "pretrain", {"seed": 0}, "hash") as made:
        yield made


def paths(run):
    return sorted((run / runs.CHECKPOINTS).iterdir())


def save(run, *steps):
    for step in steps:
        checkpoint.save(run, step, {"done": step}, ARRAYS)


def test_what_is_saved_comes_back_bit_for_bit(run):
    state = {"rows": [{"loss": 0.1 + 0.2, "name": "é"}], "best": -math.inf, "seconds": math.nan}
    checkpoint.save(run, 3, state, ARRAYS)
    found = checkpoint.load(run)
    assert found.state["rows"] == state["rows"]
    assert found.state["best"] == -math.inf
    assert math.isnan(found.state["seconds"])
    assert set(found.arrays) == set(ARRAYS)
    for name, wanted in ARRAYS.items():
        assert [(a.dtype, a.shape, a.tobytes()) for a in found.arrays[name]] == [
            (a.dtype, a.shape, a.tobytes()) for a in wanted
        ]


def test_the_two_newest_are_kept(run):
    assert checkpoint.load(run) is None
    save(run, 9, 10, 100, 1000)
    assert [path.name for path in paths(run)] == ["000000100.ckpt", "000001000.ckpt"]
    assert checkpoint.load(run).state["done"] == 1000
    checkpoint.clear(run)
    assert not (run / runs.CHECKPOINTS).exists()


def cut(data):
    return data[: len(data) // 2]


def flip(place):
    def change(data):
        at = int(place * (len(data) - 1))
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return change


DAMAGE = {
    "empty": lambda data: b"",
    "cut": cut,
    "one byte more": lambda data: data + b"\0",
    "another file": lambda data: b"<html>" * 100,
    **{f"bit at {place}": flip(place) for place in (0, 0.02, 0.3, 0.6, 1)},
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_falls_back_to_the_one_before_and_says_so(run, caplog, damage):
    save(run, 1, 2)
    newest = paths(run)[1]
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(run).state["done"] == 1
    (said,) = caplog.messages
    assert f"{newest}: damaged (" in said
    assert "going on from 000000001.ckpt" in said
    # What is saved next must not push the good one out in favour of the damaged one.
    assert [path.name for path in paths(run)] == ["000000001.ckpt"]


def test_without_a_whole_one_it_does_not_start_from_fresh_weights(run):
    save(run, 1, 2)
    for path in paths(run):
        path.write_bytes(cut(path.read_bytes()))
    said = r"000000002.ckpt: damaged \(its checksum is wrong\).*nor can 1 before it; run\.overwrite"
    with pytest.raises(UserError, match=said):
        checkpoint.load(run)
    assert len(paths(run)) == 2


def forge(run, **flat):
    """A checkpoint with a right checksum and these contents."""
    save(run, 5)
    file = io.BytesIO()
    np.savez(file, **flat)
    data = file.getvalue()
    digest = hashlib.sha256(data).hexdigest().encode()
    paths(run)[-1].write_bytes(checkpoint._MAGIC + digest + b"\n" + data)


def text(**state):
    return np.frombuffer(json.dumps({"format": checkpoint.FORMAT, **state}).encode(), np.uint8)


@pytest.mark.parametrize(
    ("flat", "said"),
    [
        ({"model/0": np.ones(3)}, "holds weights without metadata"),
        ({"state": text(), "model/0": np.ones(3)}, "holds weights without metadata"),
        ({"state": text(arrays={"model": 1})}, "metadata without its weights (model/0)"),
        ({"state": text(arrays={"model": 0}), "model/0": np.ones(1)}, "weights without metadata"),
        ({"state": text(arrays={}, format=99)}, "of format 99, this version reads 1"),
    ],
)
def test_half_a_checkpoint_is_refused_though_one_before_is_whole(run, flat, said):
    save(run, 1)
    forge(run, **flat)
    with pytest.raises(UserError) as error:
        checkpoint.load(run)
    assert said in str(error.value)
    assert "run.overwrite" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_checkpoint_never_runs_code(run, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    assert b"mkdir" in pickle.dumps(Bomb())
    forge(run, state=text(arrays={"model": 1}), **{"model/0": np.array([Bomb()], object)})
    with pytest.raises(UserError, match="allow_pickle=False"):
        checkpoint.load(run)
    assert not (tmp_path / "ran").exists()


def test_other_versions_are_said(run, caplog, monkeypatch):
    save(run, 1)
    now = {**runs.versions(), "tensorflow": "9.9"}
    monkeypatch.setattr(runs, "versions", lambda: now)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.load(run).state["done"] == 1
    assert "then, 9.9 now" in caplog.text


def test_a_folder_that_can_t_be_made(run):
    (run / runs.CHECKPOINTS).touch()
    with pytest.raises(RunFailed, match="checkpoints: can't be written"):
        checkpoint.load(run)


def test_a_full_disk_leaves_the_one_before(run, monkeypatch):
    save(run, 1)

    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunFailed, match="No space left on device; free some, then the same comm"):
        save(run, 2)
    assert [path.name for path in paths(run)] == ["000000001.ckpt"]
    assert checkpoint.load(run).state["done"] == 1


def test_overwriting_a_run_forgets_its_checkpoints(tmp_path):
    with runs.open_run(tmp_path, "pretrain", {"seed": 0}, "hash") as run:
        save(run, 1)
    with runs.open_run(tmp_path, "pretrain", {"seed": 1}, "hash", overwrite=True) as run:
        assert checkpoint.load(run) is None
    # Killed between two lines of the above: a folder without a status is a new run's.
    save(run, 1)
    (tmp_path / "status.json").unlink()
    with runs.open_run(tmp_path, "pretrain", {"seed": 2}, "hash") as run:
        assert checkpoint.load(run) is None

"""Out of memory: known by its errors, told in one line, and how much there is."""

import ctypes
import os

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tiny

from dermssl.core import memory, runs
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import Backbone, Data, Finetune, Grid, Pretrain
from dermssl.core.study_settings import Predict

CONFIG = {
    "data": Data(path="photos"),
    "backbone": Backbone(image_size=1024),
    "finetune": Finetune(batch_size=32),
    "seed": 0,
    "output": None,
}
LINE = (
    "out of memory at a batch of 32 photos of 1024 px: use a smaller finetune.batch_size or "
    "backbone.image_size"
)
LONG = "OOM when allocating tensor\n" + 200 * "node graph "
ERRORS = [
    MemoryError(),
    np._core._exceptions._ArrayMemoryError((10**9, 10**9), np.dtype(float)),
    tf.errors.ResourceExhaustedError(None, None, LONG),
    tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    cv2.error("OpenCV: Insufficient memory (Failed to allocate 9 bytes)"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_of_memory(error, tmp_path):
    assert memory.is_out_of_memory(error)
    with pytest.raises(RunFailed, match=LINE), memory.explained(CONFIG):
        raise error
    with pytest.raises(RunFailed, match=LINE), runs.open_run(tmp_path, "finetune", CONFIG, "d"):
        raise error
    status = runs.read_json(tmp_path / "status.json")
    assert (status["status"], status["reason"]) == (runs.FAILED, LINE)


@pytest.mark.parametrize(
    "error", [ValueError("out of memory"), tf.errors.InternalError(None, None, "nan"), OSError(28)]
)
def test_other_errors_are_themselves(error):
    assert not memory.is_out_of_memory(error)
    with pytest.raises(type(error)), memory.explained(CONFIG):
        raise error


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            {"backbone": Backbone(), "pretrain": Pretrain()},
            "a batch of 64 photos, two views each, of 224 px: use a smaller pretrain.batch_size or "
            "backbone.image_size",
        ),
        (
            {"backbone": Backbone(), "pretrain": Pretrain(batch_size=2048, chunk_size=64)},
            "a chunk of 64 in a batch of 2048 photos, two views each, of 224 px: use a smaller "
            "pretrain.chunk_size or pretrain.batch_size or backbone.image_size",
        ),
        ({"grid": Grid()}, "32 photos of 224 px: use a smaller grid.batch_size or grid.image_size"),
        ({"predict": Predict()}, "a batch of 32 photos: use a smaller predict.batch_size"),
        ({"seed": 0}, "out of memory: end other programs"),
    ],
)
def test_the_line_names_the_batch_the_size_and_what_to_set(config, line):
    assert line in memory.message(config)


def test_another_long_error_is_cut(tmp_path):
    error = tf.errors.InvalidArgumentError(None, None, 500 * "node\n")
    with (
        pytest.raises(tf.errors.InvalidArgumentError),
        runs.open_run(tmp_path, "finetune", CONFIG, "d"),
    ):
        raise error
    reason = runs.read_json(tmp_path / "status.json")["reason"]
    assert reason.startswith("InvalidArgumentError: node node")
    assert len(reason) <= 400


def test_what_ran_out_of_memory_may_be_tried_with_less(tmp_path):
    with pytest.raises(RunFailed), runs.open_run(tmp_path, "finetune", CONFIG, "d"):
        raise MemoryError
    smaller = CONFIG | {"finetune": Finetune(batch_size=4)}
    assert not runs.is_finished(tmp_path, "finetune", smaller, "d")
    with pytest.raises(RunFailed), runs.open_run(tmp_path, "finetune", smaller, "d") as run:  # noqa: PT012
        assert run.status["config"]["finetune"]["batch_size"] == 4
        assert runs.NO_MEMORY not in run.status
        (run / runs.CHECKPOINTS).mkdir()
        (run / runs.CHECKPOINTS / "step").touch()
        raise MemoryError
    with pytest.raises(UserError, match="holds a different run"):  # it has something to lose
        runs.is_finished(tmp_path, "finetune", CONFIG, "d")


def test_a_limit_of_the_shell_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory.resource, "getrlimit", lambda which: (10_000_000, -1))
    (tmp_path / "self").mkdir()
    page = memory.resource.getpagesize()
    (tmp_path / "self" / "statm").write_text("100 20 3\n")
    assert memory.available(tmp_path, tmp_path) == 10_000_000 - 100 * page


def test_available_is_the_least_of_machine_and_container(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    assert memory.available(proc, groups) is None
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 99 kB\nMemAvailable:  2000 kB\nSwapFree: 24 kB\n")
    assert memory.available(proc, groups) == 2024 * 1024
    (groups / "job").mkdir(parents=True)
    (groups / "memory.max").write_text("max\n")
    assert memory.available(proc, groups) == 2024 * 1024
    (proc / "self" / "cgroup").write_text("0::/job\n")
    (groups / "job" / "memory.max").write_text("1000000\n")
    assert memory.available(proc, groups) == 1_000_000
    (groups / "memory").mkdir()  # version 1
    (groups / "memory" / "memory.limit_in_bytes").write_text("5000\n")
    assert memory.available(proc, groups) == 5000


def test_total_and_the_container_s_limit(tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    assert memory.total(proc) is None
    assert memory.limit(proc, groups) is None
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 4000 kB\nMemAvailable:  2000 kB\nHugePages_Total: 0\n")
    assert memory.total(proc) == 4_096_000
    (groups / "memory").mkdir(parents=True)
    (groups / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # no limit
    assert memory.limit(proc, groups) is None
    (groups / "memory.max").write_text("3000000\n")
    assert memory.limit(proc, groups) == 3_000_000


def test_gpu_memory_is_what_its_tool_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.of_gpu() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 8192\necho 16384\n")
    tool.chmod(0o755)
    assert memory.of_gpu() == 16384 * 2**20
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert memory.of_gpu() is None


FAULTS = """
import resource
import sys
from dermssl.core import memory

def faults():  # pages that the system had to clear
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"1" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = memory.keep_freed() if sys.argv[1] == "kept" else None
faults()
print(kept, faults())
"""


@pytest.mark.parametrize(
    ("wish", "environment", "answer", "again"),
    [
        ("plain", {}, "None", True),
        ("kept", {}, "True", False),
        ("kept", {"MALLOC_TRIM_THRESHOLD_": "100000"}, "False", True),
    ],
)
def test_freed_memory_is_given_out_again(monkeypatch, wish, environment, answer, again):
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library isn't GNU's")
    for name in [name for name in os.environ if name.startswith(("GLIBC", "MALLOC"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ended = tiny.python("-c", FAULTS, wish, cwd=tiny.ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    told, faults = ended.stdout.split()
    assert told == answer
    assert (int(faults) > 1000) == again

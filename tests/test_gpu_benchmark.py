"""benchmarks/gpu.py without a GPU: its quick form, its table, and what it does where memory or time
runs out."""

import json
import sys

import pytest
import tiny

FOLDER = tiny.ROOT / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu

    return gpu


@pytest.fixture
def sides(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_sides

    return gpu_sides


def case(batches, source="synthetic", **options):
    return {"network": "n", "size": 32, "batches": batches, "precision": "float32", "jit": False,
            "remat": False, "input": source} | options  # fmt: skip


class Side:
    """Has memory for batches up to 64."""

    def __init__(self, case):
        self.case = case

    def step(self, batch):
        if batch > 64:
            raise MemoryError("OOM when allocating tensor")
        if self.case["network"] == "odd":
            raise ValueError("no such network\nsecond line")
        return lambda: 1.5

    def peak_mib(self):
        return 100.0


def test_a_batch_without_memory_is_a_row_and_so_are_larger_ones(sides, monkeypatch):
    monkeypatch.setitem(sides.SIDES, "fake", Side)
    cases = [case([32, 128, 256]), case([32], network="odd"), case([16])]
    rows = list(sides.answers({"side": "fake", "seconds": 60, "cases": cases}))
    assert [row["batch"] for row in rows] == [32, 128, 256, 32, 16]
    assert [row.get("failed") for row in rows] == [
        None, "out of memory", "out of memory", "no such network", None
    ]  # fmt: skip
    assert rows[0]["finite"]
    assert rows[0]["photos_per_second"] > 0
    late = list(sides.answers({"side": "fake", "seconds": -1, "cases": cases}))
    assert [row["left_out"] for row in late] == [True] * 5


def test_a_process_that_dies_costs_its_case_alone(gpu, monkeypatch):
    cases = [case([8, 16]), case([8, 16], remat=True), case([8], "photos")]
    asked = []

    def process(task, python):
        asked.append([one["batches"] for one in task["cases"]])
        if len(asked) == 1:  # dies in the second batch of the second case
            good = [(task["cases"][k], b) for k, b in ((0, 8), (0, 16), (1, 8))]
        else:
            good = [(task["cases"][0], 8)]
        return [{**one, "batch": b, "photos_per_second": 10.0} for one, b in good], "exit code -6"

    monkeypatch.setattr(gpu, "_process", process)
    rows = gpu.run("ours", cases, 60, sys.executable)
    assert asked == [[[8, 16], [8, 16], [8]], [[8]]]
    assert [(row["batch"], row["remat"], row["input"], row.get("failed")) for row in rows] == [
        (8, False, "synthetic", None), (16, False, "synthetic", None),
        (8, True, "synthetic", None), (16, True, "synthetic", "exit code -6"),
        (8, False, "photos", None),
    ]  # fmt: skip
    assert [row["left_out"] for row in gpu.run("ours", cases, 0, sys.executable)] == [True] * 5


def test_the_table(gpu):
    known = {"step_seconds": 0.1, "peak_mib": 2048.4, "finite": True, "side": "ours"}
    rows = [
        {**case([64]), **known, "batch": 64, "photos_per_second": 640.0,
         "first_step_seconds": 40.0},
        {**case([64], "photos"), **known, "batch": 64, "photos_per_second": 480.0,
         "first_step_seconds": None},
        {**case([512]), "side": "ours", "batch": 512, "failed": "out of memory"},
        {**case([64], remat=True), "side": "ours", "batch": 64, "left_out": True},
    ]  # fmt: skip
    assert gpu.table(rows)[2:] == [
        "| n | step | float32 | 64 | 640.0 | 1.00 | 40.0 | 2048 |",
        "| n | end to end | float32 | 64 | 480.0 | 0.75 |  | 2048 |",
        "| n | step | float32 | 512 | out of memory | | | |",
    ]


def test_without_a_gpu_it_is_one_line(gpu, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "device", lambda quick: None)
    assert gpu.main([]) == 2
    assert capsys.readouterr().out == (
        "TensorFlow sees no GPU here; --quick tries the benchmark out on the CPU\n"
    )


@pytest.mark.slow
def test_its_quick_form_runs(tmp_path):
    ended = tiny.python(FOLDER / "gpu.py", "--quick", "--check", "--json", tmp_path / "gpu.json")
    assert ended.returncode == 0, ended.stdout + ended.stderr[-2000:]
    rows = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert {(row["input"], row["remat"]) for row in rows} == {
        ("synthetic", False), ("photos", False), ("synthetic", True)
    }  # fmt: skip
    assert all(row["photos_per_second"] > 0 for row in rows)
    assert "| cnn | end to end | float32 | 4 |" in ended.stdout

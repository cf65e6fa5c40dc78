"""The grid's report says what its numbers show: planted differences, ties, flags."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import runs, taxonomy
from dermssl.evaluation.resampling import Interval
from dermssl.reporting import grid_findings, grid_read, grid_report, results

N = 200
Y = np.arange(N) % 2


def probabilities(wrong):
    """Predictions that are right but for the records in `wrong`; surer for higher numbers."""
    hit = ~np.isin(np.arange(N), wrong)
    p_true = np.where(hit, 0.6, 0.4) + np.where(hit, 1, -1) * np.arange(N) / 1000
    p = np.empty((N, 2))
    p[np.arange(N), Y] = p_true
    p[np.arange(N), 1 - Y] = 1 - p_true
    return p


def write_grid(folder, cells, seeds=(0, 1, 2), failed=()):
    """A folder as `dermssl.grid` leaves it, from dict of (depth, augmentation) -> wrong records."""
    names = taxonomy.flat(("mel", "nv"))
    settings = {
        "models": ["mobilenet"], "augmentations": list(dict.fromkeys(a for _, a in cells)),
        "depths": sorted({d for d, _ in cells}), "seeds": list(seeds), "folds": 0, "epochs": 3,
        "learning_rate": 1e-3, "batch_size": 32, "batchnorm": "train", "depth_unit": "layers",
    }  # fmt: skip
    (folder / "cells").mkdir(parents=True)
    runs.write_json(folder / "taxonomy.json", names.as_dict())
    runs.write_json(folder / "root.json", {"root": str(folder)})
    runs.write_json(folder / "status.json", {
        "status": "FINISHED", "data_hash": "d" * 12, "config_hash": "c" * 12, "versions": {},
        "config": {"grid": settings, "data": {"group_by": "auto"}},
    })  # fmt: skip
    records = {
        "path": [f"{k}.jpg" for k in range(N)], "fine": [names.fine[y] for y in Y],
        "coarse": [names.fine[y] for y in Y],
        "lesion_id": [f"L{k // 2}" for k in range(N)], "patient_id": "", "split": "test", "fold": 0,
    }  # fmt: skip
    runs.write_csv(folder / "records.csv", pd.DataFrame(records))
    for (depth, augmentation), wrong in cells.items():
        for seed in seeds:
            name = f"mobilenet-depth_{depth}-{augmentation}-seed{seed}"
            ok = (depth, augmentation) not in failed
            if ok:
                shifted = (np.asarray(wrong, int) + seed) % N
                np.savez(
                    folder / "cells" / f"{name}.npz",
                    probabilities=probabilities(shifted), losses=np.array([0.7, 0.6, 0.5]),
                )  # fmt: skip
            results.append_row(folder / "results.csv", {
                "cell": name, "model": "mobilenet", "depth": depth, "augmentation": augmentation,
                "seed": seed, "fold": np.nan, "status": "FINISHED" if ok else "FAILED",
                "reason": "" if ok else "out of memory", "arm": "none", "image_size": 50,
                "trains_no_kernel": int(depth == 2), "unfrozen_layers": "" if depth == 2 else "c13",
                "trainable_parameters": 10 * depth, "seconds": 2.0,
            })  # fmt: skip
    return folder


CLEAR = {
    (2, "none"): range(90), (4, "none"): range(10), (2, "flip_hv"): range(80),
    (4, "flip_hv"): range(60),
}  # fmt: skip
TIED = {(2, "none"): range(20), (4, "none"): range(1, 22)}


def test_a_clear_winner_is_bold_and_said_to_be_one(tmp_path):
    text = grid_report.write(write_grid(tmp_path / "g", CLEAR)).read_text()
    assert "| none | 0.550 ± 0.000 | **0.950 ± 0.000** |" in text
    assert text.count("**0") == 1
    assert "the highest cell is depth 4, none, mean accuracy 0.950" in text
    assert "It is better than each of 3 other cells." in text
    assert "Depth matters, against depth 2: depth 4 is" in text
    assert "It ties" not in text
    assert "Highest, and better than each other cell: depth 4, none (bold)." in text
    assert "Fewer than 3 seeds" not in text


def test_a_grid_no_better_than_one_answer_says_so(tmp_path):
    text = grid_report.write(write_grid(tmp_path / "g", {(2, "none"): range(104)})).read_text()
    assert "Always answering mel scores 0.500: no cell is shown to do better than that." in text
    better = grid_report.write(write_grid(tmp_path / "b", CLEAR)).read_text()
    assert "Always answering" not in better


def test_a_model_trained_whole_has_no_depths(tmp_path):
    text = grid_report.write(write_grid(tmp_path / "g", {(-1, "none"): range(20)})).read_text()
    assert "mobilenet was trained whole" in text


def test_a_tie_is_not_bold_and_is_named(tmp_path):
    text = grid_report.write(write_grid(tmp_path / "g", TIED, seeds=(0, 1))).read_text()
    assert "**0" not in text
    assert "Highest: depth 2, none; ties with depth 4, none." in text
    assert "It ties with 1 of 1 other cell (depth 4, none)" in text
    assert "No effect of depth is shown" in text
    assert "better than each of" not in text
    assert "Fewer than 3 seeds" in text


def test_the_pivot_and_the_counts(tmp_path):
    folder = write_grid(tmp_path / "g", CLEAR)
    grid_report.write(folder)
    table = pd.read_csv(folder / "pivot_mobilenet.csv", index_col="augmentation")
    assert table.loc["none"].tolist() == pytest.approx([0.55, 0.95])
    assert table.loc["flip_hv"].tolist() == pytest.approx([0.60, 0.70])
    for name in ("heat_map", "curves", "confusion_mobilenet"):
        assert (folder / f"{name}.png").stat().st_size > 1000
    assert (folder / "report.html").read_text().count("data:image/png;base64,") == 3


def test_failures_and_cells_without_a_kernel_are_flagged(tmp_path):
    folder = write_grid(tmp_path / "g", CLEAR, failed=[(4, "flip_hv")])
    text = grid_report.write(folder).read_text()
    assert "3 cells have no result" in text
    assert "mobilenet-depth_4-flip_hv-seed0: FAILED, out of memory" in text
    assert "| flip_hv | 0.600 ± 0.000 | n/a |" in text
    assert "mobilenet at depth 2 trains no kernel" in text
    assert "| 4 | 40 | c13 |" in text


def test_nothing_finished_is_a_report_too(tmp_path):
    folder = write_grid(tmp_path / "g", TIED, failed=list(TIED))
    assert "No cell has finished" in grid_report.write(folder).read_text()


def test_mcnemar_and_holm_of_the_best(tmp_path):
    grid = grid_read.read(write_grid(tmp_path / "g", CLEAR, seeds=(0,)))
    best = grid_findings.best(grid, "mobilenet")
    by_key = {each.other[1:]: each for each in best.against}
    # 80 records that depth 2 alone gets wrong: (80 - 1)^2 / 80 = 78.01, chi-square, 1 df
    assert by_key["none", 2].p == pytest.approx(1.0e-18, rel=0.5)
    smallest = min(best.against, key=lambda each: each.p)
    assert smallest.holm == pytest.approx(3 * smallest.p)
    assert by_key["none", 2].difference.estimate == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Interval(0.05, 0.01, 0.09), "Depth matters, against depth 2: depth 4 is 0.050 above"),
        (Interval(-0.05, -0.09, -0.01), "depth 4 is 0.050 below (difference [-0.090, -0.010])."),
        (Interval(0.05, -0.01, 0.09), "differences up to 0.090 can't be ruled out"),
        (Interval(0.0, 0.0, 0.0), "with equal predictions"),
        (Interval(0.05, np.nan, np.nan), "No effect of depth is shown: every depth ties"),
    ],
)
def test_sentences_follow_the_interval(difference, said):
    sentence = grid_findings._effect_sentence("depth", 2, [(4, difference)])
    assert said in sentence


def test_the_surest_misses_are_misses_in_order(tmp_path):
    from dermssl.reporting import figures_grid

    p = probabilities([3, 50, 120])
    assert figures_grid.surest(p, Y, right=False).tolist() == [120, 50, 3]
    assert figures_grid.surest(p, Y, right=True)[0] == N - 1


def test_reports_load_no_tensorflow():
    code = "import sys, dermssl.reporting.grid_report as _; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tiny.ROOT)

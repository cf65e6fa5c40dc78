"""The grid's report says what its numbers show: planted differences, ties, flags."""

import subprocess
import sys

import numpy as np
import pages
import pandas as pd
import pytest
import tiny

from dermssl.core import atomic_files, taxonomy
from dermssl.evaluation.interval import Interval
from dermssl.reporting import results_csv
from dermssl.studies.grid import findings, read, report

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


def write_grid(folder, cells, seeds=(0, 1, 2), failed=(), lost=(), more=None, **settings):
    """A folder as `dermssl.grid` leaves it.

    `cells` and `more`, of a second model, are dicts of (depth, augmentation) -> wrong records, in
    each seed moved on by it. `failed` are keys of these, `lost` are (*key, seed).
    """
    names = taxonomy.flat(("mel", "nv"))
    models = {"mobilenet": cells} | ({"densenet121": more} if more else {})
    settings = {
        "models": list(models), "augmentations": list(dict.fromkeys(a for _, a in cells)),
        "depths": sorted({d for d, _ in cells}), "seeds": list(seeds), "folds": 0, "epochs": 3,
        "learning_rate": 1e-3, "batch_size": 32, "batchnorm": "train", "depth_unit": "layers",
        "feature_dtype": "float32", "shared_trunk": True,
    } | settings  # fmt: skip
    (folder / "cells").mkdir(parents=True)
    atomic_files.write_json(folder / "taxonomy.json", names.as_dict())
    atomic_files.write_json(folder / "root.json", {"root": str(folder)})
    atomic_files.write_json(folder / "status.json", {
        "status": "FINISHED", "data_hash": "d" * 12, "config_hash": "c" * 12, "versions": {},
        "config": {"grid": settings, "data": {"group_by": "auto"}},
    })  # fmt: skip
    records = {
        "path": [f"{k}.jpg" for k in range(N)], "fine": [names.fine[y] for y in Y],
        "coarse": [names.fine[y] for y in Y],
        "lesion_id": [f"L{k // 2}" for k in range(N)], "patient_id": "", "split": "test", "fold": 0,
    }  # fmt: skip
    atomic_files.write_csv(folder / "records.csv", pd.DataFrame(records))
    every = [(model, *key, wrong) for model, own in models.items() for key, wrong in own.items()]
    for model, depth, augmentation, wrong in every:
        for seed in seeds:
            name = f"{model}-depth_{depth}-{augmentation}-seed{seed}"
            ok = (depth, augmentation) not in failed and (depth, augmentation, seed) not in lost
            if ok:
                shifted = (np.asarray(wrong, int) + seed) % N
                np.savez(
                    folder / "cells" / f"{name}.npz",
                    probabilities=probabilities(shifted), losses=np.array([0.7, 0.6, 0.5]),
                )  # fmt: skip
            results_csv.append_row(folder / "results.csv", {
                "cell": name, "model": model, "depth": depth, "augmentation": augmentation,
                "seed": seed, "fold": np.nan, "status": "FINISHED" if ok else "FAILED",
                "reason": "" if ok else "out of memory", "arm": "none", "image_size": 50,
                "trains_no_kernel": int(depth == 2), "unfrozen_layers": "" if depth == 2 else "c13",
                "trainable_parameters": 10 * depth if ok else np.nan, "seconds": 2.0,
                "config_hash": "c" * 12, "data_hash": "d" * 12, "versions": "keras 3",
            })  # fmt: skip
    return folder


CLEAR = {
    (2, "none"): range(90), (4, "none"): range(10), (2, "flip_hv"): range(80),
    (4, "flip_hv"): range(60),
}  # fmt: skip
TIED = {(2, "none"): range(20), (4, "none"): range(1, 22)}


def test_a_clear_winner_is_bold_and_said_to_be_one(tmp_path):
    text = report.write(write_grid(tmp_path / "g", CLEAR)).read_text()
    assert "| none | 0.550 ± 0.000 | **0.950 ± 0.000** |" in text
    assert text.count("**0") == 1
    assert "the highest cell is depth 4, none, mean accuracy 0.950" in text
    assert "It is better than each of 3 other cells." in text
    assert "Depth matters, against depth 2: depth 4 is" in text
    assert "It ties" not in text
    assert "Highest, and better than each other cell: depth 4, none (bold)." in text
    assert "Fewer than 3 seeds" not in text


def test_a_grid_no_better_than_one_answer_says_so(tmp_path):
    text = report.write(write_grid(tmp_path / "g", {(2, "none"): range(104)})).read_text()
    assert "Always answering mel scores 0.500: it is not shown to do better than that." in text
    better = report.write(write_grid(tmp_path / "b", CLEAR)).read_text()
    assert "Always answering" not in better
    perfect = {(2, "none"): [], (4, "none"): range(60)}
    text = report.write(write_grid(tmp_path / "p", perfect)).read_text()
    assert "mean accuracy 1.000 (95% interval \\[0.963, 1.000\\])" in text
    assert "Always answering" not in text


def test_a_model_trained_whole_has_no_depths(tmp_path):
    cells = {(-1, "none"): range(20)}
    text = report.write(write_grid(tmp_path / "g", cells, depths=[2, 4])).read_text()
    assert "mobilenet was trained whole: from scratch" in text
    asked = report.write(write_grid(tmp_path / "a", cells)).read_text()
    assert "was trained whole" not in asked  # --depths -1


def test_a_cell_that_lost_a_seed_is_shown_and_not_ranked(tmp_path):
    """Its bad seed is gone, so that its mean looks the highest."""
    cells = {(2, "none"): range(60), (4, "none"): range(10), (6, "none"): range(70)}
    folder = write_grid(tmp_path / "g", cells, lost=[(4, "none", 0)])
    text = report.write(folder).read_text()
    assert "the highest cell is depth 2, none" in text
    assert "| none | **0.700 ± 0.000** | 0.950 ± 0.000 (2 of 3 seeds) | 0.650 ± 0.000 |" in text
    assert "Not compared, as a seed has no result: depth 4, none." in text
    assert "Depth matters, against depth 2: depth 6 is 0.050 below" in text
    assert "depth 4 is" not in text
    table = pd.read_csv(folder / "pivot_mobilenet.csv", index_col="augmentation")
    assert table.loc["none"].isna().tolist() == [False, True, False]
    assert "1 cell has no result:\n\n- mobilenet-depth_4-none-seed0: FAILED" in text


def test_without_a_whole_cell_nothing_is_compared(tmp_path):
    folder = write_grid(tmp_path / "g", TIED, lost=[(2, "none", 0), (4, "none", 2)])
    text = report.write(folder).read_text()
    assert "mobilenet: no cell has all its seeds, so that none is compared." in text
    assert "highest cell is" not in text
    assert "(2 of 3 seeds)" in text


def test_without_the_reference_an_axis_is_not_spoken_of(tmp_path):
    text = report.write(write_grid(tmp_path / "g", CLEAR, failed=[(2, "none"), (4, "none")]))
    text = text.read_text()
    assert "Of augmentation nothing is said: none, which the others would be" in text
    assert "ugmentation matters" not in text
    assert "Depth matters, against depth 2: depth 4" in text


def test_models_are_held_against_the_first(tmp_path):
    worse = {key: range(len(wrong) + 40) for key, wrong in CLEAR.items()}
    folder = write_grid(tmp_path / "g", CLEAR, more=worse)
    text = report.write(folder).read_text()
    assert "Model matters, against mobilenet: densenet121 is 0.200 below (difference" in text
    assert "| densenet121 | `none` | 50 | 0.500 (4) | depth 4, none | 0.750 (" in text
    assert (folder / "pivot_densenet121.csv").exists()
    same = report.write(write_grid(tmp_path / "s", CLEAR, more=CLEAR)).read_text()
    assert "No effect of model is shown: every model ties with mobilenet" in same


def test_cells_of_one_seed_are_one_draw_of_its_luck(tmp_path):
    """Four augmentations with the same predictions tell no more than one does."""
    names = ("none", "flip_hv", "brightness", "skin")
    cells = {(2, name): range(60) for name in names} | {(4, name): range(50) for name in names}
    one = {key: wrong for key, wrong in cells.items() if key[1] == "none"}
    effects = [
        findings.axis_effects(read.read(write_grid(tmp_path / str(k), made)), "mobilenet",
                                   "depth")[1]
        for k, made in enumerate((cells, one))
    ]  # fmt: skip
    assert effects[0] == effects[1]


def test_cells_of_different_versions_are_told(tmp_path):
    folder = write_grid(tmp_path / "g", TIED)
    assert "different versions" not in report.write(folder).read_text()
    table = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(table.replace("keras 3", "keras 4", 2))
    assert "different versions" in report.write(folder).read_text()


def test_a_tie_is_not_bold_and_is_named(tmp_path):
    text = report.write(write_grid(tmp_path / "g", TIED, seeds=(0, 1))).read_text()
    assert "**0" not in text
    assert "Highest: depth 2, none; ties with depth 4, none." in text
    assert "It ties with 1 of 1 other cell (depth 4, none)" in text
    assert "No effect of depth is shown" in text
    assert "better than each of" not in text
    assert "Fewer than 3 seeds" in text


def test_the_pivot_and_the_counts(tmp_path):
    folder = write_grid(tmp_path / "g", CLEAR)
    report.write(folder)
    table = pd.read_csv(folder / "pivot_mobilenet.csv", index_col="augmentation")
    assert table.loc["none"].tolist() == pytest.approx([0.55, 0.95])
    assert table.loc["flip_hv"].tolist() == pytest.approx([0.60, 0.70])
    for name in ("heat_map", "curves", "confusion_mobilenet"):
        assert (folder / f"{name}.png").stat().st_size > 1000
    assert len(pages.check(folder)) == 3


def test_failures_and_cells_without_a_kernel_are_flagged(tmp_path):
    folder = write_grid(tmp_path / "g", CLEAR, failed=[(4, "flip_hv")])
    text = report.write(folder).read_text()
    assert "3 cells have no result" in text
    assert "mobilenet-depth_4-flip_hv-seed0: FAILED, out of memory" in text
    assert "| flip_hv | 0.600 ± 0.000 | n/a |" in text
    assert "mobilenet at depth 2 trains no kernel" in text
    assert "| 4 | 40 | c13 |" in text


def test_nothing_finished_is_a_report_too(tmp_path):
    folder = write_grid(tmp_path / "g", TIED, failed=list(TIED))
    assert "No cell has finished" in report.write(folder).read_text()


def test_mcnemar_and_holm_of_the_best(tmp_path):
    grid = read.read(write_grid(tmp_path / "g", CLEAR, seeds=(0,)))
    best = findings.bests(grid)["mobilenet"]
    by_key = {each.other[1:]: each for each in best.against}
    # One photo of each of 100 lesions; of these depth 2 alone gets 40 wrong:
    # (40 - 1)^2 / 40 = 38.03, chi-square, 1 df
    assert by_key["none", 2].p == pytest.approx(7.0e-10, rel=0.05)
    smallest = min(best.against, key=lambda each: each.p)
    assert smallest.holm == pytest.approx(3 * smallest.p)
    assert by_key["none", 2].difference.estimate == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Interval(0.05, 0.01, 0.09), "Depth matters, against depth 2: depth 4 is 0.050 above"),
        (Interval(-0.05, -0.09, -0.01), "depth 4 is 0.050 below (difference [-0.090, -0.010])."),
        (Interval(-0.05, -0.09, -0.0002), "(difference [-0.090, -0.0002])."),
        (Interval(0.05, -0.01, 0.09), "differences up to 0.090 can't be ruled out"),
        (Interval(0.0, 0.0, 0.0), "each lesion has equally many hits"),
        (Interval(0.05, np.nan, np.nan), "Of depth 4 against depth 2 nothing can be said"),
    ],
)
def test_sentences_follow_the_interval(difference, said):
    sentence = findings.effect_sentence("depth", "depth 2", [("depth 4", difference)])
    assert said in sentence


def test_holm_is_over_the_tests_of_all_models(tmp_path):
    grid = read.read(write_grid(tmp_path / "g", CLEAR, more=CLEAR))
    every = [each for best in findings.bests(grid).values() for each in best.against]
    assert len(every) == 6
    smallest = min(every, key=lambda each: each.p)
    assert smallest.holm == pytest.approx(6 * smallest.p)
    assert every[0].difference.level == pytest.approx(1 - 0.05 / 3)


def test_the_surest_misses_are_misses_in_order(tmp_path):
    from dermssl.studies.grid import figures

    p = probabilities([3, 50, 120])
    assert figures.surest(p, Y, right=False).tolist() == [120, 50, 3]
    assert figures.surest(p, Y, right=True)[0] == N - 1


def test_reports_load_no_tensorflow():
    code = "import sys, dermssl.studies.grid.report as _; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tiny.ROOT)

"""The grid's report says what its numbers show: planted differences, ties, flags."""

import subprocess
import sys

import numpy as np
import pages
import pandas as pd
import pytest
import tiny
from scipy import stats

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


def write_grid(
    folder, cells, seeds=(0, 1, 2), failed=(), lost=(), more=None, luck=(), more_luck=(), **settings
):  # fmt: skip
    """A folder as `dermssl.grid` leaves it.

    `cells` and `more`, of a second model, are dicts of (depth, augmentation) -> wrong records, in
    each seed moved on by it. `failed` are keys of these, `lost` are (*key, seed). `luck` and
    `more_luck` are how many more records a seed gets wrong, by its place.
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
        bad = more_luck if model == "densenet121" else luck
        for place, seed in enumerate(seeds):
            name = f"{model}-depth_{depth}-{augmentation}-seed{seed}"
            ok = (depth, augmentation) not in failed and (depth, augmentation, seed) not in lost
            if ok:
                wrong_here = np.asarray(wrong, int)
                if bad:
                    wrong_here = np.append(wrong_here, 100 + np.arange(bad[place]))
                shifted = (wrong_here + seed) % N
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


def report_of(folder):
    """The text of the report, which is written first."""
    report.write(folder)
    return (folder / "report.md").read_text()


def test_a_clear_winner_is_bold_and_said_to_be_one(tmp_path):
    text = report_of(write_grid(tmp_path / "g", CLEAR))
    assert "| none | 0.550 ± 0.000 | **0.950 ± 0.000** |" in text
    assert text.count("**0") == 1
    assert "the highest cell is depth 4, none, mean accuracy 0.950" in text
    assert "As the highest of 4 it is likely too high: the mean of all 4 is 0.700." in text
    assert "It is shown to be better than each of the 3 other cells." in text
    assert "Depth makes a difference, against depth 2: depth 4 +0.250 (" in text
    assert "Augmentation makes a difference, against 'none': flip_hv −0.100 (" in text
    assert "not told apart" not in text
    assert "Highest, and shown to be better than each other cell: depth 4, none (bold)." in text
    assert "One seed" not in text
    assert "McNemar" not in text


def test_cells_that_are_equally_high_are_said_to_tie(tmp_path):
    cells = {(2, "none"): range(20), (4, "none"): range(20), (6, "none"): range(40)}
    text = report_of(write_grid(tmp_path / "g", cells))
    assert "mobilenet: 2 of 3 cells tie for the highest mean accuracy 0.900 (" in text
    assert "all 3 cells together): depth 2, none; depth 4, none." in text
    assert "the highest cell is" not in text
    assert "Highest: depth 2, none (and 1 as high); not told apart from" in text


def test_a_grid_no_better_than_one_answer_says_so(tmp_path):
    text = report_of(write_grid(tmp_path / "g", {(2, "none"): range(104)}))
    assert "Always answering mel scores 0.500: it is not shown to do better than that." in text
    assert "There is one cell, so nothing is compared." in text
    assert "likely too high: " not in text
    better = report_of(write_grid(tmp_path / "b", CLEAR))
    assert "Always answering" not in better
    text = report_of(write_grid(tmp_path / "p", {(2, "none"): [], (4, "none"): range(60)}))
    # All of 100 lesions, Wilson's lower bound n / (n + z^2), z of 97.5% for two cells
    z = stats.norm.ppf(1 - 0.05 / 2 / 2)
    low = f"{100 / (100 + z**2):.3f}"
    assert f"mean accuracy 1.000 (97.5% interval {low} to 1.000; holds for both cells" in text
    assert "It is shown to be better than the other cell." in text
    assert "Always answering" not in text


def test_a_model_trained_whole_has_no_depths(tmp_path):
    cells = {(-1, "none"): range(20)}
    text = report_of(write_grid(tmp_path / "g", cells, depths=[2, 4]))
    assert "mobilenet was trained whole: from scratch" in text
    asked = report_of(write_grid(tmp_path / "a", cells))
    assert "was trained whole" not in asked  # --depths -1


def test_a_cell_that_lost_a_seed_is_shown_and_not_ranked(tmp_path):
    """Its bad seed is gone, so that its mean looks the highest."""
    cells = {(2, "none"): range(60), (4, "none"): range(10), (6, "none"): range(90)}
    folder = write_grid(tmp_path / "g", cells, lost=[(4, "none", 0)])
    text = report_of(folder)
    assert "the highest cell is depth 2, none" in text
    assert "| none | **0.700 ± 0.000** | 0.950 ± 0.000 (2 of 3 seeds) | 0.550 ± 0.000 |" in text
    assert "Not compared, as a seed has no result: depth 4, none." in text
    assert "Depth makes a difference, against depth 2: depth 6 −0.150 (" in text
    assert "depth 4 +" not in text
    table = pd.read_csv(folder / "pivot_mobilenet.csv", index_col="augmentation")
    assert table.loc["none"].isna().tolist() == [False, True, False]
    assert "1 cell has no result:\n\n- mobilenet-depth_4-none-seed0: FAILED" in text


def test_without_a_whole_cell_nothing_is_compared(tmp_path):
    text = report_of(write_grid(tmp_path / "g", TIED, lost=[(2, "none", 0), (4, "none", 2)]))
    assert "mobilenet: no cell has all its seeds, so that none is compared." in text
    assert "highest cell is" not in text
    assert "(2 of 3 seeds)" in text


def test_without_the_reference_an_axis_is_not_spoken_of(tmp_path):
    text = report_of(write_grid(tmp_path / "g", CLEAR, failed=[(2, "none"), (4, "none")]))
    assert "Of the augmentation nothing is said: none, which the others would be" in text
    assert "ugmentation makes" not in text
    assert "No depth is told apart" in text or "Depth makes a difference" in text


def test_models_are_held_against_the_first(tmp_path):
    worse = {key: range(len(wrong) + 40) for key, wrong in CLEAR.items()}
    folder = write_grid(tmp_path / "g", CLEAR, more=worse)
    text = report_of(folder)
    assert "Model makes a difference, against mobilenet: densenet121 −0.200 (" in text
    assert "| densenet121 | `none` | 50 | 0.500 (4) | depth 4, none | 0.750 (" in text
    assert (folder / "pivot_densenet121.csv").exists()
    same = report_of(write_grid(tmp_path / "s", CLEAR, more=CLEAR))
    assert "Of the model nothing can be said, against mobilenet: too few" in same
    assert "the same answers (densenet121 0.000 (n/a))" in same
    near = {key: range(2, len(wrong) + 2) for key, wrong in CLEAR.items()}
    near = report_of(write_grid(tmp_path / "n", CLEAR, more=near))
    assert "No model is told apart from mobilenet: differences up to 0.0" in near


def test_cells_of_one_seed_are_one_draw_of_its_luck(tmp_path):
    """Four augmentations with the same predictions tell no more than one does."""
    names = ("none", "flip_hv", "brightness", "skin")
    cells = {(2, name): range(60) for name in names} | {(4, name): range(50) for name in names}
    one = {key: wrong for key, wrong in cells.items() if key[1] == "none"}
    found = []
    for k, made in enumerate((cells, one)):
        grid = read.read(write_grid(tmp_path / str(k), made, luck=[0, 14, 4]))
        ((_, interval),) = findings.axis_effects(grid, "mobilenet", "depth")[1]
        found.append((interval.estimate, interval.record_variance, interval.seed_variance,
                      interval.df))  # fmt: skip
    assert found[0] == pytest.approx(found[1])
    assert found[0][2] > 0


def test_cells_of_different_versions_are_told(tmp_path):
    folder = write_grid(tmp_path / "g", TIED)
    assert "different versions" not in report_of(folder)
    table = (folder / "results.csv").read_text()
    (folder / "results.csv").write_text(table.replace("keras 3", "keras 4", 2))
    assert "different versions" in report_of(folder)


def test_cells_that_are_not_told_apart_are_not_bold_and_named(tmp_path):
    text = report_of(write_grid(tmp_path / "g", TIED, seeds=(0, 1)))
    assert "**0" not in text
    assert "Highest: depth 2, none; not told apart from depth 4, none." in text
    assert "It is not told apart from the other cell (depth 4, none): differences up to 0.0" in text
    assert "aren't ruled out, and these numbers name no winner among them." in text
    assert "No depth is told apart from depth 2: differences up to 0.0" in text
    assert "better than" not in text


def test_one_seed_calls_nothing_better(tmp_path):
    folder = write_grid(tmp_path / "g", CLEAR, seeds=(0,), more=CLEAR)
    text = report_of(folder)
    assert "With one seed a cell none is called better: the luck of training isn't known." in text
    assert "One seed: of the depth nothing is concluded; on these photos, against depth 2" in text
    assert "Highest: depth 4, none; with one seed none is called better." in text
    assert "over test photos alone" in text
    assert "with one seed nothing is called better" in text
    assert "no verdict is given" in text
    for claim in ("**0", "makes a difference", "differs", "shown to be better", "Tukey"):
        assert claim not in text
    best = findings.bests(read.read(folder))["mobilenet"]
    assert not best.is_clear
    assert {findings.verdict(one.difference) for one in best.against} == {"one run"}
    assert all(one.difference.excludes_zero for one in best.against)  # and yet no verdict


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
    text = report_of(folder)
    assert "3 cells have no result" in text
    assert "mobilenet-depth_4-flip_hv-seed0: FAILED, out of memory" in text
    assert "| flip_hv | 0.600 ± 0.000 | n/a |" in text
    assert "mobilenet at depth 2 trains no kernel" in text
    assert "| 4 | 40 | c13 |" in text


def test_nothing_finished_is_a_report_too(tmp_path):
    folder = write_grid(tmp_path / "g", TIED, failed=list(TIED))
    assert "No cell has finished" in report_of(folder)


def by_hand(grid, keys):
    """Mean accuracies a seed (S,) and lesion's sums of errors (S, G) of the mean over cells."""
    hits = np.array([
        np.mean([grid.p[key][seed].argmax(axis=1) == grid.y for key in keys], axis=0)
        for seed in grid.seeds
    ])  # fmt: skip
    scores = hits.mean(axis=1)
    moved = (hits - scores[:, None]).reshape(len(hits), -1, 2).sum(axis=2) / N  # 2 photos a lesion
    return scores, moved * np.sqrt(100 / 99)


def records_variance(one, two):
    """Of a difference: mean covariance of two runs of each, less twice that between both."""

    def between(x, y):
        return np.mean([x[i] @ y[j] for i in range(3) for j in range(3) if x is not y or i != j])

    return between(one, one) + between(two, two) - 2 * between(one, two)


LUCK = [0, 14, 4]
SPREAD = {
    (2, "none"): range(0, 60), (4, "none"): range(20, 70), (2, "flip_hv"): range(10, 66),
    (4, "flip_hv"): range(30, 74),
}  # fmt: skip


@pytest.fixture
def lucky(tmp_path):
    """A grid of 2 depths x 2 augmentations x 3 seeds that vary by their luck, of one model."""
    return read.read(write_grid(tmp_path / "g", SPREAD, luck=LUCK))


def test_the_best_cell_is_held_to_tukeys_quantile(lucky):
    keys = lucky.whole("mobilenet")
    best = findings.bests(lucky)["mobilenet"]
    scores = {key: by_hand(lucky, [key]) for key in keys}
    pooled = np.mean([np.var(scores[key][0], ddof=1) for key in keys])
    assert pooled > 0
    level = 1 - 0.05 / 3  # this best cell, one depth, one augmentation
    q = stats.studentized_range.ppf(level, 4, 4 * 2)
    for one in best.against:
        variance = records_variance(scores[best.cell.key][1], scores[one.other][1])
        half = q / np.sqrt(2) * np.sqrt(variance + 2 * pooled / 3)
        difference = scores[best.cell.key][0].mean() - scores[one.other][0].mean()
        assert one.difference.estimate == pytest.approx(difference)
        assert one.difference.low == pytest.approx(difference - half)
        assert one.difference.high == pytest.approx(difference + half)
        assert one.difference.df == pytest.approx(8)


def test_the_interval_of_the_highest_holds_for_all_cells(lucky):
    best = findings.bests(lucky)["mobilenet"]
    scores, moved = by_hand(lucky, [best.cell.key])
    pooled = np.mean([np.var(by_hand(lucky, [key])[0], ddof=1) for key in lucky.whole("mobilenet")])
    shared = np.mean([moved[i] @ moved[j] for i in range(3) for j in range(3) if i != j])
    tail = 1 - 0.05 / 4 / 2  # Bonferroni over the 4 cells
    half = np.sqrt(stats.norm.ppf(tail) ** 2 * shared + stats.t.ppf(tail, 8) ** 2 * pooled / 3)
    assert best.interval.level == pytest.approx(1 - 0.05 / 4)
    assert best.interval.low == pytest.approx(scores.mean() - half)
    assert best.interval.high == pytest.approx(scores.mean() + half)


def test_an_axis_is_held_to_the_luck_of_its_means(lucky):
    sides = [[("mobilenet", name, d) for name in ("none", "flip_hv")] for d in (4, 2)]
    (four, moved_four), (two, moved_two) = (by_hand(lucky, keys) for keys in sides)
    reference, ((value, found),) = findings.axis_effects(lucky, "mobilenet", "depth")
    assert (reference, value) == (2, 4)
    pooled = (np.var(four, ddof=1) + np.var(two, ddof=1)) / 2
    tail = 1 - 0.05 / 3 / 2
    records = records_variance(moved_four, moved_two)
    half = np.sqrt(stats.norm.ppf(tail) ** 2 * records + stats.t.ppf(tail, 4) ** 2 * 2 * pooled / 3)
    assert found.estimate == pytest.approx(four.mean() - two.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half)
    assert found.df == pytest.approx(4)


def test_models_are_compared_by_welch(tmp_path):
    other = {key: range(wrong.start, wrong.stop + 20) for key, wrong in SPREAD.items()}
    grid = read.read(write_grid(tmp_path / "g", SPREAD, luck=LUCK, more=other, more_luck=[0, 2, 9]))
    (one, moved_one), (two, moved_two) = (
        by_hand(grid, grid.whole(name)) for name in ("densenet121", "mobilenet")
    )
    reference, ((name, found),) = findings.model_effects(grid)
    assert (reference, name) == ("mobilenet", "densenet121")
    v, w = np.var(one, ddof=1) / 3, np.var(two, ddof=1) / 3
    df = (v + w) ** 2 / (v**2 / 2 + w**2 / 2)
    tail = 1 - 0.05 / 7 / 2  # 2 x (best cell, depth, augmentation) + 1
    records = records_variance(moved_one, moved_two)
    half = np.sqrt(stats.norm.ppf(tail) ** 2 * records + stats.t.ppf(tail, df) ** 2 * (v + w))
    assert found.df == pytest.approx(df)
    assert (found.high - found.low) / 2 == pytest.approx(half)


@pytest.mark.parametrize(
    ("cells", "more", "size"),
    [
        ({(2, "none"): range(20)}, None, 0),
        (TIED, None, 2),  # a best cell, a depth
        (CLEAR, None, 3),
        (CLEAR, CLEAR, 7),
        ({(d, a): range(20) for d in (2, 4, 6) for a in ("none", "skin")}, None, 4),
    ],
)
def test_the_family_is_all_that_the_report_compares(tmp_path, cells, more, size):
    grid = read.read(write_grid(tmp_path / "g", cells, more=more))
    assert findings.family(grid) == size
    level = 1 - 0.05 / max(1, size)
    assert findings.level(grid) == pytest.approx(level)
    for best in findings.bests(grid).values():
        assert all(one.difference.level == pytest.approx(level) for one in best.against)
    text = report_of(tmp_path / "g")
    if size > 1:
        assert f"{size} comparisons, each at {100 * level:.4g}%, so that all hold together" in text


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (
            Interval(0.05, 0.01, 0.09, n_runs=3),
            "Depth makes a difference, against depth 2: depth 4 +0.050 (0.010 to 0.090), differs.",
        ),
        (
            Interval(-0.05, -0.09, -0.0002, n_runs=3),
            "Depth makes a difference, against depth 2: depth 4 −0.0500 (−0.0900 to −0.0002), "
            "differs.",
        ),
        (
            Interval(0.05, -0.01, 0.09, n_runs=3),
            "No depth is told apart from depth 2: differences up to 0.090 aren't ruled out (depth "
            "4 +0.050 (−0.010 to 0.090)).",
        ),
        (
            Interval(0.05, np.nan, np.nan, n_runs=3),
            "Of the depth nothing can be said, against depth 2: too few independent photos, or the "
            "same answers (depth 4 +0.050 (n/a)).",
        ),
        (
            Interval(0.05, 0.01, 0.09, n_runs=1),
            "One seed: of the depth nothing is concluded; on these photos, against depth 2: depth "
            "4 +0.050 (0.010 to 0.090) (intervals over test photos alone).",
        ),
    ],
)
def test_sentences_follow_the_interval(difference, said):
    assert findings.effect_sentence("depth", "depth 2", [("depth 4", difference)]) == said


def test_a_difference_beside_ones_that_are_not_shown_gives_all_of_them():
    clear, open_ = Interval(0.004, 0.001, 0.007, n_runs=3), Interval(0.09, -0.01, 0.19, n_runs=3)
    said = findings.effect_sentence("depth", "depth 2", [("depth 4", clear), ("depth 6", open_)])
    assert said == (
        "Depth makes a difference, against depth 2: depth 4 +0.004 (0.001 to 0.007), differs; "
        "depth 6 +0.090 (−0.010 to 0.190)."
    )


def test_the_surest_misses_are_misses_in_order(tmp_path):
    from dermssl.studies.grid import figures

    p = probabilities([3, 50, 120])
    assert figures.surest(p, Y, right=False).tolist() == [120, 50, 3]
    assert figures.surest(p, Y, right=True)[0] == N - 1


def test_reports_load_no_tensorflow():
    code = "import sys, dermssl.studies.grid.report as _; assert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tiny.ROOT)

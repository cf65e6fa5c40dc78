"""The curve from finished runs: planted differences, one family of intervals, and the files."""

import fake_runs
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from dermssl.evaluation import run_groups
from dermssl.studies.comparison import compute as comparison
from dermssl.studies.comparison import wording as comparison_wording
from dermssl.studies.label_efficiency import compute, figures, report


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """SSL is much better with 70 labels, and as good as random with 150; a pretraining a seed."""
    folder = tmp_path_factory.mktemp("planted")
    table = fake_runs.records(n=500)
    for labels, skills in ((70, (0.3, 1.6)), (150, (1.8, 1.8))):
        for arm, skill in zip(("random", "ssl"), skills):
            for seed in range(3):
                weights = "none" if arm == "random" else f"outputs/pretrain_ssl_{seed}"
                # What the runs of an arm find hard is half their own and half common to them.
                noise = (labels + 100 * (arm == "ssl") + seed, 900 + (arm == "ssl"))
                p = sum(fake_runs.simulate(table, skill, each) for each in noise) / 2
                fake_runs.make(
                    folder / f"{arm}_{labels}_{seed}", table, p, arm=arm, seed=seed,
                    n_labels=labels, weights=weights,
                )  # fmt: skip
    return compute.score(run_groups.gather([folder]), n_resamples=200)


def test_no_turning_point_is_made_of_an_interval_that_holds_zero(planted):
    (said,) = compute.verdicts(planted)
    assert said.startswith(
        "Against random init, SimCLR is better with 70 labels; not told apart with 150 labels "
        "(differences up to 0."
    )
    assert "aren't ruled out). Where that ends can't be said: with 70 labels +0." in said
    assert "97.5% intervals, of 2 comparisons that hold together with 95%." in said
    assert "worth" not in said
    assert "between" not in said


def by_hand(model):
    """Scores of its runs, and how far each lesion moves them (S, G), class by class."""
    y, groups = model.arrays[0].y, pd.factorize(model.arrays[0].groups)[0]
    scores = np.array([balanced_accuracy_score(y, a.p_fine.argmax(axis=1)) for a in model.arrays])
    moved = np.zeros((len(scores), groups.max() + 1))
    classes = np.unique(y)
    for run, arrays in enumerate(model.arrays):
        right = (arrays.p_fine.argmax(axis=1) == y).astype(float)
        for k in classes:
            here = y == k
            n = len(set(groups[here]))
            rest = (right[here] - right[here].mean()) / here.sum() / len(classes)
            np.add.at(moved[run], groups[here], rest * np.sqrt(n / (n - 1)))
    return scores, moved


def test_the_intervals_are_welchs_with_records_paired(planted):
    """With 10 lesions or more of each class nothing is added to the formula."""
    ((first, _),) = planted.pairs.values()
    (a, moved_a), (b, moved_b) = by_hand(first.a), by_hand(first.b)
    y, groups = first.a.arrays[0].y, first.a.arrays[0].groups
    assert min(len(set(groups[y == k])) for k in np.unique(y)) >= 10

    def between(x, z):
        return np.mean([x[i] @ z[j] for i in range(3) for j in range(3) if x is not z or i != j])

    records = between(moved_a, moved_a) + between(moved_b, moved_b) - 2 * between(moved_a, moved_b)
    v, w = np.var(a, ddof=1) / 3, np.var(b, ddof=1) / 3
    df = (v + w) ** 2 / (v**2 / 2 + w**2 / 2)
    found, tail = first.interval, 1 - 0.05 / 2 / 2
    assert found.estimate == pytest.approx(a.mean() - b.mean())
    assert found.seed_variance == pytest.approx(v + w)
    assert found.df == pytest.approx(df)
    assert found.record_variance == pytest.approx(records)
    assert records > 0
    half = np.sqrt(stats.norm.ppf(tail) ** 2 * records + stats.t.ppf(tail, df) ** 2 * (v + w))
    assert found.level == pytest.approx(0.975)
    assert (found.low, found.high) == pytest.approx((found.estimate - half, found.estimate + half))


@pytest.mark.parametrize("options", [{}, {"primary": "ssl:random:70"}, {"margin": 0.3}])
def test_model_comparison_says_the_same_of_the_same_runs(planted, options):
    curve = compute.score(planted.compared, 200, **options)
    other = comparison.score(planted.compared, None, 200, **options)
    mine = [step for steps in curve.pairs.values() for step in steps]
    assert [(x.a.arm, x.b.arm, x.a.labels) for x in mine] == [
        (x.a.arm, x.b.arm, x.a.labels) for x in other.contrasts
    ]
    for one, same in zip(mine, other.contrasts):
        assert one.interval == same.interval
        assert (one.level, one.family, one.verdict) == (same.level, same.family, same.verdict)
    assert "SimCLR beats random init" in comparison_wording.verdicts(other)[0]
    better = "worth it (better by more than 0.3)" if options.get("margin") else "better"
    assert f"SimCLR is {better} with 70 labels" in compute.verdicts(curve)[0]


def test_the_family_is_all_pairs_at_all_numbers_of_labels(tmp_path):
    folder = fake_runs.experiment(
        tmp_path, {"random": 0.3, "ssl": 0.9, "imagenet": 1.2}, seeds=(0, 1), n_labels=(70, "all"),
        table=fake_runs.records(n=200),
    )  # fmt: skip
    curve = compute.score(run_groups.gather([folder]), n_resamples=50)
    # SimCLR against random and ImageNet, ImageNet against random: 3 pairs with 70 and with all
    assert {step.family for steps in curve.pairs.values() for step in steps} == {6}
    rows = compute.difference_rows(curve)
    assert len(rows) == 6
    assert all(row["level"] == pytest.approx(1 - 0.05 / 6) for row in rows)
    planned = compute.score(curve.compared, 50, primary="imagenet:random:all")
    levels = [row["level"] for row in compute.difference_rows(planned)]
    assert sorted(levels) == pytest.approx([0.95] + [0.99] * 5)
    (said,) = [text for text in compute.verdicts(planned) if "planned" in text]
    assert "; the planned comparison (300 labels) at 95%; 99% intervals, of 5 comparisons" in said


def test_equal_predictions_are_one_run_and_give_no_verdict(tmp_path):
    # As of a probe with all labels: nothing in it depends on the seed.
    table = fake_runs.records(n=200)
    for arm, skill in (("random", 0.5), ("ssl", 3.0)):
        for seed in range(3):
            fake_runs.make(
                tmp_path / f"{arm}{seed}", table, fake_runs.simulate(table, skill), arm=arm,
                seed=seed, weights="none" if arm == "random" else f"outputs/pretrain_ssl_{seed}",
            )  # fmt: skip
    curve = compute.score(run_groups.gather([tmp_path]), n_resamples=50)
    (said,) = compute.verdicts(curve)
    assert said.startswith(
        "Nothing can be said of SimCLR against random init, since one run of an arm shows nothing "
        "of its way of training: with 70 labels +0."
    )
    assert "over lesions alone, one run each, so no verdict" in said
    assert "1 run each; 95% interval, the one comparison here." in said
    (row,) = compute.difference_rows(curve)
    assert (row["verdict_for_a"], row["runs_a"], row["runs_b"]) == ("one run", 1, 1)
    assert row["low"] > 0  # and yet no verdict
    assert np.isnan(row["df"])


def test_one_pretraining_run_is_called_one(tmp_path):
    folder = fake_runs.experiment(
        tmp_path, {"random": 0.3, "ssl": 2.0}, table=fake_runs.records(n=300)
    )
    curve = compute.score(run_groups.gather([folder]), n_resamples=50)
    (said,) = compute.verdicts(curve)
    assert said.startswith("Against random init, this pretraining run of SimCLR is better with 70")
    assert any("every run starts from one pretraining run" in one for one in report.warnings(curve))


def test_labels_that_are_not_counted_are_told(planted):
    warnings = report.warnings(planted)
    n = (planted.compared.members[0].predictions.table["split"] == "validation").sum()
    assert any(f"{n} labelled validation photos, in none" in said for said in warnings)
    assert any("chose the epoch of every run" in said for said in warnings)
    assert not any("pretraining run" in said for said in warnings)  # one a seed


def test_the_rows(planted):
    rows = compute.rows(planted)
    assert [(row["arm"], row["n_labels"]) for row in rows] == [
        ("random", 70), ("ssl", 70), ("random", 150), ("ssl", 150),
    ]  # fmt: skip
    assert all(row["low"] < row["estimate"] < row["high"] for row in rows)
    assert {row["seeds"] for row in rows} == {"0 1 2"}
    differences = compute.difference_rows(planted)
    assert [row["verdict_for_a"] for row in differences] == [
        "better", "not told apart",
    ]  # fmt: skip
    assert set(differences[0]) == set(compute.DIFFERENCES)


def test_the_picture_is_drawn(planted, tmp_path):
    from PIL import Image

    path = figures.curve(tmp_path / "curve.png", planted)
    assert min(Image.open(path).size) > 500

"""The curve from finished runs: planted differences, the wider intervals, and the files."""

import fake_runs
import pytest

from dermssl.evaluation import bootstrap, run_groups
from dermssl.evaluation.interval import Interval
from dermssl.studies.label_efficiency import compute, figures, report


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """SSL is much better with 70 labels, and the very same as random with 150."""
    folder = tmp_path_factory.mktemp("planted")
    table = fake_runs.records(n=500)
    for labels, skills in ((70, (0.3, 1.6)), (150, (1.8, 1.8))):
        for arm, skill in zip(("random", "ssl"), skills):
            for seed in range(3):
                noise = seed if labels == 150 else seed + 100 * (arm == "ssl")
                fake_runs.make(
                    folder / f"{arm}_{labels}_{seed}", table,
                    fake_runs.simulate(table, skill, noise), arm=arm, seed=seed, n_labels=labels,
                    weights="none" if arm == "random" else "outputs/pretrain_ssl",
                )  # fmt: skip
    return compute.score(run_groups.gather([folder]), n_resamples=200)


def test_the_planted_turning_point_is_found(planted):
    (said,) = compute.verdicts(planted)
    assert said.startswith(
        "SimCLR is worth it below N labels against random init, where N is above 70 (with 150 "
        "labels no difference found)"
    )
    assert "each at 97.5%, so that all 2 hold together with 95%" in said


def test_the_sentence_goes_by_the_wider_interval(planted):
    (steps,) = planted.pairs.values()
    first, second = steps
    assert (first.n_labels, second.n_labels) == (70, 150)
    assert first.joint.level == pytest.approx(0.975)
    assert first.joint.low < first.own.low < first.own.estimate < first.own.high < first.joint.high
    assert (second.own.low, second.own.high) == (0, 0)
    y, groups = first.a.arrays[0].y, first.a.arrays[0].groups
    p = [[arrays.p_fine for arrays in model.arrays] for model in (first.a, first.b)]
    same = bootstrap.paired_difference("balanced_accuracy", y, *p, groups, n_resamples=200)
    assert same == first.own


def test_a_win_that_only_its_own_interval_shows_is_a_tie(planted):
    (steps,) = planted.pairs.values()
    step = compute.LabelCountDifference(
        steps[0].a, steps[0].b, 3, Interval(0.05, 0.001, 0.1),
        Interval(0.05, -0.004, 0.11, 0.975),
    )  # fmt: skip
    assert step.verdict == "tie"


def test_equal_predictions_are_one_seed(tmp_path):
    # As of a probe with all labels: nothing in it depends on the seed.
    table = fake_runs.records(n=200)
    for arm, skill in (("random", 0.5), ("ssl", 1.5)):
        for seed in range(3):
            fake_runs.make(
                tmp_path / f"{arm}{seed}", table, fake_runs.simulate(table, skill), arm=arm,
                seed=seed, weights="none" if arm == "random" else "outputs/pretrain_ssl",
            )  # fmt: skip
    curve = compute.score(run_groups.gather([tmp_path]), n_resamples=50)
    (said,) = compute.verdicts(curve)
    assert "1 seed, paired" in said
    assert "the variation of training isn't covered" in said


def test_labels_that_are_not_counted_are_told(planted):
    warnings = report.warnings(planted)
    n = (planted.compared.members[0].predictions.table["split"] == "validation").sum()
    assert any(f"{n} labelled validation photos, in none" in said for said in warnings)
    assert any("chose the epoch of every run" in said for said in warnings)
    assert any(said.startswith("At most 3 seeds a model: redrawing so few") for said in warnings)


def test_the_rows(planted):
    rows = compute.rows(planted)
    assert [(row["arm"], row["n_labels"]) for row in rows] == [
        ("random", 70), ("ssl", 70), ("random", 150), ("ssl", 150),
    ]  # fmt: skip
    assert all(row["low"] < row["estimate"] < row["high"] for row in rows)
    assert {row["seeds"] for row in rows} == {"0 1 2"}
    differences = compute.difference_rows(planted)
    assert [row["verdict_for_a"] for row in differences] == ["better", "tie"]
    assert set(differences[0]) == set(compute.DIFFERENCES)


def test_the_picture_is_drawn(planted, tmp_path):
    from PIL import Image

    path = figures.curve(tmp_path / "curve.png", planted)
    assert min(Image.open(path).size) > 500

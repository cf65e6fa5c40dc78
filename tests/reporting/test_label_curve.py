"""The curve from finished runs: planted differences, the wider intervals, and the files."""

import fake_runs
import pytest

from dermssl.evaluation import statistics
from dermssl.reporting import compared, figures_labels, label_curve, scores


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
    return label_curve.score(compared.gather([folder]), n_resamples=200)


def test_the_planted_turning_point_is_found(planted):
    (said,) = label_curve.verdicts(planted)
    assert said.startswith(
        "SimCLR is worth it below N labels against random init, where N lies between 70 (better) "
        "and 150 (no difference found)"
    )
    assert "each at 97.5%, so that all 2 hold together with 95%" in said


def test_the_sentence_goes_by_the_wider_interval(planted):
    (steps,) = planted.pairs.values()
    first, second = steps
    assert (first.n_labels, second.n_labels) == (70, 150)
    assert first.joint.level == pytest.approx(0.975)
    assert first.joint.low < first.own.low < first.own.estimate < first.own.high < first.joint.high
    assert (second.own.low, second.own.high) == (0, 0)
    arrays = [[m.arrays for m in model.members] for model in (first.a, first.b)]
    same = scores.differences(*arrays, fake_runs.HAM, 200, (scores.PRIMARY,))[scores.PRIMARY]
    assert same == first.own


def test_a_win_that_only_its_own_interval_shows_is_a_tie(planted):
    (steps,) = planted.pairs.values()
    step = label_curve.Step(
        steps[0].a, steps[0].b, 3, statistics.Interval(0.05, 0.001, 0.1),
        statistics.Interval(0.05, -0.004, 0.11, 0.975),
    )  # fmt: skip
    assert step.verdict == "tie"


def test_the_rows(planted):
    rows = label_curve.rows(planted)
    assert [(row["arm"], row["n_labels"]) for row in rows] == [
        ("random", 70), ("ssl", 70), ("random", 150), ("ssl", 150),
    ]  # fmt: skip
    assert all(row["low"] < row["estimate"] < row["high"] for row in rows)
    assert {row["seeds"] for row in rows} == {"0 1 2"}
    differences = label_curve.difference_rows(planted)
    assert [row["verdict_for_a"] for row in differences] == ["better", "tie"]
    assert set(differences[0]) == set(label_curve.DIFFERENCES)


def test_the_picture_is_drawn(planted, tmp_path):
    from PIL import Image

    path = figures_labels.curve(tmp_path / "curve.png", planted)
    assert min(Image.open(path).size) > 500

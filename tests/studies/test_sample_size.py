"""How many lesions and runs: the audit's numbers, and the power that is promised."""

import fake_runs
import numpy as np
import pytest
from scipy import stats

import dermssl
from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.studies.comparison import sample_size
from dermssl.studies.comparison.sample_size import Known

NO_LUCK = Known("70", "ssl", "random", 1194, 0.020**2, (0.0, 0.0), (3, 3))
LUCKY = Known("70", "ssl", "random", 400, 0.015**2, (0.010, 0.020), (3, 3))


@pytest.mark.parametrize(
    ("difference", "n"), [(0.10, 370), (0.05, 1500), (0.03, 4200), (0.02, 9400)]
)
def test_without_luck_the_numbers_are_the_audits(difference, n):
    assert sample_size.lesions(NO_LUCK, 3, difference) == pytest.approx(n, rel=0.02)


def test_equivalence_without_luck_is_the_audits():
    found = sample_size.lesions(NO_LUCK, 3, 0.05, equivalence=True)
    assert found == pytest.approx(1640, rel=0.01)


def test_runs_and_lesions_stand_in_for_each_other_up_to_a_point():
    needed = [sample_size.lesions(LUCKY, runs, 0.05) for runs in (3, 5, 10, 20)]
    assert needed == sorted(needed, reverse=True)
    assert np.isfinite(needed[-1])
    assert np.isinf(sample_size.lesions(LUCKY, 2, 0.02))  # no lesions tell what two runs hide


@pytest.mark.parametrize(("runs", "difference"), [(3, 0.09), (10, 0.05)])
def test_the_power_is_what_was_asked_for(runs, difference):
    n, rng = sample_size.lesions(LUCKY, runs, difference), np.random.default_rng(0)
    assert np.isfinite(n)
    records = LUCKY.record_variance * LUCKY.n_lesions / n
    a, b = (rng.normal(0, sd, (4000, runs)) for sd in LUCKY.sd)
    found = difference + rng.normal(0, np.sqrt(records), 4000) + a.mean(axis=1) - b.mean(axis=1)
    v = [x.var(axis=1, ddof=1) / runs for x in (a, b)]
    df = sum(v) ** 2 / ((v[0] ** 2 + v[1] ** 2) / (runs - 1))
    half = np.sqrt(stats.norm.ppf(0.975) ** 2 * records + stats.t.ppf(0.975, df) ** 2 * sum(v))
    told = np.mean(found - half > 0)
    assert told == pytest.approx(0.8, abs=0.03)


def test_an_arm_is_called_what_the_comparison_calls_it(tmp_path):
    """SimCLR that began from ImageNet weights isn't SimCLR alone."""
    folder = fake_runs.experiment(
        tmp_path / "runs", {"random": 0.5, "ssl": 0.9}, table=fake_runs.records(n=120)
    )
    for status in folder.rglob("status.json"):
        if runs.read_json(status)["arm"] == "ssl":
            fake_runs.change_status(status.parent, pretraining_start="imagenet")
    dermssl.model_comparison([folder], output=tmp_path / "out", n_resamples=20)
    (known,) = sample_size.read(tmp_path / "out")
    assert known.title == "SimCLR from ImageNet − random init, 70 labels"


def test_the_command_reads_a_comparison(tmp_path):
    folder = fake_runs.experiment(
        tmp_path / "runs", {"random": 0.5, "ssl": 0.9}, table=fake_runs.records(n=200)
    )
    comparison = dermssl.model_comparison([folder], output=tmp_path / "out", n_resamples=20)
    made = dermssl.sample_size(comparison, difference=0.1)
    table = made.table("sample_size")
    assert list(table["runs"]) == list(sample_size.RUNS)
    known = sample_size.read(tmp_path / "out")[0]
    assert known.n_lesions == 50
    assert known.title == "SimCLR − random init, 70 labels"
    assert table["lesions"].iloc[1] == sample_size.lesions(known, 3, 0.1)
    assert "with 3 runs an arm" in made.report
    with pytest.raises(UserError, match=r"pair ssl:x: no such pair .* there: ssl:random"):
        dermssl.sample_size(comparison, pair="ssl:x")


def test_arms_at_chance_cant_tell_what_to_collect(tmp_path):
    folder = fake_runs.experiment(
        tmp_path / "runs", {"random": 0.0, "ssl": 0.0}, table=fake_runs.records(n=200)
    )
    comparison = dermssl.model_comparison([folder], output=tmp_path / "out", n_resamples=20)
    found = dermssl.sample_size(comparison, difference=0.1)
    assert "neither arm is shown to be above chance" in found.report
    assert "tell 0.1 apart (chance" not in found.report
    assert found.table("sample_size").empty


def test_what_tells_no_variance_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no differences.csv; give the folder of"):
        sample_size.read(tmp_path)
    table = fake_runs.records(n=120)
    folder = fake_runs.experiment(
        tmp_path / "runs", {"random": 0.5, "ssl": 0.6}, seeds=(0,), table=table
    )
    comparison = dermssl.model_comparison([folder], output=tmp_path / "out", n_resamples=20)
    with pytest.raises(UserError, match="no pair with 2 runs or more an arm"):
        dermssl.sample_size(comparison)

"""Intervals over records and runs, computed once more by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from dermssl.core.errors import UserError
from dermssl.evaluation import bootstrap
from dermssl.evaluation.bootstrap_metrics import planned
from dermssl.evaluation.seed_draws import Luck
from dermssl.evaluation.small_samples import newcombe


def models(metric="log_loss", runs=(3, 4), n=200, seed=0, skills=(1.0, 0.5)):
    """`SeedDraws` of two models on the same records."""
    rng = np.random.default_rng(seed)
    y, groups = rng.integers(3, size=n), rng.integers(80, size=n)
    plan = {}
    for name, count, skill in zip("ab", runs, skills):
        seeds = []
        for _ in range(count):
            logits = rng.normal(size=(n, 3)) + (skill + rng.normal(0, 0.2)) * np.eye(3)[y]
            seeds.append(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
        plan[name] = planned(metric, y, seeds)
    scored = bootstrap.score(plan, groups, n_resamples=300)
    return scored["a"], scored["b"]


def off_diagonal(covariance):
    return covariance[~np.eye(len(covariance), dtype=bool)].mean()


def test_a_difference_is_m7w():
    a, b = models()
    c = np.cov(np.concatenate([a.draws, b.draws]))
    records = off_diagonal(c[:3, :3]) + off_diagonal(c[3:, 3:]) - 2 * c[:3, 3:].mean()
    v_a, v_b = np.var(a.sample, ddof=1) / 3, np.var(b.sample, ddof=1) / 4
    df = (v_a + v_b) ** 2 / (v_a**2 / 2 + v_b**2 / 3)
    for level in (0.95, 0.99):
        z, t = stats.norm.ppf((1 + level) / 2), stats.t.ppf((1 + level) / 2, df)
        half = np.sqrt(z**2 * max(0, records) + t**2 * (v_a + v_b))
        found = (a - b).interval(level)
        assert found.estimate == pytest.approx(a.sample.mean() - b.sample.mean())
        assert (found.high - found.low) / 2 == pytest.approx(half)
        assert (found.seed_variance, found.df) == pytest.approx((v_a + v_b, df))
        assert found.n_runs == 3
    assert np.var(a.sample, ddof=1) > 0
    assert df == pytest.approx(stats.ttest_ind(a.sample, b.sample, equal_var=False).df)


def test_one_model_over_runs_is_the_one_arm_form():
    a, _ = models()
    records, seeds = off_diagonal(np.cov(a.draws)), np.var(a.sample, ddof=1) / 3
    half = np.sqrt(1.959964**2 * max(0, records) + 4.302653**2 * seeds)  # t with 2 df
    found = a.interval()
    assert (found.low, found.high) == pytest.approx(
        (a.sample.mean() - half, a.sample.mean() + half), rel=1e-5
    )


def test_shares_need_no_draws_and_are_never_narrower_than_by_lesions_alone():
    a, b = models("balanced_accuracy")
    found = (a - b).interval()
    moved = np.concatenate([a.basis.strata.influence(), b.basis.strata.influence()])
    c = moved @ moved.T
    records = off_diagonal(c[:3, :3]) + off_diagonal(c[3:, 3:]) - 2 * c[:3, 3:].mean()
    assert found.record_variance == pytest.approx(max(0, records))
    assert (found.high - found.low) / 2 >= stats.norm.ppf(0.975) * np.sqrt(found.record_variance)


@pytest.mark.parametrize("metric", ["log_loss", "balanced_accuracy"])
def test_equal_scores_of_runs_dont_hide_the_records(metric):
    # Runs that err on other records have a covariance near 0, and by luck the same score.
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 60)
    runs = []
    for _ in range(3):
        p = np.full((120, 2), 0.3)
        wrong = np.concatenate([rng.permutation(60)[:20], 60 + rng.permutation(60)[:20]])
        p[np.arange(120), y] = 0.7
        p[wrong] = 1 - p[wrong]
        runs.append(p)
    draws = bootstrap.score({"m": planned(metric, y, runs)}, None, n_resamples=500)["m"]
    assert np.ptp(draws.sample) < 1e-12
    found = draws.interval()
    sd = np.std(draws.draws.mean(axis=0), ddof=1)
    assert (found.high - found.low) / 2 >= 0.95 * stats.norm.ppf(0.975) * sd
    assert found.high - found.low > 0.05


def test_one_run_in_an_arm_is_records_alone():
    a, b = models(runs=(1, 4))
    found = (a - b).interval()
    assert found.n_runs == 1
    assert np.isnan(found.seed_variance)
    assert found.is_defined


def test_equal_runs_count_once():
    a, b = models("accuracy")
    rows = [0, 1, 2, 0, 0]
    five = replace(
        a, sample=a.sample[rows], draws=a.draws[rows], units=np.array([0, 1, 2, 0, 0]),
        basis=replace(a.basis, strata=replace(a.basis.strata, hits=a.basis.strata.hits[rows])),
    )  # fmt: skip
    assert five.n_runs == 3
    assert (five - b).interval() == (a - b).interval()
    assert five.interval() == a.interval()
    assert five.at([0, 3]).n_runs == 1


def test_runs_of_one_pretraining_count_as_their_mean():
    a, _ = models()
    pairs = replace(a.at([0, 1, 2]), units=np.array([0, 0, 1]))
    scores = np.array([a.sample[:2].mean(), a.sample[2]])
    assert pairs.interval().seed_variance == pytest.approx(np.var(scores, ddof=1) / 2)
    assert pairs.interval().estimate == pytest.approx(scores.mean())


def test_luck_known_from_elsewhere_takes_the_place_of_the_runs_own():
    a, b = models()
    luck = Luck(0.01, 40.0)
    found = (a - b).interval(0.95, (luck, luck))
    t = stats.t.ppf(0.975, 80)
    expected = stats.norm.ppf(0.975) ** 2 * found.record_variance + t**2 * 0.02
    assert ((found.high - found.low) / 2) ** 2 == pytest.approx(expected)
    tukey = (a - b).interval(0.95, (luck, luck), q=3.5)
    assert ((tukey.high - tukey.low) / 2) ** 2 == pytest.approx(
        3.5**2 * (found.record_variance + 0.02)
    )


def test_areas_of_few_lesions_are_newcombes_and_differences_take_students_quantile():
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [8, 100])
    one, two = (rng.normal(size=108) + 1.5 * y for _ in range(2))
    found = bootstrap.bootstrap_metric("roc_auc", y, one)
    expected = newcombe(found.estimate, 8, 100)
    assert (found.low, found.high) == (expected.low, expected.high)
    apart = bootstrap.paired_difference("roc_auc", y, one, two)
    half = stats.t.ppf(0.975, 7) * np.sqrt(apart.record_variance)
    assert (apart.high - apart.low) / 2 == pytest.approx(half)


@pytest.mark.parametrize("metric", ["average_precision", "partial_auc", "f1"])
@pytest.mark.parametrize(("positives", "defined"), [(4, False), (5, True)])
def test_below_five_lesions_on_a_side_there_is_no_interval(metric, positives, defined):
    rng = np.random.default_rng(0)
    y = np.repeat([1, 0], [positives, 60])
    score = rng.normal(size=len(y)) + y
    score = (score > 0.5).astype(int) if metric == "f1" else score
    found = bootstrap.bootstrap_metric(metric, y, score)
    assert found.is_defined == defined
    assert not np.isnan(found.estimate)
    # Photos of one lesion are one: twelve photos of four lesions are still four.
    lesions = np.concatenate([np.repeat(np.arange(4), 3), 10 + np.arange(60)])
    y = np.repeat([1, 0], [12, 60])
    score = rng.normal(size=72) + y
    score = (score > 0.5).astype(int) if metric == "f1" else score
    assert not bootstrap.bootstrap_metric(metric, y, score, lesions).is_defined


def test_a_shares_bounds_stay_within_0_and_1():
    y = np.array([0] * 30 + [1] * 30)
    runs = [np.where(np.arange(60) < k, 1 - y, y) for k in range(3)]
    found = bootstrap.bootstrap_metric("accuracy", y, runs)
    assert found.estimate == pytest.approx(59 / 60)
    assert found.high == 1.0
    assert 0.8 < found.low < found.estimate


def test_a_mean_of_hits_stays_within_0_and_1_too():
    rng = np.random.default_rng(0)
    runs = [(rng.random(14) < share).astype(float) for share in (0.1, 0.3, 0.5)]
    found = bootstrap.bootstrap_metric("mean", None, runs)
    assert 0 <= found.low < found.estimate < found.high <= 1
    losses = [3 + rng.random(14) for _ in range(3)]
    assert bootstrap.bootstrap_metric("mean", None, losses).high > 3


def test_other_records_are_refused():
    a, _ = models()
    b, _ = models(n=150)
    with pytest.raises(UserError, match="not scored on the same draws"):
        (a - replace(b, n_clusters=3)).interval()


def test_luck_pooled_over_both_counts_its_degrees_of_freedom_once():
    a, b = models()
    difference = a - b
    pooled = difference.interval(0.95, Luck(0.002, 4.0))
    apart = difference.interval(0.95, (Luck(0.002, 4.0), Luck(0.002, 4.0)))
    assert (pooled.df, apart.df) == (4, pytest.approx(8))
    assert pooled.seed_variance == apart.seed_variance == pytest.approx(0.004)
    z, t = stats.norm.ppf(0.975), stats.t.ppf(0.975, 4)
    half = np.sqrt(z**2 * pooled.record_variance + t**2 * 0.004)
    assert (pooled.high - pooled.low) / 2 == pytest.approx(half)


def test_paired_runs_differ_run_by_run():
    a, b = models(runs=(3, 3))
    found = a.paired(b).interval()
    d, c = a.sample - b.sample, np.cov(a.draws - b.draws)
    half = np.sqrt(
        stats.norm.ppf(0.975) ** 2 * max(0, off_diagonal(c))
        + stats.t.ppf(0.975, 2) ** 2 * np.var(d, ddof=1) / 3
    )
    assert (found.low, found.high) == pytest.approx((d.mean() - half, d.mean() + half))
    with pytest.raises(UserError, match="paired: 3 runs and 2"):
        a.paired(b.at([0, 1]))


def test_what_differs_by_rounding_alone_has_no_interval():
    # A network that says nearly the same of every photo, and the same after a correction.
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    p = np.full((200, 2), 0.5)
    shifted = p + 1e-8 * np.array([1, -1])
    found = bootstrap.paired_difference("log_loss", y, shifted, p, n_resamples=50)
    assert abs(found.estimate) < 1e-7
    assert not found.is_defined


def test_a_difference_is_cut_at_what_it_can_be():
    a, b = models("balanced_accuracy", runs=(2, 2), skills=(3.0, 0.0))
    a = replace(a, sample=np.array([0.6, 0.95]))
    found = (a - b).interval(0.975)
    half = stats.t.ppf(0.9875, found.df) * np.sqrt(found.seed_variance)
    assert found.estimate + half > 1
    assert (found.low, found.high) == (-1, 1)
    paired = a.paired(b).interval(0.975)
    assert (paired.low, paired.high) == (-1, 1)
    a, b = models("log_loss", runs=(2, 2))  # has no upper end, so no difference has one
    assert (replace(a, sample=np.array([0.0, 9.0])) - b).interval(0.975).high > 9

"""Formulas for few lesions: published numbers, hand computations and brute-force twins."""

import numpy as np
import pytest
from scipy import stats

from dermssl.evaluation import bootstrap, shares, small_samples
from dermssl.evaluation.interval import Interval


def test_newcombe_bounds_solve_his_equation():
    found = small_samples.newcombe(0.8, 7, 30)
    z, half = stats.norm.ppf(0.975), 37 / 2 - 1
    for t in (found.low, found.high):
        spread = 1 + half * (1 - t) / (2 - t) + half * t / (1 + t)
        assert abs(0.8 - t) == pytest.approx(z * np.sqrt(t * (1 - t) * spread / 210), abs=1e-9)
    assert found.low < 0.8 < found.high


@pytest.mark.parametrize("area", [0.0, 0.3, 0.899, 1.0])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 9999), (3, 50)])
def test_newcombe_is_within_0_and_1_and_mirrored(area, m, n):
    found, mirror = small_samples.newcombe(area, m, n), small_samples.newcombe(1 - area, m, n)
    assert 0 <= found.low <= area <= found.high <= 1
    assert (mirror.low, mirror.high) == pytest.approx((1 - found.high, 1 - found.low), abs=1e-9)


def test_one_positive_of_ten_thousand_tells_little():
    found = small_samples.newcombe(0.899, 1, 9999)
    assert found.high - found.low == pytest.approx(0.63, abs=0.01)  # the audit's "about 0.64"
    assert not small_samples.newcombe(0.9, 0, 10).is_defined


def strata(right, y, clusters):
    return small_samples.strata([np.asarray(one, float) for one in right], y, clusters)


def random_strata(seed=0, runs=3, n=400, classes=3):
    rng = np.random.default_rng(seed)
    y, clusters = rng.integers(classes, size=n), rng.integers(150, size=n)
    right = [rng.random(n) < 0.4 + 0.2 * y for _ in range(runs)]
    return strata(right, y, clusters), right, y, clusters


def test_influence_gives_the_variances_that_a_bootstrap_shows():
    found, right, y, clusters = random_strata()
    moved = found.influence()
    rng = np.random.default_rng(1)
    weights = rng.multinomial(150, np.full(150, 1 / 150), size=4000)[:, clusters]
    draws = [
        np.mean([(weights * one * (y == k)).sum(1) / (weights * (y == k)).sum(1) for k in range(3)],
                axis=0)
        for one in right
    ]  # fmt: skip
    np.testing.assert_allclose(moved @ moved.T, np.cov(draws), rtol=0.15, atol=2e-5)


def test_influence_is_the_textbook_variance_where_each_record_is_a_lesion():
    right, y = np.array([1, 1, 0, 1, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    found = strata([right], y, np.arange(8))
    variance = sum(np.var(right[y == k], ddof=1) / 4 for k in (0, 1)) / 4
    assert (found.influence() ** 2).sum() == pytest.approx(variance)


def test_floor_is_agresti_coull_for_few_lesions_and_for_edges_only():
    right = np.array([1, 1, *[1, 0] * 10, *[1] * 15])
    y = np.repeat([0, 1, 2], [2, 20, 15])
    found = strata([right], y, np.arange(37))
    of_two = (4 / 6) * (2 / 6) / 2  # 2 of 2
    of_all = (17 / 19) * (2 / 19) / 15  # 15 of 15
    assert found.floor() == pytest.approx((of_two + of_all) / 9)


def test_floor_of_a_difference_adds_half_a_lesion_to_each_cell():
    a, b = np.zeros(44), np.zeros(44)
    a[:4] = 1  # F6 of the audit: 4 of 44 where a alone is right
    y = np.zeros(44, int)
    one, two = strata([a], y, np.arange(44)), strata([b], y, np.arange(44))
    least = 5 / 46**2 - 16 / 46**3
    shown = np.var(a - b, ddof=1) / 44
    expected = max(0, least - shown)
    assert one.floor_of_difference(two, always=True) == pytest.approx(expected)
    assert one.floor_of_difference(two, always=False) == 0
    few = strata([a[:6]], y[:6], np.arange(6)), strata([b[:6]], y[:6], np.arange(6))
    assert few[0].floor_of_difference(few[1], always=False) > 0


def test_runs_of_one_unit_are_averaged():
    found, *_ = random_strata()
    merged = found.merged(np.array([0, 1, 0]))
    np.testing.assert_allclose(merged.hits[0], (found.hits[0] + found.hits[2]) / 2)
    assert small_samples.strata([np.ones(3)], np.full(3, -1), np.arange(3)) is None


def test_wilson_where_all_draws_agree():
    nothing = Interval(1.0, np.nan, np.nan)
    found = small_samples.wilson_of_groups(nothing, np.ones(10))
    assert found.low == pytest.approx(0.7225, abs=1e-4)
    known = Interval(0.9, 0.8, 1.0)
    assert small_samples.wilson_of_groups(known, np.ones(10)) is known
    unknown = Interval(np.nan, np.nan, np.nan)
    assert small_samples.wilson_of_groups(unknown, np.ones(3)) is unknown


def test_few_groups_between_the_edges_have_wilsons_interval_of_as_many():
    """5 of 6 photos of 3 lesions: the draws said 0.667 to 1.000."""
    found = small_samples.wilson_of_groups(Interval(5 / 6, 4 / 6, 1.0), [2, 2, 2])
    assert (found.low, found.high) == pytest.approx(small_samples.wilson_bounds(5 / 6, 3))
    uneven = small_samples.wilson_of_groups(Interval(5 / 6, 4 / 6, 1.0), [4, 1, 1])
    assert (uneven.low, uneven.high) == pytest.approx(small_samples.wilson_bounds(5 / 6, 36 / 18))


@pytest.mark.parametrize(
    "score",
    [
        shares.clustered_share,
        lambda hits, lesions: bootstrap.bootstrap_metric("mean", None, hits, lesions),
    ],
)
def test_a_share_of_three_lesions_has_one_wide_interval_wherever_it_stands(score):
    hits = np.array([1, 1, 1, 1, 1, 0, np.nan])
    found = score(hits, np.array([0, 0, 1, 1, 2, 2, 3]))
    assert found.estimate == pytest.approx(5 / 6)
    assert (found.low, found.high) == pytest.approx(small_samples.wilson_bounds(5 / 6, 3))


@pytest.mark.parametrize("lesions", [2, 3, 5, 9])
def test_the_interval_of_a_few_lesions_holds_the_truth_as_often_as_it_says(lesions):
    """On average over all shares, of lesions whose photos mostly agree."""
    rng, held = np.random.default_rng(lesions), []
    for p in rng.random(500):
        groups = np.repeat(np.arange(lesions), 2)
        own = rng.random(lesions)[groups]
        hits = np.where(rng.random(2 * lesions) < 0.9, own, rng.random(2 * lesions)) < p
        found = bootstrap.bootstrap_metric("mean", None, hits.astype(float), groups, n_resamples=50)
        held.append(found.low <= p <= found.high)
    assert 0.93 <= np.mean(held) <= 0.99

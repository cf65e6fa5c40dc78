"""Formulas for few lesions: published numbers, hand computations and brute-force twins."""

import numpy as np
import pytest
from scipy import stats

from dermssl.evaluation import small_samples
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
    assert small_samples.wilson_if_degenerate(nothing, 10).low == pytest.approx(0.7225, abs=1e-4)
    known = Interval(0.9, 0.8, 1.0)
    assert small_samples.wilson_if_degenerate(known, 10) is known

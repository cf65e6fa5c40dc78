"""Shares of clustered records: Wilson's where records are independent, wider where they aren't."""

import numpy as np
import pytest
from scipy.stats import binomtest

from dermssl.evaluation import shares
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.small_samples import wilson, wilson_bounds


@pytest.mark.parametrize(("k", "n"), [(0, 4), (4, 4), (1, 9), (30, 70)])
def test_independent_records_have_wilsons_interval(k, n):
    found = shares.clustered_share(np.repeat([1.0, 0.0, np.nan], [k, n - k, 3]))
    expected = binomtest(k, n).proportion_ci(method="wilson")  # scipy's own
    assert found.estimate == k / n
    # G / (G - 1) makes the effective number one record smaller, where there are many.
    few = k in (0, n) or n < 10
    exact = wilson(k, n) if few else Interval(k / n, *wilson_bounds(k / n, n - 1))
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert wilson_bounds(k / n, n) == pytest.approx((expected.low, expected.high))


def test_copies_of_a_record_tell_nothing_new():
    values, groups = np.array([1, 0, 1, 1, 0, 0, 1.0]), np.arange(7)
    once = shares.clustered_share(values, groups)
    often = shares.clustered_share(np.repeat(values, 5), np.repeat(groups, 5))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert often.n_clusters == 7


@pytest.mark.parametrize(("lesions", "p"), [(8, 0.9), (20, 0.8), (60, 0.5)])
def test_the_truth_is_covered_with_few_lesions_of_several_photos(lesions, p):
    rng, inside = np.random.default_rng(lesions), []
    for _ in range(600):
        groups = np.repeat(np.arange(lesions), rng.integers(1, 5, lesions))
        own = rng.random(lesions)[groups]
        values = np.where(rng.random(len(groups)) < 0.7, own < p, rng.random(len(groups)) < p)
        found = shares.clustered_share(values.astype(float), groups)
        inside.append(found.low <= p <= found.high)
    assert np.mean(inside) > 0.95 - 0.03


def test_the_mean_of_two_shares_is_between_theirs():
    pair = [wilson(5, 10), wilson(2, 10)]
    found = shares.mean_of_shares(pair)
    assert found.estimate == pytest.approx(0.35)
    low = np.sqrt(sum((one.estimate - one.low) ** 2 for one in pair)) / 2
    assert found.low == pytest.approx(0.35 - low)
    assert np.isnan(shares.mean_of_shares([wilson(0, 0)]).low)


def test_recalls_are_those_of_the_classes_that_are_there():
    y = np.array([0, 0, 2, 2, 2, -1])
    found = shares.recalls(y, np.array([0, 1, 2, 2, 0, 0]))
    assert [one.estimate for one in found] == pytest.approx([0.5, 2 / 3])

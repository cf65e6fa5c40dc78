"""Paired tests and corrections, against slow twins, other libraries and hand values."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from dermssl.core.errors import UserError
from dermssl.evaluation import bootstrap, hypothesis_tests, interval, small_samples


def test_mcnemar_exact_and_corrected():
    def pairs(only_a, only_b, both=30):
        a = [True] * only_a + [False] * only_b + [True] * both
        b = [False] * only_a + [True] * only_b + [True] * both
        return a, b

    few = hypothesis_tests.mcnemar(*pairs(1, 7))
    assert few.exact
    assert few.p == pytest.approx(2 * (1 + 8) / 2**8)  # two-sided binomial tail by hand
    many = hypothesis_tests.mcnemar(*pairs(10, 30))
    assert not many.exact
    assert many.statistic == pytest.approx(19**2 / 40)
    assert many.p == pytest.approx(stats.chi2.sf(19**2 / 40, 1))
    assert hypothesis_tests.mcnemar(*pairs(20, 20)).p == 1  # the correction can't pass 0
    assert hypothesis_tests.mcnemar(*pairs(0, 0)).p == 1
    assert np.isnan(hypothesis_tests.mcnemar([], []).p)


def brute_force_delong(y, a, b):
    """Variance from the full matrix of pairs, with covariances (DeLong 1988, as printed)."""
    components = []
    for score in (a, b):
        x, z = score[y == 1][:, None], score[y == 0][None, :]
        wins = (x > z) + 0.5 * (x == z)
        components.append((wins.mean(axis=1), wins.mean(axis=0)))
    s10 = np.cov(components[0][0], components[1][0])
    s01 = np.cov(components[0][1], components[1][1])
    s = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    return components[0][0].mean() - components[1][0].mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delong_equals_the_brute_force_components(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 120)
    a, b = np.round(rng.random((2, 120)) + 0.4 * y, 1)  # rounded, so tied
    found = hypothesis_tests.delong(y, a, b)
    difference, variance = brute_force_delong(y, a, b)
    assert found.auc_a == pytest.approx(sk.roc_auc_score(y, a))
    assert found.auc_b == pytest.approx(sk.roc_auc_score(y, b))
    assert found.z == pytest.approx(difference / np.sqrt(variance))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))
    reach = 1.959964 * np.sqrt(variance)
    bounds = (found.difference.low, found.difference.high)
    assert bounds == pytest.approx((difference - reach, difference + reach), abs=1e-6)


def test_delong_agrees_with_the_bootstrap():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 400)
    a, b = rng.normal(size=(2, 400)) + np.array([[1.2], [0.8]]) * y
    exact = hypothesis_tests.delong(y, a, b).difference
    drawn = bootstrap.paired_difference("roc_auc", y, a, b, n_resamples=2000)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.008)


def test_delong_of_equal_or_extreme_scores():
    y = np.array([0, 0, 0, 1, 1, 1])
    score = np.array([0.1, 0.4, 0.35, 0.3, 0.8, 0.9])
    same = hypothesis_tests.delong(y, score, np.exp(score))  # same ranking on another scale
    assert (same.z, same.p, same.difference.low, same.difference.high) == (0, 1, 0, 0)
    extreme = hypothesis_tests.delong(y, y, -y)
    assert (extreme.auc_a, extreme.auc_b) == (1, 0)
    assert np.isnan(extreme.p)
    assert interval.verdict(extreme.difference) == "undefined"
    assert np.isnan(hypothesis_tests.delong([1, 1], [1, 2], [2, 1]).auc_a)
    single = hypothesis_tests.delong([0, 0, 1], [1, 3, 2], [1, 2, 3])
    assert single.auc_a == 0.5
    assert np.isnan(single.z)


def test_mcnemar_and_delong_hold_their_level_on_equal_models():
    """Two models of equal skill must differ at 5% in about 5% of studies."""
    rng = np.random.default_rng(0)
    rejected = np.zeros(2)
    for _ in range(400):
        y = rng.integers(0, 2, 150)
        a, b = rng.normal(size=(2, 150)) + y
        rejected[0] += hypothesis_tests.delong(y, a, b).p < 0.05
        rejected[1] += hypothesis_tests.mcnemar((a > 0.5) == y, (b > 0.5) == y).p < 0.05
    assert 7 <= rejected[0] <= 34  # 20 expected, three standard errors are 13
    assert 2 <= rejected[1] <= 30  # the correction makes McNemar conservative


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04 -> the last is lifted to .06.
    np.testing.assert_allclose(
        hypothesis_tests.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]
    )
    np.testing.assert_allclose(hypothesis_tests.holm([0.6, np.nan, 0.7]), [1, np.nan, 1])
    np.testing.assert_allclose(hypothesis_tests.holm([0.02, np.nan]), [0.02, np.nan])
    assert len(hypothesis_tests.holm([])) == 0
    with pytest.raises(UserError, match=r"expected 0\.\.1"):
        hypothesis_tests.holm([0.1, 1.2])


def test_wilson_by_its_formula():
    k, n, z = 7, 20, stats.norm.ppf(0.975)
    centre = (k + z**2 / 2) / (n + z**2)
    reach = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    found = small_samples.wilson(k, n)
    assert (found.low, found.high) == pytest.approx((centre - reach, centre + reach))
    perfect = small_samples.wilson(10, 10)
    assert perfect.high == 1
    assert perfect.low == pytest.approx(10 / (10 + z**2))
    assert str(small_samples.wilson(0, 0)) == "n/a"
    with pytest.raises(UserError, match="5 of 4"):
        small_samples.wilson(5, 4)

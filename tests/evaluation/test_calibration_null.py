"""What a calibrated model shows: exact counts, and a model that is calibrated isn't blamed."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from dermssl.core.errors import UserError
from dermssl.evaluation import bootstrap, calibration_null

SHARES = np.array([0.11, 0.67, 0.05, 0.03, 0.11, 0.011, 0.019])  # HAM10000's, nearly


def calibrated(n, seed, noise=1.0, photos=(1, 4)):
    """(p, y, lesions) of about `n` photos: y is a draw from p by construction, one a lesion.

    A photo shows its class by a normal signal; p is Bayes' posterior of that one photo.
    """
    rng = np.random.default_rng(seed)
    sizes = rng.integers(*photos, size=n, endpoint=True)
    lesion = np.repeat(np.arange(n), sizes)[:n]
    truth = rng.choice(7, size=n, p=SHARES / SHARES.sum())
    shared = rng.normal(size=(n, 7))
    x = np.eye(7)[truth][lesion] + noise * (
        np.sqrt(0.7) * shared[lesion] + np.sqrt(0.3) * rng.normal(size=(len(lesion), 7))
    )
    logits = x / noise**2 + np.log(SHARES)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True), truth[lesion], lesion


def test_independent_records_are_poisson_binomial():
    p = np.array([0.1, 0.7, 0.35, 0.9, 0.02])
    expected = np.zeros(6)
    for outcome in product([0, 1], repeat=5):
        expected[sum(outcome)] += np.prod(np.where(outcome, p, 1 - p))
    np.testing.assert_allclose(calibration_null.count_distribution(p), expected, atol=1e-15)
    same = calibration_null.count_distribution(np.full(50, 0.3))
    np.testing.assert_allclose(same, stats.binom.pmf(np.arange(51), 50, 0.3), atol=1e-14)


def test_photos_of_a_lesion_come_out_together():
    p, groups = np.array([0.2, 0.6, 0.5, 0.9, 0.1, 0.4]), ["a", "a", "b", "c", "c", "c"]
    found = calibration_null.count_distribution(p, groups)
    expected = np.zeros(7)
    for a, b, c in product([0, 1], repeat=3):
        chances = [chance if yes else 1 - chance for yes, chance in
                   zip((a, b, c), (0.4, 0.5, 1.4 / 3))]  # fmt: skip
        expected[2 * a + b + 3 * c] += np.prod(chances)
    np.testing.assert_allclose(found, expected, atol=1e-15)
    assert found @ np.arange(7) == pytest.approx(p.sum())


def test_a_thousand_records_have_the_moments_of_a_sum():
    rng = np.random.default_rng(1)
    p = rng.random(3000)
    found, k = calibration_null.count_distribution(p), np.arange(3001)
    assert found @ k == pytest.approx(p.sum())
    assert found @ (k - p.sum()) ** 2 == pytest.approx((p * (1 - p)).sum())


def test_a_class_without_records_is_judged_right():
    """F3 of the audit: P(0 of 100 at 0.011) = 0.33 shows nothing; 0 of 2,000 does."""
    few = calibration_null.share_range(np.zeros(100), np.full(100, 0.011))
    assert few.low == 0
    assert not few.is_outside
    many = calibration_null.share_range(np.zeros(2000), np.full(2000, 0.011), level=1 - 0.05 / 8)
    assert many.is_outside


def test_bounds_of_a_thousand_classes_are_exact():
    """F11: a level that asks for less than one draw of 1,000 needs no draws here."""
    level = 1 - 0.05 / 1000
    found = calibration_null.share_range(np.zeros(500), np.full(500, 0.02), level=level)
    tail = 0.05 / 2000
    assert found.low * 500 == stats.binom.ppf(tail, 500, 0.02)
    assert found.high * 500 == stats.binom.ppf(1 - tail, 500, 0.02)


def test_clusters_widen_the_range():
    p, lesions = np.full(200, 0.3), np.arange(200) // 4
    alone = calibration_null.share_range(np.ones(200), p)
    together = calibration_null.share_range(np.ones(200), p, lesions)
    assert together.low < alone.low < 0.3 < alone.high < together.high


@pytest.mark.parametrize("n", [100, 400])
def test_a_calibrated_model_shows_an_ece_within_its_range(n):
    inside = []
    for seed in range(120):
        p, y, lesions = calibrated(n, seed)
        found = calibration_null.ece_range(p, y, lesions, n_draws=200)
        inside.append(not found.is_outside)
    assert np.mean(inside) > 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / 120)


def test_the_ece_is_the_metric_and_a_wrong_model_lies_outside():
    p, y, lesions = calibrated(400, 0)
    found = calibration_null.ece_range(p, y, lesions)
    assert found.seen == pytest.approx(bootstrap.point("ece", y, p))
    sure = p**3 / (p**3).sum(axis=1, keepdims=True)
    wrong = calibration_null.ece_range(sure, y, lesions)
    assert wrong.seen > wrong.high


def test_nothing_labelled_has_no_range():
    nothing = calibration_null.share_range([-1, -1], [0.2, 0.4])
    assert np.isnan(nothing.seen)
    assert not nothing.is_outside
    assert np.isnan(calibration_null.ece_range(np.full((2, 2), 0.5), [-1, -1]).low)
    with pytest.raises(UserError, match="flat list of probabilities"):
        calibration_null.count_distribution([0.2, 1.4])

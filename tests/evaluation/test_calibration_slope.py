"""Calibration intercept and slope: golden values, scikit-learn's regression, invariants."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from dermssl.core.errors import UserError
from dermssl.evaluation import calibration_slope


def sample(n=400, intercept=-0.4, slope=0.7, seed=0):
    rng = np.random.default_rng(seed)
    p = expit(rng.normal(scale=1.5, size=n))
    return (rng.random(n) < expit(intercept + slope * logit(p))).astype(int), p


@pytest.mark.parametrize("seed", range(4))
def test_equals_sklearn_without_penalty(seed):
    y, p = sample(seed=seed)
    twin = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit(p)[:, None], y)
    found = calibration_slope.fit(y, p)
    assert found == pytest.approx((twin.intercept_[0], twin.coef_[0, 0]), abs=1e-5)


def test_golden_two_by_two():
    # By hand: of p = 0.2 3 of 10 are yes, of p = 0.6 5 of 10. The fit is saturated.
    p, y = np.repeat([0.2, 0.6], 10), np.repeat([1, 0, 1, 0], [3, 7, 5, 5])
    slope = (logit(0.5) - logit(0.3)) / (logit(0.6) - logit(0.2))
    intercept = logit(0.5) - slope * logit(0.6)
    assert calibration_slope.fit(y, p) == pytest.approx((intercept, slope), abs=1e-9)


def test_in_the_large_is_the_intercept_of_slope_one():
    y, p = sample(slope=1.0, intercept=0.8)

    def nll(a):
        mean = expit(a + logit(p))
        return -(y * np.log(mean) + (1 - y) * np.log(1 - mean)).sum()

    found = calibration_slope.score(y, p, n_resamples=50)
    assert found.in_the_large.estimate == pytest.approx(minimize_scalar(nll).x, abs=1e-5)
    assert found.excess.estimate == pytest.approx(p.mean() - y.mean())


def test_intervals_cover_what_was_drawn_and_follow_lesions():
    y, p = sample(n=600)
    found = calibration_slope.score(y, p, n_resamples=300)
    assert found.slope.low < 0.7 < found.slope.high < 1
    assert found.intercept.low < -0.4 < found.intercept.high < 0
    twice = np.repeat(np.arange(600), 3)
    copied = calibration_slope.score(y[twice], p[twice], twice.astype(str), n_resamples=300)
    assert copied.slope.estimate == pytest.approx(found.slope.estimate, abs=1e-8)
    width = found.slope.high - found.slope.low
    assert copied.slope.high - copied.slope.low > 0.8 * width


def test_unknown_records_do_not_count():
    y, p = sample()
    more = calibration_slope.fit(np.append(y, [-1, -1]), np.append(p, [0.1, 1.0]))
    assert more == pytest.approx(calibration_slope.fit(y, p))


def test_what_the_data_cannot_support_is_nan():
    rng = np.random.default_rng(1)
    p = rng.random(50)
    parted = (p > 0.5).astype(int)  # separated: the slope runs off to infinity
    assert np.isnan(calibration_slope.fit(parted, p)).all()
    assert np.isnan(calibration_slope.fit(np.zeros(50, int), p)).all()
    assert np.isnan(calibration_slope.fit(parted, np.full(50, 0.3))).all()
    few = calibration_slope.score(np.r_[np.ones(4, int), np.zeros(46, int)], p, n_resamples=50)
    assert np.isnan(few.slope.estimate)
    assert few.excess.estimate == pytest.approx(p.mean() - 4 / 50)
    assert not few.excess.is_defined


def test_certain_probabilities_are_finite():
    y, p = sample()
    p[:3] = [0, 1, 1]
    assert np.isfinite(calibration_slope.fit(y, p)).all()
    with pytest.raises(UserError, match="expected probabilities"):
        calibration_slope.fit(y, logit(np.clip(p, 0.1, 0.9)))


def test_probabilities_that_are_all_but_the_same_have_no_slope():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [60, 40])
    found = calibration_slope.score(y, 0.3 + 1e-6 * rng.normal(size=100), n_resamples=50)
    assert np.isnan(found.slope.estimate)
    assert not found.slope.is_defined
    assert found.excess.estimate == pytest.approx(-0.1, abs=1e-5)

"""The parts of a Brier score add up to it, and mean what they are called."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from dermssl.evaluation import brier


def case(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.beta(1, 4, n)
    return (rng.random(n) < p).astype(int), p


def test_the_parts_add_up_to_scikit_learns_score():
    y, p = case(500)
    found = brier.decompose(np.append(y, -1), np.append(p, 0.5), n_resamples=50)
    assert found.brier == pytest.approx(brier_score_loss(y, p))
    assert found.n == 500
    total = found.reliability - found.resolution + found.uncertainty + found.within
    assert total == pytest.approx(found.brier)
    assert found.uncertainty == pytest.approx(y.mean() * (1 - y.mean()))
    assert found.scaled.estimate == pytest.approx(1 - found.brier / found.uncertainty)
    assert found.scaled.low < found.scaled.estimate < found.scaled.high


def test_murphys_identity_is_exact_for_few_distinct_probabilities():
    y, p = case(2000)
    p = p.round(1)
    found = brier.decompose(y, p, n_bins=500, n_resamples=10)
    assert found.within == pytest.approx(0, abs=1e-12)
    groups = [(y[p == value].mean(), value, (p == value).mean()) for value in np.unique(p)]
    assert found.reliability == pytest.approx(sum(w * (v - r) ** 2 for r, v, w in groups))
    assert found.resolution == pytest.approx(sum(w * (r - y.mean()) ** 2 for r, _, w in groups))


def test_a_calibrated_model_has_little_reliability_and_a_wrong_one_much():
    y, p = case()
    assert brier.decompose(y, p, n_resamples=10).reliability < 0.002
    assert brier.decompose(y, 1 - p, n_resamples=10).reliability > 0.1
    same = brier.decompose(y, np.full(len(y), y.mean()), n_resamples=10)
    assert same.resolution == pytest.approx(0)
    assert same.scaled.estimate == pytest.approx(0)


def test_one_side_alone_has_no_scaled_score():
    found = brier.decompose([0, 0, 0], np.array([0.1, 0.2, 0.3]), n_resamples=10)
    assert np.isnan(found.scaled.estimate)
    assert np.isnan(brier.decompose([-1], np.array([0.5]), n_resamples=10).brier)

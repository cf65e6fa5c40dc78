"""Class shares from probabilities: against a plain loop, known mixtures, and bad input."""

import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.evaluation import prevalence


def posterior(rng, shares, n, assumed):
    """Labels drawn by `shares`, with exact posteriors for the shares `assumed`."""
    y = rng.choice(len(shares), size=n, p=shares)
    x = rng.normal(size=n) + 1.5 * y
    density = np.exp(-0.5 * (x[:, None] - 1.5 * np.arange(len(shares))) ** 2) * assumed
    return y, density / density.sum(axis=1, keepdims=True)


def slow_em(p, source, steps=3000):
    """Saerens, Latinne & Decaestecker (2002), eq. 2.9, record by record."""
    q = list(source)
    for _ in range(steps):
        total = [0.0] * len(q)
        for row in p:
            weighted = [q[k] / source[k] * row[k] for k in range(len(q))]
            for k in range(len(q)):
                total[k] += weighted[k] / sum(weighted) / len(p)
        q = total
    return q


def test_equals_the_slow_algorithm():
    rng = np.random.default_rng(3)
    source = np.array([0.5, 0.3, 0.2])
    _, p = posterior(rng, [0.2, 0.2, 0.6], 60, source)
    np.testing.assert_allclose(prevalence.estimate(p, source), slow_em(p, source), atol=2e-3)


def test_finds_the_shares_of_a_large_sample_and_their_likelihood_is_the_highest():
    rng = np.random.default_rng(0)
    source, true = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    _, p = posterior(rng, true, 20_000, source)
    found = prevalence.estimate(p, source)
    np.testing.assert_allclose(found, true, atol=0.02)

    def likelihood(shares):
        return np.log((p * (shares / source)).sum(axis=1)).mean()

    for other in (true, source, found * [1.05, 1, 1] / (found * [1.05, 1, 1]).sum()):
        assert likelihood(found) >= likelihood(other) - 1e-9


def test_the_same_photos_keep_their_shares():
    _, p = posterior(np.random.default_rng(1), [0.7, 0.2, 0.1], 500, np.array([0.4, 0.3, 0.3]))
    source = prevalence.source_shares(p)
    np.testing.assert_allclose(prevalence.estimate(p, source), source, atol=1e-5)


def test_correction_is_bayes_rule():
    rng = np.random.default_rng(2)
    source, true = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8])
    _, p = posterior(rng, true, 50, source)
    again = prevalence.corrected(prevalence.corrected(p, source, true), true, source)
    np.testing.assert_allclose(again, p, atol=1e-12)
    np.testing.assert_allclose(prevalence.corrected(p, source, source), p, atol=1e-12)


def test_intervals_hold_the_estimate_and_widen_with_lesions():
    rng = np.random.default_rng(4)
    source = np.array([0.5, 0.5])
    _, p = posterior(rng, [0.3, 0.7], 100, source)
    alone = prevalence.with_intervals(p, source, None, 200)
    np.testing.assert_allclose(alone.sample, prevalence.estimate(p, source), atol=1e-9)
    twice = prevalence.with_intervals(
        np.repeat(p, 4, axis=0), source, np.repeat(np.arange(100), 4).astype(str), 200
    )
    one, four = alone.intervals()[1], twice.intervals()[1]
    assert one.low < one.estimate < one.high
    assert (four.high - four.low) > 0.8 * (one.high - one.low)  # copies tell nothing new


@pytest.mark.parametrize(
    ("p", "source", "said"),
    [
        ([[0.5, 0.5]], [1.0, 0.0], "every class needs a share above 0"),
        ([[0.5, 0.5]], [0.5, 0.3, 0.2], "records don't match"),
        ([[0.5, 0.5]], [0.5, np.nan], "one share a class"),
        ([[0.9, 0.9]], [0.5, 0.5], "don't sum to 1"),
    ],
)
def test_bad_input(p, source, said):
    with pytest.raises(UserError, match=said):
        prevalence.estimate(p, source)
    with pytest.raises(UserError, match="validation records"):
        prevalence.source_shares(np.zeros((0, 2)))


def test_probabilities_that_are_all_but_the_same_tell_nothing_of_shares():
    rng = np.random.default_rng(0)
    p = np.array([0.7, 0.3]) + 1e-6 * rng.normal(size=(200, 1)) * [1, -1]
    found = prevalence.with_intervals(p, [0.7, 0.3], n_resamples=50)
    assert found.sample.tolist() == pytest.approx([0.7, 0.3], abs=1e-4)
    assert not any(one.is_defined for one in found.intervals())

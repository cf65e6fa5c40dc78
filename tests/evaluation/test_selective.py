"""The risk-coverage curve: against the definition, and its two limits."""

import numpy as np
import pytest

from dermssl.evaluation import selective


def case(n=300, seed=0):
    rng = np.random.default_rng(seed)
    confidence = rng.random(n)
    return (rng.random(n) > confidence).astype(float), confidence


def test_risks_and_area_equal_the_definition():
    wrong, confidence = case()
    found = selective.risk_coverage(wrong, confidence, coverages=[0.25, 0.5, 1.0], n_resamples=50)
    ordered = wrong[np.argsort(-confidence)]
    risk = np.cumsum(ordered) / np.arange(1, 301)
    assert found.table["risk"].tolist() == pytest.approx([risk[74], risk[149], risk[299]])
    assert found.aurc.estimate == pytest.approx(risk.mean())
    assert found.gain.estimate == pytest.approx(wrong.mean() - risk.mean())
    sure = confidence >= found.table["threshold"][1]
    assert sure.sum() == 150
    assert (found.table["risk_low"] <= found.table["risk"]).all()
    assert found.gain.low > 0


def test_equal_confidence_says_nothing_in_any_order():
    wrong = np.repeat([1.0, 0.0], 50)
    found = selective.risk_coverage(wrong, np.full(100, 0.7), n_resamples=200)
    assert found.table["risk"].tolist() == pytest.approx([0.5] * 20)
    assert found.aurc.estimate == pytest.approx(0.5)
    assert found.gain.estimate == pytest.approx(0)
    assert not found.gain.low > 0


def test_a_confidence_of_no_use_is_rarely_called_useful():
    rng, named = np.random.default_rng(0), 0
    for _ in range(100):
        wrong, confidence = (rng.random(150) < 0.3).astype(float), rng.random(150)
        named += selective.risk_coverage(wrong, confidence, None, [1.0], 200).gain.low > 0
    assert named <= 100 * (0.025 + 2.5 * np.sqrt(0.025 * 0.975 / 100))


def test_unknown_records_are_left_out():
    wrong, confidence = case(60)
    more = np.append(wrong, [np.nan] * 9), np.append(confidence, np.linspace(0, 1, 9))
    plain = selective.risk_coverage(wrong, confidence, n_resamples=10)
    found = selective.risk_coverage(*more, n_resamples=10)
    assert found.aurc.estimate == pytest.approx(plain.aurc.estimate)
    assert found.table["threshold"].tolist() == plain.table["threshold"].tolist()
    nothing = selective.risk_coverage([np.nan], [0.5], n_resamples=10)
    assert np.isnan(nothing.aurc.estimate)
    assert nothing.table["risk"].isna().all()

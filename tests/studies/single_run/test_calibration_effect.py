"""The means of a calibrated model are its classes' shares but for chance, and so it is told."""

import fake_runs
import numpy as np
import pytest

from dermssl.evaluation import calibration_null
from dermssl.evaluation.predictions import Arrays
from dermssl.studies.single_run import calibration_effect

pytestmark = pytest.mark.slow

HAM = fake_runs.HAM
SHARES = np.array([0.11, 0.67, 0.05, 0.03, 0.11, 0.011, 0.019])


def calibrated(n, seed):
    """`Arrays` and lesions of `n` photos whose truth is a draw from their own probabilities.

    A photo shows its class in a normal signal, p is Bayes' posterior of that one photo.
    """
    rng = np.random.default_rng(seed)
    lesion = np.repeat(np.arange(n), rng.integers(1, 4, size=n, endpoint=True))[:n]
    y = rng.choice(7, size=n, p=SHARES / SHARES.sum())[lesion]
    shared = rng.normal(size=(n, 7))[lesion]
    logits = np.eye(7)[y] + np.sqrt(0.7) * shared + np.sqrt(0.3) * rng.normal(size=(n, 7))
    p = np.exp(logits + np.log(SHARES))
    p /= p.sum(axis=1, keepdims=True)
    return Arrays(y, y * 0, p, p @ HAM.matrix, lesion.astype(str)), lesion


def named(means):
    return means[(means["share"] < means["share_low"]) | (means["share"] > means["share_high"])]


@pytest.mark.parametrize("n", [100, 400])
def test_a_calibrated_model_is_named_in_few_reports(n):
    """F3 of the audit: 53% of reports with 100 records named a class, 11% with 400."""
    repetitions, found = 300, 0
    for seed in range(repetitions):
        arrays, lesions = calibrated(n, seed)
        found += len(named(calibration_effect.in_the_large(arrays, None, HAM, lesions))) > 0
    assert found / repetitions <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / repetitions)


def test_a_model_that_is_wrong_on_average_is_named():
    arrays, lesions = calibrated(800, 0)
    doubled = arrays.p_fine * np.where(np.arange(7) == 0, 4.0, 1.0)
    doubled /= doubled.sum(axis=1, keepdims=True)
    means = calibration_effect.in_the_large(arrays._replace(p_fine=doubled), None, HAM, lesions)
    assert "mel" in set(named(means)["name"])
    row = means.set_index("name").loc["mel"]
    assert row["excess"] == pytest.approx(doubled[:, 0].mean() - (arrays.y == 0).mean())
    expected = calibration_null.share_range(arrays.y == 0, doubled[:, 0], lesions, 1 - 0.05 / 8)
    assert (row["share_low"], row["share_high"]) == (expected.low, expected.high)


def test_no_labels_have_no_means():
    arrays, lesions = calibrated(50, 0)
    means = calibration_effect.in_the_large(arrays._replace(y=np.full(50, -1)), None, HAM, lesions)
    assert means["share"].isna().all()
    assert not len(named(means))

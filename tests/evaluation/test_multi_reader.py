"""Multi-reader analysis against a published one, to the digits that were published.

The data are those of Van Dyke et al. (1993, Cine MRI in the diagnosis of thoracic aortic
dissection): 5 readers, 2 kinds of images, 114 patients of whom 45 are ill, ratings of 1 to 5; they
are the usual example of the method (Obuchowski and Rockette 1995; Hillis 2007). The numbers are of
OR-DBM MRMC 2.51 (University of Iowa: Schartz, Hillis, Pesce and Berbaum), "trapezoidal area,
jackknife", which RJafroc keeps as inst/Iowa/VanDyke.txt.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dermssl.core.errors import UserError
from dermssl.evaluation import hypothesis_tests, multi_reader
from dermssl.evaluation.bootstrap_metrics import PlannedMetric

FILE = Path(__file__).parents[1] / "golden" / "van_dyke.csv"


@pytest.fixture(scope="module")
def van_dyke():
    """(y (114,), ratings (2, 5, 114))."""
    digits = [list(map(int, text)) for text in pd.read_csv(FILE, dtype=str)["ratings"]]
    return np.array(digits[0]), np.array(digits[1:], dtype=float).reshape(2, 5, 114)


@pytest.fixture(scope="module")
def analysed(van_dyke):
    y, ratings = van_dyke
    plan = {
        str(k): PlannedMetric("roc_auc", y, row) for k, row in enumerate(ratings.reshape(10, -1))
    }
    scores, covariance = multi_reader.jackknife(plan)
    return scores, covariance, multi_reader.compare_ways(scores.reshape(2, 5), covariance)


def test_random_readers_and_random_cases_as_published(analysed):
    found = analysed[2]
    assert found.ms_way == pytest.approx(0.00479617, abs=5e-9)
    assert found.ms_way_by_reader == pytest.approx(0.00055103, abs=5e-9)
    assert found.variance == pytest.approx(0.00080229, abs=5e-9)
    assert found.cov1 == pytest.approx(0.00034661, abs=5e-9)
    assert found.cov2 == pytest.approx(0.00034407, abs=5e-9)
    assert found.cov3 == pytest.approx(0.00023903, abs=5e-9)
    assert found.f == pytest.approx(4.46, abs=5e-3)
    assert found.df == pytest.approx(15.26, abs=5e-3)
    assert found.p == pytest.approx(0.0517, abs=5e-5)
    difference = found.differences[0, 1]
    assert difference.estimate == pytest.approx(-0.04380, abs=5e-6)
    assert difference.low == pytest.approx(-0.08796, abs=5e-6)
    assert difference.high == pytest.approx(0.00036, abs=5e-6)


@pytest.mark.parametrize(
    ("way", "auc", "error", "df", "low", "high", "shared", "between"),
    [
        (0, 0.89703704, 0.03317360, 12.74, 0.82522360, 0.96885048, 0.00048396, 0.00308263),
        (1, 0.94083736, 0.02156637, 12.71, 0.89413783, 0.98753689, 0.00020419, 0.00130460),
    ],
)
def test_a_mean_of_readers_as_published(analysed, way, auc, error, df, low, high, shared, between):
    found = analysed[2].means[way]
    assert found.interval.estimate == pytest.approx(auc, abs=5e-9)
    assert found.standard_error == pytest.approx(error, abs=5e-9)
    assert found.df == pytest.approx(df, abs=5e-3)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=5e-9)
    assert found.shared_by_cases == pytest.approx(shared, abs=5e-9)
    assert found.between_readers == pytest.approx(between, abs=5e-9)
    assert found.n_readers == 5


@pytest.mark.parametrize(
    ("reader", "difference", "low", "high"),
    [
        (0, -0.02818, -0.07818, 0.02182), (1, -0.04654, -0.09809, 0.00501),
        (2, -0.01787, -0.07904, 0.04330), (3, -0.02625, -0.06014, 0.00764),
        (4, -0.10016, -0.18651, -0.01381),
    ],
)  # fmt: skip
def test_one_reader_alone_as_published(analysed, reader, difference, low, high):
    """A reader's difference by the same covariances: 'Analysis 2 (d)', pooled over both ways."""
    scores, covariance, _ = analysed
    rows = [reader, 5 + reader]
    pair = covariance[np.ix_(rows, rows)]
    variance = pair[0, 0] + pair[1, 1] - 2 * pair[0, 1]
    found = multi_reader.mean_of_readers([scores[reader] - scores[5 + reader]], [[variance]])
    assert found.interval.estimate == pytest.approx(difference, abs=5e-6)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=5e-6)
    assert np.isnan(found.between_readers)


def test_the_jackknife_is_near_delongs_variance(van_dyke, analysed):
    y, ratings = van_dyke
    scores, covariance, _ = analysed
    exact = hypothesis_tests.delong(y, ratings[0, 0], ratings[1, 0]).difference
    pair = covariance[np.ix_([0, 5], [0, 5])]
    variance = pair[0, 0] + pair[1, 1] - 2 * pair[0, 1]
    assert exact.estimate == pytest.approx(scores[0] - scores[5])
    reach = stats.norm.ppf(0.975) * np.sqrt(variance)
    assert exact.high - exact.estimate == pytest.approx(reach, rel=0.03)


def test_the_jackknife_of_a_mean_is_its_textbook_variance():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 40))
    plan = {str(k): PlannedMetric("mean", None, row) for k, row in enumerate(values)}
    scores, covariance = multi_reader.jackknife(plan)
    np.testing.assert_allclose(scores, values.mean(axis=1))
    np.testing.assert_allclose(covariance, np.cov(values) / 40)
    # Photos of a lesion are left out together: copies tell nothing new.
    copies = {
        str(k): PlannedMetric("mean", None, np.repeat(row, 3)) for k, row in enumerate(values)
    }
    again = multi_reader.jackknife(copies, np.repeat(np.arange(40), 3))[1]
    np.testing.assert_allclose(again, covariance)


def test_readers_who_do_not_vary_leave_the_cases():
    found = multi_reader.mean_of_readers([0.7, 0.7], np.full((2, 2), 0.0004))
    assert found.df == np.inf
    assert found.interval.high - 0.7 == pytest.approx(1.959964 * 0.02, rel=1e-5)
    assert not multi_reader.mean_of_readers([0.7, 0.7], np.zeros((2, 2))).interval.is_defined


def test_readers_who_agree_by_luck_are_no_surer_than_the_cases():
    covariance = np.diag([0.004] * 4)
    found = multi_reader.mean_of_readers([0.72, 0.74, 0.73, 0.74], covariance).interval
    assert found.high - found.estimate == pytest.approx(1.959964 * np.sqrt(0.004 / 4), rel=1e-5)


def test_the_mean_of_few_readers_is_covered():
    """Readers vary as much as cases do: 4 readers, 200 cases, sensitivities near 0.7."""
    rng, inside = np.random.default_rng(0), []
    skill = stats.norm(0.7, 0.7)
    for _ in range(400):
        cases, readers = rng.normal(size=200), skill.rvs(4, random_state=rng)
        hits = (readers[:, None] + cases + rng.normal(size=(4, 200)) > 0).astype(float)
        plan = {str(k): PlannedMetric("mean", None, row) for k, row in enumerate(hits)}
        found = multi_reader.mean_of_readers(*multi_reader.jackknife(plan)).interval
        truth = stats.norm.cdf(0.7 / np.sqrt(2 + 0.7**2))
        inside.append(found.low <= truth <= found.high)
    assert 0.95 - 2.5 * np.sqrt(0.05 * 0.95 / 400) <= np.mean(inside) <= 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: multi_reader.mean_of_readers([], np.zeros((0, 0))), "0 scores"),
        (lambda: multi_reader.compare_ways(np.zeros((1, 3)), np.zeros((3, 3))), "ways, readers"),
        (lambda: multi_reader.jackknife({"a": PlannedMetric("mean", None, np.ones(1))}), "1 cases"),
    ],
)
def test_too_little_is_one_line(call, message):
    with pytest.raises(UserError, match=message):
        call()

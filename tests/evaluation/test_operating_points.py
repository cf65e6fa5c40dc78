"""Predictive values and likelihood ratios: Bayes' rule, its limits, and the coverage of bounds."""

import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.evaluation import binary_tasks, operating_points
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.small_samples import wilson_bounds


def target(hits, misses, alarms, passes):
    y = np.repeat([1, 1, 0, 0, -1], [hits, misses, alarms, passes, 2])
    score = np.repeat([0.9, 0.1, 0.9, 0.1, 0.9], [hits, misses, alarms, passes, 2])
    return binary_tasks.Target("a", "a", True, y, score)


def share(p, n):
    return Interval(p, *wilson_bounds(p, n))


def test_at_the_records_own_prevalence_ppv_is_the_precision():
    found = operating_points.at_threshold(target(30, 10, 20, 140), 0.5)
    assert found.is_own
    assert found.prevalence == 0.2
    assert found.ppv.estimate == pytest.approx(30 / 50)
    assert found.npv.estimate == pytest.approx(140 / 150)
    assert found.lr_positive.estimate == pytest.approx(0.75 / 0.125)
    assert found.lr_negative.estimate == pytest.approx(0.25 / 0.875)
    assert found.number_needed.estimate == pytest.approx(50 / 30)
    for name in ("ppv", "npv", "lr_positive", "lr_negative", "number_needed", "sensitivity"):
        one = getattr(found, name)
        assert one.low < one.estimate < one.high, name


def test_a_stated_prevalence_is_bayes_rule():
    found = operating_points.at_threshold(target(30, 10, 20, 140), 0.5, prevalence=0.03)
    ppv = 0.03 * 0.75 / (0.03 * 0.75 + 0.97 * 0.125)
    npv = 0.97 * 0.875 / (0.97 * 0.875 + 0.03 * 0.25)
    assert found.ppv.estimate == pytest.approx(ppv)
    assert found.npv.estimate == pytest.approx(npv)
    assert found.number_needed.estimate == pytest.approx(1 / ppv)
    odds = 0.03 / 0.97 * found.lr_positive.low
    assert found.ppv.low == pytest.approx(odds / (1 + odds))
    assert found.number_needed.high == pytest.approx(1 / found.ppv.low)


def test_no_false_alarm_is_no_certainty():
    found = operating_points.at_threshold(target(8, 2, 0, 50), 0.5, prevalence=0.05)
    assert found.lr_positive.estimate == np.inf
    assert 5 < found.lr_positive.low < np.inf
    assert found.ppv.estimate == 1
    assert 0.2 < found.ppv.low < 0.6
    nothing = operating_points.at_threshold(target(0, 10, 5, 50), 0.5)
    assert nothing.ppv.estimate == 0
    assert nothing.ppv.high > 0.05
    assert nothing.number_needed.estimate == np.inf


def test_photos_of_a_lesion_widen_the_bounds():
    one = target(30, 10, 20, 140)
    lesions = np.arange(len(one.y)) // 4
    alone = operating_points.at_threshold(one, 0.5)
    together = operating_points.at_threshold(one, 0.5, lesions)
    assert together.ppv.low < alone.ppv.low
    assert together.ppv.high > alone.ppv.high


@pytest.mark.parametrize(("pa", "na", "pb", "nb"), [(0.8, 40, 0.1, 200), (0.8, 10, 0.05, 60)])
def test_a_ratio_is_covered(pa, na, pb, nb):
    rng, inside = np.random.default_rng(na), []
    for a, b in zip(rng.binomial(na, pa, 1000), rng.binomial(nb, pb, 1000)):
        found = operating_points.ratio(share(a / na, na), share(b / nb, nb))
        inside.append(found.low <= pa / pb <= found.high)
    assert 0.93 < np.mean(inside) <= 1


def test_nothing_is_said_without_both_sides():
    for one in (target(5, 5, 0, 0), target(0, 0, 5, 5)):
        found = operating_points.at_threshold(one, 0.5, prevalence=0.1)
        assert np.isnan(found.ppv.estimate)
        assert np.isnan(found.lr_positive.low)
    assert np.isnan(operating_points.at_threshold(target(5, 5, 5, 5), np.nan).npv.estimate)


def test_a_prevalence_of_0_or_1_is_refused():
    with pytest.raises(UserError, match=r"evaluate\.prevalence"):
        operating_points.at_threshold(target(5, 5, 5, 5), 0.5, prevalence=1.0)

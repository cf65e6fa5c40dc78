"""The difference between two independent sets, against published and exact answers."""

import numpy as np
import pytest

from dermssl.evaluation import independent
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.small_samples import wilson


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [  # Newcombe (1998), table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_newcombe_s_examples(a, b, low, high):
    found = independent.difference(wilson(*a), wilson(*b))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_symmetric_intervals_add_their_variances():
    a, b = Interval(0.7, 0.6, 0.8), Interval(0.4, 0.2, 0.6)
    found = independent.difference(a, b)
    reach = np.hypot(0.1, 0.2)
    assert (found.low, found.high) == pytest.approx((0.3 - reach, 0.3 + reach))
    back = independent.difference(b, a)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_what_has_no_interval_gives_none():
    found = independent.difference(Interval(0.7, np.nan, np.nan), Interval(0.4, 0.2, 0.6))
    assert found.estimate == pytest.approx(0.3)
    assert not found.is_defined

"""Numbers as they are printed."""

import math

from dermssl.evaluation.interval import Interval
from dermssl.reporting import wording


def test_numbers():
    assert wording.number(-0.5) == "−0.500"
    assert wording.number(math.nan) == "n/a"
    assert wording.estimate(Interval(0.5, 0.4, 0.6)) == "0.500 (0.400 to 0.600)"
    assert wording.estimate(Interval(0.5, math.nan, math.nan)) == "0.500 (n/a)"
    assert wording.estimate(Interval(math.nan, math.nan, math.nan)) == "n/a"
    assert wording.count(1, "seed") == "1 seed"
    assert wording.count(1511, "photo") == "1,511 photos"

"""Where the marks of an interval plot lie."""

import numpy as np
import pytest

from dermssl.evaluation.interval import Interval
from dermssl.reporting import figures
from dermssl.reporting.interval_plot import Mark, Row, interval_plot


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_the_marks_of_a_row_are_nearer_to_each_other_than_to_the_next_row(n):
    rows = [Row(str(k), [Mark(Interval(0.5, 0.4, 0.6)) for _ in range(n)]) for k in range(2)]
    _, (axes,) = figures.new(5, 3)
    interval_plot(axes, rows)
    places = [dots.get_offsets()[0][1] for dots in axes.collections]
    apart = np.diff(places)
    assert len(places) == 2 * n
    assert (np.delete(apart, n - 1) > 0).all()
    assert (np.delete(apart, n - 1) < apart[n - 1]).all()
    assert places[n - 1] < 0.5 < places[n]

"""Where the marks of an interval plot lie."""

import itertools

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


@pytest.mark.parametrize("scale", [0.00002, 0.0002, 0.0123, 0.1, 3.0])
def test_the_labels_of_the_x_axis_stand_apart(scale):
    marks = [Mark(Interval(scale * k, scale * (k - 0.6), scale * (k + 0.6))) for k in (-1, 0, 1)]
    figure, (axes, _) = figures.new(10.6, 3, 1, 2)
    interval_plot(axes, [Row("melanoma", marks)])
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    inside = [box for box in boxes if box.width]
    assert len(inside) >= 3
    assert all(a.x1 + 3 < b.x0 for a, b in itertools.pairwise(inside)), [box.x0 for box in inside]
    assert not axes.xaxis.get_offset_text().get_text()  # no power of ten beside the axis

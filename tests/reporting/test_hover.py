"""Values of figures: where they lie, and that they come back from the PNG."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermssl.core.errors import UserError
from dermssl.evaluation.interval import Interval
from dermssl.reporting import confusion, figures, hover
from dermssl.reporting.interval_plot import Mark, Row, interval_plot


def test_a_value_lies_where_its_mark_is_drawn(tmp_path):
    figure, panels = figures.new(6, 3, 1, 2)
    for axes in panels:
        axes.scatter([1, 30], [2, 5], s=40, color="#ff0000", linewidth=0)
        axes.set_xscale("log")
        hover.note(axes, 1, 2, "low")
        hover.note(axes, 30, 5, "high", "k")
    path = figures.save(figure, tmp_path / "a.png")
    values = hover.read(path)
    assert [value.text for value in values] == ["low", "high"] * 2
    assert [value.key for value in values] == ["", "k"] * 2
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    for value in values:
        column, row = int(value.x * pixels.shape[1]), int(value.y * pixels.shape[0])
        assert (pixels[row, column] == (255, 0, 0)).all()


def test_the_picture_stays_the_same_and_so_do_the_bytes(tmp_path):
    def drawn(path, noted):
        figure, (axes,) = figures.new(2, 2)
        axes.plot([0, 1], [0, 1])
        if noted:
            hover.note(axes, 0.5, 0.5, "μ $x$ \N{SNOWMAN}")
        return figures.save(figure, path)

    plain, noted = drawn(tmp_path / "p.png", False), drawn(tmp_path / "n.png", True)
    assert (np.asarray(Image.open(plain)) == np.asarray(Image.open(noted))).all()
    assert hover.read(plain) == []
    assert [value.text for value in hover.read(noted)] == ["μ $x$ \N{SNOWMAN}"]
    assert noted.read_bytes() == drawn(tmp_path / "again.png", True).read_bytes()


def test_what_is_not_drawn_has_no_value(tmp_path):
    figure, (axes,) = figures.new(2, 2)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for x in (np.nan, -40, 40):
        hover.note(axes, x, 0.5, "nowhere")
    assert hover.read(figures.save(figure, tmp_path / "a.png")) == []


def test_the_primitives_note_what_they_draw(tmp_path):
    figure, panels = figures.new(12, 3, 1, 3)
    marks = [Mark(Interval(0.5, 0.25, 0.75)), Mark(Interval(np.nan, np.nan, np.nan))]
    interval_plot(panels[0], [Row("a heading"), Row("grid_$1", marks)], series=("dev", "test"))
    x = np.linspace(0, 1, 201)
    figures.titled(panels[1], "t", "1 − specificity", "sensitivity")
    figures.lines(panels[1], [figures.Curve(x, x**2, "mel", bounds=(x**2 - 0.1, x**2 + 0.1))])
    confusion.draw(panels[2], np.array([[3, 1], [0, 0]]), ["a", "b$"], ["a", "b$"], False)
    said = [value.text for value in hover.read(figures.save(figure, tmp_path / "a.png"))]
    assert said[0] == "grid_$1, dev: 0.500 (0.250 to 0.750)"
    curve = [text for text in said if text.startswith("mel")]
    assert len(curve) == figures.SHOWN_VALUES
    assert curve[0] == "mel: 1 − specificity 0, sensitivity 0.000 (-0.100 to 0.100)"
    assert curve[-1].startswith("mel: 1 − specificity 1, sensitivity 1.000")
    counts = iter(("3 of 4", "1 of 4", "0 of 0", "0 of 0"))
    cells = [f"true {i}, predicted {j}: {next(counts)}" for i in ("a", "b$") for j in ("a", "b$")]
    assert said[-4:] == cells


def test_points_of_a_reliability_diagram_say_how_many_records_they_are_of(tmp_path):
    table = pd.DataFrame({"confidence": [0.4, 0.9], "accuracy": [0.5, 0.8], "n": [3, 1200]})
    path = figures.reliability(tmp_path / "r.png", [(table, "raw")], "t")
    (value,) = hover.read(path)  # a bin of three records isn't drawn
    assert value.text == "raw: confidence 0.900, right 0.800, n = 1,200"


def test_a_file_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"a\.png: no picture"):
        hover.read(tmp_path / "a.png")

"""Names in any script: a font of the system that has them, else a number with a key."""

import warnings

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from dermssl.reporting import confusion, figures, fonts, report

NAMES = ("黑色素瘤", "良性痣")


def labelled(names):
    figure, (axes,) = figures.new(4, 3)
    axes.barh(range(len(names)), 1)
    axes.set_yticks(range(len(names)), names)
    axes.plot([0, 1], [0, 1], label=f"{names[0]} (3)")
    figures.legend(axes)
    return figure


def shown(figure):
    figure.draw_without_rendering()
    return {text.get_text() for text in figure.findobj(Text) if text.get_text()}


@pytest.fixture
def bare(monkeypatch):
    """A system without any other font."""
    fonts.families_with.cache_clear()
    monkeypatch.setattr(fonts, "_system_fonts", lambda: [])
    yield
    fonts.families_with.cache_clear()


def test_without_a_font_names_are_numbers_with_a_key_alike_in_all_figures(tmp_path, bare, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = labelled(NAMES)
        figures.save(figure, tmp_path / "a.png")
        assert {"#1", "#2", "#1 (3)"} | {"#: see figure_names.csv"} <= shown(figure)
        figure = labelled([NAMES[1], "mel", NAMES[0]])
        figures.save(figure, tmp_path / "b.png")
        assert {"#1", "#2", "mel"} <= shown(figure)
        matrix = np.array([[3, 1], [0, 2]])
        confusion.write(tmp_path / "c.png", matrix, NAMES, NAMES, "t")
    key = pd.read_csv(tmp_path / fonts.KEY)
    assert sorted(key["name"]) == sorted(NAMES)
    assert key["number"].tolist() == [1, 2]
    (line,) = [text for text in caplog.messages if str(tmp_path) in text]
    assert "figure_names.csv is the key" in line
    report.write(report.Report("t"), tmp_path)
    assert f"#1 is {key['name'][0]}; #2 is {key['name'][1]}" in (tmp_path / "report.md").read_text()


def test_a_name_in_several_lines_has_one_number(tmp_path, bare):
    name = "色" * 30
    figure = labelled([figures.wrap(name, 12), name])
    figures.save(figure, tmp_path / "a.png")
    assert pd.read_csv(tmp_path / fonts.KEY)["name"].tolist() == [name]


def test_a_font_of_the_system_serves_where_it_has_the_characters(tmp_path, monkeypatch, caplog):
    """DejaVu Serif stands for it: the own font is made to lack one letter that it has."""
    own = fonts._own_characters()
    serif = fonts.font_manager.findfont("DejaVu Serif")
    monkeypatch.setattr(fonts, "_own_characters", lambda: own - {"Ж"})
    fonts.families_with.cache_clear()
    figure = labelled(["Ж", "b"])
    before = matplotlib.rcParams["font.family"]
    figures.save(figure, tmp_path / "a.png")
    assert any(serif == file for _, file in fonts._system_fonts())
    families, without = fonts.families_with(frozenset("Ж"))
    assert families
    assert not without
    assert "Ж" in shown(figure)
    found = [text for text in figure.findobj(Text) if text.get_text() == "Ж"]
    assert set(families) < set(found[0].get_fontfamily())
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    assert not caplog.messages
    assert matplotlib.rcParams["font.family"] == before
    fonts.families_with.cache_clear()


@pytest.mark.parametrize("n", [2, 6])
def test_long_names_are_whole_or_shortened_and_inside_the_figure(tmp_path, monkeypatch, n):
    stem = "Benign epidermal proliferations, seborrheic keratosis, verruciform type, "
    names = [stem + word for word in ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"][:n]]
    kept = []
    monkeypatch.setattr(confusion, "save", lambda figure, path: kept.append(figure))
    for normalised in (True, False):
        matrix = np.eye(n, dtype=int) * 3
        confusion.write(tmp_path / "a.png", matrix, names, names, "t", normalised)
    for figure in kept:
        figure.draw_without_rendering()
        (axes,) = figure.axes
        labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
        assert len({label.get_text() for label in axes.get_xticklabels()}) == n
        for label in labels:
            box = label.get_window_extent()
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1
            assert label.get_text().count("\n") <= 2
        assert axes.get_window_extent().width > 0.3 * n * figure.dpi  # the cells keep their size


def test_fit_keeps_both_ends():
    assert figures.fit("nevus", 18) == "nevus"
    text = figures.fit("x" * 30 + " " + "y" * 40 + "_end", 18, 2)
    assert text.startswith("xxx")
    assert text.endswith("_end")
    assert "…" in text
    assert max(map(len, text.split("\n"))) <= 18
    assert text.count("\n") == 1
    assert figures.label_width("黑色\nabc") == 4

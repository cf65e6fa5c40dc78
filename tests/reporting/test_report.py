"""Pages: outside text stays text, pictures go inside, drawing leaves nothing behind."""

import re
import subprocess
import sys
from pathlib import Path

import fake_runs
import markdown
import numpy as np
import pytest
import tiny
from sklearn.metrics import auc

from dermssl.core.errors import RunFailed, UserError
from dermssl.evaluation import bootstrap, curves, metric_tables, predictions
from dermssl.reporting import arms, figures, report
from dermssl.studies.single_run import figures as figures_curves


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a|b", "*bold*", "[x](y)", "`code`", "_x_", "# h", "a\\b"]
)
def test_text_from_outside_is_printed_as_it_is(text):
    table = f"| class | n |\n| --- | --- |\n| {report.escaped(text)} | 1 |\n"
    html = markdown.markdown(table, extensions=["tables"])
    cell = re.search(r"<td>(.*?)</td>", html, re.DOTALL)[1]
    assert "<" not in cell
    assert cell.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text
    assert html.count("<td>") == 2


def test_code_holds_any_path():
    html = markdown.markdown(report.code("runs/a`b<i>*c*"))
    assert html == "<p><code>runs/a'b&lt;i&gt;*c*</code></p>"


def test_pictures_go_into_the_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    html = report.to_html("# Title & more\n\n![a](a.png)\n", tmp_path)
    assert 'src="data:image/png;base64,iVBORw=="' in html
    assert "<title>Title &amp; more</title>" in html


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--output .*can't be made"):
        report.make_output_folder(tmp_path / "file" / "below")


def test_drawing_needs_no_pyplot_and_changes_no_backend():
    code = (
        "import sys; from dermssl.reporting import figures\n"
        "from dermssl.studies.comparison import figures as own\n"
        "figures.new(2, 2)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_picture_is_the_same_bytes_twice_and_whole(tmp_path):
    for name in ("a.png", "b.png"):
        matrix = np.array([[3, 1], [0, 0]])
        figures.confusion(tmp_path / name, matrix, ("a", "b"), ("a", "B"), "t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]
    with pytest.raises(RunFailed, match="can't be written"):
        figures.confusion(tmp_path / "no" / "a.png", np.eye(2), ("a", "b"), ("a", "b"), "t")


def test_arms_keep_their_looks_whatever_else_is_there():
    known = arms.looks(["random", "ssl"])
    more = arms.looks(["zeta", "ssl", "alpha", "random"])
    assert all(more[arm] == look for arm, look in known.items())
    assert len(set(more.values())) == 4


def test_roc_curves_enclose_the_area_that_is_reported():
    table = fake_runs.records(n=400)
    taxonomy = fake_runs.HAM
    seeds = [
        predictions.arrays_of(
            predictions.table(table, fake_runs.simulate(table, 1.0, seed), None, taxonomy), taxonomy
        )
        for seed in (0, 1)
    ]
    grid, curves = metric_tables.roc_curves(seeds, taxonomy)
    for k, name in enumerate(taxonomy.fine):
        reported = np.mean(
            [bootstrap.point("roc_auc", seed.y == k, seed.p_fine[:, k]) for seed in seeds]
        )
        assert auc(grid, curves[name]) == pytest.approx(reported, abs=0.003)
        assert (np.diff(curves[name]) >= 0).all()


def test_empty_inputs_draw_a_reason_instead_of_failing(monkeypatch):
    drawn = []
    for module in (figures, figures_curves):
        monkeypatch.setattr(module, "save", lambda figure, path: drawn.append(figure))
    history = fake_runs.history(0)
    for epochs in (0, 1):
        figures.training_curves("t.png", history.head(epochs), "t")
    none, one = drawn
    for axes in none.axes:
        assert [text.get_text() for text in axes.texts] == ["no epoch was trained"]
        assert axes.get_legend() is None
    for axes in one.axes:
        assert not axes.texts
        assert len(axes.get_legend().get_texts()) == len(axes.lines)
        assert all(len(line.get_xdata()) == 1 for line in axes.lines)
    drawn.clear()
    nobody = {("a", "class"): curves.roc([1, 1], [0.2, 0.3])}
    figures_curves.roc("roc.png", nobody, {}, "t")
    nobody = {("a", "class"): curves.precision_recall([0, 0], [0.2, 0.3])}
    figures_curves.precision_recall("pr.png", nobody, {}, "t")
    for figure in drawn:
        (text,) = figure.axes[0].texts
        assert text.get_text() == "no curve: fewer than two classes have records"


def test_every_report_on_a_model_says_that_it_is_for_no_diagnosis():
    pages = {path.name: path for path in (tiny.ROOT / "dermssl/reporting/templates").glob("*.md")}
    assert len(pages) > 8
    for name in pages.keys() - {"check_data.md", "classes.md"}:  # of photos; a part of others
        assert "nothing here is for diagnosis" in pages[name].read_text(), name

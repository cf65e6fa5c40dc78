"""Pages: outside text stays text, pictures go inside, drawing leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import fake_runs
import markdown
import numpy as np
import pytest
from pages import Page
from sklearn.metrics import auc, roc_auc_score

from dermssl.core.errors import RunFailed, UserError
from dermssl.evaluation import curves, metric_tables, predictions
from dermssl.evaluation.interval import Interval
from dermssl.reporting import arms, confusion, figures, hover, report
from dermssl.studies.single_run import figures as figures_curves

HOSTILE = ["<script>alert(1)</script>", "a|b", "*bold*", "**b**", "[x](y)", "`code`", "_x_", "# h",
           "a\\b", "&lt;i&gt;", "![p](a.png)"]  # fmt: skip


def everywhere(text):
    """A report with `text` in every place that takes plain text, and escaped where Markdown is."""
    table = report.Table(
        [report.escaped(text), "n"], [[text, 1], [report.Cell(text, bold=True), 2]]
    )
    blocks = [
        report.Findings([text]), report.Findings([text], bullets=False), report.Warnings([text]),
        report.Figure("a.png", text), table, report.Text(report.escaped(text)),
        report.Bullets([report.escaped(text)]),
    ]  # fmt: skip
    return report.Report(text, blocks, [report.Section(text, blocks)], [report.code(text)])


def drawn(path, text="a value"):
    """A small figure with a value that says `text`."""
    figure, (axes,) = figures.new(2, 1)
    hover.note(axes, 0.5, 0.5, text, "key")
    return figures.save(figure, path)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_is_printed_as_it_is(text, tmp_path):
    drawn(tmp_path / "a.png", text)
    harmless = everywhere("harmless")
    page = Page(report.to_html(everywhere(text), tmp_path))
    assert not page.fetched
    assert page.tags == Page(report.to_html(harmless, tmp_path)).tags
    assert page.text.count(text) >= 19
    (values,) = {value for name, value in page.attributes if name == "data-values"}
    assert json.loads(values)[0][2] == " ".join(text.split())
    # Markdown's own renderer finds no other structure in it, either.
    pages = [
        Page(markdown.markdown(report.to_markdown(each), extensions=["tables", "fenced_code"]))
        for each in (everywhere(text), harmless)
    ]
    assert pages[0].tags == pages[1].tags
    assert pages[0].fetched == pages[1].fetched


def test_a_careless_text_is_no_html():
    html = report.to_html(report.Report("t", [report.Text("a <script>b</script> `<i>`")]), ".")
    assert "<script>b" not in html
    assert "<i>" not in html


def test_code_holds_any_path():
    html = markdown.markdown(report.code("runs/a`b<i>*c*"))
    assert html == "<p><code>runs/a'b&lt;i&gt;*c*</code></p>"


def test_cells_stay_values_until_they_are_printed():
    columns = ["name", report.Column("n", right=True), report.Column("x", format=report.code)]
    rows = [
        ["a|b", 1234, "p|q"],
        [Interval(0.5, 0.25, 0.75), np.float32(-0.25), 3],
        [report.Cell(0.5, " (!)", bold=True), None, ""],
        ["", float("nan"), "c"],
    ]
    text = report.to_markdown(report.Report("t", [report.Table(columns, rows)]))
    assert text.split("\n")[2:8] == [
        "| name | n | x |",
        "| :-- | --: | :-- |",
        r"| a\|b | 1,234 | `p¦q` |",
        "| 0.500 (0.250 to 0.750) | −0.250 | `3` |",
        "| **0.500** (!) | n/a | `` |",
        "|  | n/a | `c` |",
    ]


def test_what_is_not_there_leaves_nothing():
    empty = [None, report.Findings([]), report.Warnings([]), report.Warnings([], label=""),
             report.Bullets([])]  # fmt: skip
    page = report.Report("t", empty, [None], closing="")
    assert report.to_markdown(page) == "# t\n\n"
    assert "<p>" not in report.to_html(page, ".")
    assert "<ul>" not in report.to_html(page, ".")
    assert report.to_console(page) == ""


def test_the_console_shows_findings_and_warnings_as_they_are():
    blocks = [report.Findings(["a_b < c"]), report.Text("no"), report.Warnings(["careful"])]
    page = report.Report("t", blocks, [report.Section("s", [report.Findings(["d"], False)])])
    assert report.to_console(page) == "- a_b < c\nnote: careful\nd"


def test_a_setting_is_shown_by_its_flag_in_all_three(tmp_path):
    blocks = [
        report.Warnings(["see model_comparison.primary"]),
        report.Findings(["set data.validation, not outputs/data.validation"]),
        report.Text("or `pretrain.epochs`"),
        report.Table(["data.test"], [["a class named data.test"]]),
    ]
    page = report.Report("t", blocks)
    assert report.to_console(page).startswith("note: see --primary\n- set --validation, not out")
    for text in (report.to_markdown(page), report.to_html(page, tmp_path)):
        assert "see --primary" in text
        assert "set --validation, not outputs/data.validation" in text
        assert "--epochs" in text
        assert "| data.test" in text or "<td>a class named data.test</td>" in text  # a cell stays


def test_pictures_go_into_the_page(tmp_path):
    drawn(tmp_path / "a.png")
    page = report.Report("Title & more", [report.Figure("a.png", 'a "b"')])
    path = report.write(page, tmp_path, "page")
    html = path.with_suffix(".html").read_text()
    assert 'src="data:image/png;base64,iVBORw' in html
    assert "<title>Title &amp; more</title>" in html
    assert '![a "b"](a.png)' in path.read_text()
    with pytest.raises(FileNotFoundError):
        report.to_html(page, tmp_path / "elsewhere")


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"run.output .*can't be made"):
        report.make_output_folder(tmp_path / "file" / "below")


def test_importing_figures_brings_no_pyplot_and_drawing_changes_nothing_global():
    code = (
        "import sys, matplotlib, numpy; from dermssl.reporting import confusion, figures\n"
        "from dermssl.studies.comparison import figures as own\n"
        "figure, (axes,) = figures.new(2, 2)\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'tensorflow' not in sys.modules\n"
        "matplotlib.use('svg'); before = dict(matplotlib.rcParams)\n"
        "confusion.draw(axes, numpy.eye(2, dtype=int), 'ab', 'ab', False)\n"
        "assert dict(matplotlib.rcParams) == before and matplotlib.get_backend() == 'svg'\n"
        "assert not matplotlib.pyplot.get_fignums() and 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_a_picture_is_the_same_bytes_twice_and_whole(tmp_path):
    for name in ("a.png", "b.png"):
        matrix = np.array([[3, 1], [0, 0]])
        confusion.write(tmp_path / name, matrix, ("a", "b"), ("a", "B"), "t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]
    with pytest.raises(RunFailed, match="can't be written"):
        confusion.write(tmp_path / "no" / "a.png", np.eye(2), ("a", "b"), ("a", "b"), "t")


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
        reported = np.mean([roc_auc_score(seed.y == k, seed.p_fine[:, k]) for seed in seeds])
        assert auc(grid, curves[name]) == pytest.approx(reported, abs=0.003)
        assert (np.diff(curves[name]) >= 0).all()


def test_empty_inputs_draw_a_reason_instead_of_failing(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda figure, path: drawn.append(figure))
    history = fake_runs.history(0)
    for epochs in (0, 1):
        figures_curves.training_curves("t.png", history.head(epochs), "t")
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

"""The page of all runs: states, settings that differ, scores, links that lead somewhere."""

import json
import urllib.parse

import fake_runs
import pytest
from pages import Page

from dermssl import evaluate
from dermssl import report as door
from dermssl.core import atomic_files
from dermssl.core.errors import UserError
from dermssl.studies.run_index import compute


def scored(folder, estimate):
    """Leave a score as dermssl.evaluate does."""
    (folder / "evaluation_test").mkdir()
    metrics = {"estimate": estimate, "low": estimate - 0.05, "high": estimate + 0.05}
    summary = {"metrics": {"balanced_accuracy": metrics}, "n_groups": 40, "grouped_by": "patient"}
    atomic_files.write_json(folder / "evaluation_test" / "metrics.json", summary)


@pytest.fixture
def outputs(tmp_path):
    """Two seeds of one arm, one of another, a run that stopped, and one that is damaged."""
    table = fake_runs.records(n=80)
    for name, arm, seed, learning in (("a 1", "ssl", 0, {}), ("a2", "ssl", 1, {}),
                                      ("deep/b", "random", 0, {"gamma": 1.5})):  # fmt: skip
        p = fake_runs.simulate(table, 1.0, seed)
        fake_runs.make(tmp_path / name, table, p, arm=arm, seed=seed, finetune=learning)
    fake_runs.make(tmp_path / "dead", table, p, status={"status": "KILLED"})
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "status.json").write_text("{")
    return tmp_path


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def test_it_lists_states_settings_that_differ_and_scores(outputs, capsys):
    scored(outputs / "a 1", 0.5)
    scored(outputs / "deep" / "b", 0.58)
    assert door.main([str(outputs)]) == 0
    said = lines(capsys)
    assert said[0] == "- 4 runs: 3 finished, 1 stopped."
    assert "deep/b has the highest balanced accuracy, 0.580 (0.530 to 0.630); 1 of" in said[1]
    assert "the other intervals overlap" in said[1]
    assert said[2].startswith("- 1 finished fine-tuning run not evaluated yet")
    assert "bad" in said[3]
    text = (outputs / "index.md").read_text()
    assert "`finetune.gamma`" in text
    assert "`finetune.dropout`" not in text  # the same in all
    row = next(line for line in text.splitlines() if line.startswith("| [a 1](a%201)"))
    assert "| 0.500 (0.450 to 0.550) | 40 patients |" in row


def test_links_lead_to_the_reports_of_a_run(outputs, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    evaluate(outputs / "a 1", n_resamples=20)
    door.run({"report": compute_settings(outputs), "command": "c", "output": None})
    page = Page((outputs / "index.html").read_text())
    files = [urllib.parse.unquote(one) for one in page.fetched]
    assert "a 1/evaluation_test/report.html" in files
    assert all((outputs / one).exists() for one in files)
    (entry,) = [one for one in compute.scan(outputs).entries if one.path.name == "a 1"]
    assert [one.title for one in entry.pages] == ["Evaluation of a 1"]
    assert entry.score.is_defined
    # The page doesn't list itself.
    assert not compute.scan(outputs).pages


def compute_settings(folder):
    from dermssl.core.study_settings import Report

    return Report(folder=str(folder))


def test_a_report_belongs_to_the_innermost_run(outputs):
    inner = outputs / "a2" / "pretraining"
    fake_runs.make(inner, fake_runs.records(n=80), fake_runs.simulate(fake_runs.records(n=80), 1.0))
    (inner / "r.html").write_text('<html lang="en" data-report><title>inner</title></html>')
    owners = [one.path.name for one in compute.scan(outputs).entries if one.pages]
    assert owners == ["pretraining"]


def test_a_report_of_no_run_and_a_page_of_somebody_else(outputs):
    (outputs / "notes.html").write_text("<html><title>mine</title></html>")
    theirs = outputs / "deep" / "r.html"
    theirs.write_text('<html lang="en" data-report><title>A &amp; B</title></html>')
    assert [one.title for one in compute.scan(outputs).pages] == ["A & B"]


def test_a_score_without_bounds_is_not_the_best(outputs):
    scored(outputs / "a2", 0.9)
    file = outputs / "a2" / "evaluation_test" / "metrics.json"
    summary = json.loads(file.read_text())
    summary["metrics"]["balanced_accuracy"] |= {"low": None, "high": None}
    file.write_text(json.dumps(summary))
    door.main([str(outputs)])
    assert "0.900 (n/a)" in (outputs / "index.md").read_text()
    assert "highest" not in (outputs / "index.md").read_text()


@pytest.mark.parametrize(("make", "said"), [(False, "no such folder"), (True, "no run and no rep")])
def test_a_folder_without_runs_is_named(tmp_path, make, said):
    folder = tmp_path / "x"
    if make:
        folder.mkdir()
    with pytest.raises(UserError, match=said):
        compute.scan(folder)
    (tmp_path / "report.html").touch()
    with pytest.raises(UserError, match=r"report\.html: a file; give a folder that holds runs"):
        compute.scan(tmp_path / "report.html")


def test_a_page_of_somebody_else_is_not_replaced_and_output_is_another_place(outputs, capsys):
    (outputs / "index.html").write_text("my page")
    assert door.main([str(outputs)]) == 2
    assert "is not of dermssl.report" in capsys.readouterr().err
    assert (outputs / "index.html").read_text() == "my page"
    elsewhere = outputs / "deep" / "listed"
    assert door.main([str(outputs), "--output", str(elsewhere)]) == 0
    page = Page((elsewhere / "index.html").read_text())
    assert "../../a%201" in page.fetched
    assert all((elsewhere / urllib.parse.unquote(one)).exists() for one in page.fetched)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status.json", '{"command": "finetune", "config": null}'),
        ("status.json", '{"status": ["x"]}'),
        ("evaluation_test/metrics.json", '{"metrics": null}'),
    ],
)
def test_an_odd_run_is_named_and_the_others_are_listed(outputs, capsys, name, text):
    (outputs / "dead" / "evaluation_test").mkdir()
    (outputs / "dead" / name).write_text(text)
    assert door.main([str(outputs)]) == 0
    assert "dead: left out" in capsys.readouterr().out

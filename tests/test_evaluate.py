"""dermssl.evaluate on simulated runs, against scikit-learn on the same predictions."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import fake_runs
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from dermssl import evaluate
from dermssl import taxonomy as taxonomies
from dermssl.data import index

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    table = fake_runs.records(n=400)
    p = fake_runs.simulate(table, 1.5)
    fake_runs.make(folder, table, p, arm="ssl")
    output = evaluate.run(folder, n_resamples=100)
    here = (table["split"] == "test").to_numpy()
    y, y_coarse = index.label_arrays(table[here], fake_runs.HAM)
    return output, y, y_coarse, p[here].astype(np.float64)


@pytest.fixture
def quick(monkeypatch):
    fake_runs.no_pictures(monkeypatch)


def values(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_metrics_equal_sklearn(evaluated):
    folder, y, y_coarse, p = evaluated
    found = {name: value["estimate"] for name, value in values(folder)["metrics"].items()}
    hit, p = p.argmax(1), p / p.sum(1, keepdims=True)
    p_coarse = p @ fake_runs.HAM.matrix
    expected = {
        "fine_accuracy": sk.accuracy_score(y, hit),
        "coarse_accuracy": sk.accuracy_score(y_coarse, p_coarse.argmax(1)),
        "balanced_accuracy": sk.balanced_accuracy_score(y, hit),
        "macro_f1": sk.f1_score(y, hit, average="macro"),
        "roc_auc": sk.roc_auc_score(y, p, multi_class="ovr"),
        "log_loss": sk.log_loss(y, p, labels=range(7)),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_every_metric_says_what_it_rests_on(evaluated):
    found = values(evaluated[0])
    for value in found["metrics"].values():
        assert value["low"] < value["estimate"] < value["high"]
        assert value["n"] == found["n"] == 200
        assert value["n_clusters"] == found["n_groups"] == 100
        assert value["n_resamples"] == 100
    assert found["grouped_by"] == "lesion"
    assert found["resampled"].startswith("whole lesions")
    assert found["temperature"]["n"] == 100


def test_per_class_table_equals_sklearn(evaluated):
    folder, y, _, p = evaluated
    table = pd.read_csv(folder / "per_class.csv")
    precision, recall, f1, support = sk.precision_recall_fscore_support(y, p.argmax(1))
    np.testing.assert_allclose(table["sensitivity"], recall)
    np.testing.assert_allclose(table["precision"], precision)
    np.testing.assert_allclose(table["f1"], f1)
    np.testing.assert_array_equal(table["support"], support)
    assert (table["sensitivity_low"] <= table["sensitivity"]).all()


def test_report_names_its_sources_and_warns_of_small_classes(evaluated):
    folder = evaluated[0]
    text = (folder / "report.md").read_text()
    assert "SimCLR, 70 labels, seed 0; test split: 200 test photos of 100 lesions." in text
    assert "Classes with fewer than 30 test records" in text
    assert f"{folder.parent}/predictions.csv" in text
    assert f"python -m dermssl.evaluate {folder.parent} --split test" in text
    for picture in re.findall(r"\]\((.+?\.png)\)", text):
        assert (folder / picture).stat().st_size > 5000


def test_page_is_self_contained(evaluated):
    html = (evaluated[0] / "report.html").read_text()
    assert "http" not in html
    assert set(re.findall(r'src="(.{10})', html)) == {"data:image"}


def test_other_splits_say_that_they_flatter(tmp_path, quick):
    table = fake_runs.records(n=200)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    out = evaluate.run(folder, "validation", n_resamples=20, output=tmp_path / "out")
    assert "These are validation records" in (out / "report.md").read_text()
    assert values(out)["temperature"] is None


def test_undefined_metrics_are_not_available_and_never_a_number(tmp_path, capsys, quick):
    table = fake_runs.records(n=80).assign(fine="nv", coarse="melanocytic")
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    assert evaluate.main([str(folder), "--n-resamples", "20"]) == 0
    out = folder / "evaluation_test"
    found = values(out)["metrics"]
    for name in ("balanced_accuracy", "roc_auc", "macro_f1", "malignant_auc"):
        assert found[name]["estimate"] is None
    assert "| balanced accuracy | n/a |" in (out / "report.md").read_text()
    assert re.search(r"balanced_accuracy +n/a +\(n/a to n/a\)", capsys.readouterr().out)
    cells = pd.read_csv(out / "per_class.csv", dtype=str, keep_default_na=False)
    assert cells.loc[cells["fine"] == "mel", "sensitivity"].item() == "n/a"


def test_flat_taxonomy_with_hostile_names(tmp_path):
    flat = taxonomies.flat(("<script>x</script>", "a|b", "=1+1"))
    table = fake_runs.records(n=120, taxonomy=flat, shares=(0.4, 0.3, 0.3))
    p = fake_runs.simulate(table, 1.0, taxonomy=flat)
    folder = fake_runs.make(tmp_path / "run", table, p, taxonomy=flat)
    out = evaluate.run(folder, n_resamples=20)
    assert "<script>" not in (out / "report.html").read_text()
    assert "&lt;script&gt;x&lt;/script&gt;" in (out / "report.html").read_text()
    assert not (out / "confusion_coarse_counts.png").exists()


def test_independent_heads_are_scored_on_their_own_coarse_probabilities(tmp_path, quick):
    table = fake_runs.records(n=200)
    truth = index.label_arrays(table, fake_runs.HAM)[1]
    p_coarse = np.eye(4)[truth] * 0.96 + 0.01
    folder = fake_runs.make(
        tmp_path / "run", table, fake_runs.simulate(table, 0.0), p_coarse=p_coarse
    )
    found = values(evaluate.run(folder, n_resamples=20))["metrics"]
    assert found["coarse_accuracy"]["estimate"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "train"], "no record of it"),
        (["--n-resamples", "0"], "it must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_code_2(tmp_path, capsys, arguments, message):
    table = fake_runs.records(n=80)
    table = table[table["split"] != "train"].reset_index(drop=True)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    assert evaluate.main([str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_runs_of_other_commands_are_refused(tmp_path, capsys):
    table = fake_runs.records(n=80)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    fake_runs.change_status(folder, command="pretrain")
    assert evaluate.main([str(folder)]) == 2
    assert "a run of dermssl.pretrain, not of dermssl.finetune" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["evaluate", "model_comparison"])
def test_help_is_quick_and_imports_nothing_heavy(module):
    code = (
        "import sys\n"
        f"from dermssl import {module}\n"
        f"try:\n    {module}.main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'pandas', 'matplotlib', 'tensorflow', 'scipy', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)
    assert time.perf_counter() - started < 2  # 0.15 s alone; the machine may be busy

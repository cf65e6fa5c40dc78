"""dermssl.evaluate on simulated runs, against scikit-learn on the same predictions."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import fake_runs
import numpy as np
import pages
import pandas as pd
import pytest
from sklearn import metrics as sk

from dermssl import evaluate
from dermssl.core import taxonomy as taxonomies
from dermssl.data import records
from dermssl.evaluation import calibrator, predictions

HAM = fake_runs.HAM
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    table = fake_runs.records(n=400)
    p = fake_runs.simulate(table, 1.5)
    fake_runs.make(folder, table, p, arm="ssl")
    output = evaluate(folder, n_resamples=100)
    here = (table["split"] == "test").to_numpy()
    y, y_coarse = records.label_arrays(table[here], fake_runs.HAM)
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
    for name, value in found["metrics"].items():
        assert name == "ece" or value["low"] < value["estimate"] < value["high"]
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
    assert "SimCLR, 70 labels, seed 0; test split: 200 test photos of 100 lesions. " in text
    assert "Of each photo the central square is seen, not what lies outside it." in text
    assert "Classes with fewer than 30 test lesions" in text
    assert f"{folder.path.parent}/predictions.csv" in text
    assert f"python -m dermssl.evaluate {folder.path.parent} --n-resamples 100" in text
    for picture in re.findall(r"\]\((.+?\.png)\)", text):
        assert (folder / picture).stat().st_size > 5000


def test_page_is_self_contained(evaluated):
    assert len(pages.check(evaluated[0])) == 10


@pytest.mark.slow
def test_other_splits_say_that_they_flatter(tmp_path, quick):
    table = fake_runs.records(n=200)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    out = evaluate(folder, split="validation", n_resamples=20, output=tmp_path / "out")
    assert "These are validation records" in (out / "report.md").read_text()
    assert values(out)["temperature"] is None


def test_undefined_metrics_are_not_available_and_never_a_number(tmp_path, capsys, quick):
    table = fake_runs.records(n=80).assign(fine="nv", coarse="melanocytic")
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    assert evaluate.main([str(folder), "--n-resamples", "100"]) == 0
    out = folder / "evaluation_test"
    found = values(out)["metrics"]
    for name in ("balanced_accuracy", "roc_auc", "macro_f1", "malignant_auc"):
        assert found[name]["estimate"] is None
    assert "| balanced accuracy | n/a |" in (out / "report.md").read_text()
    assert re.search(r"  balanced accuracy +n/a\n", capsys.readouterr().out)
    cells = pd.read_csv(out / "per_class.csv", dtype=str, keep_default_na=False)
    assert cells.loc[cells["fine"] == "mel", "sensitivity"].item() == "n/a"


def test_flat_taxonomy_with_hostile_names(tmp_path):
    flat = taxonomies.flat(("<script>x</script>", "a|b", "=1+1", r"$\frac{"))
    table = fake_runs.records(n=120, taxonomy=flat, shares=(0.4, 0.2, 0.2, 0.2))
    table["site"] = np.where(np.arange(120) // 8 % 2, r"$\frac{|<b>", "=2+2")
    p = fake_runs.simulate(table, 1.0, taxonomy=flat)
    folder = fake_runs.make(tmp_path / "run", table, p, taxonomy=flat)
    out = evaluate(folder, n_resamples=20, one_class=r"$\frac{")
    assert "<b>" not in (out / "report.html").read_text()
    assert "'=2+2" in (out / "subgroups.csv").read_text()
    assert "<script>x" not in (out / "report.html").read_text()
    assert "&lt;script&gt;x&lt;/script&gt;" in (out / "report.html").read_text()
    assert not (out / "confusion_coarse_counts.png").exists()


def test_independent_heads_are_scored_on_their_own_coarse_probabilities(tmp_path, quick):
    table = fake_runs.records(n=200)
    truth = records.label_arrays(table, fake_runs.HAM)[1]
    p_coarse = np.eye(4)[truth] * 0.96 + 0.01
    folder = fake_runs.make(
        tmp_path / "run", table, fake_runs.simulate(table, 0.0), p_coarse=p_coarse
    )
    found = values(evaluate(folder, n_resamples=20))["metrics"]
    assert found["coarse_accuracy"]["estimate"] == 1.0


def two_classes(folder, tn, fp, fn, tp):
    """A run of 400 test photos with this confusion matrix, as FACTS.md has it of the seeds."""
    flat = taxonomies.flat(("benign", "malignant"))
    truth = np.repeat([0, 0, 1, 1], [tn, fp, fn, tp])
    called = np.repeat([0, 1, 0, 1], [tn, fp, fn, tp])
    table = records.make_index(
        {
            "path": [f"{k:03d}.png" for k in range(400)],
            "fine": np.array(flat.fine, dtype=object)[truth],
            "coarse": np.array(flat.fine, dtype=object)[truth],
            "split": ["test"] * 400,
        }
    )
    return fake_runs.make(folder, table, np.eye(2)[called] * 0.8 + 0.1, taxonomy=flat)


@pytest.mark.parametrize(
    ("matrix", "sensitivity", "specificity"),
    [((195, 5, 43, 157), 0.785, 0.975), ((184, 16, 32, 168), 0.84, 0.92)],
)
def test_the_seeds_matrices_through_metrics_and_report(
    tmp_path, quick, matrix, sensitivity, specificity
):
    out = evaluate(two_classes(tmp_path / "run", *matrix), n_resamples=50)
    tn, fp, fn, tp = matrix
    found = values(out)
    estimates = {name: value["estimate"] for name, value in found["metrics"].items() if value}
    assert estimates["fine_accuracy"] == pytest.approx(0.88)
    assert estimates["balanced_accuracy"] == pytest.approx((sensitivity + specificity) / 2)
    f1 = (2 * tp / (2 * tp + fp + fn) + 2 * tn / (2 * tn + fp + fn)) / 2
    assert estimates["macro_f1"] == pytest.approx(f1)
    row = pd.read_csv(out / "per_class.csv").set_index("fine").loc["malignant"]
    assert row["sensitivity"] == pytest.approx(sensitivity)
    assert row["specificity"] == pytest.approx(specificity)
    assert row["precision"] == pytest.approx(tp / (tp + fp))
    for figure in ("sensitivity", "specificity", "precision", "f1", "roc_auc"):
        assert row[f"{figure}_low"] < row[figure] < row[f"{figure}_high"]
    at_half = found["against_rest"]["malignant"]["metrics"]
    assert at_half["sensitivity"]["estimate"] == pytest.approx(sensitivity)
    assert at_half["specificity"]["estimate"] == pytest.approx(specificity)
    text = (out / "report.md").read_text()
    line = next(row for row in text.splitlines() if row.startswith("| malignant | 200 |"))
    assert f"| {sensitivity:.3f} (" in line
    assert f"| {specificity:.3f} (" in line
    assert f"| sensitivity at P ≥ 0.5 | {sensitivity:.3f} (" in text
    # One threshold exists besides all and none: at 0.9 specificity it is the matrix's own.
    assert at_half["sensitivity_at_specificity"]["estimate"] == pytest.approx(sensitivity)


def test_labels_that_mean_nothing_score_at_chance(tmp_path, quick):
    table = fake_runs.records(n=1200, shares=(1 / 7,) * 7)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 0.0, seed=5))
    found = values(evaluate(folder, n_resamples=200))["metrics"]
    chance = {
        "balanced_accuracy": 1 / 7, "fine_accuracy": 1 / 7, "top_k_accuracy": 2 / 7,
        "roc_auc": 0.5, "coarse_roc_auc": 0.5, "malignant_auc": 0.5,
    }  # fmt: skip
    for name, value in chance.items():
        assert found[name]["low"] < value < found[name]["high"], name


def test_parameters_are_shown_beside_their_numbers(tmp_path, quick, capsys):
    table = fake_runs.records(n=400)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.5))
    argv = ["--class", "bcc", "--specificity", "0.8", "--min-sensitivity", "0.88", "--top-k", "3"]
    argv = [str(folder), *argv, "--age-bands", "40", "60", "--n-resamples", "100"]
    assert evaluate.main(argv) == 0
    shown = capsys.readouterr().out
    assert re.search(r"  top-3 accuracy +0\.\d+ \(", shown)
    number = r" +[01]\.\d+ \(.*\)\n"
    for line in (
        # Each sensitivity says at which point it is, and on which records that was chosen.
        r"  malignant sensitivity at 0\.8 specificity \(threshold picked on these records\)",
        r"  malignant sensitivity at P\(malignant\) ≥ 0\.5",
        r"  malignant sensitivity at P as predict gives it ≥ [01]\.\d+, chosen on validation for "
        r"0\.8 specificity",
        r"  basal cell carcinoma specificity at P as predict gives it ≥ [01]\.\d+, chosen on "
        r"validation for 0\.8 specificity",
    ):
        assert re.search(line + number, shown), line
    out = folder / "evaluation_test"
    found = values(out)
    assert found["metrics"]["malignant_partial_auc"]["min_sensitivity"] == 0.88
    assert found["metrics"]["melanoma_sensitivity_at_own_threshold"]["specificity"] == 0.8
    assert list(found["against_rest"]) == ["malignant", "bcc"]
    text = (out / "report.md").read_text()
    for words in (
        "| top-3 accuracy |", "partial AUC above 0.88 sensitivity (at most 0.12)",
        "sensitivity at 0.8 specificity", "| metric | malignant | basal cell carcinoma |",
    ):  # fmt: skip
        assert words in text
    command = re.search(r"- This page: `python -m dermssl.evaluate (.+)`", text)[1]
    assert evaluate.main([*command.split(), "--output", str(tmp_path / "again")]) == 0
    again = values(tmp_path / "again")
    assert again["metrics"] == found["metrics"]
    assert again["parameters"] == found["parameters"]


def test_an_experiment_file_may_hold_the_parameters(tmp_path, quick):
    table = fake_runs.records(n=200)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.5))
    file = tmp_path / "e.toml"
    file.write_text('[evaluate]\none_class = "nv"\nspecificity = 0.7\n')
    argv = [str(folder), "--config", str(file), "--specificity", "0.6", "--n-resamples", "100"]
    assert evaluate.main(argv) == 0
    found = values(folder / "evaluation_test")
    assert (found["parameters"]["one_class"], found["parameters"]["specificity"]) == ("nv", 0.6)


def test_groups_without_a_threshold_are_n_a_and_say_why(tmp_path, quick):
    table = fake_runs.records(n=200, shares=(0, 1, 0, 0, 0, 0, 0))
    table["sex"] = np.where(np.arange(200) // 8 % 2, "male", "female")
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    assert evaluate.main([str(folder), "--n-resamples", "100"]) == 0
    out = folder / "evaluation_test"
    rows = pd.read_csv(out / "subgroups.csv", dtype=str, keep_default_na=False)
    assert set(rows["specificity"]) | set(rows["specificity_low"]) == {"n/a"}
    text = (out / "report.md").read_text()
    assert "Sensitivity and specificity (malignant) are n/a in every group: the records" in text
    assert "in specificity (malignant)" not in text.lower()


def test_a_class_named_like_the_malignancy_axis_takes_no_place_from_it(tmp_path, quick):
    fine = ("malignant", "nv", "bcc")
    kinds = ("malignant", "benign", "malignant")
    taxonomy = taxonomies.Taxonomy("t", fine, ("x", "y", "x"), kinds, fine)
    table = fake_runs.records(n=200, taxonomy=taxonomy, shares=(0.3, 0.4, 0.3))
    p = fake_runs.simulate(table, 1.5, taxonomy=taxonomy)
    folder = fake_runs.make(tmp_path / "run", table, p, taxonomy=taxonomy)
    argv = [str(folder), "--class", "malignant", "--n-resamples", "100"]
    assert evaluate.main(argv) == 0
    found = values(folder / "evaluation_test")["against_rest"]
    assert {key: entry["kind"] for key, entry in found.items()} == {
        "malignant (axis)": "axis", "malignant": "class",
    }  # fmt: skip
    assert found["malignant (axis)"]["n_positive"] > found["malignant"]["n_positive"] > 0
    benefit = pd.read_csv(folder / "evaluation_test" / "decision_curve.csv")
    assert benefit.groupby(["against_rest", "kind"])["n_positive"].nunique().tolist() == [1, 1]


def test_the_malignancy_axis_and_the_chosen_class_equal_sklearn(evaluated):
    folder, y, _, p = evaluated
    p = p / p.sum(1, keepdims=True)
    applied = values(folder)["temperature"]
    given = (
        p ** (1 / applied["temperature"]) * np.array(applied["shares"]) ** applied["prior_power"]
    )
    given = given / given.sum(1, keepdims=True)
    for name, rows in {"malignant": [0, 2], "mel": [0]}.items():
        truth, score = np.isin(y, rows), p[:, rows].sum(axis=1)
        entry = values(folder)["against_rest"][name]
        found = {key: value["estimate"] for key, value in entry["metrics"].items()}
        assert (entry["n"], entry["n_positive"]) == (200, truth.sum())
        fpr, tpr, _ = sk.roc_curve(truth, score, drop_intermediate=False)
        fixed = given[:, rows].sum(axis=1) >= entry["threshold"] - 1e-9
        expected = {
            "auc": sk.roc_auc_score(truth, score),
            "average_precision": sk.average_precision_score(truth, score),
            "sensitivity": sk.recall_score(truth, score >= 0.5),
            "specificity": sk.recall_score(~truth, score < 0.5),
            "sensitivity_at_specificity": tpr[fpr <= 0.1 + 1e-9].max(),
            "fixed_sensitivity": sk.recall_score(truth, fixed),
            "fixed_specificity": sk.recall_score(~truth, ~fixed),
        }
        assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-6)
        assert entry["threshold_chosen_on"] == "validation"


def test_curves_bins_and_benefits_are_published(evaluated):
    folder, y, _, _ = evaluated
    found = values(folder)
    per_class = pd.read_csv(folder / "per_class.csv").set_index("fine")
    roc = pd.read_csv(folder / "roc.csv")
    assert set(roc["against_rest"]) == {"malignant", *fake_runs.HAM.fine}
    mel = roc[(roc["against_rest"] == "mel") & (roc["kind"] == "class")]
    area = sk.auc(1 - mel["specificity"], mel["sensitivity"])
    assert area == pytest.approx(per_class.loc["mel", "roc_auc"])
    points = pd.read_csv(folder / "precision_recall.csv")
    mel = points[(points["against_rest"] == "mel") & (points["kind"] == "class")]
    area = np.diff(mel["recall"], prepend=0) @ mel["precision"]
    assert area == pytest.approx(per_class.loc["mel", "average_precision"])
    bins = pd.read_csv(folder / "reliability.csv", na_values="n/a")
    for name, ece in (
        ("raw", found["metrics"]["ece"]["estimate"]),
        ("calibrated", found["ece_after_temperature"]),
    ):
        table = bins[(bins["probabilities"] == name) & (bins["n"] > 0)]
        gap = (table["accuracy"] - table["confidence"]).abs()
        assert (gap * table["n"]).sum() / 200 == pytest.approx(ece)
    benefit = pd.read_csv(folder / "decision_curve.csv")
    assert len(benefit) == 99 * 2 * 2
    row = benefit[(benefit["against_rest"] == "mel") & (benefit["threshold"] == 0.05)].iloc[0]
    assert row["n_positive"] == (y == 0).sum()
    share = (y == 0).mean()
    assert row["all"] == pytest.approx(share - (1 - share) * 0.05 / 0.95)


def described(n=1200):
    """Records with a sex, an age and a skin tone by lesion."""
    table = fake_runs.records(n=n)
    lesion = table["lesion_id"].str[1:].astype(int).to_numpy()
    rng = np.random.default_rng(1)
    table["sex"] = np.array(["female", "male"], dtype=object)[rng.integers(2, size=n)[lesion]]
    table["skin_tone"] = np.array(["I-II", "V-VI"], dtype=object)[rng.integers(2, size=n)[lesion]]
    table["age"] = rng.integers(20, 90, size=n).astype(float)[lesion]
    table["site"] = np.where(lesion % 150 == 1, "ear", "back")
    return table


def test_a_planted_gap_is_in_the_report_and_no_other(tmp_path, quick):
    table = described()
    dark = (table["skin_tone"] == "V-VI").to_numpy()[:, None]
    p = np.where(dark, fake_runs.simulate(table, 0.5), fake_runs.simulate(table, 2.5))
    folder = fake_runs.make(tmp_path / "run", table, p)
    out = evaluate(folder, n_resamples=200)
    text = (out / "report.md").read_text()
    assert re.search(
        r"The widest gap that is shown, by skin tone, is 0\.\d\d in I-II \(n = \d+\) against "
        r"0\.\d\d in V-VI \(n = \d+\): 0\.\d\d \(98.3% interval that holds for all \d+ gaps "
        r"together, and with the other metrics' at 95%: 0",
        text,
    )
    assert "photos; they are in no comparison: body site ear (" in text
    assert "No groups by source: the records state none, or one value only." in text
    found = pd.read_csv(out / "subgroups.csv").set_index(["axis", "group"])
    assert list(found.loc["age"].index) == ["<30", "30-49", "50-69", "70+"]
    assert found.loc[("site", "ear"), "too_few"]
    assert not found.loc[("sex", "male"), "too_few"]
    gaps = pd.read_csv(out / "subgroup_gaps.csv")
    claimed = gaps[gaps["verdict"] == "difference"]
    assert set(claimed["axis"]) == {"skin_tone"}
    assert ((claimed["low"] > 0) == (claimed["verdict"] == "difference")).all()
    assert (gaps["axis"] != "site").all()


def test_without_a_planted_gap_the_report_names_none(tmp_path, quick):
    table = described()
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.5, seed=1))
    text = (evaluate(folder, n_resamples=200) / "report.md").read_text()
    assert "gap that is shown" not in text
    assert text.count("is shown between groups. The largest gap, by ") == 3
    assert text.count(", which holds 0") == 3
    assert len(re.findall(r"Gaps of up to 0\.\d\d are not ruled out\.", text)) == 3


def test_tables_of_an_earlier_evaluation_do_not_stay(tmp_path, quick):
    table = fake_runs.records(n=200)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.5))
    out = folder / "evaluation_test"
    out.mkdir()
    for name in ("subgroups.csv", "subgroup_gaps.csv", "mine.csv"):
        (out / name).write_text("old")
    evaluate(folder, n_resamples=20)
    assert not (out / "subgroups.csv").exists()
    assert not (out / "subgroup_gaps.csv").exists()
    assert (out / "mine.csv").read_text() == "old"


def test_records_without_groups_say_so(evaluated):
    text = (evaluated[0] / "report.md").read_text()
    assert "No groups by skin tone, sex, age, body site, source" in text
    assert not (evaluated[0] / "subgroups.csv").exists()


def test_the_stored_temperature_is_the_one_that_is_judged(tmp_path, quick):
    table = fake_runs.records(n=400)
    p = fake_runs.simulate(table, 1.5)
    plain = {"class_balance": "none"}
    folder = fake_runs.make(tmp_path / "run", table, p, n_labels="all", finetune=plain)
    fitted = calibrator.write(folder, predictions.read(folder).table, HAM, plain)
    first = values(evaluate(folder, n_resamples=50))
    assert first["temperature"]["temperature"] == pytest.approx(fitted.fine.temperature)
    stored = json.loads((folder / "temperature.json").read_text())
    (folder / "temperature.json").write_text(json.dumps({**stored, "temperature": 4.0}))
    second = values(evaluate(folder, n_resamples=50))
    here = (table["split"] == "test").to_numpy()
    power = p[here].astype(float) ** 0.25
    tempered = power / power.sum(axis=1, keepdims=True)
    y = records.label_arrays(table[here], HAM)[0]
    assert second["after_temperature"]["log_loss"]["estimate"] == pytest.approx(
        sk.log_loss(y, tempered, labels=range(7)), abs=1e-6
    )
    assert second["metrics"] == first["metrics"]  # all else is of the raw probabilities
    text = (folder / "evaluation_test" / "report.md").read_text()
    assert "That raises the log loss (nats)" in text
    assert re.search(
        r"The calibration error \(ECE\) is 0\.\d+ \(0\.\d+ as predicted\); a perfectly calibrated "
        r"model shows 0\.\d+ to 0\.\d+ here: these probabilities are not calibrated\.",
        text,
    )
    assert "equally" not in text  # nothing was balanced


def test_a_correction_for_balanced_training_is_judged_and_explained(tmp_path, quick):
    table = fake_runs.records(n=1200)
    p = fake_runs.simulate(table, 1.5)
    out = evaluate(fake_runs.make(tmp_path / "run", table, p), n_resamples=50)
    found = values(out)
    power, shares = found["temperature"]["prior_power"], found["temperature"]["shares"]
    assert power > 0.5
    here = (table["split"] == "test").to_numpy()
    weighed = p[here].astype(float) ** (1 / found["temperature"]["temperature"])
    weighed *= np.array(shares) ** power
    weighed /= weighed.sum(axis=1, keepdims=True)
    y = records.label_arrays(table[here], HAM)[0]
    after = {name: entry["estimate"] for name, entry in found["after_temperature"].items()}
    assert after["log_loss"] == pytest.approx(sk.log_loss(y, weighed), abs=1e-6)
    assert after["fine_accuracy"] == pytest.approx((weighed.argmax(axis=1) == y).mean())
    raw = {name: entry["estimate"] for name, entry in found["metrics"].items() if entry}
    assert raw["fine_accuracy"] == pytest.approx((p[here].argmax(axis=1) == y).mean())
    text = (out / "report.md").read_text()
    assert "corrects for training that counted all classes equally" in text
    assert "That lowers the log loss (nats)" in text
    assert (
        f"fine accuracy {raw['fine_accuracy']:.3f} would become {after['fine_accuracy']:.3f}, "
        f"balanced accuracy {raw['balanced_accuracy']:.3f} would become "
        f"{after['balanced_accuracy']:.3f}" in text
    )
    means = pd.read_csv(out / "mean_probabilities.csv").set_index("name")
    malignant = [k for k, said in enumerate(HAM.malignancy) if said == "malignant"]
    assert means.loc["malignant", "calibrated"] == pytest.approx(
        weighed[:, malignant].sum(axis=1).mean()
    )
    assert (means["excess"] - (means["calibrated"] - means["share"])).abs().max() < 1e-6
    means = means.drop("malignant")
    # The threshold is of what predict gives, chosen on validation, and scored here.
    entry, mel = found["against_rest"]["mel"], HAM.fine.index("mel")
    assert entry["threshold_of"] == "calibrated"
    held_out = (table["split"] == "validation").to_numpy()
    tempered = p[held_out].astype(float) ** (1 / found["temperature"]["temperature"])
    tempered *= np.array(shares) ** power
    tempered /= tempered.sum(axis=1, keepdims=True)
    others = records.label_arrays(table[held_out], HAM)[0] != mel
    kept = (tempered[others, mel] < entry["threshold"]).mean()
    assert 0.9 <= kept < 0.9 + 2 / others.sum()
    assert entry["metrics"]["fixed_sensitivity"]["estimate"] == pytest.approx(
        (weighed[y == mel, mel] >= entry["threshold"]).mean()
    )
    np.testing.assert_allclose(means["calibrated"], weighed.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(means["raw"], p[here].mean(axis=0), atol=1e-6)
    shares = np.bincount(y, minlength=7) / len(y)
    np.testing.assert_allclose(means["share"], shares)
    raw, given = (abs(means[name] - shares).sum() for name in ("raw", "calibrated"))
    assert given < 0.5 * raw
    assert found["mean_probabilities"][0]["name"] == HAM.fine[0]


def test_one_answer_for_all_photos_has_no_threshold(tmp_path, quick, capsys):
    table = fake_runs.records(n=400)
    p = np.full((400, 7), 1 / 7)
    folder = fake_runs.make(tmp_path / "run", table, p)
    assert evaluate.main([str(folder), "--n-resamples", "100"]) == 0
    shown = capsys.readouterr().out
    assert "  malignant: no threshold for 0.9 specificity\n" in shown
    says = "The model gives every photo the same answer (melanoma)."
    assert says in shown
    assert says in (folder / "evaluation_test" / "report.md").read_text()


def test_a_model_that_always_says_the_commonest_class_is_called_that(tmp_path, quick, capsys):
    table = fake_runs.records(n=400)
    p = np.tile(np.eye(7)[HAM.fine.index("nv")] * 0.9 + 0.1 / 7, (400, 1))
    folder = fake_runs.make(tmp_path / "run", table, p / p.sum(axis=1, keepdims=True))
    assert evaluate.main([str(folder), "--n-resamples", "100"]) == 0
    shown = capsys.readouterr().out
    assert "The model gives every photo the same answer (melanocytic nevus)." in shown
    assert "is that of always naming the commonest class, melanocytic nevus:" in shown
    assert "the difference is" not in shown


def test_a_split_with_coarse_labels_alone_is_scored_at_that_level(tmp_path, quick):
    table = fake_runs.records(n=400)
    p = fake_runs.simulate(table, 2.0)
    table.loc[table["split"] == "test", "fine"] = ""
    out = evaluate(fake_runs.make(tmp_path / "run", table, p), n_resamples=20)
    found = values(out)["metrics"]
    assert found["coarse_accuracy"]["estimate"] > 0.6
    assert found["balanced_accuracy"]["estimate"] is None
    text = (out / "report.md").read_text()
    assert "- melanoma: no such test photo, so there is no curve." in text
    assert "| calibration error (ECE) | n/a | n/a | n/a |" in text


def test_a_temperature_of_few_labels_is_not_used(tmp_path, quick):
    table = fake_runs.records(n=120)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.5))
    out = evaluate(folder, n_resamples=20)
    assert (
        "temperature is 1, so its probabilities stay as predicted: only 30"
        in (out / "report.md").read_text()
    )
    assert values(out)["after_temperature"] == {}
    assert set(pd.read_csv(out / "reliability.csv")["probabilities"]) == {"raw"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "train"], "no record of it"),
        (["--n-resamples", "0"], "it must be at least 1"),
        (["--class", "scc"], "unknown --class 'scc'; choose one of: mel, nv, bcc"),
        (["--specificity", "90"], "--specificity is 90.0; it must be at most 1.0"),
        (["--top-k", "7"], "--top-k is 7, but the run has 7 classes"),
        (["--age-bands", "50", "30"], "--age-bands [50, 30]: expected ascending years"),
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


def test_what_an_answer_means_is_told_at_each_prevalence(tmp_path, quick, capsys):
    table = fake_runs.records(n=800)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.8))
    assert evaluate.main([str(folder), "--prevalence", "0.03", "--n-resamples", "100"]) == 0
    out = folder / "evaluation_test"
    rows = pd.read_csv(out / "operating_points.csv")
    assert rows["prevalence"].tolist()[1::2] == [0.03, 0.03]
    own = rows[rows["own_prevalence"]].iloc[0]
    assert own["prevalence"] == pytest.approx(own["n_positive"] / own["n"])
    entry = values(out)["against_rest"]["malignant"]
    fixed = {name: entry["metrics"][f"fixed_{name}"]["estimate"] for name in
             ("sensitivity", "specificity")}  # fmt: skip
    assert own["sensitivity"] == pytest.approx(fixed["sensitivity"])
    stated = entry["at_prevalence"][1]
    hits, alarms = 0.03 * fixed["sensitivity"], 0.97 * (1 - fixed["specificity"])
    assert stated["ppv"]["estimate"] == pytest.approx(hits / (hits + alarms))
    assert stated["number_needed"]["estimate"] == pytest.approx((hits + alarms) / hits)
    parts = entry["brier"]["raw"]
    assert parts["brier"] == pytest.approx(
        parts["reliability"] - parts["resolution"] + parts["uncertainty"] + parts["within"]
    )
    text = (out / "report.md").read_text()
    assert re.search(r"\| malignant \| 0\.03 \| 0\.\d\d \(", text)
    assert "malignant, at a prevalence of 0.03: at " in text
    assert re.search(r"malignant, at the prevalence of these photos \(0\.\d+\): at threshold", text)
    said = re.search(
        r"- Malignant: sensitivity (0\.\d{3}) \(.+?\) at specificity (0\.\d{3}) \(", text
    )
    assert [float(number) for number in said.groups()] == pytest.approx(
        list(fixed.values()), abs=6e-4
    )
    assert said[0] in capsys.readouterr().out
    benefit = pd.read_csv(out / "decision_curve.csv")
    assert set(benefit["prevalence"].round(4)) >= {0.03}


def test_a_prevalence_that_is_no_share_is_one_line(tmp_path, capsys):
    table = fake_runs.records(n=80)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    assert evaluate.main([str(folder), "--prevalence", "3"]) == 2
    error = capsys.readouterr().err
    assert "--prevalence" in error
    assert error.count("\n") == 1

"""A run on photos from elsewhere, as a user asks for it: files, numbers, refusals."""

import shutil

import numpy as np
import pages
import pandas as pd
import pytest
import tiny
from sklearn import metrics as sk

import dermssl
from dermssl import evaluate
from dermssl.core import runs
from dermssl.data import class_map
from dermssl.data.synthetic import dataset as synthetic
from dermssl.evaluation import predictions


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Folder of 90 drawn photos that the run hasn't seen."""
    return synthetic.write(tmp_path_factory.mktemp("other") / "clinic", n=90, size=32, seed=11)


@pytest.fixture(scope="module")
def scored(own_run, other):
    return dermssl.evaluate(own_run, data=str(other), n_resamples=200)


def relabelled(folder, target, change, keep=None):
    """A copy of a data folder whose labels.csv went through `change`."""
    copy = shutil.copytree(folder, target)
    table = pd.read_csv(copy / "labels.csv", keep_default_na=False)
    table = change(table)
    (table if keep is None else table[keep]).to_csv(copy / "labels.csv", index=False)
    return copy


def test_files_and_report(scored, own_run):
    assert scored.path == own_run / "external_clinic"
    for name in ("predictions.csv", "calibration.csv", "class_shares.csv", "classes.csv",
                 "overlaps.csv", "differences.csv", "log_loss_by_shares.csv"):  # fmt: skip
        assert (scored / name).is_file(), name
    assert pages.check(scored.path) == ["scores.png", "calibration.png"]
    assert scored.findings[0].startswith("Balanced accuracy on 90 photos of clinic: ")
    assert "balanced_accuracy" in scored.metrics.index


def test_numbers_are_those_of_the_raw_predictions(scored):
    table = scored.table("predictions")
    p = table.filter(like="p_fine_")
    names = [name.removeprefix("p_fine_") for name in p]
    found = scored.json("metrics.json")
    assert found["level"] == "fine"
    y = table["fine"].map(names.index).to_numpy()
    expected = {
        "balanced_accuracy": sk.balanced_accuracy_score(y, p.to_numpy().argmax(1)),
        "log_loss": sk.log_loss(y, p, labels=range(len(names))),
        "malignant_auc": sk.roc_auc_score(
            table["malignancy"] == "malignant", p["p_fine_mel"] + p["p_fine_bcc"]
        ),
    }
    for name, value in expected.items():
        assert found["metrics"][name]["estimate"] == pytest.approx(value, abs=1e-6), name
        gap = found["difference"][name]
        inside = found["internal"]["metrics"][name]
        assert gap["estimate"] == pytest.approx(value - inside["estimate"], abs=1e-6)


def test_predictions_are_the_run_s_model(scored, own_run, other):
    fresh = dermssl.predict(own_run, str(other / "images"), uncalibrated=True)
    kept = scored.table("predictions")
    assert [path.split("/")[-1] for path in fresh["path"]] == [
        path.split("/")[-1] for path in kept["path"]
    ]
    columns = [name for name in kept if name.startswith("p_")]
    np.testing.assert_allclose(kept[columns], fresh[columns], atol=1e-6)


def test_threshold_is_the_one_that_evaluate_chooses_on_validation(scored, own_run):
    own = dermssl.evaluate(own_run, n_resamples=100).json("metrics.json")
    mine = scored.json("metrics.json")["thresholds"]
    chosen = {entry["title"]: entry for entry in own["against_rest"].values()}
    assert [one["question"] for one in mine] == list(chosen)
    for one in mine:
        assert one["threshold"] == pytest.approx(chosen[one["question"]]["threshold"])
        # The run's own figures at it stand beside those of the other place.
        for name in ("sensitivity", "specificity"):
            wanted = chosen[one["question"]]["metrics"][f"fixed_{name}"]["estimate"]
            assert one["internal"][name]["estimate"] == pytest.approx(wanted)


def test_findings_hold_together(scored, own_run, other, tmp_path):
    """One family: four findings a place, each wider than the 95% interval of the tables."""
    found = scored.json("metrics.json")
    claim, alone = found["claims"]["difference"], found["difference"]["balanced_accuracy"]
    assert claim["level"] == pytest.approx(1 - 0.05 / 4)
    assert claim["estimate"] == pytest.approx(alone["estimate"])
    assert claim["low"] < alone["low"] < alone["high"] < claim["high"]
    assert "98.75% ones (Bonferroni over 4)" in scored.report
    # The console shows the difference once, with the interval that the finding goes by.
    rows = {line[2:50].strip(): line for line in found["lines"] if line.startswith("  ")}
    assert "run's test" in rows["balanced accuracy"]
    assert "difference" not in rows["balanced accuracy"]
    assert "difference" in rows["fine accuracy"]
    assert "either way" not in scored.report


def test_a_data_set_in_memory_serves_as_well(scored, own_run, other, tmp_path):
    data = dermssl.load_dataset(other, validation=0.0, test=0.0)
    found = dermssl.evaluate(own_run, data=data, n_resamples=100, output=tmp_path / "o")
    np.testing.assert_allclose(found.metrics["estimate"], scored.metrics["estimate"], atol=1e-6)


def test_copies_of_the_run_s_photos_are_left_out(own_run, other, photos, tmp_path, capfd):
    import cv2

    mixed = shutil.copytree(other, tmp_path / "mixed")
    table = pd.read_csv(mixed / "labels.csv", keep_default_na=False)
    mine = sorted((photos / "images").glob("*.jpg"))
    shutil.copy(mine[0], mixed / table["filename"][0])  # the very file
    image = cv2.imread(str(mine[1]))
    cv2.imwrite(str(mixed / table["filename"][1]), image[:, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    argv = (own_run, "--data", mixed, "--n-resamples", 100, "--output", tmp_path / "out")
    assert tiny.call(evaluate, *argv) == 0
    left = pd.read_csv(tmp_path / "out/overlaps.csv", keep_default_na=False)
    assert {"same file", "near"} <= set(left["kind"])
    assert set(table["filename"][:2]) <= set(left["path"])
    n = len(left)
    assert runs.read_json(tmp_path / "out/metrics.json")["n"] == 90 - n
    assert f"mixed: {n} of 90 photos are photos of the run (1 same file, 1 near" in (
        capfd.readouterr().err
    )


def test_malignant_or_benign_alone(own_run, other, tmp_path):
    def coarse(table):
        bad = table["label"].isin(["mel", "bcc"])
        return table.assign(label=np.where(bad, "Malignant", "benign"))

    two = relabelled(other, tmp_path / "two", coarse, ["filename", "label"])
    (two / "taxonomy.toml").unlink(missing_ok=True)
    found = dermssl.evaluate(own_run, data=two, n_resamples=100).json("metrics.json")
    assert found["level"] == "malignancy"
    assert found["metrics"]["malignant_auc"]["n"] == 90
    assert found["grouped_by"] == "photo"
    assert {one["ours"] for one in found["classes"]} == {"malignant", "benign"}
    shares = {row["class"]: row["true"]["estimate"] for row in found["class_shares"]}
    assert sum(shares.values()) == pytest.approx(1)


def test_several_sets_are_one_table_with_a_folder_each(own_run, other, tmp_path):
    groups = relabelled(
        other, tmp_path / "groups",
        lambda table: table.assign(label=table["label"].map(_group)), ["filename", "label"],
    )  # fmt: skip
    (groups / "taxonomy.toml").unlink(missing_ok=True)
    found = dermssl.evaluate(
        own_run, data=[other, groups], n_resamples=100, output=tmp_path / "all"
    )
    table = found.table("external")
    assert set(table["set"]) == {"clinic", "groups"}
    assert set(table.loc[table["set"] == "groups", "level"]) == {"coarse"}
    for name in ("clinic", "groups"):
        assert (tmp_path / "all" / name / "report.md").is_file()
    assert pages.check(tmp_path / "all") == ["external.png"]
    assert len(found.findings) == 2


def _group(label):
    from dermssl.core import taxonomy

    ham = taxonomy.load("ham10000")
    return ham.parents[ham.fine.index(label)]


def strange(table):
    return table.assign(label=table["label"].replace({"df": "wart", "vasc": "spider"}))


def only(*labels):
    return lambda table: table[table["label"].isin(labels)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (strange, "classes without a counterpart in the run: spider, wart; found: akiec = akiec"),
        (only("nv"), "one class only, melanocytic nevus"),
        (lambda t: t.assign(label=""), "no photo has a label"),
        (lambda t: only("nv", "df")(t).assign(label="benign"), "none is malignant (no positives)"),
        (lambda t: only("mel")(t).assign(label="malignant"), "none is benign"),
    ],
)
def test_one_line_for_what_cannot_be_scored(own_run, other, tmp_path, capfd, change, said):
    folder = relabelled(other, tmp_path / "odd", change, ["filename", "label"])
    (folder / "taxonomy.toml").unlink(missing_ok=True)
    assert tiny.call(evaluate, own_run, "--data", folder, "--n-resamples", 100) == 2
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("dermssl: error")]) == 1
    assert said in lines[-1]
    assert not (own_run / "external_odd").exists()


def test_one_line_for_other_bad_input(own_run, other, photos, tmp_path, capfd):
    bad = tmp_path / "map.toml"
    bad.write_text('[classes]\nmel = "melanomma"\n')
    unknown = tmp_path / "unknown.toml"
    unknown.write_text('[classes]\nwart = "bkl"\n')
    for argv, said in (
        (("--data", photos), "photos are photos of the run"),
        (("--data", tmp_path / "nowhere"), "--data"),
        (("--data", other, "--classes", bad), "is no class of the run; choose of: mel"),
        (("--data", other, "--classes", unknown), "no photo has the class 'wart'"),
        (("--data", other, "--classes", tmp_path / "no.toml"), "--classes"),
        (("--data", other, "--run-data", tmp_path / "no"), "no such folder"),
    ):
        assert tiny.call(evaluate, own_run, *argv, "--n-resamples", 100) == 2
        error = capfd.readouterr().err.splitlines()[-1]
        assert said in error
        assert error.startswith("dermssl: error: ")


def test_run_photos_that_are_gone_are_told(own_run, other, tmp_path):
    run = shutil.copytree(own_run, tmp_path / "run")
    shutil.rmtree(run / "external_clinic", ignore_errors=True)
    data = runs.read_json(run / "status.json")["config"]["data"]["path"]
    status = (run / "status.json").read_text().replace(data, str(tmp_path / "gone"))
    (run / "status.json").write_text(status)
    found = dermssl.evaluate(run, data=str(other), n_resamples=100)
    assert "Copies of the run's photos were not looked for" in found.report
    assert found.json("metrics.json")["copies_not_looked_for"]


def test_a_map_file_leaves_classes_out(own_run, other, tmp_path):
    file = tmp_path / "map.toml"
    file.write_text('[classes]\nnv = "-"\n')
    found = dermssl.evaluate(
        own_run, data=other, classes=str(file), n_resamples=100, output=tmp_path / "o"
    )
    summary = found.json("metrics.json")
    labels = class_map.labels(predictions.read(own_run).table)
    assert (labels == "nv").any()
    assert summary["left_out"]["of classes that the map leaves out"] == 90 - summary["n"]
    assert "nv" not in set(found.table("predictions")["fine"])

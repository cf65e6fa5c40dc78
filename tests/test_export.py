"""Exports: every format gives the run's calibrated probabilities in a fresh process."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pages
import pandas as pd
import pytest
import tiny
from keras import layers
from PIL import Image

import dermssl
from dermssl import export
from dermssl.core import atomic_files, runs, taxonomy
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.study_settings import Export
from dermssl.inference import finished_run
from dermssl.models import fused_kernels
from dermssl.models.probability_model import Scaling, probability_model
from dermssl.studies.export import check, formats, use_exported
from dermssl.studies.export import run as export_run

pytestmark = pytest.mark.slow

HAM = taxonomy.load("ham10000")
SHARES = [0.02, 0.9, 0.02, 0.02, 0.02, 0.01, 0.01]


def needs(name):
    """Skip where an extra isn't installed."""
    for package in formats.FORMATS[name].needs:
        pytest.importorskip(package, reason=f"pip install 'dermssl[{formats.FORMATS[name].extra}]'")


@pytest.fixture(scope="module")
def run(finetuned, tmp_path_factory):
    """A copy of a run whose calibration changes its probabilities a lot."""
    copy = shutil.copytree(finetuned, tmp_path_factory.mktemp("exported") / "run")
    stored = runs.read_json(copy / "temperature.json")
    stored |= {"temperature": 0.4, "prior_power": 0.3, "shares": SHARES, "concern": ""}
    atomic_files.write_json(copy / "temperature.json", stored)
    return copy


@pytest.fixture(scope="module")
def some(photos, run):
    """Twelve photos as a stranger reads them, and what `predict` says of them."""
    table = dermssl.predict(run, *sorted((photos / "images").glob("*.jpg"))[:12])
    squares = []
    for path in table["path"]:
        photo = Image.open(photos / "images" / path).convert("RGB")
        side = min(photo.size)
        left, top = (photo.width - side) // 2, (photo.height - side) // 2
        assert side == 32  # no resizing, which libraries do in many ways
        squares.append(np.asarray(photo.crop((left, top, left + side, top + side))))
    return np.stack(squares), table


@pytest.fixture
def in_this_process(monkeypatch):
    """Use exported files without the seconds of a fresh process, where it isn't the point."""

    def of_file(name, file, photos):
        return check._answers(use_exported.use(use_exported.LOADERS[name](str(file)), photos))

    monkeypatch.setattr(check, "of_file", of_file)


def columns(table, level):
    return table.filter(regex=f"^p_{level}_").to_numpy()


@pytest.mark.parametrize("name", formats.FORMATS)
def test_a_format_gives_what_predict_gives(name, run, some, capfd):
    needs(name)
    assert tiny.call(export, run, "--format", name) == 0
    shown = capfd.readouterr()
    # Of the converters nothing is seen; warnings of TensorFlow's Python may be.
    assert not [line for line in shown.err.splitlines() if "WARNING" not in line], shown.err
    folder, entry = run / f"export_{name}", formats.FORMATS[name]
    assert {path.name for path in folder.iterdir()} == {
        entry.file, "labels.json", "export.md", "export.html",
    }  # fmt: skip
    assert "checked on 38 photos, all that the run was tested on" in shown.out
    content = json.loads((folder / "labels.json").read_text())
    assert content["checked"]["n"] == 38
    assert content["checked"]["difference"] <= 1e-4
    assert content["checked"]["changed_fine"] == content["checked"]["changed_coarse"] == 0
    pages.check(folder, "export")
    photos, table = some
    predict = use_exported.LOADERS[name](str(folder / content["file"]))
    for size in (1, 12):
        given = predict(photos[:size].astype("float32"))
        for level in ("fine", "coarse"):
            named = [f"p_{level}_{name}" for name in content["outputs"][level]]
            assert named == [column for column in table if column.startswith(f"p_{level}_")]
            expected = columns(table, level)[:size]
            np.testing.assert_allclose(np.asarray(given[level]), expected, atol=1e-4)


def test_uint8_photos_are_taken_where_it_is_said(run, some):
    photos, table = some
    folder = run / "export_savedmodel"
    if not (folder / "labels.json").is_file():  # this test alone
        dermssl.export(run, format="savedmodel")
    import tensorflow as tf

    loaded = tf.saved_model.load(folder / "saved_model")
    given = loaded.signatures["serve_uint8"](image=tf.constant(photos))
    np.testing.assert_allclose(given["fine"], columns(table, "fine"), atol=1e-4)
    assert runs.read_json(folder / "labels.json")["input"]["dtype"] == ["float32", "uint8"]


def test_the_labels_give_the_class_that_predict_names_and_evaluate_s_thresholds(
    run, some, in_this_process
):
    table = some[1]
    dermssl.evaluate(run, n_resamples=20, specificity=0.8)
    metrics = runs.read_json(run / "evaluation_test" / "metrics.json")
    content = runs.read_json(dermssl.export(run, max_photos=20) / "labels.json")
    assert content["checked_on"] == "20 test photos"
    rule = content["calibration"]["fine"]
    raw = (columns(table, "fine") / rule["divide_by"]) ** rule["temperature"]
    assert np.array(HAM.fine)[raw.argmax(axis=1)].tolist() == table["fine"].tolist()
    assert table["fine"].tolist() != table["most_probable_fine"].tolist()
    sums = pd.DataFrame(raw, columns=[content["parents"][name] for name in HAM.fine])
    sums = sums.T.groupby(level=0).sum().T
    assert sums.idxmax(axis=1).tolist() == table["coarse"].tolist()
    points = {point["question"]: point for point in content["operating_points"]}
    assert points["malignant"]["classes"] == ["mel", "bcc"]
    for entry in metrics["against_rest"].values():
        assert points[entry["title"]]["threshold"] == pytest.approx(entry["threshold"])
        assert points[entry["title"]]["specificity"] == 0.8


def test_int8_and_what_it_takes_the_place_of(run, tmp_path, capsys, in_this_process):
    output = tmp_path / "out"
    flags = ["--format", "litert", "--max-photos", 10, "--output", output]
    (output / "saved_model").mkdir(parents=True)  # what another export left
    labels = {"format": "savedmodel", "quantize": "none", "file": "saved_model"}
    atomic_files.write_json(output / "labels.json", labels)
    assert tiny.call(export, run, *flags, "--quantize", "int8") == 2
    error = capsys.readouterr().err
    assert "holds another export (format: savedmodel there, litert now; quantize: none" in error
    assert "or set --overwrite" in error
    assert tiny.call(export, run, *flags, "--quantize", "int8", "--overwrite") == 0
    assert not (output / "saved_model").exists()
    content = runs.read_json(output / "labels.json")
    assert 1e-6 < content["checked"]["difference"] < 0.1
    assert content["checked"]["mb"] < 0.4 * 4.7  # MB of the CNN in float32
    assert content["notes"] == ["int8 was calibrated on 90 train photos."]
    assert "hold for the float32 network" in (output / "export.md").read_text()


def test_int8_is_never_calibrated_on_test_photos(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    for split in ("train", "validation"):
        used, rows = export_run._calibration_rows(finished_run.load(copy))
        assert used == split
        assert set(rows["split"]) == {split}
        table = atomic_files.read_csv(copy / "predictions.csv")
        table.loc[table["split"] == split, "split"] = "test"
        atomic_files.write_csv(copy / "predictions.csv", table)
    with pytest.raises(UserError, match=r"export\.quantize int8: .* no training or validation"):
        export_run._calibration_rows(finished_run.load(copy))


def test_float16_is_half_as_large_and_close(run, some, tmp_path):
    photos, table = some
    finished = finished_run.load(run)
    scaling = Scaling(0.4, 0.3 * np.log(SHARES))
    formats.FORMATS["litert"].write(
        probability_model(finished.model(), scaling), tmp_path / "m.tflite", "float16", photos
    )
    given = use_exported.LOADERS["litert"](str(tmp_path / "m.tflite"))(photos.astype("float32"))
    difference = np.abs(given["fine"] - columns(table, "fine")).max()
    assert 1e-6 < difference < 0.01
    assert check.megabytes(tmp_path / "m.tflite") < 0.55 * 4.7


def test_constants_of_a_normalization_are_no_inputs_of_an_onnx_file(tmp_path):
    needs("onnx")
    import onnxruntime

    inputs = keras.Input((16, 16, 3), name="image")
    x = layers.Normalization(mean=[100.0, 90, 80], variance=[4.0, 9, 16])(inputs)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False)(x))
    x = layers.GlobalAveragePooling2D()(x)
    outputs = {name: layers.Dense(3, name=name)(x) for name in ("fine", "coarse")}
    network = fused_kernels.substitute(keras.Model(inputs, outputs))
    formats.FORMATS["onnx"].write(network, tmp_path / "m.onnx", "none", np.zeros(0))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    assert [value.name for value in session.get_inputs()] == ["image"]
    photos = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype("float32")
    (given,) = session.run(["coarse"], {"image": photos})
    expected = network.predict(photos, verbose=0)["coarse"]
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


def test_a_file_that_is_not_the_run_s_is_no_export(
    run, tmp_path, monkeypatch, capsys, in_this_process
):
    monkeypatch.setattr(export_run, "_scaling", lambda level: Scaling())  # forgets calibration
    output = tmp_path / "out"
    assert tiny.call(export, run, "--max-photos", 5, "--output", output) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Keras: probabilities differ from the run's by up to 0." in said
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("moves", range(4))
def test_an_export_that_was_killed_is_made_again_by_the_same_command(
    run, tmp_path, monkeypatch, in_this_process, moves
):
    output = tmp_path / "out"
    real, done = os.replace, []

    def killed(source, target):
        if Path(target).parent == output:
            if len(done) == moves:
                raise KeyboardInterrupt
            done.append(target)
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            export(run, output=output, max_photos=5)
    assert not (output / "model.keras").exists()  # an export that isn't whole has no file
    export(run, output=output, max_photos=5)
    names = {"model.keras", "labels.json", "export.md", "export.html"}
    assert {path.name for path in output.iterdir()} == names


def test_what_a_killed_export_left_is_removed_and_what_is_at_work_is_not(
    run, tmp_path, in_this_process
):
    output = tmp_path / "out"
    dead, other = output / f"{export_run.TEMPORARY}dead", output / ".tmp_of_mine"
    for folder in (dead, other):
        folder.mkdir(parents=True)
        (folder / "model.keras").touch()
    with export_run._scratch(output) as alive:
        export(run, output=output, max_photos=5)
        assert alive.is_dir()
        assert other.is_dir()
        assert not dead.exists()


def test_what_it_was_checked_on_is_said_as_it_is(run, tmp_path, capsys, in_this_process):
    copy = shutil.copytree(run, tmp_path / "run")
    table = atomic_files.read_csv(copy / "predictions.csv")
    table.loc[table["split"] == "test", "split"] = "validation"
    atomic_files.write_csv(copy / "predictions.csv", table)
    assert tiny.call(export, copy, "--max-photos", 500) == 0
    said = capsys.readouterr().out
    assert f"checked on {len(table)} photos\n" in said
    assert "tested on" not in said
    assert "note: The run has no test photos; the file was checked on photos of other" in said


def test_a_file_that_needs_this_package_is_found_out(finetuned):
    photos = np.zeros((1, 32, 32, 3), np.uint8)
    with pytest.raises(RunFailed, match=r"model\.keras can't be used in a fresh process"):
        check.of_file("keras", finetuned / "model.keras", photos)


def test_mixed_precision_leaves_in_float32(run, photos, tmp_path, restored_policy):
    copy = shutil.copytree(run, tmp_path / "run")
    status = runs.read_json(copy / "status.json")
    status["config"]["backbone"]["precision"] = "mixed_float16"
    atomic_files.write_json(copy / "status.json", status)
    whole, mixed = finished_run.load(run), finished_run.load(copy)
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    expected = whole.model().predict_proba(images)["fine"]
    given = export_run._in_float32(mixed).predict_proba(images)["fine"]
    np.testing.assert_allclose(given, expected, atol=1e-6)
    assert np.abs(mixed.model().predict_proba(images)["fine"] - expected).max() > 1e-6


def test_photos_that_were_changed_first_are_for_who_says_so(run, tmp_path, capsys, in_this_process):
    copy = shutil.copytree(run, tmp_path / "run")
    status = runs.read_json(copy / "status.json")
    status["config"]["data"]["preprocess"] = ["shades_of_grey"]
    atomic_files.write_json(copy / "status.json", status)
    assert tiny.call(export, copy) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "it learnt from photos after --preprocess shades_of_grey, which no exported file" in said
    assert "; --prepared exports it" in said
    assert tiny.call(export, copy, "--prepared", "--max-photos", 5) == 0
    assert "in this order: shades_of_grey" in capsys.readouterr().out


def test_a_package_that_is_not_there_is_named(run, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert tiny.call(export, run, "--format", "onnx") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not installed: tf2onnx, onnx, onnxruntime; pip install 'dermssl[onnx]'" in said


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["RUN", "--quantize", "float16"], "--quantize float16: Keras is written in float32 alone; "
         "--format litert has float16"),
        (["RUN", "--format", "onnx", "--quantize", "int8"], "--format litert has int8"),
        (["RUN", "--format", "coreml"], "--format is 'coreml'; choose one of"),
        (["PRETRAINED"], "a run of dermssl.pretrain, not of dermssl.finetune"),
        (["UNFINISHED"], "this run is RUNNING; run its command again to finish it"),
        (["EMPTY"], "no run found there"),
        (["WITHOUT"], "model.keras: not there, so there is nothing to export"),
        (["RUN", "--data", "EMPTY"], "photos of the run aren't there"),
        (["RUN", "--output", "RUN"], "holds a run; choose another folder"),
        (["RUN", "--output", "FILE"], "holds a model.keras already; choose another folder, or set"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(run, pretrained, tmp_path, capsys, argv, said):
    places = {"RUN": run, "PRETRAINED": pretrained}
    for name in ("EMPTY", "FILE"):
        places[name] = tmp_path / name
        places[name].mkdir()
    (tmp_path / "FILE" / "model.keras").touch()
    for name in ("UNFINISHED", "WITHOUT"):
        places[name] = tmp_path / name
        shutil.copytree(run, places[name], ignore=lambda *_: ["model.keras", "tensorboard"])
    status = runs.read_json(tmp_path / "UNFINISHED" / "status.json")
    atomic_files.write_json(tmp_path / "UNFINISHED/status.json", status | {"status": "RUNNING"})
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert tiny.call(export, *[places.get(word, word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_the_settings_are_those_that_the_formats_have():
    fields = Export.__dataclass_fields__
    assert (
        set(fields["format"].metadata["choices"])
        == set(formats.FORMATS)
        == set(use_exported.LOADERS)
    )
    assert fields["quantize"].metadata["choices"] == formats.QUANTIZATIONS
    with pytest.raises(UserError, match=r"export\.quantize int8: SavedModel"):
        formats.chosen("savedmodel", "int8")

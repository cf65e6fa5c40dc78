"""Prediction for new photos, and the wall between pretraining and the held-out photos."""

import io
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from dermssl import finetune, predict, pretrain
from dermssl.core import atomic_files, runs, taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone, Data
from dermssl.data import decode, heat_overlay
from dermssl.data.augmentation import opencv
from dermssl.data.splits import prepare
from dermssl.data.synthetic import dataset as synthetic
from dermssl.evaluation import conformal, predictions
from dermssl.inference import prediction_files
from dermssl.models import backbones, classifier, grad_cam, weights
from dermssl.training import pretraining_pool

HAM = taxonomy.load("ham10000")
APPLIED = ["most_probable_fine", "most_probable_coarse", "temperature", "prior_power"]
LAST = ["p_malignant", "unlike_run", "distance_to_run", "nearest_training", "remark"]
COLUMNS = [f"p_fine_{name}" for name in HAM.fine] + [f"p_coarse_{name}" for name in HAM.coarse]


def read(file):
    return pd.read_csv(file, keep_default_na=False)


def test_a_fresh_process_gives_the_run_s_own_probabilities(photos, finetuned, tmp_path):
    output = tmp_path / "new.csv"
    process = tiny.python("-m", "dermssl.predict", finetuned, photos, "--output", output)
    assert process.returncode == 0, process.stderr
    # The run's own photos: a few may lie beyond a limit, but no more than chance has.
    assert "more than chance" not in process.stderr
    lines = process.stdout.splitlines()
    assert lines[0] == f"160 photos: {output}"
    assert lines[1].startswith("Of each photo the central square is seen")
    assert re.fullmatch(
        r"probabilities: not calibrated, temperature 1: "
        r"only 32 labelled records \(validation split\)\. Note: training counted all classes "
        r"equally, .* not as frequencies .*",
        lines[2],
    )
    assert len(lines) == 3
    found, kept = read(output), read(finetuned / "predictions.csv")
    assert found["path"].tolist() == kept["path"].tolist()
    np.testing.assert_allclose(found[COLUMNS], kept[COLUMNS], atol=1e-6)
    assert found[COLUMNS].to_numpy().std(axis=0).max() > 1e-3  # not one answer for all
    p_fine = found[COLUMNS[: len(HAM.fine)]].to_numpy()
    assert found["fine"].tolist() == np.array(HAM.fine)[p_fine.argmax(axis=1)].tolist()


@pytest.mark.parametrize("words", [(), ("outputs/run",)])
def test_without_photos_one_line_says_what_it_needs(words, capsys):
    assert tiny.call(predict, *words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert (
        "it needs RUN (folder of a fine-tuned run) and IMAGE_OR_FOLDER (images and folders of them)"
        in said
    )
    assert "python -m dermssl.predict RUN IMAGE_OR_FOLDER" in said
    with pytest.raises(UserError, match="no photos to predict"):
        predict(*words)


def test_batches_do_not_matter_and_a_photo_may_stand_alone(photos, finetuned, tmp_path):
    for size in (7, 160):
        predict(finetuned, photos, output=tmp_path / f"{size}.csv", batch_size=size)
    one, other = read(tmp_path / "7.csv"), read(tmp_path / "160.csv")
    assert one["path"].tolist() == other["path"].tolist()
    np.testing.assert_allclose(one[COLUMNS], other[COLUMNS], atol=1e-6)
    photo = photos / "images" / "SYN_000003.jpg"
    assert len(predict(finetuned, photo, output=tmp_path / "single.csv")) == 1
    alone = read(tmp_path / "single.csv")
    assert alone["path"].tolist() == [photo.name]
    np.testing.assert_allclose(alone[COLUMNS], one[COLUMNS].iloc[[3]], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("groundtruth.csv", "image,MEL,NV\nISIC_1,1,0\n"),
        ("predictions.csv", "path,fine,coarse,p_fine_nv\na.jpg,nv,benign,1\n"),
        ("letter.csv", "Dear all,\n"),
        ("blank.csv", "\n\nimage,MEL\n"),
        ("a.jsonl", '{"path": "a.jpg", "label": "nv"}\n'),
        ("b.jsonl", "[1, 2]\n"),
        ("c.parquet", "PAR1"),
        ("new.csv_left_out.csv", "image,why\n"),
    ],
)
def test_a_file_of_somebody_else_is_refused_and_untouched(finetuned, tmp_path, name, text, capsys):
    (tmp_path / name).write_text(text)
    output = tmp_path / name.removesuffix("_left_out.csv")
    argv = [finetuned, tmp_path, "--output", output]
    assert tiny.call(predict, *argv) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"--output {output}: {tmp_path / name} is there and dermssl.predict didn't" in said
    assert said.endswith("; give another name\n")
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize("name", ["new.csv", "new.jsonl", "new.parquet"])
def test_its_own_file_is_replaced_and_so_is_an_empty_one(photos, finetuned, tmp_path, name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    folder, output = tmp_path / "new", tmp_path / name
    folder.mkdir()
    output.touch()
    shutil.copy(photos / "images/SYN_000000.jpg", folder / "a.jpg")
    (folder / "bad.jpg").write_bytes(b"no image")
    more = {"coverage": 0.5, "explain": tmp_path / "heat"}
    for settings in (more, {}, {"uncalibrated": True}):
        assert len(predict(finetuned, folder, output=output, **settings)) == 1
        assert output.stat().st_size
        assert (tmp_path / f"{name}_left_out.csv").is_file()
    prediction_files.check(str(output))


@pytest.mark.parametrize("source", ["photos.zip", "."])
def test_an_archive_is_refused_with_what_to_do(finetuned, tmp_path, source, capsys):
    (tmp_path / "photos.zip").write_bytes(b"PK")
    assert tiny.call(predict, finetuned, tmp_path / source) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(r"photos\.zip.*packed; unpack it", said)


def test_to_standard_output(photos, finetuned, capsys):
    assert predict.main([str(finetuned), str(photos / "images" / "SYN_000003.jpg")]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert len(lines) == 2
    assert lines[0].split(",") == ["path", "fine", "coarse", *APPLIED, *COLUMNS, *LAST]
    square, calibration = shown.err.splitlines()[-2:]
    assert square == "Of each photo the central square is seen, not what lies outside it."
    assert calibration.startswith("probabilities: not calibrated")


def test_sets_are_those_that_evaluate_counts(photos, finetuned, tmp_path):
    predict(finetuned, photos, output=tmp_path / "new.csv", coverage=0.75)
    found = read(tmp_path / "new.csv")
    run = predictions.read(finetuned)
    thresholds = conformal.of_run(run, 0.75)
    assert not thresholds.has_none.all()
    expected = [
        " ".join(np.array(HAM.fine)[row]) for row in thresholds.sets(run.table[COLUMNS[:7]])
    ]
    same = [one == other for one, other in zip(found["conformal_set"], expected)]
    assert np.mean(same) > 0.95  # but for photos at a threshold, where the last digits decide
    always = np.array(HAM.fine)[thresholds.has_none]
    assert all(set(always) <= set(one.split()) for one in found["conformal_set"])


def test_a_photo_of_the_run_is_nearest_to_itself(photos, finetuned):
    table = predict(finetuned, photos)
    kept = read(finetuned / "predictions.csv").set_index("path")
    train = table[kept.loc[table["path"], "split"].to_numpy() == "train"]
    for text in train["nearest_training"]:
        named = [re.fullmatch(r"(.*) \((\S+), (\S+)\)", one).groups() for one in text.split("; ")]
        assert float(named[0][2]) < 0.05  # it, or a photo of the same embedding
        assert [kept.loc[path, "fine"] for path, _, _ in named] == [fine for _, fine, _ in named]
        assert len({kept.loc[path, "lesion_id"] for path, _, _ in named}) == 3


def test_not_confident_is_what_the_limit_from_validation_says(photos, finetuned, capsys):
    table = predict(finetuned, photos)
    kept = read(finetuned / "predictions.csv")
    top = kept[COLUMNS[: len(HAM.fine)]].max(axis=1)  # the tiny run isn't calibrated
    validation = kept["split"] == "validation"
    limit = np.sort(top[validation])[int(0.2 * validation.sum())]
    unsure = table["remark"].str.contains("not confident")
    far = (top - limit).abs() > 1e-6
    assert (unsure == (top < limit))[far].all()
    assert unsure[validation].sum() in (int(0.2 * validation.sum()) + d for d in (-1, 0, 1))
    unlike = table["remark"].str.contains("not like the training photos")
    assert (unlike == (table["unlike_run"] != "")).all()


def test_a_class_of_another_group_than_the_one_named_is_remarked(photos, finetuned, caplog):
    """A line says how many, and the row which."""
    table = predict(finetuned, photos)
    parents = dict(zip(HAM.fine, HAM.parents))
    apart = table["fine"].map(parents) != table["coarse"]
    assert 0 < apart.sum() < len(apart)
    assert (table["remark"].str.contains("fine and coarse disagree") == apart).all()
    said = f"of {apart.sum()} of {len(table)} photos the class in 'fine' is of another group"
    assert said in caplog.text


def test_with_sets_not_confident_is_no_set_of_one_class(photos, finetuned):
    table = predict(finetuned, photos, coverage=0.5)
    one = table["conformal_set"].str.split().str.len() == 1
    assert (table["remark"].str.contains("not confident") == ~one).all()


def test_heat_maps_lie_beside_a_column_of_their_paths(photos, finetuned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x/a.jpg", "x/a.png", "b.jpg"):
        (tmp_path / "new" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(photos / "images" / "SYN_000003.jpg").save(tmp_path / "new" / name)
    plain = predict(finetuned, "new")
    table = predict(finetuned, "new", explain="heat", batch_size=2)
    assert table["heat_map"].tolist() == [f"heat/{path}.jpg" for path in table["path"]]
    np.testing.assert_allclose(table[COLUMNS], plain[COLUMNS], atol=1e-6)
    model = weights.load_classifier(finetuned)
    image = opencv.center_square(decode.decode(tmp_path / "new" / "x" / "a.png"), 32)
    classes = [HAM.fine.index(table["fine"][2])]
    heat = grad_cam.heat_maps(model, image[None], classes)[0]
    expected = np.asarray(Image.open(io.BytesIO(heat_overlay.jpeg(image, heat))), float)
    shown = np.asarray(Image.open(table["heat_map"][2]), float)
    assert table["path"][2] == "x/a.png"
    assert shown.shape == (320, 320, 3)
    assert np.abs(shown - expected).mean() < 1
    assert np.abs(shown - np.asarray(Image.open(io.BytesIO(heat_overlay.jpeg(image))))).mean() > 5
    with pytest.raises(UserError, match="lies in the folder of the photos, new, where heat maps"):
        predict(finetuned, "new", explain="new/heat")
    with pytest.raises(UserError, match=r"explain new: the folder of the photo new/b\.jpg"):
        predict(finetuned, "new/b.jpg", explain="new")


def test_an_mlp_has_no_heat_map(photos, finetuned, tmp_path, monkeypatch, capsys):
    mlp = backbones.build(Backbone(name="mlp", image_size=32))
    monkeypatch.setattr(
        weights, "load_classifier", lambda path: classifier.LesionClassifier(mlp, HAM)
    )
    argv = [finetuned, photos, "--explain", tmp_path / "heat", "--output", tmp_path / "new.csv"]
    assert tiny.call(predict, *argv) == 2
    said = capsys.readouterr().err
    assert "no spatial map" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "new.csv").exists()


def test_sets_need_labelled_validation_records(photos, finetuned, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finetuned, copy)
    table = atomic_files.read_csv(copy / "predictions.csv")
    table.loc[table["split"] == "validation", "fine"] = ""
    atomic_files.write_csv(copy / "predictions.csv", table)
    with pytest.raises(UserError, match=r"predict\.coverage 0\.9: .* no labelled validation"):
        predict(copy, photos, output=tmp_path / "new.csv", coverage=0.9)


def temper(run, folder, temperature, **entries):
    """A copy of a run whose temperature.json says `temperature`, and `entries`."""
    copy = shutil.copytree(run, folder)
    stored = runs.read_json(copy / "temperature.json")
    stored |= {"temperature": temperature, "concern": "", "n": 240, **entries}
    atomic_files.write_json(copy / "temperature.json", stored)
    return copy


@pytest.mark.slow
def test_a_fresh_process_uses_the_stored_temperature(photos, finetuned, tmp_path):
    run, raw, new = (
        temper(finetuned, tmp_path / "run", 2.5),
        tmp_path / "raw.csv",
        tmp_path / "new.csv",
    )
    process = tiny.python("-m", "dermssl.predict", run, photos, "--output", new)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[2].startswith(
        "probabilities: tempered with temperature 2.5, fitted on 240 validation records. Note: "
    )
    assert predict.main([str(run), str(photos), "--output", str(raw), "--uncalibrated"]) == 0
    before, after = read(raw), read(new)
    fine, coarse = COLUMNS[: len(HAM.fine)], COLUMNS[len(HAM.fine) :]
    kept = read(run / "predictions.csv")
    np.testing.assert_allclose(before[COLUMNS], kept[COLUMNS], atol=1e-6)  # raw, as in the run
    power = before[fine].to_numpy() ** (1 / 2.5)
    np.testing.assert_allclose(after[fine], power / power.sum(axis=1, keepdims=True), atol=1e-6)
    assert abs(after[fine].to_numpy() - before[fine].to_numpy()).max() > 0.01
    np.testing.assert_allclose(after[coarse], after[fine].to_numpy() @ HAM.matrix, atol=1e-7)
    assert after["fine"].tolist() == before["fine"].tolist()
    assert (set(after["temperature"]), set(before["temperature"])) == ({2.5}, {1.0})


def test_balanced_training_is_undone_and_the_classes_named_stay(
    photos, finetuned, tmp_path, capsys
):
    shares = [0.02, 0.9, 0.02, 0.02, 0.02, 0.01, 0.01]
    run = temper(finetuned, tmp_path / "run", 2.0, prior_power=1.0, shares=shares)
    raw, new = tmp_path / "raw.csv", tmp_path / "new.csv"
    assert predict.main([str(run), str(photos), "--output", str(raw), "--uncalibrated"]) == 0
    assert "Note: training counted all classes equally" in capsys.readouterr().out
    assert predict.main([str(run), str(photos), "--output", str(new)]) == 0
    said = capsys.readouterr().out
    assert "calibrated with temperature 2 and the class shares of validation to the power 1" in said
    assert (
        "Note: these probabilities are meant for photos among which classes are as common as"
        in said
    )
    before, after = read(raw), read(new)
    fine = COLUMNS[: len(HAM.fine)]
    power = before[fine].to_numpy() ** 0.5 * shares
    expected = power / power.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after[fine], expected, atol=1e-6)
    for level in ("fine", "coarse"):
        assert after[level].tolist() == before[level].tolist()
    probable = np.array(HAM.fine)[expected.argmax(axis=1)]
    assert after["most_probable_fine"].tolist() == probable.tolist()
    assert (probable != after["fine"]).any()
    assert before["most_probable_fine"].tolist() == before["fine"].tolist()
    malignant = [k for k, said in enumerate(HAM.malignancy) if said == "malignant"]
    np.testing.assert_allclose(after["p_malignant"], expected[:, malignant].sum(axis=1), atol=1e-6)
    likeliest = after[COLUMNS[len(HAM.fine) :]].to_numpy().argmax(axis=1)
    assert after["most_probable_coarse"].tolist() == np.array(HAM.coarse)[likeliest].tolist()
    assert (set(after["prior_power"]), set(before["prior_power"])) == ({1.0}, {0.0})


def test_a_run_of_an_older_version_is_calibrated_from_its_predictions(
    photos, finetuned, tmp_path, capsys
):
    run = shutil.copytree(finetuned, tmp_path / "run")
    file = run / "temperature.json"
    older = runs.read_json(file)
    del older["shares"], older["prior_power"]
    photo = photos / "images" / "SYN_000003.jpg"
    argv = [str(run), str(photo), "--output", str(tmp_path / "new.csv")]
    for content in (None, {**older, "temperature": 9.0}):
        file.unlink(missing_ok=True)
        if content:
            atomic_files.write_json(file, content)
        assert predict.main(argv) == 0
        said = capsys.readouterr().out
        assert "not calibrated, temperature 1: only 32 labelled records" in said
        assert set(read(tmp_path / "new.csv")["temperature"]) == {1.0}
    file.write_text('{"temperature": -1}')
    assert predict.main(argv) == 2
    assert "temperature.json: no temperature of dermssl.finetune in it" in capsys.readouterr().err


@pytest.mark.slow
def test_two_heads_have_columns_of_their_own(photos, tmp_path):
    options = {"name": "mlp", "head": "independent", "unfrozen_epochs": 0}
    run = finetune.run(tiny.finetuning(photos, tmp_path / "made", **options))
    stored = runs.read_json(run / "temperature.json")
    shares = [1 / len(HAM.coarse)] * len(HAM.coarse)
    stored["coarse"] |= {"temperature": 2.0, "prior_power": 0.5, "shares": shares, "concern": ""}
    atomic_files.write_json(run / "temperature.json", stored)
    predict(run, photos, output=tmp_path / "new.csv")
    found = read(tmp_path / "new.csv")
    assert set(found["temperature_coarse"]) == {2.0}
    assert set(found["prior_power_coarse"]) == {0.5}
    assert set(found["temperature"]) == {1.0}
    predict(run, photos, output=tmp_path / "raw.csv", uncalibrated=True)
    raw = read(tmp_path / "raw.csv")
    assert set(raw["prior_power_coarse"]) == {0.0}
    coarse = COLUMNS[len(HAM.fine) :]
    root = np.sqrt(raw[coarse].to_numpy())
    np.testing.assert_allclose(found[coarse], root / root.sum(axis=1, keepdims=True), atol=1e-6)


@pytest.fixture
def spoilt(photos, tmp_path):
    """Two good photos, one bad, and one whose name is a formula to a spreadsheet."""
    folder = tmp_path / "new"
    folder.mkdir()
    for k, name in enumerate(["a.jpg", "sub.jpg", "=1+1.jpg"]):
        shutil.copy(photos / "images" / f"SYN_00000{k}.jpg", folder / name)
    (folder / "bad.jpg").write_bytes(b"no image")
    return folder


def test_links_to_nothing_are_passed_over_and_reported(photos, finetuned, tmp_path, capsys):
    folder = tmp_path / "new"
    folder.mkdir()
    shutil.copy(photos / "images/SYN_000000.jpg", folder / "a.jpg")
    (folder / "b.jpg").symlink_to("/gone/out/of/here.jpg")
    (folder / "c").symlink_to("gone")
    (folder / "d.hdf5").symlink_to("gone.hdf5")
    output = tmp_path / "new.csv"
    assert predict.main([str(finetuned), str(folder), "--output", str(output)]) == 0
    assert read(output)["path"].tolist() == ["a.jpg"]
    listed = pd.read_csv(f"{output}_left_out.csv")
    reasons = {Path(path).name: reason for path, reason in zip(listed["path"], listed["reason"])}
    assert reasons.keys() == {"b.jpg", "c", "d.hdf5"}
    assert "not found" in reasons["b.jpg"]


def test_bad_photos(spoilt, finetuned, tmp_path, capsys):
    output = tmp_path / "new.csv"
    argv = [str(finetuned), str(spoilt), "--output", str(output)]
    assert predict.main([*argv, "--on-bad", "error"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bad.jpg" in said
    assert "1 bad of 4; --on-bad skip leaves them out" in said
    assert not output.exists()
    assert predict.main(argv) == 0
    shown = capsys.readouterr()
    assert "skipped: 1 of 4 photos, the first: " in shown.err
    assert shown.out.startswith(f"3 photos: {output}\n")
    assert read(output)["path"].tolist() == ["'=1+1.jpg", "a.jpg", "sub.jpg"]
    listed = pd.read_csv(tmp_path / "new.csv_left_out.csv")
    assert [Path(path).name for path in listed["path"]] == ["bad.jpg"]


def test_damage_that_the_fast_decoder_overlooks_is_found_without_a_second_reading(
    photos, finetuned, tmp_path, monkeypatch
):
    folder = tmp_path / "new"
    folder.mkdir()
    for number in range(40):
        shutil.copy(photos / "images" / f"SYN_0000{number:02}.jpg", folder / f"{number:02}.jpg")
    damaged = folder / "07.jpg"
    Image.new("RGB", (120, 90), "tan").save(damaged)
    whole = bytearray(damaged.read_bytes())
    middle = whole.index(b"\xff\xda") + 20
    whole[middle : middle + 2] = b"\xff\xc4"  # a table amid the pixels
    damaged.write_bytes(whole)
    assert decode.pixels(damaged.read_bytes()) is not None
    assert decode.verify_all([str(damaged)])
    monkeypatch.setattr(decode, "verify_all", None)  # a call would fail
    table = predict(finetuned, folder, batch_size=16)
    assert table["path"].tolist() == [f"{number:02}.jpg" for number in range(40) if number != 7]


def test_several_photos_and_folders_are_taken_once_each(photos, finetuned, tmp_path):
    for k, name in enumerate(["x/a.jpg", "x/b.jpg", "y/c.jpg"]):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(photos / "images" / f"SYN_00000{k}.jpg", tmp_path / name)
    argv = [finetuned, tmp_path / "y" / "c.jpg", tmp_path / "x", tmp_path / "x" / ".." / "x/b.jpg"]
    assert tiny.call(predict, *argv, "--output", tmp_path / "new.csv") == 0
    table = read(tmp_path / "new.csv")
    assert table["path"].tolist() == ["y/c.jpg", "x/a.jpg", "x/b.jpg"]
    alone = predict(finetuned, tmp_path / "x")
    assert alone["path"].tolist() == ["a.jpg", "b.jpg"]
    np.testing.assert_allclose(table[COLUMNS][1:], alone[COLUMNS], atol=1e-6)


def test_every_format_holds_the_same(photos, finetuned, tmp_path):
    tables = {"python": predict(finetuned, photos, output=tmp_path / "new.csv")}
    for ending, reader in (
        ("csv", read),
        ("jsonl", lambda file: pd.read_json(file, lines=True)),
        ("parquet", pd.read_parquet),
    ):
        predict(finetuned, photos, output=tmp_path / f"new.{ending}", batch_size=50)
        tables[ending] = reader(tmp_path / f"new.{ending}")
    first = tables.pop("python")
    assert len(first) == 160
    for table in tables.values():
        assert list(table) == list(first)
        assert table["path"].tolist() == first["path"].tolist()
        np.testing.assert_allclose(table[COLUMNS], first[COLUMNS], atol=1e-6)
        assert table["unlike_run"].fillna("").tolist() == first["unlike_run"].tolist()


def test_a_relative_name_can_be_no_formula(spoilt, finetuned, tmp_path, monkeypatch):
    monkeypatch.chdir(spoilt)
    predict(finetuned, "=1+1.jpg", output=tmp_path / "new.csv")
    assert read(tmp_path / "new.csv")["path"].tolist() == ["'=1+1.jpg"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["RUN", "nowhere"], "nowhere: not found"),
        (["RUN", "EMPTY"], "no image"),
        (["EMPTY", "PHOTOS"], "no run found there"),
        (["PRETRAINED", "PHOTOS"], "a run of dermssl.pretrain, not of dermssl.finetune"),
        (["RUN", "PHOTOS", "--batch-size", "0"], "--batch-size is 0"),
        (["RUN", "PHOTOS", "--output", "nowhere/new.csv"], "its folder does not exist"),
        (["RUN", "PHOTOS", "--output", "EMPTY"], "is a folder"),
        (["RUN", "PHOTOS", "--output", "new.xls"], "its ending is none of .csv, .jsonl, .parquet"),
        (["RUN", "ALLBAD", "--on-bad", "skip"], "none of 1 images is readable"),
    ],
)
def test_what_is_refused(photos, pretrained, finetuned, tmp_path, capfd, argv, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_bytes(b"no image")
    names = {"RUN": finetuned, "PHOTOS": photos, "PRETRAINED": pretrained}
    names |= {"EMPTY": tmp_path / "empty", "ALLBAD": tmp_path / "bad"}
    assert predict.main([str(names.get(word, word)) for word in argv]) == 2
    lines = capfd.readouterr().err.splitlines()
    assert said in lines[-1]
    assert all(line.startswith("skipped: ") for line in lines[:-1])


@pytest.mark.slow
def test_a_mixed_precision_run_is_reproduced_too(photos, tmp_path, restored_policy):
    config = tiny.finetuning(photos, tmp_path / "run", frozen_epochs=0)
    backbone = Backbone(name="cnn", image_size=32, precision="mixed_float16")
    run = finetune.run({**config, "backbone": backbone})
    keras.config.set_dtype_policy("float32")
    predict(run, photos, output=tmp_path / "new.csv")
    found, kept = read(tmp_path / "new.csv"), read(run / "predictions.csv")
    np.testing.assert_allclose(found[COLUMNS], kept[COLUMNS], atol=2e-3)
    keras.config.set_dtype_policy("float32")
    model = weights.load_classifier(run)
    assert model.backbone.compute_dtype == "float16"
    # Once more in the same process, in full precision: the policy of one run is not the next's.
    plain = finetune.run(tiny.finetuning(photos, tmp_path / "plain", frozen_epochs=0))
    model = weights.load_classifier(plain)
    assert model.backbone.compute_dtype == "float32"


# -- Pretraining must not have seen validation or test photos.


def other_split(config):
    return {**config, "data": Data(path=config["data"].path, split_seed=5)}


def test_another_split_of_the_same_photos_is_refused(photos, pretrained, tmp_path):
    config = other_split(tiny.finetuning(photos, tmp_path / "run", weights=str(pretrained)))
    with pytest.raises(UserError, match="both the pretraining pool and validation/test"):
        finetune.run(config)
    assert not (tmp_path / "run").exists()


def test_also_through_a_second_pretraining_run(photos, pretrained, tmp_path):
    # The second run's own pool may be clean; what it started from has seen the photos.
    config = other_split(tiny.pretraining(photos, tmp_path / "second", weights=str(pretrained)))
    with pytest.raises(UserError, match="both the pretraining pool and validation/test"):
        pretrain.run(config)
    assert not (tmp_path / "second").exists()


def test_also_through_the_run_that_a_clean_one_started_from(photos, pretrained, tmp_path):
    second = shutil.copytree(pretrained, tmp_path / "second")
    (second / "pool.csv").write_text("path\nother_photos/1.jpg\n")
    status = runs.read_json(second / "status.json")
    status["config"]["data"]["path"] = "other"
    atomic_files.write_json(second / "status.json", status)
    config = other_split(tiny.finetuning(photos, tmp_path / "run", weights=str(second)))
    dataset = prepare(config["data"])
    pretraining_pool.check(second, dataset)  # clean so far
    status["config"]["backbone"]["weights"] = str(pretrained)
    atomic_files.write_json(second / "status.json", status)
    with pytest.raises(UserError, match="both the pretraining pool and validation/test"):
        finetune.run(config, dataset=dataset)


def test_photos_are_known_by_where_they_lie(photos, tmp_path):
    # Pretrained on a data set and, by --unlabelled, on a second folder that is fine-tuned on.
    first = synthetic.write(tmp_path / "first", n=160, size=32, seed=4)
    second = tmp_path / "second"
    shutil.copytree(photos / "images", second / "nowhere_else")
    table = pd.read_csv(photos / "labels.csv", dtype=str)
    table["filename"] = table["filename"].str.replace("images/", "nowhere_else/")
    # No ids: only their place tells that they are the same photos.
    table[["filename", "label"]].to_csv(second / "labels.csv", index=False)
    config = tiny.pretraining(first, tmp_path / "pre", name="mlp", epochs=1)
    data = Data(path=str(first), unlabelled=str(second / "nowhere_else"), validation=0.0, test=0.0)
    run = pretrain.run({**config, "data": data})
    assert any(path.startswith("../") for path in read(run / "pool.csv")["path"])
    config = tiny.finetuning(second, tmp_path / "run", name="mlp", weights=str(run))
    with pytest.raises(UserError, match="both the pretraining pool and validation/test"):
        finetune.run(config)


def test_a_formula_like_name_is_recognised_in_the_pool(tmp_path):
    from dermssl.data import records

    names = ["-a.jpg", "=b.jpg", "c.jpg"]
    table = records.make_index({"path": names, "split": ["train"] * 3})
    atomic_files.write_csv(tmp_path / "pool.csv", table)
    assert records.read_csv(tmp_path / "pool.csv")["path"].tolist() == sorted(names)

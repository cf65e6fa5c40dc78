"""`check_data` and `leakage` as a user types them, and what they leave."""

import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pages
import pandas as pd
import pytest
import tiny
from PIL import Image, ImageOps

from dermssl import check_data, leakage, shards
from dermssl.core import atomic_files, runs
from dermssl.core.settings import Backbone, Data
from dermssl.data import other_formats, pipeline, readers
from dermssl.data.splits import prepare
from dermssl.inference import outputs
from dermssl.studies.data_audit import augmentation_sheet
from dermssl.studies.leakage import compute as inflation
from dermssl.studies.leakage import run as leakage_run

FILES = {
    "check_data.json", "duplicates.csv", "crossing.csv", "photos.csv", "report.md", "report.html",
    "classes.png", "sizes.png", "light.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def planted(photos, tmp_path_factory):
    """The photos with a mirrored copy under another label, an id in two splits, a bad file."""
    folder = shutil.copytree(photos, tmp_path_factory.mktemp("planted") / "data")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    table["split"] = ["test" if int(p[-3:]) % 4 == 0 else "train" for p in table["patient_id"]]
    with Image.open(folder / table["filename"][0]) as image:
        ImageOps.mirror(image).save(folder / "images/copy.jpg", quality=80)
    other = {"train": "test", "test": "train"}[table["split"][0]]
    copy = table.iloc[0].to_dict() | {
        "filename": "images/copy.jpg", "split": other, "lesion_id": "COPY", "patient_id": "COPY",
        "label": "=1+1", "coarse": "odd|<b>",
    }  # fmt: skip
    table = pd.concat([table, pd.DataFrame([copy])])
    twins = table.groupby("lesion_id").filter(lambda same: len(same) == 3).head(3)
    table.loc[twins.index[0], "split"] = {"train": "test", "test": "train"}[twins["split"].iloc[0]]
    table.loc[table["filename"] == "images/SYN_000150.jpg", "filename"] = "images/gone.jpg"
    (folder / "taxonomy.toml").unlink()
    table.to_csv(folder / "labels.csv", index=False)
    (folder / "images/SYN_000009.jpg").write_bytes(b"<html>")
    return folder


def call(command, output, *argv):
    return tiny.call(command, *argv, "--output", output)


def test_planted_faults_are_found(planted, pretrained, tmp_path, capfd):
    output = tmp_path / "o"
    argv = ["--data", planted, "--run", pretrained]
    assert call(check_data, output, *argv, "--similarity", 0.999) == 0
    said = capfd.readouterr().out
    assert {path.name for path in output.iterdir()} >= FILES
    found = runs.read_json(output / "check_data.json")
    assert (found["photos"], found["readable"]) == (160, 159)
    assert [row["path"] for row in found["unreadable"]] == ["images/SYN_000009.jpg"]
    assert "HTML" in found["unreadable"][0]["error"]
    assert any("gone.jpg" in note for note in found["notes"])
    assert found["crossing"]["lesion_id"] == 1
    pairs = pd.read_csv(output / "duplicates.csv", dtype=str, keep_default_na=False)
    (row,) = pairs[pairs["path_a"].eq("images/SYN_000000.jpg") & pairs["kind"].eq("near")
                   | pairs["path_b"].eq("images/SYN_000000.jpg") & pairs["kind"].eq("near")
                   ].to_dict("records")  # fmt: skip
    assert {row["path_a"], row["path_b"]} == {"images/SYN_000000.jpg", "images/copy.jpg"}
    assert (row["flipped"], row["across_splits"]) == ("mirrored or turned", "True")
    assert row["labels_differ"] == "True"
    assert "'=1+1" in (row["label_a"], row["label_b"])
    assert found["leaking_pairs"] >= 1
    assert found["contradicting_pairs"] == 1
    for word in ("1 unreadable photo", "lesion in more than one split", "across two splits",
                 "1 duplicate pair with different labels"):  # fmt: skip
        assert word in said
    report = (output / "report.md").read_text()
    assert "pairs_near.png" in report
    assert "odd|<b>" not in (output / "report.html").read_text()
    assert pages.check(output)
    judged = pd.read_csv(output / "likely_label_errors.csv", dtype=str, keep_default_na=False)
    assert len(judged) == found["label_errors"]["judged"] > 100
    assert "images/SYN_000009.jpg" not in set(judged["path"])
    assert {"odd|<b>", "'=1+1"}.isdisjoint(judged["given"])  # one photo judges nobody
    assert len(pd.read_csv(output / "off_topic.csv")) == found["off_topic"]["judged"] == 159
    assert "nothing was removed and no label was changed" in said
    assert (output / "off_topic.png").is_file()
    classes = pd.DataFrame(found["classes"]).set_index("class")
    assert classes.to_numpy().sum() == 160
    assert len(pd.read_csv(output / "photos.csv")) == 160


def test_planted_pages_and_noise_come_first_and_a_fine_tuned_run_serves(
    photos, finetuned, tmp_path, capfd
):
    folder = shutil.copytree(photos, tmp_path / "data")
    page = np.full((64, 64, 3), 250, np.uint8)
    page[4::8, 2:-2:2] = 20
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for name, pixels in (("page", page), ("noise", noise), ("grey", page * 0 + 99)):
        Image.fromarray(pixels).save(folder / f"images/{name}.png")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    names = ["images/page.png", "images/noise.png", "images/grey.png"]
    strange = table.head(3).assign(filename=names, lesion_id="", patient_id="")
    pd.concat([table, strange]).to_csv(folder / "labels.csv", index=False)
    for run, output in ((finetuned, tmp_path / "a"), (None, tmp_path / "b")):
        options = ["--run", run] if run else []
        assert call(check_data, output, "--data", folder, "--suspects", 8, *options) == 0
        first = pd.read_csv(output / "off_topic.csv")["path"].head(8)
        assert len(set(names) & set(first)) >= (2 if run else 3)
    found = runs.read_json(tmp_path / "a/check_data.json")
    assert found["trained_on_labels"]
    assert "fine-tuned, perhaps on these very labels" in (tmp_path / "a/report.md").read_text()
    assert pages.check(tmp_path / "a")
    assert "Likely label errors were not looked for" in capfd.readouterr().out
    assert call(check_data, tmp_path / "a", "--data", folder, "--suspects", 0) == 0
    assert not (tmp_path / "a/off_topic.csv").exists()


def test_a_collapsed_run_lists_no_pairs(photos, pretrained, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(outputs, "embed", lambda model, images: np.full((160, 8), 3, np.float32))
    assert call(check_data, tmp_path / "o", "--data", photos, "--run", pretrained) == 0
    said = capfd.readouterr().out
    told = "To the run's backbone 100% of the pairs of photos are alike: it can't tell photos apart"
    assert told in said
    assert "alike to the backbone" not in said
    assert "that takes a run's embeddings" not in said
    assert "stand apart by their pixels" in said
    assert told in (tmp_path / "o/report.md").read_text()
    assert pages.check(tmp_path / "o")
    pairs = pd.read_csv(tmp_path / "o/duplicates.csv")
    assert not (pairs["kind"] == "similar").any()


def test_strict_fails_on_faults_alone(planted, photos, tmp_path, capfd):
    assert call(check_data, tmp_path / "a", "--data", planted, "--strict") == 1
    said = capfd.readouterr().err
    assert "--strict: 1 unreadable photo; " in said
    assert (tmp_path / "a" / "report.md").is_file()
    assert call(check_data, tmp_path / "b", "--data", photos, "--strict") == 0
    assert "no leak between splits" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data", "nowhere"], "not found"),
        (["--data", "PHOTOS", "--near", 200], "--near is 200; it must be at most 64"),
        (["--data", "PHOTOS", "--similarity", 2], "--similarity is 2"),
        (["--data", "PHOTOS", "--run", "nowhere"], "no run found there"),
        (["--data", "PHOTOS", "--show-augmentations", "a.gif"], "a .png file"),
    ],
)
def test_what_check_data_refuses(photos, tmp_path, capfd, argv, said):
    argv = [photos if word == "PHOTOS" else word for word in argv]
    assert call(check_data, tmp_path / "o", *argv) == 2
    shown = capfd.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_without_ids_no_leak_can_be_ruled_out(photos, tmp_path, capfd):
    folder = shutil.copytree(photos, tmp_path / "data")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    table.assign(lesion_id="", patient_id="").to_csv(folder / "labels.csv", index=False)
    assert call(check_data, tmp_path / "o", "--data", folder, "--near", -1) == 0
    said = capfd.readouterr().out
    assert "no equal file across splits, no contradicting labels found" in said
    assert "could not be checked" in said
    assert "no leak" not in said
    assert "Near duplicates were not looked for" in said
    assert "that takes a run's embeddings (--run)" in said


def test_a_lesion_with_two_labels_is_found(photos, tmp_path, capfd):
    folder = shutil.copytree(photos, tmp_path / "data")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    lesion = table["lesion_id"].value_counts().index[0]
    row = table.index[table["lesion_id"] == lesion][0]
    labels = ["label", "coarse"]
    table.loc[row, labels] = table.loc[table["label"] != table.loc[row, "label"], labels].iloc[0]
    table.to_csv(folder / "labels.csv", index=False)
    assert call(check_data, tmp_path / "o", "--data", folder, "--strict") == 1
    assert f"1 lesion with different labels, such as {lesion}" in capfd.readouterr().err
    assert runs.read_json(tmp_path / "o/check_data.json")["contradicting_lesions"] == [lesion]
    assert "## Lesions with different labels" in (tmp_path / "o/report.md").read_text()


def test_without_splits_no_leak_was_looked_for(photos, tmp_path, capfd):
    table = pd.read_csv(photos / "labels.csv", dtype=str, keep_default_na=False).head(4)
    (tmp_path / "images").mkdir()
    for name in table["filename"]:
        shutil.copy(photos / name, tmp_path / name)
    shutil.copy(photos / table["filename"][0], tmp_path / "images/again.jpg")
    again = table.head(1).assign(filename="images/again.jpg")
    same = {"patient_id": "P1", "lesion_id": "L1", "label": "nv", "coarse": "x"}
    table = pd.concat([table, again]).assign(**same)
    table.to_csv(tmp_path / "labels.csv", index=False)
    shares = ("--validation", 0.5, "--test", 0.6)
    assert call(check_data, tmp_path / "o", "--data", tmp_path, "--strict", *shares) == 1
    said = capfd.readouterr().out
    assert "To put right: training would refuse it (--validation 0.5 and --test 0.6 leave" in said
    assert "Leaks between splits were not looked for." in said
    assert "leak between" not in said
    assert "across splits" not in said


def test_augmentations_are_shown_on_request(planted, tmp_path, monkeypatch, capfd):
    asked = []
    monkeypatch.setattr(augmentation_sheet, "COLUMNS", 5)
    monkeypatch.setattr(
        augmentation_sheet, "write", lambda path, files, seed=0: asked.append((path, files, seed))
    )
    argv = ["--data", planted, "--show-augmentations", tmp_path / "a.png", "--seed", 3]
    assert call(check_data, tmp_path / "o", *argv) == 0
    ((path, files, seed),) = asked
    assert (path, seed) == (str(tmp_path / "a.png"), 3)
    assert len(files) == 5
    assert not any("SYN_000009" in file for file in files)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", [check_data, leakage])
def test_the_command_in_the_report_does_the_same_again(command, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(command, "run", lambda *words: asked.append(words) or tmp_path)
    atomic_files.write_json(tmp_path / "check_data.json", {"findings": [], "faults": []})
    atomic_files.write_json(tmp_path / "leakage.json", {"findings": []})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b").mkdir()
    (tmp_path / "e.toml").write_text('[data]\npath = "a b"\npreprocess = ["sharpen"]\n')
    argv = ["--config", tmp_path / "e.toml", "--group-by", "path", "--test", 0.3, "--split-seed", 4]
    argv += ["--data-format", "labels", "--taxonomy", "t.toml", "--masks", "ignore"]
    if command is leakage:
        argv += ["--precision", "float32", "--image-size", 64, "--seed", 3, "--folds", 4]
    assert call(command, tmp_path / "a folder", *argv) == 0
    words = shlex.split(asked[0][0]["command"])
    assert words[:3] == ["python", "-m", f"dermssl.{command.__name__.split('.')[1]}"]
    assert tiny.call(command, *words[3:]) == 0
    assert asked[1] == asked[0]


def test_check_data_has_no_flags_that_it_ignores(tmp_path, capfd):
    for words in (
        ["--preprocess", "sharpen"], ["--cache-dir", tmp_path], ["--cache-mb", 1], ["--overwrite"],
    ):  # fmt: skip
        assert tiny.call(check_data, "--data", tmp_path, *words) == 2
        assert "unrecognized arguments" in capfd.readouterr().err
    assert tiny.call(leakage, "--data", tmp_path, "--overwrite") == 2
    assert "unrecognized arguments: --overwrite" in capfd.readouterr().err


def test_leakage_leaves_a_report(photos, tmp_path, capfd):
    output = tmp_path / "o"
    argv = ["--data", photos, "--backbone", "mlp", "--image-size", 32]
    argv += ["--folds", 2, "--n-seeds", 1, "--n-resamples", 100]
    assert call(leakage, output, *argv) == 0
    assert {path.name for path in output.iterdir()} == {
        "leakage.json", "leakage.csv", "leakage.png", "report.md", "report.html",
    }  # fmt: skip
    found = runs.read_json(output / "leakage.json")
    table = pd.read_csv(photos / "labels.csv")
    assert found["left_out"] == {}
    assert found["groups"] == table["lesion_id"].nunique()
    assert found["with_twins"] == (table["lesion_id"].value_counts() > 1).sum()
    rows = pd.read_csv(output / "leakage.csv")
    assert rows["subset"].tolist() == ["all"] * 3 + ["with twins"] * 3
    assert (rows["inflation"] - (rows["leaky"] - rows["clean"])).abs().max() < 1e-9
    out = capfd.readouterr().out
    assert f"{len(table)} photos through the backbone, then 4 regressions" in out
    assert found["findings"][0] in out
    assert "is not measured here" in (output / "report.md").read_text()
    assert pages.check(output) == ["leakage.png"]


def test_leakage_leaves_a_class_of_one_lesion_out(photos, tmp_path, capfd):
    folder = shutil.copytree(photos, tmp_path / "data")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    alone = table["label"] == table["label"].value_counts().index[0]
    kept = table["lesion_id"] == table["lesion_id"][alone].iloc[0]
    table[~alone | kept].to_csv(folder / "labels.csv", index=False)
    name = table["label"][alone].iloc[0]
    argv = ["--data", folder, "--backbone", "mlp", "--image-size", 32]
    argv += ["--folds", 2, "--n-seeds", 1, "--n-resamples", 100]
    assert call(leakage, tmp_path / "o", *argv) == 0
    found = runs.read_json(tmp_path / "o/leakage.json")
    assert found["left_out"][name] == 1
    assert name not in found["classes"]
    assert f"{name} (1)" in (tmp_path / "o/report.md").read_text()


def test_leakage_needs_as_many_patients_as_folds(photos, tmp_path, capfd):
    folder = shutil.copytree(photos, tmp_path / "data")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    lesions = pd.factorize(table["lesion_id"])[0]
    table["patient_id"] = [f"P{k % 3}" for k in lesions]
    table.to_csv(folder / "labels.csv", index=False)
    argv = ["--data", folder, "--backbone", "mlp", "--image-size", 32, "--folds", 5]
    assert call(leakage, tmp_path / "o", *argv) == 2
    assert "0 classes of 5 independent patients or lesions" in capfd.readouterr().err


def test_leakage_tells_how_many_regressions_are_done():
    shown, groups = SimpleNamespace(done=0), np.repeat(np.arange(10), 2)
    shown.reach = lambda done: setattr(shown, "done", done)
    noise = np.random.default_rng(0).normal(size=(20, 3))
    inflation.predict(noise, groups % 2, groups, 2, [0], leakage_run._counted(shown))
    assert shown.done == 4


def test_the_splits_are_those_of_training_without_the_unreadable_photos(photos, tmp_path, capfd):
    folder = shutil.copytree(photos, tmp_path / "data")
    for file in sorted((folder / "images").iterdir())[::8]:
        file.write_bytes(b"<html>")
    assert call(check_data, tmp_path / "o", "--data", folder) == 0
    found = pd.read_csv(tmp_path / "o/photos.csv", dtype=str, keep_default_na=False)
    trained = prepare(Data(path=str(folder), on_bad="skip")).index
    assert len(trained) == 140
    splits = found.set_index("path")["split"]
    assert splits[trained["path"]].tolist() == trained["split"].tolist()
    assert set(splits.drop(trained["path"])) == {""}


def test_what_leakage_refuses(photos, tmp_path, capfd):
    shutil.copytree(photos / "images", tmp_path / "loose" / "nv")
    small = ["--backbone", "mlp", "--image-size", 32]
    for argv, said in (
        (["--data", tmp_path / "loose", *small], "no lesion or patient ids"),
        (["--data", photos, *small, "--folds", 1], "--folds is 1"),
        (["--data", photos, *small, "--group-by", "path"], "0 paths with two photos"),
    ):
        assert call(leakage, tmp_path / "o", *argv) == 2
        assert said in capfd.readouterr().err
    assert not (tmp_path / "o").exists()


def test_embeddings_are_of_prepared_photos(photos, pretrained, tmp_path, monkeypatch):
    dataset, backbone = readers.read(Data(path=str(photos))), Backbone(name="mlp", image_size=32)
    dataset = dataset.with_index(dataset.index[:3])
    plain, prepared = (
        outputs.embed_records(backbone, dataset, Data(path=str(photos), preprocess=steps))
        for steps in ([], ["shades_of_grey"])
    )
    assert np.abs(plain - prepared).max() > 1e-4

    class Seen(Exception):
        pass

    def spied(photos, *options):
        raise Seen(photos.steps)

    monkeypatch.setattr(pipeline, "evaluation_data", spied)
    run = shutil.copytree(pretrained, tmp_path / "run")
    status = runs.read_json(run / "status.json")
    status["config"]["data"]["preprocess"] = ["sharpen"]
    atomic_files.write_json(run / "status.json", status)
    with pytest.raises(Seen, match="sharpen"):
        check_data(data=photos, run=run, output=tmp_path / "o")
    with pytest.raises(Seen, match="shades_of_grey"):
        leakage(data=photos, preprocess="shades_of_grey", backbone="mlp", image_size=32)


def test_all_that_a_later_command_would_refuse_is_found_and_the_next_one_named(
    photos, tmp_path, capfd
):
    folder = shutil.copytree(photos, tmp_path / "data")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    rows = [{"filename": f"gone{k}.jpg", "label": table["label"][0]} for k in (1, 2)]
    gone = pd.DataFrame(rows).reindex(columns=table.columns, fill_value="")
    pd.concat([table, gone]).to_csv(folder / "labels.csv", index=False)
    (folder / "images/raw.cr2").write_bytes(b"")
    output = tmp_path / "o"
    assert call(check_data, output, "--data", folder, "--strict") == 1
    said, warned = capfd.readouterr()
    finding = "2 photos of labels.csv are missing, first gone1.jpg (line 162)"
    left = f"1 picture left out, first {folder}/images/raw.cr2 (.cr2: convert them to JPEG or PNG)"
    assert f"To put right: {finding}; {left}." in said
    assert finding in warned.splitlines()[-1]  # the error of --strict
    assert said.splitlines()[-1] == (
        f"next: python -m dermssl.pretrain --data {folder} --on-bad skip"
    )
    assert "'gone1.jpg' not found (2 of 162 images are missing)" in warned
    # What is missing, what can't be read, where the list is, the error.
    assert len(warned.splitlines()) == 4
    listed = pd.read_csv(output / "left_out.csv")
    assert listed["path"].tolist() == ["gone1.jpg", "gone2.jpg", f"{folder}/images/raw.cr2"]
    assert listed["reason"].str.endswith("labels.csv: line 162: not found").tolist()[0]


def test_damaged_shards_are_made_anew_not_skipped(photos, tmp_path, capfd):
    """A training doesn't decode the photos of shards first, so it can't leave them out."""
    folder = tmp_path / "my shards"
    assert tiny.call(shards, photos, "--output", folder) == 0
    (file,) = folder.glob("*.tfrecord")
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    assert call(check_data, tmp_path / "o", "--data", folder) == 0
    assert capfd.readouterr().out.splitlines()[-1] == (
        "next: copy the shards again, or delete the folder and write the shards anew; then "
        f"python -m dermssl.check_data --data '{folder}'"
    )


@pytest.mark.parametrize("name", ["x.CR2", "x.heic", "unlisted.jpg", "x.txt", "x_mask.png"])
def test_strict_fails_where_something_like_a_photo_is_left_out(
    photos, tmp_path, capfd, monkeypatch, name
):
    monkeypatch.setattr(other_formats, "missing", lambda kind: "convert to JPEG or PNG")
    folder = shutil.copytree(photos, tmp_path / "data")
    shutil.copy(folder / "images/SYN_000000.jpg", folder / f"images/{name}")
    left = name not in ("x.txt", "x_mask.png")
    assert call(check_data, tmp_path / "o", "--data", folder, "--strict") == left
    said = capfd.readouterr().out
    assert ("1 picture left out, first " in said) == left


def test_a_class_of_too_few_lesions_and_bad_masks_are_findings(photos, tmp_path, capfd):
    folder = tmp_path / "data"
    for k, file in enumerate(sorted((photos / "images").iterdir())[:13]):
        place = folder / ("rare" if k == 0 else ("nv", "mel")[k % 2])
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place / file.name)
    name = next((folder / "nv").iterdir()).stem
    (folder / "masks").mkdir()
    Image.fromarray(np.zeros((90, 20), np.uint8)).save(folder / f"masks/{name}.png")
    for _ in range(2):  # nothing is remembered from one command to the next
        assert call(check_data, tmp_path / "o", "--data", folder) == 0
    said = capfd.readouterr().out
    assert "1 bad mask, first " in said
    assert "doesn't fit its photo" in said
    assert said.splitlines()[-1].endswith(f"pretrain --data {folder} --on-bad skip")
    notes = runs.read_json(tmp_path / "o/check_data.json")["notes"]
    assert any("too few lesions for every split: " in note and "rare" in note for note in notes)
    (folder / "rare").rename(folder / "df")
    assert call(check_data, tmp_path / "o", "--data", folder) == 0
    told = "the classes are those of ham10000: --taxonomy ham10000 would tell their groups, and"
    assert told in capfd.readouterr().err


@pytest.mark.parametrize("place", ["", "mel"])
def test_no_report_is_written_among_the_photos(tmp_path, place, capsys):
    for name in ("mel/a.jpg", "nv/b.jpg"):
        (tmp_path / "cls" / name).parent.mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "cls" / name)
    before = sorted((tmp_path / "cls").rglob("*"))
    assert call(check_data, tmp_path / "cls" / place, "--data", tmp_path / "cls") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the folder of the photos (--data)" in said
    assert "give a folder outside of the photos" in said
    assert sorted((tmp_path / "cls").rglob("*")) == before


def test_a_picture_of_augmentations_replaces_no_photo(tmp_path, capsys):
    photo = tmp_path / "cls" / "a.png"
    photo.parent.mkdir()
    Image.new("RGB", (64, 64)).save(photo)
    before = photo.read_bytes()
    argv = ["--data", photo.parent, "--show-augmentations", photo]
    assert call(check_data, tmp_path / "o", *argv) == 2
    assert "a photo of the data set, which would be lost; give another name" in (
        capsys.readouterr().err
    )
    assert photo.read_bytes() == before

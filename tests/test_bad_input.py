"""Bad input: one line on stderr, exit code 2, and nothing trained or left behind."""

import shutil

import pandas as pd
import pytest
import tiny

from dermssl import finetune, pretrain, quickstart


@pytest.fixture
def refused(capfd, tmp_path):
    """Calls a command that must refuse its input; returns the one line it says."""

    def check(command, *argv):
        output = tmp_path / "refused"
        code = tiny.call(command, *argv, "--output", output)
        said = capfd.readouterr()
        assert code == 2, said.err
        *logged, error = said.err.splitlines()
        assert error.startswith("dermssl: error: ")
        assert not [line for line in logged if line.startswith("dermssl")]
        assert not output.exists()
        return error

    return check


@pytest.fixture
def folder(photos, tmp_path):
    """A copy of the photos, to spoil."""
    return shutil.copytree(photos, tmp_path / "copy")


def edit(folder, change):
    """Rewrite labels.csv by a function of its table."""
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    change(table).to_csv(folder / "labels.csv", index=False)


def test_an_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    for command in (pretrain, finetune):
        assert "no images found" in refused(command, "--data", tmp_path / "empty", *tiny.SMALL)


def test_a_folder_that_is_not_there(refused, tmp_path):
    assert "not found" in refused(pretrain, "--data", tmp_path / "nowhere", *tiny.SMALL)
    assert "--data: not set" in refused(pretrain, "--data", "", *tiny.SMALL)


def test_a_missing_column(refused, folder):
    edit(folder, lambda table: table.drop(columns=["label", "coarse"]))
    said = refused(finetune, "--data", folder, *tiny.SMALL)
    assert "label" in said
    assert "labels.csv" in said


def test_an_unknown_label(refused, folder):
    def spoil(table):
        table.loc[3, "label"] = "melanom"
        return table

    edit(folder, spoil)
    said = refused(finetune, "--data", folder, *tiny.SMALL)
    assert "unknown label 'melanom'" in said
    assert "line 5" in said
    assert "mel, " in said or "mel," in said


def test_a_missing_image(refused, folder):
    (folder / "images" / "SYN_000007.jpg").unlink()
    for command in (pretrain, finetune):
        said = refused(command, "--data", folder, *tiny.SMALL)
        assert "SYN_000007.jpg" in said
        assert "not found" in said


@pytest.mark.parametrize("content", [b"", b"<html>", b"\xff\xd8\xff\xe0 cut"])
def test_a_corrupt_image(refused, folder, content):
    (folder / "images" / "SYN_000007.jpg").write_bytes(content)
    for command in (pretrain, finetune):
        said = refused(command, "--data", folder, *tiny.SMALL)
        assert "SYN_000007.jpg" in said
        assert "--on-bad skip" in said


def test_a_class_with_fewer_records_than_splits(refused, folder):
    def spoil(table):
        others = table[table["label"] != "df"]
        return pd.concat([others, table[table["label"] == "df"].head(1)])

    edit(folder, spoil)
    said = refused(finetune, "--data", folder, *tiny.SMALL, "--rare-classes", "error")
    assert "df (1 train, 0 validation, 0 test)" in said
    assert "set --rare-classes train or drop" in said


def test_an_image_size_under_the_minimum(refused, photos):
    for command in (pretrain, finetune):
        said = refused(command, "--data", photos, "--backbone", "inceptionv3", "--image-size", 50)
        assert "--image-size 50 is under the 75 px that inceptionv3 needs" in said


def test_a_batch_larger_than_the_data(refused, photos):
    for command in (pretrain, finetune):
        said = refused(command, "--data", photos, *tiny.SMALL, "--batch-size", 1000)
        assert "--batch-size 1000 is larger than the 90" in said


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (1, "--chunk-size 1: BatchNorm would normalise each photo by its own two views; use 2"),
        (32, "--chunk-size 32 is larger than --batch-size 16; use a divisor of the batch size"),
        (5, "--chunk-size 5 doesn't divide --batch-size 16: the last chunk would have BatchNorm "
         "statistics of 1 photo alone; use 4 or 8"),
        (-1, "--chunk-size is -1; it must be at least 0"),
    ],
)  # fmt: skip
def test_chunks_that_are_no_equal_parts_of_a_batch(refused, photos, chunk, said):
    assert said in refused(pretrain, "--data", photos, *tiny.SMALL, "--chunk-size", chunk)


def test_chunks_are_not_compiled(refused, photos):
    words = ("--data", photos, *tiny.SMALL, "--chunk-size", 4, "--jit-compile")
    assert "--jit-compile: XLA can't compile a step in chunks (--chunk-size 4)" in refused(
        pretrain, *words
    )


def test_no_network_for_imagenet(refused, photos, monkeypatch):
    def offline(*args, origin=None, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name not known")

    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", offline)
    for command in (pretrain, finetune):
        said = refused(command, "--data", photos, "--backbone", "mobilenet", "--image-size", 32,
                       "--batch-size", 16, "--weights", "imagenet")  # fmt: skip
        assert "can't be downloaded" in said
        assert "--weights none or --weights PATH" in said


def test_weights_that_do_not_fit(refused, photos, finetuned, pretrained, tmp_path):
    start = ["--data", photos, *tiny.SMALL, "--weights"]
    assert "no such file" in refused(finetune, *start, tmp_path / "nowhere.h5")
    assert "pretrained a cnn, not a mlp" in refused(finetune, *start, pretrained)
    assert "not of dermssl.pretrain" in refused(finetune, *start, finetuned)
    (tmp_path / "no.h5").write_bytes(b"no")
    for command in (pretrain, finetune):
        assert "does not hold weights of mlp" in refused(command, *start, tmp_path / "no.h5")
    file = pretrained / "backbone.weights.h5"  # of the CNN
    assert "pretrained a cnn, not a mlp" in refused(finetune, *start, file)
    alone = shutil.copy(file, tmp_path / "alone.weights.h5")
    assert "does not hold weights of mlp" in refused(finetune, *start, alone)


@pytest.mark.parametrize(
    ("command", "flags", "said"),
    [
        (pretrain, ["--backbone", "vgg"], "unknown --backbone 'vgg'"),
        (pretrain, ["--batch-size", "1"], "--batch-size is 1; it must be at least 2"),
        (pretrain, ["--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (finetune, ["--augmentation", "x"], "unknown --augmentation 'x'"),
        (finetune, ["--depth", "99"], "--depth 99 is beyond the backbone"),
        (finetune, ["--labels-per-class", "500"], "--labels-per-class 500: class '"),
        (finetune, ["--validation", "0"], "no labelled photo in the validation split"),
        (finetune, ["--validation", "0.6", "--test", "0.6"], "leave nothing to train on"),
        (finetune, ["--taxonomy", "icd"], "taxonomy 'icd' not found"),
        (finetune, ["--config", "nowhere.toml"], "nowhere.toml: can't be read"),
    ],
)
def test_settings_that_can_t_be(refused, photos, command, flags, said):
    assert said in refused(command, "--data", photos, *tiny.SMALL, *flags)


def test_no_label_at_all(refused, photos, tmp_path):
    shutil.copytree(photos / "images", tmp_path / "loose")
    assert "no photo has a label" in refused(finetune, "--data", tmp_path / "loose", *tiny.SMALL)


def test_one_class_alone(refused, folder):
    (folder / "taxonomy.toml").unlink()
    edit(folder, lambda table: table.drop(columns="coarse").assign(label="nv"))
    said = refused(finetune, "--data", folder, *tiny.SMALL)
    assert "one class only, nv" in said


def test_an_output_that_can_t_be_written(photos, tmp_path, capfd):
    (tmp_path / "file").touch()
    argv = ["--data", photos, *tiny.SMALL, "--output", tmp_path / "file"]
    for command in (pretrain, finetune):
        assert tiny.call(command, *argv) == 2
        said = capfd.readouterr().err
        assert said.count("\n") == 1
        assert "can't be written (File exists)" in said


def test_bad_input_leaves_a_finished_run_as_it_was(photos, finetuned, capfd, pretrained):
    before = {path: path.read_bytes() for path in finetuned.rglob("*") if path.is_file()}
    argv = ["--data", photos, "--backbone", "cnn", "--image-size", 32, "--batch-size", 16]
    argv += ["--output", finetuned, "--overwrite"]
    assert tiny.call(finetune, *argv, "--depth", 99) == 2
    assert tiny.call(finetune, *argv, "--weights", finetuned / "status.json") == 2
    capfd.readouterr()
    assert {path: path.read_bytes() for path in finetuned.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        ("labels = [1, 500]\nwith_1.batch_size = 4",
         "[experiment] labels = 500, --labels-per-class 500: class '"),
        ("labels = [0, 1]", "[experiment] labels = 1, --labels-per-class 1: batch_size 16 is "
         "larger than the 7 labelled training photos; set a smaller batch_size in "
         "[experiment.with_1]"),
        ("labels = [0, 1]\nwith_1.augmentation = 'none of them'", "--augmentation 'none of them'"),
    ],
)  # fmt: skip
def test_quickstart_checks_every_cell_before_the_first_run(
    experiment, said, photos, tmp_path, capfd
):
    (tmp_path / "c.toml").write_text(
        "[backbone]\nname = 'mlp'\nimage_size = 32\n[pretrain]\nbatch_size = 16\n"
        "[finetune]\nbatch_size = 16\n[arms.random]\n[arms.ssl]\npretrain = true\n"
        f"[experiment]\n{experiment}\n"
    )
    argv = ["--config", tmp_path / "c.toml", "--data", photos, "--output", tmp_path / "o"]
    assert tiny.call(quickstart, *argv) == 2
    shown = capfd.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert "[1/" not in shown.out
    assert not list(tmp_path.glob("o/*/status.json"))


def test_quickstart_finds_mistakes_in_its_file_first(tmp_path, capfd):
    for text, said in [
        ("[backbone]\nname='mlp'\n", "no [arms.NAME] section"),
        ("[arms.a]\nweight = 'none'\n", "[arms.a]: unknown key 'weight'"),
        ("[arms]\na = 3\n", "[arms]: a is 3"),
        ("[arms.a]\n[experiment]\nseed = [1]\n", "[experiment]: unknown key 'seed'"),
        ("[arms.a]\n[experiment.with_10]\n", "[experiment]: unknown key 'with_10'"),
        ("[arms.a]\n[experiment]\nlabels=[5]\n[experiment.with_5]\nepochs = 3\n",
         "[experiment.with_5]: unknown key 'epochs'"),
        ("[arms.a]\n[finetune]\nfrozen_epochs = -1\n", "[finetune]: frozen_epochs is -1"),
        ("[arms.a]\n[synthetic]\nsize = 32\ncount = 5\n", "[synthetic]: unknown key 'count'"),
        ("[arms.a]\n", "no photos: give --data FOLDER"),
    ]:  # fmt: skip
        (tmp_path / "c.toml").write_text(text)
        assert (
            tiny.call(quickstart, "--config", tmp_path / "c.toml", "--output", tmp_path / "o") == 2
        )
        shown = capfd.readouterr()
        assert said in shown.err
        assert shown.err.count("\n") == 1
        assert shown.out == ""
        assert not (tmp_path / "o").exists()

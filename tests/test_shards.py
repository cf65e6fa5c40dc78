"""`dermssl.shards`: killed and started again, and runs on shards that equal those on the folder."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tiny
from kills import Attempts
from PIL import Image

from dermssl import evaluate, finetune, predict, pretrain, shards
from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.data import records
from dermssl.data.splits import load_dataset
from dermssl.training import pretraining_pool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def as_shards(photos, tmp_path_factory):
    """The tiny photos as shards; nobody changes them."""
    folder = tmp_path_factory.mktemp("as") / "shards"
    assert tiny.call(shards, photos, "--output", folder) == 0
    return folder


@pytest.fixture(scope="module")
def on_shards(as_shards, pretrained, tmp_path_factory):
    """(a pretraining run, a fine-tuning run from it) on the shards."""
    folder = tmp_path_factory.mktemp("on_shards")
    first = pretrain.run(tiny.pretraining(as_shards, folder / "pretrained"))
    second = tiny.finetuning(as_shards, folder / "finetuned", weights=str(first))
    return first, finetune.run(second)


def test_runs_on_shards_are_those_on_the_folder(pretrained, finetuned, on_shards):
    """To the last bit: the same records in the same order, and the same identity."""
    for folder, on in zip((pretrained, finetuned), on_shards):
        one, other = (runs.read_json(run / "status.json") for run in (folder, on))
        assert one["data_hash"] == other["data_hash"]
        tables = [pd.read_csv(run / "history.csv") for run in (folder, on)]
        losses = [name for name in tables[0] if "loss" in name]
        pd.testing.assert_frame_equal(tables[0][losses], tables[1][losses])
    tables = [pd.read_csv(run / "predictions.csv") for run in (finetuned, on_shards[1])]
    pd.testing.assert_frame_equal(*tables)


def test_a_run_on_the_folder_goes_on_with_its_shards(photos, as_shards, pretrained, tmp_path):
    """The same data hash: a finished run is finished there too."""
    own = shutil.copytree(pretrained, tmp_path / "run")
    before = (own / "history.csv").read_bytes()
    pretrain.run(tiny.pretraining(as_shards, own))
    assert (own / "history.csv").read_bytes() == before


def test_later_commands_read_the_shards(as_shards, on_shards, photos, tmp_path):
    evaluate(on_shards[1], output=tmp_path / "evaluation")
    tables = []
    for source in (as_shards, photos):
        predict(on_shards[1], source, output=tmp_path / "new.csv")
        tables.append(pd.read_csv(tmp_path / "new.csv"))
    pd.testing.assert_frame_equal(*tables)


def test_a_held_out_photo_that_shards_were_pretrained_on_is_refused(
    photos, as_shards, pretrained, on_shards, tmp_path
):
    """By its id: also where the bytes are others."""
    assert tiny.call(shards, photos, "--output", tmp_path / "small", "--shrink", 16) == 0
    for run, root in (
        (on_shards[0], photos), (pretrained, as_shards), (on_shards[0], tmp_path / "small"),
        (pretrained, tmp_path / "small"),
    ):  # fmt: skip
        same = load_dataset(root)
        pretraining_pool.check(run, same)
        swapped = same.records.assign(
            split=same.records["split"].map({"train": "test", "test": "train"}).fillna("train"),
            lesion_id="", patient_id="",
        )  # fmt: skip
        with pytest.raises(UserError, match=r"is in both the pretraining pool and validation/test"):
            pretraining_pool.check(run, same.with_index(swapped))


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """40 photos of 100 kB, as PNG can't pack noise: four shards of a MiB."""
    folder, rng = tmp_path_factory.mktemp("large") / "photos", np.random.default_rng(0)
    for number in range(40):
        file = folder / ("mel" if number % 2 else "nv") / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (185, 185, 3), dtype=np.uint8)).save(file)
    return folder


@pytest.mark.slow
def test_a_killed_writer_goes_on(large, tmp_path):
    """Killed before and after it renames each file; what is finished is not written again."""
    attempts = Attempts(tmp_path / "log")
    argv = [large, "--shard-mb", 1, "--workers", 1, "--output"]
    assert attempts.finish("shards", [*argv, tmp_path / "whole"]) == 0, attempts.said()
    whole = {file.name: file.read_bytes() for file in (tmp_path / "whole").iterdir()}
    assert len(whole) == 4 + 2 + 1  # the index, the marker and the lock
    cut, times = tmp_path / "cut", {}
    for word, after in (
        ("shards.json", False), ("tfrecord", False), ("tfrecord", True), (".json", False),
        (".json", True), ("tfrecord", False), ("index.parquet", False), ("index.parquet", True),
    ):  # fmt: skip
        code = attempts.finish("shards", [*argv, cut], ("replace", word, 1, after))
        assert code == -9, attempts.said()
        for file in cut.glob("*.tfrecord"):
            if (cut / f"{file.name}.json").exists():
                assert times.setdefault(file, file.stat().st_mtime_ns) == file.stat().st_mtime_ns
        if not (cut / "index.parquet").exists() and (cut / "dermssl_shards.json").exists():
            with pytest.raises(UserError, match="aren't finished"):
                load_dataset(cut)
    assert times
    assert attempts.finish("shards", [*argv, cut]) == 0, attempts.said()
    assert {file.name: file.read_bytes() for file in cut.iterdir()} == whole
    assert records.data_hash(load_dataset(cut)) == records.data_hash(load_dataset(large))


def test_a_training_that_meets_a_damaged_shard_says_what_to_do(as_shards, tmp_path, capsys):
    """Also at the first look at a batch; --on-bad skip can't help."""
    own = shutil.copytree(as_shards, tmp_path / "own")
    (file,) = own.glob("*.tfrecord")
    file.write_bytes(bytes(file.stat().st_size))
    argv = ["--data", own, "--output", tmp_path / "run", "--epochs", 1, *tiny.SMALL]
    assert tiny.call(pretrain, *argv, "--on-bad", "skip") == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "error:" in text]
    assert line.endswith(
        "shard-00000-of-00001.tfrecord is damaged: these aren't the bytes that were written; copy "
        "it again, or delete the folder and write the shards anew"
    )


def test_names_with_spaces_are_quoted_in_the_next_command(large, tmp_path, capsys):
    assert tiny.call(shards, large, "--output", tmp_path / "my shards") == 0
    assert (
        f"next: python -m dermssl.pretrain --data '{tmp_path}/my shards'" in capsys.readouterr().out
    )


def test_what_the_command_says(large, photos, tmp_path, capsys):
    out = tmp_path / "shards"
    assert tiny.call(shards, large, "--output", out, "--shard-mb", 1, "--shrink", 64) == 0
    said = capsys.readouterr().out
    assert "40 photos in 1 shard, 0.1 MiB" in said
    assert "photos with a shorter side over 64 px were shrunk to it and are JPEGs now" in said
    assert f"next: python -m dermssl.pretrain --data {out}" in said
    for argv, line in (
        ([large, "--output", out], "shards of other photos or settings (shrink, shard_mb)"),
        ([tmp_path / "none", "--output", out], f"PHOTOS '{tmp_path}/none': not found; check the"),
        ([large, "--output", "s9://x/y"], "s9://x/y: TensorFlow has no such file system, but"),
    ):
        assert tiny.call(shards, *argv) == 2
        error = capsys.readouterr().err
        assert line in error.strip().split("\n")[-1]

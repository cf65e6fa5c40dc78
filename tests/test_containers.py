"""Every command on photos in an HDF5 and in an npz file, and the walls between their splits."""

import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import check_data, evaluate, explain, finetune, leakage, predict, pretrain
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import decode, npz_labels, records
from dermssl.data.splits import prepare
from dermssl.inference import finished_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def as_hdf5(photos, tmp_path_factory):
    """The tiny data set with its photos in an HDF5 file, and its own labels.csv."""
    folder = tmp_path_factory.mktemp("hdf5") / "data"
    folder.mkdir()
    for name in ("labels.csv", "taxonomy.toml"):
        shutil.copy(photos / name, folder)
    with h5py.File(folder / "photos.hdf5", "w") as container:
        for file in sorted((photos / "images").iterdir()):
            container[file.stem] = np.void(file.read_bytes())
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    table["filename"] = [name.split("/")[1].removesuffix(".jpg") for name in table["filename"]]
    table.to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def as_npz(photos, tmp_path_factory):
    """The same in the arrays of DermaMNIST, with the splits of the tiny data set."""
    folder, arrays = tmp_path_factory.mktemp("npz") / "data", {}
    folder.mkdir()
    dataset = prepare(Data(path=str(photos)))
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        part = dataset.subset(split)
        arrays[f"{name}_images"] = np.stack([decode.decode(file) for file in part.files])
        labels = [npz_labels.DERMAMNIST.index(label) for label in part.index["fine"]]
        arrays[f"{name}_labels"] = np.array(labels, np.uint8)[:, None]
    np.savez_compressed(folder / "dermamnist.npz", **arrays)
    return folder


def rows(output):
    return pd.read_csv(output, keep_default_na=False)


def test_predictions_are_those_of_the_files(photos, as_hdf5, as_npz, finetuned, tmp_path):
    """Of a folder with a container in it, of the container itself, and of one photo inside."""
    for name, source in {
        "files": photos, "folder": as_hdf5, "hdf5": as_hdf5 / "photos.hdf5", "npz": as_npz,
        "one": as_hdf5 / "photos.hdf5" / "SYN_000003",
    }.items():  # fmt: skip
        predict(finetuned, source, output=tmp_path / f"{name}.csv")
    files = rows(tmp_path / "files.csv").set_index("path")
    for name in ("folder", "hdf5"):
        inside = rows(tmp_path / f"{name}.csv").set_index("path")
        assert inside.index[3] == "photos.hdf5/SYN_000003"
        pd.testing.assert_frame_equal(inside.reset_index(drop=True), files.reset_index(drop=True))
    alone = rows(tmp_path / "one.csv").set_index("path")
    assert alone.index.tolist() == ["photos.hdf5/SYN_000003"]
    columns = [name for name in files if name.startswith("p_")]
    np.testing.assert_allclose(alone[columns], files[columns].iloc[[3]], atol=1e-6)
    dataset = prepare(Data(path=str(photos)))
    order = [path for split in ("test", "train", "validation")
             for path in dataset.subset(split).index["path"]]  # fmt: skip
    inside = rows(tmp_path / "npz.csv")[columns]
    np.testing.assert_allclose(inside, files.loc[order, columns], atol=1e-6)


@pytest.mark.parametrize("source", ["as_hdf5", "as_npz"])
def test_every_command_works(source, request, tmp_path, capsys):
    data, start, run = request.getfixturevalue(source), tmp_path / "ssl", tmp_path / "run"
    common = ["--data", data, *tiny.SMALL]
    epochs = ["--frozen-epochs", 1, "--unfrozen-epochs", 1]
    assert tiny.call(check_data, "--data", data, "--output", tmp_path / "check") == 0
    assert tiny.call(pretrain, *common, "--epochs", 1, "--output", start) == 0
    assert tiny.call(finetune, *common, *epochs, "--weights", start, "--output", run) == 0
    assert tiny.call(evaluate, run) == 0
    assert tiny.call(predict, run, data, "--output", tmp_path / "new.csv") == 0
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert len(rows(tmp_path / "new.csv")) == 160
    found = pd.read_csv(tmp_path / "check" / "photos.csv")
    assert len(found) == 160
    kept = rows(run / "predictions.csv")
    assert kept["path"].str.contains(r"\.(?:hdf5|npz)/").all()
    # The run's own probabilities come out again.
    new = rows(tmp_path / "new.csv").set_index("path")
    columns = [name for name in kept if name.startswith("p_fine_")]
    np.testing.assert_allclose(new.loc[kept["path"], columns], kept[columns], atol=1e-6)


def test_photos_of_a_container_are_explained(as_hdf5, finetuned, tmp_path):
    one = as_hdf5 / "photos.hdf5" / "SYN_000003"
    assert tiny.call(explain, finetuned, one, "--output", tmp_path / "out") == 0
    assert rows(tmp_path / "out" / "explanations.csv")["path"].tolist() == [str(one)]


def test_check_data_finds_a_file_that_lies_in_the_container_too(as_hdf5, photos, tmp_path):
    data = shutil.copytree(as_hdf5, tmp_path / "data")
    shutil.copy(photos / "images" / "SYN_000005.jpg", data / "copy.jpg")
    with open(data / "labels.csv", "a") as table:
        table.write("copy.jpg,df,fibrous,COPY,COPY,torso,female,70,IV,synthetic\n")
    assert tiny.call(check_data, "--data", data, "--output", tmp_path / "check") == 0
    pairs = rows(tmp_path / "check" / "duplicates.csv")
    same = pairs[
        (pairs[["path_a", "path_b"]] == ["copy.jpg", "photos.hdf5/SYN_000005"]).all(axis=1)
    ]
    assert len(same) == 1


def test_pretraining_on_held_out_photos_in_a_container_is_refused(as_hdf5, photos, tmp_path):
    """The photos of the test split lie in the other data set's HDF5 file, under other names."""
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(as_hdf5 / "photos.hdf5", other / "collection.hdf5")
    start = pretrain.run(tiny.pretraining(other, tmp_path / "ssl", name="mlp", epochs=1))
    with pytest.raises(UserError, match=r"photos of this data set were pretrained on under other"):
        finetune.run(tiny.finetuning(photos, tmp_path / "run", name="mlp", weights=str(start)))


def test_a_run_finds_its_container_where_it_was_moved(as_hdf5, tmp_path):
    data = shutil.copytree(as_hdf5, tmp_path / "data")
    dataset = prepare(Data(path=str(data)))
    before = records.data_hash(dataset)
    moved = data.rename(tmp_path / "moved")
    table, settings = dataset.index, Data(path=str(data))
    again = finished_run.located(table, dataset.taxonomy, settings, str(moved))
    assert records.data_hash(again) == before
    table = table.assign(path=table["path"].replace("photos.hdf5/SYN_000003", "photos.hdf5/gone"))
    with pytest.raises(UserError, match=r"such as 'photos.hdf5/gone'"):
        finished_run.located(table, dataset.taxonomy, settings, str(moved))


def test_leakage_embeds_what_lies_in_a_container(as_hdf5, tmp_path):
    argv = ["--data", as_hdf5, "--backbone", "mlp", "--image-size", 32, "--output", tmp_path]
    argv += ["--folds", 2, "--n-seeds", 1, "--n-resamples", 100]
    assert tiny.call(leakage, *argv) == 0

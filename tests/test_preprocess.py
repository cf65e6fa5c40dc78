"""Masks, preprocessing and mixed labels through a whole run: prediction sees what training saw."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from dermssl import embeddings, explain, finetune, predict, stress_test
from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.core.settings import Data, Grid
from dermssl.data.photos import Photos
from dermssl.evaluation import predictions
from dermssl.studies.grid import plan


@pytest.fixture(scope="module")
def masked(photos, tmp_path_factory):
    """The tiny photos, three of four with a mask."""
    folder = tmp_path_factory.mktemp("masked") / "photos"
    shutil.copytree(photos, folder)
    (folder / "masks").mkdir()
    for number, file in enumerate(sorted((folder / "images").iterdir())):
        mask = np.zeros((32, 32), np.uint8)
        mask[6 : 14 + number % 9, 9:20] = 255
        if number % 4:
            Image.fromarray(mask).save(folder / "masks" / f"{file.stem}_segmentation.png")
    return folder


@pytest.mark.slow
def test_prediction_does_to_photos_what_training_did(masked, tmp_path, capsys):
    steps = ["lesion_crop", "hair_removal", "shades_of_grey", "sharpen"]
    config = tiny.finetuning(
        masked, tmp_path / "run", name="mlp", unfrozen_epochs=0, augmentation="skin_mixup"
    )
    config["data"] = Data(path=str(masked), preprocess=steps)
    made = finetune.run(config)
    assert runs.read_json(made / "status.json")["config"]["data"]["preprocess"] == steps
    predict(made, masked, output=tmp_path / "new.csv", uncalibrated=True)
    assert "40 of 160 photos have no mask and stay whole" in capsys.readouterr().err
    found, kept = pd.read_csv(tmp_path / "new.csv"), pd.read_csv(made / "predictions.csv")
    names = [name for name in kept if name.startswith("p_")]
    np.testing.assert_allclose(found[names], kept[names], atol=1e-5)
    photo = masked / "images" / "SYN_000003.jpg"
    predict(made, photo, output=tmp_path / "whole.csv", uncalibrated=True)  # its mask is elsewhere
    whole = pd.read_csv(tmp_path / "whole.csv")
    assert np.abs(whole[names].to_numpy() - kept[names].iloc[[3]]).to_numpy().max() > 1e-4


@pytest.fixture(scope="module")
def listed(masked, tmp_path_factory):
    """The same with masks by a column of labels.csv: some elsewhere, some cells blank."""
    folder = tmp_path_factory.mktemp("listed") / "photos"
    shutil.copytree(masked, folder)
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    (folder / "lesions").mkdir()
    column = []
    for number, name in enumerate(table["filename"]):
        beside = folder / "masks" / f"{(folder / name).stem}_segmentation.png"
        if number % 3 == 0 and beside.exists():
            beside.rename(folder / "lesions" / f"m{number}.png")
            column.append(f"lesions/m{number}.png")
        else:
            column.append("")  # also where a mask would be found by its name
    table.assign(mask=column).to_csv(folder / "labels.csv", index=False)
    return folder


@pytest.fixture
def seen(monkeypatch):
    """What a command reads: dict of a photo's file name -> its pixels, as bytes; cleared by it."""
    pixels, read = {}, Photos.__getitem__

    def spied(photos, number):
        photo = read(photos, number)
        name = photos.files[number].split("/")[-1]
        assert pixels.setdefault(name, photo.tobytes()) == photo.tobytes(), name
        return photo

    monkeypatch.setattr(Photos, "__getitem__", spied)
    return pixels


@pytest.mark.slow
def test_all_commands_show_the_network_the_same_pixels(listed, tmp_path, seen):
    config = tiny.finetuning(listed, tmp_path / "run", unfrozen_epochs=0)
    config["data"] = Data(path=str(listed), preprocess=["lesion_crop"])
    made = finetune.run(config)
    table = predictions.read(made).table.set_index("path")
    assert (table["mask"] != "").sum() == 40
    learnt = seen.copy()
    assert len(learnt) == 160
    some = shutil.copytree(listed, tmp_path / "some")
    rows = pd.read_csv(some / "labels.csv", dtype=str, keep_default_na=False)
    for name, mask in zip(rows["filename"][9:], rows["mask"][9:]):
        (some / "images" / Path(name).name).unlink()
        if mask:
            (some / mask).unlink()
    rows[:9].to_csv(some / "labels.csv", index=False)
    commands = {
        "predict": (160, lambda: predict(made, listed, output=tmp_path / "new.csv")),
        "stress_test": (12, lambda: stress_test(made, max_photos=12, n_resamples=20)),
        "explain": (3, lambda: explain(made, count=2)),
        "explain photos": (9, lambda: explain(made, [some])),
        "embeddings": (24, lambda: embeddings(made, max_photos=24, n_resamples=20)),
    }
    for command, (least, run) in commands.items():
        seen.clear()
        run()
        assert len(seen) >= least, command
        assert all(learnt[name] == pixels for name, pixels in seen.items()), command
    older = pd.read_csv(made / "predictions.csv").drop(columns="mask")  # of an older version
    older.to_csv(made / "predictions.csv", index=False)
    seen.clear()
    embeddings(made, max_photos=24, n_resamples=20)
    assert all(learnt[name] == pixels for name, pixels in seen.items())


def test_a_grid_does_not_mix_labels():
    with pytest.raises(UserError, match=r"grid.augmentations skin_cutmix: a cell learns from"):
        plan.check(Grid(augmentations=["none", "skin_cutmix"]))

"""Masks, preprocessing and mixed labels through a whole run: prediction sees what training saw."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from dermssl import config as configs
from dermssl import finetune, predict, runs
from dermssl.training import grid_plan


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


def test_prediction_does_to_photos_what_training_did(masked, tmp_path, capsys):
    steps = ["lesion_crop", "hair_removal", "shades_of_grey", "sharpen"]
    config = tiny.finetuning(
        masked, tmp_path / "run", name="mlp", unfrozen_epochs=0, augmentation="skin_mixup"
    )
    config["data"] = configs.Data(path=str(masked), preprocess=steps)
    made = finetune.run(config)
    assert runs.read_json(made / "status.json")["config"]["data"]["preprocess"] == steps
    predict.run(made, masked, tmp_path / "new.csv", calibrated=False)
    assert "40 of 160 photos have no mask and stay whole" in capsys.readouterr().err
    found, kept = pd.read_csv(tmp_path / "new.csv"), pd.read_csv(made / "predictions.csv")
    names = [name for name in kept if name.startswith("p_")]
    np.testing.assert_allclose(found[names], kept[names], atol=1e-5)
    photo = masked / "images" / "SYN_000003.jpg"
    predict.run(made, photo, tmp_path / "whole.csv", calibrated=False)  # its mask is elsewhere
    whole = pd.read_csv(tmp_path / "whole.csv")
    assert np.abs(whole[names].to_numpy() - kept[names].iloc[[3]]).to_numpy().max() > 1e-4


def test_a_grid_does_not_mix_labels():
    with pytest.raises(configs.UserError, match=r"--augmentations skin_cutmix: a cell learns from"):
        grid_plan.check(configs.Grid(augmentations=["none", "skin_cutmix"]))

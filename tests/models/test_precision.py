"""Which precision a device gets, and that a run is known by what it got."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import finetune, pretrain
from dermssl.core.errors import UserError
from dermssl.models import precision


@pytest.mark.parametrize(
    ("capabilities", "chosen"),
    [
        ([], "float32"),
        ([(6, 1)], "float32"),
        ([(7, 0)], "mixed_float16"),  # V100
        ([(7, 5)], "mixed_float16"),  # T4
        ([(8, 0)], "mixed_bfloat16"),  # A100
        ([(12, 0)], "mixed_bfloat16"),
        ([(9, 0), (7, 5)], "mixed_float16"),  # the weakest of several
        ([(9, 0), (6, 0)], "float32"),
    ],
)
def test_by_compute_capability(capabilities, chosen):
    gpus = [{"device_name": "a GPU", "compute_capability": pair} for pair in capabilities]
    assert precision.choose("auto", gpus) == chosen
    assert precision.choose("float32", gpus) == "float32"
    assert precision.choose("mixed_float16", gpus) == "mixed_float16"


def test_a_gpu_that_does_not_tell_gets_float32():
    assert precision.choose("auto", [{"device_name": "of another maker"}]) == "float32"


def test_what_tensorflow_sees_is_asked(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
    details = {"GPU": {"compute_capability": (8, 9)}}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    assert precision.choose("auto") == "mixed_bfloat16"


def status(folder):
    return json.loads((folder / "status.json").read_text())


def test_a_run_keeps_what_was_chosen_and_goes_on_nowhere_else(
    photos, tmp_path, monkeypatch, restored_policy, capfd
):
    config = tiny.pretraining(photos, tmp_path / "run", name="mlp", epochs=1, probe_every=0)
    monkeypatch.setattr(precision, "_gpus", lambda: [{"compute_capability": (8, 0)}])
    folder = pretrain.run(config)
    assert status(folder)["config"]["backbone"]["precision"] == "mixed_bfloat16"
    assert "bfloat16 with float32 weights" in capfd.readouterr().err
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert np.isfinite(pd.read_csv(folder / "history.csv")["loss"]).all()
    monkeypatch.setattr(precision, "_gpus", list)
    with pytest.raises(UserError, match="precision: 'mixed_bfloat16' there, 'float32' now"):
        pretrain.run(config)


@pytest.mark.slow
def test_fine_tuning_in_float16_learns_with_a_scaled_loss(photos, tmp_path, restored_policy):
    config = tiny.finetuning(photos, tmp_path / "run", frozen_epochs=0)
    config["backbone"] = tiny.Backbone("cnn", image_size=32, precision="mixed_float16")
    folder = finetune.run(config)
    assert np.isfinite(pd.read_csv(folder / "history.csv")[["loss", "val_loss"]]).all().all()
    assert status(folder)["config"]["backbone"]["precision"] == "mixed_float16"

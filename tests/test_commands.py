"""The commands as a user types them, and what they leave."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image

from dermssl import finetune, predict, pretrain
from dermssl.core import config as configs
from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.evaluation import calibrator, predictions
from dermssl.training import memory_check

HELPED = (
    "pretrain", "finetune", "predict", "evaluate", "model_comparison", "quickstart", "check_data",
    "leakage", "label_efficiency", "forms", "sample_size", "adapt", "export", "shards", "app",
    "doctor",
)  # fmt: skip


@pytest.mark.parametrize("command", HELPED)
def test_help_is_quick_because_it_imports_no_tensorflow(command):
    code = (
        f"import sys\nfrom dermssl import {command}\n"
        f"try: {command}.main(['--help'])\nexcept SystemExit as stopped: code = stopped.code\n"
        "heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "print('result', code, sorted(heavy))"
    )
    process = tiny.python("-c", code)
    assert process.stdout.splitlines()[-1] == "result 0 []", process.stderr


def test_what_pretraining_leaves(pretrained):
    assert {path.name for path in pretrained.iterdir()} == {
        ".lock", "backbone.weights.h5", "config.toml", "health.json", "history.csv", "pool.csv",
        "ssl_stats.json", "status.json", "tensorboard", "views.png",
    }  # fmt: skip
    stats = json.loads((pretrained / "ssl_stats.json").read_text())
    pool = pd.read_csv(pretrained / "pool.csv")
    assert stats["photos"] == len(pool) == 90
    assert set(pool["split"]) == {"train"}
    history = pd.read_csv(pretrained / "history.csv")
    assert len(history) == stats["epochs"] == 2
    assert history["loss"].tolist()[-1] == pytest.approx(stats["loss"])
    assert stats["loss_without_learning"] == pytest.approx(np.log(2 * 16 - 1))
    assert history["learning_rate"].tolist()[-1] == pytest.approx(0, abs=1e-9)
    assert stats["health"]["light"] in ("green", "yellow")
    assert stats["health"]["last"]["epoch"] == 2
    assert history["spread"].tolist()[-1] == pytest.approx(stats["health"]["last"]["spread"])
    width, height = Image.open(pretrained / "views.png").size
    assert width > height  # two rows of eight
    assert list((pretrained / "tensorboard").rglob("events*"))


def test_pretraining_in_chunks_is_the_same_pretraining_in_less_memory(
    photos, tmp_path, monkeypatch
):
    # Without BatchNorm: no layer of the MLP is one, and a head of one layer has none.
    flags = ["--data", photos, *tiny.SMALL, "--epochs", 2, "--projection", 8]
    assert tiny.call(pretrain, *flags, "--output", tmp_path / "whole") == 0
    checked = {}
    monkeypatch.setattr(
        memory_check, "check", lambda net, batch, names, **more: checked.update({batch: names})
    )
    assert tiny.call(pretrain, *flags, "--chunk-size", 4, "--output", tmp_path / "chunks") == 0
    names = [{path.name for path in (tmp_path / run).iterdir()} for run in ("whole", "chunks")]
    assert names[0] == names[1]
    tables = [pd.read_csv(tmp_path / run / "history.csv") for run in ("whole", "chunks")]
    assert list(tables[0].columns) == list(tables[1].columns)
    for name in ("loss", "accuracy", "entropy", "spread", "learning_rate"):
        np.testing.assert_allclose(tables[1][name], tables[0][name], rtol=1e-4, atol=1e-9)
    assert checked == {4: ["pretrain.chunk_size", "pretrain.batch_size", "backbone.image_size"]}
    assert "chunk_size = 4" in (tmp_path / "chunks" / "config.toml").read_text()


def test_pretraining_with_rematerialisation_is_the_same_pretraining(
    pretrained, photos, tmp_path, capsys
):
    before = runs.read_json(pretrained / "status.json")["config"]
    flags = ["--data", photos, "--backbone", "cnn", "--image-size", 32, "--batch-size", 16]
    flags += ["--epochs", 2, "--projection", 32, 16, "--probe-every", 0]
    assert before["pretrain"]["projection"] == [32, 16]
    assert tiny.call(pretrain, *flags, "--remat", "--output", tmp_path / "remat") == 0
    assert "; shorter: --epochs, --image-size or" in capsys.readouterr().err
    tables = [pd.read_csv(folder / "history.csv") for folder in (pretrained, tmp_path / "remat")]
    for name in ("loss", "accuracy", "entropy"):
        np.testing.assert_allclose(tables[1][name], tables[0][name], rtol=1e-3, atol=1e-6)
    assert "remat = true" in (tmp_path / "remat" / "config.toml").read_text()


def test_what_fine_tuning_leaves(finetuned, pretrained):
    assert {path.name for path in finetuned.iterdir()} == {
        ".lock", "classes.csv", "config.toml", "finetuned_stats.json", "history.csv",
        "likeness.npz", "model.keras",
        "predictions.csv", "status.json", "tensorboard", "taxonomy.json", "temperature.json",
    }  # fmt: skip
    stats = json.loads((finetuned / "finetuned_stats.json").read_text())
    table = pd.read_csv(finetuned / "predictions.csv")
    status = runs.read_json(finetuned / "status.json")
    assert len(table) == status["n_records"] == 160
    assert stats["arm"] == "ssl"
    assert status["pretraining_start"] == "none"
    assert stats["n_labels"] == 90
    assert set(stats["scores"]) == set(table["split"]) == {"train", "validation", "test"}
    assert stats["phases"]["frozen"]["trainable_backbone_parameters"] == 0
    assert stats["phases"]["unfrozen"]["unfrozen_kernels"] == 8
    test = table[table["split"] == "test"]
    columns = [name for name in table if name.startswith("p_fine_")]
    guess = test[columns].idxmax(axis=1).str.removeprefix("p_fine_")
    assert stats["scores"]["test"]["fine_accuracy"] == pytest.approx((guess == test["fine"]).mean())
    assert status["data_hash"] == runs.read_json(pretrained / "status.json")["data_hash"]
    found = predictions.read(finetuned)
    fitted = calibrator.fit(found.table, found.taxonomy, {})
    assert calibrator.read(finetuned) == fitted
    assert fitted.fine.n == (table["split"] == "validation").sum()


def test_fine_tuning_starts_from_the_pretrained_weights(photos, pretrained, tmp_path):
    import keras

    from dermssl.core.settings import Backbone
    from dermssl.models import backbones, weights

    config = Backbone(name="cnn", image_size=32, weights=str(pretrained))
    start, folder = weights.resolve(config)
    assert folder == pretrained
    backbone = backbones.build(start)
    keras.utils.set_random_seed(0)
    fresh = backbones.build(Backbone(name="cnn", image_size=32))
    moved = [(a != b).any() for a, b in zip(backbone.get_weights(), fresh.get_weights())]
    assert all(moved)
    run = finetune.run(tiny.finetuning(
        photos, tmp_path / "run", weights=str(pretrained), unfrozen_epochs=0,
    ))  # fmt: skip
    model = weights.load_classifier(run)
    for old, new in zip(backbone.get_weights(), model.backbone.get_weights()):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_finished_run_returns_at_once(command, photos, pretrained, finetuned, monkeypatch):
    import keras

    monkeypatch.setattr(keras.Model, "fit", lambda *args, **kwargs: pytest.fail("trained"))
    if command == "pretrain":
        assert pretrain.run(tiny.pretraining(photos, pretrained)) == pretrained
    else:
        config = tiny.finetuning(photos, finetuned, weights=str(pretrained))
        assert finetune.run(config) == finetuned


def test_finetune_tells_the_calibration_of_its_balance(photos, tmp_path, monkeypatch):
    told = []

    def write(folder, table, taxonomy, finetune):
        told.append(finetune)
        return write_really(folder, table, taxonomy, finetune)

    write_really = calibrator.write
    monkeypatch.setattr(calibrator, "write", write)
    options = {"class_balance": "none", "head": "independent", "unfrozen_epochs": 0}
    run = finetune.run(tiny.finetuning(photos, tmp_path / "run", name="mlp", **options))
    assert options.items() <= told[0].items()
    assert calibrator.read(run).coarse is not None
    assert not calibrator.balanced_run(runs.read_json(run / "status.json"))


def test_a_finished_run_keeps_its_arm(photos, pretrained, finetuned):
    options = {"weights": str(pretrained)}
    assert finetune.run(tiny.finetuning(photos, finetuned, arm="ssl", **options)) == finetuned
    with pytest.raises(UserError, match=r"finetune.arm mine: the run in .* is finished, as 'ssl'"):
        finetune.run(tiny.finetuning(photos, finetuned, arm="mine", **options))


def test_a_run_whose_start_was_made_anew_is_not_finished(photos, pretrained, tmp_path, capsys):
    start = shutil.copytree(pretrained, tmp_path / "start")
    output = tmp_path / "run"
    config = tiny.finetuning(photos, output, weights=str(start), unfrozen_epochs=0)
    finetune.run(config)
    file = start / "backbone.weights.h5"
    from dermssl.core.settings import Backbone
    from dermssl.models import backbones

    backbones.build(Backbone(name="cnn", image_size=32)).save_weights(file)
    with pytest.raises(UserError, match=r"starting weights: .* there, .* now"):
        finetune.run(config)


def test_pretrain_through_its_flags(photos, tmp_path, capsys):
    argv = [
        "--data",
        photos,
        *tiny.SMALL,
        "--epochs",
        1,
        "--projection",
        8,
        4,
        "--output",
        tmp_path / "r",
    ]
    assert tiny.call(pretrain, *argv) == 0
    shown = capsys.readouterr()
    assert "pretrained mlp on 90 photos" in shown.out
    assert "next: python -m dermssl.finetune" in shown.out
    assert tiny.call(pretrain, *argv) == 0  # finished: says the same again
    assert capsys.readouterr() == (shown.out, "")
    assert tiny.call(pretrain, *argv, "--temperature", 0.5) == 2
    assert "--temperature: 0.1 there, 0.5 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backbone", "flags"), [("efficientnetb1", ""), ("cnn", " --backbone cnn --image-size 64")]
)
def test_what_comes_after_a_pretraining_on_drawn_photos_has_its_backbone(
    backbone, flags, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    path = Path("outputs/ssl_simclr")
    path.mkdir(parents=True)
    stats = {"backbone": backbone, "image_size": 64, "photos": 9, "loss": 1.0}
    stats |= {"loss_without_learning": 2.0, "contrastive_accuracy": 0.5}
    (path / "ssl_stats.json").write_text(json.dumps(stats))
    config = configs.configure("pretrain", {"backbone": {"name": backbone}})
    pretrain.tell(config, path)
    assert capsys.readouterr().out.endswith(f"  next: python -m dermssl.finetune{flags}\n")


def test_diverged_is_exit_code_1(photos, tmp_path, capsys):
    from dermssl.core.settings import Backbone
    from dermssl.models import backbones

    backbone = backbones.build(Backbone(name="mlp", image_size=32))
    backbone.set_weights([1e30 * weight for weight in backbone.get_weights()])
    backbone.save_weights(tmp_path / "huge.weights.h5")
    argv = ["--data", photos, *tiny.SMALL, "--weights", tmp_path / "huge.weights.h5"]
    assert tiny.call(finetune, *argv, "--output", tmp_path / "run") == 1
    said = capsys.readouterr().err
    assert "diverged, the loss became nan" in said
    assert runs.read_json(tmp_path / "run" / "status.json")["status"] == runs.DIVERGED
    assert tiny.call(predict, tmp_path / "run", photos) == 2
    assert "this run is DIVERGED" in capsys.readouterr().err

"""The commands as functions: named settings in, a result with its tables out."""

import inspect

import pandas as pd
import pytest

import dermssl
from dermssl.core import config as configs
from dermssl.core import results
from dermssl.core.errors import UserError

SMALL = {"backbone": "mlp", "image_size": 32, "batch_size": 16}


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    """A pretraining and a fine-tuning from it, in Python."""
    folder = tmp_path_factory.mktemp("python")
    pretrained = dermssl.pretrain(
        data=photos, **SMALL, epochs=1, projection=[8, 4], output=folder / "ssl"
    )
    assert isinstance(pretrained, results.Pretraining)
    assert pretrained.stats["photos"] > 50
    assert list(pretrained.history["epoch"]) == [1]
    return dermssl.finetune(
        data=photos, weights=pretrained, **SMALL, frozen_epochs=1, unfrozen_epochs=1,
        output=folder / "tuned",
    )  # fmt: skip


def test_a_run_has_its_tables(run):
    assert set(run.history["phase"]) == {"frozen", "unfrozen"}
    assert len(run.predictions) == 160
    assert run.stats["arm"] == "ssl"
    assert str(run) == str(run.path)


def test_a_run_can_be_evaluated(run):
    evaluation = run.evaluate(n_resamples=20)
    assert evaluation.path == run.path / "evaluation_test"
    metrics = evaluation.metrics
    assert {"estimate", "low", "high", "n"} <= set(metrics.columns)
    assert 0 <= metrics.loc["balanced_accuracy", "estimate"] <= 1
    assert evaluation.report.startswith("# ")
    assert len(evaluation.findings) >= 1


def test_predictions_are_a_table(run, photos):
    table = dermssl.predict(run, photos / "images", uncalibrated=True)
    assert isinstance(table, pd.DataFrame)
    kept = run.predictions.set_index("path")
    table = table.set_index("images/" + table["path"])  # relative to the folder given
    difference = table["p_fine_mel"] - kept["p_fine_mel"]
    assert difference.abs().max() < 1e-6


@pytest.mark.slow
def test_a_grid_has_its_results(photos, tmp_path):
    grid = dermssl.grid(
        data=photos, models=["cnn"], depths=[1, 2], augmentations="none", image_size=32, epochs=1,
        weights="none", n_resamples=20, output=tmp_path / "g",
    )  # fmt: skip
    assert len(grid.results) == 1  # from nothing there are no depths
    assert grid.results["status"].tolist() == ["FINISHED"]


def test_a_call_says_what_it_takes(photos):
    signature = inspect.signature(dermssl.pretrain)
    assert signature.parameters["epochs"].default == 50
    assert "learning rate" in dermssl.pretrain.function.__doc__
    with pytest.raises(TypeError, match="did you mean epochs"):
        dermssl.pretrain(data=photos, epoch=3)
    with pytest.raises(UserError, match=r"backbone\.image_size is 3; it must be at least 8"):
        dermssl.pretrain(data=photos, image_size=3)


def test_a_data_set_may_stand_for_its_folder(photos, tmp_path):
    from dermssl.core.settings import Data
    from dermssl.data.splits import prepare

    dataset = prepare(Data(path=str(photos)))
    few = dataset.with_index(dataset.index.iloc[:80])
    run = dermssl.pretrain(
        data=few, **SMALL, epochs=1, projection=[8, 4], probe_every=0, output=tmp_path / "ssl"
    )
    assert run.stats["photos"] == (few.index["split"] == "train").sum()


def test_without_data_and_pretraining_a_fine_tuning_starts_from_random_weights(
    tmp_path, monkeypatch, capsys
):
    """The tutorial's commands, in tests/test_docs.py, have the rest of what needs no data."""
    monkeypatch.chdir(tmp_path)
    config = configs.configure("finetune", {})
    assert dermssl.finetune._from_embedded_pretraining(config) == config
    told = "starts from random weights: no pretraining in outputs/ssl_simclr\n"
    assert capsys.readouterr().out == told

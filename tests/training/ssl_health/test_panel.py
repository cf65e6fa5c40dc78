"""The health panel on tiny runs: red within an epoch where it must, and without a trace."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import pretrain
from dermssl.core import runs
from dermssl.data import pipeline, records
from dermssl.data.augmentation import opencv, policies
from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.photos import Photos
from dermssl.data.splits import prepare
from dermssl.models import backbones, batchnorm, simclr
from dermssl.training import callbacks
from dermssl.training.ssl_health import panel as health
from dermssl.training.ssl_health import photos as probe_photos
from dermssl.training.ssl_health.measures import COLUMNS


@pytest.fixture(scope="module")
def dataset(photos):
    return prepare(tiny.pretraining(photos, "unused")["data"])


@pytest.fixture
def fit(photos, dataset, tmp_path):
    """Train the MLP for one epoch under the panel; returns the panel and history.csv."""

    def run(change=None, epochs=1, **settings):
        config = tiny.pretraining(photos, tmp_path / "run", "mlp", epochs=epochs, **settings)
        keras.utils.set_random_seed(0)
        options = config["pretrain"]
        model = simclr.SimCLR(
            backbones.build(config["backbone"]), options.projection, options.temperature
        )
        pool = Photos(dataset.subset(records.TRAIN).files, 32)
        policy = policies.scaled(AUGMENTATIONS["simclr"], options.strength)
        data = pipeline.two_view_data(pool, policy, 0, 16, 32, 5 * epochs)
        with runs.open_run(tmp_path / "run", "pretrain", config, "hash", True) as made:
            panel = health.Panel(made, dataset, pool, config)
            model.compile(keras.optimizers.Adam(options.learning_rate), jit_compile=False)
            if change:
                change(model)
            model.fit(data, epochs=epochs, steps_per_epoch=5, shuffle=False, verbose=0,
                      callbacks=[panel, callbacks.History(made, "pretrain", [])])  # fmt: skip
            panel.trained = model
        return panel, pd.read_csv(tmp_path / "run" / "history.csv")

    return run


def to_one_point(model):
    """A head that maps everything to one point, and stays so."""
    first, norm, *_ = model.projection_head.layers
    first.set_weights([np.zeros_like(weight) for weight in first.get_weights()])
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma, beta + 1, mean, variance])
    for layer in model.projection_head.layers:
        layer.trainable = False


def test_a_model_that_maps_everything_to_one_point_is_red_within_an_epoch(fit, capsys):
    panel, history = fit(to_one_point)
    last = panel.probes[-1]
    assert last["light"] == "red"
    assert "collapsed" in last["reason"]
    assert history["effective_rank"].tolist() == [pytest.approx(1, abs=1e-6)]
    assert history["spread"].tolist() == [pytest.approx(0, abs=1e-6)]
    assert history["health"].tolist() == [2]
    assert panel.probes[-1]["pair_accuracy"] == pytest.approx(1 / 179, abs=1e-3)
    shown = capsys.readouterr().err
    assert "health epoch 1: RED, collapsed" in shown
    assert "usual remedy: a lower learning rate" in shown


def test_moving_averages_of_few_steps_are_no_collapse(fit, capsys):
    """After 5 steps they are mostly the values that they began with."""

    def lag(model):
        for layer in batchnorm.norm_layers(model):
            layer.moving_variance.assign(1e8 * np.ones(layer.moving_variance.shape))

    panel, _ = fit(lag)
    last = panel.probes[-1]
    assert last["averaged_spread"] < 0.05 < 0.3 < last["spread"]
    assert last["light"] == "yellow"
    assert "moving averages lag behind the weights after 5 steps" in last["reason"]
    assert "collapsed" not in capsys.readouterr().err
    assert float(panel.trained.projection_head.layers[1].moving_variance[0]) > 1e7  # as it was


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.001, 50.0])
def test_a_temperature_far_off_is_red_within_an_epoch(fit, temperature):
    panel, _ = fit(temperature=temperature)
    assert panel.probes[0]["light"] == "red"
    assert f"temperature {temperature:g} is" in panel.probes[0]["reason"]


def test_weights_that_overflow_are_red_and_not_an_error(fit):
    def overflow(model):
        last = model.projection_head.layers[-1]
        last.set_weights([1e38 * np.ones_like(weight) for weight in last.get_weights()])
        last.trainable = False

    panel, history = fit(overflow)
    assert panel.probes[0]["light"] == "red"
    assert "no number any more" in panel.probes[0]["reason"]
    assert history["health"].tolist() == [2]


def test_views_without_augmentation_are_red_before_training(fit, capsys):
    panel, _ = fit(strength=0.0)
    assert "health before training: RED, the two views are nearly the same" in (
        capsys.readouterr().err
    )
    assert panel.views.identical == 1


def test_a_healthy_tiny_run_is_not_red(fit, tmp_path):
    panel, history = fit(epochs=5, probe_every=3)
    assert [probe["epoch"] for probe in panel.probes] == [1, 3, 5]
    assert "red" not in [probe["light"] for probe in panel.probes]
    # The epochs between are blank.
    assert history["loss"].notna().all()
    assert history["knn"].notna().tolist() == [True, False, True, False, True]
    history = history.dropna(subset="spread")
    assert len(history) == 3
    assert history["spread"].between(0.3, 1.2).all()
    kept = json.loads((tmp_path / "run" / "health.json").read_text())
    assert [probe["spread"] for probe in kept["probes"]] == pytest.approx(history["spread"])
    assert kept["n_labelled"] > 0
    assert 0 < kept["chance"] <= 0.5
    assert kept["start"]["alignment"] > 0
    summary = panel.summary()
    assert summary["last"] == kept["probes"][-1]
    assert "probes" not in summary


def test_looking_leaves_the_model_as_it_was(fit):
    panel, _ = fit()
    model = panel.trained
    weights = [weight.copy() for weight in model.get_weights()]
    metrics = [float(metric.result()) for metric in model.metrics]
    once, twice = panel._measure(), panel._measure()
    assert once == twice
    for old, new in zip(weights, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert metrics == [float(metric.result()) for metric in model.metrics]


def test_a_run_trains_the_same_with_and_without_the_panel(fit):
    _, watched = fit(epochs=2, probe_every=1)
    _, alone = fit(epochs=2, probe_every=0)
    assert watched["loss"].tolist() == alone["loss"].tolist()
    assert not set(COLUMNS) & set(alone)


def test_a_resumed_run_keeps_its_start_and_has_the_same_rows(fit, tmp_path):
    panel, _ = fit(epochs=2, probe_every=1)
    kept = json.loads((tmp_path / "run" / "health.json").read_text())
    # The process ends; a new panel meets the model at the beginning of epoch 2, weights as then.
    again = health.Panel(panel.run, *panel._sources, panel._config)
    again.set_model(panel.trained)
    again.on_epoch_begin(1)
    assert again.start == panel.start
    assert [probe["epoch"] for probe in again.probes] == [1]
    logs = {"loss": 3.0, "entropy": 2.0}
    again.on_epoch_end(1, logs)
    for name in COLUMNS:
        if name != "health" and kept["probes"][1][name] is not None:
            assert logs[name] == pytest.approx(kept["probes"][1][name], rel=1e-6)


def test_a_run_that_had_all_its_epochs_without_a_panel_has_no_summary(photos, tmp_path):
    config = tiny.pretraining(photos, tmp_path, probe_every=1)
    panel = health.Panel(runs.Run(tmp_path), None, None, config)
    assert panel.summary() is None


def test_the_labelled_photos_are_of_validation_and_halved_by_group(dataset):
    found = probe_photos.labelled(dataset, 500, 32)
    part = dataset.subset(records.VALIDATION)
    plain = {
        opencv.center_square(photo, 32).tobytes()
        for photo in (Photos(part.files, 32)[k] for k in range(len(part.index)))
    }
    assert {image.tobytes() for image in found.images} <= plain
    assert not set(found.groups[found.half == 0]) & set(found.groups[found.half == 1])
    assert found.chance == 1 / len(set(found.labels))
    assert len(found.labels) > 12
    few = probe_photos.labelled(dataset, 12, 32)
    assert len(few.labels) <= 12
    assert set(few.half) == {0, 1}
    assert max(np.bincount(few.labels)) < max(np.bincount(found.labels))  # rare classes first


def test_without_labels_the_probes_are_not_available(dataset, photos, tmp_path, capsys):
    blank = dataset.index.assign(fine="", coarse="", split=records.TRAIN)
    unlabelled = dataset.with_index(blank)
    assert probe_photos.labelled(unlabelled, 500, 32) is None
    config = tiny.pretraining(photos, tmp_path / "run", "mlp", epochs=1)
    path = pretrain.run(config, dataset=unlabelled)
    history = pd.read_csv(path / "history.csv")
    assert "knn" not in history
    assert history["spread"].notna().all()
    assert "probes n/a (no labels)" in capsys.readouterr().err
    stats = json.loads((path / "ssl_stats.json").read_text())
    assert stats["health"]["last"]["knn"] is None
    assert stats["health"]["n_labelled"] == 0


def test_pairs_are_views_that_no_training_step_makes(photos, dataset):
    pool = Photos(dataset.subset(records.TRAIN).files, 32)
    settings = tiny.pretraining(photos, "unused")["pretrain"]
    views = probe_photos.pairs(pool, 20, settings, 0, 32)
    assert views.shape == (2, 20, 32, 32, 3)
    trained = next(iter(pipeline.two_view_data(
        pool, AUGMENTATIONS["simclr"], 0, 90, 32, 1
    )))  # fmt: skip
    trained = np.concatenate(trained).astype(np.uint8)
    known = {view.tobytes() for view in trained}
    assert not known & {view.tobytes() for view in views.reshape(-1, 32, 32, 3)}

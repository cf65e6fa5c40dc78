"""How much of a step waits for its input: measured, said once, and kept."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny

from dermssl import pretrain
from dermssl.core import runs
from dermssl.training import input_share, loop

STEP = 0.02  # seconds of a step of the network below


class Clock:
    """Time that passes only where a test says so: the machine's own load doesn't count."""

    now = 0.0

    def pass_(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(input_share, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


class Slow(keras.layers.Layer):
    """Takes a while, as a larger network would."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def call(self, x):
        slow = tf.numpy_function(lambda x: self.clock.pass_(STEP) or x, [x], tf.float32)
        return tf.ensure_shape(slow, x.shape)


def model(clock):
    made = keras.Sequential([keras.Input((2,)), Slow(clock), keras.layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def data(seconds, clock):
    """Batches that take so long to make, each when it is asked for."""

    def batch(step):
        clock.pass_(seconds)
        return np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)

    def load(step):
        x, y = tf.numpy_function(batch, [step], [tf.float32, tf.float32])
        return tf.ensure_shape(x, (4, 2)), tf.ensure_shape(y, (4, 1))

    return lambda first, last: tf.data.Dataset.range(first, last).map(load)


def trained(folder, clock, seconds, steps=30, epochs=2, phases=1):
    """(rows of the history, what was said) of phases of training."""
    with runs.open_run(folder, "finetune", {"seed": 0}, "hash") as run:
        state = loop.TrainingState()
        for number in range(phases):
            state.begin_phase(number, number * steps * epochs)
            settings = loop.FitSettings(f"phase {number}", "title", steps, epochs)
            loop.fit(run, model(clock), data(seconds, clock), state, settings)
    return state.rows


def lines(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if "bottleneck" in line]


def test_a_slow_input_is_told_once(tmp_path, capsys, clock):
    rows = trained(tmp_path / "run", clock, 3 * STEP, phases=2)
    assert [row["input_share"] for row in rows] == [0.75] * 4
    (line,) = lines(capsys)
    assert (
        "input 75% of a step: the bottleneck; use more CPU cores, keep decoded photos (--cache-mb"
        in line
    )
    table = pd.read_csv(tmp_path / "run" / "history.csv")
    assert table["input_share"].tolist() == [row["input_share"] for row in rows]


def test_a_fast_input_is_not(tmp_path, capsys, clock):
    rows = trained(tmp_path / "run", clock, STEP / 10)
    assert [row["input_share"] for row in rows] == [0.091] * 2
    assert not lines(capsys)


def test_a_short_phase_is_told_at_its_end_and_a_shorter_one_tells_nothing(tmp_path, capsys, clock):
    trained(tmp_path / "short", clock, 3 * STEP, steps=15, epochs=1)
    assert len(lines(capsys)) == 1
    rows = trained(tmp_path / "shorter", clock, 3 * STEP, steps=3, epochs=2)
    assert not lines(capsys)
    assert np.isnan(rows[0]["input_share"])  # the steps that trace the network
    assert rows[1]["input_share"] == 0.75


def test_of_a_run():
    rows = [{"input_share": 0.5, "seconds": 30.0}, {"input_share": 0.1, "seconds": 10.0}]
    rows += [{"input_share": np.nan, "seconds": 100.0}, {"seconds": 100.0}]
    assert input_share.of_run(rows) == 0.4
    assert input_share.of_run(rows[2:]) is None
    assert input_share.of_run([]) is None


@pytest.mark.parametrize("devices", [1, 2])
def test_a_step_of_several_devices_takes_a_batch_for_each(devices, clock):
    waits = input_share.InputShare(print, devices=devices)
    waits.WARM_UP = 0
    batches = iter(waits.watch(data(STEP, clock)(0, 2 * devices)))
    for step in range(2):
        waits.on_train_batch_begin(step)
        for _ in range(devices):
            next(batches)
        clock.pass_(STEP)
        waits.on_train_batch_end(step)
    wanted = devices * STEP, (devices + 1) * STEP
    np.testing.assert_allclose(waits._times, [wanted] * 2)


def test_what_a_dataset_gives_stays(clock):
    waits = input_share.InputShare(print)
    for dataset in (
        data(0, clock)(0, 3),
        tf.data.Dataset.range(3),
        data(0, clock)(0, 3).map(lambda x, y: {"x": x}),
    ):
        assert waits.watch(dataset).element_spec == dataset.element_spec
        for one, other in zip(waits.watch(dataset), dataset, strict=True):
            tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_a_run_keeps_it(photos, tmp_path):
    config = tiny.pretraining(photos, tmp_path / "run", name="mlp", probe_every=0, epochs=2)
    folder = pretrain.run(config)
    stats = json.loads((folder / "ssl_stats.json").read_text())
    assert 0 <= stats["input_share"] <= 1
    assert pd.read_csv(folder / "history.csv")["input_share"].between(0, 1).all()

"""Training stopped between any two steps and gone on with, against training never stopped."""

import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermssl.core import runs, settings, signals
from dermssl.core.errors import UserError
from dermssl.training import callbacks, checkpoint, loop

STEPS, EPOCHS = 3, 4
HELD_OUT = tf.data.Dataset.from_tensors((np.eye(8, 4, dtype=np.float32), np.arange(8) % 2))


def model(units=5):
    """Everything that has a state: dropout, BatchNorm, Adam, a schedule, metrics."""
    keras.utils.set_random_seed(1)
    made = keras.Sequential([
        keras.Input((4,)),
        keras.layers.Dense(units),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5, seed=3),
        keras.layers.Dense(2),
    ])  # fmt: skip
    rate = loop.warmup_cosine(0.1, STEPS * EPOCHS, 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Eagerly: tracing graphs would take most of the time; tests/test_resume.py has them.
    made.compile(keras.optimizers.AdamW(rate), loss, metrics=["accuracy"], run_eagerly=True)
    return made


def data(first, last):
    """Steps that are functions of their numbers."""

    def batch(step):
        rng = np.random.default_rng(step)
        return rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 2, 6)

    def load(step):
        x, y = tf.numpy_function(batch, [step], [tf.float32, tf.int64])
        return tf.ensure_shape(x, (6, 4)), tf.ensure_shape(y, (6,))

    return tf.data.Dataset.range(first, last).map(load)


class At(callbacks.StopOnNaN):
    """Sends SIGTERM in the n-th training step, or in the validation after it."""

    step, in_validation = None, False

    def on_train_begin(self, logs=None):
        self.seen = int(self.model.optimizer.iterations.numpy())

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.step and not self.in_validation:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_test_begin(self, logs=None):
        if self.seen == self.step and self.in_validation:
            os.kill(os.getpid(), signal.SIGTERM)


def attempt(folder, patience=EPOCHS, every=None):
    """Train, or go on; (model, rows, best) as they end."""
    made = model()
    best = callbacks.BestWeights("val_accuracy", 1, patience, made.get_weights())
    with runs.open_run(folder, "finetune", {"seed": 0}, "hash") as run:
        current = loop.TrainingState(best, checkpoint.load(run))
        loop.fit(run, made, data, current, phase(every), HELD_OUT)
    return made, current.rows, best


def phase(every=None):
    return loop.FitSettings("phase", "title", STEPS, EPOCHS, every=every or settings.Checkpoint())


def state(made, rows, best):
    """All that must be equal, in bytes."""
    values = [v.numpy().tobytes() for v in (*made.variables, *made.optimizer.variables)]
    values += [weight.tobytes() for weight in best.weights]
    rows = [{k: v for k, v in row.items() if k not in ("seconds", "input_share")} for row in rows]
    return values, json.dumps([rows, best.state()])


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    return state(*attempt(tmp_path_factory.mktemp("fit") / "run"))


@pytest.mark.parametrize(
    ("step", "in_validation", "saved"),
    [(1, False, 1), (3, True, 3), (8, False, 8), (12, True, 12)],
)
def test_stopped_and_gone_on_with(
    never_stopped, tmp_path, monkeypatch, capsys, step, in_validation, saved
):
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "StopOnNaN", At)
        patched.setattr(At, "step", step)
        patched.setattr(At, "in_validation", in_validation)
        with pytest.raises(signals.Stopped) as stopped:
            attempt(tmp_path / "run")
    assert str(stopped.value) == f"stopped by SIGTERM, saved after step {saved} of 12"
    assert runs.read_json(tmp_path / "run" / "status.json")["status"] == runs.KILLED
    capsys.readouterr()
    assert state(*attempt(tmp_path / "run")) == never_stopped
    assert f"title: resumes after step {saved} of 12" in capsys.readouterr().err
    # And once more, as if killed while the model was saved: nothing is left to train.
    assert state(*attempt(tmp_path / "run")) == never_stopped


def test_early_stopping_is_gone_on_with_too(tmp_path, monkeypatch):
    wanted = state(*attempt(tmp_path / "never", patience=1))
    epochs = len(json.loads(wanted[1])[0])
    assert 1 < epochs < EPOCHS
    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "StopOnNaN", At)
        patched.setattr(At, "step", STEPS + 1)
        with pytest.raises(signals.Stopped):
            attempt(tmp_path / "run", patience=1)
    assert state(*attempt(tmp_path / "run", patience=1)) == wanted
    assert state(*attempt(tmp_path / "run", patience=1)) == wanted


@pytest.mark.parametrize(
    ("every", "wanted"),
    [
        (settings.Checkpoint(seconds=0), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        (settings.Checkpoint(steps=5), [5, 10, 12]),
        (settings.Checkpoint(), [12]),
    ],
)
def test_how_often(tmp_path, monkeypatch, every, wanted):
    found = []
    monkeypatch.setattr(checkpoint, "save", lambda run, step, *rest: found.append(step))
    attempt(tmp_path / "run", every=every)
    assert found == wanted


def test_seconds_add_up_over_processes(tmp_path):
    attempt(tmp_path / "run")
    with runs.open_run(tmp_path / "run", "finetune", {"seed": 0}, "hash") as run:
        run.started -= 1000
        saved = checkpoint.load(run)
        saved.state["seconds"] = 500.0
        made = model()
        best = callbacks.BestWeights("val_accuracy", 1, 9, made.get_weights())
        loop.fit(run, made, data, loop.TrainingState(best, saved), phase(), HELD_OUT)
        run.set_status(runs.FINISHED)
        assert 500 <= run.status["seconds"] < 600


def test_a_checkpoint_of_another_network_is_refused(tmp_path, monkeypatch):
    attempt(tmp_path / "run")
    original = model
    monkeypatch.setitem(globals(), "model", lambda: original(units=6))
    with pytest.raises(UserError, match="its checkpoint is of another network"):
        attempt(tmp_path / "run")


@pytest.mark.parametrize(
    ("done", "wanted"),
    [
        (0, [(0, 4, 3)]), (1, [(0, 1, 2), (1, 4, 3)]), (3, [(1, 4, 3)]),
        (11, [(3, 4, 1)]), (12, []),
    ],
)  # fmt: skip
def test_stretches(done, wanted):
    found = loop.remaining_fit_calls(done, STEPS, EPOCHS)
    assert found == wanted
    assert sum((last - first) * count for first, last, count in found) == 12 - done

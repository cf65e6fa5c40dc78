"""History, the stop at NaN, TensorBoard, and the progress of training."""

import math
import re

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from rich.console import Console
from tensorboard.backend.event_processing import event_accumulator

from dermssl.core import runs
from dermssl.core.errors import RunFailed
from dermssl.core.settings import Backbone
from dermssl.training import callbacks


@pytest.fixture
def run(tmp_path):
    config = {"backbone": Backbone(), "seed": 0}
    with runs.open_run(tmp_path / "run", "finetune", config, "hash") as made:
        yield made


def model(rate=0.1):
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    made.compile(keras.optimizers.SGD(rate), "mse")
    return made


DATA = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)


def test_history_has_a_row_an_epoch_over_all_phases(run):
    rows = []
    for phase, epochs in (("frozen", 2), ("unfrozen", 1)):
        history = callbacks.History(run, phase, rows)
        model(0.25).fit(*DATA, epochs=epochs, batch_size=4, verbose=0, callbacks=[history])
    table = pd.read_csv(run / "history.csv")
    assert table["phase"].tolist() == ["frozen", "frozen", "unfrozen"]
    assert table["epoch"].tolist() == [1, 2, 1]
    assert {"loss", "learning_rate", "seconds"} <= set(table)
    assert (table["learning_rate"] == 0.25).all()
    assert table["loss"][1] < table["loss"][0]
    assert len(rows) == 3


def test_history_knows_the_rate_of_a_loss_scale_optimizer(run):
    inner = keras.optimizers.Adam(0.125)
    made = model()
    made.compile(keras.mixed_precision.LossScaleOptimizer(inner), "mse")
    made.fit(*DATA, verbose=0, callbacks=[callbacks.History(run, "p", [])])
    assert pd.read_csv(run / "history.csv")["learning_rate"].tolist() == [0.125]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run_at_once(run, bad):
    seen = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    labels = DATA[1].copy()
    labels[4] = bad  # the second step
    with pytest.raises(RunFailed, match=r"diverged, the loss became (nan|inf) at step 2"):
        model().fit(DATA[0], labels, batch_size=4, epochs=3, shuffle=False, verbose=0,
                    callbacks=[count, callbacks.StopOnNaN(run)])  # fmt: skip
    assert seen == [0, 1]
    assert run.status["status"] == runs.DIVERGED
    assert "lower learning rate" in run.status["reason"]


def test_an_update_that_ruins_the_weights_after_the_last_loss(run):
    # The loss of the only step is fine; the weights it leaves are not.
    with pytest.raises(RunFailed, match="kernel is no number any more"):
        model(1e39).fit(*DATA, batch_size=8, verbose=0, callbacks=[callbacks.StopOnNaN(run)])
    assert run.status["status"] == runs.DIVERGED


def test_finite_losses_go_on(run):
    model().fit(*DATA, validation_data=DATA, verbose=0, callbacks=[callbacks.StopOnNaN(run)])
    assert run.status["status"] == runs.RUNNING


def epoch_losses(folder):
    """(epoch, loss) of every event in a TensorBoard folder."""
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    found = events.Tensors("epoch_loss")
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in found]


def test_each_epoch_is_once_in_tensorboard_also_after_a_kill(run):
    rows = [{"phase": "frozen", "epoch": 1, "loss": 7.0, "val_loss": 8.0, "seconds": 1.0}]
    for phase in ("frozen", "unfrozen", "unfrozen"):  # the last stands for a part epoch's rest
        history = callbacks.History(run, phase, rows)
        scalars = callbacks.TensorBoardScalars(run, phase, rows)
        epoch = {"frozen": 1}.get(phase, len(rows) - 2)
        model().fit(*DATA, validation_data=DATA, initial_epoch=epoch, epochs=epoch + 1, verbose=0,
                    callbacks=[history, scalars])  # fmt: skip
    for phase in ("frozen", "unfrozen"):
        wanted = [row for row in rows if row["phase"] == phase]
        for side, name in (("train", "loss"), ("validation", "val_loss")):
            found = epoch_losses(run / "tensorboard" / phase / side)
            assert found == [(row["epoch"], float(np.float32(row[name]))) for row in wanted]


def test_an_undefined_number_is_no_point(run):
    rows = [{"phase": "pretrain", "epoch": 1, "loss": 1.0, "linear_low": float("nan")}]
    scalars = callbacks.TensorBoardScalars(run, "pretrain", rows)
    scalars.on_train_begin()
    scalars.on_train_end()
    events = event_accumulator.EventAccumulator(str(run / "tensorboard" / "pretrain" / "train"))
    events.Reload()
    assert events.Tags()["tensors"] == ["epoch_loss"]


def test_progress_shows_the_epoch_and_its_loss(capsys):
    shown = callbacks.Progress("training", 2, 2)
    shown.display.console = Console(stderr=True, force_terminal=False, width=60)
    with shown:
        model().fit(*DATA, epochs=2, batch_size=4, verbose=0, callbacks=[shown])
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"training: done in \d+ s, epoch 2/2 loss \d+\.\d{3}", line)
    assert shown.display.done == 4

"""Keras callbacks of training runs: history, best weights, TensorBoard, progress."""

import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from dermssl.core import atomic_files, progress, runs
from dermssl.core.errors import RunFailed
from dermssl.core.event_file import EventFile


class History(keras.callbacks.Callback):
    """history.csv, one row an epoch, rewritten whole after each.

    Args:
        run: `runs.Run`.
        phase: str, a column of the table.
        rows: list of dict, the rows of earlier phases; this callback adds to it.

    Attributes:
        before: float, seconds that an earlier process spent on the epoch at hand.
    """

    def __init__(self, run: runs.Run, phase: str, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.run, self.phase, self.rows = run, phase, rows
        self.before = 0.0
        self._started: float | None = None

    def seconds(self) -> float:
        """Seconds spent on the epoch at hand, 0 between two."""
        return self.before + (time.time() - self._started if self._started else 0.0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._started = time.time()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        timing = {"learning_rate": rate, "seconds": round(self.seconds(), 2)}
        self.rows.append({"phase": self.phase, "epoch": epoch + 1, **(logs or {}), **timing})
        self.before, self._started = 0.0, None
        atomic_files.write_csv(self.run / "history.csv", pd.DataFrame(self.rows))
        for listen in self.run.listeners:
            listen(self.rows)


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the best epoch of all phases; ends a phase that gets no better.

    Args:
        monitor: str, the name in Keras's logs.
        sign: 1 where more of it is better, -1 where less is.
        patience: int, epochs of a phase without a better one before it ends.
        weights: list of arrays, what counts until an epoch is done.

    Attributes:
        weights: list of arrays, of the best epoch so far. Of two that are equal the first.
        stopped: bool, whether this phase has ended early.
    """

    def __init__(self, monitor: str, sign: int, patience: int, weights: list[np.ndarray]) -> None:
        super().__init__()
        self.monitor, self.sign, self.patience = monitor, sign, patience
        self.weights, self.value = weights, -math.inf
        self.begin_phase()

    def begin_phase(self) -> None:
        """Patience counts anew, against the epochs of this phase alone."""
        self.phase_value, self.wait, self.stopped = -math.inf, 0, False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        value = self.sign * float((logs or {})[self.monitor])
        if value > self.value:
            self.value, self.weights = value, self.model.get_weights()
        if value > self.phase_value:
            self.phase_value, self.wait = value, 0
        else:
            self.wait += 1
        if self.wait >= self.patience:
            self.stopped = self.model.stop_training = True

    _STATE = ("value", "phase_value", "wait", "stopped")

    def state(self) -> dict[str, Any]:
        """dict for a checkpoint; `weights` goes beside it."""
        return {name: getattr(self, name) for name in self._STATE}

    def restore(self, state: dict[str, Any], weights: list[np.ndarray]) -> None:
        """Resume from a `state()`."""
        self.weights = weights
        for name in self._STATE:
            setattr(self, name, state[name])


class StopOnNaN(keras.callbacks.Callback):
    """Ends a run whose loss is no number any more, as DIVERGED."""

    def __init__(self, run: runs.Run) -> None:
        super().__init__()
        self.run = run

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            reason = f"the loss became {loss} at step {batch + 1}; try a lower learning rate"
            self._stop(reason)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        # The last update may ruin the weights after its loss was computed, and the loss does
        # not show it everywhere: TensorFlow's ReLU turns NaN into 0 on a CPU.
        for weight in self.model.weights:
            if not keras.ops.all(keras.ops.isfinite(weight)):
                self._stop(f"{weight.path} is no number any more; try a lower learning rate")

    def _stop(self, reason):
        self.run.set_status(runs.DIVERGED, reason=reason)
        raise RunFailed(f"{self.run.path}: diverged, {reason}")


class TensorBoardScalars(keras.callbacks.Callback):
    """TensorBoard scalars of a phase, in RUN/tensorboard/PHASE/train and /validation.

    They are written anew from the rows of the history whenever training begins: a run that
    was killed and went on has each epoch once.

    Args:
        run, phase, rows: as for `History`, which must come before it.
    """

    def __init__(self, run: runs.Run, phase: str, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self.folder, self.phase, self.rows = run / "tensorboard" / phase, phase, rows

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.events: dict[str, EventFile] = {}
        for row in self.rows:
            self._write(row)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._write(self.rows[-1])

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for events in self.events.values():
            events.close()

    def _write(self, row):
        if row["phase"] != self.phase:
            return
        for name, value in row.items():
            # A probe's bound may be undefined: no point is drawn for it.
            if name in ("phase", "epoch", "seconds") or value is None or math.isnan(value):
                continue
            side = "validation" if name.startswith("val_") else "train"
            if side not in self.events:
                self.events[side] = EventFile(self.folder / side)
            tag = f"epoch_{name.removeprefix('val_')}"
            self.events[side].scalar(tag, value, step=row["epoch"])


class Progress(keras.callbacks.Callback):
    """Shows the epoch, its logs and the time left. Use it as a context around `fit`.

    Args:
        title: str, what is being done.
        epochs, steps: int.
        shown: names of the logs to show.
        done: int, steps that an earlier process has done.
    """

    WARM_UP = 3  # steps; the first one traces the network

    def __init__(
        self, title: str, epochs: int, steps: int, shown: Sequence[str] = ("loss",), done: int = 0
    ) -> None:
        super().__init__()
        self.epochs, self.shown = epochs, shown
        state = f"epoch {done // steps + 1}/{epochs}"
        self.display = progress.Progress(title, epochs * steps, done, state, self.WARM_UP)

    def __enter__(self) -> "Progress":
        self.display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.display.__exit__(*error)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.display.reach(self.display.done + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        values = ", ".join(f"{n} {logs[n]:.3f}" for n in self.shown if n in logs)
        self.display.reach(self.display.done, f"epoch {epoch + 1}/{self.epochs} {values}")

"""What every training run does at the end of a step or an epoch."""

import math
import shutil
import time

import keras
import pandas as pd
from rich import progress
from rich.console import Console

from dermssl import runs
from dermssl.errors import RunFailed


class History(keras.callbacks.Callback):
    """history.csv, one row an epoch, rewritten whole after each.

    Args:
        run: `runs.Run`.
        phase: str, a column of the table.
        before: list of dict, the rows of earlier phases; this callback adds to it.
    """

    def __init__(self, run, phase, before):
        super().__init__()
        self.run, self.phase, self.rows = run, phase, before

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.time()

    def on_epoch_end(self, epoch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        timing = {"learning_rate": rate, "seconds": round(time.time() - self.started, 2)}
        self.rows.append({"phase": self.phase, "epoch": epoch + 1, **(logs or {}), **timing})
        runs.write_csv(self.run / "history.csv", pd.DataFrame(self.rows))


class StopOnNaN(keras.callbacks.Callback):
    """Ends a run whose loss is no number any more, as DIVERGED."""

    def __init__(self, run):
        super().__init__()
        self.run = run

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            reason = f"the loss became {loss} at step {batch + 1}; try a lower learning rate"
            self._stop(reason)

    def on_epoch_end(self, epoch, logs=None):
        # The last update may ruin the weights after its loss was computed, and the loss does
        # not show it everywhere: TensorFlow's ReLU turns NaN into 0 on a CPU.
        for weight in self.model.weights:
            if not keras.ops.all(keras.ops.isfinite(weight)):
                self._stop(f"{weight.path} is no number any more; try a lower learning rate")

    def _stop(self, reason):
        self.run.set_status(runs.DIVERGED, reason=reason)
        raise RunFailed(f"{self.run.path}: diverged, {reason}")


def scalars(run, name):
    """TensorBoard scalars in RUN/tensorboard/NAME, without those of an attempt before."""
    folder = run / "tensorboard" / name
    shutil.rmtree(folder, ignore_errors=True)
    return keras.callbacks.TensorBoard(folder, write_graph=False)


class Progress(keras.callbacks.Callback):
    """One moving line with the time left; without a terminal, a line now and then.

    Use it as a context around `fit`: an error must not leave the terminal without its cursor.

    Args:
        title: str, what is being done.
        epochs, steps: int.
        shown: names of the logs to show.
    """

    PLAIN_SECONDS = 15  # between two lines where there is no terminal

    def __init__(self, title, epochs, steps, shown=("loss",)):
        super().__init__()
        self.title, self.epochs, self.steps, self.shown = title, epochs, steps, shown
        self.console = Console(stderr=True)
        self.bar = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._stop_bar()

    def on_train_begin(self, logs=None):
        self.started = self.last = time.time()
        columns = [
            progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[state]}"), progress.TimeRemainingColumn(),
        ]  # fmt: skip
        self.bar = progress.Progress(*columns, console=self.console, transient=True)
        total = self.epochs * self.steps
        self.task = self.bar.add_task(self.title, total=total, state=f"epoch 1/{self.epochs}")
        if self.console.is_terminal:
            self.bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update(self.task, completed=self.epoch * self.steps + batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        values = ", ".join(f"{n} {logs[n]:.3f}" for n in self.shown if n in (logs or {}))
        state = f"epoch {epoch + 1}/{self.epochs} {values}"
        self.bar.update(self.task, state=state)
        now, done = time.time(), epoch + 1 == self.epochs
        if not self.console.is_terminal and (now - self.last > self.PLAIN_SECONDS or done):
            left = (now - self.started) * (self.epochs / (epoch + 1) - 1)
            line = f"{self.title}: {state}, {left:.0f} s left"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
            self.last = now

    def _stop_bar(self):
        if self.bar and self.console.is_terminal:  # elsewhere it would print a blank line
            self.bar.stop()

    def on_train_end(self, logs=None):
        self._stop_bar()
        if self.console.is_terminal:
            seconds = time.time() - self.started
            line = f"{self.title}: done in {seconds:.0f} s"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

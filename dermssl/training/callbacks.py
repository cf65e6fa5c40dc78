"""What every training run does at the end of a step or an epoch."""

import contextlib
import math
import shutil
import time

import keras
import pandas as pd
import tensorflow as tf
from rich import progress
from rich.console import Console

from dermssl.core import atomic_files, runs
from dermssl.core.errors import RunFailed


class History(keras.callbacks.Callback):
    """history.csv, one row an epoch, rewritten whole after each.

    Args:
        run: `runs.Run`.
        phase: str, a column of the table.
        rows: list of dict, the rows of earlier phases; this callback adds to it.

    Attributes:
        before: float, seconds that an earlier process spent on the epoch at hand.
    """

    def __init__(self, run, phase, rows):
        super().__init__()
        self.run, self.phase, self.rows = run, phase, rows
        self.before, self._started = 0.0, None

    def seconds(self):
        """Seconds spent on the epoch at hand, 0 between two."""
        return self.before + (time.time() - self._started if self._started else 0.0)

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.time()

    def on_epoch_end(self, epoch, logs=None):
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        timing = {"learning_rate": rate, "seconds": round(self.seconds(), 2)}
        self.rows.append({"phase": self.phase, "epoch": epoch + 1, **(logs or {}), **timing})
        self.before, self._started = 0.0, None
        atomic_files.write_csv(self.run / "history.csv", pd.DataFrame(self.rows))


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

    def __init__(self, monitor, sign, patience, weights):
        super().__init__()
        self.monitor, self.sign, self.patience = monitor, sign, patience
        self.weights, self.value = weights, -math.inf
        self.begin_phase()

    def begin_phase(self):
        """Patience counts anew, against the epochs of this phase alone."""
        self.phase_value, self.wait, self.stopped = -math.inf, 0, False

    def on_epoch_end(self, epoch, logs=None):
        value = self.sign * float(logs[self.monitor])
        if value > self.value:
            self.value, self.weights = value, self.model.get_weights()
        if value > self.phase_value:
            self.phase_value, self.wait = value, 0
        else:
            self.wait += 1
        if self.wait >= self.patience:
            self.stopped = self.model.stop_training = True

    _STATE = ("value", "phase_value", "wait", "stopped")

    def state(self):
        """dict for a checkpoint; `weights` goes beside it."""
        return {name: getattr(self, name) for name in self._STATE}

    def restore(self, state, weights):
        """Go on from a `state()`."""
        self.weights = weights
        for name in self._STATE:
            setattr(self, name, state[name])


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


class TensorBoardScalars(keras.callbacks.Callback):
    """TensorBoard scalars of a phase, in RUN/tensorboard/PHASE/train and /validation.

    They are written anew from the rows of the history whenever training begins: a run that
    was killed and went on has each epoch once.

    Args:
        run, phase, rows: as for `History`, which must come before it.
    """

    def __init__(self, run, phase, rows):
        super().__init__()
        self.folder, self.phase, self.rows = run / "tensorboard" / phase, phase, rows

    def on_train_begin(self, logs=None):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.writers = {}
        for row in self.rows:
            self._write(row)

    def on_epoch_end(self, epoch, logs=None):
        self._write(self.rows[-1])

    def on_train_end(self, logs=None):
        for writer in self.writers.values():
            writer.close()

    def _write(self, row):
        if row["phase"] != self.phase:
            return
        for name, value in row.items():
            # A probe's bound may be undefined: no point is drawn for it.
            if name in ("phase", "epoch", "seconds") or value is None or math.isnan(value):
                continue
            side = "validation" if name.startswith("val_") else "train"
            if side not in self.writers:
                self.writers[side] = tf.summary.create_file_writer(str(self.folder / side))
            with self.writers[side].as_default():
                tf.summary.scalar(f"epoch_{name.removeprefix('val_')}", value, step=row["epoch"])
        for writer in self.writers.values():
            writer.flush()


class Progress(keras.callbacks.Callback):
    """One moving line with the time left; without a terminal, a line now and then.

    Use it as a context around `fit`: an error must not leave the terminal without its cursor.

    Args:
        title: str, what is being done.
        epochs, steps: int.
        shown: names of the logs to show.
        done: int, steps that an earlier process has done.
    """

    PLAIN_SECONDS = 15  # between two lines where there is no terminal

    def __init__(self, title, epochs, steps, shown=("loss",), done=0):
        super().__init__()
        self.title, self.epochs, self.steps, self.shown = title, epochs, steps, shown
        self.done = self.first = done
        self.console = Console(stderr=True)
        self.bar = None

    def __enter__(self):
        if self.first:
            self._say(f"{self.title}: goes on after step {self.first} of {self._total()}")
        return self

    def __exit__(self, error, *rest):
        if self.bar and self.console.is_terminal:  # elsewhere it would print a blank line
            self.bar.stop()
            if error is None:
                self._say(f"{self.title}: done in {time.time() - self.started:.0f} s")

    def on_train_begin(self, logs=None):
        if self.bar:  # a second `fit` of the same phase
            return
        self.started = self.last = time.time()
        columns = [
            progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[state]}"), progress.TimeRemainingColumn(),
        ]  # fmt: skip
        self.bar = progress.Progress(*columns, console=self.console, transient=True)
        state = f"epoch {self.done // self.steps + 1}/{self.epochs}"
        self.task = self.bar.add_task(
            self.title, total=self._total(), completed=self.done, state=state
        )
        if self.console.is_terminal:
            self.bar.start()

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        self.bar.update(self.task, completed=self.done)

    def on_epoch_end(self, epoch, logs=None):
        values = ", ".join(f"{n} {logs[n]:.3f}" for n in self.shown if n in (logs or {}))
        state = f"epoch {epoch + 1}/{self.epochs} {values}"
        self.bar.update(self.task, state=state)
        now, ended = time.time(), epoch + 1 == self.epochs
        if not self.console.is_terminal and (now - self.last > self.PLAIN_SECONDS or ended):
            pace = (now - self.started) / (self.done - self.first)
            self._say(f"{self.title}: {state}, {pace * (self._total() - self.done):.0f} s left")
            self.last = now

    def _total(self):
        return self.epochs * self.steps

    def _say(self, line):
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def counted(title, total):
    """A line on stderr with the time left; nothing where there is no terminal.

    Args:
        title: str, what is being done.
        total: int, how many photos.

    Yields:
        function of the number done so far.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    columns = [
        progress.TextColumn("{task.description}"), progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(), progress.TimeRemainingColumn(),
    ]  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)

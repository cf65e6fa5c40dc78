"""Run Keras's `fit` with checkpoints, so that it resumes exactly, also within an epoch.

What a step computes is a function of its number and of the state before it. So a checkpoint
holds all state: the variables of the model (with the seeds of its dropout), of the optimizer
(with the number of its steps, which the learning rate follows) and of the metrics (the running
means of a part epoch), and the rows, best epoch and patience of the callbacks. The data need
no state: they are made from any step on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from dermssl.core import runs, settings
from dermssl.core.errors import UserError
from dermssl.data import python_calls
from dermssl.training import callbacks, checkpoint, input_share
from dermssl.training.distribution import Distribution


@dataclass
class TrainingState:
    """Where a run stands, but for the variables of its model.

    Attributes:
        best: `callbacks.BestWeights` of all phases, or None.
        saved: `checkpoint.Saved` that the next `fit` resumes from, or None.
        rows: list of dict, the history so far, one an epoch.
        phase: int, the number of the phase at hand.
        offset: int, steps of the phases before: with it the names of checkpoints grow.
        done: int, steps of this phase.
        epoch_seconds: float, what an earlier process spent on the epoch at hand.
        input_told: bool, whether this process has said that the input is the bottleneck.
    """

    best: callbacks.BestWeights | None = None
    saved: checkpoint.Saved | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    phase: int = 0
    offset: int = 0
    done: int = 0
    epoch_seconds: float = 0.0
    input_told: bool = False

    def first_phase(self) -> int:
        """The number of the phase to resume."""
        return self.saved.state["phase"] if self.saved else 0

    def begin_phase(self, number: int, offset: int) -> None:
        """Start a phase after `offset` steps of those before."""
        self.phase, self.offset, self.done = number, offset, 0
        if self.best:
            self.best.begin_phase()

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it, in words; the best weights go beside."""
        names = ("phase", "offset", "done", "rows", "epoch_seconds")
        best = {"best": self.best.state()} if self.best else {}
        return {name: getattr(self, name) for name in names} | best

    def restore(self) -> None:
        """Take over what is saved, if anything is."""
        if self.saved is None:
            return
        state, arrays = self.saved.state, self.saved.arrays
        self.done, self.epoch_seconds = state["done"], state["epoch_seconds"]
        self.rows[:] = state["rows"]
        if self.best:
            self.best.restore(state["best"], arrays["best"])


@dataclass(frozen=True)
class FitSettings:
    """What one phase of training does.

    Attributes:
        phase: str, its name in the history.
        title: str, for the progress line.
        steps: int, steps an epoch.
        epochs: int.
        shown: names of the logs to show.
        every: `settings.Checkpoint`, how often to save.
        logging: `settings.Logging`, what goes to TensorBoard.
    """

    phase: str
    title: str
    steps: int
    epochs: int
    shown: Sequence[str] = ("loss",)
    every: settings.Checkpoint = settings.Checkpoint()
    logging: settings.Logging = settings.Logging()


def fit(
    run: runs.Run,
    model: keras.Model,
    data: Callable[[int, int], tf.data.Dataset],
    state: TrainingState,
    config: FitSettings,
    validation: tf.data.Dataset | None = None,
    also: Sequence[keras.callbacks.Callback] = (),
    distribution: Distribution | None = None,
) -> None:
    """Train a compiled model for a phase, or for what is left of it.

    Args:
        run: `runs.Run`: gets history.csv, tensorboard/ and checkpoints/.
        model: compiled `keras.Model`.
        data: function of two ints, (first, last): a `tf.data.Dataset` of these steps of the phase.
        state: `TrainingState` at the beginning of the phase; it is moved on.
        config: `FitSettings`.
        validation: `tf.data.Dataset` or None.
        also: callbacks whose additions to an epoch's logs go into the history.
        distribution: `Distribution` in whose scope the model was made and compiled; `data` then
            gives this worker's parts of each step. None for one device.

    Raises:
        RunFailed: the run diverged, a file could not be written, or another worker is gone.
        signals.Stopped: a signal came; the run is saved.
    """
    distribution = distribution or Distribution()
    model.optimizer.build(model.trainable_variables)
    if distribution.replicas > 1:
        distribution.build(model, data(state.done, state.done + 1))
    history = callbacks.History(run, config.phase, state.rows)
    saver = _Saver(run, state, config, history, distribution)
    if state.saved:
        saver.restore(model)
        if len(model.metrics_variables) < len(saver.running or []):
            # Keras makes compiled metrics with the first batch it sees, too late to fill them.
            model.evaluate(distribution.data(data(state.done, state.done + 1)), verbose=0)
    progress = callbacks.Progress(
        config.title, config.epochs, config.steps, config.shown, state.done
    )
    waits = input_share.InputShare(
        progress.display.say, state.input_told or not distribution.is_chief,
        distribution.parts["devices"],
    )  # fmt: skip
    used = [callbacks.StopOnNaN(run), waits, *also, progress, history]
    if config.logging.tensorboard != "none":
        used.append(callbacks.TensorBoardScalars(run, config.phase, state.rows))
    used += [state.best, saver] if state.best else [saver]
    with progress, run.stop.defer_signal(), python_calls.guarded():
        for first, last, count in remaining_fit_calls(state.done, config.steps, config.epochs):
            if state.best and state.best.stopped:
                break
            start = state.done
            model.fit(
                distribution.data(waits.watch(data(start, start + (last - first) * count))),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=count,
                validation_data=validation,
                shuffle=False,
                verbose=0,
                callbacks=used,
            )
        waits.end()
        state.input_told = waits.told
        saver.save(model)


def remaining_fit_calls(done: int, steps: int, epochs: int) -> list[tuple[int, int, int]]:
    """What is left after `done` steps, as calls of `fit`: the rest of an epoch is one of its own.

    Returns:
        list of (first epoch, epoch to end before, steps an epoch).
    """
    epoch, within = divmod(done, steps)
    left = []
    if within:
        left.append((epoch, epoch + 1, steps - within))
        epoch += 1
    if epoch < epochs:
        left.append((epoch, epochs, steps))
    return left


class _Saver(keras.callbacks.Callback):
    """Saves between steps, by time, by number and when a signal came; the last callback."""

    def __init__(self, run, state, config, history, distribution):
        super().__init__()
        self.distribution = distribution
        self.run, self.state, self.config, self.history = run, state, config, history
        self.running = None  # metrics of a part epoch, to be put back
        self._saved_at, self._saved_time = None, time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        if self.running is not None:  # `fit` has just reset them
            if self.distribution.replicas > 1:
                self.distribution.write_apart(self.model.metrics_variables, *self.running)
            else:
                _assign(self.model.metrics_variables, self.running, self.run)
            self.running = None

    def on_train_batch_end(self, batch, logs=None):
        self.state.done += 1
        if self.state.done % self.config.steps:  # an epoch's last step is saved with its validation
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()

    def _look(self):
        done, every = self.state.done, self.config.every
        by_number = every.steps and done - (self._saved_at or 0) >= every.steps
        by_time = time.monotonic() - self._saved_time >= every.seconds
        # Signals and clocks differ between workers, and reading metrics takes all of them.
        wish = self.distribution.agree(self.run.stop.asked or int(by_number or by_time))
        if wish:
            self.save(self.model)
        if wish > 1:  # a signal's number
            self.run.stop.asked = wish
            total = self.config.steps * self.config.epochs
            raise self.run.stop.stopped(f"saved after step {done} of {total}")

    def save(self, model):
        """Write a checkpoint, unless this step has one."""
        state = self.state
        if self._saved_at == state.done:
            return
        state.epoch_seconds = self.history.seconds()
        arrays = {
            "model": _values(model.variables),
            "optimizer": _values(model.optimizer.variables),
            "metrics": self._metrics() if state.done % self.config.steps else [],
        }
        if state.best:
            arrays["best"] = state.best.weights
        entry = state.as_dict() | {"seconds": time.time() - self.run.started}
        if self.distribution.replicas > 1:
            entry["replicas"] = self.distribution.replicas
        checkpoint.save(self.run, state.offset + state.done, entry, arrays)
        self._saved_at, self._saved_time = state.done, time.monotonic()

    def _metrics(self):
        variables = self.model.metrics_variables
        if self.distribution.replicas > 1:
            return [self.distribution.read_apart(variables)]
        return _values(variables)

    def restore(self, model):
        """Put everything back but the metrics, which `fit` would reset."""
        state, saved = self.state, self.state.saved
        before, now = saved.state.get("replicas", 1), self.distribution.replicas
        if before != now:
            raise UserError(
                f"{self.run.path}: its checkpoint was made on {before} device(s), this is a start "
                f"on {now}, which would not give the same numbers; start it on as many "
                "(distribution.strategy), or run.overwrite starts the run from its beginning"
            )
        _assign(model.variables, saved.arrays["model"], self.run)
        _assign(model.optimizer.variables, saved.arrays["optimizer"], self.run)
        state.restore()
        self._saved_at = state.done
        if state.done % self.config.steps:
            self.running = saved.arrays["metrics"]
        self.history.before = state.epoch_seconds
        self.run.started = time.time() - saved.state["seconds"]
        state.saved = None


def _values(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _assign(variables, values, run):
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise UserError(
            f"{run.path}: its checkpoint is of another network; "
            "run.overwrite starts the run from its beginning"
        )
    for variable, value in zip(variables, values):
        variable.assign(value)


def warmup_cosine(
    peak: float, steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up from 0 to `peak`, then a cosine down to 0 (Loshchilov & Hutter, 2017).

    Args:
        peak: float, the highest rate.
        steps: int, all steps of the run, warm-up included.
        warmup_steps: int, under `steps`.

    Returns:
        A Keras schedule: 0 at step 0 (or `peak`, without warm-up), `peak` at
        `warmup_steps`, 0 at `steps`.
    """
    if not warmup_steps:
        return keras.optimizers.schedules.CosineDecay(peak, steps)
    return keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup_steps, warmup_target=peak, warmup_steps=warmup_steps
    )

"""Keras's `fit`, saved as it goes and gone on with exactly, in the middle of an epoch too.

What a step computes is a function of its number and of the state before it. So a checkpoint
holds all state: the variables of the model (with the seeds of its dropout), of the optimizer
(with the number of its steps, which the learning rate follows) and of the metrics (the running
means of a part epoch), and the rows, best epoch and patience of the callbacks. The data need
no state: they are made from any step on.
"""

import time

import keras

from dermssl.core import settings
from dermssl.core.errors import UserError
from dermssl.training import callbacks, checkpoint


def fit(
    run, model, data, steps, epochs, phase, rows, title, shown,
    every=None, saved=None, offset=0, number=0, validation=None, best=None,
    also=(),
):  # fmt: skip
    """Train a compiled model for a phase, or for what is left of it.

    Args:
        run: `runs.Run`: gets history.csv, tensorboard/ and checkpoints/.
        model: compiled `keras.Model`.
        data: function of two ints, (first, last): a `tf.data.Dataset` of these steps of the phase.
        steps: int, steps an epoch.
        epochs: int.
        phase: str, its name.
        rows: list of dict, the history of the phases before; this phase's are added.
        title: str, for the progress line.
        shown: names of the logs to show.
        every: `settings.Checkpoint`; None for its defaults.
        saved: `checkpoint.Saved` of this phase to go on from, or None.
        offset: int, steps of the phases before: with it the names of checkpoints grow.
        number: int, of the phase.
        validation: `tf.data.Dataset` or None.
        best: `callbacks.BestWeights` or None.
        also: callbacks whose additions to an epoch's logs go into the history.

    Raises:
        RunFailed: the run diverged, or a file could not be written.
        stopping.Stopped: a signal came; the run is saved.
    """
    model.optimizer.build(model.trainable_variables)
    history = callbacks.History(run, phase, rows)
    saver = _Saver(run, every or settings.Checkpoint(), history, best, steps, epochs)
    saver.place = {"phase": number, "offset": offset}
    if best:
        best.begin_phase()
    if saved:
        saver.restore(model, saved)
        if len(model.metrics_variables) < len(saved.arrays["metrics"]):
            # Keras makes compiled metrics with the first batch it sees, too late to fill them.
            model.evaluate(data(saver.done, saver.done + 1), verbose=0)
    progress = callbacks.Progress(title, epochs, steps, shown, saver.done)
    used = [callbacks.StopOnNaN(run), *also, progress, history]
    used.append(callbacks.TensorBoardScalars(run, phase, rows))
    used += [best, saver] if best else [saver]
    with progress, run.stop.defer_signal():
        for first, last, count in remaining_fit_calls(saver.done, steps, epochs):
            if best and best.stopped:
                break
            start = saver.done
            model.fit(
                data(start, start + (last - first) * count),
                initial_epoch=first,
                epochs=last,
                steps_per_epoch=count,
                validation_data=validation,
                shuffle=False,
                verbose=0,
                callbacks=used,
            )
        saver.save(model)


def remaining_fit_calls(done, steps, epochs):
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

    def __init__(self, run, every, history, best, steps, epochs):
        super().__init__()
        self.run, self.every, self.history, self.best = run, every, history, best
        self.steps, self.epochs = steps, epochs
        self.done = 0  # steps of this phase
        self._saved_at, self._saved_time = None, time.monotonic()
        self._running = None  # metrics of a part epoch, to be put back

    def on_epoch_begin(self, epoch, logs=None):
        if self._running is not None:  # `fit` has just reset them
            _assign(self.model.metrics_variables, self._running, self.run)
            self._running = None

    def on_train_batch_end(self, batch, logs=None):
        self.done += 1
        if self.done % self.steps:  # an epoch's last step is saved with its validation
            self._look()

    def on_epoch_end(self, epoch, logs=None):
        self._look()

    def _look(self):
        if self.run.stop.asked is not None:
            self.save(self.model)
            total = self.steps * self.epochs
            raise self.run.stop.stopped(f"saved after step {self.done} of {total}")
        by_number = self.every.steps and self.done - (self._saved_at or 0) >= self.every.steps
        if by_number or time.monotonic() - self._saved_time >= self.every.seconds:
            self.save(self.model)

    def save(self, model):
        """Write a checkpoint, unless this step has one."""
        if self._saved_at == self.done:
            return
        state = {
            **self.place,
            "done": self.done,
            "rows": self.history.rows,
            "epoch_seconds": self.history.seconds(),
            "seconds": time.time() - self.run.started,
        }
        within = self.done % self.steps
        arrays = {
            "model": _values(model.variables),
            "optimizer": _values(model.optimizer.variables),
            "metrics": _values(model.metrics_variables) if within else [],
        }
        if self.best:
            state["best"], arrays["best"] = self.best.state(), self.best.weights
        checkpoint.save(self.run, self.place["offset"] + self.done, state, arrays)
        self._saved_at, self._saved_time = self.done, time.monotonic()

    def restore(self, model, saved):
        """Put everything back but the metrics, which `fit` would reset."""
        state, arrays = saved.state, saved.arrays
        _assign(model.variables, arrays["model"], self.run)
        _assign(model.optimizer.variables, arrays["optimizer"], self.run)
        self.done = self._saved_at = state["done"]
        if self.done % self.steps:
            self._running = arrays["metrics"]
        self.history.rows[:] = state["rows"]
        self.history.before = state["epoch_seconds"]
        self.run.started = time.time() - state["seconds"]
        if self.best:
            self.best.restore(state["best"], arrays["best"])


def _values(variables):
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def _assign(variables, values, run):
    if [tuple(v.shape) for v in variables] != [value.shape for value in values]:
        raise UserError(
            f"{run.path}: its checkpoint is of another network; "
            "--overwrite starts the run from its beginning"
        )
    for variable, value in zip(variables, values):
        variable.assign(value)


def warmup_cosine(peak, steps, warmup_steps=0):
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

"""TensorBoard's histograms and pictures of a training, epoch by epoch.

They are read from weights, optimizer and validation metrics that are there anyway, and nothing
random is drawn: training has the same numbers with them and without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from dermssl.core import markdown, runs
from dermssl.core.errors import UserError
from dermssl.core.event_file import EventFile
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import heat_overlay
from dermssl.inference import outputs
from dermssl.models import grad_cam
from dermssl.models.classifier import LesionClassifier
from dermssl.training import pictures
from dermssl.training.metrics import BalancedAccuracy

EVERY = 5  # epochs between two histograms, first and last included
LAYERS = 6  # that have histograms, evenly from the first to the last
WATCHED = 8  # validation photos
COLUMNS = ("photo", "file", "true", "predicted", "P(predicted)", "P(true)")
GRADIENT = (
    "Moving average of the gradient, as Adam keeps it with beta_1 = {:g} (about the last {:.0f} "
    "steps), without its bias towards 0."
)


@dataclass(frozen=True, eq=False)
class WatchedPhotos:
    """The same few validation photos, from the first epoch to the last.

    Attributes:
        images: uint8 (n, size, size, 3), as the network sees them.
        paths: of n photos, as in their table.
        fine, coarse: int (n,), class numbers, -1 unknown.
    """

    images: np.ndarray
    paths: Sequence[str]
    fine: np.ndarray
    coarse: np.ndarray

    def truth(self, taxonomy: Taxonomy) -> list[str]:
        """The name of each photo's class; its coarse one where the fine one isn't known."""
        return [
            taxonomy.fine[fine] if fine >= 0 else taxonomy.coarse[coarse]
            for fine, coarse in zip(self.fine, self.coarse)
        ]


class EpochDetails(keras.callbacks.Callback):
    """Histograms and pictures of a phase, in RUN/tensorboard/PHASE/details.

    A run that was stopped goes on after the last epoch of its history: each is there once.

    Args:
        run, phase, rows: as for `callbacks.TensorBoardScalars`.
        epochs: int, of the phase.
        watched: `WatchedPhotos` of a `LesionClassifier`, or None.
        metric: the classifier's `BalancedAccuracy`, which holds the confusion matrix of the
            validation split when an epoch ends; or None.
        workers: int, that score the whole split each, and whose counts are summed.
    """

    def __init__(
        self, run: runs.Run, phase: str, rows: list[dict[str, Any]], epochs: int,
        watched: WatchedPhotos | None = None, metric: BalancedAccuracy | None = None,
        workers: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.folder, self.phase = run / "tensorboard" / phase / "details", phase
        self.rows, self.epochs, self.workers = rows, epochs, workers
        self.watched, self.metric = watched, metric

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        done = max((row["epoch"] for row in self.rows if row["phase"] == self.phase), default=0)
        self.events = EventFile(self.folder, last=done)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done = epoch + 1
        if done in (1, self.epochs) or done % EVERY == 0:
            self._histograms(done)
        if self.watched is not None:
            self._probabilities(done)
        if self.metric is not None:
            counts = keras.ops.convert_to_numpy(self.metric.confusion) / self.workers
            picture = pictures.confusion_matrix(
                np.rint(counts).astype(int), self.model.taxonomy.fine
            )
            about = "Fine classes of the validation split; unweighted counts."
            self.events.image("confusion_matrix", picture, done, about)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.events.close()

    def _histograms(self, step):
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # in mixed precision
        beta, done = optimizer.beta_1, int(keras.ops.convert_to_numpy(optimizer.iterations))
        about = GRADIENT.format(beta, 1 / (1 - beta))
        for weight in _spread([v for v in self.model.trainable_variables if v.name == "kernel"]):
            average = optimizer._momentums[optimizer._get_variable_index(weight)]
            self.events.histogram(f"weights/{weight.path}", _finite(weight), step)
            gradient = _finite(average) / (1 - beta**done)
            self.events.histogram(f"gradients/{weight.path}", gradient, step, about)

    def _probabilities(self, step):
        watched, taxonomy = self.watched, self.model.taxonomy
        p = outputs.predict_proba(self.model, [watched.images])["fine"]
        rows, captions = [], []
        for k, truth in enumerate(watched.truth(taxonomy)):
            guess = int(p[k].argmax())
            of_true = f"{p[k, watched.fine[k]]:.3f}" if watched.fine[k] >= 0 else "n/a"
            name, of_guess = taxonomy.fine[guess], f"{p[k, guess]:.3f}"
            rows.append([str(k + 1), watched.paths[k], truth, name, of_guess, of_true])
            captions.append([f"{k + 1} true: {truth}", f"predicted: {name}", f"P {of_guess}"])
        about = "Photos of the validation split: the true class, the predicted one and its P."
        sheet = pictures.photo_sheet(_in_rows(list(watched.images), None), _in_rows(captions, []))
        self.events.image("validation_photos", sheet, step, about)
        self.events.text("probabilities", markdown.table(COLUMNS, rows), step)


def write_heat_maps(
    run: runs.Run, phase: str, model: LesionClassifier, watched: WatchedPhotos
) -> None:
    """Grad-CAM of the watched photos at the end of a phase, in RUN/tensorboard/PHASE/heat_maps.

    Nothing is written for a backbone without a spatial map, an mlp.

    Args:
        run, phase: as of `EpochDetails`.
        model: `LesionClassifier`, with the weights that count.
        watched: `WatchedPhotos`.
    """
    try:
        grad_cam.spatial(model)
    except UserError:
        return
    names, n = model.taxonomy.fine, len(watched.images)
    h, heats = grad_cam.with_embedding(model, watched.images.astype(np.float32))
    guess = keras.ops.convert_to_numpy(model.fine(h)).argmax(axis=1)
    wrong = np.flatnonzero((watched.fine >= 0) & (watched.fine != guess))
    other: list[np.ndarray | None] = [None] * n
    maps = [heat_overlay.overlay(photo, heat) for photo, heat in zip(watched.images, heats.numpy())]
    heats = grad_cam.heat_maps(model, watched.images[wrong], watched.fine[wrong])
    for k, heat in zip(wrong, heats):
        other[k] = heat_overlay.overlay(watched.images[k], heat)
    truth = watched.truth(model.taxonomy)
    captions = [
        [[f"{k + 1} true: {truth[k]}"] for k in range(n)],
        [[f"for {names[guess[k]]}"] for k in range(n)],
        [[f"for {truth[k]}" if k in wrong else ""] for k in range(n)],
    ]
    sheet = pictures.photo_sheet([list(watched.images), maps, other], captions)
    about = (
        "Grad-CAM: where the last feature map speaks for the predicted class and, where that is "
        "wrong, for the true one. No outline of a lesion, no proof of a good reason."
    )
    with EventFile(run / "tensorboard" / phase / "heat_maps") as events:
        events.image("heat_maps", sheet, about=about)


def _spread(items):
    """At most `LAYERS` of them, evenly from the first to the last."""
    places = np.linspace(0, len(items) - 1, min(LAYERS, len(items)))
    return [items[round(place)] for place in places]


def _finite(variable):
    values = np.asarray(keras.ops.convert_to_numpy(variable), np.float64)
    return values[np.isfinite(values)]


def _in_rows(items, empty):
    """Two rows; a place that is left over gets `empty`."""
    across = -(-len(items) // 2)
    return [items[:across], items[across:] + [empty] * (2 * across - len(items))]

"""Watch a pretraining: probes and measures on fixed photos, every few epochs.

All numbers are functions of the model's weights and of fixed photos, so a run that was stopped
and resumed has the same ones. The model is called in inference mode, with BatchNorm statistics of
the pairs, since its moving averages lag behind the weights for the first hundred steps. Its
weights, moving averages, metrics and random state stay as they are.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from dermssl.core import atomic_files, runs
from dermssl.data.photos import Photos
from dermssl.data.records import Dataset
from dermssl.evaluation import bootstrap
from dermssl.evaluation.interval import Interval
from dermssl.inference import outputs
from dermssl.models import batchnorm
from dermssl.training.ssl_health import embedding_quality, rules, view_shortcuts
from dermssl.training.ssl_health import photos as probe_photos
from dermssl.training.ssl_health.measures import HealthContext, HealthMeasures

FILE = "health.json"
BATCH = 64  # photos through the network at once
FOR_STATISTICS = 256  # views that BatchNorm's statistics are of, at most
N_RESAMPLES = 200  # of the probes' bootstrap
PROBES = {"knn": embedding_quality.knn_probe, "linear": embedding_quality.linear_probe}


def _print(line):
    print(line, file=sys.stderr, flush=True)


class Panel(keras.callbacks.Callback):
    """Looks at the model as it was before training, and after the first epoch, every
    `probe_every` epochs, and the last.

    Puts `measures.COLUMNS` into the epoch's logs, for the callbacks after it; the other epochs
    have none. Says a line, and keeps all of it in RUN/health.json.

    Args:
        run: `runs.Run`.
        dataset: `Dataset` with splits.
        photos: `Photos`, the pretraining set.
        config: dict, of `dermssl.pretrain.run`.
        say: function of a line of text; by default it goes to stderr.
    """

    def __init__(
        self, run: runs.Run, dataset: Dataset, photos: Photos, config: dict[str, Any],
        say: Callable[[str], None] = _print,
    ) -> None:  # fmt: skip
        super().__init__()
        self.run, self.settings, self._config = run, config["pretrain"], config
        self._sources, self._say = (dataset, photos), say
        self._ready = False
        self._first_weights: list[np.ndarray] | None = None  # until they are looked at
        self.views: view_shortcuts.ViewCheck | None = None
        self.start: HealthMeasures | None = None
        self.probes: list[dict[str, Any]] = []
        self._seconds: list[dict[str, float]] = []

    @property
    def _on(self):
        return self.settings.probe_every > 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._on and not self._ready:
            self._prepare(epoch)
        self._began = time.time()

    def _prepare(self, epoch):
        """Fix the photos; look at the views, and keep what a model starts from."""
        dataset, photos = self._sources
        size, most = self._config["backbone"].image_size, self.settings.probe_photos
        self._labelled = probe_photos.labelled(dataset, most, size, self._config["data"])
        seed = self._config["seed"]
        self._pairs = probe_photos.pairs(photos, most // 2, self.settings, seed, size)
        self._forward = outputs.traced(self.model, _embedded)
        self._ready = True
        self.views = view_shortcuts.check(*self._pairs)
        if self._steps() == 0:
            self._first_weights = self.model.get_weights()
        elif (self.run / FILE).exists():
            kept = runs.read_json(self.run / FILE)
            self.start = HealthMeasures.from_json(kept["start"]) if kept["start"] else None
            self.probes = [probe for probe in kept["probes"] if probe["epoch"] <= epoch]
            self._seconds = kept["seconds"]["probes"][: len(self.probes)]
        self._write()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._first_weights is not None:
            self._look_at_start()

    def _look_at_start(self):
        """Look at the model as it was before training.

        After the first step, so that nobody waits for the look to see that training runs; and
        before the step can be saved, so that a run that goes on has it.
        """
        began, trained = time.time(), self.model.get_weights()
        self.model.set_weights(self._first_weights)
        try:
            self.start, context = self._measure(), self._context(0.0, step=0)
        finally:
            self.model.set_weights(trained)
            self._first_weights = None
        finding = rules.worst_finding(self.start, context)
        self._tell("before training", finding, self.start, context)
        self._write()
        self._began += time.time() - began  # it is no part of the epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        done, epochs = epoch + 1, self.settings.epochs
        if not self._on or not (done in (1, epochs) or done % self.settings.probe_every == 0):
            return
        began = time.time()
        measures, context = self._measure(), self._context(done / epochs, logs)
        finding = rules.worst_finding(measures, context)
        measures = dataclasses.replace(measures, health=float(rules.LIGHTS.index(finding.colour)))
        if logs is not None:
            logs |= measures.logs()
        words = {"light": finding.colour, "reason": finding.reason, "remedy": finding.remedy}
        self.probes.append({"epoch": done, **words, **dataclasses.asdict(measures)})
        spent, epoch_seconds = time.time() - began, began - self._began
        self._seconds.append({"look": round(spent, 3), "epoch": round(epoch_seconds, 3)})
        self._tell(f"epoch {done}", finding, measures, context, f"; looked for {spent:.1f} s")
        self._write()

    def _steps(self):
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _measure(self):
        """`HealthMeasures` of the model's weights."""
        known = self._labelled
        _, by_averages = self._embed(self._pairs[0])  # as the saved model will be used
        with batchnorm.re_estimated(self.model, self._statistics(), self._train_forward):
            (h, first), (_, second) = map(self._embed, self._pairs)
            vectors = None if known is None else self._embed(known.images)[0]
        # These matrices are small: several BLAS threads would only wait for one another.
        with threadpool_limits(1):
            probes = {} if known is None else _probe(vectors, known)
            return HealthMeasures.of(h, first, second, probes, by_averages)

    def _statistics(self):
        """Float32 batches of views, about equally large: one of a single view has no variance."""
        views = self._pairs[0][:FOR_STATISTICS].astype(np.float32)
        return np.array_split(views, -(-len(views) // BATCH))

    def _train_forward(self, images):
        return self.model.projection_head(self.model(images, training=True), training=True)

    def _embed(self, images):
        """Embeddings h and projections z of uint8 images, float32 (n, d) and (n, k)."""
        starts = range(0, len(images), BATCH)
        return outputs.run(self._forward, (images[k : k + BATCH] for k in starts))

    def _context(self, progress, logs=None, step=None):
        logs, known = logs or {}, self._labelled
        step = self._steps() if step is None else step
        return HealthContext(
            self.settings, self.views, progress, step,
            loss=float(logs.get("loss", np.nan)), entropy=float(logs.get("entropy", np.nan)),
            start=self.start, n_labelled=0 if known is None else len(known.labels),
            chance=np.nan if known is None else known.chance,
        )  # fmt: skip

    def _tell(self, when, finding, measures, context, more=""):
        self._say(f"health {when}: {finding}\n  {rules.describe(measures, context)}{more}")

    def _write(self):
        known, probes = self._labelled is not None, self.probes
        last = probes[-1] if probes else {}
        looked, trained = (sum(row[name] for row in self._seconds) for name in ("look", "epoch"))
        lights = [probe["light"] for probe in probes]
        health = {
            **{name: last.get(name) for name in ("light", "reason", "remedy")},
            "worst_light": max(lights, key=rules.LIGHTS.index, default=None),
            "views": dataclasses.asdict(self.views) | {"shortcut": self.views.shortcut},
            "n_labelled": len(self._labelled.labels) if known else 0,
            "chance": self._labelled.chance if known else None,
            "start": dataclasses.asdict(self.start) if self.start else None,
            "probes": probes,
            # All that differs between two runs of the same.
            "seconds": {
                "probes": self._seconds,
                "share_of_these_epochs": looked / trained if trained else None,
            },
        }
        atomic_files.write_json(self.run / FILE, health)

    def summary(self) -> dict[str, Any] | None:
        """What ssl_stats.json keeps: health.json with the last probe alone and without times."""
        if not self._on or not (self.run / FILE).exists():  # none was asked for, till all was done
            return None
        health = runs.read_json(self.run / FILE)  # also of a run whose epochs were all done before
        *_, health["last"] = health.pop("probes")
        del health["seconds"]
        return health


def _probe(vectors, known):
    """dict of probe -> `Interval` of its balanced accuracy; NaN for vectors that aren't finite."""
    if not np.isfinite(vectors).all():
        return dict.fromkeys(PROBES, Interval(np.nan, np.nan, np.nan))
    return {
        name: bootstrap.bootstrap_metric(
            "balanced_accuracy", known.labels, probe(vectors, known.labels, known.half),
            known.groups, n_resamples=N_RESAMPLES,
        )
        for name, probe in PROBES.items()
    }  # fmt: skip


def _embedded(model, images):
    """Images -> (h, z) in float32, in inference mode."""
    h = model.backbone(images, training=False)
    z = model.projection_head(h, training=False)
    return tf.cast(h, tf.float32), tf.cast(z, tf.float32)

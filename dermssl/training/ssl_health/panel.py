"""The health panel of pretraining: probes and measures on fixed photos, every few epochs.

All numbers are functions of the model's weights and of fixed photos, so a run that was stopped
and resumed has the same ones. The model is only called, in inference mode: its weights,
moving averages, metrics and random state stay as they are.
"""

import dataclasses
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from threadpoolctl import threadpool_limits

from dermssl.core import atomic_files, runs
from dermssl.evaluation import bootstrap
from dermssl.evaluation.bootstrap import Interval
from dermssl.inference import outputs
from dermssl.training.ssl_health import embedding_quality, rules, view_shortcuts
from dermssl.training.ssl_health import photos as probe_photos

FILE = "health.json"
BATCH = 64  # photos through the network at once
DRAWS = 200  # of the probes' bootstrap
DEAD = 0.1  # spread below which a dimension counts as dead
# What history.csv and TensorBoard get; health is 0 green, 1 yellow, 2 red.
COLUMNS = (
    "knn", "knn_low", "knn_high", "linear", "linear_low", "linear_high", "pair_accuracy",
    "alignment", "uniformity", "effective_rank", "effective_rank_h", "spread", "dead", "health",
)  # fmt: skip


class Panel(keras.callbacks.Callback):
    """Looks at the model after the first epoch, every `probe_every` epochs, and the last.

    Puts `COLUMNS` into the epoch's logs, for the callbacks after it; the other epochs have
    none. Says a line on stderr, and keeps all of it in RUN/health.json.

    Args:
        run: `runs.Run`.
        dataset: `Dataset` with splits.
        photos: `pipeline.Photos`, the pool.
        config: dict, of `dermssl.pretrain.run`.
    """

    def __init__(self, run, dataset, photos, config):
        super().__init__()
        self.run, self.settings, self._config = run, config["pretrain"], config
        self._sources = dataset, photos
        self._ready = False
        self.views = self.start = None
        self.probes, self._seconds = [], []

    @property
    def _on(self):
        return self.settings.probe_every > 0

    def on_epoch_begin(self, epoch, logs=None):
        if self._on and not self._ready:
            self._prepare(epoch)
        self._began = time.time()

    def _prepare(self, epoch):
        """Fix the photos; look at the views, and at a model that has not been trained yet."""
        dataset, photos = self._sources
        size, most = self._config["backbone"].image_size, self.settings.probe_photos
        self._labelled = probe_photos.labelled(dataset, most, size, self._config["data"])
        seed = self._config["seed"]
        self._pairs = probe_photos.pairs(photos, most // 2, self.settings, seed, size)
        self._forward = _forward(self.model)
        self._ready = True
        self.views = view_shortcuts.check(*self._pairs)
        fresh = int(self.model.optimizer.iterations) == 0
        if fresh:
            self.start = self._measure()
            light = rules.worst_finding(self._seen(self.start, 0.0))
            self._say("before training", light, self.start)
        else:
            kept = runs.read_json(self.run / FILE) if (self.run / FILE).exists() else {}
            self.start = kept.get("start")
            self.probes = [probe for probe in kept.get("probes", []) if probe["epoch"] <= epoch]
            self._seconds = kept.get("seconds", {}).get("probes", [])[: len(self.probes)]
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        done, epochs = epoch + 1, self.settings.epochs
        if not self._on or not (done in (1, epochs) or done % self.settings.probe_every == 0):
            return
        began = time.time()
        measures = self._measure()
        light = rules.worst_finding(self._seen(measures, done / epochs, logs))
        measures["health"] = float(rules.LIGHTS.index(light.colour))
        if logs is not None:
            logs |= {name: measures[name] for name in COLUMNS if measures[name] is not None}
        self.probes.append({
            "epoch": done, "light": light.colour, "reason": light.reason, "remedy": light.remedy,
            **measures,
        })  # fmt: skip
        spent, epoch_seconds = time.time() - began, began - self._began
        self._seconds.append({"look": round(spent, 3), "epoch": round(epoch_seconds, 3)})
        self._say(f"epoch {done}", light, measures, f"; looked for {spent:.1f} s")
        self._write()

    def _measure(self):
        """dict of every measure of the model as it is; None where it isn't defined."""
        (h, first), (_, second) = map(self._embed, self._pairs)
        known = self._labelled
        vectors = None if known is None else self._embed(known.images)[0]
        # These matrices are small: several BLAS threads would only wait for one another.
        with threadpool_limits(1):
            return self._numbers(h, first, second, vectors)

    def _numbers(self, h, first, second, vectors):
        both = np.concatenate([first, second])
        found = dict.fromkeys(COLUMNS) | {"dimension": first.shape[1], "broken": False}
        if not (np.isfinite(both).all() and np.isfinite(h).all()):
            known = COLUMNS if vectors is not None else COLUMNS[COLUMNS.index("pair_accuracy") :]
            return found | dict.fromkeys(known, np.nan) | {"broken": True}
        spread = embedding_quality.dimension_spread(both)
        found |= {
            "pair_accuracy": embedding_quality.pair_accuracy(first, second),
            "alignment": embedding_quality.alignment(first, second),
            "uniformity": embedding_quality.uniformity(both),
            # One view of each photo: two views of one are near by training.
            "effective_rank": embedding_quality.effective_rank(first),
            "effective_rank_h": embedding_quality.effective_rank(h),
            "spread": float(spread.mean()),
            "dead": float((spread < DEAD).mean()),
        }
        if vectors is not None:
            found |= _probe(vectors, self._labelled)
        return found

    def _embed(self, images):
        """Embeddings h and projections z of uint8 images, float32 [n, d] and [n, k]."""
        starts = range(0, len(images), BATCH)
        return outputs.run(self._forward, (images[k : k + BATCH] for k in starts))

    def _seen(self, measures, progress, logs=None):
        logs, known = logs or {}, self._labelled is not None
        return rules.HealthMeasures(
            temperature=self.settings.temperature,
            batch_size=self.settings.batch_size,
            progress=progress,
            steps=int(self.model.optimizer.iterations),
            views=self.views,
            broken=measures["broken"],
            loss=float(logs.get("loss", np.nan)),
            entropy=float(logs.get("entropy", np.nan)),
            spread=measures["spread"],
            dead=measures["dead"],
            rank=measures["effective_rank"],
            most=min(len(self._pairs[0]), measures["dimension"]),
            pair_accuracy=measures["pair_accuracy"],
            knn=_interval(measures, "knn"),
            knn_start=_interval(self.start, "knn") if self.start else None,
            linear=_interval(measures, "linear"),
            n_labelled=len(self._labelled.labels) if known else 0,
            chance=self._labelled.chance if known else np.nan,
        )

    def _say(self, when, light, measures, more=""):
        n = 0 if self._labelled is None else len(self._labelled.labels)
        numbers = rules.describe(measures, self._seen(measures, 0.0), n)
        print(f"health {when}: {light}\n  {numbers}{more}", file=sys.stderr, flush=True)

    def _write(self):
        known, probes = self._labelled is not None, self.probes
        last = probes[-1] if probes else {}
        looked, trained = (sum(e[name] for e in self._seconds) for name in ("look", "epoch"))
        lights = [probe["light"] for probe in probes]
        found = {
            **{name: last.get(name) for name in ("light", "reason", "remedy")},
            "worst_light": max(lights, key=rules.LIGHTS.index, default=None),
            "views": dataclasses.asdict(self.views) | {"shortcut": self.views.shortcut},
            "n_labelled": len(self._labelled.labels) if known else 0,
            "chance": self._labelled.chance if known else None,
            "start": self.start,
            "probes": probes,
            # All that differs between two runs of the same.
            "seconds": {
                "probes": self._seconds,
                "share_of_these_epochs": looked / trained if trained else None,
            },
        }
        atomic_files.write_json(self.run / FILE, found)

    def summary(self):
        """What ssl_stats.json keeps: health.json with the last probe alone and without times."""
        if not self._on or not (self.run / FILE).exists():  # none was asked for, till all was done
            return None
        found = runs.read_json(self.run / FILE)  # also of a run whose epochs were all done before
        *_, found["last"] = found.pop("probes")
        del found["seconds"]
        return found


def _probe(vectors, known):
    """The probes' balanced accuracies with their intervals."""
    found = {}
    for name, probe in (
        ("knn", embedding_quality.knn_probe),
        ("linear", embedding_quality.linear_probe),
    ):
        predicted = probe(vectors, known.labels, known.half)
        interval = bootstrap.bootstrap_metric(
            "balanced_accuracy", known.labels, predicted, known.groups, n_resamples=DRAWS
        )
        found |= {
            name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high
        }  # fmt: skip
    return found


def _interval(measures, probe):
    """A probe's `Interval`; None without one. JSON has null for NaN."""
    values = [measures[name] for name in (probe, f"{probe}_low", f"{probe}_high")]
    if values[0] is None:
        return None
    return Interval(*(np.nan if value is None else value for value in values))


def _forward(model):
    """uint8 images -> (h, z) in float32, in inference mode."""

    shape = (None, *model.backbone.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])
    def forward(images):
        h = model.backbone(tf.cast(images, tf.float32), training=False)
        z = model.projection_head(h, training=False)
        return tf.cast(h, tf.float32), tf.cast(z, tf.float32)

    return forward

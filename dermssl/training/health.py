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

from dermssl import runs
from dermssl.data import augment, index, pipeline
from dermssl.evaluation import embeddings, health, statistics, view_checks

FILE = "health.json"
BATCH = 64  # photos through the network at once
VIEWS_EPOCH = 2**40  # keys the views of the panel: an epoch that no training reaches
DRAWS = 200  # of the probes' bootstrap
DEAD = 0.1  # spread below which a dimension counts as dead
# What history.csv and TensorBoard get; health is 0 green, 1 yellow, 2 red.
COLUMNS = (
    "knn", "knn_low", "knn_high", "linear", "linear_low", "linear_high", "pair_accuracy",
    "alignment", "uniformity", "effective_rank", "effective_rank_h", "spread", "dead", "health",
)  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """The photos of the probes.

    Attributes:
        images: uint8 [n, size, size, 3].
        labels: int64 [n], 0 and up. groups: object [n]. half: int64 [n], 0 or 1.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    half: np.ndarray

    @property
    def chance(self):
        """Balanced accuracy of a guess."""
        return 1 / len(np.unique(self.labels))


def labelled(dataset, most, size):
    """Labelled photos of the validation split, in halves that share no lesion or patient.

    Photos of training are in the pool of SSL, and those of test are for the end. Rare classes
    come first and one photo of each group before a second, until there are `most`.

    Args:
        dataset: `Dataset` with splits.
        most: int, photos at most.
        size: int, side of the images.

    Returns:
        `Labelled`, or None where fewer than two classes have two groups each.
    """
    part = dataset.subset(index.VALIDATION)
    level = "fine" if (part.index["fine"] != "").any() else "coarse"
    rows = part.index[part.index[level] != ""]
    rows = rows.assign(group=index.group_ids(rows))
    rows = rows[rows.groupby(level)["group"].transform("nunique") > 1]
    if rows.empty:
        return None
    rng = np.random.Generator(np.random.Philox(key=0))
    rows = rows.iloc[rng.permutation(len(rows))]
    rows = rows.assign(photo=rows.groupby("group").cumcount()).sort_values("photo", kind="stable")
    rows = rows.assign(rank=rows.groupby(level).cumcount()).sort_values("rank", kind="stable")
    rows = rows.head(most).sort_index()
    labels = rows[level].astype("category").cat.codes.to_numpy(np.int64)
    groups = rows["group"].to_numpy(dtype=object)
    half = embeddings.halves(labels, groups)
    if half is None:
        return None
    kept = half >= 0
    photos = pipeline.Photos(part.with_index(rows[kept]).files, size, cache_mb=0)
    images = np.stack([augment.plain(photos[k], size) for k in range(len(photos))])
    labels = np.unique(labels[kept], return_inverse=True)[1]
    return Labelled(images, labels, groups[kept], half[kept])


def pairs(photos, most, settings, seed, size):
    """Two views of some photos of the pool, never those of a training step.

    Returns:
        uint8 [2, n, size, size, 3].
    """
    rows = pipeline.order(len(photos), seed, VIEWS_EPOCH)[: max(2, most)]
    policy = augment.scaled(augment.AUGMENTATIONS["simclr"], settings.strength)
    records = np.arange(len(photos))
    return np.stack([
        pipeline.views(photos, rows, records, policy, seed, VIEWS_EPOCH, view, size)
        for view in (0, 1)
    ])  # fmt: skip


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
        self.probes = []

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
        self._labelled = labelled(dataset, most, size)
        self._pairs = pairs(photos, most // 2, self.settings, self._config["seed"], size)
        self._forward = _forward(self.model)
        self._ready = True
        self.views = view_checks.check(*self._pairs)
        fresh = int(self.model.optimizer.iterations) == 0
        if fresh:
            began = time.time()
            self.start = self._measure()
            self.start["seconds"] = round(time.time() - began, 2)
            light = health.judge(self._seen(self.start, 0.0))
            self._say("before training", light, self.start)
        else:
            kept = runs.read_json(self.run / FILE) if (self.run / FILE).exists() else {}
            self.start = kept.get("start")
            self.probes = [probe for probe in kept.get("probes", []) if probe["epoch"] <= epoch]
        self._write()

    def on_epoch_end(self, epoch, logs=None):
        done, epochs = epoch + 1, self.settings.epochs
        if not self._on or not (done in (1, epochs) or done % self.settings.probe_every == 0):
            return
        began = time.time()
        measures = self._measure()
        light = health.judge(self._seen(measures, done / epochs, logs))
        measures["health"] = float(health.LIGHTS.index(light.colour))
        if logs is not None:
            logs |= {name: measures[name] for name in COLUMNS if measures[name] is not None}
        seconds = {"seconds": time.time() - began, "epoch_seconds": began - self._began}
        self.probes.append({
            "epoch": done, "light": light.colour, "reason": light.reason, "remedy": light.remedy,
            **measures, **{name: round(value, 3) for name, value in seconds.items()},
        })  # fmt: skip
        self._say(f"epoch {done}", light, measures)
        self._write()

    def _measure(self):
        """dict of every measure of the model as it is; None where it isn't defined."""
        (h, first), (_, second) = map(self._embed, self._pairs)
        both = np.concatenate([first, second])
        spread = embeddings.spread(both)
        found = dict.fromkeys(COLUMNS)
        found |= {
            "pair_accuracy": embeddings.pair_accuracy(first, second),
            "alignment": embeddings.alignment(first, second),
            "uniformity": embeddings.uniformity(both),
            # One view of each photo: two views of one are near by training.
            "effective_rank": embeddings.effective_rank(first),
            "effective_rank_h": embeddings.effective_rank(h),
            "spread": float(spread.mean()),
            "dead": float((spread < DEAD).mean()),
            "dimension": first.shape[1],
        }
        if self._labelled is not None:
            found |= _probe(self._embed(self._labelled.images)[0], self._labelled)
        return found

    def _embed(self, images):
        """Embeddings h and projections z of uint8 images, float32 [n, d] and [n, k]."""
        batches = range(0, len(images), BATCH)
        every = [self._forward(images[k : k + BATCH]) for k in batches]
        return [np.concatenate([each[part].numpy() for each in every]) for part in (0, 1)]

    def _seen(self, measures, progress, logs=None):
        logs, known = logs or {}, self._labelled is not None
        return health.Seen(
            temperature=self.settings.temperature,
            batch_size=self.settings.batch_size,
            progress=progress,
            steps=int(self.model.optimizer.iterations),
            views=self.views,
            loss=float(logs.get("loss", np.nan)),
            entropy=float(logs.get("entropy", np.nan)),
            spread=measures["spread"],
            dead=measures["dead"],
            rank=measures["effective_rank"],
            most=min(len(self._pairs[0]), measures["dimension"]),
            pair_accuracy=measures["pair_accuracy"],
            knn=_interval(measures),
            knn_start=_interval(self.start) if self.start else None,
            chance=self._labelled.chance if known else np.nan,
        )

    def _say(self, when, light, measures):
        n = 0 if self._labelled is None else len(self._labelled.labels)
        numbers = health.describe(measures, self._seen(measures, 0.0), n)
        print(f"health {when}: {light}\n  {numbers}", file=sys.stderr, flush=True)

    def _write(self):
        known, probes = self._labelled is not None, self.probes
        last = probes[-1] if probes else {}
        spent = sum(probe["seconds"] for probe in probes)
        trained = sum(probe["epoch_seconds"] for probe in probes)
        lights = [probe["light"] for probe in probes]
        found = {
            **{name: last.get(name) for name in ("light", "reason", "remedy")},
            "worst_light": max(lights, key=health.LIGHTS.index, default=None),
            "views": dataclasses.asdict(self.views) | {"shortcut": self.views.shortcut},
            "n_labelled": len(self._labelled.labels) if known else 0,
            "chance": self._labelled.chance if known else None,
            "seconds_a_probe": spent / len(probes) if probes else None,
            "share_of_a_probed_epoch": spent / trained if trained else None,
            "start": self.start,
            "probes": probes,
        }
        runs.write_json(self.run / FILE, found)

    def summary(self):
        """What ssl_stats.json keeps: the content of health.json with the last probe only."""
        if not self._on:
            return None
        found = runs.read_json(self.run / FILE)  # also of a run whose epochs were all done before
        *_, found["last"] = found.pop("probes")
        return found


def _probe(vectors, known):
    """The probes' balanced accuracies with their intervals."""
    found = {}
    for name, probe in (("knn", embeddings.knn_probe), ("linear", embeddings.linear_probe)):
        predicted = probe(vectors, known.labels, known.half)
        interval = statistics.bootstrap_metric(
            "balanced_accuracy", known.labels, predicted, known.groups, n_resamples=DRAWS
        )
        found |= {
            name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high
        }  # fmt: skip
    return found


def _interval(measures):
    """The k-NN probe's `Interval`; None without one. JSON has null for NaN."""
    values = [measures[name] for name in ("knn", "knn_low", "knn_high")]
    if values[0] is None:
        return None
    return statistics.Interval(*(np.nan if value is None else value for value in values))


def _forward(model):
    """uint8 images -> (h, z) in float32, in inference mode."""

    shape = (None, *model.backbone.input_shape[1:])

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8)])
    def forward(images):
        h = model.backbone(tf.cast(images, tf.float32), training=False)
        z = model.projection_head(h, training=False)
        return tf.cast(h, tf.float32), tf.cast(z, tf.float32)

    return forward

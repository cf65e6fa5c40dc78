"""Train the cells of a grid, one by one or all depths on a shared trunk.

Both ways give the same numbers. Nothing is selected on the way: a cell trains for a fixed
number of epochs at a fixed rate and is scored as it ends.
"""

from __future__ import annotations

import functools
import gc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from dermssl.core.settings import Backbone, Grid
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import pipeline
from dermssl.data.augmentation.policies import find_policy
from dermssl.data.photos import Photos
from dermssl.inference import outputs
from dermssl.losses import focal
from dermssl.models import backbones, freezing, shared_trunk
from dermssl.studies.grid import trunk_features
from dermssl.studies.grid.trunk_training import Tails

# What a cell may die of while others live: TensorFlow's own errors, OpenCV's, and memory.
FAILURES = (tf.errors.OpError, cv2.error, MemoryError)


def failure_message(error: BaseException) -> str:
    """One line for the cell's row."""
    no_room = isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem
    if no_room or isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return (
            "out of memory; try a smaller grid.batch_size, grid.image_size or grid.feature_cache_mb"
        )
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"


@dataclass(frozen=True)
class FoldData:
    """The photos of one fold.

    Attributes:
        train, test: `pipeline.Photos`.
        records: int array, the row of each training photo in the whole data set.
        labels: int64 array, the class of each training photo.
        taxonomy: `Taxonomy`.
        size: int, side of the input.
    """

    train: Photos
    test: Photos
    records: np.ndarray
    labels: np.ndarray
    taxonomy: Taxonomy
    size: int


@dataclass(frozen=True, eq=False)
class CellResult:
    """How a cell ended.

    Attributes:
        losses: list of float, the mean training loss of each epoch.
        probabilities: float64 (n, classes) of the test photos.
        manifest: `freezing.Manifest`.
        parameters: int, of the whole cell.
        trainable_parameters: int, of the unfrozen layers and the head.
    """

    losses: list[float]
    probabilities: np.ndarray
    manifest: freezing.Manifest
    parameters: int
    trainable_parameters: int

    @property
    def diverged(self) -> bool:
        """Whether a loss or a probability is no number."""
        return not (np.isfinite(self.losses).all() and np.isfinite(self.probabilities).all())


def first_backbone(start: Backbone, seed: int) -> keras.Model:
    """A backbone whose random weights, if it has any, depend on the seed alone."""
    keras.utils.set_random_seed(seed)
    return backbones.build(start)


def free_memory() -> None:
    """Forget every model, so that the next one has the memory of this one."""
    keras.backend.clear_session()
    gc.collect()


def train_plain(
    start: Backbone, depth: int, augmentation: str, seed: int, material: FoldData, grid: Grid
) -> CellResult:
    """One cell, as it is usually written: build, freeze, compile, fit, predict.

    Args:
        start: `config.Backbone` with resolved weights.
        depth, seed: int.
        augmentation: str.
        material: `FoldData`.
        grid: `config.Grid`.

    Returns:
        `CellResult`.
    """
    backbone = first_backbone(start, seed)
    manifest = freezing.set_depth(backbone, depth, grid.depth_unit, grid.batchnorm)
    cell = shared_trunk.whole_cell(backbone, material.taxonomy, grid.dropout, seed)
    cell.compile(
        keras.optimizers.Adam(grid.learning_rate),
        focal.SparseFocalLoss(grid.gamma),
        jit_compile=False,
    )
    steps = pipeline.steps_per_epoch(len(material.train), grid.batch_size)
    data = _pixels(material, augmentation, seed, grid, grid.batch_size)
    history = cell.fit(data, epochs=grid.epochs, steps_per_epoch=steps, shuffle=False, verbose=0)
    shown = pipeline.evaluation_data(material.test, grid.batch_size, material.size)
    logits = outputs.run(functools.partial(cell, training=False), shown)
    return CellResult(
        history.history["loss"], _softmax(logits), manifest, cell.count_params(), _trainable(cell)
    )


def _pixels(material, augmentation, seed, grid, batch_size):
    """Every epoch's photos in order, in batches that don't reach over an epoch's end."""
    steps = grid.epochs * pipeline.steps_per_epoch(len(material.train), batch_size)
    data = pipeline.supervised_data(
        material.train, material.records, {"fine": material.labels},
        {"fine": np.ones(len(material.labels))}, find_policy(augmentation), seed,
        batch_size, material.size, steps,
    )  # fmt: skip
    return data.map(lambda images, labels, weights: (images, labels["fine"]))


class SharedCells:
    """All depths of one model on one trunk, for one augmentation and seed after the other.

    Args:
        start: `config.Backbone` with resolved weights.
        depths: list of int.
        grid: `config.Grid`.
        taxonomy: `Taxonomy`.
    """

    def __init__(
        self, start: Backbone, depths: Sequence[int], grid: Grid, taxonomy: Taxonomy
    ) -> None:
        self._start, self._grid = start, grid
        self._seed = grid.seeds[0]
        self._tails = Tails(
            first_backbone(start, self._seed), depths, grid.depth_unit, grid.batchnorm,
            taxonomy, grid.dropout, self._seed, grid.learning_rate, grid.gamma, grid.feature_dtype,
        )  # fmt: skip
        self._material: FoldData | None = None
        self._stores: dict[tuple[str, int], trunk_features.FeatureStore | None] = {}

    def train(self, augmentation: str, seed: int, material: FoldData) -> list[CellResult]:
        """Train every depth.

        Args:
            augmentation: str.
            seed: int.
            material: `FoldData`.

        Returns:
            list of `CellResult`, in the order of the depths.
        """
        tails = self._tails
        if self._start.weights == "none" and seed != self._seed:
            new = first_backbone(self._start, seed)
            tails.backbone.set_weights(new.get_weights())
            self._stores = {}
        if material is not self._material:
            self._material, self._stores = material, {}
        self._seed = seed
        tails.reset(seed)
        losses = np.array(self._fit(augmentation, seed, material), np.float64)  # (epochs, tails)
        probabilities = _softmax(self._predict(material))
        frozen = tails.backbone.count_params()
        return [
            CellResult(
                losses[:, k].tolist(), probabilities[k], tail.manifest,
                frozen + _head(cell), _trainable(cell),
            )
            for k, (tail, cell) in enumerate(zip(tails.tails, tails.cells))
        ]  # fmt: skip

    def _fit(self, augmentation, seed, material):
        grid, policy = self._grid, find_policy(augmentation)
        if (store := self._store_of_views(policy, material)) is not None:
            return [
                self._epoch(self._kept(store, policy, seed, epoch, material), len(material.train))
                for epoch in range(grid.epochs)
            ]
        batches = iter(self._fresh(augmentation, seed, material))
        steps = pipeline.steps_per_epoch(len(material.train), grid.batch_size)
        epoch = lambda: (next(batches) for _ in range(steps))  # noqa: E731
        return [self._epoch(epoch(), len(material.train)) for _ in range(grid.epochs)]

    def _fresh(self, augmentation, seed, material):
        """All batches of features of all epochs, each view computed as it is drawn."""
        grid = self._grid
        several = trunk_features.photos_per_forward(material.size, grid.batch_size)
        data = _pixels(material, augmentation, seed, grid, several)
        # In the map, the trunk of the next batches runs while the tails learn from these.
        data = data.map(lambda x, y: (tuple(self._tails.features(x)), y)).prefetch(1)
        apart = lambda *item: tf.data.Dataset.from_tensor_slices(item).batch(grid.batch_size)  # noqa: E731
        return data.flat_map(apart).prefetch(2)

    def _epoch(self, batches, n):
        """float (tails,): mean losses over the photos of one pass."""
        sums = [
            self._tails.step(list(read), labels) * tf.cast(tf.shape(labels)[0], tf.float32)
            for read, labels in batches
        ]
        return np.sum([s.numpy() for s in sums], axis=0, dtype=np.float64) / n

    def _kept(self, store, policy, seed, epoch, material):
        n, size = len(material.train), self._grid.batch_size
        order = pipeline.epoch_order(n, seed, epoch, material.train.pages)
        chosen = trunk_features.variants(policy, seed, epoch, material.records[order])
        store.fill(order, chosen)  # at once, as the trunk is faster on many
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            read = [tf.constant(item) for item in store.get(rows, chosen[start : start + size])]
            yield read, tf.constant(material.labels[rows])

    def _store_of_views(self, policy, material):
        """The features of all views of the training photos; None where they are too many."""
        own = policy.n_variants
        if own is None:
            return None
        # One store may serve all augmentations, as the plain view is the first of the flips.
        most = max(own, *(_count(name) for name in self._grid.augmentations))
        for count in (most, own):
            if (store := self._store("train", material.train, count)) is not None:
                return store
        return None

    def _store(self, name, photos, count):
        """The features of some photos, made once; None where they would not fit."""
        key = (name, count)
        if key not in self._stores:
            kept = sum(store.bytes for store in self._stores.values() if store is not None)
            budget = self._grid.feature_cache_mb * 2**20 - kept
            self._stores[key] = trunk_features.store_for(
                self._tails, photos, self._material.size, count, budget, self._grid.feature_dtype
            )
        return self._stores[key]

    def _predict(self, material):
        store = self._store("test", material.test, 1)
        if store is None:
            store = trunk_features.UncachedFeatures(self._tails, material.test, material.size)
        found = []
        several = trunk_features.photos_per_forward(material.size)
        for start in range(0, len(material.test), several):
            rows = np.arange(start, min(start + several, len(material.test)))
            read = store.get(rows, np.zeros(len(rows), int))
            found.append(self._tails.logits([tf.constant(item) for item in read]).numpy())
        return np.concatenate(found, axis=1)


def _count(augmentation):
    return find_policy(augmentation).n_variants or 0


def _trainable(cell):
    return sum(math.prod(weight.shape) for weight in cell.trainable_weights)


def _head(cell):
    return cell.get_layer("fine").count_params()


def _softmax(logits):
    return softmax(np.asarray(logits, np.float64), axis=-1)

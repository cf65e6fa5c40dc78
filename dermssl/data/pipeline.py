"""Build `tf.data` pipelines from records; any step of any epoch can be computed again.

A step is a number. Which records it holds is f(seed, epoch), how each is augmented is
f(seed, epoch, record, view), so a run can start anywhere without iterator state: the
dataset of a run is a range of step numbers and a function from a step to its batch.
The function works on the host in NumPy and OpenCV, which give the GIL back while they
compute, so that a few tf.data threads fill all cores.

Python itself (the draws, small arrays) holds the GIL for 0.13 of the 1.7 ms that a 600 x 400 JPEG
and its two 224 px views take (`benchmarks/pipeline_speed.py` measures it), so threads fill some 13
cores and no more. The way on for larger machines isn't tf.data's service: its workers are other
processes, and have no Python function of this one ("Could not find callback"). It is a batch whose
rows are shared out to processes that fill shared memory, each row always to the same one, for the
sake of its cache. As a prototype two of them gave the same bits for the same CPU time a photo.
"""

import dataclasses
import functools
import itertools
import math
import sys
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow as tf

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import python_calls
from dermssl.data.augmentation import mixup, opencv, policies
from dermssl.data.augmentation.policies import Policy
from dermssl.data.photos import Pages, Photos, photos_of
from dermssl.data.records import Dataset

# tf.data runs several batches at once; OpenCV's own threads on top would only fight them.
cv2.setNumThreads(1)


def steps_per_epoch(n: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Steps in one pass over `n` records.

    Example:

    >>> steps_per_epoch(100, 32), steps_per_epoch(100, 32, drop_remainder=True)
    (4, 3)
    """
    return n // batch_size if drop_remainder else -(-n // batch_size)


WINDOW = 64  # pages that are shuffled together: 64 MiB of a shard's photos


@functools.lru_cache(maxsize=4)  # else 100,000 records cost 2 ms a step, and more a larger set
def epoch_order(n: int, seed: int, epoch: int, pages: Pages | None = None) -> np.ndarray:
    """The order of the records in one pass.

    Args:
        n: records.
        seed, epoch: what the order is a function of.
        pages: where the records lie, if they should be read part by part, as from shards. Then the
            pages of all shards are shuffled, so many at a time make a window (`WINDOW`), and the
            records of a window are shuffled. All records in one window have the order that they
            have without pages.

    Returns:
        int64 array (n,), read-only.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    made = rng.permutation(n)
    if pages is not None and pages.count > WINDOW:
        window = (rng.permutation(pages.count) // WINDOW)[pages.numbers[made]]
        made = made[np.argsort(window, kind="stable")]
    made.flags.writeable = False
    return made


def batch_rows(
    step: int, n: int, batch_size: int, seed: int, drop_remainder: bool = False,
    pages: Pages | None = None,
) -> tuple[int, np.ndarray]:  # fmt: skip
    """The pass and the rows of one global step."""
    epoch, within = divmod(int(step), steps_per_epoch(n, batch_size, drop_remainder))
    order = epoch_order(n, seed, epoch, pages)
    return epoch, order[within * batch_size : (within + 1) * batch_size]


def shard(rows: np.ndarray, worker: int = 0, workers: int = 1) -> np.ndarray:
    """A worker's part of a batch; the parts of all workers, one after the other, are the batch."""
    return rows[worker * len(rows) // workers : (worker + 1) * len(rows) // workers]


def views(
    photos: Photos,
    rows: np.ndarray,
    records: np.ndarray,
    policy: Policy,
    seed: int,
    epoch: int,
    view: int,
    size: int,
) -> np.ndarray:
    """Augmented views of some photos.

    Args:
        photos: `Photos`.
        rows: int array (n,), which photos.
        records: int array (len(photos),), the number that keys each photo's randomness;
            it stays the same in every subset of a data set.
        policy: an `opencv.Policy`.
        seed, epoch, view: int.
        size: int.

    Returns:
        uint8 (n, size, size, 3).
    """
    out = np.empty((1, len(rows), size, size, 3), np.uint8)
    return _fill(out, photos, rows, records, policy, seed, epoch, (view,))[0]


def _fill(out, photos, rows, records, policy, seed, epoch, numbers):
    """`out` (views, n, size, size, 3), filled; each photo is read once for all its views."""
    for place, row in enumerate(rows):
        photo, focus, record = photos[row], photos.focus(row), int(records[row])
        for k, number in enumerate(numbers):
            out[k, place] = opencv.view(
                photo, policy, seed, epoch, record, number, out.shape[2], focus
            )
    return out


def two_view_data(
    photos: Photos, policy: Policy, seed: int, batch_size: int, size: int, steps: int,
    start: int = 0, worker: int = 0, workers: int = 1, devices: int = 1,
) -> tf.data.Dataset:  # fmt: skip
    """The data of SimCLR: two views of each record of a batch.

    Args:
        photos: `Photos`; at least `batch_size` of them. The part batch at the end of a
            pass is dropped, since the loss depends on the batch's size.
        policy: an `opencv.Policy`.
        seed, batch_size, size: int.
        steps: int, where the run ends, counted from its beginning.
        start: int, the first step to make.
        worker, workers: int; of several workers, this one makes its `shard` of each batch, with
            the same views as one worker would. `batch_size` is that of all together.
        devices: int, of this worker, as of every other: the worker's part of a step comes as so
            many batches, one after the other.

    Returns:
        `tf.data.Dataset` of tuples of two float32
        (batch_size / workers / devices, size, size, 3) in [0, 255].
    """
    if batch_size % (workers * devices) or not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers} has no equal part of {batch_size} photos")
    parts = _Parts(worker, workers, devices)
    return _two_views(parts.numbers(start, steps), photos, policy, seed, batch_size, size, parts)


def two_views(
    dataset: Dataset, batch_size: int = 64, image_size: int = 224, seed: int = 0,
    strength: float = 1.0, epoch: int | None = None, preprocess: Sequence[str] = (),
) -> tf.data.Dataset:  # fmt: skip
    """The data of `SimCLR.fit`, `evaluate` and `predict`: two views of each photo.

    Each pass over it, an epoch of `fit`, has a new order and new views, which are functions of
    the seed and of the number of the pass.

    Args:
        dataset: `Dataset`, such as `load_dataset(...).train`.
        batch_size: int, photos a step; the part batch at the end of a pass is dropped.
        image_size: int, side of the views, pixels.
        seed: int, of order and views.
        strength: float in [0, 1], of the augmentation.
        epoch: int, the pass whose views every pass shows, as validation wants it; None for new
            views in each pass.
        preprocess: steps done to every photo, as in the setting `data.preprocess`.

    Returns:
        `tf.data.Dataset` of tuples of two float32 (batch_size, image_size, image_size, 3) in
        [0, 255].

    Raises:
        UserError: fewer photos than one batch needs.

    Example:

    >>> first, second = next(iter(two_views(dermssl.load_dataset("PHOTOS").train, 8, 32)))
    >>> first.shape
    TensorShape([8, 32, 32, 3])
    """
    photos = photos_of(dataset, Data(preprocess=list(preprocess)), image_size)
    steps = steps_per_epoch(len(photos), batch_size, drop_remainder=True)
    if not steps:
        raise UserError(
            f"pretrain.batch_size {batch_size} is larger than the {len(photos)} photos; use a "
            "smaller batch or more photos"
        )
    passes = itertools.count() if epoch is None else itertools.repeat(epoch)

    def steps_of_pass(_):
        number = tf.numpy_function(lambda: np.int64(next(passes)), [], tf.int64)
        return tf.data.Dataset.range(number * steps, (number + 1) * steps)

    numbers = tf.data.Dataset.range(1).flat_map(steps_of_pass)
    policy = policies.scaled(policies.AUGMENTATIONS["simclr"], strength)
    data = _two_views(numbers, photos, policy, seed, batch_size, image_size)
    return data.apply(tf.data.experimental.assert_cardinality(steps))


@dataclasses.dataclass(frozen=True)
class _Parts:
    """What one of several workers makes of each step: one batch for each of its devices."""

    worker: int = 0
    workers: int = 1
    devices: int = 1

    @property
    def count(self):
        """Parts of a step, of all workers and devices."""
        return self.workers * self.devices

    def numbers(self, start, steps):
        """The numbers of this worker's batches in a range of steps."""
        return tf.data.Dataset.range(start * self.devices, steps * self.devices)

    def place(self, number):
        """The step of a batch, and which of the step's parts the batch is."""
        step, device = divmod(int(number), self.devices)
        return step, self.worker * self.devices + device


def _two_views(numbers, photos, policy, seed, batch_size, size, parts=_Parts()):
    """Both views of some steps, in one buffer; `parts` chooses among a batch's rows."""
    records, buffers = np.arange(len(photos)), Buffers()

    def batch(number):
        step, part = parts.place(number)
        epoch, rows = batch_rows(step, len(photos), batch_size, seed, True, photos.pages)
        rows = shard(rows, part, parts.count)
        out = buffers.take((2, len(rows), size, size, 3))
        return tuple(_fill(out, photos, rows, records, policy, seed, epoch, (0, 1)))

    shape = (batch_size // parts.count, size, size, 3)

    def load(number):
        views = python_calls.call(batch, [number], [tf.float32, tf.float32])
        return tuple(tf.ensure_shape(view, shape) for view in views)

    return python_calls.mapped(numbers, load, 2 * 4 * math.prod(shape))


def supervised_data(
    photos: Photos, records: np.ndarray, targets: dict[str, np.ndarray],
    weights: dict[str, np.ndarray], policy: Policy, seed: int, batch_size: int, size: int,
    steps: int, start: int = 0, worker: int = 0, workers: int = 1, devices: int = 1,
) -> tf.data.Dataset:  # fmt: skip
    """The data of supervised training.

    Args:
        photos, policy, seed, size, steps, start, worker, workers, devices: as in `two_view_data`.
            Where the parts of a step differ in size, the weights make up for it: the mean over
            all parts of (sum of weighted losses / part's size) is that over the whole batch.
        records: int array (n,), see `views`.
        targets: dict of int arrays (n,), e.g. {"fine": ..., "coarse": ...}.
        weights: dict of float arrays (n,) with the same keys.
        batch_size: int; the last batch of a pass may be smaller.

    Returns:
        `tf.data.Dataset` of (images, targets, weights): float32 (b, size, size, 3) in
        [0, 255], and dicts of (b,) int64 and float32. Where the policy mixes records, targets
        are float32 (b, 4), see `mixing`; they hold the weights already, which are then 1.
    """
    names, buffers, parts = list(targets), Buffers(), _Parts(worker, workers, devices)

    def batch(number):
        step, part = parts.place(number)
        epoch, whole = batch_rows(step, len(photos), batch_size, seed, pages=photos.pages)
        rows = shard(whole, part, parts.count)
        share = np.float32(len(rows) * parts.count / len(whole))
        if policy.mixes:
            at = step % steps_per_epoch(len(photos), batch_size) * batch_size
            at += (part + 1) * len(whole) // parts.count
            order = epoch_order(len(photos), seed, epoch, photos.pages)
            rows = np.append(rows, order[at % len(photos)])
            mixed = buffers.take((len(rows) - 1, size, size, 3))
            pixels, *rest = _mixed(
                mixed, photos, rows, records, targets, weights, policy, seed, epoch
            )
            return pixels, *rest[: len(names)], *[ones * share for ones in rest[len(names) :]]
        pixels = buffers.take((1, len(rows), size, size, 3))
        pixels = _fill(pixels, photos, rows, records, policy, seed, epoch, (0,))[0]
        labels = [targets[name][rows].astype(np.int64) for name in names]
        return pixels, *labels, *[weights[name][rows].astype(np.float32) * share for name in names]

    kind, shape = (tf.float32, (None, 4)) if policy.mixes else (tf.int64, (None,))
    types = [tf.float32] + [kind] * len(names) + [tf.float32] * len(names)

    def load(number):
        pixels, *rest = python_calls.call(batch, [number], types)
        labels = [tf.ensure_shape(item, shape) for item in rest[: len(names)]]
        rest = [tf.ensure_shape(item, (None,)) for item in rest[len(names) :]]
        images = tf.ensure_shape(pixels, (None, size, size, 3))
        return images, dict(zip(names, labels)), dict(zip(names, rest))

    bytes_of_batch = 4 * 3 * batch_size * size**2
    return python_calls.mapped(parts.numbers(start, steps), load, bytes_of_batch)


def _mixed(pixels, photos, rows, records, targets, weights, policy, seed, epoch):
    """One batch of `supervised_data`: n + 1 rows, each of the first n mixed with the next."""
    n, own, other = len(rows) - 1, rows[:-1], rows[1:]
    made = views(photos, rows, records, policy, seed, epoch, 0, pixels.shape[1])
    shares = np.ones(n)
    for k in range(n):
        part = mixup.share(policy, seed, epoch, int(records[own[k]]))
        pixels[k], shares[k] = mixup.mix(made[k], made[k + 1], *part)
    labels = [
        mixup.targets(labels[own], weights[name][own], labels[other], weights[name][other], shares)
        for name, labels in targets.items()
    ]
    return pixels, *labels, *[np.ones(n, np.float32)] * len(labels)


def evaluation_data(
    photos: Photos,
    batch_size: int,
    size: int,
    targets: dict[str, np.ndarray] | None = None,
    weights: dict[str, np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Every photo once, in order, without randomness: for validation and prediction.

    Returns:
        `tf.data.Dataset` of float32 images (b, size, size, 3) in [0, 255], or of
        (images, targets, weights) where targets are given, both dicts of (b,) tensors.
    """

    def batch(step):
        rows = range(step * batch_size, min((step + 1) * batch_size, len(photos)))
        return np.stack([opencv.center_square(photos[row], size) for row in rows])

    def load(step):
        pixels = python_calls.call(batch, [step], tf.uint8)
        return tf.cast(tf.ensure_shape(pixels, (None, size, size, 3)), tf.float32)

    numbers = tf.data.Dataset.range(steps_per_epoch(len(photos), batch_size))
    images = python_calls.mapped(numbers, load, 3 * batch_size * size**2)
    if targets is None:
        return images
    assert weights is not None, "targets need weights"
    labels = {name: values.astype(np.int64) for name, values in targets.items()}
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    known = tf.data.Dataset.from_tensor_slices((labels, weights)).batch(batch_size)
    return tf.data.Dataset.zip(images, known).map(lambda pixels, rest: (pixels, *rest))


ALIGNMENT = 64  # bytes; TensorFlow copies what is aligned to less


class Buffers:
    """float32 arrays, each lent until nobody refers to it any more.

    Args:
        most: int, arrays to keep; what is asked for beyond them is made and forgotten.
    """

    def __init__(self, most: int = 8) -> None:
        self._most, self._lock = most, threading.Lock()
        self._kept: list[np.ndarray] = []

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """A float32 array of this shape; its content is what was in it before."""
        size = 4 * math.prod(shape) + ALIGNMENT
        with self._lock:
            raw = self._free(size)
            if raw is None:
                raw = np.empty(size, np.uint8)
                if len(self._kept) < self._most:
                    self._kept.append(raw)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + size - ALIGNMENT].view(np.float32).reshape(shape)

    def _free(self, size):
        """Memory that no array lies in: each array, and each view of one, refers to it."""
        for number in range(len(self._kept)):
            # Two references: the list's, and the argument of getrefcount.
            if sys.getrefcount(self._kept[number]) == 2 and self._kept[number].nbytes == size:
                return self._kept[number]
        return None

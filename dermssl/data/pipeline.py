"""Records -> tf.data, where any step of any epoch can be computed again.

A step is a number. Which records it holds is f(seed, epoch), how each is augmented is
f(seed, epoch, record, view), so a run can start anywhere without iterator state: the
dataset of a run is a range of step numbers and a function from a step to its batch.
The function works on the host in NumPy and OpenCV, which give the GIL back while they
compute, so that a few tf.data threads fill all cores.
"""

import cv2
import numpy as np
import tensorflow as tf

from dermssl.data import augment
from dermssl.data.decode import decode

# tf.data runs several batches at once; OpenCV's own threads on top would only fight them.
cv2.setNumThreads(1)

# Photos are kept at this multiple of the input side: a crop of a quarter of the area
# still has a pixel for each pixel of the view.
OVERSAMPLING = 2


class Photos:
    """Decoded photos by number, kept in memory up to a budget and re-read beyond it.

    Args:
        files: list of str.
        image_size: int, side of the network's input; photos are shrunk until their
            shorter side is `OVERSAMPLING` times that (never enlarged).
        cache_mb: int, memory to use, MiB.

    `photos[i]` is uint8 (h, w, 3) RGB, the same array whether it was cached or not.
    """

    def __init__(self, files, image_size, cache_mb=2048):
        self.files = list(files)
        self.side = OVERSAMPLING * image_size
        self._room = cache_mb * 2**20
        self._cache = {}

    def __len__(self):
        return len(self.files)

    def __getitem__(self, number):
        photo = self._cache.get(number)
        if photo is None:
            photo = _shrunk(decode(self.files[number], min_size=self.side), self.side)
            # Two threads may both store a photo; they store equal pixels.
            if photo.nbytes <= self._room:
                self._room -= photo.nbytes
                self._cache[number] = photo
        return photo


def _shrunk(photo, side):
    height, width = photo.shape[:2]
    scale = side / min(height, width)
    if scale >= 1:
        return photo
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA)


def steps_per_epoch(n, batch_size, drop_remainder=False):
    """Steps in one pass over `n` records."""
    return n // batch_size if drop_remainder else -(-n // batch_size)


def order(n, seed, epoch):
    """int64 array (n,): the order of the records in one pass."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def batch_rows(step, n, batch_size, seed, drop_remainder=False):
    """The pass and the rows of one global step."""
    epoch, within = divmod(int(step), steps_per_epoch(n, batch_size, drop_remainder))
    return epoch, order(n, seed, epoch)[within * batch_size : (within + 1) * batch_size]


def views(photos, rows, records, policy, seed, epoch, view, size):
    """Augmented views of some photos.

    Args:
        photos: `Photos`.
        rows: int array (n,), which photos.
        records: int array (len(photos),), the number that keys each photo's randomness;
            it stays the same in every subset of a data set.
        policy: an `augment.Policy`.
        seed, epoch, view: int.
        size: int.

    Returns:
        uint8 (n, size, size, 3).
    """
    batch = np.empty((len(rows), size, size, 3), np.uint8)
    for place, row in enumerate(rows):
        photo = photos[row]
        aspect = photo.shape[1] / photo.shape[0]
        params = augment.draw(policy, seed, epoch, int(records[row]), view, aspect=aspect)
        batch[place] = augment.apply(photo, params, size)
    return batch


def two_views(photos, policy, seed, batch_size, size, steps, start=0):
    """The data of SimCLR: two views of each record of a batch.

    Args:
        photos: `Photos`; at least `batch_size` of them. The part batch at the end of a
            pass is dropped, since the loss depends on the batch's size.
        policy: an `augment.Policy`.
        seed, batch_size, size: int.
        steps: int, where the run ends, counted from its beginning.
        start: int, the first step to make.

    Returns:
        `tf.data.Dataset` of float32 (2, batch_size, size, size, 3) in [0, 255].
    """
    records = np.arange(len(photos))

    def batch(step):
        epoch, rows = batch_rows(step, len(photos), batch_size, seed, drop_remainder=True)
        return np.stack(
            [views(photos, rows, records, policy, seed, epoch, v, size) for v in (0, 1)]
        )

    def load(step):
        pixels = tf.numpy_function(batch, [step], tf.uint8, stateful=False)
        return tf.cast(tf.ensure_shape(pixels, (2, batch_size, size, size, 3)), tf.float32)

    return _mapped(tf.data.Dataset.range(start, steps), load)


def labelled(photos, records, targets, weights, policy, seed, batch_size, size, steps, start=0):
    """The data of supervised training.

    Args:
        photos, policy, seed, size, steps, start: as in `two_views`.
        records: int array (n,), see `views`.
        targets: dict of int arrays (n,), e.g. {"fine": ..., "coarse": ...}.
        weights: dict of float arrays (n,) with the same keys.
        batch_size: int; the last batch of a pass may be smaller.

    Returns:
        `tf.data.Dataset` of (images, targets, weights): float32 (b, size, size, 3) in
        [0, 255], and dicts of (b,) int64 and float32.
    """
    names = list(targets)

    def batch(step):
        epoch, rows = batch_rows(step, len(photos), batch_size, seed)
        pixels = views(photos, rows, records, policy, seed, epoch, 0, size)
        labels = [targets[name][rows].astype(np.int64) for name in names]
        return pixels, *labels, *[weights[name][rows].astype(np.float32) for name in names]

    types = [tf.uint8] + [tf.int64] * len(names) + [tf.float32] * len(names)

    def load(step):
        pixels, *rest = tf.numpy_function(batch, [step], types, stateful=False)
        rest = [tf.ensure_shape(item, (None,)) for item in rest]
        images = tf.cast(tf.ensure_shape(pixels, (None, size, size, 3)), tf.float32)
        return images, dict(zip(names, rest)), dict(zip(names, rest[len(names) :]))

    return _mapped(tf.data.Dataset.range(start, steps), load)


def plain(photos, batch_size, size, targets=None, weights=None):
    """Every photo once, in order, without randomness: for validation and prediction.

    Returns:
        `tf.data.Dataset` of float32 images (b, size, size, 3) in [0, 255], or of
        (images, targets, weights) where targets are given, both dicts of (b,) tensors.
    """

    def batch(step):
        rows = range(step * batch_size, min((step + 1) * batch_size, len(photos)))
        return np.stack([augment.plain(photos[row], size) for row in rows])

    def load(step):
        pixels = tf.numpy_function(batch, [step], tf.uint8, stateful=False)
        return tf.cast(tf.ensure_shape(pixels, (None, size, size, 3)), tf.float32)

    images = _mapped(tf.data.Dataset.range(steps_per_epoch(len(photos), batch_size)), load)
    if targets is None:
        return images
    labels = {name: values.astype(np.int64) for name, values in targets.items()}
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    known = tf.data.Dataset.from_tensor_slices((labels, weights)).batch(batch_size)
    return tf.data.Dataset.zip(images, known).map(lambda pixels, rest: (pixels, *rest))


def _mapped(steps, load):
    """Batches made in parallel, in order, a few ahead of the network."""
    return steps.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)

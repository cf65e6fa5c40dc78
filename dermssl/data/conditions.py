"""The conditions of the stress test: one photo with an artefact, without its lesion, and so on."""

import functools

import numpy as np
import tensorflow as tf

from dermssl.data import artefacts, augment, erase, pipeline

CLEAN = "clean"
# What is left of the photo, and whether a score above chance there is a warning.
ERASED, BACKGROUND, LESION = "lesion_erased", "background_only", "lesion_only"
TITLES = {
    CLEAN: "as it is",
    ERASED: "lesion erased",
    BACKGROUND: "lesion's box erased",
    LESION: "lesion only",
}


def names():
    """Every condition in the order of the report: clean, the artefacts, then the erased ones."""
    return (CLEAN, *artefacts.ARTEFACTS, ERASED, BACKGROUND, LESION)


def title(name):
    """A condition as it is printed."""
    return TITLES.get(name, name.replace("_", " "))


def holes(files, photos):
    """Where the lesion is in each photo, as a function of its number.

    Args:
        files: list of Path or None, one a photo, from `erase.mask_files`.
        photos: `pipeline.Photos`.

    Returns:
        function of int: bool (side, side) of the photo's central square: the mask's part of
        it, or a disc in the centre where the photo has no mask.
    """

    def hole(number):
        photo = photos[number]
        if files[number] is None:
            return erase.disc(min(photo.shape[:2]))
        return erase.square(erase.read_mask(files[number], photo.shape[:2]))

    return hole


def view(name, photo, hole, size, seed=0, record=0, strength=1.0):
    """A photo under one condition, as the network sees it.

    Args:
        name: one of `names()`.
        photo: uint8 (side, side, 3) RGB, a central square.
        hole: bool (side, side), where the lesion is.
        size: int, side of the result.
        seed, record: int, of everything random in it.
        strength: float, of the artefacts.

    Returns:
        uint8 (size, size, 3).
    """
    makers = {
        CLEAN: lambda: photo,
        ERASED: lambda: erase.erased(photo, hole, seed, record),
        BACKGROUND: lambda: erase.erased(photo, erase.box(hole), seed, record),
        LESION: lambda: erase.lesion_alone(photo, hole, seed, record),
    }
    add = functools.partial(artefacts.apply, name, photo, seed, record, strength=strength)
    return augment.plain(makers.get(name, add)(), size)


def batches(photos, hole, records, size, batch_size, seed=0, strength=1.0):
    """Every photo under every condition, each decoded once.

    Args:
        photos: `pipeline.Photos`.
        hole: from `holes`.
        records: int (n,), the number that keys each photo's randomness.
        size, batch_size, seed: int.
        strength: float, of the artefacts.

    Returns:
        `tf.data.Dataset` of uint8 (conditions, b, size, size, 3), in the order of `names()`.
    """
    wanted = names()

    def batch(step):
        rows = range(step * batch_size, min((step + 1) * batch_size, len(photos)))
        made = np.empty((len(wanted), len(rows), size, size, 3), np.uint8)
        for place, row in enumerate(rows):
            photo, where = erase.square(photos[row]), hole(row)
            for k, name in enumerate(wanted):
                record = int(records[row])
                made[k, place] = view(name, photo, where, size, seed, record, strength)
        return made

    def load(step):
        pixels = tf.numpy_function(batch, [step], tf.uint8, stateful=False)
        return tf.ensure_shape(pixels, (len(wanted), None, size, size, 3))

    steps = tf.data.Dataset.range(pipeline.steps_per_epoch(len(photos), batch_size))
    return steps.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(1)

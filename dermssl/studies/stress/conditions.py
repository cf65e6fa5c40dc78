"""The conditions of the stress test: with an artefact, without the lesion, the lesion alone."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from dermssl.core import threads
from dermssl.data import lesion_inpainting, masks, preprocess
from dermssl.data.augmentation import artefacts, opencv
from dermssl.data.photos import Photos

CLEAN = "clean"
ENOUGH_MASKS = 0.9  # share of photos with a mask; below it the lesions' boxes can't be erased
ERASED, BACKGROUND, LESION = "lesion_erased", "background_only", "lesion_only"
TITLES = {
    CLEAN: "clean",
    ERASED: "lesion erased",
    BACKGROUND: "lesion's box erased",
    LESION: "lesion only",
}


def names(masked: float = 1.0) -> tuple[str, ...]:
    """The conditions in the order of the report: clean, the artefacts, then the erased ones.

    Args:
        masked: share of the photos that have a mask. The box round a disc, which stands for a
            lesion without one, is nearly the whole photo: erasing it tests nothing.
    """
    box = (BACKGROUND,) if masked >= ENOUGH_MASKS else ()
    return (CLEAN, *artefacts.ARTEFACTS, ERASED, *box, LESION)


def title(name: str) -> str:
    """A condition as it is printed."""
    return TITLES.get(name, name.replace("_", " "))


def lesion_regions(files: Sequence[str], photos: Photos) -> Callable[[int, np.ndarray], np.ndarray]:
    """Where the lesion is in each photo, as a function of its number.

    Args:
        files: list of str, the mask of each photo, "" for none.
        photos: `pipeline.Photos`; what it cuts away by its own masks is cut from these, too.

    Returns:
        function of a photo's number and the photo: bool (side, side) of its central square, the
        mask's part of it, or a disc in the centre where there is no mask or an empty one.
    """
    cropped = preprocess.CROP in photos.steps

    def hole(number, photo):
        file, shape = files[number], photo.shape[:2]
        if file:
            crop = _crop(photos.mask_files[number]) if cropped else None
            mask = lesion_inpainting.read_mask(file, shape, crop)
            mask = lesion_inpainting.square(mask)
            if mask.any():
                return mask
        return lesion_inpainting.disc(min(shape))

    return hole


def _crop(file):
    """What a run that crops its photos by a mask cuts away, as a function of a picture."""
    box = masks.box(file) if file else None
    return None if box is None else lambda mask: masks.cropped(mask, box)


def view(
    name: str,
    photo: np.ndarray,
    hole: np.ndarray,
    size: int,
    seed: int = 0,
    record: int = 0,
    strength: float = 1.0,
    steps: Sequence[str] = (),
) -> np.ndarray:
    """A photo under one condition, as the network sees it.

    Args:
        name: one of `names()`.
        photo: uint8 (h, w, 3) RGB, before `steps`.
        hole: bool (side, side), where the lesion is in its central square.
        size: int, side of the result.
        seed, record: int, of everything random in it.
        strength: float, of the artefacts.
        steps: keys of `preprocess.STEPS`, which the network's photos go through. They come
            after the artefact, as they would on a photo that has it.

    Returns:
        uint8 (size, size, 3).
    """
    shown = lesion_inpainting.square(photo)
    makers = {
        CLEAN: lambda: shown,
        ERASED: lambda: lesion_inpainting.inpaint_lesion(shown, hole, seed, record),
        BACKGROUND: lambda: lesion_inpainting.inpaint_lesion(
            shown, lesion_inpainting.bounding_rectangle(hole), seed, record
        ),
        LESION: lambda: lesion_inpainting.lesion_alone(shown, hole, seed, record),
    }
    add = functools.partial(artefacts.apply, name, shown, seed, record, strength=strength)
    whole = photo.copy()
    lesion_inpainting.square(whole)[:] = makers.get(name, add)()
    return opencv.center_square(preprocess.apply(whole, steps), size)


def batches(
    photos: Photos,
    hole: Callable[[int, np.ndarray], np.ndarray],
    records: np.ndarray,
    wanted: Sequence[str],
    size: int,
    batch_size: int,
    **options: Any,
) -> Iterator[np.ndarray]:
    """Every photo under every condition, each decoded once; threads make a batch ahead.

    Args:
        photos: `pipeline.Photos`, cropped at most.
        hole: from `lesion_regions`.
        records: int (n,), the number that keys each photo's randomness.
        wanted: conditions, from `names`.
        size, batch_size: int.
        **options: seed, strength and steps of `view`.

    Yields:
        uint8 (conditions, b, size, size, 3), in the order of `wanted`.
    """

    def views(row):
        photo, record = photos[row], int(records[row])
        where = hole(row, photo)
        return [view(name, photo, where, size, record=record, **options) for name in wanted]

    rows = range(len(photos))
    of_photos = threads.map_in_order(views, rows, threads.cores(), ahead=2 * batch_size)
    while batch := list(itertools.islice(of_photos, batch_size)):
        yield np.stack(batch, axis=1)

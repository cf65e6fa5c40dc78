"""Draw every augmentation, artefact and preprocessing step on real photos, on one sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dermssl.core.errors import UserError
from dermssl.data import preprocess
from dermssl.data.augmentation import artefacts, mixup, opencv
from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.photos import Photos
from dermssl.reporting import figures

SIDE = 160  # pixels a picture
COLUMNS = 6  # photos at most; a wider sheet fits no screen


def write(path: Path | str, files: Sequence[str], seed: int = 0) -> None:
    """A contact sheet: a row an operation, a column a photo, names at the left.

    Args:
        path: ends with .png.
        files: photos; the first `COLUMNS` are shown.
        seed: of what is random.

    Raises:
        UserError: there is no photo, or one can't be read (`decode.BadImage`).
    """
    if not files:
        raise UserError(f"{path}: no photo to show; give some")
    photos = Photos(files[:COLUMNS], SIDE)
    shown = [photos[number] for number in range(len(photos))]
    names, pictures = zip(*rows(shown, seed))
    figures.image_sheet(path, pictures, names=names, cell=SIDE / figures.DPI)


def rows(photos: Sequence[np.ndarray], seed: int = 0) -> Iterator[tuple[str, list[np.ndarray]]]:
    """(name, pictures) of each row, uint8 (SIDE, SIDE, 3); the photos themselves come first."""
    plain = [opencv.center_square(photo, SIDE) for photo in photos]
    yield "photo", plain
    for name, policy in AUGMENTATIONS.items():
        if name == "none":
            continue
        for number in range(2 if name == "simclr" else 1):
            views = [
                opencv.view(photo, policy, seed, 0, record, number, SIDE)
                for record, photo in enumerate(photos)
            ]
            if policy.mixes:
                parts = [mixup.share(policy, seed, 0, record) for record in range(len(views))]
                triples = zip(views, views[1:] + views[:1], parts)
                views = [mixup.mix(view, other, *part)[0] for view, other, part in triples]
            yield f"{name}, view {number + 1}" if name == "simclr" else name, views
    for name in artefacts.ARTEFACTS:
        # On the square that a network sees: on the whole photo a ruler may lie beside it.
        squares = [opencv.center_square(photo, 2 * SIDE) for photo in photos]
        yield name, [artefacts.apply(name, photo, seed, k) for k, photo in enumerate(squares)]
    for name in preprocess.STEPS:
        if name != preprocess.CROP:  # needs masks
            done = [preprocess.apply(photo, [name]) for photo in photos]
            yield name, [opencv.center_square(photo, SIDE) for photo in done]

"""Rows of pictures in one PNG."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dermssl.core import atomic_files

GAP = 4  # white pixels between pictures


def write(
    path: Path | str,
    rows: Sequence[Sequence[np.ndarray]],
    side: int = 128,
    labels: Sequence[np.ndarray] | None = None,
) -> None:
    """Write rows of pictures, each shown at `side` pixels.

    Args:
        path: str or Path, ends with .png.
        rows: list of lists of uint8 arrays (h, w, 3) RGB; each row equally long.
        side: int.
        labels: list of uint8 arrays (side, w, 3), one at the left of each row; or None.
    """
    cell = side + GAP
    margin = labels[0].shape[1] if labels else 0
    wide = margin + len(rows[0]) * cell + GAP
    sheet = np.full((len(rows) * cell + GAP, wide, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            top, left = GAP + r * cell, margin + GAP + c * cell
            shown = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            sheet[top : top + side, left : left + side] = shown
        if labels:
            sheet[GAP + r * cell :][:side, :margin] = labels[r]
    with atomic_files.atomic_write(path) as temporary:
        Image.fromarray(sheet).save(temporary)

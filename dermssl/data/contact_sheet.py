"""Rows of pictures in one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dermssl.core import atomic_files

GAP = 4  # white pixels between pictures
SIDE = 128  # pixels a picture


def compose(rows: Sequence[Sequence[np.ndarray | None]], side: int, above: int = 0) -> np.ndarray:
    """Rows of pictures on white.

    Args:
        rows: equally long lists of uint8 (h, w, 3) RGB; None leaves a place empty.
        side: pixels a picture.
        above: more white pixels above each row.

    Returns:
        uint8 (height, width, 3).
    """
    across, down = side + GAP, side + GAP + above
    sheet = np.full((len(rows) * down + GAP, len(rows[0]) * across + GAP, 3), 255, np.uint8)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            if picture is not None:
                top, left = GAP + above + r * down, GAP + c * across
                small = min(picture.shape[:2]) < side
                method = cv2.INTER_LINEAR if small else cv2.INTER_AREA
                shown = cv2.resize(picture, (side, side), interpolation=method)
                sheet[top : top + side, left : left + side] = shown
    return sheet


def write(path: Path | str, rows: Sequence[Sequence[np.ndarray]], side: int = SIDE) -> None:
    """Write rows of pictures as a PNG, each shown at `side` pixels."""
    with atomic_files.atomic_write(path) as temporary:
        Image.fromarray(compose(rows, side)).save(temporary)

"""Lay a heat map over its photo."""

import cv2
import matplotlib
import numpy as np

from dermssl.data.augmentation import opencv

# Green to yellow stands out from skin and blood; perceptually even, unlike a rainbow.
COLOURS = "viridis"
OPACITY = 0.5
SIDE = 320  # px of a picture at least: what a network sees is small
QUALITY = 90  # of the JPEG
SMALL_QUALITY = 80  # of a thumbnail


def overlay(photo: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A heat map over its photo.

    Args:
        photo: uint8 (h, w, 3) RGB.
        heat: float (rows, columns) in [0, 1], enlarged smoothly.

    Returns:
        uint8 (h, w, 3).
    """
    height, width = photo.shape[:2]
    wide = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = 255 * matplotlib.colormaps[COLOURS](wide)[..., :3]
    return np.rint((1 - OPACITY) * photo + OPACITY * colour).astype(np.uint8)


def jpeg(photo: np.ndarray, heat: np.ndarray | None = None) -> bytes:
    """A small photo as a JPEG file, enlarged to `SIDE`, with its heat map laid over it or without.

    Args:
        photo: uint8 (h, w, 3) RGB.
        heat: as of `overlay`, or None.
    """
    scale = SIDE / min(photo.shape[:2])
    if scale > 1:
        photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return _encoded(photo if heat is None else overlay(photo, heat), QUALITY)


def thumbnail(photo: np.ndarray, side: int, heat: np.ndarray | None = None) -> bytes:
    """The central square of a photo as a small JPEG file, under its heat map or without.

    Args:
        photo: uint8 (h, w, 3) RGB.
        side: px of the picture.
        heat: as of `overlay`, of the square; or None.
    """
    small = opencv.center_square(photo, side)
    return _encoded(small if heat is None else overlay(small, heat), SMALL_QUALITY)


def _encoded(picture, quality):
    """A JPEG file of uint8 (h, w, 3) RGB."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()

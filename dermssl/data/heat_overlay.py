"""Lay a heat map over its photo."""

import cv2
import matplotlib
import numpy as np

# Green to yellow stands out from skin and blood; perceptually even, unlike a rainbow.
COLOURS = "viridis"
OPACITY = 0.5
SIDE = 320  # px of a picture at least: what a network sees is small
QUALITY = 90  # of the JPEG


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
    shown = photo if heat is None else overlay(photo, heat)
    return cv2.imencode(".jpg", shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()

"""Operations on a finished view: artefacts, cutout, RandAugment.

The parameters are drawn here, each from a stream of its own, so that none shifts the draws of
another. (`keras_cv_layers` uses Keras-CV's layers as they are; its RandAugment solarizes and
equalizes, which leaves no colour that a diagnosis could rest on.)
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from dermssl.data.augmentation import artefacts
from dermssl.data.augmentation.draw import SKIN_GREY, uniforms

if TYPE_CHECKING:
    from dermssl.data.augmentation.policies import Policy

# Streams of `uniforms`; 0 is the view's own, artefacts take theirs from their names.
ARTEFACT, CUTOUT, RANDAUGMENT, MIX, KERAS_CV = 1, 2, 3, 4, 5
OPERATIONS_A_VIEW = 2  # Cubuk 2020 on ImageNet


def apply(
    view: np.ndarray, policy: Policy, seed: int, epoch: int, record: int, number: int
) -> np.ndarray:
    """A view with the extras of its policy.

    Args:
        view: uint8 array `[size, size, 3]`; may be changed.
        policy: `Policy`.
        seed, epoch, record, number: ints >= 0, the key of the view.

    Returns:
        uint8 array `[size, size, 3]`.
    """
    if policy.randaugment > 0:
        u = uniforms(seed, epoch, record, number, 3 * OPERATIONS_A_VIEW, RANDAUGMENT)
        names = list(OPERATIONS)
        for k in range(OPERATIONS_A_VIEW):
            name = names[int(len(names) * u[3 * k])]
            sign = 1 if u[3 * k + 1] < 0.5 else -1
            view = OPERATIONS[name](view, sign * policy.randaugment * u[3 * k + 2])
    if policy.artefacts > 0:
        chance, which = uniforms(seed, epoch, record, number, 2, ARTEFACT)
        if chance < policy.artefacts:
            name = list(artefacts.ARTEFACTS)[int(len(artefacts.ARTEFACTS) * which)]
            view = artefacts.apply(name, view, seed, record, epoch=epoch, view=number)
    if policy.cutout > 0:
        chance, u_side, x, y = uniforms(seed, epoch, record, number, 4, CUTOUT)
        if chance < policy.cutout:
            low, high = policy.cutout_side
            view = cutout(view, low + (high - low) * u_side, x, y)
    return view


def cutout(view: np.ndarray, side: float, x: float, y: float) -> np.ndarray:
    """A grey square over part of a view (DeVries & Taylor 2017).

    Args:
        view: uint8 array `[size, size, 3]`.
        side: of the square, in sides of the view.
        x, y: its place in [0, 1], from touching the left or upper edge to the other: it is
            always whole, so that the share that is hidden is the one asked for.
    """
    size = view.shape[0]
    cut = round(side * size)
    left, top = round(x * (size - cut)), round(y * (size - cut))
    view = view.copy()
    view[top : top + cut, left : left + cut] = SKIN_GREY
    return view


def _linear(view, gain, offset):
    """gain * x + offset, by one table for all channels."""
    table = np.clip(np.rint(np.arange(256) * gain + offset), 0, 255).astype(np.uint8)
    return cv2.LUT(view, table)


def _brightness(view, m):
    return _linear(view, 1 + 0.4 * m, 0)


def _contrast(view, m):
    return _linear(view, 1 + 0.5 * m, -0.5 * m * SKIN_GREY)


def _autocontrast(view, m):
    low, high = np.percentile(view, (0.5, 99.5))
    stretched = _linear(view, 255 / max(high - low, 64), -255 * low / max(high - low, 64))
    return cv2.addWeighted(stretched, abs(m), view, 1 - abs(m), 0)


def _saturation(view, m):
    grey = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(view, 1 + 0.6 * m, grey, -0.6 * m, 0)


def _sharpness(view, m):
    soft = cv2.GaussianBlur(view, (0, 0), max(0.5, view.shape[0] / 200))
    return cv2.addWeighted(view, 1 + m, soft, -m, 0)


def _moved(view, a=1.0, b=0.0, x=0.0, c=0.0, d=1.0, y=0.0):
    """[a b; c d] about the middle, then a shift in sides of the view; mirrored at the edges."""
    size, middle = view.shape[0], (view.shape[0] - 1) / 2
    shift_x, shift_y = middle * (1 - a - b) + x * size, middle * (1 - c - d) + y * size
    matrix = np.array([[a, b, shift_x], [c, d, shift_y]])
    return cv2.warpAffine(
        view, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def _rotate(view, m):
    cos, sin = math.cos(m * math.pi / 6), math.sin(m * math.pi / 6)  # to 30 degrees
    return _moved(view, a=cos, b=-sin, c=sin, d=cos)


# RandAugment's operations, from magnitude -1 to 1, without those that no camera or skin does:
# posterize, solarize, invert and equalize leave no colour that a diagnosis could rest on.
OPERATIONS = {
    "brightness": _brightness,
    "contrast": _contrast,
    "autocontrast": _autocontrast,
    "saturation": _saturation,
    "sharpness": _sharpness,
    "rotate": _rotate,
    "shear_x": lambda view, m: _moved(view, b=0.2 * m),
    "shear_y": lambda view, m: _moved(view, c=0.2 * m),
    "translate_x": lambda view, m: _moved(view, x=0.2 * m),
    "translate_y": lambda view, m: _moved(view, y=0.2 * m),
}

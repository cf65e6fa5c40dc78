"""Draw the random numbers of one augmented view from a policy.

What happens to a view is drawn here, apart from the work on its pixels. A draw is a pure function
of (seed, epoch, record, view): no state, no order, no process enters it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from dermssl.data.augmentation.policies import Policy


LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights of OpenCV's and Pillow's grey
SKIN_GREY = 150.0  # contrast turns about it; the mean of ISIC 2016 is 167, most of it light skin
FOCUS_RADIUS = 0.35  # of half the shorter side; most ISIC lesions are centred and larger than this
FOCUS_MARGIN = 0.8  # the focus point lies within this share of a crop, not on its very edge
SLOTS = 24  # uniforms a view: 21 in use, and room, as a later op must not shift the earlier ones


class Params(NamedTuple):
    """What one view does to its photo; drawn once, then applied by `opencv`.

    Attributes:
        affine: float32 `[2, 3]`, from a place in the view to a place in the photo. The view is
            the square [-1, 1]^2; the photo's unit is half its shorter side, and (0, 0) its
            centre: the identity shows the central square.
        colour: float32 `[3, 4]`, RGB in [0, 255] to RGB, last column the offset.
        blur: Gaussian sigma as a share of the output's side; 0 for none.
        noise: Gaussian sigma in grey levels; 0 for none.
        noise_key: int in [0, 2^31), which noise.
        dim: factor of floor(x * dim); 1 for none.
    """

    affine: np.ndarray
    colour: np.ndarray
    blur: float
    noise: float
    noise_key: int
    dim: float


def uniforms(
    seed: int, epoch: int, record: int, view: int, count: int = SLOTS, stream: int = 0
) -> list[float]:
    """`count` floats, uniform in [0, 1), that depend on the arguments alone.

    Philox 4x64 with (seed, stream) as its key and (block, record, epoch, view) as its counter, so
    no two views ever share a block. All are ints in [0, 2^64); another `stream` (1 and up) is
    another set of numbers for the same view. About 11 us.
    """
    key = np.array([seed, stream], np.uint64)
    counter = np.array([0, record, epoch, view], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(count)
    return ((raw >> 11) * 2.0**-53).tolist()


def draw(
    policy: Policy,
    seed: int,
    epoch: int,
    record: int,
    view: int,
    aspect: float = 1.0,
    focus: tuple[float, float, float, float] | None = None,
) -> Params:
    """The parameters of one view: a pure function, about 20 us.

    A crop keeps some of the lesion: a point is drawn in an ellipse (the middle of `focus`, or a
    central disc of `FOCUS_RADIUS`), then its place in the crop. So the crop always holds that
    point (at `policy.shift` 1, or for a central focus at any). Within this it stays on the photo
    where it can; what is left over the edge is mirrored by the engine.

    Args:
        policy: `Policy`.
        seed, epoch, record, view: ints >= 0; `record` is the row in the index.
        aspect: width / height of the photo.
        focus: `None`, or the lesion's box `(left, top, right, bottom)`, in [0, 1] of the photo.

    Returns:
        `Params`.
    """
    u = uniforms(seed, epoch, record, view)
    noisy = u[17] < policy.noise and policy.noise_sigma > 0
    blurred = u[15] < policy.blur
    return Params(
        _draw_affine(policy, u, aspect, focus),
        _draw_colour(policy, u),
        _between(policy.blur_sigma, u[16]) if blurred else 0.0,
        policy.noise_sigma * u[18] if noisy else 0.0,
        int(u[19] * 2**31),
        _between(policy.dim, u[20]),
    )


def _between(ends, u):
    return ends[0] + (ends[1] - ends[0]) * u


def _about_zero(size, u):
    return size * (2 * u - 1)


def _draw_affine(policy, u, aspect, focus):
    flip_x = -1.0 if u[0] < policy.flip_h else 1.0
    flip_y = -1.0 if u[1] < policy.flip_v else 1.0
    if policy.rotate == 0 and policy.shift == 0 and policy.shear == 0 and policy.crop == (1, 1):
        return np.array([[flip_x, 0, 0], [0, flip_y, 0]], np.float32)
    angle = math.radians(_about_zero(policy.rotate, u[2]))
    side = math.sqrt(_between(policy.crop, u[3]))
    slant = math.tan(math.radians(_about_zero(policy.shear, u[4])))
    cos, sin = side * math.cos(angle), side * math.sin(angle)
    # rotation @ shear @ flip, of one area whatever the angle
    a, b = cos * flip_x, (cos * slant - sin) * flip_y
    c, d = sin * flip_x, (sin * slant + cos) * flip_y
    half_w, half_h = max(aspect, 1.0), max(1 / aspect, 1.0)  # the photo, in its own unit
    mid_x = mid_y = 0.0
    radius_x = radius_y = FOCUS_RADIUS
    if focus is not None:
        left, top, right, bottom = focus
        mid_x, mid_y = (left + right - 1) * half_w, (top + bottom - 1) * half_h
        radius_x = (right - left) * half_w * FOCUS_MARGIN
        radius_y = (bottom - top) * half_h * FOCUS_MARGIN
    far, turn = math.sqrt(u[5]), 2 * math.pi * u[6]  # uniform on the disc
    point_x = mid_x + radius_x * far * math.cos(turn)
    point_y = mid_y + radius_y * far * math.sin(turn)
    at_x, at_y = _about_zero(FOCUS_MARGIN, u[7]), _about_zero(FOCUS_MARGIN, u[8])
    # The centre that puts the point there, moved until the crop is on the photo, moved back until
    # it holds the point again.
    room_x = max(half_w - abs(a) - abs(b), 0.0)
    room_y = max(half_h - abs(c) - abs(d), 0.0)
    x = min(max(point_x - a * at_x - b * at_y, -room_x), room_x)
    y = min(max(point_y - c * at_x - d * at_y, -room_y), room_y)
    away_x, away_y, det = point_x - x, point_y - y, a * d - b * c
    at_x = min(max((d * away_x - b * away_y) / det, -FOCUS_MARGIN), FOCUS_MARGIN)
    at_y = min(max((a * away_y - c * away_x) / det, -FOCUS_MARGIN), FOCUS_MARGIN)
    x = policy.shift * (point_x - a * at_x - b * at_y)
    y = policy.shift * (point_y - c * at_x - d * at_y)
    return np.array([[a, b, x], [c, d, y]], np.float32)


def _draw_colour(policy, u):
    bright = contrast = saturation = 1.0
    hue = 0.0
    if u[9] < policy.jitter:
        bright += _about_zero(policy.brightness, u[10])
        contrast += _about_zero(policy.contrast, u[11])
        saturation += _about_zero(policy.saturation, u[12])
        hue = math.radians(_about_zero(policy.hue, u[13]))
    if u[14] < policy.grayscale:
        saturation = 0.0
    # A turn by `hue` about the axis R = G = B (Rodrigues), a mix with its luma, then
    # bright * (contrast * (x - SKIN_GREY) + SKIN_GREY): all of it one matrix and one offset.
    cos, sin = math.cos(hue), math.sin(hue) / math.sqrt(3)
    one = (1 - cos) / 3
    p, q, r = cos + one, one - sin, one + sin
    gain = bright * contrast
    keep, grey = gain * saturation, gain * (1 - saturation)
    red, green, blue = LUMA
    mix_r = grey * (red * p + green * r + blue * q)
    mix_g = grey * (red * q + green * p + blue * r)
    mix_b = grey * (red * r + green * q + blue * p)
    p, q, r = keep * p, keep * q, keep * r
    offset = bright * (1 - contrast) * SKIN_GREY
    rows = [
        [p + mix_r, q + mix_g, r + mix_b, offset],
        [r + mix_r, p + mix_g, q + mix_b, offset],
        [q + mix_r, r + mix_g, p + mix_b, offset],
    ]
    return np.array(rows, np.float32)

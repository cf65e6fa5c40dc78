"""Preprocess photos: colour constancy, hair removal, sharpening, lesion crop.

They are settings of the data (`[data] preprocess`), kept in a run's config and taken from there
when its model predicts. Nothing is random, so their result is what the cache of photos keeps.
"""

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from dermssl.core.errors import unknown_name

CROP = "lesion_crop"  # needs a mask, so `photos` does it, before all other steps
MINKOWSKI = 6  # order of the norm that Finlayson & Trezzi (2004) found best
HAIR_WIDTH = 0.04  # of the shorter side: a gap that closing must bridge; thick hairs are 0.025
HAIR_CONTRAST = 14  # grey levels below the closed image
HAIR_LENGTH = 0.14  # of the shorter side, at least; meshes of a pigment network are shorter
HAIR_SLIMNESS = 15.0  # squared length over area, at least: a mesh or a texture has 3 to 8
HAIR_WAYS = 16  # directions of the straight pieces that are looked for
SHARPEN, SHARPEN_SIGMA = 0.7, 0.004  # amount, and the blur's sigma in shorter sides


def apply(photo: np.ndarray, steps: Iterable[str]) -> np.ndarray:
    """A photo after the steps, in their order; itself where there are none.

    Args:
        photo: uint8 array (height, width, 3) RGB; stays as it is.
        steps: keys of `STEPS`; `CROP` is passed over.

    Returns:
        uint8 array of the same shape.
    """
    for name in steps:
        step = STEPS[name]
        if step is not None:
            photo = step(photo)
    return photo


def checked(steps: Sequence[str]) -> tuple[str, ...]:
    """`steps` as a tuple; an unknown one lists those there are."""
    for name in steps:
        if name not in STEPS:
            raise unknown_name("data.preprocess", name, STEPS)
    return tuple(steps)


def shades_of_grey(photo: np.ndarray) -> np.ndarray:
    """Colour constancy: the light's colour, by a norm over the photo, is made grey.

    The light is `e[c] = mean(x[c] ** 6) ** (1 / 6)` (Finlayson & Trezzi 2004, Minkowski norm 6);
    a channel is divided by `e[c] * sqrt(3) / |e|`, so a grey light changes nothing.
    """
    values = np.arange(256) / 255
    light = np.empty(3)
    for channel in range(3):
        counts = np.bincount(photo[..., channel].ravel(), minlength=256)
        light[channel] = (counts @ values**MINKOWSKI / counts.sum()) ** (1 / MINKOWSKI)
    if light.min() == 0:  # a channel that is black everywhere says nothing
        return photo
    gains = np.linalg.norm(light) / (np.sqrt(3) * light)
    table = np.rint(np.clip(255 * values[:, None] * gains, 0, 255)).astype(np.uint8)
    return cv2.LUT(photo, table[:, None])


def hair_removal(photo: np.ndarray) -> np.ndarray:
    """Dark hairs are found by a black-hat and filled from their sides, as DullRazor does.

    After Lee et al. (1997): closing removes what is dark and thin. Of that, straight pieces (which
    survive an opening by a line) and long slim curves are hairs, and are painted over (Telea
    2004); pigment networks and dots are neither. Light hairs stay.
    """
    side = min(photo.shape[:2])
    wide = max(3, round(HAIR_WIDTH * side)) | 1  # odd, or the disc has no middle
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (wide, wide))
    black_hat = cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, disc)
    thin = (black_hat > HAIR_CONTRAST).astype(np.uint8)
    _, names, stats, _ = cv2.connectedComponentsWithStats(thin)
    area = stats[:, cv2.CC_STAT_AREA]
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    slim = (length > HAIR_LENGTH * side) & (length**2 > HAIR_SLIMNESS * area)
    slim[0] = False  # the background
    straight = np.zeros_like(thin)
    for way in range(HAIR_WAYS):
        line = _line(round(HAIR_LENGTH * side) | 1, np.pi * way / HAIR_WAYS)
        straight = np.bitwise_or(straight, cv2.morphologyEx(thin, cv2.MORPH_OPEN, line))
    near = np.ones((5, 5), np.uint8)
    hair = slim[names].astype(np.uint8) | np.bitwise_and(cv2.dilate(straight, near), thin)
    if not hair.any():
        return photo
    mask = cv2.dilate(hair, np.ones((3, 3), np.uint8))
    return cv2.inpaint(photo, mask, max(2, side / 150), cv2.INPAINT_TELEA)


def _line(side, angle):
    """uint8 (side, side): a line through the middle."""
    brush, middle = np.zeros((side, side), np.uint8), (side - 1) / 2
    reach = middle * np.array([np.cos(angle), np.sin(angle)])
    start, end = (tuple(np.rint(middle + way * reach).astype(int).tolist()) for way in (-1, 1))
    return cv2.line(brush, start, end, 1)


def sharpen(photo: np.ndarray) -> np.ndarray:
    """Unsharp mask: what a blur takes away is added once more."""
    sigma = max(0.5, SHARPEN_SIGMA * min(photo.shape[:2]))
    return cv2.addWeighted(
        photo, 1 + SHARPEN, cv2.GaussianBlur(photo, (0, 0), sigma), -SHARPEN, 0
    )  # fmt: skip


STEPS: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {
    CROP: None,
    "hair_removal": hair_removal,
    "shades_of_grey": shades_of_grey,
    "sharpen": sharpen,
}

"""Erase the lesion from a photo, or all but the lesion, by its mask.

A black hole would be a cue of its own. A hole is filled with the colours around it, smoothly
continued (push-pull, Gortler et al. 1996), and with noise as strong as that of the skin.
"""

import cv2
import numpy as np

from dermssl.core.errors import UserError
from dermssl.data import masks
from dermssl.data.decode import decode

# Of HAM10000's lesions a disc of this radius (in sides of the central square) covers 88% of the
# pixels on average, and over 95% in half of the photos; it takes half of the square.
DISC = 0.4
# The rim of a lesion is drawn tightly in most masks; this share of the side is erased with it.
MARGIN = 0.06
# Mean colour of 101 of HAM10000's photos (every 80th) outside their masks, RGB.
SKIN = (202, 151, 157)


def read_mask(file, shape, crop=None):
    """A lesion's mask at the size of its photo.

    Args:
        file: path of a picture that is bright on the lesion.
        shape: (height, width) of the photo, which must be as wide for its height as the mask.
        crop: function from the mask to the part of it that the photo shows; None for all.

    Returns:
        bool (height, width).
    """
    mask = decode(str(file))
    mask = crop(mask) if crop else mask
    wrong = masks.shape_mismatch(file, mask.shape[:2], shape)
    if wrong:
        raise UserError(wrong)
    size = (shape[1], shape[0])
    # Lesions are 255 in most data sets' masks, 1 in some.
    middle = 127 if mask.max() > 127 else mask.max() / 2
    shown = cv2.resize(mask[..., 0].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return shown > middle


def square(photo):
    """The central square of a picture or mask: what `augment.plain` shows."""
    height, width = photo.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return photo[top : top + side, left : left + side]


def disc(side):
    """bool (side, side): the centre, where a lesion is likely; for photos without a mask."""
    grid = (np.arange(side) + 0.5) / side - 0.5
    return np.hypot(grid, grid[:, None]) < DISC


def bounding_rectangle(hole):
    """bool: the rectangle round a hole, a tenth wider and higher on each side."""
    filled = np.zeros_like(hole)
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if len(rows):
        high, wide = np.ptp(rows) // 10 + 1, np.ptp(columns) // 10 + 1
        top, left = max(0, rows[0] - high), max(0, columns[0] - wide)
        filled[top : rows[-1] + high + 1, left : columns[-1] + wide + 1] = True
    return filled


def inpaint_lesion(photo, hole, seed, record):
    """The photo with a hole filled in.

    Args:
        photo: uint8 (h, w, 3) RGB.
        hole: bool (h, w); it is widened by `MARGIN` and its edge is soft.
        seed, record: int, of the noise.

    Returns:
        uint8 (h, w, 3); the photo itself where the hole is empty.
    """
    if not hole.any():
        return photo.copy()
    opacity, wide = _soft(hole)
    known = ~wide
    if known.any():
        colour = _pulled(photo.astype(np.float32), known.astype(np.float32))
        spread = _spread(photo, known)
    else:
        colour = np.full(photo.shape, SKIN, dtype=np.float32)
        spread = np.zeros(3)
    return _blend(photo, colour + _noise(photo.shape, spread, seed, record), opacity)


def lesion_alone(photo, hole, seed, record):
    """The lesion on a plain ground, the same colour for all photos, with the skin's noise.

    Arguments and result are those of `inpaint_lesion`.
    """
    opacity, wide = _soft(hole)
    spread = _spread(photo, ~wide) if not wide.all() else np.zeros(3)
    ground = np.float32(SKIN) + _noise(photo.shape, spread, seed, record)
    return _blend(photo, ground, 1 - opacity)


def _soft(hole):
    """The widened hole as an opacity, 1 on all of the hole itself, and as bool."""
    margin = max(1, round(MARGIN * min(hole.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    wide = cv2.dilate(hole.astype(np.uint8), kernel)
    opacity = cv2.GaussianBlur(wide.astype(np.float32), (0, 0), margin / 3)
    return np.where(hole, 1, opacity).astype(np.float32), wide > 0


def _pulled(colour, weight):
    """Colours continued into where the weight is 0, from ever coarser means; float32."""
    height, width = weight.shape
    if max(height, width) == 1:
        return colour
    half = ((width + 1) // 2, (height + 1) // 2)
    part = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    mean = cv2.resize(colour * weight[..., None], half, interpolation=cv2.INTER_AREA)
    shape = (half[1], half[0], 3)
    mean = mean.reshape(shape) / np.maximum(part, 1e-6).reshape(half[1], half[0], 1)
    below = _pulled(mean, np.minimum(1, 2 * part.reshape(half[1], half[0])))
    above = cv2.resize(below, (width, height), interpolation=cv2.INTER_LINEAR)
    above = above.reshape(height, width, 3)
    return weight[..., None] * colour + (1 - weight[..., None]) * above


def _spread(photo, known):
    """Standard deviation of the fine grain of each channel; hairs hardly count (by median)."""
    grain = photo.astype(np.float32) - cv2.GaussianBlur(photo, (0, 0), 2).astype(np.float32)
    return 1.4826 * np.median(np.abs(grain[known]), axis=0)


def _noise(shape, spread, seed, record):
    stream = np.random.Generator(np.random.Philox(key=[seed, record]))
    return stream.standard_normal(shape, dtype=np.float32) * np.float32(spread)


def _blend(photo, other, opacity):
    mixed = photo + opacity[..., None] * (other - photo)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)

"""Lesion masks: the lesion's box, the crop around it. `mask_files` says which mask is whose.

A mask is an image of the photo's shape, light where the lesion is, as HAM10000's and ISIC's are.
Boxes are `(left, top, right, bottom)` in [0, 1] of the photo.
"""

import numpy as np

from dermssl.data.decode import decode

CROP_MARGIN = 1.3  # side of a crop over the lesion's: the border and some skin must be seen
MIN_CROP = 0.2  # of the photo's shorter side; below it a mask is more likely a speck
SHAPE = 0.03  # share by which a mask may be wider for its height than its photo, or narrower
MIN_SHARE = 0.0005  # of the mask; smaller is dirt, and no lesion


def misfit(file, mask, photo):
    """What is wrong with a mask whose shape isn't its photo's; "" where nothing is.

    Args:
        file: of the mask, for the message.
        mask, photo: (height, width), px.
    """
    if abs(mask[1] / mask[0] * photo[0] / photo[1] - 1) <= SHAPE:
        return ""
    return (
        f"{file}: a mask of {mask[1]} x {mask[0]} px doesn't fit its photo of "
        f"{photo[1]} x {photo[0]}; correct it or take it away"
    )


def box(file):
    """The box of the lesion in a mask; `None` where nothing or all of it is light.

    Raises `decode.BadImage` as `decode.decode` does.
    """
    light = decode(file)[..., 1] > 127
    if not MIN_SHARE <= light.mean() < 1:
        return None
    rows, columns = np.flatnonzero(light.any(axis=1)), np.flatnonzero(light.any(axis=0))
    height, width = light.shape
    return (
        columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
    )  # fmt: skip


def crop_of(box, aspect):
    """The square around a lesion, as a box; cut to the photo where it does not fit.

    Args:
        box: the lesion's.
        aspect: width / height of the photo.
    """
    left, top, right, bottom = box
    side = CROP_MARGIN * max((right - left) * aspect, bottom - top)  # in heights of the photo
    side = max(side, MIN_CROP * min(aspect, 1))
    wide, high = min(side / aspect, 1.0), min(side, 1.0)
    left = min(max((left + right - wide) / 2, 0.0), 1 - wide)
    top = min(max((top + bottom - high) / 2, 0.0), 1 - high)
    return left, top, left + wide, top + high


def cropped(photo, box):
    """The part of a photo, uint8 `[height, width, 3]`, that `crop_of` gives."""
    height, width = photo.shape[:2]
    left, top, right, bottom = crop_of(box, width / height)
    rows = slice(int(top * height), max(round(bottom * height), int(top * height) + 1))
    columns = slice(int(left * width), max(round(right * width), int(left * width) + 1))
    return np.ascontiguousarray(photo[rows, columns])


def within_crop(box, aspect):
    """The lesion's box as seen in its own crop."""
    left, top, right, bottom = crop_of(box, aspect)
    wide, high = right - left, bottom - top
    return (
        (box[0] - left) / wide, (box[1] - top) / high,
        (box[2] - left) / wide, (box[3] - top) / high,
    )  # fmt: skip

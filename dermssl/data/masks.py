"""Lesion masks: which file belongs to which photo, the lesion's box, the crop around it.

A mask is an image of the photo's shape, light where the lesion is, as HAM10000's and ISIC's are.
Boxes are `(left, top, right, bottom)` in [0, 1] of the photo.
"""

import os
from collections import Counter
from pathlib import PurePosixPath

import numpy as np

from dermssl.data import files, preprocess
from dermssl.data.decode import decode
from dermssl.data.index import MASK
from dermssl.data.tables import quoted
from dermssl.errors import UserError

CROP_MARGIN = 1.3  # side of a crop over the lesion's: the border and some skin must be seen
MIN_CROP = 0.2  # of the photo's shorter side; below it a mask is more likely a speck
MIN_SHARE = 0.0005  # of the mask; smaller is dirt, and no lesion


def attach(root, table, data):
    """A record table with the column `mask`: paths below `root`, "" where there is none.

    With `data.masks` "ignore" no table has it. Else a table that has the column keeps it, and for
    others masks are looked for by name: for a photo `NAME.jpg` a `NAME.png` or
    `NAME_segmentation.png` in a folder `masks`, or a `NAME_segmentation.png` anywhere (ISIC writes
    `_Segmentation`). Where several photos share a name, only a mask beside its photo is taken.
    Without any mask the table stays as it is.

    Raises:
        UserError: photos are to be cropped to their masks, and there are none.
    """
    if data.masks == "ignore":
        table = table.drop(columns=MASK, errors="ignore")
    elif MASK not in table:
        column = find(root, table["path"])
        table = table.assign(**{MASK: column}) if any(column) else table
    if MASK not in table and preprocess.CROP in data.preprocess:
        hint = "leave out --masks ignore" if data.masks == "ignore" else "add masks/NAME.png"
        raise UserError(f"--preprocess {preprocess.CROP}: no photo has a mask; {hint}")
    return table


def find(root, paths):
    """list of str: the mask of each photo, a path below `root`, or ""."""
    beside, anywhere = {}, {}
    for path in files.scan_masks(root):
        beside.setdefault((PurePosixPath(path).parent, name_of(path)), path)
        anywhere.setdefault(name_of(path), path)
    names = [name_of(path) for path in paths]
    photos = Counter(names)
    return [
        beside.get((PurePosixPath(path).parent, name))
        or (anywhere.get(name, "") if photos[name] == 1 else "")
        for path, name in zip(paths, names)
    ]


def of_files(source, paths):
    """list of str: full paths of the masks of photos in a folder, or of the one photo `source`."""
    root = os.path.realpath(source if os.path.isdir(source) else os.path.dirname(source) or ".")
    inside = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
    return [os.path.join(root, mask) if mask else "" for mask in find(root, inside)]


def checked(root, column, file):
    """The column `mask` of a table, as plain relative paths; a file that is not there is refused.

    Args:
        root: real path of the data folder.
        column: pandas text column, indexed by line.
        file: the table, for errors.
    """
    given = column[column.fillna("") != ""]
    plain = given.copy()
    for line, name in given.items():
        plain[line] = files.relative(name, f"{file}: line {line}")
    for line, there in zip(plain.index, files.present(root, plain)):
        if not there:
            raise UserError(
                f"{file}: line {line}: mask {quoted(plain[line])} not found; "
                "add the file, or leave the cell blank"
            )
    return plain.reindex(column.index, fill_value="")


def name_of(path):
    """The name a photo and its mask share: no folders, no suffix, no `_segmentation`."""
    return files.MASK_NAME.split(PurePosixPath(path).stem)[0]


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

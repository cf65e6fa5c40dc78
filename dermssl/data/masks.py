"""Lesion masks: the lesion's box, the crop around it. `mask_files` says which mask is whose.

A mask is an image of the photo's shape, light where the lesion is, as HAM10000's and ISIC's are.
Boxes are `(left, top, right, bottom)` in [0, 1] of the photo.
"""

import logging
import os
import posixpath
import re
import sys
from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np

from dermssl.core.errors import UserError
from dermssl.data import csv_tables, decode, preprocess
from dermssl.data import paths as files
from dermssl.data.records import MASK

CROP_MARGIN = 1.3  # side of a crop over the lesion's: the border and some skin must be seen
MIN_CROP = 0.2  # of the photo's shorter side; below it a mask is more likely a speck
SHAPE = 0.03  # share by which a mask may be wider for its height than its photo, or narrower
MIN_SHARE = 0.0005  # of the mask; smaller is dirt, and no lesion


def shape_mismatch(file, mask, photo):
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
    light = decode.decode(file)[..., 1] > 127
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


ENDING = re.compile("_segmentation.*|_mask$", re.IGNORECASE)

log = logging.getLogger(__name__)


def attach(root, table, data, extra=None):
    """A record table with the column `mask`: paths below `root`, "" where there is none.

    With `data.masks` "ignore" no table has it. Else a table that has the column keeps it, and for
    others masks are looked for by name: for photos outside of the root, which are those of the
    folder `extra`, below `extra`. Without any mask the table stays as it is.

    Raises:
        UserError: photos are to be cropped to their masks, and there are none.
    """
    if data.masks == "ignore":
        table = table.drop(columns=MASK, errors="ignore")
    else:
        there, paths = MASK in table, table["path"]
        inside = [path for path in paths if not path.startswith("../")]
        column = list(table[MASK]) if there else find(root, paths, inside)
        if len(inside) < len(table):
            column = _with_extra(root, paths, column, extra)
        table = table.assign(**{MASK: column}) if there or any(column) else table
    if preprocess.CROP in data.preprocess and not (MASK in table and table[MASK].any()):
        hint = "leave out --masks ignore" if data.masks == "ignore" else "add masks/NAME.png"
        raise UserError(f"--preprocess {preprocess.CROP}: no photo has a mask; {hint}")
    if preprocess.CROP in data.preprocess and not table[MASK].all():
        count = table[MASK].eq("").sum()
        log.warning("%d of %d photos have no mask and stay whole", count, len(table))
    return table


def find(root, paths, among=None):
    """list of str: the mask of each photo by its name, a path below `root`, or "".

    Args:
        root: real path of a folder.
        paths: of photos, relative to it.
        among: all photos that a name could mean; None for `paths`.
    """
    return _matched(files.scan_masks(root), paths, among)


def in_folder(folder, paths, among=None):
    """list of str: full path of the mask of each photo, or ""; every PNG in `folder` is a mask.

    Only the photos' names count, not where they lie. Arguments are those of `find`.
    """
    there = sorted(name for name in os.listdir(folder) if name.lower().endswith(".png"))
    names = [PurePosixPath(path).name for path in paths]  # so no mask can lie beside its photo
    found = _matched([f"masks/{name}" for name in there], names, among)
    return [str(Path(folder, PurePosixPath(mask).name)) if mask else "" for mask in found]


def of_folder(root, paths):
    """list of str: the mask of each photo in a folder, as training on that folder would find it.

    That is what labels.csv says, where it has the column `mask` and the photo; for other photos a
    name must be the only one in the whole folder. Photos outside of it have none.
    Arguments and result are those of `find`.
    """
    listed = _listed(root)
    named = find(root, paths, photos_in(root, strict=False))
    named = ["" if path.startswith("../") else mask for path, mask in zip(paths, named)]
    return [listed.get(path, mask) for path, mask in zip(paths, named)]


def photos_in(root, strict=True):
    """`files.scan` without the masks that labels.csv names, which may lie in any folder."""
    table = _table(root)
    named = () if table is None else table[MASK].str.replace("\\", "/").map(posixpath.normpath)
    named = set(named)
    return [path for path in files.scan(root, strict=strict) if path not in named]


def image_files(source):
    """Full paths of the photos to predict: one file, or all in a folder, in order."""
    if os.path.isfile(source):
        return [str(source)]
    if not os.path.exists(source):
        raise UserError(f"{source}: not found; give a photo or a folder of photos")
    folder = files.existing_folder(source, "photos")
    found = photos_in(folder)
    if not found:
        raise UserError(f"{source}: no images found; {files.ACCEPTED}")
    return [str(folder / name) for name in found]


def of_files(source, paths):
    """list of str: full paths of the masks of photos in a folder, or of the one photo `source`."""
    root = Path(os.path.realpath(source if os.path.isdir(source) else Path(source).parent))
    real = [os.path.join(os.path.realpath(Path(path).parent), Path(path).name) for path in paths]
    inside = [os.path.relpath(path, root).replace(os.sep, "/") for path in real]
    return [str(root / mask) if mask else "" for mask in of_folder(root, inside)]


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
        plain[line] = files.checked_relative_path(name, f"{file}: line {line}")
    for line, there in zip(plain.index, files.existing(root, plain)):
        if not there:
            raise UserError(
                f"{file}: line {line}: mask {csv_tables.quoted(plain[line])} not found; "
                "add the file, or leave the cell blank"
            )
    return plain.reindex(column.index, fill_value="")


def _with_extra(root, paths, column, extra):
    """The masks of photos, those outside of the root with the ones found in the second folder."""
    away = [path for path in paths if path.startswith("../")]
    there = [_below(extra, root, path) for path in paths]
    found = find(
        extra,
        [name for name, path in zip(there, paths) if path.startswith("../")],
        [name for name in there if not name.startswith("../")],
    )
    found = {path: mask and _below(root, extra, mask) for path, mask in zip(away, found)}
    return [found.get(path, mask) for path, mask in zip(paths, column)]


def _below(root, folder, path):
    """A path relative to `folder` as one relative to `root`."""
    return os.path.relpath(os.path.join(folder, path), root).replace(os.sep, "/")


def bad(photos, masks_of):
    """list of (number, message): the masks that can't be read, or have another shape than theirs.

    Args:
        photos: full paths of readable photos.
        masks_of: list of full paths, the mask of each photo, "" for none.
    """
    faulty = dict(decode.verify_all(dict.fromkeys(mask for mask in masks_of if mask)))
    found = []
    for number, (photo, mask) in enumerate(zip(photos, masks_of)):
        message = faulty.get(mask)
        if mask and not message:
            shapes = [(each.height, each.width) for each in map(decode.read_header, (mask, photo))]
            message = shape_mismatch(mask, *shapes)
        if message:
            found.append((number, message))
    return found


def usable(photos, masks_of, on_bad, where):
    """The masks without the `bad` ones, and what was wrong with those: (list, messages).

    `on_bad` "error" refuses them with a `UserError` that begins with `where`.
    """
    found = bad(photos, masks_of)
    if found and on_bad == "error":
        more = f" (and {len(found) - 1} more bad masks)" if len(found) > 1 else ""
        raise UserError(f"{where}: {found[0][1]}{more}; or go without bad masks: --on-bad skip")
    drop = {number for number, _ in found}
    kept = ["" if number in drop else mask for number, mask in enumerate(masks_of)]
    return kept, [message for _, message in found]


def verified(dataset, on_bad, where):
    """A data set of readable photos, its masks checked as well: without bad ones, or refused."""
    if MASK not in dataset.index:
        return dataset
    kept, messages = usable(dataset.files, dataset.mask_files, on_bad, where)
    for message in messages:
        log.warning("skipped, while its photo stays: %s", message)
    if not messages:
        return dataset
    there = [bool(mask) for mask in kept]
    column = dataset.index[MASK].where(there, "")
    return dataset.with_index(dataset.index.assign(**{MASK: column}))


def of_model(given, steps, on_bad):
    """The masks of new photos for a model; says on standard error how many have none.

    Args:
        given: list of (source, files): a file or folder and its readable photos.
        steps: what the run does to photos, keys of `preprocess.STEPS`.
        on_bad: "error" or "skip".

    Returns:
        list of full paths, "" for none; None where the run doesn't crop by masks.
    """
    if preprocess.CROP not in steps:
        return None
    photos = [photo for _, paths in given for photo in paths]
    found = [mask for source, paths in given for mask in of_files(source, paths)]
    found, messages = usable(photos, found, on_bad, "masks")
    for message in messages:
        print(f"skipped, while its photo stays: {message}", file=sys.stderr)
    if "" in found:
        line = f"{found.count('')} of {len(found)} photos have no mask and stay whole, where the "
        print(f"{line}run learnt from photos cropped to the lesion", file=sys.stderr)
    return found


def _matched(found, paths, among):
    """The mask of each photo among `found`; a mask of just the photo's name comes first."""
    beside, anywhere = {}, {}
    stems = [PurePosixPath(path).stem for path in found]
    for names in (stems, [ENDING.sub("", stem) for stem in stems]):
        for path, name in zip(found, names):
            beside.setdefault((PurePosixPath(path).parent, name), path)
            anywhere.setdefault(name, path)
    names = [PurePosixPath(path).stem for path in paths]
    photos = Counter(names if among is None else [PurePosixPath(path).stem for path in among])
    return [
        beside.get((PurePosixPath(path).parent, name))
        or (anywhere.get(name, "") if photos[name] <= 1 else "")
        for path, name in zip(paths, names)
    ]


def _table(root):
    """labels.csv, where it has a column for masks; else None."""
    file = Path(root) / "labels.csv"
    if not file.is_file() or not {"filename", MASK} <= {
        *csv_tables.header_of(file, "filename,label")
    }:
        return None
    return csv_tables.read_table(files.path_inside(root, file.name), "filename,label")


def _listed(root):
    """dict of photo -> mask or "", as labels.csv says; empty where it has no column for masks."""
    table, file = _table(root), Path(root) / "labels.csv"
    if table is None:
        return {}
    blank = table[MASK].str.lower().isin(csv_tables.UNKNOWN)
    column = checked(root, table[MASK].mask(blank, ""), file)
    photos = [
        files.checked_relative_path(name, f"{file}: line {line}")
        for line, name in table["filename"].items()
    ]
    there = files.existing(root, photos)  # else below images/, as the reader of labels.csv has it
    return {
        path if found else f"images/{path}": mask
        for path, found, mask in zip(photos, there, column)
    }

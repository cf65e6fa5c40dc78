"""Lesion masks: which one belongs to which photo, the lesion's box, and the crop around it.

A mask is an image of the photo's shape, light where the lesion is, as HAM10000's and ISIC's are.
Boxes are `(left, top, right, bottom)` in [0, 1] of the photo.
"""

import logging
import os
import posixpath
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from dermssl.core import left_out, settings
from dermssl.core.errors import UserError
from dermssl.data import csv_tables, decode, packed, photo_bytes, preprocess, storage
from dermssl.data import paths as files
from dermssl.data.records import MASK, Dataset

Box = tuple[float, float, float, float]

CROP_MARGIN = 1.3  # side of a crop over the lesion's: the border and some skin must be seen
MIN_CROP = 0.2  # of the photo's shorter side; below it a mask is more likely a speck
SHAPE = 0.03  # share by which a mask may be wider for its height than its photo, or narrower
MIN_SHARE = 0.0005  # of the mask; smaller is dirt, and no lesion


def shape_mismatch(file: Path | str, mask: tuple[int, int], photo: tuple[int, int]) -> str:
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


def box(file: Path | str) -> Box | None:
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


def crop_of(box: Box, aspect: float) -> Box:
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


def cropped(photo: np.ndarray, box: Box) -> np.ndarray:
    """The part of a photo, uint8 (height, width, 3), that `crop_of` gives."""
    height, width = photo.shape[:2]
    left, top, right, bottom = crop_of(box, width / height)
    rows = slice(int(top * height), max(round(bottom * height), int(top * height) + 1))
    columns = slice(int(left * width), max(round(right * width), int(left * width) + 1))
    return np.ascontiguousarray(photo[rows, columns])


def within_crop(box: Box, aspect: float) -> Box:
    """The lesion's box as seen in its own crop."""
    left, top, right, bottom = crop_of(box, aspect)
    wide, high = right - left, bottom - top
    return (
        (box[0] - left) / wide, (box[1] - top) / high,
        (box[2] - left) / wide, (box[3] - top) / high,
    )  # fmt: skip


ENDING = re.compile("_segmentation.*|_mask$|_lesion$", re.IGNORECASE)

log = logging.getLogger(__name__)


class MaskIndex:
    """Which mask of a folder belongs to which photo: as labels.csv says, else by name.

    NAME.png comes before NAME_mask.png and NAME_segmentation.png, a mask beside its photo before
    one elsewhere. One elsewhere counts only where no two photos have the name.

    Args:
        root: real path of the folder.
        photos: paths of all photos that a name could mean, relative to the root. None: all in the
            folder, and the column `mask` of its labels.csv goes before names.
        masks: paths of the masks; None: those in the folder, by place or name.
    """

    def __init__(
        self,
        root: Path,
        photos: Iterable[str] | None = None,
        masks: Sequence[str] | None = None,
    ) -> None:
        self._listed = _listed(root) if photos is None else {}
        photos = photos_in(root, strict=False) if photos is None else photos
        photos = set(photos)
        masks = files.scan_masks(root) if masks is None else masks
        masks = [mask for mask in masks if mask not in photos]
        self._photos = Counter(_stem(photo) for photo in photos if masks)
        self._beside: dict[tuple[PurePosixPath, str], str] = {}
        self._anywhere: dict[str, str] = {}
        stems = [_stem(mask) for mask in masks]
        for names in (stems, [ENDING.sub("", stem) for stem in stems]):
            for mask, name in zip(masks, names):
                self._beside.setdefault((PurePosixPath(mask).parent, name), mask)
                self._anywhere.setdefault(name, mask)

    def of(self, paths: Iterable[str]) -> list[str]:
        """The mask of each photo, a path relative to the root; "" for none.

        Args:
            paths: of photos, relative to the root; those outside of it have no mask here.
        """
        if not self._anywhere:  # as in most folders; a million names take half a minute
            return [self._listed.get(path, "") for path in paths]
        return [self._listed[path] if path in self._listed else self._named(path) for path in paths]

    def _named(self, path):
        photo, stem = PurePosixPath(path), _stem(path)
        if photo.parts[0] == "..":
            return ""
        lone = self._photos[stem] <= 1
        beside = self._beside.get((photo.parent, stem))
        return beside or (self._anywhere.get(stem, "") if lone else "")


def _stem(path):
    """A file's name without its ending, in one Unicode form."""
    return files.nfc(PurePosixPath(path).stem)


def attach(
    root: Path, table: pd.DataFrame, data: settings.Data, extra: Path | None = None
) -> pd.DataFrame:
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
        paths = table["path"]
        outside = paths.str.startswith("../")
        column: pd.Series | np.ndarray | list[str] = (
            table[MASK] if MASK in table else MaskIndex(root, paths[~outside]).of(paths)
        )
        if extra is not None and outside.any():
            below = [_rebased(path, root, extra) for path in paths]
            index = MaskIndex(extra, [path for path in below if not path.startswith("../")])
            moved = [mask and _rebased(mask, extra, root) for mask in index.of(below)]
            column = np.where(outside, moved, column)
        if MASK in table or any(column):
            table = table.assign(**{MASK: column})
    if preprocess.CROP in data.preprocess and not (MASK in table and table[MASK].any()):
        hint = "leave out data.masks ignore" if data.masks == "ignore" else "add masks/NAME.png"
        raise UserError(f"data.preprocess {preprocess.CROP}: no photo has a mask; {hint}")
    if preprocess.CROP in data.preprocess and not table[MASK].all():
        count = table[MASK].eq("").sum()
        log.warning("%d of %d photos have no mask and stay whole", count, len(table))
    return table


def _rebased(path, folder, root):
    """A path relative to `folder` as one relative to `root`."""
    return os.path.relpath(os.path.join(folder, path), root).replace(os.sep, "/")


def in_folder(folder: Path | str, paths: Iterable[str], photos: Iterable[str]) -> list[str]:
    """Full path of the mask of each photo, or ""; every PNG in `folder` is a mask.

    Only the photos' names count, not where they lie.

    Args:
        folder: with the masks.
        paths: of photos.
        photos: all photos that a name could mean.
    """
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".png"))
    index = MaskIndex(Path(folder), photos, [f"masks/{name}" for name in names])
    found = index.of(PurePosixPath(path).name for path in paths)  # so none lies beside its photo
    return [mask and str(Path(folder, PurePosixPath(mask).name)) for mask in found]


def photos_in(root: Path, strict: bool = True, tell: bool | None = None) -> list[str]:
    """`paths.scan` without the masks that labels.csv names, which may lie in any folder."""
    table = _mask_table(root)
    named = () if table is None else table[MASK].str.replace("\\", "/").map(posixpath.normpath)
    named = set(named)
    return [path for path in files.scan(root, strict=strict, tell=tell) if path not in named]


def image_files(source: Path | str) -> list[str]:
    """Full paths of the photos to predict: one, or all in a folder or a container, in order."""
    if os.path.isfile(source) and photo_bytes.is_container(Path(source).name):
        return files.in_container(Path(source))
    if os.path.isfile(source) and packed.is_archive(Path(source).name):
        raise UserError(f"{source}: packed; unpack it, and give the folder")
    if photo_bytes.is_there(source):
        return [str(source)]
    if not os.path.exists(source) and not storage.elsewhere(source):
        raise UserError(f"{source}: not found; give a photo or a folder of photos")
    folder = files.existing_folder(source, "photos")
    photos = photos_in(folder)
    if not photos:
        raise UserError(f"{source}: no images found; {packed.way_out(folder) or files.ACCEPTED}")
    return [str(folder / photo) for photo in photos]


def of_files(source: Path | str, photos: Sequence[str]) -> list[str]:
    """Full paths of the masks of photos in the folder `source`, or of the one photo `source`."""
    root = Path(os.path.realpath(source if os.path.isdir(source) else Path(source).parent))
    real = [os.path.join(os.path.realpath(Path(path).parent), Path(path).name) for path in photos]
    inside = [os.path.relpath(path, root).replace(os.sep, "/") for path in real]
    return [mask and str(root / mask) for mask in MaskIndex(root).of(inside)]


def checked(root: Path, column: pd.Series, file: Path) -> pd.Series:
    """The column `mask` of a table, as plain relative paths; a file that is not there is refused.

    Args:
        root: real path of the data folder.
        column: text, indexed by line.
        file: the table, for errors.
    """
    given = column[column.fillna("") != ""]
    plain = given.copy()
    plain[:] = [
        files.checked_relative_path(name, f"{file}: line {line}") for line, name in given.items()
    ]
    for line, there in zip(plain.index, files.existing(root, plain)):
        if not there:
            raise UserError(
                f"{file}: line {line}: mask {csv_tables.quoted(plain[line])} not found; "
                "add the file, or leave the cell blank"
            )
    return plain.reindex(column.index, fill_value="")


def usable(
    photos: Sequence[str], masks: Sequence[str], on_bad: str, where: str
) -> tuple[list[str], list[str]]:
    """The masks without those that can't be read or have another shape than their photo.

    Args:
        photos: full paths of readable photos.
        masks: full path of the mask of each photo, "" for none.
        on_bad: "error" refuses bad masks, "skip" leaves them out.
        where: the option or folder to name in errors.

    Returns:
        The masks, "" in place of each bad one, and a message for each of these.
    """
    unreadable = dict(decode.verify_all(dict.fromkeys(filter(None, masks))))
    kept, messages = list(masks), []
    for number, (photo, mask) in enumerate(zip(photos, masks)):
        message = unreadable.get(mask)
        if mask and not message:
            shapes = [(head.height, head.width) for head in map(decode.read_header, (mask, photo))]
            message = shape_mismatch(mask, *shapes)
        if message:
            kept[number] = ""
            messages.append(message)
    if messages and on_bad == "error":
        more = f" (and {len(messages) - 1} more bad masks)" if len(messages) > 1 else ""
        raise UserError(f"{where}: {messages[0]}{more}; or go without bad masks: data.on_bad skip")
    return kept, messages


def verified(dataset: Dataset, on_bad: str, where: str) -> Dataset:
    """A data set of readable photos, its masks checked as well: without bad ones, or refused."""
    masks = dataset.mask_files
    if masks is None:
        return dataset
    kept, messages = usable(dataset.files, masks, on_bad, where)
    if not messages:
        return dataset
    _tell_bad(messages)
    column = dataset.index[MASK].where(np.array(kept, dtype=object) != "", "")
    return dataset.with_index(dataset.index.assign(**{MASK: column}))


def of_model(
    given: Sequence[tuple[str, list[str]]], steps: Iterable[str], on_bad: str
) -> list[str] | None:
    """The masks of new photos for a model; says on standard error how many have none.

    Args:
        given: list of (source, files): a file or folder and its readable photos.
        steps: what the run does to photos, keys of `preprocess.STEPS`.
        on_bad: "error" or "skip".

    Returns:
        Full paths, "" for none; None where the run doesn't crop by masks.
    """
    if preprocess.CROP not in steps:
        return None
    photos = [photo for _, paths in given for photo in paths]
    masks = [mask for source, paths in given for mask in of_files(source, paths)]
    masks, messages = usable(photos, masks, on_bad, "masks")
    _tell_bad(messages)
    if "" in masks:
        line = f"{masks.count('')} of {len(masks)} photos have no mask and stay whole, where the "
        print(f"{line}run learnt from photos cropped to the lesion", file=sys.stderr)
    return masks


def _tell_bad(messages):
    """One line for bad masks whose photos stay."""
    if messages:
        more = f" (and {len(messages) - 1:,} more)" if len(messages) > 1 else ""
        line = f"skipped, while their photos stay: {len(messages):,} mask(s): {messages[0]}{more}"
        left_out.tell(log, line, [("", message) for message in messages])


def _mask_table(root):
    """labels.csv, where it has a column for masks; else None."""
    file = Path(root) / "labels.csv"
    if not file.is_file() or not {"filename", MASK} <= {
        *csv_tables.header_of(file, "filename,label")
    }:
        return None
    return csv_tables.read_table(files.path_inside(root, file.name), "filename,label")


def _listed(root):
    """dict of photo -> mask or "", as labels.csv says; empty where it has no column for masks."""
    table, file = _mask_table(root), Path(root) / "labels.csv"
    if table is None:
        return {}
    blank = table[MASK].str.lower().isin(csv_tables.UNKNOWN)
    masks = checked(root, table[MASK].mask(blank, ""), file)
    photos = [
        files.checked_relative_path(name, f"{file}: line {line}")
        for line, name in table["filename"].items()
    ]
    there = files.existing(root, photos)  # else below images/, as the reader of labels.csv has it
    return {
        path if at_root else f"images/{path}": mask
        for path, at_root, mask in zip(photos, there, masks)
    }

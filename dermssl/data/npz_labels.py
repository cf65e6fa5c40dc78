"""Labels and splits of photos in an npz file, as MedMNIST has them: DermaMNIST and its kin.

`train_images`, uint8 (n, h, w, 3), and `train_labels`, integers (n,) or (n, 1), are the training
split, and so on for `val`, `valid`, `validation` and `test`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data import photo_bytes
from dermssl.data.sources import npz
from dermssl.data.sources.listing import described

SPLITS = ("train", "val", "valid", "validation", "test")
# MedMNIST numbers the classes of HAM10000 in this order.
DERMAMNIST = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
# Of 28, 64, 128 and 224 px; corrected and extended ones by others have more in their names.
OFFICIAL = re.compile(r"dermamnist(_\d+)?\.npz", re.IGNORECASE)

log = logging.getLogger(__name__)


def find(root: Path, photos: Iterable[str]) -> list[Path]:
    """The npz files with labels in a data folder.

    Args:
        root: the folder.
        photos: paths below it, as of `paths.scan`.
    """
    places = [photo_bytes.located(root / path) for path in photos if ".npz/" in path.lower()]
    files = sorted({place[0] for place in places if place})
    return [Path(file) for file in files if _is_labelled(file)]


def _is_labelled(file):
    members = npz.members(file)
    return any(npz.labels_of(name) in members for name in members if npz.is_images(name))


def read(root: Path, photos: Iterable[str]) -> tuple[pd.DataFrame, Path]:
    """`(records, file)`: a row a photo with `path`, `fine` and `split`.

    The classes are those of HAM10000 in a file named `dermamnist*`, else the labels' numbers.

    Args:
        root: the data folder.
        photos: paths below it, as of `paths.scan`.

    Raises:
        UserError: no or several files have labels, an array of photos has none, or they don't fit.
    """
    files = find(root, photos)
    if len(files) != 1:
        names = ", ".join(str(file.relative_to(root)) for file in files) or "none"
        raise UserError(
            f"data.path {root}: npz files with photos and labels: {names}; keep one, since two may "
            "have the same photos, or give data.format unlabelled"
        )
    file, within = files[0], files[0].relative_to(root).as_posix()
    members, parts = npz.members(str(file)), []
    classes = DERMAMNIST if OFFICIAL.fullmatch(file.name) else None
    for name in filter(npz.is_images, members):
        labels = _labels(str(file), name, classes)
        split = npz.prefix_of(name)
        parts.append(pd.DataFrame({
            "path": [f"{within}/{npz.key_of(name, k)}" for k in range(len(labels))],
            "fine": [classes[k] if classes else str(k) for k in labels],
            "split": split if split in SPLITS else "",
        }))  # fmt: skip
    if OFFICIAL.fullmatch(file.name):
        log.warning(
            "%s: read as DermaMNIST, which has no lesion ids; its official split has photos of one "
            "lesion in several splits, so its scores are too high", file,
        )  # fmt: skip
    elif not classes:
        log.warning("%s: its classes are the numbers of its labels", file)
    return pd.concat(parts, ignore_index=True), file


def _labels(file, array, classes):
    """The labels of an array of photos: int (n,)."""
    members, name = npz.members(file), npz.labels_of(array)
    if name not in members:
        raise UserError(
            f"{file}: no {name} for its {array}; add it, or give data.format unlabelled"
        )
    shape, dtype, n = members[name].shape, members[name].dtype, members[array].shape[0]
    if dtype.kind not in "iu" or shape not in ((n,), (n, 1)):
        raise UserError(
            f"{file}: {name} is {described(dtype, shape)}, not integers ({n}, 1) as {array} needs; "
            "write one class number a photo"
        )
    labels = npz.loaded(file, members[name]).reshape(n)
    if classes and n and not 0 <= labels.min() <= labels.max() < len(classes):
        raise UserError(
            f"{file}: {name} goes from {labels.min()} to {labels.max()}, and DermaMNIST has the "
            f"classes 0 to {len(classes) - 1}; rename the file if it is another data set"
        )
    return labels

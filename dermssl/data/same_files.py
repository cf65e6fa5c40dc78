"""Find files that are the same: one file under several names, and copies of it."""

from __future__ import annotations

import filecmp
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import csv_tables, photo_bytes, shard_files

log = logging.getLogger(__name__)


def once(root: Path, records: pd.DataFrame) -> pd.DataFrame:
    """Records with each file once: a link, symbolic or hard, is another name of a photo.

    The name that is kept has a label if one has, and is no symbolic link if one isn't.

    Args:
        root: of the paths.
        records: with `path`, `fine` and `coarse`.

    Raises:
        UserError: one file has two labels.
    """
    if shard_files.is_index(root):  # an id is one photo there; a million looks take seconds
        return records
    number, names = pd.factorize(pd.Series(_identities(root, records["path"]), dtype=object))
    if len(names) == len(records):
        return records
    label = records["fine"].where(records["fine"] != "", records["coarse"])
    order = pd.DataFrame({
        "number": number,
        "unlabelled": (label == "").to_numpy(),
        "link": [os.path.islink(root / path) for path in records["path"]],
        "path": records["path"].to_numpy(),
    }).sort_values(["number", "unlabelled", "link", "path"])  # fmt: skip
    first = order.drop_duplicates("number")
    kept_as = pd.Series(first.index, first["number"])
    rows = []
    for row in np.flatnonzero(~np.isin(np.arange(len(records)), first.index)):
        kept, other = kept_as[number[row]], records.iloc[row]
        if label.iloc[row] not in ("", label.iloc[kept]):
            raise UserError(
                f"{root}: {records['path'].iloc[kept]} and {other['path']} are one file, with the "
                f"labels {csv_tables.quoted(label.iloc[kept])} and "
                f"{csv_tables.quoted(label.iloc[row])}; keep the right one"
            )
        rows.append((other["path"], records["path"].iloc[kept]))
    records = _joined(root, records, number)
    rows.sort()
    shown = left_out.few([f"{path} is {kept}" for path, kept in rows], 2)
    left_out.tell(
        log,
        f"{root}: {len(rows):,} left out: the same files under other names ({shown})",
        [(f"{root}/{path}", f"the same file as {kept}") for path, kept in rows],
    )
    return records.iloc[np.sort(first.index)]


def _joined(root, records, number):
    """Records in which all names of a file have the patient, lesion and split that one of them has.

    Of two splits that of the name that is kept counts, which is told.

    Raises:
        UserError: two names of a file have different patients or lesions.
    """
    number = pd.Series(number, records.index)
    several = number.duplicated(keep=False)
    for column in ("patient_id", "lesion_id", "split"):
        if column not in records:
            continue
        known = records[column].where(several & (records[column] != "")).dropna()
        wrong = known.groupby(number[known.index]).nunique()
        if column != "split" and (wrong > 1).any():
            one = known[number[known.index] == wrong[wrong > 1].index[0]].drop_duplicates()
            first, second = records["path"].loc[one.index[:2]]
            raise UserError(
                f"{root}: {first} and {second} are one file, with two values of {column}; keep the "
                "right one"
            )
        value = known.groupby(number[known.index]).first()
        filled = number.map(value)
        blank = several & (records[column] == "") & filled.notna()
        records = records.assign(**{column: records[column].where(~blank, filled)})
    return records


def _identities(root, paths):
    """What all names of a file share. The size and time are in it lest a number be used anew."""
    containers: dict[str, tuple] = {}
    found = []
    for path in paths:
        file = f"{root}/{path}"
        try:
            found.append((*_identity(file), ""))
            continue
        except OSError:  # a path goes on below a container, or nothing is there
            place = photo_bytes.located(file)
        if place and place[0] not in containers:
            containers[place[0]] = _identity(place[0])
        found.append((*containers[place[0]], place[1]) if place else (file,))
    return found


def _identity(file):
    info = os.stat(file)
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def are_copies(paths: Sequence[str]) -> bool:
    """Whether files are of one size and alike at both ends and in the middle, as no two photos are.

    Ten thousand pairs would take minutes to read whole.
    """
    try:
        return len({_spots(path) for path in paths}) == 1
    except OSError:  # `decode` says so
        return False


def _spots(path, n=4096):
    size = photo_bytes.stored(path).size
    with photo_bytes.opened(path) as file:
        spots = []
        for at in (0, size // 2, max(0, size - n)):
            file.seek(at)
            spots.append(file.read(n))
    return size, *spots


def tell_copies(root: Path, copies: Sequence[Sequence[str]]) -> None:
    """Say which files are copies of others, which are read.

    Args:
        root: of the paths.
        copies: of each photo its paths, the one that is read first.
    """
    if not copies:
        return
    shown = left_out.few([f"{first}, not {', '.join(rest)}" for first, *rest in copies], 1)
    left_out.tell(
        log,
        f"{root}: {len(copies):,} photos are there in several equal files, of which one is read "
        f"({shown})",
        [(f"{root}/{path}", f"a copy of {first}") for first, *rest in copies for path in rest],
    )


def find_identical_files(paths: Sequence[str], originals: Iterable[str]) -> list[bool]:
    """bool list: whether each file holds the very bytes of one of the originals.

    Files of one size are told apart by their ends; only where these are equal too are they read.
    """
    sizes = {path: size for path in paths if (size := _size(path))}
    wanted = set(sizes.values())
    known: dict[tuple[int, bytes], str] = {}
    for path in originals:
        if (size := _size(path)) in wanted:
            known.setdefault((size, _end(path, size)), path)
    twins = {path: known.get((size, _end(path, size))) for path, size in sizes.items()}
    return [(twin := twins.get(path)) is not None and _are_equal(path, twin) for path in paths]


def _are_equal(one, other):
    if photo_bytes.located(one) or photo_bytes.located(other):
        return photo_bytes.read(one) == photo_bytes.read(other)
    return filecmp.cmp(one, other, shallow=False)


def _size(path):
    try:
        return photo_bytes.stored(path).size
    except OSError:
        return 0


def _end(path, size, n=4096):
    with photo_bytes.opened(path) as file:
        file.seek(max(0, size - n))
        return file.read(n)

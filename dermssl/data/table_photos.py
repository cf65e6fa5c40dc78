"""Match a table's rows to the photos in a folder, and say which of both have no counterpart."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path, PurePosixPath

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import csv_tables, packed, same_files
from dermssl.data import paths as files

NO_ROW = "no row in "  # how the reason of a photo begins that no row names

log = logging.getLogger(__name__)


def found_below(
    root: Path, names: pd.Series, there: pd.Series, file: Path
) -> tuple[pd.Series, pd.Series]:
    """The paths of names that aren't there as written: anywhere below, with or without ending.

    Args:
        root: the data folder.
        names: as the table writes them, indexed by line.
        there: bool, those that are paths already.
        file: the table, for errors.

    Returns:
        `(paths, there)`: a name without a photo stays as it is.

    Raises:
        UserError: a name may be two photos that differ.
    """
    if there.all():
        return names, there
    known: dict[str, set[str]] = {}
    for path in files.scan(root, strict=False):
        plain = PurePosixPath(path)
        for name in (plain.name, plain.stem):
            known.setdefault(files.nfc(name).lower(), set()).add(path)
    paths, seen = list(names), list(there)
    copies: dict[str, list[str]] = {}
    for place, (line, name) in enumerate(names.items()):
        if seen[place]:
            continue
        plain = PurePosixPath(files.nfc(name).lower())
        # A name with a folder is another photo than one of that name elsewhere.
        found = sorted(
            path for path in known.get(plain.name, set())
            if f"/{files.nfc(path).lower()}".rpartition("/")[0].endswith(_folder(plain))
        )  # fmt: skip
        if len(found) > 1:
            copies[name] = checked_copies(root, found, f"{file}: line {line}", name)
        if found:
            paths[place], seen[place] = found[0], True
    same_files.tell_copies(root, list(copies.values()))
    return pd.Series(paths, names.index, dtype=object), pd.Series(seen, names.index)


def checked_copies(root: Path, found: list[str], place: str, name: str) -> list[str]:
    """The photos that a name may be, where they are equal files.

    Args:
        root: of the paths.
        found: two paths or more.
        place: the table, for errors.
        name: as the table writes it.

    Raises:
        UserError: they differ, so that which is meant isn't known.
    """
    if not same_files.are_copies([str(root / path) for path in found]):
        raise UserError(
            f"{place}: {csv_tables.quoted(name)} may be {' or '.join(found)}, which differ; write "
            "the whole path, or keep one of them"
        )
    return found


def _folder(path):
    return "" if path.parent == PurePosixPath() else f"/{path.parent}"


def drop_missing(
    root: Path, records: pd.DataFrame, there: pd.Series, file: Path, skip: bool
) -> pd.DataFrame:
    """The records whose photo is there; the others are told, or refused.

    Args:
        root: the data folder.
        records: with `path`, indexed by line.
        there: bool, in the order of the records.
        file: the table, for errors.
        skip: leave missing photos out; else the first is an error.
    """
    if there.all():
        return records
    gone = records[~there]
    name = gone["path"].iloc[0]
    finding = (
        f"{file}: line {gone.index[0]}: image {csv_tables.quoted(name)} not found "
        f"({len(gone)} of {len(records)} images are missing)"
    )
    if len(gone) == len(records):
        way_out = packed.way_out(root) or "put the photos below the folder, or correct the names"
        raise UserError(f"{finding}; {way_out}")
    if not skip:
        raise UserError(f"{finding}; add the file, correct the line, or use data.on_bad skip")
    rows = [(name, f"{file}: line {line}: not found") for line, name in gone["path"].items()]
    left_out.tell(log, f"{finding}; their rows are left out", rows, left_out.MISSING)
    return records[there]


def warn_unlisted(names: Collection[str], file: Path, extra: Path | None) -> None:
    """Tell which photos no row names, unless the second folder `extra` brings them in.

    Args:
        names: of these photos.
        file: the table, or the folder of several.
        extra: real path of `data.unlabelled`, or None.
    """
    folder = file if file.is_dir() else file.parent
    near = extra is not None and (
        files.is_inside(folder, str(extra)) or files.is_inside(extra, str(folder))
    )
    if names and not near:  # else the second folder brings them in
        line = (
            f"{file}: {len(names)} image(s) in the folder have no row and are left out, "
            f"the first is '{min(names)}'; data.unlabelled {folder} takes them into the pretraining"
        )
        left_out.tell(log, line, [(name, f"{NO_ROW}{file}") for name in sorted(names)])

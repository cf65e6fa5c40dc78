"""Find the tables in a data folder, and the one that names its photos."""

from __future__ import annotations

import os
from pathlib import Path

from dermssl.core import output_folders
from dermssl.core.errors import UserError
from dermssl.data import csv_tables, paths, spreadsheets

TABLES = (".csv", ".tsv", ".tab", ".txt", spreadsheets.ENDING, "")
OLD_SHEETS = (".xls", ".ods")
LABELS = ("labels.csv", "labels.tsv", "labels.tab", "labels.txt", "labels.xlsx")
DEPTH = 2  # folders below the root in which tables are looked for


def tables(root: Path, suffixes: tuple[str, ...] = TABLES) -> list[Path]:
    """Files of a folder, and of the folders in it, whose ending is a table's; sorted.

    Not those that a link leads to, nor those that a command of ours wrote.
    """
    found: list[Path] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        within = waiting.pop()
        for entry in _entries(root.joinpath(*within)):
            # Names alone decide of most: a folder may hold 100,000 photos.
            ending = os.path.splitext(entry.name)[1].lower()
            # A file without an ending may be anything: only names that speak of a table.
            named = bool(ending) or "metadata" in entry.name.lower()
            # Excel's "~$labels.xlsx" says that labels.xlsx is open.
            named = named and ending in suffixes and not entry.name.startswith((".", "~$"))
            if named and entry.is_file(follow_symlinks=False) and not _is_ours(root, within):
                found.append(Path(entry.path))
            if len(within) < DEPTH and entry.is_dir(follow_symlinks=False):
                waiting.append((*within, entry.name))
    return sorted(found, key=lambda file: (len(file.parts), str(file)))


def _entries(folder):
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError:  # `paths.scan` says so
        return []


def _is_ours(root, within):
    """Whether a folder below the root, or one above it, was written by a command."""
    folders = (root.joinpath(*within[: depth + 1]) for depth in range(len(within)))
    return any(output_folders.is_ours(str(folder)) for folder in folders)


def named_labels(root: Path) -> list[Path]:
    """labels.csv and the same with another table's ending, as far as they are there.

    An archive unpacks into a folder of its name: they may lie in a folder that is alone.
    """
    for folder in paths.wrapped(root):
        if there := [folder / name for name in LABELS if (folder / name).is_file()]:
            return there
    return []


def without_twins(root: Path) -> list[Path]:
    """Tables in the folder itself, or in one that is alone in it.

    Of NAME.csv and NAME.tab, as Dataverse gives both, the first.
    """
    first: dict[str, Path] = {}
    folders = paths.wrapped(root)
    for file in tables(root):
        if file.parent in folders:
            first.setdefault(file.stem, file)
    return list(first.values())


def refuse_unread_sheet(file: Path) -> None:
    """Refuse a spreadsheet that can't be looked into: the labels may be there."""
    way_out = "or give data.format folders or unlabelled to do without it"
    if file.suffix.lower() in OLD_SHEETS:
        raise UserError(f"{file}: only .xlsx is read; save the sheet as labels.csv, {way_out}")
    if file.suffix.lower() == spreadsheets.ENDING:
        try:
            csv_tables.read_table(file, "filename,label")
        except UserError as error:
            raise UserError(f"{error}; {way_out}") from error

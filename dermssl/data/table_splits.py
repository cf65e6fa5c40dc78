"""The split that a table's name says, or that index files beside it give its rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data import csv_tables
from dermssl.data.records import TEST, TRAIN, VALIDATION
from dermssl.data.table_files import tables

SPLIT_WORDS = {
    "train": TRAIN, "training": TRAIN, "val": VALIDATION, "valid": VALIDATION,
    "validation": VALIDATION, "test": TEST, "testing": TEST,
}  # fmt: skip


def split_of(path: Path) -> str:
    """The split that a table's name speaks of, else its folder's; "" where it speaks of none.

    Example:

    >>> split_of(Path("ISIC_2019_Training_GroundTruth.csv")), split_of(Path("test/metadata.csv"))
    ('train', 'test')
    """
    for name in (path.stem, *reversed(path.parent.parts)):
        words = re.split("[^a-z]+", name.lower())
        if splits := {SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS}:
            return splits.pop() if len(splits) == 1 else ""
    return ""


def by_position(file: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """The split of each row, from tables beside it that list rows by position, from 0.

    Args:
        file: the table's.
        table: its rows, indexed by line.
        column: of the positions; tables that have it, such as train_indexes.csv, are looked for.

    Returns:
        Object array (n,) of split names, all "" where there is no such table.

    Raises:
        UserError: a position is no row's, or a row is in two splits or in none.
    """
    given = pd.Series("", range(len(table)), dtype=object)
    files = [other for other in tables(file.parent) if column in csv_tables.header_of(other, "")]
    for other in files:
        split = split_of(Path(other.name))
        if not split:
            raise UserError(f"{other}: lists rows of a split that its name doesn't say; rename it")
        for line, text in csv_tables.read_table(other, column)[column].items():
            if not (text.isdecimal() and int(text) < len(table)):
                raise UserError(
                    f"{other}: line {line}: {csv_tables.quoted(text)} is no row of {file.name}, "
                    f"which has {len(table)}, the first is 0"
                )
            if given[int(text)] not in ("", split):
                raise UserError(
                    f"{other}: line {line}: row {text} of {file.name} is in {given[int(text)]} and "
                    f"in {split}; keep one"
                )
            given[int(text)] = split
    if files and (given == "").any():
        names = ", ".join(other.name for other in files)
        raise UserError(
            f"{file}: line {table.index[given == ''][0]} ({(given == '').sum()} in all) is in none "
            f"of {names}; add what is missing, or move them away to have the photos split anew"
        )
    return given.to_numpy()

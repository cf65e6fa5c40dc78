"""Find a table's columns under the names that people give them: image, dx, gender.

`labels.csv` has the columns of `readers.LABELS`. A table in other words is read as one, and a line
says what was taken for what; where two columns could be meant, it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import (
    class_folders,
    csv_tables,
    not_photos,
    one_hot,
    paths,
    table_files,
    table_splits,
    vocabulary,
)
from dermssl.data.labels import spelling
from dermssl.data.records import COLUMNS, MASK

WORDS = {
    "filename": (
        "file", "file_name", "image", "image_file", "image_id", "image_name", "image_path", "img",
        "img_id", "img_name", "isic_id", "path", "photo",
    ),
    "label": (
        "benign_malignant", "category", "class", "diagnosis", "diagnostic", "dx", "labels",
        "target",
    ),
    "age": ("age_approx", "age_years"),
    "sex": ("gender",),
    "site": ("anatom_site_general", "body_site", "localization", "location", "region"),
    "skin_tone": ("fitzpatrick", "fitzpatrick_scale", "fitzpatrick_skin_type", "skin_type"),
}  # fmt: skip

# Columns of marks that are no classes.
NO_CLASSES = {
    MASK, *COLUMNS, *WORDS, *(word for words in WORDS.values() for word in words),
    *vocabulary.SEX, *table_splits.SPLIT_WORDS,
}  # fmt: skip
NO_LABEL = ("", "?", *class_folders.WITHOUT_LABEL)  # in lower case
FEW = 10  # rows; more of them can't have as many diagnoses

log = logging.getLogger(__name__)


def has_labels(columns: Collection[str]) -> bool:
    """Whether columns, in lower case, name photos and their labels, in whatever words.

    Example:

    >>> has_labels(["image_id", "dx", "age"]), has_labels(["image_id", "age"])
    (True, False)
    """
    return all({name, *WORDS[name]} & set(columns) for name in ("filename", "label"))


def naming(root: Path, photos: list[str]) -> tuple[Path, str] | None:
    """(table, column) that names at least half of the photos; None without one.

    One with columns of photos and labels needs to name two: labels may be few.

    Raises:
        UserError: a table with a column for photos can't be read.
    """
    names = {part for path in photos for part in _names(path)}
    for file in table_files.tables(root):
        header = csv_tables.header_of(file, "")
        if not header:
            continue
        labels = has_labels(header)
        try:
            table = csv_tables.read_table(file, "")
        except UserError as error:
            if len(header) > 1 and _may_name_photos(header):
                raise UserError(
                    f"{error}; or give data.format folders or unlabelled to do without this table"
                ) from error
            continue
        for column in table:
            named = sum(bool(_names(cell) & names) for cell in table[column].unique())
            if named >= (2 if labels else max(2, len(photos) / 2)):
                return file, str(column)
    return None


def photo_column(root: Path, table: pd.DataFrame) -> str:
    """The column that names photos which are there, where others that may name them name none.

    Args:
        root: the data folder.
        table: columns in lower case.

    Returns:
        "" where there are no others, or where they do.
    """
    there = _may_name_photos(table)
    if len(there) < 2:
        return ""
    names = {part for path in paths.scan(root, strict=False) for part in _names(path)}
    fits = [word for word in there if any(_names(cell) & names for cell in table[word].unique())]
    return fits[0] if len(fits) == 1 else ""


def names_none(root: Path, file: Path, column: str) -> bool:
    """Whether a column, such as one of running numbers, names no photo and another one does.

    Args:
        root: the data folder.
        file: the table.
        column: that may name photos, in lower case.
    """
    there = _may_name_photos(csv_tables.header_of(file, "filename,label"))
    if column not in there or len(there) < 2:
        return False
    try:
        table = csv_tables.read_table(file, "filename,label")
    except UserError:  # who reads the table says so
        return False
    return photo_column(root, table) not in ("", column)


def _may_name_photos(columns):
    return [word for word in ("filename", *WORDS["filename"]) if word in columns]


def _names(path):
    """A photo's name with and without its ending."""
    name = str(path).replace("\\", "/").rsplit("/", 1)[-1].lower()
    return {name, name.rsplit(".", 1)[0]} - {""}


def labels_file(root: Path) -> Path:
    """The table of labels: one named so, else the only one that is so by its columns.

    Args:
        root: the data folder.

    Returns:
        Its path; that of labels.csv, which isn't there, where there is none or several.
    """
    there = table_files.named_labels(root)[:1]
    there = there or [file for file in table_files.without_twins(root) if is_labels(file)]
    file = there[0] if len(there) == 1 else root / table_files.LABELS[0]
    return paths.path_inside(root, str(file.relative_to(root)))


def is_labels(file: Path) -> bool:
    """Whether a table has photos and labels by its columns, be it one column a class."""
    header = csv_tables.header_of(file, "filename,label")
    if has_labels(header) or not _may_name_photos(header):
        return has_labels(header)
    try:
        table = csv_tables.read_table(file, "filename,label")
    except UserError:  # `naming` says so where it may matter
        return False
    return bool(one_hot.whole(one_hot.by_mark(_maybe_classes(table))))


def _maybe_classes(table):
    return table[[name for name in table if name not in NO_CLASSES]]


def with_label(table: pd.DataFrame, file: Path, name: str = "label") -> pd.DataFrame:
    """A table with one column a class (see `one_hot`), with a column of labels in their place.

    Labels that are there stay; blank ones are taken from the columns, if these are the classes of
    all labels. A table without such columns stays as it is.

    Args:
        table: from `renamed`.
        file: it, for messages.
        name: of the column of labels.

    Raises:
        UserError: the columns look like classes, but a row has no mark or several, there are other
            words in them, two sets of them could be meant, or they contradict the labels.
    """
    has_coarse = "coarse" in table and (table["coarse"] != "").any()
    if has_coarse and name not in table:
        return table
    given = table.get(name, pd.Series("", table.index))  # without a name: no such column
    blank = given.str.lower().isin(NO_LABEL)
    columns = _maybe_classes(table)
    kinds = one_hot.by_mark(columns)
    whole = one_hot.whole(kinds)
    if not blank.all():
        labels = {spelling(label) for label in given[~blank]}
        whole = {
            word: marks for word, marks in whole.items()
            if labels <= {spelling(str(column)) for column in marks}
        }  # fmt: skip
    if len(whole) > 1:
        both = " and ".join(", ".join(map(str, marks)) for marks in whole.values())
        raise UserError(
            f"{file}: the columns {both} have one mark in each row, so that both may be the "
            "classes; delete those that aren't, or give the diagnoses in a column label"
        )
    finding = f"its column {name} is blank" if name in table else f"no column '{name}'"
    for word, marks in whole.items():  # the one
        if blank.all():
            one_hot.refuse_mixed(columns, marks, f"{file}: {finding}")
        filled = _from_marks(given, blank, word, marks, file)
        return table.drop(columns=marks.columns).assign(**{name: filled})
    if blank.all() and not has_coarse:
        one_hot.refuse(columns, kinds, f"{file}: {finding}")
        if name in table:
            left_out.tell(log, f"{file}: no row has a label; all photos are taken as unlabelled")
    return table


def _from_marks(given, blank, word, marks, file):
    """The labels, blank ones from the marks; the others must agree with these."""
    marked, columns = marks.idxmax(axis=1), ", ".join(map(str, marks))
    wrong = given[~blank & (given.map(spelling) != marked.map(spelling))]
    if len(wrong):
        line = wrong.index[0]
        raise UserError(
            f"{file}: line {line}: {given.name} {csv_tables.quoted(wrong.iloc[0])}, and the "
            f"columns {columns} mark {marked[line]}; correct one of the two"
        )
    if blank.any():
        n = f"; {blank.sum():,} of {len(given):,} cells of the column {given.name} say nothing"
        left_out.tell(
            log,
            f"{file}: one column a class, marked by '{word}': {columns}{n if given.name else ''}",
        )
    return given.mask(blank, marked)


def renamed(root: Path, table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """A table with the columns of `labels.csv`; what was taken for what goes to the log.

    Args:
        root: the data folder.
        table: columns in lower case.
        file: it, for messages.

    Raises:
        UserError: two columns could be the same one of labels.csv.
    """
    meant = {}
    if column := photo_column(root, table):
        others = [word for word in _may_name_photos(table) if word != column]
        left_out.tell(
            log, f"{file}: {column} names the photos, and {', '.join(others)} names no photo"
        )
        table = table.drop(columns=others)
    for name, words in WORDS.items():
        there = [word for word in words if word in table]
        if name in table or not there:
            continue
        if len(there) > 1:
            raise UserError(
                f"{file}: both {csv_tables.quoted(there[0])} and {csv_tables.quoted(there[1])} "
                f"may be the column '{name}'; rename the right one to {name}"
            )
        meant[there[0]] = name
    if "label" in meant.values():
        _check_labels(table, next(word for word, name in meant.items() if name == "label"), file)
    if meant:
        shown = ", ".join(f"{word} for {name}" for word, name in meant.items())
        left_out.tell(log, f"{file}: columns taken: {shown}")
    return table.rename(columns=meant)


def _check_labels(table, column, file):
    """Refuse a column that is taken for the label and holds splits, file names or measurements."""
    labels = {label for label in table[column].str.lower() if label}
    kind = ""
    if labels and labels <= table_splits.SPLIT_WORDS.keys():
        kind = "splits"
    elif any(label.endswith(not_photos.SUFFIXES) for label in labels):
        kind = "file names"
    elif len(table) > FEW and len(labels) > len(table) / 2:
        kind = f"{len(labels)} different words in {len(table)} rows"
    if kind:
        raise UserError(
            f"{file}: its column {csv_tables.quoted(column)} would be the label and has {kind}, "
            "not diagnoses; rename the column with the diagnoses to label"
        )

"""Read tables with one column a class: 1, TRUE, yes or x marks the class of a row.

A row's class is said by one mark. Columns with other words are no classes, and nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import csv_tables

# The word that marks a class -> the word in the other columns, which may be blank as well.
MARKS = {
    "1": "0", "true": "false", "yes": "no", "y": "n", "x": "", "✓": "", "wahr": "falsch",
    "ja": "nein",
}  # fmt: skip
OTHERS = tuple(MARKS.values())
UNDERSTOOD = "1 and 0, TRUE and FALSE, yes and no, or x and blank"
WAY_OUT = (
    f"mark one class in each row, in all columns by {UNDERSTOOD}, or give the diagnoses in a "
    "column label"
)
SHOWN = 3  # columns in a message
MOSTLY = 0.5  # of the rows mark one column: classes with faults, no answers to several questions


def by_mark(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The columns that may be classes: the word that marks them -> a bool table.

    Args:
        table: text; columns that are no classes, such as the age, are left out.

    Returns:
        Two columns or more for each word. A column without any word is in none.

    Example:

    >>> table = pd.DataFrame({"mel": ["X", ""], "nv": ["", "x"], "note": ["", "blurred"]})
    >>> by_mark(table)["x"].to_numpy().tolist()
    [[True, False], [False, True]]
    """
    by_name = {name: _mark(table[name]) for name in table}
    names = {mark: [name for name in by_name if by_name[name] == mark] for mark in MARKS}
    return {mark: table[names[mark]].map(_plain) == mark for mark in MARKS if len(names[mark]) > 1}


def whole(kinds: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Those of `by_mark` that have one mark in each row."""
    return {mark: marks for mark, marks in kinds.items() if (marks.sum(axis=1) == 1).all()}


def refuse(table: pd.DataFrame, kinds: Mapping[str, pd.DataFrame], finding: str) -> None:
    """Refuse columns that look like classes and don't mark one in each row.

    Answers to several questions, such as itching and bleeding, don't look so.

    Args:
        table: as for `by_mark`.
        kinds: from `by_mark`, none of them `whole`.
        finding: how the message begins.

    Raises:
        UserError: they would be classes but for a few rows or words.
    """
    known = {name for marks in kinds.values() for name in marks}
    odd = [_content(table[name]) for name in table if name not in known and _has_marks(table[name])]
    for word, marks in kinds.items():
        sums = marks.sum(axis=1)
        if sums.max() == 1 or (sums == 1).mean() > MOSTLY:
            wrong = sums[sums != 1]
            raise UserError(
                f"{finding}, and its columns {', '.join(map(str, marks))}, marked by '{word}', are "
                f"no classes: line {wrong.index[0]} marks {wrong.iloc[0]} of them"
                f"{', and ' if odd else ''}{_listed(odd)}; {WAY_OUT}"
            )
    if len(odd) > 1 and not kinds:
        raise UserError(
            f"{finding}, and its columns of marks aren't understood: {_listed(odd)}; {WAY_OUT}"
        )


def refuse_mixed(table: pd.DataFrame, marks: pd.DataFrame, finding: str) -> None:
    """Refuse a further column of marks of several kinds, such as TRUE and 0: a class, perhaps.

    Args:
        table: as for `by_mark`.
        marks: those of its columns that would be the classes.
        finding: how the message begins.
    """
    for name in table.columns.difference(marks.columns):
        words = _words(table[name])
        if words and words <= {*MARKS, *OTHERS} and not _mark(table[name]):
            raise UserError(
                f"{finding}, and its columns {', '.join(map(str, marks))} may be the classes, but "
                f"{_content(table[name])}; {WAY_OUT}"
            )


def _has_marks(column):
    return not {*MARKS, *OTHERS}.isdisjoint(_words(column))


def _mark(column):
    """The word that marks rows in a column; "" where it is blank or has other words as well."""
    words = _words(column)
    return next((mark for mark, other in MARKS.items() if words and words <= {mark, other}), "")


def _words(column):
    return {_plain(cell) for cell in {*column}} - {""}


def _content(column):
    """The words of a column, for a message."""
    words = sorted({*column}, key=str.lower)
    shown = [csv_tables.quoted(word) if word else "blank" for word in words]
    return f"{column.name} has {left_out.few(shown)}"


def _listed(columns):
    more = f"; {len(columns) - SHOWN} more" if len(columns) > SHOWN else ""
    return "; ".join(columns[:SHOWN]) + more


def shares(column: pd.Series) -> pd.Series:
    """A column of marks or numbers as float: 1 for a mark, 0 for its opposite, NaN for no word.

    Args:
        column: text, indexed by line.

    Raises:
        UserError: a cell is neither.

    Example:

    >>> shares(pd.Series(["TRUE", "", "0.0", "no"])).tolist()
    [1.0, nan, 0.0, 0.0]
    """
    plain = column.map(_plain)
    known = dict.fromkeys(OTHERS, 0.0) | dict.fromkeys(MARKS, 1.0)
    blank = plain.isin(("", *csv_tables.UNKNOWN))
    numbers = plain.map(known).fillna(pd.to_numeric(plain, errors="coerce")).astype(float)
    if len(odd := column[numbers.isna() & ~blank]):
        raise UserError(
            f"line {odd.index[0]}: {column.name} {csv_tables.quoted(odd.iloc[0])}; write "
            f"{UNDERSTOOD}"
        )
    return numbers.mask(blank)


def _plain(cell):
    """A cell in small letters; 1.0 and 1,0 are 1."""
    return re.sub(r"^([01])[.,]0+$", r"\1", cell.lower())

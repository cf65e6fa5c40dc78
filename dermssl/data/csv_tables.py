"""Read CSV files as text, and check them; each row keeps its line number for messages.

Nothing is guessed from the values: "NA", "None" and "007" stay what they are. Only the
separator is: comma, semicolon or tab, from the header line. The text is UTF-8, or UTF-16 with a
byte order mark, which Excel calls "Unicode text". An Excel workbook is read as the CSV
file that its sheet would be, see `spreadsheets`.
"""

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data import spreadsheets

SEPARATORS = (",", ";", "\t")
# As an id, "unknown" would tie strangers into one lesion; as a site it would be a body part.
# Labels are exempt: there "NA" and "None" are text like any other.
# Excel's way to say what separates cells; `_split` finds that by itself.
_SEP = re.compile(r"\Asep=[^\r\n]((?:\r?\n)|\Z)", re.IGNORECASE)
UNKNOWN = ("unknown", "na", "n/a", "nan", "none", "null", "?")
MAX_BYTES = 2**28  # 100,000 rows of every column take some 20 MB


def quoted(value: object, limit: int = 80) -> str:
    """The value in quotes, on one line and not too long, for a message.

    Example:

    >>> quoted("a long cell", limit=6)
    "'a long...'"
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
    return f"'{text}'" if len(text) <= limit else f"'{text[:limit]}...'"


def header_of(file: Path, example: str) -> list[str]:
    """Column names of a table in lower case, [] where there are none; raises nothing."""
    try:
        if file.suffix.lower() == spreadsheets.ENDING:
            return next(([cell.lower() for cell in row] for _, row in spreadsheets.rows(file)), [])
        with open(file, encoding=encoding(file), errors="replace", newline="") as text:
            lines = iter(lambda: text.readline(65536), "")
            line = next((line for line in lines if line.strip() and not _SEP.fullmatch(line)), "")
        return _split(line, example)[1]
    except (OSError, csv.Error, UserError):
        return []


def encoding(file: Path) -> str:
    """The encoding of a text file, by its byte order mark.

    Raises:
        OSError: it can't be read.
    """
    with open(file, "rb") as opened:
        utf_16 = opened.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return "utf-16" if utf_16 else "utf-8-sig"


def read_table(file: Path, example: str) -> pd.DataFrame:
    """All rows of a table as stripped text.

    Args:
        file: path of a text file (see `encoding`), or of an .xlsx workbook.
        example: a header to show where the file has none, such as "filename,label".

    Returns:
        pandas table, columns in lower case, indexed by the line that each row ends on.
        Blank rows and columns without a name are left out.

    Raises:
        UserError: the file can't be read, is no such text or empty, a name stands twice in
            the header, or a row has more or fewer cells than the header.
    """
    if file.suffix.lower() == spreadsheets.ENDING:
        sheet = spreadsheets.rows(file)
        header, rows = [cell.lower() for _, row in sheet[:1] for cell in row], sheet[1:]
    else:
        header, rows = _csv_rows(file, example)
    if not header:
        raise UserError(f"{file}: empty; write a header line such as {example}, then the rows")
    _check_header(file, header)
    if not rows:
        raise UserError(f"{file}: a header but no rows; add a line for each photo")
    lines, cells = zip(*rows)
    table = pd.DataFrame(cells, columns=header, index=pd.Index(lines, name="line"), dtype=str)
    return table[[name for name in header if name]]


def _csv_rows(file, example):
    """(header in lower case, [(line, cells)]) without blank rows; [] for no header."""
    text = _SEP.sub(r"\1", _text(file), count=1)  # the line stays, blank, so that numbers hold
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    header, rows = [], []
    try:
        separator, names = _split(first, example)
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True
        )
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not header:
                header = names
                continue
            if len(cells) != len(header):
                raise UserError(
                    f"{file}: line {reader.line_num} has {len(cells)} column(s), the header "
                    f"{len(header)}; correct the line, and quote cells that hold {separator!r}"
                )
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        line = reader.line_num if header else 1
        raise UserError(
            f"{file}: line {line} is no valid CSV ({error}); look for an unclosed quote"
        ) from error
    return header, rows


def require_columns(table: pd.DataFrame, names: Sequence[str], file: Path) -> None:
    """Refuse a table in which one of the columns is missing."""
    for name in names:
        if name not in table:
            found = ", ".join(map(quoted, table.columns))
            raise UserError(f"{file}: no column '{name}'; found {found}: add or rename a column")


def drop_duplicate_rows(table: pd.DataFrame, key: str, file: Path) -> pd.DataFrame:
    """The table with each `key` once; rows that agree are one row, others are refused."""
    once = table.drop_duplicates()
    doubled = once[once[key].isin(once[key][once.duplicated(key)])]
    if doubled.empty:
        return once
    value = doubled[key].iloc[0]
    first, second = (row for _, row in doubled[doubled[key] == value].iloc[:2].iterrows())
    name = next(name for name in table.columns if first[name] != second[name])
    raise UserError(
        f"{file}: lines {first.name} and {second.name} are both {quoted(value)}, with "
        f"{name} {quoted(first[name])} and {quoted(second[name])}; keep the right line"
    )


def _text(file):
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise UserError(f"{file}: {size:,} bytes, more than {MAX_BYTES:,}; split the table")
        name, raw = encoding(file), file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror}); check the file") from error
    try:
        text = raw.decode(name)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        kind = name.removesuffix("-sig").upper()
        raise UserError(
            f"{file}: line {line} is not {kind} text; save as UTF-8, in Excel as CSV UTF-8"
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{file}: line {line} holds a NUL byte; save as CSV in UTF-8")
    return text


def _split(header, example):
    """The separator that gives the most wanted, then the most columns; names in lower case."""
    wanted, found = set(example.split(",")), {}
    for separator in SEPARATORS:
        cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
        found[separator] = [cell.strip().lower() for cell in cells]
    separator = max(found, key=lambda key: (len(wanted.intersection(found[key])), len(found[key])))
    return separator, found[separator]


def _check_header(file, names):
    doubled = next((name for name in names if name and names.count(name) > 1), None)
    if doubled:
        raise UserError(f"{file}: column {quoted(doubled)} stands twice in the header; drop one")

"""Read an Excel workbook as text: its one sheet with content, each cell as a person typed it."""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

from dermssl.core import left_out
from dermssl.core.errors import UserError

ENDING = ".xlsx"
MAX_BYTES = 2**28  # unpacked
MAX_DIGITS = 15  # Excel rounds longer numbers

MERGED = re.compile(rb'<(?:\w+:)?mergeCell\s[^>]*?ref="([A-Z]+\d+:[A-Z]+\d+)"')

Row = tuple[int, list[str]]

log = logging.getLogger(__name__)


def rows(file: Path) -> list[Row]:
    """Every row that isn't blank, with its number in the sheet; all have as many cells.

    The value of a cell that is merged over several rows is that of each of them, which a line says.

    Args:
        file: an .xlsx workbook. Hidden sheets are left alone.

    Raises:
        UserError: openpyxl isn't installed, the file is no workbook or too large, several sheets
            have content, cells are merged across columns or with the header, or a cell has no
            value of its own: an error, a formula that was never computed, a number that Excel has
            rounded.
    """
    try:
        state = file.stat()
    except OSError as error:
        raise UserError(f"{file}: can't be read ({error.strerror}); check the file") from error
    content, line = _rows(file, state.st_mtime_ns, state.st_size)
    if line:
        left_out.tell(log, line)
    return content


@functools.lru_cache(maxsize=4)  # the header is asked for many times before the rows are
def _rows(file, changed, size):
    values, formulas = _books(file)
    with contextlib.closing(values), contextlib.closing(formulas):
        sheets = {
            sheet: content for sheet in values.worksheets if sheet.sheet_state == "visible"
            if (content := _content(file, sheet, formulas[sheet.title]))
        }  # fmt: skip
    if len(sheets) > 1:
        names = ", ".join(f"'{sheet.title}'" for sheet in sheets)
        raise UserError(
            f"{file}: {len(sheets)} sheets have content: {names}; keep one of them, or save the "
            "right one as a CSV file"
        )
    for sheet, content in sheets.items():
        return content, _fill_merged(file, sheet, content)
    return [], ""


def _fill_merged(file, sheet, content):
    """Write the value of each merged cell into all of its rows; the line that says so, or ""."""
    from openpyxl.utils import range_boundaries

    # openpyxl knows merged cells only where it holds the whole sheet in memory.
    with zipfile.ZipFile(file) as parts:
        merged = MERGED.findall(parts.read(sheet._worksheet_path.lstrip("/")))
    rows, filled, of = dict(content), 0, []
    places = {cells.decode(): range_boundaries(cells.decode()) for cells in merged}
    for cells, (left, top, right, bottom) in sorted(
        places.items(), key=lambda item: item[1][1::-1]
    ):
        values = rows.get(top, [])[left - 1 : right]
        if not any(values):
            continue
        if left != right or top == content[0][0]:
            raise UserError(
                f"{file}: sheet '{sheet.title}': cells {cells} are merged across columns or with "
                "the header; unmerge them"
            )
        below = [number for number in rows if top < number <= bottom]
        for number in below:
            rows[number][left - 1] = values[0]
        filled, of = filled + len(below), [*of, cells]
    if not filled:
        return ""
    return (
        f"{file}: {filled:,} cells take the value of the merged cell they are in "
        f"({left_out.few(of)})"
    )


def _books(file):
    """The workbook twice: with the values of formulas, and with the formulas."""
    try:
        import openpyxl
    except ImportError as error:
        raise UserError(
            f"{file}: needs openpyxl; pip install 'dermssl[excel]', or save it as a CSV file"
        ) from error
    try:
        with zipfile.ZipFile(file) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > MAX_BYTES:
            raise UserError(f"{file}: {size:,} bytes unpacked, more than {MAX_BYTES:,}; split it")
        return [openpyxl.load_workbook(file, read_only=True, data_only=k) for k in (True, False)]
    except UserError:
        raise
    except Exception as error:  # openpyxl passes on whatever a damaged part raises
        raise _damaged(file, error) from error


def _damaged(file, error):
    return UserError(
        f"{file}: no Excel workbook, a damaged one or one with a password "
        f"({type(error).__name__}); save it anew, or as a CSV file"
    )


def _content(file, sheet, with_formulas):
    content = []
    try:
        for one in (sheet, with_formulas):
            one.reset_dimensions()  # what a file states of itself may be too little
        for cells, sources in zip(sheet.iter_rows(), with_formulas.iter_rows()):
            texts = [_text(file, sheet, *pair) for pair in zip(cells, sources)]
            if any(texts):
                content.append((next(c.row for c, text in zip(cells, texts) if text), texts))
    except UserError:
        raise
    except Exception as error:  # as in `_books`: sheets are parsed while they are read
        raise _damaged(file, error) from error
    width = max((len(texts) for _, texts in content), default=0)
    return [(number, texts + [""] * (width - len(texts))) for number, texts in content]


def _text(file, sheet, cell, source):
    """A cell as a person typed it, without space around it."""
    value = cell.value
    if value is None and source.value is None:
        return ""
    place = f"{file}: sheet '{sheet.title}', cell "
    if value is None and source.data_type == "f":
        raise UserError(
            f"{place}{source.coordinate}: a formula without its value; open the file in Excel and "
            "save it"
        )
    if cell.data_type == "e":
        raise UserError(f"{place}{cell.coordinate}: {value}; correct the cell or clear it")
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        if abs(value) >= 10**MAX_DIGITS:
            raise UserError(
                f"{place}{cell.coordinate}: a number of more than {MAX_DIGITS} digits, which Excel "
                "has rounded; give the column the format Text and enter the numbers anew"
            )
        return number(value, cell.number_format)
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ")
    return str(value).strip()


def number(value: Any, shown_as: str = "General") -> str:
    """A number as typed: no ".0" that a file format adds, and the zeros that its cell shows.

    Args:
        value: int or float.
        shown_as: the cell's number format; one of zeros alone fills up with zeros.

    Example:

    >>> number(55.0), number(0.1 + 0.2), number(7, "0000")
    ('55', '0.3', '0007')
    """
    text = f"{value:.{MAX_DIGITS}g}"
    return text.zfill(len(shown_as)) if re.fullmatch("0+", shown_as) else text

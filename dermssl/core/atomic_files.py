"""Write files atomically: a reader finds the whole file or none.

Every file is written under a temporary name beside its place, fsynced, and renamed over it,
so a kill at any moment leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core.errors import RunFailed, UserError

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and renamed over it."""
    path = Path(path)
    # The suffixes stay last: Keras and Pillow choose the format by them.
    temporary = path.with_name(f".tmp{os.getpid()}.{path.name}")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise RunFailed(f"{path}: can't be written ({_reason(error)})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _reason(error):
    """Few words for an `OSError`; HDF5 hides those of the system in a long message."""
    hidden = re.search(r"error message = '([^']+)'", str(error))
    reason = error.strerror or (hidden[1] if hidden else str(error))
    if reason == os.strerror(errno.ENOSPC):
        reason += "; free some, then the same command goes on"
    return reason


def _sync_folder(folder):
    """A rename is durable only once its folder is on disk too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path | str, text: str) -> None:
    """Write `text` (UTF-8) to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path | str, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON; NaN and infinities become null, since JSON has no word for them."""
    write_text(path, json.dumps(_finite(value), indent=2, ensure_ascii=False) + "\n")


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_csv(path: Path | str, table: pd.DataFrame) -> None:
    """Write a pandas table as CSV, whole or not at all, with `escape_formulas` text."""
    with atomic_write(path) as temporary:
        escape_formulas(table).to_csv(temporary, index=False)


def escape_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A pandas table without text that a spreadsheet would run.

    A cell that starts with =, +, -, @, tab or return is a formula to a spreadsheet;
    it gets a leading apostrophe (OWASP, CSV injection). Numbers are left alone.
    """
    text = table.select_dtypes(exclude="number").columns
    return table.assign(**{name: table[name].map(_harmless) for name in text}).rename(
        columns=_harmless
    )


def _harmless(cell):
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return "'" + cell
    return cell


def unescape_formulas(cell: Any) -> Any:
    """A cell of a CSV file as it was before `escape_formulas`."""
    if isinstance(cell, str) and cell.startswith("'") and _harmless(cell[1:]) == cell:
        return cell[1:]
    return cell


def read_csv(path: Path | str) -> pd.DataFrame:
    """A table that `write_csv` wrote, as text: "NA" stays a word, formulas are given back.

    Raises:
        UserError: the file can't be read or isn't a whole CSV file.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: can't be read ({error.strerror}); is this the folder of a finished run?"
        ) from error
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: not a whole CSV file ({error}); copy or make it again") from error
    return table.map(unescape_formulas).rename(columns=unescape_formulas)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing in a folder that no other process writes to."""
    for left in folder.rglob(".tmp*"):
        if re.fullmatch(r"\.tmp\d+\..+", left.name):
            with contextlib.suppress(OSError):
                left.unlink()

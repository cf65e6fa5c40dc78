"""Say what is left out or refused: one summed line in the log, and the whole list in a file.

A library function calls `tell`. A command that has a folder collects what was told meanwhile, and
writes it there.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dermssl.core import atomic_files

FILE = "left_out.csv"
SHOWN = 3  # names in a line
MISSING = "missing"  # named by a table and not there
REMARK = "remark"  # a line alone: nothing was left out or assumed
_ROWS, _KIND = "left_out", "left_out_kind"  # attributes of a log record


class LeftOut(NamedTuple):
    """One file that is left out, with the reason; an assumption has no path."""

    path: str
    reason: str


def few(names: Sequence[str], shown: int = SHOWN) -> str:
    """The first names, and how many more there are.

    Example:

    >>> few(["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    'a.jpg, b.jpg, c.jpg and 1 more'
    """
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def tell(
    log: logging.Logger, line: str, rows: Iterable[tuple[str, str]] = (), kind: str = ""
) -> None:
    """Log a line that sums up (path, reason) rows, which go into `FILE` where a command has one.

    What `collected` has already is not told again: runs of an experiment share one data set.

    Args:
        log: to write to.
        line: the sum and the first few names.
        rows: all of them.
        kind: `MISSING` where a later command would refuse them, `REMARK` for a line alone, else "".
    """
    collecting = [each for each in logging.getLogger("dermssl").handlers if isinstance(each, Notes)]
    if collecting and line in collecting[-1].lines:
        return
    log.warning("%s", line, extra={_ROWS: [LeftOut(*row) for row in rows], _KIND: kind})


def tell_bad(
    log: logging.Logger, bad: Sequence[tuple[str, str]], total: int, what: str = "photos"
) -> None:
    """Say in one line how many files can't be read, and why the first can't; none says nothing.

    Args:
        log: to write to.
        bad: (path, message) of each.
        total: files before.
        what: these are.
    """
    if not bad:
        return
    more = f" (and {len(bad) - 1:,} more)" if len(bad) > 1 else ""
    line = f"skipped: {len(bad):,} of {total:,} {what}, the first: {bad[0][1]}{more}"
    tell(log, line, [(path, message.removeprefix(f"{path}: ")) for path, message in bad])


class Notes(logging.Handler):
    """What was told meanwhile.

    Attributes:
        lines: list of str, the log's warnings, each once.
        rows: list of `LeftOut`, each once; a warning without rows is a row without a path.
        missing: those of kind `MISSING`.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.rows: list[LeftOut] = []
        self.missing: list[LeftOut] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        rows = getattr(record, _ROWS, None) or [LeftOut("", line)]
        self.lines += [] if line in self.lines else [line]
        if getattr(record, _KIND, "") == REMARK:
            return
        known = set(self.rows)
        new = [row for row in dict.fromkeys(rows) if row not in known]
        self.rows += new
        self.missing += new if getattr(record, _KIND, "") == MISSING else []

    def write(self, made: Any, output: str | None = None) -> None:
        """Write `FILE` and name it in the log, where a file was left out; else an older one goes.

        Args:
            made: what a command returned: the folder that it wrote, perhaps first of a tuple.
            output: the file that it was told to write; the list then lies beside it.
        """
        path = _place(made[0] if isinstance(made, tuple) and made else made, output)
        if path is None:
            return
        if not any(row.path for row in self.rows):
            path.unlink(missing_ok=True)
            return
        import pandas as pd

        atomic_files.write_csv(path, pd.DataFrame(self.rows, columns=LeftOut._fields))
        logging.getLogger("dermssl").warning(
            "all %s that were left out, with the reasons: %s",
            f"{sum(bool(row.path) for row in self.rows):,}",
            path,
        )


def _place(made, output):
    """Where the list of a command goes; None where it wrote nothing."""
    if isinstance(made, str | os.PathLike) and Path(made).is_dir():
        return Path(made) / FILE
    if output and Path(output).is_file():
        return Path(output).with_name(f"{Path(output).name}_{FILE}")
    return None


@contextlib.contextmanager
def collected() -> Iterator[Notes]:
    """Collect what the library tells in a block.

    Example:

    >>> with collected() as notes:
    ...     tell(logging.getLogger("dermssl"), "1 file left out", [("a.cr2", "a raw photo")])
    >>> notes.rows
    [LeftOut(path='a.cr2', reason='a raw photo')]
    """
    notes, log = Notes(), logging.getLogger("dermssl")
    log.addHandler(notes)
    try:
        yield notes
    finally:
        log.removeHandler(notes)

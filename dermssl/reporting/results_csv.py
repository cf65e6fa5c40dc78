"""Append results to a CSV file, one row a run, failed runs included."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dermssl.core import atomic_files, file_locks
from dermssl.core.errors import RunFailed
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.metrics import SUMMARY

NOT_AVAILABLE = "n/a"
# Read back as text whatever they look like: a hash such as 12e456789012 isn't a number.
TEXT = (
    "run", "command", "status", "reason", "arm", "backbone", "split",
    "config_hash", "data_hash", "versions", "unfrozen_layers",
)  # fmt: skip
COUNTS = ("n", "n_fine", "n_coarse")
METRICS = tuple(name for name in SUMMARY if name not in COUNTS)


def row(
    path: Path | str,
    status: dict[str, Any],
    split: str = "",
    counts: dict[str, Any] | None = None,
    intervals: Mapping[str, Interval] | None = None,
) -> dict[str, Any]:
    """One run as a flat dict of strings and numbers, for a line of a results file.

    Args:
        path: the run's folder.
        status: from its status.json. A run that failed is a row too, without metrics.
        split: the split that was scored.
        counts: `n`, `n_fine` and `n_coarse`.
        intervals: of each metric.

    Returns:
        The same keys for every run: what it is, what it cost, and for each metric NAME, NAME_low
        and NAME_high, NaN where undefined.
    """
    backbone = status.get("config", {}).get("backbone", {})
    counts, intervals = counts or {}, intervals or {}
    cells = {
        "run": str(path),
        "command": status.get("command", ""),
        "status": status.get("status", ""),
        "reason": status.get("reason") or "",
        "arm": status.get("arm", ""),
        "seed": status.get("seed", math.nan),
        "n_labels": status.get("n_labels", math.nan),
        "backbone": backbone.get("name", ""),
        "image_size": backbone.get("image_size", math.nan),
        "config_hash": status.get("config_hash", ""),
        "data_hash": status.get("data_hash", ""),
        "versions": "; ".join(f"{k} {v}" for k, v in status.get("versions", {}).items()),
        "seconds": status.get("seconds", math.nan),
        "parameters": status.get("parameters", math.nan),
        "trainable_parameters": status.get("trainable_parameters", math.nan),
        "unfrozen_layers": " ".join(status.get("unfrozen_layers", ())),
        "split": split,
    }
    cells |= {name: counts.get(name, math.nan) for name in COUNTS}
    for name in METRICS:
        cells |= bounds(name, intervals.get(name))
    return cells


def bounds(name: str, interval: Interval | None) -> dict[str, float]:
    """An interval as three cells: NAME, NAME_low, NAME_high; NaN for None."""
    if interval is None:
        return {name: math.nan, f"{name}_low": math.nan, f"{name}_high": math.nan}
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def write_rows(
    path: Path | str, rows: Sequence[Mapping[Any, Any]], columns: Sequence[str] | None = None
) -> None:
    """Write a list of dicts as CSV, whole or not at all; NaN and None become "n/a".

    `columns` gives the header where there may be no row to take it from.
    """
    cells = pd.DataFrame(rows, columns=list(columns) if columns else None).astype(object)
    atomic_files.write_csv(path, cells.where(cells.notna(), NOT_AVAILABLE))


def append_row(path: Path | str, row: dict[str, Any]) -> None:
    """Add a row to a CSV; a kill leaves the file with it or without it, never half of it.

    Two processes may append to one file: each waits for the other. A column that is new, in
    the file or in the row, is "n/a" where it has no value.
    """
    path = Path(path)
    with _alone(path):
        before = _cells(path).to_dict("records") if path.exists() else []
        write_rows(path, [*before, row])


def keep_rows(path: Path | str, keep: Callable[[dict[Any, Any]], bool]) -> None:
    """Leave those rows of a CSV for which the function `keep`, of a row as a dict, holds."""
    path = Path(path)
    with _alone(path):
        table = _cells(path)
        kept = [row for row in table.to_dict("records") if keep(row)]
        write_rows(path, kept, list(table.columns))


def read_rows(path: Path | str) -> pd.DataFrame:
    """The rows of a results file; "n/a" is NaN, text columns are text."""
    return _cells(Path(path)).infer_objects()


def _cells(path: Path) -> pd.DataFrame:
    table = atomic_files.read_csv(path).astype(object)
    for column in table.columns.difference(list(TEXT)):
        table[column] = pd.Series(map(_value, table[column]), dtype=object)
    return table


def _value(cell: str) -> float | str:
    """A number where the text is one. A number read as text would be escaped as a formula."""
    if cell in ("", NOT_AVAILABLE):
        return math.nan
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(cell)
    return cell


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock beside `path`. It isn't the run's own, which the caller may hold already."""
    try:
        with open(path.with_name(f".{path.name}.lock"), "a") as lock:
            with contextlib.suppress(OSError):  # no locks there: `runs.open_run` says so
                file_locks.lock(lock, wait=True)
            yield
    except OSError as error:
        raise RunFailed(f"{path}: can't be written ({error.strerror or error})") from error

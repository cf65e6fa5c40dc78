"""Write predictions batch by batch as CSV, JSON lines or Parquet.

The ending of the file's name chooses. CSV is what a spreadsheet opens, so a cell that it would run
as a formula gets an apostrophe first; the other two keep every text as it is.
"""

import csv as csv_lines
import importlib.util
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dermssl.core import atomic_files, left_out
from dermssl.core.errors import UserError

# A table with these columns, and no others than those of `new_photos`, is one of predictions.
ALWAYS = frozenset((
    "path", "fine", "coarse", "most_probable_fine", "most_probable_coarse", "temperature",
    "prior_power",
))  # fmt: skip
SOMETIMES = frozenset((
    "conformal_set", "p_malignant", "unlike_run", "distance_to_run", "nearest_training", "remark",
    "heat_map",
))  # fmt: skip
SHOWN = 120  # characters of a header, in a message


def csv(tables: Iterable[pd.DataFrame], file: Any) -> None:
    """One CSV of tables; `file` is a path or an open text file."""
    if isinstance(file, Path):
        with open(file, "w", encoding="utf-8", newline="") as opened:
            return csv(tables, opened)
    for number, table in enumerate(tables):
        atomic_files.escape_formulas(table).to_csv(
            file, index=False, header=number == 0, float_format="%.9g"
        )


def json_lines(tables: Iterable[pd.DataFrame], file: Path) -> None:
    """One JSON object a line and photo."""
    with open(file, "w", encoding="utf-8") as opened:
        for table in tables:
            table.to_json(
                opened, orient="records", lines=True, force_ascii=False, double_precision=9
            )


def parquet(tables: Iterable[pd.DataFrame], file: Path) -> None:
    """Parquet with a row group for each table."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    writer = None
    try:
        for table in tables:
            rows = pyarrow.Table.from_pandas(table, preserve_index=False)
            writer = writer or ParquetWriter(file, rows.schema)
            writer.write_table(rows)
    finally:
        if writer:
            writer.close()


WRITERS: dict[str, Callable[[Iterable[pd.DataFrame], Path], None]] = {
    ".csv": csv,
    ".jsonl": json_lines,
    ".parquet": parquet,
}


def check(output: str) -> None:
    """Refuse a file that can't be written, before any work.

    Args:
        output: path of the file to write.

    Raises:
        UserError: a folder, in a folder that isn't there, of an unknown ending, Parquet without
            pyarrow, or a file that isn't one of predictions; the same for the list of what was
            left out, beside it.
    """
    path = Path(output)
    if path.is_dir():
        raise UserError(f"run.output {output}: is a folder; give the name of a CSV file")
    if not path.absolute().parent.is_dir():
        raise UserError(f"run.output {output}: its folder does not exist; make it first")
    if path.suffix.lower() not in WRITERS:
        raise UserError(
            f"run.output {output}: its ending is none of {', '.join(WRITERS)}, which choose the "
            "format; add one"
        )
    if path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"run.output {output}: Parquet needs pyarrow; pip install dermssl[parquet], or write "
            ".jsonl"
        )
    beside = path.with_name(f"{path.name}_{left_out.FILE}")
    for file, is_ours in ((path, _is_predictions), (beside, _is_left_out)):
        if not file.exists() or not file.stat().st_size:
            continue
        columns = _columns(file)
        if not is_ours(columns):
            found = f"its columns are {', '.join(columns)}" if columns else "it is no such table"
            found = found if len(found) <= SHOWN else f"{found[:SHOWN]} ..."
            raise UserError(
                f"run.output {output}: {file} is there and dermssl.predict didn't write it "
                f"({found}); give another name"
            )


def _is_predictions(columns):
    return set(columns) >= ALWAYS and all(
        name in ALWAYS | SOMETIMES or name.startswith(("p_fine_", "p_coarse_")) for name in columns
    )


def _is_left_out(columns):
    return tuple(columns) == left_out.LeftOut._fields


def _columns(file):
    """The columns of a table; [] where a file is none."""
    try:
        if file.suffix.lower() == ".parquet":
            from pyarrow.parquet import read_schema

            return read_schema(file).names
        with open(file, encoding="utf-8", newline="") as opened:
            line = opened.readline()
        if file.suffix.lower() == ".jsonl":
            row = json.loads(line)
            return list(row) if isinstance(row, dict) else []
        return next(csv_lines.reader([line]), [])
    except (OSError, ValueError, RecursionError, csv_lines.Error):  # pyarrow's are ValueErrors
        return []


def write(tables: Iterable[pd.DataFrame], output: str) -> None:
    """Write tables to a file, whole or not at all.

    Args:
        tables: of equal columns, taken one at a time.
        output: a path that `check` let pass.
    """
    with atomic_files.atomic_write(output) as temporary:
        WRITERS[Path(output).suffix.lower()](tables, temporary)

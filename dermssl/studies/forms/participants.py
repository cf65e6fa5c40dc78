"""The participant table of a run: who and what is in each split, missing values counted.

How a diagnosis was made (`dx_type` of HAM10000) stands in the data folder's own table and is read
here alone: no reader gives it to training, since it gives the diagnosis away.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import csv_tables
from dermssl.data.records import SPLITS

MISSING = "missing"
ALL = "all"  # the level of what has no levels, and the column of all splits
REFERENCE = ("reference_standard", "dx_type", "diagnosis_confirm_type")  # columns that are known
COLUMNS = ("characteristic", "level", *SPLITS, ALL)
MALIGNANT = "reference standard of malignant classes"
AGES = ("median", "lower quartile", "upper quartile")


def reference_standard(root: Path | str) -> dict[str, str]:
    """How each photo's diagnosis was made, by the file name without its ending.

    Args:
        root: the data folder, with labels.csv or HAM10000's metadata.

    Returns:
        dict; empty where no table there has one of the columns `REFERENCE`, or it can't be read.
    """
    root = Path(root)
    for file in [root / "labels.csv", *sorted(root.glob("*metadata*.csv"))]:
        if not file.is_file():
            continue
        try:
            table = csv_tables.read_table(file, "image_id,dx_type")
        except UserError:
            continue
        column = next((name for name in REFERENCE if name in table), None)
        key = next((name for name in ("filename", "image_id") if name in table), None)
        if column and key:
            known = ~table[column].str.lower().isin(("", *csv_tables.UNKNOWN))
            return {_stem(a): b for a, b in zip(table[key][known], table[column][known])}
    return {}


def _stem(path):
    return PurePosixPath(str(path).replace("\\", "/")).stem


def table(records: pd.DataFrame, taxonomy: Taxonomy, standard: dict[str, str]) -> pd.DataFrame:
    """Who is in each split.

    Args:
        records: a run's predictions.csv as read, or any record table with splits.
        taxonomy: of the run.
        standard: from `reference_standard`.

    Returns:
        DataFrame with `COLUMNS`: counts of photos (of lesions and patients where they are named),
        and for age its median and quartiles over photos, NaN where no age is known.
    """
    records = records.assign(reference=[standard.get(_stem(p), "") for p in records["path"]])
    rows = [_row("photos", ALL, records, len)]
    for column, words in (("lesion_id", "lesions"), ("patient_id", "patients")):
        rows.append(_row(words, ALL, records, partial(_distinct, column)))
        rows.append(_row(words, f"photos without {column}", records, partial(_count, column, "")))
    for level, q in zip(AGES, (0.5, 0.25, 0.75)):
        rows.append(_row("age", level, records, partial(_quantile, q)))
    rows.append(_row("age", MISSING, records, lambda part: int(part["age"].isna().sum())))
    for name in ("sex", "site", "skin_tone"):
        rows += _levels(name.replace("_", " "), records, name)
    rows += _levels("class", records, "fine", [*taxonomy.fine])
    if taxonomy.has_hierarchy:
        rows += _levels("coarse class", records, "coarse", [*taxonomy.coarse])
    rows += _levels("reference standard", records, "reference")
    malignant = {k for k, kind in zip(taxonomy.fine, taxonomy.malignancy) if kind == "malignant"}
    if malignant:
        own = records[records["fine"].isin(malignant)]
        rows += [_row(MALIGNANT, ALL, own, len), *_levels(MALIGNANT, own, "reference")]
    rows += _levels("source", records, "source")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(characteristic, level, records, measure):
    parts = [records[records["split"] == split] for split in SPLITS]
    return [characteristic, level, *(measure(part) for part in parts), measure(records)]


def _levels(characteristic, records, column, order: Sequence[str] = ()):
    """A row for each value of a column, the commonest first, then the missing ones."""
    found = records[column].astype(str).value_counts().drop("", errors="ignore")
    names = list(order) or sorted(found.index, key=lambda name: (-found[name], name))
    rows = [_row(characteristic, name, records, partial(_count, column, name)) for name in names]
    return [*rows, _row(characteristic, MISSING, records, partial(_count, column, ""))]


def _count(column, value, part):
    return int((part[column] == value).sum())


def _distinct(column, part):
    return int(part[column][part[column] != ""].nunique())


def _quantile(q, part):
    return part["age"].quantile(q)


def nested(participants: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """The table as characteristic -> level -> split -> number, to look numbers up by name."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in participants.to_dict("records"):
        cells = {split: row[split] for split in (*SPLITS, ALL)}
        found.setdefault(row["characteristic"], {})[row["level"]] = {
            name: _plain(value) for name, value in cells.items()
        }
    return found


def _plain(value):
    value = float(value)
    return int(value) if not np.isnan(value) and value == int(value) else value

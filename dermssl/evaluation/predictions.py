"""Read and write predictions.csv, on which all evaluation is based.

One row a record, of every split: what it is, its true labels, and the probability of every
class at both levels, raw: the temperature of a run is fitted and judged on them. Commands that
evaluate, compare and report read this file and never a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.data.records import MASK, SPLITS, TEST, group_ids, label_arrays
from dermssl.evaluation import validate

NAME = "predictions.csv"
DESCRIPTION = (
    "path", "split", "fine", "coarse", "lesion_id", "patient_id",
    "site", "sex", "age", "skin_tone", "source",
)  # fmt: skip
DIGITS = 9  # significant ones: enough to give every float32 back exactly


class Arrays(NamedTuple):
    """One split as arrays, in the order of the file.

    Attributes:
        y, y_coarse: int64 (n,), true classes, -1 unknown.
        p_fine, p_coarse: float64 (n, F) and (n, C).
        groups: object (n,), such as "lesion_id=HAM_0000118"; records of one aren't independent.
    """

    y: np.ndarray
    y_coarse: np.ndarray
    p_fine: np.ndarray
    p_coarse: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True, eq=False)
class Predictions:
    """A finished run's predictions.

    Attributes:
        table: DataFrame as from `table`.
        taxonomy: the `Taxonomy` its columns follow.
        status: dict, the content of the run's status.json.
        path: the run's folder.
    """

    table: pd.DataFrame
    taxonomy: taxonomies.Taxonomy
    status: dict[str, Any]
    path: Path | None = None

    def arrays(self, split: str = TEST) -> Arrays:
        """The `Arrays` of one split, or a `UserError` that lists the splits there are."""
        return arrays_of(self.table, self.taxonomy, split)


def table(
    index: pd.DataFrame,
    p_fine: np.ndarray,
    p_coarse: np.ndarray | None,
    taxonomy: taxonomies.Taxonomy,
) -> pd.DataFrame:
    """The predictions of the records of `index`, as the table that `read` expects.

    Args:
        index: record table, as from `dermssl.data.records.make_index`.
        p_fine: float (n, F), in the order of `index` and of the taxonomy.
        p_coarse: float (n, C); None for the sums of `p_fine`.
        taxonomy: a `Taxonomy`.

    Returns:
        DataFrame: the record's description (with its mask, where masks are known), then
        p_fine_NAME and p_coarse_NAME columns with 9 significant digits.
    """
    p_fine = validate.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    if p_coarse is None:
        p_coarse = p_fine @ taxonomy.matrix
    p_coarse = validate.probabilities(p_coarse, "p_coarse", len(taxonomy.coarse))
    validate.same_length(index=index, p_fine=p_fine, p_coarse=p_coarse)
    levels = {"fine": p_fine, "coarse": p_coarse}
    columns = {
        name: np.char.mod(f"%.{DIGITS}g", p[:, k]).astype(np.float64)
        for level, p in levels.items()
        for k, name in enumerate(_columns(level, taxonomy))
    }
    kept = [*DESCRIPTION, MASK] if MASK in index else list(DESCRIPTION)
    described = index[kept].reset_index(drop=True)
    return pd.concat([described, pd.DataFrame(columns)], axis=1)


def arrays_of(table: pd.DataFrame, taxonomy: taxonomies.Taxonomy, split: str = TEST) -> Arrays:
    """`Predictions.arrays` of a table that needn't have been written yet."""
    rows = table[table["split"] == split]
    if rows.empty:
        there = ", ".join(sorted(set(table["split"]))) or "none"
        raise UserError(f"evaluate.split {split}: no record of it in {NAME}; splits there: {there}")
    y, y_coarse = label_arrays(rows, taxonomy)
    y_coarse = np.where(y >= 0, taxonomy.parent_index[y], y_coarse)
    p_fine = rows[_columns("fine", taxonomy)].to_numpy(np.float64)
    p_coarse = rows[_columns("coarse", taxonomy)].to_numpy(np.float64)
    return Arrays(y, y_coarse, p_fine, p_coarse, group_ids(rows))


def read(run_path: Path | str) -> Predictions:
    """The predictions of a finished run.

    Returns:
        `Predictions`. A `UserError` names the file and what is wrong with it: a run that isn't
        finished, a missing column, a label outside the taxonomy, probabilities that don't sum
        to 1, a file that was cut off.
    """
    status = runs.finished(run_path)
    path = Path(run_path)
    file = path / NAME
    classes = taxonomies.from_dict(
        runs.read_json(path / "taxonomy.json"), where=str(path / "taxonomy.json")
    )
    found = atomic_files.read_csv(file)
    numbers = [*_columns("fine", classes), *_columns("coarse", classes)]
    for column in (*DESCRIPTION, *numbers):
        if column not in found:
            raise UserError(f"{file}: no column '{column}'; make it again with dermssl.finetune")
    for column in numbers:
        found[column] = pd.to_numeric(found[column], errors="coerce")
    found["age"] = pd.to_numeric(found["age"], errors="coerce")
    for level in ("fine", "coarse"):
        p = found[_columns(level, classes)].to_numpy(np.float64)
        validate.probabilities(p, f"{file}: p_{level}")
        _check_labels(file, found[level], getattr(classes, level), level)
    _check_rows(file, found, status)
    return Predictions(found, classes, status, path)


def read_history(run_path: Path | str) -> pd.DataFrame:
    """history.csv of a run: DataFrame, one row an epoch, over all phases in order."""
    file = Path(run_path) / "history.csv"
    found = atomic_files.read_csv(file)
    if "phase" not in found:
        raise UserError(f"{file}: no column 'phase'; make it again with dermssl.finetune")
    for column in found.columns.drop("phase"):
        found[column] = pd.to_numeric(found[column], errors="coerce")
    return found


def _columns(level, classes):
    return [f"p_{level}_{name}" for name in getattr(classes, level)]


def _check_labels(file, column, names, level):
    strange = column[(column != "") & ~column.isin(names)]
    if len(strange):
        raise UserError(
            f"{file}: {level} label '{strange.iloc[0]}' in row {strange.index[0] + 2} "
            f"is not in the run's taxonomy.json ({', '.join(names)})"
        )


def _check_rows(file, found, status):
    """No record twice, a known split each, and none lost at the end of the file."""
    twice = found["path"][found["path"].duplicated() & (found["split"] != "")]
    if len(twice):
        raise UserError(f"{file}: record '{twice.iloc[0]}' is there twice; make it again")
    strange = found["split"][~found["split"].isin(("", *SPLITS))]
    if len(strange):
        raise UserError(
            f"{file}: split '{strange.iloc[0]}' in row {strange.index[0] + 2}; "
            f"expected one of: {', '.join(SPLITS)}"
        )
    expected = status.get("n_records", len(found))
    if expected != len(found):
        raise UserError(
            f"{file}: {len(found)} records, but status.json says {expected}; "
            "the file was cut off or changed, copy or make it again"
        )

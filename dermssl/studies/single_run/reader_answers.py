"""Read what human readers answered about a split's photos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np
import pandas as pd

from dermssl.core import atomic_files
from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks

PHOTO = ("path", "image", "image_id", "isic_id")  # columns that may name a photo
MALIGNANT, BENIGN = binary_tasks.MALIGNANT, "benign"


@dataclass(frozen=True, eq=False)
class Answers:
    """Readers' answers, in the order of the split's records.

    Attributes:
        readers: names, in alphabetical order.
        classes: int (R, n), fine class of each answer, -1 where a photo wasn't answered; None
            where the answers are yes or no.
        malignant: int (R, n), 1, 0 or -1; None where the classes state no malignancy.
        elsewhere: answers on the run's photos of other splits, which are left out.
    """

    readers: tuple[str, ...]
    classes: np.ndarray | None = field(repr=False)
    malignant: np.ndarray | None = field(repr=False)
    elsewhere: int


def read(file: Path | str, table: pd.DataFrame, split: str, taxonomy: Taxonomy) -> Answers:
    """The answers of a CSV with the columns `reader`, `path` (or `image_id`) and `answer`.

    An answer is a fine class (its name or title), or else "malignant" or "benign" throughout. A
    photo is named as in predictions.csv, or by its file name without folder and ending.

    Args:
        file: the CSV.
        table: the run's predictions, all splits.
        split: whose records are evaluated.
        taxonomy: of the run.

    Raises:
        UserError: a missing column, an unknown photo or answer, a photo that a reader answered
            twice, or no answer on this split.
    """
    if not Path(file).is_file():
        raise UserError(f"evaluate.readers {file}: no such file; give a CSV of readers' answers")
    rows = atomic_files.read_csv(file)
    photo = next((name for name in PHOTO if name in rows), None)
    lacking = [name for name in ("reader", "answer") if name not in rows]
    if lacking or photo is None:
        missing = lacking[0] if lacking else "path"
        raise UserError(
            f"evaluate.readers {file}: no column '{missing}'; expected reader, path (or image_id) "
            "and answer"
        )
    rows = pd.DataFrame(
        {"reader": rows["reader"], "photo": rows[photo], "answer": rows["answer"]}
    ).apply(lambda column: column.str.strip())
    rows = rows[rows["answer"] != ""]  # not answered
    nameless = rows[rows["reader"] == ""]
    if len(nameless):
        raise UserError(
            f"evaluate.readers {file}: an answer on '{nameless['photo'].iloc[0]}' names no reader; "
            "name each"
        )
    at = _places(file, rows["photo"], table)
    twice = pd.DataFrame({"reader": rows["reader"], "at": at}).duplicated()
    if twice.any():
        row = rows[twice.to_numpy()].iloc[0]
        raise UserError(
            f"evaluate.readers {file}: {row['reader']} answers '{row['photo']}' twice; keep one"
        )
    here = (table["split"] == split).to_numpy()
    position = np.where(here, np.cumsum(here) - 1, -1)[at]
    inside = position >= 0
    if not inside.any():
        raise UserError(
            f"evaluate.readers {file}: none of its {len(rows)} answers is on a photo of the split "
            f"'{split}'; choose the right evaluate.split"
        )
    classes, malignant = _codes(file, rows["answer"], taxonomy)
    readers = tuple(sorted(set(rows["reader"][inside])))
    number = pd.Index(readers).get_indexer(pd.Index(rows["reader"]))

    def placed(codes):
        if codes is None:
            return None
        found = np.full((len(readers), int(here.sum())), -1)
        found[number[inside], position[inside]] = codes[inside]
        return found

    return Answers(readers, placed(classes), placed(malignant), int((~inside).sum()))


def _places(file, photos, table):
    """int (m,): the row of the table that each photo is."""
    paths = table["path"].astype(str)
    at = pd.Index(paths).get_indexer(pd.Index(photos))
    stems = pd.Series(np.arange(len(paths)), index=[PurePath(path).stem for path in paths])
    stems = stems[~stems.index.duplicated(keep=False)]  # names that several folders have
    by_stem = stems.reindex([PurePath(name).stem for name in photos]).fillna(-1).to_numpy(int)
    at = np.where(at >= 0, at, by_stem)
    if (at < 0).any():
        unknown = photos[at < 0]
        raise UserError(
            f"evaluate.readers {file}: '{unknown.iloc[0]}' is no photo of this run "
            f"({len(unknown):,} such answers); name photos as the run's predictions.csv does"
        )
    return at


def _codes(file, answers, taxonomy):
    """Fine classes int (m,) or None, and malignancy int (m,) or None."""
    names = {title: k for k, title in enumerate(taxonomy.titles)}
    names |= {name: k for k, name in enumerate(taxonomy.fine)}
    axis = binary_tasks.has_malignancy(taxonomy)
    if axis and answers.isin([MALIGNANT, BENIGN]).all() and not {MALIGNANT, BENIGN} <= set(names):
        return None, (answers == MALIGNANT).to_numpy(int)
    strange = answers[~answers.isin(list(names))]
    if len(strange):
        or_else = f"; or {MALIGNANT} and {BENIGN} throughout" if axis else ""
        raise UserError(
            f"evaluate.readers {file}: unknown answer '{strange.iloc[0]}'; choose one of: "
            f"{', '.join(taxonomy.fine)}{or_else}"
        )
    classes = answers.map(names).to_numpy(int)
    return classes, binary_tasks.malignant_labels(classes, taxonomy)

"""Find a table's columns under the names that people give them: image, dx, gender.

`labels.csv` has the columns of `readers.LABELS`. A table in other words is read as one, and a line
says what was taken for what; where two columns could be meant, it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import csv_tables

WORDS = {
    "filename": (
        "file", "file_name", "image", "image_file", "image_id", "image_name", "image_path", "img",
        "img_id", "img_name", "isic_id", "path", "photo",
    ),
    "label": (
        "benign_malignant", "category", "class", "diagnosis", "diagnostic", "dx", "labels",
        "target",
    ),
    "lesion_id": ("lesion",),
    "patient_id": ("patient",),
    "age": ("age_approx", "age_years"),
    "sex": ("gender",),
    "site": ("anatom_site_general", "body_site", "localization", "location", "region"),
    "skin_tone": ("fitzpatrick", "fitzpatrick_scale", "fitzpatrick_skin_type", "skin_type"),
}  # fmt: skip

log = logging.getLogger(__name__)


def has_labels(columns: Collection[str]) -> bool:
    """Whether columns, in lower case, name photos and their labels, in whatever words.

    Example:

    >>> has_labels(["image_id", "dx", "age"]), has_labels(["image_id", "age"])
    (True, False)
    """
    return all({name, *WORDS[name]} & set(columns) for name in ("filename", "label"))


def renamed(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """A table with the columns of `labels.csv`; what was taken for what goes to the log.

    Args:
        table: columns in lower case.
        file: it, for messages.

    Raises:
        UserError: two columns could be the same one of labels.csv.
    """
    meant = {}
    for name, words in WORDS.items():
        there = [word for word in words if word in table]
        if name in table or not there:
            continue
        if len(there) > 1:
            raise UserError(
                f"{file}: both {csv_tables.quoted(there[0])} and {csv_tables.quoted(there[1])} "
                f"may be the column '{name}'; rename the right one to {name}"
            )
        meant[there[0]] = name
    if meant:
        shown = ", ".join(f"{word} for {name}" for word, name in meant.items())
        left_out.tell(log, f"{file}: columns taken: {shown}")
    return table.rename(columns=meant)

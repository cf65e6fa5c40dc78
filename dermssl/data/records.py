"""The record table (one row a photo) and the `Dataset` around it.

Every reader makes one and every later step reads one. A column that a data set
does not have is there, empty: "" for text, NaN for age.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files
from dermssl.core.errors import UserError
from dermssl.core.setting import SPLITS
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import photo_bytes

COLUMNS = (
    "path", "fine", "coarse", "lesion_id", "patient_id", "split",
    "site", "sex", "age", "skin_tone", "source",
)  # fmt: skip
MASK = "mask"  # one more column, where masks are known: the path of the photo's, or ""
SYNTHETIC = "synthetic"  # the source of drawn photos, so that no report takes them for skin
TRAIN, VALIDATION, TEST = SPLITS
ROWS = 10_000  # of a table that are Python's objects at a time


@dataclass(frozen=True)
class Dataset:
    """Records, where their paths start, and what their labels mean.

    Attributes:
        root: folder that the paths are relative to.
        index: pandas table with `COLUMNS` and perhaps `MASK`, one row a photo, in a fixed order.
        taxonomy: the class names, or None where no record has a label.

    Example:

    >>> data = dermssl.load_dataset("PHOTOS")
    >>> len(data.train.records) + len(data.validation.records) + len(data.test.records)
    160
    """

    root: Path
    index: pd.DataFrame
    taxonomy: Taxonomy | None

    def with_index(self, index: pd.DataFrame) -> "Dataset":
        """The same data set with other rows."""
        return Dataset(self.root, index.reset_index(drop=True), self.taxonomy)

    def subset(self, split: str) -> "Dataset":
        """The records of one split, in order."""
        return self.with_index(self.index[self.index["split"] == split])

    @property
    def records(self) -> pd.DataFrame:
        """The table, under the name that it has for users."""
        return self.index

    @property
    def train(self) -> "Dataset":
        """The records of the training split."""
        return self.subset(TRAIN)

    @property
    def validation(self) -> "Dataset":
        """The records of the validation split."""
        return self.subset(VALIDATION)

    @property
    def test(self) -> "Dataset":
        """The records of the test split."""
        return self.subset(TEST)

    @property
    def files(self) -> list[str]:
        """Full paths, one a record; one may lead into a container, see `photo_bytes`."""
        root, paths = str(self.root), self.index["path"].to_numpy(object)
        # pathlib would take seconds for a million.
        return [os.path.join(root, path) if root != "." else path for path in paths]

    @property
    def mask_files(self) -> list[str] | None:
        """Full paths of the lesion masks, one a record, "" for none; None without any."""
        if MASK not in self.index:
            return None
        return [str(self.root / path) if path else "" for path in self.index[MASK]]


def make_index(columns: Mapping[str, Any] | pd.DataFrame) -> pd.DataFrame:
    """A record table from a dict of columns; missing ones are filled, order is by path.

    `MASK` stays where it is given, also with nothing in it: then no photo has a mask, and none is
    looked for.
    """
    table = pd.DataFrame(columns)
    for name in COLUMNS:
        if name not in table:
            table[name] = ""
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    known = [*COLUMNS, MASK] if MASK in table else list(COLUMNS)
    text = [name for name in known if name != "age"]
    table[text] = table[text].astype(str)
    return table[known].sort_values("path", ignore_index=True)


def read_csv(path: Path | str) -> pd.DataFrame:
    """A record table that a run wrote with `atomic_files.write_csv`."""
    return make_index(atomic_files.read_csv(path))


def is_labelled(index: pd.DataFrame) -> np.ndarray:
    """bool array: the record has a label at some level."""
    return ((index["fine"] != "") | (index["coarse"] != "")).to_numpy()


def label_arrays(index: pd.DataFrame, taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers of each record.

    Returns:
        Two int64 arrays (n,): fine and coarse; -1 where a label is unknown.
    """
    fine = pd.Index(taxonomy.fine).get_indexer(pd.Index(index["fine"])).astype(np.int64)
    coarse = pd.Index(taxonomy.coarse).get_indexer(pd.Index(index["coarse"])).astype(np.int64)
    return fine, coarse


def group_ids(index: pd.DataFrame, group_by: str = "auto") -> np.ndarray:
    """The group of each record, which must not cross two splits.

    `auto` takes the patient where it is known, else the lesion, else the photo itself; all
    photos of a lesion are in one group, also where only some of them name the patient.

    Returns:
        Object array (n,) of strings such as "lesion_id=HAM_0000118".
    """
    order = ("patient_id", "lesion_id", "path") if group_by == "auto" else (group_by, "path")
    groups = np.full(len(index), "", dtype=object)
    for column in order:
        known = (groups == "") & (index[column] != "").to_numpy()
        groups[known] = column + "=" + index[column].to_numpy(dtype=object)[known]
    return _join_lesions(groups, index["lesion_id"]) if group_by == "auto" else groups


def _join_lesions(groups, lesions):
    """The groups, with those that share a lesion joined under one name."""
    pairs = pd.DataFrame({"group": groups, "lesion": lesions.to_numpy(dtype=object)})
    pairs = pairs[pairs["lesion"] != ""].drop_duplicates()
    pairs = pairs[pairs.duplicated("lesion", keep=False)]
    leader = {}

    def find(group):
        while group in leader:
            group = leader[group]
        return group

    for _, same in pairs.groupby("lesion")["group"]:
        first, *others = sorted({find(group) for group in same}, reverse=True)  # patients first
        leader |= dict.fromkeys(others, first)
    return np.array([find(group) for group in groups], dtype=object)


def data_hash(dataset: Dataset) -> str:
    """12 hex digits over what the records are and say: names, file sizes and every column.

    File sizes, of photos and their masks, stand for the pixels: reading 100,000 photos only to
    hash them would take as long as an epoch. A file edited to the very same number of bytes goes
    unnoticed. (Photos in an npz file have its array's checksum instead.)
    """
    digest, table = hashlib.sha256(), dataset.index
    masks = dataset.mask_files or [""] * len(table)
    if not any(masks):  # then the column says nothing
        table = table.drop(columns=MASK, errors="ignore")
    files = (each for pair in zip(dataset.files, masks) for each in pair if each)
    marks = (photo.mark for photo in photo_bytes.stored_all(files))
    for start in range(0, len(table), ROWS):
        part = slice(start, start + ROWS)
        columns = [map(str, table[name].iloc[part].to_numpy(object)) for name in table]
        for mask, *row in zip(masks[part], *columns):
            own = (next(marks), next(marks)) if mask else (next(marks),)
            digest.update(repr((*own, *row)).encode())
    return digest.hexdigest()[:12]


def check_files(dataset: Dataset, where: str) -> None:
    """Every photo of the table exists, or a `UserError` names the first that does not."""
    missing = photo_bytes.missing(dataset.files)
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise UserError(
            f"{where}: image '{missing[0]}' not found{more}; correct the table or add the file"
        )

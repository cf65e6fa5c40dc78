"""A finished run: its settings, records, photos and model."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dermssl.core import config as configs
from dermssl.core import runs
from dermssl.core.commands import SECTIONS
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import masks, paths, photo_bytes, preprocess, records
from dermssl.data.photos import Photos
from dermssl.data.records import COLUMNS, MASK, Dataset
from dermssl.evaluation import predictions

if TYPE_CHECKING:
    import keras

    from dermssl.models.classifier import LesionClassifier

POOL = "pool.csv"  # the records of a pretraining run
# The sections that a run of a command must have.
NEEDED = {"pretrain": ("backbone", "data"), "finetune": ("backbone", "finetune", "data")}


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A finished run. `load` makes one.

    Attributes:
        path: the run's folder.
        command: the command that made it, e.g. "finetune".
        status: dict, the content of its status.json.
        settings: dict of section name -> dataclass, "seed" -> int: what the run began with.
    """

    path: Path
    command: str
    status: dict[str, Any]
    settings: dict[str, Any]

    @property
    def data(self) -> Data:
        """Its settings of the data."""
        return self.settings["data"]

    @property
    def image_size(self) -> int:
        """The side of the network's input, pixels."""
        return self.settings["backbone"].image_size

    @functools.cached_property
    def predictions(self) -> predictions.Predictions:
        """Its predictions.csv, checked."""
        return predictions.read(self.path)

    @property
    def taxonomy(self) -> Taxonomy | None:
        """Its classes; None for a pretraining run."""
        return None if self.command == "pretrain" else self.predictions.taxonomy

    def records(self, split: str | None = None) -> pd.DataFrame:
        """The table of its predictions, or of its pretraining set; of one split or of all."""
        if self.command == "pretrain":
            table = records.read_csv(self.path / POOL)
        else:
            table = self.predictions.table
        return table if split is None else table[table["split"] == split].reset_index(drop=True)

    def dataset(
        self, table: pd.DataFrame | None = None, split: str | None = None,
        moved: Path | str | None = None,
    ) -> Dataset:  # fmt: skip
        """Its records as a `Dataset` with files.

        Args:
            table: rows of `records()`; None for all of them, or those of `split`.
            split: "train", "validation" or "test"; None for all.
            moved: the data folder now, if it isn't where the run found it.

        Returns:
            `Dataset`, its rows in the order of the table.

        Raises:
            UserError: the folder or a photo isn't there; a path leads out of the folder.
        """
        table = self.records(split) if table is None else table
        return located(table, self.taxonomy, self.data, moved)

    def there(self, table: pd.DataFrame, moved: Path | str | None = None) -> np.ndarray:
        """Which photos of a table are still there, with the masks that a run which crops needs.

        Args:
            table: rows of `records()`.
            moved: as for `dataset`.

        Returns:
            bool (n,).

        Raises:
            UserError: the folder isn't there.
        """
        root, second = _root(self.data, moved), _second(self.data)
        there = _there(root, table["path"], second)
        if MASK in table and preprocess.CROP in self.data.preprocess:
            there &= _there(root, table[MASK], second) | (table[MASK] == "").to_numpy()
        return there

    def photos(self, dataset: Dataset, cache_mb: int = 0, prepared: bool = True) -> Photos:
        """The photos of a data set as the run saw them.

        Args:
            dataset: `Dataset`, from `dataset`.
            cache_mb: int, memory to use, MiB.
            prepared: False to crop at most, and leave the other steps to the caller.

        Returns:
            `Photos`.
        """
        steps = self.data.preprocess
        if not prepared:
            steps = [name for name in steps if name == preprocess.CROP]
        mask_files = masks_of(dataset) if preprocess.CROP in steps else None
        return Photos(dataset.files, self.image_size, cache_mb, steps=steps, mask_files=mask_files)

    def model(self) -> LesionClassifier:
        """The classifier of a fine-tuning run, with its weights."""
        from dermssl.models import weights

        return weights.load_classifier(self.path)

    def backbone(self) -> keras.Model:
        """The backbone with its weights: (n, size, size, 3) in [0, 255] -> float (n, d)."""
        from dermssl.models import backbones, weights

        if self.command == "finetune":
            return self.model().backbone
        start, _ = weights.resolve(self.start())
        backbones.use_precision(start)
        return backbones.build(start)

    def start(self) -> Any:
        """`settings.Backbone` of a run that begins with the weights of this pretraining run."""
        return replace(self.settings["backbone"], weights=str(self.path))


def load(path: Path | str, command: str | None = None) -> FinishedRun:
    """A finished run.

    Args:
        path: the run's folder.
        command: str, the command that must have made it; None for any.

    Returns:
        `FinishedRun`. Settings that the run's version did not have are at their defaults.

    Raises:
        UserError: no finished run of this command is there, or its settings are damaged.

    Example:

    >>> run = load("outputs/ssl_finetuned")
    >>> run.model().predict_proba(np.zeros((1, 32, 32, 3)))["fine"].shape
    (1, 7)
    """
    path = Path(path)
    status = runs.finished(path, command)
    runs.finished(path, command, NEEDED.get(status["command"], ("backbone", "data")))
    settings = {
        name: configs.build(SECTIONS[name], value, path) if name in SECTIONS else value
        for name, value in status["config"].items()
    }
    return FinishedRun(path, status["command"], status, settings)


def located(
    table: pd.DataFrame, taxonomy: Taxonomy | None, data: Data, moved: Path | str | None = None
) -> Dataset:
    """The records of a table as a `Dataset` with files; see `FinishedRun.dataset`."""
    root = _root(data, moved)
    index = table[[name for name in (*COLUMNS, MASK) if name in table]].reset_index(drop=True)
    second = _second(data)
    there = _there(root, index["path"], second)
    if not there.all():
        gone = index["path"][~there]
        raise UserError(
            f"data.path {root}: {len(gone)} of {len(index)} photos of the run aren't there, "
            f"such as '{gone.iloc[0]}'; give the folder the run was made with"
        )
    if MASK in index:
        index[MASK] = _masks(root, index[MASK], second, data)
    return Dataset(root, index, taxonomy)


def _root(data, moved):
    """The real path of the folder of a run's photos."""
    path = moved or data.path
    try:
        return paths.existing_folder(path, "data.path")
    except UserError as error:
        if moved or os.path.exists(path):  # damaged shards say what they lack
            raise
        raise UserError(
            f"{path}: the run's photos aren't there any more; say where with data.path"
        ) from error


def _there(root, names, second):
    return np.array([_is_there(root, name, second) for name in names], dtype=bool)


def _masks(root, column, second, data):
    """The column `mask` without files that aren't there; a run that crops must have them."""
    there = [not name or _is_there(root, name, second) for name in column]
    if not all(there) and preprocess.CROP in data.preprocess:
        gone = column[~np.array(there, dtype=bool)]
        raise UserError(
            f"data.path {root}: {len(gone)} masks of the run aren't there, such as "
            f"'{gone.iloc[0]}'; it learnt from photos cropped to them, so put them back"
        )
    return column.where(there, "")


def _second(data):
    """The real path of the run's second folder of photos, or None."""
    try:
        return paths.existing_folder(data.unlabelled, "data.unlabelled")
    except UserError:  # not given, or gone
        return None


def _is_there(root, name, second):
    """Whether a photo is below the data folder, or below the run's second one."""
    real = Path(root, name).resolve()  # also of a photo in a container
    inside = paths.is_inside(root, str(real)) or (second and paths.is_inside(second, str(real)))
    return bool(inside) and photo_bytes.is_there(real)


def masks_of(dataset: Dataset) -> list[str]:
    """The mask of each photo: list of full paths, "" for none.

    Those that the run used. Where its tables have no masks, what the data folder says now.
    """
    if dataset.mask_files is not None:
        return dataset.mask_files
    found = masks.MaskIndex(dataset.root).of(dataset.index["path"])
    return [str(dataset.root / path) if path else "" for path in found]


def stratified_subset(labels: Any, count: int, seed: int = 0) -> np.ndarray:
    """Positions of at most `count` records, as evenly over the classes as they allow.

    Every class is shuffled by the seed alone, then each gives one record in turn until there
    are enough; so a smaller count is a subset of a larger one.

    Args:
        labels: sequence (n,) of hashable labels.
        count: int; 0 takes all.
        seed: int.

    Returns:
        int64 array, ascending.
    """
    labels = np.asarray(labels)
    if not count or count >= len(labels):
        return np.arange(len(labels))
    shuffled = np.random.Generator(np.random.Philox(key=seed)).permutation(len(labels))
    turn = np.zeros(len(labels), dtype=np.int64)
    for name in np.unique(labels):
        own = shuffled[labels[shuffled] == name]
        turn[own] = np.arange(len(own))
    place = np.empty_like(shuffled)
    place[shuffled] = np.arange(len(labels))
    return np.sort(np.lexsort((place, turn))[:count])

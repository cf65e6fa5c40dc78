"""Read a grid's predictions as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.data import records as index
from dermssl.studies.grid import rows as grid_rows

CellKey = tuple[str, str, int]  # model, augmentation, depth


@dataclass(frozen=True, eq=False)
class GridResults:
    """A grid that ran, or as much of it as did.

    Attributes:
        rows: the last row of each cell (and seed and fold).
        records: of the test photos, over all folds, in the order of `p`.
        root: that `records["path"]` starts at.
        y: int (n,), true classes.
        groups: object (n,), what isn't independent.
        p: of each cell and seed, float (n, classes).
        losses: of each cell a list of float (epochs,), one a seed and fold.
        status: of the run.
    """

    rows: pd.DataFrame
    taxonomy: taxonomies.Taxonomy
    records: pd.DataFrame
    root: Path
    y: np.ndarray
    groups: np.ndarray
    p: dict[CellKey, dict[int, np.ndarray]]
    losses: dict[CellKey, list[np.ndarray]]
    status: dict[str, Any]

    @property
    def models(self) -> list[str]:
        """In the order of the config, those with a finished cell."""
        wanted = self.status["config"]["grid"]["models"]
        return [name for name in wanted if any(key[0] == name for key in self.p)]

    def augmentations(self, model: str) -> list[str]:
        """In the order of the config."""
        wanted = self.status["config"]["grid"]["augmentations"]
        return [name for name in wanted if any(key[:2] == (model, name) for key in self.p)]

    def depths(self, model: str) -> list[int]:
        """Ascending, "all" (-1) last."""
        return _ascending({key[2] for key in self.p if key[0] == model})

    def planned(self, model: str, axis: str) -> list[Any]:
        """The values of "depth" or "augmentation", of cells without a result too."""
        if axis == "augmentation":
            return self.status["config"]["grid"]["augmentations"]
        return _ascending(set(self.rows["depth"][self.rows["model"] == model]))

    @property
    def seeds(self) -> list[int]:
        """In the order of the config."""
        return self.status["config"]["grid"]["seeds"]

    def whole(self, model: str) -> list[CellKey]:
        """Keys of one model's cells that have all their seeds, in the order of the tables."""
        keys = [
            (model, name, depth) for name in self.augmentations(model)
            for depth in self.depths(model)
        ]  # fmt: skip
        return [key for key in keys if self.is_whole(key)]

    def is_whole(self, key: CellKey) -> bool:
        """Whether a cell has all its seeds."""
        return set(self.seeds) <= set(self.p.get(key, ()))

    def by_seed(self, key: CellKey) -> list[np.ndarray]:
        """list of float (n, classes), one a seed, of a whole cell."""
        return [self.p[key][seed] for seed in self.seeds]


def _ascending(depths):
    return sorted(map(int, depths), key=lambda depth: (depth < 0, depth))


def read(folder: Path | str) -> GridResults:
    """`GridResults` from a folder that `dermssl.grid` wrote."""
    folder = Path(folder)
    if not (folder / grid_rows.RESULTS).exists():
        raise UserError(f"{folder}: no {grid_rows.RESULTS}; is this the folder of a grid?")
    status = runs.read_json(folder / "status.json")
    rows = grid_rows.read(folder / grid_rows.RESULTS, status)
    names = taxonomies.from_dict(runs.read_json(folder / "taxonomy.json"), "taxonomy.json")
    table = atomic_files.read_csv(folder / grid_rows.RECORDS)
    table = table[table["split"] == index.TEST].reset_index(drop=True)
    y, _ = index.label_arrays(table, names)
    groups = index.group_ids(table, status["config"]["data"]["group_by"])
    p, losses = _cells(folder, rows, table)
    root = Path(runs.read_json(folder / "root.json")["root"])
    return GridResults(rows, names, table, root, y, groups, p, losses, status)


def _cells(folder, rows, table):
    """The predictions by cell and seed; folds are put together, an incomplete set left out."""
    n_folds = table["fold"].nunique()
    p, losses = {}, {}
    finished = rows[rows["status"] == runs.FINISHED]
    by = ["model", "augmentation", "depth", "seed"]
    for (model, augmentation, depth, seed), part in finished.groupby(by, sort=True):
        if len(part) < n_folds:
            continue
        part = part.sort_values("fold")
        read_cells = [grid_rows.read_cell(folder, name) for name in part["cell"]]
        key = (model, augmentation, int(depth))
        p.setdefault(key, {})[int(seed)] = np.concatenate([each[0] for each in read_cells])
        losses.setdefault(key, []).extend(each[1] for each in read_cells)
    return p, losses

"""The results of a grid's cells: one row and one file of predictions each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import bootstrap, metrics
from dermssl.evaluation.interval import Interval
from dermssl.reporting import results_csv

if TYPE_CHECKING:
    from dermssl.core.settings import Grid
    from dermssl.studies.grid.plan import Cell, ModelPlan
    from dermssl.studies.grid.train import CellResult

RESULTS = "results.csv"
RECORDS = "records.csv"
CELLS = "cells"


def row(
    path: Path | str,
    status: dict[str, Any],
    cell: Cell,
    plan: ModelPlan,
    grid: Grid,
    trained: CellResult | None = None,
    intervals: Mapping[str, Interval] | None = None,
    n_test: int | None = None,
) -> dict[str, Any]:
    """A cell as a flat dict: `results_csv.row` and what makes the cell.

    Args:
        path: folder of the grid.
        status: dict with `status`, `reason`, `seconds`, `n_labels` and what the run's
            status.json says of config, data and versions.
        cell: `grid_plan.Cell`.
        plan: `grid_plan.ModelPlan`.
        grid: `config.Grid`.
        trained: `cells.Trained`, None where the cell failed.
        intervals: dict of metric -> `Interval`, None where it failed.
        n_test: int or None.

    Returns:
        dict with the same keys for every cell.
    """
    manifest = plan.manifests[cell.depth]
    status = status | {
        "command": "grid",
        "arm": plan.source,
        "seed": cell.seed,
        "config": {"backbone": {"name": cell.model, "image_size": plan.start.image_size}},
        "unfrozen_layers": manifest.kernels,
        "parameters": trained.parameters if trained else math.nan,
        "trainable_parameters": trained.trainable_parameters if trained else math.nan,
    }
    losses = trained.losses if trained else [math.nan]
    counts = {"n": n_test, "n_fine": n_test} if n_test else None
    return {
        "cell": cell.name,
        "model": cell.model,
        "depth": cell.depth,
        "augmentation": cell.augmentation,
        "fold": math.nan if cell.fold is None else cell.fold,
        "depth_unit": grid.depth_unit,
        "batchnorm": grid.batchnorm,
        "epochs": grid.epochs,
        "learning_rate": grid.learning_rate,
        "shared_trunk": int(grid.shared_trunk and cell.depth >= 0),
        "unfrozen_kernels": len(manifest.kernels),
        "trains_no_kernel": int(not manifest.kernels),
        "first_loss": losses[0],
        "last_loss": losses[-1],
        **results_csv.row(path, status, "test", counts, intervals),
    }


def intervals(
    labels: np.ndarray,
    probabilities: np.ndarray,
    taxonomy: Taxonomy,
    groups: np.ndarray,
    n_resamples: int,
) -> dict[str, Interval]:
    """Every metric of a cell, with its bootstrap interval over lesions.

    A grid's classes stand under no coarse ones: coarse figures would repeat the fine ones.
    """
    plan = metrics.plan(labels, None, probabilities, taxonomy)
    plan = {name: one for name, one in plan.items() if not name.startswith("coarse_")}
    draws = bootstrap.score(plan, groups, n_resamples=n_resamples)
    return {name: one.interval() for name, one in draws.items()}


def write_cell(folder: Path, cell: Cell, trained: CellResult) -> None:
    """The cell's predictions of the test photos and its losses, in `cells/NAME.npz`."""
    with atomic_files.atomic_write(folder / CELLS / f"{cell.name}.npz") as temporary:
        np.savez_compressed(
            temporary,
            probabilities=trained.probabilities.astype(np.float32),
            losses=np.array(trained.losses),
        )


def read_cell(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities float64 (n, classes), losses (epochs,)) of a cell."""
    with np.load(folder / CELLS / f"{name}.npz") as arrays:
        p = arrays["probabilities"].astype(np.float64)
        return p / p.sum(axis=1, keepdims=True), arrays["losses"]


def belongs(row: dict[Any, Any], status: dict[str, Any]) -> bool:
    """Whether a row is of the config and data that the run's status.json has."""
    return all(row[name] == status[name] for name in ("config_hash", "data_hash"))


def read(path: Path | str, status: dict[str, Any]) -> pd.DataFrame:
    """The rows of a grid, the last of each cell.

    Args:
        path: of its results.csv.
        status: dict, from its status.json; rows of another config or data are left out.

    Returns:
        DataFrame, as from `results_csv.read_rows`.
    """
    rows = results_csv.read_rows(path)
    rows = rows[[belongs(row, status) for row in rows.to_dict("records")]]
    return rows.drop_duplicates("cell", keep="last").reset_index(drop=True)

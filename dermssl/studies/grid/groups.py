"""Train groups of cells that share a trunk, and score them: the tasks of a grid."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dermssl.core.settings import Data, Grid
from dermssl.data import photos, records
from dermssl.data.records import Dataset
from dermssl.evaluation.interval import Interval
from dermssl.studies.grid import plan as grid_plan
from dermssl.studies.grid import rows as grid_rows
from dermssl.studies.grid import train
from dermssl.studies.grid.plan import Cell, ModelPlan
from dermssl.studies.grid.train import CellResult, FoldData


@dataclass(frozen=True, eq=False)
class ScoredCell:
    """What a cell came to.

    Attributes:
        result: `CellResult`, None where it failed.
        intervals: dict of metric -> `Interval`, None where it failed or diverged.
        reason: str, why it failed; "" where it did not.
        seconds: float, its share of the time of its group.
    """

    result: CellResult | None
    intervals: Mapping[str, Interval] | None
    reason: str
    seconds: float


def groups_of(todo: Sequence[Cell], grid: Grid) -> list[list[Cell]]:
    """Cells that are trained together: on a trunk, those that differ in depth alone.

    Those that are trained alone come last of their model, when the trunk isn't needed any more.
    """
    groups: dict[tuple, list[Cell]] = {}
    for cell in todo:
        alone = not grid.shared_trunk or cell.depth == grid_plan.ALL
        depth = cell.depth if alone else None
        key = (cell.model, cell.fold, cell.seed, cell.augmentation, depth)
        groups.setdefault(key, []).append(cell)
    models = list(dict.fromkeys(cell.model for cell in todo))
    order = sorted(groups, key=lambda key: (models.index(key[0]), key[-1] is not None))
    return [groups[key] for key in order]


class GroupTrainer:
    """Trains one group after the other; keeps the trunk, its features and the photos between them.

    Args:
        plans: of every model.
        folds: the data of each fold.
        data: where the photos are and how they are read.
        grid: how cells are trained.
    """

    def __init__(
        self, plans: Sequence[ModelPlan], folds: Sequence[Dataset], data: Data, grid: Grid
    ) -> None:
        self._plans = {plan.name: plan for plan in plans}
        self._folds, self._data, self._grid = folds, data, grid
        self._model: str | None = None
        self._trunk: train.SharedCells | None = None
        self._materials: dict[int | None, FoldData] = {}  # of one fold at most

    def __call__(self, group: Sequence[Cell]) -> list[ScoredCell]:
        """Train and score the cells of a group, in its order."""
        first = group[0]
        if first.model != self._model:  # the last model's go before memory is given back
            self._model, self._trunk, self._materials = first.model, None, {}
            train.free_memory()
        if first.fold not in self._materials:
            self._materials = {first.fold: self._material(first)}
        began, reason, n_trained = time.time(), "", len(group)
        results: list[CellResult | None] = [None] * len(group)
        try:
            results, n_trained = self._train(group)
        except train.FAILURES as error:
            reason, self._trunk = train.failure_message(error), None
        if reason:  # here the error is gone, and with it what it held on to
            train.free_memory()
        seconds = round((time.time() - began) / n_trained, 2)
        return [
            ScoredCell(result, self._intervals(first, result), reason, seconds)
            for result in results
        ]

    def _train(self, group):
        """The `CellResult` of each cell, and how many cells shared the time."""
        first, grid = group[0], self._grid
        plan, material = self._plans[first.model], self._materials[first.fold]
        if grid.shared_trunk and first.depth != grid_plan.ALL:
            depths = [depth for depth in plan.depths if depth != grid_plan.ALL]
            self._trunk = self._trunk or train.SharedCells(
                plan.start, depths, grid, material.taxonomy
            )
            results = self._trunk.train(first.augmentation, first.seed, material)
            by_depth = dict(zip(depths, results))
            return [by_depth[cell.depth] for cell in group], len(results)
        self._trunk = None
        train.free_memory()
        result = train.train_plain(
            plan.start, first.depth, first.augmentation, first.seed, material, grid
        )
        return [result], 1

    def _material(self, cell):
        """Photos and labels of a cell's fold at its model's size."""
        fold, size = self._folds[cell.fold or 0], self._plans[cell.model].start.image_size
        rows = (fold.index["split"] == records.TRAIN).to_numpy().nonzero()[0]
        labels, _ = records.label_arrays(fold.index.iloc[rows], fold.taxonomy)
        return FoldData(
            train=photos.photos_of(fold.subset(records.TRAIN), self._data, size, share=0.5),
            test=photos.photos_of(fold.subset(records.TEST), self._data, size, share=0.5),
            records=rows, labels=labels, taxonomy=fold.taxonomy, size=size,
        )  # fmt: skip

    def _intervals(self, cell, result):
        if result is None or result.diverged:
            return None
        fold = self._folds[cell.fold or 0]
        test = fold.subset(records.TEST)
        labels, _ = records.label_arrays(test.index, fold.taxonomy)
        groups = records.group_ids(test.index, self._data.group_by)
        return grid_rows.intervals(
            labels, result.probabilities, fold.taxonomy, groups, self._grid.n_resamples
        )

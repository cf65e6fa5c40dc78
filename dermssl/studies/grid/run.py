"""Train what is missing of a grid cell by cell, and write its report."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

from dermssl.core import atomic_files, executor, progress, runs
from dermssl.core.commands import COMMANDS
from dermssl.core.errors import RunFailed
from dermssl.core.settings import Executor
from dermssl.data import readers, records
from dermssl.models import weights
from dermssl.reporting import results_csv
from dermssl.reporting.report import Report
from dermssl.reporting.wording import count
from dermssl.studies.grid import data as selection
from dermssl.studies.grid import plan as grid_plan
from dermssl.studies.grid import report
from dermssl.studies.grid import rows as grid_rows
from dermssl.studies.grid.data import joined
from dermssl.studies.grid.groups import GroupTrainer, groups_of
from dermssl.training import mlflow_log, pretraining_pool, run_setup, tensorboard

OUTPUT = COMMANDS["grid"].output
FROM_NOTHING = "starts from nothing, so that all its layers train: depths are for other starts"


def train_grid(config: dict[str, Any], dataset: Any = None) -> tuple[Path, Report | None]:
    """Train what is missing of a grid, and write its report.

    Args:
        config: settings from `core.config.configure`.
        dataset: `Dataset` without splits, where the caller has one already.

    Returns:
        the folder, and its report (None for a dry run). In the folder: `results.csv`, a
        `pivot_MODEL.csv` a model, `report.md`,
        `cells/`, `records.csv`, `tensorboard/`, `config.toml`, `status.json`.

    Raises:
        UserError: bad input, before any training.
        RunFailed: some cells failed; their rows say why.
    """
    if config["grid"].dry_run:
        dry_run(config, dataset)
        return Path(config["output"] or OUTPUT), None
    mlflow_log.check(config)
    overwrite = config.get("overwrite", False)
    plans, folds = _planned(config, dataset)
    for pretrained in dict.fromkeys(plan.pretrained for plan in plans):
        pretraining_pool.warn(pretrained, config["data"].preprocess)
    identity = records.data_hash(folds[0].with_index(joined(folds)))
    start = " ".join(f"{plan.name}={weights.fingerprint(plan.start)}" for plan in plans)
    output = config["output"] or OUTPUT
    classes = folds[0].taxonomy.fingerprint
    with (
        runs.open_run(output, "grid", config, identity, overwrite, start, classes) as made,
        mlflow_log.tracked(made, config, "grid"),
    ):
        if overwrite:
            _clear(made)
        (made / grid_rows.CELLS).mkdir(exist_ok=True)
        atomic_files.write_json(made / "taxonomy.json", folds[0].taxonomy.as_dict())
        atomic_files.write_csv(made / grid_rows.RECORDS, joined(folds))
        atomic_files.write_json(made / "root.json", {"root": str(folds[0].root)})
        if made.status["status"] != runs.FINISHED:
            _train_missing(made, config, plans, folds)
        rows = grid_rows.read(made / grid_rows.RESULTS, made.status)
        failed = int((rows["status"] == runs.FAILED).sum())
        written = report.write(made.path)
        if failed:
            raise RunFailed(
                f"{made.path}: {failed} of {len(rows)} cells failed; results.csv says why, "
                "the same command tries them again"
            )
        if made.status["status"] != runs.FINISHED:
            made.set_status(runs.FINISHED, cells=len(rows))
    return made.path, written


def _planned(config, dataset, timed=False):
    """The plan of each model and the data of each fold; refuses what can't be trained."""
    plans = grid_plan.plan_models(config["grid"], timed)
    folds = _data(config, dataset)
    for plan in plans:
        for fold in folds:
            pretraining_pool.check(plan.pretrained, fold)
    return plans, folds


def _data(config, dataset):
    """One `Dataset` a fold, every photo of it checked."""
    return selection.select(dataset or readers.read(config["data"]), config["grid"], config["data"])


def _clear(made):
    """Remove what another grid left in the folder; files of others stay."""
    if not (made / grid_rows.RESULTS).exists():
        return
    (made / grid_rows.RESULTS).unlink()  # first: no row without its cell's file
    for name in (grid_rows.CELLS, "tensorboard"):
        shutil.rmtree(made / name, ignore_errors=True)
    for pattern in report.MADE:
        for file in made.path.glob(pattern):
            file.unlink()


def _done(made):
    """Names of the cells that need no more training. Rows of failed ones give way to new ones."""

    def counts(row):
        return row["status"] != runs.FAILED and grid_rows.belongs(row, made.status)

    path = made / grid_rows.RESULTS
    if not path.exists():
        return set()
    results_csv.keep_rows(path, counts)
    return set(results_csv.read_rows(path)["cell"])


def _train_missing(made, config, plans, folds):
    """Train what is missing, group by group, and write each cell as it arrives."""
    grid, done = config["grid"], _done(made)
    every = [cell for plan in plans for cell in grid_plan.cells_of(plan, grid)]
    todo = [cell for cell in every if cell.name not in done]
    sizes = [_n(fold) for fold in folds]
    if todo:
        progress.log_progress(
            f"{count(len(todo), 'cell')} of {count(grid.epochs, 'epoch')}, {grid.image_size} px, "
            f"on {run_setup.device()}, float32: {sizes[0][0]:,} training photos; weights "
            f"{', '.join(f'{plan.name} {plan.source}' for plan in plans)}; time: measuring, shown "
            "after the first cells; shorter: grid.dry_run shows the plan, grid.epochs, "
            "grid.image_size, grid.depths or grid.augmentations"
        )
    work = {cell: _work(cell, plans, grid, sizes[cell.fold or 0]) for cell in todo}
    shown, n_done = progress.Progress("grid", sum(work.values())), len(every) - len(todo)
    for plan in plans:
        if plan.from_nothing:
            progress.log_progress(f"{plan.name} {FROM_NOTHING}")
    groups = groups_of(todo, grid)
    tasks = [executor.Task(grid_plan.group_title(group), group) for group in groups]

    def announce(task):
        last = n_done + len(task.argument)
        shown.announce(f"[{n_done + 1}-{last}/{len(every)}] {task.key}")

    trainer = GroupTrainer(plans, folds, config["data"], grid)
    results = executor.run(trainer, tasks, _executor(config), _reads(plans, folds), None, announce)
    with contextlib.closing(results):
        for task, scored in results:
            for cell, one in zip(task.argument, scored):
                _append(made, cell, plans, config, folds[cell.fold or 0], one)
                shown.done += work[cell]
            n_done += len(scored)


def _executor(config):
    return config.get("executor", Executor())


def _reads(plans, folds):
    """The files and folders that cells are trained from."""
    files = [Path(plan.start.weights) for plan in plans]
    return [folds[0].root, *(file for file in files if file.exists())]


def _n(fold):
    """(training photos, test photos)."""
    counts = fold.index["split"].value_counts()
    return int(counts["train"]), int(counts["test"])


def _work(cell, plans, grid, sizes):
    """Seconds of a cell by the network's parameters: rough, but comparable between models."""
    plan = next(plan for plan in plans if plan.name == cell.model)
    passes = grid_plan.work_of(cell, grid, grid.shared_trunk, *sizes)
    return passes * (plan.forward or plan.parameters)


def _append(made, cell, plans, config, fold, scored):
    """The cell's files, then its row: a row without its files can't be."""
    grid, result, reason = config["grid"], scored.result, scored.reason
    state, n_test = runs.FAILED, None
    if result is not None:
        grid_rows.write_cell(made.path, cell, result)
        state, n_test = runs.FINISHED, len(result.probabilities)
        if result.diverged:
            state, reason = (
                runs.DIVERGED,
                "a loss or a probability is no number; try a lower grid.learning_rate",
            )
    losses = result.losses if result else []
    tensorboard.write_cell(made / "tensorboard" / cell.name, cell, losses, scored.intervals or {})
    status = {key: made.status.get(key, "") for key in ("config_hash", "data_hash")}
    status |= {"versions": runs.versions(), "n_labels": _n(fold)[0]}
    status |= {"status": state, "reason": reason or None, "seconds": scored.seconds}
    plan = next(plan for plan in plans if plan.name == cell.model)
    row = grid_rows.row(made.path, status, cell, plan, grid, result, scored.intervals, n_test)
    results_csv.append_row(made / grid_rows.RESULTS, row)


def dry_run(config: dict[str, Any], dataset: Any = None) -> None:
    """Print the plan: cells, unfrozen kernels, parameters, estimated time. Trains nothing."""
    grid = config["grid"]
    plans, folds = _planned(config, dataset, timed=True)
    sizes = _n(folds[0])
    print(f"{sizes[0]} training and {sizes[1]} test photos"
          f"{f', {len(folds)} folds' if len(folds) > 1 else ''}; "
          f"classes: {', '.join(folds[0].taxonomy.fine)}")  # fmt: skip
    total, n_cells = 0.0, 0
    for plan in plans:
        cells = grid_plan.cells_of(plan, grid)
        seconds = sum(_work(cell, plans, grid, sizes) for cell in cells) + grid_plan.TRACING
        what = f"{len(cells)} cells, {plan.start.image_size} px, weights {plan.source}"
        cost = progress.duration(seconds)
        print(f"{plan.name}: {what}, {plan.parameters:,} parameters, about {cost}")
        print(f"  {FROM_NOTHING}\n" if plan.from_nothing else "", end="")
        for depth, manifest in plan.manifests.items():
            name = "all" if depth == grid_plan.ALL else depth
            names = ", ".join(manifest.kernels[:4]) + (" ..." if len(manifest.kernels) > 4 else "")
            kernels = names or "NO KERNEL: trains the head and at most BatchNorm"
            print(f"  depth {name}: {manifest.parameters:,} backbone parameters train; {kernels}")
        total, n_cells = total + seconds, n_cells + len(cells)
    print(f"{n_cells} cells, about {progress.duration(total)} on this machine")

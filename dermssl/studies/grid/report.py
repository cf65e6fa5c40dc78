"""The report of a grid. It reads files and loads no model."""

import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.evaluation import metrics
from dermssl.reporting import figures, report, wording
from dermssl.studies.grid import figures as figures_grid
from dermssl.studies.grid import findings as grid_findings
from dermssl.studies.grid import read

TEMPLATE = "grid_report.md"
# What `write` leaves in a grid's folder, as patterns of names.
MADE = (
    "report.md", "report.html", "pivot_*.csv", "heat_map.png", "curves.png", "confusion_*.png",
    "hits_*.png", "misses_*.png",
)  # fmt: skip
NO_BEST = {"best": "", "wins": False, "ties": [], "against": [], "hits": None, "misses": None}


def write(folder):
    """Write `report.md`, `report.html`, a `pivot_MODEL.csv` a model, and the pictures.

    Args:
        folder: of a grid; one that was stopped gives the report of what is there.

    Returns:
        Path of `report.md`.
    """
    folder = Path(folder)
    grid = read.read(folder)
    failures = grid.rows[grid.rows["status"] != runs.FINISHED]
    bests = grid_findings.bests(grid)
    models = [_model(folder, grid, name, bests.get(name)) for name in grid.models]
    if models:
        _pictures(folder, grid)
    settings = grid.status["config"]["grid"]
    return report.write(
        folder / "report.md",
        TEMPLATE,
        models=models,
        between=_between(grid),
        failures=failures[["cell", "status", "reason"]].to_dict("records"),
        no_kernel=_without_kernel(grid),
        n_test=len(grid.y),
        n_groups=len(set(grid.groups)),
        classes=[f"{t} ({n})" for t, n in zip(grid.taxonomy.titles, np.bincount(grid.y))],
        seeds=settings["seeds"],
        folds=settings["folds"],
        settings=settings,
        data_hash=grid.status["data_hash"],
        config_hash=grid.status["config_hash"],
        versions=report.versions(grid.status),
        mixed_versions=_mixed_versions(grid.rows),
        seconds=float(grid.rows["seconds"].sum()),
        n_cells=len(grid.rows),
        command=shlex.join(["python", "-m", "dermssl.grid", "--config", "config.toml"]),
    )


def findings(folder):
    """The findings of a grid's report as plain lines: no pictures, no signs of Markdown."""
    text = (Path(folder) / "report.md").read_text(encoding="utf-8")
    return report.for_console(text.split("## Findings")[1].split("\n## ")[0])


def pivot(grid, model):
    """Mean accuracy by augmentation (rows) and depth (columns); NaN where a seed is missing."""
    cells, whole = grid_findings.cells(grid, model), set(grid.whole(model))
    table = {
        _depth(depth): [
            cells[key].mean if (key := (model, name, depth)) in whole else np.nan
            for name in grid.augmentations(model)
        ]
        for depth in grid.depths(model)
    }
    return pd.DataFrame(table, index=pd.Index(grid.augmentations(model), name="augmentation"))


def _depth(depth):
    return "all" if depth < 0 else str(depth)


def _between(grid):
    """What is said of the models against each other: a list of a sentence or none."""
    reference, effects = grid_findings.model_effects(grid)
    return [grid_findings.effect_sentence("model", reference, effects)] if effects else []


def _mixed_versions(rows):
    """The versions that cells were trained under, where these differ."""
    found = rows["versions"].dropna().unique().tolist()
    return found if len(found) > 1 else []


def _model(folder, grid, model, top):
    """What the template needs of one model; `top` is its `Best`, or None."""
    cells, table = grid_findings.cells(grid, model), pivot(grid, model)
    atomic_files.write_csv(folder / f"pivot_{model}.csv", table.reset_index())
    rows = grid.rows[grid.rows["model"] == model]
    planned = grid.status["config"]["grid"]["depths"]
    n_seeds, whole = len(grid.seeds), grid.whole(model)
    means = [cells[key].mean for key in whole]
    return {
        "name": model,
        "weights": str(rows["arm"].iloc[0]),
        "image_size": int(rows["image_size"].iloc[0]),
        "depths": list(table.columns),
        "trained_whole": (rows["depth"] < 0).all() and -1 not in planned,
        "rows": [
            (name, [_text(cells.get((model, name, d)), top, n_seeds) for d in grid.depths(model)])
            for name in grid.augmentations(model)
        ],
        "mean": float(np.mean(means)) if means else np.nan,
        "sentences": grid_findings.sentences(grid, model, top),
        "layers": _layers(rows),
        "seconds": float(rows["seconds"].sum()),
        "n_cells": len(rows),
        "n_whole": len(whole),
        **(_best(folder, grid, model, top) if top else NO_BEST),
    }


def _best(folder, grid, model, top):
    """What the template needs of a model's highest cell, and its pictures."""
    p = grid.by_seed(top.cell.key)
    matrix = sum(
        metrics.confusion_matrix(grid.y, each.argmax(axis=1), len(grid.taxonomy.fine)) for each in p
    )
    picture = f"confusion_{model}.png"
    figures.confusion(
        folder / picture, matrix, grid.taxonomy.fine, grid.taxonomy.titles,
        f"{model}, {grid_findings.describe(top.cell.key)}, sum over seeds", normalised=False,
    )  # fmt: skip
    p = np.mean(p, axis=0)
    return {
        "best": grid_findings.describe(top.cell.key),
        "accuracy": top.interval,
        "wins": top.is_clear,
        "ties": [grid_findings.describe(key) for key in top.ties],
        "against": [
            {
                "other": grid_findings.describe(each.other),
                "difference": each.difference,
                "p": wording.p_value(each.p, each.holm),
            }
            for each in top.against
        ],
        "confusion": picture,
        "hits": _photos(folder, grid, model, p, True),
        "misses": _photos(folder, grid, model, p, False),
    }


def _text(cell, top, n_seeds):
    """A table's cell: mean and spread; bold only for a best that clears all others."""
    if cell is None:
        return "n/a"
    spread = "" if np.isnan(cell.spread) else f" ± {cell.spread:.3f}"
    text = f"{cell.mean:.3f}{spread}"
    if cell.n_seeds < n_seeds:
        return f"{text} ({cell.n_seeds} of {n_seeds} seeds)"
    return f"**{text}**" if top and top.is_clear and cell.key == top.cell.key else text


def _layers(rows):
    """What each depth trains: (depth, trainable parameters, kernels), one row a depth."""
    finished_first = rows.sort_values("trainable_parameters", na_position="last", kind="stable")
    first = finished_first.drop_duplicates("depth").sort_values("depth")
    return [
        (_depth(row.depth), row.trainable_parameters, str(row.unfrozen_layers or "").split())
        for row in first.itertuples()
    ]


def _without_kernel(grid):
    """(model, depths) where no kernel trains."""
    flagged = grid.rows[grid.rows["trains_no_kernel"] == 1]
    return [
        (model, sorted({_depth(d) for d in part["depth"]}, key=lambda d: (len(d), d)))
        for model, part in flagged.groupby("model", sort=False)
    ]


def _photos(folder, grid, model, p, right):
    """The surest hits or misses: the picture's name and a line on each, or None."""
    rows = figures_grid.surest(p, grid.y, right)
    name = f"{'hits' if right else 'misses'}_{model}.png"
    files = [grid.root / path for path in grid.records["path"].iloc[rows]]
    if figures_grid.photo_row(folder / name, files) is None:
        return None
    titles = grid.taxonomy.titles
    lines = [
        f"{titles[grid.y[row]]}, called {titles[p[row].argmax()]} at {p[row].max():.2f}"
        for row in rows
    ]
    return {"file": name, "lines": lines}


def _pictures(folder, grid):
    panels = []
    for model in grid.models:
        table = pivot(grid, model)
        if grid.whole(model):
            panels.append((model, list(table.index), list(table.columns), table.to_numpy()))
    if panels:
        figures_grid.heat_map(folder / "heat_map.png", panels, "Mean accuracy on the test photos")
    rows = [
        [(f"{model}, {name}", _losses(grid, model, name)) for model in grid.models]
        for name in grid.planned(grid.models[0], "augmentation")
    ]
    figures_grid.curves(folder / "curves.png", rows, "Training loss, mean over seeds")


def _losses(grid, model, augmentation):
    """(label, mean loss by epoch) of each depth."""
    keys = [(model, augmentation, depth) for depth in grid.depths(model)]
    return [
        (grid_findings.label("depth", key[2]), np.mean(grid.losses[key], axis=0))
        for key in keys if key in grid.losses
    ]  # fmt: skip

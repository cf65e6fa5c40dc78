"""The report of a grid. It reads files and loads no model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, progress, runs
from dermssl.evaluation import metrics
from dermssl.reporting import confusion, report, tensorboard_text, wording
from dermssl.studies.grid import figures as figures_grid
from dermssl.studies.grid import findings as grid_findings
from dermssl.studies.grid import read
from dermssl.studies.grid.findings import BestCell, CellScore
from dermssl.studies.grid.read import GridResults

# What `write` leaves in a grid's folder, as patterns of names.
MADE = (
    "report.md", "report.html", "pivot_*.csv", "heat_map.png", "curves.png", "confusion_*.png",
    "hits_*.png", "misses_*.png",
)  # fmt: skip
REMARKS = (
    "The highest cell of a table was chosen by the test photos, so its accuracy is likely too "
    "good; its interval holds for all cells of the model together. TensorBoard: `python -m "
    "dermssl.tensorboard tensorboard` in this folder."
)
SUREST = {True: ("hits", "Surest hits"), False: ("misses", "Surest misses")}


def write(folder: Path | str) -> report.Report:
    """Write `report.md`, `report.html`, a `pivot_MODEL.csv` a model, and the pictures.

    Args:
        folder: of a grid; one that was stopped gives the report of what is there.

    Returns:
        the report that was written.
    """
    folder = Path(folder)
    grid = read.read(folder)
    bests = grid_findings.bests(grid)
    for model in grid.models:
        atomic_files.write_csv(folder / f"pivot_{model}.csv", pivot(grid, model).reset_index())
    if grid.models:
        _pictures(folder, grid)
    for best in bests.values():
        _best_pictures(folder, grid, best)
    made = build(grid, bests)
    report.write(made, folder)
    tensorboard_text.write(made, folder / "tensorboard" / "report")
    return made


def build(grid: GridResults, bests: dict[str, BestCell]) -> report.Report:
    """The report; `bests` are those of `findings.bests`."""
    settings, models = grid.status["config"]["grid"], grid.models
    classes = [f"{t} ({n})" for t, n in zip(grid.taxonomy.titles, np.bincount(grid.y))]
    folds = f"; {settings['folds']} folds, every photo tested once" if settings["folds"] else ""
    kernels = settings["depth_unit"] != "layers"
    unit = "layers that hold a kernel" if kernels else "all layers of the graph"
    opening = (
        f"{len(grid.rows)} cells; accuracy on {len(grid.y)} test photos of "
        f"{len(set(grid.groups))} independent groups: {report.escaped(', '.join(classes))}. Seeds: "
        f"{', '.join(map(str, settings['seeds']))}{folds}. "
        f"{wording.count(settings['epochs'], 'epoch')}, Adam at "
        f"{settings['learning_rate']}, batch {settings['batch_size']}, BatchNorm of unfrozen "
        f"layers: {settings['batchnorm']}. A depth counts {unit}."
    )
    if settings["feature_dtype"] == "float16" and settings["shared_trunk"]:
        opening += " The trunk's features were rounded to float16."
    hashes = (report.code(grid.status[f"{name}_hash"]) for name in ("config", "data"))
    made_by = (
        "`python -m dermssl.grid` with this folder's config.toml. Config "
        f"{', data '.join(hashes)}; {report.versions(grid.status)}."
    )
    return report.Report(
        "Transfer-learning grid",
        [report.Text(opening)],
        [
            report.Section("Findings", list(_findings(grid, bests))),
            _models(grid, bests) if len(models) > 1 else None,
            *(_model(grid, model, bests.get(model)) for model in models),
            report.Section("Curves", [report.Figure("curves.png", "Training loss")])
            if models
            else None,
            report.Section("What it cost", [report.Text(_cost(grid))]),
            report.Section("Made by", [report.Text(made_by), report.Text(REMARKS)]),
        ],
    )


def _findings(grid: GridResults, bests: dict[str, BestCell]) -> Iterator[report.Block]:
    """What the grid shows, and what to know before it is believed."""
    reference, effects = grid_findings.model_effects(grid)
    if effects:
        sentence = grid_findings.effect_sentence("model", reference, effects)
        sentence += " By the mean over all cells of the augmentations that both have; weights and "
        yield report.Findings([sentence + "sizes may differ, see Models."], bullets=False)
    for model in grid.models:
        yield report.Findings(grid_findings.sentences(grid, model, bests.get(model)))
    n_seeds = len(grid.status["config"]["grid"]["seeds"])
    yield report.Findings([_basis(grid)], bullets=False)
    yield report.Warnings(_warnings(grid, n_seeds))
    failures = grid.rows[grid.rows["status"] != runs.FINISHED]
    if n := len(failures):
        yield report.Warnings([f"{n} {'cell has' if n == 1 else 'cells have'} no result:"])
        yield report.Findings(
            [f"{row.cell}: {row.status}, {row.reason}" for row in failures.itertuples()]
        )
    if any(grid.whole(model) for model in grid.models):
        yield report.Figure("heat_map.png", "Heat maps of all cells")


def _basis(grid: GridResults) -> str:
    """What the comparisons rest on."""
    n, level = grid_findings.family(grid), f"{100 * grid_findings.level(grid):.4g}%"
    if not grid.models:
        return "No cell has finished, so nothing is found."
    if not n:
        return "There is one cell, so nothing is compared."
    several = len(grid.seeds) > 1
    tukey = "; Tukey for a highest cell against the others" if several else ""
    text = f"1 comparison, at {level}."
    if n > 1:
        text = (
            f"{n} comparisons, each at {level}, so that all hold together with 95% "
            f"(Bonferroni{tukey})."
        )
    if not several:
        return (
            f"{text} The intervals cover the choice of test photos, not the luck of training: with "
            "one seed nothing is called better."
        )
    return (
        f"{text} The intervals cover the choice of test photos and the luck of training. That of a "
        "cell is pooled over all cells of its model; that of a mean over cells over such means, a "
        "mean a seed, since cells of one seed may share their luck."
    )


def _warnings(grid: GridResults, n_seeds: int) -> list[str]:
    warnings = []
    if n_seeds == 1:
        warnings.append(
            "One seed: the intervals don't cover the luck of training, and no verdict is given. "
            "Run at least 3 seeds."
        )
    flagged = grid.rows[grid.rows["trains_no_kernel"] == 1]
    for model, rows in flagged.groupby("model", sort=False):
        texts = sorted({_depth(d) for d in rows["depth"]}, key=lambda text: (len(text), text))
        warnings.append(
            f"{model} at depth {', '.join(texts)} trains no kernel: only the head, and BatchNorm "
            "at most."
        )
    mixed = grid.rows["versions"].dropna().unique().tolist()
    if len(mixed) > 1:
        warnings.append(
            "The cells were trained under different versions, so that small differences may come "
            f"from these: {'; and '.join(mixed)}."
        )
    for model in grid.models:
        depths = grid.rows.loc[grid.rows["model"] == model, "depth"]
        if (depths < 0).all() and -1 not in grid.status["config"]["grid"]["depths"]:
            warnings.append(
                f"{model} was trained whole: from scratch there is nothing worth freezing, so it "
                "has no depths."
            )
    return warnings


def _models(grid: GridResults, bests: dict[str, BestCell]) -> report.Section:
    """The models side by side."""
    columns = [
        "model",
        report.Column("weights", format=report.code),
        report.Column("px", right=True, format=str),
        report.Column("mean of its whole cells", right=True),
        "highest cell",
        "its accuracy (holds for all cells of the model)",
    ]
    table = []
    for model in grid.models:
        cells, whole, best = grid_findings.cells(grid, model), grid.whole(model), bests.get(model)
        mean = float(np.mean([cells[key].mean for key in whole])) if whole else np.nan
        table.append([
            model, *_start(grid, model), report.Cell(mean, f" ({len(whole)})"),
            _highest(best) if best else wording.NOT_AVAILABLE,
            best and best.interval,
        ])  # fmt: skip
    return report.Section("Models", [report.Table(columns, table)])


def _start(grid: GridResults, model: str) -> tuple[str, int]:
    """Initial weights and image size of a model."""
    row = grid.rows[grid.rows["model"] == model].iloc[0]
    return str(row["arm"]), int(row["image_size"])


def _model(grid: GridResults, model: str, best: BestCell | None) -> report.Section:
    """One model: its cells, what each depth trains, its highest cell."""
    weights, size = _start(grid, model)
    several = len(grid.status["config"]["grid"]["seeds"]) > 1
    opening = f"{size} px, weights: {report.code(weights)}. Mean accuracy"
    opening += f"{' ± standard deviation over seeds' * several}."
    cells, depths = grid_findings.cells(grid, model), grid.depths(model)
    table = [
        [name, *(_cell(cells.get((model, name, d)), best, len(grid.seeds)) for d in depths)]
        for name in grid.augmentations(model)
    ]
    columns = ["augmentation", *(report.Column(_depth(depth), right=True) for depth in depths)]
    return report.Section(
        model,
        [
            report.Text(opening),
            report.Table(columns, table),
            report.Text(report.escaped(_verdict(best))),
            _layers(grid, model),
            *(_best(grid, best) if best else ()),
        ],
    )


def _cell(cell: CellScore | None, best: BestCell | None, n_seeds: int) -> report.Cell:
    """Mean and spread; bold only for a best that clears all others."""
    if cell is None:
        return report.Cell(wording.NOT_AVAILABLE)
    spread = "" if np.isnan(cell.spread) else f" ± {cell.spread:.3f}"
    text = f"{cell.mean:.3f}{spread}"
    if cell.n_seeds < n_seeds:
        return report.Cell(f"{text} ({cell.n_seeds} of {n_seeds} seeds)")
    return report.Cell(text, bold=bool(best and best.is_clear and cell.key == best.cell.key))


def _verdict(best: BestCell | None) -> str:
    if best is None:
        return "No cell has all its seeds: none is called the highest."
    name = _highest(best)
    if best.is_clear:
        return f"Highest, and shown to be better than each other cell: {name} (bold)."
    if best.interval.n_runs < 2 and best.against:
        return f"Highest: {name}; with one seed none is called better."
    if best.ties:
        others = "; ".join(map(grid_findings.describe, best.ties))
        return f"Highest: {name}; not told apart from {others}."
    return f"Only one cell: {name}."


def _highest(best: BestCell) -> str:
    """The highest cell in words, and how many are as high."""
    more = len(best.as_high)
    return grid_findings.describe(best.cell.key) + (f" (and {more} as high)" if more else "")


def _layers(grid: GridResults, model: str) -> report.Table:
    """What each depth trains: trainable parameters and kernels."""
    rows = grid.rows[grid.rows["model"] == model]
    finished_first = rows.sort_values("trainable_parameters", na_position="last", kind="stable")
    first = finished_first.drop_duplicates("depth").sort_values("depth")
    columns = [
        report.Column("depth", right=True),
        report.Column("trainable parameters", right=True, format=partial(wording.number, digits=0)),
        "unfrozen layers that hold kernels",
    ]
    return report.Table(columns, [
        [
            _depth(row["depth"]), row["trainable_parameters"],
            ", ".join(str(row["unfrozen_layers"] or "").split()) or "none",
        ]
        for row in first.to_dict("records")
    ])  # fmt: skip


def _best(grid: GridResults, best: BestCell) -> Iterator[report.Block]:
    """The highest cell of a model against the others, and what it gets right and wrong."""
    model, describe = best.cell.key[0], grid_findings.describe
    if best.against:
        several = best.interval.n_runs > 1
        picked = "; by Tukey's quantile, since the highest was picked" if several else ""
        yield report.Text(
            f"{report.escaped(describe(best.cell.key))} against each other cell: difference of "
            f"accuracies on the same photos{picked}."
        )
        columns = ["other cell", "difference"]
        yield report.Table(
            columns, [[describe(other.other), other.difference] for other in best.against]
        )
    yield report.Figure(f"confusion_{model}.png", "Confusion matrix of the highest cell")
    p, titles = np.mean(grid.by_seed(best.cell.key), axis=0), grid.taxonomy.titles
    for right, (name, title) in SUREST.items():
        rows, files = _surest(grid, p, right)
        if files:
            yield report.Text(f"{title} of the highest cell, left to right:")
            yield report.Figure(f"{name}_{model}.png", title)
            lines = [
                f"{titles[grid.y[row]]}, called {titles[p[row].argmax()]} at {p[row].max():.2f}"
                for row in rows
            ]
            yield report.Bullets(list(map(report.escaped, lines)), numbered=True)


def _surest(grid: GridResults, p: np.ndarray, right: bool) -> tuple[np.ndarray, list[Path]]:
    """Rows and files of the photos that `p` is surest of; no file where one is gone."""
    rows = figures_grid.surest(p, grid.y, right)
    files = [grid.root / path for path in grid.records["path"].iloc[rows]]
    return rows, files if all(file.is_file() for file in files) else []


def _cost(grid: GridResults) -> str:
    costs = [
        f"{progress.duration(float(grid.rows['seconds'].sum()))} of training and prediction in all"
    ]
    for model in grid.models:
        rows = grid.rows[grid.rows["model"] == model]
        time = progress.duration(float(rows["seconds"].sum()))
        costs.append(f"{report.escaped(model)} {time} for {len(rows)} cells")
    return "; ".join(costs) + "."


def pivot(grid: GridResults, model: str) -> pd.DataFrame:
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


def _depth(depth: int) -> str:
    return "all" if depth < 0 else str(depth)


def _best_pictures(folder: Path, grid: GridResults, best: BestCell) -> None:
    """The confusion matrix of a model's highest cell, its surest hits and misses."""
    model, p = best.cell.key[0], grid.by_seed(best.cell.key)
    n = len(grid.taxonomy.fine)
    matrix = np.sum([metrics.confusion_matrix(grid.y, q.argmax(axis=1), n) for q in p], axis=0)
    confusion.write(
        folder / f"confusion_{model}.png", matrix, grid.taxonomy.fine, grid.taxonomy.titles,
        f"{model}, {grid_findings.describe(best.cell.key)}, sum over seeds", normalised=False,
    )  # fmt: skip
    for right, (name, _) in SUREST.items():
        if files := _surest(grid, np.mean(p, axis=0), right)[1]:
            figures_grid.photo_row(folder / f"{name}_{model}.png", files)


def _pictures(folder: Path, grid: GridResults) -> None:
    """Heat maps of all models, and loss curves."""
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


def _losses(grid: GridResults, model: str, augmentation: str) -> list[tuple[str, np.ndarray]]:
    """(label, mean loss by epoch) of each depth."""
    keys = [(model, augmentation, depth) for depth in grid.depths(model)]
    return [
        (grid_findings.label("depth", key[2]), np.mean(grid.losses[key], axis=0))
        for key in keys if key in grid.losses
    ]  # fmt: skip

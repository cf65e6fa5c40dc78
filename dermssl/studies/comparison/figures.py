"""Figures of several models side by side."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dermssl.reporting import figures, wording
from dermssl.reporting.arms import looks
from dermssl.reporting.figures import INK, Curve
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dermssl.evaluation.interval import Interval
    from dermssl.evaluation.run_groups import Comparison

    Key = tuple[str, int | str]  # arm, labels


def comparison(
    path: Path,
    compared: Comparison,
    intervals: dict[Key, Interval],
    by_seed: dict[Key, np.ndarray],
    basis: str,
    chance: float,
    name: str,
) -> Path:
    """One metric of every model, a symbol with its interval; a block a number of labels.

    Args:
        path: of the PNG.
        compared: the models.
        intervals: of each model.
        by_seed: the metric of each seed of each model.
        basis: what the numbers rest on.
        chance: drawn as a line.
        name: what the metric is called.
    """
    look, rows = looks(compared.arms), []
    for labels in compared.labels:
        rows.append(Row(compared.at(labels)[0].labels_text))
        for model in compared.at(labels):
            key = model.arm, model.labels
            mark = Mark(intervals[key], *look[model.arm], ticks=by_seed[key])
            rows.append(Row(model.title, [mark], wording.estimate(intervals[key], 2)))
    figure, (axes,) = figures.new(9, 1.3 + rows_height(rows))
    interval_plot(axes, rows, "", name)
    figures.vertical(axes, chance, "chance")
    ends = [end for interval in intervals.values() for end in (interval.estimate, interval.high)]
    top = np.nanmax([*ends, *itertools.chain(*by_seed.values()), chance])
    axes.set_xlim(0, min(1.02, np.ceil(10 * top + 0.3) / 10))
    figures.headline(
        figure, f"{name[0].upper()}{name[1:]} by start of the backbone",
        f"symbol: mean over seeds · bar: 95% interval · ticks: single seeds · {basis}",
    )  # fmt: skip
    return figures.save(figure, path)


def training_curves(path: Path, compared: Comparison) -> Path:
    """Validation loss and balanced accuracy of every run; a column a number of labels.

    A circle marks where a phase begins, since phases end early and not all at once.
    """
    look = looks(compared.arms)
    metrics = (
        ("val_loss", "validation loss"),
        ("val_fine_balanced_accuracy", "validation bal. accuracy"),
    )
    n = len(compared.labels)
    figure, panels = figures.new(1 + 4.3 * n, 6.4, len(metrics), n, sharey="row")
    for axes, ((column, name), labels) in zip(panels, itertools.product(metrics, compared.labels)):
        models = compared.at(labels)
        curves = [
            _curve(member.history, column, look[model.arm][0])
            for model in models for member in model.members if column in member.history
        ]  # fmt: skip
        figures.titled(axes, models[0].labels_text, "epoch", name)
        figures.lines(axes, curves)
    arms = [panels[0].plot([], [], color=look[arm][0], linewidth=2.2)[0] for arm in compared.arms]
    figure.legend(
        arms, [figures.wrap(compared.titles[arm]) for arm in compared.arms],
        loc="outside upper left", ncols=len(arms), fontsize=10, frameon=False, labelcolor=INK,
    )  # fmt: skip
    return figures.save(figure, path)


def _curve(history: pd.DataFrame, column: str, colour: str) -> Curve:
    phase = history["phase"].to_numpy()
    begins = np.flatnonzero(phase[1:] != phase[:-1]) + 1
    epochs = np.arange(1, len(history) + 1)
    return Curve(epochs, history[column], colour=colour, width=1.5, circles=begins)


def roc(
    path: Path,
    compared: Comparison,
    curves: dict[Key, tuple[np.ndarray, dict[str, np.ndarray]]],
    areas: dict[Key, str],
) -> Path:
    """ROC curves averaged over the classes that have records; a panel a number of labels.

    Args:
        path: of the PNG.
        compared: the models.
        curves: of each model: 1 - specificity (n,), and the sensitivity (n,) of each class.
        areas: the macro ROC-AUC of each model as text.
    """
    look = looks(compared.arms)
    figure, panels = _panels(compared)
    for labels, axes in zip(compared.labels, panels):
        shown = []
        for model in compared.at(labels):
            grid, of_class = curves[model.arm, labels]
            if of_class:
                mean = np.mean(list(of_class.values()), axis=0)
                label = f"{figures.wrap(model.title)}: {areas[model.arm, labels]}"
                shown.append(Curve(grid, mean, label, look[model.arm][0], width=2.2))
        figures.titled(axes, compared.at(labels)[0].labels_text, "1 − specificity", "sensitivity")
        figures.unit_square(axes)
        figures.lines(axes, shown, "below", "AUC", "no curve: fewer than two classes have records")
    return figures.save(figure, path)


def reliability(
    path: Path, compared: Comparison, tables: dict[Key, pd.DataFrame], errors: dict[Key, str]
) -> Path:
    """Reliability of every model, its seeds pooled; a panel a number of labels."""
    look = looks(compared.arms)
    figure, panels = _panels(compared)
    for labels, axes in zip(compared.labels, panels):
        shown = []
        for model in compared.at(labels):
            key = model.arm, labels
            label = f"{figures.wrap(model.title)}: ECE {errors[key]}"
            shown.append((tables[key], label, *look[model.arm]))
        figures.draw_reliability(axes, shown, compared.at(labels)[0].labels_text)
    return figures.save(figure, path)


def _panels(compared: Comparison) -> tuple[Figure, list[Axes]]:
    n = len(compared.labels)
    return figures.new(0.6 + 4.6 * n, 5.3 + 0.22 * len(compared.arms), 1, n)

"""Figures of several models side by side."""

import itertools

import numpy as np

from dermssl.evaluation.run_groups import TITLES
from dermssl.reporting import figures, wording
from dermssl.reporting.arms import looks
from dermssl.reporting.figures import GRID, INK, MUTED


def comparison(path, compared, intervals, by_seed, basis, chance, name):
    """One metric of every model, a dot with its interval; a block a number of labels.

    Args:
        path: of the PNG.
        compared: `Compared`.
        intervals: dict of (arm, labels) -> `Interval`.
        by_seed: dict of (arm, labels) -> the metric of each seed.
        basis: str, what the numbers rest on.
        chance: float, drawn as a line.
        name: what the metric is called.
    """
    look, rows, y = looks(compared.arms), [], 0.0
    for labels in compared.labels:
        rows.append((y, compared.at(labels)[0].labels_text, None))
        for model in compared.at(labels):
            y += 1.0
            rows.append((y, model.title, model))
        y += 1.3
    figure, (axes,) = figures.new(9, 1.4 + 0.4 * (y + 0.5))
    across = axes.get_yaxis_transform()  # x from 0 to 1 over the axes, y a row
    for y, text, model in rows:
        style = {"fontweight": "bold", "fontsize": 12.5} if model is None else {"fontsize": 12}
        axes.text(-0.015, y, text, transform=across, va="center", ha="right", color=INK, **style)
        if model is None:
            continue
        axes.axhline(y, color=GRID, linewidth=1, zorder=0)
        key = (model.arm, model.labels)
        _dot(axes, y, intervals[key], by_seed[key], *look[model.arm])
        axes.text(
            1.015, y, wording.estimate(intervals[key], 2), transform=across, va="center",
            fontsize=11.5, color=INK,
        )  # fmt: skip
    axes.axvline(chance, color=MUTED, linewidth=1.2, linestyle=(0, (2, 3)), zorder=1)
    axes.annotate(
        "chance", (chance, rows[0][0]), xytext=(5, 0), textcoords="offset points", fontsize=10.5,
        color=MUTED, va="center",
    )  # fmt: skip
    ends = [value for found in intervals.values() for value in (found.estimate, found.high)]
    top = np.nanmax([*ends, *itertools.chain(*by_seed.values()), chance])
    axes.set(xlim=(0, min(1.0, np.ceil(10 * top + 0.3) / 10)), ylim=(rows[-1][0] + 0.6, -0.6))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=11)
    axes.grid(True, axis="x", color=GRID, linewidth=0.8)
    axes.set_xlabel(name, fontsize=12, color=INK)
    figure.suptitle(
        f"{name[0].upper()}{name[1:]} by start of the backbone", x=0.012, ha="left",
        fontsize=14.5, fontweight="bold", color=INK,
    )  # fmt: skip
    figure.supxlabel(
        f"symbol: mean over seeds · bar: 95% interval · ticks: single seeds · {basis}",
        x=0.012, ha="left", fontsize=10, color=MUTED,
    )  # fmt: skip
    return figures.save(figure, path)


def _dot(axes, y, interval, seeds, colour, marker):
    """A model's interval, its seeds, and its mean on top."""
    if np.isnan(interval.estimate):
        return
    if interval.is_defined:
        axes.plot(
            [interval.low, interval.high], [y, y], color=colour, linewidth=6, alpha=0.35,
            solid_capstyle="round", zorder=2,
        )  # fmt: skip
    if len(seeds) > 1:
        axes.scatter(
            seeds, np.full(len(seeds), y), s=150, marker="|", color=colour, linewidth=1.5, zorder=3
        )
    axes.scatter(
        interval.estimate, y, s=95, marker=marker, color=colour, edgecolor="white",
        linewidth=1.3, zorder=4,
    )  # fmt: skip


def training_curves(path, compared):
    """Validation loss and balanced accuracy of every run; a column a number of labels."""
    look, columns = looks(compared.arms), compared.labels
    metrics = (
        ("val_loss", "validation loss"),
        ("val_fine_balanced_accuracy", "validation bal. accuracy"),
    )
    figure, every = figures.new(
        1 + 4.3 * len(columns), 6.4, len(metrics), len(columns), sharey="row"
    )
    for (column, name), row in zip(metrics, np.reshape(every, (len(metrics), -1))):
        for labels, axes in zip(columns, row):
            models = compared.at(labels)
            for model in models:
                for history in (member.history for member in model.members):
                    if column in history:
                        _curve(axes, history, column, look[model.arm][0])
            figures.titled(axes, models[0].labels_text, "epoch", name)
    _legend(figure, compared, look)
    return figures.save(figure, path)


def _curve(axes, history, column, colour):
    """One run; a circle where a phase begins, since phases end early and not all at once."""
    epochs, phase = np.arange(1, len(history) + 1), history["phase"].to_numpy()
    begins = np.flatnonzero(phase[1:] != phase[:-1]) + 1
    axes.plot(epochs, history[column], color=colour, alpha=0.8, linewidth=1.5)
    axes.scatter(
        epochs[begins], history[column].iloc[begins], s=28, facecolor="white", edgecolor=colour,
        linewidth=1.4, zorder=3,
    )  # fmt: skip


def roc(path, compared, curves, areas):
    """ROC curves averaged over the classes that have records; a panel a number of labels.

    Args:
        path, compared: as in `comparison`.
        curves: dict of (arm, labels) -> (grid, dict of class -> curve).
        areas: dict of (arm, labels) -> the macro ROC-AUC as text.
    """
    look = looks(compared.arms)
    figure, every = _panels(compared)
    for labels, axes in zip(compared.labels, every):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)))
        for model in compared.at(labels):
            grid, found = curves[model.arm, labels]
            if found:
                label = f"{model.title}: {areas[model.arm, labels]}"
                mean = np.mean(list(found.values()), axis=0)
                axes.plot(grid, mean, color=look[model.arm][0], linewidth=2.2, label=label)
        figures.titled(axes, compared.at(labels)[0].labels_text, "1 − specificity", "sensitivity")
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_box_aspect(1)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", fontsize=9, frameon=False, labelcolor=INK, title="AUC")
        else:
            figures.nothing(axes, "no curve: fewer than two classes have records")
    return figures.save(figure, path)


def reliability(path, compared, tables, errors):
    """Reliability of every model, its seeds pooled; a panel a number of labels."""
    look = looks(compared.arms)
    figure, every = _panels(compared, height=5.3 + 0.22 * len(look))
    for labels, axes in zip(compared.labels, every):
        for model in compared.at(labels):
            colour, marker = look[model.arm]
            label = f"{model.title}: ECE {errors[model.arm, labels]}"
            figures.draw_reliability(axes, tables[model.arm, labels], colour, label, marker)
        figures.frame_reliability(axes, compared.at(labels)[0].labels_text)
        figures.legend_below(axes)
    return figures.save(figure, path)


def _panels(compared, height=4.9):
    return figures.new(0.6 + 4.6 * len(compared.labels), height, 1, len(compared.labels))


def _legend(figure, compared, look):
    """One legend for all panels, a line an arm, in the order of the arms."""
    empty = figure.axes[0]
    handles = [empty.plot([], [], color=look[arm][0], linewidth=2.2)[0] for arm in compared.arms]
    figure.legend(
        handles, [TITLES.get(arm, arm) for arm in compared.arms], loc="outside upper left",
        ncols=len(handles), fontsize=10, frameon=False, labelcolor=INK,
    )  # fmt: skip

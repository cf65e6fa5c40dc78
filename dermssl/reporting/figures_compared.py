"""Pictures of several models side by side. An arm has the same colour and marker in all."""

import numpy as np

from dermssl.reporting import figures
from dermssl.reporting.compared import TITLES
from dermssl.reporting.figures import GRID, INK, MUTED

# Okabe & Ito (2008), and a grey for the arm that knows nothing. The marker says it once more.
COLOURS = {"random": "#6B7280", "imagenet": "#E69F00", "ssl": "#0072B2", "ssl_imagenet": "#009E73"}
MARKERS = {"random": "o", "imagenet": "s", "ssl": "D", "ssl_imagenet": "^"}
SPARE = (("#CC79A7", "v"), ("#D55E00", "P"), ("#56B4E9", "X"), ("#000000", "*"))


def looks(arms):
    """dict of arm -> (colour, marker); unknown arms take the spare ones by name."""
    unknown = sorted(arm for arm in arms if arm not in COLOURS)
    spare = {arm: SPARE[k % len(SPARE)] for k, arm in enumerate(unknown)}
    return {arm: spare.get(arm) or (COLOURS[arm], MARKERS[arm]) for arm in arms}


def comparison(path, compared, intervals, by_seed, basis, chance, name):
    """One metric of every model, a dot with its interval; a band a number of labels.

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
        models = compared.at(labels)
        rows.append((y, models[0].labels_text, None))
        for model in models:
            y += 1.0
            rows.append((y, model.title, model))
        y += 1.35
    figure, (axes,) = figures.new(9, 1.5 + 0.4 * (y + 0.6))
    for y, text, model in rows:
        side = axes.get_yaxis_transform()
        if model is None:
            axes.text(
                -0.205, y, text, transform=side, fontsize=12.5, fontweight="bold", color=INK,
                va="center", clip_on=False,
            )  # fmt: skip
            continue
        key, (colour, marker) = (model.arm, model.labels), look[model.arm]
        axes.text(-0.012, y, text, transform=side, fontsize=12, color=INK, va="center", ha="right")
        found, seeds = intervals[key], by_seed[key]
        if np.isnan(found.estimate):
            axes.text(chance, y, "  n/a", fontsize=12, color=MUTED, va="center")
            continue
        axes.plot([0, 1], [y, y], color=GRID, linewidth=1, zorder=0)
        if found.is_defined:
            axes.plot(
                [found.low, found.high], [y, y], color=colour, linewidth=5, alpha=0.35,
                solid_capstyle="round", zorder=2,
            )  # fmt: skip
        if len(seeds) > 1:
            axes.scatter(
                seeds, np.full(len(seeds), y), s=90, marker="|", color=colour, linewidth=1.4,
                zorder=3,
            )  # fmt: skip
        axes.scatter(
            found.estimate, y, s=105, marker=marker, color=colour, edgecolor="white",
            linewidth=1.4, zorder=4,
        )  # fmt: skip
        right = found.high if found.is_defined else found.estimate
        axes.annotate(
            f"{found.estimate:.2f}", (max([right, *seeds]), y), xytext=(12, 0),
            textcoords="offset points", fontsize=12, color=INK, va="center", fontweight="bold",
        )  # fmt: skip
    axes.axvline(chance, color=MUTED, linewidth=1.2, linestyle=(0, (2, 3)), zorder=1)
    axes.annotate(
        "chance", (chance, 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
        textcoords="offset points", fontsize=10, color=MUTED, va="top",
    )  # fmt: skip
    axes.set(xlim=(0, 1.0), ylim=(rows[-1][0] + 0.7, -0.7), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.tick_params(labelsize=11)
    axes.set_xlabel(name, fontsize=12, color=INK)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.grid(True, axis="x", color=GRID, linewidth=0.8)
    figure.suptitle(
        f"{name[0].upper()}{name[1:]} by start of the backbone and labels", x=0.01, ha="left",
        fontsize=14, fontweight="bold", color=INK,
    )  # fmt: skip
    figure.supxlabel(
        f"symbol: mean over seeds · bar: 95% interval · ticks: single seeds · {basis}",
        x=0.01, ha="left", fontsize=10, color=MUTED,
    )  # fmt: skip
    return figures.save(figure, path)


def training_curves(path, compared):
    """Validation loss and balanced accuracy of every run; a column a number of labels."""
    look, columns = looks(compared.arms), compared.labels
    metrics = (("val_loss", "validation loss"), ("val_fine_balanced_accuracy", "balanced accuracy"))
    figure, every = figures.new(
        1 + 4.3 * len(columns), 6.4, len(metrics), len(columns), sharey="row"
    )
    for (column, name), row in zip(metrics, np.reshape(every, (len(metrics), -1))):
        for labels, axes in zip(columns, row):
            models = compared.at(labels)
            for model in models:
                for k, member in enumerate(model.members):
                    history = member.history
                    if column not in history:
                        continue
                    axes.plot(
                        np.arange(1, len(history) + 1), history[column], alpha=0.8, linewidth=1.5,
                        color=look[model.arm][0], label=model.title if k == 0 else None,
                    )  # fmt: skip
            figures.titled(axes, models[0].labels_text, "epoch", name)
            figures.mark_phases(axes, models[0].members[0].history)
    _legend(figure, compared, look)
    return figures.save(figure, path)


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
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right", fontsize=9, frameon=False, labelcolor=INK, title="AUC")
        else:
            figures.nothing(axes, "no curve: fewer than two classes have records")
    return figures.save(figure, path)


def reliability(path, compared, tables, errors):
    """Reliability of every model, its seeds pooled; a panel a number of labels."""
    look = looks(compared.arms)
    figure, every = _panels(compared)
    for labels, axes in zip(compared.labels, every):
        for model in compared.at(labels):
            colour, marker = look[model.arm]
            label = f"{model.title}: ECE {errors[model.arm, labels]}"
            figures.draw_reliability(axes, tables[model.arm, labels], colour, label, marker)
        figures.frame_reliability(axes, compared.at(labels)[0].labels_text)
        axes.legend(loc="upper left", fontsize=9, frameon=False, labelcolor=INK)
    return figures.save(figure, path)


def _panels(compared):
    return figures.new(0.6 + 4.6 * len(compared.labels), 4.9, 1, len(compared.labels))


def _legend(figure, compared, look):
    """One legend for all panels, a line an arm, in the order of the arms."""
    empty = figure.axes[0]
    handles = [empty.plot([], [], color=look[arm][0], linewidth=2.2)[0] for arm in compared.arms]
    figure.legend(
        handles, [TITLES.get(arm, arm) for arm in compared.arms], loc="outside upper left",
        ncols=len(handles), fontsize=10, frameon=False, labelcolor=INK,
    )  # fmt: skip

"""Pictures of one run or model. Each function draws one and writes it whole, or not at all.

Figures are made without pyplot, so nothing global changes and no window system is asked for.
"""

import textwrap

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dermssl.core import atomic_files

DPI = 160
INK, MUTED, GRID = "#1F2933", "#5F6B7A", "#E3E8EE"
# Okabe & Ito (2008): told apart with any colour vision. Line styles say it once more.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
FEW_IN_BIN = 10
ANNOTATED = 12  # classes; beyond, the numbers in a confusion matrix can't be read


def new(width, height, rows=1, columns=1, **options):
    """A `Figure` with a flat list of plain axes; sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(MUTED)
        each.tick_params(colors=INK, labelsize=9)
        each.set_axisbelow(True)
    return figure, axes


def save(figure, path):
    """Write a PNG. The same numbers give the same bytes: no date, no version in it."""
    with atomic_files.atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=DPI, metadata={"Software": None})
    return path


def escape_dollar(text):
    """Text from outside as Matplotlib prints it: a dollar sign starts no formula."""
    return text.replace("$", r"\$")


def titled(axes, title, x="", y=""):
    """Title at the left, labels, a light grid."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    axes.grid(True, color=GRID, linewidth=0.8)


def draw_confusion(axes, matrix, names, titles, normalised, repeats=1):
    """A confusion matrix on `axes`; rows are the truth, shares are of the row.

    `repeats` is how often each record was counted: once a seed.
    """
    matrix = np.asarray(matrix)
    support = matrix.sum(axis=1)
    shares = np.divide(
        matrix, support[:, None], out=np.full(matrix.shape, np.nan), where=support[:, None] > 0
    )
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row in np.flatnonzero(support == 0):
        axes.axhspan(row - 0.5, row + 0.5, color=GRID)
    size = 10 if len(names) <= 8 else 8
    for (i, j), value in np.ndenumerate(shares if normalised else matrix):
        if len(names) > ANNOTATED:
            break
        text = "n/a" if np.isnan(value) else (f"{value:.2f}" if normalised else f"{value:,}")
        dark = not np.isnan(shares[i, j]) and shares[i, j] > 0.6
        axes.text(
            j, i, text, ha="center", va="center", fontsize=size,
            color="white" if dark else (INK if value else MUTED),
        )  # fmt: skip
    names, titles = [*map(escape_dollar, names)], [*map(escape_dollar, titles)]
    labels = [
        textwrap.fill(title if title == name else f"{title} ({name})", 24)
        for name, title in zip(names, titles)
    ]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    counts = [f"{label}, n = {n // repeats:,}" for label, n in zip(labels, support)]
    axes.set_yticks(range(len(names)), counts)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)


def confusion(path, matrix, names, titles, title, normalised=True):
    """A confusion matrix with counts, or with the shares of each true class."""
    side = 2.2 + 0.62 * len(names)
    figure, (axes,) = new(side + 2.4, side)
    draw_confusion(axes, matrix, names, titles, normalised)
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold", pad=12)
    return save(figure, path)


def confusion_pair(path, fine, coarse, taxonomy, title, repeats):
    """The shares of each true class at both levels, side by side."""
    levels = [(fine, taxonomy.fine, taxonomy.titles, "fine")]
    if taxonomy.has_hierarchy:
        levels.append((coarse, taxonomy.coarse, taxonomy.coarse, "coarse"))
    widths = [3.0 + 0.62 * len(names) for _, names, _, _ in levels]
    figure, every = new(
        sum(widths), 1.5 + 0.62 * len(taxonomy.fine), 1, len(levels), width_ratios=widths
    )
    for axes, (matrix, names, titles, level) in zip(every, levels):
        draw_confusion(axes, matrix, names, titles, normalised=True, repeats=repeats)
        axes.set_title(level, loc="left", fontsize=11, color=INK, fontweight="bold")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    return save(figure, path)


def draw_reliability(axes, table, colour, label, marker="o"):
    """Accuracy against confidence; the area of a point follows its number of records.

    Bins of a few records are left out: they jump about and hide the others.
    """
    filled = table[table["n"] >= FEW_IN_BIN]
    sizes = 12 + 140 * filled["n"] / max(1, filled["n"].max())
    axes.plot(filled["confidence"], filled["accuracy"], color=colour, linewidth=1.6)
    if "accuracy_low" in filled:
        axes.vlines(
            filled["confidence"], filled["accuracy_low"], filled["accuracy_high"], color=colour,
            linewidth=1.4, alpha=0.45,
        )  # fmt: skip
    axes.scatter(
        filled["confidence"], filled["accuracy"], s=sizes, color=colour, marker=marker,
        edgecolor="white", linewidth=0.8, zorder=3,
    )  # fmt: skip
    axes.plot([], [], color=colour, marker=marker, linewidth=1.6, label=label)


def legend_below(axes):
    """A legend under the panel, where it hides nothing."""
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=9.5, frameon=False, labelcolor=INK
    )


def frame_reliability(axes, title):
    """The diagonal of perfect calibration, and the labels."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=0)
    titled(axes, title, "confidence (top probability)", "share that is right")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_box_aspect(1)


def reliability(path, curves, title):
    """A reliability diagram; `curves` are (table of `curves.reliability`, label) pairs."""
    figure, (axes,) = new(6.4, 6.2)
    for (table, label), colour, marker in zip(curves, PALETTE, "osD^"):
        draw_reliability(axes, table, colour, label, marker)
    frame_reliability(axes, title)
    legend_below(axes)
    return save(figure, path)


def training_curves(path, history, title):
    """Loss and accuracies of one run, epoch by epoch, both phases in a row."""
    panels = (
        ("loss", "loss", (("loss", "training"), ("val_loss", "validation"))),
        (
            "accuracy",
            "share of records",
            (
                ("fine_accuracy", "fine, training"),
                ("val_fine_accuracy", "fine, validation"),
                ("coarse_accuracy", "coarse, training"),
                ("val_coarse_accuracy", "coarse, validation"),
                ("val_fine_balanced_accuracy", "balanced, validation"),
            ),
        ),
    )
    figure, every = new(9.6, 4.2, 1, 2)
    epochs = np.arange(1, len(history) + 1)
    for axes, (name, unit, columns) in zip(every, panels):
        shown = [(column, label) for column, label in columns if column in history]
        for k, (column, label) in enumerate(shown):
            axes.plot(
                epochs, history[column], label=label, linewidth=1.8, color=PALETTE[k // 2],
                linestyle="--" if label.endswith("training") else "-",
                marker="o" if len(history) < 2 else None,
            )  # fmt: skip
        titled(axes, name, "epoch", unit)
        mark_phases(axes, history)
        if len(history) and shown:
            axes.legend(fontsize=8.5, frameon=False, labelcolor=INK)
        else:
            nothing(axes, "no epoch was trained")
    every[1].set_ylim(-0.02, 1.02)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    return save(figure, path)


def mark_phases(axes, history):
    """A line where a new phase begins, with its name."""
    if "phase" not in history or not len(history):
        return
    names = history["phase"].tolist()
    for k in range(1, len(names)):
        if names[k] != names[k - 1]:
            axes.axvline(k + 0.5, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=0)
            axes.annotate(
                f" {names[k]}", (k + 0.5, 1), xycoords=("data", "axes fraction"), va="top",
                fontsize=8, color=MUTED,
            )  # fmt: skip


def nothing(axes, why):
    """Say in an empty panel why it is empty."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", fontsize=10, color=MUTED)

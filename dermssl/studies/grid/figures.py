"""Figures of a grid: heat maps, loss curves, most confident predictions."""

import numpy as np

from dermssl.data import contact_sheet, decode
from dermssl.reporting import figures
from dermssl.reporting.figures import INK, PALETTE, STYLES

SHOWN = 8  # pictures a row
TITLE_INCHES = 0.11  # width of a letter of a title: a grid of one column is narrower than it


def heat_map(path, models, title):
    """Mean accuracy of every cell, one panel a model, all on one scale.

    Args:
        path: of the PNG.
        models: list of (name, augmentations, depth labels, float array (augmentations, depths),
            NaN where there is no cell).
        title: str.
    """
    every = np.concatenate([values.ravel() for *_, values in models])
    low, high = np.nanmin(every), np.nanmax(every)
    columns = [len(depths) for _, _, depths, _ in models]
    rows = max(len(augmentations) for _, augmentations, _, _ in models)
    figure, panels = figures.new(
        max(2.0 * len(models) + 0.62 * sum(columns), TITLE_INCHES * len(title)),
        1.6 + 0.5 * rows, 1, len(models),
        width_ratios=columns,
    )  # fmt: skip
    for axes, (name, augmentations, depths, values) in zip(panels, models):
        axes.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
        for (i, j), value in np.ndenumerate(values):
            dark = np.isfinite(value) and value < (low + high) / 2
            text = f"{value:.3f}" if np.isfinite(value) else "n/a"
            axes.text(
                j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else INK
            )
        axes.set_xticks(range(len(depths)), depths)
        axes.set_yticks(range(len(augmentations)), augmentations)
        axes.tick_params(length=0)
        axes.set_title(name, loc="left", fontsize=11, color=INK, fontweight="bold")
        axes.set_xlabel("depth", fontsize=10, color=INK)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    return figures.save(figure, path)


def curves(path, rows, title):
    """Training loss by epoch, a line a depth, one panel a cell's model and augmentation.

    Args:
        path: of the PNG.
        rows: list of rows, equally long lists of (name, list of (label, float array (epochs,))).
        title: str.
    """
    columns = len(rows[0])
    figure, panels = figures.new(3.6 * columns + 0.6, 3.1 * len(rows) + 0.5, len(rows), columns)
    for axes, (name, lines) in zip(panels, [panel for row in rows for panel in row]):
        for k, (label, losses) in enumerate(lines):
            axes.plot(
                np.arange(1, len(losses) + 1), losses, label=label, linewidth=1.8,
                color=PALETTE[k % len(PALETTE)], linestyle=STYLES[k // len(PALETTE) % len(STYLES)],
                marker="o" if len(losses) < 2 else None,
            )  # fmt: skip
        figures.titled(axes, name, "epoch", "training loss")
        if lines:
            axes.legend(fontsize=8.5, frameon=False, labelcolor=INK)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    return figures.save(figure, path)


def surest(p, y, right, count=SHOWN):
    """Rows of the photos a model is most sure of among its hits (or its misses)."""
    hit = p.argmax(axis=1) == y
    rows = np.flatnonzero(hit == right)
    return rows[np.argsort(-p[rows].max(axis=1), kind="stable")][:count]


def photo_row(path, files):
    """One row of photos; returns None where a file is not there any more."""
    if not files or not all(file.is_file() for file in files):
        return None
    contact_sheet.write(path, [[decode.decode(str(file)) for file in files]])
    return path

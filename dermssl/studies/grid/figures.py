"""Figures of a grid: heat maps, loss curves, most confident predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dermssl.data import contact_sheet, decode
from dermssl.reporting import figures
from dermssl.reporting.figures import INK, PALETTE, STYLES, Curve

SHOWN = 8  # pictures a row
TITLE_INCHES = 0.11  # width of a letter of a title: a grid of one column is narrower than it


def heat_map(
    path: Path, models: Sequence[tuple[str, Sequence[str], Sequence[str], np.ndarray]], title: str
) -> Path:
    """Mean accuracy of every cell, one panel a model, all on one scale.

    Args:
        path: of the PNG.
        models: (name, augmentations, depth labels, float array (augmentations, depths), NaN
            where there is no cell) of each.
        title: of the picture.
    """
    values = np.concatenate([table.ravel() for *_, table in models])
    limits = np.nanmin(values), np.nanmax(values)
    columns = [len(depths) for _, _, depths, _ in models]
    rows = max(len(augmentations) for _, augmentations, _, _ in models)
    figure, panels = figures.new(
        max(2.0 * len(models) + 0.62 * sum(columns), TITLE_INCHES * len(title)),
        1.6 + 0.5 * rows, 1, len(models),
        width_ratios=columns,
    )  # fmt: skip
    for axes, (name, augmentations, depths, table) in zip(panels, models):
        texts = [[f"{value:.3f}".replace("nan", "n/a") for value in row] for row in table]
        figures.heat_map(axes, table, texts, depths, augmentations, "cividis", limits, size=8)
        figures.panel_title(axes, name)
        axes.set_xlabel("depth", fontsize=10, color=INK)
    figures.headline(figure, title)
    return figures.save(figure, path)


def curves(
    path: Path, rows: Sequence[Sequence[tuple[str, list[tuple[str, np.ndarray]]]]], title: str
) -> Path:
    """Training loss by epoch, a line a depth, one panel a cell's model and augmentation.

    Args:
        path: of the PNG.
        rows: equally long lists of (name, list of (label, float array (epochs,))).
        title: of the picture.
    """
    n = len(rows[0])
    figure, panels = figures.new(3.6 * n + 0.6, 3.1 * len(rows) + 0.5, len(rows), n)
    for axes, (name, losses) in zip(panels, [panel for row in rows for panel in row]):
        figures.titled(axes, name, "epoch", "training loss")
        shown = [
            Curve(np.arange(1, len(loss) + 1), loss, label, PALETTE[k % len(PALETTE)],
                  STYLES[k // len(PALETTE) % len(STYLES)])
            for k, (label, loss) in enumerate(losses)
        ]  # fmt: skip
        figures.lines(axes, shown)
    figures.headline(figure, title)
    return figures.save(figure, path)


def surest(p: np.ndarray, y: np.ndarray, right: bool, count: int = SHOWN) -> np.ndarray:
    """Rows of the photos a model is most sure of among its hits (or its misses)."""
    rows = np.flatnonzero((p.argmax(axis=1) == y) == right)
    return rows[np.argsort(-p[rows].max(axis=1), kind="stable")][:count]


def photo_row(path: Path, files: Sequence[Path]) -> None:
    """Write one row of photos."""
    contact_sheet.write(path, [[decode.decode(str(file)) for file in files]])

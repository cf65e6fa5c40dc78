"""Figures of embeddings in a plane, coloured by a column of the records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermssl.reporting import figures

MOST = 10  # values with a colour of their own; the rest is "other"
MARKERS = "osD^v"
UNKNOWN, OTHER = "not known", "other"
GREYS = {OTHER: "#8A94A1", UNKNOWN: "#D5DAE0"}


def plane(
    path: Path, points: np.ndarray, values: Sequence[Any] | pd.Series, title: str, subtitle: str
) -> Path:
    """A scatter plot.

    Args:
        path: of the PNG.
        points: float (n, 2).
        values: (n,), text, "" unknown, or numbers (NaN unknown) for a colour scale.
        title, subtitle: of the picture.
    """
    figure, (axes,) = figures.new(9.2, 6.4)
    size = float(np.clip(9000 / len(points), 4, 40))
    column = pd.Series(values).reset_index(drop=True)
    if pd.api.types.is_numeric_dtype(column):
        _numbers(figure, axes, points, column, size)
    else:
        _names(axes, points, column.astype(str), size)
    figures.titled(axes, title)
    axes.set_title(f"{title}\n", loc="left", fontsize=11, color=figures.INK, fontweight="bold")
    axes.text(0, 1.015, subtitle, transform=axes.transAxes, fontsize=9, color=figures.MUTED)
    axes.grid(False)
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set_visible(False)
    return figures.save(figure, path)


def kinds(values: pd.Series) -> tuple[pd.Series, list[str]]:
    """Names by how often they occur, at most `MOST`, then "other", then "not known".

    Returns:
        Series of names, and the list of those that occur.
    """
    named = values.where(values != "", UNKNOWN)
    counts = named[named != UNKNOWN].value_counts()
    order = sorted(counts.index, key=lambda name: (-counts[name], name))[:MOST]
    named = named.where(named.isin([*order, UNKNOWN]), OTHER)
    return named, order + [name for name in (OTHER, UNKNOWN) if (named == name).any()]


def _names(axes: Axes, points: np.ndarray, values: pd.Series, size: float) -> None:
    named, order = kinds(values)
    for k, name in reversed(list(enumerate(order))):  # rare ones are drawn last, on top
        rest = name in GREYS
        where = (named == name).to_numpy()
        axes.scatter(
            points[where, 0], points[where, 1], s=size, linewidth=0, alpha=0.75,
            color=GREYS.get(name) or figures.PALETTE[k % len(figures.PALETTE)],
            marker="o" if rest else MARKERS[k // len(figures.PALETTE) % len(MARKERS)],
            zorder=1 if rest else 2 + k,
            label=f"{figures.shorten(name, 28)} ({where.sum():,})",
        )  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    legend = axes.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False,
        fontsize=9.5, labelcolor=figures.INK,
    )  # fmt: skip
    for handle in filter(None, legend.legend_handles):
        handle.set(sizes=[40], alpha=1)


def _numbers(
    figure: Figure, axes: Axes, points: np.ndarray, values: pd.Series, size: float
) -> None:
    known = values.notna().to_numpy()
    x, y = points.T
    axes.scatter(x[~known], y[~known], s=size, linewidth=0, color=GREYS[UNKNOWN])
    drawn = axes.scatter(
        x[known], y[known], c=values[known], s=size, linewidth=0, alpha=0.8, cmap="viridis"
    )
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, shrink=0.7)
    bar.outline.set_visible(False)
    if not known.all():
        bar.set_label(f"light grey: {UNKNOWN} ({(~known).sum():,})", fontsize=9, color=figures.INK)

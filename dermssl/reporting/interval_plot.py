"""Interval plot: a row an estimate, a symbol with its interval as a bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from dermssl.evaluation.interval import Interval
from dermssl.reporting import hover, wording
from dermssl.reporting.figures import GRID, INK, MUTED, PALETTE, legend, titled, wrap

ROW = 0.36  # inches a row, enough for a label of two lines
TICKS = 5  # steps of the x axis at most: more labels such as −0.015 would run together


@dataclass(frozen=True)
class Mark:
    """An estimate with its interval, as an interval plot shows it.

    Attributes:
        interval: NaN prints "n/a".
        colour, marker: of the symbol.
        hollow: whether the symbol is empty.
        ticks: single values behind the estimate, such as those of the seeds.
    """

    interval: Interval
    colour: str = PALETTE[0]
    marker: str = "o"
    hollow: bool = False
    ticks: Sequence[float] | np.ndarray = ()


@dataclass(frozen=True)
class Row:
    """A row of an interval plot: its label, its marks from above to below, a note at the right.

    A row with `marks=None` is a heading; a row without marks stays empty.
    """

    label: str
    marks: Sequence[Mark] | None = None
    note: str = ""
    colour: str = INK


def row_places(rows: Sequence[Row]) -> np.ndarray:
    """Where the rows of an interval plot lie, from 0 downwards; headings take more room."""
    gaps = [1.4 if row.marks is None else 1.0 for row in rows[1:]]
    return np.concatenate([[0.0], np.cumsum(gaps)])


def rows_height(rows: Sequence[Row]) -> float:
    """Inches that the rows of an interval plot need."""
    return ROW * (row_places(rows)[-1] + 1.4)


def interval_plot(
    axes: Axes,
    rows: Sequence[Row],
    title: str = "",
    x: str = "",
    labels: bool = True,
    series: Sequence[str] = (),
    note: str = "",
) -> None:
    """A row an estimate: a symbol, with its interval as a bar.

    Args:
        axes: to draw on.
        rows: at least one.
        title, x: of the panel, and of its x axis.
        labels: whether to print the labels of the rows.
        series: names of a row's marks, for a legend.
        note: heading of the notes at the right.
    """
    titled(axes, title, x)
    places = row_places(rows)
    for place, row in zip(places, rows):
        if row.marks is None:
            continue
        axes.axhline(place, color=GRID, linewidth=1, zorder=0)
        n = len(row.marks)
        apart = min(0.28, 0.66 / max(1, n - 1))  # many marks stay within their row
        for k, mark in enumerate(row.marks):
            height = place + apart * (k - (n - 1) / 2)
            _mark(axes, height, mark)
            name = ", ".join([row.label, *series[k : k + 1]])
            said = f"{name}: {wording.estimate(mark.interval)}"
            hover.note(axes, mark.interval.estimate, height, said)
    beside: dict[str, Any] = {
        "xycoords": ("axes fraction", "data"),
        "va": "center",
        "annotation_clip": False,
    }
    for place, text in zip([places[0] - 0.7, *places], [note, *(row.note for row in rows)]):
        if text:
            colour = MUTED if text == note else INK
            axes.annotate(text, (1.015, place), fontsize=9, color=colour, **beside)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.set_yticks(places, [wrap(row.label, 40) if labels else "" for row in rows])
    for row, label in zip(rows, axes.get_yticklabels()):
        label.set(color=row.colour, fontweight="bold" if row.marks is None else "normal")
    axes.locator_params(axis="x", nbins=TICKS, min_n_ticks=3)
    axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    if series:
        first = next(row.marks for row in rows if row.marks)
        for name, mark in zip(series, first):
            axes.plot([], [], mark.marker, color=mark.colour, label=name)
        legend(axes, "below", columns=len(series))


def _mark(axes: Axes, y: float, mark: Mark) -> None:
    interval, colour = mark.interval, mark.colour
    if np.isnan(interval.estimate):
        across = axes.get_yaxis_transform()
        axes.text(0.5, y, "n/a", transform=across, ha="center", va="center", fontsize=8,
                  color=MUTED)  # fmt: skip
        return
    if interval.is_defined:
        axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=5, alpha=0.35,
                  solid_capstyle="round", zorder=2)  # fmt: skip
    if len(mark.ticks) > 1:
        height = np.full(len(mark.ticks), y)
        axes.scatter(mark.ticks, height, s=120, marker="|", color=colour, linewidth=1.5, zorder=3)
    axes.scatter(
        interval.estimate, y, s=60, marker=mark.marker, zorder=4, linewidth=1.4,
        facecolor="white" if mark.hollow else colour, edgecolor=colour if mark.hollow else "white",
    )  # fmt: skip

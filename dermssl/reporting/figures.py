"""Figure primitives: interval plots, lines, heat maps, reliability diagrams, sheets of images.

Figures are made without pyplot, so nothing global changes and no window system is asked for.
Only seaborn imports pyplot; it is imported when a heat map is drawn.
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from dermssl.core import atomic_files
from dermssl.data import contact_sheet
from dermssl.reporting import fonts, hover

DPI = 160
INK, MUTED, GRID = "#1F2933", "#5F6B7A", "#E3E8EE"
# Okabe & Ito (2008): told apart with any colour vision. Line styles say it once more.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
DOTTED = (0, (2, 3))
FEW_IN_BIN = 10
SHOWN_VALUES = 40  # of a curve, under the pointer
LEGENDS: dict[str, dict[str, Any]] = {
    "inside": {},
    "below": {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14)},
    "right": {"loc": "upper left", "bbox_to_anchor": (1.02, 1.02)},
}


@dataclass(frozen=True, eq=False)
class Curve:
    """A line through points.

    Attributes:
        x, y: (n,).
        label: in the legend; "" leaves it out.
        colour, style, width, marker, steps: how it looks; `steps` as Matplotlib's `drawstyle`.
        bounds: low and high ends (n,) of the interval of each point, or None: bars where points
            have a marker, else a band.
        circles: positions of points to mark with an open circle.
    """

    x: Sequence[float] | np.ndarray | pd.Series
    y: Sequence[float] | np.ndarray | pd.Series
    label: str = ""
    colour: str = PALETTE[0]
    style: str | tuple = "-"
    width: float = 1.8
    marker: str | None = None
    steps: str = "default"
    bounds: tuple[np.ndarray | pd.Series, np.ndarray | pd.Series] | None = None
    circles: Sequence[int] | np.ndarray = ()


def new(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A `Figure` with a flat list of plain axes; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(MUTED)
        axes.tick_params(colors=INK, labelsize=9)
        axes.set_axisbelow(True)
    return figure, panels


def save(figure: Figure, path: Path | str) -> Path:
    """Write a PNG with its values in it (`hover`); the same numbers give the same bytes."""
    png = io.BytesIO()
    with fonts.readable(figure, Path(path).parent):
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    atomic_files.write_bytes(path, hover.embedded(png.getvalue(), figure))
    return Path(path)


def escape_dollar(text: str) -> str:
    """Text from outside as Matplotlib prints it: a dollar sign starts no formula."""
    return text.replace("$", r"\$")


def wrap(text: str, width: int = 24) -> str:
    """Text from outside in lines of at most `width` letters."""
    return escape_dollar(textwrap.fill(str(text), width))


def shorten(text: str, width: int) -> str:
    """Text from outside, cut at `width` letters."""
    return escape_dollar(textwrap.shorten(text, width, placeholder=" …") or text[:width])


def fit(text: str, width: int, lines: int = 3) -> str:
    """Text from outside in at most `lines` lines of `width` letters; its middle goes first.

    Names of one list mostly differ at an end.

    Example:

    >>> print(fit("Benign epidermal proliferations, solar lentigo", 16, 2))
    Benign epiderm …
    solar lentigo
    """
    text = " ".join(str(text).split())
    rows = textwrap.wrap(text, width)
    room = width * lines
    while len(rows) > lines and room > 4:
        head = text[: room // 2].rstrip()
        rows = textwrap.wrap(f"{head} … {text[len(text) - room // 2 :].lstrip()}", width)
        room -= 2
    return escape_dollar("\n".join(rows))


def headline(figure: Figure, title: str, note: str = "") -> None:
    """The title above all panels, and a note below them."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK, fontweight="bold")
    if note:
        figure.supxlabel(note, x=0.01, ha="left", fontsize=9, color=MUTED)


def panel_title(axes: Axes, title: str) -> None:
    """The title of one panel, at the left."""
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")


def titled(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Title at the left, labels, a light grid."""
    panel_title(axes, title)
    axes.set_xlabel(x, fontsize=10, color=INK)
    axes.set_ylabel(y, fontsize=10, color=INK)
    axes.grid(True, color=GRID, linewidth=0.8)


def legend(axes: Axes, place: str = "inside", heading: str = "", columns: int = 1) -> None:
    """A legend inside the panel, or below or right of it where it hides nothing."""
    box = axes.legend(
        **LEGENDS[place], fontsize=9, frameon=False, labelcolor=INK, title=heading or None,
        alignment="left", ncols=columns,
    )  # fmt: skip
    box.get_title().set(color=INK, fontsize=9)


def nothing(axes: Axes, why: str) -> None:
    """Say in an empty panel why it is empty."""
    axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", fontsize=10, color=MUTED)


def unit_square(axes: Axes, diagonal: bool = True) -> None:
    """Both axes from 0 to 1, equally long; the diagonal is chance, or perfect calibration."""
    if diagonal:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DOTTED, zorder=0)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.set_box_aspect(1)


def vertical(axes: Axes, value: float, name: str = "", style: str | tuple = DOTTED) -> None:
    """A line to compare with, its name at the top."""
    if not np.isnan(value):
        axes.axvline(value, color=MUTED, linewidth=1.1, linestyle=style, zorder=1)
        axes.annotate(
            f" {name}", (value, 1), xycoords=("data", "axes fraction"), va="top", fontsize=8.5,
            color=MUTED,
        )  # fmt: skip


def lines(
    axes: Axes,
    curves: Sequence[Curve],
    place: str = "inside",
    heading: str = "",
    empty: str = "no curve",
    columns: int = 1,
) -> None:
    """Curves with a legend; where there is no curve, the words of `empty`."""
    for curve in curves:
        marker = curve.marker or ("o" if len(curve.x) < 2 else None)
        look: dict[str, Any] = {"color": curve.colour, "linewidth": curve.width}
        axes.plot(
            curve.x, curve.y, label=curve.label or None, linestyle=curve.style, marker=marker,
            drawstyle=curve.steps, markeredgecolor="white", markersize=6.5, **look,
        )  # fmt: skip
        if curve.bounds is not None and curve.marker:
            reach = np.abs(np.subtract(curve.bounds, curve.y))
            axes.errorbar(curve.x, curve.y, yerr=reach, fmt="none", capsize=3, **look)
        elif curve.bounds is not None:
            axes.fill_between(curve.x, *curve.bounds, color=curve.colour, alpha=0.18, linewidth=0)
        note_curve(axes, curve)
        if len(curve.circles):
            x, y = np.asarray(curve.x)[curve.circles], np.asarray(curve.y)[curve.circles]
            axes.scatter(x, y, s=28, facecolor="white", edgecolor=curve.colour, zorder=3)
    if any(curve.label for curve in curves):
        legend(axes, place, heading, columns)
    elif not curves:
        nothing(axes, empty)


def note_curve(axes: Axes, curve: Curve) -> None:
    """Keep the values of a curve, of at most `SHOWN_VALUES` points evenly along it."""
    x, y = (np.asarray(values, float) for values in (curve.x, curve.y))
    label = " ".join(curve.label.split())
    across, up = (name.split("\n")[0] for name in (axes.get_xlabel(), axes.get_ylabel()))
    for k in np.unique(np.linspace(0, len(x) - 1, min(len(x), SHOWN_VALUES)).round().astype(int)):
        ends = ""
        if curve.bounds is not None:
            low, high = (np.asarray(end)[k] for end in curve.bounds)
            ends = f" ({low:.3f} to {high:.3f})"
        hover.note(axes, x[k], y[k], f"{label}: {across} {x[k]:.4g}, {up} {y[k]:.3f}{ends}")


def heat_map(
    axes: Axes,
    values: np.ndarray,
    texts: Sequence[Sequence[str]] | None,
    columns: Sequence[str],
    rows: Sequence[str],
    colours: str = "Blues",
    limits: tuple[float, float] = (0.0, 1.0),
    size: float = 9,
    notes: Sequence[Sequence[str]] | None = None,
) -> None:
    """A coloured table, `texts` in its cells; NaN is grey.

    Args:
        axes: to draw on.
        values: float (n rows, n columns).
        texts: (n rows, n columns), or None for colours alone.
        columns, rows: labels.
        colours: a colour map of Matplotlib.
        limits: the values at its ends.
        size: of the texts, in points.
        notes: (n rows, n columns), what a cell says under the pointer; None for its labels and
            text. The key of a cell's value (`hover`) is "row,column".
    """
    import seaborn  # imports pyplot, which nobody should get by importing this module

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # `save` looks after them
        seaborn.heatmap(
            values, ax=axes, cmap=colours, vmin=limits[0], vmax=limits[1], cbar=False, fmt="",
            annot=np.array(texts) if texts else None, annot_kws={"fontsize": size},
            xticklabels=[fit(name, 18) for name in columns], yticklabels=list(rows),
        )  # fmt: skip
    axes.set_facecolor(GRID)
    for (i, j), value in np.ndenumerate(values):
        shown = texts[i][j] if texts else "n/a" if np.isnan(value) else f"{value:.3g}"
        said = notes[i][j] if notes else f"{rows[i]}; {columns[j]}: {shown}"
        hover.note(axes, j + 0.5, i + 0.5, said, f"{i},{j}")
    if texts:
        for i, j in np.argwhere(np.isnan(values)).tolist():
            axes.text(j + 0.5, i + 0.5, texts[i][j], ha="center", va="center", fontsize=size,
                      color=MUTED)  # fmt: skip
    axes.tick_params(length=0, labelrotation=0)


def draw_reliability(
    axes: Axes, curves: Sequence[tuple[pd.DataFrame, str, str, str]], title: str
) -> None:
    """Accuracy against confidence; the area of a point follows its number of records.

    Bins of a few records are left out: they jump about and hide the others.

    Args:
        axes: to draw on.
        curves: (table of `curves.reliability`, label, colour, marker) of each.
        title: of the panel.
    """
    for table, label, colour, marker in curves:
        bins = table[table["n"] >= FEW_IN_BIN]
        x, y = bins["confidence"], bins["accuracy"]
        axes.plot(x, y, color=colour, linewidth=1.6)
        if "accuracy_low" in bins:
            axes.vlines(x, bins["accuracy_low"], bins["accuracy_high"], color=colour,
                        linewidth=1.4, alpha=0.45)  # fmt: skip
        for point in bins.to_dict("records"):
            said = f"confidence {point['confidence']:.3f}, right {point['accuracy']:.3f}"
            hover.note(axes, point["confidence"], point["accuracy"],
                       f"{label}: {said}, n = {point['n']:,.0f}")  # fmt: skip
        axes.scatter(x, y, s=12 + 140 * bins["n"] / max(1, bins["n"].max()), color=colour,
                     marker=marker, edgecolor="white", linewidth=0.8, zorder=3)  # fmt: skip
        axes.plot([], [], color=colour, marker=marker, linewidth=1.6, label=label)
    titled(axes, title, "confidence (top probability)", "share that is right")
    unit_square(axes)
    legend(axes, "below")


def reliability(path: Path, curves: Sequence[tuple[pd.DataFrame, str]], title: str) -> Path:
    """Write a reliability diagram; `curves` are (table of `curves.reliability`, label) pairs."""
    figure, (axes,) = new(6.4, 6.2)
    draw_reliability(
        axes, [(*pair, *look) for pair, look in zip(curves, zip(PALETTE, "osD^"))], title
    )
    return save(figure, path)


def image_sheet(
    path: Path | str,
    rows: Sequence[Sequence[np.ndarray | None]],
    titles: Sequence[str] = (),
    names: Sequence[str] = (),
    captions: Sequence[Sequence[str]] = (),
    cell: float = 1.15,
    title: str = "",
    scale: tuple[str, str] | None = None,
) -> Path:
    """Write a grid of pictures with words around them.

    Args:
        path: of the PNG.
        rows: equally long lists of uint8 (h, w, 3) RGB, shown as squares; None stays empty.
        titles: of the columns.
        names: of the rows.
        captions: a text above each picture; () for none.
        cell: inches a picture.
        title: of the sheet.
        scale: colour map and meaning of the values from 0 to 1, drawn at the right; or None.
    """
    side, gap = round(cell * DPI), contact_sheet.GAP
    heights = [24 * (text.count("\n") + 1) + 8 for row in captions for text in row]
    sheet = contact_sheet.compose(rows, side, above := max(heights, default=0))
    titles, names = [wrap(text, 14) for text in titles], [wrap(text, 22) for text in names]
    heads = max((text.count("\n") + 1 for text in titles), default=0)
    beside = max(map(label_width, names), default=0)
    figure, (axes,) = new(
        sheet.shape[1] / DPI + 0.4 + 0.08 * beside + 1.2 * bool(scale),
        sheet.shape[0] / DPI + 0.25 + 0.16 * heads + 0.35 * bool(title),
    )
    axes.imshow(sheet)
    axes.spines[:].set_visible(False)
    left = gap + (side + gap) * np.arange(len(rows[0]))
    top = gap + above + (side + gap + above) * np.arange(len(rows))
    axes.set_xticks(left + side / 2 if titles else [], titles or None)
    axes.set_yticks(top + side / 2 if names else [], names or None)
    axes.tick_params(length=0, labelsize=8.5, labeltop=True, labelbottom=False)
    for y, texts in zip(top.tolist(), captions):
        for x, text in zip(left.tolist(), texts):
            axes.text(x, y - gap, escape_dollar(text), fontsize=8.5, va="bottom", color=INK)
    if scale:
        colours = ScalarMappable(matplotlib.colors.Normalize(0, 1), scale[0])
        bar = figure.colorbar(colours, ax=axes, fraction=0.03, aspect=30, shrink=0.7)
        bar.set_label(scale[1], fontsize=9, color=INK)
        bar.outline.set_visible(False)
    headline(figure, escape_dollar(title))
    return save(figure, path)


def label_width(text: str) -> int:
    """Letters of a label's longest line; those of Chinese, Japanese and Korean count twice."""
    return max(
        sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in line)
        for line in text.split("\n")
    )

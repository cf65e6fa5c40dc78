"""Confusion matrices, with labels of any length on both axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from dermssl.core.taxonomy import Taxonomy
from dermssl.reporting.figures import (
    INK,
    MUTED,
    fit,
    headline,
    heat_map,
    label_width,
    new,
    panel_title,
    save,
)

ANNOTATED = 12  # classes; beyond, the numbers can't be read
LETTER, LINE = 0.075, 0.16  # inches of a label at 9 points


def draw(
    axes: Axes,
    matrix: np.ndarray,
    names: Sequence[str],
    titles: Sequence[str],
    normalised: bool,
    repeats: int = 1,
) -> None:
    """A confusion matrix on `axes`; rows are the truth, shares are of the row.

    `repeats` is how often each record was counted: once a seed.
    """
    matrix = np.asarray(matrix)
    support = matrix.sum(axis=1)
    shares = np.divide(
        matrix, support[:, None], out=np.full(matrix.shape, np.nan), where=support[:, None] > 0
    )
    texts = None
    if len(names) <= ANNOTATED:
        formatted = "{:.2f}" if normalised else "{:,}"
        texts = [[formatted.format(value).replace("nan", "n/a") for value in row]
                 for row in (shares if normalised else matrix)]  # fmt: skip
    labels = _true_labels(names, titles, support // repeats)
    notes = [
        [f"true {title}, predicted {name}: {matrix[i, j]:,} of {support[i]:,}"
         for j, name in enumerate(titles)]
        for i, title in enumerate(titles)
    ]  # fmt: skip
    size = 10 if len(names) <= 8 else 8
    heat_map(axes, shares, texts, names, labels, size=size, notes=notes)
    for text in axes.texts:
        if text.get_text() in ("0", "0.00"):
            text.set_color(MUTED)
    for label in axes.get_xticklabels():
        label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_aspect("equal", anchor="W")  # else the labels get too little room
    axes.set_xlabel("predicted", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)


def _true_labels(names, titles, support):
    """The labels of the rows of a confusion matrix."""
    return [
        f"{fit(title if title == name else f'{title} ({name})', 32)}, n = {n:,}"
        for name, title, n in zip(names, titles, support)
    ]


def _room(names, titles):
    """Inches that the labels of a confusion matrix take at the left and, turned, below."""
    rows = _true_labels(names, titles, [1000] * len(names))
    columns = [fit(name, 18) for name in names]
    below = max(LETTER * label_width(text) + LINE * (text.count("\n") + 1) for text in columns)
    return LETTER * max(map(label_width, rows)), below * 2**-0.5


def write(
    path: Path,
    matrix: np.ndarray,
    names: Sequence[str],
    titles: Sequence[str],
    title: str,
    normalised: bool = True,
) -> Path:
    """Write a confusion matrix with counts, or with the shares of each true class."""
    left, below = _room(names, titles)
    side = 0.62 * len(names)
    figure, (axes,) = new(side + max(4.2, left + 1.4), side + max(2.2, below + 1.2))
    draw(axes, matrix, names, titles, normalised)
    headline(figure, title)
    return save(figure, path)


def write_pair(
    path: Path, fine: np.ndarray, coarse: np.ndarray, taxonomy: Taxonomy, title: str, repeats: int
) -> Path:
    """Write the shares of each true class at both levels, side by side."""
    levels = [(fine, taxonomy.fine, taxonomy.titles, "fine")]
    if taxonomy.has_hierarchy:
        levels.append((coarse, taxonomy.coarse, taxonomy.coarse, "coarse"))
    rooms = [_room(names, titles) for _, names, titles, _ in levels]
    widths = [
        max(3.3, left + 1.2) + 0.62 * len(level[1]) for level, (left, _) in zip(levels, rooms)
    ]
    height = 0.62 * len(taxonomy.fine) + max(1.5, *(below + 1.2 for _, below in rooms))
    figure, panels = new(sum(widths), height, 1, len(levels), width_ratios=widths)
    for axes, (matrix, names, titles, level) in zip(panels, levels):
        draw(axes, matrix, names, titles, normalised=True, repeats=repeats)
        panel_title(axes, level)
    headline(figure, title)
    return save(figure, path)

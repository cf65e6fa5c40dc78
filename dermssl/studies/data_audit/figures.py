"""Figures of a data set: classes, sizes, brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.reporting.figures import INK, PALETTE, legend, new, nothing, save, titled, wrap

SHOWN_CLASSES = 30  # bars; the table has the rest


def classes(path: Path, table: pd.DataFrame) -> Path:
    """Photos a class, stacked by split; `table` of `audit.classes`."""
    shown = table.head(SHOWN_CLASSES)
    figure, (axes,) = new(8.4, 1.6 + 0.36 * len(shown))
    left = np.zeros(len(shown))
    for k, split in enumerate(name for name in table if name != "class"):
        axes.barh(
            range(len(shown)), shown[split], left=left, color=PALETTE[k % len(PALETTE)], label=split
        )
        left = left + shown[split].to_numpy()
    for row, total in enumerate(left):
        axes.text(total, row, f" {total:,.0f}", va="center", fontsize=9, color=INK)
    axes.set_yticks(range(len(shown)), [wrap(name, 40) for name in shown["class"]])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    titled(axes, "Photos by class and split", "photos")
    legend(axes, "right")  # inside it would lie on the bars
    return save(figure, path)


def sizes(path: Path, photos: pd.DataFrame) -> Path:
    """Width against height; a point may stand for many photos, its area says how many."""
    whole = photos[photos["error"] == ""]
    figure, (axes,) = new(6.4, 5.4)
    table = whole.groupby(["width", "height"]).size().reset_index(name="n")
    area = 20 + 300 * table["n"] / table["n"].max()
    axes.scatter(table["width"], table["height"], s=area, color=PALETTE[0], alpha=0.5)
    titled(axes, f"Sizes: {len(table):,} different", "width, pixels", "height, pixels")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    return save(figure, path)


def light(path: Path, photos: pd.DataFrame) -> Path:
    """Brightness and contrast by class: a class that stands apart may be told by light alone."""
    import seaborn

    whole = photos[photos["error"] == ""]
    label = whole["fine"].where(whole["fine"] != "", whole["coarse"])
    label = label.where(label != "", "(no label)")
    names = label.value_counts().index[:SHOWN_CLASSES].tolist()
    figure, panels = new(9.6, 1.4 + 0.36 * max(4, len(names)), 1, 2)
    for axes, measure in zip(panels, ("brightness", "contrast")):
        if names:
            seaborn.boxplot(
                x=whole[measure], y=label, order=names, orient="h", showfliers=False, width=0.6,
                color="white", linecolor=INK, ax=axes,
            )  # fmt: skip
            axes.set_yticks(range(len(names)), [wrap(name, 30) for name in names])
        else:
            nothing(axes, "no readable photo")
        titled(axes, measure, "grey level")
    return save(figure, path)

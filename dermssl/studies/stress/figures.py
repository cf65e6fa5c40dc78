"""Figures of the stress test: example photos, and the drop of each condition."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dermssl.reporting import figures
from dermssl.reporting.figures import INK, MUTED, PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.studies.stress.conditions import title

if TYPE_CHECKING:
    from dermssl.evaluation.interval import Interval
    from dermssl.studies.stress.scores import Score


def draw(
    folder: Path,
    summary: dict[str, Any],
    results: Sequence[Score],
    pictures: Sequence[Sequence[np.ndarray]],
    classes: Sequence[str],
) -> None:
    """Write stress.png, and conditions.png: a row a photo, a column a condition.

    Args:
        folder: to write into.
        summary: the content of stress.json.
        results: of each condition, the clean one first.
        pictures: uint8 (h, w, 3) RGB of each photo under each condition.
        classes: of the photos.
    """
    names = [title(score.name) for score in results]
    heading = f"Stress test, {summary['n']:,} {summary['split']} photos"
    scores(folder / "stress.png", list(zip(names, results)), summary["chance"], heading)
    figures.image_sheet(folder / "conditions.png", pictures, names, classes)


def scores(path: Path, rows: Sequence[tuple[str, Score]], chance: float, heading: str) -> Path:
    """Balanced accuracy of every condition, and what it lost against the clean photos.

    Args:
        path: of the PNG.
        rows: title and score of each condition, the clean one first.
        chance: balanced accuracy of a guess.
        heading: of the picture.
    """
    kept = [
        Row(name, [Mark(score.balanced_accuracy, INK if score.drop is None else PALETTE[0])])
        for name, score in rows
    ]
    lost = [Row(name, [] if score.drop is None else [_drop(score.drop)]) for name, score in rows]
    figure, (left, right) = figures.new(10.2, 1.4 + rows_height(kept), 1, 2)
    interval_plot(left, kept, "balanced accuracy", "solid: clean photos, dotted: chance")
    figures.vertical(left, rows[0][1].balanced_accuracy.estimate, style="-")
    figures.vertical(left, chance)
    left.set_xlim(left=0)
    interval_plot(right, lost, "drop against the clean photos", "to the right: worse", labels=False)
    figures.vertical(right, 0, style="-")
    figures.headline(figure, heading)
    return figures.save(figure, path)


def _drop(interval: Interval) -> Mark:
    shown = interval.is_defined and interval.excludes_zero
    return Mark(interval, PALETTE[3] if shown else MUTED)

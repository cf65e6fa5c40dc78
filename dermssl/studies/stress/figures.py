"""Pictures of the stress test: what was shown, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dermssl.reporting import figures
from dermssl.reporting.figures import INK, MUTED, PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height

if TYPE_CHECKING:
    from dermssl.evaluation.bootstrap import Interval
    from dermssl.studies.stress.scores import Score


def conditions(
    path: Path, pictures: Sequence[Sequence[np.ndarray]], names: Sequence[str],
    titles: Sequence[str]
) -> Path:  # fmt: skip
    """A contact sheet: a row a photo, a column a condition; `pictures` uint8 (h, w, 3) RGB."""
    return figures.image_sheet(path, pictures, titles, names)


def scores(path: Path, rows: Sequence[tuple[str, Score]], chance: float, title: str) -> Path:
    """Balanced accuracy of every condition, and what it lost against the clean photos.

    Args:
        path: of the PNG.
        rows: title and score of each condition, the clean one first.
        chance: balanced accuracy of a guess.
        title: of the picture.
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
    figures.headline(figure, title)
    return figures.save(figure, path)


def _drop(interval: Interval) -> Mark:
    shown = interval.is_defined and interval.excludes_zero
    return Mark(interval, PALETTE[3] if shown else MUTED)

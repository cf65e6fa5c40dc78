"""Pictures of a run's scores on photos from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dermssl.evaluation import metric_tables
from dermssl.evaluation.interval import Interval
from dermssl.reporting import figures, wording
from dermssl.reporting.figures import INK, MUTED, PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.studies.external import compute

if TYPE_CHECKING:
    from dermssl.studies.external.files import Scored

SHOWN = ("balanced_accuracy", "fine_accuracy", "roc_auc", "malignant_auc", "melanoma_sensitivity")
UNKNOWN = Interval(float("nan"), float("nan"), float("nan"))


def draw(folder: Path, scored: Scored) -> None:
    """scores.png: here beside the run's own test photos. calibration.png: slope and excess."""
    numbers = scored.numbers
    rows = []
    for name in SHOWN:
        if name in numbers.intervals:
            marks = [Mark(numbers.intervals[name], PALETTE[3]),
                     Mark(numbers.internal.get(name, UNKNOWN), PALETTE[0])]  # fmt: skip
            title = compute.metric_title(numbers.level, name, scored.settings)
            rows.append(Row(title, marks, wording.estimate(numbers.difference.get(name), 2)))
    for one in numbers.thresholds:
        for name in one.here:
            marks = [Mark(one.here[name], PALETTE[3]),
                     Mark(one.internal.get(name, UNKNOWN), PALETTE[0])]  # fmt: skip
            gap = wording.estimate(one.difference.get(name), 2)
            rows.append(Row(f"{name} ({one.title}) at the kept threshold", marks, gap))
    figure, (axes,) = figures.new(9.4, 2.0 + rows_height(rows))
    n, own = numbers.counts["n_fine"], numbers.n_internal
    interval_plot(
        axes, rows, "", "score (95% interval)", note="difference",
        series=(f"{scored.place.name} (n = {n:,})", f"the run's own test photos (n = {own:,})"),
    )  # fmt: skip
    figures.headline(figure, f"The run on photos from elsewhere: {scored.place.name}")
    figures.save(figure, folder / "scores.png")
    _calibration(folder / "calibration.png", scored)


def _calibration(path, scored):
    table = scored.numbers.slopes
    parts = [table[table["probabilities"] == stage] for stage in compute.STAGES]
    kept = {"excess": [], "slope": []}
    colours = (MUTED, PALETTE[0], PALETTE[2])
    for rows in zip(*(part.to_dict("records") for part in parts)):
        label = f"{rows[0]['question']} (n = {rows[0]['n_positive']:,})"
        for name, shown in kept.items():
            shown.append(Row(label, [Mark(row[name], c) for row, c in zip(rows, colours)]))
    figure, (left, right) = figures.new(10.6, 2.6 + 1.6 * rows_height(kept["excess"]), 1, 2)
    titles = [compute.STAGE_TITLES[stage] for stage in compute.STAGES]
    interval_plot(
        left,
        kept["excess"],
        "mean P less the share (0: calibrated in the large)",
        "",
        series=titles,
    )
    figures.vertical(left, 0, style="-")
    interval_plot(
        right, kept["slope"], "calibration slope (under 1: too extreme)", "", labels=False
    )
    figures.vertical(right, 1, style="-")
    figures.headline(figure, f"Calibration on {scored.place.name}")
    figures.save(figure, path)


def forest(path: Path, results: Sequence[Scored]) -> Path:
    """A panel a metric: the run's own test photos, then each place."""
    names = [
        name
        for name in ("balanced_accuracy", "malignant_auc")
        if any(name in one.numbers.intervals for one in results)
    ]
    panels = []
    for name in names:
        rows = []
        for one in results:
            here = one.numbers.intervals.get(name, UNKNOWN)
            inside = one.numbers.internal.get(name, UNKNOWN)
            label = f"{one.place.name} (n = {one.numbers.counts['n_fine']:,}; {one.numbers.level})"
            rows.append(Row(label, [Mark(here, PALETTE[3]), Mark(inside, INK, hollow=True)]))
        panels.append(rows)
    figure, axes = figures.new(5.6 * len(names) + 1.6, 2.6 + rows_height(panels[0]), 1, len(names))
    for k, (panel, name, rows) in enumerate(zip(axes, names, panels)):
        interval_plot(
            panel, rows, f"{metric_tables.NAMES[name]} (95% interval)", labels=k == 0,
            series=("that place", "the run's own test photos") if k == 0 else (),
        )  # fmt: skip
    figures.headline(figure, f"{results[0].run.path.name} on photos from elsewhere")
    return figures.save(figure, path)

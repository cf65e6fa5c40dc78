"""Figure of label efficiency: a curve for each arm, and the paired differences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import ticker

from dermssl.evaluation.metric_tables import NAMES
from dermssl.reporting import figures, wording
from dermssl.reporting.arms import looks
from dermssl.reporting.figures import DOTTED, MUTED, Curve
from dermssl.studies.label_efficiency.compute import METRIC, n_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dermssl.evaluation.interval import Interval
    from dermssl.studies.label_efficiency import compute

SHIFT = 0.012  # of the axis, between two arms at one number of labels: bars must not hide bars


def curve(path: Path, scores: compute.Curve) -> Path:
    """Write the picture."""
    figure, (top, below) = figures.new(10.4, 7.2, 2, 1, height_ratios=(3, 2), sharex=True)
    _scores(top, scores)
    _differences(below, scores)
    counts = _counts(scores)
    below.set_xscale("log")
    below.set_xticks(counts, [f"{n:,}" for n in counts])
    below.xaxis.set_minor_locator(ticker.NullLocator())
    below.set_xlim(counts[0] / 1.35, counts[-1] * 1.35)
    top.tick_params(labelbottom=True)
    n_seeds = max(len(model.seeds) for model in scores.compared.models)
    basis = wording.scope(n_seeds, scores.counts, scores.compared.split)
    figures.headline(
        figure, "Scores and differences, by number of labels",
        f"symbol: mean over runs · small: single runs · {basis}",
    )  # fmt: skip
    return figures.save(figure, path)


def _scores(axes: Axes, scores: compute.Curve) -> None:
    arms, name, curves = scores.compared.arms, NAMES[METRIC], []
    axes.axhline(scores.chance, color=MUTED, linewidth=1.2, linestyle=DOTTED)
    axes.annotate(
        "chance", (1, scores.chance), xycoords=("axes fraction", "data"), xytext=(-4, 4),
        textcoords="offset points", ha="right", fontsize=9, color=MUTED,
    )  # fmt: skip
    for place, (arm, look) in enumerate(looks(arms).items()):
        models = [model for model in scores.compared.models if model.arm == arm]
        x = np.array([model.members[0].status["n_labels"] for model in models], float)
        x *= _shift(place, arms, scores)
        for count, model in zip(x, models):
            seeds = scores.by_seed[arm, model.labels]
            axes.scatter(np.full(len(seeds), count), seeds, s=9, color=look[0], alpha=0.6)
        intervals = [scores.intervals[arm, model.labels] for model in models]
        curves.append(_curve(x, intervals, models[0].title, look))
    figures.titled(axes, f"{name[0].upper()}{name[1:]}, 95% intervals", "", name)
    figures.lines(axes, curves, "right")


def _differences(axes: Axes, scores: compute.Curve) -> None:
    look, curves = looks(scores.compared.arms), []
    axes.axhline(0, color=MUTED, linewidth=1.2)
    for place, ((a, b), steps) in enumerate(scores.pairs.items()):
        x = np.array([n_labels(step.a) for step in steps], float)
        x *= _shift(place, scores.pairs, scores)
        label = f"{steps[0].a.title} − {steps[0].b.title}"
        # Held against the baseline a line is whole, against another arm dashed.
        style = "-" if b == scores.baseline else "--"
        found = [step.interval for step in steps]
        curves.append(_curve(x, found, label, look[a], style))
    every = [step for steps in scores.pairs.values() for step in steps]
    title = "Differences, intervals that hold together" if len(every) > 1 else "Difference"
    if margin := every[0].margin if every else 0.0:
        axes.axhspan(-margin, margin, color=MUTED, alpha=0.15, linewidth=0)
        title += f"; grey: within the margin of {margin:g}"
    figures.titled(
        axes, title,
        "labels to train on (log scale)", "difference",
    )  # fmt: skip
    figures.lines(axes, curves, "right", empty="only one arm is here")


def _curve(
    x: np.ndarray, intervals: Sequence[Interval], label: str, look: tuple[str, str],
    style: str = "-"
) -> Curve:  # fmt: skip
    """Estimates joined by a line, an interval each where there is one."""
    bounds = [(interval.estimate, interval.low, interval.high) for interval in intervals]
    y, low, high = np.array(bounds, float).reshape(-1, 3).T
    colour, marker = look
    return Curve(x, y, figures.wrap(label, 34), colour, style, marker=marker, bounds=(low, high))


def _counts(scores: compute.Curve) -> list[int]:
    return sorted({model.members[0].status["n_labels"] for model in scores.compared.models})


def _shift(place: int, several: Collection, scores: compute.Curve) -> float:
    """The factor that moves the bars of one line aside."""
    counts = _counts(scores)
    width = 1.35**2 * counts[-1] / counts[0]
    return width ** (SHIFT * (place - (len(several) - 1) / 2))

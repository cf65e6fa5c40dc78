"""Pictures of one run: ROC, precision and recall, net benefit, subgroups."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dermssl.evaluation.interval import Interval
from dermssl.evaluation.subgroups import BALANCED, FEW, SENSITIVITY, SPECIFICITY
from dermssl.reporting import figures
from dermssl.reporting.figures import (
    DOTTED,
    INK,
    MUTED,
    PALETTE,
    STYLES,
    Curve,
    shorten,
    titled,
)
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.studies.single_run.wording import AXES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dermssl.studies.single_run.compute import Evaluation
    from dermssl.studies.single_run.yes_no import BinaryTaskResult

AXIS_COLOUR = "#8A95A3"  # an axis such as malignancy, beside the classes it is made of
FEW_COLOUR = "#9AA5B1"
COLOURS = {BALANCED: PALETTE[0], SENSITIVITY: PALETTE[3], SPECIFICITY: PALETTE[2]}

Key = tuple[str, str]  # name, and "class" or "axis"
Labels = dict[Key, tuple[str, str]]  # title, its numbers as text


def roc(path: Path, tables: dict[Key, pd.DataFrame], labels: Labels, title: str) -> Path:
    """One-vs-rest ROC curves.

    Args:
        path: of the PNG.
        tables: table of `curves.roc` of each class and axis.
        labels: of the same.
        title: of the picture.
    """
    curves = [
        Curve(1 - table["specificity"], table["sensitivity"], label, **style)
        for table, label, style in _styled(tables, labels)
    ]
    return _square(
        path, curves, (title, "1 − specificity", "sensitivity"), True,
        "one against the rest: AUC (95% interval)",
    )  # fmt: skip


def precision_recall(
    path: Path, tables: dict[Key, pd.DataFrame], labels: Labels, title: str
) -> Path:
    """Precision against recall, one against the rest; arguments as in `roc`."""
    curves = [
        # Up to the first threshold's recall the precision is that of the first threshold.
        Curve(
            np.concatenate([[0.0], table["recall"]]),
            np.concatenate([table["precision"][:1], table["precision"]]),
            label, steps="steps-pre", **style,
        )
        for table, label, style in _styled(tables, labels)
    ]  # fmt: skip
    return _square(
        path, curves, (title, "recall (sensitivity)", "precision"), False,
        "one against the rest: average precision (95% interval)\n"
        "n records and their share, which is what a guess gets",
    )  # fmt: skip


def _styled(
    tables: dict[Key, pd.DataFrame], labels: Labels
) -> Iterator[tuple[pd.DataFrame, str, dict]]:
    """(table, label, look) of each curve that exists; classes keep their colours."""
    k = 0
    for key, table in tables.items():
        if key[1] == "axis":
            style = {"colour": AXIS_COLOUR, "width": 3.2}
        else:
            line = STYLES[k // len(PALETTE) % len(STYLES)]
            style = {"colour": PALETTE[k % len(PALETTE)], "style": line}
            k += 1
        if len(table):
            title, numbers = labels[key]
            yield table, f"{shorten(title, 38)}: {numbers}", style


def _square(
    path: Path, curves: list[Curve], texts: tuple[str, str, str], diagonal: bool, heading: str
) -> Path:
    figure, (axes,) = figures.new(10.2, 5.2)
    titled(axes, *texts)
    figures.unit_square(axes, diagonal)
    axes.set_anchor("W")  # the legend needs the room on the right
    figures.lines(axes, curves, "right", heading, "no curve: fewer than two classes have records")
    return figures.save(figure, path)


def decision(path: Path, questions: Sequence[BinaryTaskResult], split: str) -> Path:
    """Net benefit of acting on the model, on everyone, on no one.

    A panel a question; below, one more for each prevalence that was stated.
    """
    stated = list(questions[0].benefit_at)
    rows = 1 + len(stated)
    figure, panels = figures.new(0.6 + 5.0 * len(questions), 0.2 + 5.4 * rows, rows, len(questions))
    shown = [(question, prevalence) for prevalence in (None, *stated) for question in questions]
    for axes, (question, prevalence) in zip(panels, shown):
        target = question.target
        basis = f"{target.n_positive:,} of {target.n:,} {split} photos"
        if prevalence is not None:
            basis = f"at a prevalence of {prevalence:g}"
        titled(
            axes, figures.wrap(f"{target.title}: {basis}", 46),
            "threshold: act where P is at least this", "net benefit per photo",
        )  # fmt: skip
        if target.n == 0:
            figures.nothing(axes, "no labelled record")
            continue
        share = prevalence or target.n_positive / target.n
        benefit = question.benefit
        if prevalence is not None:
            benefit = {list(question.benefit)[-1]: question.benefit_at[prevalence]}
        _benefit(axes, benefit, len(question.benefit) > 1)
        lowest = min(table["model"].min() for table in benefit.values())
        low = min(-0.02, -0.25 * share, max(1.15 * lowest, -share))
        axes.set(xlim=(0, 1), ylim=(low, max(0.02, 1.15 * share)))
    return figures.save(figure, path)


def _benefit(axes: Axes, benefit: dict[str, pd.DataFrame], calibrated: bool) -> None:
    """The model's curves with the interval of the last, and the two plain policies."""
    table = list(benefit.values())[-1]
    threshold = table["threshold"]
    curves = [
        Curve(threshold, table["all"], "act on all", MUTED, width=1.4),
        Curve([0, 1], [0, 0], "act on none", INK, DOTTED, width=1.2),
    ]
    if len(benefit) > 1:
        raw = benefit["raw"]
        curves.append(
            Curve(raw["threshold"], raw["model"], "model, as predicted", PALETTE[1], "--", 1.6)
        )
    name = "model, as predict gives it" if calibrated else "model, as predicted"
    curves.append(
        Curve(threshold, table["model"], name, bounds=(table["model_low"], table["model_high"]))
    )
    figures.lines(axes, curves, "below", columns=2)


def risk_coverage(path: Path, table: pd.DataFrame, basis: str) -> Path:
    """Errors among the photos answered, by the share answered; `basis`: what they are of."""
    figure, (axes,) = figures.new(6.4, 4.4)
    titled(
        axes, f"Errors by confidence, {basis}", "share of photos answered, the surest first",
        "share of errors among them",
    )  # fmt: skip
    known = table[table["risk"].notna()]
    curves = []
    if len(known):
        everything = known["risk"].iloc[-1]
        curves = [
            Curve([0, 1], [everything] * 2, "any order", MUTED, DOTTED, 1.4),
            Curve(
                known["coverage"], known["risk"], "the surest first (95% interval)",
                bounds=(known["risk_low"], known["risk_high"]),
            ),
        ]  # fmt: skip
        axes.set(xlim=(0, 1.02), ylim=(0, max(0.05, 1.1 * known["risk_high"].max(), everything)))
    figures.lines(axes, curves, "below", empty="no labelled record", columns=2)
    return figures.save(figure, path)


def groups(path: Path, evaluation: Evaluation, basis: str) -> Path:
    """The groups of an evaluation; `basis` says what the numbers rest on."""
    question = evaluation.question
    overall = {BALANCED: evaluation.intervals["balanced_accuracy"].estimate}
    titles = {BALANCED: "balanced accuracy"}
    if question and "fixed_sensitivity" in question.found:
        name = shorten(question.target.title, 30)
        overall[SENSITIVITY] = question.found["fixed_sensitivity"].estimate
        overall[SPECIFICITY] = question.found["fixed_specificity"].estimate
        titles |= {SENSITIVITY: f"{name}: sensitivity", SPECIFICITY: f"{name}: specificity"}
    rows = _rows(evaluation, BALANCED)
    size = 3.2 + 2.9 * len(titles), 1.5 + rows_height(rows)
    figure, panels = figures.new(*size, 1, len(titles))
    for k, (axes, (metric, title)) in enumerate(zip(panels, titles.items())):
        interval_plot(axes, _rows(evaluation, metric), title, labels=k == 0)
        figures.vertical(axes, overall[metric])
        axes.set_xlim(-0.03, 1.03)
    figures.headline(
        figure, "",
        f"dot: estimate · bar: 95% interval · dotted: all {basis} · hollow: some classes have too "
        f"few lesions here and are left out\ngrey: fewer than {FEW} photos",
    )  # fmt: skip
    return figures.save(figure, path)


def _rows(evaluation: Evaluation, metric: str) -> list[Row]:
    """A block an axis, a row a group."""
    rows, unknown = [], Interval(np.nan, np.nan, np.nan)
    for axis in dict.fromkeys(group.axis for group in evaluation.groups):
        rows.append(Row(AXES[axis] + (", years" if axis == "age" else "")))
        for group in (group for group in evaluation.groups if group.axis == axis):
            few = group.n < FEW
            hollow = metric == BALANCED and bool(group.few or group.missing)
            mark = Mark(
                group.found.get(metric) or unknown, FEW_COLOUR if few else COLOURS[metric],
                hollow=hollow,
            )  # fmt: skip
            name = textwrap.shorten(group.value, 26, placeholder=" …") or group.value[:24]
            label = f"{name} (n = {group.n:,})"
            rows.append(Row(label, [mark], colour=MUTED if few else INK))
    return rows


def training_curves(path: Path, history: pd.DataFrame, title: str) -> Path:
    """Write loss and accuracies of one run, epoch by epoch, both phases in a row."""
    panels = (
        ("loss", "loss", (("loss", "training"), ("val_loss", "validation"))),
        (
            "accuracy",
            "share of records",
            (
                ("fine_accuracy", "fine, training"),
                ("val_fine_accuracy", "fine, validation"),
                ("coarse_accuracy", "coarse, training"),
                ("val_coarse_accuracy", "coarse, validation"),
                ("val_fine_balanced_accuracy", "balanced, validation"),
            ),
        ),
    )
    figure, pair = figures.new(9.6, 4.6, 1, 2)
    epochs = np.arange(1, len(history) + 1)
    phases = history["phase"].tolist() if "phase" in history else []
    for axes, (name, unit, columns) in zip(pair, panels):
        shown = [(column, label) for column, label in columns if column in history]
        curves = [
            Curve(epochs, history[column], label, PALETTE[k // 2],
                  "--" if label.endswith("training") else "-")
            for k, (column, label) in enumerate(shown) if len(history)
        ]  # fmt: skip
        titled(axes, name, "epoch", unit)
        for k, (before, phase) in enumerate(pairwise(phases), start=1):
            if phase != before:
                figures.vertical(axes, k + 0.5, phase)
        figures.lines(axes, curves, "below", empty="no epoch was trained")
    pair[1].set_ylim(-0.02, 1.02)
    figures.headline(figure, title)
    return figures.save(figure, path)

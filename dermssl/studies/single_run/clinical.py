"""The sections of the report that a clinician reads: what an answer means, and acting on it."""

from __future__ import annotations

import math
from typing import Any

from dermssl.evaluation.interval import Interval
from dermssl.reporting import report, wording
from dermssl.studies.single_run import calibration_effect, compute
from dermssl.studies.single_run import wording as sentences

INFINITE = "∞"


def bounds(interval: Interval, digits: int) -> str:
    """`wording.estimate` of a ratio, which may be infinite: "12.0 (4.1 to ∞)".

    >>> bounds(Interval(12.0, 4.14, math.inf), 1)
    '12.0 (4.1 to ∞)'
    """
    values = interval.estimate, interval.low, interval.high
    if math.isnan(interval.estimate):
        return wording.NOT_AVAILABLE
    first, low, high = (
        INFINITE if math.isinf(value) else wording.number(value, digits) for value in values
    )
    return f"{first} ({low} to {high})"


def meaning(evaluation: compute.Evaluation) -> report.Section:
    """Predictive values and likelihood ratios at each prevalence."""
    columns: list[Any] = ["", report.Column("prevalence", right=True)]
    columns += ["sensitivity", "specificity", "a yes is right (PPV)", "a no is right (NPV)"]
    columns += ["LR+", "LR−", "yes-photos for one found"]
    rows = [
        [
            question.target.title,
            f"{point.prevalence:.2g}" + (" (these photos)" if point.is_own else "")
            if not math.isnan(point.prevalence) else None,
            *(bounds(one, 2) for one in (point.sensitivity, point.specificity)),
            *(bounds(one, 3) for one in (point.ppv, point.npv)),
            bounds(point.lr_positive, 1), bounds(point.lr_negative, 2),
            bounds(point.number_needed, 1),
        ]
        for question in evaluation.questions for point in question.points
    ]  # fmt: skip
    text = (
        "All at the chosen threshold of the table above. PPV and NPV depend on how many photos are "
        "a yes: they hold at the prevalence of their row, which is taken as known, for photos that "
        "are else like these. LR+ and LR− multiply the odds of yes after a yes and after a no. The "
        "last column is 1 / PPV: how many would be biopsied for one that is found. Intervals: "
        "Wilson's for as many independent photos as these lesions are worth, and Donner and Zou's "
        "for ratios, so that they needn't be those of the table above to the last digit."
    )
    if not evaluation.settings.prevalence:
        text += (
            " A test set is rarely as a clinic: state the clinic's prevalence (evaluate.prevalence)"
            " to read its row."
        )
    return report.Section(
        "What a yes or a no means", [report.Table(columns, rows), report.Text(text)]
    )


def decisions(evaluation: compute.Evaluation) -> report.Section:
    """Net benefit: where acting on the model is better than acting on all or on none."""
    lines = [
        report.escaped(line)
        for task in evaluation.questions
        for line in sentences.decisions(task, evaluation.split)
    ]
    text = (
        "Net benefit (Vickers and Elkin 2006): found cases less false alarms, a false alarm "
        "weighing t / (1 − t) cases at threshold t. Acting at t = 0.1 means that nine false alarms "
        "are accepted for one case found. Points: `decision_curve.csv`."
    )
    if evaluation.settings.prevalence:
        text += (
            " At a stated prevalence sensitivity and specificity are weighed by it; the "
            "probabilities stay as they are given here, as the model would be used unchanged."
        )
    return report.Section(
        "Is acting on it worth it?",
        [
            report.Bullets(lines),
            report.Figure("decision_curve.png", "Decision curves"),
            report.Text(text),
        ],
    )


def brier_parts(evaluation: compute.Evaluation) -> list[report.Table | report.Text]:
    """The Brier score of each yes/no question, taken apart; empty without a question."""
    rows = []
    for question in evaluation.questions:
        for name, parts in question.parts.items():
            title = question.target.title
            if len(question.parts) > 1:
                title += f", {calibration_effect.TITLES[name]}"
            rows.append(
                [title, parts.brier, parts.reliability, parts.resolution, parts.uncertainty,
                 parts.scaled]
            )  # fmt: skip
    if not rows:
        return []
    columns = ["", "Brier score (0 to 1)", "reliability", "resolution", "uncertainty", "scaled"]
    text = (
        "Brier score = reliability − resolution + uncertainty, but for what ten bins hide (Murphy "
        "1973). Reliability is miscalibration (0 is best, and luck makes it larger), resolution "
        "how far apart the model tells the photos (more is better), uncertainty the difficulty of "
        "the question. Scaled: 1 − Brier / uncertainty; 1 is perfect, 0 is as good as always "
        "giving the share."
    )
    return [report.Table(columns, rows), report.Text(text)]

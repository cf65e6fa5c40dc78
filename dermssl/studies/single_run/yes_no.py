"""The yes/no questions of an evaluation: their scores, thresholds, and what an answer is worth."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dermssl.core.study_settings import Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.records import VALIDATION
from dermssl.evaluation import binary_tasks, bootstrap, brier, curves, metric_tables
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.operating_points import OperatingPoint, at_threshold
from dermssl.evaluation.predictions import Arrays
from dermssl.studies.single_run import calibration_effect


@dataclass(frozen=True, eq=False)
class BinaryTaskResult:
    """A `binary_tasks.Target` with its numbers.

    Attributes:
        target: as the model predicted it.
        given: as `dermssl.predict` gives it; the same where calibration changes nothing, or the
            split can't tell what it is worth.
        found: dict of metric -> `Interval`, from `binary_tasks.plan`; also `fixed_sensitivity` and
            `fixed_specificity`, those at `threshold`, and `reached_specificity`, which the best
            threshold for `sensitivity_at_specificity` really has.
        threshold: the lowest of `given` with the specificity asked for, on the records of
            `chosen_on`.
        chosen_on: "validation", or the split itself where validation can't tell.
        points: what yes and no mean at `threshold`, at the records' own prevalence first.
        benefit: dict of "raw" and, if there is one, "calibrated" -> table of `curves.decision`;
            the names are those of `calibration_effect.TITLES`.
        benefit_at: dict of stated prevalence -> table of `curves.decision` of `given`.
        parts: `brier.Decomposition` of the same names as `benefit`.
    """

    target: binary_tasks.Target
    given: binary_tasks.Target
    found: dict[str, Interval]
    threshold: float
    chosen_on: str
    points: tuple[OperatingPoint, ...]
    benefit: dict[str, pd.DataFrame]
    benefit_at: dict[float, pd.DataFrame] = field(repr=False)
    parts: dict[str, brier.Decomposition] = field(repr=False)


def answer(
    arrays: Arrays,
    given: Arrays | None,
    held_out: Arrays | None,
    split: str,
    taxonomy: Taxonomy,
    n_resamples: int,
    settings: Evaluate,
) -> tuple[BinaryTaskResult, ...]:
    """A `BinaryTaskResult` of every yes/no question that the taxonomy has.

    Args:
        arrays, given: `Arrays` of the split as predicted and as `calibration_effect.arrays`.
        held_out: `Arrays` of the validation records, on which thresholds are chosen, or None.
        split: its name.
        taxonomy: `Taxonomy`.
        n_resamples: draws of the bootstrap.
        settings: specificity, minimum sensitivity, class and prevalences.
    """

    def tasks(arrays):
        return binary_tasks.binary_tasks_of(arrays.y, arrays.p_fine, taxonomy, settings.one_class)

    raw = tasks(arrays)
    others = tasks(held_out) if held_out else [None] * len(raw)
    return tuple(
        _answer(target, shown, other, bool(given), arrays.groups, split, n_resamples, settings)
        for target, shown, other in zip(raw, tasks(given or arrays), others)
    )


def _answer(target, shown, other, calibrated, groups, split, n_resamples, settings):
    threshold, chosen_on = _threshold(shown, other, split, settings.specificity)
    plan = binary_tasks.plan(target, settings.specificity, settings.min_sensitivity)
    if not np.isnan(threshold):
        hits = binary_tasks.called_positive(shown, threshold)
        passes = binary_tasks.called_negative(shown, threshold)
        plan["fixed_sensitivity"] = PlannedMetric("mean", None, hits)
        plan["fixed_specificity"] = PlannedMetric("mean", None, passes)
    own = curves.threshold_at_specificity(target.y, target.score, settings.specificity)
    reached = binary_tasks.called_negative(target, own)
    plan["reached_specificity"] = PlannedMetric("mean", None, reached)
    draws = bootstrap.score(plan, groups, n_resamples=n_resamples)
    scales = {calibration_effect.RAW: target}
    scales |= {calibration_effect.GIVEN: shown} if calibrated else {}
    return BinaryTaskResult(
        target=target,
        given=shown,
        found=metric_tables.intervals(draws),
        threshold=threshold,
        chosen_on=chosen_on,
        points=tuple(
            at_threshold(shown, threshold, groups, share) for share in (None, *settings.prevalence)
        ),
        benefit={
            name: curves.decision(one, groups, n_resamples=n_resamples)
            for name, one in scales.items()
        },
        benefit_at={
            share: curves.decision(shown, groups, n_resamples=n_resamples, prevalence=share)
            for share in settings.prevalence
        },
        parts={
            name: brier.decompose(one.y, one.score, groups, n_resamples=n_resamples)
            for name, one in scales.items()
        },
    )


def _threshold(target, held_out, split, specificity):
    """A threshold with the specificity asked for, chosen away from the test records if it can."""
    if held_out:
        threshold = curves.threshold_at_specificity(held_out.y, held_out.score, specificity)
        if np.isfinite(threshold):
            return threshold, VALIDATION
    return curves.threshold_at_specificity(target.y, target.score, specificity), split


def summary(question: BinaryTaskResult) -> dict:
    """A question's entry in metrics.json."""
    return {
        "title": question.target.title,
        "kind": question.target.kind,
        "n": question.target.n,
        "n_positive": question.target.n_positive,
        "threshold": question.threshold,
        "threshold_chosen_on": question.chosen_on,
        "threshold_of": list(question.benefit)[-1],
        "metrics": {name: vars(interval) for name, interval in question.found.items()},
        "at_prevalence": [
            {name: vars(one) if isinstance(one, Interval) else one
             for name, one in vars(point).items()}
            for point in question.points
        ],
        "brier": {
            name: {**vars(parts), "scaled": vars(parts.scaled)}
            for name, parts in question.parts.items()
        },
    }  # fmt: skip


def rows(questions: tuple[BinaryTaskResult, ...]) -> list[dict]:
    """Rows of operating_points.csv: a question at a prevalence."""
    return [
        {
            "against_rest": question.target.name, "kind": question.target.kind,
            "n": question.target.n, "n_positive": question.target.n_positive,
            "threshold": question.threshold, "threshold_chosen_on": question.chosen_on,
            "prevalence": point.prevalence, "own_prevalence": point.is_own,
            **{
                f"{name}{end}": getattr(one, part)
                for name, one in vars(point).items() if isinstance(one, Interval)
                for end, part in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            },
        }
        for question in questions for point in question.points
    ]  # fmt: skip

"""Every number of one run's evaluation; its files, figures and report are made of these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.core.study_settings import Evaluate
from dermssl.data.records import TEST, VALIDATION
from dermssl.evaluation import (
    binary_tasks,
    bootstrap,
    calibrator,
    curves,
    metric_tables,
    predictions,
    subgroups,
)
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.metrics import COUNTS, SUMMARY
from dermssl.studies.single_run import calibration_effect, wording


@dataclass(frozen=True, eq=False)
class BinaryTaskResult:
    """A `binary_tasks.Target` with its numbers.

    Attributes:
        target: as the model predicted it.
        given: as `dermssl.predict` gives it; the same where calibration changes nothing, or the
            split can't tell what it is worth.
        found: dict of metric -> `Interval`, from `binary_tasks.plan`; also `fixed_sensitivity` and
            `fixed_specificity`, those at `threshold`.
        threshold: the lowest of `given` with the specificity asked for, on the records of
            `chosen_on`.
        chosen_on: "validation", or the split itself where validation can't tell.
        benefit: dict of "raw" and, if there is one, "calibrated" -> table of `curves.decision`;
            the names are those of `calibration_effect.TITLES`.
    """

    target: binary_tasks.Target
    given: binary_tasks.Target
    found: dict[str, Interval]
    threshold: float
    chosen_on: str
    benefit: dict[str, pd.DataFrame]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All that the files of an evaluation are made of.

    Attributes:
        path: of the run.
        found: its `Predictions`.
        history: its history.csv.
        arrays: `Arrays` of the split.
        n_resamples: draws of the bootstrap.
        intervals: of each metric.
        classes: from `metric_tables.per_class`.
        scaling: the run's `calibrator.Calibrator`; None away from the test split, whose records
            alone can tell what it is worth.
        after, change, reliability, means: what the scaling does; from `calibration_effect`.
        groups, gaps: from `subgroups.score` and `subgroups.subgroup_gaps`.
        command: what to type for the same again.
    """

    path: Path
    found: predictions.Predictions = field(repr=False)
    history: pd.DataFrame = field(repr=False)
    arrays: predictions.Arrays = field(repr=False)
    split: str
    n_resamples: int
    settings: Evaluate
    intervals: dict[str, Interval]
    classes: pd.DataFrame = field(repr=False)
    questions: tuple[BinaryTaskResult, ...]
    scaling: calibrator.Calibrator | None
    after: dict[str, Interval]
    change: dict[str, Interval]
    reliability: dict[str, pd.DataFrame] = field(repr=False)
    means: pd.DataFrame = field(repr=False)
    groups: list[subgroups.Group] = field(repr=False)
    gaps: list[subgroups.Gap] = field(repr=False)
    command: str

    @property
    def levels(self) -> tuple[str, ...]:
        """ "fine", and "coarse" where the taxonomy has a hierarchy."""
        return ("fine", "coarse") if self.found.taxonomy.has_hierarchy else ("fine",)

    @property
    def question(self) -> BinaryTaskResult | None:
        """The `BinaryTaskResult` that the subgroups are asked; None without any."""
        wanted = self.settings.one_class
        by_name = {question.target.name: question for question in self.questions}
        return by_name.get(wanted) or next(iter(self.questions), None)


def make(
    path: Path | str, split: str, n_resamples: int, settings: Evaluate, command: str
) -> Evaluation:
    """Score one split of a finished fine-tuning run; returns an `Evaluation`.

    Raises:
        UserError: the run's files aren't whole, the split has no labels, or a setting doesn't
            fit the run's classes.
    """
    path = Path(path)
    run = predictions.read(path)
    taxonomy = run.taxonomy
    _check(settings, taxonomy)
    history = predictions.read_history(path)
    arrays = run.arrays(split)
    if (arrays.y_coarse < 0).all():
        raise UserError(f"{path}: no labelled record in split '{split}'; nothing can be scored")
    # What was fitted on validation records says nothing new about those same records.
    scaling = calibrator.of_run(run) if split == TEST else None
    given = calibration_effect.arrays(scaling, arrays, taxonomy)
    draws = metric_tables.score([arrays], taxonomy, n_resamples, settings=settings)
    after, change = calibration_effect.score(draws, given, taxonomy, n_resamples)
    evaluation = Evaluation(
        path=path,
        found=run,
        history=history,
        arrays=arrays,
        split=split,
        n_resamples=n_resamples,
        settings=settings,
        intervals=metric_tables.intervals(draws),
        classes=metric_tables.per_class(
            [arrays], taxonomy, n_resamples, metric_tables.CLASS_FIGURES
        ),
        questions=_questions(
            arrays, given, _held_out(run, split, scaling), split, taxonomy, n_resamples, settings
        ),
        scaling=scaling,
        after=after,
        change=change,
        reliability=calibration_effect.reliability(arrays, given, n_resamples),
        means=calibration_effect.in_the_large(arrays, given, taxonomy, n_resamples),
        groups=[],
        gaps=[],
        command=command,
    )
    rows = run.table[run.table["split"] == split]
    asked = evaluation.question
    target, threshold = (asked.given, asked.threshold) if asked else (None, None)
    groups = subgroups.score(
        rows, arrays, taxonomy, target, threshold, settings.age_bands, n_resamples
    )
    gaps = subgroups.subgroup_gaps(groups, taxonomy)
    return replace(evaluation, groups=groups, gaps=gaps)


def _check(settings, taxonomy):
    binary_tasks.chosen_class(settings.one_class, taxonomy)
    subgroups.age_bands([], settings.age_bands)
    if settings.top_k != Evaluate().top_k and settings.top_k >= len(taxonomy.fine):
        raise UserError(
            f"evaluate.top_k is {settings.top_k}, but the run has {len(taxonomy.fine)} classes; "
            "naming them all is always right: use a smaller number"
        )


def _held_out(run, split, scaling):
    """Validation records as `predict` gives them, to choose a test threshold by; else None."""
    if split != TEST or not (run.table["split"] == VALIDATION).any():
        return None
    raw = run.arrays(VALIDATION)
    return calibration_effect.arrays(scaling, raw, run.taxonomy) or raw


def _questions(arrays, given, held_out, split, taxonomy, n_resamples, settings):
    options = settings.specificity, settings.min_sensitivity

    def tasks(arrays):
        return binary_tasks.binary_tasks_of(arrays.y, arrays.p_fine, taxonomy, settings.one_class)

    results, raw = [], tasks(arrays)
    others = tasks(held_out) if held_out else [None] * len(raw)
    for target, shown, other in zip(raw, tasks(given or arrays), others):
        threshold, chosen_on = _threshold(shown, other, split, settings.specificity)
        plan = binary_tasks.plan(target, *options)
        if not np.isnan(threshold):
            hits = binary_tasks.called_positive(shown, threshold)
            passes = binary_tasks.called_negative(shown, threshold)
            plan["fixed_sensitivity"] = PlannedMetric("mean", None, hits)
            plan["fixed_specificity"] = PlannedMetric("mean", None, passes)
        draws = bootstrap.score(plan, arrays.groups, n_resamples=n_resamples)
        benefit = {
            name: curves.decision(one, arrays.groups, n_resamples=n_resamples)
            for name, one in (
                (calibration_effect.RAW, target), (calibration_effect.GIVEN, given and shown)
            )
            if one
        }  # fmt: skip
        intervals = metric_tables.intervals(draws)
        results.append(BinaryTaskResult(target, shown, intervals, threshold, chosen_on, benefit))
    return tuple(results)


def _threshold(target, held_out, split, specificity):
    """A threshold with the specificity asked for, chosen away from the test records if it can."""
    if held_out:
        threshold = curves.threshold_at_specificity(held_out.y, held_out.score, specificity)
        if np.isfinite(threshold):
            return threshold, VALIDATION
    return curves.threshold_at_specificity(target.y, target.score, specificity), split


def summary(evaluation: Evaluation) -> dict:
    """The content of metrics.json."""
    counts, status = metric_tables.counts(evaluation.arrays), evaluation.found.status
    scaling = evaluation.scaling
    after = evaluation.after.get("ece")
    kept = ("arm", "seed", "n_labels", "config_hash", "data_hash")
    return {
        "run": str(evaluation.path),
        "predictions": str(evaluation.path / predictions.NAME),
        "command": evaluation.command,
        **{key: status.get(key) for key in kept},
        "split": evaluation.split,
        **counts,
        "resampled": f"whole {counts['grouped_by']}s, with replacement (percentile bootstrap)",
        "findings": findings(evaluation),
        "parameters": {name: getattr(evaluation.settings, name) for name in SETTINGS},
        "metrics": {
            name: _value(evaluation, counts, name) for name in SUMMARY if name not in COUNTS
        },
        "against_rest": {
            _key(question.target, evaluation.found.taxonomy): {
                "title": question.target.title,
                "kind": question.target.kind,
                "n": question.target.n,
                "n_positive": question.target.n_positive,
                "threshold": question.threshold,
                "threshold_chosen_on": question.chosen_on,
                "threshold_of": list(question.benefit)[-1],
                "metrics": {name: vars(interval) for name, interval in question.found.items()},
            }
            for question in evaluation.questions
        },
        "temperature": scaling.as_dict() if scaling else None,
        "after_temperature": {name: vars(interval) for name, interval in evaluation.after.items()},
        "ece_after_temperature": after.estimate if after else None,
        "mean_probabilities": evaluation.means.to_dict("records"),
        "versions": runs.versions(),
    }


def _key(target, taxonomy):
    """The target's name; the malignancy axis is told from a fine class of the same name."""
    alike = not target.is_class and target.name in taxonomy.fine
    return f"{target.name} (axis)" if alike else target.name


def findings(evaluation: Evaluation) -> list[str]:
    """What the report opens with."""
    return wording.findings(
        evaluation.arrays, evaluation.found.taxonomy, evaluation.intervals, evaluation.n_resamples
    )


def _value(evaluation, counts, name):
    """A metric with its interval, its n and the parameters it depends on; None if undefined."""
    if name not in evaluation.intervals:
        return None
    of_coarse = name in ("coarse_accuracy", "coarse_balanced_accuracy", "coarse_roc_auc")
    options = {key: getattr(evaluation.settings, key) for key in PARAMETERS.get(name, ())}
    n = counts["n_coarse" if of_coarse else "n_fine"]
    return {"n": n, **vars(evaluation.intervals[name]), **options}


# What an evaluation depends on besides its records and resamples.
SETTINGS = ("one_class", "specificity", "min_sensitivity", "top_k", "age_bands")
# Metric -> the settings it depends on.
PARAMETERS = {
    "top_k_accuracy": ("top_k",),
    "malignant_partial_auc": ("min_sensitivity",),
    "malignant_sensitivity_at_specificity": ("specificity",),
    "melanoma_sensitivity": ("specificity",),
}

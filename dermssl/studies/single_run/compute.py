"""Every number of one run's evaluation; its files, figures and report are made of these."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.core.study_settings import Evaluate
from dermssl.data.records import TEST, VALIDATION, group_ids
from dermssl.evaluation import (
    binary_tasks,
    calibrator,
    metric_tables,
    predictions,
    subgroups,
)
from dermssl.evaluation.calibration_null import Range
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.metrics import COUNTS, SUMMARY
from dermssl.studies.single_run import (
    abstention,
    calibration_effect,
    lesion_level,
    reader_answers,
    readers,
    wording,
    yes_no,
)
from dermssl.studies.single_run.abstention import Abstention
from dermssl.studies.single_run.lesion_level import LesionLevel
from dermssl.studies.single_run.reader_answers import Answers
from dermssl.studies.single_run.yes_no import BinaryTaskResult


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
        after, change, ece, reliability, means: what the scaling does; from `calibration_effect`.
        groups, gaps: from `subgroups.score` and `subgroups.subgroup_gaps`.
        abstention: from `abstention.measure`; None while it is being made.
        by_lesion: from `lesion_level.score`; None where lesions have one photo each.
        answers, reader_scores: of human readers, and what they scored; None and () without any.
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
    ece: dict[str, Range]
    reliability: dict[str, pd.DataFrame] = field(repr=False)
    means: pd.DataFrame = field(repr=False)
    groups: list[subgroups.Group] = field(repr=False)
    gaps: list[subgroups.Gap] = field(repr=False)
    command: str
    abstention: Abstention | None = field(default=None, repr=False)
    by_lesion: LesionLevel | None = field(default=None, repr=False)
    answers: Answers | None = field(default=None, repr=False)
    reader_scores: tuple[readers.Question, ...] = field(default=(), repr=False)

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
    answers = None
    if settings.readers:
        answers = reader_answers.read(settings.readers, run.table, split, taxonomy)
    # What was fitted on validation records says nothing new about those same records.
    scaling = calibrator.of_run(run) if split == TEST else None
    given = calibration_effect.arrays(scaling, arrays, taxonomy)
    rows = run.table[run.table["split"] == split]
    lesions = group_ids(rows, "lesion_id")
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
        intervals=calibration_effect.without_ece_bounds(metric_tables.intervals(draws)),
        classes=metric_tables.per_class(
            [arrays], taxonomy, n_resamples, metric_tables.CLASS_FIGURES
        ),
        questions=yes_no.answer(
            arrays, given, _held_out(run, split, scaling), split, taxonomy, n_resamples, settings
        ),
        scaling=scaling,
        after=after,
        change=change,
        ece=calibration_effect.ece(arrays, given, lesions),
        reliability=calibration_effect.reliability(arrays, given, n_resamples),
        means=calibration_effect.in_the_large(arrays, given, taxonomy, lesions),
        groups=[],
        gaps=[],
        command=command,
    )
    asked = evaluation.question
    target, threshold = (asked.given, asked.threshold) if asked else (None, None)
    groups = subgroups.score(
        rows, arrays, taxonomy, target, threshold, settings.age_bands, n_resamples
    )
    gaps = subgroups.subgroup_gaps(groups, taxonomy)
    left = abstention.measure(run, arrays, given, split, groups, n_resamples, settings)
    scores = readers.compare(answers, arrays, evaluation.questions, taxonomy) if answers else ()
    evaluation = replace(evaluation, answers=answers, reader_scores=scores)
    whole = lesion_level.score(arrays, lesions, taxonomy, n_resamples, settings)
    return replace(evaluation, groups=groups, gaps=gaps, abstention=left, by_lesion=whole)


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
        "resampled": f"whole {counts['grouped_by']}s, with replacement",
        "findings": findings(evaluation),
        "parameters": {name: getattr(evaluation.settings, name) for name in SETTINGS},
        "metrics": {
            name: _value(evaluation, counts, name) for name in SUMMARY if name not in COUNTS
        },
        "against_rest": {
            _key(question.target, evaluation.found.taxonomy): yes_no.summary(question)
            for question in evaluation.questions
        },
        "temperature": scaling.as_dict() if scaling else None,
        "after_temperature": {name: vars(interval) for name, interval in evaluation.after.items()},
        "ece_after_temperature": after.estimate if after else None,
        "ece_if_calibrated": {name: one._asdict() for name, one in evaluation.ece.items()},
        "mean_probabilities": evaluation.means.to_dict("records"),
        "abstention": abstention.summary(evaluation.abstention, evaluation.found.taxonomy)
        if evaluation.abstention
        else None,
        "by_lesion": lesion_level.summary(evaluation.by_lesion),
        "readers": readers.summary(evaluation.reader_scores),
        "versions": runs.versions(),
    }


def _key(target, taxonomy):
    """The target's name; the malignancy axis is told from a fine class of the same name."""
    alike = not target.is_class and target.name in taxonomy.fine
    return f"{target.name} (axis)" if alike else target.name


def findings(evaluation: Evaluation) -> list[str]:
    """What the report opens with."""
    first = wording.findings(
        evaluation.arrays, evaluation.found.taxonomy, evaluation.intervals, evaluation.n_resamples
    )
    first += filter(None, map(wording.operating, evaluation.questions))
    return first + readers.spoken(evaluation.reader_scores)


def _value(evaluation, counts, name):
    """A metric with its interval, its n and the parameters it depends on; None if undefined."""
    if name not in evaluation.intervals:
        return None
    of_coarse = name in ("coarse_accuracy", "coarse_balanced_accuracy", "coarse_roc_auc")
    options = {key: getattr(evaluation.settings, key) for key in PARAMETERS.get(name, ())}
    n = counts["n_coarse" if of_coarse else "n_fine"]
    return {"n": n, **vars(evaluation.intervals[name]), **options}


# What an evaluation depends on besides its records and resamples.
SETTINGS = (
    "one_class", "specificity", "min_sensitivity", "top_k", "age_bands", "coverage", "prevalence",
)  # fmt: skip
# Metric -> the settings it depends on.
PARAMETERS = {
    "top_k_accuracy": ("top_k",),
    "malignant_partial_auc": ("min_sensitivity",),
    "malignant_sensitivity_at_own_threshold": ("specificity",),
    "melanoma_sensitivity_at_own_threshold": ("specificity",),
}

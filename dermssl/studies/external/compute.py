"""Every number of a run on photos from one other place; no photo and no network here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dermssl.core.study_settings import Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.class_map import COARSE, MALIGNANCY, Truth
from dermssl.data.records import TEST, VALIDATION, group_ids
from dermssl.evaluation import (
    binary_tasks,
    bootstrap,
    calibration_null,
    calibration_slope,
    calibrator,
    curves,
    independent,
    metric_tables,
    prevalence,
    subgroups,
)
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.calibration_null import Range
from dermssl.evaluation.interval import Interval, joint_level
from dermssl.evaluation.predictions import Arrays, Predictions
from dermssl.studies.external import class_shares, levels

RAW, GIVEN, SHARES = STAGES = ("raw", "calibrated", "shares re-estimated")
STAGE_TITLES = {
    RAW: "as predicted", GIVEN: "as predict gives them", SHARES: "with re-estimated class shares",
}  # fmt: skip
CLAIMS = 4  # findings with a verdict: the difference, mean P, slope, share
CALIBRATION = ("brier", "log_loss")


@dataclass(frozen=True, eq=False)
class Threshold:
    """A threshold chosen on the run's validation records, and what it does elsewhere.

    Attributes:
        title: of what is asked, such as "malignant".
        threshold: of P as predict gives it; NaN where validation can't tell.
        here, internal: dict of "sensitivity" and "specificity" -> `Interval`, elsewhere and on
            the run's test records; difference: elsewhere less internal.
        n, n_positive: records elsewhere.
        target: as predict gives it, elsewhere.
    """

    title: str
    threshold: float
    here: dict[str, Interval]
    internal: dict[str, Interval]
    difference: dict[str, Interval]
    n: int
    n_positive: int
    target: binary_tasks.Target = field(repr=False)


@dataclass(frozen=True, eq=False)
class External:
    """All numbers of one place.

    Attributes:
        level: of `levels.LEVELS`, at which it is scored.
        taxonomy: the classes of the level.
        counts: from `metric_tables.counts`, of the records known at the level.
        intervals, internal, difference: dict of metric -> `Interval`: there, on the run's test
            records of the same classes, and the difference. Raw probabilities.
        n_internal: test records behind `internal`; 0 where the run has none.
        classes: from `metric_tables.per_class`.
        thresholds: of each yes/no question.
        stages: dict of stage -> dict of metric in `CALIBRATION` -> `Interval`.
        slopes: DataFrame, a row a question and stage.
        shares: DataFrame, a row a class: assumed, re-estimated, true.
        assumed: DataFrame, a row an assumption on shares: log loss.
        groups, gaps: from `subgroups`.
        fine_shares: float (F,), re-estimated shares of the fine classes.
        ece: dict of stage -> the ECE, and those that a calibrated model would show.
        claims: dict of "difference", "slope" and "share" -> the `Interval` that a finding follows
            from, at the level `confidence`, so that all `n_claims` of a report hold together with
            95% (Bonferroni).
        expected: the share of yes to the first question, and those that P as predict gives it
            would show were it right; at `confidence`, too.
    """

    level: str
    taxonomy: Taxonomy
    counts: dict
    intervals: dict[str, Interval]
    internal: dict[str, Interval]
    difference: dict[str, Interval]
    n_internal: int
    classes: pd.DataFrame = field(repr=False)
    thresholds: tuple[Threshold, ...]
    stages: dict[str, dict[str, Interval]]
    slopes: pd.DataFrame = field(repr=False)
    shares: pd.DataFrame = field(repr=False)
    assumed: pd.DataFrame = field(repr=False)
    groups: list[subgroups.Group] = field(repr=False)
    gaps: list[subgroups.Gap] = field(repr=False)
    fine_shares: np.ndarray = field(repr=False)
    arrays: Arrays = field(repr=False)
    ece: dict[str, Range]
    claims: dict[str, Interval]
    expected: Range
    confidence: float
    n_claims: int


def make(
    run: Predictions,
    rows: pd.DataFrame,
    truth: Truth,
    p_fine: np.ndarray,
    p_coarse: np.ndarray,
    groups: np.ndarray,
    settings: Evaluate,
    scaling: calibrator.Calibrator | None = None,
    n_places: int = 1,
) -> External:
    """Score a run's predictions of another place.

    Args:
        run: the run's own predictions.
        rows: record table of the place, n rows.
        truth: what is known of them in the run's classes.
        p_fine, p_coarse: float (n, F) and (n, C), raw.
        groups: (n,), lesions or patients.
        settings: `study_settings.Evaluate`.
        scaling: the run's calibration; None to read or fit it.
        n_places: that one report speaks of.

    Returns:
        `External`.
    """
    taxonomy, n_resamples = run.taxonomy, settings.n_resamples
    scaling = scaling or calibrator.of_run(run)
    level = levels.choose(truth)
    at = levels.taxonomy_at(level, taxonomy)
    given = scaling.apply(p_fine, p_coarse, taxonomy)
    source = source_shares(run, scaling)
    drawn = prevalence.with_intervals(given[0], source, groups, n_resamples)
    fine_shares = drawn.sample
    again = prevalence.corrected(given[0], source, fine_shares)
    pairs = {
        RAW: (p_fine, p_coarse),
        GIVEN: given,
        SHARES: (again, again @ taxonomy.matrix.astype(np.float64)),
    }
    arrays = {
        stage: levels.arrays_at(level, truth, *pair, groups, taxonomy)
        for stage, pair in pairs.items()
    }
    names = levels.METRICS[level]
    intervals = _intervals(arrays[RAW], at, n_resamples, settings, names)
    internal, n_internal = _internal(run, level, arrays[RAW].y, settings, names)
    asked = thresholds(run, scaling, level, arrays[GIVEN], settings)
    target = next((one for one in asked if not np.isnan(one.threshold)), None)
    n_claims = CLAIMS * n_places
    confidence = joint_level(n_claims)
    main = (levels.primary(level),)
    here = _intervals(arrays[RAW], at, n_resamples, settings, main, confidence)
    there, _ = _internal(run, level, arrays[RAW].y, settings, main, confidence)
    claims = {"share": class_shares.claim(level, taxonomy, drawn, confidence)}
    if here.keys() == there.keys() == set(main):
        claims["difference"] = independent.difference(here[main[0]], there[main[0]])
    first = questions(arrays[GIVEN], at)[0]
    slope = calibration_slope.score(first.y, first.score, groups, n_resamples, confidence)
    claims["slope"] = slope.slope
    lesions = group_ids(rows, "lesion_id")
    expected = calibration_null.share_range(first.y, first.score, lesions, confidence)
    found = subgroups.score(
        rows, arrays[RAW], at, target.target if target else None,
        target.threshold if target else None, settings.age_bands, n_resamples,
    )  # fmt: skip
    return External(
        level=level,
        taxonomy=at,
        counts=metric_tables.counts(arrays[RAW]),
        intervals=intervals,
        internal=internal,
        difference={
            name: independent.difference(intervals[name], internal[name])
            for name in names
            if name in intervals and name in internal
        },
        n_internal=n_internal,
        classes=metric_tables.per_class(
            [arrays[RAW]], at, n_resamples, metric_tables.CLASS_FIGURES
        ),
        thresholds=asked,
        stages={
            stage: _intervals(one, at, n_resamples, settings, CALIBRATION)
            for stage, one in arrays.items()
        },
        slopes=slopes(arrays, at, n_resamples),
        shares=class_shares.table(level, taxonomy, source, drawn, arrays[GIVEN], n_resamples),
        assumed=class_shares.log_losses(
            level, taxonomy, source, arrays[GIVEN], arrays[SHARES], n_resamples
        ),
        groups=found,
        gaps=subgroups.subgroup_gaps(found, at),
        fine_shares=fine_shares,
        arrays=arrays[RAW],
        ece={
            stage: calibration_null.ece_range(one.p_fine, one.y, lesions)
            for stage, one in arrays.items()
        },
        claims=claims,
        expected=expected,
        confidence=confidence,
        n_claims=n_claims,
    )


def source_shares(run: Predictions, scaling: calibrator.Calibrator) -> np.ndarray:
    """The shares of fine classes that P as predict gives it was made for: float (F,).

    The mean over the run's validation records, else over its test records.
    """
    table = run.table
    for split in (VALIDATION, TEST):
        if (table["split"] == split).any():
            own = run.arrays(split)
            p = scaling.apply(own.p_fine, own.p_coarse, run.taxonomy)[0]
            return prevalence.source_shares(p)
    own = run.arrays(table["split"].iloc[0])
    return prevalence.source_shares(scaling.apply(own.p_fine, own.p_coarse, run.taxonomy)[0])


def _intervals(arrays, taxonomy, n_resamples, settings, names, level=0.95):
    draws = metric_tables.score([arrays], taxonomy, n_resamples, names, settings)
    found = metric_tables.intervals(draws, level)
    return {name: found[name] for name in names if name in found}


def _own(run, split, level, scaling=None):
    """The run's own records of a split at a level, or None; calibrated with `scaling`."""
    if not (run.table["split"] == split).any():
        return None
    own = run.arrays(split)
    pair = own.p_fine, own.p_coarse
    if scaling:
        pair = scaling.apply(*pair, run.taxonomy)
    truth = levels.truth_of_run(own, run.taxonomy)
    return levels.arrays_at(level, truth, *pair, own.groups, run.taxonomy)


def _internal(run, level, y, settings, names, confidence=0.95):
    """The metrics of the test records whose class the other place has, too, and how many."""
    own = _own(run, TEST, level)
    if own is None:
        return {}, 0
    kept = np.isin(own.y, np.unique(y[y >= 0]))
    if not kept.any():
        return {}, 0
    own = Arrays(*(values[kept] for values in own))
    at = levels.taxonomy_at(level, run.taxonomy)
    found = _intervals(own, at, settings.n_resamples, settings, names, confidence)
    return found, int(kept.sum())


def thresholds(
    run: Predictions,
    scaling: calibrator.Calibrator,
    level: str,
    given: Arrays,
    settings: Evaluate,
) -> tuple[Threshold, ...]:
    """What the thresholds that evaluate chooses on validation do elsewhere.

    Args:
        run, scaling, settings: as of `make`.
        level: of `levels.LEVELS`.
        given: `Arrays` of the place at that level, as predict gives them.
    """
    at = levels.taxonomy_at(level, run.taxonomy)
    one = settings.one_class if settings.one_class in at.fine else binary_tasks.AUTO

    def tasks(arrays):
        return binary_tasks.binary_tasks_of(arrays.y, arrays.p_fine, at, one)

    here = tasks(given)
    nobody: Sequence[binary_tasks.Target | None] = [None] * len(here)
    own = {split: _own(run, split, level, scaling) for split in (VALIDATION, TEST)}
    chosen = tasks(own[VALIDATION]) if own[VALIDATION] else nobody
    internal = tasks(own[TEST]) if own[TEST] else nobody
    found = []
    for target, basis, inside in zip(here, chosen, internal):
        threshold = np.nan
        if basis is not None:
            threshold = curves.threshold_at_specificity(basis.y, basis.score, settings.specificity)
        mine = _at(target, threshold, given.groups, settings.n_resamples)
        test = own[TEST]
        theirs = {}
        if inside is not None and test is not None:
            theirs = _at(inside, threshold, test.groups, settings.n_resamples)
        gaps = {name: independent.difference(mine[name], theirs[name]) for name in theirs}
        found.append(
            Threshold(
                target.title, threshold, mine, theirs, gaps, target.n, target.n_positive, target
            )
        )
    return tuple(found)


def _at(target, threshold, groups, n_resamples):
    plan = {
        "sensitivity": PlannedMetric("mean", None, binary_tasks.called_positive(target, threshold)),
        "specificity": PlannedMetric("mean", None, binary_tasks.called_negative(target, threshold)),
    }
    return metric_tables.intervals(bootstrap.score(plan, groups, n_resamples=n_resamples))


def questions(arrays: Arrays, taxonomy: Taxonomy) -> list[binary_tasks.Target]:
    """The yes/no questions whose calibration is looked at: each class there is, and the axis."""
    y, p = arrays.y, arrays.p_fine
    axis = binary_tasks.malignancy(y, p, taxonomy)
    if axis and taxonomy is levels.AXIS:  # benign is what isn't malignant
        return [axis]
    there = [name for k, name in enumerate(taxonomy.fine) if (y == k).any()]
    classes = [binary_tasks.one_class(y, p, taxonomy, name) for name in there]
    return [axis, *classes] if axis and axis.n_positive else classes


def slopes(arrays: dict[str, Arrays], taxonomy: Taxonomy, n_resamples: int) -> pd.DataFrame:
    """Calibration in the large, intercept and slope of every question at every stage.

    Args:
        arrays: stage -> `Arrays`.
        taxonomy: of all of them.
        n_resamples: draws of the bootstrap.

    Returns:
        DataFrame: `question`, `kind`, `probabilities` (the stage), `n`, `n_positive`, `share`,
        `mean_p`, then `excess`, `in_the_large`, `intercept`, `slope`, each an `Interval`.
    """
    rows = []
    by_stage = {stage: questions(one, taxonomy) for stage, one in arrays.items()}
    for number, first in enumerate(by_stage[RAW]):
        for stage, one in arrays.items():
            target = by_stage[stage][number]
            score = calibration_slope.score(target.y, target.score, one.groups, n_resamples)
            known = target.y >= 0
            rows.append(
                {
                    "question": first.title, "kind": first.kind, "probabilities": stage,
                    "n": first.n, "n_positive": first.n_positive,
                    "share": first.n_positive / max(1, first.n),
                    "mean_p": float(target.score[known].mean()), **score._asdict(),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def level_title(external: External) -> str:
    """ "fine classes", "coarse groups" or "malignant or benign"."""
    return levels.TITLES[external.level]


def metric_title(level: str, name: str, settings: Evaluate) -> str:
    """A metric's printed name; coarse groups and two answers have no fine accuracy."""
    title = metric_tables.titles(settings)[name]
    if level in (COARSE, MALIGNANCY) and name == "fine_accuracy":
        return "accuracy"
    return title

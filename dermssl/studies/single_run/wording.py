"""The sentences of an evaluation: each follows from its interval alone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from dermssl.evaluation import (
    bootstrap,
    calibrator,
    curves,
    hypothesis_tests,
    interval,
    metric_tables,
    subgroups,
)
from dermssl.evaluation.small_samples import FEW_OF_A_CLASS
from dermssl.evaluation.subgroups import BALANCED, FEW, METRICS, largest
from dermssl.reporting import wording
from dermssl.studies.single_run import calibration_effect

if TYPE_CHECKING:
    import pandas as pd

    from dermssl.core.taxonomy import Taxonomy
    from dermssl.evaluation.calibration_null import Range
    from dermssl.evaluation.interval import Interval
    from dermssl.evaluation.predictions import Arrays
    from dermssl.studies.single_run.compute import Evaluation
    from dermssl.studies.single_run.yes_no import BinaryTaskResult


def findings(
    seed: Arrays, taxonomy: Taxonomy, intervals: dict[str, Interval], n_resamples: int = 1000
) -> list[str]:
    """Balanced accuracy against chance, and accuracy against always naming the commonest class.

    Args:
        seed: `predictions.Arrays`.
        taxonomy: `Taxonomy`.
        intervals: dict of metric -> `Interval`, from `scores.intervals`.
        n_resamples: draws of the bootstrap.

    Returns:
        list of sentences, first that the model gives every photo the same answer, if it does;
        without fine labels no more than that.
    """
    same = wording.one_answer(seed.p_fine, taxonomy.titles)
    counts = np.bincount(seed.y[seed.y >= 0], minlength=len(taxonomy.fine))
    commonest = int(counts.argmax())
    name = taxonomy.titles[commonest]
    if not counts.any():
        return same
    if np.count_nonzero(counts) == 1:
        text = f"All photos are {name}: they can't show whether the model tells classes apart."
        return [*same, text]
    return [
        *same,
        _chance(seed, intervals),
        _commonest(seed, commonest, name, intervals, n_resamples),
    ]


def _chance(seed, intervals):
    interval, chance = intervals["balanced_accuracy"], hypothesis_tests.chance(seed.y)
    shown = f"Balanced accuracy {wording.estimate(interval)}"
    guess = f"chance ({wording.number(chance)})"
    if interval.low > chance:
        return f"{shown} is above {guess}."
    if interval.high < chance:
        return f"{shown} is below {guess}."
    if not interval.is_defined:
        return f"{shown} isn't shown to be above {guess}."
    return (
        f"{shown} isn't shown to be above {guess}: these photos don't show that the model has "
        "learnt anything."
    )


def _commonest(seed, k, name, intervals, n_resamples):
    known = seed.y >= 0
    accuracy = f"Accuracy {wording.estimate(intervals['fine_accuracy'])}"
    if (seed.p_fine[known].argmax(axis=1) == k).all():
        return (
            f"{accuracy} is that of always naming the commonest class, {name}: the model does "
            "nothing else."
        )
    right = np.where(known, (seed.p_fine.argmax(axis=1) == seed.y).astype(float), np.nan)
    always = np.where(known, (seed.y == k).astype(float), np.nan)
    difference = bootstrap.paired_difference(
        "mean", None, right, always, seed.groups, n_resamples=n_resamples
    )
    share = wording.number(float(np.nanmean(always)))
    verdict = interval.verdict(difference)
    says = {
        "better": "is above that of always naming the commonest class",
        "worse": "is below that of always naming the commonest class",
    }.get(verdict, "isn't shown to be above that of always naming the commonest class")
    return f"{accuracy} {says}, {name} ({share}): the difference is {wording.estimate(difference)}."


def operating(task: BinaryTaskResult) -> str:
    """Sensitivity with the specificity that was reached, at the threshold; "" without one."""
    sensitivity, specificity = (
        task.found.get(f"fixed_{name}") for name in ("sensitivity", "specificity")
    )
    if not sensitivity or not specificity or math.isnan(sensitivity.estimate):
        return ""
    if math.isinf(task.threshold):  # the highest scores tie: no threshold parts them
        return ""
    return (
        f"{capitalized(task.target.title)}: sensitivity {wording.estimate(sensitivity)} at "
        f"specificity {wording.estimate(specificity)}, where the threshold "
        f"{wording.number(task.threshold)}, chosen on {task.chosen_on}, is taken."
    )


AXES = {
    "skin_tone": "skin tone", "sex": "sex", "age": "age", "site": "body site", "source": "source",
}  # fmt: skip


def subgroup_findings(evaluation: Evaluation) -> list[str]:
    """One sentence a metric on its largest gap."""
    task = evaluation.question
    sentences = []
    called = task is not None and not math.isnan(task.threshold)
    for metric in METRICS if called else METRICS[:1]:
        defined = [g for g in evaluation.gaps if g.metric == metric and g.interval.is_defined]
        gap = largest(evaluation.gaps, metric)
        bound = max((max(g.interval.high, -g.interval.low) for g in defined), default=math.nan)
        sentences.append(_sentence(_metric(metric, task), gap, len(defined), bound))
    if task and not called:
        sentences.append(
            f"Sensitivity and specificity ({task.target.title}) are n/a in every group: the "
            "records are all of one answer, so no threshold could be chosen."
        )
    return sentences


def _metric(metric, asked):
    if metric == BALANCED:
        return "mean recall over the classes that both groups hold"
    return f"{metric} ({asked.target.title}) at threshold {wording.number(asked.threshold, 2)}"


def _sentence(name, gap, n_gaps, bound):
    if gap is None:
        return (
            f"In {name}, no two groups can be compared: a gap needs {FEW} photos in each, and "
            f"{FEW_OF_A_CLASS} lesions or more of what is measured."
        )
    interval = gap.interval
    sides = (
        f"{wording.number(gap.value_a, 2)} in {_group(gap.a)} against "
        f"{wording.number(gap.value_b, 2)} in {_group(gap.b)}"
    )
    among = f"{100 * interval.level:.3g}% interval"
    if n_gaps > 1:
        among += f" that holds for all {n_gaps} gaps together"
    if interval.level > 0.95:
        among += ", and with the other metrics' at 95%"
    digits = wording.digits(interval)
    size = (
        f"{wording.number(interval.estimate, digits)} ({among}: "
        f"{wording.number(interval.low, digits)} to {wording.number(interval.high, digits)})"
    )
    axis = AXES[gap.a.axis]
    over = f"; classes compared: {', '.join(gap.classes)}" if gap.classes else ""
    if interval.excludes_zero:
        return (
            f"{capitalized(name)} differs between groups. The widest gap that is shown, by {axis}, "
            f"is {sides}: {size}{over}."
        )
    return (
        f"No difference in {name} is shown between groups. The largest gap, by {axis}, is {sides}: "
        f"{size}, which holds 0{over}. Gaps of up to {wording.number(bound, 2)} are not ruled out."
    )


def _group(group):
    return f"{group.value} (n = {group.n:,})"


def capitalized(text: str) -> str:
    """The text with its first letter as a capital."""
    return text[0].upper() + text[1:]


def subgroup_warnings(evaluation: Evaluation) -> list[str]:
    """Groups too small to compare, and axes that aren't there."""
    sentences = []
    small = [group for group in evaluation.groups if group.n < FEW]
    if small:
        named = ", ".join(f"{AXES[g.axis]} {g.value} ({g.n})" for g in small)
        sentences.append(
            f"Groups with fewer than {FEW} photos, whose figures hang on single photos; they are "
            f"in no comparison: {named}."
        )
    stated = {group.axis for group in evaluation.groups}
    absent = [AXES[axis] for axis in subgroups.AXES if axis not in stated]
    if absent:
        sentences.append(
            f"No groups by {', '.join(absent)}: the records state none, or one value only."
        )
    return sentences


def calibration(evaluation: Evaluation) -> str:
    """What is said of the probabilities, as predicted and as `predict` gives them."""
    parts = _scaling(evaluation), calibration_error(evaluation), _in_the_large(evaluation)
    text = " ".join(filter(None, parts))
    if not calibrator.balanced_run(evaluation.found.status):
        return text
    if evaluation.scaling and evaluation.scaling.fine.shares:
        return f"{text} {_named(evaluation)}".rstrip()
    return (
        f"{text} But {calibrator.BALANCED}. The expected calibration error looks at the likeliest "
        "class alone and doesn't show it; thresholds of the decision curve are on this scale."
    )


def _scaling(evaluation: Evaluation) -> str:
    scaling = evaluation.scaling
    if scaling is None:
        return (
            "The calibration of the run is judged on the test split alone: on validation it was "
            "fitted, on training records any model is over-confident."
        )
    level = scaling.fine
    if level.concern:
        return (
            f"The run's temperature is 1, so its probabilities stay as predicted: {level.concern} "
            "in the validation split."
        )
    gain = (
        f"fitted on {level.n:,} validation records, where the log loss goes from "
        f"{wording.number(level.log_loss_before)} to {wording.number(level.log_loss_after)}"
    )
    text = f"The run's temperature is {level.temperature:.3g}"
    if level.shares:
        text += (
            ", and each class's share of the labelled validation records to the power "
            f"{level.prior_power:.2g} corrects for training that counted all classes equally; both "
            f"are {gain}. dermssl.predict applies them to new photos: the probabilities suit "
            "photos among which classes are as common as there."
        )
    else:
        text += f", {gain}. dermssl.predict applies it to new photos."
    return f"{text} {_change(evaluation)}".rstrip()


def _change(evaluation: Evaluation) -> str:
    """What calibration did to the log loss of the split."""
    change = evaluation.change.get("log_loss")
    title = metric_tables.titles(evaluation.settings)["log_loss"]
    if change is None or not change.is_defined:
        return ""
    shown = f"{wording.estimate(change)} on these {evaluation.split} records"
    if not change.excludes_zero:
        return f"The change in {title}, {shown}, holds 0: none is shown."
    return f"That {'lowers' if change.estimate < 0 else 'raises'} the {title}: {shown}."


def calibration_error(evaluation: Evaluation) -> str:
    """The ECE of the probabilities as they are given, beside that of a calibrated model."""
    name, one = list(evaluation.ece.items())[-1]
    if math.isnan(one.seen):
        return ""
    before = ""
    if name == calibration_effect.GIVEN:
        raw = wording.number(evaluation.ece[calibration_effect.RAW].seen)
        before = f" ({raw} as predicted)"
    text = (
        f"The calibration error (ECE) is {wording.number(one.seen)}{before}; a perfectly "
        f"calibrated model shows {calibrated_range(one)} here"
    )
    if one.seen > one.high:
        return f"{text}: these probabilities are not calibrated."
    return f"{text}: these records show no miscalibration of the likeliest class."


def calibrated_range(one: Range) -> str:
    """The values of an ECE that a calibrated model shows: "0.018 to 0.033"."""
    return f"{wording.number(one.low)} to {wording.number(one.high)}"


def _in_the_large(evaluation: Evaluation) -> str:
    """The classes whose share isn't one that calibrated probabilities would show."""
    means = evaluation.means
    wrong = {
        "low": means["share"] > means["share_high"], "high": means["share"] < means["share_low"],
    }  # fmt: skip
    parts = []
    for word, rows in wrong.items():
        names = [
            f"{row['name']} ({wording.number(row['calibrated'])}, "
            f"share {wording.number(row['share'])})"
            for row in evaluation.means[rows].to_dict("records")
        ]
        if names:
            parts.append(f"too {word} for {', '.join(names)}")
    if not parts:
        return ""
    return (
        f"On average they are {'; '.join(parts)}: calibrated probabilities would hardly show such "
        "shares, by ranges that hold together for all rows of the table of means."
    )


def _named(evaluation: Evaluation) -> str:
    """What naming the most probable class would change."""
    titles = metric_tables.titles(evaluation.settings)
    pairs = {
        name: (evaluation.intervals.get(name), evaluation.after.get(name))
        for name in calibration_effect.NAMED
    }
    changes = [
        f"{titles[name]} {wording.number(raw.estimate)} would become "
        f"{wording.number(after.estimate)}"
        for name, (raw, after) in pairs.items()
        if raw and after and not math.isnan(raw.estimate)
    ]
    if not changes:
        return ""
    return (
        "The class named, and scored elsewhere on this page, is the likeliest as predicted. Were "
        "it the most probable one afterwards, as it is in the second calibration error and "
        f"reliability curve, {', '.join(changes)}."
    )


def decisions(task: BinaryTaskResult, split: str) -> list[str]:
    """Where acting on the model is surely better than acting on all or on none; a line a table."""
    if task.target.n_positive == 0:
        return [f"{task.target.title}: no such {split} photo, so there is no curve."]
    name = list(task.benefit)[-1]
    share = task.target.n_positive / task.target.n
    how = "" if name == "raw" else " (as predict gives it)"
    own = f"{task.target.title}, at the prevalence of these photos ({share:.2g})"
    lines = [_useful(own, how, task.benefit[name])]
    for stated, table in task.benefit_at.items():
        where = f"{task.target.title}, at a prevalence of {stated:g}"
        lines.append(_useful(where, how, table))
    return lines


def _useful(where: str, how: str, table: pd.DataFrame) -> str:
    stretches = curves.useful_stretches(table)
    if not stretches:
        return (
            f"{where}: at no threshold is the model{how} shown to be better than acting on all "
            "photos or on none."
        )
    named = " and ".join(
        f"from {low:g} to {high:g}" if low < high else f"at {low:g}" for low, high in stretches
    )
    gaps = " (not in the gaps between)" if len(stretches) > 1 else ""
    return (
        f"{where}: at thresholds {named}{gaps}, acting on the model{how} has a higher net benefit "
        "than acting on all photos and on none (pointwise: the 95% interval of the gain is above 0 "
        "at each of them, not for all together)."
    )

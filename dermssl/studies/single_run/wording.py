"""Does a model do better than an answer that doesn't look? In words, by its intervals alone."""

import math

import numpy as np

from dermssl.evaluation import bootstrap, hypothesis_tests, subgroups
from dermssl.evaluation.hypothesis_tests import FEW_OF_A_CLASS
from dermssl.evaluation.subgroups import BALANCED, FEW, METRICS, SENSITIVITY, largest
from dermssl.reporting import wording


def findings(seed, taxonomy, intervals, n_resamples=1000):
    """Balanced accuracy against chance, and accuracy against always naming the commonest class.

    Args:
        seed: `predictions.Arrays`.
        taxonomy: `Taxonomy`.
        intervals: dict of metric -> `Interval`, from `scores.intervals`.
        n_resamples: draws of the bootstrap.

    Returns:
        list of sentences; empty without fine labels.
    """
    counts = np.bincount(seed.y[seed.y >= 0], minlength=len(taxonomy.fine))
    commonest = int(counts.argmax())
    name = taxonomy.titles[commonest]
    if not counts.any():
        return []
    if np.count_nonzero(counts) == 1:
        return [f"All photos are {name}: they can't show whether the model tells classes apart."]
    return [_chance(seed, intervals), _commonest(seed, commonest, name, intervals, n_resamples)]


def _chance(seed, intervals):
    interval, chance = intervals["balanced_accuracy"], hypothesis_tests.chance(seed.y)
    shown = f"Balanced accuracy {wording.estimate(interval)}"
    guess = f"chance ({wording.number(chance)})"
    if hypothesis_tests.lower_bound(interval, seed.y, seed.p_fine, seed.groups) > chance:
        return f"{shown} is above {guess}."
    if not interval.is_defined:
        return f"{shown} isn't shown to be above {guess}."
    if interval.high < chance:
        return f"{shown} is below {guess}: a guess does better."
    if interval.low > chance:
        return (
            f"{shown} isn't shown to be above {guess}: it hangs on classes of fewer than "
            f"{FEW_OF_A_CLASS} independent records."
        )
    return (
        f"{shown} isn't above {guess}, which its interval holds: these photos don't show that "
        "the model has learnt anything."
    )


def _commonest(seed, k, name, intervals, n_resamples):
    known = seed.y >= 0
    right = np.where(known, (seed.p_fine.argmax(axis=1) == seed.y).astype(float), np.nan)
    always = np.where(known, (seed.y == k).astype(float), np.nan)
    difference = bootstrap.paired_difference(
        "mean", None, right, always, seed.groups, n_resamples=n_resamples
    )
    share = wording.number(float(np.nanmean(always)))
    found = bootstrap.verdict(difference)
    says = {
        "better": "is above that of always naming the commonest class",
        "worse": "is below that of always naming the commonest class",
    }.get(found, "isn't shown to be above that of always naming the commonest class")
    text = f"Accuracy {wording.estimate(intervals['fine_accuracy'])} {says}, {name} ({share})"
    return f"{text}: the difference is {wording.estimate(difference)}."


AXES = {
    "skin_tone": "skin tone", "sex": "sex", "age": "age", "site": "body site", "source": "source",
}  # fmt: skip


def subgroup_findings(made):
    """One sentence a metric on its largest gap.

    Args:
        made: `evaluated.Evaluation`.
    """
    asked = made.question
    said = []
    called = asked is not None and not math.isnan(asked.threshold)
    for metric in METRICS if called else METRICS[:1]:
        name = _metric(metric, asked)
        gap = largest(made.gaps, metric)
        every = [each for each in made.gaps if each.metric == metric and each.interval.is_defined]
        said.append(_sentence(name, gap, len(every)))
    if asked and not called:
        said.append(
            f"Sensitivity and specificity ({asked.target.title}) are n/a in every group: the "
            "records are all of one answer, so no threshold could be chosen."
        )
    return said


def _metric(metric, asked):
    if metric == BALANCED:
        return "mean recall over the classes that both groups hold"
    return f"{metric} ({asked.target.title}) at threshold {wording.number(asked.threshold, 2)}"


def _sentence(name, gap, n_gaps):
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
    among = f"{interval.level:.0%} interval"
    if n_gaps > 1:
        among += f" that holds for all {n_gaps} gaps together"
    digits = wording.digits(interval)
    size = (
        f"{wording.number(interval.estimate, digits)} ({among}: "
        f"{wording.number(interval.low, digits)} to {wording.number(interval.high, digits)})"
    )
    axis = AXES[gap.a.axis]
    over = f"; classes compared: {', '.join(gap.classes)}" if gap.classes else ""
    if interval.excludes_zero:
        return (
            f"{_capital(name)} differs between groups. The widest gap that is shown, by {axis}, "
            f"is {sides}: {size}{over}."
        )
    return (
        f"No difference in {name} is shown between groups. The largest gap, by {axis}, is {sides}: "
        f"{size}, which holds 0{over}."
    )


def _group(group):
    return f"{group.value} (n = {group.n:,})"


def _capital(text):
    return text[0].upper() + text[1:]


def warnings(made):
    """Groups too small to compare, and axes that aren't there."""
    said = []
    small = [group for group in made.groups if group.n < FEW]
    if small:
        named = ", ".join(f"{AXES[g.axis]} {g.value} ({g.n})" for g in small)
        said.append(
            f"Groups with fewer than {FEW} photos, whose figures hang on single photos; they are "
            f"in no comparison: {named}."
        )
    found = {group.axis for group in made.groups}
    absent = [AXES[axis] for axis in subgroups.AXES if axis not in found]
    if absent:
        said.append(f"No groups by {', '.join(absent)}: the records state none, or one value only.")
    return said


def tables(made):
    """One table an axis: its title, how many records don't state it, and its rows."""
    n = int((made.arrays.y >= 0).sum())
    found = []
    for axis in dict.fromkeys(group.axis for group in made.groups):
        groups = [group for group in made.groups if group.axis == axis]
        found.append(
            {
                "title": _capital(AXES[axis]) + (", years" if axis == "age" else ""),
                "unknown": n - sum(group.n for group in groups),
                "rows": [_row(group) for group in groups],
            }
        )
    return found


def _row(group):
    left_out = [f"no {name}" for name in group.missing] + [f"few {name}" for name in group.few]
    few_yes = group.behind.get(SENSITIVITY, 0) < FEW_OF_A_CLASS
    return {
        "name": group.value,
        "few": group.n < FEW,
        "n": group.n,
        "n_groups": group.n_groups,
        "n_positive": group.n_positive,
        "classes": f"{len(group.classes)}" + (f" ({', '.join(left_out)})" if left_out else ""),
        "cells": [
            wording.estimate(group.found.get(name), 2)
            + (" (!)" if name == SENSITIVITY and few_yes and group.n_positive else "")
            for name in METRICS
            if name in group.found
        ],
    }

"""Does a model do better than an answer that doesn't look? In words, by its intervals alone."""

import numpy as np

from dermssl.evaluation import bootstrap
from dermssl.evaluation.subgroups import FEW_OF_A_CLASS
from dermssl.reporting import wording
from dermssl.studies.stress import scores


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
    interval, chance = intervals["balanced_accuracy"], scores.chance(seed.y)
    shown = f"Balanced accuracy {wording.estimate(interval)}"
    guess = f"chance ({wording.number(chance)})"
    if scores.lower_bound(interval, seed.y, seed.p_fine, seed.groups) > chance:
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

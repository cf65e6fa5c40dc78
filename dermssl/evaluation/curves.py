"""Curves as tables of their points: ROC, precision against recall, reliability, net benefit."""

import numpy as np
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from dermssl.evaluation import calibration, ranking, validate
from dermssl.evaluation.bootstrap import replicates

FEW, HIDDEN = 5, 3  # seen errors; the rule of three: 0 seen is compatible with 3
THRESHOLDS = np.round(np.arange(0.01, 1, 0.01), 2)
BINS = 15  # as in `calibration.expected_calibration_error`, so that the table gives the ECE


def roc(y, score):
    """Every corner of a ROC curve.

    Args:
        y: int [n] of 1, 0 or -1 (left out).
        score: float [n].

    Returns:
        DataFrame: `threshold` (positive where score >= it; inf: nobody is), `sensitivity`,
        `specificity`; empty if either side has no record.
    """
    y, score, weights = ranking.known_binary(y, score)
    if not ranking.both_sides(y, weights):
        return pd.DataFrame(columns=["threshold", "sensitivity", "specificity"], dtype=float)
    false_positives, sensitivity, threshold = roc_curve(y, score)
    columns = {"threshold": threshold, "sensitivity": sensitivity}
    return pd.DataFrame({**columns, "specificity": 1 - false_positives})


def precision_recall(y, score):
    """Every point of a precision-recall curve, of the highest threshold first.

    Returns:
        DataFrame: `threshold`, `recall`, `precision`; empty if either side has no record. The
        average precision is the sum of recall steps times precision.
    """
    y, score, weights = ranking.known_binary(y, score)
    if not ranking.both_sides(y, weights):
        return pd.DataFrame(columns=["threshold", "recall", "precision"], dtype=float)
    precision, recall, threshold = precision_recall_curve(y, score)
    # scikit-learn ends with a point of its own making at recall 0, which has no threshold.
    table = {"threshold": threshold, "recall": recall[:-1], "precision": precision[:-1]}
    return pd.DataFrame(table)[::-1].reset_index(drop=True)


def reliability(p, y, groups=None, n_bins=BINS, n_resamples=1000):
    """`calibration.reliability` with `accuracy_low` and `accuracy_high`, 95% over groups."""
    table = calibration.reliability(p, y, n_bins)
    bins, _, correct = calibration.top_label_bins(p, y, n_bins)

    def kernel(tally):
        return validate.ratio(tally(bins, n_bins, correct), tally(bins, n_bins))

    found = replicates(kernel, groups, len(y), n_resamples=n_resamples).intervals()
    bounds = {"accuracy_low": [i.low for i in found], "accuracy_high": [i.high for i in found]}
    return table.assign(**bounds)


def decision(target, groups=None, thresholds=THRESHOLDS, n_resamples=1000):
    """`calibration.decision_curve` of a `targets.Target`, with intervals over groups.

    Returns:
        DataFrame: `threshold`, `model`, `model_low`, `model_high`, `all`, `none`, and
        `gain_low`, `gain_high`: of the model less the better of treating all and treating none.
        Where fewer than `FEW` of the errors that would cost the gain were seen (positives below
        the threshold, against treating all; negatives above it, against treating none),
        `gain_low` counts `HIDDEN` more: no draw can show what the sample has too little of.
    """
    table = calibration.decision_curve(target.y, target.score, thresholds)
    thresholds = table["threshold"].to_numpy()
    odds = (thresholds / (1 - thresholds))[:, None]
    # A record is acted on at the first `above` thresholds.
    above = np.searchsorted(thresholds, target.score, side="right")
    size = len(thresholds) + 1
    codes = np.where(target.y < 0, -1, above + size * target.y)

    def kernel(tally):
        counts = tally(codes, 2 * size)
        negative, positive = (  # acted on at each threshold
            np.cumsum(part[::-1], axis=0)[::-1][1:] for part in (counts[:size], counts[size:])
        )
        no, yes = counts[:size].sum(axis=0), counts[size:].sum(axis=0)
        model = validate.ratio(positive - negative * odds, no + yes)
        everyone = validate.ratio(yes - no * odds, no + yes)
        return np.concatenate([model, model - np.maximum(everyone, 0)])

    found = replicates(kernel, groups, len(target.y), n_resamples=n_resamples)
    every = found.intervals(may_be_zero=True)
    model, gain = every[: len(thresholds)], every[len(thresholds) :]
    missed = [((target.y == 1) & (target.score < t)).sum() for t in thresholds]
    alarms = [((target.y == 0) & (target.score >= t)).sum() for t in thresholds]
    against_all = table["all"].to_numpy() > 0
    few = np.where(against_all, missed, alarms) < FEW
    cost = np.where(against_all, 1, odds[:, 0]) / max(1, (target.y >= 0).sum())
    table.insert(2, "model_low", [interval.low for interval in model])
    table.insert(3, "model_high", [interval.high for interval in model])
    return table.assign(
        gain_low=np.array([interval.low for interval in gain]) - np.where(few, HIDDEN * cost, 0),
        gain_high=[interval.high for interval in gain],
    )


def useful_threshold_range(table):
    """The lowest and highest threshold at which the model surely beats both plain policies.

    Args:
        table: from `decision`.

    Returns:
        (low, high) of the longest unbroken stretch where `gain_low` > 0; None without one.
    """
    best, start = None, None
    values = table["threshold"].to_numpy()
    for k, good in enumerate([*(table["gain_low"] > 0), False]):
        if good and start is None:
            start = k
        if not good and start is not None:
            if best is None or k - start > best[1] - best[0]:
                best = (start, k)
            start = None
    return None if best is None else (float(values[best[0]]), float(values[best[1] - 1]))

"""Curves as tables of points: ROC, precision-recall, reliability, net benefit."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import precision_recall_curve, roc_curve

from dermssl.core.errors import UserError
from dermssl.evaluation import calibration, subgroups, validate
from dermssl.evaluation.binary_tasks import Target
from dermssl.evaluation.bootstrap import replicates
from dermssl.evaluation.bootstrap_metrics import ROUNDING

FEW, HIDDEN = 5, 3  # seen errors; the rule of three: 0 seen is compatible with 3
THRESHOLDS = np.round(np.arange(0.01, 1, 0.01), 2)
BINS = 15  # as in `calibration.expected_calibration_error`, so that the table gives the ECE


def roc(y: npt.ArrayLike, score: np.ndarray) -> pd.DataFrame:
    """Every corner of a ROC curve.

    Args:
        y: int (n,) of 1, 0 or -1 (left out).
        score: float (n,).

    Returns:
        DataFrame: `threshold` (positive where score >= it; inf: nobody is), `sensitivity`,
        `specificity`; empty if either side has no record.
    """
    y, score = _known(y, score)
    if not _both_sides(y):
        return pd.DataFrame(columns=["threshold", "sensitivity", "specificity"], dtype=float)
    false_positives, sensitivity, threshold = roc_curve(y, score)
    columns = {"threshold": threshold, "sensitivity": sensitivity}
    return pd.DataFrame({**columns, "specificity": 1 - false_positives})


def precision_recall(y: npt.ArrayLike, score: np.ndarray) -> pd.DataFrame:
    """Every point of a precision-recall curve, of the highest threshold first.

    Returns:
        DataFrame: `threshold`, `recall`, `precision`; empty if either side has no record. The
        average precision is the sum of recall steps times precision.
    """
    y, score = _known(y, score)
    if not _both_sides(y):
        return pd.DataFrame(columns=["threshold", "recall", "precision"], dtype=float)
    precision, recall, threshold = precision_recall_curve(y, score)
    # scikit-learn ends with a point of its own making at recall 0, which has no threshold.
    table = {"threshold": threshold, "recall": recall[:-1], "precision": precision[:-1]}
    return pd.DataFrame(table)[::-1].reset_index(drop=True)


def threshold_at_specificity(y: npt.ArrayLike, score: np.ndarray, specificity: float) -> float:
    """The lowest score to act on that keeps the specificity asked for, on these records.

    Returns:
        float: act where score >= it. Infinite where no score keeps it (act on nobody); NaN if
        either side is empty.

    Example:

    >>> threshold_at_specificity([0, 0, 1, 1], np.array([0.1, 0.4, 0.3, 0.8]), 0.9)
    0.8
    """
    allowed = 1 - validate.fraction(specificity, "evaluate.specificity") + ROUNDING
    y, score = _known(y, score)
    if not _both_sides(y):
        return np.nan
    false_positives, _, thresholds = roc_curve(y, score, drop_intermediate=False)
    return float(thresholds[false_positives <= allowed].min())


def reliability(
    p: np.ndarray,
    y: np.ndarray,
    groups: Collection[Any] | None = None,
    n_bins: int = BINS,
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """`calibration.reliability` with `accuracy_low` and `accuracy_high`, 95% over groups."""
    table = calibration.reliability(p, y, n_bins)
    bins, _, correct = calibration.top_label_bins(p, y, n_bins)

    def kernel(tally):
        return validate.ratio(tally(bins, n_bins, correct), tally(bins, n_bins))

    bounds = replicates(kernel, groups, len(y), n_resamples=n_resamples).intervals()
    return table.assign(
        accuracy_low=[bound.low for bound in bounds], accuracy_high=[bound.high for bound in bounds]
    )


def decision(
    target: Target,
    groups: Collection[Any] | None = None,
    thresholds: npt.ArrayLike = THRESHOLDS,
    n_resamples: int = 1000,
    prevalence: float | None = None,
) -> pd.DataFrame:
    """`calibration.decision_curve` of a `binary_tasks.Target`, with intervals over groups.

    Args:
        target: `binary_tasks.Target`.
        groups: (n,), lesions or patients.
        thresholds: floats between 0 and 1.
        n_resamples: draws of the bootstrap.
        prevalence: at which the benefit is asked for, taken as known: sensitivity and specificity
            of these records are weighed by it. None: as common as among the records. The scores
            stay what they are: a model is judged as it would be used there, unchanged.

    Returns:
        DataFrame: `threshold`, `model`, `model_low`, `model_high`, `all`, `none`, and
        `gain_low`, `gain_high`: of the model less the better of treating all and treating none.
        Where fewer than `FEW` of the errors that would cost the gain were seen (positives below
        the threshold, against treating all; negatives above it, against treating none),
        `gain_low` counts `HIDDEN` more: no draw can show what the sample has too little of.
    """
    table = calibration.decision_curve(target.y, target.score, thresholds)
    thresholds = table["threshold"].to_numpy()
    odds = thresholds / (1 - thresholds)

    def kernel(tally):
        model, everyone = _net_benefit(tally, target, thresholds, prevalence)
        return np.concatenate([model, model - np.maximum(everyone, 0), everyone])

    drawn = replicates(kernel, groups, len(target.y), n_resamples=n_resamples)
    count = len(thresholds)
    intervals = drawn.at(slice(2 * count)).intervals(may_be_zero=True)
    model, gain = intervals[:count], intervals[count:]
    if prevalence is not None:
        table["model"], table["all"] = drawn.sample[:count], drawn.sample[2 * count :]
    missed = [((target.y == 1) & (target.score < t)).sum() for t in thresholds]
    alarms = [((target.y == 0) & (target.score >= t)).sum() for t in thresholds]
    against_all = table["all"].to_numpy() > 0
    few = np.where(against_all, missed, alarms) < FEW
    # One more error weighs its share of the records, or of its side of them at a prevalence.
    n, yes = max(1, target.n), max(1, target.n_positive)
    a_miss = 1 / n if prevalence is None else prevalence / yes
    an_alarm = 1 / n if prevalence is None else (1 - prevalence) / max(1, target.n - yes)
    cost = np.where(against_all, a_miss, an_alarm * odds)
    table.insert(2, "model_low", [interval.low for interval in model])
    table.insert(3, "model_high", [interval.high for interval in model])
    return table.assign(
        gain_low=np.array([interval.low for interval in gain]) - np.where(few, HIDDEN * cost, 0),
        gain_high=[interval.high for interval in gain],
    )


def decision_difference(
    a: Target,
    b: Target,
    groups: Collection[Any] | None = None,
    thresholds: npt.ArrayLike = THRESHOLDS,
    n_resamples: int = 1000,
    prevalence: float | None = None,
) -> pd.DataFrame:
    """Net benefit of acting on `a` less that of acting on `b`, on the same records.

    Args:
        a, b: `binary_tasks.Target`s of the same question: equal `y`.
        groups, thresholds, n_resamples, prevalence: as in `decision`.

    Returns:
        DataFrame: `threshold`, `a`, `b`, `difference`, its pointwise 95% bounds `low`, `high`, and
        `band_low`, `band_high`, which hold at all thresholds together. NaN where nothing varies
        or a side has no record; equal answers have a difference of 0 (0 to 0).

    Raises:
        UserError: the two are not of the same records.
    """
    if not np.array_equal(a.y, b.y):
        raise UserError(
            f"decision_difference: {a.title} and {b.title} have other answers; both must be of the "
            "same records and question"
        )
    thresholds = calibration.decision_curve(a.y, a.score, thresholds)["threshold"].to_numpy()
    count = len(thresholds)

    def kernel(tally):
        each = [_net_benefit(tally, one, thresholds, prevalence)[0] for one in (a, b)]
        return np.concatenate([*each, each[0] - each[1]])

    drawn = replicates(kernel, groups, len(a.y), n_resamples=n_resamples)
    change = drawn.at(slice(2 * count, None))
    pointwise = change.intervals(may_be_zero=True)
    bands = subgroups.simultaneous(change.sample, change.draws)
    return pd.DataFrame(
        {
            "threshold": thresholds, "a": drawn.sample[:count],
            "b": drawn.sample[count : 2 * count],
            "difference": change.sample,
            "low": [one.low for one in pointwise], "high": [one.high for one in pointwise],
            "band_low": [one.low for one in bands], "band_high": [one.high for one in bands],
        }
    )  # fmt: skip


def _net_benefit(tally, target, thresholds, prevalence):
    """Net benefit of acting on the model and on everyone, both (thresholds, draws)."""
    odds = (thresholds / (1 - thresholds))[:, None]
    # A record is acted on at the first `above` thresholds.
    above = np.searchsorted(thresholds, target.score, side="right")
    size = len(thresholds) + 1
    counts = tally(np.where(target.y < 0, -1, above + size * target.y), 2 * size)
    negative, positive = (  # acted on at each threshold
        np.cumsum(part[::-1], axis=0)[::-1][1:] for part in (counts[:size], counts[size:])
    )
    no, yes = counts[:size].sum(axis=0), counts[size:].sum(axis=0)
    if prevalence is None:
        model = validate.ratio(positive - negative * odds, no + yes)
        return model, validate.ratio(yes - no * odds, no + yes)
    validate.open_fraction(prevalence, "evaluate.prevalence")
    found, alarms = validate.ratio(positive, yes), validate.ratio(negative, no)
    everyone = np.broadcast_to(prevalence - (1 - prevalence) * odds, found.shape)
    return prevalence * found - (1 - prevalence) * alarms * odds, everyone


def useful_stretches(table: pd.DataFrame) -> list[tuple[float, float]]:
    """The thresholds at which the model surely beats both plain policies.

    Args:
        table: from `decision`.

    Returns:
        list of (low, high), the unbroken stretches where `gain_low` > 0, in order.
    """
    good = (table["gain_low"] > 0).to_numpy()
    steps = np.diff(np.concatenate([[False], good, [False]]).astype(int))
    values = table["threshold"].to_numpy()
    return [
        (float(values[start]), float(values[end - 1]))
        for start, end in zip(np.flatnonzero(steps > 0), np.flatnonzero(steps < 0))
    ]


def _known(y, score):
    """Checked labels and scores of the records whose y isn't -1."""
    y, score = validate.binary(y, score)
    return y[y >= 0], score[y >= 0]


def _both_sides(y):
    return 0 < y.sum() < len(y)

"""What a yes or a no of the model means at a prevalence: predictive values, likelihood ratios.

Sensitivity and specificity at a threshold are properties of the model and the kind of photos. How
often a yes is right also depends on how many photos are a yes in the first place, which a test set
rarely has as a clinic has. So the predictive values are given at stated prevalences:

    PPV odds = prevalence odds * LR+        LR+ = sensitivity / (1 - specificity)
    1 / NPV odds = prevalence odds * LR-    LR- = (1 - sensitivity) / specificity
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermssl.evaluation import binary_tasks, shares, validate
from dermssl.evaluation.binary_tasks import Target
from dermssl.evaluation.interval import Interval


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold at one prevalence; the ratios may be infinite, or NaN where 0 / 0.

    Attributes:
        prevalence: share of yes for which the predictive values hold.
        is_own: whether it is that of the records themselves.
        sensitivity, specificity: at the threshold.
        lr_positive, lr_negative: how a yes, or a no, multiplies the odds of yes.
        ppv, npv: how often a yes, or a no, is right at that prevalence.
        number_needed: 1 / PPV, yes-photos to biopsy (or refer) for one that is a yes.
    """

    prevalence: float
    is_own: bool
    sensitivity: Interval
    specificity: Interval
    lr_positive: Interval
    lr_negative: Interval
    ppv: Interval
    npv: Interval
    number_needed: Interval


def at_threshold(
    target: Target,
    threshold: float,
    groups: Collection[Any] | None = None,
    prevalence: float | None = None,
    level: float = 0.95,
) -> OperatingPoint:
    """What a target's yes and no mean at a threshold.

    Sensitivity and specificity have the intervals of `shares.clustered_share`. Yes- and no-records
    are taken as independent of each other: a lesion is one of both, a patient may have both.

    Args:
        target: `binary_tasks.Target`.
        threshold: yes where its score >= this.
        groups: (n,), lesions or patients.
        prevalence: within 0..1, taken as known; None for the share of these records.
        level: of the intervals.

    Raises:
        UserError: a prevalence that isn't between 0 and 1.
    """
    own = prevalence is None
    if prevalence is None:
        prevalence = target.n_positive / target.n if target.n else np.nan
    else:
        validate.open_fraction(prevalence, "evaluate.prevalence")
    hits = binary_tasks.called_positive(target, threshold)
    passes = binary_tasks.called_negative(target, threshold)
    sensitivity = shares.clustered_share(hits, groups, level)
    specificity = shares.clustered_share(passes, groups, level)
    positive = ratio(sensitivity, _complement(specificity))
    negative = ratio(_complement(sensitivity), specificity)
    with np.errstate(divide="ignore"):
        odds = np.float64(prevalence) / (1 - np.float64(prevalence))
    ppv = _mapped(positive, lambda value: _share_of_odds(odds * value))
    missed = _mapped(negative, lambda value: _share_of_odds(odds * value))
    needed = _mapped(ppv, lambda value: np.inf if value == 0 else 1 / value)
    return OperatingPoint(
        prevalence, own, sensitivity, specificity, positive, negative, ppv, _complement(missed),
        Interval(needed.estimate, needed.high, needed.low, level),
    )  # fmt: skip


def ratio(a: Interval, b: Interval) -> Interval:
    """The ratio a / b of two independent shares, from their own bounds (Donner and Zou 2012).

    MOVER-R: it needs no logarithm, so that shares of 0 have bounds too.

    Args:
        a, b: `Interval`s of shares; all bounds are 0 or more.

    Returns:
        an `Interval`; the upper bound is infinite where b may be 0.

    Example:

    >>> ratio(Interval(0.8, 0.7, 0.9), Interval(0.1, 0.05, 0.2)).estimate.__round__(6)
    8.0
    """
    if np.isnan([a.estimate, a.low, b.estimate, b.low]).any():
        return Interval(np.nan, np.nan, np.nan, a.level)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = float(np.float64(a.estimate) / np.float64(b.estimate))
    product = a.estimate * b.estimate
    root = np.sqrt(max(0.0, product**2 - _span(a.low, a) * _span(b.high, b)))
    low = (product - root) / _span(b.high, b) if _span(b.high, b) > 0 else np.inf
    if _span(b.high, b) < 0:  # b's bound lies beyond twice its estimate: both signs turn
        low = (root - product) / -_span(b.high, b)
    high = np.inf
    if b.low > 0:
        root = np.sqrt(max(0.0, product**2 - _span(a.high, a) * _span(b.low, b)))
        high = (product + root) / _span(b.low, b)
    return Interval(estimate, float(max(0.0, low)), float(high), a.level)


def _span(bound: float, share: Interval) -> float:
    return bound * (2 * share.estimate - bound)


def _complement(share: Interval) -> Interval:
    return Interval(1 - share.estimate, 1 - share.high, 1 - share.low, share.level)


def _mapped(interval, function):
    bounds = (function(getattr(interval, name)) for name in ("estimate", "low", "high"))
    return Interval(*map(float, bounds), interval.level)


def _share_of_odds(odds):
    return 1.0 if np.isinf(odds) else odds / (1 + odds)

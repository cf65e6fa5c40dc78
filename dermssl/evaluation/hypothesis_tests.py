"""Paired tests, corrected for multiple comparisons.

The tests here (McNemar, DeLong) take records as independent. Where a lesion or
patient has several, trust the clustered bootstrap of `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.interval import Interval

EXACT_BELOW = 25  # discordant pairs; the usual limit for the normal approximation


@dataclass(frozen=True)
class McNemar:
    """Result of `mcnemar`: the discordant counts, the statistic (NaN if exact) and p."""

    only_a: int
    only_b: int
    statistic: float
    p: float
    exact: bool


@dataclass(frozen=True)
class DeLong:
    """Result of `delong`: both areas, their difference with its interval, z and two-sided p."""

    auc_a: float
    auc_b: float
    difference: Interval
    z: float
    p: float


def mcnemar(correct_a: Sequence[bool], correct_b: Sequence[bool]) -> McNemar:
    """Do two models err equally often on the same records? (McNemar 1947)

    Only records that one model gets right and the other wrong tell. With fewer than 25 of
    them p is the exact two-sided binomial; from 25 on it is chi-square with one degree of
    freedom and continuity correction, max(0, |a - b| - 1)^2 / (a + b) (Edwards 1948).

    Args:
        correct_a, correct_b: bool (n,), whether each model is right; labelled records only.

    Returns:
        a `McNemar`; p = 1 without discordant records, NaN without records.
    """
    a = validate.predictions(correct_a, "correct_a", 2).astype(bool)
    b = validate.predictions(correct_b, "correct_b", 2).astype(bool)
    validate.same_length(correct_a=a, correct_b=b)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n = only_a + only_b
    if n < EXACT_BELOW:
        p = float(stats.binomtest(only_a, n).pvalue) if n else 1.0
        return McNemar(only_a, only_b, np.nan, p if len(a) else np.nan, True)
    statistic = max(0, abs(only_a - only_b) - 1) ** 2 / n
    return McNemar(only_a, only_b, statistic, float(stats.chi2.sf(statistic, 1)), False)


def delong(
    y: npt.ArrayLike, score_a: np.ndarray, score_b: np.ndarray, level: float = 0.95
) -> DeLong:
    """Do two scores of the same records have the same AUC? (DeLong 1988)

    The structural components come from mid-ranks, in O(n log n) (Sun & Xu 2014). The variance
    of the difference is that of the components' differences, which is S_aa + S_bb - 2 S_ab.

    Args:
        y: int (n,) of 1, 0 or -1 (left out).
        score_a, score_b: float (n,).
        level: of the interval of auc_a - auc_b.

    Returns:
        a `DeLong`. Everything but the areas is NaN with fewer than two records on a side, or
        where a difference that isn't 0 has no variance (each AUC at its limit); identical
        rankings give z = 0, p = 1.
    """
    validate.open_fraction(level, "level")
    y = validate.labels(y, "y", 2)
    score_a, score_b = validate.scores(score_a, "score_a"), validate.scores(score_b, "score_b")
    validate.same_length(y=y, score_a=score_a, score_b=score_b)
    positive, negative = y == 1, y == 0
    n_positive, n_negative = int(positive.sum()), int(negative.sum())
    if n_positive == 0 or n_negative == 0:
        nothing = Interval(np.nan, np.nan, np.nan, level)
        return DeLong(np.nan, np.nan, nothing, np.nan, np.nan)
    of_positive_a, of_negative_a = _components(score_a[positive], score_a[negative])
    of_positive_b, of_negative_b = _components(score_b[positive], score_b[negative])
    auc_a, auc_b = float(of_positive_a.mean()), float(of_positive_b.mean())
    # An exact 0 for equal rankings, which a difference of two means need not be.
    change = of_positive_a - of_positive_b
    difference = float(change.mean())
    variance = np.nan
    if n_positive > 1 and n_negative > 1:
        variance = change.var(ddof=1) / n_positive
        variance += (of_negative_a - of_negative_b).var(ddof=1) / n_negative
    z = p = error = np.nan
    if variance > 1e-20:  # rounding of a true 0 stays below this
        error = float(np.sqrt(variance))
        z = difference / error
        p = float(2 * stats.norm.sf(abs(z)))
    elif variance <= 1e-20 and abs(difference) < 1e-12:
        z, p, error = 0.0, 1.0, 0.0
    reach = float(stats.norm.ppf((1 + level) / 2)) * error
    interval = Interval(difference, difference - reach, difference + reach, level)
    return DeLong(auc_a, auc_b, interval, z, p)


def holm(p_values: npt.ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p-values, which bound the family-wise error (Holm 1979).

    The i-th smallest of m becomes the largest over j <= i of (m - j + 1) p_j, at most 1.

    Args:
        p_values: float (m,) in 0..1; NaN (an undefined test) stays NaN and isn't counted.

    Returns:
        float64 (m,), in the order given.

    Example:

    >>> holm([0.01, 0.04]).tolist()
    [0.02, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise UserError(f"p_values have shape {p.shape}; expected a flat list")
    known = np.flatnonzero(~np.isnan(p))
    if ((p[known] < 0) | (p[known] > 1)).any():
        raise UserError(f"p_values span {np.nanmin(p)}..{np.nanmax(p)}; expected 0..1")
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(p.shape, np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(steps).clip(max=1)
    return adjusted


def chance(y: np.ndarray) -> float:
    """Balanced accuracy of an answer that doesn't depend on the photo: 1 / classes with records."""
    known = np.unique(y[y >= 0])
    return 1 / len(known) if len(known) else np.nan


def _components(positive, negative):
    """Structural components: for each record, the share of the other side it is ordered with.

    Returns:
        (float (positives,), float (negatives,)); the mean of either is the AUC.
    """
    m, n = len(positive), len(negative)
    rank = stats.rankdata(np.concatenate([positive, negative]))
    of_positive = (rank[:m] - stats.rankdata(positive)) / n
    of_negative = 1 - (rank[m:] - stats.rankdata(negative)) / m
    return of_positive, of_negative

"""Paired tests and intervals, corrected for multiple comparisons.

The tests here (McNemar, DeLong, Wilson) take records as independent. Where a lesion or
patient has several, trust the clustered bootstrap of `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from dermssl.core.errors import UserError
from dermssl.evaluation import bootstrap, bootstrap_metrics, validate
from dermssl.evaluation.bootstrap import Interval, SeedDraws, cluster_codes

FEW_OF_A_CLASS = 5  # lesions (or patients) of a class in a group, for a recall that says anything
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


def wilson(k: int, n: int, level: float = 0.95) -> Interval:
    """Score interval of the proportion k / n (Wilson 1927); sound at 0, at n and for small n.

    Returns:
        an `Interval` within 0..1; NaN throughout for n = 0.
    """
    validate.open_fraction(level, "level")
    if not 0 <= k <= n or int(k) != k or int(n) != n:
        raise UserError(f"wilson: {k} of {n}; expected whole numbers with 0 <= k <= n")
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, level)
    bounds = stats.binomtest(int(k), int(n)).proportion_ci(level, method="wilson")
    return Interval(k / n, float(bounds.low), float(bounds.high), level)


def wilson_if_degenerate(interval: Interval, n: int) -> Interval:
    """Wilson's interval of n clusters where all or none of them count: the draws then all agree.

    Args:
        interval: `Interval` of a share, from the bootstrap.
        n: int, clusters that the share is of.
    """
    if interval.is_defined or interval.estimate not in (0, 1) or not n:
        return interval
    return replace(wilson(int(interval.estimate) * n, n, interval.level), n_clusters=n)


def share_interval(draws: SeedDraws, level: float = 0.95) -> Interval:
    """The interval of a metric's draws, or Wilson's for a share where all draws agree."""
    return wilson_if_degenerate(draws.interval(level), int(draws.share_of[0]))


def share_with_interval(
    metric: str,
    y: np.ndarray | None,
    predicted: np.ndarray | list[np.ndarray],
    groups: Collection[Any] | None = None,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    **options: float,
) -> Interval:
    """`bootstrap.bootstrap_metric`; `wilson_if_degenerate` for shares ("accuracy", "mean").

    Arguments are those of `bootstrap_metric`; the values of a "mean" must be 0, 1 or NaN.
    """
    plan = {metric: bootstrap_metrics.planned(metric, y, predicted, **options)}
    draws = bootstrap.score(plan, groups, n_resamples=n_resamples)
    return share_interval(draws[metric], level)


def chance(y: np.ndarray) -> float:
    """Balanced accuracy of an answer that doesn't depend on the photo: 1 / classes with records."""
    known = np.unique(y[y >= 0])
    return 1 / len(known) if len(known) else np.nan


def lower_bound(
    interval: Interval, y: np.ndarray, p: np.ndarray, groups: Collection[Any] | None = None
) -> float:
    """What a balanced accuracy is at least: the interval's low end, or Wilson's where it has none.

    A bootstrap has no interval when all draws agree, as they do when every record is right.
    Then it is the mean over classes of the lower Wilson bound of the recall, of as many
    independent groups as the class has; one of them counts as right where all of it is.
    Nor do draws show how little a class with few groups tells (with one, its recall is the same
    in all of them): what such recalls may lack by Wilson comes off the interval's end.
    """
    codes, right = cluster_codes(groups, len(y)), p.argmax(axis=1) == y
    bounds, lacking = [], []
    for k in np.unique(y[y >= 0]):
        own = np.unique(codes[y == k])
        wrong = np.unique(codes[(y == k) & ~right])
        bounds.append(wilson(len(own) - len(wrong), len(own)).low)
        few = len(own) < FEW_OF_A_CLASS
        lacking.append(max(0.0, right[y == k].mean() - bounds[-1]) if few else 0.0)
    if not bounds:
        return np.nan
    if interval.is_defined:
        return float(interval.low - np.mean(lacking))
    return float(np.mean(bounds))


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

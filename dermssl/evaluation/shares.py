"""Intervals of shares whose records come in lesions, sound where few or all of them count.

A share's draws show little of what a few lesions can't tell: with none found of four they all
agree. Wilson's interval for as many independent records as the draws' variance stands for has no
such blind spot (Dean and Pagano 2015, "modified Wilson").
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap import cluster_codes
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.small_samples import needs_wilson, wilson_bounds, wilson_of_groups


def clustered_share(
    values: npt.ArrayLike, groups: Collection[Any] | None = None, level: float = 0.95
) -> Interval:
    """The mean of 0/1 values with Wilson's interval of the effective number of records.

    That number is p (1 - p) / V, where V is the variance of the share over whole groups
    (linearised, with G / (G - 1)): the number of groups where the records of one are alike, the
    number of records where they are independent, and never more than that. A share of 0 or 1 has
    no V; each group then counts as one record. So does each of fewer than ten groups, which can't
    tell V (`small_samples.wilson_of_groups`).

    Args:
        values: float (n,) of 1, 0 or NaN (left out).
        groups: (n,), see `bootstrap.cluster_codes`.
        level: of the interval.

    Returns:
        an `Interval`, within 0..1; NaN throughout without a value.

    Example:

    >>> clustered_share([0, 0, 0, 0]).high.__round__(2)
    0.49
    """
    validate.open_fraction(level, "level")
    given = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(given)
    codes = np.unique(cluster_codes(groups, len(given))[known], return_inverse=True)[1]
    kept = given[known]
    n, n_groups = len(kept), int(codes.max(initial=-1)) + 1
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, level, n_clusters=0)
    p = float(kept.mean())
    found = Interval(p, np.nan, np.nan, level, n_clusters=n_groups)
    if needs_wilson(p, n_groups):
        return wilson_of_groups(found, np.bincount(codes))
    residuals = np.bincount(codes, kept - p)
    variance = float((residuals**2).sum()) / n**2 * n_groups / (n_groups - 1)
    effective = min(float(n), p * (1 - p) / variance) if variance > 0 else float(n)
    low, high = wilson_bounds(p, effective, level)
    return replace(found, low=low, high=high)


def mean_of_shares(shares: Sequence[Interval]) -> Interval:
    """The mean of independent shares, by the distances of their bounds (MOVER).

    The squared distances of the lower bounds add up, and those of the upper ones, as variances
    would (Zou and Donner 2008; Newcombe 1998 for two).
    """
    estimates = np.array([share.estimate for share in shares])
    if not len(estimates) or np.isnan(estimates).any():
        return Interval(np.nan, np.nan, np.nan)
    low, high = (np.array([getattr(share, end) for share in shares]) for end in ("low", "high"))
    mean, count = float(estimates.mean()), len(estimates)
    return Interval(
        mean,
        mean - float(np.sqrt(((estimates - low) ** 2).sum())) / count,
        mean + float(np.sqrt(((high - estimates) ** 2).sum())) / count,
        shares[0].level,
    )


def recalls(
    y: np.ndarray, called: np.ndarray, groups: Collection[Any] | None = None, level: float = 0.95
) -> list[Interval]:
    """`clustered_share` of the records of each class of the sample that are called so."""
    right = (called == y).astype(float)
    return [
        clustered_share(np.where(y == k, right, np.nan), groups, level)
        for k in np.unique(y[y >= 0])
    ]

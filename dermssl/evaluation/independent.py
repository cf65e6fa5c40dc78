"""The difference of one metric between two independent sets of records."""

from __future__ import annotations

import math

import numpy as np

from dermssl.evaluation.interval import Interval


def difference(a: Interval, b: Interval) -> Interval:
    """a - b of two independent samples, from the interval of each (MOVER).

    Each bound takes its variance from the side of the two intervals that it hangs on: square and
    add, as Newcombe (1998, method 10) did with Wilson's intervals; Zou & Donner (2008) for any
    other. So a bounded or skewed metric keeps its shape.

    Args:
        a, b: of equal level, of records that have nothing in common.

    Returns:
        an `Interval`; NaN bounds where one of them has none.

    Example:

    >>> from dermssl.evaluation.small_samples import wilson
    >>> found = difference(wilson(56, 70), wilson(48, 80))
    >>> round(found.estimate, 4), round(found.low, 4), round(found.high, 4)
    (0.2, 0.0524, 0.3339)
    """
    estimate = a.estimate - b.estimate
    if not (a.is_defined and b.is_defined):
        return Interval(estimate, np.nan, np.nan, a.level)
    low = estimate - math.hypot(a.estimate - a.low, b.high - b.estimate)
    high = estimate + math.hypot(a.high - a.estimate, b.estimate - b.low)
    clusters = [one.n_clusters for one in (a, b) if one.n_clusters is not None]
    return Interval(
        estimate, low, high, a.level, min(a.n_resamples, b.n_resamples),
        n_clusters=min(clusters, default=None),
    )  # fmt: skip

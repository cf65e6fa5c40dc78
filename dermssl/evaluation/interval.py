"""An estimate with its interval, and what the interval says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Scores come from float32 probabilities: what varies less than this varies by rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval. NaN bounds: the data can't support one.

    Attributes:
        estimate: the metric (or difference) on the sample itself.
        low, high: bounds at `level`.
        level: confidence level, 0.95 for 95%.
        n_resamples: bootstrap draws asked for; 0 for an interval by formula.
        n_dropped: draws in which the metric was undefined, left out of the bounds.
        n_clusters: independent groups behind it; below some 30 a bootstrap is too narrow.
        n_runs: training runs behind it, the fewer of two arms. With 1 the interval covers the
            choice of records alone, not the luck of training.
        record_variance: variance of the estimate by the choice of records.
        seed_variance: its variance by the luck of training; NaN for one run.
        df: degrees of freedom of `seed_variance`; NaN for one run.
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95
    n_resamples: int = 0
    n_dropped: int = 0
    n_clusters: int | None = None
    n_runs: int = 1
    record_variance: float = np.nan
    seed_variance: float = np.nan
    df: float = np.nan

    def __str__(self) -> str:
        if np.isnan(self.estimate):
            return "n/a"
        if not self.is_defined:
            return f"{self.estimate:.3f} [n/a]"
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def is_defined(self) -> bool:
        """Whether both bounds are numbers."""
        return not (np.isnan(self.low) or np.isnan(self.high))

    @property
    def excludes_zero(self) -> bool:
        """True only where the whole interval lies on one side of 0."""
        return bool(self.low > 0 or self.high < 0)

    @property
    def reach(self) -> float:
        """The largest size, either way, of what the interval holds; NaN if undefined."""
        return float(max(abs(self.low), abs(self.high)))


def joint_level(n: int) -> float:
    """The level of each of `n` intervals that hold together with 95% (Bonferroni).

    >>> round(joint_level(10), 4)
    0.995
    """
    return 1 - 0.05 / max(1, n)


def verdict(interval: Interval, higher_is_better: bool = True) -> str:
    """What an interval of (a - b) says of a: "better", "worse", "not told apart" or "undefined".

    "Not told apart" is an interval that holds 0: no difference was shown, not that there is
    none. "Undefined" is an interval that could not be computed.

    >>> verdict(Interval(0.02, -0.01, 0.05))
    'not told apart'
    """
    if not interval.is_defined:
        return "undefined"
    if not interval.excludes_zero:
        return "not told apart"
    return "better" if (interval.low > 0) == higher_is_better else "worse"

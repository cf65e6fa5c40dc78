"""Intervals and variances that hold where few lesions stand behind a number.

A percentile bootstrap can't show what a sample doesn't hold: a class of two lesions, both found,
never varies. The formulas here know how little two lesions tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.interval import Interval

FEW_OF_A_CLASS = 5  # lesions on a side from which on F1 and average precision get an interval
FLOORED_BELOW = 10  # lesions of a class whose recall varies at least as the formulas below say
NEWCOMBE_BELOW = 40  # lesions on a side of an AUC, below which its bootstrap is too narrow


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
    return Interval(k / n, *wilson_bounds(k / n, n, level), level)


def wilson_bounds(p: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's bounds (1927) of a share `p` of `n` records, which needn't be whole numbers."""
    z = float(stats.norm.ppf((1 + level) / 2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return (0.0 if p == 0 else float(low)), (1.0 if p == 1 else float(high))


def needs_wilson(share: float, n_groups: int) -> bool:
    """Whether a share's draws hide how little is known: few groups, or all or none that count."""
    return n_groups > 0 and (share in (0, 1) or (n_groups < FLOORED_BELOW and 0 < share < 1))


def wilson_of_groups(interval: Interval, sizes: npt.ArrayLike) -> Interval:
    """Wilson's interval of a share whose records come in groups, where `needs_wilson`.

    Its n is the number of groups, as if the records of one were all alike: a few groups can't tell
    how alike they are. Groups of unequal size s tell as much as (sum s)^2 / sum s^2 equal ones
    (Kish 1965); where all or none of the records count, each group counts as one.

    Args:
        interval: `Interval` of a share, from the bootstrap.
        sizes: int (G,), records of each group.

    >>> print(wilson_of_groups(Interval(5 / 6, 4 / 6, 1.0), [2, 2, 2]))
    0.833 [0.310, 0.982]
    """
    sizes = np.asarray(sizes, float)
    if not needs_wilson(interval.estimate, len(sizes)):
        return interval
    at_edge = interval.estimate in (0, 1)
    n = len(sizes) if at_edge else sizes.sum() ** 2 / (sizes**2).sum()
    low, high = wilson_bounds(interval.estimate, n, interval.level)
    return replace(interval, low=low, high=high, n_clusters=len(sizes))


def newcombe(area: float, n_positive: int, n_negative: int, level: float = 0.95) -> Interval:
    """Interval of an AUC by method 5 of Newcombe (2006), sound from one positive on.

    The bounds are the areas t with |area - t| = z sqrt(v(t)), where
    v(t) = t(1 - t)[1 + N(1 - t)/(2 - t) + N t/(1 + t)] / (m n), N = (m + n)/2 - 1.

    Args:
        area: in 0..1.
        n_positive, n_negative: m and n, independent lesions on each side.
        level: confidence level.

    Returns:
        an `Interval` within 0..1; NaN throughout with no lesion on a side.

    >>> print(newcombe(0.5, 1, 1))
    0.500 [0.055, 0.945]
    """
    validate.open_fraction(level, "level")
    m, n = n_positive, n_negative
    if not (m and n) or np.isnan(area):
        return Interval(np.nan, np.nan, np.nan, level)
    z, half = stats.norm.ppf((1 + level) / 2), (m + n) / 2 - 1

    def gap(t):
        variance = t * (1 - t) * (1 + half * (1 - t) / (2 - t) + half * t / (1 + t)) / (m * n)
        return abs(area - t) - z * np.sqrt(variance)

    # At 0 and 1 the variance is 0; between them and the area the gap crosses 0 once.
    edge = 1e-12
    low = optimize.brentq(gap, edge, min(area, 1 - edge)) if area > 0 and gap(edge) > 0 else 0.0
    high = 1.0
    if area < 1 and gap(1 - edge) > 0:
        high = optimize.brentq(gap, max(area, edge), 1 - edge)
    return Interval(float(area), float(low), float(high), level)


@dataclass(frozen=True, eq=False)
class Strata:
    """A mean of shares, each of one class: accuracy has one class, balanced accuracy K.

    Attributes:
        hits: float (S, P), what run s got of part p: the records of one cluster in one class.
        size: int (P,), records of each part.
        cluster, stratum: int (P,), where each part belongs; strata are 0..K-1.
    """

    hits: np.ndarray
    size: np.ndarray
    cluster: np.ndarray
    stratum: np.ndarray

    @property
    def lesions(self) -> np.ndarray:
        """int (K,), clusters of each stratum."""
        return np.bincount(self.stratum)

    @property
    def shares(self) -> np.ndarray:
        """float (S, K)."""
        total = np.bincount(self.stratum, self.size)
        return np.stack([np.bincount(self.stratum, row) for row in self.hits]) / total

    def merged(self, units: np.ndarray) -> Strata:
        """The runs of one unit averaged; `units` is int (S,), 0..U-1."""
        rows = [self.hits[units == unit].mean(axis=0) for unit in range(units.max() + 1)]
        return replace(self, hits=np.stack(rows))

    def influence(self) -> np.ndarray:
        """float (S, G): how far each cluster moves the mean of shares (linearised).

        Products of its rows, summed over clusters, are the cluster-robust covariances, with
        G / (G - 1) in each class (of whose G clusters the residuals sum to 0).
        """
        total = np.bincount(self.stratum, self.size)
        n, k = self.lesions, len(total)
        scale = np.sqrt(n / np.maximum(1, n - 1)) / total / k
        residual = self.hits - self.shares[:, self.stratum] * self.size
        moved = residual * scale[self.stratum]
        return np.stack([np.bincount(self.cluster, row) for row in moved])

    def floor(self) -> float:
        """Variance that the sample hides of one model's mean of shares.

        A class of fewer than `FLOORED_BELOW` lesions, or one of which all or none are right,
        varies at least as p'(1 - p') sum(size^2) / n^2 with p' = (p G + 2) / (G + 4), two more
        right and two more wrong (Agresti & Coull 1998).
        """
        n, p = self.lesions, self.shares.mean(axis=0)
        total = np.bincount(self.stratum, self.size)
        lifted = (p * n + 2) / (n + 4)
        least = lifted * (1 - lifted) * np.bincount(self.stratum, self.size**2.0) / total**2
        edge = (p < 1e-12) | (p > 1 - 1e-12)
        return self._hidden(least, self.hits.mean(axis=0), (n < FLOORED_BELOW) | edge)

    def _hidden(self, least, values, few):
        """What `least` (K,) adds to the variance that `values` (P,) show, in the few strata."""
        total, n = np.bincount(self.stratum, self.size), self.lesions
        share = np.bincount(self.stratum, values) / total
        residual = (values - share[self.stratum] * self.size) ** 2
        shown = np.bincount(self.stratum, residual) / total**2 * n / np.maximum(1, n - 1)
        return float(np.where(few, np.maximum(0, least - shown), 0).sum() / len(n) ** 2)

    def floor_of_difference(self, other: Strata, always: bool) -> float:
        """The same of a difference of two models on the same records.

        Half a lesion is added to each cell of the table of who is right (Agresti & Min 2005):
        with x the lesions' differences, (sum x^2 + 1) / (G + 2)^2 - (sum x)^2 / (G + 2)^3.

        Args:
            other: the other model's.
            always: for every class, not only those of few lesions: for one run an arm, whose
                record-by-run noise isn't counted anywhere else.
        """
        n, total = self.lesions, np.bincount(self.stratum, self.size)
        values = self.hits.mean(axis=0) - other.hits.mean(axis=0)
        x = values * (n / total)[self.stratum]
        squares, sums = np.bincount(self.stratum, x**2), np.bincount(self.stratum, x)
        least = (squares + 1) / (n + 2) ** 2 - sums**2 / (n + 2) ** 3.0
        return self._hidden(least, values, always | (n < FLOORED_BELOW))


def strata(
    right: list[np.ndarray], stratum: np.ndarray, clusters: np.ndarray
) -> Strata | None:  # fmt: skip
    """`Strata` of records.

    Args:
        right: float (n,) of each run, 0..1.
        stratum: int (n,), the class of each record, -1 left out; any numbers.
        clusters: int (n,).

    Returns:
        None without a record.
    """
    kept = stratum >= 0
    if not kept.any():
        return None
    _, stratum = np.unique(stratum[kept], return_inverse=True)
    pairs = np.stack([clusters[kept], stratum])
    (cluster, of), part = np.unique(pairs, axis=1, return_inverse=True)
    part = part.ravel()
    hits = np.stack([np.bincount(part, one[kept]) for one in right])
    _, cluster = np.unique(cluster, return_inverse=True)
    return Strata(hits, np.bincount(part), cluster, of)

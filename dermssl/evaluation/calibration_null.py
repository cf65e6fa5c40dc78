"""What a perfectly calibrated model would show on these very records.

A share or a calibration error of few records isn't 0 by luck alone. If every probability is right,
the truth of a record is a draw from its own probabilities, so the probabilities alone tell how far
from them a calibrated model would come out: no model and no second sample is needed.

The photos of a lesion share its diagnosis: all of them are a yes, or none is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dermssl.core.errors import UserError
from dermssl.evaluation import calibration, validate
from dermssl.evaluation.bootstrap import cluster_codes


class Range(NamedTuple):
    """What is seen, and between which bounds it lies for a calibrated model; NaN: unknown."""

    seen: float
    low: float
    high: float

    @property
    def is_outside(self) -> bool:
        """Whether a calibrated model would hardly show what is seen."""
        return bool(self.seen < self.low or self.seen > self.high)


def count_distribution(p: npt.ArrayLike, groups: Collection[Any] | None = None) -> np.ndarray:
    """P(number of yes-records = 0, 1, ... n), if each is a yes with its own probability.

    Groups are independent; the records of one are all a yes or all a no, with the mean of their
    probabilities. The count then varies by s sum(p) - sum(p)^2 in a group of s records, which is
    never less, on average, than where each record alone is calibrated and they share one truth:
    that is s^2 y - 2 s y sum(p) + sum(p)^2, less by 2 (s sum(p^2) - sum(p)^2). With groups of one
    this is the Poisson-binomial distribution. Exact: the groups' distributions are convolved.

    Args:
        p: float (n,) in 0..1.
        groups: (n,), see `bootstrap.cluster_codes`.

    Returns:
        float64 (n + 1,), summing to 1.

    Example:

    >>> count_distribution([0.5, 0.5]).round(2).tolist()
    [0.25, 0.5, 0.25]
    >>> count_distribution([0.5, 0.5], ["a", "a"]).tolist()
    [0.5, 0.0, 0.5]
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1 + validate.SUM_TOLERANCE) | np.isnan(p)).any():
        raise UserError("p: expected a flat list of probabilities in 0..1")
    p = p.clip(0, 1)
    codes = cluster_codes(groups, len(p))
    sizes = np.bincount(codes)
    mean = np.bincount(codes, p) / sizes
    total = np.ones(1)
    for size in np.unique(sizes):
        chance = mean[sizes == size]
        groups_of_yes = _convolved(np.stack([1 - chance, chance], axis=1))
        records = np.zeros((len(groups_of_yes) - 1) * size + 1)
        records[::size] = groups_of_yes
        total = _product(total[None], records[None])[0]
    total = total[: len(p) + 1].clip(0)
    return total / total.sum()


def _convolved(rows: np.ndarray) -> np.ndarray:
    """The convolution of all rows, by pairs: (n, m) -> (about n m,)."""
    while len(rows) > 1:
        if len(rows) % 2:
            nothing = np.zeros((1, rows.shape[1]))
            nothing[0, 0] = 1
            rows = np.concatenate([rows, nothing])
        rows = _product(rows[::2], rows[1::2])
    return rows[0]


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The convolution of each row of `a` with that of `b`."""
    length = a.shape[1] + b.shape[1] - 1
    size = 1 << (length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(a, size) * np.fft.rfft(b, size), size)[:, :length]


def share_range(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    groups: Collection[Any] | None = None,
    level: float = 0.95,
) -> Range:
    """The share of yes-records, and the shares that calibrated probabilities would show.

    Args:
        y: int (n,) of 1, 0 or -1 (left out).
        p: float (n,), the probability of yes.
        groups: (n,), lesions; see `count_distribution`.
        level: of the range; each tail outside of it has at most half of the rest. For K ranges
            that hold together 1 - 0.05 / K (Bonferroni): they are exact, so any K will do.

    Returns:
        a `Range`; NaN without a labelled record.

    Example:

    A class of which 100 records hold none, at an average probability of 0.011: nothing is shown.

    >>> share_range(np.zeros(100), np.full(100, 0.011)).is_outside
    False
    """
    validate.open_fraction(level, "level")
    y, p = validate.binary(y, p)
    known = y >= 0
    n = int(known.sum())
    if n == 0:
        return Range(np.nan, np.nan, np.nan)
    codes = cluster_codes(groups, len(y))[known]
    below = np.cumsum(count_distribution(p[known], codes))
    tail = (1 - level) / 2
    # The lowest count that isn't in the lower tail, and the highest that isn't in the upper.
    low = int(np.argmax(below >= tail))
    high = int(np.argmax(below >= 1 - tail - 1e-12))
    return Range(y[known].sum() / n, low / n, high / n)


def ece_range(
    p: np.ndarray,
    y: npt.ArrayLike,
    groups: Collection[Any] | None = None,
    *,
    n_bins: int = 15,
    level: float = 0.95,
    n_draws: int = 1000,
    seed: int = 0,
) -> Range:
    """The expected calibration error, and those that a calibrated model would show.

    An ECE is a mean of absolute values: luck makes it larger, never smaller, so its own bootstrap
    interval lies too high and can't hold a true 0. This range needs no correction for that: both
    sides of the comparison have it.

    Args:
        p: float (n, K), probabilities.
        y: int (n,), true classes; -1 left out.
        groups: (n,), lesions: the likeliest class is right in all photos of one whose probability
            for it lies above one number.
        n_bins: as in `calibration.reliability`.
        level: of the range.
        n_draws, seed: of the truth.

    Returns:
        a `Range`; NaN without a labelled record.
    """
    validate.open_fraction(level, "level")
    y, p = validate.multiclass(y, p)
    bins, confidence, correct = calibration.top_label_bins(p, y, n_bins)
    known = bins >= 0
    bins, confidence, correct = bins[known], confidence[known], correct[known]
    if not len(bins):
        return Range(np.nan, np.nan, np.nan)
    codes = cluster_codes(groups, len(y))[known]
    codes = np.unique(codes, return_inverse=True)[1]
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 2])))
    uniform = stream.random((n_draws, int(codes.max()) + 1))
    shown = [_ece(bins, confidence, u[codes] < confidence, n_bins) for u in uniform]
    low, high = np.quantile(shown, [(1 - level) / 2, (1 + level) / 2])
    return Range(_ece(bins, confidence, correct, n_bins), float(low), float(high))


def _ece(bins, confidence, correct, n_bins):
    return float(np.abs(np.bincount(bins, correct - confidence, n_bins)).sum() / len(bins))

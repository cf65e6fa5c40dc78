"""The Brier score of a yes/no question, taken apart: calibration, discrimination, difficulty."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap import replicates
from dermssl.evaluation.interval import Interval

BINS = 10


@dataclass(frozen=True)
class Decomposition:
    """brier = reliability - resolution + uncertainty + within (Murphy 1973; Stephenson 2008).

    Attributes:
        brier: mean squared error of the probability, in 0..1.
        reliability: mean squared distance of the bins' mean probability from their share of yes;
            0 is calibrated. Luck makes it larger.
        resolution: the variance of the bins' shares of yes: how far apart the model tells them.
        uncertainty: share (1 - share), the score of always giving the share.
        within: what the bins hide: spread of the probabilities in a bin, less what of it follows
            the truth. 0 where each bin holds one probability.
        scaled: `Interval` of 1 - brier / uncertainty: 1 is perfect, 0 is as good as the share.
        n: records.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    scaled: Interval
    n: int


def decompose(
    y: npt.ArrayLike,
    p: np.ndarray,
    groups: Collection[Any] | None = None,
    *,
    n_bins: int = BINS,
    n_resamples: int = 1000,
) -> Decomposition:
    """Take the Brier score of a probability apart.

    Args:
        y: int (n,) of 1, 0 or -1 (left out).
        p: float (n,), the probability of yes.
        groups: (n,), see `bootstrap.cluster_codes`; for the interval of the scaled score.
        n_bins: bins of about equally many records; equal probabilities are never parted.
        n_resamples: draws of the bootstrap.

    Returns:
        `Decomposition`; NaN throughout without a labelled record, and a scaled score of NaN where
        all records are alike.

    Example:

    >>> parts = decompose([1, 0, 1, 0], np.array([0.8, 0.2, 0.6, 0.4]), n_resamples=10)
    >>> round(parts.brier, 3), round(parts.uncertainty, 3)
    (0.1, 0.25)
    """
    y, p = validate.binary(y, p)
    known = y >= 0
    error = np.where(known, (p - y) ** 2, 0.0)

    def kernel(tally):
        codes = np.where(known, 0, -1)
        n = tally(codes, 1)
        brier, share = (
            validate.ratio(tally(codes, 1, value.astype(float)), n) for value in (error, y)
        )
        spread = share * (1 - share)
        return 1 - np.where(spread > 0, validate.ratio(brier, spread), np.nan)

    scaled = replicates(kernel, groups, len(y), n_resamples=n_resamples).intervals()[0]
    y, p = y[known], p[known].astype(float)
    n = len(y)
    if n == 0:
        nothing = np.nan
        return Decomposition(nothing, nothing, nothing, nothing, nothing, scaled, 0)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, n_bins + 1)[1:-1], method="inverted_cdf"))
    bins = np.searchsorted(edges, p, side="left")
    count = np.bincount(bins)
    kept = count > 0
    mean, rate = (np.bincount(bins, value)[kept] / count[kept] for value in (p, y))
    weight, share = count[kept] / n, y.mean()
    brier = float(((p - y) ** 2).mean())
    reliability = float(weight @ (mean - rate) ** 2)
    resolution = float(weight @ (rate - share) ** 2)
    uncertainty = float(share * (1 - share))
    within = brier - (reliability - resolution + uncertainty)
    return Decomposition(brier, reliability, resolution, uncertainty, within, scaled, n)

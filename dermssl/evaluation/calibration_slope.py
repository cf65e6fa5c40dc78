"""Calibration in the large, intercept and slope of probabilities (Cox 1958; Van Calster 2016).

A logistic regression of the answer on the log odds of its probability:

    log odds(y = 1) = intercept + slope * logit(p)

A calibrated model has intercept 0 and slope 1. A slope under 1 says that probabilities are too
extreme, over 1 that they are too timid. The intercept with the slope held at 1 is calibration in
the large, as is, on the scale of probabilities, the mean p less the share of yes; above 0 the
probabilities are too low (intercept), or too high (excess).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap import cluster_codes, replicates
from dermssl.evaluation.interval import Interval

CLIP = 1e-7  # a float32 probability knows no less; a logit of 0 or 1 would be infinite
STEPS = 60
TOLERANCE = 1e-9
SEPARATED = 50.0  # on standardised logits: a slope beyond is running off to infinity
LEAST_SPREAD = 1e-3  # of the log odds; a slope over less is read off rounding
FEWEST = 5  # independent lesions or patients a side; with fewer there is no slope to speak of


class CalibrationSlope(NamedTuple):
    """Calibration of one yes/no question, each an `Interval`.

    Attributes:
        excess: mean p less the share of yes; 0 is calibrated in the large.
        in_the_large: intercept with the slope held at 1, in log odds; 0 is calibrated.
        intercept, slope: of the regression; 0 and 1 are calibrated.
    """

    excess: Interval
    in_the_large: Interval
    intercept: Interval
    slope: Interval


def fit(y: npt.ArrayLike, p: npt.ArrayLike) -> tuple[float, float]:
    """Intercept and slope, by maximum likelihood without a penalty.

    Args:
        y: int (n,) of 1, 0 or -1 (left out).
        p: float (n,), the probability of 1.

    Returns:
        (intercept, slope); NaN where y has one answer only, p doesn't vary or parts the answers.

    Example:

    >>> p = np.repeat([0.2, 0.8], 10)
    >>> y = np.repeat([0, 1, 0, 1], [8, 2, 2, 8])
    >>> tuple(round(value, 6) + 0 for value in fit(y, p))
    (0.0, 1.0)
    """
    answer, x, _ = _known(y, p)
    found = _regression(answer, x, np.ones((len(answer), 1)))
    return float(found[0, 0]), float(found[1, 0])


def score(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    groups: Collection | None = None,
    n_resamples: int = 1000,
    level: float = 0.95,
) -> CalibrationSlope:
    """Calibration in the large, intercept and slope with clustered percentile intervals.

    Args:
        y, p: as of `fit`.
        groups: (n,), lesions or patients, as of `bootstrap.cluster_codes`.
        n_resamples, level: of the bootstrap.

    Returns:
        `CalibrationSlope`. With fewer than `FEWEST` independent records of either answer all but
        the excess are NaN, and that has no interval: so few can't support one.
    """
    answer, x, known = _known(y, p)
    off = np.asarray(p, np.float64)[known] - answer
    lesions = cluster_codes(groups, len(known))[known]
    n = len(answer)
    few = min(len(set(lesions[answer == side])) for side in (0, 1)) < FEWEST

    def kernel(tally):
        weights = tally(np.arange(n), n).astype(np.float64)
        excess = validate.ratio(off @ weights, weights.sum(axis=0))
        if few:
            return np.stack([excess, *np.full((3, len(excess)), np.nan)])
        return np.stack([excess, _offset(answer, x, weights), *_regression(answer, x, weights)])

    drawn = replicates(kernel, lesions, n, n_resamples=n_resamples)
    found = CalibrationSlope(*drawn.intervals(level))
    if few:
        return found._replace(excess=replace(found.excess, low=np.nan, high=np.nan))
    return found


def _known(y, p):
    y, p = validate.binary(y, p)
    if len(p) and not (p.min() >= -1e-9 and p.max() <= 1 + validate.SUM_TOLERANCE):
        raise UserError(f"p spans {p.min():.6g}..{p.max():.6g}; expected probabilities in 0..1")
    known = y >= 0
    p = np.clip(p[known], CLIP, 1 - CLIP)
    return y[known].astype(np.float64), np.log(p) - np.log1p(-p), known


def _regression(y, x, weights):
    """Intercepts and slopes (2, draws), by Newton's method in all draws at once."""
    draws = weights.shape[1]
    spread = x.std() if len(x) else 0.0
    if not (0 < y.sum() < len(y)) or spread < LEAST_SPREAD:
        return np.full((2, draws), np.nan)
    centre = x.mean()
    z = ((x - centre) / spread)[:, None]
    a, b = np.zeros(draws), np.zeros(draws)
    settled = np.zeros(draws, dtype=bool)
    for _ in range(STEPS):
        mean = 1 / (1 + np.exp(-np.clip(a + b * z, -500, 500)))
        pull = weights * (y[:, None] - mean)
        curve = weights * mean * (1 - mean)
        g0, g1 = pull.sum(axis=0), (pull * z).sum(axis=0)
        h0, h1, h2 = curve.sum(axis=0), (curve * z).sum(axis=0), (curve * z * z).sum(axis=0)
        det = h0 * h2 - h1 * h1
        good = det > 1e-12 * np.maximum(1, weights.sum(axis=0)) ** 2
        det = np.where(good, det, 1)
        da = np.where(good, (h2 * g0 - h1 * g1) / det, 0)
        db = np.where(good, (h0 * g1 - h1 * g0) / det, 0)
        # A full step can leap over the optimum where nearly all means are 0 or 1.
        shrink = np.minimum(1, 2 / np.maximum(np.maximum(np.abs(da), np.abs(db)), 1e-300))
        a, b = a + shrink * da, b + shrink * db
        settled = good & (np.maximum(np.abs(da), np.abs(db)) < TOLERANCE)
        if (settled | ~good).all():
            break
    sure = settled & (np.abs(a) < SEPARATED) & (np.abs(b) < SEPARATED)
    slope = np.where(sure, b / spread, np.nan)
    return np.stack([np.where(sure, a, np.nan) - slope * centre, slope])


def _offset(y, x, weights):
    """Intercepts (draws,) with the slope held at 1; the mean p then equals the share of yes."""
    share = validate.ratio(y @ weights, weights.sum(axis=0))
    a = np.zeros(weights.shape[1])
    low, high = np.full_like(a, -40.0), np.full_like(a, 40.0)
    for _ in range(STEPS):  # bisection within Newton: monotone, so it can't fail
        mean = 1 / (1 + np.exp(-np.clip(a + x[:, None], -500, 500)))
        gap = (weights * (y[:, None] - mean)).sum(axis=0)
        curve = (weights * mean * (1 - mean)).sum(axis=0)
        low, high = np.where(gap > 0, a, low), np.where(gap > 0, high, a)
        new = a + validate.ratio(gap, curve)
        new = np.where((new > low) & (new < high), new, (low + high) / 2)
        change = np.abs(new - a).max(initial=0)
        a = new
        if change < TOLERANCE:
            break
    return np.where((share > 0) & (share < 1), a, np.nan)

"""Answering only where the model is sure: the risk-coverage curve (El-Yaniv and Wiener 2010)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap import replicates
from dermssl.evaluation.interval import Interval

LEAST_CONFIDENT = 0.2  # of validation photos: the share that a human is to look at first
FEWEST = 20  # validation photos; of fewer the limit would be that of a handful
COVERAGES = tuple(np.round(np.arange(0.05, 1.001, 0.05), 2))


@dataclass(frozen=True)
class RiskCoverage:
    """How the share of errors falls with the share of photos that are answered.

    Attributes:
        table: DataFrame: `coverage` (share answered, the most confident first), `risk` (share of
            errors among them) with `risk_low`, `risk_high`, `threshold` (lowest confidence that is
            answered).
        aurc: `Interval` of the area under the curve, the mean risk over all coverages; a confidence
            that knows nothing has the risk at full coverage.
        gain: `Interval` of risk at full coverage less `aurc`; above 0, confidence tells errors.
    """

    table: pd.DataFrame = field(repr=False)
    aurc: Interval
    gain: Interval


@dataclass(frozen=True)
class ConfidenceLimit:
    """The confidence below which a photo is called "not confident".

    Attributes:
        lowest: of the photos that are answered; a confidence is the highest probability given.
        n: labelled validation photos that it was chosen on.
        below, wrong_below: share of them under the limit, and share of errors among those; NaN
            where none is.
        wrong_above: share of errors among the others.
    """

    lowest: float
    n: int
    below: float
    wrong_below: float
    wrong_above: float

    def __str__(self) -> str:
        """Where the limit comes from, in half a line."""
        start = f"highest probability under {self.lowest:.3g}"
        if not self.below:
            return f"{start}, as that of none of {self.n:,} validation photos"
        return (
            f"{start}, as that of {self.below:.0%} of {self.n:,} validation photos, of which "
            f"{self.wrong_below:.0%} were named wrongly; of the others {self.wrong_above:.0%} were"
        )


def confidence_limit(
    wrong: npt.ArrayLike, confidence: npt.ArrayLike, share: float = LEAST_CONFIDENT
) -> ConfidenceLimit | None:
    """The confidence that all but a share of validation photos reach.

    Args:
        wrong: float (n,): 1 an error, 0 none, NaN unknown (left out).
        confidence: float (n,), higher is surer.
        share: of the photos that lie under the limit; fewer where photos tie.

    Returns:
        `ConfidenceLimit`; None of fewer than `FEWEST` labelled photos.

    Example:

    >>> print(confidence_limit([1] * 8 + [0] * 32, np.linspace(0.3, 1, 40)))
    highest probability under 0.444, as that of 20% of 40 validation photos, of which 100% were \
named wrongly; of the others 0% were
    """
    errors = validate.values(None, wrong)[1]
    p = validate.scores(confidence, "confidence")
    validate.same_length(wrong=errors, confidence=p)
    known = ~np.isnan(errors)
    errors, p = errors[known], p[known]
    if len(errors) < FEWEST:
        return None
    lowest = np.sort(p)[int(share * len(errors) + 1e-9)]
    below = p < lowest
    return ConfidenceLimit(
        float(lowest), len(errors), float(below.mean()),
        float(errors[below].mean()) if below.any() else np.nan, float(errors[~below].mean()),
    )  # fmt: skip


def risk_coverage(
    wrong: npt.ArrayLike,
    confidence: npt.ArrayLike,
    groups: Collection[Any] | None = None,
    coverages: npt.ArrayLike = COVERAGES,
    n_resamples: int = 1000,
) -> RiskCoverage:
    """The curve of a model that leaves its least confident photos to a human.

    Photos of equal confidence are answered together or, where a coverage cuts through them, in
    equal shares, so that their order in the file says nothing.

    Args:
        wrong: float (n,): 1 an error, 0 none, NaN unknown (left out).
        confidence: float (n,), higher is surer.
        groups: (n,), see `bootstrap.cluster_codes`.
        coverages: ascending shares to read the curve at, above 0 and at most 1.
        n_resamples: draws of the bootstrap.

    Returns:
        `RiskCoverage`; NaN without a known record.
    """
    wrong = validate.values(None, wrong)[1]
    confidence = validate.scores(confidence, "confidence")
    validate.same_length(wrong=wrong, confidence=confidence)
    points = np.asarray(coverages, dtype=float)
    known = ~np.isnan(wrong)
    levels, rank = np.unique(-confidence[known], return_inverse=True)  # the surest first
    codes = np.full(len(wrong), -1)
    codes[known] = rank
    size = max(1, len(levels))

    def kernel(tally):
        n, errors = tally(codes, size), tally(codes, size, np.where(known, wrong, 0.0))
        rate = validate.ratio(errors, n)
        rate = np.where(n > 0, rate, 0.0)
        seen, found = np.cumsum(n, axis=0), np.cumsum(errors, axis=0)
        total = seen[-1]
        at = points[:, None] * total  # records answered, which needn't be whole
        # The block of equal confidence in which each coverage ends; what it still takes of it.
        block = np.stack([(seen < end - 1e-9).sum(axis=0) for end in at]).clip(max=size - 1)
        columns = np.arange(n.shape[1])
        before = np.where(block > 0, seen[block - 1, columns], 0)
        missed = np.where(block > 0, found[block - 1, columns], 0.0)
        risk = validate.ratio(missed + (at - before) * rate[block, columns], at)
        # The mean over k = 1..n records of errors among the first k / k; within a block, in the
        # middle of it, which is exact for blocks of one record.
        middle = validate.ratio(found - errors / 2 + rate / 2, seen - n / 2 + 0.5)
        aurc = validate.ratio((n * np.where(n > 0, middle, 0)).sum(axis=0), total)
        everything = validate.ratio(found[-1], total)
        return np.concatenate([risk, [aurc, everything - aurc]])

    if not known.any():
        nothing = Interval(np.nan, np.nan, np.nan)
        table = pd.DataFrame({"coverage": points}).assign(
            risk=np.nan, risk_low=np.nan, risk_high=np.nan, threshold=np.nan
        )
        return RiskCoverage(table, nothing, nothing)
    found = replicates(kernel, groups, len(wrong), n_resamples=n_resamples)
    *risks, aurc, gain = found.intervals()
    ordered = np.sort(confidence[known])[::-1]
    last = np.ceil(points * len(ordered) - 1e-9).astype(int).clip(1) - 1
    table = pd.DataFrame(
        {
            "coverage": points,
            "risk": [one.estimate for one in risks],
            "risk_low": [one.low for one in risks],
            "risk_high": [one.high for one in risks],
            "threshold": ordered[last],
        }
    )
    return RiskCoverage(table, aurc, gain)

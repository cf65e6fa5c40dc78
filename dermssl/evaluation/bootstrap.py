"""Bootstrap intervals over groups, for one model or for the difference of two.

Records of one lesion (or patient) are not independent, so whole groups are drawn with
replacement (Field & Welsh 2007). Every metric scored with the same groups, seed and number of
resamples sees the same draws; that is what makes differences paired.

`score` draws once for all metrics of a plan; intervals and differences come from its draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap_metrics import (
    METRICS,
    PlannedMetric,
    Tally,
    count,
    planned,
)
from dermssl.evaluation.interval import ROUNDING, Interval
from dermssl.evaluation.seed_draws import Basis, SeedDraws
from dermssl.evaluation.small_samples import strata

CHUNK = 2**22  # multiplicities held at once (32 MB as int64)


class Replicates(NamedTuple):
    """Several numbers on the sample (P,) and on each draw (P, B), and how many clusters."""

    sample: np.ndarray
    draws: np.ndarray
    n_clusters: int

    def at(self, rows: Sequence[int] | np.ndarray | slice) -> Replicates:
        """Some of the numbers."""
        return self._replace(sample=self.sample[rows], draws=self.draws[rows])

    def intervals(self, level: float = 0.95, may_be_zero: bool = False) -> list[Interval]:
        """A list of P `Interval`s, of the percentiles of the draws."""
        return [
            _percentiles(value, draws, self.n_clusters, level, may_be_zero)
            for value, draws in zip(self.sample, self.draws)
        ]


def cluster_codes(groups: Collection[Any] | None, n: int) -> np.ndarray:
    """int64 (n,), 0..G-1: which cluster each record belongs to.

    A record without a group (None, NaN or "") is a cluster of its own; `groups=None` makes
    that true of all.
    """
    if groups is None:
        return np.arange(n)
    groups = pd.Series(list(groups), dtype=object)
    validate.same_length(groups=groups, records=range(n))
    codes, names = pd.factorize(groups.mask(groups.isna() | (groups == "")))
    codes = codes.astype(np.int64)
    alone = np.flatnonzero(codes < 0)
    codes[alone] = len(names) + np.arange(len(alone))
    return codes


def estimate(plan: PlannedMetric) -> float:
    """A planned metric of the sample, of its first seed: every record counts once."""
    predicted = plan.seeds[0]
    if len(predicted) == 0:
        return np.nan
    tally = partial(count, np.arange(len(predicted)), np.ones((len(predicted), 1), np.int64))
    return float(METRICS[plan.metric].kernel(tally, plan.y, predicted, **plan.options)[0])


def point(metric: str, y: npt.ArrayLike | None, predicted: np.ndarray, **options: float) -> float:
    """A metric of the sample itself, without an interval.

    Args:
        metric, y, predicted, **options: as in `PlannedMetric`.

    Returns:
        float, NaN where the data can't define it.
    """
    return estimate(planned(metric, y, predicted, **options))


def score(
    plan: Mapping[str, PlannedMetric],
    groups: Collection[Any] | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
    units: np.ndarray | None = None,
) -> dict[str, SeedDraws]:
    """Every metric of a plan on the same draws of whole groups.

    Args:
        plan: name -> `PlannedMetric`, all of the same records.
        groups: (n,) cluster ids; None treats every record as independent.
        n_resamples, seed: B, seed of the draws.
        units: int (S,), runs of one number count once; see `SeedDraws`.

    Returns:
        dict: name -> `SeedDraws`.
    """
    if not plan:
        return {}
    n = len(next(iter(plan.values())).seeds[0])

    def kernel(tally):
        if n == 0:
            n_draws = tally(np.zeros(0, dtype=np.int64), 1).shape[1]
            return np.full((sum(len(one.seeds) for one in plan.values()), n_draws), np.nan)
        return np.stack(
            [
                METRICS[one.metric].kernel(tally, one.y, array, **one.options)
                for one in plan.values()
                for array in one.seeds
            ]
        )

    codes = cluster_codes(groups, n)
    drawn = replicates(kernel, groups, n, n_resamples=n_resamples, seed=seed)
    scores, end = {}, 0
    for name, one in plan.items():
        rows = drawn.at(slice(end, end := end + len(one.seeds)))
        scores[name] = SeedDraws(*rows, _basis(one, codes), units)
    return scores


def bootstrap_metric(
    metric: str,
    y: npt.ArrayLike | None,
    predicted: np.ndarray | list[np.ndarray],
    groups: Collection[Any] | None = None,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **options: float,
) -> Interval:
    """A metric with its interval over clusters of records, and over training runs.

    Args:
        metric, y, predicted, **options: as in `PlannedMetric`. A list of predictions, one a
            training run, is scored by its mean over runs; see `SeedDraws.interval`.
        groups: (n,) cluster ids; None treats every record as independent.
        n_resamples, level, seed: B, confidence level, seed of the draws.

    Returns:
        an `Interval`, made by the rules of `SeedDraws.interval`: percentiles of the draws (Efron
        1979; Davison & Hinkley 1997) for one run and many lesions, else what holds there. The
        interval of `ece` leans upwards, as ECE does in any small sample, and for a
        well-calibrated model may lie above its estimate.
    """
    plan = {metric: planned(metric, y, predicted, **options)}
    return score(plan, groups, n_resamples=n_resamples, seed=seed)[metric].interval(level)


def paired_difference(
    metric: str,
    y: npt.ArrayLike | None,
    a: np.ndarray | list[np.ndarray],
    b: np.ndarray | list[np.ndarray],
    groups: Collection[Any] | None = None,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    **options: float,
) -> Interval:
    """The difference metric(a) - metric(b) on the same records, with its interval.

    Arguments are those of `bootstrap_metric`. With lists, one array a training run, of any
    numbers of runs: the records are paired, the runs are not. One array covers no training luck.

    Returns:
        an `Interval`, made by the rules of `SeedDifference.interval`; without bounds where both
        gave the same answers.
    """
    plan = {"a": planned(metric, y, a, **options), "b": planned(metric, y, b, **options)}
    validate.same_length(a=plan["a"].seeds[0], b=plan["b"].seeds[0])
    draws = score(plan, groups, n_resamples=n_resamples, seed=seed)
    return (draws["a"] - draws["b"]).interval(level)


def replicates(
    kernel: Callable[[Tally], np.ndarray],
    groups: Collection[Any] | None,
    n: int,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Replicates:
    """Several numbers at once (the points of a curve, say), on the draws of `bootstrap_metric`.

    Args:
        kernel: function(tally) -> float (P, draws), with a `tally` as in `bootstrap_metrics`.
        groups: (n,), see `cluster_codes`.
        n: number of records.
        n_resamples, seed: B, seed of the draws.

    Returns:
        `Replicates`.
    """
    if n_resamples < 1:
        raise UserError(f"n_resamples is {n_resamples}; expected 1 or more")
    codes = cluster_codes(groups, n)
    n_clusters = int(codes.max(initial=-1)) + 1
    sample = kernel(partial(count, codes, np.ones((n_clusters, 1), dtype=np.int64)))[:, 0]
    draws = [kernel(partial(count, codes, chunk)) for chunk in _draws(codes, n_resamples, seed)]
    return Replicates(sample, np.concatenate(draws, axis=1), n_clusters)


def _basis(one, codes):
    """What a planned metric rests on: shares of records, lesions on two sides, or of classes."""
    kind, low, high = METRICS[one.metric][2:]
    if kind == "shares":
        right, stratum = _right(one)
        if right is None:
            return Basis("mean", low=low, high=high)
        return Basis(kind, strata=strata(right, stratum, codes), low=0.0, high=1.0)
    if kind == "mean" or one.y is None:
        return Basis(kind, low=low, high=high)
    # Of a yes/no question both sides count, also one without a record.
    sides = range(2) if one.seeds[0].ndim == 1 else np.unique(one.y[one.y >= 0])
    counted = [len(np.unique(codes[one.y == side])) for side in reversed(sides)]
    return Basis(kind, tuple(counted), low=low, high=high)


def _right(one):
    """(float (n,) of each run, the class of each record), or (None, None) where it is no share."""
    if one.metric == "mean":
        known = ~np.isnan(one.seeds[0])
        same = all(np.array_equal(known, ~np.isnan(values)) for values in one.seeds)
        if not same or any(
            values[known].size and (values[known].min() < 0 or values[known].max() > 1)
            for values in one.seeds
        ):
            return None, None
        return [np.nan_to_num(values) for values in one.seeds], np.where(known, 0, -1)
    called = [p.argmax(axis=1) if p.ndim == 2 else p for p in one.seeds]
    right = [(answer == one.y).astype(float) for answer in called]
    balanced = one.metric == "balanced_accuracy"
    return right, one.y if balanced else np.where(one.y >= 0, 0, -1)


def _draws(codes: np.ndarray, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Multiplicities int64 (clusters, chunk), in chunks that bound the memory.

    One stream is read in order, so the chunk size doesn't change the draws.
    """
    n_clusters = int(codes.max(initial=-1)) + 1
    stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 0])))
    rows = max(1, CHUNK // max(1, len(codes)))
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        if n_clusters == 0:
            yield np.zeros((0, size), dtype=np.int64)
            continue
        drawn = stream.integers(n_clusters, size=(size, n_clusters))
        drawn += np.arange(size)[:, None] * n_clusters
        counts = np.bincount(drawn.ravel(), minlength=size * n_clusters)
        yield np.ascontiguousarray(counts.reshape(size, n_clusters).T)


def _percentiles(value, draws, n_clusters, level, may_be_zero=False):
    """The percentile interval of one number.

    `may_be_zero`: draws that are all 0 are an answer (equal models), not a lack of spread.
    """
    validate.open_fraction(level, "level")
    n_resamples, draws = len(draws), draws[~np.isnan(draws)]
    dropped = n_resamples - len(draws)
    low = high = np.nan
    if n_clusters > 1 and dropped <= n_resamples / 2 and not np.isnan(value):
        spread = draws.max() - draws.min()
        if spread > ROUNDING or (may_be_zero and not draws.any()):
            low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(float(value), low, high, level, n_resamples, dropped, n_clusters)

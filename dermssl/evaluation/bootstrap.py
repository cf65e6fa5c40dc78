"""Bootstrap intervals over groups, for one model or for the difference of two.

Records of one lesion (or patient) are not independent, so whole groups are drawn with
replacement (Field & Welsh 2007). Every metric scored with the same groups, seed and number of
resamples sees the same draws; that is what makes differences paired.

`score` draws once for all metrics of a plan; intervals and differences come from its draws.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap_metrics import (
    METRICS,
    SHARES,
    PlannedMetric,
    Tally,
    count,
    planned,
)

CHUNK = 2**22  # multiplicities held at once (32 MB as int64)
# Metrics where less is better; the rest are better when higher.
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "tree_distance"})


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
    """

    estimate: float
    low: float
    high: float
    level: float = 0.95
    n_resamples: int = 0
    n_dropped: int = 0
    n_clusters: int | None = None

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


class Replicates(NamedTuple):
    """Several numbers on the sample (P,) and on each draw (P, B), and how many clusters."""

    sample: np.ndarray
    draws: np.ndarray
    n_clusters: int

    def at(self, rows: Sequence[int] | np.ndarray | slice) -> Replicates:
        """Some of the numbers."""
        return self._replace(sample=self.sample[rows], draws=self.draws[rows])

    def intervals(self, level: float = 0.95, may_be_zero: bool = False) -> list[Interval]:
        """A list of P `Interval`s, by the rules of `bootstrap_metric`."""
        return [
            _interval(np.array([value]), draws[None], self.n_clusters, level, 0, may_be_zero)
            for value, draws in zip(self.sample, self.draws)
        ]


@dataclass(frozen=True, eq=False)
class SeedDraws:
    """A metric (or a difference) of each training seed, on the sample and on every draw.

    Attributes:
        sample: float (S,), the point estimates.
        draws: float (S, B), NaN where undefined.
        n_clusters: independent groups.
        share_of: int (S,), clusters with a record that counts; 0 where it is no share.
        seed: of the draws.
        is_difference: draws that are all 0 are then an answer, not a lack of spread.
    """

    sample: np.ndarray = field(repr=False)
    draws: np.ndarray = field(repr=False)
    n_clusters: int
    share_of: np.ndarray
    seed: int = 0
    is_difference: bool = False

    def at(self, seeds: Sequence[int]) -> SeedDraws:
        """Those of some training seeds, by position."""
        seeds = list(seeds)
        kept = {name: getattr(self, name)[seeds] for name in ("sample", "draws", "share_of")}
        return replace(self, **kept)

    def __sub__(self, other: SeedDraws) -> SeedDraws:
        """The paired difference of two models of the same records, seed by seed."""
        if len(self.sample) != len(other.sample):
            raise UserError(
                f"a has {len(self.sample)} seeds and b has {len(other.sample)}; "
                "pairs need the same number, in order"
            )
        return replace(
            self,
            sample=self.sample - other.sample,
            draws=self.draws - other.draws,
            share_of=np.zeros_like(self.share_of),
            is_difference=True,
        )

    def interval(self, level: float = 0.95) -> Interval:
        """The mean over seeds with its interval, by the rules of `bootstrap_metric`."""
        return _interval(
            self.sample, self.draws, self.n_clusters, level, self.seed, self.is_difference
        )


def verdict(interval: Interval, higher_is_better: bool = True) -> str:
    """What an interval of (a - b) says of a: "better", "worse", "tie" or "undefined".

    A tie is an interval that holds 0: no difference was shown, not that there is none.
    "undefined" is an interval that could not be computed.

    >>> verdict(Interval(0.02, -0.01, 0.05))
    'tie'
    """
    if not interval.is_defined:
        return "undefined"
    if not interval.excludes_zero:
        return "tie"
    return "better" if (interval.low > 0) == higher_is_better else "worse"


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
) -> dict[str, SeedDraws]:
    """Every metric of a plan on the same draws of whole groups.

    Args:
        plan: name -> `PlannedMetric`, all of the same records.
        groups: (n,) cluster ids; None treats every record as independent.
        n_resamples, seed: B, seed of the draws.

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
        scores[name] = SeedDraws(*rows, _share_of(one, codes), seed)
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
    """A metric with its clustered percentile interval (Efron 1979; Davison & Hinkley 1997).

    Args:
        metric, y, predicted, **options: as in `PlannedMetric`. A list of predictions, one a
            training seed, is scored by its mean over seeds, and the seeds are resampled too.
        groups: (n,) cluster ids; None treats every record as independent.
        n_resamples, level, seed: B, confidence level, seed of the draws.

    Returns:
        an `Interval`. Draws in which the metric is undefined (a class of the sample isn't
        drawn) are dropped. The bounds are NaN when more than half are, with fewer than two
        clusters, and when all draws agree (a perfect score, say): the percentiles then show
        no spread, which isn't certainty. `hypothesis_tests.wilson` still bounds a proportion.
        The interval of `ece` leans upwards, as ECE does in any small sample, and for a
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

    Arguments are those of `bootstrap_metric`. With lists, a[i] and b[i] are the two models of
    seed i, and the estimate is the mean of their differences. The bootstrap is then
    hierarchical: each draw takes clusters of records with replacement, and on its own takes as
    many seeds as there are, with replacement. So the interval covers the choice of test
    patients and the luck of training. Few seeds understate that luck (by (S - 1) / S in
    variance: a third for S = 3); one array covers no training luck at all.

    Returns:
        an `Interval`; exactly 0 [0, 0] for identical predictions. Undefined as there.
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


def _share_of(one, codes):
    if one.metric not in SHARES:
        return np.zeros(len(one.seeds), dtype=np.int64)
    known = (np.asarray(one.y) >= 0 if one.y is not None else ~np.isnan(a) for a in one.seeds)
    return np.array([len(np.unique(codes[kept])) for kept in known])


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


def _interval(sample, values, n_clusters, level, seed, may_be_zero=False):
    """The percentile interval of the mean over seeds, seeds redrawn in every draw.

    `may_be_zero`: draws that are all 0 are an answer (equal models), not a lack of spread.
    """
    validate.open_fraction(level, "level")
    n_seeds, n_resamples = values.shape
    if n_seeds > 1:
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1])))
        picked = stream.integers(n_seeds, size=(n_seeds, n_resamples))
        values = np.take_along_axis(values, picked, axis=0)
    mean, draws = float(np.mean(sample)), values.mean(axis=0)
    draws = draws[~np.isnan(draws)]
    dropped = n_resamples - len(draws)
    low = high = np.nan
    if n_clusters > 1 and dropped <= n_resamples / 2 and not np.isnan(mean):
        spread = draws.max() - draws.min()
        if spread > 1e-12 or (may_be_zero and not draws.any()):
            low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(mean, low, high, level, n_resamples, dropped, n_clusters)

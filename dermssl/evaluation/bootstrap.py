"""Intervals from a clustered bootstrap, for one model or for the difference of two.

Records of one lesion (or patient) are not independent, so whole groups are drawn with
replacement (Field & Welsh 2007). Every metric scored with the same groups, seed and number of
resamples sees the same draws; that is what makes differences paired.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError, unknown_name
from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap_metrics import KERNELS, count, on_confusion

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

    def __str__(self):
        if np.isnan(self.estimate):
            return "n/a"
        if not self.is_defined:
            return f"{self.estimate:.3f} [n/a]"
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def is_defined(self):
        """Whether both bounds are numbers."""
        return not (np.isnan(self.low) or np.isnan(self.high))

    @property
    def excludes_zero(self):
        """True only where the whole interval lies on one side of 0."""
        return bool(self.low > 0 or self.high < 0)


class Replicates(NamedTuple):
    """Several numbers on the sample [P] and on each draw [P, B], and the cluster of each record."""

    sample: np.ndarray
    draws: np.ndarray
    codes: np.ndarray

    def at(self, rows):
        """Some of the numbers."""
        return self._replace(sample=self.sample[rows], draws=self.draws[rows])

    def intervals(self, level=0.95, may_be_zero=False):
        """A list of P `Interval`s, by the rules of `bootstrap_metric`."""
        return [
            _interval([value], draws[None], self.codes, level, 0, may_be_zero)
            for value, draws in zip(self.sample, self.draws)
        ]


def verdict(interval, higher_is_better=True):
    """What an interval of (a - b) says of a: "better", "worse", "tie" or "undefined".

    A tie is an interval that holds 0: no difference was shown, not that there is none.
    "undefined" is an interval that could not be computed.
    """
    if not interval.is_defined:
        return "undefined"
    if not interval.excludes_zero:
        return "tie"
    return "better" if (interval.low > 0) == higher_is_better else "worse"


def cluster_codes(groups, n):
    """int64 [n], 0..G-1: which cluster each record belongs to.

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


def cluster_weights(groups, n_resamples=1000, seed=0):
    """How often each record occurs in each resample, whole clusters drawn with replacement.

    Args:
        groups: [n] lesion or patient ids, see `cluster_codes`.
        n_resamples: B.
        seed: int; the same seed and order of groups give the same draws (Philox).

    Returns:
        int64 [B, n]; equal for all records of a cluster.
    """
    groups = list(groups)
    codes = cluster_codes(groups, len(groups))
    draws = list(_draws(codes, n_resamples, seed))
    return np.concatenate(draws, axis=1).T[:, codes]


def bootstrap_metric(
    metric, y, predicted, groups=None, *, n_resamples=1000, level=0.95, seed=0, **options
):
    """A metric with its clustered percentile interval (Efron 1979; Davison & Hinkley 1997).

    Args:
        metric: a name in `kernels.KERNELS`, or a function of confusion matrices
            [..., K, K] -> [...].
        y: int [n], true classes, -1 left out (0/1 for the binary metrics, None for "mean").
        predicted: what the metric reads: probabilities [n, K], classes int [n], binary scores
            [n], or for "mean" one value a record [n]. A list of such arrays, one a training
            seed, is scored by its mean over seeds, and the seeds are resampled too.
        groups: [n] cluster ids; None treats every record as independent.
        n_resamples, level, seed: B, confidence level, seed of the draws.
        **options: of the metric: `specificity`, `min_sensitivity`, `n_bins`, `n_classes`.

    Returns:
        an `Interval`. Draws in which the metric is undefined (a class of the sample isn't
        drawn) are dropped. The bounds are NaN when more than half are, with fewer than two
        clusters, and when all draws agree (a perfect score, say): the percentiles then show
        no spread, which isn't certainty. `statistics.wilson` still bounds a proportion.
        The interval of `ece` leans upwards, as ECE does in any small sample, and for a
        well-calibrated model may lie above its estimate.
    """
    models = _seeds(predicted)
    codes = _codes(models, y, groups)
    estimates, values = _replicates(metric, y, models, codes, n_resamples, seed, options)
    return _interval(estimates, values, codes, level, seed)


def paired_difference(
    metric, y, a, b, groups=None, *, n_resamples=1000, level=0.95, seed=0, **options
):
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
    a, b = _seeds(a), _seeds(b)
    if len(a) != len(b):
        raise UserError(
            f"a has {len(a)} seeds and b has {len(b)}; pairs need the same number, in order"
        )
    codes = _codes(a + b, y, groups)
    estimates_a, values_a = _replicates(metric, y, a, codes, n_resamples, seed, options)
    estimates_b, values_b = _replicates(metric, y, b, codes, n_resamples, seed, options)
    estimates, values = estimates_a - estimates_b, values_a - values_b
    return _interval(estimates, values, codes, level, seed, may_be_zero=True)


def replicates(kernel, groups, n, *, n_resamples=1000, seed=0):
    """Several numbers at once (the points of a curve, say), on the draws of `bootstrap_metric`.

    Args:
        kernel: function(tally) -> float [P, draws], with a `tally` as in `kernels`.
        groups: [n], see `cluster_codes`.
        n: number of records.
        n_resamples, seed: B, seed of the draws.

    Returns:
        `Replicates`.
    """
    if n_resamples < 1:
        raise UserError(f"n_resamples is {n_resamples}; expected 1 or more")
    codes = cluster_codes(groups, n)
    alone = np.ones((int(codes.max(initial=-1)) + 1, 1), dtype=np.int64)
    sample = kernel(partial(count, codes, alone))[:, 0]
    draws = [kernel(partial(count, codes, chunk)) for chunk in _draws(codes, n_resamples, seed)]
    return Replicates(sample, np.concatenate(draws, axis=1), codes)


def _seeds(predicted):
    """A list of arrays, one a seed; anything but a list (or tuple) of arrays is one seed."""
    several = isinstance(predicted, list | tuple) and len(predicted) > 0
    if several and all(isinstance(array, np.ndarray) for array in predicted):
        return list(predicted)
    return [np.asarray(predicted)]


def _codes(models, y, groups):
    lengths = {f"predictions {i}": model for i, model in enumerate(models)}
    validate.same_length(**lengths, **({} if y is None else {"y": y}))
    return cluster_codes(groups, len(models[0]))


def _replicates(metric, y, models, codes, n_resamples, seed, options):
    """The metric of each seed on the sample [S], and on every draw [S, B]."""
    if n_resamples < 1:
        raise UserError(f"n_resamples is {n_resamples}; expected 1 or more")
    if callable(metric):
        kernel = partial(on_confusion, metric=metric)
    elif metric in KERNELS:
        kernel = KERNELS[metric]
    else:
        raise unknown_name("metric", metric, KERNELS)
    if len(codes) == 0:
        return np.full(len(models), np.nan), np.full((len(models), n_resamples), np.nan)

    def score(multiplicities):
        tally = partial(count, codes, multiplicities)
        return np.stack([kernel(tally, y, model, **options) for model in models])

    sample = score(np.ones((codes.max() + 1, 1), dtype=np.int64))[:, 0]
    draws = _draws(codes, n_resamples, seed)
    return sample, np.concatenate([score(chunk) for chunk in draws], axis=1)


def _draws(codes, n_resamples, seed):
    """Multiplicities int64 [clusters, chunk], in chunks that bound the memory.

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


def _interval(estimates, values, codes, level, seed, may_be_zero=False):
    """The percentile interval of the mean over seeds, seeds redrawn in every draw.

    `may_be_zero`: draws that are all 0 are an answer (equal models), not a lack of spread.
    """
    validate.open_fraction(level, "level")
    n_seeds, n_resamples = values.shape
    if n_seeds > 1:
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 1])))
        picked = stream.integers(n_seeds, size=(n_seeds, n_resamples))
        values = np.take_along_axis(values, picked, axis=0)
    estimate, draws = float(np.mean(estimates)), values.mean(axis=0)
    draws = draws[~np.isnan(draws)]
    dropped = n_resamples - len(draws)
    n_clusters = int(codes.max(initial=-1)) + 1
    low = high = np.nan
    if n_clusters > 1 and dropped <= n_resamples / 2 and not np.isnan(estimate):
        spread = draws.max() - draws.min()
        if spread > 1e-12 or (may_be_zero and not draws.any()):
            low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(estimate, low, high, level, n_resamples, dropped, n_clusters)

"""Several readers of the same cases: means, differences and intervals over readers and cases.

The model of Obuchowski and Rockette (1995) with Hillis's degrees of freedom (2007): a reader's
score varies by reader and by the cases at hand; the cases are shared, so that the readers' errors
are correlated. Their covariances come from the jackknife over cases (or over lesions or patients,
leaving out all photos of one at a time). A training seed is a reader in this sense.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap import CHUNK, cluster_codes
from dermssl.evaluation.bootstrap_metrics import METRICS, PlannedMetric, count
from dermssl.evaluation.interval import Interval


@dataclass(frozen=True)
class MeanOfReaders:
    """The mean score of readers who stand for all such readers.

    Attributes:
        interval: of the mean.
        standard_error: sqrt(V_T + s^2 / S).
        df: Hillis's degrees of freedom; infinite where readers don't vary.
        between_readers: s^2, the variance of the scores over readers.
        shared_by_cases: V_T, the covariance of two readers' scores that comes from the cases; at
            least 0.
        n_readers: S.
    """

    interval: Interval
    standard_error: float
    df: float
    between_readers: float
    shared_by_cases: float
    n_readers: int


@dataclass(frozen=True)
class TwoWays:
    """Several ways of reading (modalities), each by all readers: the analysis of variance.

    Attributes:
        ms_way, ms_way_by_reader: mean squares of the ways, and of ways by readers.
        variance: mean variance of one reader's score by one way, over cases.
        cov1, cov2, cov3: mean covariance over cases: same reader and other way, other reader and
            same way, other reader and other way.
        f, df, p: of the test that all ways are equal; `df` is the denominator's.
        differences: dict of (i, j) -> `Interval` of way i less way j.
        means: a `MeanOfReaders` of each way, from its own readers and covariances alone.
    """

    ms_way: float
    ms_way_by_reader: float
    variance: float
    cov1: float
    cov2: float
    cov3: float
    f: float
    df: float
    p: float
    differences: dict[tuple[int, int], Interval]
    means: tuple[MeanOfReaders, ...]


def jackknife(
    plan: Mapping[str, PlannedMetric], groups: Collection[Any] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Metrics, and their covariances by leaving out one case at a time (Efron 1982).

    Args:
        plan: name -> `PlannedMetric`, all of the same records, each of one array. A record that a
            reader didn't see has y = -1, or a NaN value.
        groups: (n,), what is left out together: lesions, patients; None for single records.

    Returns:
        float (P,) and (P, P): (G - 1) / G sum of products of the deviations from their mean.
    """
    entries = list(plan.values())
    codes = cluster_codes(groups, len(entries[0].seeds[0]))
    n = int(codes.max(initial=-1)) + 1
    if n < 2:
        raise UserError(f"multi_reader: {n} cases; a jackknife needs two or more")

    def scores(multiplicities):
        tally = partial(count, codes, multiplicities)
        return np.stack(
            [METRICS[e.metric].kernel(tally, e.y, e.seeds[0], **e.options) for e in entries]
        )

    sample = scores(np.ones((n, 1), dtype=np.int64))[:, 0]
    size = max(1, CHUNK // n)
    left_out = [
        scores(1 - np.eye(n, dtype=np.int64)[:, start : start + size])
        for start in range(0, n, size)
    ]
    apart = np.concatenate(left_out, axis=1)
    apart = apart - apart.mean(axis=1, keepdims=True)
    return sample, (n - 1) / n * apart @ apart.T


def mean_of_readers(
    scores: np.ndarray, covariance: np.ndarray, level: float = 0.95
) -> MeanOfReaders:
    """The mean over readers, for the population of readers and of cases (Hillis 2007).

        t_df sqrt(V_T + s^2 / S),   df = (V_T + s^2 / S)^2 / ((s^2 / S)^2 / (S - 1))

    Scores may be differences from one fixed model on the records that each reader saw: the model's
    own variance over cases is then a part of V_T. It is one model, so nothing is said of others.
    Readers who agree by luck would make an interval narrower than the cases alone leave it for
    these very readers; it is never narrower than that (a floor that Hillis's form doesn't have).

    Args:
        scores: float (S,), of each reader.
        covariance: float (S, S) over cases, from `jackknife`.
        level: of the interval.

    Returns:
        `MeanOfReaders`. One reader has no s^2: the interval is then of that reader, over cases
        (normal); NaN bounds where nothing varies.
    """
    validate.open_fraction(level, "level")
    scores, covariance = np.asarray(scores, float), np.asarray(covariance, float)
    n = len(scores)
    if n == 0 or covariance.shape != (n, n):
        raise UserError(f"multi_reader: {n} scores with covariances {covariance.shape}")
    if n == 1:
        between, shared, df = np.nan, float(covariance[0, 0]), np.inf
        error = np.sqrt(shared)
    else:
        between = float(scores.var(ddof=1))
        shared = max(0.0, float(covariance[~np.eye(n, dtype=bool)].mean()))
        error = np.sqrt(shared + between / n)
        of_readers = (between / n) ** 2 / (n - 1)
        df = float(error**4 / of_readers) if of_readers > 0 else np.inf
    mean = float(scores.mean())
    of_these = np.sqrt(max(0.0, float(covariance.mean())))  # the error with these readers fixed
    tail = (1 + level) / 2
    reach = float(max(stats.t.ppf(tail, df) * error, stats.norm.ppf(tail) * of_these))
    reach = reach if reach > 0 else np.nan
    return MeanOfReaders(
        Interval(mean, mean - reach, mean + reach, level), float(error), df, between, shared, n
    )


def compare_ways(scores: np.ndarray, covariance: np.ndarray, level: float = 0.95) -> TwoWays:
    """Compare ways of reading that all readers used on all cases, both random.

    F = MS(T) / (MS(T R) + r max(Cov2 - Cov3, 0)), its denominator with Hillis's degrees of freedom.

    Args:
        scores: float (t, r), t ways by r readers, two or more of each.
        covariance: float (t r, t r) over cases, way by way, from `jackknife`.
        level: of the intervals.

    Returns:
        `TwoWays`.
    """
    validate.open_fraction(level, "level")
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise UserError(f"multi_reader: scores {scores.shape}; expected (ways, readers), 2 or more")
    t, r = scores.shape
    cells = np.asarray(covariance, float).reshape(t, r, t, r).transpose(0, 2, 1, 3)
    same_way, same_reader = (np.eye(k, dtype=bool) for k in (t, r))
    own, other = cells[same_way], cells[~same_way]  # (pairs of ways, r, r)
    cov2_of = np.array([block[~same_reader].mean() for block in own])
    cov2, cov3 = float(cov2_of.mean()), float(other[:, ~same_reader].mean())
    by_way, by_reader = scores.mean(axis=1), scores.mean(axis=0)
    rest = scores - by_way[:, None] - by_reader + scores.mean()
    ms_way, ms_rest = r * by_way.var(ddof=1), float((rest**2).sum() / ((t - 1) * (r - 1)))
    error = ms_rest + r * max(cov2 - cov3, 0.0)
    df = error**2 / (ms_rest**2 / ((t - 1) * (r - 1))) if ms_rest > 0 else np.inf
    f = float(ms_way / error) if error > 0 else np.nan
    reach = float(stats.t.ppf((1 + level) / 2, df) * np.sqrt(2 / r * error))
    gaps = {(i, j): float(by_way[i] - by_way[j]) for i in range(t) for j in range(i + 1, t)}
    return TwoWays(
        ms_way=float(ms_way),
        ms_way_by_reader=ms_rest,
        variance=float(own[:, same_reader].mean()),
        cov1=float(other[:, same_reader].mean()),
        cov2=cov2,
        cov3=cov3,
        f=f,
        df=float(df),
        p=float(stats.f.sf(f, t - 1, df)),
        differences={
            pair: Interval(gap, gap - reach, gap + reach, level) for pair, gap in gaps.items()
        },
        means=tuple(mean_of_readers(row, cells[i, i], level) for i, row in enumerate(scores)),
    )

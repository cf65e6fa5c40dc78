"""Gaps between subgroups, with intervals that hold for all of them together.

A gap in balanced accuracy is the difference of mean recalls over the classes that both groups
have. The largest of many gaps is large by luck alone, so the intervals are simultaneous (max-t
bootstrap, Westfall & Young 1993): of groups that don't differ, about one evaluation in twenty
names any, for each metric.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from dermssl.evaluation import checks
from dermssl.evaluation.resampling import Interval
from dermssl.evaluation.subgroups import (
    BALANCED,
    FEW,
    FEW_OF_A_CLASS,
    METRICS,
    Group,
    mean_recall,
    row_of,
)


@dataclass(frozen=True, eq=False)
class Gap:
    """A metric in group `a` less that in group `b` of the same axis.

    Attributes:
        a, b: `Group`, a the higher one.
        metric: of `subgroups.METRICS`.
        classes: fine classes averaged in both, for the balanced accuracy.
        value_a, value_b: the metric in each, over `classes`.
        interval: `Interval` of the difference, which holds for all gaps of the metric together.
    """

    a: Group
    b: Group
    metric: str
    classes: tuple
    value_a: float
    value_b: float
    interval: Interval


def between(groups, taxonomy):
    """Every gap between two groups of one axis that can be compared.

    Both need `FEW` records and, of each class averaged or of the side of the target that is
    measured, `FEW_OF_A_CLASS` lesions.

    Args:
        groups: from `subgroups.score`.
        taxonomy: `Taxonomy`.

    Returns:
        list of `Gap`, metric by metric, the widest first.
    """
    large = [group for group in groups if group.n >= FEW]
    pairs = [pair for pair in itertools.combinations(large, 2) if pair[0].axis == pair[1].axis]
    found = []
    for metric in METRICS:
        compared = [each for each in (_compare(*pair, metric, taxonomy) for pair in pairs) if each]
        intervals = simultaneous(
            [a.sample[0] - b.sample[0] for _, _, a, b, _, _ in compared],
            [a.draws[0] - b.draws[0] for _, _, a, b, _, _ in compared],
            [hidden for *_, hidden in compared],
        )
        gaps = [
            Gap(one, other, metric, classes, float(a.sample[0]), float(b.sample[0]), interval)
            for (one, other, a, b, classes, _), interval in zip(compared, intervals)
        ]
        found += sorted(gaps, key=lambda gap: -gap.interval.estimate)
    return found


def _compare(one, other, metric, taxonomy):
    """(higher group, lower one, `Replicates` of both, classes, hidden variance), or None."""
    pair, classes = (one, other), ()
    if metric == BALANCED:
        enough = (np.stack([group.support for group in pair]) >= FEW_OF_A_CLASS).all(axis=0)
        rows = np.flatnonzero(enough)
        classes = tuple(np.array(taxonomy.fine, dtype=object)[rows])
        values = [mean_recall(group.part, rows) for group in pair]
        hidden = hidden_variance(
            [group.part.sample[rows] for group in pair], [group.support[rows] for group in pair]
        )
    else:
        if min(group.behind.get(metric, 0) for group in pair) < FEW_OF_A_CLASS:
            return None
        row = [row_of(metric, taxonomy)]
        values = [group.part.at(row) for group in pair]
        hidden = hidden_variance(
            [value.sample for value in values], [[group.behind[metric]] for group in pair]
        )
    if np.isnan(values[0].sample[0] - values[1].sample[0]):
        return None
    if values[0].sample[0] < values[1].sample[0]:
        pair, values = pair[::-1], values[::-1]
    return *pair, *values, classes, hidden


def hidden_variance(shares, n):
    """Variance of the difference of two means of shares that their draws don't show.

    Draws of n lesions vary (n - 1) / n as much as the shares of n new lesions do. A share that
    lies near 0 or 1 by luck varies little, which would make its gap look sure; so each share is
    taken to vary no less than the two groups' common share does (as in the pooled test of two
    proportions), and one of 0 or 1 no less than with four lesions more, two of them found
    (Agresti & Coull 1998).

    Args:
        shares: two float [classes], one a group.
        n: two int [classes], lesions behind each.
    """
    shares, n = np.asarray(shares, dtype=np.float64), np.asarray(n, dtype=np.float64)
    common = (shares * n).sum(axis=0) / n.sum(axis=0)
    new = np.maximum(shares * (1 - shares), common * (1 - common)) / np.maximum(1, n - 1)
    lifted = (shares * n + 2) / (n + 4)
    flat = np.isin(shares, (0, 1))
    new = np.where(flat, np.maximum(new, lifted * (1 - lifted) / (n + 4)), new)
    return float((new - shares * (1 - shares) / n).sum() / max(1, shares.shape[1]) ** 2)


def simultaneous(estimates, draws, hidden=0.0, level=0.95):
    """Intervals that hold for all estimates together, by the bootstrap of the largest |t|.

    Args:
        estimates: M floats.
        draws: M arrays [B] of the same draws, NaN where undefined.
        hidden: M variances to add to those of the draws, or one for all.
        level: of all together.

    Returns:
        M `Interval`s, estimate -+ c sd, where c is the `level` quantile over draws of the
        largest |draw - estimate| / sd. NaN bounds where more than half of the draws are
        undefined or nothing varies.
    """
    if not len(estimates):
        return []
    estimates, draws = np.asarray(estimates, float), np.asarray(draws, float)
    known = ~np.isnan(draws)
    counts = known.sum(axis=1)
    mean = checks.ratio(np.where(known, draws, 0).sum(axis=1), counts)
    apart = np.where(known, draws - mean[:, None], 0)
    sd = np.sqrt(checks.ratio((apart**2).sum(axis=1), counts - 1) + hidden)
    usable = (sd > 1e-9) & (counts > draws.shape[1] / 2)
    reach = np.full(len(estimates), np.nan)
    if usable.any():
        t = np.abs(draws - estimates[:, None])[usable] / sd[usable, None]
        c = np.quantile(np.where(np.isnan(t), 0, t).max(axis=0), level)
        # A gap whose draws all agree has no t of its own: never under a single normal quantile.
        reach[usable] = max(c, norm.ppf((1 + level) / 2)) * sd[usable]
    b = draws.shape[1]
    return [
        Interval(float(value), float(value - r), float(value + r), level, b, int(b - n))
        for value, r, n in zip(estimates, reach, counts)
    ]


def largest(gaps, metric):
    """The gap to name: the widest that excludes 0, else the widest of all; None without any."""
    defined = [gap for gap in gaps if gap.metric == metric and gap.interval.is_defined]
    shown = [gap for gap in defined if gap.interval.excludes_zero]
    return next(iter(shown or defined), None)

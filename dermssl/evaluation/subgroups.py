"""How well a model does for whom: by skin tone, sex, age, body site and source.

Groups differ in which diagnoses they hold, so a balanced accuracy over each group's own classes
isn't one number measured twice. A gap between two groups is therefore the difference of their
mean recalls over the classes that both have; sensitivity and specificity of a yes/no question
at one threshold for all don't depend on the shares of classes in the first place.

The largest of many gaps is large by luck alone. The intervals here hold for all gaps together
(max-t bootstrap: Westfall & Young 1993): of groups that don't differ, one in twenty evaluations
names any.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermssl.errors import UserError
from dermssl.evaluation import checks, targets
from dermssl.evaluation.resampling import Interval, cluster_codes, replicates

AXES = ("skin_tone", "sex", "age", "site", "source")
FEW = 30  # records; a smaller group is shown with a warning, and in no gap
FEW_OF_A_CLASS = 5  # lesions (or patients) of a class in a group, for a recall that says anything
BALANCED, SENSITIVITY, SPECIFICITY = "balanced_accuracy", "sensitivity", "specificity"
METRICS = (BALANCED, SENSITIVITY, SPECIFICITY)


@dataclass(frozen=True, eq=False)
class Group:
    """The records of one value of one axis.

    Attributes:
        axis, value: such as "sex", "female".
        rows: bool [n].
        n, n_groups, n_positive: labelled records, lesions or patients, yes-records of the target.
        classes: fine classes that are averaged: `FEW_OF_A_CLASS` lesions or more.
        few, missing: fine classes with fewer lesions, and with none; in the data elsewhere.
        found: dict of metric -> `Interval`.
    """

    axis: str
    value: str
    rows: np.ndarray
    n: int
    n_groups: int
    n_positive: int
    classes: tuple
    few: tuple
    missing: tuple
    found: dict


@dataclass(frozen=True, eq=False)
class Gap:
    """A metric in group `a` less that in group `b` of the same axis.

    Attributes:
        a, b: `Group`, a the higher one.
        metric: of `METRICS`.
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


def age_bands(age, starts=(30, 50, 70)):
    """Text [n], such as "<30", "30-49", "70+", or "" where the age is unknown.

    Args:
        age: float [n], years, NaN unknown.
        starts: years at which a new band begins, ascending.
    """
    starts = [int(year) for year in starts]
    if not starts or sorted(set(starts)) != starts:
        raise UserError(f"--age-bands {starts}: expected ascending years, each once")
    ends = [f"{low}-{high - 1}" for low, high in itertools.pairwise(starts)]
    names = np.array(["", f"<{starts[0]}", *ends, f"{starts[-1]}+"], dtype=object)
    age = np.asarray(age, dtype=np.float64)
    band = 1 + np.searchsorted(starts, age, side="right")
    return names[np.where(np.isnan(age), 0, band)]


def values(rows, axis, starts=(30, 50, 70)):
    """The group of each record of a predictions table on an axis, "" where it isn't stated."""
    if axis == "age":
        return age_bands(rows["age"], starts)
    return rows[axis].fillna("").astype(str).to_numpy(dtype=object)


def score(rows, arrays, taxonomy, target, threshold, starts=(30, 50, 70), n_resamples=1000):
    """Every group of every axis that splits the records, and every gap that can be compared.

    Args:
        rows: the records' rows of predictions.csv.
        arrays: their `predictions.Arrays`.
        taxonomy: `Taxonomy`.
        target: `targets.Target`, or None.
        threshold: yes where its score >= this, in all groups.
        starts: of `age_bands`.
        n_resamples: draws of the bootstrap.

    Returns:
        (list of `Group`, list of `Gap`), the widest gap of each metric first.
    """
    y, k = arrays.y, len(taxonomy.fine)
    hit = arrays.p_fine.argmax(axis=1) == y
    lesions = cluster_codes(arrays.groups, len(y))
    groups = [
        (axis, str(value), found == value)
        for axis in AXES
        for found in [np.where(y >= 0, values(rows, axis, starts), "")]
        for value in _ordered(axis, set(found) - {""}, starts)
        if len(set(found) - {""}) > 1
    ]
    if not groups:
        return [], []
    asked = [targets.hits(target, threshold), targets.passes(target, threshold)] if target else []

    def kernel(tally):
        cells = []
        for _, _, inside in groups:
            codes = np.where(inside, y, -1)
            cells.append(checks.ratio(tally(codes, k, hit.astype(float)), tally(codes, k)))
            for answer in asked:
                codes = np.where(inside & ~np.isnan(answer), 0, -1)
                cells.append(checks.ratio(tally(codes, 1, answer), tally(codes, 1)))
        return np.concatenate(cells)

    drawn = replicates(kernel, arrays.groups, len(y), n_resamples=n_resamples)
    sizes = np.full(len(groups), k + len(asked)).cumsum()[:-1]
    parts = [
        drawn._replace(sample=sample, draws=draws)
        for sample, draws in zip(np.split(drawn.sample, sizes), np.split(drawn.draws, sizes))
    ]
    support = np.array([_lesions_by_class(y, lesions, inside, k) for _, _, inside in groups])
    made = [
        _group(*group, y, lesions, taxonomy, target, part, count)
        for group, part, count in zip(groups, parts, support)
    ]
    return made, _gaps(made, parts, support, taxonomy, bool(target))


def _ordered(axis, names, starts):
    if axis != "age":
        return sorted(names)
    order = list(age_bands([starts[0] - 1, *starts], starts))
    return sorted(names, key=order.index)


def _lesions_by_class(y, lesions, inside, k):
    pairs = pd.DataFrame({"y": y[inside], "lesion": lesions[inside]}).drop_duplicates()
    return np.bincount(pairs["y"], minlength=k)


def _group(axis, value, inside, y, lesions, taxonomy, target, part, support):
    names = np.array(taxonomy.fine, dtype=object)
    elsewhere = np.isin(np.arange(len(names)), y)
    enough = support >= FEW_OF_A_CLASS
    balanced = _mean_recall(part, enough)
    found = dict(zip(METRICS, balanced.intervals() + _rest(part, len(names)).intervals()))
    return Group(
        axis, value, inside,
        n=int(inside.sum()),
        n_groups=len(set(lesions[inside])),
        n_positive=int((target.y[inside] == 1).sum()) if target else 0,
        classes=tuple(names[enough]),
        few=tuple(names[(support > 0) & ~enough]),
        missing=tuple(names[elsewhere & (support == 0)]),
        found=found,
    )  # fmt: skip


def _mean_recall(part, which):
    """The mean recall over some classes, NaN for fewer than two: a balanced accuracy."""
    rows = np.flatnonzero(which)
    if len(rows) < 2:
        nothing = np.full((1, part.draws.shape[1]), np.nan)
        return part._replace(sample=np.array([np.nan]), draws=nothing)
    sample, draws = (each[rows].mean(axis=0, keepdims=True) for each in (part.sample, part.draws))
    return part._replace(sample=sample, draws=draws)


def _rest(part, k):
    return part._replace(sample=part.sample[k:], draws=part.draws[k:])


def _gaps(made, parts, support, taxonomy, asked):
    """All pairs of large enough groups of one axis, with simultaneous intervals by metric."""
    k, found = len(taxonomy.fine), []
    pairs = [
        (i, j)
        for i, a in enumerate(made)
        for j, b in enumerate(made)
        if i < j and a.axis == b.axis and min(a.n, b.n) >= FEW
    ]
    for number, metric in enumerate(METRICS if asked else METRICS[:1]):
        rows = []
        for i, j in pairs:
            both = (support[i] >= FEW_OF_A_CLASS) & (support[j] >= FEW_OF_A_CLASS)
            if metric == BALANCED:
                a, b = (_mean_recall(parts[each], both) for each in (i, j))
            else:
                a, b = (_one(parts[each], k + number - 1) for each in (i, j))
            if np.isnan(a.sample[0] - b.sample[0]):
                continue
            if (
                metric == SENSITIVITY
                and min(made[i].n_positive, made[j].n_positive) < FEW_OF_A_CLASS
            ):
                continue
            (i, a), (j, b) = sorted(((i, a), (j, b)), key=lambda side: -side[1].sample[0])
            shared = (
                tuple(np.array(taxonomy.fine, dtype=object)[both]) if metric == BALANCED else ()
            )
            rows.append((made[i], made[j], shared, a, b))
        intervals = simultaneous(
            [float(a.sample[0] - b.sample[0]) for *_, a, b in rows],
            [a.draws[0] - b.draws[0] for *_, a, b in rows],
        )
        gaps = [
            Gap(one, other, metric, shared, float(a.sample[0]), float(b.sample[0]), interval)
            for (one, other, shared, a, b), interval in zip(rows, intervals)
        ]
        found += sorted(gaps, key=lambda gap: -gap.interval.estimate)
    return found


def _one(part, row):
    return part._replace(sample=part.sample[[row]], draws=part.draws[[row]])


def simultaneous(estimates, draws, level=0.95):
    """Intervals that hold for all estimates together, by the bootstrap of the largest |t|.

    Args:
        estimates: M floats.
        draws: M arrays [B] of the same draws, NaN where undefined.

    Returns:
        M `Interval`s, estimate -+ c sd, where c is the `level` quantile over draws of the
        largest |draw - estimate| / sd. NaN bounds where more than half of the draws are
        undefined or all agree.
    """
    if not len(estimates):
        return []
    estimates, draws = np.asarray(estimates, float), np.asarray(draws, float)
    known = ~np.isnan(draws)
    counts = known.sum(axis=1)
    mean = checks.ratio(np.where(known, draws, 0).sum(axis=1), counts)
    apart = np.where(known, draws - mean[:, None], 0)
    sd = np.sqrt(checks.ratio((apart**2).sum(axis=1), counts - 1))
    usable = (sd > 1e-9) & (counts > draws.shape[1] / 2)
    reach = np.full(len(estimates), np.nan)
    if usable.any():
        t = np.abs(draws - estimates[:, None])[usable] / sd[usable, None]
        c = np.quantile(np.where(np.isnan(t), 0, t).max(axis=0), level)
        reach[usable] = c * sd[usable]
    return [
        Interval(float(value), float(value - r), float(value + r), level, draws.shape[1],
                 int(draws.shape[1] - n))
        for value, r, n in zip(estimates, reach, counts)
    ]  # fmt: skip


def largest(gaps, metric):
    """The gap to name: the widest that excludes 0, else the widest of all; None without any."""
    of_metric = [gap for gap in gaps if gap.metric == metric and gap.interval.is_defined]
    shown = [gap for gap in of_metric if gap.interval.excludes_zero]
    return next(iter(shown or of_metric), None)

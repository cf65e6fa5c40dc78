"""Scores by subgroup: skin tone, sex, age, body site and source.

Groups differ in which diagnoses they hold, so a balanced accuracy over each group's own classes
isn't one number measured twice; `gaps` compares groups over the classes that both have.
Sensitivity and specificity of a yes/no question, at one threshold for all, don't depend on the
shares of classes in the first place.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import norm

from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, validate
from dermssl.evaluation.bootstrap import Replicates, cluster_codes, replicates
from dermssl.evaluation.interval import Interval, joint_level
from dermssl.evaluation.predictions import Arrays
from dermssl.evaluation.small_samples import FEW_OF_A_CLASS, wilson_of_groups

AXES = ("skin_tone", "sex", "age", "site", "source")
FEW = 30  # records; a smaller group is shown with a warning, and in no gap
MANY = 25  # values of an axis; beyond, the small groups are taken together
REST = "(small groups)"
BALANCED, SENSITIVITY, SPECIFICITY = "balanced_accuracy", "sensitivity", "specificity"
METRICS = (BALANCED, SENSITIVITY, SPECIFICITY)


@dataclass(frozen=True, eq=False)
class Group:
    """The records of one value of one axis.

    Attributes:
        axis, value: such as "sex", "female".
        n, n_groups: labelled records, lesions or patients.
        n_positive: yes-records of the target; 0 without one.
        behind: dict of metric -> lesions or patients that its share is of.
        classes: fine classes that are averaged: `FEW_OF_A_CLASS` lesions or more.
        few, missing: fine classes with fewer lesions, and with none; in the data elsewhere.
        found: dict of metric -> `Interval`.
        support: int (F,), lesions or patients of each class.
        part: `Replicates` of the recall of each class, then sensitivity and specificity.
    """

    axis: str
    value: str
    n: int
    n_groups: int
    n_positive: int
    behind: dict[str, int]
    classes: tuple[str, ...]
    few: tuple[str, ...]
    missing: tuple[str, ...]
    found: dict[str, Interval]
    support: np.ndarray = field(repr=False)
    part: Replicates = field(repr=False)


def age_bands(age: npt.ArrayLike, starts: Sequence[int] = (30, 50, 70)) -> np.ndarray:
    """Text (n,), such as "<30", "30-49", "70+", or "" where the age is unknown.

    Args:
        age: float (n,), years, NaN unknown.
        starts: years at which a new band begins, ascending.

    Example:

    >>> age_bands([25, 30, 71]).tolist()
    ['<30', '30-49', '70+']
    """
    starts = [int(year) for year in starts]
    if not starts or sorted(set(starts)) != starts:
        raise UserError(f"evaluate.age_bands {starts}: expected ascending years, each once")
    ends = [f"{low}-{high - 1}" for low, high in itertools.pairwise(starts)]
    names = np.array(["", f"<{starts[0]}", *ends, f"{starts[-1]}+"], dtype=object)
    age = np.asarray(age, dtype=np.float64)
    band = 1 + np.searchsorted(starts, age, side="right")
    return names[np.where(np.isnan(age), 0, band)]


def values(rows: pd.DataFrame, axis: str, starts: Sequence[int] = (30, 50, 70)) -> np.ndarray:
    """The group of each record of a predictions table on an axis, "" where it isn't stated."""
    if axis == "age":
        return age_bands(rows["age"], starts)
    return rows[axis].fillna("").astype(str).to_numpy(dtype=object)


def score(
    rows: pd.DataFrame,
    arrays: Arrays,
    taxonomy: Taxonomy,
    target: binary_tasks.Target | None,
    threshold: float | None,
    starts: Sequence[int] = (30, 50, 70),
    n_resamples: int = 1000,
) -> list[Group]:
    """Every group of every axis that splits the records.

    Args:
        rows: the records' rows of predictions.csv.
        arrays: their `predictions.Arrays`.
        taxonomy: `Taxonomy`.
        target: `binary_tasks.Target`, or None.
        threshold: yes where its score >= this, in all groups.
        starts: of `age_bands`.
        n_resamples: draws of the bootstrap.

    Returns:
        list of `Group`, axis by axis.
    """
    y, k = arrays.y, len(taxonomy.fine)
    lesions = cluster_codes(arrays.groups, len(y))
    places = _places(rows, y, starts)
    if not places:
        return []
    hit = (arrays.p_fine.argmax(axis=1) == y).astype(float)
    asked = (
        [
            binary_tasks.called_positive(target, threshold),
            binary_tasks.called_negative(target, threshold),
        ]
        if target and threshold is not None
        else []
    )

    def kernel(tally):
        cells = []
        for _, _, inside in places:
            codes = np.where(inside, y, -1)
            cells.append(validate.ratio(tally(codes, k, hit), tally(codes, k)))
            for answer in asked:
                codes = np.where(inside & ~np.isnan(answer), 0, -1)
                cells.append(validate.ratio(tally(codes, 1, answer), tally(codes, 1)))
        return np.concatenate(cells)

    drawn = replicates(kernel, arrays.groups, len(y), n_resamples=n_resamples)
    width = k + len(asked)
    return [
        _group(axis, value, inside, y, lesions, taxonomy, target, drawn.at(slice(at, at + width)))
        for at, (axis, value, inside) in zip(range(0, width * len(places), width), places)
    ]


def _places(rows, y, starts):
    """(axis, value, bool (n,)) of each group, of the axes that have two or more."""
    places = []
    for axis in AXES:
        found = np.where(y >= 0, values(rows, axis, starts), "")
        counts = pd.Series(found[found != ""]).value_counts()
        if len(counts) > MANY:
            found = np.where(np.isin(found, counts.index[counts < FEW]), REST, found)
        names = set(found) - {""}
        order = (
            list(age_bands([starts[0] - 1, *starts], starts)) if axis == "age" else sorted(names)
        )
        if len(names) > 1:
            places += [(axis, name, found == name) for name in order if name in names]
    return places


def _group(axis, value, inside, y, lesions, taxonomy, target, part):
    names = np.array(taxonomy.fine, dtype=object)
    pairs = pd.DataFrame({"y": y[inside], "lesion": lesions[inside]}).drop_duplicates()
    support = np.bincount(pairs["y"], minlength=len(names))
    enough = support >= FEW_OF_A_CLASS
    found = {BALANCED: mean_recall(part, np.flatnonzero(enough)).intervals()[0]}
    behind = {}
    if target:
        for metric, answer in ((SENSITIVITY, 1), (SPECIFICITY, 0)):
            sizes = pd.Series(lesions[inside & (target.y == answer)]).value_counts().to_numpy()
            behind[metric] = len(sizes)
            one = part.at([row_of(metric, taxonomy)]).intervals()[0]
            found[metric] = wilson_of_groups(one, sizes)
    return Group(
        axis, value,
        n=int(inside.sum()),
        n_groups=len(set(lesions[inside])),
        n_positive=int((target.y[inside] == 1).sum()) if target else 0,
        behind=behind,
        classes=tuple(names[enough]),
        few=tuple(names[(support > 0) & ~enough]),
        missing=tuple(names[np.isin(np.arange(len(names)), y) & (support == 0)]),
        found=found,
        support=support,
        part=part,
    )  # fmt: skip


def row_of(metric: str, taxonomy: Taxonomy) -> int:
    """Where a `Group.part` has its sensitivity or specificity."""
    return len(taxonomy.fine) + METRICS[1:].index(metric)


def mean_recall(part: Replicates, classes: np.ndarray) -> Replicates:
    """`Replicates` of the mean recall over some classes; NaN for fewer than two."""
    if len(classes) < 2:
        nothing = np.full((1, part.draws.shape[1]), np.nan)
        return part._replace(sample=np.array([np.nan]), draws=nothing)
    some = part.at(classes)
    return some._replace(
        sample=some.sample.mean(keepdims=True), draws=some.draws.mean(axis=0, keepdims=True)
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
    classes: tuple[str, ...]
    value_a: float
    value_b: float
    interval: Interval


def subgroup_gaps(groups: Sequence[Group], taxonomy: Taxonomy) -> list[Gap]:
    """Every gap between two groups of one axis that can be compared.

    Both need `FEW` records and, of each class averaged or of the side of the target that is
    measured, `FEW_OF_A_CLASS` lesions. All gaps of all metrics are one family: those of a metric
    hold together at 1 - 0.05 / m, of m metrics that have any.

    Args:
        groups: from `subgroups.score`.
        taxonomy: `Taxonomy`.

    Returns:
        list of `Gap`, metric by metric, the widest first.
    """
    large = [group for group in groups if group.n >= FEW]
    pairs = [pair for pair in itertools.combinations(large, 2) if pair[0].axis == pair[1].axis]
    of_metric = {
        metric: list(filter(None, (_compare(*pair, metric, taxonomy) for pair in pairs)))
        for metric in METRICS
    }
    level = joint_level(sum(map(bool, of_metric.values())))
    ordered = []
    for metric, compared in of_metric.items():
        intervals = simultaneous(
            [a.sample[0] - b.sample[0] for _, _, a, b, _, _ in compared],
            [a.draws[0] - b.draws[0] for _, _, a, b, _, _ in compared],
            [hidden for *_, hidden in compared],
            level,
        )
        gaps = [
            Gap(one, other, metric, classes, float(a.sample[0]), float(b.sample[0]), interval)
            for (one, other, a, b, classes, _), interval in zip(compared, intervals)
        ]
        ordered += sorted(gaps, key=lambda gap: -gap.interval.estimate)
    return ordered


def _compare(one, other, metric, taxonomy):
    """(higher group, lower one, `Replicates` of both, classes, hidden variance), or None."""
    pair, classes = (one, other), ()
    if metric == BALANCED:
        enough = (np.stack([group.support for group in pair]) >= FEW_OF_A_CLASS).all(axis=0)
        rows = np.flatnonzero(enough)
        classes = tuple(np.array(taxonomy.fine, dtype=object)[rows])
        values = [mean_recall(group.part, rows) for group in pair]
        hidden = small_sample_variance(
            [group.part.sample[rows] for group in pair], [group.support[rows] for group in pair]
        )
    else:
        if min(group.behind.get(metric, 0) for group in pair) < FEW_OF_A_CLASS:
            return None
        row = [row_of(metric, taxonomy)]
        values = [group.part.at(row) for group in pair]
        hidden = small_sample_variance(
            [value.sample for value in values], [[group.behind[metric]] for group in pair]
        )
    if np.isnan(values[0].sample[0] - values[1].sample[0]):
        return None
    if values[0].sample[0] < values[1].sample[0]:
        pair, values = pair[::-1], values[::-1]
    return *pair, *values, classes, hidden


def small_sample_variance(shares: npt.ArrayLike, n: npt.ArrayLike) -> float:
    """Variance of the difference of two means of shares that their draws don't show.

    Draws of n lesions vary (n - 1) / n as much as the shares of n new lesions do. A share that
    lies near 0 or 1 by luck varies little, which would make its gap look sure; so each share is
    taken to vary no less than the two groups' common share does (as in the pooled test of two
    proportions), and one of 0 or 1 no less than with four lesions more, two of them found
    (Agresti & Coull 1998).

    Args:
        shares: two float (classes,), one a group.
        n: two int (classes,), lesions behind each.
    """
    shares, n = np.asarray(shares, dtype=np.float64), np.asarray(n, dtype=np.float64)
    common = (shares * n).sum(axis=0) / n.sum(axis=0)
    new = np.maximum(shares * (1 - shares), common * (1 - common)) / np.maximum(1, n - 1)
    lifted = (shares * n + 2) / (n + 4)
    flat = np.isin(shares, (0, 1))
    new = np.where(flat, np.maximum(new, lifted * (1 - lifted) / (n + 4)), new)
    return float((new - shares * (1 - shares) / n).sum() / max(1, shares.shape[1]) ** 2)


def simultaneous(
    estimates: Sequence[float] | np.ndarray,
    draws: Sequence[np.ndarray] | np.ndarray,
    hidden: Sequence[float] | float = 0.0,
    level: float = 0.95,
) -> list[Interval]:
    """Intervals that hold for all estimates together, by the bootstrap of the largest |t|.

    Args:
        estimates: M floats.
        draws: M arrays (B,) of the same draws, NaN where undefined.
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
    mean = validate.ratio(np.where(known, draws, 0).sum(axis=1), counts)
    apart = np.where(known, draws - mean[:, None], 0)
    sd = np.sqrt(validate.ratio((apart**2).sum(axis=1), counts - 1) + hidden)
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


def largest(gaps: Sequence[Gap], metric: str) -> Gap | None:
    """The gap to name: the widest that excludes 0, else the widest of all; None without any."""
    defined = [gap for gap in gaps if gap.metric == metric and gap.interval.is_defined]
    shown = [gap for gap in defined if gap.interval.excludes_zero]
    return next(iter(shown or defined), None)

"""How well a model does for whom: by skin tone, sex, age, body site and source.

Groups differ in which diagnoses they hold, so a balanced accuracy over each group's own classes
isn't one number measured twice; `gaps` compares groups over the classes that both have.
Sensitivity and specificity of a yes/no question, at one threshold for all, don't depend on the
shares of classes in the first place.
"""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dermssl.errors import UserError
from dermssl.evaluation import checks, targets
from dermssl.evaluation.resampling import Replicates, cluster_codes, replicates
from dermssl.evaluation.statistics import bounded

AXES = ("skin_tone", "sex", "age", "site", "source")
FEW = 30  # records; a smaller group is shown with a warning, and in no gap
FEW_OF_A_CLASS = 5  # lesions (or patients) of a class in a group, for a recall that says anything
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
        support: int [F], lesions or patients of each class.
        part: `Replicates` of the recall of each class, then sensitivity and specificity.
    """

    axis: str
    value: str
    n: int
    n_groups: int
    n_positive: int
    behind: dict
    classes: tuple
    few: tuple
    missing: tuple
    found: dict
    support: np.ndarray = field(repr=False)
    part: Replicates = field(repr=False)


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
    """Every group of every axis that splits the records.

    Args:
        rows: the records' rows of predictions.csv.
        arrays: their `predictions.Arrays`.
        taxonomy: `Taxonomy`.
        target: `targets.Target`, or None.
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
    asked = [targets.hits(target, threshold), targets.passes(target, threshold)] if target else []

    def kernel(tally):
        cells = []
        for _, _, inside in places:
            codes = np.where(inside, y, -1)
            cells.append(checks.ratio(tally(codes, k, hit), tally(codes, k)))
            for answer in asked:
                codes = np.where(inside & ~np.isnan(answer), 0, -1)
                cells.append(checks.ratio(tally(codes, 1, answer), tally(codes, 1)))
        return np.concatenate(cells)

    drawn = replicates(kernel, arrays.groups, len(y), n_resamples=n_resamples)
    width = k + len(asked)
    return [
        _group(*place, y, lesions, taxonomy, target, drawn.at(slice(at, at + width)))
        for at, place in zip(range(0, width * len(places), width), places)
    ]


def _places(rows, y, starts):
    """(axis, value, bool [n]) of each group, of the axes that have two or more."""
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
            behind[metric] = len(set(lesions[inside & (target.y == answer)]))
            one = part.at([row_of(metric, taxonomy)]).intervals()[0]
            found[metric] = bounded(one, behind[metric])
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


def row_of(metric, taxonomy):
    """Where a `Group.part` has its sensitivity or specificity."""
    return len(taxonomy.fine) + METRICS[1:].index(metric)


def mean_recall(part, classes):
    """`Replicates` of the mean recall over some classes; NaN for fewer than two."""
    if len(classes) < 2:
        nothing = np.full((1, part.draws.shape[1]), np.nan)
        return part._replace(sample=np.array([np.nan]), draws=nothing)
    some = part.at(classes)
    return some._replace(
        sample=some.sample.mean(keepdims=True), draws=some.draws.mean(axis=0, keepdims=True)
    )

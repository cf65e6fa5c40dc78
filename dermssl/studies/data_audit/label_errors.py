"""Rank photos by how little a classifier that never saw them believes their label.

Each photo is judged by a logistic regression on frozen embeddings that was fitted without its
patient's and lesion's photos (out of fold). What it says against a label is a hint: it may be
the classifier that errs. Confident learning (Northcutt, Jiang & Chuang 2021) says which hints
are strong for their class.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermssl.data import splits

FOLDS = 5
# Measured on 2,403 photos of HAM10000 under a MobileNet with ImageNet weights, 5% of the labels
# swapped in pairs or drawn anew, 0.3 to 100 tried: weaker penalties rank the planted ones lower.
INVERSE_PENALTY = 1.0
ROUNDS = 300  # of the solver
COLUMNS = ("row", "given", "suggested", "p_given", "p_suggested", "margin", "confident")
NOTHING = pd.DataFrame(columns=list(COLUMNS))


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Labelled photos, the least believed label first.

    Attributes:
        table: DataFrame with row (position in the given arrays), given, suggested (class
            names), p_given, p_suggested (out of fold), margin (p_given minus the largest
            other), confident (confident learning counts it as an error).
        left_out: dict of class -> number of groups, of those with too few to be judged.
        n_unlabelled: photos without a label.
    """

    table: pd.DataFrame
    left_out: dict[str, int]
    n_unlabelled: int


def find(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    n_folds: int = FOLDS,
    seed: int = 0,
) -> LabelErrors:
    """Judge every label by photos of other lesions and patients.

    Args:
        features: float (n, d), frozen embeddings.
        labels: object (n,), class names; "" for none.
        groups: object (n,), patient or lesion of each photo; a group lies in one fold.
        n_folds: int, at least 2; classes with fewer groups are left out.
        seed: of the folds.

    Returns:
        `LabelErrors`; its table is empty where fewer than two classes can be judged.
    """
    labels, groups = np.asarray(labels, dtype=object), np.asarray(groups, dtype=object)
    known = labels != ""
    sizes = pd.Series(groups[known]).groupby(labels[known]).nunique()
    left_out = sizes[sizes < n_folds]
    judged = np.flatnonzero(known & ~np.isin(labels, list(left_out.index)))
    names, given = np.unique(labels[judged].astype(str), return_inverse=True)
    few = {str(name): int(n) for name, n in left_out.items()}
    if len(names) < 2:
        return LabelErrors(_ranked(judged, given, names, None), few, int((~known).sum()))
    fold = folds(given, groups[judged], n_folds, seed)
    p = out_of_fold(unit(features[judged]), given, fold, len(names))
    return LabelErrors(_ranked(judged, given, names, p), few, int((~known).sum()))


def unit(features: np.ndarray) -> np.ndarray:
    """The embeddings without their mean, each of length 1.

    Without the mean, since a ReLU network's embeddings all point the same way.
    """
    centred = np.asarray(features, np.float32)
    centred = centred - centred.mean(axis=0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)


def folds(given: np.ndarray, groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """int (n,): the fold of each photo; groups stay whole, classes are spread evenly.

    >>> folds(np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "c"]), 2, seed=0).tolist()
    [0, 0, 1, 0]
    """
    strata: dict[Hashable, list[str]] = {}
    first = pd.DataFrame({"group": groups, "label": given}).drop_duplicates("group")
    for label, own in first.groupby("label")["group"]:
        strata[label] = sorted(own)
    rng = np.random.Generator(np.random.Philox(key=seed))
    dealt = splits.deal_groups(strata, n_folds, rng)
    return np.array([dealt[group] for group in groups])


def out_of_fold(
    features: np.ndarray, given: np.ndarray, fold: np.ndarray, n_classes: int
) -> np.ndarray:
    """float (n, K): the probabilities of each photo, fitted on the other folds.

    A class that a fold's training photos lack has probability 0 there.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    p = np.zeros((len(given), n_classes))
    with threadpool_limits(1), warnings.catch_warnings():  # BLAS threads wait for one another
        warnings.simplefilter("ignore", ConvergenceWarning)
        for k in np.unique(fold):
            inside = fold == k
            there = np.unique(given[~inside])
            if len(there) == 1:
                p[inside, there[0]] = 1
            elif len(there):
                model = LogisticRegression(C=INVERSE_PENALTY, max_iter=ROUNDS)
                model.fit(features[~inside], given[~inside])
                p[np.ix_(inside, model.classes_)] = model.predict_proba(features[inside])
    return p


def confident(p: np.ndarray, given: np.ndarray) -> np.ndarray:
    """bool (n,): confident learning counts the label as wrong.

    A photo is confidently of class j where p_j reaches t_j, the mean p_j of the photos labelled j;
    of several such classes the likeliest counts (Northcutt et al. 2021, equation 1). Labels that
    disagree with it are counted as errors.

    Args:
        p: float (n, K), out of fold.
        given: int (n,), the labels.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.1], [0.2, 0.8]])
    >>> confident(p, np.array([0, 0, 1, 1])).tolist()
    [False, False, True, False]
    """
    n_classes = p.shape[1]
    thresholds = np.array(
        [p[given == k, k].mean() if (given == k).any() else np.inf for k in range(n_classes)]
    )
    reached = np.where(p >= thresholds, p, -1.0)
    return (reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != given)


def _ranked(rows, given, names, p):
    if p is None:
        return NOTHING.copy()
    at = np.arange(len(given))
    others = p.copy()
    others[at, given] = -1
    best = others.argmax(axis=1)
    table = pd.DataFrame(
        {
            "row": rows, "given": names[given], "suggested": names[best],
            "p_given": p[at, given], "p_suggested": p[at, best],
            "margin": p[at, given] - p[at, best], "confident": confident(p, given),
        }
    )  # fmt: skip
    return table.sort_values("margin", kind="stable", ignore_index=True)[list(COLUMNS)]

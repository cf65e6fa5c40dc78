"""Measure in pairs how much a leaky split inflates a score.

The same photos are predicted twice, by two classifiers that differ in one thing: whether other
photos of the tested lesions ("twins") were in training. Both train on equally many photos of
each class, as far as there are: for each twin that comes in, another photo of its class goes.
So what is left is the twins' own effect.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from dermssl.core.errors import UserError
from dermssl.data import splits
from dermssl.evaluation import bootstrap
from dermssl.evaluation.bootstrap_metrics import planned

METRICS = ("balanced_accuracy", "accuracy", "macro_roc_auc")


@dataclass(frozen=True)
class Fold:
    """Rows of one fold: `test` (a photo a group), and two training sets of equal size."""

    test: np.ndarray
    clean: np.ndarray
    leaky: np.ndarray


@dataclass(frozen=True)
class Predicted:
    """What was predicted for every group, with and without its twins.

    Attributes:
        y: int64 (G,), the class of each group's tested photo.
        clean, leaky: lists of float64 (G, K), one a seed.
        twinned: bool (G,), the group has other photos.
        n_train: float, photos in a training set, mean over folds.
        n_twins: float, of these twins in a leaky one.
    """

    y: np.ndarray
    clean: list[np.ndarray]
    leaky: list[np.ndarray]
    twinned: np.ndarray
    n_train: float
    n_twins: float


def plan(
    labels: np.ndarray,
    groups: np.ndarray,
    n_folds: int,
    seed: int,
    clusters: np.ndarray | None = None,
) -> list[Fold]:
    """The folds: every group is tested once, by one photo.

    Args:
        labels: int (n,), class of each photo.
        groups: int (n,), group of each photo, from 0 without gaps.
        n_folds: int, at least 2.
        seed: int.
        clusters: int (G,), from 0 without gaps: what lies in one fold whole, such as the patient
            of each lesion, so that the clean training set has no photo of a tested one. None:
            each group is one.

    Returns:
        list of `Fold`; the label of a group is that of its first photo, and the tested photo
        is drawn from those with that label.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
    shuffled = rng.permutation(len(labels))
    own_label = labels[np.unique(groups, return_index=True)[1]]
    fits = shuffled[labels[shuffled] == own_label[groups[shuffled]]]
    tested = fits[np.unique(groups[fits], return_index=True)[1]]  # the first in random order
    clusters = np.arange(len(own_label)) if clusters is None else clusters
    cluster_label = own_label[np.unique(clusters, return_index=True)[1]]
    strata = {
        label: np.flatnonzero(cluster_label == label).tolist() for label in np.unique(cluster_label)
    }
    dealt = splits.deal_groups(strata, n_folds, rng)
    fold = np.array([dealt[cluster] for cluster in clusters])
    folds = []
    for k in range(n_folds):
        inside = fold[groups] == k
        test = tested[fold == k]
        twins = np.setdiff1d(np.flatnonzero(inside), test)
        rest = np.flatnonzero(~inside)
        dropped = _drop(rest, labels, labels[twins], rng)
        twins = rng.permutation(twins)[: len(dropped)]  # all of them but in tiny data sets
        leaky = np.sort(np.concatenate([np.setdiff1d(rest, dropped), twins]))
        folds.append(Fold(test, rest, leaky))
    return folds


def _drop(rest, labels, wanted, rng):
    """As many of `rest` as there are in `wanted`, of the same classes where one stays behind.

    The shortfall is taken from the commonest class; no class is emptied.
    """
    order = rng.permutation(rest)
    dropped = []
    for label, n in zip(*np.unique(wanted, return_counts=True)):
        own = order[labels[order] == label]
        dropped.extend(own[: max(0, min(n, len(own) - 1))])
    left = order[~np.isin(order, dropped)]
    common = np.bincount(labels[left]).argmax() if len(left) else 0
    left = left[labels[left] == common]
    dropped.extend(left[: max(0, min(len(wanted) - len(dropped), len(left) - 1))])
    return np.array(dropped, dtype=np.int64)


def predict(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    n_folds: int = 5,
    seeds: Sequence[int] = (0, 1, 2),
    fit: Callable[..., np.ndarray] | None = None,
    clusters: np.ndarray | None = None,
) -> Predicted:
    """Train and predict with and without twins, over folds and seeds.

    Args:
        features: float (n, d).
        labels, groups, n_folds, clusters: as in `plan`.
        seeds: ints; each draws other folds and other tested photos.
        fit: function (x, y, x_test, n_classes) -> probabilities; None for `logistic`.

    Returns:
        `Predicted`.
    """
    fit = fit or logistic
    n_groups, n_classes = groups.max() + 1, labels.max() + 1
    if n_folds < 2:
        raise UserError(f"leakage.folds {n_folds}: give 2 or more")
    predicted: dict[str, list[np.ndarray]] = {"clean": [], "leaky": []}
    sizes, twins = [], []
    y = np.empty(n_groups, np.int64)
    for seed in seeds:
        p = {name: np.empty((n_groups, n_classes)) for name in predicted}
        for fold in plan(labels, groups, n_folds, seed, clusters):
            tested = groups[fold.test]
            y[tested] = labels[fold.test]
            for name in predicted:
                rows = getattr(fold, name)
                p[name][tested] = fit(features[rows], labels[rows], features[fold.test], n_classes)
            sizes.append(len(fold.clean))
            twins.append(len(np.setdiff1d(fold.leaky, fold.clean)))
        for name in predicted:
            predicted[name].append(p[name])
    return Predicted(
        y, predicted["clean"], predicted["leaky"], np.bincount(groups) > 1,
        float(np.mean(sizes)), float(np.mean(twins)),
    )  # fmt: skip


def logistic(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, n_classes: int) -> np.ndarray:
    """Class probabilities of a logistic regression on standardised features, classes balanced."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    there = np.unique(y)
    p = np.zeros((len(x_test), n_classes))
    if len(there) == 1:
        p[:, there[0]] = 1
        return p
    model = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, max_iter=200, class_weight="balanced")
    )
    # These matrices are small: several BLAS threads only wait for one another, 20 times as long.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both sides have the same budget
        model.fit(x, y)
        raw = model.predict_proba(x_test)
    p[:, there] = raw / raw.sum(axis=1, keepdims=True)
    return p


def score(
    predicted: Predicted, clusters: np.ndarray | None = None, n_resamples: int = 1000
) -> list[dict[str, Any]]:
    """Clean score, leaky score and their difference, with intervals.

    Args:
        predicted: `Predicted`.
        clusters: object (G,), what is independent (patients, say); None: each group is.
        n_resamples: int.

    Returns:
        list of dicts: subset ("all", "with twins"), metric, n, and `Interval`s clean, leaky and
        inflation (leaky minus clean, paired over groups and seeds).
    """
    rows = []
    every = np.ones(len(predicted.y), bool)
    clusters = np.arange(len(every)) if clusters is None else np.asarray(clusters)
    for subset, kept in (("all", every), ("with twins", predicted.twinned)):
        y, own = predicted.y[kept], clusters[kept]
        clean, leaky = (
            bootstrap.score(
                {m: planned(m, y, [p[kept] for p in several]) for m in METRICS},
                own,
                n_resamples=n_resamples,
            )
            for several in (predicted.clean, predicted.leaky)
        )
        rows += [
            {
                "subset": subset,
                "metric": metric,
                "n": int(kept.sum()),
                "clean": clean[metric].interval(),
                "leaky": leaky[metric].interval(),
                "inflation": leaky[metric].paired(clean[metric]).interval(),
            }
            for metric in METRICS
        ]
    return rows

"""Which metrics a model's predictions are given, and the table of its classes.

`plan` lists what is reported, and on which arrays; `summarise` computes the numbers alone,
`metric_tables` the numbers with intervals. So both always mean the same.

A number the data can't define (one class only, a class without records, no labels) is NaN.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, bootstrap, bootstrap_metrics, validate
from dermssl.evaluation.bootstrap_metrics import PlannedMetric


def confusion_matrix(y: npt.ArrayLike, predicted: npt.ArrayLike, n_classes: int) -> np.ndarray:
    """Count the records of each true class given each predicted class.

    Args:
        y: int (n,), true classes; records with -1 are left out.
        predicted: int (n,), predicted classes.
        n_classes: K.

    Returns:
        int64 (K, K); rows are the truth.

    Example:

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], n_classes=2).tolist()
    [[1, 1], [0, 1]]
    """
    y = validate.labels(y, "y", n_classes)
    predicted = validate.predictions(predicted, "predicted", n_classes)
    validate.same_length(y=y, predicted=predicted)
    cells = y[y >= 0] * n_classes + predicted[y >= 0]
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class_table(y: npt.ArrayLike, p_fine: np.ndarray, taxonomy: Taxonomy) -> pd.DataFrame:
    """One row a fine class, one-vs-rest, at the argmax decision.

    Returns:
        DataFrame: `fine`, `title`, `coarse`, `support`, `sensitivity`, `specificity`,
        `precision`, `f1`, `roc_auc`, `average_precision`; NaN where undefined, as in
        `bootstrap_metrics.class_figures`.
    """
    p = validate.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    y = validate.labels(y, "y", len(taxonomy.fine))
    validate.same_length(y=y, p_fine=p)
    once = partial(bootstrap_metrics.count, np.arange(len(y)), np.ones((len(y), 1), np.int64))
    counts = bootstrap_metrics.class_counts(once, y, p)
    figures = bootstrap_metrics.class_figures(counts)
    areas = {
        metric: [
            bootstrap.estimate(PlannedMetric(metric, np.where(y < 0, -1, y == k), p[:, k]))
            for k in range(p.shape[1])
        ]
        for metric in ("roc_auc", "average_precision")
    }
    return pd.DataFrame(
        {
            "fine": taxonomy.fine,
            "title": taxonomy.titles,
            "coarse": taxonomy.parents,
            "support": counts.support[0],
            "sensitivity": figures["recall"][0],
            "specificity": figures["specificity"][0],
            "precision": figures["precision"][0],
            "f1": figures["f1"][0],
            **areas,
        }
    )


def top_k_hits(y: np.ndarray, p: np.ndarray, k: int = 2) -> np.ndarray:
    """float (n,): 1 where the true class is among the k most probable, else 0; NaN unknown.

    Ties go to the lower class index, as in argmax, so the mean for k = 1 is the accuracy.
    """
    if not 1 <= k <= p.shape[1]:
        raise UserError(f"evaluate.top_k is {k}; expected 1..{p.shape[1]}, the number of classes")
    top = np.argsort(-p, axis=1, kind="stable")[:, :k]
    return np.where(y < 0, np.nan, (top == y[:, None]).any(axis=1))


def hierarchy_values(
    y: np.ndarray, predicted: np.ndarray, predicted_coarse: np.ndarray, taxonomy: Taxonomy
) -> dict[str, np.ndarray]:
    """How good a mistake is: what the metrics over both levels of a taxonomy are means of.

    Args:
        y: int (n,), fine classes, -1 unknown.
        predicted, predicted_coarse: int (n,), the predicted index at each level. With
            P(coarse) = sum of P(fine), the likeliest group needn't hold the likeliest class.
        taxonomy: a `Taxonomy`.

    Returns:
        dict of float (n,), NaN for a record that doesn't count:
        `full_path_accuracy`, 1 where both levels are right, else 0;
        `tree_distance`, half the edges of the path between the true and the predicted leaf of
        the tree root - coarse - fine: 0 for the same class, 1 for one of the same group, 2 for
        one of another (the height of the lowest common ancestor of Bertinetto 2020);
        `coarse_given_wrong_fine`, where the fine class is wrong, 1 or 0 for the right or the
        wrong group.
    """
    parent = taxonomy.parent_index
    unknown, right_group = y < 0, parent[y] == predicted_coarse
    distance = (y != predicted).astype(float) + (parent[y] != parent[predicted])
    return {
        "full_path_accuracy": np.where(unknown, np.nan, (y == predicted) & right_group),
        "tree_distance": np.where(unknown, np.nan, distance),
        "coarse_given_wrong_fine": np.where(unknown | (y == predicted), np.nan, right_group),
    }


def plan(
    y: npt.ArrayLike,
    y_coarse: npt.ArrayLike | None,
    p_fine: np.ndarray,
    taxonomy: Taxonomy,
    p_coarse: np.ndarray | None = None,
    melanoma: str = binary_tasks.MELANOMA,
    specificity: float = 0.9,
    min_sensitivity: float = 0.8,
    top_k: int = 2,
) -> dict[str, PlannedMetric]:
    """What is reported: summary name -> `bootstrap_metrics.PlannedMetric`.

    Args:
        y: int (n,), fine classes, -1 unknown.
        y_coarse: int (n,), coarse classes, -1 unknown; None to take them from `y`. A fine label
            fills in an unknown coarse one; one that contradicts it is an error.
        p_fine: float (n, F).
        taxonomy: a `Taxonomy` with F fine classes.
        p_coarse: float (n, C); None for the sums of `p_fine`.
        melanoma: the fine class of `melanoma_sensitivity_at_own_threshold`; left out if not in
            the taxonomy.
        specificity: where sensitivities are read.
        min_sensitivity: above which a partial AUC is taken.
        top_k: guesses of `top_k_accuracy`; left out where they would name every class.

    Returns:
        dict. Entries that need the malignancy axis, the melanoma class or a hierarchy are
        missing where the taxonomy hasn't got them.
    """
    y, y_coarse, p_fine, p_coarse = _checked(y, y_coarse, p_fine, p_coarse, taxonomy)
    entries = {
        "fine_accuracy": PlannedMetric("accuracy", y, p_fine),
        "coarse_accuracy": PlannedMetric("accuracy", y_coarse, p_coarse),
        "balanced_accuracy": PlannedMetric("balanced_accuracy", y, p_fine),
        "coarse_balanced_accuracy": PlannedMetric("balanced_accuracy", y_coarse, p_coarse),
        "macro_f1": PlannedMetric("macro_f1", y, p_fine),
        "roc_auc": PlannedMetric("macro_roc_auc", y, p_fine),
        "coarse_roc_auc": PlannedMetric("macro_roc_auc", y_coarse, p_coarse),
        "average_precision": PlannedMetric("macro_average_precision", y, p_fine),
        "log_loss": PlannedMetric("log_loss", y, p_fine),
        "brier": PlannedMetric("brier", y, p_fine),
        "ece": PlannedMetric("ece", y, p_fine),
    }
    malignant = binary_tasks.malignancy(y, p_fine, taxonomy)
    if malignant:
        clinical = binary_tasks.plan(malignant, specificity, min_sensitivity)
        clinical["sensitivity_at_own_threshold"] = clinical.pop("sensitivity_at_specificity")
        entries |= {f"malignant_{name}": entry for name, entry in clinical.items()}
    if melanoma in taxonomy.fine:
        target = binary_tasks.one_class(y, p_fine, taxonomy, melanoma)
        clinical = binary_tasks.plan(target, specificity, min_sensitivity)
        entries["melanoma_sensitivity_at_own_threshold"] = clinical["sensitivity_at_specificity"]
    means = {}
    if top_k < len(taxonomy.fine):
        means["top_k_accuracy"] = top_k_hits(y, p_fine, top_k)
    if taxonomy.has_hierarchy:
        decisions = p_fine.argmax(axis=1), p_coarse.argmax(axis=1)
        means |= hierarchy_values(y, *decisions, taxonomy)
    shares = {name: PlannedMetric("mean", None, value) for name, value in means.items()}
    if (distance := shares.get("tree_distance")) is not None:  # no share: 0 to 2
        shares["tree_distance"] = replace(distance, metric="tree_distance")
    return entries | shares


# Every scalar a summary may hold, whatever the taxonomy: the columns of a results row.
COUNTS = ("n", "n_fine", "n_coarse")
SUMMARY = (
    *COUNTS,
    "fine_accuracy",
    "coarse_accuracy",
    "balanced_accuracy",
    "coarse_balanced_accuracy",
    "macro_f1",
    "roc_auc",
    "coarse_roc_auc",
    "average_precision",
    "top_k_accuracy",
    "malignant_auc",
    "malignant_average_precision",
    "malignant_partial_auc",
    "malignant_sensitivity_at_own_threshold",
    "malignant_sensitivity",
    "malignant_specificity",
    "melanoma_sensitivity_at_own_threshold",
    "log_loss",
    "brier",
    "ece",
    "full_path_accuracy",
    "tree_distance",
    "coarse_given_wrong_fine",
)


def summarise(
    y: npt.ArrayLike,
    y_coarse: npt.ArrayLike | None,
    p_fine: np.ndarray,
    taxonomy: Taxonomy,
    **options: Any,
) -> dict[str, float]:
    """All scalar metrics of one model's predictions; arguments are those of `plan`.

    Returns:
        dict with the keys of `SUMMARY`, in that order: `n`, `n_fine`, `n_coarse` (records, and
        those with a label of each level) as ints, the rest floats, NaN where undefined.
        `malignant_partial_auc` is above a sensitivity of 0.8, of at most 0.2;
        `malignant_sensitivity` and `malignant_specificity` are at 0.5.
    """
    entries = plan(y, y_coarse, p_fine, taxonomy, **options)
    fine, coarse = (np.asarray(entries[f"{level}_accuracy"].y) for level in ("fine", "coarse"))
    row = dict.fromkeys(SUMMARY, np.nan)
    row.update(n=len(fine), n_fine=int((fine >= 0).sum()), n_coarse=int((coarse >= 0).sum()))
    return row | {name: bootstrap.estimate(entry) for name, entry in entries.items()}


def _checked(
    y, y_coarse, p_fine, p_coarse, taxonomy
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of `plan`, valid, the coarse ones filled in from the fine ones."""
    p_fine = validate.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    y = validate.labels(y, "y", len(taxonomy.fine))
    validate.same_length(y=y, p_fine=p_fine)
    y_coarse = _coarse_labels(y, y_coarse, taxonomy)
    if p_coarse is None:
        p_coarse = p_fine @ taxonomy.matrix
    p_coarse = validate.probabilities(p_coarse, "p_coarse", len(taxonomy.coarse))
    validate.same_length(y=y, p_coarse=p_coarse)
    return y, y_coarse, p_fine, p_coarse


def _coarse_labels(y, y_coarse, taxonomy):
    """Coarse labels, filled in from the fine ones and checked against them."""
    known, parent = y >= 0, taxonomy.parent_index[y]
    if y_coarse is None:
        return np.where(known, parent, -1)
    y_coarse = validate.labels(y_coarse, "y_coarse", len(taxonomy.coarse))
    validate.same_length(y=y, y_coarse=y_coarse)
    clash = known & (y_coarse >= 0) & (y_coarse != parent)
    if clash.any():
        i = int(clash.argmax())
        raise UserError(
            f"record {i}: fine class '{taxonomy.fine[y[i]]}' belongs to "
            f"'{taxonomy.parents[y[i]]}', but its coarse label is "
            f"'{taxonomy.coarse[y_coarse[i]]}' ({clash.sum()} such records); fix the labels"
        )
    return np.where(known, parent, y_coarse)

"""All scalar metrics of one model's predictions, and the table of its classes.

The metrics live by kind in `confusion`, `ranking`, `hierarchy` and `calibration`, and are
re-exported here. `plan` lists what is reported, and on which arrays; `summarise` scores it,
`statistics.summary_intervals` puts intervals around it, so both always mean the same number.

A number the data can't define (one class only, a class without records, no labels) is NaN.
"""

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.evaluation import (
    binary_tasks,
    bootstrap_metrics,
    calibration,
    confusion,
    hierarchy,
    ranking,
    validate,
)
from dermssl.evaluation.ranking import (
    average_precision,
    roc_auc,
)


def per_class_table(y, p_fine, taxonomy):
    """One row a fine class, one-vs-rest, at the argmax decision.

    Returns:
        DataFrame: `fine`, `title`, `coarse`, `support`, `sensitivity`, `specificity`,
        `precision`, `f1`, `roc_auc`, `average_precision`; NaN where undefined, as in
        `confusion.per_class`.
    """
    p = validate.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    y = validate.labels(y, "y", len(taxonomy.fine))
    figures = confusion.per_class(confusion.confusion(y, p.argmax(axis=1), p.shape[1]))
    truths = [np.where(y < 0, -1, y == k) for k in range(p.shape[1])]
    return pd.DataFrame(
        {
            "fine": taxonomy.fine,
            "title": taxonomy.titles,
            "coarse": taxonomy.parents,
            "support": figures["support"],
            "sensitivity": figures["recall"],
            "specificity": figures["specificity"],
            "precision": figures["precision"],
            "f1": figures["f1"],
            "roc_auc": [roc_auc(truth, p[:, k]) for k, truth in enumerate(truths)],
            "average_precision": [
                average_precision(truth, p[:, k]) for k, truth in enumerate(truths)
            ],
        }
    )


def top_k_accuracy(y, p, k=2):
    """Share of records whose true class is among the k most probable.

    Ties go to the lower class index, as in argmax, so k = 1 is the accuracy.

    Args:
        y: int [n], -1 left out.
        p: float [n, K].
        k: 1..K.

    Returns:
        float in 0..1; NaN without a labelled record.
    """
    return validate.mean_known(top_k_by_record(y, p, k))


def top_k_by_record(y, p, k=2):
    """float [n]: 1 where the true class is among the k most probable, else 0; NaN unknown."""
    p = validate.probabilities(p)
    y = validate.labels(y, "y", p.shape[1])
    validate.same_length(y=y, p=p)
    if not 1 <= k <= p.shape[1]:
        raise UserError(f"k is {k}; expected 1..{p.shape[1]}, the number of classes")
    top = np.argsort(-p, axis=1, kind="stable")[:, :k]
    return np.where(y < 0, np.nan, (top == y[:, None]).any(axis=1))


def log_loss(y, p):
    """Mean -log p of the true class, in nats; equal to `sklearn.metrics.log_loss`.

    Returns:
        float in 0..36 (p is lifted to 2.2e-16); NaN without a labelled record.
    """
    return validate.mean_known(bootstrap_metrics.log_loss_by_record(p, y))


def _of_confusion(metric):
    def point(y, p):
        p = validate.probabilities(p)
        return metric(confusion.confusion(y, p.argmax(axis=1), p.shape[1]))

    return point


# The same names as `bootstrap_metrics.KERNELS`: name -> function(y, p, **options) -> float.
POINTS = {
    "accuracy": _of_confusion(confusion.accuracy),
    "balanced_accuracy": _of_confusion(confusion.balanced_accuracy),
    "macro_f1": _of_confusion(confusion.macro_f1),
    "macro_roc_auc": ranking.macro_roc_auc,
    "macro_average_precision": ranking.macro_average_precision,
    "roc_auc": ranking.roc_auc,
    "average_precision": ranking.average_precision,
    "partial_auc": ranking.partial_auc,
    "sensitivity_at_specificity": ranking.sensitivity_at_specificity,
    "log_loss": log_loss,
    "brier": lambda y, p: calibration.brier(p, y),
    "ece": lambda y, p, n_bins=15: calibration.expected_calibration_error(p, y, n_bins),
    "mean": lambda y, values: validate.mean_known(values),
}


def plan(
    y,
    y_coarse,
    p_fine,
    taxonomy,
    p_coarse=None,
    melanoma=binary_tasks.MELANOMA,
    specificity=0.9,
    min_sensitivity=0.8,
    top_k=2,
):
    """What is reported: summary name -> (metric name, y, predicted, options).

    Args:
        y: int [n], fine classes, -1 unknown.
        y_coarse: int [n], coarse classes, -1 unknown; None to take them from `y`. A fine label
            fills in an unknown coarse one; one that contradicts it is an error.
        p_fine: float [n, F].
        taxonomy: a `Taxonomy` with F fine classes.
        p_coarse: float [n, C]; None for the sums of `p_fine`.
        melanoma: the fine class of `melanoma_sensitivity`; left out if not in the taxonomy.
        specificity: where sensitivities are read.
        min_sensitivity: above which a partial AUC is taken.
        top_k: guesses of `top_k_accuracy`; left out where they would name every class.

    Returns:
        dict. Entries that need the malignancy axis, the melanoma class or a hierarchy are
        missing where the taxonomy hasn't got them.
    """
    p_fine = validate.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    y = validate.labels(y, "y", len(taxonomy.fine))
    validate.same_length(y=y, p_fine=p_fine)
    y_coarse = _coarse_labels(y, y_coarse, taxonomy)
    if p_coarse is None:
        p_coarse = p_fine @ taxonomy.matrix
    p_coarse = validate.probabilities(p_coarse, "p_coarse", len(taxonomy.coarse))
    validate.same_length(y=y, p_coarse=p_coarse)

    entries = {
        "fine_accuracy": ("accuracy", y, p_fine, {}),
        "coarse_accuracy": ("accuracy", y_coarse, p_coarse, {}),
        "balanced_accuracy": ("balanced_accuracy", y, p_fine, {}),
        "coarse_balanced_accuracy": ("balanced_accuracy", y_coarse, p_coarse, {}),
        "macro_f1": ("macro_f1", y, p_fine, {}),
        "roc_auc": ("macro_roc_auc", y, p_fine, {}),
        "coarse_roc_auc": ("macro_roc_auc", y_coarse, p_coarse, {}),
        "average_precision": ("macro_average_precision", y, p_fine, {}),
        "log_loss": ("log_loss", y, p_fine, {}),
        "brier": ("brier", y, p_fine, {}),
        "ece": ("ece", y, p_fine, {}),
    }
    malignant = binary_tasks.malignancy(y, p_fine, taxonomy)
    if malignant:
        found = binary_tasks.plan(malignant, specificity, min_sensitivity)
        entries |= {f"malignant_{name}": entry for name, entry in found.items()}
    if melanoma in taxonomy.fine:
        target = binary_tasks.one_class(y, p_fine, taxonomy, melanoma)
        found = binary_tasks.plan(target, specificity, min_sensitivity)
        entries["melanoma_sensitivity"] = found["sensitivity_at_specificity"]
    if top_k < len(taxonomy.fine):
        entries["top_k_accuracy"] = ("mean", None, top_k_by_record(y, p_fine, top_k), {})
    if taxonomy.has_hierarchy:
        fine, coarse = p_fine.argmax(axis=1), p_coarse.argmax(axis=1)
        values = {
            "full_path_accuracy": hierarchy.full_path_by_record(y, fine, coarse, taxonomy),
            "tree_distance": hierarchy.tree_distance_by_record(y, fine, taxonomy),
            "coarse_given_wrong_fine": hierarchy.coarse_if_wrong_by_record(
                y, fine, taxonomy, coarse
            ),
        }
        entries.update({name: ("mean", None, value, {}) for name, value in values.items()})
    return entries


# Every scalar a summary may hold, whatever the taxonomy: the columns of a results row.
SUMMARY = (
    "n",
    "n_fine",
    "n_coarse",
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
    "malignant_sensitivity_at_specificity",
    "malignant_sensitivity",
    "malignant_specificity",
    "melanoma_sensitivity",
    "log_loss",
    "brier",
    "ece",
    "full_path_accuracy",
    "tree_distance",
    "coarse_given_wrong_fine",
)


def summarise(y, y_coarse, p_fine, taxonomy, **options):
    """All scalar metrics of one model's predictions; arguments are those of `plan`.

    Returns:
        dict with the keys of `SUMMARY`, in that order: `n`, `n_fine`, `n_coarse` (records, and
        those with a label of each level) as ints, the rest floats, NaN where undefined.
        `malignant_partial_auc` is above a sensitivity of 0.8, of at most 0.2;
        `malignant_sensitivity` and `malignant_specificity` are at 0.5.
    """
    entries = plan(y, y_coarse, p_fine, taxonomy, **options)
    fine, coarse = entries["fine_accuracy"][1], entries["coarse_accuracy"][1]
    row = dict.fromkeys(SUMMARY, np.nan)
    row.update(n=len(fine), n_fine=int((fine >= 0).sum()), n_coarse=int((coarse >= 0).sum()))
    for name, (metric, truth, predicted, extra) in entries.items():
        row[name] = float(POINTS[metric](truth, predicted, **extra))
    return row


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

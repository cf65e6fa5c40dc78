"""What is reported of one model's predictions: the list of scalars, and their plain values."""

import numpy as np

from dermssl.errors import UserError
from dermssl.evaluation import checks, hierarchy, targets
from dermssl.evaluation.points import POINTS, top_k_by_record


def plan(
    y,
    y_coarse,
    p_fine,
    taxonomy,
    p_coarse=None,
    melanoma=targets.MELANOMA,
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
    p_fine = checks.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    y = checks.labels(y, "y", len(taxonomy.fine))
    checks.same_length(y=y, p_fine=p_fine)
    y_coarse = _coarse_labels(y, y_coarse, taxonomy)
    if p_coarse is None:
        p_coarse = p_fine @ taxonomy.matrix
    p_coarse = checks.probabilities(p_coarse, "p_coarse", len(taxonomy.coarse))
    checks.same_length(y=y, p_coarse=p_coarse)

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
    malignant = targets.malignancy(y, p_fine, taxonomy)
    if malignant:
        found = targets.plan(malignant, specificity, min_sensitivity)
        entries |= {f"malignant_{name}": entry for name, entry in found.items()}
    if melanoma in taxonomy.fine:
        target = targets.one_class(y, p_fine, taxonomy, melanoma)
        found = targets.plan(target, specificity, min_sensitivity)
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
    y_coarse = checks.labels(y_coarse, "y_coarse", len(taxonomy.coarse))
    checks.same_length(y=y, y_coarse=y_coarse)
    clash = known & (y_coarse >= 0) & (y_coarse != parent)
    if clash.any():
        i = int(clash.argmax())
        raise UserError(
            f"record {i}: fine class '{taxonomy.fine[y[i]]}' belongs to "
            f"'{taxonomy.parents[y[i]]}', but its coarse label is "
            f"'{taxonomy.coarse[y_coarse[i]]}' ({clash.sum()} such records); fix the labels"
        )
    return np.where(known, parent, y_coarse)

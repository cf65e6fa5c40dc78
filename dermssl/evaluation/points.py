"""Each metric as a plain number of one sample: the names of `kernels.KERNELS`, without draws."""

import numpy as np

from dermssl.errors import UserError
from dermssl.evaluation import calibration, checks, confusion, kernels, ranking


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
    return checks.mean_known(top_k_by_record(y, p, k))


def top_k_by_record(y, p, k=2):
    """float [n]: 1 where the true class is among the k most probable, else 0; NaN unknown."""
    p = checks.probabilities(p)
    y = checks.labels(y, "y", p.shape[1])
    checks.same_length(y=y, p=p)
    if not 1 <= k <= p.shape[1]:
        raise UserError(f"k is {k}; expected 1..{p.shape[1]}, the number of classes")
    top = np.argsort(-p, axis=1, kind="stable")[:, :k]
    return np.where(y < 0, np.nan, (top == y[:, None]).any(axis=1))


def log_loss(y, p):
    """Mean -log p of the true class, in nats; equal to `sklearn.metrics.log_loss`.

    Returns:
        float in 0..36 (p is lifted to 2.2e-16); NaN without a labelled record.
    """
    return checks.mean_known(kernels.log_loss_by_record(p, y))


def _of_confusion(metric):
    def point(y, p):
        p = checks.probabilities(p)
        return metric(confusion.confusion(y, p.argmax(axis=1), p.shape[1]))

    return point


# The same names as `kernels.KERNELS`: name -> function(y, p, **options) -> float.
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
    "mean": lambda y, values: checks.mean_known(values),
}

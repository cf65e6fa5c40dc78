"""Confusion matrices, and the metrics that are functions of one.

Every metric here takes [..., K, K] and gives [...], so that a bootstrap scores the
matrices of all its resamples at once. Rows are the truth, columns the prediction.
A metric that the matrix can't define is NaN.
"""

import numpy as np

from dermssl.core.errors import UserError
from dermssl.evaluation import validate


def confusion(y, predicted, n_classes, weights=None):
    """Count (or weigh) the records of each true class given each predicted class.

    Args:
        y: int [n], true classes; records with -1 are left out.
        predicted: int [n], predicted classes.
        n_classes: K.
        weights: float [n] or None for 1 each.

    Returns:
        int64 [K, K], or float64 with weights; rows are the truth.
    """
    y = validate.labels(y, "y", n_classes)
    predicted = validate.predictions(predicted, "predicted", n_classes)
    validate.same_length(y=y, predicted=predicted)
    known = y >= 0
    cells = y[known] * n_classes + predicted[known]
    if weights is not None:
        weights = validate.weights(weights, len(y))[known]
    return np.bincount(cells, weights, n_classes**2).reshape(n_classes, n_classes)


def accuracy(matrix):
    """Share of records on the diagonal, in 0..1; NaN for an empty matrix."""
    matrix = _square(matrix)
    return _scalar(validate.ratio(_diagonal(matrix).sum(-1), matrix.sum((-2, -1))))


def balanced_accuracy(matrix):
    """Mean recall over the classes present in the truth (Brodersen 2010; ISIC 2018, 2019).

    Equal to `sklearn.metrics.balanced_accuracy_score`, but NaN with fewer than two classes
    present: there is then nothing to balance, and always naming that class would score 1.
    """
    return _mean_over_present(_square(matrix), "recall")


def macro_f1(matrix):
    """Mean F1 over the classes present in the truth.

    Equal to `sklearn.metrics.f1_score(y, predicted, labels=np.unique(y), average="macro",
    zero_division=0)`: a class that is in the truth and never predicted counts 0; one that is
    only predicted isn't averaged in, its records already count as misses of their own class.
    NaN with fewer than two classes present.
    """
    return _mean_over_present(_square(matrix), "f1")


def per_class(matrix):
    """One-vs-rest figures of every class.

    Returns:
        dict of arrays [..., K]: `recall` (= sensitivity; NaN without records of the class),
        `specificity` (NaN without records of other classes), `precision` (NaN if never
        predicted), `f1` = 2 TP / (2 TP + FP + FN) (NaN without records of the class),
        `support` (records of the class).
    """
    matrix = _square(matrix)
    hit = _diagonal(matrix)
    support = matrix.sum(-1)
    called = matrix.sum(-2)
    others = matrix.sum((-2, -1))[..., None] - support
    present = support > 0
    return {
        "recall": validate.ratio(hit, support),
        "specificity": validate.ratio(others - (called - hit), others),
        "precision": validate.ratio(hit, called),
        "f1": np.where(present, validate.ratio(2 * hit, support + called), np.nan),
        "support": support,
    }


def _mean_over_present(matrix, figure):
    table = per_class(matrix)
    present = table["support"] > 0
    n_present = present.sum(-1)
    total = np.where(present, table[figure], 0).sum(-1)
    return _scalar(validate.ratio(total, np.where(n_present >= 2, n_present, 0)))


def _diagonal(matrix):
    return np.diagonal(matrix, axis1=-2, axis2=-1)


def _square(matrix):
    matrix = np.asarray(matrix)
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise UserError(f"confusion matrix has shape {matrix.shape}; expected [..., K, K]")
    return matrix


def _scalar(value):
    """A Python float for one matrix, the array for a stack of them."""
    return float(value) if np.ndim(value) == 0 else value

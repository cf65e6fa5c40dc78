"""Metrics of scores rather than decisions: areas under the ROC curve and points on it.

A one-vs-rest `y` holds 1 (positive), 0 (negative) or -1 (unknown, left out). Where one of
the two sides has no records the curve doesn't exist, and every metric here is NaN.
"""

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from dermssl.core.errors import UserError
from dermssl.evaluation import validate

ROUNDING = 1e-9  # lets a rate of exactly 1 - specificity pass in floating point


def roc_auc(y, score, weights=None):
    """Area under the ROC curve: P(score of a positive > of a negative), ties half.

    Args:
        y: int [n] of 1, 0 or -1.
        score: float [n], higher meaning more likely positive; any scale.
        weights: float [n] or None.

    Returns:
        float in 0..1, 0.5 for a constant score; NaN if either side is empty.
    """
    y, score, weights = known_binary(y, score, weights)
    if not both_sides(y, weights):
        return np.nan
    return float(roc_auc_score(y, score, sample_weight=weights))


def macro_roc_auc(y, p):
    """Mean one-vs-rest AUC over the classes present in `y` (each class weighs the same).

    Args:
        y: int [n] of 0..K-1 or -1.
        p: float [n, K], probabilities.

    Returns:
        float in 0..1; NaN with fewer than two classes present.
    """
    p = validate.probabilities(p)
    y = validate.labels(y, "y", p.shape[1])
    validate.same_length(y=y, p=p)
    y, p = y[y >= 0], p[y >= 0]
    present = np.unique(y)
    if len(present) < 2:
        return np.nan
    return float(np.mean([roc_auc(y == k, p[:, k]) for k in present]))


def average_precision(y, score):
    """Average precision: the mean of the precisions at each found positive, by step.

    AP = sum over thresholds of (R_n - R_(n-1)) P_n, scikit-learn's own. A score that knows
    nothing gets the share of positives, so it can't be compared between samples that differ
    in it.

    Returns:
        float in 0..1; NaN if either side is empty.
    """
    y, score, weights = known_binary(y, score)
    if not both_sides(y, weights):
        return np.nan
    return float(average_precision_score(y, score))


def macro_average_precision(y, p):
    """Mean one-vs-rest average precision over the classes present in `y`, as `macro_roc_auc`."""
    p = validate.probabilities(p)
    y = validate.labels(y, "y", p.shape[1])
    validate.same_length(y=y, p=p)
    y, p = y[y >= 0], p[y >= 0]
    present = np.unique(y)
    if len(present) < 2:
        return np.nan
    return float(np.mean([average_precision(y == k, p[:, k]) for k in present]))


def partial_auc(y, score, min_sensitivity=0.8):
    """Area of the ROC curve that lies above `min_sensitivity` (ISIC 2024 challenge).

    The challenge's own steps: swap the classes and the sign of the score, so that "above a
    sensitivity" becomes "below a false positive rate", take scikit-learn's standardised
    partial AUC (McClish 1989), and undo the standardisation.

    Returns:
        float in 0..1 - min_sensitivity. At 0.8 a perfect score gives 0.20, a constant one 0.02.
    """
    if not 0 <= min_sensitivity < 1:
        raise UserError(f"min_sensitivity is {min_sensitivity}; expected 0 or more, under 1")
    y, score, weights = known_binary(y, score)
    if not both_sides(y, weights):
        return np.nan
    limit = 1 - min_sensitivity
    scaled = roc_auc_score(1 - y, -score, max_fpr=limit)
    low, high = limit**2 / 2, limit
    return float(low + (high - low) * (scaled - 0.5) / 0.5)


def sensitivity_at_specificity(y, score, specificity):
    """The best sensitivity of a threshold whose specificity is at least the one asked for.

    Only thresholds that exist are used, without interpolation: a constant score gives 0.
    The threshold is picked on the very records it is scored on, so the figure describes the
    ROC curve; it isn't what a threshold fixed beforehand would reach on new patients.

    Returns:
        float in 0..1; NaN if either side is empty.
    """
    allowed = 1 - validate.fraction(specificity, "specificity") + ROUNDING
    y, score, weights = known_binary(y, score)
    if not both_sides(y, weights):
        return np.nan
    false_positives, sensitivity, _ = roc_curve(y, score, drop_intermediate=False)
    return float(sensitivity[false_positives <= allowed].max())


def threshold_at_specificity(y, score, specificity):
    """The lowest score to act on that keeps the specificity asked for, on these records.

    Returns:
        float: act where score >= it. Infinite where no score keeps it (act on nobody); NaN if
        either side is empty.
    """
    allowed = 1 - validate.fraction(specificity, "specificity") + ROUNDING
    y, score, weights = known_binary(y, score)
    if not both_sides(y, weights):
        return np.nan
    false_positives, _, thresholds = roc_curve(y, score, drop_intermediate=False)
    return float(thresholds[false_positives <= allowed].min())


def known_binary(y, score, weights=None):
    """Validated (y int64, score, weights) of the records whose y isn't -1."""
    y, score = validate.labels(y, "y", 2), validate.scores(score)
    validate.same_length(y=y, score=score)
    known = y >= 0
    return y[known], score[known], validate.weights(weights, len(y))[known]


def both_sides(y, weights):
    """Whether positives and negatives both carry weight."""
    return weights[y == 1].sum() > 0 and weights[y == 0].sum() > 0

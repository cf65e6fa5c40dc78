"""Each metric once more, as a function of weighted counts: scored on every resample at once.

A bootstrap draw gives each cluster a multiplicity. Whatever a metric counts (cells of a
confusion matrix, positives above each score, records in a bin) is a sparse table
[things, clusters]; times the multiplicities [clusters, draws] it is those counts in every
draw. So a kernel is `kernel(tally, y, p, **options) -> float [draws]`, where
`tally(codes, n_codes, values=None) -> [n_codes, draws]` counts (or sums `values` over) the
records of each code, leaving out code -1. Tests hold each kernel equal to its plain metric.
"""

from functools import partial

import numpy as np
from scipy import sparse

from dermssl.core.errors import UserError
from dermssl.evaluation import calibration, confusion, ranking, validate


def count(clusters, multiplicities, codes, n_codes, values=None):
    """The `tally` of a set of draws, once its first two arguments are bound.

    Args:
        clusters: int [n], cluster of each record.
        multiplicities: int [clusters, draws].
        codes: int [n], what to count each record under; -1 leaves it out.
        n_codes: number of codes.
        values: float [n] to sum instead of counting.

    Returns:
        [n_codes, draws]; int64 (so exact) when counting, float64 when summing.
    """
    kept = codes >= 0
    values = np.ones(kept.sum(), dtype=np.int64) if values is None else values[kept]
    shape = (n_codes, len(multiplicities))
    return sparse.csr_array((values, (codes[kept], clusters[kept])), shape=shape) @ multiplicities


def on_confusion(tally, y, p, metric, n_classes=None):
    """Any metric of confusion matrices; `p` is classes int [n] or probabilities [n, K].

    A mean over classes is a mean over the classes of the sample. A draw that misses one of
    them would average something else, so it is NaN.
    """
    p = np.asarray(p)
    if p.ndim == 2:
        p = validate.probabilities(p)
        n_classes, p = p.shape[1], p.argmax(axis=1)
    y, p = validate.labels(y, "y", n_classes), validate.predictions(p, "p", n_classes)
    validate.same_length(y=y, p=p)
    if n_classes is None:
        n_classes = int(max(y.max(), p.max())) + 1
    cells = tally(np.where(y < 0, -1, y * n_classes + p), n_classes**2)
    matrices = cells.T.reshape(-1, n_classes, n_classes)
    value = np.asarray(metric(matrices), dtype=np.float64)
    if value.shape != matrices.shape[:1]:
        raise UserError(
            f"metric gave shape {value.shape} for matrices {matrices.shape}; "
            "expected one value a matrix ([..., K, K] -> [...])"
        )
    if metric in (confusion.balanced_accuracy, confusion.macro_f1):
        present = np.unique(y[y >= 0])
        missed = (matrices.sum(axis=-1)[:, present] == 0).any(axis=1)
        value = np.where(missed, np.nan, value)
    return value


def roc_auc(tally, y, score):
    """Mann-Whitney form: positives times the negatives below them, ties half."""
    negative, positive = _by_score(tally, y, score)
    below = np.cumsum(negative, axis=0) - negative
    wins = (positive * (below + negative / 2)).sum(axis=0)
    return validate.ratio(wins, positive.sum(axis=0) * negative.sum(axis=0))


def macro_roc_auc(tally, y, p):
    """Mean over the classes of the sample; a draw that misses one is NaN."""
    return _macro(roc_auc, tally, y, p)


def average_precision(tally, y, score):
    """Precision at every distinct score from the top, weighted by the positives it adds."""
    negative, positive = _by_score(tally, y, score)
    negative, positive = negative[::-1], positive[::-1]
    found = np.cumsum(positive, axis=0)
    called = found + np.cumsum(negative, axis=0)
    precision = np.divide(found, called, out=np.zeros(found.shape), where=called > 0)
    value = validate.ratio((positive * precision).sum(axis=0), found[-1])
    return np.where(called[-1] > found[-1], value, np.nan)


def macro_average_precision(tally, y, p):
    """Mean over the classes of the sample; a draw that misses one is NaN."""
    return _macro(average_precision, tally, y, p)


def partial_auc(tally, y, score, min_sensitivity=0.8):
    """The area itself, segment by segment, with the classes swapped as in `ranking`."""
    if not 0 <= min_sensitivity < 1:
        raise UserError(f"min_sensitivity is {min_sensitivity}; expected 0 or more, under 1")
    limit = 1 - min_sensitivity
    negative, positive = _by_score(tally, y, score)
    # Ascending score: "called benign" grows from nobody to everybody.
    x, dx = _curve(positive)  # melanomas called benign
    height, rise = _curve(negative)  # benign called benign
    inside = np.clip(limit - x, 0, dx)
    slope = np.divide(rise, dx, out=np.zeros_like(rise), where=dx > 0)
    return (inside * (height + slope * inside / 2)).sum(axis=0)


def sensitivity_at_specificity(tally, y, score, specificity):
    """Every existing threshold, from "nobody is positive" down."""
    allowed = 1 - validate.fraction(specificity, "specificity") + ranking.ROUNDING
    negative, positive = _by_score(tally, y, score)
    false_positives, step = _curve(negative[::-1])
    sensitivity, gain = _curve(positive[::-1])
    reached = np.where(false_positives + step <= allowed, sensitivity + gain, 0)
    undefined = np.isnan(step).any(axis=0) | np.isnan(gain).any(axis=0)
    return np.where(undefined, np.nan, reached.max(axis=0))


def mean(tally, y, values):
    """Mean of one value a record, NaN left out; `y` is unused."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or np.isinf(values).any():
        raise UserError(f"values {values.shape} must be one finite number (or NaN) per record")
    codes = np.where(np.isnan(values), -1, 0)
    return validate.ratio(tally(codes, 1, values)[0], tally(codes, 1)[0])


def log_loss(tally, y, p):
    """Mean over the records of `log_loss_by_record`."""
    return mean(tally, None, log_loss_by_record(p, y))


def brier(tally, y, p):
    """Mean over the records of `calibration.brier_by_record`."""
    return mean(tally, None, calibration.brier_by_record(p, y))


def expected_calibration_error(tally, y, p, n_bins=15):
    """Mean distance of confidence and accuracy over the bins, weighted by their records."""
    bins, confidence, correct = calibration.top_label_bins(p, y, n_bins)
    gap = np.abs(tally(bins, n_bins, correct - confidence)).sum(axis=0)
    return validate.ratio(gap, tally(bins, n_bins).sum(axis=0))


def log_loss_by_record(p, y):
    """float [n]: -log p of the true class in nats, NaN unknown.

    p is first lifted to the smallest float64 step (2.2e-16), as scikit-learn does, so that a
    certain and wrong prediction costs 36 and not infinity.
    """
    p = validate.probabilities(p)
    y = validate.labels(y, "y", p.shape[1])
    validate.same_length(y=y, p=p)
    own = p[np.arange(len(y)), y].clip(np.finfo(np.float64).eps, 1)
    return np.where(y < 0, np.nan, -np.log(own))


KERNELS = {
    "accuracy": partial(on_confusion, metric=confusion.accuracy),
    "balanced_accuracy": partial(on_confusion, metric=confusion.balanced_accuracy),
    "macro_f1": partial(on_confusion, metric=confusion.macro_f1),
    "macro_roc_auc": macro_roc_auc,
    "macro_average_precision": macro_average_precision,
    "roc_auc": roc_auc,
    "average_precision": average_precision,
    "partial_auc": partial_auc,
    "sensitivity_at_specificity": sensitivity_at_specificity,
    "log_loss": log_loss,
    "brier": brier,
    "ece": expected_calibration_error,
    "mean": mean,
}


def _macro(kernel, tally, y, p):
    """The mean of a one-vs-rest kernel over the classes of the sample."""
    p = validate.probabilities(p)
    y = validate.labels(y, "y", p.shape[1])
    validate.same_length(y=y, p=p)
    present = np.unique(y[y >= 0])
    if len(present) < 2:
        return np.full(tally(np.zeros_like(y), 1).shape[1], np.nan)
    one_vs_rest = (kernel(tally, np.where(y < 0, -1, y == k), p[:, k]) for k in present)
    return sum(one_vs_rest) / len(present)


def _by_score(tally, y, score):
    """Negatives and positives at each distinct score, ascending: two [scores, draws]."""
    y, score = validate.labels(y, "y", 2), validate.scores(score)
    validate.same_length(y=y, score=score)
    distinct, rank = np.unique(score, return_inverse=True)
    counts = tally(np.where(y < 0, -1, 2 * rank + y), 2 * len(distinct))
    return counts[0::2], counts[1::2]


def _curve(counts):
    """Cumulative share before each row, and the row's own share; NaN in a draw without any."""
    share = validate.ratio(counts, counts.sum(axis=0))
    return np.cumsum(share, axis=0) - share, share

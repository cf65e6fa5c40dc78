"""Vectorised metrics: each is computed for all bootstrap resamples at once from weighted counts.

A bootstrap draw gives each cluster a multiplicity. Whatever a metric counts (records of a class,
positives above each score, records in a bin) is a sparse table (things, clusters); times the
multiplicities (clusters, draws) it is those counts in every draw. So a metric is a function
`kernel(tally, y, p, **options) -> float (draws,)`, where
`tally(codes, n_codes, values=None) -> (n_codes, draws)` counts (or sums `values` over) the
records of each code, leaving out code -1. The metric of the sample itself is the same function
where every multiplicity is 1.

A kernel takes its arrays as valid; the `check` that belongs to it makes them so, once. A number
that the data can't define (one class only, no labels) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dermssl.core.errors import UserError, unknown_name
from dermssl.evaluation import calibration, validate

ROUNDING = 1e-9  # lets a rate of exactly 1 - specificity pass in floating point

Tally = Callable[..., np.ndarray]


class ClassCounts(NamedTuple):
    """Records of each class in each draw, int64 (draws, K): right, of the class, called so."""

    hits: np.ndarray
    support: np.ndarray
    predicted: np.ndarray


def count(
    clusters: np.ndarray,
    multiplicities: np.ndarray,
    codes: np.ndarray,
    n_codes: int,
    values: np.ndarray | None = None,
) -> np.ndarray:
    """The `tally` of a set of draws, once its first two arguments are bound.

    Args:
        clusters: int (n,), cluster of each record.
        multiplicities: int (clusters, draws).
        codes: int (n,), what to count each record under; -1 leaves it out.
        n_codes: number of codes.
        values: float (n,) to sum instead of counting.

    Returns:
        (n_codes, draws); int64 (so exact) when counting, float64 when summing.
    """
    kept = codes >= 0
    values = np.ones(kept.sum(), dtype=np.int64) if values is None else values[kept]
    shape = (n_codes, len(multiplicities))
    return sparse.csr_array((values, (codes[kept], clusters[kept])), shape=shape) @ multiplicities


def class_counts(tally: Tally, y: np.ndarray, p: np.ndarray) -> ClassCounts:
    """What metrics of decisions are made of; `p` is classes int (n,) or probabilities (n, K)."""
    if p.ndim == 2:
        n_classes, called = p.shape[1], p.argmax(axis=1)
    else:
        n_classes, called = int(max(y.max(), p.max())) + 1, p
    codes = (np.where(called == y, y, -1), y, np.where(y < 0, -1, called))
    # Classes last, side by side: sums over them are then rounded as those of a matrix are.
    return ClassCounts(*(np.ascontiguousarray(tally(code, n_classes).T) for code in codes))


def class_figures(counts: ClassCounts) -> dict[str, np.ndarray]:
    """One-vs-rest figures of every class.

    Returns:
        dict of arrays (draws, K): `recall` (= sensitivity; NaN without records of the class),
        `specificity` (NaN without records of other classes), `precision` (NaN if never
        predicted), `f1` = 2 TP / (2 TP + FP + FN) (NaN without records of the class).
    """
    hits, support, predicted = counts
    others = support.sum(axis=-1, keepdims=True) - support
    return {
        "recall": validate.ratio(hits, support),
        "specificity": validate.ratio(others - (predicted - hits), others),
        "precision": validate.ratio(hits, predicted),
        "f1": _f1(hits, support, predicted),
    }


def accuracy(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Share of records whose predicted class is the true one."""
    counts = class_counts(tally, y, p)
    return validate.ratio(counts.hits.sum(axis=-1), counts.support.sum(axis=-1))


def balanced_accuracy(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean recall over the classes of the sample (Brodersen 2010; ISIC 2018, 2019).

    Equal to `sklearn.metrics.balanced_accuracy_score`, but NaN with fewer than two classes
    present: there is then nothing to balance, and always naming that class would score 1.
    """
    counts = class_counts(tally, y, p)
    return _mean_over_classes(y, counts, validate.ratio(counts.hits, counts.support))


def macro_f1(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes of the sample.

    Equal to `sklearn.metrics.f1_score(y, predicted, labels=np.unique(y), average="macro",
    zero_division=0)`: a class that is in the truth and never predicted counts 0; one that is
    only predicted isn't averaged in, its records already count as misses of their own class.
    NaN with fewer than two classes present.
    """
    counts = class_counts(tally, y, p)
    return _mean_over_classes(y, counts, _f1(*counts))


def f1(tally: Tally, y: np.ndarray, called: np.ndarray) -> np.ndarray:
    """F1 of one class against the rest: `y` is 1, 0 or -1, `called` (n,) is 1 or 0."""
    codes = (y == 1) & (called == 1), y == 1, (y >= 0) & (called == 1)
    return _f1(*(tally(np.where(kept, 0, -1), 1)[0] for kept in codes))


def roc_auc(tally: Tally, y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Area under the ROC curve, P(score of a positive > of a negative), ties half.

    The Mann-Whitney form: positives times the negatives below them.
    """
    negative, positive = _by_score(tally, y, score)
    below = np.cumsum(negative, axis=0) - negative
    wins = (positive * (below + negative / 2)).sum(axis=0)
    return validate.ratio(wins, positive.sum(axis=0) * negative.sum(axis=0))


def macro_roc_auc(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean one-vs-rest AUC over the classes of the sample; a draw that misses one is NaN."""
    return _macro(roc_auc, tally, y, p)


def average_precision(tally: Tally, y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Precision at every distinct score from the top, weighted by the positives it adds.

    AP = sum over thresholds of (R_n - R_(n-1)) P_n, scikit-learn's own. A score that knows
    nothing gets the share of positives, so it can't be compared between samples that differ
    in it.
    """
    negative, positive = _by_score(tally, y, score)
    negative, positive = negative[::-1], positive[::-1]
    hits = np.cumsum(positive, axis=0)
    called = hits + np.cumsum(negative, axis=0)
    precision = np.divide(hits, called, out=np.zeros(hits.shape), where=called > 0)
    value = validate.ratio((positive * precision).sum(axis=0), hits[-1])
    return np.where(called[-1] > hits[-1], value, np.nan)


def macro_average_precision(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean average precision over the classes of the sample; a draw that misses one is NaN."""
    return _macro(average_precision, tally, y, p)


def partial_auc(
    tally: Tally, y: np.ndarray, score: np.ndarray, min_sensitivity: float = 0.8
) -> np.ndarray:
    """Area of the ROC curve that lies above `min_sensitivity` (ISIC 2024 challenge).

    The area itself, segment by segment, with the classes swapped as in the challenge's code:
    "above a sensitivity" becomes "below a false positive rate". In 0..1 - min_sensitivity;
    at 0.8 a perfect score gives 0.20, a constant one 0.02.
    """
    if not 0 <= min_sensitivity < 1:
        raise UserError(
            f"evaluate.min_sensitivity is {min_sensitivity}; expected 0 or more, under 1"
        )
    limit = 1 - min_sensitivity
    negative, positive = _by_score(tally, y, score)
    # Ascending score: "called benign" grows from nobody to everybody.
    x, dx = _curve(positive)  # melanomas called benign
    height, rise = _curve(negative)  # benign called benign
    inside = np.clip(limit - x, 0, dx)
    slope = np.divide(rise, dx, out=np.zeros_like(rise), where=dx > 0)
    return (inside * (height + slope * inside / 2)).sum(axis=0)


def sensitivity_at_specificity(
    tally: Tally, y: np.ndarray, score: np.ndarray, specificity: float
) -> np.ndarray:
    """The best sensitivity of a threshold whose specificity is at least the one asked for.

    Only thresholds that exist are used, without interpolation: a constant score gives 0.
    The threshold is picked on the very records it is scored on, so the figure describes the
    ROC curve; it isn't what a threshold fixed beforehand would reach on new patients.
    """
    allowed = 1 - validate.fraction(specificity, "evaluate.specificity") + ROUNDING
    negative, positive = _by_score(tally, y, score)
    false_positives, step = _curve(negative[::-1])
    sensitivity, gain = _curve(positive[::-1])
    reached = np.where(false_positives + step <= allowed, sensitivity + gain, 0)
    undefined = np.isnan(step).any(axis=0) | np.isnan(gain).any(axis=0)
    return np.where(undefined, np.nan, reached.max(axis=0))


def mean(tally: Tally, y: None, values: np.ndarray) -> np.ndarray:
    """Mean of one value a record, NaN left out; `y` is unused."""
    codes = np.where(np.isnan(values), -1, 0)
    return validate.ratio(tally(codes, 1, values)[0], tally(codes, 1)[0])


def log_loss(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Mean -log p of the true class in nats, equal to `sklearn.metrics.log_loss`.

    p is first lifted to the smallest float64 step (2.2e-16), as scikit-learn does, so that a
    certain and wrong prediction costs 36 and not infinity.
    """
    own = p[np.arange(len(y)), y].clip(np.finfo(np.float64).eps, 1)
    return mean(tally, None, np.where(y < 0, np.nan, -np.log(own)))


def brier(tally: Tally, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Multi-class Brier score, the mean of sum_k (p_k - [y = k])^2, in 0..2 (Brier 1950).

    For two classes it is twice the common binary form.
    """
    truth = np.eye(p.shape[1])[y]
    return mean(tally, None, np.where(y < 0, np.nan, ((p - truth) ** 2).sum(axis=1)))


def expected_calibration_error(
    tally: Tally, y: np.ndarray, p: np.ndarray, n_bins: int = 15
) -> np.ndarray:
    """ECE = sum over bins of (n_bin / n) |accuracy - confidence| (Naeini 2015; Guo 2017).

    Small samples inflate it: a perfectly calibrated model of 100 records shows a few
    hundredths.
    """
    bins, confidence, correct = calibration.top_label_bins(p, y, n_bins)
    gap = np.abs(tally(bins, n_bins, correct - confidence)).sum(axis=0)
    return validate.ratio(gap, tally(bins, n_bins).sum(axis=0))


class Metric(NamedTuple):
    """A metric's kernel, and what its interval must know.

    Attributes:
        kernel: see the module.
        check: the `validate` function (y, p) -> (y, p) that makes its arrays valid.
        kind: of `seed_draws.Basis`: what its interval rests on.
        low, high: its range.
    """

    kernel: Callable[..., np.ndarray]
    check: Callable[..., tuple[Any, Any]]
    kind: str = "ranking"
    low: float = 0.0
    high: float = 1.0


METRICS = {
    "accuracy": Metric(accuracy, validate.decisions, "shares"),
    "balanced_accuracy": Metric(balanced_accuracy, validate.decisions, "shares"),
    "macro_f1": Metric(macro_f1, validate.decisions),
    "f1": Metric(f1, validate.binary),
    "macro_roc_auc": Metric(macro_roc_auc, validate.multiclass),
    "macro_average_precision": Metric(macro_average_precision, validate.multiclass),
    "roc_auc": Metric(roc_auc, validate.binary, "area"),
    "average_precision": Metric(average_precision, validate.binary),
    "partial_auc": Metric(partial_auc, validate.binary),
    "sensitivity_at_specificity": Metric(sensitivity_at_specificity, validate.binary),
    "log_loss": Metric(log_loss, validate.multiclass, "mean", high=np.inf),
    "brier": Metric(brier, validate.multiclass, "mean", high=2.0),
    "ece": Metric(expected_calibration_error, validate.multiclass, "mean"),
    "tree_distance": Metric(mean, validate.values, "mean", high=2.0),
    # A mean is a share where its values lie in 0..1.
    "mean": Metric(mean, validate.values, "shares", -np.inf, np.inf),
}


@dataclass(frozen=True, eq=False)
class PlannedMetric:
    """What one number is made of; its arrays are valid (see `planned`).

    Attributes:
        metric: a name in `METRICS`.
        y: int (n,), true classes, -1 left out (0/1 for the binary metrics, None for "mean").
        predicted: what the metric reads: probabilities (n, K), classes int (n,), binary scores
            (n,), or for "mean" one value a record (n,). A list of such arrays is one a seed.
        options: of the metric: `specificity`, `min_sensitivity`, `n_bins`.
    """

    metric: str
    y: np.ndarray | None
    predicted: np.ndarray | list[np.ndarray]
    options: dict[str, float] = field(default_factory=dict)

    @property
    def seeds(self) -> list[np.ndarray]:
        """The predictions as a list, one array a training seed."""
        predicted = self.predicted
        return list(predicted) if isinstance(predicted, list | tuple) else [predicted]


def planned(
    metric: str,
    y: npt.ArrayLike | None,
    predicted: np.ndarray | list[np.ndarray],
    **options: float,
) -> PlannedMetric:
    """A `PlannedMetric` of arrays that are first checked; its attributes are the arguments."""
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    several = isinstance(predicted, list | tuple) and len(predicted) > 0
    several = several and all(isinstance(array, np.ndarray) for array in predicted)
    arrays = list(predicted) if several else [np.asarray(predicted)]
    lengths = {f"predictions {i}": array for i, array in enumerate(arrays)}
    validate.same_length(**lengths, **({} if y is None else {"y": np.asarray(y)}))
    checked = [METRICS[metric].check(y, array) for array in arrays]
    return PlannedMetric(metric, checked[0][0], [array for _, array in checked], options)


def _mean_over_classes(y, counts, figure):
    """The mean of a figure (draws, K) over the classes of the sample.

    A draw that misses one of them would average something else, so it is NaN.
    """
    present = counts.support > 0
    n_classes = len(np.unique(y[y >= 0]))
    defined = (n_classes >= 2) & (present.sum(axis=-1) == n_classes)
    total = np.where(present, figure, 0).sum(axis=-1)
    return validate.ratio(total, np.where(defined, n_classes, 0))


def _f1(hits, support, predicted):
    return np.where(support > 0, validate.ratio(2 * hits, support + predicted), np.nan)


def _macro(kernel, tally, y, p):
    """The mean of a one-vs-rest kernel over the classes of the sample."""
    present = np.unique(y[y >= 0])
    if len(present) < 2:
        return np.full(tally(np.zeros_like(y), 1).shape[1], np.nan)
    one_vs_rest = (kernel(tally, np.where(y < 0, -1, y == k), p[:, k]) for k in present)
    return sum(one_vs_rest) / len(present)


def _by_score(tally, y, score):
    """Negatives and positives at each distinct score, ascending: two (scores, draws)."""
    distinct, rank = np.unique(score, return_inverse=True)
    counts = tally(np.where(y < 0, -1, 2 * rank + y), 2 * len(distinct))
    return counts[0::2], counts[1::2]


def _curve(counts):
    """Cumulative share before each row, and the row's own share; NaN in a draw without any."""
    share = validate.ratio(counts, counts.sum(axis=0))
    return np.cumsum(share, axis=0) - share, share

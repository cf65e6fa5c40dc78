"""Measure calibration, and fit a temperature and a prior correction.

Both are fitted on the validation split only. Net benefit, the clinical reading of a calibrated
probability, lives here too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax

from dermssl.core.errors import UserError
from dermssl.evaluation import validate

TEMPERATURE_BOUNDS = (0.05, 20.0)
PRIOR_POWERS = (0.0, 2.0)  # 1 is what training with balanced cross-entropy asks for
FEW_LESIONS = 50  # below this the fitted temperature mostly follows single ones
# A probability that underflowed to 0 in float32 was at most this, so log 0 is read as this.
LOG_FLOOR = float(np.log(np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature and the grounds to trust it, or not.

    Attributes:
        temperature: T > 0; above 1 softens, below 1 sharpens; 1 where nothing could be fitted.
        nll_before, nll_after: mean negative log-likelihood in nats, at 1 and at T, both with
            the offset.
        at_bound: the likelihood is best at a bound, so the true optimum lies beyond it.
        n: labelled records used.
        n_classes: classes among them.
        n_lesions: independent lesions among them; each record is one where nobody says else.
    """

    temperature: float
    nll_before: float
    nll_after: float
    at_bound: bool
    n: int
    n_classes: int
    n_lesions: int

    @property
    def concern(self) -> str:
        """Why not to trust the temperature, in a few words; "" if there is no reason."""
        if self.n < FEW_LESIONS:
            return f"only {self.n} labelled records"
        if self.n_lesions < FEW_LESIONS:
            return f"only {self.n_lesions} lesions in {self.n} labelled records"
        if self.n_classes < 2:
            return "only one class among the labelled records"
        if self.at_bound:
            return (
                f"no optimum within the bounds of the search, which ended at {self.temperature:.4g}"
            )
        return ""


def reliability(p: np.ndarray, y: npt.ArrayLike, n_bins: int = 15) -> pd.DataFrame:
    """Confidence against accuracy in equal-width bins of the top probability (Guo 2017).

    Args:
        p: float (n, K), probabilities.
        y: int (n,), true classes; -1 left out.
        n_bins: bins over (0, 1]; a value on an edge belongs to the bin below it.

    Returns:
        DataFrame of `n_bins` rows: `low`, `high` (edges), `n`, `confidence` (mean top
        probability), `accuracy`. An empty bin stays, with n = 0 and NaN in the means.
    """
    y, p = validate.multiclass(y, p)
    bins, confidence, correct = top_label_bins(p, y, n_bins)
    known = bins >= 0
    bins, confidence, correct = bins[known], confidence[known], correct[known]
    n = np.bincount(bins, minlength=n_bins)
    edges = np.linspace(0, 1, n_bins + 1)
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "n": n,
            "confidence": validate.ratio(np.bincount(bins, confidence, n_bins), n),
            "accuracy": validate.ratio(np.bincount(bins, correct, n_bins), n),
        }
    )


def top_label_bins(
    p: np.ndarray, y: np.ndarray, n_bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `reliability` counts: bin (int (n,), -1 unknown), confidence and correctness (n,)."""
    if int(n_bins) != n_bins or n_bins < 1:
        raise UserError(f"n_bins is {n_bins}; expected a whole number, 1 or more")
    confidence = p.max(axis=1, initial=0).clip(0, 1)
    bins = np.searchsorted(np.linspace(0, 1, n_bins + 1), confidence, side="left") - 1
    bins = np.where(y < 0, -1, bins.clip(0))
    return bins, confidence, (p.argmax(axis=1) == y).astype(float)


def fit_temperature(
    logits: np.ndarray,
    y: npt.ArrayLike,
    bounds: tuple[float, float] = TEMPERATURE_BOUNDS,
    offset: np.ndarray | float = 0.0,
    lesions: Collection[Any] | None = None,
) -> Temperature:
    """The T that minimises the mean NLL of softmax(logits / T + offset) (Guo 2017).

    The NLL is convex in 1 / T, so it has one valley in log T, where a bounded scalar search
    finds it. Without an offset the fine argmax never changes. A coarse argmax may: sums of
    tempered fine probabilities aren't tempered sums.

    Args:
        logits: float (n, K), logits or log-probabilities (they differ by a constant a row,
            which softmax ignores); -inf is read as a probability that underflowed float32.
        y: int (n,), true classes; -1 left out.
        bounds: (low, high) of T.
        offset: float (K,), such as `fit_prior_power` times the log of the class shares.
        lesions: (n,), which records are of one lesion: photos of one aren't independent, so that
            it is lesions of which there must be enough. None: each record is one.

    Returns:
        a `Temperature`; T = 1 and NaN likelihoods without a labelled record.
    """
    low, high = bounds
    if not 0 < low < 1 < high < np.inf:
        raise UserError(f"bounds are {bounds}; expected 0 < low < 1 < high")
    known = np.asarray(y) >= 0
    logits, y = _known(logits, y)
    n_classes = len(np.unique(y))
    if len(y) == 0:
        return Temperature(1.0, np.nan, np.nan, False, 0, 0, 0)
    n_lesions = len(y) if lesions is None else len(set(np.asarray(lesions)[known]))

    def nll(log_temperature):
        log_p = log_softmax(logits / np.exp(log_temperature) + offset, axis=1)
        return float(-log_p[np.arange(len(y)), y].mean())

    log_bounds = np.log([low, high])
    optimum = minimize_scalar(nll, bounds=log_bounds, method="bounded", options={"xatol": 1e-6})
    best = float(optimum.x)
    # A model that is never wrong has an NLL of 0 on a whole plateau, where the search stops at
    # no particular place; that too is an optimum which doesn't lie inside the bounds.
    bound = float(min(log_bounds, key=nll))
    at_bound = nll(bound) <= nll(best)
    if at_bound:
        best = bound
    before, after = nll(0.0), nll(best)
    if after >= before:
        best, after = 0.0, before
    return Temperature(float(np.exp(best)), before, after, at_bound, len(y), n_classes, n_lesions)


def fit_prior_power(logits: np.ndarray, y: npt.ArrayLike, log_prior: np.ndarray) -> float:
    """The beta of the (T, beta) that minimise the NLL of softmax(logits / T + beta log_prior).

    Training that counts all classes equally learns P(k | x) / P(k), up to a constant; to
    multiply by P(k) again is the known correction (Elkan 2001; Saerens 2002), beta = 1. Focal loss
    and a coarse loss beside it learn something near that, so beta is fitted: bias-corrected
    temperature scaling (Alexandari 2020) whose biases are one number, not one a class, since
    rare classes have too few validation records for one of their own. Convex in (1 / T, beta).

    Args:
        logits, y: as in `fit_temperature`.
        log_prior: float (K,), log shares of the classes where the probabilities shall hold.

    Returns:
        float in `PRIOR_POWERS`; 0 without a labelled record or with equal shares.
    """
    logits, y = _known(logits, y)
    if len(y) == 0 or np.ptp(log_prior) == 0:
        return 0.0
    truth = np.arange(len(y)), y

    def nll(point):
        log_p = log_softmax(point[0] * logits + point[1] * log_prior, axis=1)
        excess = np.exp(log_p)
        excess[truth] -= 1
        slope = (excess * logits).sum() / len(y), (excess @ log_prior).mean()
        return -log_p[truth].mean(), np.array(slope)

    low, high = TEMPERATURE_BOUNDS
    optimum = minimize(
        nll, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=[(1 / high, 1 / low), PRIOR_POWERS]
    )
    return float(optimum.x[1])


def apply_temperature(
    p: np.ndarray, temperature: float | Temperature, offset: np.ndarray | float = 0.0
) -> np.ndarray:
    """Probabilities with logits divided by `temperature`: p^(1/T) exp(offset), renormalised.

    Args:
        p: float (n, K), probabilities; a 0 stays 0.
        temperature: T > 0, a float or a `Temperature`.
        offset: float (K,), as in `fit_temperature`.

    Returns:
        float64 (n, K), rows summing to 1.

    Example:

    >>> apply_temperature(np.array([[0.8, 0.2]]), 2.0).round(3).tolist()
    [[0.667, 0.333]]
    """
    value = temperature.temperature if isinstance(temperature, Temperature) else temperature
    if not (np.isfinite(value) and value > 0):
        raise UserError(f"temperature is {value}; expected a finite number above 0")
    p = validate.probabilities(p)
    log_p = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)
    return softmax(log_p / value + offset, axis=1)


def decision_curve(y: npt.ArrayLike, p: np.ndarray, thresholds: npt.ArrayLike) -> pd.DataFrame:
    """Net benefit of acting on the model, on everyone, on no one (Vickers & Elkin 2006).

    Net benefit = TP/n - FP/n * t / (1 - t), acting where p >= t: the threshold t says how many
    false alarms one found case is worth.

    Args:
        y: int (n,) of 1, 0 or -1 (left out).
        p: float (n,) in 0..1, the calibrated P(positive).
        thresholds: floats between 0 and 1, both excluded.

    Returns:
        DataFrame, one row a threshold: `threshold`, `model`, `all`, `none`; NaN throughout
        without a labelled record.
    """
    y, p = validate.binary(y, p)
    if len(p) and not (p.min() >= 0 and p.max() <= 1 + validate.SUM_TOLERANCE):
        raise UserError(f"p spans {p.min():.6g}..{p.max():.6g}; expected probabilities in 0..1")
    thresholds = [validate.open_fraction(t, "threshold") for t in np.atleast_1d(thresholds)]
    y, p = y[y >= 0], p[y >= 0]
    n, positives = len(y), int(y.sum())
    rows = []
    for t in thresholds:
        acted = p >= t
        hits, alarms = int(y[acted].sum()), int((1 - y[acted]).sum())
        odds = t / (1 - t)
        model = validate.ratio(hits - alarms * odds, n)
        everyone = validate.ratio(positives - (n - positives) * odds, n)
        rows.append((t, float(model), float(everyone), 0.0 if n else np.nan))
    return pd.DataFrame(rows, columns=["threshold", "model", "all", "none"])


def _known(logits, y) -> tuple[np.ndarray, np.ndarray]:
    """Finite logits (m, K) and classes (m,) of the labelled records."""
    logits = np.asarray(logits, dtype=np.float64)
    if logits.ndim != 2 or logits.shape[1] == 0:
        raise UserError(f"logits have shape {logits.shape}; expected (records, classes)")
    top = logits.max(axis=1, keepdims=True, initial=-np.inf)
    if np.isnan(logits).any() or not np.isfinite(top).all():
        raise UserError("logits hold NaN, +inf or a row of only -inf; expected finite values")
    y = validate.labels(y, "y", logits.shape[1])
    validate.same_length(logits=logits, y=y)
    logits = np.where(np.isneginf(logits), top + LOG_FLOOR, logits)
    return logits[y >= 0], y[y >= 0]

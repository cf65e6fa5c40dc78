"""Checks of arrays at the door of evaluation: their shape, range, and finite values.

Unknown labels are -1 throughout the package; a metric leaves those records out.
"""

from __future__ import annotations

from collections.abc import Sized

import numpy as np
from numpy.typing import ArrayLike

from dermssl.core.errors import UserError

SUM_TOLERANCE = 1e-3  # float16 softmax and probabilities rounded in a CSV both stay inside it


def labels(y: ArrayLike, name: str = "y", n_classes: int | None = None) -> np.ndarray:
    """Class indices as int64 (n,), in -1..n_classes-1; booleans and whole floats are taken."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise UserError(f"{name} has shape {y.shape}; expected one class index per record, (n,)")
    if y.size == 0:
        return np.zeros(0, dtype=np.int64)
    if y.dtype.kind not in "iubf":
        raise UserError(f"{name} holds {y.dtype} values; expected integer class indices")
    if y.dtype.kind == "f" and not (np.isfinite(y).all() and (y == np.floor(y)).all()):
        bad = y[~(np.isfinite(y) & (y == np.floor(y)))][0]
        raise UserError(f"{name} holds {bad}; expected whole class indices, -1 for unknown")
    y = y.astype(np.int64)
    if y.min() < -1:
        raise UserError(f"{name} holds {y.min()}; the lowest index is -1, for unknown")
    if n_classes is not None and y.max() >= n_classes:
        raise UserError(f"{name} holds class {y.max()}; expected -1 (unknown)..{n_classes - 1}")
    return y


def predictions(
    predicted: ArrayLike, name: str = "predicted", n_classes: int | None = None
) -> np.ndarray:
    """Predicted class indices as int64 (n,); unlike a label, a prediction is never unknown."""
    predicted = labels(predicted, name, n_classes)
    if (predicted < 0).any():
        raise UserError(f"{name} holds -1; every record needs a predicted class")
    return predicted


def probabilities(p: ArrayLike, name: str = "p", n_classes: int | None = None) -> np.ndarray:
    """Class probabilities as float64 (n, K): finite, none negative, each row summing to 1."""
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 2 or p.shape[1] == 0:
        raise UserError(f"{name} has shape {p.shape}; expected probabilities (records, classes)")
    if n_classes is not None and p.shape[1] != n_classes:
        raise UserError(f"{name} has {p.shape[1]} columns; expected {n_classes}, one a class")
    broken = ~np.isfinite(p).all(axis=1)
    if broken.any():
        raise UserError(
            f"{name} has NaN or infinite values in {broken.sum()} of {len(p)} records "
            f"(first: record {broken.argmax()}); the model diverged or the file is damaged"
        )
    if (p < 0).any():
        raise UserError(f"{name} holds {p.min():.6g}; a probability lies in 0..1 (pass no logits)")
    total = p.sum(axis=1)
    off = np.abs(total - 1) > SUM_TOLERANCE
    if off.any():
        raise UserError(
            f"{name}: {off.sum()} of {len(p)} rows don't sum to 1 "
            f"(record {off.argmax()} sums to {total[off.argmax()]:.6g}); pass softmax outputs"
        )
    return p


def scores(score: ArrayLike, name: str = "score") -> np.ndarray:
    """Finite scores as float64 (n,), higher meaning more likely positive."""
    score = np.asarray(score, dtype=np.float64)
    if score.ndim != 1:
        raise UserError(f"{name} has shape {score.shape}; expected one score per record, (n,)")
    if not np.isfinite(score).all():
        bad = (~np.isfinite(score)).sum()
        raise UserError(f"{name} has {bad} NaN or infinite values of {len(score)}")
    return score


def decisions(y: ArrayLike, p: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and predicted classes int (n,) or probabilities (n, K), of equal length."""
    if np.ndim(p) == 2:
        return multiclass(y, p)
    y, p = labels(y), predictions(p, "p")
    same_length(y=y, p=p)
    return y, p


def multiclass(y: ArrayLike, p: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities (n, K), of equal length."""
    p = probabilities(p)
    y = labels(y, "y", p.shape[1])
    same_length(y=y, p=p)
    return y, p


def binary(y: ArrayLike, score: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1, 0 or -1 and scores (n,), of equal length."""
    y, score = labels(y, "y", 2), scores(score)
    same_length(y=y, score=score)
    return y, score


def values(y: None, values: ArrayLike) -> tuple[None, np.ndarray]:
    """One finite number, or NaN, a record; there are no labels."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or np.isinf(values).any():
        raise UserError(f"values {values.shape} must be one finite number (or NaN) per record")
    return None, values


def same_length(**arrays: Sized) -> None:
    """A `UserError` that gives every length, unless all are equal."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise UserError(f"records don't match: {shown}; expected the same number")


def open_fraction(value: float, name: str) -> float:
    """A float strictly between 0 and 1."""
    if not 0 < value < 1:
        raise UserError(f"{name} is {value}; expected a number between 0 and 1, both excluded")
    return float(value)


def fraction(value: float, name: str) -> float:
    """A float in 0..1."""
    if not 0 <= value <= 1:
        raise UserError(f"{name} is {value}; expected a number in 0..1")
    return float(value)


def ratio(top: ArrayLike, bottom: ArrayLike) -> np.ndarray:
    """`top / bottom`, NaN (never 0, never a warning) where `bottom` is 0.

    >>> ratio([1, 0], [2, 0]).tolist()
    [0.5, nan]
    """
    top, bottom = np.broadcast_arrays(np.asarray(top, float), np.asarray(bottom, float))
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)

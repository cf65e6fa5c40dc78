"""The level at which photos from elsewhere can be scored, as a taxonomy with arrays of its own.

A place may know only coarse groups, or malignant and benign. Its level is then scored like any
set of classes: groups, or the two answers, stand where fine classes do.
"""

from __future__ import annotations

import numpy as np

from dermssl.core import taxonomy as taxonomies
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.class_map import BENIGN, COARSE, FINE, MALIGNANCY, MALIGNANT, Truth
from dermssl.evaluation import binary_tasks
from dermssl.evaluation.metrics import COUNTS, SUMMARY
from dermssl.evaluation.predictions import Arrays

LEVELS = (FINE, COARSE, MALIGNANCY)
TITLES = {FINE: "fine classes", COARSE: "coarse groups", MALIGNANCY: "malignant or benign"}
AXIS = Taxonomy(MALIGNANCY, *[(BENIGN, MALIGNANT)] * 4)
_OF_CLASSES = (
    "balanced_accuracy", "fine_accuracy", "macro_f1", "roc_auc", "average_precision", "log_loss",
    "brier",
)  # fmt: skip
_OF_AXIS = tuple(name for name in SUMMARY if name.startswith("malignant_"))
METRICS = {
    FINE: tuple(name for name in SUMMARY if name not in (*COUNTS, "ece")),
    COARSE: _OF_CLASSES,
    MALIGNANCY: (*_OF_AXIS, "balanced_accuracy", "fine_accuracy", "log_loss", "brier"),
}


def primary(level: str) -> str:
    """The one metric that gets a verdict; the others stand in tables."""
    return "malignant_auc" if level == MALIGNANCY else "balanced_accuracy"


def known_at(level: str, truth: Truth) -> np.ndarray:
    """int64 (n,): the class number of each record at a level, -1 unknown."""
    return {FINE: truth.fine, COARSE: truth.coarse, MALIGNANCY: truth.malignant}[level]


def choose(truth: Truth) -> str:
    """The finest level at which the most records are known."""
    n_known = {level: int((known_at(level, truth) >= 0).sum()) for level in LEVELS}
    return max(LEVELS, key=lambda level: (n_known[level], -LEVELS.index(level)))


def taxonomy_at(level: str, taxonomy: Taxonomy) -> Taxonomy:
    """The classes of a level, as fine classes."""
    if level == FINE:
        return taxonomy
    return AXIS if level == MALIGNANCY else taxonomies.flat(taxonomy.coarse, "coarse groups")


def probabilities_at(
    level: str, p_fine: np.ndarray, p_coarse: np.ndarray, taxonomy: Taxonomy
) -> np.ndarray:
    """float64 (n, classes of the level)."""
    if level == FINE:
        return p_fine
    if level == COARSE:
        return p_coarse
    malignant = binary_tasks.p_malignant(p_fine, taxonomy)
    assert malignant is not None, "only a taxonomy with malignancies maps to them"
    return np.stack([1 - malignant, malignant], axis=1)


def arrays_at(
    level: str,
    truth: Truth,
    p_fine: np.ndarray,
    p_coarse: np.ndarray,
    groups: np.ndarray,
    taxonomy: Taxonomy,
) -> Arrays:
    """Records as `Arrays` of `taxonomy_at(level)`."""
    if level == FINE:
        return Arrays(truth.fine, truth.coarse, p_fine, p_coarse, groups)
    y = known_at(level, truth)
    p = probabilities_at(level, p_fine, p_coarse, taxonomy)
    return Arrays(y, y, p, p, groups)


def truth_of_run(arrays: Arrays, taxonomy: Taxonomy) -> Truth:
    """What is known of the run's own records."""
    malignant = binary_tasks.malignant_labels(arrays.y, taxonomy)
    unknown = np.full(len(arrays.y), -1, dtype=np.int64)
    return Truth(arrays.y, arrays.y_coarse, unknown if malignant is None else malignant)


def shares_at(level: str, shares: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Shares of fine classes (F,) or (F, draws) summed up to the classes of a level."""
    if level == FINE:
        return shares
    if level == COARSE:
        return taxonomy.matrix.astype(np.float64).T @ shares
    malignant = np.array([kind == MALIGNANT for kind in taxonomy.malignancy], float)
    return np.stack([(1 - malignant) @ shares, malignant @ shares])

"""Sets of classes that hold the true one as often as asked, class by class.

Class-conditional (Mondrian) split conformal prediction (Vovk 2012): a class is in a photo's set if
its probability is no lower than that of most validation photos of this class. So each class has a
threshold of its own, and rare classes are held as often as common ones.

The photos of a lesion aren't exchangeable with one another's, lesions are. Each validation lesion
has a weight of 1, shared by its photos, and one more lesion is counted as if it never fitted:

    q_k = lowest s with  sum over lesions g of class k of  (share of g's photos with score <= s)
          >= level (G_k + 1),    score = 1 - p_k

For a new lesion of class k, and a photo of it picked at random, P(k in its set) >= level: exactly,
in any number of lesions and for any model (hierarchical conformal prediction: Lee, Barber and
Willett 2023; Dunn, Wasserman and Ramdas 2023 draw one photo a lesion instead, which wastes the
others). It holds if the new lesions are as those of validation; for another hospital it needn't. A
class of fewer than level / (1 - level) lesions can have no threshold: it is in every set.

The guarantee needs probabilities that weren't fitted on the validation records: the raw ones.
(MAPIE has the same method for single records, but neither lesions nor the class without a
threshold.)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data.records import VALIDATION, group_ids
from dermssl.evaluation import shares, validate
from dermssl.evaluation.bootstrap import cluster_codes, replicates
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.predictions import Predictions

COLUMNS = (
    "name", "n", "n_groups", "coverage", "coverage_low", "coverage_high", "size", "size_low",
    "size_high", "single", "empty",
)  # fmt: skip
TOLERANCE = 1e-9  # of a probability, which a file keeps with 9 digits


@dataclass(frozen=True)
class ClassThresholds:
    """The classes' thresholds.

    Attributes:
        level: share of photos of a class whose set shall hold it.
        lowest: float, one a class: in the set where its probability is at least this; 0 for a class
            that is always in it.
        lesions: int, one a class: calibration lesions.
    """

    level: float
    lowest: tuple[float, ...]
    lesions: tuple[int, ...]

    @property
    def needed(self) -> int:
        """Lesions that a class needs to get a threshold: level / (1 - level), rounded up."""
        return int(np.ceil(self.level / (1 - self.level) - 1e-9))

    @property
    def has_none(self) -> np.ndarray:
        """bool (K,): the classes of too few lesions, which are in every set."""
        return np.array(self.lesions) < self.needed

    def sets(self, p: np.ndarray) -> np.ndarray:
        """bool (n, K): which classes each photo's set holds; it may be empty.

        Args:
            p: float (n, K), raw probabilities.
        """
        p = validate.probabilities(p, n_classes=len(self.lowest))
        return (p >= np.array(self.lowest) - TOLERANCE) | self.has_none


def calibrate(
    p: np.ndarray, y: npt.ArrayLike, lesions: Collection[Any] | None = None, level: float = 0.9
) -> ClassThresholds:
    """Thresholds from records that the model wasn't trained on.

    Args:
        p: float (n, K), probabilities that weren't fitted on these records.
        y: int (n,), true classes; -1 left out.
        lesions: (n,), see `bootstrap.cluster_codes`: photos of one are one calibration lesion.
        level: share asked for.

    Returns:
        `ClassThresholds`.

    Example:

    >>> p = np.array([[0.9, 0.1]] * 9 + [[0.3, 0.7]])
    >>> found = calibrate(p, [0] * 9 + [1], level=0.9)
    >>> found.lowest, found.has_none.tolist()
    ((0.9, 0.0), [False, True])
    """
    validate.open_fraction(level, "evaluate.coverage")
    y, p = validate.multiclass(y, p)
    codes = cluster_codes(lesions, len(y))
    lowest, counts = [], []
    for k in range(p.shape[1]):
        own = y == k
        code = np.unique(codes[own], return_inverse=True)[1]
        sizes = np.bincount(code)
        order = np.argsort(-p[own, k], kind="stable")
        within = np.cumsum(1 / sizes[code[order]]) if len(code) else np.zeros(0)
        enough = within >= level * (len(sizes) + 1) - TOLERANCE
        lowest.append(float(p[own, k][order][enough.argmax()]) if enough.any() else 0.0)
        counts.append(len(sizes))
    return ClassThresholds(level, tuple(lowest), tuple(counts))


def of_run(run: Predictions, level: float = 0.9) -> ClassThresholds | None:
    """`calibrate` of a run's validation records, by lesion; None where none has a fine label."""
    rows = run.table[run.table["split"] == VALIDATION]
    if not (rows["fine"] != "").any():
        return None
    arrays = run.arrays(VALIDATION)
    return calibrate(arrays.p_fine, arrays.y, group_ids(rows, "lesion_id"), level)


def coverage(
    sets: np.ndarray,
    y: npt.ArrayLike,
    groups: Collection[Any] | None,
    places: Sequence[tuple[str, np.ndarray]],
    n_resamples: int = 1000,
) -> pd.DataFrame:
    """How often sets hold the true class, and how large they are.

    Args:
        sets: bool (n, K).
        y: int (n,), true classes; -1 left out.
        groups: (n,), lesions or patients.
        places: (name, bool (n,)) of each part of the records to look at.
        n_resamples: draws of the bootstrap, for the mean size.

    Returns:
        DataFrame, a row a part: `name`, `n`, `n_groups`, `coverage` and `size` (mean number of
        classes) with `_low` and `_high`, `single` and `empty` (shares of sets of one class, and of
        none).
    """
    y = np.asarray(y)
    if sets.ndim != 2 or len(sets) != len(y):
        raise UserError(f"conformal: sets {sets.shape} for {len(y)} records")
    codes = cluster_codes(groups, len(y))
    hit = sets[np.arange(len(y)), y].astype(float)
    size = sets.sum(axis=1).astype(float)
    parts = [inside & (y >= 0) for _, inside in places]
    if not parts:
        return pd.DataFrame(columns=list(COLUMNS))

    def kernel(tally):
        where = [np.where(part, 0, -1) for part in parts]
        return np.concatenate([validate.ratio(tally(w, 1, size), tally(w, 1)) for w in where])

    sizes = replicates(kernel, groups, len(y), n_resamples=n_resamples).intervals()
    rows = []
    for (name, _), part, mean_size in zip(places, parts, sizes):
        held = shares.clustered_share(np.where(part, hit, np.nan), groups)
        row = {"name": name, "n": int(part.sum()), "n_groups": len(np.unique(codes[part]))}
        row |= _bounds("coverage", held) | _bounds("size", mean_size)
        for what, count in (("single", 1), ("empty", 0)):
            row[what] = float((size[part] == count).mean()) if part.any() else np.nan
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _bounds(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}

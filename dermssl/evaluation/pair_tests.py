"""McNemar's and DeLong's tests of every pair of models, corrected for their number.

Both take photos as independent, so one photo of each patient or lesion is tested: the first in
the file, the same for all models. Several seeds are one model here, with their mean
probabilities; the luck of training is in the intervals, not in these p-values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, hypothesis_tests
from dermssl.evaluation.hypothesis_tests import DeLong, McNemar
from dermssl.evaluation.predictions import Arrays


@dataclass(frozen=True)
class PairTest:
    """The tests of one pair.

    Attributes:
        n: independent photos with a fine label.
        mcnemar, mcnemar_holm: do they err equally often? And p over all pairs, by Holm.
        area: name of the metric whose difference DeLong tests; None where no class is asked for.
        title: what the area is of.
        delong, delong_holm: have they the same ROC-AUC? None without `area`.
    """

    n: int
    mcnemar: McNemar
    mcnemar_holm: float
    area: str | None = None
    title: str = ""
    delong: DeLong | None = None
    delong_holm: float = np.nan


def run(
    pairs: Sequence[tuple[Sequence[Arrays], Sequence[Arrays]]], taxonomy: Taxonomy
) -> list[PairTest]:
    """Test pairs of models.

    Args:
        pairs: list of (arrays of a, arrays of b): lists of `predictions.Arrays`, one a run.
        taxonomy: `Taxonomy`.
    """
    chances, areas = [], []
    for a, b in pairs:
        rows = independent(a[0])
        y = a[0].y[rows]
        p_a, p_b = (np.mean([seed.p_fine[rows] for seed in seeds], axis=0) for seeds in (a, b))
        right = [p.argmax(axis=1) == y for p in (p_a, p_b)]
        chances.append((len(rows), hypothesis_tests.mcnemar(*right)))
        areas.append(_delong(y, p_a, p_b, taxonomy))
    holm = hypothesis_tests.holm([test.p for _, test in chances])
    holm_areas = hypothesis_tests.holm([np.nan if area is None else area[2].p for area in areas])
    tests = []
    for (n, mcnemar), p, area, p_area in zip(chances, holm, areas, holm_areas):
        metric, title, test = area or (None, "", None)
        tests.append(PairTest(n, mcnemar, float(p), metric, title, test, float(p_area)))
    return tests


def independent(arrays: Any) -> np.ndarray:
    """Positions of the first record with a fine label of each patient, lesion or photo.

    Args:
        arrays: `predictions.Arrays`, or whatever has its `y` and `groups`.
    """
    labelled = np.flatnonzero(arrays.y >= 0)
    _, first = np.unique(arrays.groups[labelled].astype(str), return_index=True)
    return labelled[np.sort(first)]


def _delong(y, p_a, p_b, taxonomy):
    """(metric, title, `DeLong`) of malignancy, or of one of two classes; None without either."""
    a, b = (binary_tasks.malignancy(y, p, taxonomy) for p in (p_a, p_b))
    metric, title = "malignant_auc", "malignant against the rest"
    if a is None:
        if len(taxonomy.fine) != 2:
            return None
        name = taxonomy.fine[1]
        a, b = (binary_tasks.one_class(y, p, taxonomy, name) for p in (p_a, p_b))
        metric, title = "roc_auc", f"{a.title} against the rest"
    return metric, title, hypothesis_tests.delong(a.y, a.score, b.score)

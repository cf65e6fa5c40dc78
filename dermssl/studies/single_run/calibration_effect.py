"""Effect of a run's calibration on a split: scores, bins and mean probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, calibration_null, curves, metric_tables
from dermssl.evaluation.calibration_null import Range
from dermssl.evaluation.calibrator import Calibrator
from dermssl.evaluation.interval import Interval, joint_level
from dermssl.evaluation.predictions import Arrays
from dermssl.evaluation.seed_draws import SeedDraws

METRICS = ("ece", "brier", "log_loss")
# Were the most probable class the one named.
NAMED = ("fine_accuracy", "balanced_accuracy", "coarse_accuracy")
RAW, GIVEN = "raw", "calibrated"
TITLES = {RAW: "as predicted", GIVEN: "as predict gives them"}


def arrays(scaling: Calibrator | None, seed: Arrays, taxonomy: Taxonomy) -> Arrays | None:
    """`Arrays` as `dermssl.predict` would give them; None where that changes nothing.

    Args:
        scaling: the run's calibration, or None.
        seed: the split, raw.
        taxonomy: of both.
    """
    if not (scaling and scaling.changes):
        return None
    fine, coarse = scaling.apply(seed.p_fine, seed.p_coarse, taxonomy)
    return seed._replace(p_fine=fine, p_coarse=coarse)


def score(
    raw: Mapping[str, SeedDraws], given: Arrays | None, taxonomy: Taxonomy, n_resamples: int
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """What the calibration does to the scores.

    Args:
        raw: the split as predicted, from `metric_tables.score`.
        given: its `Arrays` as `arrays` gives them; None: both dicts are empty.
        taxonomy: `Taxonomy`.
        n_resamples: draws of the bootstrap, as of `raw`.

    Returns:
        dict of metric in `METRICS` or `NAMED` -> `Interval` of the calibrated probabilities, and
        dict of metric in `METRICS` -> `Interval` of calibrated minus raw.
    """
    if given is None:
        return {}, {}
    draws = metric_tables.score([given], taxonomy, n_resamples, METRICS + NAMED)
    after = metric_tables.intervals(draws)
    change = metric_tables.differences(draws, raw, METRICS)
    return without_ece_bounds(after), without_ece_bounds(change)


def without_ece_bounds(intervals: Mapping[str, Interval]) -> dict[str, Interval]:
    """The same intervals, but of the ECE the estimate alone: see `ece` for what is beside it.

    A calibration error is the larger the fewer the records, in each draw once more. Its bootstrap
    interval never holds the 0 of a calibrated model, and often lies above its own estimate.
    """
    return {
        name: replace(one, low=np.nan, high=np.nan) if name == "ece" else one
        for name, one in intervals.items()
    }


def ece(seed: Arrays, given: Arrays | None, lesions: Collection[Any] | None) -> dict[str, Range]:
    """dict of `RAW` and, if there is one, `GIVEN` -> the ECE, and those of calibrated models."""
    shown = {RAW: seed} | ({GIVEN: given} if given else {})
    return {
        name: calibration_null.ece_range(one.p_fine, one.y, lesions) for name, one in shown.items()
    }


def reliability(seed: Arrays, given: Arrays | None, n_resamples: int) -> dict[str, pd.DataFrame]:
    """dict of `RAW` and, if there is one, `GIVEN` -> table of `curves.reliability`."""
    shown = {RAW: seed} | ({GIVEN: given} if given else {})
    return {
        name: curves.reliability(one.p_fine, one.y, one.groups, n_resamples=n_resamples)
        for name, one in shown.items()
    }


def in_the_large(
    seed: Arrays, given: Arrays | None, taxonomy: Taxonomy, lesions: Collection[Any] | None = None
) -> pd.DataFrame:
    """How probable each class is on average, beside how common it is (Van Calster 2016).

    Args:
        seed, given: `Arrays` as predicted and as `arrays` gives them, or None.
        taxonomy: `Taxonomy`.
        lesions: (n,), which photos are of one lesion.

    Returns:
        DataFrame, a row a fine class, and one for all malignant ones where the taxonomy has that
        axis (`kind` "axis"): `name`, `records`, `share` of the labelled records, mean
        probabilities `raw` and `calibrated` (equal without `given`) over the same records,
        `excess`, calibrated - share, and `share_low`, `share_high`: the shares that these records
        would show were the calibrated probabilities right. All ranges hold together with 95%
        (Bonferroni). NaN without labelled records.
    """
    tasks = list(zip(_tasks(seed, taxonomy), _tasks(given or seed, taxonomy)))
    rows = []
    for raw, calibrated in tasks:
        known = raw.y >= 0
        n = known.sum() or np.nan
        expected = calibration_null.share_range(
            calibrated.y, calibrated.score, lesions, joint_level(len(tasks))
        )
        mean = calibrated.score[known].sum() / n
        rows.append(
            {
                "name": raw.name, "kind": raw.kind, "records": raw.n_positive,
                "share": expected.seen, RAW: raw.score[known].sum() / n, GIVEN: mean,
                "excess": mean - expected.seen, "share_low": expected.low,
                "share_high": expected.high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _tasks(arrays, taxonomy):
    """Every fine class against the rest, then the malignancy axis where there is one."""
    y, p = arrays.y, arrays.p_fine
    classes = [binary_tasks.one_class(y, p, taxonomy, name) for name in taxonomy.fine]
    axis = binary_tasks.malignancy(y, p, taxonomy)
    return [*classes, axis] if axis else classes

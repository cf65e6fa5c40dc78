"""Effect of a run's calibration on a split: scores, bins and mean probabilities."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, bootstrap, curves, metric_tables
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.calibrator import Calibrator
from dermssl.evaluation.interval import Interval
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
    return metric_tables.intervals(draws), metric_tables.differences(draws, raw, METRICS)


def reliability(seed: Arrays, given: Arrays | None, n_resamples: int) -> dict[str, pd.DataFrame]:
    """dict of `RAW` and, if there is one, `GIVEN` -> table of `curves.reliability`."""
    shown = {RAW: seed} | ({GIVEN: given} if given else {})
    return {
        name: curves.reliability(one.p_fine, one.y, one.groups, n_resamples=n_resamples)
        for name, one in shown.items()
    }


def in_the_large(
    seed: Arrays, given: Arrays | None, taxonomy: Taxonomy, n_resamples: int
) -> pd.DataFrame:
    """How probable each class is on average, beside how common it is (Van Calster 2016).

    Args:
        seed, given: `Arrays` as predicted and as `arrays` gives them, or None.
        taxonomy: `Taxonomy`.
        n_resamples: draws of the bootstrap.

    Returns:
        DataFrame, a row a fine class, and one for all malignant ones where the taxonomy has that
        axis (`kind` "axis"): `name`, `records`, `share` of the labelled records, mean
        probabilities `raw` and `calibrated` (equal without `given`) over the same records, and
        `excess`, calibrated - share, with an interval; all of these hold together with 95%
        (Bonferroni). NaN without labelled records.
    """
    tasks = list(zip(_tasks(seed, taxonomy), _tasks(given or seed, taxonomy)))
    # A fine class may have the axis's name.
    plan = {
        f"{raw.kind} {raw.name}": PlannedMetric(
            "mean", None, np.where(raw.y >= 0, calibrated.score - raw.y, np.nan)
        )
        for raw, calibrated in tasks
    }
    draws = bootstrap.score(plan, seed.groups, n_resamples=n_resamples)
    rows = []
    for (raw, calibrated), difference in zip(tasks, draws.values()):
        known = raw.y >= 0
        n = known.sum() or np.nan
        excess = difference.interval(1 - 0.05 / len(tasks))
        rows.append(
            {
                "name": raw.name, "kind": raw.kind, "records": raw.n_positive,
                "share": raw.n_positive / n, RAW: raw.score[known].sum() / n,
                GIVEN: calibrated.score[known].sum() / n, "excess": excess.estimate,
                "excess_low": excess.low, "excess_high": excess.high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _tasks(arrays, taxonomy):
    """Every fine class against the rest, then the malignancy axis where there is one."""
    y, p = arrays.y, arrays.p_fine
    classes = [binary_tasks.one_class(y, p, taxonomy, name) for name in taxonomy.fine]
    axis = binary_tasks.malignancy(y, p, taxonomy)
    return [*classes, axis] if axis else classes

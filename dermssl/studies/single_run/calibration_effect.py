"""What a run's calibration does to the probabilities of a split: scores, bins, and means."""

import numpy as np
import pandas as pd

from dermssl.evaluation import binary_tasks, bootstrap, curves, metric_tables

METRICS = ("ece", "brier", "log_loss")
# Were the most probable class the one named.
NAMED = ("fine_accuracy", "balanced_accuracy", "coarse_accuracy")
RAW, GIVEN = "raw", "calibrated"
TITLES = {RAW: "as predicted", GIVEN: "as predict gives them"}


def arrays(scaling, seed, taxonomy):
    """`Arrays` as `dermssl.predict` would give them; None where that changes nothing.

    Args:
        scaling: `temperature.Scaling` or None.
        seed: `Arrays` of the split, raw.
        taxonomy: `Taxonomy`.
    """
    if not (scaling and scaling.changes):
        return None
    fine, coarse = scaling.apply(seed.p_fine, seed.p_coarse, taxonomy)
    return seed._replace(p_fine=fine, p_coarse=coarse)


def after(given, taxonomy, n_resamples):
    """dict of metric in `METRICS` or `NAMED` -> `Interval`; empty without `given`."""
    names = METRICS + NAMED
    return metric_tables.intervals([given], taxonomy, n_resamples, names) if given else {}


def change(seed, given, n_resamples):
    """dict of metric in `METRICS` -> `Interval` of given minus raw; empty without `given`."""
    if given is None:
        return {}
    return {
        name: bootstrap.paired_difference(
            name, seed.y, given.p_fine, seed.p_fine, seed.groups, n_resamples=n_resamples
        )
        for name in METRICS
    }


def reliability(seed, given, n_resamples):
    """dict of `RAW` and, if there is one, `GIVEN` -> table of `curves.reliability`."""
    shown = {RAW: seed} | ({GIVEN: given} if given else {})
    return {
        name: curves.reliability(each.p_fine, each.y, each.groups, n_resamples=n_resamples)
        for name, each in shown.items()
    }


def in_the_large(seed, given, taxonomy, n_resamples):
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
    asked = _asked(seed, taxonomy)
    rows = []
    for target, shown in zip(asked, _asked(given or seed, taxonomy)):
        known = target.y >= 0
        n = known.sum() or np.nan
        excess = bootstrap.bootstrap_metric(
            "mean", None, np.where(known, shown.score - target.y, np.nan), seed.groups,
            n_resamples=n_resamples, level=1 - 0.05 / len(asked),
        )  # fmt: skip
        rows.append(
            {
                "name": target.name, "kind": target.kind, "records": target.n_positive,
                "share": target.n_positive / n, RAW: target.score[known].sum() / n,
                GIVEN: shown.score[known].sum() / n, "excess": excess.estimate,
                "excess_low": excess.low, "excess_high": excess.high,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _asked(arrays, taxonomy):
    """Every fine class against the rest, then the malignancy axis where there is one."""
    y, p = arrays.y, arrays.p_fine
    classes = [binary_tasks.one_class(y, p, taxonomy, name) for name in taxonomy.fine]
    axis = binary_tasks.malignancy(y, p, taxonomy)
    return [*classes, axis] if axis else classes

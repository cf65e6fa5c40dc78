"""What a run's calibration does to the probabilities of a split: scores, bins, and means."""

import numpy as np
import pandas as pd

from dermssl.evaluation import curves, statistics
from dermssl.reporting import scores

METRICS = ("ece", "brier", "log_loss")
NAMED = ("fine_accuracy", "balanced_accuracy")  # were the most probable class the one named
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
    return scores.intervals([given], taxonomy, n_resamples, names) if given else {}


def change(seed, given, n_resamples):
    """dict of metric in `METRICS` -> `Interval` of given minus raw; empty without `given`."""
    if given is None:
        return {}
    return {
        name: statistics.paired_difference(
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


def in_the_large(seed, given, taxonomy):
    """How probable each class is on average, beside how common it is (Van Calster 2016).

    Args:
        seed, given: `Arrays` as predicted and as `arrays` gives them, or None.
        taxonomy: `Taxonomy`.

    Returns:
        DataFrame, a row a fine class: `fine`, `records`, `share` of the labelled records, mean
        probabilities `raw` and `calibrated` (equal without `given`) over the same records; NaN
        without any.
    """
    known = seed.y >= 0
    count = np.bincount(seed.y[known], minlength=len(taxonomy.fine))
    n = known.sum() or np.nan
    return pd.DataFrame(
        {
            "fine": taxonomy.fine,
            "records": count,
            "share": count / n,
            RAW: seed.p_fine[known].sum(axis=0) / n,
            GIVEN: (given or seed).p_fine[known].sum(axis=0) / n,
        }
    )

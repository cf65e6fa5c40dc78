"""Does a model read the lesion, or what lies beside it? Scores of one model under conditions.

Every condition shows the same records, so its drop against the clean photos is paired. A model
without the lesion in sight should be at chance; one that is clearly above it has found a cue in
the surroundings (Bissoto et al., 2019 and 2020).
"""

from dataclasses import dataclass

import numpy as np

from dermssl.evaluation import bootstrap, hierarchy
from dermssl.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class Score:
    """A model under one condition; an entry is None where it has no meaning (clean has no drop).

    Attributes:
        name: of the condition.
        balanced_accuracy: over the fine classes.
        drop: balanced accuracy on the clean photos minus that here; above 0 it costs.
        flips: share of the records whose likeliest class isn't what it was on the clean photo.
        sensitivity: share of the malignant records whose likeliest class is a malignant one.
        sensitivity_drop: as `drop`, for the sensitivity.
        gains: fine class that is predicted more often than on clean photos by the most, or None.
        gain: by how large a share of the records.
    """

    name: str
    balanced_accuracy: Interval
    drop: Interval | None = None
    flips: Interval | None = None
    sensitivity: Interval | None = None
    sensitivity_drop: Interval | None = None
    gains: str | None = None
    gain: float = float("nan")


def score(y, p, groups, taxonomy, clean, n_resamples=1000):
    """Every condition, scored with the same draws of whole groups.

    Args:
        y: int [n], fine classes; -1 is left out.
        p: dict of condition -> float [n, F], probabilities of the same records.
        groups: [n] lesion or patient ids.
        taxonomy: `Taxonomy` with F fine classes.
        clean: the condition that the others are held against.
        n_resamples: draws of the bootstrap.

    Returns:
        list of `Score`, in the order of `p`.
    """
    options = {"n_resamples": n_resamples}
    before = p[clean].argmax(axis=1)
    found_before = _found(y, before, taxonomy)
    scores = []
    for name, probabilities in p.items():
        now = probabilities.argmax(axis=1)
        sensitivity = sensitivity_drop = None
        if found_before is not None:
            found = _found(y, now, taxonomy)
            sensitivity = bootstrap.bootstrap_metric("mean", None, found, groups, **options)
            if name != clean:
                sensitivity_drop = bootstrap.paired_difference(
                    "mean", None, found_before, found, groups, **options
                )
        of_fine = bootstrap.bootstrap_metric(
            "balanced_accuracy", y, probabilities, groups, **options
        )
        if name == clean:
            scores.append(Score(name, of_fine, sensitivity=sensitivity))
            continue
        drop = bootstrap.paired_difference(
            "balanced_accuracy", y, p[clean], probabilities, groups, **options
        )
        flipped = (now != before).astype(float)
        flips = bootstrap.bootstrap_metric("mean", None, flipped, groups, **options)
        more = np.bincount(now, minlength=len(taxonomy.fine)).astype(float)
        more = (more - np.bincount(before, minlength=len(taxonomy.fine))) / max(1, len(now))
        gains = taxonomy.fine[more.argmax()] if more.max() > 0 else None
        scores.append(
            Score(
                name, of_fine, drop, flips, sensitivity, sensitivity_drop, gains, float(more.max())
            )
        )
    return scores


def _found(y, predicted, taxonomy):
    """float [n]: 1 or 0 for a malignant record called malignant or not, NaN for the others."""
    malignant = hierarchy.malignant_labels(y, taxonomy)
    if malignant is None or not (malignant == 1).any():
        return None
    called = hierarchy.malignant_labels(predicted, taxonomy)
    return np.where(malignant == 1, called.astype(float), np.nan)

"""Score a model under the conditions of the stress test.

Every condition shows the same records, so its drop against the clean photos is paired. A model
without the lesion in sight should be at chance; one that is clearly above it has found a cue in
the surroundings (Bissoto et al., 2019 and 2020).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, bootstrap
from dermssl.evaluation.bootstrap_metrics import planned
from dermssl.evaluation.interval import Interval, joint_level


@dataclass(frozen=True)
class Score:
    """A model under one condition; an entry is None where it has no meaning (clean has no drop).

    Attributes:
        name: of the condition.
        balanced_accuracy: over the fine classes.
        drop: balanced accuracy on the clean photos minus that here; above 0 the score is lower.
            Its level is that of the report's family, see `family_size`.
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

    @property
    def changed(self) -> str:
        """`flips` in percent; "" on the clean photos."""
        return "" if self.flips is None else f"{self.flips.estimate:.0%}"


def score(
    y: np.ndarray,
    p: dict[str, np.ndarray],
    groups: Collection[Any] | None,
    taxonomy: Taxonomy,
    clean: str,
    n_resamples: int = 1000,
) -> list[Score]:
    """Every condition, scored with the same draws of whole groups.

    Args:
        y: int (n,), fine classes; -1 is left out.
        p: dict of condition -> float (n, F), probabilities of the same records.
        groups: (n,) lesion or patient ids.
        taxonomy: `Taxonomy` with F fine classes.
        clean: the condition that the others are held against.
        n_resamples: draws of the bootstrap.

    Returns:
        list of `Score`, in the order of `p`. Drops are of the family's level, the rest of 95%.
    """
    before = p[clean].argmax(axis=1)
    draws = {
        name: bootstrap.score(
            _plan(y, probabilities, before, taxonomy), groups, n_resamples=n_resamples
        )
        for name, probabilities in p.items()
    }
    level = joint_level(family_size(len(p) - 1, "sensitivity" in draws[clean]))
    return [
        _score(name, draws[name], draws[clean], p[name].argmax(axis=1), before, taxonomy, level)
        if name != clean
        else Score(name, **_intervals(draws[clean], ("balanced_accuracy", "sensitivity")))
        for name in p
    ]


def family_size(n_conditions: int, with_sensitivity: bool) -> int:
    """How many drops a report names: each condition's, of one score or of two."""
    return n_conditions * (2 if with_sensitivity else 1)


def _plan(y, p, before, taxonomy):
    flipped = (p.argmax(axis=1) != before).astype(float)
    plan = {
        "balanced_accuracy": planned("balanced_accuracy", y, p),
        "flips": planned("mean", None, flipped),
    }
    malignant = binary_tasks.malignant_labels(y, taxonomy)
    if malignant is not None and (malignant == 1).any():
        called = binary_tasks.malignant_labels(p.argmax(axis=1), taxonomy).astype(float)
        values = np.where(malignant == 1, called, np.nan)
        plan["sensitivity"] = planned("mean", None, values)
    return plan


def _intervals(draws, names, level=0.95):
    return {name: draws[name].interval(level) for name in names if name in draws}


def _score(name, draws, clean, now, before, taxonomy, level):
    """The `Score` of a condition other than the clean photos."""
    drops = {metric: clean[metric] - draws[metric] for metric in draws if metric != "flips"}
    drop = _intervals(drops, drops, level)
    more = np.bincount(now, minlength=len(taxonomy.fine)).astype(float)
    more = (more - np.bincount(before, minlength=len(taxonomy.fine))) / max(1, len(now))
    return Score(
        name,
        drop=drop["balanced_accuracy"],
        sensitivity_drop=drop.get("sensitivity"),
        gains=taxonomy.fine[more.argmax()] if more.max() > 0 else None,
        gain=float(more.max()),
        **_intervals(draws, draws),
    )

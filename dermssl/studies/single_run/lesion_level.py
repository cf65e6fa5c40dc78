"""One prediction a lesion: the mean of its photos' probabilities, scored beside single photos."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dermssl.core.study_settings import Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import metric_tables
from dermssl.evaluation.bootstrap import cluster_codes
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.predictions import Arrays
from dermssl.reporting import report, wording

SHOWN = (
    "balanced_accuracy", "fine_accuracy", "coarse_accuracy", "macro_f1", "roc_auc", "log_loss",
    "malignant_auc", "malignant_sensitivity_at_own_threshold",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LesionLevel:
    """The scores of lesions.

    Attributes:
        n: labelled lesions.
        n_several: of these, how many have several photos.
        contradicting: lesions whose photos have several labels; in no score here.
        intervals: dict of metric -> `Interval`.
    """

    n: int
    n_several: int
    contradicting: int
    intervals: dict[str, Interval] = field(repr=False)


def by_lesion(arrays: Arrays, lesions: np.ndarray) -> tuple[Arrays, np.ndarray, int]:
    """One record a lesion, with the mean probabilities of its photos.

    Args:
        arrays: `Arrays` of photos.
        lesions: (n,), the lesion of each; see `bootstrap.cluster_codes`.

    Returns:
        `Arrays` of lesions, in the order of their first photos, without lesions whose photos have
        several labels; int, photos of each; how many such lesions there are. A photo without a
        label counts with its lesion's.
    """
    codes = cluster_codes(lesions, len(arrays.y))
    _, first, codes, photos = np.unique(
        codes, return_index=True, return_inverse=True, return_counts=True
    )

    def joined(y):
        """The one label that photos of each lesion have (-1: none), and where there are two."""
        highest, lowest = np.full(len(first), -1), np.full(len(first), np.iinfo(np.int64).max)
        np.maximum.at(highest, codes, y)
        np.minimum.at(lowest, codes[y >= 0], y[y >= 0])
        return highest, (highest >= 0) & (lowest != highest)

    def mean(p):
        total = np.zeros((len(first), p.shape[1]))
        np.add.at(total, codes, p)
        return total / photos[:, None]

    (y, two), (y_coarse, two_coarse) = joined(arrays.y), joined(arrays.y_coarse)
    kept = np.flatnonzero(~two & ~two_coarse)
    kept = kept[np.argsort(first[kept])]
    whole = Arrays(
        y[kept], y_coarse[kept], mean(arrays.p_fine)[kept], mean(arrays.p_coarse)[kept],
        arrays.groups[first[kept]],
    )  # fmt: skip
    return whole, photos[kept], int((two | two_coarse).sum())


def score(
    arrays: Arrays, lesions: np.ndarray, taxonomy: Taxonomy, n_resamples: int, settings: Evaluate
) -> LesionLevel | None:
    """The scores by lesion; None where no labelled lesion has several photos.

    Args:
        arrays: `Arrays` of photos, as predicted.
        lesions: (n,), the lesion of each.
        taxonomy: of the run.
        n_resamples: draws of the bootstrap.
        settings: of the metrics.
    """
    whole, photos, contradicting = by_lesion(arrays, lesions)
    labelled = whole.y >= 0
    several = int((labelled & (photos > 1)).sum())
    if not several:
        return None
    draws = metric_tables.score([whole], taxonomy, n_resamples, SHOWN, settings)
    return LesionLevel(int(labelled.sum()), several, contradicting, metric_tables.intervals(draws))


def summary(found: LesionLevel | None) -> dict | None:
    """The entry in metrics.json."""
    if found is None:
        return None
    counts = {name: getattr(found, name) for name in ("n", "n_several", "contradicting")}
    return {**counts, "metrics": {name: vars(one) for name, one in found.intervals.items()}}


def section(found: LesionLevel, photos: dict[str, Interval], settings: Evaluate) -> report.Section:
    """The section of the report; `photos` are the intervals of single photos."""
    titles = metric_tables.titles(settings)
    rows = [
        [titles[name], photos.get(name), interval] for name, interval in found.intervals.items()
    ]
    text = (
        f"{wording.count(found.n_several, 'lesion')} of {found.n:,} have several photos. A "
        "lesion's probabilities are the means of its photos', as predicted; a lesion of many "
        "photos counts once. So the columns differ in what is averaged and in how often each "
        "lesion counts: they aren't a test of several photos against one."
    )
    if found.contradicting:
        text += (
            f" {wording.count(found.contradicting, 'lesion')} with photos of several labels left "
            "out."
        )
    return report.Section(
        "One prediction a lesion",
        [report.Table(["metric", "by photo", "by lesion"], rows), report.Text(text)],
    )

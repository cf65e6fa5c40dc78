"""Tables of a model's metrics with intervals, and of paired differences.

A model here is a list of `predictions.Arrays`, one a training seed, all of the same records.
`score` scores it once; its intervals, differences and spread over seeds follow from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core.study_settings import Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import bootstrap, calibration, metrics
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.predictions import Arrays
from dermssl.evaluation.seed_draws import SeedDraws

HEADLINE = (
    "balanced_accuracy", "fine_accuracy", "coarse_accuracy", "macro_f1", "roc_auc", "log_loss",
)  # fmt: skip
PRIMARY = HEADLINE[0]
# Of every pair of models; those beyond the headline stand in differences.csv alone.
DIFFERENCES = (
    *HEADLINE, "average_precision", "malignant_auc", "malignant_sensitivity_at_own_threshold",
    "melanoma_sensitivity_at_own_threshold", "brier", "ece",
)  # fmt: skip
TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "fine_accuracy": "fine accuracy",
    "top_k_accuracy": "top-{top_k} accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC-AUC",
    "average_precision": "average precision",
    "coarse_accuracy": "coarse accuracy",
    "coarse_balanced_accuracy": "coarse balanced accuracy",
    "coarse_roc_auc": "coarse ROC-AUC",
    "full_path_accuracy": "both levels right",
    "tree_distance": "tree distance (0 to 2)",
    "coarse_given_wrong_fine": "coarse right where fine is wrong",
    "malignant_auc": "malignant ROC-AUC",
    "malignant_average_precision": "malignant average precision",
    "malignant_partial_auc": "malignant partial AUC above {min_sensitivity:g} sensitivity "
    "(at most {room:g})",
    "malignant_sensitivity_at_own_threshold": "malignant sensitivity at {specificity:g} "
    "specificity (threshold picked on these records)",
    "malignant_sensitivity": "malignant sensitivity at P(malignant) ≥ 0.5",
    "malignant_specificity": "malignant specificity at P(malignant) ≥ 0.5",
    "melanoma_sensitivity_at_own_threshold": "melanoma sensitivity at {specificity:g} specificity "
    "(threshold picked on these records)",
    "log_loss": "log loss (nats)",
    "brier": "Brier score (0 to 2)",
    "ece": "calibration error (ECE)",
}
CLASS_FIGURES = (
    "sensitivity", "specificity", "precision", "f1", "roc_auc", "average_precision",
)  # fmt: skip


def titles(settings: Evaluate) -> dict[str, str]:
    """dict of metric -> its printed name, with the parameters it depends on.

    Args:
        settings: `study_settings.Evaluate`.
    """
    values = {**vars(settings), "room": round(1 - settings.min_sensitivity, 6)}
    return {name: title.format(**values) for name, title in TITLES.items()}


NAMES = titles(Evaluate())
PARAMETERS = ("specificity", "min_sensitivity", "top_k")  # settings that metrics depend on


def plan(
    seeds: Sequence[Arrays], taxonomy: Taxonomy, settings: Evaluate | None = None
) -> dict[str, PlannedMetric]:
    """`metrics.plan` over all seeds, with the coarse probabilities that each predicted."""
    settings = settings or Evaluate()
    options = {name: getattr(settings, name) for name in PARAMETERS}
    plans = [
        metrics.plan(
            seed.y, seed.y_coarse, seed.p_fine, taxonomy, p_coarse=seed.p_coarse, **options
        )
        for seed in seeds
    ]
    return {
        name: replace(first, predicted=[each[name].seeds[0] for each in plans])
        for name, first in plans[0].items()
    }


def score(
    seeds: Sequence[Arrays],
    taxonomy: Taxonomy,
    n_resamples: int = 1000,
    names: Sequence[str] | None = None,
    settings: Evaluate | None = None,
    units: Sequence[Any] | None = None,
) -> dict[str, SeedDraws]:
    """Score a model: every metric that the taxonomy defines, on the same bootstrap draws.

    Args:
        seeds: `Arrays` of each training seed.
        taxonomy: `Taxonomy`.
        n_resamples: draws of the bootstrap.
        names: of `metrics.SUMMARY`, those to score; None for all.
        settings: specificity, minimum sensitivity and guesses of some metrics.
        units: one value a run; runs of one value count as one, by their mean (see
            `RunGroup.units`). None: each run counts. Runs with equal predictions always count once.

    Returns:
        dict: name -> `SeedDraws`, to be read with `intervals`, `differences` and the like.
    """
    planned = plan(seeds, taxonomy, settings)
    kept = {name: one for name, one in planned.items() if names is None or name in names}
    return bootstrap.score(
        kept, seeds[0].groups, n_resamples=n_resamples, units=_units(seeds, units)
    )


def _units(seeds, units):
    """int (S,): which runs count as one."""
    first: dict[Any, int] = {}
    given = list(range(len(seeds))) if units is None else list(units)
    for run, seed in enumerate(seeds):
        same = first.setdefault(seed.p_fine.tobytes(), run)
        given = [given[same] if value == given[run] else value for value in given]
    return np.unique([given.index(value) for value in given], return_inverse=True)[1]


def intervals(draws: Mapping[str, SeedDraws], level: float = 0.95) -> dict[str, Interval]:
    """An `Interval` of each metric, over records and training runs."""
    return {name: one.interval(level) for name, one in draws.items()}


def differences(
    a: Mapping[str, SeedDraws],
    b: Mapping[str, SeedDraws],
    names: Sequence[str] = DIFFERENCES,
    level: float = 0.95,
) -> dict[str, Interval]:
    """An `Interval` of a - b of each metric that both have, over records and training runs."""
    return {name: (a[name] - b[name]).interval(level) for name in names if name in a}


def of_seeds(draws: Mapping[str, SeedDraws], seeds: Sequence[int]) -> dict[str, SeedDraws]:
    """The draws of some training seeds only, by position."""
    return {name: one.at(seeds) for name, one in draws.items()}


def std_over_seeds(draws: Mapping[str, SeedDraws]) -> dict[str, float]:
    """Standard deviation of each metric over seeds (n - 1); NaN for a single one."""
    return {
        name: float(np.std(one.sample, ddof=1)) if len(one.sample) > 1 else np.nan
        for name, one in draws.items()
    }


def counts(seed: Arrays) -> dict[str, Any]:
    """How much a score rests on: records, labelled ones of both levels, independent groups."""
    # The groups are those of the fine scores, and of the coarse ones where there are no others.
    labelled = seed.y >= 0 if (seed.y >= 0).any() else seed.y_coarse >= 0
    return {
        "n": len(seed.y),
        "n_fine": int((seed.y >= 0).sum()),
        "n_coarse": int((seed.y_coarse >= 0).sum()),
        "n_groups": len(set(seed.groups[labelled])),
        "grouped_by": grouped_by(seed.groups[labelled]),
    }


def grouped_by(groups: Iterable[str]) -> str:
    """What one group is: "patient", "lesion", "photo", or "group" where they are mixed.

    >>> grouped_by(["lesion_id=HAM_1", "lesion_id=HAM_2"])
    'lesion'
    """
    kinds = {group.partition("=")[0] for group in groups}
    words = {"patient_id": "patient", "lesion_id": "lesion", "path": "photo"}
    return words.get(kinds.pop(), "group") if len(kinds) == 1 else "group"


def per_class(
    seeds: Sequence[Arrays],
    taxonomy: Taxonomy,
    n_resamples: int = 1000,
    bounded: Sequence[str] = CLASS_FIGURES[:2],
) -> pd.DataFrame:
    """`metrics.per_class_table`, the mean over seeds, with `lesions` and intervals.

    A figure that one seed can't define (precision of a class it never names) is NaN.

    Args:
        seeds: `Arrays` of each training seed.
        taxonomy: `Taxonomy`.
        n_resamples: draws of the bootstrap.
        bounded: the figures that get FIGURE_low and FIGURE_high; `CLASS_FIGURES` for all.
    """
    tables = [metrics.per_class_table(seed.y, seed.p_fine, taxonomy) for seed in seeds]
    table = with_lesions(tables[0], seeds[0])
    for figure in CLASS_FIGURES:
        table[figure] = np.mean([one[figure] for one in tables], axis=0)
    bounds = []
    for k in range(len(taxonomy.fine)):  # one at a time: a plan holds arrays as long as the data
        planned = _class_plan(seeds, k, bounded)
        draws = bootstrap.score(planned, seeds[0].groups, n_resamples=n_resamples)
        bounds.append(intervals(draws))
    for figure in bounded:
        where = list(table.columns).index(figure) + 1
        table.insert(where, f"{figure}_low", [row[figure].low for row in bounds])
        table.insert(where + 1, f"{figure}_high", [row[figure].high for row in bounds])
    return table


def with_lesions(table: pd.DataFrame, seed: Arrays) -> pd.DataFrame:
    """A `metrics.per_class_table` with `lesions`: the independent groups of each class."""
    own = [len(set(seed.groups[seed.y == k])) for k in range(len(table))]
    table = table.copy()
    table.insert(list(table.columns).index("support") + 1, "lesions", own)
    return table


def _class_plan(seeds, k, figures):
    """Figures of one class against the rest: name -> `PlannedMetric`."""
    y = seeds[0].y
    truth = np.where(y < 0, -1, y == k)
    called = [seed.p_fine.argmax(axis=1) == k for seed in seeds]
    scores = [seed.p_fine[:, k] for seed in seeds]

    def share(of, right):
        return np.where(of, right.astype(float), np.nan)

    planned = {
        "sensitivity": ("mean", None, [share(truth == 1, yes) for yes in called]),
        "specificity": ("mean", None, [share(truth == 0, ~yes) for yes in called]),
        "precision": ("mean", None, [share((y >= 0) & yes, truth == 1) for yes in called]),
        "f1": ("f1", truth, called),
        "roc_auc": ("roc_auc", truth, scores),
        "average_precision": ("average_precision", truth, scores),
    }
    return {figure: PlannedMetric(*planned[figure]) for figure in figures}


def matrices(seeds: Sequence[Arrays], taxonomy: Taxonomy) -> tuple[np.ndarray, np.ndarray]:
    """Confusion matrices summed over seeds: int64 (F, F) and (C, C)."""
    fine = (
        metrics.confusion_matrix(seed.y, seed.p_fine.argmax(axis=1), len(taxonomy.fine))
        for seed in seeds
    )
    coarse = (
        metrics.confusion_matrix(seed.y_coarse, seed.p_coarse.argmax(axis=1), len(taxonomy.coarse))
        for seed in seeds
    )
    return np.sum(list(fine), axis=0), np.sum(list(coarse), axis=0)


def reliability(seeds: Sequence[Arrays], n_bins: int = 10) -> pd.DataFrame:
    """`calibration.reliability` of all seeds' predictions pooled."""
    p = np.concatenate([seed.p_fine for seed in seeds])
    return calibration.reliability(p, np.concatenate([seed.y for seed in seeds]), n_bins)


def roc_curves(
    seeds: Sequence[Arrays], taxonomy: Taxonomy
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One-vs-rest ROC curves on a common grid, the mean over seeds.

    Returns:
        false positive rates float (G,), and a dict of fine class -> true positive rates (G,),
        for the classes that have records and aren't alone.
    """
    from sklearn.metrics import roc_curve

    # The grid holds 0 twice: the origin, and the top of a curve that rises straight from it.
    grid, curves = np.concatenate([[0.0], np.linspace(0, 1, 501)]), {}
    y = seeds[0].y[seeds[0].y >= 0]
    for k, name in enumerate(taxonomy.fine):
        if not 0 < (y == k).sum() < len(y):
            continue
        each = (roc_curve(y == k, seed.p_fine[seed.y >= 0, k]) for seed in seeds)
        mean = np.mean([np.interp(grid, fpr, tpr) for fpr, tpr, _ in each], axis=0)
        curves[name] = np.concatenate([[0.0], mean[1:]])
    return grid, curves

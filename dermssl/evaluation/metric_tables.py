"""The numbers of a report: every metric of a model with its interval, and differences.

A model here is a list of `predictions.Arrays`, one a training seed, all of the same records.
Nothing is decided in this module; `statistics` says what an interval means.
"""

import numpy as np

from dermssl.core.settings import Evaluate
from dermssl.evaluation import bootstrap, calibration, confusion, hypothesis_tests, metrics
from dermssl.evaluation.bootstrap import LOWER_IS_BETTER
from dermssl.evaluation.metrics import POINTS

HEADLINE = (
    "balanced_accuracy", "fine_accuracy", "coarse_accuracy", "macro_f1", "roc_auc", "log_loss",
)  # fmt: skip
PRIMARY = HEADLINE[0]
# Of every pair of models; those beyond the headline stand in differences.csv alone.
DIFFERENCES = (
    *HEADLINE, "average_precision", "malignant_auc", "malignant_sensitivity_at_specificity",
    "melanoma_sensitivity", "brier", "ece",
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
    "malignant_sensitivity_at_specificity": "malignant sensitivity at {specificity:g} specificity",
    "malignant_sensitivity": "malignant sensitivity at 0.5",
    "malignant_specificity": "malignant specificity at 0.5",
    "melanoma_sensitivity": "melanoma sensitivity at {specificity:g} specificity",
    "log_loss": "log loss (nats)",
    "brier": "Brier score (0 to 2)",
    "ece": "calibration error (ECE)",
}
CLASS_FIGURES = (
    "sensitivity", "specificity", "precision", "f1", "roc_auc", "average_precision",
)  # fmt: skip


def titles(settings):
    """dict of metric -> its printed name, with the parameters it depends on.

    Args:
        settings: `settings.Evaluate`.
    """
    values = {**vars(settings), "room": round(1 - settings.min_sensitivity, 6)}
    return {name: title.format(**values) for name, title in TITLES.items()}


NAMES = titles(Evaluate())


def parameters(settings):
    """The keywords of `metrics.plan` that a `settings.Evaluate` decides."""
    return {
        "specificity": settings.specificity,
        "min_sensitivity": settings.min_sensitivity,
        "top_k": settings.top_k,
    }


def plans(seeds, taxonomy, settings=None):
    """`metrics.plan` of each seed, with the coarse probabilities that the run predicted."""
    options = parameters(settings or Evaluate())
    return [
        metrics.plan(
            seed.y, seed.y_coarse, seed.p_fine, taxonomy, p_coarse=seed.p_coarse, **options
        )
        for seed in seeds
    ]


def intervals(seeds, taxonomy, n_resamples=1000, names=None, settings=None):
    """An `Interval` for every metric that the taxonomy defines, over records and seeds."""
    planned = plans(seeds, taxonomy, settings)
    return {
        # Shares are the better the higher; a tree distance is a mean, too, but no share.
        name: (
            bootstrap.bootstrap_metric
            if name in LOWER_IS_BETTER
            else hypothesis_tests.share_with_interval
        )(metric, y, _column(planned, name), seeds[0].groups, n_resamples=n_resamples, **options)
        for name, (metric, y, _, options) in planned[0].items()
        if names is None or name in names
    }


def differences(a, b, taxonomy, n_resamples=1000, names=DIFFERENCES):
    """An `Interval` of a - b for each metric; `a[i]` and `b[i]` are of the same seed."""
    planned_a, planned_b = plans(a, taxonomy), plans(b, taxonomy)
    found = {}
    for name in (name for name in names if name in planned_a[0]):
        metric, y, _, options = planned_a[0][name]
        columns = _column(planned_a, name), _column(planned_b, name)
        found[name] = bootstrap.paired_difference(
            metric, y, *columns, a[0].groups, n_resamples=n_resamples, **options
        )
    return found


def verdict(name, interval):
    """What the difference of a metric says of the first model: better, worse, tie, undefined."""
    return bootstrap.verdict(interval, name not in LOWER_IS_BETTER)


def std_over_seeds(seeds, taxonomy):
    """Standard deviation of each metric over seeds (n - 1); NaN for a single one."""
    rows = [
        {name: POINTS[m](y, p, **options) for name, (m, y, p, options) in plan.items()}
        for plan in plans(seeds, taxonomy)
    ]
    return {name: _deviation([row[name] for row in rows]) for name in rows[0]}


def counts(seed):
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


def grouped_by(groups):
    """What one group is: "patient", "lesion", "photo", or "group" where they are mixed."""
    kinds = {group.partition("=")[0] for group in groups}
    words = {"patient_id": "patient", "lesion_id": "lesion", "path": "photo"}
    return words.get(kinds.pop(), "group") if len(kinds) == 1 else "group"


def per_class(seeds, taxonomy, n_resamples=1000, bounded=CLASS_FIGURES[:2]):
    """`metrics.per_class_table`, the mean over seeds, with intervals.

    A figure that one seed can't define (precision of a class it never names) is NaN.

    Args:
        bounded: the figures that get FIGURE_low and FIGURE_high; `CLASS_FIGURES` for all.
    """
    tables = [metrics.per_class_table(seed.y, seed.p_fine, taxonomy) for seed in seeds]
    table = tables[0].copy()
    for figure in CLASS_FIGURES:
        table[figure] = np.mean([each[figure] for each in tables], axis=0)
    for figure in bounded:
        bounds = []
        for k in range(len(taxonomy.fine)):
            entries = [_class_plan(seed, k)[figure] for seed in seeds]
            metric, y, _, options = entries[0]
            bounds.append(
                hypothesis_tests.share_with_interval(
                    metric, y, [entry[2] for entry in entries], seeds[0].groups,
                    n_resamples=n_resamples, **options,
                )
            )  # fmt: skip
        where = table.columns.get_loc(figure) + 1
        table.insert(where, f"{figure}_low", [bound.low for bound in bounds])
        table.insert(where + 1, f"{figure}_high", [bound.high for bound in bounds])
    return table


def _class_plan(seed, k):
    """Figures of one class against the rest: name -> (metric, y, predicted, options)."""
    y, size = seed.y, seed.p_fine.shape[1]
    called = seed.p_fine.argmax(axis=1)
    truth = np.where(y < 0, -1, y == k)

    def share(of, right):
        return "mean", None, np.where(of, right.astype(float), np.nan), {}

    def f1(matrices):
        return confusion.per_class(matrices)["f1"][..., k]

    return {
        "sensitivity": share(truth == 1, called == k),
        "specificity": share(truth == 0, called != k),
        "precision": share((y >= 0) & (called == k), y == k),
        "f1": (f1, y, called, {"n_classes": size}),
        "roc_auc": ("roc_auc", truth, seed.p_fine[:, k], {}),
        "average_precision": ("average_precision", truth, seed.p_fine[:, k], {}),
    }


def matrices(seeds, taxonomy):
    """Confusion matrices summed over seeds: int64 [F, F] and [C, C]."""
    fine = (
        confusion.confusion(seed.y, seed.p_fine.argmax(axis=1), len(taxonomy.fine))
        for seed in seeds
    )
    coarse = (
        confusion.confusion(seed.y_coarse, seed.p_coarse.argmax(axis=1), len(taxonomy.coarse))
        for seed in seeds
    )
    return sum(fine), sum(coarse)


def reliability(seeds, n_bins=10):
    """`calibration.reliability` of all seeds' predictions pooled."""
    p = np.concatenate([seed.p_fine for seed in seeds])
    return calibration.reliability(p, np.concatenate([seed.y for seed in seeds]), n_bins)


def roc_curves(seeds, taxonomy):
    """One-vs-rest ROC curves on a common grid, the mean over seeds.

    Returns:
        false positive rates float [G], and a dict of fine class -> true positive rates [G],
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


def _column(planned, name):
    return [plan[name][2] for plan in planned]


def _deviation(values):
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def by_seed(model, metric, taxonomy):
    """One metric of each seed of a model."""
    found = [plan[metric] for plan in plans(model.arrays, taxonomy)]
    return [POINTS[name](y, p, **options) for name, y, p, options in found]

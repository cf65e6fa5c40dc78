"""The bootstrap and its metrics, against resampling by index, scikit-learn and hand values."""

import tracemalloc
from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.evaluation import bootstrap, bootstrap_metrics, interval, metric_tables, metrics
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.metrics import SUMMARY
from dermssl.evaluation.predictions import Arrays

HAM = taxonomies.load("ham10000")


def random_case(seed=0, n=200, n_classes=4, n_groups=120):
    """Labels (some unknown), tied probabilities, and groups in which records share a class."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=n)
    y = (groups * 7 + 3) % n_classes
    raw = rng.integers(1, 6, size=(n, n_classes)) + 2 * np.eye(n_classes)[y]
    y = np.where(rng.random(n) < 0.1, -1, y)
    return y, raw / raw.sum(axis=1, keepdims=True), groups


BINARY = ("roc_auc", "average_precision", "partial_auc", "sensitivity_at_specificity")


def arguments(metric, y, p):
    """y, p and options as the metric takes them."""
    if metric in BINARY:
        options = {"specificity": 0.8} if metric == "sensitivity_at_specificity" else {}
        return np.where(y < 0, -1, y == 1), p[:, 1], options
    if metric == "f1":
        return np.where(y < 0, -1, y == 1), (p.argmax(axis=1) == 1).astype(float), {}
    if metric in ("mean", "tree_distance"):
        return None, np.where(y < 0, np.nan, p[:, 0]), {}
    return y, p, {}


def multiplicities(groups, n_resamples, seed=0):
    """How often each record occurs in each resample, int (B, n)."""
    codes = bootstrap.cluster_codes(groups, len(groups))
    draws = list(bootstrap._draws(codes, n_resamples, seed))
    return np.concatenate(draws, axis=1).T[:, codes]


def mean_over_classes(score, y, p):
    return np.mean([score(y == k, p[:, k]) for k in np.unique(y)])


def challenge_partial_auc(y, score):
    """The steps of the ISIC 2024 challenge, above a sensitivity of 0.8."""
    scaled = sk.roc_auc_score(1 - y, -score, max_fpr=0.2)
    return 0.02 + (0.2 - 0.02) * (scaled - 0.5) / 0.5


def best_sensitivity(y, score, specificity):
    false_positives, sensitivity, _ = sk.roc_curve(y, score, drop_intermediate=False)
    return sensitivity[false_positives <= 1 - specificity + 1e-9].max()


def calibration_error(y, p, n_bins=15):
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    bins = np.ceil(np.round(confidence * n_bins, 9))
    gaps = [abs((right - confidence)[bins == k].sum()) for k in np.unique(bins)]
    return sum(gaps) / len(y)


# The plain metric of labelled records: function(y, p, **options) -> float.
ORACLES = {
    "accuracy": lambda y, p: sk.accuracy_score(y, p.argmax(axis=1)),
    "balanced_accuracy": lambda y, p: sk.balanced_accuracy_score(y, p.argmax(axis=1)),
    "macro_f1": lambda y, p: sk.f1_score(y, p.argmax(axis=1), average="macro"),
    "f1": sk.f1_score,
    "macro_roc_auc": partial(mean_over_classes, sk.roc_auc_score),
    "macro_average_precision": partial(mean_over_classes, sk.average_precision_score),
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "partial_auc": challenge_partial_auc,
    "sensitivity_at_specificity": best_sensitivity,
    "log_loss": lambda y, p: sk.log_loss(y, p, labels=range(4)),
    "brier": lambda y, p: ((p - np.eye(4)[y]) ** 2).sum(axis=1).mean(),
    "ece": calibration_error,
    "mean": lambda y, values: values.mean(),
    "tree_distance": lambda y, values: values.mean(),
}


def test_draws_take_whole_clusters():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = multiplicities(groups, 500, seed=3)
    assert weights.shape == (500, 6)
    assert weights.dtype == np.int64
    for name in "abc":
        of_group = weights[:, groups == name]
        assert (of_group == of_group[:, :1]).all()
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)  # three clusters a draw
    # Each is drawn once on average; the standard error of the mean is 0.037.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)


def test_draws_are_a_function_of_the_seed_not_of_the_chunk(monkeypatch):
    groups = list("abcdefgh")
    first = multiplicities(groups, 50, seed=1)
    assert (first != multiplicities(groups, 50, seed=2)).any()
    monkeypatch.setattr(bootstrap, "CHUNK", 24)  # three draws at a time
    np.testing.assert_array_equal(first, multiplicities(groups, 50, seed=1))


def test_a_record_without_group_stands_alone():
    codes = bootstrap.cluster_codes(["x", None, "x", "", float("nan"), "y"], 6)
    assert codes[0] == codes[2]
    assert len(set(codes)) == 5
    np.testing.assert_array_equal(bootstrap.cluster_codes(None, 3), [0, 1, 2])


@pytest.mark.parametrize("metric", sorted(bootstrap_metrics.METRICS))
def test_each_kernel_equals_the_metric_of_the_repeated_records(metric):
    """The bootstrap by brute force: build every resample by index and score it plainly."""
    y, p, groups = random_case()
    truth, predicted, options = arguments(metric, y, p)
    plan = {metric: bootstrap_metrics.planned(metric, truth, predicted, **options)}
    draws = bootstrap.score(plan, groups, n_resamples=40, seed=5)[metric]

    def plain(rows):
        rows = rows[y[rows] >= 0]
        known = None if truth is None else truth[rows]
        return ORACLES[metric](known, predicted[rows], **options)

    weights = multiplicities(groups, 40, seed=5)
    for draw, value in zip(weights, draws.draws[0], strict=True):
        rows = np.repeat(np.arange(len(y)), draw)
        assert value == pytest.approx(plain(rows), abs=1e-9)
    every = plain(np.arange(len(y)))
    assert draws.sample[0] == pytest.approx(every, abs=1e-9)
    assert bootstrap.point(metric, truth, predicted, **options) == pytest.approx(every, abs=1e-9)


def test_registries_name_the_same_metrics():
    assert set(bootstrap_metrics.METRICS) == set(ORACLES)
    y, p, _ = random_case()
    rows = metrics.plan(y % 4, None, np.pad(p, ((0, 0), (0, 3))), HAM)
    assert set(rows) == set(SUMMARY) - {"n", "n_fine", "n_coarse"}


def by_matrices(tally, y, called, n_classes):
    """Accuracy, balanced accuracy and macro F1 of each draw, from a confusion matrix a draw."""
    cells = tally(np.where(y < 0, -1, y * n_classes + called), n_classes**2)
    matrices = cells.T.reshape(-1, n_classes, n_classes)
    hits, support = np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = hits.sum(axis=-1) / support.sum(axis=-1)
        recall, f1 = hits / support, 2 * hits / (support + matrices.sum(axis=-2))
    classes = np.unique(y[y >= 0])
    missed = (support[:, classes] == 0).any(axis=1)
    counted = (np.ascontiguousarray(np.where(support > 0, x, 0)) for x in (recall, f1))
    means = (np.where(missed, np.nan, x.sum(axis=-1) / len(classes)) for x in counted)
    return accuracy, *means


@pytest.mark.parametrize("n_classes", [2, 7, 23])
def test_class_counts_score_as_confusion_matrices_to_the_bit(n_classes):
    rng = np.random.default_rng(n_classes)
    y = rng.integers(-1, n_classes, size=400)
    if n_classes > 2:
        y[y == 1] = 0  # a class that is only predicted
    called = np.where(rng.random(400) < 0.5, y.clip(0), rng.integers(n_classes, size=400))
    p = np.eye(n_classes)[called]
    draws = next(bootstrap._draws(np.arange(400), 60, 0))
    tally = partial(bootstrap_metrics.count, np.arange(400), draws)
    expected = by_matrices(tally, y, called, n_classes)
    for metric, values in zip(("accuracy", "balanced_accuracy", "macro_f1"), expected):
        kernel = bootstrap_metrics.METRICS[metric].kernel
        np.testing.assert_array_equal(kernel(tally, y, p), values, err_msg=metric)


def test_a_thousand_classes_fit_in_memory():
    k, n = 1000, 3000
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % k)
    p = rng.random((n, k)) + 500 * np.eye(k)[np.where(rng.random(n) < 0.6, y, y - 1)]
    p /= p.sum(axis=1, keepdims=True)
    many = taxonomies.flat(f"class {i}" for i in range(k))
    arrays = Arrays(y, y, p, p, np.arange(n).astype(str).astype(object))
    names = ("fine_accuracy", "balanced_accuracy", "macro_f1", "log_loss", "brier", "ece")
    tracemalloc.start()
    draws = metric_tables.score([arrays], many, 1000, names)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert set(metric_tables.intervals(draws)) == set(names)
    assert peak < 400 * 2**20  # a matrix a draw alone were 8 GB


def test_weighted_auc_kernel_equals_scikit_learn_sample_weight():
    y, p, _ = random_case(n_classes=2)
    y, p = y[y >= 0], p[y >= 0]
    draws = np.random.default_rng(0).integers(0, 4, size=(len(y), 20))
    tally = partial(bootstrap_metrics.count, np.arange(len(y)), draws)
    values = bootstrap_metrics.roc_auc(tally, y, p[:, 1])
    expected = [sk.roc_auc_score(y, p[:, 1], sample_weight=draw) for draw in draws.T]
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_interval_is_the_percentiles_of_the_resamples():
    y, p, groups = random_case()
    found = bootstrap.bootstrap_metric("accuracy", y, p, groups, n_resamples=300, level=0.9, seed=2)
    weights = multiplicities(groups, 300, seed=2) * (y >= 0)
    draws = (weights * (p.argmax(axis=1) == y)).sum(axis=1) / weights.sum(axis=1)
    known = y >= 0
    assert found.estimate == pytest.approx((p.argmax(axis=1) == y)[known].mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
    assert (found.level, found.n_resamples, found.n_dropped) == (0.9, 300, 0)


def test_predicted_classes_and_probabilities_give_the_same_interval():
    y, p, groups = random_case()
    by_p = bootstrap.bootstrap_metric("macro_f1", y, p, groups, n_resamples=50)
    by_class = bootstrap.bootstrap_metric("macro_f1", y, p.argmax(axis=1), groups, n_resamples=50)
    assert by_p == by_class


def test_a_plan_is_scored_as_each_of_its_metrics_alone():
    y, p, groups = random_case()
    seeds = [p, np.roll(p, 1, axis=0)]
    plan = {
        name: bootstrap_metrics.planned(name, y, seeds) for name in ("macro_f1", "brier", "ece")
    }
    draws = bootstrap.score(plan, groups, n_resamples=60, seed=3)
    for name in plan:
        alone = bootstrap.bootstrap_metric(name, y, seeds, groups, n_resamples=60, seed=3)
        assert draws[name].interval() == alone
        one = bootstrap.bootstrap_metric(name, y, seeds[1], groups, n_resamples=60, seed=3)
        assert draws[name].at([1]).interval() == one
    assert bootstrap.score({}, groups) == {}


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "roc_auc", "ece"])
def test_copies_of_a_record_in_its_group_do_not_narrow_the_interval(metric):
    y, p, _ = random_case(n=80)
    truth, predicted, options = arguments(metric, y, p)
    once = bootstrap.bootstrap_metric(metric, truth, predicted, np.arange(80), **options)
    rows = np.repeat(np.arange(80), 6)
    grouped = bootstrap.bootstrap_metric(metric, truth[rows], predicted[rows], rows, **options)
    assert (grouped.low, grouped.high) == pytest.approx((once.low, once.high))
    naive = bootstrap.bootstrap_metric(metric, truth[rows], predicted[rows], None, **options)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)  # what clustering protects from


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for repeat in range(200):
        right = np.repeat(rng.random(60) < 0.7, 3)  # 60 lesions of three equal photographs
        groups = np.repeat(np.arange(60), 3)
        found = bootstrap.bootstrap_metric(
            "mean", None, right.astype(float), groups, n_resamples=200, seed=repeat
        )
        covered += found.low <= 0.7 <= found.high
    assert 176 <= covered <= 198  # 95% of 200 is 190; three standard errors are 9


def test_a_class_that_draws_miss_leaves_balanced_accuracy_an_honest_interval():
    y = np.array([0] * 30 + [1])
    p = np.tile([0.6, 0.4], (31, 1))
    p[::3] = [0.3, 0.7]
    rare = bootstrap.bootstrap_metric("balanced_accuracy", y, p, n_resamples=400)
    assert 100 < rare.n_dropped < 200  # a single record is missed by a share 1/e = 147
    # Of the one record, right, Agresti & Coull say 3 of 5: a variance of 0.24 / 1.
    of_many = (20 / 30) * (10 / 30) / 30 * 30 / 29
    assert rare.record_variance == pytest.approx((of_many + 0.24) / 4)
    f1 = bootstrap.bootstrap_metric("macro_f1", y, p, n_resamples=400)
    assert not np.isnan(f1.estimate)
    assert not f1.is_defined
    assert str(f1).endswith("[n/a]")


@pytest.mark.parametrize(
    ("y", "predicted", "groups"),
    [
        ([0, 1, 0, 1], [0, 1, 1, 1], ["a"] * 4),  # one cluster: every draw is the sample
        ([-1, -1], [0, 1], None),  # nothing labelled
        ([], [], None),
    ],
)
def test_no_spread_or_no_data_is_no_interval(y, predicted, groups):
    found = bootstrap.bootstrap_metric("accuracy", np.array(y), np.array(predicted), groups)
    assert not found.is_defined
    assert interval.verdict(found) == "undefined"
    assert not found.excludes_zero


def test_one_cluster_gives_no_interval_however_the_seeds_vary():
    y, seeds = np.array([0, 1, 0]), [np.array([0, 1, 0]), np.array([0, 0, 1])]
    found = bootstrap.bootstrap_metric("accuracy", y, seeds, ["a"] * 3)
    assert found.estimate == pytest.approx(2 / 3)
    assert not found.is_defined


def test_sensitivity_kernel_takes_the_specificity_itself():
    y = np.repeat([0, 1], [10, 4])
    score = np.array([*np.arange(10) / 10, 0.95, 0.85, 0.75, 0.05])
    found = bootstrap.bootstrap_metric(
        "sensitivity_at_specificity", y, score, n_resamples=10, specificity=0.9
    )
    assert found.estimate == 0.5  # one of ten false: a specificity of 0.9, just allowed


def test_a_perfect_share_has_wilsons_interval():
    found = bootstrap.bootstrap_metric("accuracy", np.array([0, 1] * 2), np.array([0, 1] * 2))
    assert (found.low, found.high) == pytest.approx((0.5101, 1.0), abs=1e-4)  # 4 of 4


def test_identical_models_have_no_interval_of_their_difference():
    y, p, groups = random_case()
    for metric in ("accuracy", "macro_roc_auc", "log_loss"):
        found = bootstrap.paired_difference(metric, y, p, p.copy(), groups, n_resamples=100)
        assert found.estimate == 0
        assert interval.verdict(found) == "undefined"


def test_paired_difference_varies_as_its_draws_do():
    y, a, groups = random_case()
    b = np.roll(a, 1, axis=0)
    found = bootstrap.paired_difference("log_loss", y, a, b, groups, n_resamples=300, seed=4)
    own = [-np.log(p[np.arange(len(y)), y]) for p in (a, b)]
    weights = multiplicities(groups, 300, seed=4) * (y >= 0)
    draws = (weights * (own[0] - own[1])).sum(axis=1) / weights.sum(axis=1)
    assert found.estimate == pytest.approx((own[0] - own[1])[y >= 0].mean())
    half = stats.norm.ppf(0.975) * draws.std(ddof=1)
    assert (found.high - found.estimate, found.estimate - found.low) == pytest.approx((half, half))
    assert interval.verdict(found, higher_is_better=False) == "better"
    swapped = bootstrap.paired_difference("log_loss", y, b, a, groups, n_resamples=300, seed=4)
    assert swapped.estimate == -found.estimate
    assert interval.verdict(swapped, higher_is_better=False) == "worse"


def test_bootstrap_names_what_is_wrong():
    y, p, _ = random_case()
    with pytest.raises(UserError, match="unknown metric 'acuracy'; choose one of: accuracy"):
        bootstrap.bootstrap_metric("acuracy", y, p)
    with pytest.raises(UserError, match="predictions 0 has 199, y has 200"):
        bootstrap.bootstrap_metric("accuracy", y, p[1:])
    with pytest.raises(UserError, match="groups has 3"):
        bootstrap.bootstrap_metric("accuracy", y, p, [1, 2, 3])
    with pytest.raises(UserError, match="level is 95"):
        bootstrap.bootstrap_metric("accuracy", y, p, level=95)
    with pytest.raises(UserError, match="n_resamples is 0"):
        bootstrap.bootstrap_metric("accuracy", y, p, n_resamples=0)


def test_tables_hold_the_numbers_of_the_summary():
    rng = np.random.default_rng(0)
    y = rng.integers(7, size=250)
    p = 0.8 * rng.dirichlet(np.ones(7), 250) + 0.2 * np.eye(7)[y]
    y[:20] = -1
    y_coarse = np.where(y < 0, -1, HAM.parent_index[y])
    arrays = Arrays(y, y_coarse, p, p @ HAM.matrix, rng.integers(200, size=250))
    row = metrics.summarise(y, None, p, HAM)
    draws = metric_tables.score([arrays], HAM)
    intervals = metric_tables.intervals(draws)
    assert {name: one.estimate for name, one in intervals.items()} == pytest.approx(
        {name: value for name, value in row.items() if not name.startswith("n")}
    )
    assert all(one.low < one.high for one in intervals.values())
    zero = metric_tables.differences(draws, draws)
    assert {(one.estimate, interval.verdict(one)) for one in zero.values()} == {(0, "undefined")}


def test_interval_prints_and_judges():
    assert str(Interval(0.88, 0.8466, 0.91, 0.95, 1000)) == "0.880 [0.847, 0.910]"
    assert str(Interval(np.nan, np.nan, np.nan)) == "n/a"
    assert Interval(0.1, 0.01, 0.2).excludes_zero
    assert not Interval(0.1, 0.0, 0.2).excludes_zero
    assert interval.verdict(Interval(-0.1, -0.2, -0.01)) == "worse"

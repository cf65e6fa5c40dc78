"""Bootstrap, paired tests and corrections, against slow twins, other libraries and hand values."""

from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.evaluation import bootstrap, bootstrap_metrics, confusion, hypothesis_tests, metrics
from dermssl.evaluation.bootstrap import Interval
from dermssl.evaluation.metrics import POINTS, SUMMARY

HAM = taxonomies.load("ham10000")


def random_case(seed=0, n=200, n_classes=4, n_groups=120):
    """Labels (some unknown), tied probabilities, and groups in which records share a class."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=n)
    y = (groups * 7 + 3) % n_classes
    raw = rng.integers(1, 6, size=(n, n_classes)) + 2 * np.eye(n_classes)[y]
    y = np.where(rng.random(n) < 0.1, -1, y)
    return y, raw / raw.sum(axis=1, keepdims=True), groups


def arguments(metric, y, p):
    """y, p and options as the metric takes them."""
    if metric in ("roc_auc", "average_precision", "partial_auc", "sensitivity_at_specificity"):
        options = {"specificity": 0.8} if metric == "sensitivity_at_specificity" else {}
        return np.where(y < 0, -1, y == 1), p[:, 1], options
    if metric == "mean":
        return None, np.where(y < 0, np.nan, p[:, 0]), {}
    return y, p, {}


def test_weights_draw_whole_clusters():
    groups = np.array(["b", "a", "b", "c", "a", "b"])
    weights = bootstrap.cluster_weights(groups, 500, seed=3)
    assert weights.shape == (500, 6)
    assert weights.dtype == np.int64
    for name in "abc":
        of_group = weights[:, groups == name]
        assert (of_group == of_group[:, :1]).all()
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(axis=1), 3)  # three clusters a draw
    # Each is drawn once on average; the standard error of the mean is 0.037.
    np.testing.assert_allclose(weights.mean(axis=0), 1, atol=0.15)


def test_weights_are_a_function_of_the_seed_not_of_the_chunk(monkeypatch):
    groups = list("abcdefgh")
    first = bootstrap.cluster_weights(groups, 50, seed=1)
    assert (first != bootstrap.cluster_weights(groups, 50, seed=2)).any()
    monkeypatch.setattr(bootstrap, "CHUNK", 24)  # three draws at a time
    np.testing.assert_array_equal(first, bootstrap.cluster_weights(groups, 50, seed=1))


def test_a_record_without_group_stands_alone():
    codes = bootstrap.cluster_codes(["x", None, "x", "", float("nan"), "y"], 6)
    assert codes[0] == codes[2]
    assert len(set(codes)) == 5
    np.testing.assert_array_equal(bootstrap.cluster_codes(None, 3), [0, 1, 2])


@pytest.mark.parametrize("metric", sorted(bootstrap_metrics.KERNELS))
def test_each_kernel_equals_the_metric_of_the_repeated_records(metric):
    """The bootstrap by brute force: build every resample by index and score it plainly."""
    y, p, groups = random_case()
    truth, predicted, options = arguments(metric, y, p)
    weights = bootstrap.cluster_weights(groups, 40, seed=5)
    codes = bootstrap.cluster_codes(groups, len(y))
    _, values = bootstrap._replicates(metric, truth, [predicted], codes, 40, 5, options)
    for draw, value in zip(weights, values[0]):
        rows = np.repeat(np.arange(len(y)), draw)
        resampled = None if truth is None else truth[rows]
        expected = POINTS[metric](resampled, predicted[rows], **options)
        assert value == pytest.approx(expected, abs=1e-9)


def test_registries_name_the_same_metrics():
    assert set(bootstrap_metrics.KERNELS) == set(POINTS)
    y, p, _ = random_case()
    rows = metrics.plan(y % 4, None, np.pad(p, ((0, 0), (0, 3))), HAM)
    assert set(rows) == set(SUMMARY) - {"n", "n_fine", "n_coarse"}


def test_weighted_auc_kernel_equals_scikit_learn_sample_weight():
    y, p, _ = random_case(n_classes=2)
    y, p = y[y >= 0], p[y >= 0]
    multiplicities = np.random.default_rng(0).integers(0, 4, size=(len(y), 20))
    tally = partial(bootstrap_metrics.count, np.arange(len(y)), multiplicities)
    values = bootstrap_metrics.roc_auc(tally, y, p[:, 1])
    expected = [sk.roc_auc_score(y, p[:, 1], sample_weight=draw) for draw in multiplicities.T]
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_interval_is_the_percentiles_of_the_resamples():
    y, p, groups = random_case()
    found = bootstrap.bootstrap_metric("accuracy", y, p, groups, n_resamples=300, level=0.9, seed=2)
    weights = bootstrap.cluster_weights(groups, 300, seed=2) * (y >= 0)
    draws = (weights * (p.argmax(axis=1) == y)).sum(axis=1) / weights.sum(axis=1)
    known = y >= 0
    assert found.estimate == pytest.approx((p.argmax(axis=1) == y)[known].mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.05, 0.95])))
    assert (found.level, found.n_resamples, found.n_dropped) == (0.9, 300, 0)


def test_metric_by_function_and_predicted_classes_give_the_same_interval():
    y, p, groups = random_case()
    by_name = bootstrap.bootstrap_metric("macro_f1", y, p, groups, n_resamples=50)
    by_function = bootstrap.bootstrap_metric(
        confusion.macro_f1, y, p.argmax(axis=1), groups, n_resamples=50
    )
    assert by_name == by_function

    def recall_of_class_1(matrices):
        return confusion.per_class(matrices)["recall"][..., 1]

    own = bootstrap.bootstrap_metric(recall_of_class_1, y, p, groups, n_resamples=50)
    assert own.estimate == pytest.approx(np.mean(p.argmax(axis=1)[y == 1] == 1))


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


def test_draws_that_miss_a_class_are_dropped_and_too_many_leave_no_interval():
    y = np.array([0] * 30 + [1])
    p = np.tile([0.6, 0.4], (31, 1))
    p[::3] = [0.3, 0.7]
    rare = bootstrap.bootstrap_metric("balanced_accuracy", y, p, n_resamples=400)
    assert 100 < rare.n_dropped < 200  # a single record is missed by a share 1/e = 147
    assert rare.is_defined
    y = np.array([0] * 30 + [1, 2, 3])
    p = np.random.default_rng(0).dirichlet(np.ones(4), 33)
    rarer = bootstrap.bootstrap_metric("balanced_accuracy", y, p, n_resamples=400)
    assert rarer.n_dropped > 200
    assert not np.isnan(rarer.estimate)
    assert not rarer.is_defined
    assert str(rarer).endswith("[n/a]")


@pytest.mark.parametrize(
    ("y", "predicted", "groups"),
    [
        ([0, 1, 0, 1], [0, 1, 0, 1], None),  # perfect: every draw is 1
        ([0, 1, 0, 1], [0, 1, 1, 1], ["a"] * 4),  # one cluster: every draw is the sample
        ([-1, -1], [0, 1], None),  # nothing labelled
        ([], [], None),
    ],
)
def test_no_spread_or_no_data_is_no_interval(y, predicted, groups):
    found = bootstrap.bootstrap_metric("accuracy", np.array(y), np.array(predicted), groups)
    assert not found.is_defined
    assert bootstrap.verdict(found) == "undefined"
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


def test_identical_models_tie_at_exactly_zero():
    y, p, groups = random_case()
    for metric in ("accuracy", "macro_roc_auc", "log_loss"):
        found = bootstrap.paired_difference(metric, y, p, p.copy(), groups, n_resamples=100)
        assert (found.estimate, found.low, found.high) == (0, 0, 0)
        assert bootstrap.verdict(found) == "tie"


def test_paired_difference_is_the_difference_of_the_same_draws():
    y, a, groups = random_case()
    b = np.roll(a, 1, axis=0)
    found = bootstrap.paired_difference("accuracy", y, a, b, groups, n_resamples=200, seed=4)
    gain = (a.argmax(axis=1) == y).astype(float) - (b.argmax(axis=1) == y)
    weights = bootstrap.cluster_weights(groups, 200, seed=4) * (y >= 0)
    draws = (weights * gain).sum(axis=1) / weights.sum(axis=1)
    assert found.estimate == pytest.approx(gain[y >= 0].mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert bootstrap.verdict(found) == "better"
    swapped = bootstrap.paired_difference("accuracy", y, b, a, groups, n_resamples=200, seed=4)
    assert swapped.estimate == -found.estimate
    assert bootstrap.verdict(swapped) == "worse"
    loss = bootstrap.paired_difference("log_loss", y, a, b, groups, n_resamples=200)
    assert bootstrap.verdict(loss, higher_is_better=False) == "better"


def test_seeds_are_averaged_by_pair_and_resampled():
    y = np.zeros(400, dtype=int)
    rng = np.random.default_rng(0)

    def right(share):
        return (rng.random(400) > share).astype(int)

    a = [right(0.9), right(0.5), right(0.7)]
    b = [right(0.5), right(0.5), right(0.5)]
    found = bootstrap.paired_difference("accuracy", y, a, b, n_resamples=400)
    each = [bootstrap.paired_difference("accuracy", y, i, j) for i, j in zip(a, b)]
    assert found.estimate == pytest.approx(np.mean([one.estimate for one in each]))
    # The seeds disagree by far more than any one of them varies with the records.
    assert found.high - found.low > 1.5 * max(one.high - one.low for one in each)
    same = bootstrap.paired_difference("accuracy", y, [a[0]] * 3, [b[0]] * 3)
    assert (same.low, same.high) == pytest.approx((each[0].low, each[0].high))


def test_bootstrap_names_what_is_wrong():
    y, p, _ = random_case()
    with pytest.raises(UserError, match="unknown metric 'acuracy'; choose one of: accuracy"):
        bootstrap.bootstrap_metric("acuracy", y, p)
    with pytest.raises(UserError, match="predictions 0 has 199, y has 200"):
        bootstrap.bootstrap_metric("accuracy", y, p[1:])
    with pytest.raises(UserError, match="groups has 3"):
        bootstrap.bootstrap_metric("accuracy", y, p, [1, 2, 3])
    with pytest.raises(UserError, match="a has 2 seeds and b has 1"):
        bootstrap.paired_difference("accuracy", y, [p, p], [p])
    with pytest.raises(UserError, match="level is 95"):
        bootstrap.bootstrap_metric("accuracy", y, p, level=95)
    with pytest.raises(UserError, match="one value a matrix"):
        bootstrap.bootstrap_metric(np.trace, y, p)


def test_summary_intervals_hold_the_numbers_of_the_summary():
    rng = np.random.default_rng(0)
    y = rng.integers(7, size=250)
    p = 0.8 * rng.dirichlet(np.ones(7), 250) + 0.2 * np.eye(7)[y]
    y[:20] = -1
    row = metrics.summarise(y, None, p, HAM)
    found = hypothesis_tests.summary_intervals(y, None, p, HAM, rng.integers(200, size=250))
    assert {name: one.estimate for name, one in found.items()} == pytest.approx(
        {name: value for name, value in row.items() if not name.startswith("n")}
    )
    assert all(one.low < one.high for one in found.values())
    zero = hypothesis_tests.summary_differences(y, None, p, p, HAM, n_resamples=20)
    assert {bootstrap.verdict(one) for one in zero.values()} == {"tie"}
    with pytest.raises(UserError, match="p_coarse"):
        hypothesis_tests.summary_intervals(y, None, p, HAM, p_coarse=p @ HAM.matrix)


def test_interval_prints_and_judges():
    assert str(Interval(0.88, 0.8466, 0.91, 0.95, 1000)) == "0.880 [0.847, 0.910]"
    assert str(Interval(np.nan, np.nan, np.nan)) == "n/a"
    assert Interval(0.1, 0.01, 0.2).excludes_zero
    assert not Interval(0.1, 0.0, 0.2).excludes_zero
    assert bootstrap.verdict(Interval(-0.1, -0.2, -0.01)) == "worse"


def test_mcnemar_exact_and_corrected():
    def pairs(only_a, only_b, both=30):
        a = [True] * only_a + [False] * only_b + [True] * both
        b = [False] * only_a + [True] * only_b + [True] * both
        return a, b

    few = hypothesis_tests.mcnemar(*pairs(1, 7))
    assert few.exact
    assert few.p == pytest.approx(2 * (1 + 8) / 2**8)  # two-sided binomial tail by hand
    many = hypothesis_tests.mcnemar(*pairs(10, 30))
    assert not many.exact
    assert many.statistic == pytest.approx(19**2 / 40)
    assert many.p == pytest.approx(stats.chi2.sf(19**2 / 40, 1))
    assert hypothesis_tests.mcnemar(*pairs(20, 20)).p == 1  # the correction can't pass 0
    assert hypothesis_tests.mcnemar(*pairs(0, 0)).p == 1
    assert np.isnan(hypothesis_tests.mcnemar([], []).p)


def brute_force_delong(y, a, b):
    """Variance from the full matrix of pairs, with covariances (DeLong 1988, as printed)."""
    components = []
    for score in (a, b):
        x, z = score[y == 1][:, None], score[y == 0][None, :]
        wins = (x > z) + 0.5 * (x == z)
        components.append((wins.mean(axis=1), wins.mean(axis=0)))
    s10 = np.cov(components[0][0], components[1][0])
    s01 = np.cov(components[0][1], components[1][1])
    s = s10 / (y == 1).sum() + s01 / (y == 0).sum()
    return components[0][0].mean() - components[1][0].mean(), s[0, 0] + s[1, 1] - 2 * s[0, 1]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_delong_equals_the_brute_force_components(seed):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, 120)
    a, b = np.round(rng.random((2, 120)) + 0.4 * y, 1)  # rounded, so tied
    found = hypothesis_tests.delong(y, a, b)
    difference, variance = brute_force_delong(y, a, b)
    assert found.auc_a == pytest.approx(sk.roc_auc_score(y, a))
    assert found.auc_b == pytest.approx(sk.roc_auc_score(y, b))
    assert found.z == pytest.approx(difference / np.sqrt(variance))
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(found.z)))
    reach = 1.959964 * np.sqrt(variance)
    bounds = (found.difference.low, found.difference.high)
    assert bounds == pytest.approx((difference - reach, difference + reach), abs=1e-6)


def test_delong_agrees_with_the_bootstrap():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 400)
    a, b = rng.normal(size=(2, 400)) + np.array([[1.2], [0.8]]) * y
    exact = hypothesis_tests.delong(y, a, b).difference
    drawn = bootstrap.paired_difference("roc_auc", y, a, b, n_resamples=2000)
    assert (drawn.low, drawn.high) == pytest.approx((exact.low, exact.high), abs=0.008)


def test_delong_of_equal_or_extreme_scores():
    y = np.array([0, 0, 0, 1, 1, 1])
    score = np.array([0.1, 0.4, 0.35, 0.3, 0.8, 0.9])
    same = hypothesis_tests.delong(y, score, np.exp(score))  # same ranking on another scale
    assert (same.z, same.p, same.difference.low, same.difference.high) == (0, 1, 0, 0)
    extreme = hypothesis_tests.delong(y, y, -y)
    assert (extreme.auc_a, extreme.auc_b) == (1, 0)
    assert np.isnan(extreme.p)
    assert bootstrap.verdict(extreme.difference) == "undefined"
    assert np.isnan(hypothesis_tests.delong([1, 1], [1, 2], [2, 1]).auc_a)
    single = hypothesis_tests.delong([0, 0, 1], [1, 3, 2], [1, 2, 3])
    assert single.auc_a == 0.5
    assert np.isnan(single.z)


def test_mcnemar_and_delong_hold_their_level_on_equal_models():
    """Two models of equal skill must differ at 5% in about 5% of studies."""
    rng = np.random.default_rng(0)
    rejected = np.zeros(2)
    for _ in range(400):
        y = rng.integers(0, 2, 150)
        a, b = rng.normal(size=(2, 150)) + y
        rejected[0] += hypothesis_tests.delong(y, a, b).p < 0.05
        rejected[1] += hypothesis_tests.mcnemar((a > 0.5) == y, (b > 0.5) == y).p < 0.05
    assert 7 <= rejected[0] <= 34  # 20 expected, three standard errors are 13
    assert 2 <= rejected[1] <= 30  # the correction makes McNemar conservative


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04 -> the last is lifted to .06.
    np.testing.assert_allclose(
        hypothesis_tests.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]
    )
    np.testing.assert_allclose(hypothesis_tests.holm([0.6, np.nan, 0.7]), [1, np.nan, 1])
    np.testing.assert_allclose(hypothesis_tests.holm([0.02, np.nan]), [0.02, np.nan])
    assert len(hypothesis_tests.holm([])) == 0
    with pytest.raises(UserError, match=r"expected 0\.\.1"):
        hypothesis_tests.holm([0.1, 1.2])


def test_wilson_by_its_formula():
    k, n, z = 7, 20, stats.norm.ppf(0.975)
    centre = (k + z**2 / 2) / (n + z**2)
    reach = z / (n + z**2) * np.sqrt(k * (n - k) / n + z**2 / 4)
    found = hypothesis_tests.wilson(k, n)
    assert (found.low, found.high) == pytest.approx((centre - reach, centre + reach))
    perfect = hypothesis_tests.wilson(10, 10)
    assert perfect.high == 1
    assert perfect.low == pytest.approx(10 / (10 + z**2))
    assert str(hypothesis_tests.wilson(0, 0)) == "n/a"
    with pytest.raises(UserError, match="5 of 4"):
        hypothesis_tests.wilson(5, 4)

"""Metrics against scikit-learn, golden values, slow twins, and data that can't define them."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.evaluation import binary_tasks, curves, metrics
from dermssl.evaluation.bootstrap import point
from dermssl.evaluation.metrics import SUMMARY

HAM = taxonomies.load("ham10000")
MEL, NV, BCC, AKIEC, BKL, DF, VASC = range(7)
FLAT = taxonomies.flat("abc")
TWO_SEEDS = np.array([[[195, 5], [43, 157]], [[184, 16], [32, 168]]])  # of the paper
FIGURES = ((0.785, 0.84), (0.975, 0.92))  # their sensitivity and specificity


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_case(seed, n=300, n_classes=7, absent=()):
    """Labels and coarse-grained (so tied) probabilities that lean towards them."""
    rng = np.random.default_rng(seed)
    y = rng.choice([k for k in range(n_classes) if k not in absent], size=n)
    raw = rng.integers(1, 6, size=(n, n_classes)) + 3 * np.eye(n_classes)[y]
    return y, raw / raw.sum(axis=1, keepdims=True)


def one_hot(classes, n_classes=7):
    return np.eye(n_classes)[np.asarray(classes)]


def of_matrix(matrix):
    """Labels and predicted classes with this confusion matrix."""
    truth, called = np.indices(np.shape(matrix)).reshape(2, -1)
    return np.repeat(truth, np.ravel(matrix)), np.repeat(called, np.ravel(matrix))


@pytest.mark.parametrize(("matrix", "recall", "specificity"), list(zip(TWO_SEEDS, *FIGURES)))
def test_seed_matrices_give_the_published_figures(matrix, recall, specificity):
    y, called = of_matrix(matrix)
    table = metrics.per_class_table(y, one_hot(called, 2), taxonomies.flat("ab"))
    assert point("accuracy", y, called) == pytest.approx(0.88)
    assert point("balanced_accuracy", y, called) == pytest.approx(0.88)
    assert table["sensitivity"][1] == pytest.approx(recall)
    assert table["specificity"][1] == pytest.approx(specificity)
    assert table["support"].tolist() == [200, 200]


@pytest.mark.parametrize("absent", [(), (2,), (0, 6)])
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_of_decisions_equal_scikit_learn(seed, absent):
    y, p = random_case(seed, absent=absent)
    predicted = p.argmax(axis=1)
    matrix = metrics.confusion_matrix(y, predicted, 7)
    np.testing.assert_array_equal(matrix, sk.confusion_matrix(y, predicted, labels=range(7)))
    assert point("accuracy", y, p) == pytest.approx(sk.accuracy_score(y, predicted))
    present = np.unique(y)
    recall = sk.recall_score(y, predicted, labels=present, average="macro", zero_division=0)
    assert point("balanced_accuracy", y, p) == pytest.approx(recall)
    f1 = sk.f1_score(y, predicted, labels=present, average="macro", zero_division=0)
    assert point("macro_f1", y, p) == pytest.approx(f1)
    assert point("macro_f1", y, predicted) == point("macro_f1", y, p)
    table = metrics.per_class_table(y, p, HAM)
    for name, score in [("sensitivity", sk.recall_score), ("precision", sk.precision_score)]:
        expected = score(y, predicted, labels=range(7), average=None, zero_division=np.nan)
        np.testing.assert_allclose(table[name], expected)
    for k in present:
        negative = sk.recall_score(y != k, predicted != k)
        assert table["specificity"][k] == pytest.approx(negative)
        assert table["f1"][k] == pytest.approx(sk.f1_score(y == k, predicted == k))
        assert point("f1", y == k, predicted == k) == table["f1"][k]


def test_balanced_accuracy_equals_scikit_learn_where_all_predicted_classes_exist():
    y, p = random_case(3)
    expected = sk.balanced_accuracy_score(y, p.argmax(axis=1))
    assert point("balanced_accuracy", y, p) == pytest.approx(expected)


def test_a_class_without_records_has_no_recall_rather_than_zero():
    y, called = of_matrix([[3, 1, 0], [0, 0, 0], [2, 0, 0]])
    table = metrics.per_class_table(y, one_hot(called, 3), taxonomies.flat("abc"))
    assert np.isnan(table["sensitivity"][1])
    assert np.isnan(table["f1"][1])
    y, called = of_matrix([[3, 1, 0], [0, 0, 0], [2, 0, 1]])
    never = metrics.per_class_table(y, one_hot(np.where(called == 2, 0, called), 3), FLAT)
    assert np.isnan(never["precision"][2])  # present, never predicted
    assert never["sensitivity"][2] == never["f1"][2] == 0


def test_one_class_can_not_be_balanced_and_no_record_has_no_accuracy():
    y = np.zeros(5, int)
    assert np.isnan(point("balanced_accuracy", y, y))
    assert np.isnan(point("macro_f1", y, y))
    assert point("accuracy", y, y) == 1
    assert np.isnan(point("accuracy", [], []))
    assert np.isnan(point("accuracy", [-1, -1], [0, 1]))


def test_unknown_labels_are_left_out_of_the_confusion_matrix():
    matrix = metrics.confusion_matrix([0, -1, 1, -1], [0, 1, 0, 0], 2)
    np.testing.assert_array_equal(matrix, [[1, 0], [1, 0]])


def test_auc_equals_counting_every_pair():
    rng = np.random.default_rng(5)
    y, score = rng.integers(0, 2, 80), rng.integers(0, 10, 80) / 10
    positive, negative = score[y == 1][:, None], score[y == 0]
    wins = (positive > negative) + 0.5 * (positive == negative)
    assert point("roc_auc", y, score) == pytest.approx(wins.mean())


def test_auc_is_undefined_with_one_side_only_and_ignores_unknowns():
    assert np.isnan(point("roc_auc", [1, 1], [0.2, 0.3]))
    assert np.isnan(point("roc_auc", [], []))
    assert point("roc_auc", [0, 1, -1], [0.2, 0.3, 0.9]) == 1


def test_macro_auc_equals_scikit_learn_and_skips_absent_classes():
    y, p = random_case(6)
    expected = sk.roc_auc_score(y, p, multi_class="ovr", labels=range(7))
    assert point("macro_roc_auc", y, p) == pytest.approx(expected)
    y, p = random_case(6, absent=(1, 4))
    each = [sk.roc_auc_score(y == k, p[:, k]) for k in np.unique(y)]
    assert point("macro_roc_auc", y, p) == pytest.approx(np.mean(each))
    assert np.isnan(point("macro_roc_auc", np.zeros(len(y), int), p))


def test_shuffled_labels_score_at_chance():
    y, p = random_case(7, n=4000)
    shuffled = np.random.default_rng(0).permutation(y)
    assert point("macro_roc_auc", y, p) > 0.9
    assert abs(point("macro_roc_auc", shuffled, p) - 0.5) < 0.03
    assert abs(point("balanced_accuracy", shuffled, p) - 1 / 7) < 0.03


def test_partial_auc_golden_values():
    y = np.repeat([0, 1], 50)
    assert point("partial_auc", y, y.astype(float)) == pytest.approx(0.20)
    assert point("partial_auc", y, np.full(100, 0.3)) == pytest.approx(0.02)
    assert point("partial_auc", y, 1.0 - y) == pytest.approx(0)


@pytest.mark.parametrize("min_sensitivity", [0, 0.5, 0.8, 0.88])
def test_partial_auc_equals_integrating_the_curve(min_sensitivity):
    y, p = random_case(8, n_classes=2)
    false_positives, sensitivity, _ = sk.roc_curve(y, p[:, 1], drop_intermediate=False)
    # Area right of the curve and above the line, on a fine grid of sensitivities.
    grid = np.linspace(min_sensitivity, 1, 200_001)
    width = 1 - np.interp(grid, sensitivity, false_positives)
    expected = np.trapezoid(width, grid)
    assert point("partial_auc", y, p[:, 1], min_sensitivity=min_sensitivity) == pytest.approx(
        expected, abs=1e-5
    )


def test_sensitivity_at_specificity_by_hand():
    y = [0] * 10 + [1] * 4
    score = [*np.arange(10) / 10, 0.95, 0.85, 0.75, 0.05]
    # One of ten negatives may be called positive at 0.9: cut at 0.85, above 0.8 but not 0.9.
    assert point("sensitivity_at_specificity", y, score, specificity=0.9) == 0.5
    assert point("sensitivity_at_specificity", y, score, specificity=1.0) == 0.25
    assert point("sensitivity_at_specificity", y, score, specificity=0.8) == 0.75
    assert point("sensitivity_at_specificity", y, score, specificity=0.0) == 1
    assert point("sensitivity_at_specificity", y, np.full(14, 0.4), specificity=0.9) == 0
    assert np.isnan(point("sensitivity_at_specificity", [0, 0], [0.1, 0.2], specificity=0.9))


def test_average_precision_equals_scikit_learn_and_needs_both_sides():
    rng = np.random.default_rng(14)
    y, score = rng.integers(0, 2, 200), rng.integers(0, 30, 200) / 30
    expected = sk.average_precision_score(y, score)
    assert point("average_precision", y, score) == pytest.approx(expected)
    unknown = np.concatenate([y, [-1]]), np.concatenate([score, [1.0]])
    assert point("average_precision", *unknown) == pytest.approx(expected)
    assert point("average_precision", y, np.full(200, 0.3)) == pytest.approx(y.mean())
    assert np.isnan(point("average_precision", np.ones(4, int), score[:4]))
    assert np.isnan(point("average_precision", np.zeros(4, int), score[:4]))


@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.9, 1.0])
def test_the_threshold_keeps_its_specificity_and_no_lower_one_does(specificity):
    y, p = random_case(15, n_classes=2)
    t = curves.threshold_at_specificity(y, p[:, 1], specificity)
    assert np.mean(p[y == 0, 1] < t) >= specificity
    lower = p[p[:, 1] < t, 1]
    assert not len(lower) or np.mean(p[y == 0, 1] < lower.max()) < specificity
    reached = np.mean(p[y == 1, 1] >= t)
    found = point("sensitivity_at_specificity", y, p[:, 1], specificity=specificity)
    assert reached == pytest.approx(found)
    assert curves.threshold_at_specificity([0, 1], [0.9, 0.1], 1.0) == np.inf
    assert np.isnan(curves.threshold_at_specificity([0, 0], [0.9, 0.1], 0.9))


def top_k(y, p, k):
    return point("mean", None, metrics.top_k_hits(np.array(y), p, k))


def test_top_k_counts_ties_as_argmax_does():
    p = np.array([[0.4, 0.4, 0.2], [0.1, 0.3, 0.6], [0.2, 0.5, 0.3]])
    assert top_k([1, 1, -1], p, 1) == 0
    assert top_k([1, 1, -1], p, 2) == 1
    assert top_k([0, 0, 0], p, 2) == pytest.approx(1 / 3)
    assert np.isnan(top_k([-1, -1, -1], p, 2))
    y, p = random_case(9)
    untied = p + np.random.default_rng(0).random(p.shape) * 1e-9
    untied /= untied.sum(axis=1, keepdims=True)
    expected = sk.top_k_accuracy_score(y, untied, k=3, labels=range(7))
    assert top_k(y, untied, 3) == pytest.approx(expected)


def test_log_loss_equals_scikit_learn():
    y, p = random_case(10)
    assert point("log_loss", y, p) == pytest.approx(sk.log_loss(y, p, labels=range(7)))
    certain = one_hot([1], 2)
    assert point("log_loss", [0], certain) == pytest.approx(
        sk.log_loss([0], certain, labels=[0, 1])
    )


def hierarchy(y, predicted, coarse=None):
    """The three means over both levels; `coarse` defaults to the predicted class's group."""
    predicted = np.array(predicted)
    coarse = HAM.parent_index[predicted] if coarse is None else np.array(coarse)
    values = metrics.hierarchy_values(np.array(y), predicted, coarse, HAM)
    return {name: point("mean", None, value) for name, value in values.items()}


def test_hierarchy_by_hand():
    y = [MEL, MEL, MEL, BCC, -1]
    predicted = [MEL, NV, BCC, BKL, MEL]  # same, sibling, other group, sibling, unknown
    by_class = hierarchy(y, predicted)
    assert by_class["tree_distance"] == (0 + 1 + 2 + 1) / 4
    assert by_class["coarse_given_wrong_fine"] == pytest.approx(2 / 3)
    # The first record's group contradicts its right fine class.
    assert hierarchy(y, predicted, [1, 0, 1, 1, 0])["full_path_accuracy"] == 0
    assert hierarchy(y, predicted, [0, 0, 1, 1, 0])["full_path_accuracy"] == 0.25
    other = hierarchy(y, predicted, [0, 1, 1, 1, 0])
    assert other["coarse_given_wrong_fine"] == pytest.approx(1 / 3)
    assert np.isnan(hierarchy([MEL], [MEL])["coarse_given_wrong_fine"])
    assert np.isnan(hierarchy([-1], [MEL])["tree_distance"])


def test_malignancy_sums_the_malignant_classes_only():
    p = np.array([[0.3, 0.1, 0.2, 0.15, 0.05, 0.1, 0.1]])
    assert binary_tasks.p_malignant(p, HAM)[0] == pytest.approx(0.5)  # mel + bcc, not akiec
    labels = binary_tasks.malignant_labels([MEL, NV, BCC, AKIEC, -1], HAM)
    np.testing.assert_array_equal(labels, [1, 0, 1, 0, -1])
    assert binary_tasks.p_malignant(p, taxonomies.flat("abcdefg")) is None


def test_summary_holds_each_metric():
    y, p = random_case(11)
    row = metrics.summarise(y, None, p, HAM)
    assert tuple(row) == SUMMARY
    predicted, parent = p.argmax(axis=1), HAM.parent_index
    coarse = (p @ HAM.matrix).argmax(axis=1)
    malignant, p_malignant = np.isin(y, [MEL, BCC]), p[:, MEL] + p[:, BCC]
    tn, fp, fn, tp = sk.confusion_matrix(malignant, p_malignant >= 0.5).ravel()
    expected = {
        "n": 300,
        "n_fine": 300,
        "n_coarse": 300,
        "fine_accuracy": sk.accuracy_score(y, predicted),
        "coarse_accuracy": sk.accuracy_score(parent[y], coarse),
        "balanced_accuracy": sk.balanced_accuracy_score(y, predicted),
        "coarse_balanced_accuracy": sk.balanced_accuracy_score(parent[y], coarse),
        "macro_f1": sk.f1_score(y, predicted, average="macro"),
        "roc_auc": sk.roc_auc_score(y, p, multi_class="ovr"),
        "malignant_auc": sk.roc_auc_score(malignant, p[:, MEL] + p[:, BCC]),
        "malignant_partial_auc": point("partial_auc", malignant, p[:, MEL] + p[:, BCC]),
        "melanoma_sensitivity_at_own_threshold": point(
            "sensitivity_at_specificity", y == MEL, p[:, MEL], specificity=0.9
        ),
        "average_precision": sk.average_precision_score(np.eye(7)[y], p, average="macro"),
        "top_k_accuracy": sk.top_k_accuracy_score(y, p - 1e-12 * np.arange(7), k=2),
        "malignant_average_precision": sk.average_precision_score(malignant, p_malignant),
        "malignant_sensitivity": tp / (tp + fn),
        "malignant_specificity": tn / (tn + fp),
        "log_loss": sk.log_loss(y, p),
        "full_path_accuracy": np.mean((predicted == y) & (coarse == parent[y])),
        "tree_distance": hierarchy(y, predicted)["tree_distance"],
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    stricter = metrics.summarise(y, None, p, HAM, specificity=0.99, min_sensitivity=0.9, top_k=3)
    for name in ("melanoma_sensitivity_at_own_threshold", "malignant_sensitivity_at_own_threshold"):
        assert stricter[name] < row[name]
    assert stricter["malignant_partial_auc"] < row["malignant_partial_auc"] - 0.05
    assert stricter["top_k_accuracy"] > row["top_k_accuracy"]
    every = metrics.summarise(y, None, p, HAM, top_k=7)
    assert np.isnan(every["top_k_accuracy"])  # naming every class is no achievement


def test_coarse_only_records_count_at_the_coarse_level_only():
    y, p = [MEL, NV, -1, -1], one_hot([MEL, NV, BKL, NV])
    row = metrics.summarise(y, [0, 0, 1, 1], p, HAM)
    assert (row["n"], row["n_fine"], row["n_coarse"]) == (4, 2, 4)
    assert row["fine_accuracy"] == 1
    assert row["coarse_accuracy"] == 0.75
    filled = metrics.summarise(y, [-1, -1, -1, -1], p, HAM)
    assert (filled["n_coarse"], filled["coarse_accuracy"]) == (2, 1)


@pytest.mark.parametrize(
    ("y", "defined"),
    [
        ([], set()),
        ([-1, -1], set()),
        ([NV, NV], {"fine_accuracy", "coarse_accuracy", "log_loss", "brier", "ece",
                    "full_path_accuracy", "tree_distance", "coarse_given_wrong_fine",
                    "top_k_accuracy", "malignant_specificity"}),
    ],
)  # fmt: skip
def test_what_the_data_can_not_define_is_nan(y, defined):
    p = np.array([one_hot([NV])[0], one_hot([MEL])[0]])[: len(y)].reshape(len(y), 7)
    row = metrics.summarise(y, None, p, HAM)
    scalars = {name for name in row if not name.startswith("n")}
    assert {name for name in scalars if not np.isnan(row[name])} == defined


def test_a_flat_taxonomy_has_no_hierarchy_malignancy_or_melanoma():
    y, p = random_case(12, n_classes=3)
    row = metrics.summarise(y, None, p, taxonomies.flat(["a", "b", "c"]))
    assert row["coarse_accuracy"] == row["fine_accuracy"]
    for name in ("tree_distance", "malignant_auc", "melanoma_sensitivity_at_own_threshold"):
        assert np.isnan(row[name])


def test_per_class_table():
    y, p = random_case(13, absent=(DF,))
    table = metrics.per_class_table(y, p, HAM).set_index("fine")
    assert list(table.index) == list(HAM.fine)
    assert table.loc["mel", "roc_auc"] == pytest.approx(sk.roc_auc_score(y == MEL, p[:, MEL]))
    assert table.loc["mel", "sensitivity"] == np.mean(p.argmax(axis=1)[y == MEL] == MEL)
    assert table.loc["df", ["sensitivity", "f1", "roc_auc"]].isna().all()
    assert table["support"].sum() == 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": np.full((2, 7), 0.2)}, "sums to 1.4"),
        ({"p": np.full((2, 7), np.nan)}, "NaN or infinite values in 2 of 2"),
        ({"p": np.full((2, 3), 1 / 3)}, "3 columns; expected 7"),
        ({"p": one_hot([0, 1]) * 2 - one_hot([2, 2])}, "holds -1"),
        ({"p": np.ones(2)}, r"shape \(2,\)"),
        ({"y": [0, 7]}, "class 7"),
        ({"y": [0, -2]}, "holds -2"),
        ({"y": [0.5, 1]}, "holds 0.5"),
        ({"y": ["mel", "nv"]}, "expected integer"),
        ({"y": [0, 1, 2]}, "y has 3, p_fine has 2"),
        ({"y_coarse": [0, 2]}, "'nv' belongs to 'melanocytic', but its coarse label is 'fibrous'"),
    ],
)
def test_bad_input_is_named(change, message):
    case = {"y": [0, 1], "y_coarse": None, "p": one_hot([0, 1])} | change
    with pytest.raises(UserError, match=message):
        metrics.summarise(case["y"], case["y_coarse"], case["p"], HAM)


def test_bad_options_are_named():
    with pytest.raises(UserError, match=r"evaluate\.specificity is 90"):
        point("sensitivity_at_specificity", [0, 1], [0, 1], specificity=90)
    with pytest.raises(UserError, match=r"evaluate\.top_k is 8"):
        top_k([0], one_hot([0]), 8)
    with pytest.raises(UserError, match=r"evaluate\.min_sensitivity is 1"):
        point("partial_auc", [0, 1], [0, 1], min_sensitivity=1)

"""Curves as tables: their areas are the metrics, their points scikit-learn's."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.evaluation import binary_tasks, bootstrap, calibration, curves

HAM = taxonomies.load("ham10000")


def case(seed=0, n=300, groups=100):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    score = np.clip(np.round(0.5 * y + rng.random(n), 2) / 1.5, 0, 1)
    y[rng.random(n) < 0.1] = -1
    return y, score, rng.integers(groups, size=n).astype(str)


def target(y, score):
    return binary_tasks.Target("a", "a", True, np.asarray(y), np.asarray(score, dtype=float))


def test_the_roc_points_are_scikit_learn_s_and_enclose_the_auc():
    y, score, _ = case()
    table = curves.roc(y, score)
    known = y >= 0
    fpr, tpr, thresholds = sk.roc_curve(y[known], score[known])
    np.testing.assert_allclose(1 - table["specificity"], fpr)
    np.testing.assert_allclose(table["sensitivity"], tpr)
    np.testing.assert_allclose(table["threshold"], thresholds)
    assert sk.auc(fpr, table["sensitivity"]) == pytest.approx(
        sk.roc_auc_score(y[y >= 0], score[y >= 0])
    )
    for row in table.iloc[1:].itertuples():  # act where score >= threshold
        assert np.mean(score[y == 1] >= row.threshold) == pytest.approx(row.sensitivity)
        assert np.mean(score[y == 0] < row.threshold) == pytest.approx(row.specificity)


def test_steps_of_the_precision_recall_points_sum_to_the_average_precision():
    y, score, _ = case(1)
    table = curves.precision_recall(y, score)
    steps = np.diff(table["recall"], prepend=0.0)
    assert steps @ table["precision"] == pytest.approx(
        sk.average_precision_score(y[y >= 0], score[y >= 0])
    )
    row = table.iloc[7]
    acted = score >= row["threshold"]
    assert row["precision"] == pytest.approx(np.mean(y[acted & (y >= 0)]))


def test_one_side_alone_has_no_curve():
    for make in (curves.roc, curves.precision_recall):
        assert make([1, 1, -1], [0.1, 0.2, 0.3]).empty


def test_the_bins_that_are_published_give_the_ece_back():
    rng = np.random.default_rng(3)
    p = rng.dirichlet(np.ones(4), size=400)
    y = rng.integers(-1, 4, 400)
    table = curves.reliability(p, y, n_resamples=50)
    filled = table[table["n"] > 0]
    ece = (filled["n"] * (filled["accuracy"] - filled["confidence"]).abs()).sum() / filled[
        "n"
    ].sum()
    assert ece == pytest.approx(bootstrap.point("ece", y, p))
    assert filled["n"].sum() == (y >= 0).sum()
    wide = filled[filled["n"] > 20]
    assert (wide["accuracy_low"] < wide["accuracy"]).all()
    assert (wide["accuracy_high"] > wide["accuracy"]).all()


def test_reliability_of_a_case_made_by_hand():
    # Ten records at confidence .8 of which six are right; five at .6, all right.
    p = np.array([[0.8, 0.2]] * 10 + [[0.4, 0.6]] * 5)
    y = np.array([0] * 6 + [1] * 4 + [1] * 5)
    table = curves.reliability(p, y, n_bins=5, n_resamples=200)
    assert table["n"].tolist() == [0, 0, 5, 10, 0]
    assert table.loc[3, ["low", "high", "confidence", "accuracy"]].tolist() == pytest.approx(
        [0.6, 0.8, 0.8, 0.6]
    )
    assert table.loc[2, ["confidence", "accuracy"]].tolist() == pytest.approx([0.6, 1.0])
    assert 0.2 < table.loc[3, "accuracy_low"] < 0.6 < table.loc[3, "accuracy_high"] < 1
    assert table["accuracy"].isna().tolist() == [True, True, False, False, True]


def test_the_interval_of_the_net_benefit_equals_the_bootstrap_of_each_record_s_part():
    y, score, groups = case(4)
    thresholds = [0.1, 0.34, 0.5, 0.9]  # 0.34 is a score that occurs: it acts
    table = curves.decision(target(y, score), groups, thresholds, n_resamples=300)
    plain = calibration.decision_curve(y, score, thresholds)
    np.testing.assert_allclose(table[["model", "all"]], plain[["model", "all"]])
    for row in table.itertuples():
        odds = row.threshold / (1 - row.threshold)
        part = (score >= row.threshold) * np.where(y == 1, 1, -odds)
        part = np.where(y < 0, np.nan, part)
        slow = bootstrap.bootstrap_metric("mean", None, part, groups, n_resamples=300)
        assert row.model == pytest.approx(slow.estimate)
        assert (row.model_low, row.model_high) == pytest.approx((slow.low, slow.high))
        assert row.gain_low < row.model - max(row.all, 0) < row.gain_high


def test_where_a_model_is_of_use():
    y, score, groups = case(5)
    found = curves.useful_stretches(curves.decision(target(y, score), groups, n_resamples=200))
    assert any(low < 0.4 < high for low, high in found)
    guess = np.random.default_rng(0).permutation(score)
    useless = curves.decision(target(y, guess), groups, n_resamples=200)
    assert curves.useful_stretches(useless) == []
    unknown = curves.decision(target(np.full(4, -1), score[:4]), None, n_resamples=20)
    assert unknown[["model", "all", "model_low"]].isna().all(axis=None)
    assert curves.useful_stretches(unknown) == []


def test_scores_of_no_skill_are_of_no_use():
    """At low thresholds hardly anyone is left out, and by luck no positive is."""
    found = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = (rng.random(600) < 0.15).astype(int)
        score = np.clip(0.15 + rng.normal(0, 0.05, 600), 0.01, 0.99)
        table = curves.decision(target(y, score), np.arange(600), n_resamples=200)
        found += curves.useful_stretches(table)
    assert found == []


def test_a_perfect_model_is_of_use():
    y = np.arange(300) % 3 == 0
    score = np.where(y, 0.9, 0.05)
    table = curves.decision(target(y.astype(int), score), np.arange(300), n_resamples=200)
    ((low, high),) = curves.useful_stretches(table)
    assert low < 0.2
    assert high > 0.8


def test_targets_of_a_taxonomy():
    p = np.eye(7)[[0, 1, 2, 3, 0]] * 0.8 + 0.2 / 7
    y = np.array([0, 1, 2, 3, -1])
    malignant, mel = binary_tasks.binary_tasks_of(y, p, HAM)
    assert (malignant.name, mel.name, mel.title) == ("malignant", "mel", "melanoma")
    assert malignant.y.tolist() == [1, 0, 1, 0, -1]  # akiec is premalignant, so not malignant
    assert mel.y.tolist() == [1, 0, 0, 0, -1]
    np.testing.assert_allclose(malignant.score, p[:, 0] + p[:, 2])
    assert (malignant.n, malignant.n_positive) == (4, 2)
    assert [each.name for each in binary_tasks.binary_tasks_of(y, p, HAM, "bcc")] == [
        "malignant",
        "bcc",
    ]
    two = taxonomies.flat(["no", "yes"])
    assert [each.name for each in binary_tasks.binary_tasks_of(y[:2], p[:2, :2], two)] == ["yes"]
    three = taxonomies.flat("abc")
    assert binary_tasks.binary_tasks_of(y[:2], p[:2, :3], three) == ()
    with pytest.raises(UserError, match=r"unknown evaluate\.one_class 'scc'"):
        binary_tasks.binary_tasks_of(y, p, HAM, "scc")


def test_the_records_own_prevalence_gives_the_plain_curve():
    y, score, groups = case(5)
    one = target(y, score)
    plain = curves.decision(one, groups, n_resamples=50)
    own = curves.decision(one, groups, n_resamples=50, prevalence=one.n_positive / one.n)
    for column in ("threshold", "model", "all", "none"):
        np.testing.assert_allclose(own[column], plain[column], atol=1e-12)


def test_a_prevalence_weighs_sensitivity_and_specificity():
    y, score, groups = case(6)
    one, share, t = target(y, score), 0.02, 0.3
    row = curves.decision(one, groups, [t], 100, share).iloc[0]
    sensitivity, alarms = (score[y == 1] >= t).mean(), (score[y == 0] >= t).mean()
    expected = share * sensitivity - (1 - share) * alarms * t / (1 - t)
    assert row["model"] == pytest.approx(expected)
    assert row["all"] == pytest.approx(share - (1 - share) * t / (1 - t))
    assert row["model_low"] < expected < row["model_high"]
    # Repeating the positives of a sample to another prevalence gives the same benefit.
    yes = np.flatnonzero(y == 1)
    more = np.concatenate([np.flatnonzero(y == 0), np.repeat(yes, 3)])
    common = len(yes) * 3 / (len(yes) * 3 + (y == 0).sum())
    repeated = calibration.decision_curve(y[more], score[more], [t])["model"].item()
    weighed = curves.decision(one, groups, [t], 10, common)["model"].item()
    assert weighed == pytest.approx(repeated)


def test_the_difference_of_two_curves_is_paired():
    y, score, groups = case(7)
    a, b = target(y, score), target(y, np.clip(score[::-1], 0, 1))
    table = curves.decision_difference(a, b, groups, n_resamples=200)
    for name, one in (("a", a), ("b", b)):
        np.testing.assert_allclose(table[name], curves.decision(one, n_resamples=5)["model"])
    np.testing.assert_allclose(table["difference"], table["a"] - table["b"])
    varies = (table["high"] > table["low"]).to_numpy()
    assert varies.sum() > 50
    # What holds for all thresholds together is wider than what holds at one.
    assert (table["band_high"] - table["high"])[varies].median() > 0
    assert (table["difference"][varies] >= table["low"][varies]).mean() > 0.9
    same = curves.decision_difference(a, a, groups, n_resamples=50)
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)


def test_a_better_model_shows_and_equal_ones_rarely_do():
    rng, named = np.random.default_rng(0), []
    for _ in range(60):
        y = rng.integers(0, 2, 200)
        a, b = (np.clip(0.25 + 0.3 * y + 0.25 * rng.normal(size=200), 0.001, 1) for _ in "ab")
        table = curves.decision_difference(
            target(y, a), target(y, b), thresholds=np.arange(0.1, 0.9, 0.1), n_resamples=200
        )
        named.append(((table["band_low"] > 0) | (table["band_high"] < 0)).any())
    assert np.mean(named) <= 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / 60)
    y = rng.integers(0, 2, 400)
    good, useless = np.clip(0.2 + 0.6 * y, 0, 1), np.full(400, 0.5)
    table = curves.decision_difference(target(y, good), target(y, useless), n_resamples=100)
    assert (table["low"] > 0).any()


def test_a_difference_of_other_records_is_refused():
    y, score, _ = case(8)
    with pytest.raises(UserError, match="same records and question"):
        curves.decision_difference(target(y, score), target(1 - np.abs(y), score))


def test_every_stretch_is_named():
    gain = [-1, 1, 1, -1, 1, -1, np.nan]
    table = pd.DataFrame({"threshold": np.arange(1, 8) / 10, "gain_low": gain})
    assert curves.useful_stretches(table) == [(0.2, 0.3), (0.5, 0.5)]
    assert curves.useful_stretches(table[table["gain_low"] < 0]) == []

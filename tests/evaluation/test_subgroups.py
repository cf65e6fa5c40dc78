"""Subgroups: a planted gap is found, none is claimed without one, and like is held against like."""

import fake_runs
import numpy as np
import pytest
from sklearn import metrics as sk

from dermssl.core.errors import UserError
from dermssl.evaluation import binary_tasks, bootstrap, predictions, subgroups

HAM = fake_runs.HAM


def run(skills, n=1600, seed=0, values=("I-II", "V-VI"), column="skin_tone", table=None):
    """Groups and gaps of simulated records; `skills` of the values in turn, lesion by lesion."""
    table = fake_runs.records(n=n, seed=seed, shares=(1 / 7,) * 7) if table is None else table
    lesion = table["lesion_id"].str[1:].astype(int).to_numpy()
    which = np.random.default_rng([seed, 5]).integers(len(values), size=lesion.max() + 1)[lesion]
    table[column] = np.array(values, dtype=object)[which]
    p = np.stack([fake_runs.simulate(table, skill, seed) for skill in skills])[which, np.arange(n)]
    full = predictions.table(table, p, None, HAM)
    rows = full[full["split"] == "test"]
    arrays = predictions.arrays_of(full, HAM)
    target = binary_tasks.malignancy(arrays.y, arrays.p_fine, HAM)
    groups = subgroups.score(rows, arrays, HAM, target, 0.4, n_resamples=200)
    return groups, subgroups.subgroup_gaps(groups, HAM), rows, arrays


def test_a_planted_gap_is_found_and_named():
    groups, found, _, _ = run((2.0, 0.5))
    assert [(group.axis, group.value) for group in groups] == [
        ("skin_tone", "I-II"), ("skin_tone", "V-VI"),
    ]  # fmt: skip
    for metric in ("balanced_accuracy", "sensitivity"):
        gap = subgroups.largest(found, metric)
        assert (gap.a.value, gap.b.value) == ("I-II", "V-VI")
        assert gap.interval.low > 0.05
        assert gap.value_a - gap.value_b == pytest.approx(gap.interval.estimate)
    assert subgroups.largest(found, "balanced_accuracy").classes == HAM.fine


def test_without_a_gap_none_is_claimed_more_often_than_one_time_in_twenty_or_so():
    claimed = dict.fromkeys(subgroups.METRICS, 0)
    for seed in range(12):
        _, found, _, _ = run((1.5,) * 4, n=1000, seed=seed, values=tuple("abcd"), column="site")
        assert len(found) == 18
        for metric in claimed:
            gap = subgroups.largest(found, metric)
            claimed[metric] += gap.interval.excludes_zero
    assert sum(claimed.values()) <= 5  # 1.8 of 36 expected; 6 or more has a probability of 1%


def test_figures_equal_scikit_learn_on_each_group_s_records():
    groups, _, rows, arrays = run((2.0, 0.5))
    malignant = binary_tasks.malignancy(arrays.y, arrays.p_fine, HAM)
    for group in groups:
        here = (rows["skin_tone"] == group.value).to_numpy()
        y, predicted = arrays.y[here], arrays.p_fine[here].argmax(axis=1)
        assert group.n == here.sum()
        assert group.n_groups == len(set(arrays.groups[here]))
        found = group.found["balanced_accuracy"]
        assert found.estimate == pytest.approx(sk.balanced_accuracy_score(y, predicted))
        called = malignant.score[here] >= 0.4
        tn, fp, fn, tp = sk.confusion_matrix(malignant.y[here], called).ravel()
        assert group.found["sensitivity"].estimate == pytest.approx(tp / (tp + fn))
        assert group.found["specificity"].estimate == pytest.approx(tn / (tn + fp))
        assert group.n_positive == tp + fn
        assert all(each.low < each.estimate < each.high for each in group.found.values())


def test_groups_are_compared_over_the_classes_that_both_have():
    # The second group has only the classes that are hard: its balanced accuracy is lower with
    # equal recalls, which is no gap.
    table = fake_runs.records(n=1200, shares=(1 / 7,) * 7)
    truth = np.array([HAM.fine.index(name) for name in table["fine"]])
    rng = np.random.default_rng(0)
    found_right = rng.random(len(table)) < np.where(truth < 4, 0.9, 0.3)
    guess = np.where(found_right, truth, (truth + 1) % 7)
    table["source"] = np.where((truth >= 4) & (np.arange(len(table)) // 2 % 8 < 4), "hard", "all")
    full = predictions.table(table, np.eye(7)[guess] * 0.7 + 0.3 / 7, None, HAM)
    arrays = predictions.arrays_of(full, HAM)
    groups = subgroups.score(
        full[full["split"] == "test"], arrays, HAM, None, None, n_resamples=200
    )
    by_value = {group.value: group for group in groups}
    assert by_value["hard"].missing == HAM.fine[:4]
    apart = [by_value[name].found["balanced_accuracy"].estimate for name in ("all", "hard")]
    assert apart[0] - apart[1] > 0.2
    (gap,) = subgroups.subgroup_gaps(groups, HAM)
    assert gap.classes == HAM.fine[4:]
    assert not gap.interval.excludes_zero
    assert gap.interval.estimate < 0.15


def test_small_groups_are_shown_and_compared_with_none():
    table = fake_runs.records(n=600)
    few = table.index[table["split"] == "test"][:20]
    table["sex"] = "male"
    table.loc[few, "sex"] = "female"
    table.loc[table.index[table["split"] == "test"][20:24], "sex"] = ""
    full = predictions.table(table, fake_runs.simulate(table, 1.0), None, HAM)
    arrays = predictions.arrays_of(full, HAM)
    rows = full[full["split"] == "test"]
    groups = subgroups.score(rows, arrays, HAM, None, None, n_resamples=50)
    assert [(group.value, group.n) for group in groups] == [("female", 20), ("male", 276)]
    assert subgroups.subgroup_gaps(groups, HAM) == []
    assert subgroups.largest([], "sensitivity") is None
    assert groups[0].found.keys() == {"balanced_accuracy"}
    # One value only is no axis.
    rows = rows.assign(sex="male")
    assert subgroups.score(rows, arrays, HAM, None, None, n_resamples=50) == []


def test_none_found_has_wilson_s_interval_and_is_no_sure_gap():
    table = fake_runs.records(n=400, shares=(0.3, 0.7, 0, 0, 0, 0, 0))
    full = predictions.table(table, fake_runs.simulate(table, 0.5), None, HAM)
    arrays = predictions.arrays_of(full, HAM)
    rows = full[full["split"] == "test"].reset_index(drop=True)
    malignant = arrays.y == 0
    lesions = list(dict.fromkeys(arrays.groups[malignant]))
    missed = set(lesions[:5])
    inside = np.array([group in missed for group in arrays.groups])
    inside |= ~malignant & (np.arange(len(rows)) // 2 % 2 == 0)
    score = np.where(malignant, np.where(inside, 0.1, 0.1 + 0.5 * (np.arange(len(rows)) % 2)), 0.0)
    target = binary_tasks.Target("malignant", "malignant", False, malignant.astype(int), score)
    rows = rows.assign(site=np.where(inside, "a", "b"))
    groups = subgroups.score(rows, arrays, HAM, target, 0.5, n_resamples=200)
    none = groups[0].found["sensitivity"]
    assert (groups[0].behind["sensitivity"], none.estimate, none.low) == (5, 0, 0)
    assert none.high == pytest.approx(0.4345, abs=1e-3)  # Wilson, 0 of 5
    gap = subgroups.largest(subgroups.subgroup_gaps(groups, HAM), "sensitivity")
    assert gap.value_a == pytest.approx(0.5)
    assert gap.value_b == 0
    assert gap.interval.low < 0.05  # the draws alone would say 0.5, surely


def test_without_a_threshold_nothing_was_called():
    table = fake_runs.records(n=400)
    table["sex"] = np.where(np.arange(400) // 8 % 2, "female", "male")
    full = predictions.table(table, fake_runs.simulate(table, 1.0), None, HAM)
    arrays = predictions.arrays_of(full, HAM)
    target = binary_tasks.malignancy(arrays.y, arrays.p_fine, HAM)
    assert np.isnan(binary_tasks.called_positive(target, np.nan)).all()
    assert np.isnan(binary_tasks.called_negative(target, np.nan)).all()
    rows = full[full["split"] == "test"]
    groups = subgroups.score(rows, arrays, HAM, target, np.nan, n_resamples=50)
    for metric in ("sensitivity", "specificity"):
        for group in groups:
            found = group.found[metric]
            assert np.isnan([found.estimate, found.low, found.high]).all()
        assert subgroups.largest(subgroups.subgroup_gaps(groups, HAM), metric) is None
    assert len(groups) == 2


def test_age_bands():
    found = subgroups.age_bands([0, 29, 29.9, 30, 49, 50, 69.5, 70, 99, np.nan])
    assert found.tolist() == [
        "<30", "<30", "<30", "30-49", "30-49", "50-69", "50-69", "70+", "70+", "",
    ]  # fmt: skip
    assert subgroups.age_bands([10, 60], [40]).tolist() == ["<40", "40+"]
    for starts in ([], [50, 30], [30, 30]):
        with pytest.raises(UserError, match=r"evaluate\.age_bands"):
            subgroups.age_bands([1.0], starts)


def test_age_is_ordered_by_years():
    table = fake_runs.records(n=400)
    table["age"] = np.where(np.arange(400) // 8 % 2, 9.0, 101.0)
    full = predictions.table(table, fake_runs.simulate(table, 1.0), None, HAM)
    full.loc[full.index[::3], "age"] = 55.0
    arrays = predictions.arrays_of(full, HAM)
    groups = subgroups.score(
        full[full["split"] == "test"], arrays, HAM, None, None, (10, 100), n_resamples=20
    )
    assert [group.value for group in groups] == ["<10", "10-99", "100+"]


def test_an_axis_of_free_text_has_its_small_groups_taken_together():
    table = fake_runs.records(n=400)
    table["site"] = [f"site {k}" if k % 2 else "back" for k in range(400)]
    full = predictions.table(table, fake_runs.simulate(table, 1.0), None, HAM)
    arrays = predictions.arrays_of(full, HAM)
    rows = full[full["split"] == "test"]
    groups = subgroups.score(rows, arrays, HAM, None, None, n_resamples=20)
    assert [(group.value, group.n) for group in groups] == [("(small groups)", 100), ("back", 100)]


def test_one_gap_alone_has_an_interval_like_the_bootstrap_s():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.2, 0.05, size=4000)
    (alone,) = subgroups.simultaneous([0.2], [draws])
    assert (alone.low, alone.high) == pytest.approx((0.2 - 0.098, 0.2 + 0.098), abs=0.005)
    many = subgroups.simultaneous([0.2] * 40, [rng.normal(0.2, 0.05, size=4000) for _ in range(40)])
    # Of 40 independent |t| the largest is under 3.22 in 95% of the cases.
    assert many[0].high - 0.2 == pytest.approx(3.22 * 0.05, rel=0.06)
    (nothing,) = subgroups.simultaneous([0.0], [np.zeros(50)])
    assert not nothing.is_defined
    (rare,) = subgroups.simultaneous([0.2], [np.where(np.arange(50) < 30, np.nan, draws[:50])])
    assert not rare.is_defined
    assert rare.n_dropped == 30


def test_replicates_are_the_draws_of_the_bootstrap():
    y, groups = np.arange(40) % 2, np.arange(40) // 3

    def kernel(tally):
        return tally(y, 2) / tally(np.zeros(40, dtype=int), 1)

    found = bootstrap.replicates(kernel, groups, 40, n_resamples=100)
    assert found.sample.tolist() == [0.5, 0.5]
    for code, interval in enumerate(found.intervals()):
        share = (y == code).astype(float)
        expected = bootstrap.bootstrap_metric("mean", None, share, groups, n_resamples=100)
        bounds = (interval.estimate, interval.low, interval.high, interval.n_clusters)
        assert bounds == (expected.estimate, expected.low, expected.high, expected.n_clusters)
    with pytest.raises(UserError, match="n_resamples is 0"):
        bootstrap.replicates(kernel, groups, 40, n_resamples=0)

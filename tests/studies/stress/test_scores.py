"""Scores under conditions: against scikit-learn and by hand."""

import fake_runs
import numpy as np
import pytest
from sklearn import metrics as sk

from dermssl.core import taxonomy as taxonomies
from dermssl.evaluation import bootstrap, hypothesis_tests
from dermssl.studies.stress import scores

FLAT = taxonomies.flat(("a", "b"))


def certain(classes, k):
    return np.eye(k)[classes] * 0.9 + 0.1 / k


@pytest.fixture(scope="module")
def scored():
    table = fake_runs.records(n=300)
    y = np.array([fake_runs.HAM.fine.index(name) for name in table["fine"]])
    p = {"clean": fake_runs.simulate(table, 2.0), "hair": fake_runs.simulate(table, 0.5, seed=1)}
    p = {name: values.astype(float) for name, values in p.items()}
    p = {name: values / values.sum(1, keepdims=True) for name, values in p.items()}
    groups = table["lesion_id"].to_numpy()
    return y, p, groups, scores.score(y, p, groups, fake_runs.HAM, "clean", 200)


def test_scores_equal_sklearn_and_the_paired_bootstrap(scored):
    y, p, groups, (clean, hair) = scored
    before, now = p["clean"].argmax(1), p["hair"].argmax(1)
    assert clean.balanced_accuracy.estimate == pytest.approx(sk.balanced_accuracy_score(y, before))
    assert hair.balanced_accuracy.estimate == pytest.approx(sk.balanced_accuracy_score(y, now))
    assert hair.drop.estimate == pytest.approx(
        clean.balanced_accuracy.estimate - hair.balanced_accuracy.estimate
    )
    assert hair.drop == bootstrap.paired_difference(
        "balanced_accuracy", y, p["clean"], p["hair"], groups, n_resamples=200, level=0.975
    )
    assert hair.sensitivity_drop.level == 0.975  # two drops, one family
    assert hair.balanced_accuracy.level == hair.flips.level == 0.95
    assert hair.drop.n_clusters == 150
    assert hair.flips.estimate == pytest.approx((before != now).mean())
    assert (clean.drop, clean.flips, clean.sensitivity_drop) == (None, None, None)


def test_malignant_sensitivity_by_hand(scored):
    y, p, _, (clean, hair) = scored
    malignant = np.array([kind == "malignant" for kind in fake_runs.HAM.malignancy])
    for name, score in (("clean", clean), ("hair", hair)):
        found = malignant[p[name].argmax(1)][malignant[y]]
        assert score.sensitivity.estimate == pytest.approx(found.mean())
    expected = clean.sensitivity.estimate - hair.sensitivity.estimate
    assert hair.sensitivity_drop.estimate == pytest.approx(expected)


def test_without_the_axis_there_is_no_sensitivity():
    y = np.array([0, 1] * 10)
    p = {"clean": certain(y, 2), "other": certain(np.zeros(20, int), 2)}
    clean, other = scores.score(y, p, None, FLAT, "clean", 50)
    assert clean.sensitivity is None
    assert other.sensitivity_drop is None
    assert (other.gains, other.gain) == ("a", 0.5)
    assert other.flips.estimate == 0.5
    assert other.drop.estimate == 0.5


def test_without_any_change_there_is_no_interval():
    y = np.array([0, 1, 1, 0, 1])
    p = certain(np.array([0, 1, 0, 0, 1]), 2)
    score = scores.score(y, {"clean": p, "same": p}, None, FLAT, "clean", 50)[1]
    assert score.drop.estimate == 0
    assert not score.drop.is_defined  # how far they would differ elsewhere isn't known
    assert score.gains is None
    assert score.flips.estimate == 0


def test_chance_counts_the_classes_that_have_records():
    assert hypothesis_tests.chance(np.array([0, 0, 3, -1])) == 0.5
    assert np.isnan(hypothesis_tests.chance(np.array([-1])))


def test_a_perfect_score_has_a_lower_bound():
    y = np.repeat([0, 1], [10, 40])
    found = bootstrap.bootstrap_metric("balanced_accuracy", y, certain(y, 2), n_resamples=500)
    assert found.estimate == 1
    assert 0.7 < found.low < 0.98


def test_one_lesion_of_a_class_shows_nothing():
    # In every draw that holds it its recall is 1: a bootstrap doesn't know that it is one.
    y = np.repeat([0, 1], [1, 50])
    p = certain(np.where(np.arange(51) % 5 < 3, y, 1 - y), 2)
    assert bootstrap.bootstrap_metric("balanced_accuracy", y, p, n_resamples=500).low < 0.5


def test_two_patients_show_nothing_however_many_photos_they_have():
    y = np.repeat([0, 1], 30)
    p = certain(y, 2)
    found = bootstrap.bootstrap_metric("balanced_accuracy", y, p, groups=y, n_resamples=500)
    assert not found.low >= 0.5
    assert bootstrap.bootstrap_metric("balanced_accuracy", y, p, n_resamples=500).low > 0.5


def test_conditions_without_effect_are_seldom_named():
    """Eight conditions that only shuffle answers, as the audit drew them (STRESS, h)."""
    named, repetitions = 0, 40
    for seed in range(repetitions):
        rng = np.random.default_rng([seed, 5])
        y = np.repeat(np.arange(4), (120, 50, 20, 10))
        hits = rng.normal(size=(200, 1)) + rng.normal(size=(200, 9)) > -0.5
        answers = np.where(hits, y[:, None], (y[:, None] + 1) % 4)
        p = {f"c{k}": certain(answers[:, k], 4) for k in range(9)}
        found = scores.score(y, p, None, taxonomies.flat(tuple("abcd")), "c0", 1000)
        named += any(one.drop.excludes_zero for one in found[1:])
    assert named <= 6  # 5% of 40 is 2; more than 6 has a chance of 0.3% at 5%

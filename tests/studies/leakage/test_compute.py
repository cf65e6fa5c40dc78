"""The inflation by twins: found where it is planted, not found where it isn't."""

import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.studies.leakage import compute


def lesions(n, photos, seed=0):
    """Group and class of each photo: `n` lesions, three classes, `photos` photos each."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    counts = np.resize(photos, n)
    groups = np.repeat(np.arange(n), counts)
    return groups, rng.integers(0, 3, n)[groups], rng


def balanced(rows, subset):
    (found,) = (r for r in rows if (r["subset"], r["metric"]) == (subset, "balanced_accuracy"))
    return found


def test_a_plan_tests_every_group_once_and_keeps_the_sizes():
    groups, labels, _ = lesions(60, [1, 3, 2])
    for seed in (0, 1):
        folds = compute.plan(labels, groups, 5, seed)
        tested = np.concatenate([fold.test for fold in folds])
        assert sorted(groups[tested]) == list(range(60))
        for fold in folds:
            inside = np.isin(groups, groups[fold.test])
            assert set(fold.clean) == set(np.flatnonzero(~inside))
            twins = np.setdiff1d(fold.leaky, fold.clean)
            assert set(twins) == set(np.flatnonzero(inside)) - set(fold.test)
            assert len(twins) > 0
            assert not set(fold.test) & set(fold.leaky)
            assert len(fold.leaky) == len(fold.clean) == len(set(fold.leaky))
            np.testing.assert_array_equal(
                np.bincount(labels[fold.leaky]), np.bincount(labels[fold.clean])
            )
    first, second = (compute.plan(labels, groups, 5, seed)[0].test for seed in (0, 1))
    assert set(first) != set(second)
    again = compute.plan(labels, groups, 5, 0)
    assert all(
        (a.leaky == b.leaky).all() for a, b in zip(again, compute.plan(labels, groups, 5, 0))
    )


def test_a_class_is_never_emptied():
    groups, labels = np.array([0, 0, 0, 1, 2, 3, 4, 5]), np.array([1, 1, 1, 1, 0, 0, 0, 0])
    for fold in compute.plan(labels, groups, 2, 0):
        assert len(fold.leaky) == len(fold.clean)
        assert set(labels[fold.leaky]) >= set(labels[fold.clean])


def test_nothing_of_a_tested_patient_is_in_the_clean_training_set():
    groups, labels, _ = lesions(60, [1, 3, 2])
    patients = np.arange(60) // 3
    for fold in compute.plan(labels, groups, 5, 0, patients):
        tested = set(patients[groups[fold.test]])
        assert not tested & set(patients[groups[fold.clean]])
        assert tested & set(patients[groups[fold.leaky]])
    plain, alone = (compute.plan(labels, groups, 5, 0, each) for each in (None, np.arange(60)))
    assert all((a.leaky == b.leaky).all() for a, b in zip(plain, alone))


def test_planted_twins_inflate():
    """Twins are all but equal and the class is a coin's toss: only memory can tell it."""
    groups, labels, rng = lesions(150, [1, 2, 2])
    features = rng.normal(size=(150, 40))[groups] + rng.normal(0, 0.01, (len(groups), 40))
    predicted = compute.predict(features, labels, groups, n_folds=3, seeds=(0, 1))
    rows = compute.score(predicted, n_resamples=200)
    twins, every = balanced(rows, "with twins"), balanced(rows, "all")
    assert twins["n"] == 100
    assert every["n"] == 150
    assert twins["inflation"].low > 0.15
    assert every["inflation"].low > 0
    assert twins["inflation"].estimate > every["inflation"].estimate
    chance = twins["clean"]
    assert chance.low < 1 / 3 < chance.high
    assert twins["inflation"].estimate == pytest.approx(
        twins["leaky"].estimate - twins["clean"].estimate
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_features_without_a_lesion_do_not_inflate(seed):
    groups, labels, rng = lesions(150, [1, 2, 3], seed)
    features = rng.normal(size=(len(groups), 20))
    features[:, 0] += labels  # the class can be told, the lesion not
    predicted = compute.predict(features, labels, groups, n_folds=3, seeds=(0, 1))
    found = balanced(compute.score(predicted, n_resamples=200), "with twins")
    assert found["inflation"].low < 0 < found["inflation"].high
    assert found["clean"].low > 1 / 3


def test_too_few_folds():
    with pytest.raises(UserError, match=r"leakage\.folds 1"):
        compute.predict(np.zeros((4, 1)), np.array([0, 1, 0, 1]), np.arange(4), n_folds=1)

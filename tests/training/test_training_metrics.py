"""The metrics of fine-tuning against scikit-learn; records without a label count nowhere."""

import itertools

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from dermssl.training.metrics import BalancedAccuracy, KnownAccuracy


def batches(n=60, classes=5, seed=0, absent=()):
    """Labels with a third unknown, logits that lean to the label, in uneven batches."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([k for k in range(classes) if k not in absent], size=n)
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), labels] += 0.8
    labels[::3] = -1
    cuts = [0, 7, 31, n]
    return labels, logits, [slice(a, b) for a, b in itertools.pairwise(cuts)]


@pytest.mark.filterwarnings("ignore:y_pred contains classes")  # they don't count
@pytest.mark.parametrize("absent", [(), (0,), (1, 4)])
@pytest.mark.parametrize(
    ("metric", "official"),
    [(KnownAccuracy(), accuracy_score), (BalancedAccuracy(5), balanced_accuracy_score)],
)
def test_equals_scikit_learn_over_batches(metric, official, absent):
    labels, logits, parts = batches(absent=absent)
    known = labels >= 0
    metric.reset_state()
    for part in parts:
        metric.update_state(labels[part], logits[part])
    expected = official(labels[known], logits[known].argmax(axis=1))
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
    assert 0.2 < expected < 0.9


@pytest.mark.parametrize("metric", [KnownAccuracy(), BalancedAccuracy(3)])
def test_without_a_known_label(metric):
    assert float(metric.result()) == 0
    metric.update_state(np.array([-1, -1]), np.zeros((2, 3)))
    assert float(metric.result()) == 0


def test_balanced_accuracy_by_hand():
    metric = BalancedAccuracy(3)
    logits = np.eye(3)[[0, 0, 0, 1]]
    metric.update_state(np.array([0, 0, 1, 1]), logits)  # recalls 1 and 1/2; class 2 is absent
    assert float(metric.result()) == pytest.approx(0.75)
    metric.reset_state()
    metric.update_state(np.array([2]), np.eye(3)[[2]])
    assert float(metric.result()) == 1


@pytest.mark.parametrize("metric", [KnownAccuracy(name="a"), BalancedAccuracy(4, name="b")])
def test_columns_weights_and_config(metric):
    labels, logits, _ = batches(classes=4)
    metric.reset_state()
    metric.update_state(labels, logits)
    expected = float(metric.result())
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.name == metric.name
    again.update_state(labels[:, None], logits)
    assert float(again.result()) == expected > 0


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize(
    ("metric", "official"),
    [(KnownAccuracy(), accuracy_score), (BalancedAccuracy(5), balanced_accuracy_score)],
)
def test_a_record_counts_by_its_weight(metric, official):
    labels, logits, parts = batches()
    known, weights = labels >= 0, np.random.default_rng(1).uniform(0, 3, size=len(labels))
    metric.reset_state()
    for part in parts:
        metric.update_state(labels[part], logits[part], sample_weight=weights[part])
    guess = logits[known].argmax(axis=1)
    expected = official(labels[known], guess, sample_weight=weights[known])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)
    metric.reset_state()
    metric.update_state(labels, logits, sample_weight=weights[:, None])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)

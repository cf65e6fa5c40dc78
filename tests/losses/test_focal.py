"""Focal loss against Keras's own, its closed form, and its edge cases."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from dermssl.losses.focal import SparseFocalLoss, balanced_weights, first_label

ALPHA = [0.5, 2.0, 1.0, 0.25]


def batch(n=12, classes=4, seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n, classes)).astype(np.float32)
    return rng.integers(classes, size=n), logits


def gradient(loss, labels, logits):
    logits = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(labels, logits)
    return float(value), tape.gradient(value, logits).numpy()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.5])
def test_equals_keras_with_one_hot_labels(gamma):
    labels, logits = batch()
    twin = keras.losses.CategoricalFocalCrossentropy(alpha=ALPHA, gamma=gamma, from_logits=True)
    expected = float(twin(np.eye(4)[labels], logits))
    assert float(SparseFocalLoss(gamma, ALPHA)(labels, logits)) == pytest.approx(expected, rel=1e-5)


def test_closed_form():
    # Two equal logits: p = 1/2.
    loss = SparseFocalLoss(gamma=2.0)
    assert float(loss([0], [[0.0, 0.0]])) == pytest.approx(0.25 * np.log(2), rel=1e-6)
    # p = 0.8 of class 1, alpha 3, gamma 1.
    logits = np.log([[0.2, 0.8]]).astype(np.float32)
    loss = SparseFocalLoss(gamma=1.0, alpha=[1.0, 3.0])
    assert float(loss([1], logits)) == pytest.approx(-3 * 0.2 * np.log(0.8), rel=1e-5)


def test_gamma_0_is_cross_entropy_and_so_is_its_gradient():
    labels, logits = batch()
    twin = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    value, slope = gradient(SparseFocalLoss(gamma=0.0), labels, logits)
    expected, expected_slope = gradient(twin, labels, logits)
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(slope, expected_slope, atol=1e-7)


def test_a_larger_gamma_turns_from_the_easy_records():
    easy, hard = [[4.0, 0.0]], [[0.0, 1.0]]
    share = [
        float(SparseFocalLoss(gamma)([0], easy)) / float(SparseFocalLoss(gamma)([0], hard))
        for gamma in (0.0, 1.0, 2.0)
    ]
    assert share[0] > 5 * share[1] > 25 * share[2]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_unknown_labels_teach_nothing(gamma):
    labels, logits = batch()
    labels[::3] = -1
    loss = SparseFocalLoss(gamma, ALPHA)
    value, slope = gradient(loss, labels, logits)
    assert (slope[::3] == 0).all()
    assert (np.abs(slope[labels >= 0]).max(axis=1) > 0).all()
    # The mean is over the batch, the unknown records with it.
    known = labels >= 0
    assert value == pytest.approx(float(loss(labels[known], logits[known])) * known.mean())
    assert float(loss(np.full(3, -1), logits[:3])) == 0


def test_sample_weights():
    labels, logits = batch(n=4)
    weights = np.array([0.0, 1.0, 2.0, 0.5], np.float32)
    each = np.asarray(SparseFocalLoss(2.0, ALPHA, reduction="none")(labels, logits))
    found = float(SparseFocalLoss(2.0, ALPHA)(labels, logits, sample_weight=weights))
    assert found == pytest.approx((each * weights).sum() / 4, rel=1e-6)


def test_labels_may_be_a_column():
    labels, logits = batch()
    loss = SparseFocalLoss(2.0, ALPHA)
    assert float(loss(labels[:, None], logits)) == pytest.approx(float(loss(labels, logits)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 2.5])
@pytest.mark.parametrize("size", [20.0, 1e4, 1e30])
@pytest.mark.parametrize("label", [0, 1, -1])
def test_extreme_logits_stay_finite(gamma, size, label):
    value, slope = gradient(SparseFocalLoss(gamma), [label], np.array([[size, -size, 0.0]], "f4"))
    assert np.isfinite(value)
    assert value >= 0
    assert np.isfinite(slope).all()


def test_half_precision_logits():
    labels, logits = batch()
    loss = SparseFocalLoss(2.0, ALPHA)
    found = loss(labels, logits.astype(np.float16))
    assert float(found) == pytest.approx(float(loss(labels, logits)), rel=2e-3)


def test_config_round_trip():
    labels, logits = batch()
    loss = SparseFocalLoss(1.5, ALPHA, name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is SparseFocalLoss
    assert (again.gamma, again.alpha, again.name) == (1.5, ALPHA, "mine")
    assert float(again(labels, logits)) == float(loss(labels, logits))
    assert SparseFocalLoss.from_config(SparseFocalLoss().get_config()).alpha is None


def test_balanced_weights_are_scikit_learn_s():
    labels = np.array([0, 0, 0, 0, 1, 1, 3])
    weights = balanced_weights(np.concatenate([labels, [-1, -1]]), 4)
    present = np.array([0, 1, 3])
    expected = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(weights[present], expected)
    assert weights[2] == 0
    assert weights[labels].mean() == pytest.approx(1)


def test_balanced_weights_without_a_label():
    assert balanced_weights(np.array([-1, -1]), 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("alpha", [None, [0.5, 1.5, 2.0]])
def test_two_labels_with_shares_are_the_loss_of_the_soft_label(gamma, alpha):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(6, 3)).astype("float32")
    first, second, share = rng.integers(0, 3, 6), rng.integers(0, 3, 6), rng.uniform(0.5, 1, 6)
    mixed = np.stack([first, share, second, 1 - share], axis=1).astype("float32")
    soft = share[:, None] * np.eye(3)[first] + (1 - share[:, None]) * np.eye(3)[second]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    want = (soft * (alpha or [1] * 3) * -((1 - p) ** gamma) * np.log(p)).sum(axis=1)
    loss = SparseFocalLoss(gamma, alpha, reduction=None)
    np.testing.assert_allclose(loss(mixed, logits), want, rtol=1e-5)
    certain = np.stack([first, np.ones(6), second, np.zeros(6)], axis=1).astype("float32")
    np.testing.assert_allclose(loss(certain, logits), loss(first, logits), rtol=1e-6)
    mixed[:, 2] = -1  # of an unknown label nothing is learnt, of the other its share
    np.testing.assert_allclose(loss(mixed, logits), share * loss(first, logits), rtol=1e-5)
    np.testing.assert_array_equal(first_label(mixed), first)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_keras_cv_agrees_on_two_classes_of_its_own(gamma):
    """Keras-CV's is of sigmoids: with logits (0, x) softmax is one, class by class."""
    losses = pytest.importorskip("keras_cv", reason="the extra is not installed").losses
    x = np.linspace(-4, 4, 9, dtype=np.float32)[:, None]
    y = (np.arange(9) % 2)[:, None].astype(np.float32)
    theirs = losses.FocalLoss(alpha=0.5, gamma=gamma, from_logits=True, reduction="sum")(y, x)
    ours = SparseFocalLoss(gamma=gamma, reduction="sum")(y[:, 0], np.hstack([0 * x, x]))
    assert float(ours) == pytest.approx(2 * float(theirs), rel=1e-4)

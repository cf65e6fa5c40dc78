"""Freezing: the traps of Keras, what a depth reaches, and what training then moves."""

import keras
import numpy as np
import pytest
from keras import layers

from dermssl.core import taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone
from dermssl.models import backbones, classifier, freezing

FLAT = taxonomy.flat(["a", "b"])
slow = pytest.mark.slow


def backbone(name="cnn", size=32):
    return backbones.build(Backbone(name=name, image_size=size))


@pytest.fixture(scope="module")
def cnn():
    return backbone()


def trainable(model):
    return {layer.name for layer in model.layers if layer.trainable_weights}


def values(model):
    """Weights by layer, copied."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def moved(before, after):
    """Names of the layers of which any weight changed."""
    return {
        name
        for name, old in before.items()
        if any((a != b).any() for a, b in zip(old, after[name]))
    }


def fit(model, steps=3):
    """A few steps of plain training, compiled anew."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, size=(8 * steps, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(2, size=8 * steps)
    model.compile(
        keras.optimizers.Adam(1e-2),
        {
            level: keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            for level in ("fine", "coarse")
        },
    )
    model.fit(images, {"fine": labels, "coarse": labels}, batch_size=8, verbose=0)


def test_all_and_none(cnn):
    everything = {layer.name for layer in cnn.layers if layer.weights}
    assert set(freezing.set_depth(cnn, -1).trainable) == trainable(cnn) == everything
    assert freezing.set_depth(cnn, 0) == freezing.Manifest((), (), 0)
    assert trainable(cnn) == set()


def test_every_change_of_depth_takes_hold(cnn):
    # Keras's `trainable = True` is a no-op where it is True already, and an outer False
    # silences inner Trues.
    found = [freezing.set_depth(cnn, depth) for depth in (-1, 0, 3, -1, 6, 0, -1)]
    assert found[0] == found[3] == found[6]
    assert found[1] == found[5]
    assert set(found[2].trainable) < set(found[4].trainable) < set(found[0].trainable)
    for layer in cnn.layers:  # by hand, one by one
        layer.trainable = False
    assert freezing.set_depth(cnn, -1) == found[0]
    cnn.trainable = False
    assert freezing.set_depth(cnn, 3) == found[2]
    assert {weight.path for weight in cnn.trainable_weights} == {
        weight.path for layer in cnn.layers for weight in layer.trainable_weights
    }


def test_layers_are_counted_without_the_pooling(cnn):
    # ... stage4b_conv, stage4b_bn, stage4b_relu, embedding
    assert freezing.set_depth(cnn, 1).trainable == ()
    assert freezing.set_depth(cnn, 2).trainable == ("stage4b_bn",)
    made = freezing.set_depth(cnn, 3)
    assert made.trainable == ("stage4b_conv", "stage4b_bn")
    assert made.kernels == ("stage4b_conv",)
    assert made.parameters == 3 * 3 * 256 * 256 + 2 * 256


def test_kernels_are_counted_with_their_batchnorm(cnn):
    assert freezing.set_depth(cnn, 1, unit="kernels").trainable == ("stage4b_conv", "stage4b_bn")
    made = freezing.set_depth(cnn, 8, unit="kernels")
    assert len(made.kernels) == 8
    assert made == freezing.set_depth(cnn, -1)


@pytest.mark.parametrize(
    ("name", "size", "layers_to_kernel"),
    [
        ("mobilenet", 32, 3),
        pytest.param("resnet50", 32, 4, marks=slow),
        pytest.param("densenet121", 32, 4, marks=slow),
        pytest.param("inceptionv3", 75, 12, marks=slow),
        pytest.param("efficientnetb1", 32, 3, marks=slow),
    ],
)
def test_the_depth_at_which_the_first_kernel_trains(name, size, layers_to_kernel):
    model = backbone(name, size)
    assert freezing.set_depth(model, layers_to_kernel - 1).kernels == ()
    assert len(freezing.set_depth(model, layers_to_kernel).kernels) == 1
    assert len(freezing.set_depth(model, 1, unit="kernels").kernels) == 1
    if name == "inceptionv3":  # BatchNorm alone, at the depth of ten in the seed experiments
        assert freezing.set_depth(model, 10).parameters == 192


def test_frozen_batchnorm_policy(cnn):
    made = freezing.set_depth(cnn, -1, batchnorm="frozen")
    assert len(made.kernels) == 8
    assert set(made.trainable) == set(made.kernels)


@pytest.mark.parametrize("depth", [-2, 26, 1000])
def test_depth_beyond_the_backbone(cnn, depth):
    count = len([layer for layer in cnn.layers if layer.name != "embedding"])
    assert freezing.set_depth(cnn, count) == freezing.set_depth(cnn, -1)
    wrong = count + 1 if depth == 26 else depth
    with pytest.raises(UserError, match=f"finetune.depth {wrong} is beyond .* has {count} layers"):
        freezing.set_depth(cnn, wrong)
    with pytest.raises(UserError, match="has 8 kernels; use 0 to 8, or -1"):
        freezing.set_depth(cnn, 9, unit="kernels")


def test_a_refused_depth_changes_nothing(cnn):
    before = freezing.set_depth(cnn, 3)
    with pytest.raises(UserError):
        freezing.set_depth(cnn, 99)
    assert freezing.manifest(cnn) == before


def test_separable_kernels_count():
    inputs = keras.Input((8, 8, 3))
    outputs = layers.SeparableConv2D(4, 3, name="separable")(inputs)
    model = keras.Model(inputs, layers.BatchNormalization(name="bn")(outputs))
    assert freezing.set_depth(model, -1).kernels == ("separable",)


@pytest.mark.parametrize(
    ("depth", "batchnorm"),
    [
        (3, "train"),
        (-1, "frozen"),
        pytest.param(0, "train", marks=slow),
        pytest.param(-1, "train", marks=slow),
        pytest.param(3, "frozen", marks=slow),
    ],
)
def test_training_moves_what_the_manifest_says(depth, batchnorm):
    # Twice on one model: a second phase must reach what the first left frozen, and no more.
    model = classifier.LesionClassifier(backbone(), FLAT, dropout=0.0)
    part = model.backbone
    for policy in (0, depth):
        made = freezing.set_depth(part, policy, batchnorm=batchnorm)
        before, head = values(part), model.get_layer("fine").get_weights()
        fit(model)
        assert moved(before, values(part)) == set(made.trainable)
        assert (head[0] != model.get_layer("fine").get_weights()[0]).any()
    norms = [layer.name for layer in part.layers if isinstance(layer, layers.BatchNormalization)]
    after = values(part)
    for name in norms:
        active = name in made.trainable
        statistics = [(a != b).any() for a, b in zip(before[name][2:], after[name][2:])]
        assert statistics == [active, active]


def test_weights_keep_their_order_when_frozen(cnn):
    # The best weights of one phase are set in the next, with other layers frozen.
    freezing.set_depth(cnn, -1)
    before = cnn.get_weights()
    freezing.set_depth(cnn, 3, batchnorm="frozen")
    for old, new in zip(before, cnn.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

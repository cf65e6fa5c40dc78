"""Grad-CAM against a net whose map is known in closed form, and over every backbone."""

import keras
import numpy as np
import pytest
from keras import layers

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone
from dermssl.models import backbones, classifier, grad_cam

HAM = taxonomies.load("ham10000")
NAMES = [
    pytest.param(name, marks=() if name in ("cnn", "mobilenet") else pytest.mark.slow)
    for name in backbones.BACKBONES
    if name != "mlp"
]


def photos(n=2, size=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(n, size, size, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def by_hand():
    """Features are the three colours averaged over 2 x 2 cells; known dense weights on top."""
    inputs = keras.Input((8, 8, 3), name="image")
    features = layers.AveragePooling2D(2)(inputs)
    pooled = layers.GlobalAveragePooling2D(name="embedding")(features)
    model = classifier.LesionClassifier(keras.Model(inputs, pooled, name="backbone"), HAM)
    kernel = np.random.default_rng(1).normal(size=(3, 7)).astype(np.float32) / 100
    model.get_layer("fine").set_weights([kernel, np.linspace(-1, 1, 7, dtype=np.float32)])
    return model, kernel


def cells(images):
    return images.reshape(len(images), 4, 2, 4, 2, 3).mean(axis=(2, 4))


def scaled(maps):
    maps = np.maximum(maps, 0)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def test_fine_map_in_closed_form(by_hand):
    # logit_c = sum_k w_kc mean(A_k) + b_c, so the map is relu(sum_k w_kc A_k) up to its scale.
    model, kernel = by_hand
    images = photos(7)
    found = grad_cam.heat_maps(model, images, range(7), "fine", batch_size=3)
    expected = scaled(np.einsum("nhwk,kn->nhw", cells(images), kernel))
    assert found.shape == (7, 4, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(expected)) > 30  # else equality would say nothing


def test_the_embedding_comes_with_the_map_of_the_likeliest_class(by_hand):
    model, kernel = by_hand
    images = photos(9) * np.random.default_rng(1).uniform(size=(9, 1, 1, 3)).astype(np.float32)
    h, maps = grad_cam.with_embedding(model, images)
    np.testing.assert_allclose(h, images.mean(axis=(1, 2)), rtol=1e-5)
    likeliest = (np.asarray(h) @ kernel + np.linspace(-1, 1, 7)).argmax(axis=1)
    assert len(set(likeliest)) > 1
    np.testing.assert_allclose(maps, grad_cam.heat_maps(model, images, likeliest), atol=1e-6)


def test_coarse_map_in_closed_form(by_hand):
    # d log P(group) / d logit_j = P(j | group) - P(j), the first 0 outside the group.
    model, kernel = by_hand
    images = photos(4, seed=3)
    logits = {k: np.asarray(v) for k, v in model(images, training=False).items()}
    p, p_coarse = classifier.probabilities(logits, HAM).values()
    inside = HAM.matrix.T  # (group, fine); photo n is explained for group n
    slope = inside * p / p_coarse[range(4), range(4)][:, None] - p
    expected = scaled(np.einsum("nhwk,kj,nj->nhw", cells(images), kernel, slope))
    found = grad_cam.heat_maps(model, images, range(4), "coarse")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.max() == 1


def test_coarse_map_of_an_independent_head(by_hand):
    backbone = by_hand[0].backbone
    model = classifier.LesionClassifier(backbone, HAM, head="independent")
    kernel = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32) / 100
    model.get_layer("coarse").set_weights([kernel, np.zeros(4, np.float32)])
    images = photos(4, seed=4)
    p = model.predict_proba(images)["coarse"]
    expected = scaled(np.einsum("nhwk,kj,nj->nhw", cells(images), kernel, np.eye(4) - p))
    found = grad_cam.heat_maps(model, images, range(4), "coarse")
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_class_that_nothing_speaks_for_has_an_empty_map(by_hand):
    model, kernel = by_hand
    try:
        model.get_layer("fine").kernel.assign(-np.abs(kernel))
        found = grad_cam.heat_maps(model, photos(2), [0, 1])
    finally:
        model.get_layer("fine").kernel.assign(kernel)
    assert found.shape == (2, 4, 4)
    assert not found.any()


def test_the_map_finds_the_only_place_that_matters(by_hand):
    model, kernel = by_hand
    images = np.zeros((1, 8, 8, 3), np.float32)
    images[0, 4:6, 2:4, np.argmax(kernel[:, 0])] = 200
    (found,) = grad_cam.heat_maps(model, images, [0])
    assert np.unravel_index(found.argmax(), found.shape) == (2, 1)
    assert found.sum() == 1


def test_no_photo(by_hand):
    assert grad_cam.heat_maps(by_hand[0], np.zeros((0, 8, 8, 3)), []).shape == (0, 4, 4)


def test_what_is_refused(by_hand):
    with pytest.raises(UserError, match="choose one of: fine, coarse"):
        grad_cam.heat_maps(by_hand[0], photos(), [0, 0], "both")
    with pytest.raises(ValueError, match="don't go together"):
        grad_cam.heat_maps(by_hand[0], photos(), [0])
    mlp = backbones.build(Backbone(name="mlp", image_size=16))
    with pytest.raises(UserError, match="no spatial map"):
        grad_cam.heat_maps(classifier.LesionClassifier(mlp, HAM), photos(size=16), [0, 0])


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_has_a_map_at_both_levels(name):
    size = backbones.BACKBONES[name].min_size
    keras.utils.set_random_seed(0)
    backbone = backbones.build(Backbone(name=name, image_size=size))
    model = classifier.LesionClassifier(backbone, HAM)
    # The last layer before the pooling, and nothing earlier: its channels are the embedding's.
    assert grad_cam.spatial(model).shape[-1] == backbone.output.shape[-1]
    images, before = photos(size=size), model.get_weights()
    for level, k in (("fine", [0, 6]), ("coarse", [1, 3])):
        found = grad_cam.heat_maps(model, images, k, level)
        assert found.shape == (2, *grad_cam.spatial(model).shape[1:3])
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_random_weights_change_the_map_and_are_put_back():
    # Adebayo et al. (2018): a map that survives this would show edges, not what was learnt.
    keras.utils.set_random_seed(0)
    backbone = backbones.build(Backbone(name="cnn", image_size=96))
    model = classifier.LesionClassifier(backbone, HAM)
    images, before, classes = photos(8, 96), model.get_weights(), np.arange(8) % 7
    images[:, 30:60, 20:70] /= 4
    trained = grad_cam.heat_maps(model, images, classes)
    again = grad_cam.heat_maps(model, images, classes)
    np.testing.assert_array_equal(trained, again)
    np.testing.assert_allclose(grad_cam.rank_correlation(trained, again), 1)
    with grad_cam.randomized_weights(model, seed=1):
        maps = grad_cam.heat_maps(model, images, classes)
        one = model.get_weights()
    with grad_cam.randomized_weights(model, seed=1):
        for weight, other in zip(one, model.get_weights()):
            np.testing.assert_array_equal(weight, other)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert np.nanmean(grad_cam.rank_correlation(trained, maps)) < 0.5


def test_likeness_by_hand():
    ramp = np.arange(6.0).reshape(1, 2, 3)
    assert grad_cam.rank_correlation(ramp, ramp**3) == [1]
    assert grad_cam.rank_correlation(ramp, -ramp) == [-1]
    assert np.isnan(grad_cam.rank_correlation(ramp, np.zeros((1, 2, 3))))


@pytest.mark.slow
def test_mixed_precision(restored_policy):
    config = Backbone(name="cnn", image_size=32, precision="mixed_float16")
    keras.utils.set_random_seed(0)
    backbones.use_precision(config)
    half = classifier.LesionClassifier(backbones.build(config), HAM)
    keras.config.set_dtype_policy("float32")
    full = classifier.LesionClassifier(backbones.build(Backbone(name="cnn", image_size=32)), HAM)
    full.set_weights(half.get_weights())
    images = photos(2, 32)
    found, expected = (grad_cam.heat_maps(m, images, [0, 1]) for m in (half, full))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.02)

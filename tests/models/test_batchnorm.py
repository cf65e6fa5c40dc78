"""BatchNorm statistics of new photos: against NumPy, and nothing else changes."""

import keras
import numpy as np
import pytest
from keras import layers

import dermssl
from dermssl.core.errors import UserError
from dermssl.models import batchnorm


def batches(n=96, size=16, seed=0, batch=32):
    rng = np.random.default_rng(seed)
    photos = rng.uniform(0, 255, (n, size, size, 3)).astype("float32")
    photos *= np.linspace(0.2, 1, n, dtype="float32")[:, None, None, None]  # batches differ
    return photos, [photos[k : k + batch] for k in range(0, n, batch)]


def test_first_layer_has_the_mean_and_variance_of_all_photos():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, layers.BatchNormalization()(layers.Dropout(0.5)(inputs)))
    photos, parts = batches()
    assert batchnorm.adapt(model, parts) == 96
    norm = model.layers[-1]
    np.testing.assert_allclose(norm.moving_mean, photos.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, photos.var(axis=(0, 1, 2)), rtol=1e-4)
    assert model.layers[1].rate == 0.5
    assert norm.momentum == 0.99


def test_photos_that_it_knows_change_little_and_weights_not_at_all():
    backbone = dermssl.Backbone("cnn", image_size=32)
    norms = batchnorm.norm_layers(backbone)
    assert len(norms) > 2
    held = {id(v) for n in norms for v in (n.moving_mean, n.moving_variance)}
    before = [keras.ops.convert_to_numpy(w) for w in backbone.weights if id(w) not in held]
    _, parts = batches(64, 32)
    batchnorm.adapt(backbone, parts)
    first = [keras.ops.convert_to_numpy(n.moving_mean) for n in norms]
    batchnorm.adapt(backbone, parts)  # statistics don't depend on those that were there
    for norm, mean in zip(norms, first):
        np.testing.assert_allclose(norm.moving_mean, mean, atol=1e-5)
    after = [keras.ops.convert_to_numpy(w) for w in backbone.weights if id(w) not in held]
    assert all(np.array_equal(a, b) for a, b in zip(before, after))


def test_a_frozen_layer_is_adapted_and_stays_frozen():
    backbone = dermssl.Backbone("cnn", image_size=32)
    for layer in backbone.layers:
        layer.trainable = False
    batchnorm.adapt(backbone, batches(64, 32)[1])
    norm = batchnorm.norm_layers(backbone)[0]
    assert np.abs(keras.ops.convert_to_numpy(norm.moving_mean)).max() > 0
    assert not norm.trainable


def test_what_is_refused_leaves_the_model_as_it_was():
    backbone = dermssl.Backbone("cnn", image_size=32)
    before = [keras.ops.convert_to_numpy(w) for w in backbone.weights]
    with pytest.raises(UserError, match="31 photos to adapt to; BatchNorm statistics need at"):
        batchnorm.adapt(backbone, [batches(31, 32)[0]])
    assert all(np.array_equal(a, b) for a, b in zip(before, backbone.get_weights()))
    with pytest.raises(UserError, match="no BatchNorm"):
        batchnorm.adapt(dermssl.Backbone("mlp", image_size=32), batches(64, 32)[1])

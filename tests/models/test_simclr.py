"""SimCLR: one pass over both views, the right loss, the right update in half precision."""

import keras
import numpy as np
import pytest
from keras import layers

from dermssl.losses.nt_xent import NTXent, contrastive_statistics, nt_xent, pair_logits
from dermssl.models import simclr


def backbone(size=8, norm=False, seed=0):
    """A network of a few thousand weights, enough to tell a few records apart."""
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    start = keras.initializers.HeNormal(seed)
    x = layers.Conv2D(16, 3, padding="same", kernel_initializer=start)(x)
    if norm:
        x = layers.BatchNormalization(momentum=0.5, name="norm")(x)
    x = layers.Flatten()(layers.ReLU()(x))
    return keras.Model(inputs, x, name="backbone")


def build(optimizer=None, seed=0, norm=False, **settings):
    model = simclr.SimCLR(backbone(norm=norm), projection=(32, 16), seed=seed, **settings)
    model.compile(optimizer or keras.optimizers.Adam(1e-3), jit_compile=False)
    return model


def pairs(n=16, size=8, seed=0, noise=20.0):
    """Two of float32 (n, size, size, 3): noisy copies of n random pictures."""
    rng = np.random.default_rng(seed)
    pictures = rng.uniform(60, 190, size=(n, size, size, 3))
    return tuple((pictures + rng.normal(scale=noise, size=(2, *pictures.shape))).astype(np.float32))


def step(model, views):
    return {name: float(value) for name, value in model.train_step(views).items()}


def test_the_head_has_no_activation_after_its_last_layer():
    head = simclr.projection_head(20, (512, 128))
    assert [type(layer).__name__ for layer in head.layers] == [
        "Dense",
        "BatchNormalization",
        "ReLU",
        "Dense",
    ]
    assert head.output_shape == (None, 128)
    assert simclr.projection_head(20, (8,)).output_shape == (None, 8)
    assert (np.asarray(head(np.random.default_rng(0).normal(size=(4, 20)))) < 0).any()


def test_the_head_is_a_function_of_its_seed():
    one, same, other = (
        simclr.projection_head(20, (8, 8), seed).get_weights() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one[0], same[0])
    assert (one[0] != other[0]).any()
    assert (one[0][:8] != one[-1]).any()  # the layers don't start alike


def test_training_lowers_the_loss():
    model, views = build(), pairs()
    first = step(model, views)
    for _ in range(30):
        model.reset_metrics()
        last = step(model, views)
    assert last["loss"] < 0.5 * first["loss"]
    assert last["accuracy"] > first["accuracy"]
    assert last["accuracy"] == 1
    assert last["entropy"] < first["entropy"]


def test_logs_are_those_of_the_loss_module():
    model, views = build(temperature=0.3), pairs(n=6)
    z = [model.projection_head(model.backbone(view), training=False) for view in views]
    both = np.concatenate([np.asarray(view) for view in z])
    # A training step sees both views at once, so the expected projections do too.
    expected = np.concatenate(model.project(views, training=True))
    assert np.abs(expected - both).max() > 1e-3  # BatchNorm: the two modes differ
    model = build(temperature=0.3)
    found = step(model, views)
    assert set(found) == {"loss", "accuracy", "entropy"}
    assert found["loss"] == pytest.approx(float(nt_xent(expected[:6], expected[6:], 0.3)), rel=1e-4)
    accuracy, entropy = contrastive_statistics(*pair_logits(expected[:6], expected[6:], 0.3))
    assert found["accuracy"] == pytest.approx(float(accuracy))
    assert found["entropy"] == pytest.approx(float(entropy), rel=1e-4)


def test_logs_through_fit_are_means_over_the_epoch_and_start_anew():
    model, views = build(keras.optimizers.SGD(0.0)), pairs(n=4)
    data = [views, pairs(n=4, seed=1)]

    def batches():
        yield from data * 2

    import tensorflow as tf

    dataset = tf.data.Dataset.from_generator(
        batches, output_signature=(tf.TensorSpec((4, 8, 8, 3), tf.float32),) * 2
    )
    found = model.fit(dataset, epochs=2, steps_per_epoch=2, shuffle=False, verbose=0).history
    each = []
    for batch in data:
        model.reset_metrics()
        each.append(step(model, batch)["loss"])
    np.testing.assert_allclose(found["loss"], np.mean(each), rtol=1e-4)


def test_one_pass_over_both_views():
    model, views = build(keras.optimizers.SGD(0.0), norm=True), pairs(n=5)
    norm = model.backbone.get_layer("norm")
    before = keras.Model(model.backbone.input, norm.input)
    seen = np.asarray(before(np.concatenate(list(views)))).reshape(-1, 16)
    step(model, views)
    # Momentum 0.5 from 0 and 1: one update with the statistics of all 2n images.
    np.testing.assert_allclose(norm.moving_mean, 0.5 * seen.mean(axis=0), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.5 + 0.5 * seen.var(axis=0), rtol=1e-3)


def test_every_weight_of_the_backbone_and_the_head_trains():
    model = build(keras.optimizers.SGD(1.0), norm=True)
    model(pairs()[0])
    before = [np.asarray(weight) for weight in model.trainable_variables]
    assert len(before) == len(model.backbone.trainable_weights) + 4
    step(model, pairs())
    for old, new in zip(before, model.trainable_variables):
        # A bias before a BatchNorm has no gradient but for rounding.
        assert (old != np.asarray(new)).any() or new.path.endswith("conv2d/bias")


def test_mixed_precision_makes_the_same_update(restored_policy):
    # Without `optimizer.scale_loss` the optimizer would divide gradients by a scale that the
    # loss never had: an update 32,768 times too small.
    views, updates, losses = pairs(), {}, {}
    for policy in ("float32", "mixed_float16"):
        keras.config.set_dtype_policy(policy)
        model = build(keras.optimizers.SGD(0.1))
        model(views[0])
        before = [np.asarray(weight) for weight in model.trainable_variables]
        losses[policy] = step(model, views)["loss"]
        after = [np.asarray(weight) for weight in model.trainable_variables]
        updates[policy] = np.concatenate([(b - a).ravel() for a, b in zip(before, after)])
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert losses["mixed_float16"] == pytest.approx(losses["float32"], rel=1e-2)
    full, half = updates["float32"], updates["mixed_float16"]
    assert np.abs(full).max() > 1e-4
    assert np.linalg.norm(half - full) < 0.05 * np.linalg.norm(full)


@pytest.mark.slow
def test_xla_compiles_the_same_steps():
    losses = []
    for jit_compile in (False, True):
        model = simclr.SimCLR(backbone(norm=True), (8,), seed=1)
        model.compile(keras.optimizers.Adam(1e-3), jit_compile=jit_compile)
        history = model.fit(*pairs(n=4), batch_size=4, epochs=3, verbose=0).history
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[0][2] != losses[0][0]


def test_a_call_gives_embeddings():
    model, images = build(), pairs(n=3)[0]
    h = model.backbone(images)
    np.testing.assert_array_equal(model(images), h)
    np.testing.assert_allclose(model.predict(images, verbose=0), h, rtol=1e-5)
    z, same = model.project((images, images))
    np.testing.assert_allclose(z, model.projection_head(h), rtol=1e-5)
    np.testing.assert_array_equal(z, same)


def test_views_of_another_size_are_resized():
    model, views = build(), pairs(n=4, size=16)
    flat = [np.ones((2, size, size, 3), np.float32) for size in (16, 8)]
    np.testing.assert_allclose(model(flat[0]), model(flat[1]), rtol=1e-5)
    assert model.predict(views[0], verbose=0).shape == (4, 1024)
    assert np.isfinite(step(model, views)["loss"])


def test_evaluation_is_inference_on_held_out_views():
    model, views = build(norm=True), pairs(n=6)
    found = model.evaluate(*views, batch_size=6, return_dict=True, verbose=0)
    z = [model.projection_head(model.backbone(view)) for view in views]
    assert found["loss"] == pytest.approx(float(nt_xent(*z, 0.1)), rel=1e-4)
    history = model.fit(
        *views, batch_size=6, validation_data=views, validation_batch_size=6, verbose=0
    ).history
    assert set(history) == {prefix + name for prefix in ("", "val_")
                            for name in ("loss", "accuracy", "entropy")}  # fmt: skip


def test_compiled_metrics_compare_projections():
    model, views = build(), pairs(n=5)
    model.compile("adam", metrics=[keras.metrics.CosineSimilarity(name="cosine")])
    found = model.evaluate(*views, batch_size=5, return_dict=True, verbose=0)
    first, second = (keras.ops.normalize(z) for z in model.project(views))
    assert found["cosine"] == pytest.approx(float(np.sum(first * second, axis=1).mean()), rel=1e-4)
    assert "val_cosine" in model.fit(*views, validation_data=views, verbose=0).history


def test_a_compiled_loss_takes_the_place_of_nt_xent():
    model, views = build(temperature=0.1), pairs(n=6)
    other = build(temperature=0.5)
    model.compile("adam", loss=NTXent(temperature=0.5))
    for one, two in zip(*(m.test_step(views).values() for m in (model, other)), strict=True):
        assert float(one) == pytest.approx(float(two), rel=1e-6)
    assert np.isfinite(model.fit(*views, verbose=0).history["loss"]).all()

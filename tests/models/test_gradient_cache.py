"""Gradient caching, against plain gradients: of the whole batch, and of the same chunks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from dermssl.core.errors import UserError
from dermssl.models import gradient_cache, simclr

SIZE = 8


def model(norm="none", dropout=0.0, chunk_size=0, optimizer=None):
    """A SimCLR whose network and head have BatchNorm in training mode, frozen, or none at all."""
    start = keras.initializers.HeNormal(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    x = layers.Conv2D(8, 3, strides=2, kernel_initializer=start)(x)
    if norm != "none":
        x = layers.BatchNormalization(momentum=0.9)(x)
    x = layers.ReLU()(x)
    x = layers.Dropout(dropout, seed=7)(x)
    x = layers.Flatten()(x)
    backbone = keras.Model(inputs, x, name="backbone")
    widths = (8,) if norm == "none" else (16, 8)  # between two layers the head has a BatchNorm
    made = simclr.SimCLR(backbone, widths, 0.3, seed=1, chunk_size=chunk_size)
    for layer in made._flatten_layers(include_self=False):
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = norm == "train"
            rng = np.random.default_rng(3)  # as if it had trained
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size=layer.moving_variance.shape))
    made.compile(optimizer or keras.optimizers.SGD(0.1), jit_compile=False)
    return made


def views(n=12, seed=0):
    rng = np.random.default_rng(seed)
    pictures = rng.uniform(60, 190, size=(n, SIZE, SIZE, 3))
    noise = rng.normal(scale=20.0, size=(2, *pictures.shape))
    return tuple(tf.constant((pictures + part).astype(np.float32)) for part in noise)


def chunk_by_chunk(twin, pair, chunk):
    """The plain step whose network takes the batch in chunks: one tape over all of them."""
    n = len(pair[0])
    with tf.GradientTape() as tape:
        parts = [
            twin.project(tuple(view[at : at + chunk] for view in pair), training=True)
            for at in range(0, n, chunk)
        ]
        projections = tuple(tf.concat(side, axis=0) for side in zip(*parts))
        loss = twin.compute_loss(y_pred=projections)
        scaled = twin.optimizer.scale_loss(loss)
    return loss, projections, tape.gradient(scaled, twin.trainable_variables)


def arrays(tensors):
    return [np.asarray(tensor, np.float64) for tensor in tensors]


def equal(given, wanted, tolerance=1e-5):
    """Each array within a share of the largest number of all."""
    given, wanted = arrays(given), arrays(wanted)
    scale = max(np.abs(array).max() for array in wanted)
    assert len(given) == len(wanted)
    for one, other in zip(given, wanted):
        assert np.abs(one - other).max() <= tolerance * scale


def state(made):
    parts = (made.backbone, made.projection_head)
    return [np.asarray(v) for part in parts for v in part.non_trainable_variables]


def step(made, seed=0):
    """The logs of one step of `fit`."""
    history = made.fit(*views(seed=seed), batch_size=12, shuffle=False, verbose=0).history
    return {name: values[0] for name, values in history.items()}


def graph(made, pair, chunk):
    """`gradients` as a traced function gives them."""
    call = tf.function(lambda *pair: gradient_cache.gradients(made, pair, chunk))
    return call(*pair)


@pytest.mark.parametrize("norm", ["none", "frozen"])
@pytest.mark.parametrize("chunk", [1, 4, 5, 12, 20])
def test_without_batch_statistics_it_is_the_gradient_of_the_whole_batch(norm, chunk):
    pair = views()
    loss, projections, gradients = graph(model(norm), pair, chunk)
    wanted = chunk_by_chunk(model(norm), pair, 12)
    assert float(loss) == pytest.approx(float(wanted[0]), rel=1e-6)
    equal(projections, wanted[1])
    equal(gradients, wanted[2])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("chunk", [4, 5])
def test_with_batchnorm_and_dropout_it_is_that_of_the_same_chunks(compiled, chunk):
    made, twin, pair = model("train", 0.4), model("train", 0.4), views()
    call = graph if compiled else gradient_cache.gradients
    loss, projections, gradients = call(made, pair, chunk)
    wanted = chunk_by_chunk(twin, pair, chunk)
    assert float(loss) == pytest.approx(float(wanted[0]), rel=1e-5)
    equal(projections, wanted[1])
    equal(gradients, wanted[2])
    # Moving statistics and seeds have moved once a chunk.
    for one, other in zip(state(made), state(twin), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_batch_statistics_of_chunks_are_not_those_of_the_batch():
    # Else the tests above would tell nothing.
    pair = views()
    chunks, whole = (chunk_by_chunk(model("train"), pair, chunk)[2] for chunk in (4, 12))
    assert max(np.abs(a - b).max() for a, b in zip(arrays(chunks), arrays(whole))) > 1e-2


def test_a_step_moves_seeds_once_a_chunk_and_the_next_has_other_masks():
    made = model(dropout=0.5, chunk_size=4, optimizer=keras.optimizers.SGD(0.0))
    (seed,) = state(made)
    losses = [step(made)["loss"] for _ in range(2)]
    (after,) = state(made)
    np.testing.assert_array_equal(after - seed, [0, 6])  # 3 chunks, 2 steps
    assert losses[0] != losses[1]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(restored_policy, policy):
    keras.config.set_dtype_policy(policy)
    made, twin = (model("train", 0.4, optimizer="sgd") for _ in range(2))
    scaling = isinstance(made.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert scaling == (policy == "mixed_float16")
    pair = views()
    loss, projections, gradients = graph(made, pair, 4)
    wanted = chunk_by_chunk(twin, pair, 4)
    assert loss.dtype == tf.float32
    assert projections[0].dtype == wanted[1][0].dtype != tf.float32
    assert {gradient.dtype for gradient in gradients} == {tf.float32}
    # The twin adds up in half precision what is added up in float32 here.
    precision = 2**-10 if policy == "mixed_float16" else 2**-7
    equal(projections, wanted[1], 2 * precision)
    equal(gradients, wanted[2], 8 * precision)
    if scaling:
        assert max(np.abs(array).max() for array in arrays(gradients)) > 100  # times 2 ** 15


def test_a_step_that_overflows_leaves_the_weights_and_halves_the_scale(restored_policy):
    keras.config.set_dtype_policy("mixed_float16")
    made = model(chunk_size=4, optimizer="sgd")
    made.optimizer.build(made.trainable_variables)
    made.optimizer.dynamic_scale.assign(2.0**60)
    before = made.get_weights()
    step(made)
    for one, other in zip(before, made.get_weights()):
        np.testing.assert_array_equal(one, other)
    assert float(made.optimizer.dynamic_scale) == 2.0**59


def test_steps_of_a_model_are_those_of_its_twin():
    made, twin = (model("frozen", chunk_size=chunk) for chunk in (4, 0))
    for seed in range(4):
        logs = step(made, seed)
        assert set(logs) == {"loss", "accuracy", "entropy"}
        assert logs == pytest.approx(step(twin, seed), rel=1e-4)
    equal(made.get_weights(), twin.get_weights())


def test_fit_with_a_part_batch_and_a_chunk_larger_than_it():
    made = model("train", chunk_size=4)
    history = made.fit(*views(n=15), batch_size=12, epochs=2, shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert not made.jit_compile


def test_a_weight_without_a_part_in_the_loss_has_no_gradient():
    made = model()
    unused = made.add_weight(shape=(3,), name="unused")
    assert any(weight is unused for weight in made.trainable_variables)
    wanted = chunk_by_chunk(made, views(), 4)[2]
    given = gradient_cache.gradients(made, views(), 4)[2]
    assert [g is None for g in given] == [g is None for g in wanted]
    assert sum(g is None for g in given) == 1


def test_the_chunk_is_part_of_the_config():
    made = model(chunk_size=4)
    assert simclr.SimCLR.from_config(made.get_config()).chunk_size == 4
    old = made.get_config()
    del old["chunk_size"]  # of a file from before
    assert simclr.SimCLR.from_config(old).chunk_size == 0
    with pytest.raises(UserError, match="chunk_size is -1; it must be 0"):
        model(chunk_size=-1)

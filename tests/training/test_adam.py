"""The fused Adam makes the updates of Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermssl.training import loop
from dermssl.training.adam import Adam


def trained(optimizer_class, steps=30, **options):
    """The weights and the optimizer's state after some steps."""
    rng = np.random.default_rng(0)
    weights = [
        keras.Variable(rng.normal(size=50).astype("float32"), name=name)
        for name in ("kernel", "gamma")
    ]
    optimizer = optimizer_class(loop.warmup_cosine(1e-2, 100, 10), **options)
    optimizer.exclude_from_weight_decay(var_names=["gamma"])
    optimizer.build(weights)
    before = [weight.numpy().copy() for weight in weights]

    @tf.function
    def step(gradient):
        optimizer.apply([gradient, 2 * gradient], weights)

    for _ in range(steps):
        step(tf.constant(rng.normal(size=50).astype("float32")))
    assert all(np.abs(w.numpy() - b).max() > 0.02 for w, b in zip(weights, before))
    return [np.asarray(v) for v in (*weights, *optimizer.variables)]


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}, {"clipnorm": 0.5}], ids=str)
def test_equals_keras(options):
    found, expected = trained(Adam, **options), trained(keras.optimizers.Adam, **options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


def test_weight_decay_spares_what_is_excluded():
    (kernel, gamma, *_), (kernel0, gamma0, *_) = trained(Adam, weight_decay=0.5), trained(Adam)
    np.testing.assert_array_equal(gamma, gamma0)
    assert np.abs(kernel).sum() < np.abs(kernel0).sum()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_fits_under_mixed_precision_and_a_strategy(mixed, mirrored):
    strategy = tf.distribute.get_strategy()
    if mirrored:
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    x = np.linspace(-1, 1, 32, dtype="float32")[:, None]
    losses = []
    for optimizer_class in (Adam, keras.optimizers.Adam):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            dtype = "mixed_float16" if mixed else "float32"
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(4, dtype=dtype)])
            optimizer = optimizer_class(1e-2)
            if mixed:
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            model.compile(optimizer, "mse", jit_compile=False)
        history = model.fit(x, np.tile(x, 4), epochs=3, batch_size=8, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-2 if mixed else 1e-5)
    assert losses[0][-1] < losses[0][0]

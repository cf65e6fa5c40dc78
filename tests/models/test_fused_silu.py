"""The fused gradient of silu is the derivative of x sigmoid(x), in every precision and place."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import dermssl
from dermssl.models import fused_kernels
from dermssl.models.simclr import SimCLR

RNG = np.random.default_rng(0)
X = RNG.normal(0, 4, (4, 5, 6, 7)).astype("float32")
SLOPES = RNG.normal(0, 1, X.shape).astype("float32")
VIEWS = RNG.uniform(0, 255, (2, 8, 32, 32, 3)).astype("float32")
ROUNDING = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}


def gradient(layer, x):
    """Outputs and the gradient by x, float64."""
    x = tf.cast(tf.constant(x), layer.compute_dtype)

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        return y, tape.gradient(y, x, tf.cast(tf.constant(SLOPES), y.dtype))

    return [np.asarray(tf.cast(found, tf.float64)) for found in run(x)]


def compiled_by_xla(layer, x=X):
    """Whether the gradient of a layer goes through XLA."""

    def run(x):
        return tf.gradients(layer(x), x)

    graph = tf.function(run).get_concrete_function(tf.constant(x)).graph.as_graph_def()
    return any(f.attr["_XlaMustCompile"].b for f in graph.library.function)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_it_is_the_derivative(dtype):
    layer = fused_kernels.substitute(layers.Activation("swish", dtype=dtype))
    y, found = gradient(layer, X)
    x = np.asarray(tf.cast(tf.cast(X, dtype), tf.float64))
    slopes = np.asarray(tf.cast(tf.cast(SLOPES, dtype), tf.float64))
    sigmoid = 1 / (1 + np.exp(-x))
    expected = slopes * (sigmoid + x * sigmoid * (1 - sigmoid))
    np.testing.assert_allclose(y, x * sigmoid, rtol=0, atol=ROUNDING[dtype] * 20)
    np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING[dtype] * 4)
    assert compiled_by_xla(layer)


@pytest.mark.parametrize("name", ["relu", "gelu", "linear"])
def test_other_activations_are_left_to_keras(name):
    layer = fused_kernels.substitute(layers.Activation(name))
    assert not compiled_by_xla(layer)
    np.testing.assert_array_equal(gradient(layer, X), gradient(layers.Activation(name), X))


@pytest.mark.parametrize("missing", ["is_built_with_xla", "GPU"])
def test_without_xla_or_with_a_gpu_it_is_left_to_keras(missing, monkeypatch):
    if missing == "GPU":
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a GPU"])
    else:
        monkeypatch.setattr(tf.test, missing, lambda: False)
    layer = fused_kernels.substitute(layers.Activation("silu"))
    assert not compiled_by_xla(layer)
    np.testing.assert_array_equal(gradient(layer, X), gradient(layers.Activation("silu"), X))


def network():
    """A small network with silu before and after a squeeze."""
    inputs = keras.Input((32, 32, 3))
    x = layers.Conv2D(8, 3, strides=2, kernel_initializer=keras.initializers.HeNormal(1))(inputs)
    x = layers.Activation("swish")(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, depthwise_initializer=keras.initializers.HeNormal(2))(x)
    x = layers.Activation("silu")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def trained(model, strategy=None, jit_compile=False, **options):
    """Weights and losses of some steps of SimCLR."""
    with (strategy or tf.distribute.get_strategy()).scope():
        simclr = SimCLR(model(), projection=(8, 4), **options)
        simclr.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
    losses = simclr.fit(*VIEWS, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
    return [*losses, *(weight.ravel() for weight in simclr.get_weights())]


@pytest.mark.parametrize(
    "options",
    [{}, {"remat": True}, {"chunk_size": 8}, {"devices": True}, {"jit_compile": True}],
    ids=str,
)
def test_training_is_that_of_keras(options, monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"]) if options.pop("devices", 0) else None
    rounding = 1e-3 if options.get("jit_compile") else 1e-5  # XLA adds up in another order
    found = trained(network, strategy, **options)
    monkeypatch.delitem(fused_kernels.KERNELS, layers.Activation)
    expected = trained(network)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rounding * max(1, np.abs(b).max()))


def test_an_efficientnet_has_it_and_is_saved_as_keras_own_layer():
    backbone = dermssl.Backbone("efficientnetb0", image_size=32)
    activations = [layer for layer in backbone.layers if type(layer) is layers.Activation]
    assert len(activations) == 33  # of 16 blocks, the stem and the top
    assert all("call" in vars(layer) for layer in activations)
    saved = keras.saving.serialize_keras_object(activations[0])
    assert (saved["registered_name"], saved["config"]["activation"]) == (None, "silu")

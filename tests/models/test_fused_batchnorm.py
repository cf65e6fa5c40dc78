"""The fused kernel computes what Keras's own layer does: outputs, gradients, moving statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from keras import layers

import dermssl
from dermssl.core import taxonomy
from dermssl.models import fused_kernels
from dermssl.models.classifier import LesionClassifier
from dermssl.models.simclr import SimCLR

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(3, 2, (4, 5, 6, 7)).astype("float32")
SLOPES = RNG.normal(0, 1, IMAGES.shape).astype("float32")  # of the loss in the outputs
ROUNDING = {"float32": 1e-5, "mixed_float16": 2e-3, "mixed_bfloat16": 2e-2, "bfloat16": 2e-2}


def plain(model):
    """The same model by Keras's own code."""
    for layer in model._flatten_layers():
        layer.__dict__.pop("call", None)
    return model


def norm(shape=IMAGES.shape, **options):
    """A built layer whose weights are no defaults."""
    layer = layers.BatchNormalization(**options)
    layer.build((None, *shape[1:]))
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.uniform(0.5, 2, weight.shape))
    return layer


def computed(layer, images, mode, **options):
    """list of float32 arrays: outputs, gradients and then all weights."""
    layer.trainable = mode != "frozen"
    x = tf.constant(images)
    slopes = tf.constant(np.resize(SLOPES, images.shape))
    learnt = [w.value for w in (layer.gamma, layer.beta) if w is not None]

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch([x, *learnt])
            y = layer(x, training=mode != "inference", **options)
            loss = tf.reduce_sum(tf.cast(y, slopes.dtype) * slopes)
        return [y, *tape.gradient(loss, [x, *learnt])]

    found = [*run(x), *(w.value for w in layer.weights)]
    assert found[0].dtype == layer.compute_dtype
    return [tf.cast(item, tf.float64).numpy() for item in found]


def operations(layer, images=IMAGES, **options):
    """The names of the operations of a layer's graph in training."""
    graph = tf.function(lambda x: layer(x, training=True, **options))
    nodes = graph.get_concrete_function(tf.constant(images)).graph.as_graph_def().node
    return {node.op for node in nodes}


def assert_close(found, expected, rtol):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize("mode", ["training", "frozen", "inference"])
@pytest.mark.parametrize(
    "options",
    [{}, {"scale": False}, {"center": False}, {"epsilon": 1.001e-5}, {"momentum": 0.0}]
    + [{"dtype": name} for name in ROUNDING if name != "float32"],
    ids=str,
)
def test_layer_equals_keras(mode, options):
    images = IMAGES.astype("float32")
    expected = computed(norm(**options), images, mode)
    layer = fused_kernels.substitute(norm(**options))
    assert "FusedBatchNormV3" in operations(layer)
    layer = fused_kernels.substitute(norm(**options))
    assert_close(computed(layer, images, mode), expected, ROUNDING[options.get("dtype", "float32")])
    moved = not np.allclose(expected[-1], keras.ops.convert_to_numpy(norm(**options).weights[-1]))
    assert moved == (mode == "training")


@pytest.mark.parametrize("options", [{}, {"epsilon": 1.001e-5}], ids=str)
def test_few_numbers_have_the_variance_of_a_population(options):
    images = IMAGES[:1, :1, :2]  # two numbers a channel: n / (n - 1) is 2
    expected = computed(norm(images.shape, **options), images, "training")
    layer = fused_kernels.substitute(norm(images.shape, **options))
    assert_close(computed(layer, images, "training"), expected, 1e-4)


def test_momentum_is_read_when_the_layer_is_called():
    layer = fused_kernels.substitute(norm())
    layer.momentum = 0.0
    layer(IMAGES, training=True)
    np.testing.assert_allclose(layer.moving_variance, IMAGES.var(axis=(0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"axis": 1}, IMAGES.shape), ({"epsilon": 1e-6}, IMAGES.shape), ({}, (8, 7)),
        ({}, (4, 6, 7)), ({"renorm": True}, IMAGES.shape), ({"dtype": "float64"}, IMAGES.shape),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_kernel_can_not_do_is_left_to_keras(options, shape):
    images = np.resize(IMAGES, shape).astype(options.get("dtype", "float32"))
    layer = fused_kernels.substitute(norm(shape, **options))
    assert "FusedBatchNormV3" not in operations(layer, images)
    expected = norm(shape, **options)(images, training=True)
    found = fused_kernels.substitute(norm(shape, **options))(images, training=True)
    np.testing.assert_array_equal(found, expected)


def test_a_mask_is_left_to_keras():
    mask = np.ones(IMAGES.shape[:3], bool)
    mask[0] = False
    layer = fused_kernels.substitute(norm())
    assert "FusedBatchNormV3" not in operations(layer, mask=mask)
    expected, found = (one(IMAGES, training=True, mask=mask) for one in (norm(), layer))
    np.testing.assert_array_equal(found, expected)


def test_a_subclass_is_not_touched():
    class Other(layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return inputs

    layer = fused_kernels.substitute(Other())
    np.testing.assert_array_equal(layer(IMAGES, training=True), IMAGES)


def trained(batchnorm, model, images, steps=3):
    """Outputs, gradients of the first step and weights after some steps of plain descent."""
    for layer in model.layers if batchnorm == "frozen" else ():
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    optimizer = keras.optimizers.SGD(1e-3)
    first = None

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images, training=True) - 1.0))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        return gradients

    optimizer.build(model.trainable_variables)
    for _ in range(steps):
        gradients = step()
        first = first or gradients
    outputs = [model(images, training=False), *first, *(w.value for w in model.weights)]
    return [np.asarray(item) for item in outputs]


@pytest.mark.parametrize("batchnorm", ["train", "frozen"])
def test_backbone_equals_keras_after_some_steps(batchnorm):
    keras.utils.set_random_seed(0)
    images = RNG.uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    fused = dermssl.Backbone("cnn", image_size=32)
    expected = plain(dermssl.Backbone("cnn", image_size=32))
    expected.set_weights(fused.get_weights())
    assert "FusedBatchNormV3" in operations(fused, images)
    assert "FusedBatchNormV3" not in operations(expected, images)
    before = np.concatenate([w.ravel() for w in fused.get_weights()])
    assert_close(trained(batchnorm, fused, images), trained(batchnorm, expected, images), 1e-5)
    assert not np.allclose(before, np.concatenate([w.ravel() for w in fused.get_weights()]))


@pytest.mark.slow
def test_saved_as_keras_own_layer(tmp_path):
    """A file made without the substitution and one made with it are the same to Keras."""
    backbone = dermssl.Backbone("cnn", image_size=32)
    images = RNG.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    backbone(images, training=True)  # moving statistics of their own
    expected = backbone(images)
    backbone.save(tmp_path / "backbone.keras")
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[1])\n"
        "assert 'dermssl' not in sys.modules\n"
        "np.save(sys.argv[3], model(np.load(sys.argv[2])))\n"
    )
    np.save(tmp_path / "images.npy", images)
    files = [tmp_path / name for name in ("backbone.keras", "images.npy", "h.npy")]
    done = tiny.python("-c", code, *files)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(files[2]), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["simclr", "classifier"])
def test_a_loaded_model_is_fused_again(tmp_path, kind):
    backbone = dermssl.Backbone("cnn", image_size=32)
    if kind == "simclr":
        model = SimCLR(backbone, projection=(8, 4))
        model.compile("sgd")
    else:
        model = LesionClassifier(backbone, taxonomy.flat(("a", "b")))
    images = RNG.uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    expected = model(images)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert "FusedBatchNormV3" in operations(loaded, images)
    keras.tree.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), loaded(images), expected
    )


def test_under_a_strategy():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = keras.Sequential([keras.Input(IMAGES.shape[1:]), layers.BatchNormalization()])
        fused_kernels.substitute(model).compile("sgd", "mse")
    history = model.fit(IMAGES, SLOPES, epochs=2, batch_size=4, verbose=0)
    other = keras.Sequential([keras.Input(IMAGES.shape[1:]), layers.BatchNormalization()])
    other.compile("sgd", "mse")
    expected = other.fit(IMAGES, SLOPES, epochs=2, batch_size=4, verbose=0)
    np.testing.assert_allclose(history.history["loss"], expected.history["loss"], rtol=1e-5)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)

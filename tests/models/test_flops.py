"""Counted multiply-adds against TensorFlow's profiler."""

import keras
import pytest
import tensorflow as tf
from keras import layers

from dermssl.core.settings import Backbone
from dermssl.models import backbones, flops


def profiled(model):
    """Multiply-adds of one photo by TensorFlow's profiler, which counts each as two."""
    signature = tf.TensorSpec((1, *model.input.shape[1:]), tf.float32)
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(signature).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    options["account_type_regexes"] = ["Conv2D", "DepthwiseConv2dNative", "MatMul"]
    options["accounted_type_regexes"] = ["Conv2D", "DepthwiseConv2dNative", "MatMul"]
    found = tf.compat.v1.profiler.profile(graph, options=options)
    return found.total_float_ops / 2


def each_kind():
    """Every kind of layer with a kernel, with strides and both paddings."""
    x = inputs = keras.Input((17, 17, 4))
    x = layers.Conv2D(6, 3, strides=2, padding="same")(x)
    x = layers.Conv2D(8, 3)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.SeparableConv2D(5, 3, padding="same")(x)
    x = layers.BatchNormalization()(x)
    return keras.Model(inputs, layers.Dense(7)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("name", ["each kind", "cnn"])
def test_what_is_counted_is_what_tensorflow_counts(name):
    cnn = lambda: backbones.build(Backbone(name="cnn", image_size=32))  # noqa: E731
    model = each_kind() if name == "each kind" else cnn()
    assert flops.multiply_adds(model) == profiled(model) > 10_000


def test_only_the_named_layers_count():
    model = each_kind()
    parts = [flops.multiply_adds(model, [layer.name]) for layer in model.layers]
    assert sum(parts) == flops.multiply_adds(model)
    assert flops.multiply_adds(model, []) == 0
    assert parts[1] == 9 * 9 * 3 * 3 * 4 * 6


def test_a_group_reads_its_own_channels():
    inputs = keras.Input((5, 5, 4))  # the profiler doesn't look into grouped convolutions
    model = keras.Model(inputs, layers.Conv2D(8, 3, groups=2)(inputs))
    assert flops.multiply_adds(model) == 3 * 3 * (3 * 3 * 2) * 8

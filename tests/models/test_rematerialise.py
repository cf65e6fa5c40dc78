"""Activations forgotten and computed again, against plain steps."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from keras import layers

import dermssl
from dermssl.models import rematerialise, simclr

SIZE = 16
# Peak memory of a process, MiB: after a small step (what the program and a graph need), then after
# large ones: with, by half as in a chunk, and without.
PEAKS = """
import re
import sys

sys.path += ["tests", "tests/models"]
import test_rematerialise as here

def peak():
    # Of this program alone: ru_maxrss begins with that of the process that started it.
    return int(re.search("VmHWM:[^0-9]*([0-9]+)", open("/proc/self/status").read())[1]) / 1024

pair = here.views(n=96, size=32)
here.graph(here.model(blocks=6, size=32))
peaks = [peak()]
for remat, chunk in ((True, 0), (False, 96), (False, 0)):
    here.graph(here.model(remat, chunk_size=chunk, blocks=6, size=32), pair)
    peaks.append(peak())
print(*peaks)
"""


def network(blocks=4, size=SIZE, width=8, dropout=0.3):
    """Residual blocks with squeeze-and-excite, BatchNorm and dropout, as EfficientNet has them."""
    inputs = keras.Input((size, size, 3))
    x = layers.Conv2D(width, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(0))(
        layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    )
    for block in range(blocks):
        start = keras.initializers.HeNormal(block)
        y = layers.Conv2D(4 * width, 1, kernel_initializer=start)(x)
        y = layers.BatchNormalization(momentum=0.8)(y)
        y = layers.Activation("swish")(y)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
        y = layers.Multiply()([y, layers.Conv2D(4 * width, 1, activation="sigmoid",
                                                kernel_initializer=start)(gate)])  # fmt: skip
        y = layers.Conv2D(width, 1, kernel_initializer=start)(y)
        x = layers.Add()([x, layers.Dropout(dropout, seed=block)(y)])
    return keras.Model(inputs, layers.GlobalAveragePooling2D(name="embedding")(x), name="backbone")


def model(remat=True, backbone=None, chunk_size=0, **options):
    made = simclr.SimCLR(
        backbone or network(**options), (16, 8), 0.3, seed=1, chunk_size=chunk_size, remat=remat
    )
    made.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    return made


def views(n=6, size=SIZE):
    rng = np.random.default_rng(0)
    return tuple(rng.uniform(0, 255, (2, n, size, size, 3)).astype(np.float32))


def graph(made, pair=None):
    """Loss and gradients of a step as a graph; the model's state moves."""
    pair = views(size=made.backbone.input.shape[1]) if pair is None else pair

    def step(*pair):
        from dermssl.models import gradient_cache

        if made.chunk_size:
            loss, _, gradients = gradient_cache.gradients(made, pair, made.chunk_size)
        else:
            loss, _, gradients = made._gradients(pair)
        return loss, gradients

    loss, gradients = tf.function(step)(*pair)
    return float(loss), [np.asarray(gradient, np.float64) for gradient in gradients]


def state(made):
    return [np.asarray(v) for v in made.backbone.non_trainable_variables]


def same_step(made, twin, tolerance=1e-5):
    """Two models give the same gradients and end in the same state; the state has moved."""
    before = state(made)
    (loss, gradients), (wanted_loss, wanted) = graph(made), graph(twin)
    assert loss == pytest.approx(wanted_loss, rel=tolerance)
    assert len(gradients) == len(wanted) > 0
    scale = max(np.abs(array).max() for array in wanted)
    assert np.isfinite(scale)
    for one, other in zip(gradients, wanted):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * scale)
    for old, one, other in zip(before, state(made), state(twin), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        assert old.size == 0 or (old != one).any()


def test_a_step_is_a_plain_step():
    # Batch statistics, moved once, and the masks of dropout, drawn once, are part of this.
    assert len(rematerialise.parts(network())) > 2
    same_step(model(), model(remat=False))


def test_a_step_eagerly_is_one_too():
    made, twin = model(), model(remat=False)
    found = [m._gradients(tuple(map(tf.constant, views())))[2] for m in (made, twin)]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["cnn", pytest.param("mobilenet", marks=pytest.mark.slow)])
def test_a_step_of_a_backbone(name):
    backbone = dermssl.Backbone(name, image_size=32)
    twin = dermssl.Backbone(name, image_size=32)
    twin.set_weights(backbone.get_weights())
    same_step(model(backbone=backbone), model(remat=False, backbone=twin), 2e-5)


@pytest.mark.slow
def test_chunks_are_computed_again_in_parts():
    same_step(model(chunk_size=3), model(remat=False, chunk_size=3))


def test_of_a_chunk_the_first_half_is_computed_again():
    # One chunk is the batch, so it is the plain step.
    same_step(model(remat=False, chunk_size=6), model(remat=False))


def test_halves_are_the_whole_in_two_parts_of_about_one_size():
    backbone = network()
    first, second = rematerialise.parts(backbone, halves=True)
    images = views()[0]
    np.testing.assert_allclose(second(first(images)), backbone(images), rtol=1e-5, atol=1e-6)
    whole = sum(math.prod(op.output.shape[1:]) for op in backbone.operations[1:])
    assert whole / 2 < rematerialise.numbers_kept(backbone, halves=True) < 0.6 * whole


def test_what_has_no_cut_is_one_part():
    inputs = keras.Input((4,))
    backbone = keras.Model(inputs, layers.Add()([layers.Dense(4)(inputs), inputs]))
    assert len(rematerialise.parts(backbone, halves=True)) == 1


def test_half_precision(restored_policy):
    keras.config.set_dtype_policy("mixed_float16")
    made, twin = model(), model(remat=False)
    assert isinstance(made.optimizer, keras.mixed_precision.LossScaleOptimizer)
    for one in (made, twin):
        one.optimizer.build(one.trainable_variables)
        one.optimizer.dynamic_scale.assign(64.0)  # so large a start overflows in a first step
    same_step(made, twin, 2**-7)


def test_two_steps_differ_and_layers_that_are_frozen_stay():
    made = model()
    for layer in made.backbone.layers[:6]:
        layer.trainable = False
    made.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    frozen = [np.asarray(w) for layer in made.backbone.layers[:6] for w in layer.weights]
    losses = [made.fit(*views(), batch_size=6, verbose=0).history["loss"][0] for _ in range(2)]
    assert losses[0] != losses[1]
    after = [np.asarray(w) for layer in made.backbone.layers[:6] for w in layer.weights]
    for old, new in zip(frozen, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_inference_is_that_of_the_backbone():
    made, images = model(), views()[0]
    np.testing.assert_array_equal(made(images), made.backbone(images))


@pytest.mark.parametrize("name", ["mobilenet", "resnet50", "efficientnetb1", "densenet121"])
def test_parts_are_the_whole(name):
    backbone = dermssl.Backbone(name, image_size=32)
    parts = rematerialise.parts(backbone)
    assert len(parts) > 3
    images = x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    for part in parts:
        x = part(x)
    np.testing.assert_allclose(x, backbone(images), rtol=1e-5, atol=1e-5)
    whole = sum(map(rematerialise._size, [op.output for op in backbone.operations]))
    assert rematerialise.numbers_kept(backbone) < 0.6 * whole


@pytest.mark.slow
def test_a_step_takes_less_memory():
    ended = tiny.python("-c", PEAKS, cwd=tiny.ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    before, remat, halves, plain = map(float, ended.stdout.split())
    assert remat - before < 0.6 * (plain - before)
    assert halves - before < 0.8 * (plain - before)

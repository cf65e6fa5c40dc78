"""Keras-CV's augmentation layers by name, each view a function of (seed, epoch, record, view).

The layers draw from `tf.random` and from generators with a state. While a layer's graph is made,
once a process, these draw from a key that is an input of the graph instead. So a view can be
computed again at any time, in any thread; a layer that keeps a state all the same is refused.
"""

import ast
import contextlib
import functools
import inspect
import itertools
import threading
from collections.abc import Callable
from unittest import mock

import numpy as np

from dermssl.core.errors import UserError, unknown_name
from dermssl.data.augmentation.draw import uniforms
from dermssl.data.augmentation.view_ops import KERAS_CV

PREFIX = "keras_cv:"
MIXES = ("CutMix", "FourierMix", "MixUp", "Mosaic", "RandomCopyPaste", "RepeatedAugmentation")
# First letters of TensorFlow's operations that keep a state of their own.
STATEFUL = ("Random", "Stateful", "Multinomial", "Parameterized", "Rng", "NonDeterministic")
PROBES = 8  # keys that a new layer's range is looked at with
_TRACING = threading.Lock()


def view(
    image: np.ndarray, name: str, seed: int, epoch: int, record: int, number: int
) -> np.ndarray:
    """A view of a square photo by a Keras-CV layer.

    Args:
        image: uint8 (size, size, 3), RGB.
        name: such as "keras_cv:RandAugment" or "keras_cv:RandomHue(factor=0.1)".
        seed, epoch, record, number: ints >= 0, the key of the view.

    Returns:
        uint8 (size, size, 3).
    """
    u = uniforms(seed, epoch, record, number, 2, KERAS_CV)
    return _rounded(_compiled(name, image.shape[0])(image, [int(x * 2**31) for x in u]))


def check(name: str, size: int = 32) -> None:
    """Refuse a layer that doesn't exist, or whose views could not be computed again.

    Args:
        name: as in `view`.
        size: side of the photos that it is tried on, px.

    Raises:
        UserError: Keras-CV isn't installed, the name or an argument is wrong, the layer mixes
            photos, keeps a random state, or gives other sizes or values beyond [0, 255].
    """
    _compiled(name, size)


def _rounded(values):
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _compiled(name, size):
    with _TRACING:  # two threads would patch tf.random twice
        return _function(name, size)


@functools.cache
def _function(name, size) -> Callable:
    """The layer as a pure function of uint8 (size, size, 3) and a key of two ints."""
    import tensorflow as tf

    layer = _layer(name)

    def augment(image, key):
        with _stateless_draws(key):
            return tf.cast(layer(tf.cast(image, tf.float32), training=True), tf.float32)

    specs = tf.TensorSpec((size, size, 3), tf.uint8), tf.TensorSpec((2,), tf.int32)
    try:
        graph = tf.function(augment).get_concrete_function(*specs)
    except Exception as error:  # whatever a layer raises that isn't made for a single photo
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"{name}: can't be applied to one photo ({reason})") from error
    definition = graph.graph.as_graph_def()
    nodes = [*definition.node, *(node for f in definition.library.function for node in f.node_def)]
    kept = sorted({node.op for node in nodes if node.op.startswith(STATEFUL)})
    if kept:
        raise UserError(
            f"{name}: keeps a random state ({', '.join(kept)}), so its views could not be computed "
            "again; take another layer"
        )
    if not graph.structured_outputs.shape.is_compatible_with((size, size, 3)):
        raise UserError(f"{name}: gives {graph.structured_outputs.shape}, not ({size}, {size}, 3)")

    def function(image, key):
        with tf.device("CPU"):
            return graph(tf.constant(image), tf.constant(key, tf.int32)).numpy()

    noise = np.random.Generator(np.random.Philox(0)).integers(0, 256, (size, size, 3), np.uint8)
    ends = [function(noise, [0, key]) for key in range(PROBES)]
    if not (np.min(ends) > -1 and 2 < np.max(ends) < 256):  # some layers want photos in [0, 1]
        raise UserError(
            f"{name}: gives values from {np.min(ends):.3g} to {np.max(ends):.3g}, not those of a "
            "photo in [0, 255]; take another layer"
        )
    return function


def _layer(name):
    """The Keras-CV layer that a name and its arguments stand for."""
    try:
        from keras_cv import layers
    except ImportError as error:
        raise UserError(
            f"{name}: Keras-CV is not installed; install the extra: pip install 'dermssl[keras-cv]'"
        ) from error
    try:
        call = ast.parse(name.removeprefix(PREFIX), mode="eval").body
        call = call if isinstance(call, ast.Call) else ast.Call(call, [], [])
        kind, options = call.func.id, {k.arg: ast.literal_eval(k.value) for k in call.keywords}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise UserError(
            f"{name}: can't be read; write it as {PREFIX}RandomHue(factor=0.1)"
        ) from error
    bases = (layers.BaseImageAugmentationLayer, layers.VectorizedBaseImageAugmentationLayer)
    valid = [
        key for key, value in sorted(vars(layers).items())
        if inspect.isclass(value) and issubclass(value, bases) and value not in bases
    ]  # fmt: skip
    if kind in MIXES:
        raise UserError(
            f"{name}: mixes photos and so their labels; the augmentations skin_mixup and "
            "skin_cutmix do that here"
        )
    if kind not in valid:
        raise unknown_name(f"layer of {PREFIX}", kind, [key for key in valid if key not in MIXES])
    wanted = inspect.signature(getattr(layers, kind)).parameters
    if "value_range" in wanted:
        options = {"value_range": (0, 255), **options}
    try:
        return getattr(layers, kind)(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name}: {' '.join(str(error).split())}") from error


def _stateless_draws(key):
    """A context in which TensorFlow's random functions draw from `key`, each its own numbers."""
    import tensorflow as tf

    numbers = itertools.count()

    def seed():
        return tf.random.experimental.stateless_fold_in(key, next(numbers))

    def uniform(shape, minval=0, maxval=None, dtype=tf.float32):
        maxval = 1 if maxval is None and tf.as_dtype(dtype).is_floating else maxval
        return tf.random.stateless_uniform(shape, seed(), minval, maxval, dtype)

    def normal(shape, mean=0.0, stddev=1.0, dtype=tf.float32):
        return tf.random.stateless_normal(shape, seed(), mean, stddev, dtype)

    def gamma(shape, alpha, beta=None, dtype=tf.float32):
        shape = tf.concat([shape, tf.shape(alpha)], 0)
        return tf.random.stateless_gamma(shape, seed(), alpha, beta, dtype)

    def drawer(function, method):
        def draw(*args, **options):
            options.pop("seed", None)
            return function(*args[method:], **options)

        return draw

    stack = contextlib.ExitStack()
    for function in (uniform, normal, gamma):
        patched = mock.patch.object(tf.random, function.__name__, drawer(function, 0))
        stack.enter_context(patched)
    for function in (uniform, normal):
        patched = mock.patch.object(tf.random.Generator, function.__name__, drawer(function, 1))
        stack.enter_context(patched)
    return stack

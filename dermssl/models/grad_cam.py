"""Grad-CAM heat maps: where a network's evidence for a class is (Selvaraju et al., 2017).

The map is relu(sum over k of a_k A_k): A_k is channel k of the last tensor that still has a
place for each value, a_k the mean over places of the score's gradient. That tensor is the one
that the pooling at the end of the backbone reads. A heat map says what raised this score in this
network; it is no outline of the lesion and no proof of a good reason.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from dermssl.core.errors import UserError
from dermssl.models.classifier import LesionClassifier

LEVELS = ("fine", "coarse")


def spatial(classifier: LesionClassifier) -> Any:
    """The tensor that the pooling reads.

    Args:
        classifier: `LesionClassifier`.

    Returns:
        A Keras tensor (n, h, w, channels) in the graph of its backbone.

    Raises:
        UserError: the backbone has no pooling over places, so there is no map.
    """
    pooling = classifier.backbone.layers[-1]
    if not isinstance(pooling, layers.GlobalAveragePooling2D):
        raise UserError(
            "Grad-CAM: this run's backbone has no spatial map (an mlp sees its pixels as one "
            "list); explain a run of another backbone"
        )
    return pooling.input


def heat_maps(
    classifier: LesionClassifier, images: np.ndarray, classes: np.ndarray, level: str = "fine",
    batch_size: int = 32,
) -> np.ndarray:  # fmt: skip
    """Heat maps of some photos, each for one class.

    At the fine level the score is the class's logit, as in the paper; at the coarse one it is
    log P(coarse), which with the hierarchical head gathers the logits of all children and
    weighs them against all other classes. With P(coarse) near 1 its gradient is small all
    over, which the last step, a division by the map's maximum, makes good.

    Args:
        classifier: `LesionClassifier`; nothing in it is changed.
        images: float32 or uint8 (n, size, size, 3) RGB in [0, 255].
        classes: int (n,), the index of the class to explain in each photo.
        level: "fine" or "coarse".
        batch_size: int.

    Returns:
        float32 (n, h, w) in [0, 1], h and w of the feature map: 1 is the place that speaks
        most for the class in this photo, so two photos' maps have no common scale. A map that
        is 0 everywhere: no place speaks for the class.

    Raises:
        UserError: see `spatial`, or an unknown level.
    """
    if level not in LEVELS:
        raise UserError(f"level is '{level}'; choose one of: {', '.join(LEVELS)}")
    trunk, head = _cut(classifier)
    images = np.asarray(images, dtype=np.float32)
    classes = np.asarray(classes, dtype=np.int64)
    if images.ndim != 4 or classes.shape != images.shape[:1]:
        raise ValueError(f"{images.shape} images and {classes.shape} classes don't go together")
    maps = [
        _maps(trunk, head, images[start : start + batch_size], classes[start : start + batch_size],
              level)
        for start in range(0, len(images), batch_size)
    ]  # fmt: skip
    return np.concatenate(maps) if maps else np.zeros((0, *trunk.output.shape[1:3]), np.float32)


def _cut(classifier):
    """The classifier as two: photo -> feature map, and embedding -> logits."""
    trunk = keras.Model(classifier.backbone.input, spatial(classifier))
    return trunk, keras.Model(classifier.dropout.input, classifier.output)


def _maps(trunk, head, images, classes, level):
    return _of_features(trunk(images, training=False), head, classes, level).numpy()


def with_embedding(classifier: LesionClassifier, images: Any) -> tuple[Any, Any]:
    """The embedding and the map of the likeliest fine class, in one pass, for use in a graph.

    Args:
        classifier: `LesionClassifier`.
        images: float32 (n, size, size, 3) RGB in [0, 255].

    Returns:
        Tensors (n, d), as the backbone gives it, and float32 (n, h, w), as `heat_maps` gives it.

    Raises:
        UserError: see `spatial`.
    """
    backbone = classifier.backbone
    both = keras.Model(backbone.input, [spatial(classifier), backbone.output])
    features, h = both(images, training=False)
    head = keras.Model(classifier.dropout.input, classifier.output)
    classes = tf.argmax(head(h, training=False)["fine"], axis=-1)
    return h, _of_features(features, head, classes, "fine")


def _of_features(features, head, classes, level):
    # float32 from here on: in float16 the gradient of one place would lose its last digits.
    features = tf.cast(features, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = head(tf.reduce_mean(features, axis=(1, 2)), training=False)[level]
        scores = logits if level == "fine" else tf.nn.log_softmax(logits)
        score = tf.gather(scores, classes, batch_dims=1)
    gradient = tape.gradient(score, features)
    weights = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
    maps = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))
    highest = tf.reduce_max(maps, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(maps, highest)


@contextlib.contextmanager
def randomized_weights(model: keras.Model, seed: int = 0) -> Iterator[keras.Model]:
    """The model with the values of every weight shuffled within it, while the block lasts.

    For the sanity check of Adebayo et al. (2018): a map that looks the same after this says
    nothing of what was learnt. Shuffling keeps every weight's distribution, so the signal
    neither dies nor explodes on its way through the network.

    Args:
        model: `keras.Model`; its weights are put back at the end, whatever happens.
        seed: int.
    """
    before = model.get_weights()
    rng = np.random.Generator(np.random.Philox(key=seed))
    try:
        model.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in before])
        yield model
    finally:
        model.set_weights(before)


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps.

    Args:
        maps, others: float (n, h, w).

    Returns:
        float64 (n,); NaN where a map is the same everywhere.
    """
    from scipy import stats

    found = np.full(len(maps), np.nan)
    for k, (a, b) in enumerate(zip(maps, others)):
        if np.ptp(a) > 0 and np.ptp(b) > 0:
            found[k] = stats.spearmanr(a.ravel(), b.ravel()).statistic
    return found

"""What a network gives for photos, batch by batch: embeddings and probabilities."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import tensorflow as tf
from keras import tree

from dermssl.data import pipeline, python_calls
from dermssl.data.photos import photos_of
from dermssl.models import backbones, grad_cam, weights

if TYPE_CHECKING:
    import keras

    from dermssl.core.settings import Backbone, Data
    from dermssl.data.records import Dataset
    from dermssl.models.classifier import LesionClassifier

THUMBNAIL = 48  # pixels
# A network's graphs live as long as the network.
_GRAPHS: weakref.WeakKeyDictionary[Any, dict] = weakref.WeakKeyDictionary()


def traced(network: keras.Model, function: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """`function(network, images)` as a graph, traced once for each network and size of images.

    Operation by operation, MobileNet takes 1.5 times the CPU time of the graph at 224 px and 2.6
    times at 64 px, EfficientNetB1 3.6 times at 96 px.

    Args:
        network: `keras.Model`.
        function: of the network and float32 images (b, size, size, 3); a module's own, not a
            lambda, which would be another one at each call.

    Returns:
        function of images of any number.
    """
    held = weakref.ref(network)  # else the graph would keep the network, and that the graph

    def forward(images):
        graphs, images = _GRAPHS.setdefault(network, {}), tf.cast(images, tf.float32)
        key = (function, *images.shape[1:])
        if key not in graphs:
            signature = [tf.TensorSpec((None, *images.shape[1:]), tf.float32)]
            graphs[key] = tf.function(
                lambda images: function(held(), images), input_signature=signature
            )
        return graphs[key](images)

    return forward


def inference(network: keras.Model, images: Any) -> Any:
    """What a network gives for images, as in use: no dropout, moving BatchNorm statistics."""
    return network(images, training=False)


def run(forward: Callable[[Any], Any], batches: Iterable[Any]) -> Any:
    """What `forward` gives for each batch, put together.

    Args:
        forward: function of a batch to a tensor, or to a tuple or dict of tensors (b, ...).
        batches: images, whatever `forward` takes.

    Returns:
        The same structure of arrays (n, ...).
    """
    with python_calls.guarded():
        parts = [tree.map_structure(np.asarray, forward(batch)) for batch in batches]
    return tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)


def embed(network: keras.Model, batches: Iterable[Any]) -> np.ndarray:
    """Embeddings h of photos.

    Args:
        network: `keras.Model`: (b, size, size, 3) in [0, 255] -> (b, d).
        batches: float32 images, as from `pipeline.evaluation_data`.

    Returns:
        float32 (n, d).
    """
    return run(traced(network, inference), batches).astype(np.float32)


def predict_proba(model: LesionClassifier, batches: Iterable[Any]) -> dict[str, np.ndarray]:
    """Probabilities of photos at both levels.

    Args:
        model: `LesionClassifier`.
        batches: float32 images, as from `pipeline.evaluation_data`.

    Returns:
        dict of float64 arrays, "fine" (n, fine) and "coarse" (n, coarse).
    """
    return model.probabilities(run(traced(model, inference), batches))


def predict_and_embed(
    model: LesionClassifier, batches: Iterable[Any], explain: bool = False
) -> dict[str, np.ndarray]:  # fmt: skip
    """`predict_proba` and the embeddings beneath it, in one pass.

    Args:
        model, batches: as of `predict_proba`.
        explain: give the heat map of the likeliest fine class as well.

    Returns:
        dict of "fine" and "coarse" as there, "embedding", float32 (n, d), and "heat_map", float32
        (n, h, w) as of `grad_cam.heat_maps`, where asked for.

    Raises:
        UserError: a backbone without heat maps was asked for one (see `grad_cam.spatial`).
    """
    if explain:
        grad_cam.spatial(model)  # here, as an error within a graph is no single line
    logits = run(traced(model, _with_heat_map if explain else _logits_and_embedding), batches)
    names = ("embedding", "heat_map") if explain else ("embedding",)
    more = {name: logits.pop(name).astype(np.float32) for name in names}
    return {**model.probabilities(logits), **more}


def _with_heat_map(model, images):
    h, heat_map = grad_cam.with_embedding(model, images)
    return {**_head(model, h), "heat_map": heat_map}


def _logits_and_embedding(model, images):
    return _head(model, model.backbone(images, training=False))


def _head(model, h):
    fine = model.fine(h)
    coarse = model.coarse(fine if model.head == "hierarchical" else h)
    return {"fine": fine, "coarse": coarse, "embedding": h}


def embed_with_thumbnails(
    network: keras.Model, batches: Iterable[Any], progress: Callable[[int], None] | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Embeddings as of `embed`, and small pictures of the same photos, each decoded once.

    Args:
        network, batches: as of `embed`.
        progress: function of the number of photos done, or None.

    Returns:
        float32 (n, d), and a list of n thumbnails, uint8 (48, 48, 3).
    """
    thumbnails: list[np.ndarray] = []

    def passed():
        for images in batches:
            yield images
            for image in np.asarray(images).astype(np.uint8):
                small = (THUMBNAIL, THUMBNAIL)
                thumbnails.append(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
            if progress:
                progress(len(thumbnails))

    return embed(network, passed()), thumbnails


def embed_records(
    config: Backbone, dataset: Dataset, data: Data, batch_size: int = 64
) -> np.ndarray:
    """The embedding h of every photo.

    Args:
        config: `settings.Backbone`; `weights` may name a pretraining run.
        dataset: `Dataset` of readable photos.
        data: `settings.Data`; its preprocessing is done to them.
        batch_size: int.

    Returns:
        float32 array (n, d), in the order of the records.
    """
    start, _ = weights.resolve(config)
    backbones.use_precision(start)
    photos = photos_of(dataset, data, start.image_size, share=0)  # each is seen once
    batches = pipeline.evaluation_data(photos, batch_size, start.image_size)
    return embed(backbones.build(start), batches)

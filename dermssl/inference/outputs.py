"""The backbone of a run, pretrained or fine-tuned, and what it makes of photos."""

import dataclasses

import cv2
import numpy as np

from dermssl.core import config as configs
from dermssl.core import runs
from dermssl.core.settings import Backbone
from dermssl.data import pipeline
from dermssl.data.photos import photos_of
from dermssl.models import backbones, weights

THUMBNAIL = 48  # pixels


def backbone(path):
    """The backbone of a finished run, with its weights.

    Args:
        path: folder of a pretraining or a fine-tuning run.

    Returns:
        `keras.Model`: float32 (n, size, size, 3) in [0, 255] -> float (n, d).
    """
    status = runs.finished(path)
    if status["command"] == "finetune":
        return weights.load_classifier(path)[0].get_layer("backbone")
    config = configs.build(Backbone, status["config"]["backbone"], path)
    start, _ = weights.resolve(dataclasses.replace(config, weights=str(path)))
    backbones.use_precision(start)
    return backbones.build(start)


def embed(model, photos, size, batch_size=32, progress=None):
    """Embeddings h of photos.

    Args:
        model: as from `backbone`.
        photos: `pipeline.Photos`.
        size, batch_size: int.
        progress: function of the number of photos done, or None.

    Returns:
        float32 (n, d), and a list of n thumbnails, uint8 (48, 48, 3): each photo is decoded once.
    """
    parts, thumbnails = [], []
    for images in pipeline.evaluation_data(photos, batch_size, size):
        parts.append(np.asarray(model(images, training=False), dtype=np.float32))
        small = (THUMBNAIL, THUMBNAIL)
        for image in images.numpy().astype(np.uint8):
            thumbnails.append(cv2.resize(image, small, interpolation=cv2.INTER_AREA))
        if progress:
            progress(len(thumbnails))
    return np.concatenate(parts), thumbnails


def embed_records(config, dataset, data, batch_size=64):
    """The embedding h of every photo.

    Args:
        config: `dermssl.core.config.Backbone`; `weights` may name a pretraining run.
        dataset: `dermssl.data.records.Dataset` of readable photos.
        data: `dermssl.core.config.Data`; its preprocessing is done to them.
        batch_size: int.

    Returns:
        float32 array (n, d), in the order of the records.
    """
    start, _ = weights.resolve(config)
    backbones.use_precision(start)
    network = backbones.build(start)
    size = start.image_size
    photos = photos_of(dataset, data, size, share=0)  # each is seen once
    found = network.predict(pipeline.evaluation_data(photos, batch_size, size), verbose=0)
    return np.asarray(found, np.float32)

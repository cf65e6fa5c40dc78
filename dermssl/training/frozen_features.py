"""What a backbone, as it is, gives for photos: no training, no augmentation."""

import numpy as np

from dermssl.data import pipeline
from dermssl.data.photos import photos_of
from dermssl.models import backbones, weights


def embed(config, dataset, data, batch_size=64):
    """The embedding h of every photo.

    Args:
        config: `dermssl.config.Backbone`; `weights` may name a pretraining run.
        dataset: `dermssl.data.index.Dataset` of readable photos.
        data: `dermssl.config.Data`; its preprocessing is done to them.
        batch_size: int.

    Returns:
        float32 array (n, d), in the order of the records.
    """
    start, _ = weights.resolve(config)
    backbones.use_precision(start)
    network = backbones.build(start)
    size = start.image_size
    photos = photos_of(dataset, data, size, share=0)  # each is seen once
    found = network.predict(pipeline.plain(photos, batch_size, size), verbose=0)
    return np.asarray(found, np.float32)

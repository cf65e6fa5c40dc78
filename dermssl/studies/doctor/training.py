"""Check that training works: the released weights at hand, and two steps of SimCLR."""

from __future__ import annotations

import math
import tempfile
import time

import numpy as np

from dermssl.core.errors import RunFailed
from dermssl.studies.doctor.check import Check

SIZE, BATCH, STEPS = 32, 16, 2  # px, photos, steps


def imagenet() -> Check:
    """Which ImageNet weights Keras has in its cache; nothing is downloaded."""
    from dermssl.models import weights

    folder = weights.cache()
    there = weights.downloaded(folder)
    missing = [name for name in weights.IMAGENET_FILES if name not in there]
    value = f"downloaded: {', '.join(there) or 'none'}"
    if missing:
        value += f"; on first use, from the network into {folder}: {', '.join(missing)}"
    return Check("ImageNet", value)


def two_steps() -> Check:
    """Two steps of SimCLR with a small network on drawn photos; they are deleted again."""
    import keras

    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.data.photos import Photos
    from dermssl.data.synthetic import dataset
    from dermssl.models import backbones
    from dermssl.models.simclr import SimCLR
    from dermssl.training.adam import Adam

    with tempfile.TemporaryDirectory(prefix="dermssl_doctor_") as folder:
        drawn = dataset.write(folder, n=dataset.MIN_RECORDS, size=SIZE)
        photos = Photos(sorted(map(str, drawn.glob("images/*.jpg"))), SIZE)
        model = SimCLR(backbones.Backbone("cnn", image_size=SIZE), projection=(32, 16))
        model.compile(Adam(1e-3), jit_compile=False)
        views = pipeline.two_view_data(photos, AUGMENTATIONS["simclr"], 0, BATCH, SIZE, STEPS)
        before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
        ends = [time.perf_counter()]
        clock = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
        )
        loss = model.fit(views, shuffle=False, verbose=0, callbacks=[clock]).history["loss"][0]
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    # A loss alone doesn't tell: a ReLU makes a 0 of what is no number.
    if not math.isfinite(loss) or not all(np.isfinite(weight).all() for weight in after):
        raise RunFailed(f"{STEPS} steps gave weights that are no numbers, at a loss of {loss:.3g}")
    if all((old == new).all() for old, new in zip(before, after)):
        raise RunFailed(f"{STEPS} steps changed no weight, at a loss of {loss:.3g}")
    return Check(
        "training",
        f"{STEPS} steps of SimCLR (cnn, {BATCH} photos of {SIZE} px): {ends[1] - ends[0]:.1f} s to "
        f"start, then {ends[2] - ends[1]:.2f} s a step; loss {loss:.2f}",
    )

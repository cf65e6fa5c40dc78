"""The training steps that `simclr_step.py` and `end_to_end.py` time, each in a process of its own.

    python step_sides.py SIDE SIZE BATCH [FOLDER]

Says "ready" once the first steps are done, then reads lines: a number of steps to do. Answers each
with a JSON line: seconds, CPU seconds and MiB at the peak. Without a folder of JPEG photos views
are random pixels that stand in memory: a step, without its input. Every side trains an
EfficientNetB1 from random weights under a projection head 512 -> 128 with NT-Xent at temperature
0.1 by Adam.
"""

import contextlib
import functools
import io
import itertools
import json
import resource
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np

BEFORE = "758ff66"  # the commit that the goals of speed are stated against
RATE, STEPS, WARMUP, TEMPERATURE = 1e-3, 10_000, 100, 0.1


def checked_out(folder):
    """The sources at `BEFORE`, written into a folder; None where the history has it not."""
    made = subprocess.run(
        ["git", "-C", str(Path(__file__).parents[1]), "archive", BEFORE, "dermssl"],
        capture_output=True,
    )
    if made.returncode:
        print(f"without ours at {BEFORE}: {made.stderr.decode().strip().splitlines()[-1]}")
        return None
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Path(folder)


def views(size, batch):
    """Two float32 (batch, size, size, 3) in [0, 255]."""
    rng = np.random.default_rng(0)
    return [rng.uniform(0, 255, (batch, size, size, 3)).astype(np.float32) for _ in range(2)]


def _rate():
    import keras

    return keras.optimizers.schedules.CosineDecay(
        0.0, STEPS - WARMUP, warmup_target=RATE, warmup_steps=WARMUP
    )


def _keras(model, optimizer, data, batches=None):
    """A function that does a step of a Keras model: of the same views, or of the next batch."""
    import tensorflow as tf

    model.compile(optimizer=optimizer, jit_compile=False)
    optimizer.build(model.trainable_variables)
    batches = batches or itertools.repeat(tuple(map(tf.constant, data)))
    step = tf.function(lambda batch: model.train_step(batch)["loss"])
    return lambda: float(np.squeeze(step(next(batches))))


def ours(size, batch, folder=None, cache_mb=0):
    """`dermssl.SimCLR`, as `dermssl.pretrain` trains it."""
    from dermssl.core import cli

    cli.quiet_tensorflow()
    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.data.photos import Photos
    from dermssl.models import backbones, simclr
    from dermssl.training.adam import Adam

    model = simclr.SimCLR(backbones.Backbone(image_size=size), temperature=TEMPERATURE)
    if folder is None:
        return _keras(model, Adam(_rate()), views(size, batch))
    photos = Photos(sorted(map(str, Path(folder).rglob("*.jpg"))), size, cache_mb)
    data = pipeline.two_view_data(photos, AUGMENTATIONS["simclr"], 0, batch, size, steps=10**6)
    return _keras(model, Adam(_rate()), None, iter(data))


def ours_cached(size, batch, folder):
    """The same with decoded photos in memory, as `dermssl.pretrain` keeps them."""
    return ours(size, batch, folder, cache_mb=1024)


def before(size, batch):
    """The same at a commit before the fused kernels; its folder is first in PYTHONPATH."""
    import keras

    from dermssl import settings
    from dermssl.models import backbones, simclr

    config = settings.Backbone(name="efficientnetb1", image_size=size, weights="none")
    model = simclr.SimCLR(backbones.build(config), temperature=TEMPERATURE)
    return _keras(model, keras.optimizers.Adam(_rate()), views(size, batch))


def keras_io(size, batch):
    """The recipe of keras.io: one pass a view, cross-entropy in both directions."""
    import keras
    import tensorflow as tf
    from keras import layers

    class Recipe(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = keras.applications.EfficientNetB1(
                include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
            )
            self.head = keras.Sequential(
                [keras.Input((1280,)), layers.Dense(512, activation="relu"), layers.Dense(128)]
            )
            self.built = True

        def call(self, images, training=False):
            return self.head(self.encoder(images, training=training), training=training)

        def train_step(self, data):
            with tf.GradientTape() as tape:
                first, second = (tf.math.l2_normalize(self(v, training=True), 1) for v in data)
                similar = tf.matmul(first, second, transpose_b=True) / TEMPERATURE
                labels = tf.range(tf.shape(first)[0])
                loss = tf.reduce_mean([
                    keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
                    for logits in (similar, tf.transpose(similar))
                ])  # fmt: skip
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
            return {"loss": loss}

    return _keras(Recipe(), keras.optimizers.Adam(_rate()), views(size, batch))


def keras_cv(size, batch):
    """keras-cv's own trainer, its augmenters left out."""
    import keras
    from keras_cv.src.losses.simclr_loss import SimCLRLoss
    from keras_cv.src.training.contrastive.simclr_trainer import SimCLRTrainer

    encoder = keras.applications.EfficientNetB1(
        include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg"
    )
    trainer = SimCLRTrainer(encoder=encoder, augmenter=keras.layers.Identity())
    trainer.compile(
        encoder_optimizer=keras.optimizers.Adam(_rate()),
        encoder_loss=SimCLRLoss(temperature=TEMPERATURE),
    )
    images = views(size, batch)[0]
    return lambda: float(np.ravel(trainer.train_on_batch(images))[0])


def lightly(size, batch, folder=None, passes=2, workers=0):
    """lightly's example, torchvision's network, channels last; one pass a view, or one for both."""
    import torch
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.models.modules import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform
    from torchvision.models import efficientnet_b1

    network = efficientnet_b1(weights=None)
    network.classifier = torch.nn.Identity()
    model = torch.nn.Sequential(network, SimCLRProjectionHead(1280, 512, 128))
    model = model.to(memory_format=torch.channels_last).train()
    optimizer, loss_of = torch.optim.Adam(model.parameters(), RATE), NTXentLoss(TEMPERATURE)
    if folder is None:
        data = [torch.from_numpy(v).permute(0, 3, 1, 2) / 255 for v in views(size, batch)]
        batches = itertools.repeat(data)
    else:
        # Skin has no upside: both flips and any rotation, as ours; colours and blur are lightly's.
        transform = SimCLRTransform(size, vf_prob=0.5, rr_prob=1.0, rr_degrees=180)
        loader = torch.utils.data.DataLoader(
            LightlyDataset(folder, transform=transform), batch_size=batch, shuffle=True,
            drop_last=True, num_workers=workers, persistent_workers=workers > 0,
        )  # fmt: skip
        epochs = itertools.chain.from_iterable(itertools.repeat(loader))
        batches = ([v.to(memory_format=torch.channels_last) for v in b[0]] for b in epochs)

    def step():
        optimizer.zero_grad()
        data = next(batches)
        inputs = data if passes == 2 else [torch.cat(data)]
        loss = loss_of(*torch.cat([model(images) for images in inputs]).chunk(2))
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def lightly_one_pass(size, batch):
    """The same with both views in one pass."""
    return lightly(size, batch, passes=1)


SIDES = {
    "ours": ours, "before": before, "keras.io": keras_io, "keras-cv": keras_cv,
    "lightly": lightly, "lightly, one pass": lightly_one_pass,
}  # fmt: skip
FROM_FILES = {
    "ours": ours, "ours, cached": ours_cached,
    **{f"lightly, {n} workers": functools.partial(lightly, workers=n) for n in (0, 1, 2)},
}  # fmt: skip


def main():
    """Serve one side until standard input ends."""
    name, size, batch, *folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    try:
        step = (FROM_FILES if folder else SIDES)[name](size, batch, *folder)
        for _ in range(2):
            step()
    except Exception as error:  # the parent says which peer is missing, and why
        reason = str(error).strip().splitlines() or [type(error).__name__]
        print(f"missing: {reason[0]}", file=answers, flush=True)
        return 1
    print("ready", file=answers, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        for line in sys.stdin:
            began, cpu = time.perf_counter(), time.process_time()
            for _ in range(int(line)):
                loss = step()
            assert np.isfinite(loss), loss
            found = {
                "seconds": (time.perf_counter() - began) / int(line),
                "cpu": (time.process_time() - cpu) / int(line),
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(found), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The pipelines that `pipeline_speed.py` times: JPEG files to two augmented views.

Each gives batches of float32 (2, BATCH, SIZE, SIZE, 3) in [0, 255] without an end; torchvision's
are in its own layout, (2, BATCH, 3, SIZE, SIZE), in a process of its own:

    python pipeline_sides.py '["FILE.jpg", ...]'
"""

import json
import os
import subprocess
import sys
import time

import bench
import numpy as np

SIZE, BATCH, PROCESSES = 224, 32, 2


def ours(files, cache_mb=0):
    """Batches of the product's pipeline."""
    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.data.photos import Photos

    photos = Photos(files, SIZE, cache_mb)
    if cache_mb:
        for number in range(len(files)):
            photos[number]
    policy = AUGMENTATIONS["simclr"]
    return iter(pipeline.two_view_data(photos, policy, 0, BATCH, SIZE, steps=10**6))


def _decoded(files):
    """tf.data of float32 photos, 448 px, shuffled and batched: what both kinds of layers take."""
    import tensorflow as tf

    def load(file):
        image = tf.io.decode_jpeg(tf.io.read_file(file), channels=3)
        side = tf.reduce_min(tf.shape(image)[:2])
        square = tf.image.resize_with_crop_or_pad(image, side, side)
        return tf.image.resize(square, (2 * SIZE, 2 * SIZE))

    data = tf.data.Dataset.from_tensor_slices(files).shuffle(len(files)).repeat()
    return data.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH, drop_remainder=True)


def _twice(data, layers):
    """Two views of each batch: through the layers, then noise on half of the photos."""
    import tensorflow as tf

    def view(images):
        for layer in layers:
            images = layer(images, training=True)
        noisy = tf.random.uniform((BATCH, 1, 1, 1)) < 0.5
        sigma = tf.random.uniform((BATCH, 1, 1, 1), 0, 6)
        noise = tf.random.normal(tf.shape(images)) * sigma
        return tf.clip_by_value(tf.where(noisy, images + noise, images), 0, 255)

    def both(images):
        return tf.stack([view(images), view(images)])

    return iter(data.map(both, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2))


def keras_cv(files):
    """keras-cv's preprocessing layers, on batches in tf.data."""
    import keras_cv

    layers = keras_cv.layers
    turned = [
        layers.RandomRotation(0.5, fill_mode="reflect"),
        layers.RandomShear(x_factor=0.14, fill_mode="reflect"),
        layers.RandomCropAndResize((SIZE, SIZE), (0.25, 1.0), (1.0, 1.0)),
        layers.RandomFlip("horizontal_and_vertical"),
    ]
    jitter = layers.RandomApply(
        layers.RandomColorJitter(
            (0, 255), brightness_factor=0.2, contrast_factor=0.25,
            saturation_factor=0.3, hue_factor=6 / 180,
        ), rate=0.8,
    )  # fmt: skip
    rest = [
        layers.RandomApply(layers.Grayscale(output_channels=3), rate=0.2),
        layers.RandomApply(layers.RandomGaussianBlur(9, (0.1, 1.6)), rate=0.5),
    ]

    return _twice(_decoded(files), [*turned, jitter, *rest])


def keras_layers(files):
    """Keras 3's own preprocessing layers, on batches in tf.data."""
    from keras import layers

    turned = [
        layers.RandomRotation(0.5, fill_mode="reflect"),
        layers.RandomShear(x_factor=0.14, fill_mode="reflect"),
        layers.RandomZoom((-0.5, 0.0), fill_mode="reflect"),
        layers.CenterCrop(2 * SIZE, 2 * SIZE),
        layers.Resizing(SIZE, SIZE),
        layers.RandomFlip("horizontal_and_vertical"),
        layers.RandomColorJitter((0, 255), 0.2, 0.25, 0.15, 6 / 180),
        layers.RandomGrayscale(0.2),
        layers.RandomGaussianBlur(0.5, kernel_size=9, sigma=1.0),
    ]

    return _twice(_decoded(files), turned)


def _albumentations_worker(files, name, slots, tasks, done, seed):
    """Fills slots of the shared memory with uint8 batches, until it is told None."""
    from multiprocessing import shared_memory

    import albumentations as A
    import cv2

    cv2.setNumThreads(1)
    memory = shared_memory.SharedMemory(name=name)
    room = np.ndarray((slots, 2, BATCH, SIZE, SIZE, 3), np.uint8, memory.buf)
    policy = A.Compose([
        A.RandomResizedCrop((SIZE, SIZE), scale=(0.25, 1.0), ratio=(1.0, 1.0)),
        A.Affine(rotate=(-180, 180), shear=(-8, 8), border_mode=cv2.BORDER_REFLECT_101, p=1.0),
        A.HorizontalFlip(p=0.5),
        A.VerticalFlip(p=0.5),
        A.ColorJitter(0.2, 0.25, 0.3, 6 / 360, p=0.8),
        A.ToGray(p=0.2),
        A.GaussianBlur(blur_limit=(3, 9), sigma_limit=(0.1, 1.6), p=0.5),
        A.GaussNoise(std_range=(0, 6 / 255), p=0.5),
    ], seed=seed)  # fmt: skip
    rng = np.random.default_rng(seed)
    while (slot := tasks.get()) is not None:
        for place in range(BATCH):
            image = cv2.imread(files[rng.integers(len(files))], cv2.IMREAD_COLOR_RGB)
            for view in (0, 1):
                room[slot, view, place] = policy(image=image)["image"]
        done.put(slot)
    memory.close()


class Albumentations:
    """Batches from two processes."""

    def __init__(self, files):
        import multiprocessing
        from multiprocessing import shared_memory

        context = multiprocessing.get_context("spawn")
        self.slots = 2 * PROCESSES
        self.shape = (self.slots, 2, BATCH, SIZE, SIZE, 3)
        self.memory = shared_memory.SharedMemory(create=True, size=int(np.prod(self.shape)))
        self.room = np.ndarray(self.shape, np.uint8, self.memory.buf)
        self.tasks, self.done = context.Queue(), context.Queue()
        self.workers = [
            context.Process(
                target=_albumentations_worker,
                args=(files, self.memory.name, self.slots, self.tasks, self.done, seed),
                daemon=True,
            )
            for seed in range(PROCESSES)
        ]
        for worker in self.workers:
            worker.start()
        self.ahead = False

    def __iter__(self):
        return self

    def __next__(self):
        if not self.ahead:
            for slot in range(self.slots):
                self.tasks.put(slot)
            self.ahead = True
        slot = self.done.get()
        batch = self.room[slot].astype(np.float32)
        self.tasks.put(slot)
        return batch

    def rest(self):
        """Let the work that is ahead end, so that it burdens no other side's turn."""
        for _ in range(self.slots if self.ahead else 0):
            self.done.get()
        self.ahead = False

    def cpu(self):
        """Seconds of CPU that the workers have used."""
        import psutil

        times = [psutil.Process(worker.pid).cpu_times() for worker in self.workers]
        return sum(each.user + each.system for each in times)

    def close(self):
        """End the processes and give the memory back."""
        for _ in self.workers:
            self.tasks.put(None)
        for worker in self.workers:
            worker.join(timeout=20)
        del self.room
        self.memory.close()
        self.memory.unlink()


def torchvision_batches(files):
    """Batches of torchvision's transforms v2, from two worker processes."""
    import torch
    from torchvision import io
    from torchvision.transforms import v2

    policy = v2.Compose([
        v2.RandomResizedCrop(SIZE, scale=(0.25, 1.0), ratio=(1.0, 1.0), antialias=True),
        v2.RandomAffine(180, shear=8, interpolation=v2.InterpolationMode.BILINEAR),
        v2.RandomHorizontalFlip(0.5),
        v2.RandomVerticalFlip(0.5),
        v2.RandomApply([v2.ColorJitter(0.2, 0.25, 0.3, 6 / 360)], 0.8),
        v2.RandomGrayscale(0.2),
        v2.RandomApply([v2.GaussianBlur(9, (0.1, 1.6))], 0.5),
        v2.ToDtype(torch.float32),
        v2.RandomApply([v2.GaussianNoise(sigma=3.0, clip=False)], 0.5),
        v2.Lambda(lambda image: image.clamp_(0, 255)),
    ])  # fmt: skip

    class Views(torch.utils.data.Dataset):
        def __len__(self):
            return 10**9

        def __getitem__(self, number):
            read = io.read_file(files[number * 7919 % len(files)])
            image = io.decode_jpeg(read, io.ImageReadMode.RGB)
            return torch.stack([policy(image), policy(image)])

    return iter(torch.utils.data.DataLoader(Views(), BATCH, num_workers=PROCESSES))


class Torchvision:
    """Batches of `torchvision_batches`, in a process of another Python.

    Args:
        files: list of paths.
        python: a Python that has torch and torchvision.

    Raises:
        RuntimeError: it ended before its first batch; with its last line.
    """

    def __init__(self, files, python):
        self.process = subprocess.Popen(
            [python, __file__, json.dumps(files)], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            next(self)
        except StopIteration:
            lines = self.process.stderr.read().strip().splitlines() or ["it ended"]
            raise RuntimeError(lines[-1]) from None

    def __iter__(self):
        return self

    def __next__(self):
        try:
            self.process.stdin.write("next\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise StopIteration from None
        if not self.process.stdout.readline():
            raise StopIteration
        return None  # the batch is where its user wants it: in PyTorch's process

    def cpu(self):
        """Seconds of CPU that it and its workers have used."""
        return bench.cpu_of(self.process.pid)

    def rest(self):
        """Wait until its workers have filled the batches they keep ahead."""
        used = -1.0
        while (now := self.cpu()) - used > 0.02:
            used = now
            time.sleep(0.25)

    def close(self):
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def serve():
    """A batch of torchvision for each line of standard input."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    batches = torchvision_batches(json.loads(sys.argv[1]))
    for _ in sys.stdin:
        print(tuple(next(batches).shape), flush=True)


if __name__ == "__main__":
    serve()

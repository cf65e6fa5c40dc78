"""The training steps that `gpu.py` times; one process a side and network.

    python gpu_sides.py '{"side": "ours", "seconds": 120, "cases": [...]}'

Answers with a JSON line for each batch of each case. A case is a dict of network, size, batches,
precision, jit, remat and input: "synthetic" for views that stand in memory, or "photos" for the
whole pipeline. What no longer fits into the seconds is answered with `left_out`, what the device
has no memory for with `failed`.
"""

import gc
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from step_sides import TEMPERATURE, views

from dermssl.core import memory

STEPS, SECONDS = 5, 4.0  # steps at least, and seconds, that a batch is timed for
PHOTOS, PHOTO_SIDE = 300, 512


class Ours:
    """`dermssl.SimCLR` as `dermssl.pretrain` trains it; traced once for all batch sizes.

    Args:
        case: dict, see above.
    """

    def __init__(self, case):
        import keras
        import tensorflow as tf

        import dermssl
        from dermssl.training.adam import Adam

        keras.backend.clear_session()
        gc.collect()
        self.case = case
        keras.config.set_dtype_policy(case["precision"])
        size = case["size"]
        backbone = dermssl.Backbone(case["network"], image_size=size)
        model = dermssl.SimCLR(backbone, temperature=TEMPERATURE, remat=case["remat"])
        model.compile(Adam(1e-3), jit_compile=case["jit"])
        model.optimizer.build(model.trainable_variables)
        spec = tf.TensorSpec((None, size, size, 3), tf.float32)
        self._step = tf.function(
            lambda *pair: model.train_step(pair)["loss"], input_signature=[spec, spec],
            jit_compile=case["jit"] or None,
        )  # fmt: skip
        self._gpu = bool(tf.config.list_physical_devices("GPU"))

    def step(self, batch):
        """A function that does a step of so many photos and gives its loss."""
        import tensorflow as tf

        if self._gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        if self.case["input"] == "synthetic":
            pair = tuple(map(tf.constant, views(self.case["size"], batch)))
            return lambda: float(self._step(*pair))
        batches = iter(_pipeline(self.case["size"], batch))
        return lambda: float(self._step(*next(batches)))

    def peak_mib(self):
        """Of the GPU's memory since `step`; without one, of the process."""
        import tensorflow as tf

        if self._gpu:
            return tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pipeline(size, batch):
    """Two views of drawn photos, for ever; in memory after the first pass, as in training."""
    from dermssl.data import pipeline
    from dermssl.data.augmentation.policies import AUGMENTATIONS
    from dermssl.data.photos import Photos
    from dermssl.data.synthetic import dataset

    n = PHOTOS if size > 64 else 30  # the drawn data set has no fewer
    folder = Path(tempfile.gettempdir()) / f"dermssl_gpu_{os.getpid()}_{n}"
    if not folder.exists():
        dataset.write(folder, n=n, size=PHOTO_SIDE if size > 64 else size, seed=0)
    files = sorted(map(str, (folder / "images").iterdir()))
    photos = Photos(files, size)
    return pipeline.two_view_data(photos, AUGMENTATIONS["simclr"], 0, batch, size, 10**6)


class Lightly:
    """lightly's example on torchvision's network, channels last, both views in one pass.

    Args:
        case: dict, see above.
    """

    def __init__(self, case):
        import torch
        from lightly.loss import NTXentLoss
        from lightly.models.modules import SimCLRProjectionHead
        from torchvision import models

        self.case, self._torch = case, torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        name = {"efficientnetb1": "efficientnet_b1"}.get(case["network"], case["network"])
        network = getattr(models, name)(weights=None)
        last = "classifier" if hasattr(network, "classifier") else "fc"
        width = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1].in_features
        setattr(network, last, torch.nn.Identity())
        self._model = torch.nn.Sequential(network, SimCLRProjectionHead(width, 512, 128))
        self._model = self._model.to(self._device, memory_format=torch.channels_last).train()
        self._optimizer = torch.optim.Adam(self._model.parameters(), 1e-3)
        self._loss = NTXentLoss(TEMPERATURE)
        self._scaler = torch.amp.GradScaler(enabled=case["precision"] == "mixed_float16")

    def step(self, batch):
        """A function that does a step of so many photos and gives its loss."""
        torch = self._torch
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        data = torch.from_numpy(np.concatenate(views(self.case["size"], batch)))
        data = (data.permute(0, 3, 1, 2) / 255).to(self._device)
        half = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}
        half = half.get(self.case["precision"])

        def step():
            self._optimizer.zero_grad()
            with torch.autocast(self._device, half, enabled=half is not None):
                z = self._model(data)
            loss = self._loss(*z.float().chunk(2))
            self._scaler.scale(loss).backward()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            return loss.item()

        return step

    def peak_mib(self):
        """Of the GPU's memory since `step`; without one, of the process."""
        if self._device == "cuda":
            return self._torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


SIDES = {"ours": Ours, "lightly": Lightly}


def measured(side, batch, began):
    """dict of what a batch gave; `began` is when its side was begun to be made, or None."""
    step = side.step(batch)
    started = time.perf_counter()
    losses = [step()]
    first = time.perf_counter() - (began or started)
    losses.append(step())
    steps, started = 0, time.perf_counter()
    while steps < STEPS or time.perf_counter() - started < SECONDS * (side.case["size"] > 64):
        losses.append(step())
        steps += 1
    seconds = (time.perf_counter() - started) / steps
    return {
        "photos_per_second": batch / seconds, "step_seconds": seconds,
        "first_step_seconds": first if began else None, "peak_mib": side.peak_mib(),
        "finite": bool(np.isfinite(losses).all()),
    }  # fmt: skip


def answers(task):
    """A dict for each batch of each case, as soon as it is known."""
    start, longest = time.perf_counter(), 0.0
    for case in task["cases"]:
        began, side, lack = time.perf_counter(), None, False
        for batch in case["batches"]:
            row = {**case, "batch": batch}
            if lack:  # a smaller batch was too large
                yield {**row, "failed": "out of memory"}
                continue
            if time.perf_counter() - start + longest > task["seconds"]:
                yield {**row, "left_out": True}
                continue
            at = time.perf_counter()
            try:
                fresh = side is None
                side = side or SIDES[task["side"]](case)
                yield {**row, **measured(side, batch, began if fresh else None)}
            except Exception as error:  # a row of the table, whatever it was
                lines = str(error).strip().splitlines() or [type(error).__name__]
                lack = memory.is_out_of_memory(error)
                yield {**row, "failed": "out of memory" if lack else lines[0]}
            longest = max(longest, time.perf_counter() - at)


def main():
    """Answer the task on the command line."""
    out, sys.stdout = sys.stdout, sys.stderr  # whatever a library prints is no answer
    task = json.loads(sys.argv[1])
    if task["side"] == "ours":
        from dermssl.core import cli

        cli.quiet_tensorflow()
    for answer in answers(task):
        print(json.dumps(answer), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

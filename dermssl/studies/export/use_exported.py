"""Load an exported file as its user does, in a process without dermssl, and use it.

    python use_exported.py FORMAT FILE PHOTOS.npy ANSWERS.npz

It gives the probabilities of all photos, those of the first few alone again, and the time of each.
"""

import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 16
ALONE = 30  # photos that go through alone, and are timed

Predict = Callable[[np.ndarray], dict[str, Any]]


def _keras(file: str) -> Predict:
    import keras

    return keras.saving.load_model(file, compile=False).predict_on_batch


def _saved_model(file: str) -> Predict:
    import tensorflow as tf

    loaded = tf.saved_model.load(file)  # kept, or its weights are gone
    return lambda photos: loaded.signatures["serve"](image=tf.constant(photos))


def _onnx(file: str) -> Predict:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda photos: dict(zip(names, session.run(names, {"image": photos})))


def _litert(file: str) -> Predict:
    import tensorflow as tf

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has a package of its own by now
        interpreter = tf.lite.Interpreter(file, num_threads=os.cpu_count())
    runner = interpreter.get_signature_runner("serve")
    return lambda photos: runner(image=photos)


LOADERS = {"keras": _keras, "savedmodel": _saved_model, "onnx": _onnx, "litert": _litert}


def use(predict: Predict, photos: np.ndarray) -> dict[str, np.ndarray]:
    """What a network gives for photos, in batches and alone, and how long one alone takes.

    Args:
        predict: of float32 photos (b, size, size, 3), to a dict of "fine" and "coarse".
        photos: uint8 (n, size, size, 3).

    Returns:
        dict of "fine" (n, F), "coarse" (n, C), `fine_alone` and `coarse_alone` of the first
        `ALONE` photos, and `ms`, float (m,), milliseconds for each of these.
    """
    pixels = photos.astype(np.float32)
    batches = [predict(pixels[k : k + BATCH]) for k in range(0, len(pixels), BATCH)]
    predict(pixels[:1])  # the first of a size is slower: some compile for it
    alone, ms = [], []
    for k in range(min(ALONE, len(pixels))):
        started = time.perf_counter()
        alone.append({name: np.asarray(p) for name, p in predict(pixels[k : k + 1]).items()})
        ms.append(1000 * (time.perf_counter() - started))
    answers = {"ms": np.array(ms)}
    for name in ("fine", "coarse"):
        answers[name] = np.concatenate([np.asarray(batch[name]) for batch in batches])
        answers[f"{name}_alone"] = np.concatenate([one[name] for one in alone])
    return answers


def main(words: list[str]) -> None:
    """Load, use, and write what came out."""
    name, file, photos, output = words
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    answers = use(LOADERS[name](file), np.load(photos))
    if "dermssl" in sys.modules:
        raise RuntimeError("the file needs dermssl")
    np.savez(output, **answers)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])

"""The formats that a network can leave in: how each is written, and what it needs.

All hold the same graph. Single files and the folder of a SavedModel are written to the path given;
who calls puts them in their place once they are checked.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dermssl.core.errors import UserError

if TYPE_CHECKING:
    import keras

INPUT = "image"  # the name of the photos in every signature
SERVE = "serve"  # the signature of float32 photos
QUANTIZATIONS = ("none", "float16", "int8")


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        title: as printed.
        file: name of what is written.
        write: function of (model, path, quantization, uint8 photos to calibrate int8 on).
        opened_by: how to load and call it, in Python.
        quantizations: of `QUANTIZATIONS`, those that it has.
        takes_uint8: whether photos may be uint8, too; float32 always.
        needs: packages beyond those of the installation.
        extra: of setup.cfg, that brings them.
    """

    title: str
    file: str
    write: Callable[[Any, Path, str, np.ndarray], None]
    opened_by: str
    quantizations: tuple[str, ...] = ("none",)
    takes_uint8: bool = False
    needs: tuple[str, ...] = ()
    extra: str = ""


def _keras(model: keras.Model, path: Path, quantization: str, photos: np.ndarray) -> None:
    model.save(path)


def _saved_model(model: keras.Model, path: Path, quantization: str, photos: np.ndarray) -> None:
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, dtype in ((SERVE, tf.float32), (f"{SERVE}_uint8", tf.uint8)):
        archive.add_endpoint(
            name,
            lambda image: model(tf.cast(image, tf.float32), training=False),
            [tf.TensorSpec(model.input.shape, dtype, name=INPUT)],
        )
    archive.write_out(str(path), verbose=False)


def _onnx(model: keras.Model, path: Path, quantization: str, photos: np.ndarray) -> None:
    import onnx
    import tensorflow as tf
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    # Not by `model.export`: it takes the constants of Keras's Normalization for inputs.
    signature = [tf.TensorSpec(model.input.shape, tf.float32, name=INPUT)]
    network, _ = tf2onnx.convert.from_keras(model, signature)
    for value in (*network.graph.input, *network.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    onnx.checker.check_model(network)
    onnx.save(network, path)


def _litert(model: keras.Model, path: Path, quantization: str, photos: np.ndarray) -> None:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _saved_model(model, Path(folder), "none", photos)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SERVE])
        # Those that every LiteRT runtime has, on a phone too.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantization != "none":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        content = _int8(converter, photos) if quantization == "int8" else converter.convert()
    with open(path, "wb") as file:
        file.write(content)


def _int8(converter, photos):
    """Weights and activations as int8, but for the head.

    A softmax of int8 has steps of 1/256, which is more than some thresholds of rare classes.
    """
    import tensorflow as tf

    def representative():
        for photo in photos:
            yield [photo[None].astype(np.float32)]

    converter.representative_dataset = representative
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=["FULLY_CONNECTED", "SOFTMAX"]
    )
    # The tool for measuring where quantization hurts is also the one that can leave it out.
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=representative, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


FORMATS = {
    "keras": Format(
        "Keras",
        "model.keras",
        _keras,
        "keras.saving.load_model(FILE).predict(photos)",
        takes_uint8=True,
    ),
    "savedmodel": Format(
        "SavedModel",
        "saved_model",
        _saved_model,
        f'tf.saved_model.load(FILE).signatures["{SERVE}"]({INPUT}=photos); '
        f'"{SERVE}_uint8" takes uint8',
        takes_uint8=True,
    ),
    "onnx": Format(
        "ONNX",
        "model.onnx",
        _onnx,
        f'onnxruntime.InferenceSession(FILE).run(["fine", "coarse"], {{"{INPUT}": photos}})',
        needs=("tf2onnx", "onnx", "onnxruntime"),
        extra="onnx",
    ),
    "litert": Format(
        "LiteRT",
        "model.tflite",
        _litert,
        f'ai_edge_litert.interpreter.Interpreter(FILE).get_signature_runner("{SERVE}")'
        f"({INPUT}=photos)",
        quantizations=QUANTIZATIONS,
    ),
}


def chosen(name: str, quantization: str) -> Format:
    """The format of this name, if it can be written here and has the quantization.

    Args:
        name: a key of `FORMATS`.
        quantization: one of `QUANTIZATIONS`.

    Raises:
        UserError: it lacks the quantization, or needs a package that isn't installed.
    """
    entry = FORMATS[name]
    if quantization not in entry.quantizations:
        have = [other for other in FORMATS if quantization in FORMATS[other].quantizations]
        raise UserError(
            f"export.quantize {quantization}: {entry.title} is written in float32 alone; "
            f"export.format {' or '.join(have)} has {quantization}"
        )
    if missing := [name for name in entry.needs if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"export.format {name}: not installed: {', '.join(missing)}; "
            f"pip install 'dermssl[{entry.extra}]'"
        )
    return entry

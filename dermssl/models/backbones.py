"""The backbones by name: networks from RGB in [0, 255] to an embedding.

To add one, add a line to `BACKBONES`; `tests/models/test_backbones.py` covers it.
Preprocessing is part of the graph and is saved with it. The graph is flat: the
layers of the application stand in the backbone itself, where freezing by depth,
the shared trunk and Grad-CAM can reach them.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from dermssl.core import config as configs
from dermssl.core import settings
from dermssl.core.errors import UserError, unknown_name
from dermssl.core.setting import NO_WEIGHTS
from dermssl.models import fused_kernels, precision, weight_inspection

# Per-channel mean and standard deviation of ImageNet, RGB in [0, 1]; Caffe's is BGR, 0-255.
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAFFE_MEAN = (103.939, 116.779, 123.68)


def _to_unit_range(x):
    """[0, 255] -> [-1, 1]."""
    return layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")(x)


def _torch(x):
    x = layers.Rescaling(1 / 255, name="preprocess_scale")(x)
    variance = [std**2 for std in TORCH_STD]
    return layers.Normalization(mean=TORCH_MEAN, variance=variance, name="preprocess")(x)


def _caffe(x):
    bgr = ops.flip(x, axis=-1)
    return layers.Normalization(mean=CAFFE_MEAN, variance=[1.0] * 3, name="preprocess")(bgr)


def _built_in(x):
    """The application's own first layers scale the input."""
    return x


def _cnn(input_tensor, **_):
    """Four stages of two 3x3 convolutions, 32 to 256 channels: 1.2 M parameters."""
    x = input_tensor
    for stage, width in enumerate((32, 64, 128, 256), start=1):
        for unit in "ab":
            stride = 2 if unit == "a" else 1
            name = f"stage{stage}{unit}"
            x = layers.Conv2D(
                width, 3, strides=stride, padding="same", use_bias=False,
                kernel_initializer="he_normal", name=f"{name}_conv",
            )(x)  # fmt: skip
            x = layers.BatchNormalization(name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def _mlp(input_tensor, **_):
    """Two dense layers on the pixels of a 16 x 16 thumbnail: what colour alone can tell."""
    x = layers.Resizing(16, 16, name="thumbnail")(input_tensor)
    x = layers.Flatten(name="flatten")(x)
    for unit in (1, 2):
        x = layers.Dense(256, activation="relu", name=f"dense{unit}")(x)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), x)


def _application(name):
    """A builder that imports nothing until it is called."""

    def build(input_tensor, weights):
        constructor = getattr(keras.applications, name)
        return constructor(include_top=False, input_tensor=input_tensor, weights=weights)

    return build


def _efficientnet(name):
    """A builder of an EfficientNet v1 whose graph is the same for all weights.

    With weights="imagenet" Keras adds a layer that divides by the root of the standard
    deviation. A graph without it would not give the same output from the same weights, so
    the division goes into the weights instead (see `_divide_by_root`).
    """

    def build(input_tensor, weights):
        network = _application(name)(input_tensor, None)
        if weights:
            shape = input_tensor.shape[1:]
            released = getattr(keras.applications, name)(
                include_top=False, input_shape=shape, weights=weights
            )
            network.set_weights(released.get_weights())  # the added layer holds none
            _divide_by_root(network)
        return network

    return build


def _divide_by_root(network):
    """Put the extra division of a released EfficientNet v1 into its normalisation.

    `(x - mean) / std / sqrt(std)` is a normalisation of variance std ** 3. A network without
    released weights is left as it is; so is one that was changed already.
    """
    for layer in network.layers:
        if isinstance(layer, layers.Normalization) and layer.weights:
            mean, variance, count = layer.get_weights()
            released = np.allclose(mean, TORCH_MEAN, atol=1e-3)
            if released and np.allclose(variance, np.square(TORCH_STD), atol=1e-3):
                layer.set_weights([mean, variance**1.5, count])
            layer.finalize_state()


@dataclass(frozen=True)
class BackboneSpec:
    """How to build one backbone.

    Attributes:
        builder: function of (input_tensor, weights), to a model without its top.
        preprocess: function from a 0-255 RGB tensor to what the builder expects.
        min_size: the smallest input side it accepts, pixels.
        from_scratch: True where no ImageNet weights exist.
    """

    builder: Callable[..., keras.Model]
    preprocess: Callable[[Any], Any]
    min_size: int = 32
    from_scratch: bool = False


BACKBONES = {
    "mobilenet": BackboneSpec(_application("MobileNet"), _to_unit_range),
    "mobilenetv2": BackboneSpec(_application("MobileNetV2"), _to_unit_range),
    "resnet50": BackboneSpec(_application("ResNet50"), _caffe),
    "inceptionv3": BackboneSpec(_application("InceptionV3"), _to_unit_range, min_size=75),
    "densenet121": BackboneSpec(_application("DenseNet121"), _torch),
    "efficientnetb0": BackboneSpec(_efficientnet("EfficientNetB0"), _built_in),
    "efficientnetb1": BackboneSpec(_efficientnet("EfficientNetB1"), _built_in),
    "efficientnetv2b0": BackboneSpec(_application("EfficientNetV2B0"), _built_in),
    "cnn": BackboneSpec(_cnn, _to_unit_range, min_size=16, from_scratch=True),
    "mlp": BackboneSpec(_mlp, _to_unit_range, min_size=16, from_scratch=True),
}


def check(config: settings.Backbone) -> None:
    """Refuse a backbone that could not be built; builds and loads nothing.

    Args:
        config: `settings.Backbone`.
    """
    if config.name not in BACKBONES:
        raise unknown_name("backbone.name", config.name, BACKBONES)
    spec = BACKBONES[config.name]
    if config.image_size < spec.min_size:
        fits = [name for name, other in BACKBONES.items() if other.min_size <= config.image_size]
        raise UserError(
            f"backbone.image_size {config.image_size} is under the {spec.min_size} px that "
            f"{config.name} needs; use a larger size or one of: {', '.join(fits) or 'none fits'}"
        )
    if config.weights == "imagenet" and spec.from_scratch:
        raise UserError(f"backbone.weights imagenet: {config.name} has none; use none or a file")


def use_precision(config: settings.Backbone) -> None:
    """Compute in the precision of `config` from here on; the policy is Keras's, and global."""
    keras.mixed_precision.set_global_policy(precision.choose(config.precision))


def Backbone(
    name: str = "efficientnetb1", image_size: int = 224, weights: str = "none", **options: Any
) -> keras.Model:
    """A backbone by its name.

    Args:
        name: a key of `BACKBONES`. Defaults to `"efficientnetb1"`.
        image_size: int, side of the square input, pixels.
        weights: "none", "imagenet", or the path of a weights file or of a pretraining run.
        **options: the other fields of `dermssl.core.settings.Backbone`.

    Returns:
        `keras.Model`: float32 (n, size, size, 3) RGB in [0, 255] -> float (n, d), the
        embedding h.

    Raises:
        UserError: unknown name, size too small, weights that can't be had or don't fit.

    Example:

    >>> Backbone("cnn", image_size=32).output_shape
    (None, 256)
    """
    from dermssl.models import weights as sources

    values = {"name": name, "image_size": image_size, "weights": str(weights), **options}
    return build(sources.resolve(configs.build(settings.Backbone, values, "Backbone"))[0])


def build(config: settings.Backbone, name: str = "backbone") -> keras.Model:
    """The backbone with its preprocessing and global average pooling.

    Args:
        config: `settings.Backbone`. `weights` here is "none", "imagenet", or the
            path of a weights file (.h5, .weights.h5, .keras); a run is resolved by
            `dermssl.models.weights`.
        name: str, name of the model.

    Returns:
        `keras.Model`: float32 (n, size, size, 3) RGB in [0, 255] -> float (n, d), the
        embedding h.

    Raises:
        UserError: unknown name, size too small, weights that can't be had or don't fit.
    """
    check(config)
    spec = BACKBONES[config.name]
    inputs = keras.Input((config.image_size, config.image_size, 3), name="image")
    network = _build(spec, config, spec.preprocess(inputs))
    features = network.output
    if len(features.shape) == 4:
        features = layers.GlobalAveragePooling2D(name="embedding")(features)
    # The application was built on our input, so its layers are ours: one flat graph.
    backbone = keras.Model(inputs, features, name=name)
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = config.batchnorm_momentum
    if config.weights not in ("none", "imagenet"):
        _load_file(network, backbone, config)
    return fused_kernels.substitute(backbone)


def _build(spec, config, input_tensor):
    """The application on `input_tensor`; only "imagenet" loads weights here."""
    if config.weights != "imagenet":
        return spec.builder(input_tensor=input_tensor, weights=None)
    try:
        with warnings.catch_warnings():  # MobileNet's, of sizes but 224
            warnings.simplefilter("ignore")
            return spec.builder(input_tensor=input_tensor, weights="imagenet")
    except Exception as error:
        # keras.utils.get_file raises a bare Exception when a download fails.
        if "fetch failure" not in str(error).lower() and not isinstance(error, OSError):
            raise
        raise UserError(
            f"backbone.weights imagenet: the weights of {config.name} can't be downloaded "
            f"({str(error).splitlines()[0]}); use backbone.weights none or "
            "backbone.weights PATH of a weights file"
        ) from error


def _load_file(network, backbone, config):
    """Load a weights file into a network built in code; nothing in the file is run."""
    path = Path(config.weights)
    if not path.is_file():
        raise UserError(f"backbone.weights {path}: {NO_WEIGHTS}")
    layers_there = weight_inspection.check(path, f"backbone.weights {path}")
    # keras.applications releases hold the bare application; our runs save the backbone.
    target = backbone if path.name.endswith((".weights.h5", ".keras")) else network
    try:
        with warnings.catch_warnings():  # Keras warns of each layer before it raises
            warnings.simplefilter("ignore")
            target.load_weights(path)
    except weight_inspection.ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":;")
        like = weight_inspection.looks_like(layers_there)
        found = f"it holds {weight_inspection.described(layers_there)}" if layers_there else reason
        found = reason if like == config.name else found  # the same, of other widths
        raise UserError(
            f"backbone.weights {path}: does not hold weights of {config.name} ({found}); "
            "choose the backbone the file was made with"
        ) from error
    if not all(np.isfinite(weight).all() for weight in target.get_weights()):
        raise UserError(f"backbone.weights {path}: holds weights that are no numbers; use others")
    _divide_by_root(network)

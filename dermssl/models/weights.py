"""From the setting `backbone.weights` to a file, and to the run that made it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from dermssl.core import config as configs
from dermssl.core import runs, taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone, Finetune

if TYPE_CHECKING:
    from dermssl.models.classifier import LesionClassifier

BACKBONE_FILE = runs.BACKBONE_FILE
MODEL_FILE = "model.keras"
# Backbone -> the file, or files of several sizes, that Keras keeps its ImageNet weights in.
_KERNELS = "weights_tf_dim_ordering_tf_kernels"
IMAGENET_FILES = {
    "mobilenet": "mobilenet_1_0_*_tf_no_top.h5",
    "mobilenetv2": f"mobilenet_v2_{_KERNELS}_1.0_*_no_top.h5",
    "resnet50": f"resnet50_{_KERNELS}_notop.h5",
    "inceptionv3": f"inception_v3_{_KERNELS}_notop.h5",
    "densenet121": f"densenet121_{_KERNELS}_notop.h5",
    "efficientnetb0": "efficientnetb0_notop.h5",
    "efficientnetb1": "efficientnetb1_notop.h5",
    "efficientnetv2b0": "efficientnetv2-b0_notop.h5",
}


def resolve(config: Backbone) -> tuple[Backbone, Path | None]:
    """Point a backbone config at a weights file where it names a pretraining run.

    Args:
        config: `settings.Backbone`.

    Returns:
        The config with `weights` one of "none", "imagenet" or a file's path, and the
        folder of the pretraining run, or None where the weights are no run's.

    Raises:
        UserError: the run is unfinished, no pretraining run, or of another backbone.
    """
    folder = Path(config.weights)
    if folder.name == BACKBONE_FILE and (folder.parent / "status.json").is_file():
        folder = folder.parent  # its photos are known, and must not be tested on
    if config.weights in ("none", "imagenet") or not folder.is_dir():
        return config, None
    status = runs.finished(folder, "pretrain", ("backbone",))
    pretrained = configs.build(Backbone, status["config"]["backbone"], folder)
    if pretrained.name != config.name:
        raise UserError(
            f"backbone.weights {folder}: pretrained a {pretrained.name}, not a {config.name}; "
            f"use backbone.name {pretrained.name} or another run"
        )
    return dataclasses.replace(config, weights=str(folder / BACKBONE_FILE)), folder


def fingerprint(config: Backbone) -> str:
    """What a resolved backbone config starts from: "none", "imagenet" or a file's hash.

    A run remembers it, so that it isn't taken for finished once its start was made anew.
    """
    if not Path(config.weights).is_file():
        return config.weights
    with open(config.weights, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def arm_of(config: Backbone, pretrained: Path | str | None) -> str:
    """The usual name of a comparison's arm: random, imagenet, file, or ssl from one of them."""
    if pretrained is None:
        return {"none": "random", "imagenet": "imagenet"}.get(config.weights, "file")
    start = runs.first_start(str(pretrained))
    return {"none": "ssl", "imagenet": "ssl_imagenet"}.get(start, "ssl_file")


def cache() -> Path:
    """The folder that Keras downloads weights into; it has no public name for it."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp/.keras")) / "models"


def downloaded(folder: Path) -> list[str]:
    """The backbones whose ImageNet weights are in a `cache`, so that no network is needed."""
    return [name for name, files in IMAGENET_FILES.items() if any(folder.glob(files))]


def load_classifier(folder: Path | str) -> LesionClassifier:
    """The classifier of a finished fine-tuning run.

    The network is built in code from the run's config and only its weights are read, so
    a file from a stranger runs nothing.

    Raises:
        UserError: no finished fine-tuning run is there, or its weights are damaged.
    """
    from dermssl.models import backbones, weight_inspection
    from dermssl.models.classifier import LesionClassifier

    folder = Path(folder)
    config = runs.finished(folder, "finetune", ("backbone", "finetune"))["config"]
    names = taxonomy.from_dict(runs.read_json(folder / "taxonomy.json"), folder / "taxonomy.json")
    backbone = configs.build(Backbone, config["backbone"], folder)
    backbones.use_precision(backbone)
    head = configs.build(Finetune, config["finetune"], folder)
    model = LesionClassifier(
        backbones.build(dataclasses.replace(backbone, weights="none")),
        names, head.head, head.dropout,
    )  # fmt: skip
    layers = weight_inspection.check(folder / MODEL_FILE, str(folder / MODEL_FILE))
    try:
        with warnings.catch_warnings():  # Keras warns of each layer before it raises
            warnings.simplefilter("ignore")
            model.load_weights(folder / MODEL_FILE)
    except weight_inspection.ERRORS as error:
        like = weight_inspection.looks_like(layers)
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if like != backbone.name and layers:
            reason = f"it holds {weight_inspection.described(layers)}"
        raise UserError(
            f"{folder / MODEL_FILE}: does not hold the weights of this run, a "
            f"{backbone.name} ({reason}); make the run again"
        ) from error
    return model

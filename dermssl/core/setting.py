"""What a setting is: a dataclass field that knows its help text, its bounds and its flag."""

from collections.abc import Sequence
from dataclasses import field
from typing import Any

PRECISIONS = ("auto", "float32", "mixed_float16", "mixed_bfloat16")
SPLITS = ("train", "validation", "test")
PRETRAINED, FINETUNED = "outputs/ssl_simclr", "outputs/ssl_finetuned"  # where runs are left
# The names in the registries of the same name, for `--help`, which must not wait for Keras.
BACKBONES = (
    "mobilenet", "mobilenetv2", "resnet50", "inceptionv3", "densenet121", "efficientnetb0",
    "efficientnetb1", "efficientnetv2b0", "cnn", "mlp",
)  # fmt: skip
NOT_ON_IMAGENET = ("cnn", "mlp")  # there are no such weights for them
AUGMENTATIONS = (
    "none", "flip_hv", "brightness", "flip_brightness", "skin", "skin_artefacts", "skin_cutout",
    "skin_randaugment", "skin_mixup", "skin_cutmix", "simclr",
)  # fmt: skip
NO_WEIGHTS = "no such file; use none, imagenet, a weights file or the folder of a pretraining run"
SQUARE = "Of each photo the central square is seen, not what lies outside it"  # by a model
ON_BAD = "what to do with an unreadable image: stop with an error, or skip it"


def setting(
    default: Any, help: str, flag: str | None = None, choices: Sequence[Any] | None = None,
    low: float | None = None, high: float | None = None, identity: bool = True,
    positional: str | bool = False, names: Sequence[str] | None = None, added: bool = False,
    was: tuple[str, dict[Any, Any]] | None = None,
) -> Any:  # fmt: skip
    """A dataclass field with what the command line and the checks need to know.

    Args:
        default: the value where nobody says another.
        help: str, for `--help`.
        flag: str, the flag without dashes; None: by the field's name.
        positional: str, how an argument without a flag is shown in `--help`; False for a flag.
        names: tuple of str, valid names to show in `--help`; a registry refuses others.
        choices, low, high: what is valid.
        identity: bool, whether runs with different values are different runs. False for what
            changes neither weights nor predictions, or is known otherwise.
        added: bool, whether runs are around that were made before there was this setting. Its
            default is what they did, so it is no part of a hash, and no run is of another version
            for the lack of it.
        was: its name in older versions, and what their values are called today.
    """
    metadata = {
        "help": help, "flag": flag, "choices": choices, "low": low, "high": high,
        "identity": identity, "positional": positional, "names": names,
        "added": added, "was": was,
    }  # fmt: skip
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def data_format() -> Any:
    """The setting of how a data folder is read."""
    formats = ("auto", "folders", "labels", "ham10000", "released", "npz", "shards", "unlabelled")
    return setting("auto", "how to read the folder", flag="data-format", choices=formats)

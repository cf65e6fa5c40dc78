"""Every setting of every command, as frozen dataclasses; TOML files and flags fill them.

A setting is one dataclass field: its default, its help text and its flag stand
in one place. A command names the sections it uses; a TOML file may hold the
sections of several commands, so one experiment file drives the whole road::

    [data]
    path = "ham10000"
    [backbone]
    name = "mobilenet"

Flags win over the file, the file over the defaults.
"""

import argparse
import dataclasses
import hashlib
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path

from dermssl.errors import UserError


def setting(default, help, flag=None, choices=None, low=None, high=None):
    """A dataclass field with what the command line and the checks need to know."""
    metadata = {"help": help, "flag": flag, "choices": choices, "low": low, "high": high}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Data:
    """Where the photos are, what their labels mean, how they are split."""

    path: str = setting("", "folder with the photos (and labels, if any)", flag="data")
    format: str = setting(
        "auto",
        "how to read the folder",
        flag="data-format",
        choices=("auto", "folders", "labels", "ham10000", "unlabelled"),
    )
    taxonomy: str = setting("auto", "built-in taxonomy, a .toml file, or auto")
    unlabelled: str = setting("", "one more folder of photos, used for pretraining only")
    group_by: str = setting(
        "auto",
        "what must never cross two splits; auto: patient, else lesion, else photo",
        choices=("auto", "patient_id", "lesion_id", "path"),
    )
    validation: float = setting(0.15, "share of the groups for validation", low=0.0, high=0.9)
    test: float = setting(0.2, "share of the groups for the test split", low=0.0, high=0.9)
    split_seed: int = setting(0, "seed of the split; keep it equal between compared runs", low=0)
    on_bad: str = setting("error", "what a bad image does", choices=("error", "skip"))
    cache_mb: int = setting(
        2048, "memory for decoded photos, MiB; beyond it they are re-read", low=0
    )


@dataclass(frozen=True)
class Backbone:
    """The network under both heads."""

    name: str = setting(
        "efficientnetb1", "backbone (see dermssl.models.backbones)", flag="backbone"
    )
    image_size: int = setting(224, "side of the square input, pixels", low=8, high=2048)
    weights: str = setting(
        "none",
        "start from: none, imagenet, a weights file or a run folder",
        flag="backbone-weights",
    )
    batchnorm_momentum: float = setting(
        0.9, "moving average of BatchNorm; Keras's 0.99 lags behind runs of a few hundred steps",
        low=0.0, high=1.0,
    )  # fmt: skip
    mixed_precision: bool = setting(False, "compute in float16 (GPU)")


@dataclass(frozen=True)
class Pretrain:
    """SimCLR (Chen et al., 2020)."""

    epochs: int = setting(50, "passes over the unlabelled photos", low=1)
    batch_size: int = setting(64, "photos a step; each gives two views", low=2)
    temperature: float = setting(0.1, "temperature of NT-Xent", low=1e-3, high=100.0)
    projection: list[int] = setting([512, 128], "widths of the projection head", low=1)
    learning_rate: float = setting(1e-3, "peak learning rate of Adam", low=0.0, high=100.0)
    warmup: float = setting(0.1, "share of the steps that warm up linearly", low=0.0, high=1.0)
    weight_decay: float = setting(0.0, "decoupled weight decay on kernels", low=0.0, high=1.0)
    strength: float = setting(1.0, "strength of the view augmentation, 0 to 1", low=0.0, high=1.0)


@dataclass(frozen=True)
class Finetune:
    """A frozen phase, then an unfrozen one, each with a fresh optimizer and cosine decay."""

    frozen_epochs: int = setting(10, "epochs with the backbone frozen", low=0)
    frozen_learning_rate: float = setting(
        1e-3, "peak rate of the frozen phase", low=0.0, high=100.0
    )
    unfrozen_epochs: int = setting(20, "epochs with the backbone unfrozen", low=0)
    unfrozen_learning_rate: float = setting(1e-4, "peak rate, unfrozen phase", low=0.0, high=100.0)
    depth: int = setting(-1, "unfreeze only the last N layers; -1: all of them", low=-1)
    batchnorm: str = setting(
        "train",
        "BatchNorm of unfrozen layers: train, or frozen in inference mode",
        choices=("train", "frozen"),
    )
    batch_size: int = setting(32, "photos a step", low=1)
    steps_per_epoch: int = setting(0, "steps an epoch; 0: one pass over the labelled photos", low=0)
    labels_per_class: int = setting(0, "keep only this many labels a fine class; 0: all", low=0)
    label_fraction: float = setting(1.0, "keep only this share of the labels", low=0.0, high=1.0)
    head: str = setting(
        "hierarchical",
        "hierarchical: P(coarse) is the sum of its P(fine); independent: two heads",
        choices=("hierarchical", "independent"),
    )
    gamma: float = setting(2.0, "focusing parameter of the focal loss; 0: cross-entropy", low=0.0)
    class_balance: str = setting(
        "alpha",
        "weights from class counts: in the focal loss, as sample weights, or none",
        choices=("alpha", "sample_weights", "none"),
    )
    coarse_weight: float = setting(0.5, "weight of the coarse loss against the fine one", low=0.0)
    dropout: float = setting(0.2, "dropout before the head", low=0.0, high=0.99)
    weight_decay: float = setting(1e-4, "decoupled weight decay on kernels", low=0.0, high=1.0)
    select_by: str = setting(
        "balanced_accuracy",
        "what the best epoch is chosen by, on the validation split",
        choices=("balanced_accuracy", "loss"),
    )
    patience: int = setting(10, "epochs without a better one before a phase ends", low=1)
    augmentation: str = setting("skin", "training augmentation (see dermssl.data.augment)")
    predict: str = setting(
        "all",
        "records to predict at the end: all, or held_out for validation and test alone",
        choices=("all", "held_out"),
    )


@dataclass(frozen=True)
class Grid:
    """Transfer learning compared: every model x depth x augmentation x seed is a cell."""

    models: list[str] = setting(["mobilenet"], "backbones (see dermssl.models.backbones)")
    depths: list[int] = setting([2, 4, 6, 8, 10], "unfrozen layers; -1: all", low=-1)
    depth_unit: str = setting(
        "layers",
        "what a depth counts: layers of the graph, or only those with a kernel",
        choices=("layers", "kernels"),
    )
    augmentations: list[str] = setting(
        ["none", "flip_hv", "brightness", "flip_brightness"], "see dermssl.data.augment"
    )
    seeds: list[int] = setting([0], "training seeds", low=0, high=2**31 - 1)
    image_size: int = setting(224, "side of the square input, pixels", low=8, high=2048)
    small_size: str = setting(
        "refuse", "a size under a model's minimum: refuse, or raise it", choices=("refuse", "raise")
    )
    weights: list[str] = setting(
        ["none"], "none, imagenet, a file or a pretraining run; MODEL=... for one model alone"
    )
    epochs: int = setting(10, "passes over the training photos", low=1)
    learning_rate: float = setting(1e-3, "of Adam, constant", flag="lr", low=0.0, high=100.0)
    batch_size: int = setting(32, "photos a step", low=1)
    batchnorm: str = setting("train", "BatchNorm of unfrozen layers", choices=("train", "frozen"))
    dropout: float = setting(0.0, "dropout before the head", low=0.0, high=0.99)
    gamma: float = setting(0.0, "of the focal loss; 0: cross-entropy", low=0.0)
    folds: int = setting(0, "cross-validate over K folds; 0: one test split", low=0, high=100)
    classes: list[str] = setting([], "keep only these fine classes")
    balance: bool = setting(False, "train on equally many photos a class")
    test_per_class: int = setting(0, "test photos a class; 0: by --test", low=0)
    shared_trunk: bool = setting(True, "compute the frozen trunk once for all depths")
    feature_cache_mb: int = setting(1024, "memory for the trunk's features, MiB", low=0)
    feature_dtype: str = setting("float32", "how they are kept", choices=("float32", "float16"))
    n_resamples: int = setting(500, "draws of each bootstrap interval", low=1)


SECTIONS = {
    "data": Data, "backbone": Backbone, "pretrain": Pretrain, "finetune": Finetune, "grid": Grid,
}  # fmt: skip
# Sections of an experiment file that belong to dermssl.quickstart alone.
OTHER_SECTIONS = ("synthetic", "experiment", "arms")


def _element_type(annotation):
    """`list[int]` -> (int, True); `int` -> (int, False)."""
    if isinstance(annotation, types.GenericAlias):
        return typing.get_args(annotation)[0], True
    return annotation, False


def _flag(section_field):
    return section_field.metadata["flag"] or section_field.name.replace("_", "-")


def _checked(where, section_field, value):
    """`value` as the field's type, within its bounds, or a `UserError` naming `where`."""
    kind, many = _element_type(section_field.type)
    values = value if many else [value]
    # An empty list is a value only where it is the default.
    if many and (not isinstance(value, list) or value == [] != section_field.default_factory()):
        raise UserError(f"{where} is {value!r}; give a list of {kind.__name__}")
    checked = []
    for item in values:
        if kind is float and isinstance(item, int) and not isinstance(item, bool):
            item = float(item)
        if not isinstance(item, kind) or (kind is int and isinstance(item, bool)):
            raise UserError(f"{where} is {item!r}; it must be of type {kind.__name__}")
        if kind is float and not math.isfinite(item):
            raise UserError(f"{where} is {item}; it must be a finite number")
        meta = section_field.metadata
        if meta["choices"] and item not in meta["choices"]:
            raise UserError(f"{where} is '{item}'; choose one of: {', '.join(meta['choices'])}")
        if meta["low"] is not None and not item >= meta["low"]:
            raise UserError(f"{where} is {item}; it must be at least {meta['low']}")
        if meta["high"] is not None and not item <= meta["high"]:
            raise UserError(f"{where} is {item}; it must be at most {meta['high']}")
        checked.append(item)
    return checked if many else checked[0]


def build(cls, table, where):
    """A section from a dict; unknown keys, wrong types and bad values are named."""
    fields = {item.name: item for item in dataclasses.fields(cls)}
    for key in table:
        if key not in fields:
            raise UserError(f"{where}: unknown key '{key}'; valid keys: {', '.join(fields)}")
    return cls(**{k: _checked(f"{where}: {k}", fields[k], v) for k, v in table.items()})


def read_toml(path):
    """The tables of an experiment file; only known sections are let through."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path}: can't be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: not a valid TOML file ({error})") from error
    valid = (*SECTIONS, *OTHER_SECTIONS, "seed", "output")
    for name, table in tables.items():
        if name not in valid:
            raise UserError(f"{path}: unknown section [{name}]; valid: {', '.join(valid)}")
        if name in (*SECTIONS, *OTHER_SECTIONS) and not isinstance(table, dict):
            raise UserError(f"{path}: '{name}' is {table!r}; it must be a section [{name}]")
    return tables


def add_flags(parser, *sections):
    """One flag a setting, grouped by section; only flags that were typed are kept."""
    parser.add_argument("--config", metavar="F.toml", help="experiment file; flags win over it")
    parser.add_argument("--seed", type=int, help="seed of everything random (default 0)")
    parser.add_argument("--output", metavar="FOLDER", help="the run's folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a different run there")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    for section in sections:
        cls = SECTIONS[section]
        group = parser.add_argument_group(section, cls.__doc__)
        for item in dataclasses.fields(cls):
            kind, many = _element_type(item.type)
            default = getattr(cls(), item.name)
            options = {
                "dest": f"{section}.{item.name}",
                "default": argparse.SUPPRESS,
                "help": f"{item.metadata['help']} (default: {default})".replace("%", "%%"),
            }
            if kind is bool:
                options["action"] = argparse.BooleanOptionalAction
            else:
                options |= {"type": kind, "choices": item.metadata["choices"]}
                if not item.metadata["choices"]:
                    options["metavar"] = {int: "N", float: "X", str: "NAME"}[kind]
                if many:
                    options["nargs"] = "+"
            group.add_argument(f"--{_flag(item)}", **options)


def from_flags(args, *sections):
    """The sections a command uses, from defaults, then `--config`, then flags.

    Returns:
        dict of section name -> dataclass, plus "seed" (int) and "output" (str or None).
    """
    tables = read_toml(args.config) if args.config else {}
    typed = vars(args)
    built = {}
    for section in sections:
        cls = SECTIONS[section]
        values = dataclasses.asdict(
            build(cls, tables.get(section, {}), f"{args.config}: [{section}]")
        )
        for item in dataclasses.fields(cls):
            key = f"{section}.{item.name}"
            if key in typed:
                values[item.name] = _checked(f"--{_flag(item)}", item, typed[key])
        built[section] = cls(**values)
    seed = args.seed if args.seed is not None else tables.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UserError(f"seed is {seed!r}; it must be a whole number from 0 to 2147483647")
    output = args.output or tables.get("output")
    if not isinstance(output, str | None):
        raise UserError(f"{args.config}: output is {output!r}; it must be the name of a folder")
    return built | {"seed": seed, "output": output}


def as_tables(config):
    """Plain nested dicts of a run's config, for TOML and for hashing."""
    return {
        key: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
        for key, value in config.items()
        if value is not None and key != "output"
    }


def config_hash(config):
    """12 hex digits that change when any setting does; the output folder is not one."""
    text = json.dumps(as_tables(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

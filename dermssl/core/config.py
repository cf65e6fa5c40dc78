"""Build a command's settings from defaults, TOML files and flags, and check them.

A setting is one field of a dataclass in `dermssl.core.settings`. A command names the sections it
uses; a TOML file may hold those of several commands, so one file drives the whole road::

    [data]
    path = "ham10000"
    [backbone]
    name = "mobilenet"

Flags win over the file, the file over the defaults.
"""

import dataclasses
import hashlib
import json
import keyword
import math
import os
import re
import shlex
import tomllib
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dermssl.core import output_folders
from dermssl.core.commands import COMMANDS, EMBEDDED, SECTIONS
from dermssl.core.errors import UserError, did_you_mean
from dermssl.core.setting import NOT_ON_IMAGENET

# Sections of an experiment file that belong to quickstart and label_efficiency alone.
OTHER_SECTIONS = ("synthetic", "experiment", "arms")
OF_EVERY_CALL = ("config", "seed", "output", "overwrite")
# What changes where a run lies or how often it is saved, but none of its numbers.
NO_IDENTITY = (
    "output", "checkpoint", "distribution", "executor", "logging", "overwrite", "config", "tables",
    "command",
)  # fmt: skip


def element_type(annotation: Any) -> tuple[type, bool]:
    """`list[int]` -> (int, True); `int` -> (int, False)."""
    if isinstance(annotation, types.GenericAlias):
        return typing.get_args(annotation)[0], True
    return annotation, False


def flag_of(section_field: dataclasses.Field) -> str:
    """The flag of a setting, without its dashes."""
    return section_field.metadata["flag"] or section_field.name.replace("_", "-")


def _checked(where, section_field, value):
    """`value` as the field's type, within its bounds, or a `UserError` naming `where`."""
    kind, many = element_type(section_field.type)
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
            raise UserError(
                f"{where} is '{item}'; choose one of: {', '.join(meta['choices'])}"
                f"{did_you_mean(str(item), meta['choices'])}"
            )
        if meta["low"] is not None and not item >= meta["low"]:
            raise UserError(f"{where} is {item}; it must be at least {meta['low']}")
        if meta["high"] is not None and not item <= meta["high"]:
            raise UserError(f"{where} is {item}; it must be at most {meta['high']}")
        checked.append(item)
    return checked if many else checked[0]


def build(cls: type[Any], table: dict[str, Any], where: Path | str) -> Any:
    """A section from a dict; unknown keys, wrong types and bad values are named."""
    fields = {item.name: item for item in dataclasses.fields(cls)}
    table = of_today(cls, table)
    for key in table:
        if key not in fields:
            raise UserError(
                f"{where}: unknown key '{key}'; valid keys: {', '.join(fields)}"
                f"{did_you_mean(key, fields)}"
            )
    return cls(**{k: _checked(f"{where}: {k}", fields[k], v) for k, v in table.items()})


def of_today(cls: type[Any], table: dict[str, Any]) -> dict[str, Any]:
    """The table of a section, which an older version may have written, in the words of today.

    Example:

    >>> from dermssl.core.settings import Backbone
    >>> of_today(Backbone, {"mixed_precision": True})
    {'precision': 'mixed_float16'}
    """
    for field in dataclasses.fields(cls):
        name, values = field.metadata["was"] or ("", {})
        value = [new for old, new in values.items() if old is table.get(name)]
        if value and field.name not in table:  # all else is refused by the name it was given
            table = {key: item for key, item in table.items() if key != name}
            table[field.name] = value[0]
    return table


def read_toml(path: Path | str) -> dict[str, Any]:
    """The tables of an experiment file; only known sections are let through."""
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"run.config {path}: can't be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"run.config {path}: not a valid TOML file ({error}); correct it"
        ) from error
    valid = (*SECTIONS, *OTHER_SECTIONS, "seed", "output")
    for name, table in tables.items():
        if name not in valid:
            raise UserError(
                f"{path}: unknown section [{name}]; valid: {', '.join(valid)}"
                f"{did_you_mean(name, valid)}"
            )
        if name in (*SECTIONS, *OTHER_SECTIONS) and not isinstance(table, dict):
            raise UserError(f"{path}: '{name}' is {table!r}; it must be a section [{name}]")
    return tables


def default_of(section_field: dataclasses.Field) -> Any:
    """The default of a setting."""
    if section_field.default_factory is not dataclasses.MISSING:
        return section_field.default_factory()
    return section_field.default


def fields_of(command: str) -> list[tuple[str, dataclasses.Field]]:
    """The settings of a command, as (section, field), in the order of its help."""
    entry = COMMANDS[command]
    return [
        (name, field)
        for name in entry.sections
        for field in dataclasses.fields(SECTIONS[name])
        if f"{name}.{field.name}" not in entry.without
    ]


def configure(
    command: str,
    typed: dict[str, dict[str, Any]],
    config: str | None = None,
    seed: int | None = None,
    output: str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """What a command computes with: defaults, then the experiment file, then what was typed.

    Args:
        command: its name in `COMMANDS`.
        typed: section -> setting -> value, as flags or as keywords gave them.
        config: path of an experiment file.
        seed, output, overwrite: as typed; None: the file's, else the default.

    Returns:
        dict of section name -> dataclass, and "seed" (int), "output" (str or None), "overwrite"
        (bool), "config" (str or None), "tables" (the file's sections with what was typed over
        them, without defaults), "command" (what to type for the same again).
    """
    tables = read_toml(config) if config else {}
    implied = _embedded(command, tables, typed) or _from_imagenet(command, tables, typed)
    settings = {
        name: section(
            name, implied.get(name, {}) | tables.get(name, {}), typed.get(name, {}), config
        )
        for name in COMMANDS[command].sections
    }
    words = command_line(command, typed, config, seed, output)
    seed = seed if seed is not None else tables.get("seed", 0)
    check_seed(seed)
    output = output or tables.get("output")
    if not isinstance(output, str | None):
        raise UserError(f"{config}: output is {output!r}; it must be the name of a folder")
    # A `Path` has lost a slash of gs://bucket.
    if not COMMANDS[command].to_address and re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:/", output or ""):
        raise UserError(f"run.output {output}: no folder of this machine; only shards go elsewhere")
    for name, values in typed.items():
        if values:
            tables = {**tables, name: {**tables.get(name, {}), **values}}
    output_folders.check(settings, tables, output or COMMANDS[command].output)
    return settings | {
        "seed": seed, "output": output, "overwrite": overwrite, "config": config,
        "tables": tables, "command": words,
    }  # fmt: skip


def _embedded(command, tables, typed):
    """The settings of a command without data: the embedded data set, in a small size."""
    entry = COMMANDS[command]
    given = tables.get("data", {}) | typed.get("data", {})
    if "data" not in entry.sections or "path" in given or command == "label_efficiency":
        return {}
    found: dict[str, dict[str, Any]] = {"data": {"path": EMBEDDED}}
    for name, value in entry.embedded.items():
        section_name, _, field = name.partition(".")
        found.setdefault(section_name, {})[field] = value
    return found


def _from_imagenet(command, tables, typed):
    """The weights of a transfer to data of one's own, where none were given: ImageNet's.

    Random ones are for who asks for them, and for networks that have no others.
    """
    name, _, field = COMMANDS[command].from_imagenet.partition(".")
    given = tables.get(name, {}) | typed.get(name, {})
    if not name or field in given:
        return {}
    if name == "backbone":
        has_none = given.get("name") in NOT_ON_IMAGENET
        return {name: {field: "none" if has_none else "imagenet"}}
    models = given.get("models", SECTIONS[name]().models)
    without = [model for model in models if model in NOT_ON_IMAGENET]
    return {name: {field: ["imagenet", *(f"{model}=none" for model in without)]}}


def from_keywords(command: str, positional: tuple, keywords: dict[str, Any]) -> dict[str, Any]:
    """`configure`, from the arguments of a call in Python.

    A keyword is a flag's name with underscores (`data`, `backbone`, `batch_size`) or the name of
    a setting. A value may be a path or the result of another command.

    Raises:
        TypeError: a keyword or an argument that the command doesn't have.
    """
    fields = fields_of(command)
    places = [item for item in fields if item[1].metadata["positional"]]
    if places and element_type(places[-1][1].type)[1] and len(positional) >= len(places):
        *first, last = positional[: len(places)]
        rest = positional[len(places) :]
        positional = (*first, [*_plain(last, True), *rest])
    if len(positional) > len(places):
        raise TypeError(f"{command}() takes {len(places)} positional arguments")
    known = keyword_names(command)
    typed: dict[str, dict[str, Any]] = {}
    given = {place[1].name: value for place, value in zip(places, positional)}
    if twice := given.keys() & keywords.keys():
        raise TypeError(f"{command}() got {', '.join(twice)} twice")
    given |= keywords
    special = {name: given.pop(name) for name in special_names(command) if name in given}
    for name, value in given.items():
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has: {', '.join(known)}"
            raise TypeError(f"{command}() has no setting {name!r}{hint}")
        if value is not None:
            section_name, field = known[name]
            value = _plain(value, element_type(field.type)[1])
            typed.setdefault(section_name, {})[field.name] = value
    for name in ("config", "output"):
        if special.get(name) is not None:
            special[name] = os.fspath(special[name])
    return configure(command, typed, **special)


def special_names(command: str) -> list[str]:
    """What a command takes besides its settings: config, output, and where it has them more."""
    entry = COMMANDS[command]
    takes = {"seed": entry.seeded, "overwrite": entry.resumable, "output": bool(entry.output)}
    return [name for name in OF_EVERY_CALL if takes.get(name, True)]


def keyword_names(command: str) -> dict[str, tuple[str, dataclasses.Field]]:
    """Every name that `from_keywords` takes -> (section, field); flags before field names."""
    known: dict[str, tuple[str, dataclasses.Field]] = {}
    for section_name, field in fields_of(command):
        known.setdefault(flag_of(field).replace("-", "_"), (section_name, field))
    for section_name, field in fields_of(command):
        known.setdefault(field.name, (section_name, field))
    return {name: place for name, place in known.items() if not keyword.iskeyword(name)}


def _plain(value, many):
    """A value of a call as a flag would give it."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if many:
        if isinstance(value, str) or not isinstance(value, Iterable):
            value = [value]
        return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in value]
    return value


def check_seed(seed: Any) -> None:
    """Refuse what is no seed."""
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UserError(f"run.seed is {seed!r}; it must be a whole number from 0 to 2147483647")


def section(name: str, table: dict, typed: dict, config: str | None = None) -> Any:
    """One section from defaults, a table of the experiment file `config`, and what was typed."""
    cls = SECTIONS[name]
    values = dataclasses.asdict(build(cls, table, f"{config}: [{name}]"))
    for field in dataclasses.fields(cls):
        if field.name in typed:
            values[field.name] = _checked(f"{name}.{field.name}", field, typed[field.name])
    return cls(**values)


def command_line(
    command: str,
    typed: dict[str, dict[str, Any]],
    config: str | None = None,
    seed: int | None = None,
    output: str | None = None,
) -> str:
    """What to type for the same again; arguments as in `configure`."""
    words = ["python", "-m", f"dermssl.{command}"]
    flags = []
    for section_name, field in fields_of(command):
        value = typed.get(section_name, {}).get(field.name)
        if value is None:
            continue
        several = [str(item) for item in (value if isinstance(value, list) else [value])]
        if field.metadata["positional"]:
            words += several
        elif isinstance(value, bool):
            flags.append(f"--{flag_of(field)}" if value else f"--no-{flag_of(field)}")
        else:
            flags += [f"--{flag_of(field)}", *several]
    for name, value in (("config", config), ("seed", seed), ("output", output)):
        flags += [] if value is None else [f"--{name}", str(value)]
    return shlex.join(words + flags)


def command_of_run(status: dict[str, Any]) -> str:
    """What to type for a run like a finished one: its settings that aren't the defaults.

    Args:
        status: content of its status.json.
    """
    tables = status["config"]
    typed = {}
    for name, cls in SECTIONS.items():
        if isinstance(tables.get(name), dict):
            default = cls()
            given = of_today(cls, tables[name])
            fields = (item.name for item in dataclasses.fields(cls) if item.name in given)
            typed[name] = {
                key: given[key] for key in fields if given[key] != getattr(default, key)
            }  # fmt: skip
    return command_line(status["command"], typed, seed=tables.get("seed"))


def as_tables(config: dict[str, Any]) -> dict[str, Any]:
    """Plain nested dicts of a run's config, for TOML and for hashing."""
    return {
        key: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
        for key, value in config.items()
        if value is not None and key not in NO_IDENTITY
    }


def comparable(tables: dict[str, Any]) -> dict[str, Any]:
    """The tables of a run, as from `as_tables`, fit to be compared with others.

    Settings without a part in the numbers stand at their defaults, which keeps the hash of all
    who never set them. Settings that came later are left out at their defaults, for the same
    reason. Where the photos lie has no part either: a run is known by the hash of its data.
    """
    compared = {}
    for name, table in tables.items():
        if name in SECTIONS and isinstance(table, dict):
            fields, default = dataclasses.fields(SECTIONS[name]), SECTIONS[name]()
            table = of_today(SECTIONS[name], table) | {
                item.name: getattr(default, item.name)
                for item in fields
                if not item.metadata["identity"]
            }
            later = {item.name: getattr(default, item.name) for item in fields
                     if item.metadata["added"]}  # fmt: skip
            table = {
                key: value
                for key, value in table.items()
                if key not in later or value != later[key]
            }
        compared[name] = table
    return compared


def config_hash(config: dict[str, Any]) -> str:
    """12 hex digits that change when any setting does that has a part in the numbers."""
    text = json.dumps(comparable(as_tables(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

"""From defaults, TOML files and flags to the settings of a command, checked.

A setting is one field of a dataclass in `dermssl.core.settings`. A command names the
sections it uses; a TOML file may hold the sections of several commands, so one
experiment file drives the whole road::

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
from pathlib import Path

from dermssl.core.errors import UserError
from dermssl.core.settings import SECTIONS

# Sections of an experiment file that belong to quickstart and label_efficiency alone.
OTHER_SECTIONS = ("synthetic", "experiment", "arms")
# What changes where a run lies or how often it is saved, but none of its numbers.
NO_IDENTITY = ("output", "checkpoint")


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
    except (ValueError, RecursionError) as error:
        raise UserError(f"--config {path}: not a valid TOML file ({error}); correct it") from error
    valid = (*SECTIONS, *OTHER_SECTIONS, "seed", "output")
    for name, table in tables.items():
        if name not in valid:
            raise UserError(f"{path}: unknown section [{name}]; valid: {', '.join(valid)}")
        if name in (*SECTIONS, *OTHER_SECTIONS) and not isinstance(table, dict):
            raise UserError(f"{path}: '{name}' is {table!r}; it must be a section [{name}]")
    return tables


def add_flags(parser, *sections, without=(), resumable=True):
    """One flag a setting, grouped by section; only flags that were typed are kept.

    Args:
        parser: an `argparse.ArgumentParser`.
        sections: names of the sections.
        without: names of settings that the command has no use for.
        resumable: whether its folder holds a run, which `--overwrite` replaces; a report is
            written anew each time.
    """
    parser.add_argument("--config", metavar="F.toml", help="experiment file; flags win over it")
    parser.add_argument("--seed", type=int, help="seed of everything random (default 0)")
    parser.add_argument("--output", metavar="FOLDER", help="the run's folder")
    if resumable:
        help_text = "replace a different run there"
        parser.add_argument("--overwrite", action="store_true", help=help_text)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    for section in sections:
        add_section(parser, section, without)


def add_section(parser, section, without=()):
    """The flags of one section, but for the settings `without`."""
    cls = SECTIONS[section]
    group = parser.add_argument_group(section, cls.__doc__)
    for item in dataclasses.fields(cls):
        if item.name in without:
            continue
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
    built = {name: section(args, name, tables) for name in sections}
    seed = args.seed if args.seed is not None else tables.get("seed", 0)
    check_seed(seed, "seed is")
    output = args.output or tables.get("output")
    if not isinstance(output, str | None):
        raise UserError(f"{args.config}: output is {output!r}; it must be the name of a folder")
    return built | {"seed": seed, "output": output}


def check_seed(seed, name="--seed"):
    """Refuse what is no seed."""
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UserError(f"{name} {seed!r}; it must be a whole number from 0 to 2147483647")


def section(args, name, tables):
    """One section from defaults, the tables of `args.config`, and the flags that were typed."""
    cls, typed = SECTIONS[name], vars(args)
    values = dataclasses.asdict(build(cls, tables.get(name, {}), f"{args.config}: [{name}]"))
    for item in dataclasses.fields(cls):
        key = f"{name}.{item.name}"
        if key in typed:
            values[item.name] = _checked(f"--{_flag(item)}", item, typed[key])
    return cls(**values)


def as_flags(section, without=()):
    """The flags, as words, that give a section its values; defaults are left out.

    Args:
        section: a section's dataclass.
        without: names of settings to leave out, too.
    """
    words = []
    for item in dataclasses.fields(section):
        value = getattr(section, item.name)
        if item.name in without or value == getattr(type(section)(), item.name):
            continue
        if isinstance(value, bool):
            words.append(f"--{_flag(item)}" if value else f"--no-{_flag(item)}")
        else:
            several = value if isinstance(value, list) else [value]
            words += [f"--{_flag(item)}", *map(str, several)]
    return words


def as_tables(config):
    """Plain nested dicts of a run's config, for TOML and for hashing."""
    return {
        key: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value
        for key, value in config.items()
        if value is not None and key not in NO_IDENTITY
    }


def comparable(tables):
    """The tables of a run, as from `as_tables`, fit to be compared with others.

    Settings without a part in the numbers stand at their defaults, which keeps the hash of all
    who never set them.
    """
    compared = {}
    for name, table in tables.items():
        if name in SECTIONS and isinstance(table, dict):
            fields, default = dataclasses.fields(SECTIONS[name]), SECTIONS[name]()
            table = table | {
                item.name: getattr(default, item.name)
                for item in fields
                if not item.metadata["identity"]
            }
        compared[name] = table
    return compared


def config_hash(config):
    """12 hex digits that change when any setting does that has a part in the numbers."""
    text = json.dumps(comparable(as_tables(config)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]

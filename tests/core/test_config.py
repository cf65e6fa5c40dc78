"""Settings: flags over file over defaults, and every mistake named."""

import argparse
import dataclasses
import tomllib

import pytest
import tomli_w

from dermssl.core import cli
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import SECTIONS, Checkpoint, Pretrain

PRETRAIN = ("data", "backbone", "pretrain", "checkpoint")
FINETUNE = ("data", "backbone", "finetune", "checkpoint")
COMMANDS = (PRETRAIN, FINETUNE, ("data", "grid"), ("evaluate",))


def read(*argv, toml=None, sections=PRETRAIN, folder=None):
    """What a command with these flags and this experiment file gets."""
    parser = cli.parser("test", "")
    configs.add_flags(parser, *sections)
    if toml is not None:
        (folder / "c.toml").write_text(toml)
        argv = ("--config", str(folder / "c.toml"), *argv)
    return configs.from_flags(parser.parse_args([str(word) for word in argv]), *sections)


@pytest.fixture
def from_toml(tmp_path):
    return lambda toml, *argv, **options: read(*argv, toml=toml, folder=tmp_path, **options)


def of_all_commands():
    """The default sections of every command together."""
    return {key: value for sections in COMMANDS for key, value in read(sections=sections).items()}


def test_defaults_are_those_of_the_mission():
    found = of_all_commands()
    assert found["backbone"].name == "efficientnetb1"
    assert found["backbone"].weights == "none"
    pretrain, finetune = found["pretrain"], found["finetune"]
    assert pretrain.projection == [512, 128]
    assert (pretrain.temperature, pretrain.epochs, pretrain.learning_rate) == (0.1, 50, 1e-3)
    assert (finetune.frozen_epochs, finetune.unfrozen_epochs) == (10, 20)
    assert finetune.unfrozen_learning_rate == 1e-4
    assert (finetune.head, finetune.gamma, finetune.class_balance) == ("hierarchical", 2.0, "alpha")
    assert (found["seed"], found["output"]) == (0, None)


def test_flags_win_over_the_file_and_the_file_over_defaults(from_toml):
    toml = (
        'seed = 5\noutput = "there"\n[pretrain]\nepochs = 7\nbatch_size = 8\n[backbone]\nname="cnn"'
    )
    found = from_toml(toml, "--epochs", 9, "--seed", 3)
    assert found["pretrain"].epochs == 9
    assert found["pretrain"].batch_size == 8
    assert found["pretrain"].temperature == 0.1
    assert found["backbone"].name == "cnn"
    assert (found["seed"], found["output"]) == (3, "there")
    assert from_toml(toml, "--output", "here")["output"] == "here"
    assert from_toml(toml)["seed"] == 5


def test_a_flag_with_the_default_s_value_still_wins(from_toml):
    assert from_toml("[pretrain]\nepochs = 7", "--epochs", 50)["pretrain"].epochs == 50
    toml = "[backbone]\nmixed_precision = true"
    assert from_toml(toml)["backbone"].mixed_precision is True
    assert from_toml(toml, "--no-mixed-precision")["backbone"].mixed_precision is False


def test_sections_of_other_commands_are_let_through(tmp_path):
    toml = "[finetune]\nfrozen_epochs = 3\n[synthetic]\nn = 9\n[arms.a]\n[experiment]\n"
    found = read(toml=toml, sections=("data", "pretrain"), folder=tmp_path)
    assert set(found) == {"data", "pretrain", "seed", "output"}


@pytest.mark.parametrize("sections", COMMANDS)
def test_every_setting_has_a_flag_and_a_help_text(monkeypatch, sections):
    monkeypatch.setenv("COLUMNS", "1000")  # argparse breaks lines at hyphens
    parser = cli.parser("test", "")
    configs.add_flags(parser, *sections)
    text = " ".join(parser.format_help().split())
    for cls in (SECTIONS[name] for name in sections):
        for item in dataclasses.fields(cls):
            assert f"--{configs._flag(item)}" in text
            assert " ".join(item.metadata["help"].split()) in text
            configs.build(cls, {item.name: getattr(cls(), item.name)}, "")  # defaults are valid


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[pretrian]\n", r"unknown section \[pretrian\]; valid: data, "),
        ("[pretrain]\nepoch = 3", r"\[pretrain\]: unknown key 'epoch'; valid keys: epochs, "),
        ("pretrain = 3", r"'pretrain' is 3; it must be a section"),
        ('[pretrain]\nepochs = "3"', r"\[pretrain\]: epochs is '3'; it must be of type int"),
        ("[pretrain]\nepochs = 3.0", "epochs is 3.0; it must be of type int"),
        ("[pretrain]\nepochs = true", "epochs is True; it must be of type int"),
        ("[pretrain]\ntemperature = true", "temperature is True; it must be of type float"),
        ("[pretrain]\nepochs = 0", "epochs is 0; it must be at least 1"),
        ("[pretrain]\nwarmup = 1.5", "warmup is 1.5; it must be at most 1.0"),
        ("[pretrain]\ntemperature = nan", "temperature is nan; it must be a finite number"),
        ("[finetune]\ngamma = inf", "gamma is inf; it must be a finite number"),
        ("[finetune]\ngamma = -inf", "gamma is -inf; it must be a finite number"),
        ("[pretrain]\nprojection = []", r"projection is \[\]; give a list of int"),
        ("[pretrain]\nprojection = 128", "projection is 128; give a list of int"),
        ("[pretrain]\nprojection = [512, 0]", "projection is 0; it must be at least 1"),
        ('[finetune]\nhead = "two"', "head is 'two'; choose one of: hierarchical, independent"),
        (
            '[backbone]\nmixed_precision = "yes"',
            "mixed_precision is 'yes'; it must be of type bool",
        ),
        ("seed = -1", "seed is -1; it must be a whole number"),
        ("seed = true", "seed is True; it must be a whole number"),
        ("seed = 2147483648", "seed is 2147483648"),
        ("output = 3", "output is 3; it must be the name of a folder"),
        ("[pretrain\n", "c.toml: not a valid TOML file"),
    ],
)
def test_mistakes_in_the_file(from_toml, toml, message):
    sections = FINETUNE if "finetune" in toml else PRETRAIN
    with pytest.raises(UserError, match=message) as error:
        from_toml(toml, sections=sections)
    assert "c.toml" in str(error.value) or "seed" in toml
    assert "\n" not in str(error.value)


def test_a_whole_number_may_stand_for_a_float(from_toml):
    value = from_toml("[finetune]\ngamma = 1", sections=FINETUNE)["finetune"].gamma
    assert type(value) is float


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--temperature", "0"], "--temperature is 0.0; it must be at least 0.001"),
        (["--temperature", "nan"], "--temperature is nan"),
        (["--image-size", "4"], "--image-size is 4; it must be at least 8"),
        (["--projection", "64", "-1"], "--projection is -1"),
        (["--depth", "-2"], "--depth is -2; it must be at least -1"),
        (["--seed", "-3"], "seed is -3"),
    ],
)
def test_mistakes_in_flags_name_the_flag(argv, message):
    with pytest.raises(UserError, match=message):
        read(*argv, sections=FINETUNE if "--depth" in argv else PRETRAIN)


def test_the_file_is_not_there_or_no_text(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.toml: can't be read"):
        read("--config", tmp_path / "nowhere.toml")
    with pytest.raises(UserError, match="can't be read"):
        read("--config", tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a valid TOML file"):
        read("--config", tmp_path / "bytes.toml")


def test_round_trip(tmp_path):
    found = read("--epochs", 3, "--projection", 8, 4, "--data", "a b", "--mixed-precision")
    text = tomli_w.dumps(configs.as_tables(found))
    again = read(toml=text, folder=tmp_path)
    assert again == found
    assert configs.config_hash(again) == configs.config_hash(found)
    assert "output" not in tomllib.loads(text)


def test_as_flags_gives_every_section_back():
    found = of_all_commands()
    for section, cls in SECTIONS.items():
        values = {
            item.name: changed(item, getattr(found[section], item.name))
            for item in dataclasses.fields(cls)
        }
        made = cls(**values)
        parser = argparse.ArgumentParser()
        configs.add_section(parser, section)
        args = argparse.Namespace(config=None, **vars(parser.parse_args(configs.as_flags(made))))
        assert configs.section(args, section, {}) == made
        assert configs.as_flags(cls()) == []
        (first, *_) = values
        assert configs.as_flags(made, without=(first,)) == configs.as_flags(
            dataclasses.replace(made, **{first: getattr(cls(), first)})
        )


def changed(item, value):
    """Another valid value of a setting."""
    if item.metadata["choices"]:
        other = next(choice for choice in item.metadata["choices"] if choice != value)
        return [other] if isinstance(value, list) else other
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [*value, value[0] if value else "x"]
    if isinstance(value, str):
        return value + "x"
    return value + 1 if isinstance(value, int) else value / 2 + 0.01


def test_every_setting_is_covered():
    assert {name for sections in COMMANDS for name in sections} == set(SECTIONS)


def test_the_hash_changes_with_every_setting_that_has_a_part_in_the_numbers():
    found = of_all_commands()
    hashes = {configs.config_hash(found)}
    count = 1
    for section, cls in SECTIONS.items():
        if section == "checkpoint":
            continue
        for item in dataclasses.fields(cls):
            value = changed(item, getattr(found[section], item.name))
            other = dataclasses.replace(found[section], **{item.name: value})
            other = configs.config_hash({**found, section: other})
            if f"{section}.{item.name}" in (
                "data.cache_mb", "data.cache_dir", "data.cache_disk_mb", "pretrain.probe_every",
                "grid.feature_cache_mb",
            ):  # fmt: skip
                assert other == configs.config_hash(found)
                continue
            hashes.add(other)
            count += 1
    hashes.add(configs.config_hash({**found, "seed": 1}))
    assert len(hashes) == count + 1
    for other in ({"output": "x"}, {"checkpoint": Checkpoint(seconds=1, steps=2)}):
        assert configs.config_hash({**found, **other}) == configs.config_hash(found)


def test_a_default_list_is_nobody_s_to_change():
    Pretrain().projection.append(3)
    assert Pretrain().projection == [512, 128]

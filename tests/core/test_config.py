"""Settings: flags over file over defaults, and every mistake named."""

import dataclasses
import shlex
import tomllib
from pathlib import Path

import pytest
import tomli_w

from dermssl.core import cli, setting
from dermssl.core import config as configs
from dermssl.core.commands import COMMANDS, EMBEDDED, SECTIONS
from dermssl.core.errors import UserError
from dermssl.core.settings import Checkpoint, Pretrain


def read(*argv, toml=None, command="pretrain", folder=None):
    """What a command with these flags and this experiment file gets."""
    if toml is not None:
        (folder / "c.toml").write_text(toml)
        argv = ("--config", str(folder / "c.toml"), *argv)
    parser = cli.parser(command, "")
    return cli.from_flags(command, parser.parse_args([str(word) for word in argv]))


def sections_of(found):
    """The sections alone, without seed, output and what else a command gets."""
    return {name: value for name, value in found.items() if name in SECTIONS}


@pytest.fixture
def from_toml(tmp_path):
    return lambda toml, *argv, **options: read(*argv, toml=toml, folder=tmp_path, **options)


def of_all_commands():
    """The default sections of every command together."""
    places = {"evaluate": ["RUN"], "predict": ["RUN", "PHOTO"], "explain": ["RUN"],
              "embeddings": ["RUN"], "stress_test": ["RUN"], "shards": ["PHOTOS"]}  # fmt: skip
    every = {}
    for command in COMMANDS:
        every |= read(*places.get(command, []), command=command)
    return {name: type(value)() if name in SECTIONS else value for name, value in every.items()}


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
    toml = "[backbone]\nsync_batchnorm = true"
    assert from_toml(toml)["backbone"].sync_batchnorm is True
    assert from_toml(toml, "--no-sync-batchnorm")["backbone"].sync_batchnorm is False


@pytest.mark.parametrize(("value", "today"), [("true", "mixed_float16"), ("false", "float32")])
def test_a_setting_of_an_older_version_is_read(from_toml, value, today):
    found = from_toml(f"[backbone]\nmixed_precision = {value}")
    assert found["backbone"].precision == today
    assert found["tables"]["backbone"] == {"mixed_precision": value == "true"}
    tables = {"backbone": {"name": "cnn", "mixed_precision": value == "true"}}
    assert configs.comparable(tables)["backbone"] == {"name": "cnn", "precision": today}


def test_sections_of_other_commands_are_let_through(tmp_path):
    toml = "[finetune]\nfrozen_epochs = 3\n[synthetic]\nn = 9\n[arms.a]\n[experiment]\n"
    found = read(toml=toml, folder=tmp_path)
    assert set(sections_of(found)) == {
        "data", "backbone", "pretrain", "checkpoint", "distribution", "logging",
    }  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_setting_has_a_flag_and_a_help_text(monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "1000")  # argparse breaks lines at hyphens
    text = " ".join(cli.parser(command, "").format_help().split())
    for section, item in configs.fields_of(command):
        word = item.metadata["flag"] or item.name.replace("_", "-")
        assert (item.metadata["positional"] or f"--{word} ") in text
        assert " ".join(item.metadata["help"].split()) in text
        default = getattr(SECTIONS[section](), item.name)
        configs.build(SECTIONS[section], {item.name: default}, "")  # defaults are valid


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
            '[backbone]\nsync_batchnorm = "yes"',
            "sync_batchnorm is 'yes'; it must be of type bool",
        ),
        (
            '[backbone]\nprecision = "float8"',
            "precision is 'float8'; choose one of: auto, float32, ",
        ),
        ('[backbone]\nmixed_precision = "yes"', "unknown key 'mixed_precision'; valid keys: "),
        (
            '[backbone]\nprecision = "float32"\nmixed_precision = true',
            "unknown key 'mixed_precision'; valid keys: ",
        ),
        ("seed = -1", "seed is -1; it must be a whole number"),
        ("seed = true", "seed is True; it must be a whole number"),
        ("seed = 2147483648", "seed is 2147483648"),
        ("output = 3", "output is 3; it must be the name of a folder"),
        ("[pretrain\n", "c.toml: not a valid TOML file"),
    ],
)
def test_mistakes_in_the_file(from_toml, toml, message):
    command = "finetune" if "finetune" in toml else "pretrain"
    with pytest.raises(UserError, match=message) as error:
        from_toml(toml, command=command)
    assert "c.toml" in str(error.value) or "seed" in toml
    assert "\n" not in str(error.value)


def test_only_shards_are_written_to_another_file_system():
    assert configs.configure("shards", {}, output="gs://bucket/s")["output"] == "gs://bucket/s"
    for output in ("gs://bucket/run", "gs:/bucket/run", "file:///data/run"):
        with pytest.raises(UserError, match=r"run\.output .*: no folder of this machine; only sha"):
            configs.configure("pretrain", {}, output=output)
    for output in ("C:/runs", "a:b/runs", "runs/gs://x"):
        assert configs.configure("pretrain", {}, output=output)["output"] == output


def test_a_whole_number_may_stand_for_a_float(from_toml):
    value = from_toml("[finetune]\ngamma = 1", command="finetune")["finetune"].gamma
    assert type(value) is float


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--temperature", "0"], "pretrain.temperature is 0.0; it must be at least 0.001"),
        (["--temperature", "nan"], "pretrain.temperature is nan"),
        (["--image-size", "4"], "backbone.image_size is 4; it must be at least 8"),
        (["--projection", "64", "-1"], "pretrain.projection is -1"),
        (["--depth", "-2"], "finetune.depth is -2; it must be at least -1"),
        (["--seed", "-3"], "seed is -3"),
    ],
)
def test_mistakes_in_flags_name_the_setting(argv, message):
    with pytest.raises(UserError, match=message) as error:
        read(*argv, command="finetune" if "--depth" in argv else "pretrain")
    assert cli.with_flags(str(error.value)).startswith(f"{argv[0]} is")  # as it is shown


def test_the_file_is_not_there_or_no_text(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.toml: can't be read"):
        read("--config", tmp_path / "nowhere.toml")
    with pytest.raises(UserError, match="can't be read"):
        read("--config", tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a valid TOML file"):
        read("--config", tmp_path / "bytes.toml")


def test_round_trip(tmp_path):
    found = read("--epochs", 3, "--projection", 8, 4, "--data", "a b", "--sync-batchnorm")
    text = tomli_w.dumps(configs.as_tables(found))
    again = read(toml=text, folder=tmp_path)
    assert sections_of(again) == sections_of(found)
    assert configs.config_hash(again) == configs.config_hash(found)
    assert "output" not in tomllib.loads(text)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_line_gives_every_setting_back(command):
    typed = {}
    for section, item in configs.fields_of(command):
        value = changed(item, getattr(SECTIONS[section](), item.name))
        typed.setdefault(section, {})[item.name] = value
    made = configs.configure(command, typed, seed=3 if COMMANDS[command].seeded else None)
    _, _, module, *words = shlex.split(made["command"])
    assert module == f"dermssl.{command}"
    again = cli.from_flags(command, cli.parser(command, "").parse_intermixed_args(words))
    assert again == made


def test_the_command_of_a_run_makes_it_again(tmp_path):
    flags = ["--data", "a b", "--epochs", "7", "--projection", "16", "8", "--seed", "3"]
    config = read(*flags, "--precision", "float32", "--output", tmp_path)
    status = {"command": "pretrain", "config": configs.as_tables(config)}
    words = shlex.split(configs.command_of_run(status))
    assert words[:3] == ["python", "-m", "dermssl.pretrain"]
    assert {*words[3:]} == {*flags, "--precision", "float32"}  # no defaults
    again = cli.from_flags("pretrain", cli.parser("pretrain", "").parse_intermixed_args(words[3:]))
    assert configs.as_tables(again) == configs.as_tables(config)
    # A run of before, with a setting in other words.
    status["config"]["backbone"].pop("precision")
    status["config"]["backbone"]["mixed_precision"] = True
    assert "--precision mixed_float16" in configs.command_of_run(status)


def test_keywords_are_flags():
    made = configs.from_keywords(
        "pretrain", (), {"data": Path("PHOTOS"), "backbone": "cnn", "projection": (8, 4), "seed": 3}
    )
    flags = ["--data", "PHOTOS", "--backbone", "cnn", "--projection", "8", "4", "--seed", "3"]
    assert made == read(*flags)
    assert made["command"] == f"python -m dermssl.pretrain {' '.join(flags)}"
    both = configs.from_keywords("explain", ("RUN", ["a", "b"]), {})
    assert both == configs.from_keywords("explain", ("RUN", "a", "b"), {})
    assert configs.from_keywords("grid", (), {"lr": 0.1}) == configs.from_keywords(
        "grid", (), {"learning_rate": 0.1}
    )
    with pytest.raises(TypeError, match="no setting 'epoch'; did you mean epochs"):
        configs.from_keywords("pretrain", (), {"epoch": 3})
    for command, option in (("grid", "seed"), ("evaluate", "overwrite")):  # nor has it the flag
        with pytest.raises(TypeError, match=f"no setting '{option}'"):
            configs.from_keywords(command, (), {option: 1})
    with pytest.raises(TypeError, match="got run twice"):
        configs.from_keywords("evaluate", ("RUN",), {"run": "OTHER"})
    with pytest.raises(UserError, match=r"pretrain\.epochs is 'x'; it must be of type int"):
        configs.from_keywords("pretrain", (), {"epochs": "x"})


def changed(item, value):
    """Another valid value of a setting."""
    if item.metadata["choices"]:
        other = next(choice for choice in item.metadata["choices"] if choice != value)
        return [other] if isinstance(value, list) else other
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        first = {list[int]: 1, list[float]: 0.5}.get(item.type, "x")
        return [*value, value[0] if value else first]
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, int):
        return value + 1
    half = value / 2 + 0.01
    return half if half >= item.metadata["low"] else (value + item.metadata["high"]) / 2


def test_help_shows_the_names_of_the_registries():
    from dermssl.data.augmentation import policies
    from dermssl.models import backbones

    assert set(setting.BACKBONES) == set(backbones.BACKBONES)
    assert set(setting.AUGMENTATIONS) == set(policies.AUGMENTATIONS)
    scratch = {name for name, spec in backbones.BACKBONES.items() if spec.from_scratch}
    assert set(setting.NOT_ON_IMAGENET) == scratch


def test_every_setting_is_covered():
    assert {name for command in COMMANDS.values() for name in command.sections} == set(SECTIONS)


def test_the_hash_changes_with_every_setting_that_has_a_part_in_the_numbers():
    found = of_all_commands()
    hashes = {configs.config_hash(found)}
    count = 1
    for section, cls in SECTIONS.items():
        if section in ("checkpoint", "distribution", "executor", "logging"):
            continue
        for item in dataclasses.fields(cls):
            value = changed(item, getattr(found[section], item.name))
            other = dataclasses.replace(found[section], **{item.name: value})
            other = configs.config_hash({**found, section: other})
            if f"{section}.{item.name}" in (
                "data.path", "data.unlabelled", "data.cache_mb", "data.cache_dir",
                "data.cache_disk_mb", "pretrain.probe_every", "grid.feature_cache_mb",
                "grid.dry_run", "finetune.arm",
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


def test_without_data_the_embedded_set_in_a_small_size(from_toml):
    made = read()
    assert made["data"].path == EMBEDDED
    assert (made["backbone"].name, made["backbone"].image_size) == ("efficientnetb1", 64)
    assert made["pretrain"].epochs == 10
    assert made["command"] == "python -m dermssl.pretrain"
    assert read("--epochs", 3)["pretrain"].epochs == 3
    assert from_toml("[pretrain]\nepochs = 7")["pretrain"].epochs == 7
    recipe = read("--data", "PHOTOS")
    assert (recipe["backbone"].image_size, recipe["pretrain"].epochs) == (224, 50)
    for command, entry in COMMANDS.items():
        for name in entry.embedded:
            section, _, field = name.partition(".")
            assert section in entry.sections, command
            assert field in SECTIONS[section].__dataclass_fields__


@pytest.mark.parametrize(
    ("command", "keywords", "weights"),
    [
        ("finetune", {}, "none"),  # the embedded drawings
        ("finetune", {"data": "P"}, "imagenet"),
        ("finetune", {"data": "P", "backbone": "mobilenet"}, "imagenet"),
        ("finetune", {"data": "P", "backbone": "mlp"}, "none"),  # it has none
        ("finetune", {"data": "P", "weights": "none"}, "none"),
        ("finetune", {"data": "P", "weights": "outputs/ssl"}, "outputs/ssl"),
        ("pretrain", {"data": "P"}, "none"),
        ("grid", {}, ["none"]),
        ("grid", {"data": "P"}, ["imagenet"]),
        ("grid", {"data": "P", "models": ["mobilenet", "cnn"]}, ["imagenet", "cnn=none"]),
        ("grid", {"data": "P", "weights": ["none"]}, ["none"]),
    ],
)
def test_a_transfer_starts_from_imagenet_unless_another_start_is_asked_for(
    command, keywords, weights
):
    found = configs.from_keywords(command, (), keywords)
    section = found["grid"] if command == "grid" else found["backbone"]
    assert section.weights == weights


def test_a_file_s_weights_win_over_imagenet(tmp_path):
    file = tmp_path / "e.toml"
    file.write_text('[data]\npath = "P"\n[backbone]\nname = "mlp"\n[grid]\nweights = ["none"]\n')
    assert configs.from_keywords("finetune", (), {"config": file})["backbone"].weights == "none"
    assert configs.from_keywords("grid", (), {"config": file})["grid"].weights == ["none"]

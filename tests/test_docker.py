"""Dockerfile and .dockerignore, read: no image is built here.

Every path that is copied is there and not ignored, every command and extra exists.
"""

import configparser
import fnmatch
import json
import re
import shlex

import pytest
import tiny

from dermssl.core import cli
from dermssl.core.commands import COMMANDS

TEXT = (tiny.ROOT / "Dockerfile").read_text(encoding="utf-8")
# (instruction, its words), comments taken out and lines joined.
LINES = [
    line.split(maxsplit=1)
    for line in re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
    if line
]
COMMENTS = re.sub(r"(?m)^# ?", "", "\n".join(re.findall(r"(?m)^#.*$", TEXT)))


def of(instruction):
    return [words for name, words in LINES if name == instruction]


def copied():
    """The paths of the repository that are copied."""
    sources = [words.split()[:-1] for words in of("COPY") if not words.startswith("--from")]
    return [path for each in sources for path in each]


def is_ignored(path):
    """By the rules of .dockerignore: the last that fits a path wins."""
    ignored = False
    for rule in (tiny.ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if rule and not rule.startswith("#"):
            pattern = rule.removeprefix("!")
            name = path.rsplit("/", 1)[-1] if pattern.startswith("**/") else path.split("/")[0]
            if fnmatch.fnmatch(name, pattern.removeprefix("**/")):
                ignored = not rule.startswith("!")
    return ignored


def test_what_is_copied_is_there_and_not_ignored():
    assert {"dermssl", "constraints.txt", "setup.cfg"} <= set(copied())
    for path in copied():
        assert (tiny.ROOT / path).exists(), path
        assert not is_ignored(path), path


def test_the_build_has_all_that_setup_cfg_reads():
    setup = configparser.ConfigParser()
    setup.read(tiny.ROOT / "setup.cfg")
    readme = setup["metadata"]["long_description"].removeprefix("file: ")
    assert {readme, setup["metadata"]["license_files"], "pyproject.toml"} <= set(copied())


@pytest.mark.parametrize("path", ["outputs/run/model.keras", ".git/config", ".venv/bin/python",
                                  "PHOTOS/a.jpg", "dermssl/core/__pycache__/cli.pyc"])  # fmt: skip
def test_photos_outputs_and_caches_stay_out_of_the_image(path):
    assert is_ignored(path)


def test_extras_exist():
    setup = configparser.ConfigParser()
    setup.read(tiny.ROOT / "setup.cfg")
    default = of("ARG")[0].partition("=")[2]
    shown = re.findall(r"EXTRAS=(\S+)", COMMENTS)
    assert shown
    for extras in (default, *shown):
        assert set(extras.split(",")) <= set(setup["options.extras_require"])
    assert all("gpu" in extras.split(",") for extras in shown)
    assert "gpu" not in default.split(",")


def test_it_ends_as_a_user_without_rights_and_with_a_command_of_ours():
    assert of("USER") == ["1000"]
    users = "useradd --uid 1000 --create-home user"
    assert any(users in words for words in of("RUN"))
    order = [name for name, _ in LINES]
    assert order.index("USER") < order.index("ENTRYPOINT")
    assert json.loads(of("ENTRYPOINT")[0]) == ["dermssl"]
    assert set(json.loads(of("VOLUME")[0])) == {"/photos", "/work/outputs"}
    version = re.search(r"python:([\d.]+)-slim", of("FROM")[-1])[1]
    assert version == "3.11"


def commands(text):
    """The words after `dermssl` or `dermssl:gpu` of each `docker run` in a text."""
    text = text.replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("docker run")]
    found = []
    for line in lines:
        words = shlex.split(line)
        image = next(i for i, word in enumerate(words) if re.fullmatch(r"dermssl(:gpu)?", word))
        found.append(words[image + 1 :])
    return found


def test_commands_and_their_flags_exist():
    howto = (tiny.ROOT / "docs" / "howto.md").read_text(encoding="utf-8")
    (run,) = [words.split(" && ")[0] for words in of("RUN") if words.startswith("dermssl ")]
    shown = [run.split()[1:], *commands(COMMENTS), *commands(howto)]
    assert len(shown) >= 4
    for command, *words in shown:
        assert command in COMMANDS
        cli.parser(command, "").parse_intermixed_args(words)  # a SystemExit names a wrong flag

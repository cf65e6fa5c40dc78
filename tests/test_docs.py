"""What the documents say: every command is a valid one, and those of the README run."""

import importlib
import re
import shlex
import shutil

import pytest
import tiny

from dermssl.core import cli
from dermssl.core.commands import COMMANDS
from dermssl.data.synthetic import dataset as synthetic

DOCUMENTS = ("README.md", "docs/howto.md", "docs/results.md", "CONTRIBUTING.md")
SMALL = ("--backbone", "cnn", "--image-size", "32", "--batch-size", "16")
EPOCHS = ("--frozen-epochs", "1", "--unfrozen-epochs", "1")
FEW_DRAWS = ("--n-resamples", "100")

# Command of the README -> the flags that make it small; a later flag wins over an earlier one.
README = {
    "check_data --data PHOTOS": (),
    "pretrain --data PHOTOS --backbone efficientnetb1 --image-size 224": (
        *SMALL, "--epochs", "1", "--projection", "16", "8",
    ),
    "finetune --data PHOTOS --backbone efficientnetb1 --image-size 224 "
    "--weights outputs/ssl_simclr": (*SMALL, *EPOCHS),
    "evaluate outputs/ssl_finetuned": FEW_DRAWS,
    "evaluate outputs/ssl_finetuned --data OTHER_HOSPITAL": FEW_DRAWS,
    "adapt outputs/ssl_finetuned --data OTHER_HOSPITAL": FEW_DRAWS,
    "predict outputs/ssl_finetuned NEW_PHOTOS --output predictions.csv": (),
    "label_efficiency --data PHOTOS --backbone efficientnetb1 --image-size 224 --labels all --arms "
    "random ssl=outputs/ssl_simclr --output outputs/worth": (
        *SMALL[:4], "--config", "small.toml", *FEW_DRAWS,
    ),
    "model_comparison outputs/worth": FEW_DRAWS,
    "leakage --data PHOTOS": (*SMALL[:4], *FEW_DRAWS, "--n-seeds", "1"),
    "stress_test outputs/ssl_finetuned": (*FEW_DRAWS, "--max-photos", "12"),
    "explain outputs/ssl_finetuned": ("--count", "1"),
    "embeddings outputs/ssl_finetuned": FEW_DRAWS,
    "forms outputs/ssl_finetuned": (),
    "label_efficiency --data PHOTOS": (
        *SMALL[:4], "--config", "small.toml", "--labels", "1", "100%", "--seeds", "0", *FEW_DRAWS,
    ),
    "grid --data PHOTOS --models mobilenet densenet121 --weights none --dry-run": (
        "--models", "mlp", "cnn", "--image-size", "32",
    ),
}  # fmt: skip


def blocks(document, language):
    """The code blocks of a document in one language."""
    text = (tiny.ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(document):
    """list of [command, argument, ...] of every `python -m dermssl.COMMAND ...` in sh blocks."""
    lines = "".join(blocks(document, "sh")).replace("\\\n", " ").splitlines()
    start = "python -m dermssl."
    return [shlex.split(line.removeprefix(start)) for line in lines if line.startswith(start)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_is_a_valid_one(document):
    for command, *words in commands(document):
        assert command in COMMANDS
        cli.parser(command, "").parse_intermixed_args(words)  # a SystemExit names a wrong flag


def test_every_command_of_the_readme_is_run_below():
    shown = {shlex.join(words) for words in commands("README.md")}
    assert shown == set(README)


def test_every_link_and_picture_is_there():
    for document in DOCUMENTS:
        text, folder = (tiny.ROOT / document).read_text("utf-8"), (tiny.ROOT / document).parent
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert target.startswith("http") or (folder / target).exists(), (document, target)


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_its_order(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "PHOTOS")
    shutil.copytree(photos / "images", tmp_path / "NEW_PHOTOS")
    synthetic.write(tmp_path / "OTHER_HOSPITAL", n=90, size=32, seed=11)
    (tmp_path / "small.toml").write_text(tiny.EXPERIMENT)
    for command, *words in commands("README.md"):
        module = importlib.import_module(f"dermssl.{command}")
        small = README[shlex.join([command, *words])]
        assert tiny.call(module, *words, *small) == 0, (command, capsys.readouterr().err)


@pytest.mark.slow
def test_the_python_of_the_readme_runs(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "PHOTOS")
    (code,) = blocks("README.md", "python")
    for shown, small in (
        ("mobilenet", "cnn"), ("96", "32"), ("epochs=10", "epochs=1"),
        ("batch_size=64)", "batch_size=16, image_size=32)"),
        ("weights=run", "weights=run, frozen_epochs=1, unfrozen_epochs=1"),
        ("depths=[2, 4]", "depths=[2, 4], epochs=1, image_size=32, augmentations=['none']"),
    ):  # fmt: skip
        assert shown in code
        code = code.replace(shown, small)
    names = {}
    exec(code, names)
    assert len(names["grid"].results) == 1  # a CNN without weights has one depth: all layers
    assert {"estimate", "low", "high"} <= set(names["run"].evaluate().metrics)

"""What the documents say: every command is a valid one; those of README and tutorial run.

The site is built as well.
"""

import importlib
import re
import shlex
import shutil

import numpy as np
import pytest
import tiny

import dermssl
from dermssl.core import cli
from dermssl.core import config as configs
from dermssl.core.commands import COMMANDS
from dermssl.data.synthetic import dataset as synthetic
from dermssl.data.synthetic import embedded

PAGES = sorted(str(page.relative_to(tiny.ROOT)) for page in (tiny.ROOT / "docs").rglob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *PAGES)
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

# The same for the tutorial, on fewer drawn photos.
FINETUNE = "finetune --backbone cnn --unfrozen-epochs 20 --unfrozen-learning-rate 0.001"
TINY = ("--image-size", "32")
TUTORIAL = {
    "check_data": (),
    "pretrain --backbone cnn --epochs 20": (*TINY, "--epochs", "1"),
    FINETUNE: (*TINY, *EPOCHS),
    "evaluate": FEW_DRAWS,
    "explain": ("--count", "1"),
    "predict outputs/ssl_finetuned outputs/embedded/images --output predictions.csv": (),
    f"{FINETUNE} --weights none --output outputs/random": (*TINY, *EPOCHS),
    "model_comparison outputs/random outputs/ssl_finetuned": FEW_DRAWS,
    "report": (),
}


def read(document):
    """The text of a document."""
    return (tiny.ROOT / document).read_text(encoding="utf-8")


def blocks(document, language):
    """The code blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(document), re.DOTALL | re.MULTILINE)


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
        folder = (tiny.ROOT / document).parent
        for target in re.findall(r"\]\(([^)#\s]+)", read(document)):
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
def test_the_commands_of_the_tutorial_run_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "PHOTOS", 300)
    typed = [shlex.join(words) for words in commands("docs/tutorial.md")]
    assert typed == list(TUTORIAL)
    shown = []
    for words in typed:
        command, *flags = shlex.split(words)
        module = importlib.import_module(f"dermssl.{command}")
        assert tiny.call(module, *flags, *TUTORIAL[words]) == 0, (words, capsys.readouterr().err)
        shown.append(capsys.readouterr().out)
    assert all(text.startswith("No --data: the embedded data set") for text in shown[:3])
    assert "starts from outputs/ssl_simclr" in shown[2]
    assert "outputs/ssl_finetuned: " in shown[3]
    assert dermssl.load_run("outputs/ssl_finetuned").status["arm"] == "ssl"
    assert dermssl.load_run("outputs/random").status["arm"] == "random"
    for name in re.findall(r"`(outputs/[\w/.]+\.\w+)`", read("docs/tutorial.md")):
        assert (tmp_path / name).is_file(), name


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


@pytest.mark.slow
def test_the_python_of_own_parts_runs(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos, tmp_path / "PHOTOS")
    names = {}
    exec("".join(blocks("docs/how-to/extend.md", "python")), names)
    losses = names["history"].history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    loss = names["BarlowTwins"]()
    z = np.random.default_rng(0).normal(size=(4096, 3)).astype("float32")  # uncorrelated features
    assert float(loss(z, z)) < 0.01
    np.testing.assert_allclose(float(loss(z, -z)), 12, rtol=0.01)  # 3 features, (-1 - 1) ** 2


def test_every_public_name_is_in_the_reference():
    text = read("docs/reference/python.md")
    documented = set(re.findall(r":: dermssl\.(\w+)$", text, re.MULTILINE))
    assert documented == set(dir(dermssl)) - set(COMMANDS)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for name in ("sphinx", "furo", "myst_parser"):
        pytest.importorskip(name, reason="the site needs pip install -e '.[docs]'")
    build = ("-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", tmp_path / "site")
    process = tiny.python(*build, cwd=tiny.ROOT)
    assert process.returncode == 0, process.stderr
    pages = {page.stem: page.read_text("utf-8") for page in (tmp_path / "site").rglob("*.html")}
    for name, text in pages.items():  # no page loads anything from elsewhere
        assert not re.search(r"<(script|img|iframe)[^>]+src=.(https?:)?//", text), name
        assert not re.search(r"<link[^>]+href=.(https?:)?//", text), name
    for command in COMMANDS:
        assert f'id="{command.replace("_", "-")}"' in pages["commands"]
        for _, field in configs.fields_of(command):
            flag = field.metadata["positional"] or f"--{configs.flag_of(field)}"
            assert f">{flag}</span>" in pages["settings"], flag
    assert "SimCLR is a Keras model" in pages["notebook"]
    assert "estimate" in pages["notebook"]  # a cell's output

"""What a run writes, and that it is all in its folder."""

import os

import pytest
import tiny

# Written by Keras and Matplotlib themselves, once a machine, when they are imported.
LIBRARIES_OWN = ("home/.keras/keras.json", "home/.cache/matplotlib/", "home/.config/matplotlib/")


def files(folder):
    """dict of path below `folder` -> (size, time of the last change)."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(folder))] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found


@pytest.mark.slow
def test_nothing_is_written_outside_the_run_s_folder(photos, tmp_path, monkeypatch):
    """Home, the working folder and the one for temporary files are watched, and the photos."""
    for name, variable in (("home", "HOME"), ("temporary", "TMPDIR"), ("work", "PWD")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    small = [str(word) for word in tiny.SMALL]
    data = ["--data", str(photos)]
    commands = {
        "pretrain": [*data, *small, "--epochs", "1"],
        "finetune": [*data, *small, "--frozen-epochs", "1", "--unfrozen-epochs", "0"],
        "grid": [*data, "--models", "mlp", "--image-size", "32", "--depths", "1", "--epochs", "1",
                 "--augmentations", "none", "--n-resamples", "100"],
    }  # fmt: skip
    before = files(photos)
    code = "import importlib, sys\n"
    for command, argv in commands.items():
        argv = [*argv, "--output", f"runs/{command}"]
        code += f"assert not importlib.import_module('dermssl.{command}').main({argv})\n"
    process = tiny.python("-c", code, cwd=tmp_path / "work")
    assert process.returncode == 0, process.stderr
    allowed = ("work/runs/", *LIBRARIES_OWN)
    assert not [name for name in files(tmp_path) if not name.startswith(allowed)]
    assert files(photos) == before
    assert {path.name for path in (tmp_path / "work" / "runs").iterdir()} == set(commands)
    left = [str(path) for path in tmp_path.rglob(".tmp*")]
    assert not left

"""The wheel works without the repository: all data files are in it, and its commands start."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import tiny

pytestmark = pytest.mark.slow
# setup.cfg and pyproject.toml say what is packed; README.md and LICENSE are in the metadata.
SOURCES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def data_files(folder):
    """Paths below a folder of all files but Python's own, relative to it."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {
        path.as_posix() for path in paths
        if path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the repository, built of a copy, as a build leaves folders beside the sources."""
    pytest.importorskip("setuptools", "77", "without setuptools 77, which builds the wheel")
    pytest.importorskip("pip", reason="without pip, which builds the wheel")
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copy(tiny.ROOT / name, folder)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(tiny.ROOT / "dermssl", folder / "dermssl", ignore=skipped)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "made", folder)
    (path,) = (folder / "made").glob("dermssl-*.whl")
    return path


@pytest.fixture(scope="module")
def target(wheel, tmp_path_factory):
    """A folder with the wheel's content, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", folder, wheel)
    return folder


def pip(*arguments):
    run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def run(*words, **more):
    process = subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=300, **more
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture
def python(target, tmp_path):
    """Run Python in an empty folder; it sees the wheel's content before all else."""
    variables = {**os.environ, "PYTHONPATH": str(target)}

    def call(*words):
        return run(sys.executable, *words, env=variables, cwd=tmp_path)

    return call


def test_every_data_file_is_in_the_wheel(wheel):
    there = data_files(tiny.ROOT / "dermssl")
    assert {"quickstart.toml", "py.typed", "reporting/templates/report.html"} <= there
    names = {name.removeprefix("dermssl/") for name in zipfile.ZipFile(wheel).namelist()}
    assert there <= names
    modules = {path.relative_to(tiny.ROOT / "dermssl").as_posix()
               for path in (tiny.ROOT / "dermssl").rglob("*.py")}  # fmt: skip
    assert modules <= names


def test_every_data_file_is_found_where_it_is_installed(python, target):
    code = (
        "from importlib import resources\nimport dermssl\nprint(dermssl.__file__)\n"
        "def walk(folder, name=''):\n"
        "    for entry in folder.iterdir():\n"
        "        path = f'{name}{entry.name}'\n"
        "        if entry.is_dir(): walk(entry, path + '/')\n"
        "        elif entry.read_bytes() is not None: print(path)\n"
        "walk(resources.files('dermssl'))"
    )
    module, *names = python("-c", code).splitlines()
    assert module == str(target / "dermssl" / "__init__.py")
    assert data_files(tiny.ROOT / "dermssl") <= set(names)


def test_its_commands_start_in_an_empty_folder(python, target, tmp_path):
    assert "usage: dermssl COMMAND" in python("-m", "dermssl", "--help")
    assert "usage: dermssl COMMAND" in python(target / "bin" / "dermssl", "--help")
    assert " 0 broken" in python("-m", "dermssl.doctor", "--quick")
    assert not list(tmp_path.iterdir())

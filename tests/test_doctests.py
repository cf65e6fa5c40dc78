"""The examples in docstrings run, and the main public names have one."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest

import dermssl

ROOT = Path(dermssl.__file__).parent
WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8") and path.name != "__init__.py"
]


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_run(name, photos, finetuned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "PHOTOS").symlink_to(photos)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "ssl_finetuned").symlink_to(finetuned)
    module, names = importlib.import_module(name), {"np": np, "dermssl": dermssl}
    failed, tried = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0


def test_public_names_have_an_example():
    commands = {name for name in dir(dermssl) if name in dermssl.COMMANDS}
    lacking = [
        name
        for name in dir(dermssl)
        if name not in commands and callable(value := getattr(dermssl, name))
        if ">>> " not in (value.__doc__ or "")
    ]
    assert not lacking

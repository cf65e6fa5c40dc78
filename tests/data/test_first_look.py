"""Mistakes show before TensorFlow is imported."""

import pytest
import tiny

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import first_look

WITHOUT_TENSORFLOW = """
import sys
from importlib import import_module
command, *words = sys.argv[1:]
code = import_module(f"dermssl.{command}").main(words)
assert not {"tensorflow", "keras"} & sys.modules.keys()
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("pretrain", ["--data", "NOWHERE"], "--data 'NOWHERE': not found; check the path"),
        ("grid", ["--data", ".", "--models", "nope"], "unknown --models 'nope'; choose one of"),
        ("finetune", ["--data", ".", "--weights", "NO"], "--weights NO: no such file; use none"),
        ("predict", ["NOWHERE", "photo.jpg"], "NOWHERE: no run found there"),
    ],
)
def test_a_mistake_shows_before_tensorflow_is_imported(command, words, said, tmp_path):
    process = tiny.python("-c", WITHOUT_TENSORFLOW, command, *words, cwd=tmp_path)
    assert process.returncode == 2, process.stderr
    assert said in process.stderr
    assert process.stderr.count("\n") == 1


def test_folders_that_aren_t_there(tmp_path):
    first_look.check(Data(path=""))
    first_look.check(Data(path=str(tmp_path), unlabelled=str(tmp_path)))
    with pytest.raises(UserError, match=r"data.path 'NO': not found"):
        first_look.check(Data(path="NO"))
    with pytest.raises(UserError, match=r"data.unlabelled 'NO': not found"):
        first_look.check(Data(path=str(tmp_path), unlabelled="NO"))

"""TF_CONFIG, read without TensorFlow."""

import json

import pytest

from dermssl.core import cluster
from dermssl.core.errors import UserError


def config(kind="worker", index=0, **jobs):
    jobs = jobs or {"worker": ["a:1", "b:2"]}
    return json.dumps({"cluster": jobs, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "addresses", "index"),
    [
        (config(), ("a:1", "b:2"), 0),
        (config(index=1), ("a:1", "b:2"), 1),
        (config("chief", chief=["c:3"], worker=["a:1"]), ("c:3", "a:1"), 0),
        (config("worker", chief=["c:3"], worker=["a:1", "b:2"]), ("c:3", "a:1", "b:2"), 1),
    ],
)
def test_who_is_there(monkeypatch, text, addresses, index):
    monkeypatch.setenv("TF_CONFIG", text)
    found = cluster.read("auto")
    assert (found.addresses, found.index, found.workers) == (addresses, index, len(addresses))
    assert found.is_chief == (index == 0)
    assert cluster.read("multiworker") == found
    assert cluster.read("none") is cluster.read("mirrored") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "TF_CONFIG can't be read"),
        ("[]", "TF_CONFIG can't be read"),
        ("{}", "TF_CONFIG has no 'cluster'"),
        (config(worker=["a", "b:2"]), "an address isn't HOST:PORT"),
        (config(worker=["a:1"]), "names one worker only"),
        (config(worker=["a:1", "a:1"]), "names a worker twice"),
        (config(index=2), "is worker 2, but the cluster names 2"),
        (config(index="0"), "is worker '0'"),
        (config("evaluator"), "is a 'evaluator'"),
    ],
)
def test_what_is_refused(monkeypatch, text, said):
    monkeypatch.setenv("TF_CONFIG", text)
    for strategy in ("auto", "multiworker"):
        with pytest.raises(UserError, match="TF_CONFIG") as refused:
            cluster.read(strategy)
        assert said in str(refused.value)
    assert cluster.read("none") is None


def test_only_the_chief_tells(monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", config())
    assert not cluster.told_by_chief("auto")
    monkeypatch.setenv("TF_CONFIG", config(index=1))
    assert not cluster.told_by_chief("none")
    assert cluster.told_by_chief("auto")
    assert capsys.readouterr().out == "worker 1 of 2: done; worker 0 wrote the run\n"

"""Two replicas, of one process and of two, against one device with the whole batch."""

import ctypes
import json

import numpy as np
import pytest
import replica_steps
import tiny
import workers

from dermssl import finetune, pretrain
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import Backbone, Finetune, Pretrain
from dermssl.training import checkpoint, distribution, finetuning, run_setup
from dermssl.training.distribution import Distribution

pytestmark = pytest.mark.slow

SCRIPT = tiny.ROOT / "tests" / "replica_steps.py"


@pytest.fixture(scope="module")
def found(photos):
    """dict of who -> results; the workers and the mirrored process run at the same time."""
    every = workers.addresses()
    started = [
        workers.start(SCRIPT, photos, "multiworker", cluster=workers.tf_config(every, k))
        for k in (0, 1)
    ]
    started.append(workers.start(SCRIPT, photos, "mirrored"))
    one = replica_steps.results(photos, Distribution())
    ended = dict(zip(("worker 0", "worker 1", "mirrored"), workers.finish(started)))
    assert {code for code, _, _ in ended.values()} == {0}, ended
    return {"one": one} | {who: json.loads(out) for who, (_, out, _) in ended.items()}


@pytest.mark.parametrize("who", ["worker 0", "worker 1", "mirrored"])
@pytest.mark.parametrize(
    ("case", "atol"),
    # Synchronised statistics are computed as E[x^2] - E[x]^2, with more rounding.
    [("simclr", 1e-5), ("classifier", 1e-5), ("simclr, synchronised BatchNorm", 1e-4)],
)
def test_the_update_is_that_of_one_device_with_the_whole_batch(found, who, case, atol):
    one, other = found["one"][case], found[who][case]
    assert found[who]["replicas"] == 2
    assert len(one["variables"]) == len(other["variables"])
    for wanted, values in zip(one["variables"], other["variables"]):
        np.testing.assert_allclose(values, wanted, rtol=0, atol=atol)
    assert other["logs"] == pytest.approx(one["logs"], abs=10 * atol)
    assert other.get("confusion") == one.get("confusion")
    assert other.get("shown") == one.get("shown")
    if case == "classifier":
        assert "confusion_matrix" in other["shown"]
        assert len(other["shown"]) == 5  # and the kernels of a convolution and of the head


def test_the_steps_do_move_the_weights(photos, found):
    start = replica_steps.network(False).get_weights()[0].ravel()
    assert np.abs(start - found["one"]["simclr"]["variables"][0]).max() > 1e-3


def test_workers_end_with_equal_state(found):
    for case in ("simclr", "classifier", "simclr, synchronised BatchNorm"):
        assert found["worker 0"][case] == found["worker 1"][case]


def test_workers_keep_freed_memory(found):
    """TensorFlow has no pool of its own in them: a step would ask for all of its memory anew."""
    if not hasattr(ctypes.CDLL(None), "mallopt"):
        pytest.skip("the C library isn't GNU's")
    for who in ("worker 0", "worker 1"):
        assert found[who]["cleared_pages"] < 100 < found["mirrored"]["cleared_pages"]


def test_workers_talk(found):
    differs = "worker 1 has settings other than worker 0"
    for who in ("worker 0", "worker 1"):
        largest, said, error = found[who]["talk"]
        assert (largest, said) == (5, "from worker 0")
        assert error.startswith(differs)


def test_alone_there_is_nothing_to_agree_on():
    alone = Distribution()
    assert (alone.replicas, alone.is_chief, alone.words()) == (1, True, "")
    assert alone.parts == {"worker": 0, "workers": 1, "devices": 1}
    assert (alone.agree(7), alone.from_chief(b"x"), alone.data("data")) == (7, b"x", "data")
    alone.check_alike(settings="any")
    with pytest.raises(ZeroDivisionError), alone.lost_worker_stops():
        raise ZeroDivisionError


def test_a_checkpoint_as_a_message():
    saved = checkpoint.Saved({"done": 3}, {"model": [np.eye(2), np.arange(3)], "best": []})
    again = checkpoint.from_bytes(checkpoint.to_bytes(saved))
    assert again.state["done"] == 3
    assert [a.tolist() for a in again.arrays["model"]] == [np.eye(2).tolist(), [0, 1, 2]]
    assert again.arrays["best"] == []


def test_mirrored_with_one_device_is_refused(photos, tmp_path, capsys):
    code = tiny.call(
        pretrain,
        "--data",
        photos,
        *tiny.SMALL,
        "--strategy",
        "mirrored",
        "--output",
        tmp_path / "x",
    )
    said = capsys.readouterr().err
    assert code == 2
    assert "--strategy mirrored: TensorFlow sees one device" in said
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", [pretrain, finetune])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "--strategy multiworker: TF_CONFIG isn't set"),
        ("{", "TF_CONFIG can't be read"),
        (workers.tf_config(["127.0.0.1:1"], 0), "TF_CONFIG names one worker only"),
    ],
)
def test_a_cluster_that_is_none_is_refused(
    photos, tmp_path, capsys, monkeypatch, command, value, said
):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value:
        monkeypatch.setenv("TF_CONFIG", value)
    code = tiny.call(
        command, "--data", photos, *tiny.SMALL, "--strategy", "multiworker", "--output",
        tmp_path / "x",
    )  # fmt: skip
    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "x").exists()


def test_a_batch_without_equal_parts_is_refused(monkeypatch):
    monkeypatch.setattr(Distribution, "replicas", 3)
    Distribution().check_batch("pretrain.batch_size", 33)
    with pytest.raises(UserError, match=r"batch_size 64 has no equal parts for 3 .* such as 63"):
        Distribution().check_batch("pretrain.batch_size", 64)
    finetuning.check_last_batch(Finetune(batch_size=30), 93, 3)
    with pytest.raises(UserError, match="ends with 2 photo"):
        finetuning.check_last_batch(Finetune(batch_size=30), 92, 3)


def test_xla_is_for_one_device(monkeypatch):
    config = {"backbone": Backbone(jit_compile=True), "pretrain": Pretrain(batch_size=8)}
    assert run_setup._distribution(config).replicas == 1
    monkeypatch.setattr(Distribution, "replicas", 2)
    with pytest.raises(UserError, match="jit_compile: is for one device, and this run has 2 rep"):
        run_setup._distribution(config)


def test_a_lost_worker_is_named(monkeypatch):
    import tensorflow as tf

    cluster = distribution.Cluster(("a:1", "b:2", "c:3"), 0)
    with pytest.raises(RunFailed) as failed, Distribution(None, cluster).lost_worker_stops():
        raise tf.errors.UnavailableError(None, None, "lost:\n/job:worker/replica:0/task:2 is dead")
    assert str(failed.value).startswith("worker 0 of 3 lost worker 2, which ended")
    with pytest.raises(tf.errors.UnavailableError), Distribution().lost_worker_stops():
        raise tf.errors.UnavailableError(None, None, "of one process: no worker's death")

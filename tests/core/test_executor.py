"""Tasks on a Ray of two workers: lost workers, errors, equal numbers; engines that are refused."""

import dataclasses
import importlib.util
import os
import shutil
import socket
import time
from pathlib import Path

import kills
import numpy as np
import pandas as pd
import pytest
import ray_work
import tiny

from dermssl import grid, label_efficiency, quickstart
from dermssl.core import executor, ray_tasks, runs
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.executor import Task
from dermssl.core.settings import Data, Executor, Grid
from dermssl.reporting import results_csv
from dermssl.studies.experiment import plan
from dermssl.studies.grid import rows as grid_rows

needs_ray = pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray isn't installed")
CORES = len(os.sched_getaffinity(0))
# As many threads a task as this process has: another number rounds otherwise.
ON_RAY = Executor(engine="ray", task_cpus=CORES)


@pytest.fixture(scope="module")
def cluster():
    """A Ray with room for two tasks of `CORES` threads; its workers find the tests' modules."""
    pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (tiny.ROOT, tiny.ROOT / "tests"))))
        patch.setattr(ray_tasks, "OWN", ray_tasks.OWN | {"num_cpus": 2 * CORES})
        with ray_tasks.connected("") as ray:
            yield ray


def act(tmp_path, *told):
    """Run tasks of `ray_work.act`, each WHAT or (WHAT, key of the task before); their results."""
    tasks = []
    for number, one in enumerate(told):
        what, after = one if isinstance(one, tuple) else (one, None)
        tasks.append(Task(f"task{number}", (what, str(tmp_path), f"task{number}"), after))
    return executor.run(ray_work.act, tasks, ON_RAY, [tmp_path], tmp_path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weights file of the MLP: cells that start from it share a trunk."""
    from dermssl.core.settings import Backbone
    from dermssl.models import backbones

    path = tmp_path_factory.mktemp("weights") / "mlp.weights.h5"
    backbones.build(Backbone(name="mlp", image_size=32)).save_weights(path)
    return path


def grid_config(photos, weights, output, **more):
    settings = Grid(
        models=["mlp"], depths=[1, 2], augmentations=["none", "flip_hv", "skin"], seeds=[0],
        image_size=32, epochs=1, batch_size=16, classes=["mel", "nv"], weights=[str(weights)],
        n_resamples=20,
    )  # fmt: skip
    return {"data": Data(path=str(photos)), "grid": settings, "output": str(output)} | more


@pytest.mark.slow
def test_a_resumed_grid_with_a_killed_worker_has_the_rows_of_a_local_one_to_the_bit(
    cluster, photos, weights, tmp_path, monkeypatch, caplog
):
    from dermssl.studies.grid import run as grid_run

    local = grid.run(grid_config(photos, weights, tmp_path / "local"))
    made = shutil.copytree(local, tmp_path / "ray")
    lines = (made / grid_rows.RESULTS).read_text().splitlines(keepends=True)
    (made / grid_rows.RESULTS).write_text("".join(lines[:3]))  # the heading, one group of two
    runs.Run(made).set_status("KILLED")
    for cell in results_csv.read_rows(local / grid_rows.RESULTS)["cell"][2:]:
        (made / grid_rows.CELLS / f"{cell}.npz").unlink()
    config = grid_config(photos, weights, made, executor=ON_RAY)
    trainer = grid_run.GroupTrainer
    killed_once = lambda *args: ray_work.KilledOnce(trainer(*args), tmp_path)  # noqa: E731
    monkeypatch.setattr(grid_run, "GroupTrainer", killed_once)
    grid.run(config)
    assert (tmp_path / "killed").exists()
    assert len([line for line in caplog.messages if "its worker was lost" in line]) == 1
    begun = [line.split() for line in ray_work.lines(tmp_path / "begun")]
    assert len(begun) == 2 + 1  # of the 3 groups, one was there, and one begun twice
    assert len({process for _, process in begun}) >= 2
    rows, wanted = (
        results_csv.read_rows(path / grid_rows.RESULTS).drop(columns=["seconds", "run"])
        for path in (made, local)
    )
    assert rows["cell"].is_unique
    pd.testing.assert_frame_equal(
        rows.sort_values("cell", ignore_index=True), wanted.sort_values("cell", ignore_index=True)
    )
    for name in wanted["cell"]:
        for one, other in zip(grid_rows.read_cell(made, name), grid_rows.read_cell(local, name)):
            np.testing.assert_array_equal(one, other)

    monkeypatch.setattr(executor, "ENGINES", {"ray": lambda work, tasks, *rest: iter(tasks)})
    grid.run(config)  # nothing is left to train
    assert not (made / ray_tasks.MARKER).exists()


def jobs(photos):
    """A pretraining run, and a fine-tuning run that starts from it."""
    pretrain = tiny.pretraining(photos, "runs/pretrain_ssl", name="mlp", epochs=1, probe_every=0)
    finetune = tiny.finetuning(photos, "runs/tuned", name="mlp", weights="runs/pretrain_ssl")
    return [
        plan.Job(name, name, "ssl", config, 1.0)
        for name, config in (("pretrain_ssl", pretrain), ("tuned", finetune))
    ]


@pytest.mark.slow
def test_an_experiment_gives_the_same_runs_to_the_bit(cluster, photos, tmp_path, monkeypatch):
    from dermssl import finetune, pretrain
    from dermssl.data.splits import prepare

    dataset = prepare(Data(path=str(photos)))
    for name, spread in (("local", Executor()), ("ray", ON_RAY)):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        plan.run_jobs(jobs(photos), (pretrain.run, finetune.run), dataset, False, spread)
    for run in ("pretrain_ssl", "tuned"):
        made, wanted = (kills.content(tmp_path / name / "runs" / run) for name in ("ray", "local"))
        kills.same(made, wanted)


def test_an_engine_that_was_asked_for_gets_the_runs(photos, tmp_path, monkeypatch, capsys):
    def engine(work, tasks, settings, reads, writes, announce):
        raise RunFailed(f"{len(tasks)} tasks for {settings.engine} in {writes.name}")

    monkeypatch.setattr(executor, "ENGINES", {"ray": engine})
    monkeypatch.setattr(executor, "check", lambda settings: None)
    (tmp_path / "c.toml").write_text(
        tiny.EXPERIMENT + '[backbone]\nname = "mlp"\nimage_size = 32\n[experiment]\nseeds = [0]\n'
        '[arms.random]\nweights = "none"\n[arms.ssl]\npretrain = true\n'
    )
    words = ("--config", tmp_path / "c.toml", "--data", photos, "--executor", "ray")
    for command, more in ((quickstart, ()), (label_efficiency, ("--labels", "100%"))):
        assert tiny.call(command, *words, *more, "--output", tmp_path / "out") == 1
        assert "3 tasks for ray in out" in capsys.readouterr().err


@pytest.mark.slow
def test_tasks_return_in_the_driver_and_one_waits_for_another(cluster, tmp_path, caplog):
    results = dict(act(tmp_path, "warn", ("warn", "task0"), ("", "task1")))
    assert {task.key: value for task, value in results.items()} == {
        f"task{k}": f"task{k} {Path.cwd()}" for k in range(3)
    }
    assert ray_work.lines(tmp_path / "begun") == ["task0", "task1", "task2"]
    told = [record for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == 1  # though two tasks said it
    assert told[0].left_out == [("a", "b")]
    assert not (tmp_path / ray_tasks.MARKER).exists()


@pytest.mark.slow
def test_an_error_of_the_task_comes_out_at_once_and_is_not_tried_again(cluster, tmp_path):
    with pytest.raises(UserError, match=r"^data.path task0: not found$"):
        list(act(tmp_path, "refuse", ("", "task0")))
    assert ray_work.lines(tmp_path / "begun") == ["task0"]
    with pytest.raises(ValueError, match=r"^nobody foresaw this$"):
        list(act(tmp_path, "fail"))


@pytest.mark.slow
def test_a_task_that_always_loses_its_worker_is_told_after_the_others(
    cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(ray_tasks, "RETRIES", 0)
    ended = []
    with pytest.raises(RunFailed, match="1 of 2 tasks lost their worker 1 times, the first: task0"):
        ended += (task.key for task, _ in act(tmp_path, "die", ""))
    assert ended == ["task1"]
    assert set(ray_work.lines(tmp_path / "begun")) == {"task0", "task1"}


@pytest.mark.slow
def test_who_stops_lets_running_tasks_save_and_cancels_the_rest(cluster, tmp_path):
    results = act(tmp_path, "", "wait", "wait", "wait", "wait")
    assert next(results)[0].key == "task0"
    while len(ray_work.lines(tmp_path / "begun")) < 3:
        time.sleep(0.05)
    began = time.time()
    results.close()
    assert time.time() - began < 10
    begun = ray_work.lines(tmp_path / "begun")
    assert len(begun) == 3
    assert {*ray_work.lines(tmp_path / "saved")} == {*begun} - {"task0"}


@pytest.mark.slow
def test_more_than_a_node_has_is_refused(cluster, tmp_path):
    for settings, said in (
        ({"task_cpus": 2 * CORES + 1}, f"task_cpus {2 * CORES + 1}: no node"),
        ({"task_gpus": 9}, r"task_gpus 9: no node .* \(most: 0\)"),
    ):
        with pytest.raises(UserError, match=said):
            list(executor.run(len, [Task("a", "")], Executor(engine="ray", **settings)))


@pytest.mark.slow
def test_a_cluster_that_is_there_passes_the_check(cluster):
    address = cluster.get_runtime_context().gcs_address
    executor.check(Executor(engine="ray", ray_address=address))


@needs_ray
@pytest.mark.slow
def test_what_answers_and_is_no_cluster_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(executor, "CONNECT", 3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UserError, match=f"{address}: no Ray cluster answers .* 3 seconds"):
            executor.check(Executor(engine="ray", ray_address=address))


def unused_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@needs_ray
@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:UNUSED", "nothing answers there"),
        ("ray://head:10001", "give HOST:PORT"),
        ("head", "give HOST:PORT"),
        ("head:99999", "give HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_one_line(address, said, capsys):
    address = address.replace("UNUSED", str(unused_port()))
    words = ("--data", "nowhere", "--executor", "ray", "--ray-address", address)
    assert tiny.call(grid, *words) == 2
    shown = capsys.readouterr().err
    assert f"--ray-address {address}: {said}" in shown
    assert shown.count("\n") == 1


def test_an_address_without_ray_is_one_line(capsys):
    assert tiny.call(quickstart, "--ray-address", "auto") == 2
    assert "--ray-address auto: --executor is local, which needs no address" in (
        capsys.readouterr().err
    )


def test_without_ray_one_line_names_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert tiny.call(grid, "--data", "nowhere", "--executor", "ray") == 2
    shown = capsys.readouterr().err
    assert "--executor ray: Ray isn't installed; pip install 'dermssl[ray]'" in shown
    assert shown.count("\n") == 1


def test_a_node_with_another_disk_or_other_versions_is_refused(tmp_path):
    (tmp_path / "marker").write_text("token")
    here = (Path.cwd(), tmp_path)
    right = ray_tasks.Shared([], "token", 1, here, tmp_path / "marker", runs.versions())
    ray_tasks.look_around(right)
    for wrong, said in (
        ({"places": (*here, tmp_path / "photos")}, f"doesn't see {tmp_path / 'photos'}"),
        ({"token": "of another disk"}, f"doesn't see {tmp_path} as this machine does"),
        ({"marker": tmp_path / "none"}, f"doesn't see {tmp_path} as this machine does"),
        ({"versions": runs.versions() | {"keras": "2.0"}}, "this machine 2.0; install the same"),
    ):
        with pytest.raises(UserError, match=said):
            ray_tasks.look_around(dataclasses.replace(right, **wrong))


@pytest.mark.parametrize(
    ("nodes", "asked", "wanted"),
    [
        ([{"CPU": 8}], {}, (8, 0)),
        ([{"CPU": 0}, {"CPU": 16}, {"CPU": 8}], {}, (8, 0)),  # a head node that only directs
        ([{"CPU": 32, "GPU": 4}], {}, (8, 1)),
        ([{"CPU": 32, "GPU": 4}, {"CPU": 64}], {"task_gpus": 2}, (16, 2)),
        ([{"CPU": 32, "GPU": 4}, {"CPU": 64}], {"task_gpus": 0}, (32, 0)),
        ([{"CPU": 8}], {"task_cpus": 3}, (3, 0)),
        ([{"CPU": 1, "GPU": 4}], {}, (1, 1)),
    ],
)
def test_a_task_takes_a_node_or_its_share_of_a_gpu(nodes, asked, wanted):
    shown = [{"Alive": True, "Resources": node} for node in nodes]
    shown.append({"Alive": False, "Resources": {"CPU": 2}})
    assert ray_tasks.resources(shown, Executor(engine="ray", **asked)) == wanted


def test_local_tasks_come_in_order_and_are_announced_as_they_begin():
    said = []
    tasks = [Task("one", 1), Task("two", 2)]
    results = executor.run(
        lambda k: said.append(f"work {k}"), tasks, Executor(), announce=lambda t: said.append(t.key)
    )
    assert [task.key for task, _ in results] == ["one", "two"]
    assert said == ["one", "work 1", "two", "work 2"]

"""Runs at MLflow: what arrives there, how it ends there, and a server that isn't there or goes."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import fake_runs
import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import evaluate, finetune, pretrain
from dermssl.core import runs
from dermssl.core.errors import RunFailed
from dermssl.core.settings import Backbone, Grid, Logging
from dermssl.training import mlflow_log

tracking = pytest.importorskip("mlflow.tracking")


@pytest.fixture
def store(tmp_path):
    return tmp_path / "ml flow"


def runs_at(where):
    """(client, its runs) of an MLflow folder or server."""
    client = mlflow_log._client(str(where))
    experiment = client.get_experiment_by_name(mlflow_log.EXPERIMENT)
    return client, client.search_runs([experiment.experiment_id])


def check_finetuning(where, folder):
    """A fine-tuning run of one epoch, with all that should be there."""
    client, (kept,) = runs_at(where)
    assert kept.info.status == "FINISHED"
    assert kept.data.params["finetune.batch_size"] == "16"
    assert kept.data.params["backbone.name"] == "mlp"
    assert kept.data.params["seed"] == "0"
    history = pd.read_csv(folder / "history.csv")
    for name in ("loss", "val_fine_balanced_accuracy", "learning_rate"):
        found = client.get_metric_history(kept.info.run_id, name)
        assert [one.step for one in found] == [1]
        assert found[0].value == pytest.approx(history[name][0])
    scores = json.loads((folder / "finetuned_stats.json").read_text())["scores"]["test"]
    score = kept.data.metrics["test.balanced_accuracy"]
    assert score == pytest.approx(scores["balanced_accuracy"])
    low, high = (kept.data.metrics[f"test.balanced_accuracy_{end}"] for end in ("low", "high"))
    assert low <= score <= high
    files = {item.path for item in client.list_artifacts(kept.info.run_id)}
    assert files == {
        "classes.csv", "config.toml", "finetuned_stats.json", "history.csv", "model",
        "predictions.csv",
    }  # fmt: skip
    model = client.list_artifacts(kept.info.run_id, "model")
    names = ("model.keras", "signature.json", "taxonomy.json", "temperature.json")
    assert [item.path for item in model] == [f"model/{name}" for name in names]
    path = client.download_artifacts(kept.info.run_id, "model/signature.json", str(folder.parent))
    signature = json.loads(Path(path).read_text())
    assert json.loads(signature["inputs"])[0]["tensor-spec"]["shape"] == [-1, 32, 32, 3]
    outputs = {one["name"]: one["tensor-spec"] for one in json.loads(signature["outputs"])}
    assert outputs["fine"] == {"dtype": "float32", "shape": [-1, 7]}


def tuned(photos, folder, where):
    argv = ["--data", photos, *tiny.SMALL, "--weights", "none", "--frozen-epochs", 1,
            "--unfrozen-epochs", 0, "--output", folder, "--mlflow", where]  # fmt: skip
    assert tiny.call(finetune, *argv) == 0


def test_a_fine_tuning_in_a_folder(photos, store, tmp_path):
    tuned(photos, tmp_path / "run", store)
    check_finetuning(store, tmp_path / "run")
    tuned(photos, tmp_path / "run", store)  # finished: nothing is added
    check_finetuning(store, tmp_path / "run")


def steps(folder, where, losses, fault=None, before=None):
    """A run that trains these losses, then meets a fault; `before` hears of epochs, too."""
    config = {"backbone": Backbone(), "seed": 0, "logging": Logging(mlflow=str(where))}
    with (
        runs.open_run(folder, "pretrain", config, "hash") as run,
        mlflow_log.tracked(run, config, "pretrain"),
    ):
        rows = []
        run.listeners[:0] = [before] if before else []
        for epoch, loss in enumerate(losses, start=1):
            rows.append({"phase": "pretrain", "epoch": epoch, "loss": loss, "knn": np.nan})
            for listen in run.listeners:
                listen(rows)
        if fault:
            raise fault
        stats = ("loss", "contrastive_accuracy", "entropy_nats", "photos_per_second")
        (folder / "ssl_stats.json").write_text(json.dumps(dict.fromkeys(stats, 2.0)))
        run.set_status(runs.FINISHED)


def test_failed_killed_and_resumed_is_one_run_with_each_epoch_once(store, tmp_path):
    for losses, fault, state in (
        ([3.0, 2.0], RunFailed("diverged"), "FAILED"),
        ([3.0], KeyboardInterrupt(), "KILLED"),
        ([3.0, 2.0, 1.0], None, "FINISHED"),
    ):
        if fault is None:
            steps(tmp_path / "run", store, losses)
        else:
            with pytest.raises(type(fault)):
                steps(tmp_path / "run", store, losses, fault)
        client, (kept,) = runs_at(store)
        assert kept.info.status == state
    found = client.get_metric_history(kept.info.run_id, "loss")
    assert [(one.step, one.value) for one in found] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert kept.data.metrics["final.loss"] == 2.0
    assert "knn" not in kept.data.metrics  # undefined


@pytest.mark.parametrize(("gone", "there"), [(range(1, 2), [1, 2, 3]), (range(2, 99), [1])])
def test_a_server_that_goes_away_is_said_once_and_gets_the_rest_if_it_is_back(
    store, tmp_path, monkeypatch, caplog, gone, there
):
    real, calls = tracking.MlflowClient.log_batch, []

    def unsteady(*args, **more):
        calls.append(more)  # the first is of the settings
        if len(calls) - 1 in gone:
            raise ConnectionError("gone")
        return real(*args, **more)

    monkeypatch.setattr(tracking.MlflowClient, "log_batch", unsteady)
    steps(tmp_path / "run", store, [3.0, 2.0, 1.0])
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    message = record.getMessage()
    assert "can't be reached any more (ConnectionError: gone); the run goes on" in message
    assert runs.read_json(tmp_path / "run" / "status.json")["status"] == runs.FINISHED
    client, (kept,) = runs_at(store)
    found = client.get_metric_history(kept.info.run_id, "loss")
    assert [one.step for one in found] == there
    assert kept.info.status == ("FINISHED" if len(there) == 3 else "RUNNING")


def test_no_server_is_refused_before_anything_is_made(photos, tmp_path, capsys):
    with socket.create_server(("localhost", 0)) as server:
        port = server.getsockname()[1]
    where = f"http://localhost:{port}"
    argv = ["--data", photos, *tiny.SMALL, "--output", tmp_path / "run", "--mlflow", where]
    assert tiny.call(pretrain, *argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dermssl: error: --mlflow {where}: no MLflow answers there (")
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").touch()
    assert tiny.call(pretrain, *argv[:-1], tmp_path / "file") == 2
    assert "file: no folder; give a folder or an address" in capsys.readouterr().err
    assert tiny.call(pretrain, *argv[:-1], "http://me:secret@localhost:1") == 2
    said = capsys.readouterr().err
    assert "MLFLOW_TRACKING_PASSWORD" in said
    assert "secret" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.soak
def test_a_fine_tuning_at_a_real_server(photos, tmp_path):
    """DERMSSL_MLFLOW is the `mlflow` program of an environment with all of MLflow.

    It can't be in ours: MLflow's server takes no pandas of version 3.
    """
    program = os.environ.get("DERMSSL_MLFLOW")
    if not program:
        pytest.skip("DERMSSL_MLFLOW names no mlflow program to start a server with")
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    where = f"http://127.0.0.1:{port}"
    command = [program, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
               "--backend-store-uri", f"sqlite:///{tmp_path}/ml.db",
               "--artifacts-destination", str(tmp_path / "artifacts")]  # fmt: skip
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, start_new_session=True) as server:  # fmt: skip
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{where}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.5)
            tuned(photos, tmp_path / "run", where)
            check_finetuning(where, tmp_path / "run")
            check_reports(where, tmp_path / "run")
            began = time.monotonic()
            kill = lambda rows: len(rows) == 2 and os.killpg(server.pid, signal.SIGKILL)  # noqa: E731
            steps(tmp_path / "lonely", where, [4.0, 3.0, 2.0, 1.0], before=kill)
            assert runs.read_json(tmp_path / "lonely" / "status.json")["status"] == runs.FINISHED
            assert time.monotonic() - began < 60
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def test_a_grid_has_a_score_a_cell(store, tmp_path):
    config = {"grid": Grid(depths=[2, 4]), "logging": Logging(mlflow=str(store))}
    with (
        runs.open_run(tmp_path / "grid", "grid", config, "hash") as run,
        mlflow_log.tracked(run, config, "grid"),
    ):
        columns = "cell,balanced_accuracy,balanced_accuracy_low,balanced_accuracy_high"
        rows = "mobilenet_2,0.5,0.4,0.6\nmobilenet_4,n/a,n/a,n/a"
        (run / "results.csv").write_text(f"{columns}\n{rows}\n")
        run.set_status(runs.FINISHED)
    client, (kept,) = runs_at(store)
    assert kept.data.params["grid.depths"] == "2 4"
    assert kept.data.metrics == {
        "mobilenet_2.balanced_accuracy": 0.5,
        "mobilenet_2.balanced_accuracy_low": 0.4,
        "mobilenet_2.balanced_accuracy_high": 0.6,
    }
    files = {item.path for item in client.list_artifacts(kept.info.run_id)}
    assert files == {"config.toml", "results.csv"}


def simulated(folder, **status):
    """A finished run without photos, and the arguments to evaluate it."""
    table = fake_runs.records(n=200)
    fake_runs.make(folder, table, fake_runs.simulate(table, 1.5), status=status)
    return [folder, "--n-resamples", 100]


def check_report(client, number, folder, name="evaluation_test"):
    """Every metric of a report with its interval, and its files, at one run."""
    summary = json.loads((folder / "metrics.json").read_text())["metrics"]
    sent = {key: value for key, value in client.get_run(number).data.metrics.items()
            if key.startswith(f"{name}.")}  # fmt: skip
    expected = {
        f"{name}.{metric}{end}": value[bound]
        for metric, value in summary.items()
        for bound, end in (("estimate", ""), ("low", "_low"), ("high", "_high"))
        if value and value[bound] is not None
    }
    assert sent == pytest.approx(expected)
    files = {item.path.rpartition("/")[2] for item in client.list_artifacts(number, name)}
    assert files == {path.name for path in folder.iterdir() if path.is_file()} - {"mine.csv"}


def check_reports(where, run):
    """Reports on a run at a server go to it; once it is removed there, to runs of their own."""
    client, (kept,) = runs_at(where)
    argv = [run, "--n-resamples", 100, "--mlflow", where]
    assert tiny.call(evaluate, *argv) == 0
    check_report(client, kept.info.run_id, run / "evaluation_test")
    client.delete_run(kept.info.run_id)
    assert tiny.call(evaluate, *argv) == 0
    _, (own,) = runs_at(where)
    check_report(client, own.info.run_id, run / "evaluation_test")
    status = json.loads((run / "status.json").read_text())
    status["mlflow"]["run_id"] = 32 * "0"
    (run / "status.json").write_text(json.dumps(status))
    assert tiny.call(evaluate, *argv) == 0
    assert len(runs_at(where)[1]) == 2


def test_a_report_goes_to_its_run(store, tmp_path, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    client = mlflow_log._client(str(store))
    number = mlflow_log._create(client, {}, "run")
    client.set_terminated(number, "FINISHED")
    argv = simulated(tmp_path / "run", mlflow={"where": str(store), "run_id": number})
    assert tiny.call(evaluate, *argv) == 0
    assert not client.list_artifacts(number)  # nobody asked
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.csv").touch()
    assert tiny.call(evaluate, *argv, "--mlflow", store, "--output", tmp_path / "out") == 0
    check_report(client, number, tmp_path / "out")
    _, (kept,) = runs_at(store)
    assert kept.info.status == "FINISHED"


@pytest.mark.parametrize("known", ["nothing", "another place", "removed", "of another file"])
def test_a_report_on_a_run_that_is_not_there_has_a_run_of_its_own(
    store, tmp_path, monkeypatch, known
):
    fake_runs.no_pictures(monkeypatch)
    client = mlflow_log._client(str(store))
    number = mlflow_log._create(client, {}, "run")
    client.delete_run(number)
    place = {
        "nothing": {}, "another place": {"where": "http://localhost:1", "run_id": number},
        "removed": {"where": str(store), "run_id": number},
        "of another file": {"where": str(store), "run_id": 32 * "0"},
    }[known]  # fmt: skip
    argv = simulated(tmp_path / "run", mlflow=place)
    assert tiny.call(evaluate, *argv, "--mlflow", store, "--split", "validation") == 0
    _, (kept,) = runs_at(store)
    name = "evaluation_validation"
    check_report(client, kept.info.run_id, tmp_path / "run" / name, name)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == f"run {name}"
    assert kept.data.tags["dermssl.run"] == str(tmp_path / "run")
    assert kept.data.tags["dermssl.data_hash"] == "d4d4d4d4d4d4"
    assert kept.data.params["evaluate.split"] == "validation"


def test_a_server_that_goes_away_costs_no_report(store, tmp_path, monkeypatch, caplog):
    fake_runs.no_pictures(monkeypatch)

    def gone(*args, **more):
        raise ConnectionError("gone")

    monkeypatch.setattr(tracking.MlflowClient, "log_artifact", gone)
    assert tiny.call(evaluate, *simulated(tmp_path / "run"), "--mlflow", store) == 0
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "can't be sent (ConnectionError: gone); the same command" in record.getMessage()
    assert [kept.info.status for kept in runs_at(store)[1]] == ["FAILED"]
    assert (tmp_path / "run" / "evaluation_test" / "report.html").is_file()
    (tmp_path / "file").touch()
    assert tiny.call(evaluate, tmp_path / "run", "--mlflow", tmp_path / "file") == 2


def test_a_report_on_several_places_names_each(store, tmp_path):
    fake_runs.make(tmp_path / "run", table := fake_runs.records(n=40), fake_runs.simulate(table, 1))
    (tmp_path / "external").mkdir()
    found = {"A & B: roc_auc": {"estimate": 0.7, "low": 0.6, "high": None}, "A & B: ece": None}
    (tmp_path / "external" / "metrics.json").write_text(json.dumps({"metrics": found}))
    (tmp_path / "external" / "report.md").write_text("`predictions.csv`\n")
    config = {"logging": Logging(mlflow=str(store))}
    mlflow_log.send_report(config, tmp_path / "run", tmp_path / "external", "external")
    _, (kept,) = runs_at(store)
    assert kept.data.metrics == {
        "external.A _ B.roc_auc": 0.7, "external.A _ B.roc_auc_low": 0.6,
    }  # fmt: skip

"""Log a run, or a report on one, to MLflow (extra `mlflow`): settings, metrics, files, its end.

A run is logged beside its training and never instead of it: where the server goes away, that is
said once, and what is missing is sent at the end if the server is back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import config as configs
from dermssl.core import runs, taxonomy
from dermssl.core.errors import UserError, one_line
from dermssl.core.settings import Logging
from dermssl.data import records
from dermssl.evaluation import bootstrap, metrics, predictions

log = logging.getLogger("dermssl")

EXPERIMENT = "dermssl"
# MLflow's own would wait for minutes for a server that is gone, and tell its makers of every use.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
}
# Files of each command's folder, as patterns, and the folder at MLflow that gets them.
FILES = {
    "pretrain": {
        "": ("config.toml", "history.csv", "ssl_stats.json", "health.json", "views.png"),
        "model": (runs.BACKBONE_FILE,),
    },
    "finetune": {
        "": (
            "config.toml", "history.csv", "predictions.csv", "finetuned_stats.json",
            "classes.csv",
        ),
        "model": ("model.keras", "temperature.json", "taxonomy.json"),
    },
    "grid": {"": ("config.toml", "results.csv", "pivot_*.csv", "report.md", "report.html")},
}  # fmt: skip
REPORT = ("report.md", "report.html", "metrics.json")  # of an evaluation, and what it names:
NAMED = re.compile(r"(?:\]\(|`)([\w.-]+\.(?:png|csv))[)`]")
NOT_LOGGED = ("phase", "epoch")  # columns of the history that are no metrics
N_RESAMPLES = 500
PARAMS = 100  # in one request, at most


def check(config: dict[str, Any]) -> None:
    """Refuse, before anything is computed, an MLflow that isn't there."""
    where = (config.get("logging") or Logging()).mlflow
    if not where:
        return
    if "://" not in where and Path(where).exists() and not Path(where).is_dir():
        raise UserError(f"logging.mlflow {where}: no folder; give a folder or an address")
    if "@" in urllib.parse.urlsplit(where).netloc:  # settings are kept in runs and reports
        raise UserError(
            "logging.mlflow: the address holds a name or password, which a run would keep; give "
            "them by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    _import()
    if "://" not in where:
        return
    try:
        _client(where).search_experiments(max_results=1)
    except Exception as error:  # of MLflow, of requests, of urllib3, or of the file system
        raise UserError(
            f"logging.mlflow {where}: no MLflow answers there ({one_line(error, 120)}); start the "
            "server, give a folder, or leave logging.mlflow out"
        ) from error


def _client(where):
    return _import()(_address(where))


def _address(where):
    return where if "://" in where else Path(where).absolute().as_uri()


def _import():
    """MLflow's client class."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise UserError(
            "logging.mlflow: MLflow isn't installed; pip install 'dermssl[mlflow]'"
        ) from error
    return MlflowClient


@contextlib.contextmanager
def tracked(run: runs.Run, config: dict[str, Any], command: str) -> Iterator[None]:
    """In this block a run is logged to MLflow, if a setting says so and it isn't finished already.

    Every epoch is logged as the history gets it, the rest at the end. A block that raises leaves
    the run FAILED there, or KILLED where a signal came. The same run, resumed, goes on there.

    Args:
        run: `runs.Run`.
        config: dict as from `dermssl.core.config.from_flags`.
        command: "pretrain", "finetune" or "grid".
    """
    where = (config.get("logging") or Logging()).mlflow
    if not where or run.status["status"] == runs.FINISHED:
        yield
        return
    tracker = _Tracker(run, config, command, where)
    run.listeners.append(tracker.hear)
    try:
        yield
    except KeyboardInterrupt:
        tracker.end("KILLED")
        raise
    except BaseException:
        tracker.end("FAILED")
        raise
    tracker.end("FINISHED")


def send_report(config: dict[str, Any], path: Path | str, folder: Path, name: str) -> None:
    """Send a report on a run to MLflow, if a setting says so: its metrics and its files.

    It goes to the run itself where MLflow has it, else to one of its own that names the run. A
    server that goes away is said; what was written here stays.

    Args:
        config: dict as from `dermssl.core.config.from_flags`.
        path: the folder of the run.
        folder: of the report, with a metrics.json.
        name: of the report; metrics there begin with it, and its files lie below it.
    """
    where = (config.get("logging") or Logging()).mlflow
    if not where:
        return
    status = runs.read_json(Path(path) / "status.json")
    try:
        client = _client(where)
        number = _known(client, where, status.get("mlflow", {}))
        if number is not None:
            _send_files(client, number, folder, name)
            return
        hashes = {f"dermssl.{key}": status.get(key, "") for key in ("data_hash", "config_hash")}
        tags = {"dermssl.command": "evaluate", "dermssl.run": str(path), **hashes}
        number = _create(client, tags, f"{Path(path).name} {name}")
        try:
            _log_params(client, number, config)
            _send_files(client, number, folder, name)
        except BaseException:
            with contextlib.suppress(Exception):
                client.set_terminated(number, "FAILED")
            raise
        client.set_terminated(number, "FINISHED")
    except Exception as error:  # as in `check`
        log.warning(
            "logging.mlflow %s: the report in %s can't be sent (%s); the same command tries again",
            where, folder, one_line(error, 120),
        )  # fmt: skip


def _known(client, where, known):
    """The id of a run at this MLflow; None where it has no such run, or not any more."""
    if not known or _address(known["where"]) != _address(where):
        return None
    from mlflow.exceptions import MlflowException

    try:
        info = client.get_run(known["run_id"]).info
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return known["run_id"] if info.lifecycle_stage == "active" else None


def _send_files(client, number, folder, name):
    values = {}
    for metric, value in runs.read_json(folder / "metrics.json")["metrics"].items():
        for bound, end in (("estimate", ""), ("low", "_low"), ("high", "_high")):
            title = re.sub(r"[^\w. /-]", "_", f"{name}.{metric}{end}".replace(": ", "."))
            values[title] = (value or {}).get(bound)
    _log_metrics(client, number, values)
    # Whatever else lies in the folder is nobody's business there.
    text = (folder / "report.md").read_text(encoding="utf-8")
    for file in (*REPORT, *sorted(set(NAMED.findall(text)))):
        if (folder / file).is_file():
            client.log_artifact(number, str(folder / file), name)


def _create(client, tags, name):
    """A new run of our experiment; returns its id."""
    title = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    experiment = client.get_experiment_by_name(title)
    number = experiment.experiment_id if experiment else client.create_experiment(title)
    return client.create_run(number, tags=tags, run_name=name).info.run_id


def _log_params(client, number, config):
    from mlflow.entities import Param

    params = []
    for section, value in configs.as_tables(config).items():
        table = value if isinstance(value, dict) else {"": value}
        for name, item in table.items():
            text = " ".join(map(str, item)) if isinstance(item, list) else str(item)
            params.append(Param(f"{section}.{name}".rstrip("."), text))
    for start in range(0, len(params), PARAMS):
        client.log_batch(number, params=params[start : start + PARAMS])


def _log_metrics(client, number, values, step=0):
    from mlflow.entities import Metric

    now = round(1000 * time.time())
    metrics = [
        Metric(name, float(value), now, step)
        for name, value in values.items()
        if value is not None and np.isfinite(value)
    ]
    if metrics:
        client.log_batch(number, metrics=metrics)


class _Tracker:
    """One run at MLflow."""

    def __init__(self, run, config, command, where):
        self.run, self.config, self.command, self.where = run, config, command, where
        self.client, self.lost, self.said = _client(where), False, False
        self.id: str | None = None
        self.sent, self.rows = 0, []  # rows of the history that are there, and all
        self._try(self._begin)

    def _try(self, send: Callable[[], None]) -> None:
        """Send something, unless the server is gone; that is said once."""
        if self.lost:
            return
        try:
            send()
        except Exception as error:  # as in `check`
            self.lost = True
            if not self.said:
                log.warning(
                    "logging.mlflow %s: can't be reached any more (%s); the run goes on, and what "
                    "is missing there is sent at its end if it is back",
                    self.where, one_line(error, 120),
                )  # fmt: skip
            self.said = True

    def _begin(self):
        if self.id is not None:
            return
        known = self.run.status.get("mlflow", {})
        if known.get("where") == self.where:
            with contextlib.suppress(Exception):  # it was removed there: a new one is made
                self.client.update_run(known["run_id"], status="RUNNING")
                self.sent = len(self.client.get_metric_history(known["run_id"], "loss"))
                self.id = known["run_id"]
                return
        tags = {
            "dermssl.command": self.command,
            "dermssl.folder": str(self.run.path),
            "dermssl.data_hash": self.run.status.get("data_hash", ""),
            "dermssl.config_hash": configs.config_hash(self.config),
        }
        self.id = _create(self.client, tags, self.run.path.name)
        place = {"where": self.where, "run_id": self.id}
        self.run.set_status(self.run.status["status"], mlflow=place)
        _log_params(self.client, self.id, self.config)

    def hear(self, rows: list[dict[str, Any]]) -> None:
        """The history so far, after an epoch."""
        self.rows = list(rows)
        self._try(self._send_rows)

    def _send_rows(self):
        self._begin()
        for step, row in enumerate(self.rows[self.sent :], start=self.sent + 1):
            values = {k: v for k, v in row.items() if k not in NOT_LOGGED}
            _log_metrics(self.client, self.id, values, step)
            self.sent = step

    def end(self, state: str) -> None:
        """Send what is missing, and how the run ended."""
        self.lost = False  # one more attempt
        self._try(self._send_rows)
        if state == "FINISHED":
            self._try(lambda: _log_metrics(self.client, self.id, self._final()))
            self._try(self._files)
        self._try(lambda: self.client.set_terminated(self.id, state))

    def _final(self):
        """dict of final metrics, with the bounds of their intervals where there are some."""
        if self.command == "pretrain":
            stats = runs.read_json(self.run / "ssl_stats.json")
            names = ("loss", "contrastive_accuracy", "entropy_nats", "photos_per_second")
            return {f"final.{name}": stats[name] for name in names}
        if self.command == "grid":
            table = pd.read_csv(self.run / "results.csv", na_values=["n/a"], keep_default_na=False)
            ends = ("", "_low", "_high")
            return {
                f"{row['cell']}.balanced_accuracy{end}": row[f"balanced_accuracy{end}"]
                for row in table.to_dict("records")
                for end in ends
            }
        kept, found = predictions.read(self.run.path), {}
        for split in set(kept.table["split"]) - {records.TRAIN}:
            y, y_coarse, p_fine, p_coarse, groups = kept.arrays(split)
            plan = metrics.plan(y, y_coarse, p_fine, kept.taxonomy, p_coarse=p_coarse)
            for name, draws in bootstrap.score(plan, groups, n_resamples=N_RESAMPLES).items():
                interval = draws.interval()
                bounds = ("", interval.estimate), ("_low", interval.low), ("_high", interval.high)
                found |= {f"{split}.{name}{end}": value for end, value in bounds}
        return found

    def _files(self):
        for folder, patterns in FILES[self.command].items():
            for path in (path for pattern in patterns for path in self.run.path.glob(pattern)):
                self.client.log_artifact(self.id, str(path), folder or None)
        if self.command == "finetune":
            self.client.log_dict(self.id, self._signature(), "model/signature.json")

    def _signature(self):
        """The classifier's inputs and outputs as MLflow writes them."""
        from mlflow.models import ModelSignature
        from mlflow.types import Schema, TensorSpec

        known = taxonomy.from_dict(runs.read_json(self.run / "taxonomy.json"))
        size = self.config["backbone"].image_size
        f32 = np.dtype("float32")
        photos = TensorSpec(f32, (-1, size, size, 3), "photos: RGB in [0, 255]")
        logits = [
            TensorSpec(f32, (-1, len(getattr(known, level))), level) for level in ("fine", "coarse")
        ]
        return ModelSignature(inputs=Schema([photos]), outputs=Schema(logits)).to_dict()

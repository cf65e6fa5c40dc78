"""Log a run to MLflow (extra `mlflow`): settings, metrics, files, and how it ended.

A run is logged beside its training and never instead of it: where the server goes away, that is
said once, and what is missing is sent at the end if the server is back.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
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
    return _import()(where if "://" in where else Path(where).absolute().as_uri())


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
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        experiment = self.client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self.client.create_experiment(name)
        tags = {
            "dermssl.command": self.command,
            "dermssl.folder": str(self.run.path),
            "dermssl.data_hash": self.run.status.get("data_hash", ""),
            "dermssl.config_hash": configs.config_hash(self.config),
        }
        made = self.client.create_run(number, tags=tags, run_name=self.run.path.name)
        self.id = made.info.run_id
        place = {"where": self.where, "run_id": self.id}
        self.run.set_status(self.run.status["status"], mlflow=place)
        self._params()

    def _params(self):
        from mlflow.entities import Param

        params = []
        for section, value in configs.as_tables(self.config).items():
            table = value if isinstance(value, dict) else {"": value}
            for name, item in table.items():
                text = " ".join(map(str, item)) if isinstance(item, list) else str(item)
                params.append(Param(f"{section}.{name}".rstrip("."), text))
        for start in range(0, len(params), PARAMS):
            self.client.log_batch(self.id, params=params[start : start + PARAMS])

    def hear(self, rows: list[dict[str, Any]]) -> None:
        """The history so far, after an epoch."""
        self.rows = list(rows)
        self._try(self._send_rows)

    def _send_rows(self):
        self._begin()
        for step, row in enumerate(self.rows[self.sent :], start=self.sent + 1):
            self._metrics({k: v for k, v in row.items() if k not in NOT_LOGGED}, step)
            self.sent = step

    def _metrics(self, values, step=0):
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        found = [
            Metric(name, float(value), now, step)
            for name, value in values.items()
            if value is not None and np.isfinite(value)
        ]
        if found:
            self.client.log_batch(self.id, metrics=found)

    def end(self, state: str) -> None:
        """Send what is missing, and how the run ended."""
        self.lost = False  # one more attempt
        self._try(self._send_rows)
        if state == "FINISHED":
            self._try(lambda: self._metrics(self._final()))
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

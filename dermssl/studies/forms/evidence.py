"""The files that a form is filled from: a number is taken from one of them, and where is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.data import csv_tables
from dermssl.reporting import wording
from dermssl.studies.forms import participants

STATUS, TAXONOMY = "status.json", "taxonomy.json"
METRICS = "evaluation_test/metrics.json"
PER_CLASS = "evaluation_test/per_class.csv"
GROUPS, GAPS = "evaluation_test/subgroups.csv", "evaluation_test/subgroup_gaps.csv"
PEOPLE, FLOW = "forms/participants.csv", "forms/flow.json"
PRETRAINING = "status.json of the pretraining run"
STRESS, EXPLAINED = "stress_test/stress.json", "explanations/explanations.csv"


class MissingFact(LookupError):
    """A file or an entry of it isn't there; a form then asks the author."""


@dataclass(frozen=True)
class Evidence:
    """The content of a run's files, by name relative to its folder.

    Attributes:
        files: file -> its content: nested dicts of a JSON file, a list of rows of a table.
    """

    files: Mapping[str, Any] = field(repr=False)

    def get(self, file: str, *keys: Any) -> Any:
        """An entry of a file, or a `MissingFact`.

        >>> Evidence({"a.json": {"n": 3}}).get("a.json", "n")
        3
        """
        value = self.files.get(file)
        for key in keys:
            if isinstance(value, Mapping):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                value = None
        if value is None or value == "":
            raise MissingFact(_where(file, keys))
        return value


def read(run: Path, people: pd.DataFrame, flow: dict[str, Any]) -> Evidence:
    """What the files of a run say.

    Args:
        run: folder of a finished fine-tuning run.
        people: from `participants.table`.
        flow: from `flow.trace`.

    Raises:
        UserError: status, taxonomy or metrics aren't there.
    """
    files: dict[str, Any] = {
        STATUS: runs.read_json(run / STATUS),
        TAXONOMY: runs.read_json(run / TAXONOMY),
        METRICS: runs.read_json(run / METRICS),
        PEOPLE: participants.nested(people),
        FLOW: flow,
    }
    files |= _pretraining(files[STATUS])
    if (run / STRESS).is_file():
        files[STRESS] = runs.read_json(run / STRESS)
    for name in (PER_CLASS, GROUPS, GAPS, EXPLAINED):
        if (run / name).is_file():
            files[name] = _rows(run / name)
    files |= _external(run)
    return Evidence(files)


def _rows(path):
    """The rows of a report's CSV file, numbers as numbers."""
    try:
        return pd.read_csv(path, na_values=["n/a"], keep_default_na=False).to_dict("records")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {csv_tables.quoted(error)}; evaluate the run again") from error


def _pretraining(status):
    """What the pretraining run started from that the backbone's weights are of; {} without one."""
    start = runs.pretraining_start(status)
    return {PRETRAINING: {"started from": start}} if start else {}


def _external(run):
    """metrics.json of evaluations on other data: in RUN/external_NAME/, or RUN/external/NAME/."""
    found = [*run.glob("external_*/metrics.json"), *run.glob("external/*/metrics.json")]
    return {path.relative_to(run).as_posix(): runs.read_json(path) for path in sorted(found)}


def _where(file, keys):
    """Of something that isn't there: the file, or the entry, and the command that makes it."""
    makes = {STRESS: "stress_test", EXPLAINED: "explain"}.get(file)
    if makes:
        return f"{file}, which dermssl.{makes} writes"
    return f"{file}: {' / '.join(map(str, keys))}" if keys else file


class Citing:
    """Looks numbers up for one answer, and keeps where each came from.

    Args:
        evidence: the files.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.sources: list[str] = []

    def __call__(self, file: str, *keys: Any) -> Any:
        """An entry of a file; `MissingFact` where it isn't there."""
        value = self.evidence.get(file, *keys)
        self._cite(file, *keys)
        return value

    def _cite(self, file, *keys):
        source = f"{file}: {' / '.join(map(str, keys))}" if keys else file
        if source not in self.sources:
            self.sources.append(source)

    def maybe(self, file: str, *keys: Any) -> Any:
        """As a call, but None where it isn't there."""
        try:
            return self(file, *keys)
        except MissingFact:
            return None

    def status(self, *keys: str) -> Any:
        """Of status.json."""
        return self(STATUS, *keys)

    def setting(self, section: str, name: str) -> Any:
        """A setting that the run began with; may be 0, False or ""."""
        values = self.evidence.get(STATUS, "config", section)
        if name not in values:
            raise MissingFact(_where(STATUS, ("config", section, name)))
        self._cite(STATUS, "config", section, name)
        return values[name]

    def setting_seed(self) -> int:
        """The seed of the training."""
        return int(self.status("config", "seed"))

    def metric(self, name: str) -> str:
        """A metric of the test split with its interval."""
        return wording.of_json(_interval(self(METRICS, "metrics", name)))

    def target(self, name: str, metric: str) -> str:
        """A metric of one question against the rest, with its interval."""
        return wording.of_json(_interval(self(METRICS, "against_rest", name, "metrics", metric)))

    def people(self, characteristic: str, level: str, split: str) -> Any:
        """A number of the participant table."""
        return self(PEOPLE, characteristic, level, split)


def _interval(value):
    return {name: value.get(name) for name in ("estimate", "low", "high")}

"""Write the tables and pictures of a run's scores on photos from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core.study_settings import Evaluate
from dermssl.data import class_map
from dermssl.evaluation import predictions
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.subgroups import FEW, METRICS
from dermssl.inference.finished_run import FinishedRun
from dermssl.reporting import results_csv
from dermssl.studies.external import compute, figures, overlap, wording
from dermssl.studies.external.places import Place


@dataclass(frozen=True, eq=False)
class Scored:
    """One place with all that its files and report are made of.

    Attributes:
        place, numbers: the photos, and what came out.
        p_fine, p_coarse: raw probabilities.
        run: `FinishedRun`.
        settings: `study_settings.Evaluate`.
        unchecked: why copies of the run's photos weren't looked for; "" where they were.
        command: what to type for the same again.
    """

    place: Place
    numbers: compute.External
    p_fine: np.ndarray = field(repr=False)
    p_coarse: np.ndarray = field(repr=False)
    run: FinishedRun
    settings: Evaluate
    unchecked: str
    command: str


def write(folder: Path, scored: Scored) -> None:
    """metrics.json, the CSV files and the pictures of one place."""
    place, numbers = scored.place, scored.numbers
    atomic_files.write_json(folder / "metrics.json", summary(scored))
    atomic_files.write_csv(folder / "predictions.csv", predicted(scored))
    results_csv.write_rows(folder / "classes.csv", [asdict(one) for one in place.mapped])
    atomic_files.write_csv(folder / "overlaps.csv", place.overlap[list(overlap.COLUMNS)])
    results_csv.write_rows(folder / "per_class.csv", numbers.classes.to_dict("records"))
    for name, table in (
        ("calibration.csv", numbers.slopes),
        ("class_shares.csv", numbers.shares),
        ("log_loss_by_shares.csv", numbers.assumed),
    ):
        results_csv.write_rows(folder / name, [flat(row) for row in table.to_dict("records")])
    results_csv.write_rows(folder / "differences.csv", difference_rows(scored))
    (folder / "subgroups.csv").unlink(missing_ok=True)
    if numbers.groups:
        results_csv.write_rows(folder / "subgroups.csv", group_rows(numbers))
    figures.draw(folder, scored)


def write_all(folder: Path, results: Sequence[Scored]) -> None:
    """metrics.json, external.csv and external.png of several places."""
    summaries = {one.place.name: summary(one) for one in results}
    metrics = {
        f"{name}: {metric}": value
        for name, one in summaries.items()
        for metric, value in one["metrics"].items()
    }
    atomic_files.write_json(
        folder / "metrics.json",
        {
            "run": str(results[0].run.path),
            "command": results[0].command,
            "findings": [f"{name}: {one['findings'][0]}" for name, one in summaries.items()],
            "lines": [line for one in summaries.values() for line in one["lines"]],
            "metrics": metrics,
            "sets": summaries,
        },
    )
    rows = [
        {"set": one.place.name, "level": one.numbers.level, **row}
        for one in results
        for row in difference_rows(one)
    ]
    results_csv.write_rows(folder / "external.csv", rows)
    figures.forest(folder / "external.png", results)


def flat(row: Mapping[Any, Any]) -> dict[str, Any]:
    """A row in which each `Interval` is three cells: NAME, NAME_low, NAME_high."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        cells |= results_csv.bounds(name, value) if isinstance(value, Interval) else {name: value}
    return cells


def difference_rows(scored: Scored) -> list[dict[str, Any]]:
    """A row a metric: here, on the run's own test records, and the difference."""
    numbers = scored.numbers
    return [
        {
            "metric": name, "n": numbers.counts["n_fine"],
            "n_groups": numbers.counts["n_groups"], "n_internal": numbers.n_internal,
            **results_csv.bounds("external", interval),
            **results_csv.bounds("internal", numbers.internal.get(name)),
            **results_csv.bounds("difference", numbers.difference.get(name)),
        }
        for name, interval in numbers.intervals.items()
    ]  # fmt: skip


def group_rows(numbers: compute.External) -> list[dict[str, Any]]:
    """Rows of subgroups.csv."""
    rows = []
    for group in numbers.groups:
        row = {
            "axis": group.axis, "group": group.value, "n": group.n, "n_groups": group.n_groups,
            "n_positive": group.n_positive, "too_few": group.n < FEW,
            "classes": " ".join(group.classes),
        }  # fmt: skip
        for name in METRICS:
            row |= results_csv.bounds(name, group.found.get(name))
        rows.append(row)
    return rows


def predicted(scored: Scored) -> pd.DataFrame:
    """The raw predictions with their label, ours, and what is known of their malignancy."""
    index = scored.place.dataset.index
    truth = scored.place.truth(scored.run.taxonomy)  # type: ignore[arg-type]
    taxonomy = scored.run.taxonomy
    assert taxonomy is not None
    named = {
        "fine": np.array([*taxonomy.fine, ""], dtype=object)[truth.fine],
        "coarse": np.array([*taxonomy.coarse, ""], dtype=object)[truth.coarse],
        "split": "",
    }
    table = predictions.table(index.assign(**named), scored.p_fine, scored.p_coarse, taxonomy)
    answers = np.array([class_map.BENIGN, class_map.MALIGNANT, ""], dtype=object)
    table.insert(1, "their_label", class_map.labels(index).to_numpy(dtype=object))
    table.insert(4, "malignancy", answers[truth.malignant])
    return table.drop(columns="split")


def summary(scored: Scored) -> dict[str, Any]:
    """The content of metrics.json."""
    numbers, place, settings = scored.numbers, scored.place, scored.settings
    n = numbers.counts["n_fine"]

    def of(intervals):
        return {name: vars(interval) for name, interval in intervals.items()}

    def rows(table):
        return [
            {name: vars(value) if isinstance(value, Interval) else value
             for name, value in row.items()}
            for row in table.to_dict("records")
        ]  # fmt: skip

    return {
        "run": str(scored.run.path),
        "data": place.path,
        "name": place.name,
        "command": scored.command,
        "level": numbers.level,
        **numbers.counts,
        "n": n,
        "left_out": place.left_out,
        "copies_not_looked_for": scored.unchecked,
        "classes": [asdict(one) for one in place.mapped],
        "findings": wording.findings(scored),
        "notes": wording.notes(scored),
        "lines": wording.lines(scored),
        "parameters": {
            name: getattr(settings, name)
            for name in ("one_class", "specificity", "min_sensitivity", "top_k", "n_resamples")
        },
        "metrics": {name: {"n": n, **vars(one)} for name, one in numbers.intervals.items()},
        "internal": {"n": numbers.n_internal, "metrics": of(numbers.internal)},
        "difference": of(numbers.difference),
        "claims": of(numbers.claims),
        "share_if_calibrated": numbers.expected._asdict(),
        "ece_if_calibrated": {stage: one._asdict() for stage, one in numbers.ece.items()},
        "thresholds": [
            {
                "question": one.title, "threshold": one.threshold, "chosen_on": "validation",
                "threshold_of": "P as predict gives it", "n": one.n,
                "n_positive": one.n_positive, "metrics": of(one.here),
                "internal": of(one.internal), "difference": of(one.difference),
            }
            for one in numbers.thresholds
        ],
        "calibration": {stage: of(one) for stage, one in numbers.stages.items()},
        "calibration_slopes": rows(numbers.slopes),
        "class_shares": rows(numbers.shares),
        "log_loss_by_shares": rows(numbers.assumed),
        "versions": runs.versions(),
    }  # fmt: skip

"""The report of a stress test, and its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dermssl.core import atomic_files, runs
from dermssl.data.lesion_inpainting import DISC
from dermssl.evaluation import metric_tables
from dermssl.reporting import report, results_csv, wording
from dermssl.studies.stress.conditions import BACKGROUND, title
from dermssl.studies.stress.wording import chosen, family, findings, notes, warnings

if TYPE_CHECKING:
    from dermssl.evaluation.interval import Interval
    from dermssl.evaluation.predictions import Predictions
    from dermssl.studies.stress.scores import Score

SENSITIVITY = (
    " Malignant sensitivity: share of the malignant photos whose likeliest class is a malignant "
    "one; `dermssl.evaluate` has another, that of P ≥ 0.5."
)
LIMITS = (
    "Patches, ink and rulers may cover part of the lesion: part of their drop is what can't be "
    "seen.",
    "A drop says that the artefact disturbs this model, not that the model was trained to use it: "
    "drawn artefacts are no photos of real ones, and a network may stumble over anything new.",
    "A score at chance without the lesion rules out a shortcut in the surroundings only, and only "
    "one that this many photos can show. A cue inside the lesion's outline (a ruler across it, the "
    "camera's colour) is erased along with it.",
    "What lies beside a lesion may be a sound clue (skin damaged by the sun) as well as an "
    "artefact. The warning says where part of the score comes from; whether it would hold in "
    "another clinic, only photos from there can tell.",
)
ERASING = (
    "Erasing leaves the size of the hole to be seen, and how much skin is left; both go with some "
    "diagnoses.{} Where a lesion fills the view, nothing is left to read, which pulls the score "
    "towards chance."
)
BOX = " The box hides the outline's shape as well."


def rows(scores: Sequence[Score], n: int, n_groups: int) -> list[dict[str, Any]]:
    """stress.csv: one row a condition; None is "n/a" there."""
    table = []
    for score in scores:
        row = {"condition": score.name, "n": n, "n_groups": n_groups}
        for name in ("balanced_accuracy", "drop", "flips", "sensitivity", "sensitivity_drop"):
            interval = getattr(score, name)
            row[name] = interval and interval.estimate
            row[f"{name}_low"] = interval and interval.low
            row[f"{name}_high"] = interval and interval.high
        table.append(row | {"gains": score.gains, "gain": score.gain if score.gains else None})
    return table


def numbers(scores: Sequence[Score]) -> dict[str, dict[str, Any]]:
    """stress.json: the same with everything an `Interval` says."""
    return {score.name: asdict(score) for score in scores}


def _table(scores: Sequence[Score]) -> report.Table:
    """Every condition with its drop, bold where its interval excludes 0."""
    columns = ["condition", "balanced accuracy", "drop", "predictions that change"]
    malignant = scores[0].sensitivity is not None
    rows = []
    for score in scores:
        row = [title(score.name), score.balanced_accuracy, _drop(score.drop), score.changed]
        rows.append(row + [score.sensitivity, _drop(score.sensitivity_drop)] * malignant)
    return report.Table(
        columns + ["malignant sensitivity (likeliest class)", "drop"] * malignant, rows
    )


def _drop(interval: Interval | None) -> report.Cell:
    if interval is None:  # the clean photos have none
        return report.Cell("")
    return report.Cell(interval, bold=interval.is_defined and interval.excludes_zero)


def write(
    folder: Path,
    summary: dict[str, Any],
    run: Predictions,
    scores: Sequence[Score],
    y: np.ndarray,
    p: dict[str, np.ndarray],
    groups: np.ndarray,
) -> None:
    """Write stress.csv, stress.json and the report; the pictures already lie in the folder.

    Args:
        folder: to write into.
        summary: what stress.json opens with: run, command, split, n, n_masks, strength, ...
        run: predictions and status of the run.
        scores: of each condition, the clean one first.
        y: int (n,), fine classes.
        p: condition -> float (n, F), probabilities.
        groups: (n,), patient or lesion ids.
    """
    n_discs = summary["n"] - summary["n_masks"]
    summary = {
        **summary,
        "warnings": warnings(scores, y, n_discs),
        "findings": findings(scores, y, p, n_discs),
        "conditions": numbers(scores),
        "versions": runs.versions(),
    }
    results_csv.write_rows(folder / "stress.csv", rows(scores, summary["n"], summary["n_groups"]))
    atomic_files.write_json(folder / "stress.json", summary)
    unit = metric_tables.grouped_by(groups)
    told = notes(summary, scores, y, groups, run.taxonomy, unit)
    report.write(build(summary, run.status, scores, told, unit, len(np.unique(y))), folder)


def build(
    summary: dict[str, Any],
    status: dict[str, Any],
    scores: Sequence[Score],
    told: Sequence[str],
    unit: str,
    n_classes: int,
) -> report.Report:
    """The report.

    Args:
        summary: the content of stress.json.
        status: of the run.
        scores: of each condition, the clean one first.
        told: from `notes`.
        unit: what one of the groups is.
        n_classes: number of classes that have photos.
    """
    counts = {"n_fine": summary["n"], "n_groups": summary["n_groups"], "grouped_by": unit}
    opening = (
        f"{report.escaped(wording.model_title(status))}, seed {status.get('seed', 'n/a')}; "
        f"{report.escaped(wording.photos(counts, summary['split']) + chosen(summary))}."
    )
    shown = (
        "The photos of this sheet are one of each class. An artefact is drawn on the square that "
        f"the network sees, at strength {summary['strength']}, another one on each photo. A lesion "
        f"is erased by its mask where there is one ({summary['n_masks']:,} of {summary['n']:,} "
        f"photos), else by a disc of {2 * DISC:.0%} of the side in the centre; the hole is filled "
        "with the colours around it and the skin's grain."
    )
    malignant = scores[0].sensitivity is not None
    explained = (
        "In brackets a 95% interval; of a drop another one: a "
        f"{family(scores)} (Bonferroni). A drop is the score on the clean photos minus that under "
        "the condition, paired: same photos, same draws; bold where the interval excludes 0. "
        f"Each artefact was drawn once on a photo.{SENSITIVITY if malignant else ''} Chance is "
        f"{wording.number(summary['chance'])}, one over the {n_classes} classes with photos: the "
        "balanced accuracy of an answer that doesn't look."
    )
    boxed = any(score.name == BACKGROUND for score in scores)
    limits = [*LIMITS, ERASING.format(BOX * boxed)]
    return report.Report(
        f"Stress test of {Path(summary['run']).name or summary['run']}",
        [
            report.Text(opening),
            report.Warnings(summary["warnings"], "Warning"),
            report.Warnings(told),
        ],
        [
            report.Section("What was found", [
                report.Findings(summary["findings"]),
                report.Figure("stress.png", "Balanced accuracy of every condition, and its drop"),
            ]),
            report.Section("What was shown", [
                report.Figure("conditions.png", "One photo a row, one condition a column"),
                report.Text(shown),
            ]),
            report.Section("Numbers", [_table(scores), report.Text(explained)]),
            report.Section("What this does not show", [report.Bullets(limits)]),
        ],
        [
            f"Photos and labels: the {summary['split']} records of "
            f"{report.code(summary['run'] + '/predictions.csv')} ({report.hashes(status)}), read "
            f"from {report.code(summary['data'])}. The clean photos' probabilities differ from "
            f"those of that file by at most {summary['agreement']:.2g}.",
            "Numbers in full: `stress.json` and `stress.csv` in this folder.",
            "Intervals: of balanced accuracy and of every drop by formula (cluster-robust variance "
            f"over {unit}s, with a floor for classes of few); of malignant sensitivity and of the "
            f"predictions that change, percentiles of {summary['n_resamples']:,} draws of whole "
            f"{unit}s with replacement, Wilson's for few {unit}s or where all or none count. They "
            "are cut at the score's range. One run is scored, so they cover the choice of photos, "
            "not the variation of training.",
            f"Versions: {report.versions(status)}.",
            f"This page: {report.code(summary['command'])}",
        ],
    )  # fmt: skip

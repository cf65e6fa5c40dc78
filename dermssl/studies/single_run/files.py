"""Write the tables and figures of one run's evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import atomic_files
from dermssl.evaluation import curves, metric_tables
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.subgroups import FEW, METRICS, Gap
from dermssl.reporting import confusion, figures, results_csv, wording
from dermssl.studies.single_run import abstention, calibration_effect, compute, readers, yes_no
from dermssl.studies.single_run import figures as figures_curves

SOME = (
    "conformal_sets.csv", "decision_curve.csv", "operating_points.csv", "readers.csv",
    "subgroups.csv", "subgroup_gaps.csv",
)  # fmt: skip


def write(folder: Path, evaluation: compute.Evaluation) -> None:
    """metrics.json and the CSV files.

    Args:
        folder: Path to write into.
        evaluation: `compute.Evaluation`.
    """
    for name in SOME:  # those of another evaluation, which this one may not have
        (folder / name).unlink(missing_ok=True)
    atomic_files.write_json(folder / "metrics.json", compute.summary(evaluation))
    results_csv.write_rows(folder / "per_class.csv", evaluation.classes.to_dict("records"))
    roc, precision = curve_tables(evaluation)
    _write(folder / "roc.csv", _named(roc))
    _write(folder / "precision_recall.csv", _named(precision))
    _write(folder / "reliability.csv", _keyed("probabilities", evaluation.reliability))
    _write(folder / "mean_probabilities.csv", evaluation.means)
    if evaluation.questions:
        benefits = [table for question in evaluation.questions for table in _benefits(question)]
        _write(folder / "decision_curve.csv", _first(pd.concat(benefits), 6))
        results_csv.write_rows(folder / "operating_points.csv", yes_no.rows(evaluation.questions))
    if evaluation.abstention:
        for name, table in abstention.tables(evaluation.abstention).items():
            _write(folder / name, table)
    if evaluation.reader_scores:
        results_csv.write_rows(folder / "readers.csv", readers.rows(evaluation.reader_scores))
    if evaluation.groups:
        results_csv.write_rows(folder / "subgroups.csv", group_rows(evaluation))
        results_csv.write_rows(folder / "subgroup_gaps.csv", gap_rows(evaluation), GAP_COLUMNS)


def _benefits(question):
    """Tables of net benefit with what each is of in its last columns."""
    target, last = question.target, list(question.benefit)[-1]
    share = target.n_positive / target.n if target.n else np.nan
    tables = [(name, share, table) for name, table in question.benefit.items()]
    tables += [(last, stated, table) for stated, table in question.benefit_at.items()]
    for name, prevalence, table in tables:
        yield table.assign(
            against_rest=target.name, kind=target.kind, probabilities=name,
            prevalence=prevalence, n=target.n, n_positive=target.n_positive,
        )  # fmt: skip


def curve_tables(evaluation: compute.Evaluation) -> tuple[dict, dict]:
    """ROC and precision-recall tables of every question and class: two dicts by (name, kind)."""
    arrays, taxonomy = evaluation.arrays, evaluation.found.taxonomy
    asked = {
        (question.target.name, "axis"): (question.target.y, question.target.score)
        for question in evaluation.questions
        if not question.target.is_class
    }
    for k, name in enumerate(taxonomy.fine):
        asked[name, "class"] = np.where(arrays.y < 0, -1, arrays.y == k), arrays.p_fine[:, k]
    roc = {key: curves.roc(*task) for key, task in asked.items()}
    precision = {key: curves.precision_recall(*task) for key, task in asked.items()}
    return roc, precision


def group_rows(evaluation: compute.Evaluation) -> list[dict]:
    """Rows of subgroups.csv."""
    rows = []
    asked = evaluation.question
    for group in evaluation.groups:
        row = {
            "axis": group.axis, "group": group.value, "n": group.n,
            "n_groups": group.n_groups, "too_few": group.n < FEW,
            "classes": " ".join(group.classes), "classes_too_few": " ".join(group.few),
            "classes_missing": " ".join(group.missing),
        }  # fmt: skip
        for name in METRICS:
            row |= results_csv.bounds(name, group.found.get(name))
        if asked:
            row |= {
                "against_rest": asked.target.name, "n_positive": group.n_positive,
                "threshold": asked.threshold,
            }  # fmt: skip
        rows.append(row)
    return rows


GAP_COLUMNS = (
    "metric", "axis", "a", "b", "n_a", "n_b", "classes", "value_a", "value_b", "difference",
    "low", "high", "verdict",
)  # fmt: skip


def gap_rows(evaluation: compute.Evaluation) -> list[dict]:
    """Rows of subgroup_gaps.csv, the widest of each metric first."""
    return [
        {
            "metric": gap.metric, "axis": gap.a.axis, "a": gap.a.value, "b": gap.b.value,
            "n_a": gap.a.n, "n_b": gap.b.n, "classes": " ".join(gap.classes),
            "value_a": gap.value_a, "value_b": gap.value_b,
            "difference": gap.interval.estimate, "low": gap.interval.low,
            "high": gap.interval.high,
            "verdict": verdict(gap),
        }
        for gap in evaluation.gaps
    ]  # fmt: skip


def verdict(gap: Gap) -> str:
    """ "difference", "no difference shown" or "undefined"."""
    if not gap.interval.is_defined:
        return "undefined"
    return "difference" if gap.interval.excludes_zero else "no difference shown"


def draw(folder: Path, evaluation: compute.Evaluation) -> None:
    """The pictures."""
    taxonomy, split = evaluation.found.taxonomy, evaluation.split
    for level, matrix in zip(
        evaluation.levels, metric_tables.matrices([evaluation.arrays], taxonomy)
    ):
        names = getattr(taxonomy, level)
        titles = taxonomy.titles if level == "fine" else names
        for kind, normalised in (("counts", False), ("shares", True)):
            what = "share of each true class" if normalised else "records"
            confusion.write(
                folder / f"confusion_{level}_{kind}.png", matrix, names, titles,
                f"{level} classes, {split} split: {what}", normalised,
            )  # fmt: skip
    roc, precision = curve_tables(evaluation)
    basis = wording.photos(metric_tables.counts(evaluation.arrays), split)
    figures_curves.roc(
        folder / "roc.png", roc, _labels(evaluation, "roc_auc", "auc"), f"ROC curves, {basis}"
    )
    figures_curves.precision_recall(
        folder / "precision_recall.png",
        precision,
        _labels(evaluation, "average_precision", "average_precision", shares=True),
        f"Precision and recall, {basis}",
    )
    shown = [
        (table, _reliability_title(name, evaluation.ece[name]))
        for name, table in evaluation.reliability.items()
    ]
    figures.reliability(folder / "reliability.png", shown, f"Reliability, {basis}")
    if evaluation.questions:
        figures_curves.decision(folder / "decision_curve.png", evaluation.questions, split)
    if evaluation.abstention:
        curve = evaluation.abstention.curve
        figures_curves.risk_coverage(folder / "risk_coverage.png", curve.table, basis)
    if evaluation.groups:
        figures_curves.groups(folder / "subgroups.png", evaluation, basis)
    history = evaluation.history
    figures_curves.training_curves(folder / "training_curves.png", history, "Training")


def _reliability_title(name, ece):
    title = calibration_effect.TITLES[name]
    if np.isnan(ece.seen):
        return f"{title}: ECE n/a"
    bounds = f"{wording.number(ece.low, 2)} to {wording.number(ece.high, 2)}"
    return f"{title}: ECE {wording.number(ece.seen, 2)} (calibrated: {bounds})"


def _labels(evaluation, figure, of_question, shares=False):
    """dict of (name, kind) -> its legend: title, area with interval, records."""
    found = {}
    for question in evaluation.questions:
        if not question.target.is_class:
            target, interval = question.target, question.found[of_question]
            found[target.name, "axis"] = _label(
                target.title, interval, target.n_positive, target.n, shares
            )
    n = int((evaluation.arrays.y >= 0).sum())
    for row in evaluation.classes.to_dict("records"):
        bounds = [row[figure], row[f"{figure}_low"], row[f"{figure}_high"]]
        interval = Interval(*bounds)
        found[row["fine"], "class"] = _label(row["title"], interval, row["support"], n, shares)
    return found


def _label(title, interval, positive, n, shares):
    share = f" ({positive / max(1, n):.0%})" if shares else ""
    return title, f"{wording.estimate(interval, 2)}, n = {positive:,}{share}"


def _named(tables):
    """One table of curves, what each is of in its first two columns."""
    parts = [table.assign(against_rest=name, kind=kind) for (name, kind), table in tables.items()]
    return _first(pd.concat(parts), 2)


def _keyed(column, tables):
    return _first(pd.concat([table.assign(**{column: key}) for key, table in tables.items()]), 1)


def _first(table, count):
    """The table with its last `count` columns first."""
    names = list(table.columns)
    return table[names[-count:] + names[:-count]]


def _write(path, table):
    results_csv.write_rows(path, table.to_dict("records"), list(table.columns))

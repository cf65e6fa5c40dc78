"""The report of an evaluation: what stands in it, made of the evaluation's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from dermssl.evaluation import metric_tables
from dermssl.evaluation.hypothesis_tests import FEW_OF_A_CLASS
from dermssl.evaluation.subgroups import BALANCED, FEW, SENSITIVITY, SPECIFICITY, Group
from dermssl.reporting import wording
from dermssl.reporting.report import (
    Bullets,
    Cell,
    Column,
    Figure,
    Findings,
    Report,
    Section,
    Table,
    Text,
    Warnings,
    class_table,
    code,
    escaped,
    hashes,
    versions,
)
from dermssl.studies.single_run import calibration_effect, compute
from dermssl.studies.single_run.wording import (
    AXES,
    calibration,
    capitalized,
    decision,
    subgroup_findings,
    subgroup_warnings,
)

# Metrics that the section on yes/no questions, or that on calibration, shows.
ELSEWHERE = ("malignant_", "melanoma_")
TWO_DIGITS = partial(wording.estimate, digits=2)
PRECISION_CAPTION = "Precision against recall, one class against the rest"
CLASS_COLUMNS = {
    "sensitivity": Column("sensitivity (95% interval)"),
    "specificity": Column("specificity"),
    "precision": Column("precision"),
    "f1": Column("F1"),
    "roc_auc": Column("ROC-AUC"),
    "average_precision": Column("average precision"),
}


def build(evaluation: compute.Evaluation) -> Report:
    """The report of an evaluation; its pictures are those of `files.draw`."""
    counts = metric_tables.counts(evaluation.arrays)
    status, split, unit = evaluation.found.status, evaluation.split, counts["grouped_by"]
    basis = escaped(wording.photos(counts, split))
    model = f"{escaped(wording.model_title(status))}, seed {status.get('seed', 'n/a')}"
    findings = compute.findings(evaluation)
    warnings = wording.data_warnings(counts, evaluation.classes, split)
    return Report(
        f"Evaluation of {evaluation.path.name or evaluation.path}",
        [
            Text(f"{model}; {split} split: {basis}."),
            Warnings(warnings + wording.dropped([evaluation.intervals["balanced_accuracy"]])),
        ],
        [
            Section("What was found", [Findings(findings)]) if findings else None,
            _metrics(evaluation, unit),
            _binary_tasks(evaluation) if evaluation.questions else None,
            _classes(evaluation),
            _confusion_matrices(evaluation),
            Section(
                "Curves",
                [
                    Figure("roc.png", "ROC curves, one class against the rest"),
                    Figure(
                        "precision_recall.png",
                        "Precision against recall, one class against the rest",
                    ),
                    Text("Every point: `roc.csv`, `precision_recall.csv`."),
                ],
            ),
            _calibration(evaluation),
            _decisions(evaluation) if evaluation.questions else None,
            _subgroups(evaluation, unit),
            Section("Training", [Figure("training_curves.png", "Loss and accuracy by epoch")]),
        ],
        _provenance(evaluation, unit),
    )


def _metrics(evaluation: compute.Evaluation, unit: str) -> Section:
    rows = [
        [title, evaluation.intervals[name]]
        for name, title in metric_tables.titles(evaluation.settings).items()
        if name in evaluation.intervals and not name.startswith(ELSEWHERE)
    ]
    text = (
        "n/a: these records can't define the number, or its interval. Where a share (an accuracy, "
        "a sensitivity, here and below) is 0 or 1 the draws agree; its interval is then Wilson's, "
        f"of as many {unit}s. Balanced accuracy, macro F1, ROC-AUC and average precision are means "
        "over the classes that have records, each against the rest."
    )
    return Section("Metrics", [Table(["metric", "estimate (95% interval)"], rows), Text(text)])


def _binary_tasks(evaluation: compute.Evaluation) -> Section:
    tasks, settings = evaluation.questions, evaluation.settings
    names = {
        "auc": "ROC-AUC",
        "average_precision": "average precision (a guess gets the share of yes)",
        "partial_auc": f"partial AUC above {settings.min_sensitivity:g} sensitivity "
        f"(at most {round(1 - settings.min_sensitivity, 6):g})",
        "sensitivity": "sensitivity at P ≥ 0.5",
        "specificity": "specificity at P ≥ 0.5",
        "sensitivity_at_specificity": f"sensitivity at {settings.specificity:g} specificity, "
        "read off the ROC curve",
        "fixed_sensitivity": "sensitivity at the chosen threshold",
        "fixed_specificity": "specificity at the chosen threshold",
    }
    rows: list[list[Any]] = [
        ["photos", *(f"{task.target.n_positive:,} of {task.target.n:,}" for task in tasks)],
        *([title, *(task.found.get(name) for task in tasks)] for name, title in names.items()),
        [
            "the chosen threshold",
            *(f"{wording.number(task.threshold, 4)}, chosen on {task.chosen_on}" for task in tasks),
        ],
    ]
    text = (
        "The sensitivity read off the ROC curve picks its threshold on the very records it is "
        "scored on; the chosen threshold is the lowest that keeps a specificity of "
        f"{settings.specificity} on the records named beside it. All of this is of the "
        "probabilities as predicted"
    )
    if "premalignant" in evaluation.found.taxonomy.malignancy:
        text = f"Premalignant classes count as the rest. {text}"
    if evaluation.after:
        text += (
            ", but for the chosen threshold and the sensitivity and specificity at it: those are "
            "of what `python -m dermssl.predict` gives (column `p_malignant`, or that of the class)"
        )
    titles = [task.target.title for task in tasks]
    return Section(
        f"{capitalized(', '.join(titles))} against the rest",
        [Table(["metric", *map(escaped, titles)], rows), Text(f"{text}.")],
    )


def _classes(evaluation: compute.Evaluation) -> Section:
    text = "Each class against the rest, where the likeliest class is taken."
    if (evaluation.classes["support"] < wording.ENOUGH_RECORDS).any():
        text += f" (!): fewer than {wording.ENOUGH_RECORDS} records."
    return Section("Classes", [class_table(evaluation.classes, CLASS_COLUMNS), Text(text)])


def _confusion_matrices(evaluation: compute.Evaluation) -> Section:
    return Section(
        "Confusion matrices",
        [
            Figure(f"confusion_{level}_{kind}.png", f"{level} classes, {kind}")
            for level in evaluation.levels
            for kind in ("counts", "shares")
        ],
    )


def _calibration(evaluation: compute.Evaluation) -> Section:
    return Section(
        "Calibration",
        [
            Text(escaped(calibration(evaluation))),
            _calibration_table(evaluation),
            _mean_table(evaluation),
            Text(
                "Where probabilities are frequencies, the mean equals the share but for chance; "
                "the intervals of the last column hold together with 95%."
            ),
            Figure("reliability.png", "Reliability diagram"),
            Text(
                "On the line, a probability means what it says; below it, the model is "
                "over-confident. Larger points: more records; bars: 95% intervals. Bins with fewer "
                "than 10 records are not drawn. All 15 bins that the ECE is made of are in "
                "`reliability.csv`. The interval of an ECE leans upwards, as the ECE does in any "
                "small sample."
            ),
        ],
    )


def _calibration_table(evaluation: compute.Evaluation) -> Table:
    """ECE, Brier score and log loss, as predicted, as `predict` gives them, and the change."""
    titles = metric_tables.titles(evaluation.settings)
    columns, results = ["", "as predicted"], [evaluation.intervals]
    if evaluation.after:
        columns += ["as `predict` gives them", "change"]
        results += [evaluation.after, evaluation.change]
    return Table(
        columns,
        [
            [titles[name], *(intervals.get(name) for intervals in results)]
            for name in calibration_effect.METRICS
        ],
    )


def _mean_table(evaluation: compute.Evaluation) -> Table:
    """Mean probability of each class beside its share of the records."""
    names = ["records", "share of them", "mean probability, as predicted"]
    names += ["as `predict` gives it"] if evaluation.after else []
    columns = ["class", *(Column(name, right=True) for name in names), "less the share"]
    rows = []
    for row in evaluation.means.to_dict("records"):
        low, high = wording.number(row["excess_low"]), wording.number(row["excess_high"])
        rows.append(
            [
                row["name"] + (" (all)" if row["kind"] == "axis" else ""),
                row["records"],
                row["share"],
                row["raw"],
                *([row["calibrated"]] if evaluation.after else []),
                Cell(row["excess"], f" ({low} to {high})"),
            ]
        )
    return Table(columns, rows)


def _decisions(evaluation: compute.Evaluation) -> Section:
    return Section(
        "Is acting on it worth it?",
        [
            Bullets([escaped(decision(task, evaluation.split)) for task in evaluation.questions]),
            Figure("decision_curve.png", "Decision curves"),
            Text(
                "Net benefit (Vickers and Elkin 2006): found cases less false alarms, a false "
                "alarm weighing t / (1 − t) cases at threshold t. Acting at t = 0.1 means that "
                "nine false alarms are accepted for one case found. Points: `decision_curve.csv`."
            ),
        ],
    )


def _subgroups(evaluation: compute.Evaluation, unit: str) -> Section:
    warnings = subgroup_warnings(evaluation)
    if not evaluation.groups:
        return Section("Subgroups", [Text("\n".join(map(escaped, warnings)))])
    text = (
        f"A balanced accuracy is over the classes that have 5 {unit}s or more in the group, so "
        "groups with other classes must not be compared by it; the gaps above are over the classes "
        "that both groups hold (`subgroup_gaps.csv`)."
    )
    if task := evaluation.question:
        text += (
            f" Sensitivity and specificity are of {escaped(task.target.title)}, at the one "
            f"threshold {wording.number(task.threshold, 2)} for all (chosen on {task.chosen_on}); "
            "read them together, since a group whose probabilities lie higher gains in one what it "
            "loses in the other."
        )
    text += (
        " A gap is called a difference only if an interval that holds for all gaps together "
        "excludes 0. Where all or none are found the draws agree; the interval is then Wilson's, "
        f"of as many {unit}s. Groups may differ in more than their name: age, stage, camera. (!): "
        "fewer than 30 photos, or 5 of the class."
    )
    return Section(
        "Subgroups",
        [
            Bullets(list(map(escaped, subgroup_findings(evaluation)))),
            Warnings(warnings),
            Figure("subgroups.png", "Subgroups"),
            *_subgroup_tables(evaluation, unit),
            Text(text),
        ],
    )


def _subgroup_tables(evaluation: compute.Evaluation, unit: str) -> Iterator[Table | Text]:
    """A table an axis, and how many records don't state it."""
    task, n = evaluation.question, int((evaluation.arrays.y >= 0).sum())
    for axis in dict.fromkeys(group.axis for group in evaluation.groups):
        groups = [group for group in evaluation.groups if group.axis == axis]
        title = capitalized(AXES[axis]) + (", years" if axis == "age" else "")
        columns = [title, Column("photos", right=True), Column(f"{unit}s", right=True)]
        if task:
            columns.append(Column(escaped(task.target.title), right=True))
            columns += [Column(name, format=TWO_DIGITS) for name in ("sensitivity", "specificity")]
        columns += [Column("balanced accuracy", format=TWO_DIGITS), "over classes"]
        yield Table(columns, [_subgroup_row(group, bool(task)) for group in groups])
        if unknown := n - sum(group.n for group in groups):
            yield Text(f"Not stated: {unknown:,} photos.")


def _subgroup_row(group: Group, with_task: bool) -> list[Any]:
    left_out = [f"no {name}" for name in group.missing] + [f"few {name}" for name in group.few]
    row = [Cell(group.value, " (!)" if group.n < FEW else ""), group.n, group.n_groups]
    if with_task:
        few = group.n_positive and group.behind.get(SENSITIVITY, 0) < FEW_OF_A_CLASS
        row += [
            group.n_positive,
            Cell(group.found.get(SENSITIVITY), " (!)" if few else ""),
            group.found.get(SPECIFICITY),
        ]
    classes = f"{len(group.classes)}" + (f" ({', '.join(left_out)})" if left_out else "")
    return [*row, group.found.get(BALANCED), classes]


def _provenance(evaluation: compute.Evaluation, unit: str) -> list[str]:
    status, path = evaluation.found.status, evaluation.path
    files = "`metrics.json`, `per_class.csv`, `roc.csv`, `precision_recall.csv`, "
    files += "`reliability.csv`, `mean_probabilities.csv`"
    files += ", `decision_curve.csv`" if evaluation.questions else ""
    files += ", `subgroups.csv`, `subgroup_gaps.csv`" if evaluation.groups else ""
    calibrated = "; its validation records gave the calibration" if evaluation.scaling else ""
    return [
        f"Predictions: {code(f'{path}/predictions.csv')}, raw, written by "
        f"`python -m dermssl.finetune` ({hashes(status)}, seed {status.get('seed', 'n/a')}). Its "
        f"{evaluation.split} records are scored{calibrated}.",
        f"Training curves: {code(f'{path}/history.csv')}.",
        f"Numbers in full: {files} in this folder.",
        f"Intervals: percentile bootstrap, {evaluation.n_resamples:,} draws of whole {unit}s with "
        "replacement. One run is scored, so they cover the choice of records, not the variation of "
        "training.",
        f"Versions: {escaped(versions(status))}.",
        f"This page: {code(evaluation.command)}",
    ]

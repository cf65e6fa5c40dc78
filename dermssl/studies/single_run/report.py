"""The report of an evaluation: what stands in it, made of the evaluation's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from dermssl.core import config
from dermssl.core.setting import SQUARE
from dermssl.evaluation import metric_tables
from dermssl.evaluation.small_samples import FEW_OF_A_CLASS, FLOORED_BELOW
from dermssl.evaluation.subgroups import BALANCED, FEW, SENSITIVITY, SPECIFICITY, Group
from dermssl.reporting import report, wording
from dermssl.studies.single_run import (
    abstention,
    calibration_effect,
    clinical,
    compute,
    confident_errors,
    lesion_level,
    readers,
)
from dermssl.studies.single_run import wording as sentences
from dermssl.studies.single_run.page_photos import PagePhotos

# Metrics that the section on yes/no questions, or that on calibration, shows.
ELSEWHERE = ("malignant_", "melanoma_")
TWO_DIGITS = partial(wording.estimate, digits=2)


def build(evaluation: compute.Evaluation, photos: PagePhotos | None = None) -> report.Report:
    """The report of an evaluation; its pictures are those of `files.draw`.

    Args:
        evaluation: its numbers.
        photos: from `page_photos.of`; without them the page has no photos.
    """
    photos = photos or PagePhotos()
    counts = metric_tables.counts(evaluation.arrays)
    status, split, unit = evaluation.found.status, evaluation.split, counts["grouped_by"]
    basis = report.escaped(wording.photos(counts, split))
    model = f"{report.escaped(wording.model_title(status))}, seed {status.get('seed', 'n/a')}"
    findings = compute.findings(evaluation)
    warnings = wording.data_warnings(counts, evaluation.classes, split)
    return report.Report(
        f"Evaluation of {evaluation.path.name or evaluation.path}",
        [
            report.Text(f"{model}; {split} split: {basis}. {SQUARE}."),
            report.Warnings(warnings),
        ],
        [
            report.Section("What was found", [report.Findings(findings)]) if findings else None,
            _metrics(evaluation, unit),
            lesion_level.section(evaluation.by_lesion, evaluation.intervals, evaluation.settings)
            if evaluation.by_lesion
            else None,
            _binary_tasks(evaluation) if evaluation.questions else None,
            _classes(evaluation),
            _confusion_matrices(evaluation, photos),
            confident_errors.section(
                evaluation, unit, photos.errors, photos.on_errors, photos.on_maps
            ),
            report.Section(
                "Curves",
                [
                    report.Figure("roc.png", "ROC curves, one class against the rest"),
                    report.Figure(
                        "precision_recall.png",
                        "Precision against recall, one class against the rest",
                    ),
                    report.Text("Every point: `roc.csv`, `precision_recall.csv`."),
                ],
            ),
            _calibration(evaluation),
            clinical.meaning(evaluation) if evaluation.questions else None,
            clinical.decisions(evaluation) if evaluation.questions else None,
            readers.section(evaluation.reader_scores, evaluation.answers, unit)
            if evaluation.answers
            else None,
            _abstention(evaluation, unit),
            _subgroups(evaluation, unit),
            report.Section(
                "Training", [report.Figure("training_curves.png", "Loss and accuracy by epoch")]
            ),
        ],
        _provenance(evaluation, unit) + ([report.escaped(photos.source)] if photos.source else []),
    )


def _metrics(evaluation: compute.Evaluation, unit: str) -> report.Section:
    rows = [
        [title, _ece(evaluation, calibration_effect.RAW) if name == "ece"
         else evaluation.intervals[name]]
        for name, title in metric_tables.titles(evaluation.settings).items()
        if name in evaluation.intervals and not name.startswith(ELSEWHERE)
    ]  # fmt: skip
    text = (
        "n/a: these records can't define the number, or its interval. Where a share (an accuracy, "
        f"a sensitivity, here and below) is 0 or 1, or is of fewer than {FLOORED_BELOW} {unit}s, "
        f"its interval is Wilson's, of at most as many {unit}s. Balanced accuracy, macro F1, "
        "ROC-AUC and average precision are means over the classes that have records, each against "
        "the rest."
    )
    return report.Section(
        "Metrics", [report.Table(["metric", "estimate (95% interval)"], rows), report.Text(text)]
    )


def _binary_tasks(evaluation: compute.Evaluation) -> report.Section:
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
        "reached_specificity": "specificity reached there",
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
    return report.Section(
        f"{sentences.capitalized(', '.join(titles))} against the rest",
        [report.Table(["metric", *map(report.escaped, titles)], rows), report.Text(f"{text}.")],
    )


def _classes(evaluation: compute.Evaluation) -> report.Section:
    text = "Each class against the rest, where the likeliest class is taken."
    if (evaluation.classes["support"] < wording.ENOUGH_RECORDS).any():
        text += f" (!): fewer than {wording.ENOUGH_RECORDS} records."
    return report.Section(
        "Classes", [report.class_table(evaluation.classes, report.CLASS_COLUMNS), report.Text(text)]
    )


def _confusion_matrices(evaluation: compute.Evaluation, photos: PagePhotos) -> report.Section:
    figures = [
        report.Figure(
            f"confusion_{level}_{kind}.png",
            f"{level} classes, {kind}",
            photos.cells.get(level, {}) if kind == "counts" else {},
        )
        for level in evaluation.levels
        for kind in ("counts", "shares")
    ]
    warnings = report.Warnings([photos.warning] if photos.warning else [])
    return report.Section("Confusion matrices", [*figures, warnings])


def _calibration(evaluation: compute.Evaluation) -> report.Section:
    return report.Section(
        "Calibration",
        [
            report.Text(report.escaped(sentences.calibration(evaluation))),
            _calibration_table(evaluation),
            *clinical.brier_parts(evaluation),
            _mean_table(evaluation),
            report.Text(
                "Were these probabilities right, the shares would lie within the last column, all "
                "of them together with 95%. It is exact, from the probabilities alone; photos of a "
                "lesion are taken to come out together."
            ),
            report.Figure("reliability.png", "Reliability diagram"),
            report.Text(
                "On the line, a probability means what it says; below it, the model is "
                "over-confident. Larger points: more records; bars: 95% intervals. Bins with fewer "
                "than 10 records are not drawn. All 15 bins that the ECE is made of are in "
                "`reliability.csv`. An ECE has no interval here: luck only makes it larger, so the "
                "range that a perfectly calibrated model shows on these very photos (the truth "
                "drawn from the probabilities, 1,000 times) is what to hold it against."
            ),
        ],
    )


def _calibration_table(evaluation: compute.Evaluation) -> report.Table:
    """ECE, Brier score and log loss, as predicted, as `predict` gives them, and the change."""
    titles = metric_tables.titles(evaluation.settings)
    columns, results = ["", "as predicted"], [evaluation.intervals]
    if evaluation.after:
        columns += ["as `predict` gives them", "change"]
        results += [evaluation.after, evaluation.change]
    return report.Table(
        columns,
        [_calibration_row(evaluation, name, titles[name], results)
         for name in calibration_effect.METRICS],
    )  # fmt: skip


def _calibration_row(evaluation, name, title, results):
    if name != "ece":
        return [title, *(intervals.get(name) for intervals in results)]
    cells = [title, *(_ece(evaluation, key) for key in evaluation.ece)]
    # Two errors that luck made larger have no honest interval of their difference.
    return cells if len(cells) == len(results) + 1 else [*cells, evaluation.change["ece"].estimate]


def _ece(evaluation, key):
    """A cell: the ECE, and that of a calibrated model."""
    one = evaluation.ece[key]
    if one.seen != one.seen:
        return None
    return report.Cell(one.seen, f" (calibrated: {sentences.calibrated_range(one)})")


def _mean_table(evaluation: compute.Evaluation) -> report.Table:
    """Mean probability of each class beside its share of the records."""
    names = ["records", "share of them", "mean probability, as predicted"]
    names += ["as `predict` gives it"] if evaluation.after else []
    names += ["less the share", "share if calibrated"]
    columns = ["class", *(report.Column(name, right=True) for name in names)]
    rows = []
    for row in evaluation.means.to_dict("records"):
        low, high = wording.number(row["share_low"]), wording.number(row["share_high"])
        rows.append(
            [
                row["name"] + (" (all)" if row["kind"] == "axis" else ""),
                row["records"],
                row["share"],
                row["raw"],
                *([row["calibrated"]] if evaluation.after else []),
                row["excess"],
                f"{low} to {high}",
            ]
        )
    return report.Table(columns, rows)


def _abstention(evaluation: compute.Evaluation, unit: str) -> report.Section | None:
    found = evaluation.abstention
    return abstention.section(found, evaluation.found.taxonomy, unit) if found else None


def _subgroups(evaluation: compute.Evaluation, unit: str) -> report.Section:
    warnings = sentences.subgroup_warnings(evaluation)
    if not evaluation.groups:
        return report.Section("Subgroups", [report.Text("\n".join(map(report.escaped, warnings)))])
    text = (
        f"A balanced accuracy is over the classes that have 5 {unit}s or more in the group, so "
        "groups with other classes must not be compared by it; the gaps above are over the classes "
        "that both groups hold (`subgroup_gaps.csv`)."
    )
    if task := evaluation.question:
        text += (
            f" Sensitivity and specificity are of {report.escaped(task.target.title)}, at the one "
            f"threshold {wording.number(task.threshold, 2)} for all (chosen on {task.chosen_on}); "
            "read them together, since a group whose probabilities lie higher gains in one what it "
            "loses in the other."
        )
    text += (
        " A gap is called a difference only if an interval that holds for all gaps together "
        f"excludes 0. Where all or none are found, or of fewer than {FLOORED_BELOW} {unit}s, the "
        f"interval is Wilson's, of at most as many {unit}s. Groups may differ in more than their "
        "name: age, stage, camera. (!): fewer than 30 photos, or 5 of the class."
    )
    return report.Section(
        "Subgroups",
        [
            report.Bullets(list(map(report.escaped, sentences.subgroup_findings(evaluation)))),
            report.Warnings(warnings),
            report.Figure("subgroups.png", "Subgroups"),
            *_subgroup_tables(evaluation, unit),
            report.Text(text),
        ],
    )


def _subgroup_tables(
    evaluation: compute.Evaluation, unit: str
) -> Iterator[report.Table | report.Text]:
    """A table an axis, and how many records don't state it."""
    task, n = evaluation.question, int((evaluation.arrays.y >= 0).sum())
    for axis in dict.fromkeys(group.axis for group in evaluation.groups):
        groups = [group for group in evaluation.groups if group.axis == axis]
        title = sentences.capitalized(sentences.AXES[axis]) + (", years" if axis == "age" else "")
        columns = [
            title,
            report.Column("photos", right=True),
            report.Column(f"{unit}s", right=True),
        ]
        if task:
            columns.append(report.Column(report.escaped(task.target.title), right=True))
            columns += [
                report.Column(name, format=TWO_DIGITS) for name in ("sensitivity", "specificity")
            ]
        columns += [report.Column("balanced accuracy", format=TWO_DIGITS), "over classes"]
        yield report.Table(columns, [_subgroup_row(group, bool(task)) for group in groups])
        if unknown := n - sum(group.n for group in groups):
            yield report.Text(f"Not stated: {unknown:,} photos.")


def _subgroup_row(group: Group, with_task: bool) -> list[Any]:
    left_out = [f"no {name}" for name in group.missing] + [f"few {name}" for name in group.few]
    row = [report.Cell(group.value, " (!)" if group.n < FEW else ""), group.n, group.n_groups]
    if with_task:
        few = group.n_positive and group.behind.get(SENSITIVITY, 0) < FEW_OF_A_CLASS
        row += [
            group.n_positive,
            report.Cell(group.found.get(SENSITIVITY), " (!)" if few else ""),
            group.found.get(SPECIFICITY),
        ]
    classes = f"{len(group.classes)}" + (f" ({', '.join(left_out)})" if left_out else "")
    return [*row, group.found.get(BALANCED), classes]


def _provenance(evaluation: compute.Evaluation, unit: str) -> list[str]:
    status, path = evaluation.found.status, evaluation.path
    files = "`metrics.json`, `per_class.csv`, `roc.csv`, `precision_recall.csv`, "
    files += "`reliability.csv`, `mean_probabilities.csv`"
    files += ", `decision_curve.csv`, `operating_points.csv`" if evaluation.questions else ""
    if found := evaluation.abstention:
        files += "".join(f", `{name}`" for name in abstention.tables(found))
    files += ", `readers.csv`" if evaluation.reader_scores else ""
    files += ", `subgroups.csv`, `subgroup_gaps.csv`" if evaluation.groups else ""
    calibrated = "; its validation records gave the calibration" if evaluation.scaling else ""
    return [
        f"Predictions: {report.code(f'{path}/predictions.csv')}, raw, written by "
        f"`python -m dermssl.finetune` ({report.hashes(status)}, seed {status.get('seed', 'n/a')})."
        f" Its {evaluation.split} records are scored{calibrated}.",
        f"Training curves: {report.code(f'{path}/history.csv')}.",
        f"Numbers in full: {files} in this folder.",
        f"{wording.how_intervals(evaluation.n_resamples, unit)} One run is scored, so they cover "
        "the choice of records, not the variation of training. Each sentence's interval stands for "
        "itself, unless it says that several hold together.",
        f"The run, with every setting that isn't the default: "
        f"{report.code(config.command_of_run(status))}",
        f"Versions: {report.versions(status)}.",
        f"This page: {report.code(evaluation.command)}",
    ]

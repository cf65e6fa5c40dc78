"""The report of a label-efficiency study: what stands in it, made of the curve's numbers."""

from __future__ import annotations

from collections.abc import Sequence

from dermssl.data.records import VALIDATION
from dermssl.evaluation import metric_tables, metrics
from dermssl.evaluation.run_groups import FinetuneRun
from dermssl.reporting import contrast_wording, report, wording
from dermssl.studies.label_efficiency import compute
from dermssl.studies.label_efficiency.wording import near_chance

METRIC = metric_tables.NAMES[compute.METRIC]


def build(curve: compute.Curve, command: str, left_out: Sequence[str] = ()) -> report.Report:
    """The report of a curve, whose picture is `figures.curve`.

    Args:
        curve: from `compute.score`.
        command: what to type for the same again.
        left_out: sentences on arms that could not be had.
    """
    gaps = wording.gaps(curve.compared, curve.baseline)
    caption = f"{METRIC} against the number of labels, and its paired differences"
    return report.Report(
        "Label efficiency",
        sections=[
            report.Section(
                "What was found",
                [
                    report.Findings([*compute.verdicts(curve), *left_out, *gaps]),
                    report.Figure("label_efficiency.png", caption),
                ],
            ),
            report.Section("Before you trust it", [report.Warnings(warnings(curve), label="")]),
            _curve(curve),
            _differences(curve),
            _method(curve, command),
        ],
    )


def warnings(curve: compute.Curve) -> list[str]:
    """All that must be known before an interval is trusted."""
    comparison = curve.compared
    first = comparison.members[0]
    classes = metrics.per_class_table(first.arrays.y, first.arrays.p_fine, comparison.taxonomy)
    classes = metric_tables.with_lesions(classes, first.arrays)
    differences = [step for steps in curve.pairs.values() for step in steps]
    return [
        *wording.drawings(first.predictions.table["source"]),
        chosen_by(first),
        *near_chance(differences, curve.intervals, curve.chance),
        *wording.warnings(comparison, curve.counts, classes),
    ]


def chosen_by(run: FinetuneRun) -> str:
    """A warning: validation labels, which the label counts don't hold, chose the model."""
    table = run.predictions.table
    n = int(((table["split"] == VALIDATION) & (table["fine"] != "")).sum())
    what = "penalty" if run.status.get("probe") else "epoch"
    return (
        f"{wording.count(n, 'labelled validation photo')}, in none of these numbers of labels, "
        f"chose the {what} of every run: who has only so many labels in all can't choose like that."
    )


def _curve(curve: compute.Curve) -> report.Section:
    basis = report.escaped(wording.photos(curve.counts, curve.compared.split))
    text = (
        f"Scored on {basis}; mean over runs, 95% interval over {curve.counts['grouped_by']}s and "
        f"training runs. A guess has {wording.number(curve.chance)}."
    )
    rows = [
        [
            model.labels_text,
            model.title,
            len(model.seeds),
            curve.intervals[model.arm, model.labels],
        ]
        for model in curve.compared.models
    ]
    columns = ["labels", "start of the backbone", "seeds", METRIC]
    return report.Section("The curve", [report.Text(text), report.Table(columns, rows)])


def _differences(curve: compute.Curve) -> report.Section:
    text = (
        "Of the first arm minus the second, on the same photos; records are paired, runs are not. "
        "The intervals hold together, for all arms and numbers of labels; "
        "`dermssl.model_comparison` makes the same ones of the same runs."
    )
    rows = [
        [
            one.a.labels_text, f"{one.a.title} − {one.b.title}", one.interval,
            report.Cell(f"{100 * one.level:.3g}%"),
            *(report.Cell(wording.number(sd)) for sd in one.sd), one.verdict,
        ]
        for steps in curve.pairs.values()
        for one in steps
    ]  # fmt: skip
    columns = [
        "labels", "arms", METRIC, "level", "sd of the first's runs", "of the second's",
        "so the first is",
    ]  # fmt: skip
    every = [one for steps in curve.pairs.values() for one in steps]
    narrows = contrast_wording.what_narrows(every)
    return report.Section(
        "The differences",
        [report.Text(text), report.Table(columns, rows), report.Text(narrows) if narrows else None],
    )


def _method(curve: compute.Curve, command: str) -> report.Section:
    status = curve.compared.members[0].status
    backbone = status["config"]["backbone"]
    backbone = f"{report.escaped(backbone['name'])} at {backbone['image_size']} px"
    same = (
        "At one seed all arms train on the same labels, and a larger number of labels holds the "
        "smaller one's."
    )
    if status.get("probe"):
        text = (
            f"Each score is a logistic regression on the frozen features of {backbone}: fast, and "
            f"no measure of what fine-tuning would reach.\n{same}"
        )
    else:
        text = (
            f"Each score is a fine-tuning run of {backbone} of its own, chosen by the validation "
            f"split and scored once on the test split.\n{same} With few labels an epoch has more "
            "than one pass over them, the same for every arm."
        )
    text += (
        f" Intervals are over {curve.counts['grouped_by']}s and training runs, as in "
        "`dermssl.model_comparison`, those of differences cut at −1 and 1. "
        "`label_efficiency.csv` and `label_differences.csv` hold "
        f"these numbers, data hash {status['data_hash']}."
    )
    return report.Section("How", [report.Text(text), report.Command(command)])

"""The report of a label-efficiency study: what stands in it, made of the curve's numbers."""

from __future__ import annotations

from collections.abc import Sequence

from dermssl.data.records import VALIDATION
from dermssl.evaluation import metric_tables, metrics
from dermssl.evaluation.run_groups import FinetuneRun
from dermssl.reporting import report, wording
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
    differences = [step for steps in curve.pairs.values() for step in steps]
    uneven = [
        (step.a, step.b, len(set(step.a.seeds) & set(step.b.seeds)))
        for step in differences
        if step.a.seeds != step.b.seeds
    ]
    return [
        *wording.drawings(first.predictions.table["source"]),
        chosen_by(first),
        *near_chance(differences, curve.intervals, curve.chance),
        *wording.warnings(comparison, curve.counts, classes, uneven),
        *wording.dropped(list(curve.intervals.values())),
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
        f"Scored on {basis}; mean over seeds, 95% interval over {curve.counts['grouped_by']}s and "
        f"seeds. A guess has {wording.number(curve.chance)}."
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
        "Of the first arm minus the second, on the same photos, seeds and labels. The sentences "
        "above go by the wider interval, which holds for all numbers of labels of a pair together."
    )
    rows = [
        [step.a.labels_text, f"{step.a.title} − {step.b.title}", step.own, step.joint, step.verdict]
        for steps in curve.pairs.values()
        for step in steps
    ]
    columns = ["labels", "arms", "95% interval", "wider interval", "so the first is"]
    return report.Section("The differences", [report.Text(text), report.Table(columns, rows)])


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
        f" Intervals are from {curve.n_resamples} draws of {curve.counts['grouped_by']}s and "
        "seeds. `label_efficiency.csv` and `label_differences.csv` hold these numbers, data hash "
        f"{status['data_hash']}."
    )
    return report.Section("How", [report.Text(text), report.Command(command)])

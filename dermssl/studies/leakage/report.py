"""The report of the inflation by a leaky split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import atomic_files, runs
from dermssl.reporting import figures, report, results_csv
from dermssl.reporting.figures import PALETTE
from dermssl.reporting.interval_plot import Mark, Row, interval_plot, rows_height
from dermssl.reporting.wording import count, estimate, few_groups, number

if TYPE_CHECKING:
    from dermssl.evaluation.interval import Interval
    from dermssl.studies.leakage.compute import Predicted

ENOUGH_DRAWS = 0.05  # share of draws that may be undefined before it is told
NAMES = {
    "balanced_accuracy": "balanced accuracy", "accuracy": "accuracy",
    "macro_roc_auc": "macro ROC-AUC",
}  # fmt: skip
BALANCED = ("balanced_accuracy", "macro_roc_auc")  # undefined in draws without some class


KINDS = ("clean", "leaky", "inflation")


def write(
    folder: Path, rows: Sequence[dict[str, Any]], predicted: Predicted, settings: dict[str, Any]
) -> None:
    """Write leakage.json, leakage.csv, leakage.png and the report.

    Args:
        folder: to write into.
        rows: as from `compute.score`.
        predicted: as from `compute.predict`.
        settings: data, unit, photos, groups, with_twins, classes, backbone, ...
    """
    sentences = [sentence(row, settings) for row in rows if row["metric"] == "balanced_accuracy"]
    numbers = {
        **settings,
        "photos_in_training": predicted.n_train,
        "twins_in_training": predicted.n_twins,
        "scores": [{**row, **{kind: asdict(row[kind]) for kind in KINDS}} for row in rows],
        "findings": sentences,
        "versions": runs.versions(),
    }
    atomic_files.write_json(folder / "leakage.json", numbers)
    cells = []
    for row in rows:
        cell = {name: row[name] for name in ("subset", "metric", "n")}
        for kind in KINDS:
            cell |= results_csv.bounds(kind, row[kind])
        cells.append(cell)
    results_csv.write_rows(folder / "leakage.csv", cells)
    _draw(folder / "leakage.png", rows, settings)
    report.write(build(numbers, rows), folder)


def build(numbers: dict[str, Any], rows: Sequence[dict[str, Any]]) -> report.Report:
    """The report.

    Args:
        numbers: the content of leakage.json.
        rows: as from `compute.score`.
    """
    unit = numbers["unit"]
    columns = [
        f"{unit}s", "metric", report.Column("n", right=True), "without twins in training",
        "with them", "inflation",
    ]  # fmt: skip
    cells = [
        [row["subset"], NAMES[row["metric"]], row["n"], *(row[kind] for kind in KINDS)]
        for row in rows
    ]
    twins = (
        f"Twins are other photos of a tested {unit}. Each {unit} is tested by one photo, in one of "
        f"{numbers['folds']} folds, {len(numbers['seeds'])} times over with other folds and "
        "photos; a fold holds whole patients where they are known, so that without twins nothing "
        "of a tested patient is in training. The two classifiers of a fold train on equally many "
        f"photos ({numbers['photos_in_training']:,.0f} on average, "
        f"{numbers['twins_in_training']:,.0f} of them twins in the leaky set): for each twin that "
        "comes in, another photo of its class goes. Only "
        f"{numbers['with_twins']:,} of {numbers['groups']:,} {unit}s have twins; over all of them "
        "the inflation is thinned out by the others. Here every twin is in training; in a split "
        "drawn photo by photo, most are."
    )
    limits = (
        "What this is not: the inflation of a fine-tuned network, which has more room to memorise "
        f"and is not measured here. The features are frozen ({report.escaped(numbers['backbone'])} "
        f"at {numbers['image_size']} px, weights {report.code(numbers['weights'])}) under a "
        "logistic regression. n/a: these records can't define the number, or its interval."
    )
    provenance = [
        f"Numbers in full: `leakage.json` and `leakage.csv` in this folder. Photos: "
        f"{numbers['photos']:,}, classes {report.escaped(', '.join(numbers['classes']))}.",
        f"Intervals: the variance over {numbers['n_resamples']:,} draws of whole patients, else "
        f"{unit}s, with replacement, and that over seeds are added; degrees of freedom by Welch. "
        "Differences are paired.",
        f"Versions: {report.versions(numbers)}.",
    ]
    if numbers["command"]:
        provenance.append(f"This page: {report.code(numbers['command'])}")
    return report.Report(
        f"What a leaky split is worth: {numbers['data']}",
        [
            report.Findings(numbers["findings"]),
            report.Warnings(notes(rows, numbers)),
            report.Table(columns, cells),
            report.Figure("leakage.png", "Scores with and without twins in training"),
            report.Text(twins),
            report.Text(limits),
        ],
        provenance=provenance,
    )


def notes(rows: Sequence[dict[str, Any]], settings: dict[str, Any]) -> list[str]:
    """What to know before the numbers are believed."""
    sentences = []
    if settings["weights"] == "none":
        sentences.append(
            "The features are those of random weights, which know little of skin: a network that "
            "has learnt may gain more from twins. Name weights (backbone.weights) to see."
        )
    if settings["left_out"]:
        names = ", ".join(f"{name} ({n})" for name, n in settings["left_out"].items())
        sentences.append(
            f"Left out, with fewer independent patients or lesions than the {settings['folds']} "
            f"folds: {names}. There, twins would decide whether training knows the class at all."
        )
    sentences += few_groups(
        min(row["inflation"].n_clusters for row in rows), "group", " in some rows"
    )
    return sentences + _dropped([row["inflation"] for row in rows if row["metric"] in BALANCED])


def _dropped(intervals: Iterable[Interval]) -> list[str]:
    """A warning where many draws of the bootstrap missed a class, else none."""
    share = max((one.n_dropped / max(1, one.n_resamples) for one in intervals), default=0)
    if share <= ENOUGH_DRAWS:
        return []
    return [
        f"{share:.0%} of the draws miss a class that has very few records and say nothing of "
        "balanced accuracy; an interval from the rest is shaky, and over half none is given."
    ]


def sentence(row: dict[str, Any], settings: dict[str, Any]) -> str:
    """The verdict on one subset; it follows from the interval alone."""
    inflation, name = row["inflation"], NAMES[row["metric"]]
    unit = settings["unit"]
    which = "all" if row["subset"] == "all" else "those with other photos of their own"
    basis = f"{count(row['n'], unit)}, {count(len(settings['seeds']), 'seed')}"
    where = f"Over {which} ({basis})"
    if not inflation.is_defined:
        return f"{where}, nothing can be said of {name}: no interval can be given."
    low, high = inflation.low, inflation.high
    if inflation.excludes_zero and inflation.estimate > 0:
        return (
            f"{where}, a leaky split inflates {name} by {_size(inflation.estimate, low, high)}: "
            f"{number(row['leaky'].estimate)} instead of {number(row['clean'].estimate)}."
        )
    if inflation.excludes_zero:
        # The interval is of the size that is told, so its signs turn as well.
        size = _size(-inflation.estimate, -high, -low)
        return f"{where}, with twins in training {name} is lower by {size}."
    size = _size(inflation.estimate, low, high)
    return f"{where}, no inflation of {name} is shown: {size}, an interval that holds 0."


def _size(estimate: float, low: float, high: float) -> str:
    return f"{number(estimate)} (95% interval {number(low)} to {number(high)})"


def _draw(path: Path, rows: Sequence[dict[str, Any]], settings: dict[str, Any]) -> Path:
    """Clean and leaky score of each metric and subset, with intervals."""
    shown = [
        Row(
            f"{NAMES[row['metric']]}, {row['subset']} (n = {row['n']:,})",
            [Mark(row["clean"], PALETTE[0]), Mark(row["leaky"], PALETTE[3])],
            estimate(row["inflation"]),
        )
        for row in rows
    ]
    figure, (axes,) = figures.new(8.6, 1.7 + rows_height(shown))
    interval_plot(
        axes, shown, f"The same {settings['unit']}s, scored twice", "score (95% interval)",
        series=("without twins in training", "with twins in training"), note="inflation",
    )  # fmt: skip
    return figures.save(figure, path)

"""The report on an exported file: what it needs, what is inside, and how it compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dermssl.inference.finished_run import FinishedRun
from dermssl.reporting import report, wording
from dermssl.studies.export import check
from dermssl.studies.export.formats import Format

NAME = "export"


def build(run: FinishedRun, content: dict[str, Any], entry: Format, command: str) -> report.Report:
    """The report.

    Args:
        run: what was exported.
        content: of labels.json, with `checked` and `notes`.
        entry: the format.
        command: what to type for the same again.
    """
    checked = check.Check(**content["checked"])
    return report.Report(
        f"{run.path.name or run.path} as {entry.title}",
        [report.Findings([finding(checked, content)], bullets=False),
         report.Warnings(content["notes"])],
        [
            report.Section("The file beside the run", [
                report.Table(COLUMNS, rows(content)), report.Text(
                "Difference: the largest of any calibrated probability, of both levels, in batches "
                f"of photos and alone. Classes: of {wording.count(checked.n, 'photo')}, those "
                "whose most probable class is another. Time: the median of one photo alone, "
                "decoding and resizing left out, on the processor of this machine; the run as "
                "dermssl.predict computes it. The run's model.keras also holds the state of its "
                "optimizer."
            )]),
            report.Section("Before the network", [report.Bullets(
                [report.escaped(step) for step in content["before"]], numbered=True
            )]),
            _use(content),
            _points(content),
            report.Section("Not in the file", [report.Bullets(
                [f"{report.escaped(what)}." for what in content["not_inside"]]
            )]),
        ],
        [
            f"Photos: {content['checked_on']}, of the run's `predictions.csv`, spread "
            "evenly over the classes. The file was used in a fresh process without dermssl.",
            "Class names, calibration, thresholds and versions for programs: `labels.json`.",
            f"Run: {report.hashes(run.status)}; {report.code(content['model_sha256'])} is the "
            "SHA-256 of its model.keras.",
            f"Versions: {report.versions(content)}.",
            f"This page: {report.code(command)}",
        ],
    )  # fmt: skip


def finding(checked: check.Check, content: dict[str, Any]) -> str:
    """The sentence that the report opens with."""
    kind = {"none": "float32"}.get(content["quantize"], content["quantize"])
    said = (
        f"{content['file']} ({kind}) gives the run's calibrated probabilities to within "
        f"{checked.difference:.2g} on {content['checked_on']}; the most probable fine class is "
        f"another for {checked.changed_fine}"
    )
    if content["quantize"] == "none":
        return f"{said}. That is rounding: up to {check.LARGEST:g} is let pass."
    return (
        f"{said}. Scores and thresholds of the run hold for the float32 network; of this one they "
        "are as good as these differences."
    )


def _or_dash(pattern: str) -> Callable[[Any], str]:
    return lambda value: "-" if value is None else pattern.format(value)


COLUMNS = (
    report.Column(""),
    report.Column("largest difference", right=True, format=_or_dash("{:.1e}")),
    report.Column("other fine class", right=True, format=_or_dash("{:,}")),
    report.Column("other coarse class", right=True, format=_or_dash("{:,}")),
    report.Column("MB", right=True, format=_or_dash("{:.1f}")),
    report.Column("ms a photo", right=True, format=_or_dash("{:.2f}")),
)


def rows(content: dict[str, Any]) -> list[list[Any]]:
    """The table under `COLUMNS`: a row the run and a row the file; None where nothing is."""
    checked = check.Check(**content["checked"])
    return [
        ["the run", None, None, None, checked.run_mb, checked.run_ms],
        [content["file"], checked.difference, checked.changed_fine, checked.changed_coarse,
         checked.mb, checked.ms],
    ]  # fmt: skip


def console(content: dict[str, Any]) -> str:
    """The table as plain text in aligned columns."""
    cells = [[str(row[0]), *(column.show(value) for column, value in zip(COLUMNS[1:], row[1:]))]
             for row in rows(content)]  # fmt: skip
    lines = [[column.title for column in COLUMNS], *cells]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join(
        "  ".join(["", first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])])
        for first, *rest in lines
    )


def _use(content):
    size = content["image_size"]
    shapes = ", ".join(f"{name} (n, {len(names)})" for name, names in content["outputs"].items())
    lines = [
        f"In: {report.code(content['input']['name'])}, "
        f"{' or '.join(content['input']['dtype'])} (n, {size}, {size}, 3), RGB in [0, 255].",
        f"Out: {shapes}, probabilities in the order of the classes below.",
        f"In Python: {report.code(content['how_to_load'])}.",
        *(f"{name}: {report.escaped(', '.join(classes))}."
          for name, classes in content["outputs"].items()),
        f"{report.escaped(content['calibration']['what'])}.",
        report.escaped(content["class_named"]),
    ]  # fmt: skip
    return report.Section("How to use it", [report.Bullets(lines)])


def _points(content):
    points = content["operating_points"]
    if not points:
        return None
    table = report.Table(
        ["question", "yes where P of these is at least", report.Column("threshold", right=True),
         report.Column("specificity asked for", right=True)],
        [[point["question"], " + ".join(point["classes"]), wording.number(point["threshold"], 4),
          wording.number(point["specificity"], 2)] for point in points],
    )  # fmt: skip
    return report.Section("Thresholds, chosen on validation", [table])

"""The report on an exported file: what it needs, what is inside, and how it compares."""

from __future__ import annotations

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
            report.Section("The file beside the run", [_table(checked, content), report.Text(
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


TITLES = ("", "largest difference", "other fine class", "other coarse class", "MB", "ms a photo")


def cells(checked: check.Check, content: dict[str, Any]) -> list[list[str]]:
    """The table under `TITLES`, as text: a row the run and a row the file."""
    return [
        ["the run", "-", "-", "-", f"{checked.run_mb:.1f}", f"{checked.run_ms:.2f}"],
        [content["file"], f"{checked.difference:.1e}", f"{checked.changed_fine:,}",
         f"{checked.changed_coarse:,}", f"{checked.mb:.1f}", f"{checked.ms:.2f}"],
    ]  # fmt: skip


def _table(checked, content):
    columns = [TITLES[0], *(report.Column(title, right=True) for title in TITLES[1:])]
    return report.Table(columns, cells(checked, content))


def console(content: dict[str, Any]) -> str:
    """The table in aligned columns."""
    lines = [list(TITLES), *cells(check.Check(**content["checked"]), content)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(TITLES))]
    return "\n".join(
        "  " + "  ".join([line[0].ljust(widths[0]),
                          *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))])
        for line in lines
    )  # fmt: skip


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

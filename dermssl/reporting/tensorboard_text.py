"""A report as a text of TensorBoard's, beside the curves and pictures of its run."""

import dataclasses
from pathlib import Path

from dermssl.core.event_file import EventFile
from dermssl.reporting import report as reports
from dermssl.reporting.report import Figure, Report


def write(report: Report, folder: Path) -> None:
    """Write a report's Markdown, without its pictures, as the only text of a folder.

    Args:
        report: `Report`.
        folder: what TensorBoard calls a run; what is in it is replaced.
    """
    text = dataclasses.replace(
        report,
        opening=_without_pictures(report.opening),
        sections=[
            dataclasses.replace(section, blocks=_without_pictures(section.blocks))
            for section in report.sections
            if section
        ],
    )
    with EventFile(folder) as events:
        events.text("report", reports.to_markdown(text))


def _without_pictures(blocks):
    return [block for block in blocks if not isinstance(block, Figure)]

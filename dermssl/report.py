"""List all runs below a folder in one page: state, data, settings that differ, scores, reports.

    python -m dermssl.report outputs/

Writes index.html and index.md into FOLDER, or where --output says: a table that sorts and filters,
with links to the reports of each run. It reads what the runs left and scores nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, results

if TYPE_CHECKING:
    from dermssl.reporting.report import Report


def run(config: dict[str, Any]) -> Path:
    """List the runs below a folder; returns the folder that the page was written to.

    Raises:
        UserError: no such folder, or neither a run nor a report in it.
    """
    return _listed(config)[0]


def _listed(config: dict[str, Any]) -> tuple[Path, Report]:
    from dermssl.reporting import report
    from dermssl.studies.run_index import compute
    from dermssl.studies.run_index import report as page

    index = compute.scan(config["report"].folder)
    folder = report.make_output_folder(config["output"] or index.folder)
    compute.check_page(folder)
    listed = page.build(index, config["command"], folder)
    report.write(listed, folder, compute.NAME)
    return folder, listed


def tell(config: dict[str, Any], written: tuple[Path, Report]) -> None:
    """Print the findings and where the page is."""
    from dermssl.reporting import report
    from dermssl.studies.run_index.compute import NAME

    folder, listed = written
    print(report.to_console(listed))
    print(f"report: {folder / NAME}.html")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("report", __doc__, _listed, tell, argv)


results.make_callable(__name__, run, results.Result)

if __name__ == "__main__":
    raise SystemExit(main())

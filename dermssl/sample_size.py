"""How many lesions and training runs would tell a difference apart?

    python -m dermssl.sample_size outputs/model_comparison --difference 0.05 --power 0.8

Reads differences.csv of a finished comparison: how far its scores vary by lesions and by runs.
Writes sample_size.csv and a report into COMPARISON/sample_size/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, results

if TYPE_CHECKING:
    from dermssl.reporting.report import Report


def run(config: dict[str, Any]) -> Path:
    """Compute the sample sizes from a comparison; returns the folder.

    Raises:
        UserError: no comparison there, no such pair, or one run an arm.
    """
    return _plan(config)[0]


def _plan(config: dict[str, Any]) -> tuple[Path, Report]:
    """The folder, and the report that was written there."""
    from dermssl.core import atomic_files
    from dermssl.reporting import report
    from dermssl.studies.comparison import sample_size

    settings = config["sample_size"]
    known = sample_size.read(settings.comparison, settings.pair)
    default = Path(settings.comparison) / "sample_size"
    folder = report.make_output_folder(config["output"] or default)
    table = sample_size.table(known, settings.difference, settings.power)
    atomic_files.write_csv(folder / "sample_size.csv", table)
    page = sample_size.build(known, settings.difference, settings.power, config["command"])
    report.write(page, folder)
    return folder, page


def tell(config: dict[str, Any], written: tuple[Path, Report]) -> None:
    """Print what was found."""
    from dermssl.reporting import report

    folder, page = written
    print(report.to_console(page))
    print(f"report: {folder / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("sample_size", __doc__, _plan, tell, argv)


results.make_callable(__name__, run, results.Result)

if __name__ == "__main__":
    raise SystemExit(main())

"""Train and compare models x depths x augmentations x seeds with one command.

    python -m dermssl.grid --data PHOTOS --models mobilenet densenet121 --image-size 64
    python -m dermssl.grid --config experiments/seed_grid.toml --data PHOTOS --dry-run

All depths of one model are trained on one frozen trunk, with the numbers that each would
give alone. A row is written as each cell ends; the same command resumes where it was
stopped, and tries failed cells again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, executor, results

if TYPE_CHECKING:
    from dermssl.reporting.report import Report


def run(config: dict[str, Any], dataset: Any = None) -> Path:
    """Train what is missing of a grid; returns its folder."""
    return _train(config, dataset)[0]


def _train(config: dict[str, Any], dataset: Any = None) -> tuple[Path, Report | None]:
    """The folder, and the report that was written there."""
    from dermssl.studies.grid.run import train_grid

    return train_grid(config, dataset)


def tell(config: dict[str, Any], written: tuple[Path, Report | None]) -> None:
    """Print what the grid shows."""
    path, findings = written
    if findings is None:
        return
    from dermssl.reporting import report

    print(report.to_console(findings))
    print(f"report: {path / 'report.md'}")


def _look(config):
    from dermssl.data import first_look

    executor.check(config["executor"])
    first_look.check(config["data"])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("grid", __doc__, _train, tell, argv, _look)


results.make_callable(__name__, run, results.GridRun)

if __name__ == "__main__":
    raise SystemExit(main())

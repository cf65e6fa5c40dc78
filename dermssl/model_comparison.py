"""Compare fine-tuned runs: is the self-supervised start better, and by how much?

    python -m dermssl.model_comparison outputs/quickstart --output outputs/model_comparison

RUN is a run's folder, or a folder that holds some; none: all finished runs under outputs/ that can
be compared with one another. Runs that differ in the seed only are one
model. Reads their predictions.csv, never a model. Writes performance_comparison.csv,
differences.csv, ensemble_tests.csv, runs.csv, pictures, and ssl_analysis_report.md and .html.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermssl.core import cli, left_out, progress, results
from dermssl.core.commands import COMMANDS
from dermssl.core.errors import UserError

if TYPE_CHECKING:
    from dermssl.reporting.report import Report

OUTPUT = COMMANDS["model_comparison"].output
NAME = "ssl_analysis_report"
RUNS = "outputs"  # where commands leave their runs

log = logging.getLogger("dermssl")


def run(config: dict[str, Any]) -> Path:
    """Compare finished fine-tuning runs and write the report.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        Path of the folder, with `ssl_analysis_report.md`.

    Raises:
        UserError: the runs can't be compared, with the first thing that differs.
    """
    return compare(config)[0]


def compare(config: dict[str, Any]) -> tuple[Path, Report]:
    """As `run`; returns the folder, and the report that was written there."""
    from dermssl.evaluation import contrasts, run_groups
    from dermssl.reporting import report, results_csv, tensorboard_text
    from dermssl.studies.comparison import compute, decision
    from dermssl.studies.comparison import report as page

    settings, place = config["model_comparison"], config["tables"].get("output")
    contrasts.check_margin(config["tables"], "model_comparison")
    paths = [Path(path) for path in settings.runs]
    if not paths and not place:
        paths = _all_comparable(settings)
    paths = paths or [Path(place)]
    default = Path(place) / "model_comparison" if place else OUTPUT
    output = Path(default if config["output"] in (None, place) else config["output"])
    _check_named(paths)
    found = run_groups.gather(
        paths, settings.split, settings.skip_unfinished, settings.allow_different_budget
    )
    if len(found.members) == 1 and not settings.one_is_enough:
        raise UserError(
            f"{found.members[0].path}: one run alone, nothing to compare it with; name another "
            "arm's run too, or score this one with python -m dermssl.evaluate"
        )
    numbers = compute.score(
        found, settings.baseline or None, settings.n_resamples, settings.margin, settings.primary
    )
    folder = report.make_output_folder(output)
    results_csv.write_rows(folder / "performance_comparison.csv", compute.performance_rows(numbers))
    results_csv.write_rows(folder / "runs.csv", compute.run_rows(numbers))
    differences = compute.difference_rows(numbers)
    results_csv.write_rows(folder / "differences.csv", differences, compute.DIFFERENCE_COLUMNS)
    tests = compute.test_rows(numbers)
    results_csv.write_rows(folder / "ensemble_tests.csv", tests, compute.TEST_COLUMNS)
    results_csv.write_rows(
        folder / "decision_differences.csv", numbers.benefits.to_dict("records"), decision.COLUMNS
    )
    page.draw(folder, numbers)
    findings = page.build(numbers, config["command"], config["config"])
    report.write(findings, folder, NAME)
    tensorboard_text.write(findings, folder / "tensorboard" / "report")
    return folder, findings


def _all_comparable(settings):
    """The largest group of comparable finished runs under outputs/; says what it leaves out."""
    from dermssl.evaluation import run_groups
    from dermssl.reporting import wording

    if not Path(RUNS).is_dir():
        raise UserError(
            f"no run given, and no folder {RUNS}/ here; name a run's folder, or run.config F.toml "
            "with an 'output'"
        )
    paths, others = run_groups.largest([RUNS], settings.split, settings.allow_different_budget)
    found = wording.count(len(paths), "finished run")
    progress.log_progress(f"No run given: the {found} under {RUNS}/ that can be compared: "
                          f"{', '.join(map(str, paths))}")  # fmt: skip
    if others:
        line = f"left out: {wording.count(len(others), 'run')}, the first: {others[0][1]}"
        left_out.tell(log, line, [(str(path), reason) for path, reason in others])
    return paths


def _check_named(paths):
    """Refuse a folder that is named twice: it was meant to be another one."""
    seen = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path}: named twice; a run isn't compared with itself")
        seen.add(path.resolve())


def tell(config: dict[str, Any], written: tuple[Path, Report]) -> None:
    """Print what was found."""
    from dermssl.reporting import report

    folder, findings = written
    print(report.to_console(findings))
    print(f"report: {folder / f'{NAME}.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("model_comparison", __doc__, compare, tell, argv)


results.make_callable(__name__, run, results.Comparison)

if __name__ == "__main__":
    raise SystemExit(main())

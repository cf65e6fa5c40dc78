"""Fill reporting forms of a run: participants, flow, TRIPOD+AI, CLAIM, CLEAR Derm, a model card.

    python -m dermssl.forms outputs/ssl_finetuned

Every number comes from the run's own files, and the form says from which; where only a person
knows, it says "author must state". Evaluates the test split first, if that wasn't done. Writes
into RUN/forms/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs
from dermssl.core import config as configs
from dermssl.core.study_settings import Evaluate


def run(config: dict[str, Any]) -> Path:
    """Fill the forms of one finished fine-tuning run; returns their folder.

    Raises:
        UserError: the run isn't finished, or its test split can't be scored.
    """
    from dermssl.studies.forms.run import fill_forms

    path = Path(config["forms"].run)
    runs.finished(path, command="finetune")
    if not (path / "evaluation_test" / "metrics.json").is_file():
        _evaluate(path)
    return fill_forms(config)


def _evaluate(path: Path) -> None:
    """The evaluation of the test split, as `dermssl.evaluate` writes it."""
    from dermssl.reporting import report
    from dermssl.studies.single_run import compute, files
    from dermssl.studies.single_run import report as evaluation_report

    settings = Evaluate(run=str(path))
    command = configs.command_line("evaluate", {"evaluate": {"run": path}})
    evaluation = compute.make(path, settings.split, settings.n_resamples, settings, command)
    folder = report.make_output_folder(path / f"evaluation_{settings.split}")
    files.write(folder, evaluation)
    files.draw(folder, evaluation)
    report.write(evaluation_report.build(evaluation), folder)


def tell(config: dict[str, Any], path: Path) -> None:
    """Print how far each form is filled."""
    for sentence in runs.read_json(path / "forms.json")["findings"]:
        print(f"- {sentence}")
    print(f"report: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("forms", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())

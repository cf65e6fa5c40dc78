"""Compare fine-tuned runs: is the self-supervised start better, and by how much?

    python -m dermssl.model_comparison outputs/quickstart --output outputs/model_comparison

RUN is a run's folder, or a folder that holds some. Runs that differ in the seed only are one
model. Reads their predictions.csv, never a model. Writes performance_comparison.csv,
differences.csv, runs.csv, pictures, and ssl_analysis_report.md and .html.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results
from dermssl.core.errors import UserError

OUTPUT = "outputs/model_comparison"
REPORT = "ssl_analysis_report.md"


def run(config: dict[str, Any]) -> Path:
    """Compare finished fine-tuning runs and write the report.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        Path of the folder, with `ssl_analysis_report.md`.

    Raises:
        UserError: the runs can't be compared, with the first thing that differs.
    """
    from dermssl.evaluation import run_groups
    from dermssl.reporting import report, results_csv
    from dermssl.studies.comparison import compute
    from dermssl.studies.comparison import report as page

    settings, place = config["model_comparison"], config["tables"].get("output")
    paths = [Path(path) for path in settings.runs]
    if not paths and not place:
        raise UserError("no run given; name a run's folder, or run.config F.toml with an 'output'")
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
    numbers = compute.score(found, settings.baseline or None, settings.n_resamples)
    folder = report.make_output_folder(output)
    results_csv.write_rows(folder / "performance_comparison.csv", compute.performance_rows(numbers))
    results_csv.write_rows(folder / "runs.csv", compute.run_rows(numbers))
    differences = compute.difference_rows(numbers)
    results_csv.write_rows(folder / "differences.csv", differences, compute.DIFFERENCE_COLUMNS)
    _draw(folder, numbers)
    report.write(
        folder / REPORT,
        "ssl_analysis_report.md",
        **page.context(numbers),
        command=config["command"],
        config=config["config"],
    )
    return folder


def _check_named(paths):
    """Refuse a folder that is named twice: it was meant to be another one."""
    seen = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"{path}: named twice; a run isn't compared with itself")
        seen.add(path.resolve())


def _draw(folder, numbers):
    """The pictures."""
    from dermssl.evaluation import metric_tables
    from dermssl.reporting import figures, wording
    from dermssl.studies.comparison import compute
    from dermssl.studies.comparison import figures as figures_compared
    from dermssl.studies.comparison import report as page

    found, taxonomy = numbers.compared, numbers.compared.taxonomy
    keys = {(model.arm, model.labels): model for model in found.models}
    primary = {key: numbers.intervals[key][metric_tables.PRIMARY] for key in keys}
    seeds = {
        key: metric_tables.by_seed(model, metric_tables.PRIMARY, taxonomy)
        for key, model in keys.items()
    }
    figures_compared.comparison(
        folder / "comparison.png", found, primary, seeds,
        wording.photos(numbers.counts, found.split), compute.chance(numbers),
        metric_tables.NAMES[metric_tables.PRIMARY],
    )  # fmt: skip
    figures_compared.training_curves(folder / "training_curves.png", found)
    figures_compared.roc(
        folder / "roc.png",
        found,
        {key: metric_tables.roc_curves(model.arrays, taxonomy) for key, model in keys.items()},
        {key: wording.estimate(numbers.intervals[key]["roc_auc"]) for key in keys},
    )
    figures_compared.reliability(
        folder / "reliability.png",
        found,
        {key: metric_tables.reliability(model.arrays) for key, model in keys.items()},
        {key: wording.estimate(numbers.intervals[key]["ece"], 2) for key in keys},
    )
    for model in found.models:
        fine, coarse = metric_tables.matrices(model.arrays, taxonomy)
        title = f"{model.name} ({wording.count(len(model.members), 'seed')})"
        file = folder / page.confusion_file(model)
        figures.confusion_pair(file, fine, coarse, taxonomy, title, len(model.members))


def tell(config: dict[str, Any], path: Path) -> None:
    """Print what was found."""
    from dermssl.reporting import report

    text = (path / REPORT).read_text(encoding="utf-8")
    print(report.for_console(text.split("## What was found")[1].split("\n## ")[0]))
    print(f"report: {path / REPORT}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("model_comparison", __doc__, run, tell, argv)


results.make_callable(__name__, run, results.Comparison)

if __name__ == "__main__":
    raise SystemExit(main())

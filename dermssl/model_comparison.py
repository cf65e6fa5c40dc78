"""Compare fine-tuned runs: is the self-supervised start better, and by how much?

    python -m dermssl.model_comparison outputs/quickstart --output outputs/model_comparison

RUN is a run's folder, or a folder that holds some. Runs that differ in the seed only are one
model. Reads their predictions.csv, never a model. Writes performance_comparison.csv,
differences.csv, runs.csv, pictures, and ssl_analysis_report.md and .html.
"""

import shlex
from pathlib import Path

from dermssl.core import cli
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import SPLITS

OUTPUT = "outputs/model_comparison"
REPORT = "ssl_analysis_report.md"


def run(
    paths,
    baseline=None,
    output=None,
    split="test",
    n_resamples=1000,
    skip_unfinished=False,
    allow_different_budget=False,
    config=None,
    one_is_enough=False,
):
    """Compare finished fine-tuning runs and write the report.

    Args:
        paths: run folders, or folders that hold some up to three levels down. Empty: the
            `output` of the experiment file.
        baseline: arm that the others are held against; None for random init where it is
            there, else the first arm.
        output: folder to write into; None for `model_comparison` under the experiment file's
            output, or `outputs/model_comparison`.
        split: "train", "validation" or "test".
        n_resamples: draws of the bootstrap.
        skip_unfinished: list runs that didn't finish instead of refusing.
        allow_different_budget: warn of different fine-tuning settings instead of refusing.
        config: path of the experiment file, or None.
        one_is_enough: report a run that is alone, too, instead of refusing it.

    Returns:
        Path of the folder, with `ssl_analysis_report.md`.

    Raises:
        UserError: the runs can't be compared, with the first thing that differs.
    """
    from dermssl.evaluation import run_groups
    from dermssl.reporting import report, results_csv, template_pages
    from dermssl.studies.comparison import compute
    from dermssl.studies.comparison import report as page

    paths = [Path(path) for path in paths]
    place = configs.read_toml(config).get("output") if config else None
    if not paths and not place:
        raise UserError("no run given; name a run's folder, or --config F.toml with an 'output'")
    paths = paths or [Path(place)]
    output = Path(output or (Path(place) / "model_comparison" if place else OUTPUT))
    _check_named(paths)
    found = run_groups.gather(paths, split, skip_unfinished, allow_different_budget)
    if len(found.members) == 1 and not one_is_enough:
        raise UserError(
            f"{found.members[0].path}: one run alone, nothing to compare it with; name another "
            "arm's run too, or score this one with python -m dermssl.evaluate"
        )
    numbers = compute.score(found, baseline, n_resamples)
    folder = report.make_output_folder(output)
    results_csv.write_rows(folder / "performance_comparison.csv", compute.performance_rows(numbers))
    results_csv.write_rows(folder / "runs.csv", compute.run_rows(numbers))
    differences = compute.difference_rows(numbers)
    results_csv.write_rows(folder / "differences.csv", differences, compute.DIFFERENCE_COLUMNS)
    _draw(folder, numbers)
    words = ["python", "-m", "dermssl.model_comparison", *map(str, paths)]
    words += ["--config", str(config)] if config else []
    words += ["--baseline", baseline] if baseline else []
    words += ["--output", str(output), "--split", split]
    words += ["--n-resamples", str(n_resamples)] if n_resamples != 1000 else []
    words += ["--skip-unfinished"] if skip_unfinished else []
    words += ["--allow-different-budget"] if allow_different_budget else []
    template_pages.write(
        folder / REPORT,
        "ssl_analysis_report.md",
        **page.context(numbers),
        command=shlex.join(words),
        config=config,
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


def parser():
    """The command line."""
    made = cli.parser("model_comparison", __doc__)
    made.add_argument("runs", metavar="RUN", nargs="*", help="a run, or a folder that holds some")
    made.add_argument(
        "--config", metavar="F.toml", help="experiment file; its output is searched without RUN"
    )
    made.add_argument(
        "--baseline", metavar="ARM", help="held against the others (default: random, if there)"
    )
    made.add_argument("--output", metavar="FOLDER", help=f"where to write (default: {OUTPUT})")
    made.add_argument(
        "--split", choices=SPLITS, default="test", help="records to score (default: test)"
    )
    made.add_argument(
        "--n-resamples", type=int, default=1000, metavar="N",
        help="draws of the bootstrap (default: 1000)",
    )  # fmt: skip
    made.add_argument(
        "--skip-unfinished", action="store_true", help="list runs that did not finish, go on"
    )
    made.add_argument(
        "--allow-different-budget", action="store_true",
        help="compare arms that were tuned differently, with a warning in the report",
    )  # fmt: skip
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _run(args):
    from dermssl.reporting import template_pages

    cli.check_resamples(args.n_resamples)
    folder = run(
        args.runs, args.baseline, args.output, args.split, args.n_resamples,
        args.skip_unfinished, args.allow_different_budget, args.config,
    )  # fmt: skip
    text = (folder / REPORT).read_text(encoding="utf-8")
    print(template_pages.for_console(text.split("## What was found")[1].split("\n## ")[0]))
    print(f"report: {folder / REPORT}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""Score a fine-tuned run: metrics with intervals, calibration, subgroups, pictures, a report.

    python -m dermssl.evaluate outputs/ssl_finetuned --split test

Reads the run's predictions.csv (raw probabilities) and temperature.json, never the model, and
writes into RUN/evaluation_SPLIT/.
"""

import shlex
from pathlib import Path

from dermssl.core import cli, runs
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import SPLITS, Evaluate


def run(path, split="test", n_resamples=1000, output=None, settings=None):
    """Evaluate one finished fine-tuning run.

    Args:
        path: the run's folder.
        split: "train", "validation" or "test".
        n_resamples: draws of the bootstrap.
        output: folder to write into; None for `evaluation_SPLIT` in the run's folder.
        settings: `settings.Evaluate`; None for its defaults.

    Returns:
        Path of the folder: report.md and report.html with their pictures, metrics.json,
        per_class.csv, roc.csv, precision_recall.csv, reliability.csv, mean_probabilities.csv and,
        where the records allow, decision_curve.csv, subgroups.csv and subgroup_gaps.csv.

    Raises:
        UserError: the run isn't finished, its files aren't whole, the split has no labels, or a
            setting doesn't fit its classes.
    """
    from dermssl.reporting import report
    from dermssl.studies.single_run import compute, files
    from dermssl.studies.single_run import report as evaluated_page

    if n_resamples < 1:
        raise UserError(f"--n-resamples is {n_resamples}; it must be at least 1")
    settings = settings or Evaluate()
    runs.finished(path, command="finetune")
    made = compute.make(
        path, split, n_resamples, settings, _command(path, split, n_resamples, output, settings)
    )
    folder = report.make_output_folder(output or Path(path) / f"evaluation_{split}")
    files.write(folder, made)
    files.draw(folder, made)
    report.write(evaluated_page.build(made), folder)
    return folder


def _command(path, split, n_resamples, output, settings):
    words = ["python", "-m", "dermssl.evaluate", str(path), "--split", split]
    words += ["--n-resamples", str(n_resamples)] if n_resamples != 1000 else []
    words += ["--output", str(output)] if output else []
    return shlex.join(words + configs.as_flags(settings))


def parser():
    """The command line."""
    made = cli.parser("evaluate", __doc__)
    made.add_argument("run", metavar="RUN", help="folder of a finished fine-tuning run")
    made.add_argument(
        "--split", choices=SPLITS, default="test", help="records to score (default: test)"
    )
    made.add_argument(
        "--n-resamples",
        type=int,
        default=1000,
        metavar="N",
        help="draws of the bootstrap (default: 1000)",
    )
    made.add_argument(
        "--output", metavar="FOLDER", help="where to write (default: RUN/evaluation_SPLIT)"
    )
    made.add_argument(
        "--config", metavar="F.toml", help="its [evaluate] section; flags win over it"
    )
    configs.add_section(made, "evaluate")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _at_threshold(entry, parameters):
    """Sensitivity and specificity at the threshold that was chosen, with where it was."""
    from dermssl.reporting.wording import of_json

    asked = f"{parameters['specificity']:g} specificity"
    if entry["threshold"] is None:  # no such records, or none of its scores keeps it
        return f"no threshold for {asked}"
    both = [
        f"{title} {of_json(entry['metrics'][f'fixed_{title}'])}"
        for title in ("sensitivity", "specificity")
    ]
    chosen = f"chosen on {entry['threshold_chosen_on']} for {asked}"
    scale = "P as predict gives it" if entry["threshold_of"] == "calibrated" else "the raw P"
    return f"{', '.join(both)} at threshold {entry['threshold']:.4g} of {scale}, {chosen}"


def _run(args):
    from dermssl.reporting.wording import of_json

    cli.check_resamples(args.n_resamples)
    tables = configs.read_toml(args.config) if args.config else {}
    settings = configs.section(args, "evaluate", tables)
    folder = run(args.run, args.split, args.n_resamples, args.output, settings)
    found = runs.read_json(folder / "metrics.json")
    print(f"{args.run}: {found['n']} {args.split} records, {found['n_groups']} independent")
    for sentence in found["findings"]:
        print(f"- {sentence}")
    for name, value in found["metrics"].items():
        if value:
            options = [f"{key} {value[key]:g}" for key in value.keys() & found["parameters"].keys()]
            print(f"  {name:<36} {of_json(value)}  {', '.join(options)}".rstrip())
    for name, entry in found["against_rest"].items():
        print(f"  {name} against the rest: {_at_threshold(entry, found['parameters'])}")
    print(f"report: {folder / 'report.md'}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

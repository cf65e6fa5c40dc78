"""Score a fine-tuned run: metrics with intervals, calibration, subgroups, pictures, a report.

    python -m dermssl.evaluate outputs/ssl_finetuned --split test
    python -m dermssl.evaluate outputs/ssl_finetuned --data OTHER_HOSPITAL
    python -m dermssl.evaluate outputs/ssl_finetuned --prevalence 0.03 --readers answers.csv

Reads the run's predictions.csv (raw probabilities) and temperature.json, and writes into
RUN/evaluation_SPLIT/. The model is used for the photos of the HTML page alone: the run's own, with
heat maps of the most confident errors; --without-photos leaves them out.

With --data the model predicts all photos of a labelled folder from elsewhere, whose classes are
mapped to the run's fine or coarse classes or to malignant and benign (--classes names a file where
names don't match). Photos that the run has seen are left out. It writes into RUN/external_NAME/,
or for several folders into RUN/external/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs

WIDTH = 46  # of most names


def run(config: dict[str, Any], dataset: Any = None) -> Path:
    """Evaluate one finished fine-tuning run.

    Args:
        config: settings from `core.config.configure`.
        dataset: `Dataset` of another place, where the caller has one already.

    Returns:
        Path of the folder: report.md and report.html with their pictures, metrics.json,
        per_class.csv, roc.csv, precision_recall.csv, reliability.csv, mean_probabilities.csv,
        risk_coverage.csv and, where the records allow, operating_points.csv, decision_curve.csv,
        conformal_sets.csv, readers.csv, subgroups.csv and subgroup_gaps.csv.

    Raises:
        UserError: the run isn't finished, its files aren't whole, the split has no labels, or a
            setting doesn't fit its classes.
    """
    from dermssl.reporting import report, tensorboard_text
    from dermssl.studies.single_run import compute, files, page_photos
    from dermssl.studies.single_run import report as evaluation_report
    from dermssl.training import mlflow_log

    settings = config["evaluate"]
    runs.finished(settings.run, command="finetune")
    mlflow_log.check(config)
    if settings.data:
        cli.quiet_tensorflow()
        from dermssl.studies.external.run import evaluate_elsewhere

        folder = evaluate_elsewhere(config, dataset)
        mlflow_log.send_report(config, settings.run, folder, folder.name)
        return folder
    evaluation = compute.make(
        settings.run, settings.split, settings.n_resamples, settings, config["command"]
    )
    default = Path(settings.run) / f"evaluation_{settings.split}"
    folder = report.make_output_folder(config["output"] or default)
    files.write(folder, evaluation)
    files.draw(folder, evaluation)
    written = evaluation_report.build(evaluation, page_photos.of(evaluation))
    report.write(written, folder)
    log = Path(config["output"] or settings.run) / "tensorboard" / f"report_{settings.split}"
    tensorboard_text.write(written, log)
    mlflow_log.send_report(config, settings.run, folder, default.name)
    return folder


def _at_threshold(entry, parameters):
    """Lines (name, value): what the threshold that was chosen gives, and where it was chosen."""
    from dermssl.reporting.wording import of_json

    title, asked = entry["title"], f"{parameters['specificity']:g} specificity"
    if entry["threshold"] is None:  # no such records, or none of its scores keeps it
        return [(f"{title}: no threshold for {asked}", "")]
    scale = "P as predict gives it" if entry["threshold_of"] == "calibrated" else "raw P"
    where = f"{scale} ≥ {entry['threshold']:.4g}, chosen on {entry['threshold_chosen_on']}"
    return [
        (f"{title} {name} at {where} for {asked}", of_json(entry["metrics"][f"fixed_{name}"]))
        for name in ("sensitivity", "specificity")
    ]


def tell(config: dict[str, Any], path: Path) -> None:
    """Print the findings and every metric with its interval."""
    from dermssl.evaluation import metric_tables
    from dermssl.reporting.wording import count, of_groups, of_json

    settings = config["evaluate"]
    summary = runs.read_json(path / "metrics.json")
    if settings.data:
        for line in summary["lines"]:
            print(cli.with_flags(line))
        print(f"report: {path / 'report.md'}")
        return
    records = count(summary["n"], f"{settings.split} record")
    print(f"{settings.run}: {records}{of_groups(summary)}")
    for sentence in summary["findings"]:
        print(f"- {sentence}")
    lines, titles = [], metric_tables.titles(settings)
    for name, value in summary["metrics"].items():
        if name == "ece" and value and value["estimate"] is not None:
            bounds = summary["ece_if_calibrated"]["raw"]
            shown = f"{value['estimate']:.3f}, where a calibrated model shows "
            lines.append((titles[name], f"{shown}{bounds['low']:.3f} to {bounds['high']:.3f}"))
        elif value:
            lines.append((titles[name], of_json(value)))
    for entry in summary["against_rest"].values():
        lines += _at_threshold(entry, summary["parameters"])
    for name, shown in lines:
        print(f"  {name:<{WIDTH}} {shown}".rstrip())
    print(f"report: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("evaluate", __doc__, run, tell, argv)


results.make_callable(__name__, run, results.Evaluation)

if __name__ == "__main__":
    raise SystemExit(main())

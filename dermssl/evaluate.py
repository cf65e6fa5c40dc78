"""Score a fine-tuned run: metrics with intervals, pictures, a short report.

    python -m dermssl.evaluate outputs/ssl_finetuned --split test

Reads the run's predictions.csv, never the model, and writes into RUN/evaluation_SPLIT/.
"""

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dermssl import cli, runs
from dermssl.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Evaluation:
    """Everything the files of an evaluation are made of.

    Attributes:
        path: of the run.
        found: its `Predictions`.
        history: its history.csv.
        seed: `Arrays` of the split.
        split: name of the split.
        n_resamples: draws of the bootstrap.
        intervals: dict of metric -> `Interval`.
        classes: DataFrame from `scores.per_class`.
        temperature, tempered: from `scores.tempered`; None away from the test split.
        command: what to type for the same again.
    """

    path: Path
    found: Any = field(repr=False)
    history: Any = field(repr=False)
    seed: Any = field(repr=False)
    split: str
    n_resamples: int
    intervals: dict
    classes: Any = field(repr=False)
    temperature: Any
    tempered: Any = field(repr=False)
    command: str

    @property
    def levels(self):
        """ "fine", and "coarse" where the taxonomy has a hierarchy."""
        return ("fine", "coarse") if self.found.taxonomy.has_hierarchy else ("fine",)


def run(path, split="test", n_resamples=1000, output=None):
    """Evaluate one finished fine-tuning run.

    Args:
        path: the run's folder.
        split: "train", "validation" or "test".
        n_resamples: draws of the bootstrap.
        output: folder to write into; None for `evaluation_SPLIT` in the run's folder.

    Returns:
        Path of the folder: metrics.json, per_class.csv, confusion_LEVEL_KIND.png, roc.png,
        reliability.png, training_curves.png, report.md and report.html.

    Raises:
        UserError: the run isn't finished, its files aren't whole, or the split has no labels.
    """
    from dermssl.evaluation import predictions
    from dermssl.reporting import report, scores

    if n_resamples < 1:
        raise UserError(f"--n-resamples is {n_resamples}; it must be at least 1")
    path = Path(path)
    runs.finished(path, command="finetune")
    found = predictions.read(path)
    history = predictions.read_history(path)
    seed = found.arrays(split)
    if (seed.y_coarse < 0).all():
        raise UserError(f"{path}: no labelled record in split '{split}'; nothing can be scored")
    folder = report.folder_for(output or path / f"evaluation_{split}")
    # A temperature fitted on validation records says nothing new about those same records.
    fitted, tempered = scores.tempered(found, seed) if split == "test" else (None, None)
    made = Evaluation(
        path=path,
        found=found,
        history=history,
        seed=seed,
        split=split,
        n_resamples=n_resamples,
        intervals=scores.intervals([seed], found.taxonomy, n_resamples),
        classes=scores.per_class([seed], found.taxonomy, n_resamples),
        temperature=fitted,
        tempered=tempered,
        command=_command(path, split, n_resamples, output),
    )
    _write_numbers(folder, made)
    _draw(folder, made)
    _write_report(folder, made)
    return folder


def _command(path, split, n_resamples, output):
    words = ["python", "-m", "dermssl.evaluate", str(path), "--split", split]
    words += ["--n-resamples", str(n_resamples)] if n_resamples != 1000 else []
    words += ["--output", str(output)] if output else []
    return shlex.join(words)


def _write_numbers(folder, made):
    """metrics.json and per_class.csv."""
    from dermssl.evaluation import metrics
    from dermssl.reporting import results, scores

    counts, status = scores.counts(made.seed), made.found.status
    values = dict.fromkeys(results.METRICS)
    for name, interval in made.intervals.items():
        of_coarse = name in ("coarse_accuracy", "coarse_balanced_accuracy", "coarse_roc_auc")
        values[name] = {"n": counts["n_coarse" if of_coarse else "n_fine"], **asdict(interval)}
    after = None
    if made.temperature:
        after = metrics.expected_calibration_error(made.tempered.p_fine, made.seed.y)
    kept = ("arm", "seed", "n_labels", "config_hash", "data_hash")
    runs.write_json(
        folder / "metrics.json",
        {
            "run": str(made.path),
            "predictions": str(made.path / "predictions.csv"),
            "command": made.command,
            **{key: status.get(key) for key in kept},
            "split": made.split,
            **counts,
            "resampled": f"whole {counts['grouped_by']}s, with replacement (percentile bootstrap)",
            "metrics": values,
            "temperature": asdict(made.temperature) if made.temperature else None,
            "ece_after_temperature": after,
            "versions": runs.versions(),
        },
    )
    results.write_rows(folder / "per_class.csv", made.classes.to_dict("records"))


def _draw(folder, made):
    """The pictures."""
    from dermssl.reporting import figures, scores, sentences

    taxonomy = made.found.taxonomy
    for level, matrix in zip(made.levels, scores.matrices([made.seed], taxonomy)):
        names = getattr(taxonomy, level)
        titles = taxonomy.titles if level == "fine" else names
        for kind, normalised in (("counts", False), ("shares", True)):
            what = "share of each true class" if normalised else "records"
            figures.confusion(
                folder / f"confusion_{level}_{kind}.png", matrix, names, titles,
                f"{level} classes, {made.split} split: {what}", normalised,
            )  # fmt: skip
    grid, curves = scores.roc_curves([made.seed], taxonomy)
    areas = {
        row.fine: f"{sentences.number(row.roc_auc, 2)} (n = {row.support:,})"
        for row in made.classes.itertuples()
    }
    titles = dict(zip(taxonomy.fine, taxonomy.titles))
    figures.roc(folder / "roc.png", grid, curves, areas, titles, f"ROC curves, {made.split} split")
    ece = sentences.estimate(made.intervals["ece"], 2)
    shown = [(scores.reliability([made.seed]), f"as predicted: ECE {ece}")]
    if made.temperature:
        label = f"after temperature {made.temperature.temperature:.2f}"
        shown.append((scores.reliability([made.tempered]), label))
    figures.reliability(folder / "reliability.png", shown, f"Reliability, {made.split} split")
    figures.training_curves(folder / "training_curves.png", made.history, "Training")


def _write_report(folder, made):
    """report.md and report.html."""
    from dermssl.reporting import report, scores, sentences
    from dermssl.reporting.compared import TITLES

    counts = scores.counts(made.seed)
    status = dict.fromkeys(("arm", "seed", "config_hash", "data_hash"), "n/a") | made.found.status
    model = TITLES.get(status["arm"], status["arm"])
    if status.get("n_labels"):
        model += f", {sentences.count(status['n_labels'], 'label')}"
    report.write(
        folder / "report.md",
        "evaluation.md",
        run=made.path.name or made.path,
        model=model,
        made=made,
        status=status,
        basis=sentences.photos(counts, made.split),
        warnings=sentences.data_warnings(counts, made.classes, made.split)
        + sentences.dropped([made.intervals["balanced_accuracy"]]),
        metrics=[
            (title, made.intervals[name])
            for name, title in scores.NAMES.items()
            if name in made.intervals
        ],
        classes=report.class_rows(made.classes),
        enough=sentences.ENOUGH_RECORDS,
        confusions=[
            {"title": f"{level} classes, {kind}", "file": f"confusion_{level}_{kind}.png"}
            for level in made.levels
            for kind in ("counts", "shares")
        ],
        calibration=_calibration(made),
        unit=counts["grouped_by"],
        versions=report.versions(status),
    )


def _calibration(made):
    """What is said of the probabilities, before and after one temperature."""
    from dermssl.evaluation import metrics
    from dermssl.reporting import sentences

    said = f"ECE {sentences.estimate(made.intervals['ece'])}, over 15 bins."
    if made.temperature:
        after = metrics.expected_calibration_error(made.tempered.p_fine, made.seed.y)
        said += (
            f" With the temperature that suits the {made.temperature.n:,} validation records, "
            f"{made.temperature.temperature:.2f}, it is {sentences.number(after)}."
        )
        if made.temperature.concern:
            said += f" Don't trust this temperature: {made.temperature.concern}."
    return said


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
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _run(args):
    folder = run(args.run, args.split, args.n_resamples, args.output)
    found = runs.read_json(folder / "metrics.json")
    print(f"{args.run}: {found['n']} {args.split} records, {found['n_groups']} independent")
    for name, value in found["metrics"].items():
        if value:
            shown = [value[key] for key in ("estimate", "low", "high")]
            estimate, low, high = ("n/a" if v is None else f"{v:.3f}" for v in shown)
            print(f"  {name:<26} {estimate:>6}  ({low} to {high})")
    print(f"report: {folder / 'report.md'}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

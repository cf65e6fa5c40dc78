"""Score a fine-tuned run: metrics with intervals, pictures, a short report.

    python -m dermssl.evaluate outputs/ssl_finetuned --split test

Reads the run's predictions.csv and never the model. Writes RUN/evaluation_SPLIT/.
"""

import argparse
import shlex
from pathlib import Path

from dermssl import cli, runs
from dermssl.errors import RunFailed, UserError


def run(path, split="test", n_resamples=1000, output=None):
    """Evaluate one finished fine-tuning run.

    Args:
        path: the run's folder.
        split: "train", "validation" or "test".
        n_resamples: draws of the bootstrap.
        output: folder to write into; None for `evaluation_SPLIT` in the run's folder.

    Returns:
        Path of the folder: metrics.json, per_class.csv, confusion_*.png, roc.png,
        reliability.png, training_curves.png, report.md and report.html.
    """
    from dermssl.evaluation import predictions
    from dermssl.reporting import scores

    if n_resamples < 1:
        raise UserError(f"--n-resamples is {n_resamples}; it must be at least 1")
    path = Path(path)
    found = predictions.read(path)
    history = predictions.read_history(path)
    seed = found.arrays(split)
    if (seed.y_coarse < 0).all():
        raise UserError(f"{path}: no labelled record in split '{split}'; nothing can be scored")
    folder = made(output or path / f"evaluation_{split}", "--output")
    intervals = scores.intervals([seed], found.taxonomy, n_resamples)
    classes = scores.per_class([seed], found.taxonomy, n_resamples)
    temperature = None if split != "test" else _temperature(found)
    settings = {"split": split, "n_resamples": n_resamples, "output": output}
    _write_numbers(folder, path, found.status, seed, intervals, classes, temperature, settings)
    _draw(folder, found, seed, history, classes, intervals, temperature, split)
    _write_report(folder, path, found, seed, intervals, classes, temperature, settings)
    return folder


def made(folder, flag):
    """The folder, made if it is missing."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{flag} {folder}: can't be made ({error.strerror}); choose another"
        ) from error
    if not folder.is_dir():
        raise RunFailed(f"{folder}: not a folder")
    return folder


def _temperature(found):
    """The `Temperature` that suits the validation split; None where it has no labels."""
    import numpy as np

    from dermssl.data.index import VALIDATION
    from dermssl.evaluation import calibration

    if VALIDATION not in set(found.table["split"]):
        return None
    seed = found.arrays(VALIDATION)
    if (seed.y < 0).all():
        return None
    return calibration.fit_temperature(_log(np, seed.p_fine), seed.y)


def _log(np, p):
    return np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)


def _calibrated(seed, temperature):
    """The same records with tempered probabilities."""
    from dermssl.evaluation import calibration

    return seed._replace(p_fine=calibration.apply_temperature(seed.p_fine, temperature))


def _write_numbers(folder, path, status, seed, intervals, classes, temperature, settings):
    """metrics.json and per_class.csv."""
    from dermssl.evaluation import metrics
    from dermssl.reporting import results, scores

    counts = scores.counts(seed)
    keys = ("estimate", "low", "high", "level", "n_resamples", "n_dropped", "n_clusters")
    values = {
        name: {key: getattr(intervals[name], key) for key in keys} if name in intervals else None
        for name in results.METRICS
    }
    for name, value in values.items():
        if value:
            coarse_only = name.startswith("coarse_") and name != "coarse_given_wrong_fine"
            value["n"] = counts["n_coarse" if coarse_only else "n_fine"]
    runs.write_json(
        folder / "metrics.json",
        {
            "run": str(path),
            "predictions": str(path / "predictions.csv"),
            "command": _command(path, settings),
            **{key: status.get(key) for key in ("arm", "seed", "n_labels")},
            **{key: status.get(key) for key in ("config_hash", "data_hash")},
            "split": settings["split"],
            **counts,
            "resampled": f"whole {counts['grouped_by']}s, with replacement (percentile bootstrap)",
            "metrics": values,
            "temperature": vars(temperature) if temperature else None,
            "ece_after_temperature": (
                metrics.expected_calibration_error(
                    _calibrated(seed, temperature).p_fine, seed.y
                )
                if temperature
                else None
            ),
            "versions": runs.versions(),
        },
    )  # fmt: skip
    results.write_rows(folder / "per_class.csv", classes.to_dict("records"))


def _draw(folder, found, seed, history, classes, intervals, temperature, split):
    from dermssl.reporting import figures, scores, sentences

    taxonomy = found.taxonomy
    levels = ("fine", "coarse") if taxonomy.has_hierarchy else ("fine",)
    for level, matrix in zip(levels, scores.matrices([seed], taxonomy)):
        names = getattr(taxonomy, level)
        titles = taxonomy.titles if level == "fine" else names
        for kind, normalised in (("counts", False), ("shares", True)):
            what = "share of each true class" if normalised else "records"
            figures.confusion(
                folder / f"confusion_{level}_{kind}.png", matrix, names, titles,
                f"{level} classes, {split}: {what}", normalised,
            )  # fmt: skip
    grid, curves = scores.roc_curves([seed], taxonomy)
    areas = {
        row.fine: f"{sentences.number(row.roc_auc, 2)} (n = {row.support:,})"
        for row in classes.itertuples()
    }
    titles = dict(zip(taxonomy.fine, taxonomy.titles))
    figures.roc(folder / "roc.png", grid, curves, areas, titles, f"ROC curves, {split}")
    shown = [(scores.reliability([seed]), f"ECE {sentences.estimate(intervals['ece'], 2)}")]
    if temperature:
        after = _calibrated(seed, temperature)
        label = f"after temperature {temperature.temperature:.2f}"
        shown.append((scores.reliability([after]), label))
    figures.reliability(folder / "reliability.png", shown, f"Reliability, {split}")
    figures.training_curves(folder / "training_curves.png", history, "Training")


def _write_report(folder, path, found, seed, intervals, classes, temperature, settings):
    from dermssl.evaluation import metrics
    from dermssl.reporting import report, scores, sentences
    from dermssl.reporting.compared import TITLES

    split, counts, status = settings["split"], scores.counts(seed), found.status
    arm, n_labels = status.get("arm", "model"), status.get("n_labels")
    said = f"ECE {sentences.estimate(intervals['ece'])}, 15 bins."
    if temperature:
        after = metrics.expected_calibration_error(_calibrated(seed, temperature).p_fine, seed.y)
        said += (
            f" With the temperature {temperature.temperature:.2f} that suits the validation "
            f"split ({temperature.n:,} records) it is {sentences.number(after)}."
        )
        if temperature.concern:
            said += f" Don't trust this temperature: {temperature.concern}."
    levels = ("fine", "coarse") if found.taxonomy.has_hierarchy else ("fine",)
    report.write(
        folder / "report.md",
        "evaluation.md",
        run=path.name or path,
        model=TITLES.get(arm, arm) + (f", {n_labels:,} labels" if n_labels else ""),
        split=split,
        basis=sentences.scope(1, counts, split),
        warnings=sentences.data_warnings(counts, classes, split),
        level=f"{intervals['ece'].level:.0%}",
        metrics=[(scores.NAMES[name], intervals[name]) for name in scores.NAMES if name in intervals],
        classes=class_rows(classes),
        enough=sentences.ENOUGH_RECORDS,
        confusions=[
            {"title": f"{level}, {kind}", "file": f"confusion_{level}_{kind}.png"}
            for level in levels
            for kind in ("counts", "shares")
        ],
        calibration=said,
        predictions=path / "predictions.csv",
        history=path / "history.csv",
        status={key: status.get(key, "n/a") for key in ("config_hash", "data_hash", "seed")},
        with_temperature=temperature is not None,
        n_resamples=settings["n_resamples"],
        unit=counts["grouped_by"],
        versions=", ".join(f"{k} {v}" for k, v in status.get("versions", {}).items()),
        command=_command(path, settings),
    )  # fmt: skip

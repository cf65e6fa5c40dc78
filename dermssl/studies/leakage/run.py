"""Measure how much a leaky split inflates the score, and write the report."""

from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import progress
from dermssl.core.commands import COMMANDS
from dermssl.core.errors import UserError
from dermssl.data import readers, splits
from dermssl.data.records import group_ids
from dermssl.inference import outputs
from dermssl.models import backbones, weights
from dermssl.reporting import report
from dermssl.studies.leakage import compute
from dermssl.studies.leakage import report as leakage_report

OUTPUT = COMMANDS["leakage"].output
BATCH = 64  # photos through the backbone at once


def measure_leakage(config: dict[str, Any]) -> Path:
    """Estimate the inflation and write a report.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        Path of the folder: leakage.json, leakage.csv, leakage.png, report.md, report.html.

    Raises:
        UserError: bad input, or no lesion with two photos.
    """
    n_folds, n_seeds = config["leakage"].folds, config["leakage"].n_seeds
    n_resamples = config["leakage"].n_resamples
    data = config["data"]
    backbones.check(weights.resolve(config["backbone"])[0])
    dataset = readers.read(data)
    dataset = dataset.with_index(dataset.index[dataset.index["fine"] != ""])
    unit = _unit(dataset.index, data)
    dataset, bad = readers.checked(dataset, data.on_bad, f"data.path {data.path}")
    splits.report_skipped(bad, len(bad) + len(dataset.index))
    dataset, left_out = _with_classes_of_every_fold(dataset, n_folds)
    index = dataset.index
    names, groups = np.unique(group_ids(index, unit).astype(str), return_inverse=True)
    there = [name for name in dataset.taxonomy.fine if (index["fine"] == name).any()]
    labels = index["fine"].map({name: k for k, name in enumerate(there)}).to_numpy()
    if len(there) < 2 or (np.bincount(groups) > 1).sum() < 2:
        raise UserError(
            f"data.path {data.path}: {len(there)} classes of {n_folds} independent patients or "
            f"lesions or more (leakage.folds), {(np.bincount(groups) > 1).sum()} "
            f"{unit.removesuffix('_id')}s with two photos or more; leakage needs two of each"
        )
    folder = report.make_output_folder(config["output"] or OUTPUT)
    n_fits = 2 * n_folds * n_seeds
    print(f"{len(index)} photos through the backbone, then {n_fits} regressions", flush=True)
    features = outputs.embed_records(config["backbone"], dataset, data, BATCH)
    seeds = range(config["seed"], config["seed"] + n_seeds)
    clusters = group_ids(index)[np.unique(groups, return_index=True)[1]]
    whole = np.unique(clusters.astype(str), return_inverse=True)[1]
    with progress.Progress("Regressions", n_fits) as shown:
        fit = _counted(shown)
        predicted = compute.predict(features, labels, groups, n_folds, seeds, fit, whole)
    rows = compute.score(predicted, clusters, n_resamples)
    leakage_report.write(
        folder, rows, predicted,
        {
            "data": str(data.path), "unit": unit.removesuffix("_id"), "photos": len(index),
            "groups": len(names), "with_twins": int(predicted.twinned.sum()), "classes": there,
            "left_out": left_out,
            "backbone": config["backbone"].name, "image_size": config["backbone"].image_size,
            "weights": config["backbone"].weights, "folds": n_folds, "seeds": list(seeds),
            "n_resamples": n_resamples, "command": config["command"],
        },
    )  # fmt: skip
    return folder


def _with_classes_of_every_fold(dataset, n_folds):
    """The data set without classes of fewer groups than folds, and those: dict of name -> groups.

    A group is a patient where known, else a lesion: what lies in one fold. With one of a class,
    its twins decide whether training knows the class at all, which is no memory of a lesion.
    """
    index = dataset.index
    groups = index.assign(group=group_ids(index)).groupby("fine")["group"].nunique()
    few = groups[groups < n_folds].to_dict()
    return dataset.with_index(index[~index["fine"].isin(few)]), few


def _counted(shown):
    """`compute.logistic`, each call of which moves `shown` on by one."""

    def fit(*args):
        predicted = compute.logistic(*args)
        shown.reach(shown.done + 1)
        return predicted

    return fit


def _unit(index, data):
    """The id column that ties twins together."""
    if data.group_by != "auto":
        return data.group_by
    for name in ("lesion_id", "patient_id"):
        if (index[name] != "").any():
            return name
    raise UserError(
        f"data.path {data.path}: no lesion or patient ids, so nothing tells which photos are "
        "twins; add a column lesion_id, python -m dermssl.check_data finds near duplicates"
    )

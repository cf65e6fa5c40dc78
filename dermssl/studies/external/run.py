"""Predict photos from other places with a finished run, score them, and write the report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import progress
from dermssl.core.study_settings import Adapt, Evaluate
from dermssl.data import pipeline
from dermssl.data.records import Dataset
from dermssl.evaluation import binary_tasks, subgroups
from dermssl.inference import finished_run
from dermssl.inference.finished_run import FinishedRun
from dermssl.reporting import report
from dermssl.studies.external import compute, files, overlap, places
from dermssl.studies.external import report as external_report
from dermssl.studies.external.places import Place

log = logging.getLogger("dermssl")


def evaluate_elsewhere(config: dict[str, Any], dataset: Dataset | None = None) -> Path:
    """Score a run on photos from elsewhere.

    Args:
        config: settings from `core.config.configure`; `evaluate.data` names the folders.
        dataset: the only place, where the caller has read it already.

    Returns:
        Path of the folder: report.md, report.html, metrics.json, predictions.csv (raw),
        calibration.csv, class_shares.csv, classes.csv, overlaps.csv and more; of several places
        one table and picture of all, and a folder for each.

    Raises:
        UserError: the run isn't finished, a folder has no labels, its classes can't be mapped or
            are one only, or all of its photos are the run's own.
    """
    settings: Evaluate = config["evaluate"]
    run = finished_run.load(settings.run, "finetune")
    _check(settings, run)
    found = places.read(settings.data, settings, run.taxonomy, run.data, dataset)  # type: ignore[arg-type]
    for place in found:
        places.check_classes(place, run.taxonomy)  # type: ignore[arg-type]
    found, note = without_overlaps(found, run, settings)
    for place in found:
        places.check_classes(place, run.taxonomy)  # type: ignore[arg-type]
    model = run.model()
    several = len(found) > 1
    default = run.path / ("external" if several else f"external_{found[0].name}")
    folder = report.make_output_folder(config["output"] or default)
    results = []
    for place in found:
        p = predict(model, run, place.dataset, settings.batch_size, place.name)
        one = files.Scored(
            place=place,
            numbers=compute.make(
                run.predictions, place.dataset.index, place.truth(model.taxonomy),
                p["fine"], p["coarse"], place.groups, settings, n_places=len(found),
            ),
            p_fine=p["fine"],
            p_coarse=p["coarse"],
            run=run,
            settings=settings,
            unchecked=note,
            command=config["command"],
        )  # fmt: skip
        own = report.make_output_folder(folder / place.name) if several else folder
        files.write(own, one)
        report.write(external_report.build(one), own)
        results.append(one)
    if several:
        files.write_all(folder, results)
        report.write(external_report.build_all(results), folder)
    return folder


def _check(settings, run):
    """Refuse settings that don't fit, before minutes of work."""
    subgroups.age_bands([], settings.age_bands)
    binary_tasks.chosen_class(settings.one_class, run.taxonomy)


def without_overlaps(
    found: Sequence[Place], run: FinishedRun, settings: Evaluate | Adapt
) -> tuple[list[Place], str]:
    """The places without photos of the run, and why that couldn't be checked, "" if it was."""
    photos, missing = overlap.photos_of_run(run, settings.run_data)
    if missing:
        note = (
            f"Copies of the run's photos were not looked for: its photos aren't there ({missing}); "
            f"name their folder with {found[0].section}.run_data"
        )
        log.warning("%s", note)
        return list(found), note
    seen = overlap.survey_of_run(photos)
    kept = [places.without_overlap(place, photos, seen) for place in found]
    for before, after in zip(found, kept):
        n = len(before.dataset.index)
        if said := overlap.sentence(after.overlap, n, after.name):
            log.warning("%s", said)
    return kept, ""


def predict(
    model: Any, run: FinishedRun, dataset: Dataset, batch_size: int, title: str
) -> dict[str, np.ndarray]:  # fmt: skip
    """Raw probabilities of a data set's photos, batch by batch, with a progress line."""
    from dermssl.inference import outputs

    photos = run.photos(dataset)
    batches = pipeline.evaluation_data(photos, batch_size, run.image_size)
    with progress.Progress(f"Predicting {title}", len(photos)) as shown:

        def counted():
            done = 0
            for batch in batches:
                done += len(batch)
                yield batch
                shown.reach(min(done, len(photos)))

        return outputs.predict_proba(model, counted())

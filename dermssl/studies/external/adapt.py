"""Adapt a run to another place's photos without labels, score it before and after, save it."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.core.study_settings import Adapt
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import class_map, pipeline
from dermssl.data.records import TEST, TRAIN, group_ids
from dermssl.data.splits import shuffled_groups
from dermssl.evaluation import calibrator, predictions
from dermssl.evaluation.calibrator import Calibrator
from dermssl.inference import finished_run, likeness
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import batchnorm, weights
from dermssl.reporting import report
from dermssl.studies.external import (
    adapt_report,
    adapt_scores,
    compute,
    further_pretraining,
    places,
)
from dermssl.studies.external.adapt_scores import BEFORE, FURTHER, NORM, Adaptation, Model
from dermssl.studies.external.places import Place
from dermssl.studies.external.run import predict, without_overlaps

KEPT = ("taxonomy.json", "history.csv", "config.toml")


def adapt_run(config: dict[str, Any], makers: further_pretraining.Makers) -> Path:
    """Adapt a finished run to photos of another place.

    Args:
        config: settings from `core.config.configure`; the seed deals the halves, and is that of
            the further pretraining.
        makers: the `run` functions of `dermssl.pretrain` and `dermssl.finetune`.

    Returns:
        Path of the adapted run's folder, with report.md, report.html, adaptation.json and
        adaptation.csv.

    Raises:
        UserError: too few photos, a network without BatchNorm, classes that can't be mapped, a
            folder that holds another run, or further pretraining without the run's photos.
    """
    settings: Adapt = config["adapt"]
    run = finished_run.load(settings.run, "finetune")
    taxonomy = run.taxonomy
    assert taxonomy is not None
    own = None
    if settings.pretrain_epochs:
        own = further_pretraining.own_dataset(run, settings.run_data)
    place = places.read(
        [settings.data], settings, taxonomy, run.data, section="adapt", labelled=False
    )[0]
    folder = Path(config["output"] or f"{str(run.path).rstrip('/')}_adapted_{place.name}")
    _check_output(folder, run, place, config)
    (place,), note = without_overlaps([place], run, settings)
    mine, rest = halves(place, settings.share, config["seed"])
    if len(mine) < batchnorm.FEWEST:
        raise UserError(
            f"adapt.data {place.path}: {len(mine)} photos to adapt to; BatchNorm statistics need "
            f"at least {batchnorm.FEWEST}: give more photos, or adapt.share 1"
        )
    model, scaling, further = run.model(), calibrator.of_run(run.predictions), None
    batchnorm.check(model.backbone)
    if own is not None:
        further = further_pretraining.train(run, own, place, mine, rest, folder, config, makers)
        model = run.model()  # Keras's session was cleared
    before = predict(model, run, place.dataset, settings.batch_size, f"{place.name}, before")
    order = np.random.Generator(np.random.Philox(key=config["seed"])).permutation(mine)
    batchnorm.adapt(model.backbone, _batches(run, place, order, settings.batch_size))
    after = predict(model, run, place.dataset, settings.batch_size, f"{place.name}, after")
    table, missing = _own_predictions(run, model, settings, TEST if further else None)
    moved = None if table is None else dataclasses.replace(run.predictions, table=table)
    models = {
        BEFORE: Model(before, run.predictions, run.predictions, scaling),
        NORM: Model(after, moved, run.predictions, scaling),
    }
    if further is not None:
        head, model = further.head, further.head.model()
        after = predict(model, run, place.dataset, settings.batch_size, f"{place.name}, pretrained")
        scaling, table = calibrator.of_run(head.predictions), head.predictions.table
        models[FURTHER] = Model(after, head.predictions, head.predictions, scaling)
    report.make_output_folder(folder)
    found = adapt_scores.compare(place, mine, rest, models, settings, taxonomy, further)
    found.notes.extend(text for text in (note, missing) if text)
    if table is None:
        table = _new_predictions(found, after, taxonomy)
    # Until the end it is no run: one that was killed before has neither its status nor old files.
    (folder / "status.json").unlink(missing_ok=True)
    runs.remove_derived(folder)  # reports on the model that was there
    if not settings.pretrain_epochs:
        shutil.rmtree(folder / further_pretraining.PRETRAINING, ignore_errors=True)
    atomic_files.remove_leftovers(folder)
    adapt_report.write(folder, found, run, settings, config["command"])
    save(folder, run, model, found, table, scaling, settings, _identity(run, place, config))
    return folder


def _check_output(folder, run, place, config):
    """Only the same adaptation, or nothing, is replaced; another one with overwrite alone."""
    if not (folder / "status.json").is_file():
        return
    adapted = runs.read_json(folder / "status.json").get("adapted")
    if not adapted:
        raise UserError(f"run.output {folder}: holds a run that was trained; choose another folder")
    wanted = _identity(run, place, config)
    other = [name for name, value in wanted.items() if adapted.get(name) != value]
    if other and not config.get("overwrite"):
        shown = ", ".join(
            f"{name} {adapted.get(name)} there, {wanted[name]} here" for name in other
        )
        raise UserError(
            f"run.output {folder}: holds another adaptation ({shown}); choose another folder, or "
            "set run.overwrite"
        )


def _identity(run, place, config):
    """What tells one adaptation from another, as status.json has it."""
    settings: Adapt = config["adapt"]
    return {
        "from": str(run.path), "to": place.path, "pretrain_epochs": settings.pretrain_epochs,
        "shares": settings.keep_shares, "share": settings.share, "seed": config["seed"],
    }  # fmt: skip


def halves(place: Place, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the photos to adapt to, and of those to score; no lesion is in both.

    Lesions or patients of each label are dealt by the seed. Those without any label are adapted
    to, all of them.

    Args:
        place: `Place`.
        share: of the lesions, to adapt to; 1 leaves none to score.
        seed: of the order.

    Returns:
        two int64 arrays, ascending.
    """
    index = place.dataset.index
    groups, labels = group_ids(index), class_map.labels(index).to_numpy(dtype=object)
    label: dict[str, str] = {}
    for group, name in zip(groups, labels):
        label[group] = max(label.get(group, ""), name)
    strata: dict[str, list[str]] = {}
    for group in sorted(label):
        strata.setdefault(label[group], []).append(group)
    unlabelled = set(strata.pop("", []))
    rng, to_score = np.random.Generator(np.random.Philox(key=seed)), set()
    for _, dealt in shuffled_groups(dict(sorted(strata.items())), rng):
        to_score |= set(dealt[round(share * len(dealt)) :])
    scored = np.array([group in to_score and group not in unlabelled for group in groups], bool)
    return np.flatnonzero(~scored), np.flatnonzero(scored)


def _batches(run, place, rows, batch_size):
    """Batches of some photos; the last isn't smaller than two, which have a variance."""
    part = place.dataset.with_index(place.dataset.index.iloc[rows])
    for batch in pipeline.evaluation_data(run.photos(part), batch_size, run.image_size):
        if len(batch) > 1:
            yield batch


def save(
    folder: Path,
    run: FinishedRun,
    model: Any,
    found: Adaptation,
    table: pd.DataFrame,
    scaling: Calibrator,
    settings: Adapt,
    identity: dict[str, Any],
) -> None:
    """Leave the adapted model as a run folder that predict and evaluate take.

    Its predictions.csv holds the run's own records, predicted anew, where its photos are at hand;
    else the new place's photos, those adapted to as "train" and the others as "test".

    Args:
        folder: to write into.
        run: the run that was adapted.
        model: `LesionClassifier`, adapted: that of `found.saved`.
        found: from `adapt_scores.compare`.
        table: its predictions.
        scaling: its calibration.
        settings: `study_settings.Adapt`.
        identity: what tells this adaptation from another, for status.json.
    """
    base = found.further.head if found.further else run
    for name in KEPT:
        if (base.path / name).is_file():
            shutil.copyfile(base.path / name, folder / name)
    with atomic_files.atomic_write(folder / weights.MODEL_FILE) as temporary:
        model.save(temporary)
    atomic_files.write_csv(folder / predictions.NAME, table)
    kept = scaling.as_dict()
    if settings.keep_shares:
        source = compute.source_shares(base.predictions, scaling)
        kept = _with_shares(scaling, source, found.shares[found.saved].sample).as_dict()
    atomic_files.write_json(folder / calibrator.NAME, kept)
    (folder / likeness.NAME).unlink(missing_ok=True)
    _leave_likeness(folder, run, model, found)
    said = (
        f"{scaling.sentence(calibrator.balanced_run(base.status))}, by {base.path.name}; then "
        f"corrected to class shares that were re-estimated without labels on {found.place.name}"
    )
    entry = {
        "adapted": {
            **identity, "photos": len(found.adapted_to), "arm": found.saved,
            "batchnorm": found.further is None, "probabilities": said,
        },
        "arm": f"{run.status.get('arm', '')}_adapted", "n_records": len(table),
    }  # fmt: skip
    atomic_files.write_json(folder / "status.json", {**base.status, **entry})
    # All of it is in the adapted run now; comparisons would take it for one more run.
    shutil.rmtree(folder / further_pretraining.HEAD, ignore_errors=True)


def _own_predictions(run, model, settings, split=None):
    """The run's own records predicted anew, and why not: (table or None, "" or a note)."""
    if split and not (run.records()["split"] == split).any():
        return None, ""
    try:
        dataset = run.dataset(split=split, moved=settings.run_data or None)
    except UserError as error:
        if settings.run_data:
            raise
        return None, (
            f"The run's own photos aren't there ({error}), so predictions.csv of the adapted run "
            "holds the new place's: it has no validation records to choose thresholds on."
        )
    p = predict(model, run, dataset, settings.batch_size, "the run's own photos")
    return predictions.table(dataset.index, p["fine"], p["coarse"], run.predictions.taxonomy), ""


def _new_predictions(found, after, taxonomy: Taxonomy) -> pd.DataFrame:
    index, truth = found.place.dataset.index, found.place.truth(taxonomy)
    split = np.full(len(index), TRAIN, dtype=object)
    split[found.scored] = TEST
    index = index.assign(
        fine=np.array([*taxonomy.fine, ""], dtype=object)[truth.fine],
        coarse=np.array([*taxonomy.coarse, ""], dtype=object)[truth.coarse],
        split=split,
    )
    return predictions.table(index, after["fine"], after["coarse"], taxonomy)


def _with_shares(scaling: Calibrator, source: np.ndarray, shares: np.ndarray) -> Calibrator:
    """The calibration with a further correction from `source` to `shares`, as one of its kind.

    P^(1/T) s^b q/p is P^(1/T) r^1 with r = s^b q/p, normalised.
    """
    level = scaling.fine
    offset = np.log(shares / source)
    if level.shares:
        offset = offset + level.prior_power * np.log(level.shares)
    ratio = np.exp(offset - offset.max())
    changed = dataclasses.replace(
        level, prior_power=1.0, shares=tuple((ratio / ratio.sum()).tolist())
    )
    return Calibrator(changed, scaling.coarse)


def _leave_likeness(folder, run, model, found):
    """What photos of the new place look like: two thirds of those adapted to, limits of a third."""
    index = found.place.dataset.index.iloc[found.adapted_to]
    third = pd.Series(group_ids(index)).factorize()[0] % 3 == 2
    kept = index.assign(split=np.where(third, "validation", TRAIN))
    likeness.leave(folder, model.backbone, found.place.dataset.with_index(kept), run.data)

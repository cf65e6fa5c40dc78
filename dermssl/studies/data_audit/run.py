"""Audit a data set and write what was found."""

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import cli, left_out
from dermssl.core import settings as core_settings
from dermssl.core.commands import COMMANDS
from dermssl.core.errors import UserError
from dermssl.data import (
    class_choice,
    decode,
    masks,
    near_pairs,
    not_photos,
    perceptual_hash,
    preprocess,
    readers,
    table_photos,
)
from dermssl.data.records import group_ids
from dermssl.inference import finished_run
from dermssl.reporting import report
from dermssl.studies.data_audit import audit, augmentation_sheet, suspects
from dermssl.studies.data_audit import report as data_report

log = logging.getLogger("dermssl")

BATCH = 64  # photos through the backbone at once
# A backbone to which more than MOST of the pairs are alike, by a cosine of ALIKE, tells nothing.
MOST, ALIKE = 0.25, 0.95
OUTPUT = COMMANDS["check_data"].output


def audit_data(config: dict[str, Any]) -> Path:
    """Audit a data set and write what was found.

    Args:
        config: settings from `core.config.configure`. `data.on_bad` is not asked: bad photos are
            listed.

    Returns:
        Path of the folder: check_data.json, duplicates.csv, crossing.csv, photos.csv, report.md,
        report.html and the pictures; or of the picture that was asked for.

    Raises:
        UserError: no data set there, or no readable photo in it.
    """
    data, settings = config["data"], config["check_data"]
    if settings.show_augmentations:
        return show_augmentations(config, settings.show_augmentations)
    if settings.run:
        cli.quiet_tensorflow()
    dataset, notes = _read(data)
    finished = _finished(settings.run) if settings.run else None
    folder = report.make_output_folder(config["output"] or OUTPUT)
    seen = perceptual_hash.survey(dataset.files)
    readable = (seen.table["error"] == "").to_numpy()
    if not readable.any():
        raise UserError(
            f"data.path {data.path}: none of {len(readable)} images is readable; "
            f"the first: {seen.table['error'].iloc[0]}"
        )
    # As for training: without the photos that can't be read.
    whole = dataset.with_index(dataset.index[readable])
    dealt = (data.validation, data.test, data.split_seed, data.group_by)
    good, splits_from = audit.with_splits(whole, *dealt)
    refused, bad_masks = audit.refusal(whole, *dealt), _bad_masks(whole)
    notes.lines.extend([] if refused else _class_notes(good))
    split = np.full(len(readable), "", dtype=object)
    split[readable] = good.index["split"]
    dataset = dataset.with_index(dataset.index.assign(split=split))
    features, alike = None, 0.0
    if finished:
        vectors = _embed(finished, dataset.with_index(dataset.index[readable]))
        features = np.zeros((len(readable), vectors.shape[1]), np.float32)
        features[readable] = vectors
        alike = near_pairs.share_alike(vectors, max(settings.similarity, ALIKE))
        if alike > MOST:  # such embeddings say nothing of pairs, labels and topics
            features = None
    found = audit.audit(dataset.index, seen, settings.near, features, settings.similarity)
    details = {
        "data": str(data.path), "near_bits": settings.near, "bits": perceptual_hash.BITS,
        "run": settings.run or None, "indistinct": alike if alike > MOST else None,
        "similarity": settings.similarity if settings.run else None,
        "splits": cli.with_flags(splits_from), "command": config["command"],
        "notes": [cli.with_flags(line) for line in notes.lines], "refused": cli.with_flags(refused),
        "missing": [row._asdict() for row in notes.missing], "bad_masks": bad_masks,
        "left_out": [row._asdict() for row in notes.rows if _like_a_photo(row.reason)],
    }  # fmt: skip
    suspected = None
    if settings.suspects:
        groups = group_ids(dataset.index, data.group_by)
        suspected = suspects.find(dataset, seen.table, features, groups, settings.suspects)
        suspects.draw(folder, dataset, suspected)
        details["trained_on_labels"] = finished is not None and finished.command == "finetune"
    data_report.write(folder, found, dataset, details, suspected)
    return folder


def _read(data):
    """The data set, and what its reader left out, as of `left_out.collected`."""
    with left_out.collected() as notes:
        # A missing photo is a finding here, not the end.
        dataset = readers.read(dataclasses.replace(data, on_bad="skip"))
    return dataset, notes


def _like_a_photo(reason):
    """Whether a file that was left out for a reason is a photo, as far as one can tell."""
    return not_photos.is_picture(reason) or reason.startswith(table_photos.NO_ROW)


def _class_notes(dataset):
    """What there is to say of the classes: too few lesions, one alone, a taxonomy that fits."""
    if dataset.taxonomy is None:
        return []
    with left_out.collected() as notes:
        class_choice.tell_taxonomy(dataset.taxonomy)
        if len(dataset.taxonomy.fine) < 2:
            name = dataset.taxonomy.fine[0]
            log.warning("one class only, %s: fine-tuning needs two or more", name)
        else:
            class_choice.choose(dataset, core_settings.Finetune())
    return notes.lines


def _bad_masks(dataset):
    """A message for each mask that a run would refuse."""
    if dataset.mask_files is None:
        return []
    return masks.usable(dataset.files, dataset.mask_files, "skip", "")[1]


def _finished(path):
    """The run whose backbone embeds the photos."""
    run = finished_run.load(path)
    if run.command not in finished_run.NEEDED:
        kinds = " or ".join(finished_run.NEEDED)
        raise UserError(
            f"check_data.run {path}: a run of dermssl.{run.command}; give one of {kinds}"
        )
    return run


def _embed(run, dataset):
    """float32 (n, d): the embeddings of readable photos, seen as the run saw its own."""
    from dermssl.data import pipeline
    from dermssl.inference import outputs

    if preprocess.CROP in run.data.preprocess:  # nothing else here looks at masks
        dataset = masks.verified(dataset, "skip", "")
    images = pipeline.evaluation_data(run.photos(dataset), BATCH, run.image_size)
    return outputs.embed(run.backbone(), images)


def show_augmentations(config: dict[str, Any], path: str) -> Path:
    """Write a picture of what each augmentation does to some photos of the data set."""
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"check_data.show_augmentations {path}: give the name of a .png file")
    dataset, _ = _read(config["data"])
    if os.path.exists(path) and os.path.realpath(path) in map(os.path.realpath, dataset.files):
        raise UserError(
            f"check_data.show_augmentations {path}: a photo of the data set, which would be lost; "
            "give another name"
        )
    good: list[str] = []
    files = iter(dataset.files)
    while len(good) < augmentation_sheet.COLUMNS and (file := next(files, None)):
        if not decode.verify_all([file]):
            good.append(file)
    if not good:
        raise UserError(f"data.path {config['data'].path}: no readable photo to show")
    augmentation_sheet.write(path, good, seed=config["seed"])
    return Path(path)

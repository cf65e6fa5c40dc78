"""The flow of exclusions: from the photos in the folder to those in each split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core.errors import UserError
from dermssl.data import decode, masks, paths, photo_bytes, readers, same_files, splits
from dermssl.data.records import SPLITS, TRAIN, data_hash, is_labelled
from dermssl.inference.finished_run import FinishedRun

NOTE = "the photos' folder could not be read, so the flow begins with the run's records"


def trace(run: FinishedRun, moved: str = "") -> dict[str, Any]:
    """Count photos at each step of a run.

    Args:
        run: a finished fine-tuning run.
        moved: the data folder now, if it isn't where the run found it.

    Returns:
        dict: found, without_row, unreadable, records, same_bytes, data_unchanged (each None where
        the folder can't be read), unlabelled, in_splits, labelled_in_splits, labels_trained_on,
        labels_held_back, left_out_rare_classes, note.
    """
    table = run.records()
    labelled = is_labelled(table)
    split = table["split"].to_numpy()
    settings = run.settings["finetune"]
    in_splits = {name: int((split == name).sum()) for name in SPLITS}
    own = {name: int(((split == name) & labelled).sum()) for name in SPLITS}
    numbers: dict[str, Any] = {
        **_folder(run, moved),
        "records_in_predictions": len(table),
        "unlabelled": int((~labelled).sum()),
        "in_splits": in_splits,
        "labelled_in_splits": own,
        "labels_trained_on": run.status.get("n_labels"),
        "labels_held_back": None,
        # A class with fewer lesions than splits stops a run; none is left out quietly.
        "left_out_rare_classes": 0,
        "all_records_predicted": settings.predict == "all",
    }
    if settings.predict == "all" and numbers["labels_trained_on"] is not None:
        numbers["labels_held_back"] = max(0, own[TRAIN] - numbers["labels_trained_on"])
    return numbers


def _folder(run, moved):
    """What is in the data folder now; None for each where it can't be read."""
    data = dataclasses.replace(run.data, on_bad="skip")
    if moved:
        data = dataclasses.replace(data, path=moved)
    keys = ("found", "without_row", "unreadable", "same_bytes", "data_unchanged")
    nothing = dict.fromkeys(keys)
    if not Path(data.path).expanduser().is_dir():
        return {**nothing, "note": NOTE}
    try:
        root = paths.existing_folder(data.path, "data.path")
        photos = masks.photos_in(root, strict=False)
        dataset = readers.read(data)
    except UserError as error:
        return {**nothing, "note": f"{NOTE} ({error})"}
    files = dataset.files
    bad = {path for path, _ in decode.verify_all(files)}
    good = dataset.with_index(dataset.index[[path not in bad for path in files]])
    read = {str(root / path) for path in photos}
    return {
        "found": len(read | set(files)),
        "without_row": len(read - set(files)),
        "unreadable": len(bad),
        "same_bytes": int(np.sum(_copies(good.files))),
        "data_unchanged": _unchanged(good, run),
        "note": "",
    }


def _copies(files):
    """bool list: whether each file holds the bytes of an earlier one."""
    by_size: dict[int, list[str]] = {}
    copied = []
    for file in files:
        earlier = by_size.setdefault(photo_bytes.stored(file).size, [])
        copied.append(bool(earlier) and same_files.find_identical_files([file], earlier)[0])
        earlier.append(file)
    return copied


def _unchanged(dataset, run):
    """Whether the folder holds what the run was made with, by its data hash; None: can't tell."""
    data = run.data
    try:
        made = splits.assign(dataset, data.validation, data.test, data.split_seed, data.group_by)
        return data_hash(made) == run.status.get("data_hash")
    except (UserError, OSError):
        return None


def lines(numbers: dict[str, Any]) -> list[str]:
    """The flow in words, a step a line."""
    steps = []
    if numbers["found"] is not None:
        steps += [
            f"{numbers['found']:,} photos found",
            f"{numbers['without_row']:,} without a row in the table, left out",
            f"{numbers['unreadable']:,} unreadable, left out",
            f"{numbers['same_bytes']:,} the same file as another one, kept "
            "(check_data looks for near duplicates, too)",
        ]
    else:
        steps.append(numbers["note"])
    steps.append(f"{numbers['left_out_rare_classes']:,} left out for a rare class")
    steps.append(
        f"{numbers['records_in_predictions']:,} records in the run's predictions, "
        f"{numbers['unlabelled']:,} of them without a label"
    )
    for name in SPLITS:
        if name == TRAIN and not numbers["all_records_predicted"]:
            continue
        steps.append(
            f"{name}: {numbers['in_splits'][name]:,} photos, "
            f"{numbers['labelled_in_splits'][name]:,} labelled"
        )
    if numbers["labels_trained_on"] is not None:
        text = f"{numbers['labels_trained_on']:,} labels were used in training"
        if numbers["labels_held_back"]:
            text += f", {numbers['labels_held_back']:,} were held back on purpose"
        steps.append(text)
    return steps

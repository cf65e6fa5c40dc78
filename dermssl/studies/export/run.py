"""Export the network of a finished run, check the file, and say what it needs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import atomic_files, cli, file_locks, runs
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.study_settings import Export
from dermssl.data.augmentation import opencv
from dermssl.data.records import TEST, TRAIN, VALIDATION
from dermssl.evaluation import calibrator
from dermssl.inference import finished_run, new_photos
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import backbones, weights
from dermssl.models.classifier import LesionClassifier
from dermssl.models.probability_model import Scaling, probability_model
from dermssl.reporting import report, wording
from dermssl.studies.export import check, formats, labels
from dermssl.studies.export import report as page

CALIBRATION_PHOTOS = 200  # for the ranges of int8
TEMPORARY, LOCK = ".tmp_export_", "lock"


def export(config: dict[str, Any]) -> Path:
    """Export a finished fine-tuning run.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        Path of the folder: the file (or folder) of the format, labels.json, export.md and
        export.html.

    Raises:
        UserError: no finished fine-tuning run; a format that can't be written here, or without
            that quantization; photos that aren't there; another export in the folder.
        RunFailed: the file can't be used, or its probabilities aren't the run's.
    """
    settings: Export = config["export"]
    entry = formats.chosen(settings.format, settings.quantize)
    run = finished_run.load(settings.run, "finetune")
    _check_prepared(run, settings)
    identity = labels.identity(run, settings)
    folder = Path(config["output"] or run.path / _default_name(settings))
    _check_output(folder, entry.file, identity, config["overwrite"])
    rows, described = _rows(run, settings.max_photos)
    photos = _squares(run, rows, settings.data)
    ranges, notes = photos[:0], []
    if settings.quantize == "int8":
        split, others = _calibration_rows(run)
        ranges = _squares(run, others, settings.data)
        notes = [f"int8 was calibrated on {wording.count(len(others), f'{split} photo')}."]
    model, scaling = _in_float32(run), calibrator.of_folder(run.path)
    own = check.of_run(model, scaling, photos)
    leaving = probability_model(
        model, _scaling(scaling.fine), _scaling(scaling.coarse) if scaling.coarse else None
    )
    report.make_output_folder(folder)
    _remove_leftovers(folder)
    with _scratch(folder) as scratch:
        file = scratch / entry.file
        with cli.quiet_stderr():  # converters log every step
            entry.write(leaving, file, settings.quantize, ranges)
        checked = check.compare(
            own,
            check.of_file(settings.format, file, photos),
            file,
            run.path / weights.MODEL_FILE,
        )
        # A NaN is no agreement either.
        if settings.quantize == "none" and not checked.difference <= check.LARGEST:
            raise RunFailed(
                f"{entry.title}: probabilities differ from the run's by up to "
                f"{checked.difference:.2g} on {wording.count(checked.n, 'photo')}, more than the "
                f"{check.LARGEST:g} of rounding; nothing was exported"
            )
        content = labels.make(run, settings, scaling, entry, new_photos.calibration(run.path))
        content |= {
            "checked": dataclasses.asdict(checked),
            "checked_on": described,
            "notes": notes + _notes(run, rows, own, scaling),
        }
        atomic_files.write_json(scratch / labels.NAME, content)
        report.write(page.build(run, content, entry, config["command"]), scratch, page.NAME)
        _remove_old(folder, entry.file)
        # The labels first: they say whose folder this is, so that after a kill the same command
        # does it all again. The file last: where it is, the export is whole.
        for name in (labels.NAME, f"{page.NAME}.md", f"{page.NAME}.html", entry.file):
            os.replace(scratch / name, folder / name)
    return folder


def _default_name(settings):
    ending = "" if settings.quantize == "none" else f"_{settings.quantize}"
    return f"export_{settings.format}{ending}"


def _check_prepared(run: FinishedRun, settings: Export) -> None:
    """Refuse a run whose photos were changed by OpenCV first, unless who exports knows."""
    if run.data.preprocess and not settings.prepared:
        raise UserError(
            f"{run.path}: it learnt from photos after data.preprocess "
            f"{' '.join(run.data.preprocess)}, which no exported file holds; export.prepared "
            "exports it for photos that have been prepared so"
        )


def _check_output(folder, file, identity, overwrite):
    """Refuse a folder with a run, always; one with another export, unless run.overwrite is set."""
    if (folder / "status.json").exists():
        raise UserError(f"run.output {folder}: holds a run; choose another folder")
    if overwrite:
        return
    way_out = "choose another folder, or set run.overwrite"
    if (folder / labels.NAME).is_file():
        there = runs.read_json(folder / labels.NAME)
        other = [name for name, value in identity.items() if there.get(name) != value]
        shown = "; ".join(
            f"{name}: {there.get(name)} there, {identity[name]} now" for name in other
        )
        if other:
            raise UserError(f"run.output {folder}: holds another export ({shown}); {way_out}")
    elif (folder / file).exists():
        raise UserError(f"run.output {folder}: holds a {file} already; {way_out}")


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A temporary folder below another one, locked while it is in use, if locks are to be had."""
    with (
        tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as scratch,
        open(Path(scratch, LOCK), "w") as lock,
    ):
        with contextlib.suppress(OSError):
            file_locks.lock(lock, wait=False)
        yield Path(scratch)


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary folders of exports that were killed; one at work holds its lock."""
    for left in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError), open(left / LOCK, "a") as lock:
            file_locks.lock(lock, wait=False)
            shutil.rmtree(left, ignore_errors=True)


def _remove_old(folder, file):
    """Remove the files that another export left there, or the same one before."""
    old = {file}
    if (folder / labels.NAME).is_file():
        old |= {entry.file for entry in formats.FORMATS.values()}
    for path in (folder / name for name in old):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _chosen(table, most):
    """At most so many rows of a table, spread evenly over the classes."""
    rows = finished_run.stratified_subset(table["fine"], most)
    return table.iloc[rows].reset_index(drop=True)


def _rows(run, most):
    """The rows of predictions.csv that the file is checked on, and what they are in words."""
    table, kind = run.records(TEST), "test photo"
    if table.empty:
        table, kind = run.records(), "photo"  # such as a run that was adapted to another place
    rows = _chosen(table, most)
    words = wording.count(len(rows), kind)
    if table["split"].eq(TEST).all() and len(rows) == len(table):
        words = f"{wording.count(len(rows), 'photo')}, all that the run was tested on"
    return rows, words


def _calibration_rows(run):
    """The split and the rows of the photos on which int8 is calibrated; never test photos."""
    for split in (TRAIN, VALIDATION):  # some runs predict the held-out photos alone
        table = run.records(split)
        if len(table):
            return split, _chosen(table, CALIBRATION_PHOTOS)
    raise UserError(
        f"export.quantize int8: {run.path} predicted no training or validation photo to calibrate "
        "on; use float16"
    )


def _squares(run, rows, moved):
    """uint8 (n, size, size, 3), as the run sees these photos."""
    photos = run.photos(run.dataset(rows, moved=moved))
    return np.stack([opencv.center_square(photos[k], run.image_size) for k in range(len(photos))])


def _in_float32(run: FinishedRun) -> LesionClassifier:
    """The classifier of a run; one of mixed precision with its weights in a float32 network."""
    model, backbone = run.model(), run.settings["backbone"]
    if backbone.precision == "float32":
        return model
    whole = dataclasses.replace(backbone, weights="none", precision="float32")
    backbones.use_precision(whole)
    twin = LesionClassifier(backbones.build(whole), model.taxonomy, model.head)
    twin.set_weights(model.get_weights())
    return twin


def _scaling(level):
    return Scaling(level.temperature, level.offset)


def _notes(run, rows, own, scaling):
    """What to know of the check."""
    notes = []
    if set(rows["split"]) != {TEST}:
        notes.append("The run has no test photos; the file was checked on photos of other splits.")
    if run.settings["backbone"].precision != "float32":
        notes.append("The run computed in mixed precision; the file, and the run here, in float32.")
    columns = [f"p_fine_{name}" for name in run.predictions.taxonomy.fine]
    kept = scaling.fine.apply(rows[columns].to_numpy(np.float64))
    return notes + wording.changed(float(np.abs(kept - own.fine).max()))

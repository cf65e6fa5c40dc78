"""Predict photos of which nothing is known, batch by batch."""

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import left_out, runs, threads
from dermssl.core.errors import UserError
from dermssl.data.augmentation import opencv
from dermssl.data.decode import BadImage
from dermssl.data.photos import Photos
from dermssl.evaluation import binary_tasks, calibrator, conformal, predictions, validate
from dermssl.inference import likeness, outputs
from dermssl.inference.finished_run import FinishedRun

log = logging.getLogger("dermssl")


def calibrator_of(folder: Path | str, calibrated: bool) -> calibrator.Calibrator | None:
    """The run's `calibrator.Calibrator`, or None for raw probabilities."""
    return calibrator.of_folder(folder) if calibrated else None


def sets_of(folder: Path | str, level: float) -> conformal.ClassThresholds | None:
    """The thresholds of conformal sets from a run's validation records; None for a level of 0.

    Raises:
        UserError: the run has no labelled validation record.
    """
    if not level:
        return None
    found = conformal.of_run(predictions.read(folder), level)
    if not found:
        raise UserError(
            f"predict.coverage {level}: {folder} has no labelled validation record to calibrate "
            "sets on; predict without it"
        )
    return found


def calibration(folder: Path | str, calibrated: bool = True) -> str:
    """What is done to the probabilities, and how to read them, in one line."""
    balanced = calibrator.balanced_run(runs.read_json(Path(folder) / "status.json"))
    scaling = calibrator_of(folder, calibrated)
    adapted = runs.read_json(Path(folder) / "status.json").get("adapted") or {}
    if scaling and adapted.get("shares"):
        said = adapted["probabilities"]
        advice = "where those shares are wrong, so are the probabilities: see its report.md"
    elif scaling:
        said, advice = scaling.sentence(balanced), scaling.advice(balanced)
    else:
        said = "raw, as asked for by predict.uncalibrated"
        advice = calibrator.BALANCED if balanced else ""
    return f"probabilities: {said}{f'. Note: {advice}' if advice else ''}"


def tables(
    finished: FinishedRun,
    files: Sequence[str],
    masks: list[str] | None,
    batch_size: int,
    scaling: calibrator.Calibrator | None,
    sets: conformal.ClassThresholds | None = None,
    bad: list[tuple[str, str]] | None = None,
    folder: Path | str = "",
) -> Iterator[pd.DataFrame]:
    """A table for each batch: path, the likeliest classes, their sets, every probability, likeness.

    The last two columns, `unlike_run` and `distance_to_run`, are those of `likeness.Reference`,
    "n/a" where the run has none. Lines in the log say how many photos are unlike, and of how many
    the fine class named isn't of the coarse class named.

    Args:
        finished: `FinishedRun` of a classifier.
        files: photos, each read once.
        masks: the mask of each, "" for none; None where the run doesn't crop by them.
        batch_size: photos through the network at once.
        scaling: what is done to the probabilities, None for nothing.
        sets: thresholds of the conformal sets, None for no sets.
        bad: gets (file, why) of each photo that can't be read, which has no row then; None where
            the first such photo is an error.
        folder: `path` in the table is relative to it; "" leaves the path whole.
    """
    model, size = finished.model(), finished.image_size
    taxonomy = model.taxonomy
    reference, missing = likeness.of_run(finished, model.backbone)
    unlike: list[str] = []
    n = apart = 0  # photos, and those of which the two classes named don't go together
    photos = Photos(files, size, 0, finished.data.preprocess, masks, strict=True)
    for rows, batch in _readable(photos, batch_size, size, bad):
        p_fine, p_coarse, h = outputs.predict_and_embed(model, [batch]).values()
        paths = [files[row] for row in rows]
        named = {
            "fine": np.array(taxonomy.fine)[p_fine.argmax(axis=1)],
            "coarse": np.array(taxonomy.coarse)[p_coarse.argmax(axis=1)],
        }
        n, apart = n + len(paths), apart + _apart(p_fine, p_coarse, taxonomy)
        if sets:  # of the raw probabilities, on which they were calibrated
            named["conformal_set"] = [
                " ".join(np.array(taxonomy.fine)[row]) for row in sets.sets(p_fine)
            ]
        if scaling:
            p_fine, p_coarse = scaling.apply(p_fine, p_coarse, taxonomy)
        columns = {
            "path": [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
            if folder
            else paths,
            **named,
            "most_probable_fine": np.array(taxonomy.fine)[p_fine.argmax(axis=1)],
            "most_probable_coarse": np.array(taxonomy.coarse)[p_coarse.argmax(axis=1)],
            **_applied(scaling, model.head),
        }
        columns |= {f"p_fine_{name}": p_fine[:, k] for k, name in enumerate(taxonomy.fine)}
        columns |= {f"p_coarse_{name}": p_coarse[:, k] for k, name in enumerate(taxonomy.coarse)}
        if binary_tasks.has_malignancy(taxonomy):
            columns["p_malignant"] = binary_tasks.p_malignant(
                validate.probabilities(p_fine, "p_fine"), taxonomy
            )
        table = pd.DataFrame(columns)
        if reference:
            sizes = likeness.sizes_of(paths)
            table = table.join(reference.check(h, likeness.colours(batch), sizes))
            unlike += table["unlike_run"].tolist()
        else:
            table = table.assign(unlike_run="n/a", distance_to_run="n/a")
        yield table
    if apart:
        line = (
            f"of {apart:,} of {n:,} photos the class in 'fine' is of another group than the one in "
            "'coarse': take these as undecided"
        )
        left_out.tell(log, line, kind=left_out.REMARK)
    if reference is None:
        log.warning("likeness to the run's photos not checked: %s", missing)
    elif said := reference.sentence(unlike):
        log.warning("%s", said)


def _apart(p_fine, p_coarse, taxonomy):
    """How many photos are called a fine class of another coarse one than they are called."""
    return int((taxonomy.parent_index[p_fine.argmax(axis=1)] != p_coarse.argmax(axis=1)).sum())


def _readable(photos, batch_size, size, bad):
    """Batches of the photos that can be read: (their numbers, uint8 (b, size, size, 3))."""

    def square(number):
        try:
            return number, opencv.center_square(photos[number], size), ""
        except BadImage as error:
            if bad is None:
                raise
            return number, None, str(error)

    def readable():
        # While the network works on a batch, the next one is read.
        workers = os.cpu_count() or 1
        work = threads.map_in_order(square, range(len(photos)), workers, 2 * batch_size)
        for number, image, why in work:
            if image is None:
                bad.append((photos.files[number], why))
            else:
                yield number, image

    images = readable()
    while batch := list(itertools.islice(images, batch_size)):
        rows, squares = zip(*batch)
        yield rows, np.stack(squares)


def _applied(scaling, head):
    """The columns that say what was done to the probabilities."""
    done = {"": scaling and scaling.fine}
    if head == "independent":
        done["_coarse"] = scaling and scaling.coarse
    found = {}
    for end, level in done.items():
        found[f"temperature{end}"] = level.temperature if level else 1.0
        found[f"prior_power{end}"] = level.prior_power if level else 0.0
    return found

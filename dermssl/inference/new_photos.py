"""Predict photos of which nothing is known, batch by batch."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dermssl.core import left_out, runs, threads
from dermssl.core.errors import UserError
from dermssl.data.augmentation import opencv
from dermssl.data.decode import BadImage
from dermssl.data.photos import Photos
from dermssl.data.records import VALIDATION
from dermssl.evaluation import (
    binary_tasks,
    calibrator,
    conformal,
    predictions,
    selective,
    validate,
)
from dermssl.inference import likeness, outputs
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import grad_cam

if TYPE_CHECKING:
    from dermssl.models.classifier import LesionClassifier

# In this order, joined by "; ".
REMARKS = ("not confident", "not like the training photos", "fine and coarse disagree")

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


@dataclass(frozen=True, eq=False)
class Answers:
    """What a run says of some photos.

    Attributes:
        table: DataFrame, a row a photo.
        p_fine, p_coarse: float64, raw probabilities.
        heat_maps: float32 (n, h, w), of the class in `fine`; None where nobody asked.
        nearest: of each photo the `likeness.Neighbour`s.
    """

    table: pd.DataFrame
    p_fine: np.ndarray
    p_coarse: np.ndarray
    heat_maps: np.ndarray | None
    nearest: list[list[likeness.Neighbour]]


@dataclass(frozen=True, eq=False)
class Predictor:
    """A run's network with what its answers are read by. `predictor` makes one.

    Attributes:
        model: `LesionClassifier`.
        scaling: what is done to the probabilities, None for nothing.
        sets: thresholds of the conformal sets, None for no sets.
        limit: the confidence below which a photo is "not confident"; None where validation can't
            say.
        reference: what the run's photos look like, or None.
        missing: why there is no reference.
    """

    model: LesionClassifier
    scaling: calibrator.Calibrator | None
    sets: conformal.ClassThresholds | None
    limit: selective.ConfidenceLimit | None
    reference: likeness.Reference | None
    missing: str

    def answers(
        self, paths: Sequence[str], images: np.ndarray, sizes: np.ndarray, explain: bool = False
    ) -> Answers:
        """What the run says of some photos.

        Args:
            paths: str (n,), for the column `path`.
            images: uint8 (n, size, size, 3) RGB, the network's input.
            sizes: float (n, 2), width and height of the photos, px.
            explain: give heat maps as well.
        """
        raw = outputs.predict_and_embed(self.model, [images], explain)
        p_fine, p_coarse, taxonomy = raw["fine"], raw["coarse"], self.model.taxonomy
        fine, coarse = np.array(taxonomy.fine), np.array(taxonomy.coarse)
        fine_named, coarse_named = p_fine.argmax(axis=1), p_coarse.argmax(axis=1)
        columns: dict[str, Any] = {
            "path": list(paths),
            "fine": fine[fine_named],
            "coarse": coarse[coarse_named],
        }
        # Sets are of the raw probabilities, on which they were calibrated.
        sets = self.sets.sets(p_fine) if self.sets else None
        if sets is not None:
            columns["conformal_set"] = [" ".join(fine[row]) for row in sets]
        given = p_fine, p_coarse
        if self.scaling:
            given = self.scaling.apply(p_fine, p_coarse, taxonomy)
        columns |= {
            "most_probable_fine": fine[given[0].argmax(axis=1)],
            "most_probable_coarse": coarse[given[1].argmax(axis=1)],
            **_applied(self.scaling, self.model.head),
        }
        columns |= {f"p_fine_{name}": given[0][:, k] for k, name in enumerate(fine)}
        columns |= {f"p_coarse_{name}": given[1][:, k] for k, name in enumerate(coarse)}
        if binary_tasks.has_malignancy(taxonomy):
            columns["p_malignant"] = binary_tasks.p_malignant(
                validate.probabilities(given[0], "p_fine"), taxonomy
            )
        table = pd.DataFrame(columns)
        nearest: list[list[likeness.Neighbour]] = [[] for _ in paths]
        if self.reference:
            seen = likeness.colours(images)
            table = table.join(self.reference.check(raw["embedding"], seen, sizes))
            nearest = self.reference.nearest(raw["embedding"])
        else:
            table = table.assign(unlike_run="n/a", distance_to_run="n/a")
        unsure = self._unsure(sets, given[0])
        unlike = ~table["unlike_run"].isin(("", "n/a")).to_numpy()
        table["nearest_training"] = ["; ".join(map(str, found)) or "n/a" for found in nearest]
        table["remark"] = [
            "; ".join(word for word, true in zip(REMARKS, row) if true)
            for row in zip(unsure, unlike, taxonomy.parent_index[fine_named] != coarse_named)
        ]
        return Answers(table, p_fine, p_coarse, raw.get("heat_map"), nearest)

    def _unsure(self, sets, p_fine):
        """bool (n,): "not confident", by the sets where there are some."""
        if sets is not None:
            return sets.sum(axis=1) != 1
        if self.limit is None:
            return np.zeros(len(p_fine), dtype=bool)
        return p_fine.max(axis=1) < self.limit.lowest

    @property
    def unsure(self) -> str:
        """When a photo is "not confident", in half a line."""
        if self.sets:
            text = f"the set of classes at {self.sets.level:.3g} holds several or none"
            if always := int(self.sets.has_none.sum()):
                text += f"; {always} classes, of too few validation lesions, are in every set"
            return text
        if self.limit is None:
            return f"not judged: fewer than {selective.FEWEST} labelled validation photos"
        return str(self.limit)


def predictor(
    finished: FinishedRun,
    scaling: calibrator.Calibrator | None,
    sets: conformal.ClassThresholds | None = None,
) -> Predictor:
    """The `Predictor` of a run.

    Args:
        finished: `FinishedRun` of a classifier.
        scaling: what is done to the probabilities, None for nothing.
        sets: thresholds of the conformal sets, None for no sets.
    """
    model = finished.model()
    reference, missing = likeness.of_run(finished, model.backbone)
    limit = None if sets else _limit(finished.predictions, scaling)
    return Predictor(model, scaling, sets, limit, reference, missing)


def _limit(run, scaling):
    """The run's `ConfidenceLimit`: of the probabilities as they are given, on validation."""
    if not (run.table["split"] == VALIDATION).any():
        return None
    arrays = run.arrays(VALIDATION)
    wrong = (arrays.p_fine.argmax(axis=1) != arrays.y).astype(float)
    p_fine = arrays.p_fine
    if scaling:
        p_fine, _ = scaling.apply(p_fine, arrays.p_coarse, run.taxonomy)
    return selective.confidence_limit(np.where(arrays.y >= 0, wrong, np.nan), p_fine.max(axis=1))


def tables(
    finished: FinishedRun,
    files: Sequence[str],
    masks: list[str] | None,
    batch_size: int,
    scaling: calibrator.Calibrator | None,
    sets: conformal.ClassThresholds | None = None,
    bad: list[tuple[str, str]] | None = None,
    folder: Path | str = "",
    draw: Callable[[list[str], np.ndarray, np.ndarray], list[str]] | None = None,
) -> Iterator[pd.DataFrame]:
    """A table for each batch: path, the likeliest classes, their sets, every probability, likeness.

    Then come `unlike_run` and `distance_to_run` of `likeness.Reference`, `nearest_training`, the
    nearest training lesions as of `likeness.Neighbour`, "n/a" where the run has none, and
    `remark`, those of `REMARKS` that hold. Lines in the log say how many photos are unlike, of how
    many the run isn't confident, and of how many the fine class named isn't of the coarse class
    named.

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
        draw: gets paths, photos uint8 (b, size, size, 3) and heat maps (b, h, w) of a batch and
            returns a text a photo, for the column `heat_map`; None for none.
    """
    found, size = predictor(finished, scaling, sets), finished.image_size
    if draw:
        grad_cam.spatial(found.model)  # an error before any work
    unlike: list[str] = []
    n = apart = unsure = 0  # photos; the two classes named don't go together; not confident
    photos = Photos(files, size, 0, finished.data.preprocess, masks, strict=True)
    for rows, batch in _readable(photos, batch_size, size, bad):
        paths = [files[row] for row in rows]
        if folder:
            paths = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
        sizes = likeness.sizes_of(files[row] for row in rows)
        answers = found.answers(paths, batch, sizes, explain=draw is not None)
        table = answers.table
        n += len(paths)
        unsure += int(table["remark"].str.contains(REMARKS[0]).sum())
        apart += int(table["remark"].str.contains(REMARKS[2]).sum())
        unlike += table["unlike_run"].tolist()
        if draw and answers.heat_maps is not None:
            table["heat_map"] = draw(paths, batch, answers.heat_maps)
        yield table
    if apart:
        line = (
            f"of {apart:,} of {n:,} photos the class in 'fine' is of another group than the one in "
            "'coarse': take these as undecided"
        )
        left_out.tell(log, line, kind=left_out.REMARK)
    if unsure or not (found.sets or found.limit):
        line = f"not confident of {unsure:,} of {n:,} photos (column remark): {found.unsure}"
        left_out.tell(log, line, kind=left_out.REMARK)
    if found.reference is None:
        log.warning("likeness to the run's photos not checked: %s", found.missing)
        return
    if said := found.reference.sentence(unlike):
        log.warning("%s", said)
    if not len(found.reference.records):
        log.warning("%s", likeness.WITHOUT_RECORDS.format(finished.path / likeness.NAME))


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
        numbers = range(len(photos))
        work = threads.map_in_order(square, numbers, threads.cores(), 2 * batch_size)
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

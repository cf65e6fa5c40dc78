"""Answer one photo that is given as bytes: classes, probabilities, remarks, pictures.

The numbers are those that `dermssl.predict` writes of the same file. Nothing is written to disk.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dermssl.core import cli, runs
from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import decode, heat_overlay, lesion_inpainting, photos, preprocess
from dermssl.data.augmentation import opencv
from dermssl.inference import finished_run, likeness, new_photos
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import grad_cam, weights
from dermssl.reporting import html_parts

NOTICE = "Research software: not for diagnosis."
NAME = "photo"  # what a photo is called here: the name of its file is nobody's business
SMALL = 160  # px, of a similar lesion's picture

log = logging.getLogger("dermssl")


@dataclass(frozen=True)
class Probabilities:
    """Calibrated probabilities at both levels, by class."""

    fine: dict[str, float]
    coarse: dict[str, float]


@dataclass(frozen=True)
class Similar:
    """A training lesion with a near embedding.

    Attributes:
        fine: its class, "" where it has no label.
        distance: of the embeddings; 1 is the limit of `distance_to_run`.
        path: of its photo in the run's tables; "" where the port is open to other machines.
        photo: small picture as a `data:` address, with the pictures; "" where it isn't there.
    """

    fine: str
    distance: float
    path: str = ""
    photo: str = ""


@dataclass(frozen=True)
class Pictures:
    """JPEG pictures as `data:` addresses.

    Attributes:
        seen: what the network saw.
        heat_map: the same with the Grad-CAM of the class in `fine`; "" where the backbone has none.
    """

    seen: str
    heat_map: str


@dataclass(frozen=True)
class Model:
    """Which model answered.

    Attributes:
        run: name of the run's folder.
        config_hash, data_hash: of its settings and of its data.
        sha256: of its model file.
        versions: of Python and of the packages that compute here.
    """

    run: str
    config_hash: str
    data_hash: str
    sha256: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What a run says of a photo.

    Attributes:
        fine, coarse: the classes named: the likeliest before calibration, as they are scored.
        most_probable_fine, most_probable_coarse: those of the highest probability below.
        probabilities: calibrated.
        p_malignant: None where the taxonomy doesn't tell.
        remarks: those of `new_photos.REMARKS` that hold.
        unlike_run: in what it is unlike, such as "embedding colour"; "n/a" where not known.
        distance_to_run: of the embedding, 1 at the limit; None where not known.
        nearest_training: the nearest training lesions.
        pictures: None where not asked for.
        calibration: what was done to the probabilities.
        notes: what is true of every answer of this run.
        model: which model answered.
        notice: what this is not for.
    """

    fine: str
    coarse: str
    most_probable_fine: str
    most_probable_coarse: str
    probabilities: Probabilities
    p_malignant: float | None
    remarks: list[str]
    unlike_run: str
    distance_to_run: float | None
    nearest_training: list[Similar]
    pictures: Pictures | None
    calibration: str
    notes: list[str]
    model: Model
    notice: str


@dataclass(frozen=True, eq=False)
class Answerer:
    """A run that answers photos. `load` makes one.

    Attributes:
        run: the `FinishedRun`.
        predictor: its `new_photos.Predictor`.
        explains: whether its backbone has heat maps.
        files: path in the run's tables -> file of a training photo, where they are there.
        shows_records: whether answers name and show training photos.
        calibration, notes, model: as of `Answer`.
    """

    run: FinishedRun
    predictor: new_photos.Predictor
    explains: bool
    files: dict[str, str]
    shows_records: bool
    calibration: str
    notes: list[str]
    model: Model

    @property
    def taxonomy(self) -> Taxonomy:
        """The run's classes."""
        return self.predictor.model.taxonomy

    def __call__(self, data: bytes, pictures: bool = False) -> Answer:
        """What the run says of a photo.

        Args:
            data: the photo's bytes, of any format that `decode` reads.
            pictures: give pictures as well.

        Raises:
            BadImage: no whole, still, readable image, or too large a one.
        """
        header = decode.read_header(NAME, data)  # its size, before there is memory for its pixels
        steps = self.run.data.preprocess
        photo = photos.from_bytes(data, NAME, self.run.image_size, steps)
        image = opencv.center_square(photo, self.run.image_size)
        size = np.array([[header.width, header.height]], float)
        answers = self.predictor.answers([NAME], image[None], size, self.explains)
        row = answers.table.iloc[0]
        levels = {
            level: {name: float(row[f"p_{level}_{name}"]) for name in getattr(self.taxonomy, level)}
            for level in grad_cam.LEVELS
        }
        heat = answers.heat_maps[0] if answers.heat_maps is not None else None
        named = ("fine", "coarse", "most_probable_fine", "most_probable_coarse", "unlike_run")
        return Answer(
            **{name: str(row[name]) for name in named},
            probabilities=Probabilities(**levels),
            p_malignant=float(row["p_malignant"]) if "p_malignant" in row else None,
            remarks=row["remark"].split("; ") if row["remark"] else [],
            distance_to_run=float(row["distance_to_run"]) if self.predictor.reference else None,
            nearest_training=[self._similar(one, pictures) for one in answers.nearest[0]],
            pictures=_pictures(image, heat) if pictures else None,
            calibration=self.calibration,
            notes=self.notes,
            model=self.model,
            notice=NOTICE,
        )

    def _similar(self, one, pictures):
        if not self.shows_records:
            return Similar(one.fine, one.distance)
        file = self.files.get(one.path) if pictures else None
        return Similar(one.fine, one.distance, one.path, _small(file) if file else "")


def load(path: Path | str, moved: str = "", shows_records: bool = True) -> Answerer:
    """The `Answerer` of a finished fine-tuning run, warmed up.

    Args:
        path: the run's folder.
        moved: the folder of the run's photos, if it has moved.
        shows_records: see `Answerer`.

    Raises:
        UserError: no such run, or its files are damaged.
    """
    run = finished_run.load(path, "finetune")
    predictor = new_photos.predictor(run, new_photos.calibrator_of(path, True))
    notes = [f'"not confident" means: {predictor.unsure}']
    if preprocess.CROP in run.data.preprocess:
        notes.append("the run learnt from photos cropped to the lesion; give photos like these")
    if predictor.reference is None:
        notes.append("likeness to the run's photos not checked")
        log.warning("%s: %s", notes[-1], predictor.missing)  # which may name folders
    elif not len(predictor.reference.records):
        notes.append(likeness.WITHOUT_RECORDS.format(likeness.NAME))
    explains = True
    try:
        grad_cam.spatial(predictor.model)
    except UserError as error:
        explains = False
        notes.append(f"no heat map: {error}")
    files = _files(run, predictor.reference, moved) if shows_records else {}
    calibration = cli.with_flags(new_photos.calibration(path))
    notes = list(map(cli.with_flags, notes))
    answerer = Answerer(
        run, predictor, explains, files, shows_records, calibration, notes, _model(run)
    )
    grey = np.full((64, 64, 3), 128, np.uint8)
    answerer(cv2.imencode(".png", grey)[1].tobytes(), pictures=True)  # traces the graph
    return answerer


def _model(run):
    with open(run.path / weights.MODEL_FILE, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    hashes = (str(run.status.get(name, "")) for name in ("config_hash", "data_hash"))
    return Model(run.path.resolve().name, *hashes, digest, runs.versions())


def _files(run, reference, moved):
    """The files of the training photos that an answer may name; none where they aren't there."""
    known = set(reference.records[:, 0]) if reference else set()
    if known and "adapted" in run.status:
        # They are the new place's, of which the run's tables don't say where they lie.
        log.warning("similar lesions are named and not shown: the run is adapted to other photos")
        return {}
    table = run.records()
    table = table[table["path"].isin(known)]
    if table.empty:
        return {}
    try:
        dataset = run.dataset(table, moved=moved or None)
    except UserError as error:
        log.warning("similar lesions are named and not shown: %s", error)
        return {}
    return dict(zip(table["path"], dataset.files))


def _pictures(image, heat):
    def address(content: bytes) -> str:
        return html_parts.data_uri(content, "image/jpeg")

    seen = address(heat_overlay.jpeg(image))
    return Pictures(seen, "" if heat is None else address(heat_overlay.jpeg(image, heat)))


@functools.lru_cache(maxsize=512)  # the bank has 500, of some KB each
def _small(file):
    """A training photo as a small picture; "" where it can't be read any more."""
    try:
        square = lesion_inpainting.square(decode.decode(file, SMALL))
    except decode.BadImage:
        return ""
    small = cv2.resize(square, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    return html_parts.data_uri(heat_overlay.jpeg(small), "image/jpeg")


def tree(taxonomy: Taxonomy) -> list[dict]:
    """The taxonomy as the page shows it: each coarse class with its fine ones and their titles."""
    titled = list(zip(taxonomy.fine, taxonomy.parents, taxonomy.titles))
    return [
        {
            "name": coarse,
            "fine": [[fine, title] for fine, parent, title in titled if parent == coarse],
        }
        for coarse in taxonomy.coarse
    ]

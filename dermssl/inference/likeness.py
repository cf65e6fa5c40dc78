"""Do new photos look like those that a run knows? By embedding, colour and size.

A reference is kept in the run's folder: embeddings of training photos with their records, the
colours of the same, and limits that all but 1% of validation photos keep. A new photo is unlike the
run's where

    embedding   the distance to its 5th nearest training photo, of embeddings of length 1, is
                beyond the limit (deep nearest neighbours; Sun et al. 2022);
    colour      the Mahalanobis distance of the mean and spread of red, green and blue is;
    size        its shorter side is over four times above or below any of theirs, or its shape is
                more stretched.

So some of the run's own kind are called unlike, too: `Reference.share` says how many, and
`Reference.sentence` whether there are more than that by more than chance.
"""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
from scipy.stats import betabinom
from threadpoolctl import threadpool_limits

from dermssl.core import atomic_files
from dermssl.core.errors import RunFailed, UserError
from dermssl.data import decode, pipeline, readers, splits
from dermssl.data.photos import Photos
from dermssl.data.records import TRAIN, VALIDATION, Dataset
from dermssl.inference import outputs
from dermssl.inference.finished_run import FinishedRun, masks_of, stratified_subset

if TYPE_CHECKING:
    import keras

    from dermssl.core.settings import Data

NAME = "likeness.npz"
KINDS = ("embedding", "colour", "size")
MOST = 500  # photos of either split; embeddings of 2,048 numbers then take 2 MB as float16
FEWEST = 20  # validation photos; of fewer, the highest is no limit to go by
NEIGHBOUR = 5
NEAREST = 3  # training lesions that are named beside a new photo
RECORD = ("path", "lesion_id", "fine")  # what is kept of a training photo
SHARE = 0.01  # of validation photos beyond a limit
STRETCH = 4.0  # times that a side may be longer or shorter than theirs
SHAPE = 1.25  # the same of the ratio of the sides
WITHOUT_RECORDS = (  # where an older version left the file
    "nearest training lesions not known: {} is of an older version; delete it, and it is made anew "
    "from the run's photos"
)
BY_CHANCE = 0.01  # more unlike photos than this likely are said to be more than chance

log = logging.getLogger("dermssl")


class Neighbour(NamedTuple):
    """A training photo that is near a new one.

    Attributes:
        path: as in the run's tables.
        fine: its class, "" where it has no label.
        distance: of the embeddings, in multiples of the limit, as `distance_to_run`.

    Example:

    >>> str(Neighbour("images/a.jpg", "nv", 0.25))
    'images/a.jpg (nv, 0.25)'
    """

    path: str
    fine: str
    distance: float

    def __str__(self) -> str:
        return f"{self.path} ({self.fine or 'no label'}, {self.distance:.4g})"


@dataclass(frozen=True, eq=False)
class Reference:
    """What a run's photos look like.

    Attributes:
        bank: float16 (m, d), embeddings of training photos, of length 1.
        centre, whiten: float (6,) and (6, 6): colour distance is |(c - centre) @ whiten|.
        limits: float (2,), of the distances of embedding and colour.
        sides, shapes: float (2,), lowest and highest shorter side, px, and ratio of the sides.
        n: validation photos.
        records: str (m, 3), the `RECORD` of each photo of the bank; (0, 3) in a file of an older
            version, which had none.
    """

    bank: np.ndarray = field(repr=False)
    centre: np.ndarray = field(repr=False)
    whiten: np.ndarray = field(repr=False)
    limits: np.ndarray
    sides: np.ndarray
    shapes: np.ndarray
    n: int
    records: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), str), repr=False)

    @property
    def share(self) -> float:
        """The share of photos of the run's own kind that are unlike by embedding or colour."""
        return 2 * (self.n - _rank(self.n)) / (self.n + 1)

    def distances(self, h: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """Distances (n, 2) of embedding and colour, in multiples of their limits."""
        return np.stack(
            [_nearest(h, self.bank), _colour_distance(colours, self.centre, self.whiten)], axis=1
        ) / np.maximum(self.limits, 1e-12)

    def check(self, h: np.ndarray, colours: np.ndarray, sizes: np.ndarray) -> pd.DataFrame:
        """What is unlike of each photo.

        Args:
            h: float (n, d), embeddings.
            colours: float (n, 6), from `colours`.
            sizes: float (n, 2), width and height in px.

        Returns:
            DataFrame: `unlike_run`, such as "embedding colour", "" where nothing is;
            `distance_to_run`, of the embedding, 1 at the limit.
        """
        far = self.distances(h, colours)
        short, shape = _sides(sizes)
        size = (short < self.sides[0] / STRETCH) | (short > self.sides[1] * STRETCH)
        size |= shape > self.shapes[1] * SHAPE
        flags = np.column_stack([far > 1, size])
        words = [" ".join(kind for kind, yes in zip(KINDS, row) if yes) for row in flags]
        return pd.DataFrame({"unlike_run": words, "distance_to_run": far[:, 0].round(4)})

    def nearest(self, h: np.ndarray) -> list[list[Neighbour]]:
        """The `NEAREST` training lesions of each photo by embedding, the nearest first.

        A lesion counts once, by its nearest photo.

        Args:
            h: float (n, d), embeddings.

        Returns:
            list of n lists; empty ones where the file names no records.
        """
        if not len(self.records):
            return [[] for _ in h]
        far = np.sqrt(np.maximum(0, 2 - 2 * _cosine(h, self.bank))) / max(self.limits[0], 1e-12)
        found: list[list[Neighbour]] = []
        for row, order in zip(far, np.argsort(far, axis=1, kind="stable")):
            lesions: dict[str, Neighbour] = {}
            for k in order:
                path, lesion, fine = self.records[k].tolist()
                lesions.setdefault(lesion or f"path={path}", Neighbour(path, fine, float(row[k])))
                if len(lesions) == NEAREST:
                    break
            found.append(list(lesions.values()))
        return found

    def sentence(self, unlike: Sequence[str]) -> str:
        """One line on a number of photos; "" where all look like the run's.

        Args:
            unlike: column `unlike_run` of `check`.
        """
        n, found = len(unlike), sum(map(bool, unlike))
        if not found:
            return ""
        kinds = {kind: sum(kind in words for words in unlike) for kind in KINDS}
        shown = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items() if count)
        # How many new photos lie beyond the r-th of n is beta-binomial, whatever the distances.
        rank = _rank(self.n) + 1
        by_chance = [
            betabinom.sf(count - 1, n, self.n - rank + 1, rank)
            for count in list(kinds.values())[:2]
        ]
        text = (
            f"{found:,} of {n:,} photos look unlike the run's ({shown}; column unlike_run); of "
            f"photos like its own up to {self.share:.1%} do"
        )
        more = min(by_chance) < BY_CHANCE / 2
        return text + (": more than chance, its scores may not hold here" if more else "")


def fit(
    h: np.ndarray, colours: np.ndarray, held_out: np.ndarray, held_out_colours: np.ndarray,
    sizes: np.ndarray, records: np.ndarray | None = None,
) -> Reference:  # fmt: skip
    """The `Reference` of training photos, with limits from validation photos.

    Args:
        h, colours: float (m, d) and (m, 6) of training photos.
        held_out, held_out_colours, sizes: float (n, d), (n, 6), (n, 2) of validation photos.
        records: str (m, 3), the `RECORD` of each training photo; None where nobody asks for it.

    Raises:
        UserError: fewer than `FEWEST` validation photos, or hardly any training photo.
    """
    _check(len(h), len(held_out))
    bank = _unit(h).astype(np.float16)
    centre = colours.mean(axis=0)
    # A ridge of one grey level: colours that never vary must not make every photo unlike.
    values, vectors = np.linalg.eigh(np.cov(colours.T) + np.eye(colours.shape[1]))
    whiten = vectors / np.sqrt(values)
    far = np.stack(
        [_nearest(held_out, bank), _colour_distance(held_out_colours, centre, whiten)], axis=1
    )
    limits = np.sort(far, axis=0)[_rank(len(far))]
    short, shape = _sides(sizes)
    return Reference(
        bank, centre, whiten, limits,
        np.array([short.min(), short.max()]), np.array([shape.min(), shape.max()]),
        len(far), *([] if records is None else [records]),
    )  # fmt: skip


def colours(images: Any) -> np.ndarray:
    """Mean and standard deviation of red, green and blue: (n, h, w, 3) -> float64 (n, 6)."""
    moments = [cv2.meanStdDev(image) for image in np.asarray(images)]
    return np.array(moments, dtype=float).reshape(-1, 6)


def sizes_of(files: Iterable[str]) -> np.ndarray:
    """Width and height of photos, from their headers: float (n, 2), px."""
    headers = [decode.read_header(file) for file in files]
    return np.array([[one.width, one.height] for one in headers], float).reshape(-1, 2)


def _rank(n):
    """Which of n ascending distances is the limit: `SHARE` of new ones lie beyond, if n allows."""
    return min(n, int(np.ceil((n + 1) * (1 - SHARE)))) - 1


def _check(n, n_held_out):
    if n <= NEIGHBOUR or n_held_out < FEWEST:
        raise UserError(
            f"the run has {n} training and {n_held_out} validation photos; more than {NEIGHBOUR} "
            f"and at least {FEWEST} are needed"
        )


def _sides(sizes):
    low, high = sizes.min(axis=1), sizes.max(axis=1)
    return low, high / np.maximum(low, 1)


def _unit(h):
    h = np.asarray(h, np.float32)
    return h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)


def _nearest(h, bank):
    """Distance of each embedding to its `NEIGHBOUR`th nearest of the bank."""
    cosine = -np.partition(-_cosine(h, bank), NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    return np.sqrt(np.maximum(0, 2 - 2 * cosine))


def _cosine(h, bank):
    with threadpool_limits(1):  # BLAS threads that wait would take the decoder's and network's time
        return (_unit(h) @ bank.astype(np.float32).T).astype(float)


def _colour_distance(colours, centre, whiten):
    return np.linalg.norm((colours - centre) @ whiten, axis=1)


def measure(
    backbone: keras.Model, dataset: Dataset, data: Data, size: int, batch_size: int = 32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings, colours and sizes of a data set's photos, batch by batch."""
    mask_files = masks_of(dataset) if "lesion_crop" in data.preprocess else None
    photos = Photos(dataset.files, size, 0, data.preprocess, mask_files)
    seen: list[np.ndarray] = []

    def noted():
        for batch in pipeline.evaluation_data(photos, batch_size, size):
            seen.append(colours(batch))
            yield batch

    h = outputs.embed(backbone, noted())
    return h, np.concatenate(seen), sizes_of(dataset.files)


def make(
    backbone: keras.Model, training: Dataset, validation: Dataset, data: Data, size: int
) -> Reference:
    """The `Reference` of a run, from at most `MOST` photos of either split.

    Args:
        backbone: `keras.Model`, as trained.
        training, validation: `Dataset`; of training photos every class counts, of validation
            photos they are taken as they come.
        data: the run's settings of the data.
        size: side of the network's input, px.

    Raises:
        UserError: as of `fit`.
    """
    _check(len(training.index), len(validation.index))
    rows = stratified_subset(training.index["fine"], MOST)
    known = training.with_index(training.index.iloc[rows])
    h, seen, _ = measure(backbone, known, data, size)
    rows = stratified_subset(np.zeros(len(validation.index)), MOST)
    held_out = validation.with_index(validation.index.iloc[rows])
    records = known.index[list(RECORD)].to_numpy(str)
    return fit(h, seen, *measure(backbone, held_out, data, size), records)


def write(folder: Path | str, reference: Reference) -> None:
    """Leave a `Reference` in a run's folder."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{k: np.asarray(v) for k, v in asdict(reference).items()})
    atomic_files.write_bytes(Path(folder) / NAME, stream.getvalue())


def leave(folder: Path | str, backbone: keras.Model, dataset: Dataset, data: Data) -> None:
    """`make` and `write` at the end of a training; nothing where the photos are too few.

    Args:
        folder: of the run.
        backbone: as trained.
        dataset: `Dataset` with splits.
        data: the run's settings of the data.
    """
    try:
        size = backbone.input.shape[1]
        parts = dataset.subset(TRAIN), dataset.subset(VALIDATION)
        write(folder, make(backbone, *parts, data, size))
    except UserError as error:
        log.info("%s: not made (%s)", Path(folder) / NAME, error)


def read(folder: Path | str) -> Reference | None:
    """The `Reference` in a run's folder; None without one.

    Raises:
        UserError: the file is damaged.
    """
    file = Path(folder) / NAME
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as kept:
            names = [name for name in Reference.__dataclass_fields__ if name != "records"]
            values: dict[str, Any] = {name: kept[name] for name in names}
            if "records" in kept:  # of an older version otherwise
                values["records"] = kept["records"]
        reference = Reference(**{**values, "n": int(values["n"])})
        if reference.bank.ndim != 2 or reference.whiten.shape != (6, 6):
            raise ValueError(f"shapes {reference.bank.shape}, {reference.whiten.shape}")
        if len(reference.records) and reference.records.shape != (len(reference.bank), len(RECORD)):
            raise ValueError(f"records {reference.records.shape} of {len(reference.bank)} photos")
        return reference
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{file}: not what dermssl.finetune left there ({error}); delete it, and it is made "
            "anew from the run's photos"
        ) from error


def of_run(run: FinishedRun, backbone: keras.Model) -> tuple[Reference | None, str]:
    """A run's `Reference`, made and kept now where an older run has none.

    Returns:
        The reference, or None, and why there is none.
    """
    if reference := read(run.path):
        if reference.bank.shape[1] == backbone.output.shape[-1]:
            return reference, ""
        return None, f"{run.path / NAME} is of another network"
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # the reader's remarks were made when the run was
        dataset = readers.read(run.data)
        if run.data.on_bad == "skip":
            dataset, _ = readers.checked(dataset, "skip", "data.path")
        dataset = splits.assign(
            dataset, run.data.validation, run.data.test, run.data.split_seed, run.data.group_by
        )
        reference = make(
            backbone, dataset.subset(TRAIN), dataset.subset(VALIDATION), run.data, run.image_size
        )
    except (UserError, OSError) as error:
        return None, str(error)
    finally:
        log.setLevel(level)
    try:
        write(run.path, reference)
    except RunFailed:  # a folder that is only read serves as well
        log.info("%s can't be kept", run.path / NAME)
    return reference, ""

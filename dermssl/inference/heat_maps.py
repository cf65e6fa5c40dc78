"""Compute heat maps of photos, for the predicted and for the true class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermssl.data import lesion_inpainting
from dermssl.data.augmentation import opencv
from dermssl.data.photos import Photos
from dermssl.inference import outputs
from dermssl.models import grad_cam
from dermssl.models.classifier import LesionClassifier


@dataclass(frozen=True, eq=False)
class Heat:
    """One heat map.

    Attributes:
        level: "fine" or "coarse".
        role: "predicted" or "true".
        name: of the class.
        p: its probability.
        values: float32 (h, w) in [0, 1], as from `grad_cam.heat_maps`.
    """

    level: str
    role: str
    name: str
    p: float
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Explained:
    """A photo and what the network made of it.

    Attributes:
        path: as in its table, or as given.
        photo: uint8 (side, side, 3), the central square, finer than the network sees it.
        fine, coarse: true class names, "" where unknown.
        p_fine, p_coarse: float64, its probabilities.
        heats: tuple of `Heat`: for each level the predicted class, then the true one where it
            is another.
    """

    path: str
    photo: np.ndarray
    fine: str
    coarse: str
    p_fine: np.ndarray
    p_coarse: np.ndarray
    heats: tuple[Heat, ...]


def explain(
    model: LesionClassifier, photos: Photos | Sequence[np.ndarray], index: pd.DataFrame, size: int,
    batch_size: int = 32, levels: Sequence[str] | None = None,
) -> list[Explained]:  # fmt: skip
    """Heat maps of photos.

    Args:
        model: `LesionClassifier`.
        photos: `Photos`, or uint8 (h, w, 3) RGB as it has them.
        index: record table of the same photos; `path`, `fine` and `coarse` are read.
        size: int, side of the network's input.
        batch_size: int.
        levels: some of `grad_cam.LEVELS`; None for all that the classes have, () for no map, which
            a backbone without heat maps allows.

    Returns:
        list of `Explained`, one a photo.

    Raises:
        UserError: see `grad_cam.spatial`.
    """
    images = np.stack([opencv.center_square(photos[k], size) for k in range(len(photos))])
    starts = range(0, len(images), batch_size)
    batches = (images[k : k + batch_size].astype(np.float32) for k in starts)
    p, taxonomy = outputs.predict_proba(model, batches), model.taxonomy
    if levels is None:
        levels = grad_cam.LEVELS if taxonomy.has_hierarchy else ("fine",)
    heats: list[list[Heat]] = [[] for _ in images]
    for level in levels:
        names = list(getattr(taxonomy, level))
        predicted = p[level].argmax(axis=1)
        truth = np.array([names.index(name) if name else -1 for name in index[level]])
        for role, classes, rows in (
            ("predicted", predicted, np.arange(len(images))),
            ("true", truth, np.flatnonzero((truth >= 0) & (truth != predicted))),
        ):
            maps = grad_cam.heat_maps(model, images[rows], classes[rows], level, batch_size)
            for row, values in zip(rows, maps):
                k = int(classes[row])
                heats[row].append(Heat(level, role, names[k], float(p[level][row, k]), values))
    return [
        Explained(
            row["path"], lesion_inpainting.square(photos[k]), row["fine"], row["coarse"],
            p["fine"][k], p["coarse"][k], tuple(heats[k]),
        )
        for k, row in enumerate(index.to_dict("records"))
    ]  # fmt: skip


def randomization_check(
    model: LesionClassifier, images: np.ndarray, classes: np.ndarray, seed: int = 0
) -> np.ndarray:
    """How alike the fine maps are to those of the same network with shuffled weights.

    Args:
        model: `LesionClassifier`.
        images: uint8 or float32 (n, size, size, 3).
        classes: int (n,).
        seed: int, of the shuffle.

    Returns:
        float64 (n,), rank correlations (Adebayo et al., 2018); near 1 the maps would show the
        photo, not what was learnt. NaN where a map is empty.
    """
    trained = grad_cam.heat_maps(model, images, classes)
    with grad_cam.randomized_weights(model, seed):
        random = grad_cam.heat_maps(model, images, classes)
    return grad_cam.rank_correlation(trained, random)

"""Choose the fixed photos of the health panel: labelled ones, and pairs of views."""

import dataclasses

import numpy as np

from dermssl.core.settings import Data, Pretrain
from dermssl.data import pipeline, records
from dermssl.data.augmentation import opencv, policies
from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.photos import Photos, photos_of
from dermssl.data.records import Dataset
from dermssl.evaluation import hypothesis_tests
from dermssl.training.ssl_health import embedding_quality

VIEWS_EPOCH = 2**40  # keys the views of the panel: an epoch that no training reaches


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """The photos of the probes.

    Attributes:
        images: uint8 (n, size, size, 3).
        labels: int64 (n,), 0 and up. groups: object (n). half: int64 (n), 0 or 1.
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    half: np.ndarray

    @property
    def chance(self) -> float:
        """Balanced accuracy of a random guess."""
        return hypothesis_tests.chance(self.labels)


def labelled(dataset: Dataset, most: int, size: int, data: Data | None = None) -> Labelled | None:
    """Labelled photos of the validation split, in halves that share no lesion or patient.

    Photos of training are in the pretraining set, and those of test are for the end. Rare classes
    come first and one photo of each group before a second, until there are `most`.

    Args:
        dataset: `Dataset` with splits.
        most: int, photos at most.
        size: int, side of the images.
        data: `settings.Data`: what it says under "preprocess" is done; None for its defaults.

    Returns:
        `Labelled`, or None where fewer than two classes have two groups each.
    """
    part = dataset.subset(records.VALIDATION)
    level = "fine" if (part.index["fine"] != "").any() else "coarse"
    rows = part.index[part.index[level] != ""]
    rows = rows.assign(group=records.group_ids(rows))
    rows = rows[rows.groupby(level)["group"].transform("nunique") > 1]
    if rows.empty:
        return None
    rng = np.random.Generator(np.random.Philox(key=0))
    rows = rows.iloc[rng.permutation(len(rows))]
    rows = rows.assign(photo=rows.groupby("group").cumcount()).sort_values("photo", kind="stable")
    rows = rows.assign(rank=rows.groupby(level).cumcount()).sort_values("rank", kind="stable")
    rows = rows.head(most).sort_index()
    labels = rows[level].astype("category").cat.codes.to_numpy(np.int64)
    groups = rows["group"].to_numpy(dtype=object)
    half = embedding_quality.halves(labels, groups)
    if half is None:
        return None
    kept = half >= 0
    photos = photos_of(part.with_index(rows[kept]), data or Data(), size, share=0)
    images = np.stack([opencv.center_square(photos[k], size) for k in range(len(photos))])
    labels = np.unique(labels[kept], return_inverse=True)[1]
    return Labelled(images, labels, groups[kept], half[kept])


def pairs(photos: Photos, most: int, settings: Pretrain, seed: int, size: int) -> np.ndarray:
    """Two views of some photos of the pretraining set, never those of a training step.

    Returns:
        uint8 (2, n, size, size, 3).
    """
    rows = pipeline.epoch_order(len(photos), seed, VIEWS_EPOCH)[: max(2, most)]
    policy = policies.scaled(AUGMENTATIONS["simclr"], settings.strength)
    numbers = np.arange(len(photos))
    return np.stack([
        pipeline.views(photos, rows, numbers, policy, seed, VIEWS_EPOCH, view, size)
        for view in (0, 1)
    ])  # fmt: skip

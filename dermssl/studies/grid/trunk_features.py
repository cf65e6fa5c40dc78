"""Features of the frozen trunk, cached where an augmentation has few variants.

Without augmentation a photo has one view, with flips four; over ten epochs each would go
through the frozen trunk again and again with the same result.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dermssl.data.augmentation import draw, opencv
from dermssl.data.augmentation.policies import AUGMENTATIONS, Policy

if TYPE_CHECKING:
    from dermssl.data.photos import Photos
    from dermssl.studies.grid.trunk_training import Tails


def photos_per_forward(size: int, batch_size: int = 1) -> int:
    """How many photos pass through a trunk together, in whole batches.

    Small photos leave a core idle between two layers: 128 of 50 px take a tenth (InceptionV3)
    to a third (DenseNet121) less time each than 32, with equal features to the last bit.

    Args:
        size: int, side of the views.
        batch_size: int; the result is a multiple of it.

    Returns:
        int, at most 128 and at most the pixels of 64 photos of 224 px, but one batch at least.

    Example:

    >>> photos_per_forward(224, batch_size=32)
    64
    """
    return batch_size * max(1, min(128, 64 * 224**2 // size**2) // batch_size)


def variants(policy: Policy, seed: int, epoch: int, records: np.ndarray) -> np.ndarray:
    """int array (n,): which of the views each record shows in an epoch; 1 and 2 are flips."""
    signs = [draw.draw(policy, seed, epoch, int(r), 0).affine.diagonal() for r in records]
    return (np.array(signs) < 0) @ np.array([1, 2])


def view(photo: np.ndarray, variant: int, size: int) -> np.ndarray:
    """uint8 (size, size, 3): the view itself, pixel for pixel as `opencv.apply` makes it."""
    params = draw.draw(AUGMENTATIONS["none"], 0, 0, 0, 0)
    flip = np.diag([-1.0 if variant & 1 else 1.0, -1.0 if variant & 2 else 1.0])
    affine = np.column_stack([flip, [0, 0]]).astype(np.float32)
    return opencv.apply(photo, params._replace(affine=affine), size)


class FeatureStore:
    """Features by photo and variant, computed when first asked for.

    Args:
        tails: `tails.Tails`; gives `features` and the shapes.
        photos: `pipeline.Photos`.
        size: int, side of the views.
        count: int, variants a photo.
        dtype: "float32" or "float16", how they are kept; they are read as float32.
    """

    def __init__(
        self, tails: Tails, photos: Photos, size: int, count: int, dtype: str = "float32"
    ) -> None:
        self._tails, self._photos, self._size = tails, photos, size
        self._done = np.zeros((len(photos), count), bool)
        self._kept = [
            np.empty((len(photos), count, *tensor.shape[1:]), dtype)
            for tensor in tails.trunk.outputs
        ]  # NumPy asks for memory here, the system gives it when it is written
        self.bytes = sum(kept.nbytes for kept in self._kept)

    @staticmethod
    def bytes_needed(tails: Tails, n_photos: int, count: int, dtype: str = "float32") -> int:
        """Memory of a store, before it is made."""
        cells = sum(math.prod(tensor.shape[1:]) for tensor in tails.trunk.outputs)
        return n_photos * count * cells * np.dtype(dtype).itemsize

    def get(self, rows: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
        """list of float32 arrays (n, ...): the features of some photos, one variant each."""
        self.fill(rows, chosen)
        return [kept[rows, chosen].astype(np.float32, copy=False) for kept in self._kept]

    def fill(self, rows: np.ndarray, chosen: np.ndarray) -> None:
        """Compute what is missing of some photos, one variant each."""
        missing = ~self._done[rows, chosen]
        rows, chosen = rows[missing], chosen[missing]
        n = photos_per_forward(self._size)
        for start in range(0, len(rows), n):
            part, which = rows[start : start + n], chosen[start : start + n]
            pixels = [view(self._photos[r], v, self._size) for r, v in zip(part, which)]
            found = self._tails.features(np.stack(pixels).astype(np.float32))
            for kept, new in zip(self._kept, found):
                kept[part, which] = new.numpy()
            self._done[part, which] = True


class UncachedFeatures:
    """The same without memory: for what would not fit."""

    def __init__(self, tails: Tails, photos: Photos, size: int) -> None:
        self._tails, self._photos, self._size = tails, photos, size

    def get(self, rows: np.ndarray, chosen: np.ndarray) -> list[Any]:
        """As `FeatureStore.get`."""
        pixels = [view(self._photos[r], v, self._size) for r, v in zip(rows, chosen)]
        return self._tails.features(np.stack(pixels).astype(np.float32))


def store_for(
    tails: Tails, photos: Photos, size: int, count: int, budget: int, dtype: str
) -> FeatureStore | None:
    """A `FeatureStore` where it fits into `budget` bytes, else None."""
    if FeatureStore.bytes_needed(tails, len(photos), count, dtype) > budget:
        return None
    return FeatureStore(tails, photos, size, count, dtype)

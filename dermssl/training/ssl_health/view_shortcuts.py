"""Check before training whether two views of a photo are a task worth learning.

Views that are the same teach nothing; views that their colours give away teach colours.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from dermssl.evaluation import validate
from dermssl.training.ssl_health import embedding_quality

BINS = 8  # of each channel's histogram
THUMBNAIL = 4  # pixels a side


@dataclass(frozen=True)
class ViewCheck:
    """What the pairs of views look like.

    Attributes:
        n: int, pairs looked at.
        mean_difference: float in [0, 255], mean absolute difference of the two views, grey levels.
        identical: float in [0, 1], share of pairs that are equal to the last pixel.
        by_colour, by_histogram, by_thumbnail: float in [0, 1], the contrastive accuracy of a
            nearest neighbour on the mean colour, on colour histograms, on 4 x 4 thumbnails.
        chance: float, 1 / (2n - 1).
    """

    n: int
    mean_difference: float
    identical: float
    by_colour: float
    by_histogram: float
    by_thumbnail: float
    chance: float

    @property
    def shortcut(self) -> float:
        """The best of the three: what a model reaches that looks at colours alone."""
        return max(self.by_colour, self.by_histogram, self.by_thumbnail)


def check(first: np.ndarray, second: np.ndarray) -> ViewCheck:
    """Compare the two views of some photos.

    Args:
        first, second: uint8 (n, size, size, 3), n of 2 or more.

    Returns:
        `ViewCheck`.
    """
    validate.same_length(first=first, second=second)
    n = len(first)
    pairs = [(a.astype(np.int16), b) for a, b in zip(first, second)]
    accuracies = {}
    for name, feature in FEATURES.items():
        described = [np.stack([feature(view) for view in views]) for views in (first, second)]
        accuracies[name] = embedding_quality.nearest_pairs(*described)
    return ViewCheck(
        n=n,
        mean_difference=float(np.mean([np.abs(a - b).mean() for a, b in pairs])),
        identical=float(np.mean([np.array_equal(a, b) for a, b in pairs])),
        chance=1 / (2 * n - 1),
        **accuracies,
    )


def _mean_colour(view):
    return view.reshape(-1, 3).mean(axis=0)


def _histogram(view):
    """Root of the shares: their Euclidean distance is Hellinger's, so rare colours count."""
    counts = [np.bincount(view[..., k].ravel() // (256 // BINS), minlength=BINS) for k in range(3)]
    return np.sqrt(np.concatenate(counts) / view[..., 0].size)


def _thumbnail(view):
    small = cv2.resize(view, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return small.astype(np.float64).ravel()


FEATURES = {"by_colour": _mean_colour, "by_histogram": _histogram, "by_thumbnail": _thumbnail}

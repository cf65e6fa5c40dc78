"""The data set of commands that get no data: drawn once, when it is first read."""

from pathlib import Path

from dermssl.core.commands import EMBEDDED
from dermssl.data.synthetic import dataset

SIZE, PHOTOS = 96, 800  # px a side; enough for a few lesions of the rarest class in each split


def draw_if_missing(path: str) -> None:
    """Draw the embedded data set if `path` is its place and nothing is there."""
    if path == EMBEDDED and not Path(path).exists():
        dataset.write(path, n=PHOTOS, size=SIZE)

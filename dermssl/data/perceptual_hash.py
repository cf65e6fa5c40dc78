"""Hashes of a photo's bytes, of its pixels, and of how it looks.

The perceptual hash holds the signs of the 255 lowest frequencies of a 64 x 64 grey thumbnail
(a DCT, as in pHash; Zauner 2010), so it doesn't see size, re-encoding, or a change of light.
Mirrored or turned, a picture's DCT is the same but for signs and a transposition. Sorted by
the parity of their two frequencies the bits fall into four words: a flip inverts whole words,
a quarter turn takes the transposed hash. So eight ways round cost two comparisons.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from dermssl.core import threads
from dermssl.data import photo_bytes
from dermssl.data.decode import BadImage, decode

THUMBNAIL = 64  # px
FREQUENCIES = 16  # a side; 16 * 16 - 1 bits, the mean brightness is left out
BITS = FREQUENCIES**2 - 1
FLAT = 2.0  # grey levels; a thumbnail that varies less shows nothing to compare
WORDS = 4

# Measured on HAM10000 (200 x 150 px): re-encoded at JPEG quality 50 a photo moves by 7 bits
# (median; 25 at most, of 400), shrunk to half its sides at quality 30 by 18 (90% within 27). Of all
# 32 million pairs of the 8,014 photos the first false one is at 29 bits; up to 28 are 88 pairs,
# 87 of one lesion by its id and one plain duplicate that the ids miss.
NEAR = 28


@dataclass(frozen=True)
class Survey:
    """What was seen of every photo, row by row.

    Attributes:
        table: DataFrame with `width`, `height` (px, upright), `bytes`, `brightness` and
            `contrast` (mean and standard deviation of grey, 0 to 255), `warmth` (mean red minus
            mean blue), `detail` (mean step between neighbours of the thumbnail), `file_hash`,
            `pixel_hash`, `flat` and `error` ("" where the photo is whole). Rows of unreadable
            photos have NaN and "".
        words, turned: uint64 (n, 4), the perceptual hash, and that of the transposed photo.
    """

    table: pd.DataFrame
    words: np.ndarray
    turned: np.ndarray


def look(path: Path | str) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """One photo: (dict of a row of `Survey.table`, its words, its transposed words)."""
    row = {
        "width": np.nan, "height": np.nan, "bytes": np.nan, "brightness": np.nan,
        "contrast": np.nan, "warmth": np.nan, "detail": np.nan, "file_hash": "",
        "pixel_hash": "", "flat": False, "error": "",
    }  # fmt: skip
    nothing = np.zeros(WORDS, np.uint64)
    try:
        pixels = decode(path, strict=True)
        data = photo_bytes.read(path)  # after `decode`, which refuses sizes beyond reason
        row |= {"bytes": len(data), "file_hash": hashlib.sha256(data).hexdigest()}
    except (BadImage, OSError) as error:
        return row | {"error": str(error)}, nothing, nothing
    height, width = pixels.shape[:2]
    # The shape belongs to it: 20 x 30 and 30 x 20 white pixels are the same bytes.
    pixel_hash = hashlib.sha256(f"{height} {width} ".encode() + pixels.tobytes()).hexdigest()
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    words, turned = perceptual(small)
    row |= {
        "width": width, "height": height, "pixel_hash": pixel_hash,
        "brightness": float(grey.mean()), "contrast": float(grey.std()),
        "warmth": float(pixels[..., 0].mean()) - float(pixels[..., 2].mean()),
        "detail": float(np.abs(np.diff(small.astype(np.float32), axis=1)).mean()),
        "flat": bool(small.std() < FLAT),
    }  # fmt: skip
    return row, words, turned


def perceptual(thumbnail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The hash of a grey (64, 64) thumbnail, and of its transposed: two uint64 arrays (4,)."""
    low = cv2.dct(thumbnail.astype(np.float32))[:FREQUENCIES, :FREQUENCIES]
    return _words(low), _words(low.T)


def _words(low):
    """Signs by parity of (row, column): even even, even odd, odd even, odd odd."""
    signs = np.ascontiguousarray(low) > 0
    signs[0, 0] = False  # the mean
    blocks = [signs[row::2, column::2].ravel() for row in (0, 1) for column in (0, 1)]
    return np.packbits(blocks, axis=1).view(np.uint64).ravel()


def survey(paths: Iterable[Path | str], workers: int = 2) -> Survey:
    """`look` at many photos, in threads, each with one photo in memory.

    Args:
        paths: iterable of str; read as the work goes on.
        workers: int.

    Returns:
        `Survey` in the order of `paths`.
    """
    looks = list(threads.map_in_order(look, paths, workers))
    rows, words, turned = zip(*looks) if looks else ((), (), ())
    columns = list(rows[0]) if rows else []
    shape = (len(rows), WORDS)
    return Survey(
        pd.DataFrame(rows, columns=columns),
        np.array(words, np.uint64).reshape(shape),
        np.array(turned, np.uint64).reshape(shape),
    )

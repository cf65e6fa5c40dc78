"""What a container of photos has inside, and how pixels in it become the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dermssl.core.errors import UserError


class Stored(NamedTuple):
    """A photo in a container, known without reading it.

    Attributes:
        size: bytes that it takes there, uncompressed.
        mark: a number that stands for its content in `records.data_hash`: a checksum where the
            container has one, else the size.
        at: where its bytes begin in the container's file, if they lie there as they are; else None
            for the source to read them.
        page: the number of the part of its source that it is read from, where photos of one part
            should be read together; else None.
    """

    size: int
    mark: int
    at: int | None = None
    page: int | None = None


@dataclass(frozen=True)
class Listing:
    """The content of a container.

    Attributes:
        photos: key -> `Stored`, in the container's order; a key may have "/" in it. Those of shards
            have masks among them; their records say which.
        others: key -> what it is, of all that is no photo.
    """

    photos: Mapping[str, Stored]
    others: dict[str, str]


def png(pixels: np.ndarray) -> bytes:
    """Pixels as a PNG file, losslessly.

    Args:
        pixels: uint8 (h, w), (h, w, 1) or (h, w, 3) RGB.

    Example:

    >>> png(np.zeros((16, 16, 3), np.uint8))[1:4]
    b'PNG'
    """
    import cv2

    image = pixels[..., ::-1] if pixels.shape[2:] == (3,) else pixels  # OpenCV's order is BGR
    # Not compressed: the bytes live as long as one decoding, and packing takes longer than that.
    written, data = cv2.imencode(
        ".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, 0]
    )
    if not written:
        raise ValueError(f"pixels of shape {pixels.shape} can't be a PNG")
    return data.tobytes()


def described(dtype: np.dtype, shape: tuple[int, ...] | None) -> str:
    """An array's type and shape for a message.

    Example:

    >>> described(np.dtype("float32"), (10, 3))
    'float32 (10, 3)'
    """
    kind = "pickled Python objects" if dtype.hasobject else str(dtype)
    return f"{kind} {'empty' if shape is None else shape}"


def damaged(file: str, found: object, kind: str) -> UserError:
    """The error of a container that can't be read.

    Args:
        file: path of the container.
        found: what a library said of it.
        kind: "HDF5" or another name of the format.
    """
    line = " ".join(str(found).split())
    return UserError(
        f"{file}: damaged, cut or no {kind} file ({line}); copy or download it again, or move it "
        "out of the folder"
    )

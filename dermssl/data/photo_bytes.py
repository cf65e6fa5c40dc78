"""The bytes of a photo by its path: of a file, or of a member of an HDF5 or npz file or of shards.

A photo in a container has the container's path and its key as its path,
`train-image.hdf5/ISIC_0015670`, as if the container were a folder. So ids, hashes, leak guards and
caches are the same for all photos. A kind of container is a module in `data/sources/` with
`listing` and `read`, and a line in `SOURCES`.
"""

from __future__ import annotations

import functools
import io
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from dermssl.data import shard_files
from dermssl.data.sources import hdf5, npz, shards
from dermssl.data.sources.listing import Listing, Stored

# By the ends of file names.
SOURCES = {".hdf5": hdf5, ".h5": hdf5, ".npz": npz, f"/{shard_files.INDEX}": shards}
_INSIDE = re.compile(f"({'|'.join(map(re.escape, SOURCES))})/", re.IGNORECASE)


class NotRegular(OSError):
    """A path that is no file."""


def is_container(name: str) -> bool:
    """Whether a file may hold many photos, by its name.

    Example:

    >>> is_container("train-image.hdf5"), is_container("._train-image.hdf5")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in SOURCES and not name.startswith(".")


def located(path: Path | str) -> tuple[str, str] | None:
    """(container, key) of a photo in a container; None of a file."""
    text = os.fspath(path)
    for match in _INSIDE.finditer(text):
        if os.path.isfile(text[: match.end() - 1]):  # else a folder of such a name
            return text[: match.end() - 1], text[match.end() :]
    return None


def listing(container: Path | str) -> Listing:
    """What a container has inside.

    Raises:
        UserError: it can't be read.
    """
    file = os.fspath(container)
    info = os.stat(file)
    return _listing(file, info.st_mtime_ns, info.st_size)


@functools.lru_cache(maxsize=64)
def _listing(file, modified, size):
    return _source(file).listing(file)


def _source(container):
    return next(source for end, source in SOURCES.items() if container.lower().endswith(end))


def stored(path: Path | str) -> Stored:
    """The size of a photo's bytes, and the number that stands for its content.

    Raises:
        NotRegular: a folder, or a pipe, which would block for ever.
        OSError: there is no such photo.
        UserError: its container can't be read.
    """
    try:
        info = os.stat(path)
    except (NotADirectoryError, FileNotFoundError):  # a path goes on below a container
        place = located(path)
        if place is None:
            raise
    else:
        if not stat.S_ISREG(info.st_mode):
            raise NotRegular(f"{path} is not a regular file")
        return Stored(info.st_size, info.st_size)
    return _stored(*place)


def _stored(container, key):
    photo = listing(container).photos.get(key)
    if photo is None:
        raise FileNotFoundError(f"{container} has no photo {key}")
    return photo


def stored_all(paths: Iterable[str]) -> Iterator[Stored]:
    """`stored` of each photo, faster for many in one container.

    Raises:
        OSError, UserError: as `stored` does.
    """
    for path, source, photos, key in _looked_up(paths):
        found = photos.get(key) if source else None
        yield found or stored(path)


def missing(paths: Iterable[str]) -> list[str]:
    """The paths that are neither a file nor a photo in a container."""
    return [
        path for path, source, photos, key in _looked_up(paths)
        if not (key in photos if source else os.path.isfile(path))
    ]  # fmt: skip


def unverified(paths: Iterable[str]) -> Iterator[str]:
    """The paths of photos that nobody has decoded yet: of all but those in shards.

    What is in shards was decoded when they were written, and is checked when it is read.
    """
    return (path for path, source, _, _ in _looked_up(paths) if source is not shards)


def pages(paths: Sequence[str]) -> np.ndarray | None:
    """Which parts of their shards photos are read from (see `Stored.page`).

    Returns:
        int64 (n,), or None where some photo isn't in shards.
    """
    place = located(paths[0]) if paths else None
    if place is None or _source(place[0]) is not shards:  # no look at the others
        return None
    found = [photo.page for photo in stored_all(paths)]
    return None if None in found else np.array(found, np.int64)


def _looked_up(paths):
    """Yields (path, source, photos of its container, key in it); source is None of a file."""
    inside = "\0"  # what begins so lies in the container of an earlier photo
    for path in paths:
        if not path.startswith(inside):
            place = located(path)
            if place is None:
                yield path, None, None, ""
                continue
            source, photos, inside = _source(place[0]), listing(place[0]).photos, f"{place[0]}/"
        yield path, source, photos, path[len(inside) :]


def is_there(path: Path | str) -> bool:
    """Whether a path is a file, or a photo in a container."""
    place = located(path)
    return os.path.isfile(path) if place is None else place[1] in listing(place[0]).photos


def opened(path: Path | str) -> BinaryIO:
    """A photo's bytes as an open file."""
    try:
        return open(path, "rb")
    except (NotADirectoryError, FileNotFoundError):
        if located(path) is None:
            raise
        return io.BytesIO(read(path))


def read(path: Path | str) -> bytes:
    """A photo's bytes.

    Raises:
        OSError: there is no such photo, or it can't be read.
        UserError: its container can't be read.
    """
    place = located(path)
    if place is None:
        return Path(path).read_bytes()
    photo = _stored(*place)
    if photo.at is None:
        return _source(place[0]).read(*place)
    with open(place[0], "rb") as file:
        file.seek(photo.at)
        data = file.read(photo.size)
    if len(data) < photo.size:
        raise OSError(f"{place[0]} ends within {place[1]}")
    return data

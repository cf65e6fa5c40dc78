"""Photos in an HDF5 file: a dataset a photo, as ISIC 2024 (SLICE-3D) has them.

A dataset holds the bytes of an image file (opaque, or uint8 of one dimension) or its pixels (uint8
(h, w, 3)). Groups are folders. Links to other files are not followed: a data folder is closed.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any

import numpy as np

from dermssl.data.sources.listing import Listing, Stored, damaged, described, png

OPEN = 16  # files held open in a process
DEPTH = 32  # groups in groups
# What h5py raises on damaged and on hostile files.
ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


def listing(file: str) -> Listing:
    """What is in the file, in the order of the names, without reading a photo.

    Raises:
        UserError: it can't be read.
    """
    photos: dict[str, Stored] = {}
    others: dict[str, str] = {}
    try:
        _walk(_handle(file, os.getpid(), _version(file)).id, "", Listing(photos, others), set())
    except ERRORS as error:
        raise damaged(file, _reason(error), "HDF5") from error
    return Listing(photos, others)


def read(file: str, key: str) -> bytes:
    """The bytes of a photo that `listing` has.

    Raises:
        OSError: they can't be read.
    """
    import h5py

    # The file is opened anew in a forked process, where HDF5's own state would be another's.
    handle = _handle(file, os.getpid(), _version(file))
    try:
        dataset = h5py.h5o.open(handle.id, key.encode())
        values = np.empty(dataset.shape, dataset.dtype)
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    except ERRORS as error:
        raise OSError(f"its dataset can't be read: {_reason(error)}") from error
    return png(values) if values.ndim == 3 else values.tobytes()


def _version(file):
    """What changes when a file is replaced by another."""
    info = os.stat(file)
    return info.st_mtime_ns, info.st_size


@functools.lru_cache(maxsize=OPEN)
def _handle(file: str, process: int, version: tuple[int, int]) -> Any:
    """The open file. h5py's lock lets one thread at a time into HDF5; decoding is outside of it."""
    import h5py

    # Reading needs no lock, which some network file systems don't have.
    return h5py.File(file, "r", locking=False)


def _walk(group, prefix, found, seen):
    """Add what lies below a group to `found`; `seen` are the addresses of groups, each once."""
    import h5py

    seen.add(h5py.h5o.get_info(group).addr)
    links: list[tuple[bytes, int]] = []
    group.links.iterate(lambda name, info: links.append((name, info.type)), info=True)
    for name, kind in links:
        key = prefix + name.decode(errors="backslashreplace")
        if kind != h5py.h5l.TYPE_HARD:
            found.others[key] = "a link"
            continue
        item = h5py.h5o.open(group, name)
        if isinstance(item, h5py.h5g.GroupID):
            # A group may lie in itself, or in two others.
            if h5py.h5o.get_info(item).addr in seen or key.count("/") >= DEPTH:
                found.others[key] = "a group that is there already, or too deep"
            else:
                _walk(item, f"{key}/", found, seen)
        elif isinstance(item, h5py.h5d.DatasetID):
            size = _photo_size(item)
            if size is None:
                found.others[key] = _described(item)
            else:
                found.photos[key] = Stored(size, size)


def _described(dataset):
    try:
        return described(dataset.dtype, dataset.shape)
    except TypeError:  # h5py has no NumPy type for it
        return "of an unknown type"


def _photo_size(dataset):
    """Bytes of a photo; None of a dataset that is none by its type, or that lies elsewhere."""
    import h5py

    shape, kind = dataset.shape, dataset.get_type()
    opaque = kind.get_class() == h5py.h5t.OPAQUE and shape == ()
    small = kind.get_class() == h5py.h5t.INTEGER and kind.get_size() == 1 and shape
    if not (opaque or small and (len(shape) == 1 or len(shape) == 3 and shape[2] == 3)):
        return None
    if not opaque and dataset.dtype != np.uint8:
        return None
    plan = dataset.get_create_plist()
    if plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL:
        return None
    return kind.get_size() * math.prod(shape)


def _reason(error):
    """HDF5's own reason, without the times and addresses that follow it."""
    line = str(error).strip("'\"")
    return line[line.find("(") + 1 :].split(",")[0].split(":")[0].rstrip(")") or type(error).__name__

"""Photos in an HDF5 file: a dataset a photo, as ISIC 2024 (SLICE-3D) has them.

A dataset holds the bytes of an image file (opaque, or uint8 of one dimension) or its pixels (uint8
(h, w, 3)). Groups are folders. Links to other files are not followed: a data folder is closed.
"""

from __future__ import annotations

import math

import numpy as np

from dermssl.data.sources.listing import Listing, Stored, damaged, described, png

DEPTH = 32  # groups in groups
# What h5py raises on damaged and on hostile files.
ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError)


def listing(file: str) -> Listing:
    """What is in the file, in the order of the names, without reading a photo.

    Raises:
        UserError: it can't be read.
    """
    found = Listing({}, {})
    try:
        with _opened(file) as container:
            _walk(container.id, "", found, set())
    except ERRORS as error:
        raise damaged(file, _reason(error), "HDF5") from error
    return found


def read(file: str, key: str) -> bytes:
    """The bytes of a photo that `listing` has, and that doesn't lie in the file as it is.

    Raises:
        OSError: they can't be read.
    """
    import h5py

    try:
        with _opened(file) as container:
            dataset = h5py.h5o.open(container.id, key.encode())
            values = np.empty(dataset.shape, dataset.dtype)
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    except ERRORS as error:
        raise OSError(f"its dataset can't be read: {_reason(error)}") from error
    return png(values) if values.ndim == 3 else values.tobytes()


def _opened(file):
    """The open file, for a moment: held open, it couldn't be written, nor read after a fork."""
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
            photo = _stored(item)
            if photo is None:
                found.others[key] = _described(item)
            else:
                found.photos[key] = photo


def _described(dataset):
    try:
        return described(dataset.dtype, dataset.shape)
    except TypeError:  # h5py has no NumPy type for it
        return "of an unknown type"


def _stored(dataset):
    """A photo; None of a dataset that is none by its type, or that lies in another file."""
    import h5py

    shape, kind = dataset.shape, dataset.get_type()
    if kind.get_class() == h5py.h5t.OPAQUE:
        fits = shape == ()
    else:
        integer = kind.get_class() == h5py.h5t.INTEGER
        pixels = shape is not None and len(shape) == 3 and shape[2] == 3
        fits = shape is not None and (len(shape) == 1 or pixels)
        fits = fits and integer and dataset.dtype == np.uint8
    if not fits:
        return None
    plan = dataset.get_create_plist()
    if plan.get_external_count() or plan.get_layout() == h5py.h5d.VIRTUAL:
        return None
    size = kind.get_size() * math.prod(shape)
    # Of what is compressed or small, and so lies among HDF5's own data, there is no offset.
    at = None if len(shape) == 3 else dataset.get_offset()
    return Stored(size, size, at)


def _reason(error):
    """HDF5's own reason, without the times and addresses that follow it."""
    _, _, line = str(error).partition("(")  # "Unable to ... (truncated file: eof = 4096, ...)"
    return line.split(",")[0].split(":")[0].rstrip(")\"'") or type(error).__name__

"""Photos in a NumPy archive (.npz): arrays of photos, uint8 (n, h, w, 3), as MedMNIST has them.

The key of a photo of the array `train_images` is `train/00012`. An array in an archive is
compressed as a whole, so it is kept in memory from its first photo on. Pickled members are never
loaded.
"""

from __future__ import annotations

import functools
import math
import os
import threading
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from dermssl.core.errors import UserError
from dermssl.data.sources.listing import Listing, Stored, damaged, described, png

MAX_BYTES = 4 * 2**30  # of all photos of a file in memory; DermaMNIST of 224 px takes 1.5 GB
MAX_PHOTOS = 1_000_000
PART = 2**24  # bytes that are unpacked at once
IMAGES, LABELS = "_images", "_labels"
# What zipfile, zlib and NumPy raise on damaged and on hostile files.
ERRORS = (
    OSError, EOFError, ValueError, KeyError, RuntimeError, NotImplementedError, OverflowError,
    zipfile.BadZipFile, zlib.error, SyntaxError,
)  # fmt: skip


class Member(NamedTuple):
    """An array of an archive, from its header."""

    name: str  # in the archive, with .npy
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    checksum: int


def listing(file: str) -> Listing:
    """What is in the archive, from the arrays' headers alone.

    Raises:
        UserError: it can't be read, an array of photos has another shape or type, or all of them
            together are too large for the memory.
    """
    photos: dict[str, Stored] = {}
    others: dict[str, str] = {}
    arrays, total = members(file), 0
    labels = {labels_of(array) for array in filter(is_images, arrays)}
    for array, member in arrays.items():
        if not _holds_photos(file, array, member):
            if array not in labels:
                others[array] = described(member.dtype, member.shape)
            continue
        size = math.prod(member.shape[1:])
        total += size * member.shape[0]
        if total > MAX_BYTES or len(photos) + member.shape[0] > MAX_PHOTOS:
            raise UserError(
                f"{file}: {array} is {described(member.dtype, member.shape)}; more than "
                f"{MAX_BYTES:,} bytes or {MAX_PHOTOS:,} photos a file don't fit the memory: write "
                "them to an HDF5 file or to files"
            )
        photo = Stored(size, member.checksum)
        photos |= dict.fromkeys((key_of(array, k) for k in range(member.shape[0])), photo)
    return Listing(photos, others)


def read(file: str, key: str) -> bytes:
    """A photo that `listing` has, as a PNG file.

    Raises:
        UserError: its array can't be read.
    """
    prefix, _, number = key.rpartition("/")
    arrays = members(file)
    array = next(name for name in (prefix + IMAGES, prefix) if name in arrays)
    return png(_array(file, arrays[array])[int(number)])


def prefix_of(array: str) -> str:
    """What the keys of an array's photos begin with: "train" of `train_images`."""
    return array.removesuffix(IMAGES)


def key_of(array: str, number: int) -> str:
    """The key of one photo of an array."""
    return f"{prefix_of(array)}/{number:05d}"


def is_images(array: str) -> bool:
    """Whether an array is meant to hold photos, by its name."""
    return array == IMAGES[1:] or array.endswith(IMAGES)


def labels_of(array: str) -> str:
    """The name of the labels of an array of photos."""
    return array.removesuffix(IMAGES[1:]) + LABELS[1:]


def _holds_photos(file, array, member):
    """Whether an array is one of photos; one that is so by its name only is refused."""
    shape = member.shape
    small = member.dtype == np.uint8 and min(shape[1:], default=0) > 0
    coloured = small and len(shape) == 4 and shape[3] == 3
    if coloured or not is_images(array):
        return coloured
    if small and (len(shape) == 3 or shape[3:] == (1,)):
        return True
    raise UserError(
        f"{file}: {array} is {described(member.dtype, shape)}, not photos, uint8 "
        "(n, height, width, 3); write it so, or to files"
    )


_arrays: dict[tuple[str, int, int, str], np.ndarray] = {}
_lock = threading.Lock()


def _new_lock():
    """A forked process has the arrays, and must not wait for a thread that it doesn't have."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def _version(file):
    info = os.stat(file)
    return file, info.st_mtime_ns, info.st_size


def members(file: str) -> dict[str, Member]:
    """The arrays of an archive by their names without .npy, from their headers.

    Raises:
        UserError: it can't be read.
    """
    return _headers(*_version(file))


@functools.lru_cache(maxsize=64)
def _headers(file: str, modified: int, size: int) -> dict[str, Member]:
    found = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                with archive.open(info) as stream:
                    shape, fortran, dtype = _header(stream)
                    length = stream.tell() + dtype.itemsize * math.prod(shape)
                if info.file_size != length and not dtype.hasobject:  # those are pickled
                    raise ValueError(f"{info.filename} states {length} bytes, not {info.file_size}")
                name = info.filename.removesuffix(".npy")
                found[name] = Member(info.filename, shape, dtype, fortran, info.CRC)
    except ERRORS as error:
        raise damaged(file, error, "npz") from error
    return found


def _header(stream):
    """(shape, whether in Fortran's order, dtype) of an .npy file."""
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(stream)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(stream)
    except ERRORS:
        raise
    except Exception as error:  # NumPy parses it as Python, which raises all kinds
        raise ValueError(f"a header that is none ({type(error).__name__})") from error
    raise ValueError(f"version {version} of .npy")


def _array(file, member):
    """An array of photos, kept."""
    version = (*_version(file), member.name)
    if version not in _arrays:
        with _lock:  # one thread takes the memory
            if version not in _arrays:
                _arrays[version] = loaded(file, member)
    return _arrays[version]


def loaded(file: str, member: Member) -> np.ndarray:
    """An array of numbers of an archive; its size is known to be what the archive says.

    Raises:
        UserError: it is damaged, or there is no memory for it.
    """
    shape = member.shape[::-1] if member.fortran else member.shape
    try:
        values = np.empty(shape, member.dtype)
        with zipfile.ZipFile(file) as archive, archive.open(member.name) as stream:
            _header(stream)
            flat, at = values.reshape(-1).view(np.uint8), 0
            while at < len(flat):
                part = stream.read(min(PART, len(flat) - at))
                if not part:
                    raise EOFError(f"{member.name} is cut")
                flat[at : at + len(part)] = np.frombuffer(part, np.uint8)
                at += len(part)
            stream.read(1)  # at its end the checksum is compared
    except MemoryError:
        n = member.dtype.itemsize * math.prod(member.shape)
        raise UserError(f"{file}: no memory for the {n:,} bytes of {member.name}; "
                        "write its photos to files") from None  # fmt: skip
    except ERRORS as error:
        raise damaged(file, error, "npz") from error
    return values.T if member.fortran else values

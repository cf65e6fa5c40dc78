"""Files on this machine, or on any file system of `tf.io.gfile`: gs://, s3://, file://, ...

Only shards may lie elsewhere. TensorFlow is imported for a path with a scheme, and for no other.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from dermssl.core import atomic_files
from dermssl.core.errors import RunFailed, UserError

PAGE = 2**20  # bytes; from another file system so many are read at once
PAGES_KEPT = 128  # in memory; two windows of an epoch's order (see `pipeline.epoch_order`)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+):/+")


def elsewhere(path: Path | str) -> str | None:
    """A path with a scheme, as TensorFlow takes it; None for one of this machine.

    A `Path` has lost the second slash of a scheme; it is put back.

    Example:

    >>> elsewhere(Path("gs://bucket/shards")), elsewhere("file:///data"), elsewhere("/data")
    ('gs://bucket/shards', 'file:///data', None)
    """
    text = os.fspath(path)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return None
    return f"{scheme[1]}://{'/' * (scheme[1] == 'file')}{text[scheme.end() :]}"


def names(folder: str) -> set[str]:
    """The names in a folder; none where it isn't there."""
    if not elsewhere(folder):
        return set(os.listdir(folder)) if os.path.isdir(folder) else set()
    with _gfile(folder) as gfile:
        return (
            {name.rstrip("/") for name in gfile.listdir(folder)} if gfile.exists(folder) else set()
        )


def make_folder(folder: str) -> None:
    """Make a folder, and those above it."""
    if not elsewhere(folder):
        os.makedirs(folder, exist_ok=True)
        return
    with _gfile(folder) as gfile:
        gfile.makedirs(folder)


def version(file: str) -> tuple[int, int]:
    """(bytes, time of the last change in ns) of a file.

    Raises:
        FileNotFoundError: it isn't there.
    """
    if not elsewhere(file):
        info = os.stat(file)
        return info.st_size, info.st_mtime_ns
    with _gfile(file) as gfile:
        info = gfile.stat(file)
        return info.length, info.mtime_nsec


def read(file: str) -> bytes:
    """All bytes of a file."""
    if not elsewhere(file):
        return Path(file).read_bytes()
    with _gfile(file) as gfile, gfile.GFile(file, "rb") as opened:
        return opened.read()


def read_part(file: str, at: int, size: int) -> bytes:
    """The bytes [at, at + size) of a file; fewer where it ends before.

    From another file system whole pages are read, and some are kept: a request takes longer there
    than a page, and the next photos of an epoch lie in the same ones.
    """
    if elsewhere(file):
        first, last = at // PAGE, (at + size - 1) // PAGE
        pages = b"".join(_page(file, number) for number in range(first, last + 1))
        return pages[at - first * PAGE :][:size]
    with open(file, "rb", buffering=0) as opened:
        opened.seek(at)
        return opened.read(size)


@functools.lru_cache(maxsize=PAGES_KEPT)
def _page(file, number):
    with _gfile(file) as gfile, gfile.GFile(file, "rb") as opened:
        opened.seek(number * PAGE)
        return opened.read(PAGE)


@contextlib.contextmanager
def writing(file: str) -> Iterator[str]:
    """A temporary path for TensorFlow, which becomes the file at the end: whole or not at all.

    Raises:
        RunFailed: it can't be written.
    """
    if not elsewhere(file):
        with atomic_files.atomic_write(file) as temporary, _gfile(file):
            yield str(temporary)
        return
    folder, _, name = file.rpartition("/")
    half = f"{folder}/.tmp{os.getpid()}.{name}"
    try:
        with _gfile(file) as gfile:
            yield half
            gfile.rename(half, file, overwrite=True)
    except OSError as error:
        raise RunFailed(f"{file}: can't be written ({error})") from error
    finally:
        with contextlib.suppress(OSError):
            remove(half)


def write(file: str, data: bytes) -> None:
    """Write a file, whole or not at all."""
    if not elsewhere(file):
        with atomic_files.atomic_write(file) as temporary, open(temporary, "wb") as opened:
            opened.write(data)
        return
    with writing(file) as half, _gfile(file) as gfile, gfile.GFile(half, "wb") as opened:
        opened.write(data)


def remove(file: str) -> None:
    """Remove a file, if it is there."""
    if not elsewhere(file):
        Path(file).unlink(missing_ok=True)
        return
    with _gfile(file) as gfile, contextlib.suppress(FileNotFoundError):
        gfile.remove(file)


@contextlib.contextmanager
def _gfile(path):
    """`tf.io.gfile`; its errors as those of files on this machine."""
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.UnimplementedError as error:
        known = ", ".join(
            sorted(f"{name}://" for name in tf.io.gfile.get_registered_schemes() if name)
        )
        raise UserError(
            f"{path}: TensorFlow has no such file system, but {known}; give a folder, or install "
            "the package that brings it (tensorflow-io has s3:// and others)"
        ) from error
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"{path} is not there") from error
    except tf.errors.OpError as error:
        raise OSError(" ".join(f"{path}: {error.message}".split())) from error

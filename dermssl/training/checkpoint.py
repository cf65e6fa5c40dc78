"""Checkpoints: all that a run needs to resume exactly, in one file.

A file holds a checksum, then arrays and a JSON text as an .npz archive. One file can't lose
its half, is written beside its place and renamed, and is read without pickle: it holds
numbers and text, nothing that runs. The two newest are kept.
"""

import hashlib
import io
import json
import logging
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import atomic_files, runs
from dermssl.core.errors import RunFailed, UserError

KEPT = 2
FORMAT = 1
_MAGIC = b"dermssl checkpoint\n"
_STATE = "state"

log = logging.getLogger("dermssl")


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        state: dict of what JSON can hold.
        arrays: dict of name -> list of arrays.
    """

    state: dict[str, Any]
    arrays: dict[str, list[np.ndarray]]


class _Damaged(Exception):
    """A file that is no whole checkpoint."""


def save(
    run: runs.Run, step: int, state: dict[str, Any], arrays: dict[str, list[np.ndarray]]
) -> None:
    """Write a checkpoint, and remove all but the two newest.

    Args:
        run: `runs.Run`.
        step: int, steps of the run so far: the file's name and its age.
        state: dict of what JSON can hold; NaN and infinities are kept.
        arrays: dict of name -> list of numeric arrays.
    """
    flat = _flat(state, arrays)
    with atomic_files.atomic_write(_folder(run) / f"{step:09d}.ckpt") as temporary:
        with open(temporary, "wb") as file:
            file.write(_MAGIC + b"0" * 64 + b"\n")
            np.savez(file, **flat)  # type: ignore[arg-type]
        with open(temporary, "r+b") as file:
            file.seek(len(_MAGIC) + 65)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(len(_MAGIC))
            file.write(digest.encode())
    for old in _files(run)[KEPT:]:
        old.unlink()


def load(run: runs.Run) -> Saved | None:
    """The newest whole checkpoint of a run.

    A damaged one is removed, with a warning, for the one before. The folder is made here, so
    that a place that can't be written shows before training.

    Returns:
        `Saved`, or None where the run has not saved any yet.

    Raises:
        UserError: every checkpoint is damaged, or one holds no run's state: to start from
            fresh weights then would look like going on.
    """
    _folder(run)
    damage = []
    for path in _files(run):
        try:
            saved = _read(path)
        except _Damaged as error:
            damage.append((path, error))
            continue
        for bad, reason in damage:
            log.warning("%s: damaged (%s), going on from %s", bad, reason, path.name)
            bad.unlink()
        _warn_of_versions(run, saved)
        return saved
    if damage:
        path, reason = damage[0]
        others = f", nor can {len(damage) - 1} before it" if damage[1:] else ""
        raise UserError(
            f"{path}: damaged ({reason}), can't be gone on from{others}; "
            "run.overwrite starts the run from its beginning"
        )
    return None


def to_bytes(saved: Saved) -> bytes:
    """A checkpoint as one message, for other workers; see `from_bytes`."""
    message = io.BytesIO()
    np.savez(message, **_flat(saved.state, saved.arrays))  # type: ignore[arg-type]
    return message.getvalue()


def from_bytes(message: bytes) -> Saved:
    """The checkpoint in a message of `to_bytes`."""
    with np.load(io.BytesIO(message), allow_pickle=False) as archive:
        return _checked("the chief's checkpoint", dict(archive))


def _flat(state, arrays):
    """All of a checkpoint as one dict of arrays."""
    sizes = {name: len(values) for name, values in arrays.items()}
    flat = {f"{name}/{k}": item for name, values in arrays.items() for k, item in enumerate(values)}
    text = json.dumps({"format": FORMAT, "arrays": sizes, "versions": runs.versions(), **state})
    flat[_STATE] = np.frombuffer(text.encode(), np.uint8)
    return flat


def clear(run: runs.Run) -> None:
    """Remove the checkpoints of a run that is finished and needs them no more."""
    shutil.rmtree(run / runs.CHECKPOINTS, ignore_errors=True)


def _folder(run: runs.Run) -> Path:
    folder = run / runs.CHECKPOINTS
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunFailed(f"{folder}: can't be written ({error.strerror})") from error
    return folder


def _files(run):
    """Paths of the checkpoints, the newest first."""
    paths = (run / runs.CHECKPOINTS).glob("*.ckpt")
    return sorted((path for path in paths if re.fullmatch(r"\d+\.ckpt", path.name)), reverse=True)


def _read(path):
    try:
        with open(path, "rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise _Damaged("it does not begin as a checkpoint")
            wanted = file.read(65)[:64].decode("ascii", "replace")
            start = file.tell()
            if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                raise _Damaged("its checksum is wrong")
            file.seek(start)
            with np.load(file, allow_pickle=False) as archive:
                flat = dict(archive)
    except OSError as error:
        raise _Damaged(error.strerror or str(error)) from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _Damaged(str(error)) from error
    return _checked(path, flat)


def _checked(path, flat):
    """`Saved` from the arrays of a file whose checksum is right."""
    anew = "run.overwrite starts the run from its beginning"
    try:
        state = json.loads(flat.pop(_STATE).tobytes())
        sizes = state["arrays"]
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"{path}: holds weights without metadata; {anew}") from error
    if state.get("format") != FORMAT:
        raise UserError(
            f"{path}: of format {state.get('format')}, this version reads {FORMAT}; {anew}"
        )
    names = {f"{name}/{k}" for name, size in sizes.items() for k in range(size)}
    if names != set(flat):
        odd = min(names ^ set(flat))
        what = "metadata without its weights" if odd in names else "weights without metadata"
        raise UserError(f"{path}: holds {what} ({odd}); {anew}")
    arrays = {name: [flat[f"{name}/{k}"] for k in range(size)] for name, size in sizes.items()}
    return Saved(state, arrays)


def _warn_of_versions(run, saved):
    now, then = runs.versions(), saved.state.get("versions", {})
    changed = [f"{name} {then.get(name)} then, {now[name]} now"
               for name in ("python", "tensorflow", "keras", "numpy")
               if then.get(name) != now.get(name)]  # fmt: skip
    if changed:
        log.warning("%s: saved with other versions (%s); its last digits may differ from those "
                    "of a run never stopped", run.path, "; ".join(changed))  # fmt: skip

"""Check memory, disk, and that runs can be written and locked where outputs go."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from dermssl.core import atomic_files, file_locks
from dermssl.core import memory as memories
from dermssl.core.errors import RunFailed
from dermssl.core.memory import gigabytes
from dermssl.studies.doctor.check import Check

# TensorFlow held 0.7 GB once it was started, and 0.9 GB after the two steps of `training`.
LITTLE_MEMORY, TOO_LITTLE_MEMORY = 4e9, 1e9  # bytes
# Round numbers: a run leaves from one to some hundreds of MB, more while it trains.
LITTLE_DISK, TOO_LITTLE_DISK = 5e9, 0.5e9  # bytes


def memory() -> Check:
    """Memory of the machine, what of it is free for this process, and the container's limit."""
    total, free, limit = memories.total(), memories.available(), memories.limit()
    if total is None or free is None:
        return Check("memory", "this system doesn't tell")
    value = f"{gigabytes(total)}, {gigabytes(free)} free for this process"
    value += f"; its container or service may have {gigabytes(limit)}" if limit else ""
    if free >= LITTLE_MEMORY:
        return Check("memory", value)
    more = "raise the limit of the container" if limit else "end other programs"
    if free < TOO_LITTLE_MEMORY:
        return Check("memory", value, f"{more}: TensorFlow hardly starts in this", broken=True)
    return Check("memory", value, f"{more}, or train with a small batch")


def disk(output: Path) -> Check:
    """What is free on the disk of the outputs."""
    folder = existing(output)
    free = shutil.disk_usage(folder).free
    value = f"{gigabytes(free)} free for {output}"
    if hasattr(os, "statvfs"):
        files = os.statvfs(folder)
        if files.f_files and not files.f_favail:
            advice = "delete some: this disk holds as many files as it can"
            return Check("disk", f"{value}, but no file more", advice, broken=True)
    if free < TOO_LITTLE_DISK:
        return Check("disk", value, "free some: a run won't fit", broken=True)
    return Check("disk", value, "free some: a large run may not fit" if free < LITTLE_DISK else "")


def writing(output: Path) -> Check:
    """Whether a run can be written and locked in the folder of the outputs; nothing is left."""
    folder = existing(output)
    if not folder.is_dir():
        return Check("outputs", f"{folder} is a file", "choose another folder", broken=True)
    advice = "choose another folder for outputs, or get write access to this one"
    try:
        with tempfile.TemporaryDirectory(prefix=".dermssl_doctor_", dir=folder) as trial:
            atomic_files.write_text(Path(trial) / "file", "content")
            locks = _locks(Path(trial) / "lock")
    except (OSError, RunFailed) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Check("outputs", f"{output} can't be written ({reason})", advice, broken=True)
    made = "" if output.exists() else " (it will be made)"
    if locks:
        advice = "start one command a folder, or put outputs on a local disk"
        return Check("outputs", f"{output} can be written{made}, but {locks}", advice)
    return Check("outputs", f"{output} can be written and locked{made}")


def existing(path: Path) -> Path:
    """The path itself, or what is there of it, from the root on."""
    path = Path(path).absolute()
    return next(above for above in (path, *path.parents) if above.exists())


def _locks(path):
    """What is wrong with locks, in words; "" where they hold."""
    with open(path, "w") as first, open(path, "w") as second:
        try:
            file_locks.lock(first, wait=False)
        except OSError as error:
            return f"its file system can't lock ({error.strerror})"
        try:
            file_locks.lock(second, wait=False)
        except BlockingIOError:
            return ""
    return "locks don't hold there: two commands could write one run"

"""Lock an open file or a folder, where the system and the file system can."""

import errno
import logging
import os
from pathlib import Path
from typing import IO

from dermssl.core.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"  # of a folder's lock file

log = logging.getLogger("dermssl")


def lock(file: IO, wait: bool) -> None:
    """Lock an open file until it is closed.

    Args:
        file: open for writing.
        wait: for another process to let it go; else that is an error.

    Raises:
        BlockingIOError: another process has it, and `wait` is False.
        OSError: no locks here: no fcntl, NFS without a lock daemon, Lustre without -o flock.
    """
    if fcntl is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def of_output(folder: Path | str) -> IO:
    """Make a folder, perhaps, and lock it for writing.

    Where the file system can't lock, a line says so.

    Args:
        folder: the setting `run.output`.

    Returns:
        The open lock file. Closing it, as `with` does, sets the folder free.

    Raises:
        UserError: the folder can't be written, or another process writes there.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        file = open(os.path.join(folder, NAME), "a+")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        raise UserError(
            f"run.output {folder}: can't be written ({error.strerror}); choose another folder"
        ) from error
    try:
        lock(file, wait=False)
    except BlockingIOError as error:  # EWOULDBLOCK, EAGAIN
        file.close()
        raise UserError(
            f"run.output {folder}: another process is writing there; wait or stop it"
        ) from error
    except OSError as error:
        log.warning(
            "run.output %s: this file system can't lock (%s), so nothing keeps a second process "
            "from writing there; start one alone, or set run.output to a folder on a local disk",
            folder, error.strerror,
        )  # fmt: skip
    return file

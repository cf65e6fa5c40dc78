"""Lock an open file, where the system and the file system can."""

import errno
import os
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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

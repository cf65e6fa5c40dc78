"""How much memory there is, and one line where it ran out."""

import contextlib
import ctypes
import dataclasses
import math
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dermssl.core.errors import RunFailed

# TensorFlow's and OpenCV's errors are known by name and text: nothing here waits for them.
_NAMES = ("ResourceExhaustedError", "OutOfMemoryError")
_TEXTS = ("OOM when allocating", "out of memory", "Insufficient memory", "Failed to allocate mem")
# Whose batch went through the network, and what sets its size; the first section that is there.
_SIZES = (("backbone", "image_size"), ("grid", "image_size"))
# M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_TOP_PAD of malloc.h. The last is above what a thread's
# heap may have, 64 MiB: a smaller one lets go of heaps that are empty for a moment.
_KEEP = {-1: 2**31 - 1, -3: 2**31 - 1, -2: 2**27}


class OutOfMemory(RunFailed):
    """A run that needs more memory than there is."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or on a GPU.

    Example:

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("out of range"))
    (True, False)
    """
    if isinstance(error, MemoryError) or type(error).__name__ in _NAMES:
        return True
    made_by = type(error).__module__.partition(".")[0]
    foreign = made_by in ("tensorflow", "cv2", "keras")
    return foreign and any(text.lower() in str(error).lower() for text in _TEXTS)


def message(config: dict[str, Any]) -> str:
    """What ran out, and which settings make it less.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        One line, with settings as `section.field`.
    """
    batch = _batch_setting(config)
    if batch is None:
        return "out of memory: end other programs, or use a machine with more"
    n = getattr(config[batch], "batch_size")  # noqa: B009 - sections differ in their classes
    size = next((place for place in _SIZES if place[0] in config), None)
    views = ", two views each," if batch == "pretrain" else ""
    shown = f" of {getattr(config[size[0]], size[1])} px" if size else ""
    less = f"{batch}.batch_size" + (f" or {size[0]}.{size[1]}" if size else "")
    what = f"batch of {n}"
    if chunk := getattr(config[batch], "chunk_size", 0):
        what, less = f"chunk of {chunk} in a batch of {n}", f"{batch}.chunk_size or {less}"
    return f"out of memory at a {what} photos{views}{shown}: use a smaller {less}"


@contextlib.contextmanager
def explained(config: dict[str, Any]) -> Iterator[None]:
    """A context that turns an error of memory into an `OutOfMemory` with `message`."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(message(config)) from error


def _batch_setting(config):
    """The section whose `batch_size` this command uses, or None."""
    for name, section in config.items():
        if dataclasses.is_dataclass(section) and hasattr(section, "batch_size"):
            return name
    return None


def keep_freed() -> bool:
    """Let the C library keep memory that is freed, and give it out again.

    Else it gives large blocks back to the system, which clears each page anew when it is asked for
    again. It does nothing where the C library isn't GNU's, or where the environment says what to do
    with memory (`GLIBC_TUNABLES`, `MALLOC_...`).

    Returns:
        Whether it does so now.
    """
    if any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none by that name
        return False
    return all(set_option(option, value) for option, value in _KEEP.items())


def available(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes of memory that this process may still take: of the machine, its container, its limits.

    Args:
        proc, cgroup: where Linux tells.

    Returns:
        Bytes, swap included, or None where nothing tells.
    """
    found, of_machine = [], _meminfo(proc)
    if "MemAvailable" in of_machine:
        found.append(of_machine["MemAvailable"] + of_machine.get("SwapFree", 0))
    found += _limits(proc, cgroup)
    with contextlib.suppress(OSError, ValueError):
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]  # ulimit -v
        if limit != resource.RLIM_INFINITY:
            pages = int((proc / "self" / "statm").read_text().split()[0])
            found.append(max(0, limit - pages * resource.getpagesize()))
    return min(found) if found else None


def total(proc: Path = Path("/proc")) -> int | None:
    """Bytes of the machine's memory, without swap, or None where nothing tells."""
    return _meminfo(proc).get("MemTotal")


def limit(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes that the container or service of this process may have; None: as much as there is."""
    below = [found for found in _limits(proc, cgroup) if found < (total(proc) or math.inf)]
    return min(below) if below else None


def _meminfo(proc):
    """dict of name -> bytes; empty where there is none."""
    try:
        lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
        return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if len(words) > 1}
    except (OSError, ValueError):
        return {}


def _limits(proc, cgroup):
    """The limits of the control groups (version 2, then 1) that this process is in."""
    folders = [cgroup, cgroup / "memory"]
    with contextlib.suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            inside = line.split(":", 2)[-1].strip("/")
            folders += [cgroup / inside, cgroup / "memory" / inside]
    found = []
    for folder in folders:
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                found.append(int((folder / name).read_text()))
    return found


def of_gpu() -> int | None:
    """Bytes of the largest GPU's memory, from NVIDIA's own tool; None where it isn't there.

    All of it, not what is free: TensorFlow takes it whole when it starts.
    """
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        numbers = [int(row[0]) for row in nvidia_smi("memory.total") if row[0].isdigit()]
        return max(numbers) * 2**20 if numbers else None
    return None


def nvidia_smi(*names: str) -> list[list[str]]:
    """What NVIDIA's own tool says of each GPU; a row a GPU, a column a name.

    Args:
        names: as `nvidia-smi --help-query-gpu` lists them.

    Raises:
        FileNotFoundError: it isn't there.
        OSError, subprocess.SubprocessError: it doesn't work.
    """
    asked = ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
    return [[word.strip() for word in line.split(",")] for line in said.splitlines() if line]


def gigabytes(n: float) -> str:
    """Bytes as "3.2 GB".

    Example:

    >>> gigabytes(3_200_000_000)
    '3.2 GB'
    """
    return f"{n / 1e9:.1f} GB" if n < 1e11 else f"{n / 1e9:,.0f} GB"

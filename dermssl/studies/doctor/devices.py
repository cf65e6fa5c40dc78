"""Check the processors: CPU cores, and the GPUs, or why TensorFlow sees none."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from dermssl.core import memory, threads
from dermssl.studies.doctor.check import Check

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
OF_TENSORFLOW = "pip install 'tensorflow[and-cuda]=={}'"
_NO_LIBRARY = "can't be loaded"


def cpu() -> Check:
    """The cores that this process may use."""
    cores = os.cpu_count() or 1
    value = f"{threads.cores()} of {cores} cores"
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        quota, period = map(int, CPU_MAX.read_text().split())
        value += f"; the container may use the time of {quota / period:.3g}"
    return Check("CPU", value)


def gpu() -> Check:
    """The GPUs that TensorFlow uses, or why it sees none where a driver is there."""
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    if not devices:
        return Check("GPU", *why_none(look()))
    memories = {}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        memories = dict(memory.nvidia_smi("name", "memory.total"))
    names = []
    for device in devices:
        details = tf.config.experimental.get_device_details(device)
        name = details.get("device_name", device.name)
        mib = memories.get(name, "")
        names.append(name + (f", {memory.gigabytes(int(mib) * 2**20)}" if mib.isdigit() else ""))
    return Check("GPU", f"{len(devices)}: {'; '.join(names)}")


@dataclass(frozen=True)
class Driver:
    """What there is to see of an NVIDIA driver, and of what TensorFlow needs beside it.

    Attributes:
        there: whether there is any sign of it.
        cuda_build: the CUDA version that TensorFlow is built for; "" for none.
        oldest_gpu: the least compute capability that it is built for, such as 6.0.
        hidden: `CUDA_VISIBLE_DEVICES` where it hides all GPUs, else None.
        device: the device file, or None where it isn't there.
        may_open: whether this process may open the device file.
        tool: what `nvidia-smi` failed with; "" where it works or isn't there.
        gpus: (name, compute capability) of each, as it says.
        error: what the driver's library failed with; "" where it works.
        cuda: the CUDA version of the driver, such as 12.4; 0.0 for unknown.
        missing: TensorFlow's CUDA packages that aren't installed.
        log: what TensorFlow says itself; "" for nothing.
    """

    there: bool = False
    cuda_build: str = "12.5.1"
    oldest_gpu: float = 6.0
    hidden: str | None = None
    device: str | None = "/dev/nvidia0"
    may_open: bool = True
    tool: str = ""
    gpus: tuple[tuple[str, float], ...] = ()
    error: str = ""
    cuda: float = 0.0
    missing: tuple[str, ...] = ()
    log: str = ""


def why_none(driver: Driver) -> tuple[str, str]:
    """(why TensorFlow sees no GPU, what to do).

    Example:

    >>> why_none(Driver(there=True, hidden="-1"))[0]
    'none: CUDA_VISIBLE_DEVICES is "-1", which hides all GPUs'
    """
    if not driver.there:
        return "none: no NVIDIA driver here; the CPU computes", ""
    install = OF_TENSORFLOW.format(_tensorflow_version())
    if not driver.cuda_build:
        return "none: this TensorFlow is built without CUDA", install
    if driver.hidden is not None:
        return (f'none: CUDA_VISIBLE_DEVICES is "{driver.hidden}", which hides all GPUs',
                "unset CUDA_VISIBLE_DEVICES, or set it to 0")  # fmt: skip
    if driver.device is None:
        return ("none: the driver is there, but no device (/dev/nvidia0)",
                "start a container with --gpus all, a cluster's job with a GPU; else install the "
                "driver anew")  # fmt: skip
    if not driver.may_open:
        return (f"none: no permission to open {driver.device}",
                "join the group that owns it, often video or render, and log in anew")  # fmt: skip
    if driver.error == _NO_LIBRARY:
        return ("none: the driver's library libcuda.so.1 can't be loaded",
                "install it; for a container set NVIDIA_DRIVER_CAPABILITIES=compute")  # fmt: skip
    if 0 < driver.cuda < int(driver.cuda_build.partition(".")[0]):
        return (f"none: the driver is for CUDA {driver.cuda}, TensorFlow for {driver.cuda_build}",
                "install a newer driver")  # fmt: skip
    if driver.error:
        reason = "; nvidia-smi: ".join(filter(None, (driver.error, driver.tool)))
        return f"none: the driver fails ({reason})", "restart, or install the driver anew"
    old = [f"{name} ({able})" for name, able in driver.gpus if able < driver.oldest_gpu]
    if old and len(old) == len(driver.gpus):
        return (f"none: {', '.join(old)} is older than this TensorFlow is built for, compute "
                f"capability {driver.oldest_gpu}", "use a newer GPU")  # fmt: skip
    if driver.missing:
        return f"none: TensorFlow lacks {', '.join(driver.missing)}", install
    return (f"none, though the driver works; TensorFlow says: {driver.log or 'nothing'}",
            install if "dlopen" in driver.log else "ask in an issue")  # fmt: skip


def look(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> Driver:
    """What there is to see of a driver on this machine.

    Args:
        root: where /dev and /proc are.
        environment: variables.
    """
    import tensorflow as tf

    devices = [root / "dev" / name for name in ("nvidia0", "dxg")]  # dxg: of Windows's Linux
    device = next((path for path in devices if path.exists()), None)
    tool, gpus, found = "", [], True
    try:
        gpus = [(name, float(able) if re.fullmatch(r"\d+\.\d+", able) else 99.0)
                for name, able in memory.nvidia_smi("name", "compute_cap")]  # fmt: skip
    except FileNotFoundError:
        found = False
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stdout", "") or getattr(error, "stderr", "") or str(error)).strip()
        tool = said.splitlines()[0] if said else type(error).__name__
    if not (found or device or (root / "proc/driver/nvidia/version").exists()):
        return Driver()
    build = tf.sysconfig.get_build_info()
    able = [re.search(r"(\d+)(\d)$", name) for name in build.get("cuda_compute_capabilities", ())]
    hidden = environment.get("CUDA_VISIBLE_DEVICES")
    failure, cuda = _initialised()
    return Driver(
        there=True,
        cuda_build=build.get("cuda_version", "") if build.get("is_cuda_build") else "",
        oldest_gpu=min((float(f"{a[1]}.{a[2]}") for a in able if a), default=0.0),
        hidden=hidden if hidden is not None and hidden.split(",")[0] in ("", "-1") else None,
        device=str(device) if device else None,
        may_open=device is None or os.access(device, os.R_OK | os.W_OK),
        tool=tool, gpus=tuple(gpus), error=failure, cuda=cuda,
        missing=_missing_packages(), log="" if failure else _log(),
    )  # fmt: skip


def _initialised():
    """(what the driver's library fails with, its CUDA version)."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return _NO_LIBRARY, 0.0
    version = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(version))
    cuda = version.value // 1000 + version.value % 1000 // 10 / 10
    if code := library.cuInit(0):
        name = ctypes.c_char_p()
        library.cuGetErrorName(code, ctypes.byref(name))
        return (name.value or str(code).encode()).decode(), cuda
    return "", cuda


def _missing_packages():
    """Packages of `tensorflow[and-cuda]` that are neither installed nor on the system."""
    from packaging.requirements import Requirement

    missing = []
    for line in metadata.requires("tensorflow") or []:
        requirement = Requirement(line)
        wanted = requirement.name.startswith("nvidia-") and requirement.name.endswith("-cu12")
        library = requirement.name.removeprefix("nvidia-").removesuffix("-cu12")
        library = {"cuda-runtime": "cudart"}.get(library, library.removeprefix("cuda-"))
        if wanted and library in _OPENED and not ctypes.util.find_library(library):
            try:
                metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                missing.append(requirement.name)
    return tuple(missing)


# What TensorFlow opens at its start, and finds no GPU without.
_OPENED = ("cudart", "cublas", "cudnn", "cufft", "cusolver", "cusparse")


def _log():
    """TensorFlow's own line on why it found no GPU, from a fresh process that prints it."""
    code = "import tensorflow as tf; tf.config.list_physical_devices('GPU')"
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}
    said = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    ).stderr
    lines = [line for line in said.splitlines() if re.search(r"cuInit|dlopen|CUDA_ERROR|cuda driv",
                                                             line)]  # fmt: skip
    return re.sub(r"^.*?\] ", "", lines[-1])[:200] if lines else ""


def _tensorflow_version():
    import tensorflow as tf

    return tf.__version__

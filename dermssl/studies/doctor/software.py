"""Check what is installed: Python, dermssl, its packages and extras, and that TensorFlow starts."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from dermssl.core import cli
from dermssl.studies.doctor.check import Check

OLDEST_PYTHON = (3, 11)  # as in setup.cfg
# What is told elsewhere or is of no use to a user.
_NOT_SHOWN = ("dev", "bench", "gpu")
CPUINFO = Path("/proc/cpuinfo")


def system() -> Check:
    """The operating system and its kernel."""
    libc = " ".join(platform.libc_ver()).strip()
    words = [platform.system(), platform.release(), platform.machine()]
    return Check("system", " ".join(words) + (f", {libc}" if libc else ""))


def python() -> Check:
    """The version of Python, and where it is."""
    value = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        return Check("Python", value, f"use Python {oldest} or newer", broken=True)
    return Check("Python", value)


def dermssl() -> Check:
    """The version of dermssl, and where it is."""
    folder = Path(__file__).parents[2]
    try:
        return Check("dermssl", f"{metadata.version('dermssl')}, {folder}")
    except metadata.PackageNotFoundError:
        advice = "install it: pip install . (in its folder), so that its packages are known"
        return Check("dermssl", f"{folder}, not installed", advice)


def packages() -> Check:
    """The packages that dermssl needs, against the versions that it asks for."""
    versions, problems = [], []
    for requirement in _asked(""):
        version = _version(requirement.name)
        versions.append(f"{requirement.name} {version or 'missing'}")
        if not version or not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"'{requirement.name}{requirement.specifier}'")
    value = ", ".join(versions)
    if problems:
        return Check("packages", value, f"pip install {' '.join(problems)}", broken=True)
    return Check("packages", value or "not known, as dermssl isn't installed")


def extras() -> Check:
    """Which extras of dermssl are there; none is needed."""
    there, missing, wrong = [], [], []
    for extra in _extras():
        asked = list(_asked(extra))
        versions = {each.name: _version(each.name) for each in asked}
        if not all(versions.values()):
            missing.append(extra)
            continue
        there.append(f"{extra} ({', '.join(f'{k} {v}' for k, v in versions.items())})")
        wrong += [
            f"'{each.name}{each.specifier}'" for each in asked
            if not each.specifier.contains(versions[each.name], prereleases=True)
        ]  # fmt: skip
    value = ", ".join(there) or "none"
    value += f"; not installed: {', '.join(missing)}" if missing else ""
    return Check("extras", value, f"pip install {' '.join(wrong)}" if wrong else "")


def tensorflow() -> Check:
    """Whether TensorFlow starts, and in what time."""
    if platform.machine() in ("x86_64", "AMD64") and CPUINFO.is_file():
        flags = {word for line in CPUINFO.read_text().splitlines() if line.startswith("flags")
                 for word in line.split()}  # fmt: skip
        if flags and "avx" not in flags:  # Python would die at the import, without a word
            return Check(
                "TensorFlow", "not started: this processor has no AVX, which its releases need",
                "use another machine; in a virtual one, pass the processor's own features on",
                broken=True,
            )  # fmt: skip
    start = time.perf_counter()
    cli.quiet_tensorflow()
    import keras
    import tensorflow as tf

    took = f"{time.perf_counter() - start:.1f} s"
    value = f"{tf.__version__} with Keras {keras.__version__}, starts in {took}"
    if (backend := keras.backend.backend()) != "tensorflow":
        advice = "set KERAS_BACKEND=tensorflow, or mend ~/.keras/keras.json"
        return Check("TensorFlow", f"{value}; Keras uses {backend}", advice, broken=True)
    if keras.config.image_data_format() != "channels_last":
        advice = "take image_data_format out of ~/.keras/keras.json"
        value += f"; Keras puts channels first ({keras.config.image_data_format()})"
        return Check("TensorFlow", value, advice, broken=True)
    return Check("TensorFlow", value)


def _extras() -> list[str]:
    try:
        names = metadata.metadata("dermssl").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []
    return [name for name in names if name not in _NOT_SHOWN]


def _asked(extra: str) -> Iterator:
    """The `Requirement` of each package that an extra asks for; "": that dermssl itself does."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("dermssl") or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        requirement = Requirement(line)
        # An extra's packages have the marker `extra == "NAME"`.
        marker = requirement.marker
        needed = marker is None or marker.evaluate({"extra": ""})
        if needed != bool(extra) and (marker is None or marker.evaluate({"extra": extra})):
            yield requirement


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""

"""All checks of a machine, in order, each as soon as it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from dermssl.studies.doctor import devices, photos, software, storage, training
from dermssl.studies.doctor.check import Check, guarded


def checks(output: Path | str, quick: bool = False) -> Iterator[Check]:
    """Check this machine. Nothing is left on it, and no network is needed.

    Args:
        output: where outputs go.
        quick: leave the training out.

    Yields:
        `Check`; what can't be checked for want of TensorFlow is left out.
    """
    output = Path(output)
    for what, function in _plain(output).items():
        yield guarded(what, function)
    start = guarded("TensorFlow", software.tensorflow)
    yield start
    if start.broken:
        return
    yield guarded("GPU", devices.gpu)
    yield guarded("ImageNet", training.imagenet)
    if not quick:
        yield guarded("training", training.two_steps)


def _plain(output) -> dict[str, Callable[[], Check]]:
    """The checks that need no TensorFlow."""
    return {
        "dermssl": software.dermssl,
        "system": software.system,
        "Python": software.python,
        "packages": software.packages,
        "extras": software.extras,
        "CPU": devices.cpu,
        "memory": storage.memory,
        "disk": lambda: storage.disk(output),
        "outputs": lambda: storage.writing(output),
        "decoders": photos.decoders,
        "fonts": photos.fonts,
    }

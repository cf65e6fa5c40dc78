"""Compare what an exported file gives, in a process of its own, with what the run gives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dermssl.core.errors import RunFailed
from dermssl.evaluation.calibrator import Calibrator
from dermssl.inference import outputs
from dermssl.models.classifier import LesionClassifier
from dermssl.studies.export import use_exported

LARGEST = 1e-4  # difference of a probability that rounding of float32 explains


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network gives for photos.

    Attributes:
        fine, coarse: float (n, F) and (n, C), calibrated probabilities.
        ms: median milliseconds of a photo alone.
        fine_alone, coarse_alone: the same of the first photos, each alone.
    """

    fine: np.ndarray
    coarse: np.ndarray
    ms: float
    fine_alone: np.ndarray
    coarse_alone: np.ndarray


@dataclass(frozen=True)
class Check:
    """How an exported file compares with its run.

    Attributes:
        n: photos.
        difference: the largest of any probability, in batches and alone.
        changed_fine, changed_coarse: photos whose most probable class is another.
        ms, run_ms: median milliseconds of a photo alone, of the file and of the run.
        mb, run_mb: size, in 10^6 bytes.
    """

    n: int
    difference: float
    changed_fine: int
    changed_coarse: int
    ms: float
    run_ms: float
    mb: float
    run_mb: float


def of_run(model: LesionClassifier, scaling: Calibrator, photos: np.ndarray) -> Answers:
    """The run's own `Answers`, as dermssl.predict gives them."""

    def predict(images):
        p = outputs.predict_proba(model, [images])
        return dict(zip(("fine", "coarse"), scaling.apply(p["fine"], p["coarse"], model.taxonomy)))

    return _answers(use_exported.use(predict, photos))


def of_file(name: str, file: Path, photos: np.ndarray) -> Answers:
    """The `Answers` of an exported file, in a fresh process that doesn't have dermssl.

    Args:
        name: of its format.
        file: its path.
        photos: uint8 (n, size, size, 3).

    Raises:
        RunFailed: the file can't be loaded or used there.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, answers = Path(folder, "photos.npy"), Path(folder, "answers.npz")
        np.save(given, photos)
        script = str(use_exported.__file__)
        process = subprocess.run(
            # -P: the folder of the script is no place to import from.
            [sys.executable, "-P", script, name, str(file), str(given), str(answers)],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
        if process.returncode:
            last = (process.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise RunFailed(f"the exported {file.name} can't be used in a fresh process: {last}")
        with np.load(answers) as found:
            return _answers(dict(found))


def _answers(found):
    return Answers(**{**found, "ms": float(np.median(found["ms"]))})


def compare(own: Answers, other: Answers, file: Path, model_file: Path) -> Check:
    """The `Check` of a file's answers against the run's own."""
    names = ("fine", "coarse", "fine_alone", "coarse_alone")
    differences = [np.abs(getattr(own, name) - getattr(other, name)).max() for name in names]
    changed = [
        int((getattr(own, name).argmax(axis=1) != getattr(other, name).argmax(axis=1)).sum())
        for name in names[:2]
    ]
    return Check(
        n=len(own.fine),
        difference=float(np.max(differences)),  # NaN where one is
        changed_fine=changed[0],
        changed_coarse=changed[1],
        ms=other.ms,
        run_ms=own.ms,
        mb=megabytes(file),
        run_mb=megabytes(model_file),
    )


def megabytes(path: Path) -> float:
    """The size of a file, or of all files of a folder, in 10^6 bytes."""
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file()) / 1e6

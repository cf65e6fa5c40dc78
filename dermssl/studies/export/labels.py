"""labels.json: what whoever uses an exported network must know, and the graph can't say."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.core.study_settings import Evaluate, Export
from dermssl.data.records import VALIDATION
from dermssl.evaluation import binary_tasks, curves
from dermssl.evaluation.calibrator import Calibrator, LevelCalibration
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import weights
from dermssl.studies.export import formats
from dermssl.studies.export.formats import Format

NAME = "labels.json"
EVALUATED = "evaluation_test/metrics.json"
BEFORE = (
    "Decode the photo to 8-bit RGB, upright as its EXIF says; colour profiles are ignored.",
    "Cut out the central square, as wide as the shorter side.",
    "Resize it to {size} x {size} px by area averages (OpenCV's INTER_AREA; INTER_LINEAR where it "
    "must be enlarged).",
    "Give it as RGB in [0, 255], shape (n, {size}, {size}, 3): the backbone's scaling is inside.",
)
PREPARED = (
    "Do to the whole photo what the run did, in this order: {steps} (dermssl.data.preprocess; a "
    "lesion_crop, which needs a mask, is dermssl.data.masks.cropped)."
)
OUTSIDE = (
    "the class sets of dermssl.predict (predict.coverage)",
    "its check whether a photo looks like those of the run (column unlike_run)",
)
NAMED = (
    "dermssl names and scores the class that is likeliest before calibration. raw = (p / "
    "divide_by) ** temperature, divided by its sum; the fine class is the highest of raw, the "
    "coarse class the highest of {coarse}. The highest calibrated p may be another class."
)


def identity(run: FinishedRun, settings: Export) -> dict[str, str]:
    """What tells one export from another: the network, the format, the quantization."""
    path = run.path / weights.MODEL_FILE
    if not path.is_file():
        raise UserError(f"{path}: not there, so there is nothing to export; make the run again")
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"format": settings.format, "quantize": settings.quantize, "model_sha256": digest}


def make(
    run: FinishedRun, settings: Export, scaling: Calibrator, entry: Format, said: str
) -> dict[str, Any]:
    """The content of labels.json, but for what the check found.

    Args:
        run, settings: what is exported.
        scaling: the run's `Calibrator`, which is in the graph.
        entry: the format.
        said: the calibration in one line.
    """
    taxonomy = run.predictions.taxonomy
    size, status = run.image_size, run.status
    levels = {"fine": taxonomy.fine, "coarse": taxonomy.coarse}
    both = ["float32", "uint8"]
    return {
        **identity(run, settings),
        "file": entry.file,
        "how_to_load": entry.opened_by,
        "image_size": size,
        "input": {
            "name": formats.INPUT, "shape": ["n", size, size, 3], "colours": "RGB",
            "range": [0, 255], "dtype": both if entry.takes_uint8 else both[:1],
        },
        "outputs": {name: list(classes) for name, classes in levels.items()},
        "titles": dict(zip(taxonomy.fine, taxonomy.titles)),
        "parents": dict(zip(taxonomy.fine, taxonomy.parents)),
        "before": before(run),
        "not_inside": list(OUTSIDE),
        "calibration": {
            "what": said,
            "fine": _level(scaling.fine, len(taxonomy.fine)),
            "coarse": scaling.coarse and _level(scaling.coarse, len(taxonomy.coarse)),
        },
        "class_named": NAMED.format(
            coarse="the sums of raw over its fine classes (parents)"
            if scaling.coarse is None
            else "raw of the coarse output"
        ),
        "operating_points": operating_points(run, scaling),
        "source": {
            "run": run.path.name,
            **{key: status.get(key) for key in ("arm", "seed", "config_hash", "data_hash")},
            "versions": status.get("versions"),
        },
        "versions": versions(entry),
    }  # fmt: skip


def before(run: FinishedRun) -> list[str]:
    """What to do to a photo before the network, in order."""
    steps = [text.format(size=run.image_size) for text in BEFORE]
    if run.data.preprocess:
        steps.insert(1, PREPARED.format(steps=", ".join(run.data.preprocess)))
    return steps


def _level(level: LevelCalibration, n: int) -> dict[str, Any]:
    divide_by = np.exp(np.broadcast_to(level.offset, n))
    return {"temperature": level.temperature, "divide_by": divide_by.tolist()}


def operating_points(run: FinishedRun, scaling: Calibrator) -> list[dict[str, Any]]:
    """The thresholds that dermssl.evaluate chooses on validation, of calibrated probabilities.

    At the specificity, and of the class, of the run's evaluation; without one, at the defaults.

    Returns:
        list of a dict a yes/no question: yes where the sum of `classes` is >= `threshold`. A
        threshold is None where validation can't tell.
    """
    asked, table = Evaluate(), run.records(VALIDATION)
    if (run.path / EVALUATED).is_file():
        parameters = runs.read_json(run.path / EVALUATED)["parameters"]
        kept = {name: parameters[name] for name in ("one_class", "specificity")}
        asked = replace(asked, **kept)
    if table.empty:
        return []
    arrays, taxonomy = run.predictions.arrays(VALIDATION), run.predictions.taxonomy
    p_fine, _ = scaling.apply(arrays.p_fine, arrays.p_coarse, taxonomy)
    points = []
    for target in binary_tasks.binary_tasks_of(arrays.y, p_fine, taxonomy, asked.one_class):
        classes = [target.name] if target.is_class else binary_tasks.malignant_classes(taxonomy)
        threshold = curves.threshold_at_specificity(target.y, target.score, asked.specificity)
        points.append({
            "question": target.title, "classes": classes, "specificity": asked.specificity,
            "threshold": threshold if np.isfinite(threshold) else None, "chosen_on": VALIDATION,
            "n": target.n, "n_positive": target.n_positive,
        })  # fmt: skip
    return points


def versions(entry: Format) -> dict[str, str]:
    """Versions of what wrote and checked the file."""
    return runs.versions() | {name: metadata.version(name) for name in entry.needs}

"""The small photos of an evaluation's HTML page: behind the matrices' cells, and of the errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dermssl.core import cli
from dermssl.core.errors import UserError
from dermssl.data import heat_overlay
from dermssl.data.augmentation import opencv
from dermssl.data.decode import BadImage
from dermssl.inference import finished_run
from dermssl.reporting import wording
from dermssl.reporting.report import Photo
from dermssl.studies.single_run import confident_errors
from dermssl.studies.single_run.compute import Evaluation

if TYPE_CHECKING:
    from dermssl.data.records import Dataset
    from dermssl.inference.finished_run import FinishedRun
    from dermssl.models.classifier import LesionClassifier

SIDE, ERROR_SIDE = 112, 160  # pixels
WRONG, RIGHT = 8, 3  # photos a cell
MOST = 300  # photos behind the cells of a page: about 1 MB
BATCH = 32  # photos through the network at once

Cells = Mapping[str, Sequence[Photo]]


@dataclass(frozen=True, eq=False)
class PagePhotos:
    """The photos of a page.

    Attributes:
        cells: level -> "row,column" of its confusion matrix -> photos, the most confident first.
        errors: of each of the `confident_errors` that can be shown, the photo, then its heat maps.
        on_errors: why the errors, or their heat maps, aren't shown; "" where they are.
        warning: how many photos were left out, as they aren't those of the run; "" for none.
        source: what the photos of the page are, or why there are none.
    """

    cells: Mapping[str, Cells] = field(default_factory=dict, repr=False)
    errors: Sequence[Sequence[Photo]] = field(default=(), repr=False)
    on_errors: str = ""
    warning: str = ""
    source: str = ""


def of(evaluation: Evaluation) -> PagePhotos:
    """The photos of an evaluation's page, looked for where the run found them.

    The run's network sees each of them again: one that gets other probabilities than those in
    predictions.csv isn't the photo that was scored, and is left out.
    """
    if evaluation.settings.without_photos:
        return _none("No photo is in this page (evaluate.without_photos).")
    cells = {level: dict(_rows(evaluation, level)) for level in evaluation.levels}
    errors = confident_errors.rows(evaluation).tolist()
    behind = {int(k) for of_level in cells.values() for rows in of_level.values() for k in rows}
    wanted = sorted(behind.union(errors))
    try:
        run = finished_run.load(evaluation.path, "finetune")
        table = evaluation.found.table
        table = table[table["split"] == evaluation.split].iloc[wanted]
        dataset = run.dataset(table, moved=evaluation.settings.run_data or None)
        small, images, whole = _read(run, dataset, {wanted.index(k) for k in errors})
    except (UserError, BadImage, OSError):
        return _none(
            "Photos aren't shown: not all of them are where the run found them. "
            "evaluate.run_data names their folder, if it has moved."
        )
    model, levels, reason = _network(run)
    arrays = evaluation.arrays
    same = _same(model, images, arrays.p_fine[wanted])
    shown = {k: number for number, k in enumerate(wanted) if same[number]}
    names = dataset.index["path"].tolist()
    pages: dict[str, Cells] = {}
    for level, of_level in cells.items():
        p = arrays.p_fine if level == "fine" else arrays.p_coarse
        photos = {
            key: [
                Photo(f"{names[shown[k]]}, raw P = {p[k].max():.2f}", small[shown[k]])
                for k in rows
                if k in shown
            ]
            for key, rows in of_level.items()
        }
        pages[level] = {key: group for key, group in photos.items() if group}
    left = {k: number for number, k in enumerate(errors, start=1) if k in shown}
    places = [shown[k] for k in left]
    explained = _explained(
        model, [whole[k] for k in places], dataset.index.iloc[places], run.image_size, levels
    )
    titles = dict(zip(evaluation.found.taxonomy.fine, evaluation.found.taxonomy.titles))
    cases = [
        _case(number, arrays.p_fine[k], titles, *one)
        for (k, number), one in zip(left.items(), explained)
    ]
    warning = _warning(len(wanted) - len(shown), len(wanted))
    missing = f"Without heat maps: {reason}." if reason else ""
    return PagePhotos(
        pages,
        cases,
        missing if cases else warning,
        warning,
        _source(evaluation.split, len(shown), "" if model else reason),
    )


def _none(why):
    return PagePhotos(on_errors=why, source=why)


def _rows(evaluation: Evaluation, level: str) -> Iterator[tuple[str, np.ndarray]]:
    """Positions of the photos of each cell."""
    arrays = evaluation.arrays
    y, p = (arrays.y, arrays.p_fine) if level == "fine" else (arrays.y_coarse, arrays.p_coarse)
    predicted = p.argmax(axis=1)
    n = p.shape[1]
    most = max(1, MOST // (len(evaluation.levels) * n * n))
    for i, j in np.ndindex(n, n):
        rows = np.flatnonzero((y == i) & (predicted == j))
        rows = rows[np.argsort(-p[rows, j], kind="stable")]
        rows = rows[~pd.Series(arrays.groups[rows]).duplicated().to_numpy()]
        if len(rows):
            yield f"{i},{j}", rows[: min(most, RIGHT if i == j else WRONG)]


def _read(
    run: FinishedRun, dataset: Dataset, keep: set[int]
) -> tuple[list[bytes], np.ndarray, dict[int, np.ndarray]]:
    """Each photo as a small JPEG and as the network sees it, and some of them whole.

    What is shown is the photo as it is, at most cropped; the network sees it prepared.
    """
    prepared, plain = run.photos(dataset), run.photos(dataset, prepared=False)
    small, images, whole = [], [], {}
    for k in range(len(prepared)):
        photo = prepared[k]
        images.append(opencv.center_square(photo, run.image_size))
        shown = photo if prepared.steps == plain.steps else plain[k]
        small.append(heat_overlay.thumbnail(shown, SIDE))
        if k in keep:
            whole[k] = photo
    return small, np.stack(images), whole


def _network(run: FinishedRun) -> tuple[LesionClassifier | None, tuple[str, ...], str]:
    """The run's network, the levels of its heat maps, and why one of them is missing."""
    cli.quiet_tensorflow()
    from dermssl.models import grad_cam

    model = None
    try:
        model = run.model()
        grad_cam.spatial(model)
    except UserError as error:
        return model, (), str(error)
    return model, ("fine",), ""


def _same(model, images, p):
    """bool (n,): whether the network gives these probabilities; without a network nobody knows."""
    if model is None:
        return np.ones(len(images), dtype=bool)
    from dermssl.inference import outputs

    starts = range(0, len(images), BATCH)
    now = outputs.predict_proba(model, (images[start : start + BATCH] for start in starts))["fine"]
    return np.abs(now - p).max(axis=1) <= wording.SAME


def _explained(model, photos, index, size, levels):
    """(path, true class, picture, heat maps) of each photo."""
    paths, truth = index["path"], index["fine"]
    if model is None or not photos:
        return [(*row, photo, ()) for *row, photo in zip(paths, truth, photos)]
    from dermssl.inference import heat_maps

    explained = heat_maps.explain(model, photos, index, size, BATCH, levels)
    return [(one.path, one.fine, one.photo, one.heats) for one in explained]


def _case(number, p, titles, path, truth, photo, heats) -> list[Photo]:
    """A numbered error's photo, then its heat map for the predicted and for the true class."""
    guess = list(titles.values())[p.argmax()]
    words = [f"{number}: {Path(path).name}", f"true: {titles[truth]}", f"predicted: {guess}"]
    first = ", ".join([*words, f"raw P = {p.max():.2f}"])
    case = [Photo(first, heat_overlay.thumbnail(photo, ERROR_SIDE))]
    for heat in heats:
        empty = "" if heat.values.any() else " (empty: no place does)"
        shown = heat_overlay.thumbnail(photo, ERROR_SIDE, heat.values)
        case.append(Photo(f"speaks for {titles[heat.name]}{empty}", shown))
    return case


def _warning(gone, n):
    if not gone:
        return ""
    return (
        f"{gone:,} of {n:,} photos are left out of this page: the run's network gives them other "
        "probabilities than those in predictions.csv, so photos, weights or versions aren't those "
        "of the run."
    )


def _source(split, n, unchecked):
    checked = (
        f"The run's network gives each of them its probabilities in predictions.csv, to within "
        f"{wording.SAME}."
    )
    if unchecked:
        checked = f"That they are those of the run isn't checked: {unchecked}."
    return (
        f"{n:,} small photos of the {split} split are in the HTML page, behind the confusion "
        f"matrices of counts and under the most confident errors. {checked} "
        "evaluate.without_photos leaves them out."
    )

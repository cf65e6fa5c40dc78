"""The small photos of an evaluation's HTML page: behind the matrices' cells, and of the errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from dermssl.core import cli
from dermssl.core.errors import UserError
from dermssl.core.left_out import few
from dermssl.data import heat_overlay
from dermssl.data.augmentation import opencv
from dermssl.data.decode import BadImage
from dermssl.inference import finished_run
from dermssl.reporting import wording
from dermssl.reporting.report import Photo
from dermssl.studies.single_run import confident_errors
from dermssl.studies.single_run.compute import Evaluation

if TYPE_CHECKING:
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
        on_maps: what to know of the heat maps, in sentences.
        warning: how many photos were left out, as they aren't those of the run; "" for none.
        source: what the photos of the page are, or why there are none.
    """

    cells: Mapping[str, Cells] = field(default_factory=dict, repr=False)
    errors: Sequence[Sequence[Photo]] = field(default=(), repr=False)
    on_errors: str = ""
    on_maps: Sequence[str] = ()
    warning: str = ""
    source: str = ""


class _Seen(NamedTuple):
    """A photo that is there: its path, itself small, as the network sees it, and whole or None."""

    path: str
    small: bytes
    image: np.ndarray
    whole: np.ndarray | None


def of(evaluation: Evaluation) -> PagePhotos:
    """The photos of an evaluation's page, looked for where the run found them.

    The run's network sees each of them again: one that gets other probabilities than those in
    predictions.csv isn't the photo that was scored, and is left out.
    """
    settings, arrays = evaluation.settings, evaluation.arrays
    if settings.without_photos:
        return _none("No photo is in this page (evaluate.without_photos).")
    cells = {level: dict(_rows(evaluation, level)) for level in evaluation.levels}
    errors = confident_errors.rows(evaluation).tolist()
    behind = {int(k) for of_level in cells.values() for rows in of_level.values() for k in rows}
    wanted = sorted(behind.union(errors))
    table = evaluation.found.table
    table = table[table["split"] == evaluation.split].reset_index(drop=True).loc[wanted]
    try:
        run = finished_run.load(evaluation.path, "finetune")
        seen = _read(run, table, settings.run_data or None, set(errors))
    except (UserError, OSError):
        seen = {}
    if not seen:
        return _none(
            "Photos aren't shown: none of them is where the run found it. evaluate.run_data names "
            "their folder, if it has moved."
        )
    model, levels, reason = _network(run)
    same = _same(model, [one.image for one in seen.values()], arrays.p_fine[list(seen)])
    shown = {k: one for (k, one), kept in zip(seen.items(), same) if kept}
    numbered = {k: number for number, k in enumerate(errors, start=1) if k in shown}
    whole = [shown[k].whole for k in numbered]
    explained = _explained(model, whole, table.loc[list(numbered)], run.image_size, levels)
    titles = dict(zip(evaluation.found.taxonomy.fine, evaluation.found.taxonomy.titles))
    cases = [
        _case(number, arrays.p_fine[k], titles, *one)
        for (k, number), one in zip(numbered.items(), explained)
    ]
    warning = _warning(len(seen) - len(shown), len(wanted))
    gone = [path for k, path in table["path"].items() if k not in seen]
    lost = (
        f"{len(gone)} of the {len(wanted)} that belong there are missing or can't be read "
        f"({few(gone, 2)})."
    )
    missing = f"Without heat maps: {reason}." if reason else ""
    source = _source(evaluation.split, len(shown), "" if model else reason)
    return PagePhotos(
        _cells(evaluation, cells, shown),
        cases,
        missing if cases else warning or lost,
        () if reason else wording.few_cells(*_cells_of_a_map(model)),
        warning,
        f"{source} {lost}" if gone else source,
    )


def _none(why):
    return PagePhotos(on_errors=why, source=why)


def _cells(evaluation, cells, shown):
    """level -> cell -> its photos that can be shown; a cell without any isn't there."""
    pages: dict[str, Cells] = {}
    for level, of_level in cells.items():
        p = evaluation.arrays.p_fine if level == "fine" else evaluation.arrays.p_coarse
        pages[level] = {
            key: [Photo(f"{shown[k].path}, raw P = {p[k].max():.2f}", shown[k].small) for k in left]
            for key, rows in of_level.items()
            if (left := [k for k in rows if k in shown])
        }
    return pages


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
    run: FinishedRun, table: pd.DataFrame, moved: str | None, keep: set[int]
) -> dict[int, _Seen]:
    """The photos of a table that are there and can be read, by its index; some of them whole.

    What is shown is the photo as it is, at most cropped; the network sees it prepared.
    """
    table = table[run.there(table, moved)]
    dataset, seen = run.dataset(table, moved=moved), dict[int, _Seen]()
    prepared, plain = run.photos(dataset), run.photos(dataset, prepared=False)
    for number, (k, path) in enumerate(zip(table.index.tolist(), table["path"])):
        with contextlib.suppress(BadImage, OSError):
            photo = prepared[number]
            shown = photo if prepared.steps == plain.steps else plain[number]
            seen[k] = _Seen(
                path,
                heat_overlay.thumbnail(shown, SIDE),
                opencv.center_square(photo, run.image_size),
                photo if k in keep else None,
            )
    return seen


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


def _cells_of_a_map(model):
    from dermssl.models import grad_cam

    return grad_cam.spatial(model).shape[1:3]


def _same(model, images, p):
    """bool (n,): whether the network gives these probabilities; without a network nobody knows."""
    if model is None:
        return np.ones(len(images), dtype=bool)
    from dermssl.inference import outputs

    starts = range(0, len(images), BATCH)
    batches = (np.stack(images[start : start + BATCH]) for start in starts)
    now = outputs.predict_proba(model, batches)["fine"]
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

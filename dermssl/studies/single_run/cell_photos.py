"""Small photos behind the cells of the confusion matrices, for the HTML page."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from dermssl.core.errors import UserError
from dermssl.core.left_out import few
from dermssl.data.decode import BadImage
from dermssl.inference import finished_run
from dermssl.reporting.report import Photo
from dermssl.studies.single_run.compute import Evaluation

SIDE = 112  # pixels
WRONG, RIGHT = 8, 3  # photos a cell
MOST = 300  # photos a page: about 1 MB
QUALITY = 80

Cells = Mapping[str, Sequence[Photo]]


def behind(evaluation: Evaluation) -> tuple[dict[str, Cells], str]:
    """Photos of each cell of each matrix, the most confident first, one a lesion or patient.

    Args:
        evaluation: whose photos are looked for where the run found them.

    Returns:
        dict of level -> "row,column" of the matrix -> photos; and one line that says how many are
        shown and missing, or why there are none.
    """
    if evaluation.settings.without_photos:
        return {}, "No photo is in this page (evaluate.without_photos)."
    split = evaluation.split
    rows = {level: dict(_rows(evaluation, level)) for level in evaluation.levels}
    wanted = sorted({int(k) for cells in rows.values() for cell in cells.values() for k in cell})
    try:
        run = finished_run.load(evaluation.path, "finetune")
        table = evaluation.found.table
        table = table[table["split"] == split].iloc[wanted]
        small = _small(run, table, wanted, evaluation.settings.run_data or None)
    except (UserError, OSError):
        small = {}
    if not small:
        return {}, (
            "The photos behind the confusion matrices aren't shown: none of them is where the run "
            "found it. evaluate.run_data names their folder, if it has moved."
        )
    names = dict(zip(wanted, table["path"]))
    arrays = evaluation.arrays
    pages: dict[str, Cells] = {}
    for level, cells in rows.items():
        p = arrays.p_fine if level == "fine" else arrays.p_coarse
        pages[level] = {
            key: [Photo(f"{names[k]}, raw P = {p[k].max():.2f}", small[k]) for k in seen]
            for key, cell in cells.items()
            if (seen := [k for k in cell if k in small])
        }
    gone = [names[k] for k in wanted if k not in small]
    left = (
        f" {len(gone)} of the {len(wanted)} that belong there are missing or can't be read "
        f"({few(gone, 2)})."
    )
    return pages, (
        f"{len(small)} small photos of the {split} split are in the HTML page, behind the "
        "confusion matrices of counts, as they are now in the run's folder of photos: that they "
        "are those of the run isn't checked. evaluate.without_photos leaves them out."
        f"{left if gone else ''}"
    )


def _small(run, table, wanted, moved):
    """Position -> small photo, of those that are there and can be read."""
    there = run.there(table, moved)
    photos = run.photos(run.dataset(table[there], moved=moved), prepared=False)
    small = {}
    for number, k in enumerate(np.array(wanted)[there].tolist()):
        with contextlib.suppress(BadImage, OSError):
            small[k] = _jpeg(photos[number])
    return small


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


def _jpeg(photo: np.ndarray) -> bytes:
    """A photo, uint8 (h, w, 3), as a small square JPEG: its centre."""
    side = min(photo.shape[:2])
    top, left = ((length - side) // 2 for length in photo.shape[:2])
    square = photo[top : top + side, left : left + side]
    small = cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    stream = io.BytesIO()
    Image.fromarray(small).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()

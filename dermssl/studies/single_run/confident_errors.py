"""The wrong answers that the network was surest of, and their part of the report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from dermssl.core import config
from dermssl.evaluation import select_photos
from dermssl.reporting import report, wording
from dermssl.studies.single_run.compute import Evaluation

MOST = 12
_RAW = partial(report.Column, right=True, format=partial(wording.number, digits=2))
COLUMNS = (
    report.Column("no.", right=True), "photo", "true", "predicted", _RAW("raw P(predicted)"),
    _RAW("raw P(true)"),
)  # fmt: skip


def rows(evaluation: Evaluation) -> np.ndarray:
    """int64 (m,): wrong at the fine level, by raw P, the surest first; one photo a group."""
    arrays = evaluation.arrays
    chosen = select_photos.choose(arrays.y, arrays.p_fine, MOST, arrays.groups)
    return chosen.get("misses", np.zeros(0, np.int64))


def section(
    evaluation: Evaluation, unit: str, photos: Sequence[Sequence[report.Photo]], missing: str,
    warnings: Sequence[str] = (),
) -> report.Section | None:  # fmt: skip
    """The part of the report; None without an error.

    Args:
        evaluation: `Evaluation`.
        unit: what a group is, "lesion" or "patient".
        photos: of each error, from `page_photos.of`.
        missing: why they, or their heat maps, aren't there; "" where they are.
        warnings: on the heat maps.
    """
    chosen, arrays = rows(evaluation), evaluation.arrays
    if not len(chosen):
        return None
    table, titles = evaluation.found.table, evaluation.found.taxonomy.titles
    paths = table.loc[table["split"] == evaluation.split, "path"].to_numpy()
    lines = []
    for number, k in enumerate(chosen, start=1):
        p, truth = arrays.p_fine[k], arrays.y[k]
        guess = p.argmax()
        lines.append([number, paths[k], titles[truth], titles[guess], p[guess], p[truth]])
    text = (
        f"At most {MOST}, wrong at the fine level, with the highest raw probabilities of the "
        f"split; one photo a {unit}."
    )
    command = report.code(config.command_line("explain", {"explain": {"run": evaluation.path}}))
    maps = (
        "Each photo as the network sees it (in the HTML page alone), then with heat maps "
        "(Grad-CAM): where the last feature map speaks for the predicted class, and for the true "
        "one; yellow is the most in this photo, purple the least. They are no outline of a lesion "
        f"and no proof of a good reason. {command} draws larger ones and says what they don't "
        "prove."
    )
    return report.Section(
        "Most confident errors",
        [
            report.Text(text),
            report.Text(report.escaped(missing) if missing else maps),
            report.Warnings(list(warnings)) if photos else None,
            report.Gallery(photos) if photos else None,
            report.Table(COLUMNS, lines),
        ],
    )

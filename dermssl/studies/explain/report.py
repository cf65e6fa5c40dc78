"""The report on heat maps: what stands in it, and the same pictures for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import config as configs
from dermssl.core.taxonomy import Taxonomy
from dermssl.inference.heat_maps import Explained
from dermssl.reporting import report, wording
from dermssl.studies.explain import figures

GROUPS = {
    "hits": (
        "Surest hits",
        "Right at the fine level, with the highest probabilities of the split; one photo a lesion.",
    ),
    "misses": (
        "Surest misses",
        "Wrong at the fine level, with the highest probabilities of the split; one photo a lesion. "
        "The predicted class stands beside the true one.",
    ),
    "classes": (
        "One of every class",
        "Of each class the photo in the middle by the probability of the true class: neither a "
        "lucky nor an unlucky one.",
    ),
    "photos": ("The photos", "As given; their truth isn't known."),
}


@dataclass(frozen=True, eq=False)
class HeatMaps:
    """All that the report is made of.

    Attributes:
        path, status: of the run.
        groups: key of `GROUPS` -> rows of `photos`.
        photos: with their heat maps.
        likeness: float (n,), rank correlation with the maps of shuffled weights; NaN where unknown.
        cells: height and width of a map.
        kept: float (n, F), probabilities of the run's predictions.csv; None for new photos.
        source: what the photos are.
        log: folder of TensorBoard's pictures.
        command: what to type for the same again.
    """

    path: Path
    status: dict[str, Any]
    groups: dict[str, Sequence[int]]
    photos: Sequence[Explained]
    likeness: np.ndarray
    cells: tuple[int, int]
    kept: np.ndarray | None
    source: str
    log: Path
    command: str


def build(maps: HeatMaps) -> report.Report:
    """The report on a run's heat maps; its pictures are those of `draw`."""
    status, n = maps.status, wording.count(len(maps.photos), "photo")
    tensorboard = configs.command_line("tensorboard", {"tensorboard": {"folder": maps.log.parent}})
    model = f"{report.escaped(wording.model_title(status))}, seed {status.get('seed', 'n/a')}"
    return report.Report(
        f"Where {maps.path.name or maps.path} looks",
        [report.Text(f"{model}; {n}."), report.Warnings(notes(maps))],
        [*(_group(name) for name in maps.groups), _limits(maps, n)],
        [
            f"Photos: {report.escaped(maps.source)}.",
            "Every photo with its classes and probabilities: `explanations.csv` in this folder. "
            "They are the network's own, as in the run's `predictions.csv`; "
            "`python -m dermssl.predict` gives them as the run's `temperature.json` says.",
            f"TensorBoard: the same pictures under Images, {report.code(tensorboard)}.",
            f"Run: {report.hashes(status)}. Versions: {report.versions(status)}.",
            f"This page: {report.code(maps.command)}",
        ],
    )


def notes(maps: HeatMaps) -> list[str]:
    """What to know before the maps are believed."""
    sentences = wording.few_cells(*maps.cells)
    if maps.kept is not None:
        p = np.stack([photo.p_fine for photo in maps.photos])
        sentences += wording.changed(float(np.abs(p - maps.kept).max()))
    return sentences


def _group(name: str) -> report.Section:
    title, text = GROUPS[name]
    return report.Section(
        title, [report.Text(report.escaped(text)), report.Figure(f"{name}.png", title)]
    )


def _limits(maps: HeatMaps, n: str) -> report.Section:
    height, width = maps.cells
    known = maps.likeness[~np.isnan(maps.likeness)]
    mean = wording.number(float(known.mean()) if len(known) else None, 2)
    backbone = maps.status["config"]["backbone"]["name"]
    return report.Section(
        "How to read this, and what it does not prove",
        [
            report.Text(
                "A heat map (Grad-CAM, Selvaraju et al., 2017) shows where the last feature map of "
                f"{report.code(backbone)} raised the score of one class: its logit at the fine "
                f"level, log P at the coarse one. The map has {height} x {width} cells and is "
                "enlarged smoothly, so its detail is no finer than a cell, and its outline is no "
                "outline of a lesion. 1 is the highest place within a photo: maps of two photos, "
                "or of two classes, have no common scale."
            ),
            report.Bullets(
                [
                    "A map on the lesion doesn't prove that the network saw what a dermatologist "
                    "sees there; a map beside it is a reason to look closer, "
                    "`python -m dermssl.stress_test` measures what such a thing costs.",
                    "A map shows what speaks for a class, not what speaks against it, and nothing "
                    "of how sure the network is.",
                    f"These are {n}: they say little about others, the less so where they were "
                    "chosen for being the surest.",
                    "Sanity check (Adebayo et al., 2018): rank correlation with the maps of the "
                    f"same network after its weights were shuffled, mean {mean} over "
                    f"{wording.count(len(known), 'photo')}. Near 1, the maps would show the photo "
                    "and not what was learnt.",
                ]
            ),
        ],
    )


def draw(folder: Path, maps: HeatMaps) -> None:
    """A sheet a group, `GROUP.png`."""
    for name, rows in maps.groups.items():
        title = f"{GROUPS[name][0]}, {maps.path.name}"
        figures.sheet(folder / f"{name}.png", [maps.photos[k] for k in rows], title)


def strips(maps: HeatMaps) -> list[tuple[str, np.ndarray, str]]:
    """TensorBoard's pictures: a strip a photo, with what it shows in words."""
    pictures = []
    for group, rows in maps.groups.items():
        for number, photo in enumerate((maps.photos[k] for k in rows), start=1):
            shown = ", ".join(f"{h.level} {h.role} {h.name} P = {h.p:.2f}" for h in photo.heats)
            truth = photo.fine or photo.coarse or "not known"
            text = f"{photo.path}; truth: {truth}. Left to right: photo, {shown}"
            strip = figures.strip(photo.photo, photo.heats)
            pictures.append((f"{group}/{number:02d}", strip, report.escaped(text)))
    return pictures


def rows(maps: HeatMaps, taxonomy: Taxonomy) -> list[dict[str, Any]]:
    """Rows of explanations.csv."""
    table = []
    for group, chosen in maps.groups.items():
        for k in chosen:
            photo = maps.photos[k]
            fine, coarse = photo.p_fine.argmax(), photo.p_coarse.argmax()
            table.append(
                {
                    "group": group,
                    "path": photo.path,
                    "fine": photo.fine,
                    "coarse": photo.coarse,
                    "predicted_fine": taxonomy.fine[fine],
                    "p_fine": float(photo.p_fine[fine]),
                    "predicted_coarse": taxonomy.coarse[coarse],
                    "p_coarse": float(photo.p_coarse[coarse]),
                    "empty_maps": sum(not heat.values.any() for heat in photo.heats),
                    "likeness_to_shuffled_weights": float(maps.likeness[k]),
                }
            )
    return table

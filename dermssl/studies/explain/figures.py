"""Figures of heat maps laid over their photos."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dermssl.data.heat_overlay import COLOURS, overlay
from dermssl.reporting import figures

if TYPE_CHECKING:
    from dermssl.inference.heat_maps import Explained, Heat

CELL = 2.0  # inches a picture
COLUMNS = (("fine", "predicted"), ("fine", "true"), ("coarse", "predicted"), ("coarse", "true"))


def strip(photo: np.ndarray, heats: Sequence[Heat]) -> np.ndarray:
    """A photo and its overlays side by side, for TensorBoard; uint8 (h, w, 3)."""
    gap = np.full((photo.shape[0], 4, 3), 255, np.uint8)
    parts = [photo]
    for heat in heats:
        parts += [gap, overlay(photo, heat.values)]
    return np.concatenate(parts, axis=1)


def sheet(path: Path, explained: Sequence[Explained], title: str) -> Path:
    """A row a photo: the photo, then the map of each class that is explained."""
    shown = {(heat.level, heat.role) for photo in explained for heat in photo.heats}
    columns = [column for column in COLUMNS if column in shown]
    rows, captions = [], []
    for photo in explained:
        heats = {(heat.level, heat.role): heat for heat in photo.heats}
        truth = photo.fine or photo.coarse
        maps = [heats.get(column) for column in columns]
        shown_maps = (overlay(photo.photo, heat.values) if heat else None for heat in maps)
        rows.append([photo.photo, *shown_maps])
        captions.append([
            f"truth: {textwrap.shorten(truth, 24)}" if truth else "truth not known",
            *(_caption(photo, *pair) for pair in zip(columns, maps)),
        ])  # fmt: skip
    titles = ["photo", *(f"{level} level" for level, _ in columns)]
    names = [photo.path.rsplit("/", 1)[-1] for photo in explained]
    scale = COLOURS, "speaks for the class (1: most in this photo)"
    return figures.image_sheet(path, rows, titles, names, captions, CELL, title, scale)


def _caption(photo: Explained, column: tuple[str, str], heat: Heat | None) -> str:
    level, role = column
    if heat is None:
        return "predicted is true" if role == "true" and getattr(photo, level) else ""
    empty = "" if heat.values.any() else "\nempty: no place speaks for it"
    return f"{role}: {textwrap.shorten(heat.name, 22)}\nP = {heat.p:.2f}{empty}"

"""Figures of heat maps laid over their photos."""

import textwrap

import cv2
import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable

from dermssl.reporting import figures

# Green to yellow stands out from skin and blood; perceptually even, unlike a rainbow.
COLOURS = "viridis"
OPACITY = 0.5
CELL = 2.0  # inches a picture
COLUMNS = (("fine", "predicted"), ("fine", "true"), ("coarse", "predicted"), ("coarse", "true"))


def overlay(photo, heat):
    """A heat map over its photo.

    Args:
        photo: uint8 (h, w, 3) RGB.
        heat: float (rows, columns) in [0, 1], enlarged smoothly.

    Returns:
        uint8 (h, w, 3).
    """
    height, width = photo.shape[:2]
    wide = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colour = 255 * matplotlib.colormaps[COLOURS](wide)[..., :3]
    return np.rint((1 - OPACITY) * photo + OPACITY * colour).astype(np.uint8)


def strip(photo, heats):
    """A photo and its overlays side by side, for TensorBoard; uint8 (h, w, 3)."""
    gap = np.full((photo.shape[0], 4, 3), 255, np.uint8)
    parts = [photo]
    for heat in heats:
        parts += [gap, overlay(photo, heat.values)]
    return np.concatenate(parts, axis=1)


def sheet(path, explained, title):
    """A row a photo: the photo, then the map of each class that is explained.

    Args:
        path: of the PNG.
        explained: list of `training.explained.Explained`.
        title: of the picture.
    """
    there = {(heat.level, heat.role) for each in explained for heat in each.heats}
    columns = [column for column in COLUMNS if column in there]
    figure, every = figures.new(
        CELL * (1 + len(columns)) + 1.4, (CELL + 0.35) * len(explained) + 0.9,
        len(explained), 1 + len(columns),
    )  # fmt: skip
    every = np.array(every, dtype=object).reshape(len(explained), -1)
    for each, axes in zip(explained, every):
        known = each.fine or each.coarse
        _show(
            axes[0],
            each.photo,
            f"truth: {textwrap.shorten(known, 24)}" if known else "truth not known",
        )
        axes[0].set_ylabel(
            textwrap.fill(each.path.rsplit("/", 1)[-1], 22), fontsize=7.5, color=figures.MUTED
        )
        found = {(heat.level, heat.role): heat for heat in each.heats}
        for place, column in zip(axes[1:], columns):
            if column in found:
                heat = found[column]
                says = f"{column[1]}: {textwrap.shorten(heat.name, 22)}\nP = {heat.p:.2f}"
                _show(place, overlay(each.photo, heat.values), says)
                if not heat.values.any():
                    place.set_xlabel("empty: no place speaks for it", fontsize=8)
            else:
                place.set_axis_off()
                if column[1] == "true" and getattr(each, column[0]):
                    figures.nothing(place, "predicted\nis true")
    scale = ScalarMappable(matplotlib.colors.Normalize(0, 1), COLOURS)
    bar = figure.colorbar(scale, ax=every.ravel().tolist(), fraction=0.03, aspect=30, shrink=0.7)
    bar.set_label("speaks for the class (1: most in this photo)", fontsize=9, color=figures.INK)
    bar.outline.set_visible(False)
    heads = ["photo", *(f"{level} level" for level, _ in columns)]
    for axes, head in zip(every[0], heads):
        above = axes.get_title(loc="left")
        axes.set_title(f"{head}\n{above}" if above else head, loc="left", fontsize=8.5)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=figures.INK, fontweight="bold")
    return figures.save(figure, path)


def _show(axes, picture, title):
    axes.imshow(picture, interpolation="bilinear")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=8.5, color=figures.INK)

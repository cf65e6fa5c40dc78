"""Draw pictures for TensorBoard: photos with captions, and a confusion matrix."""

import functools
import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dermssl.data import contact_sheet

SIDE = 128  # pixels of a photo
LINE = 14  # pixels of a line of text
LETTERS = 20  # of a caption over a photo
CELL, NARROW = 40, 14  # pixels of a confusion matrix's cell, with its count and without
ANNOTATED = 15  # classes; beyond, the counts can't be read
LABEL = 24  # letters of a class's name
AXES = "rows: true, columns: predicted"
FULL = np.array([33, 102, 172])  # a dark blue: all records of the true class


@functools.cache
def _font():
    # One with Latin, Greek and Cyrillic letters that comes with a package we need.
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), 11)


def photo_sheet(
    rows: Sequence[Sequence[np.ndarray | None]], captions: Sequence[Sequence[Sequence[str]]]
) -> np.ndarray:
    """Rows of photos with captions above them.

    Args:
        rows: equally long lists of uint8 (h, w, 3) RGB; None leaves a place empty.
        captions: a list of lines for each photo; a long line is cut.

    Returns:
        uint8 (height, width, 3).
    """
    above = LINE * max(len(lines) for row in captions for lines in row) + 2
    sheet = Image.fromarray(contact_sheet.compose(rows, SIDE, above))
    draw, step = ImageDraw.Draw(sheet), SIDE + contact_sheet.GAP
    for r, row in enumerate(captions):
        for c, lines in enumerate(row):
            left, top = contact_sheet.GAP + c * step, contact_sheet.GAP + r * (step + above)
            for number, line in enumerate(lines):
                text = textwrap.shorten(line, LETTERS, placeholder="…")
                draw.text((left, top + number * LINE), text, fill=0, font=_font())
    return np.asarray(sheet)


def confusion_matrix(matrix: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """A confusion matrix: counts, on a blue that is the darker the larger their share of a row is.

    Args:
        matrix: int (n, n), records by true class (rows) and predicted class (columns).
        names: n names of the classes.

    Returns:
        uint8 (height, width, 3).
    """
    counts = np.asarray(matrix).sum(axis=1)
    share = matrix / np.maximum(counts, 1)[:, None]
    colours = np.rint(255 + share[..., None] * (FULL - 255)).astype(np.uint8)
    cell = CELL if len(names) <= ANNOTATED else NARROW
    body = cv2.resize(colours, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST)
    left = [f"{_short(name)}, n = {n:,}" for name, n in zip(names, counts)]
    below = [_short(name) for name in names]
    margin, foot, least = (
        int(max(_font().getlength(text) for text in texts)) + 8 for texts in (left, below, [AXES])
    )
    size = len(names) * cell
    sheet = Image.new("RGB", (max(margin + size + LINE, least), LINE + size + foot), "white")
    sheet.paste(Image.fromarray(body), (margin, LINE))
    draw = ImageDraw.Draw(sheet)
    draw.text((0, 0), AXES, fill=0, font=_font())
    for k, (row, column) in enumerate(zip(left, below)):
        at = k * cell + cell // 2
        draw.text((margin - 4, LINE + at), row, fill=0, font=_font(), anchor="rm")
        label = Image.new("RGB", (foot, LINE), "white")
        ImageDraw.Draw(label).text((foot - 4, LINE // 2), column, fill=0, font=_font(), anchor="rm")
        turned = label.transpose(Image.Transpose.ROTATE_90)
        sheet.paste(turned, (margin + at - LINE // 2, LINE + size))
        for j in range(len(names)) if cell == CELL else ():
            place = (margin + j * cell + cell // 2, LINE + at)
            dark = "white" if share[k, j] > 0.5 else "black"
            draw.text(place, f"{int(matrix[k, j]):,}", fill=dark, font=_font(), anchor="mm")
    return np.asarray(sheet)


def _short(name):
    return textwrap.shorten(name, LABEL, placeholder="…")

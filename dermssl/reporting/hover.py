"""The values behind a figure: kept in its PNG, shown by the HTML page under the pointer."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from dermssl.core.errors import UserError

KEYWORD = "values"
_HEADER = 8 + 25  # bytes of a PNG's signature and its first chunk, IHDR
_NOTED: WeakKeyDictionary[Figure, list[tuple[Axes, float, float, str, str]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Value:
    """A value of a figure.

    Attributes:
        x, y: where it lies, as shares of the picture's width and height, from the top left.
        text: what it says, plain text.
        key: what it opens on the page; "" for nothing.
    """

    x: float
    y: float
    text: str
    key: str = ""


def note(axes: Axes, x: float, y: float, text: str, key: str = "") -> None:
    """Keep what a point of a panel says.

    Args:
        axes: the panel.
        x, y: in its coordinates.
        text: plain text.
        key: what it opens on a page that has something for it; "" for nothing.
    """
    figure = axes.get_figure(root=True)
    if figure is not None:
        plain = " ".join(text.replace(r"\$", "$").split())  # as it was before Matplotlib's escapes
        _NOTED.setdefault(figure, []).append((axes, float(x), float(y), plain, key))


def values_of(figure: Figure) -> list[Value]:
    """What was noted of a figure that has been drawn: its layout is final only then."""
    width, height = figure.bbox.width, figure.bbox.height
    values = []
    for axes, x, y, text, key in _NOTED.get(figure, []):
        across, up = axes.transData.transform((x, y))
        place = round(float(across / width), 4), round(float(1 - up / height), 4)
        if all(0 <= part <= 1 for part in place):  # a NaN isn't
            values.append(Value(*place, text, key))
    return values


def embedded(png: bytes, figure: Figure) -> bytes:
    """A PNG with the noted values of its figure in it, as a text chunk.

    Args:
        png: the figure, just drawn. Without notes it stays as it is.
        figure: that it is of.
    """
    if not (values := values_of(figure)):
        return png
    rows = [[value.x, value.y, value.text, value.key] for value in values]
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":"))
    # iTXt: keyword, compressed by zlib, no language, no translated keyword, UTF-8.
    body = b"iTXt" + KEYWORD.encode() + b"\0\1\0\0\0" + zlib.compress(text.encode(), 9)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_HEADER] + chunk + png[_HEADER:]


def read(path: Path | str) -> list[Value]:
    """The values in a picture; none where it has none.

    Raises:
        UserError: the file is no picture.
    """
    try:
        with Image.open(path) as image:
            text: Mapping[str, str] = getattr(image, "text", {})
            return [Value(*row) for row in json.loads(text.get(KEYWORD, "[]"))]
    except (UnidentifiedImageError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: no picture of a report ({error}); write the report anew"
        ) from error

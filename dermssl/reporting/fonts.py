"""Names in any script in figures: a font that has the characters, else a number with a key."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import Formatter

from dermssl.core import atomic_files

KEY = "figure_names.csv"
OWN = "DejaVu Sans"  # comes with Matplotlib
_LIKED = ("noto sans", "source han sans", "wenquanyi", "droid sans fallback", "arial unicode")
_BLANK = ("last resort", "lastresort", "adobe blank", "notdef")  # a box for every character

log = logging.getLogger("dermssl")
_told: set[Path] = set()


@contextlib.contextmanager
def readable(figure: Figure, folder: Path | str) -> Iterator[None]:
    """Let a figure be drawn with all its characters in a block.

    Texts with characters that Matplotlib's own font lacks get a font of the system that has them.
    Where none has, the words become #1, #2 ..., the key is in `KEY` in the folder, and a line of
    the log says so once.

    Args:
        figure: with all its texts.
        folder: where the figure is written.
    """
    texts = _texts(figure)
    missing = {c for text in texts for c in text.get_text() if _is_shown(c)} - _own_characters()
    if missing:
        families, without = families_with(frozenset(missing))
        for text in texts:
            text.set_fontfamily([*text.get_fontfamily(), *families])
        if without:
            _number(figure, texts, without, Path(folder))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of a bold face, say
        yield


def without_font(text: str) -> frozenset[str]:
    """The characters of a text that no font here has, so that figures can't show them."""
    missing = frozenset(c for c in text if _is_shown(c)) - _own_characters()
    return families_with(missing)[1] if missing else missing


def _is_shown(character):
    return character.isprintable() and not character.isspace()


def _texts(figure):
    """All texts of a figure, those beside ticks too."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_majorticklabels()  # makes them
    return [text for text in figure.findobj(Text) if text.get_text()]


@functools.cache
def _own_characters():
    faces = [font_manager.FontProperties(family=OWN, weight=w) for w in ("normal", "bold")]
    regular, bold = (_characters(font_manager.findfont(face)) for face in faces)
    return regular & bold


@functools.cache
def _characters(file):
    """The characters of a font file; none of one that can't be read."""
    try:
        return frozenset(map(chr, font_manager.get_font(file).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@functools.cache
def families_with(characters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Fonts of the system that together have some characters: (their names, what none has)."""
    families, left = [], characters
    for name, file in _system_fonts():
        found = left & _characters(file)
        if found:
            families.append(name)
            left -= found
        if not left:
            break
    return tuple(families), left


def _system_fonts() -> Sequence[tuple[str, str]]:
    """(family, file) of upright fonts of normal weight, those made for many scripts first."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in font_manager.findSystemFonts():
        if file not in known:  # installed after Matplotlib made its list
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                font_manager.fontManager.addfont(file)

    def rank(entry):
        name = entry.name.lower()
        liked = next((k for k, word in enumerate(_LIKED) if name.startswith(word)), 99)
        return liked, entry.name, entry.fname

    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and entry.weight in (400, "normal", "regular", 500)
        if not any(word in entry.name.lower() for word in _BLANK)
    ]
    return [(entry.name, entry.fname) for entry in sorted(entries, key=rank)]


class _Numbered(Formatter):
    """The labels of another formatter, with numbers for words."""

    def __init__(self, inner, replace):
        self._inner, self._replace = inner, replace

    def __call__(self, x, pos=None):
        return self._replace(self._inner(x, pos))

    def format_ticks(self, values):
        return [self._replace(text) for text in self._inner.format_ticks(values)]

    def get_offset(self):
        return self._inner.get_offset()


def _number(figure, texts, without, folder):
    key = _Key(folder / KEY)
    letters = f"[{re.escape(''.join(sorted(without)))}]+"
    words = re.compile(rf"{letters}(?:\s+{letters})*")

    def replace(text):
        return words.sub(lambda found: f"#{key.number(found[0])}", text)

    for text in texts:
        text.set_text(replace(text.get_text()))
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(_Numbered(axis.get_major_formatter(), replace))
            for label in axis.get_majorticklabels():
                replace(label.get_text())
    key.write()
    figure.text(0.995, 0.005, f"#: see {KEY}", ha="right", va="bottom", fontsize=7)
    if folder not in _told:
        _told.add(folder)
        log.warning(
            "%s: figures show names as #1, #2 ...: no font here has their characters; %s is the "
            "key; or install a font that has them, such as Noto Sans CJK", folder, KEY,
        )  # fmt: skip


class _Key:
    """Names by number, kept in a file: all figures of a folder number them alike."""

    def __init__(self, path):
        self._path, self._new = path, False
        self._names = key_of(path.parent)

    def number(self, name):
        """From 1; where lines were broken doesn't matter."""
        bare = ["".join(known.split()) for known in self._names]
        if (plain := "".join(name.split())) not in bare:
            self._names.append(name.replace("\n", ""))
            self._new = True
            return len(self._names)
        return bare.index(plain) + 1

    def write(self):
        if self._new:
            numbers = range(1, len(self._names) + 1)
            table = pd.DataFrame({"number": numbers, "name": self._names})
            atomic_files.write_csv(self._path, table)


def key_of(folder: Path | str) -> list[str]:
    """The names that figures of a folder show as #1, #2 ...; mostly none."""
    path = Path(folder) / KEY
    return atomic_files.read_csv(path)["name"].tolist() if path.is_file() else []

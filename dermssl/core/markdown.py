"""Text from outside in Markdown: escaped, and in tables."""

import re
from collections.abc import Iterable, Sequence
from typing import Any


def escaped(text: Any) -> str:
    """Text that Markdown prints as it is, also in a table; HTML in it stays text."""
    text = " ".join(str(text).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # An underscore inside a word is no markup; patient_id stays readable in the source.
    return re.sub(r"[\\`*\[\]|#!]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table of plain text.

    Example:

    >>> print(table(["class", "P"], [["a|b", "0.5"]]))
    | class | P |
    | --- | --- |
    | a\\|b | 0.5 |
    """
    lines = [titles, ["---"] * len(titles), *rows]
    written = ([cell if k == 1 else escaped(cell) for cell in line] for k, line in enumerate(lines))
    return "\n".join(f"| {' | '.join(line)} |" for line in written)

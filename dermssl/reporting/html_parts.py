"""Pieces of an HTML page: Markdown within a line, pictures and numbers as attributes."""

from __future__ import annotations

import base64
import html
import json
import math
import numbers
import re
from typing import Any

from markupsafe import Markup

from dermssl.evaluation.interval import Interval

# What a line may hold: code, bold, links to files beside the page, and signs that a backslash keeps
# from being markup.
INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<bold>(?:\\.|[^\\])+?)\*\*|"
    r"\[(?P<text>(?:\\.|[^\\\]])+)\]\((?P<file>[\w%./~-]+)\)|\\(?P<sign>[\W_])"
)


def inline(text: str) -> Markup:
    """Markdown within a paragraph (code, bold, links, escapes) as HTML; HTML in it stays text."""
    parts, end = Markup(), 0
    for match in INLINE.finditer(text):
        parts += html.unescape(text[end : match.start()])  # `+` escapes what is no Markup
        end = match.end()
        if match["code"]:
            parts += Markup("<code>{}</code>").format(match["code"])
        elif match["bold"]:
            parts += Markup("<strong>{}</strong>").format(inline(match["bold"]))
        elif match["text"]:
            parts += Markup('<a href="{}">{}</a>').format(match["file"], inline(match["text"]))
        else:
            parts += match["sign"]
    return parts + html.unescape(text[end:])


def data_uri(content: bytes, kind: str | None) -> str:
    """A file as a `data:` address, of a MIME type."""
    encoded = base64.b64encode(content).decode("ascii")
    return f"data:{kind or 'application/octet-stream'};base64,{encoded}"


def attributes(**values: Any) -> Markup:
    """`data-NAME` attributes that hold values as JSON; an empty value has none."""
    texts = (
        (name, json.dumps(value, ensure_ascii=False)) for name, value in values.items() if value
    )
    return Markup().join(Markup(' data-{}="{}"').format(*pair) for pair in texts)


def sort_attribute(value: Any) -> Markup:
    """`data-v`, by which the page sorts a cell of a table: an interval by its estimate.

    It is empty for what is not known, which comes last; text has none and is sorted as text.
    """
    value = value.estimate if isinstance(value, Interval) else value
    if value is None:
        return Markup(' data-v=""')
    if not isinstance(value, numbers.Real):
        return Markup()
    return Markup(' data-v="{}"').format("" if math.isnan(value) else f"{float(value):.9g}")

"""Reporting checklists, and a form of each that is filled from a run's files.

The items stand in TOML files beside this module: numbers and topics are those of the papers, the
descriptions our own. An answer is a sentence with where its numbers come from, what the author
must state, or both; no item stays empty.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermssl.core.errors import UserError
from dermssl.studies.forms import fill_data, fill_model
from dermssl.studies.forms.evidence import Citing, Evidence, MissingFact

AUTHOR = "author must state"
BY_AUTHOR = "the author's file"
NAMES = ("tripod_ai", "claim", "clear_derm")  # of the TOML files and the forms
FILLED, PARTLY, OPEN = STATES = ("filled", "filled in part", AUTHOR)


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: as in the paper, "12a".
        topic: what it is about.
        text: what it asks for, in our own words.
        fill: name of the function that answers it; "" where only a person can.
        author: what the author must state; "" where the files say all.
    """

    number: str
    topic: str
    text: str
    fill: str = ""
    author: str = ""


@dataclass(frozen=True)
class Checklist:
    """A checklist: its name, how to cite it, how many items it counts, and its items."""

    name: str
    cite: str
    items_in_all: int
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answer:
    """What a form says of an item.

    Attributes:
        item: that is answered.
        text: from the run's files; "" where they say nothing.
        author: what the author must state; "" for nothing.
        sources: "file: key > key" of each entry that the text rests on.
    """

    item: Item
    text: str
    author: str
    sources: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if not self.text:
            return OPEN
        return PARTLY if self.author else FILLED

    @property
    def words(self) -> str:
        """The whole answer, never empty."""
        asked = f"{AUTHOR}: {self.author}" if self.author else ""
        return " ".join(part for part in (self.text, asked and f"[{asked}]") if part)


def load(name: str) -> Checklist:
    """A built-in checklist.

    >>> load("claim").items[19].topic
    'Data partitions'
    """
    content = tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))
    items = tuple(Item(**entry) for entry in content["item"])
    return Checklist(content["name"], content["cite"], content["items_in_all"], items)


def filler(name: str) -> Callable[[Citing], str]:
    """The function that fills an item."""
    function = getattr(fill_data, name, None) or getattr(fill_model, name, None)
    if function is None or name.startswith("_"):
        raise UserError(f"no filling function '{name}' of a checklist")
    return function


def answer(item: Item, evidence: Evidence) -> Answer:
    """One item, answered from the files as far as they go."""
    if not item.fill:
        return Answer(item, "", item.author)
    citing = Citing(evidence)
    try:
        text = filler(item.fill)(citing)
    except MissingFact as missing:
        why = f"{item.author or item.text[:1].lower() + item.text[1:]} (not in the run's files: "
        return Answer(item, "", f"{why}{missing})")
    return Answer(item, text, item.author, tuple(citing.sources))


def answers(
    checklist: Checklist, evidence: Evidence, stated: Mapping[str, str] | None = None
) -> list[Answer]:
    """Every item of a checklist, in order.

    Args:
        checklist: with its items.
        evidence: the run's files.
        stated: number of an item -> what the author says of it, from `read_stated`.
    """
    stated = stated or {}
    filled = [answer(item, evidence) for item in checklist.items]
    return [_with_author(one, stated.get(one.item.number, "")) for one in filled]


def _with_author(one, words):
    """The answer with the author's words after those of the files."""
    if not words:
        return one
    text = f"{one.text} Author: {words}" if one.text else f"Author: {words}"
    return Answer(one.item, text, "", (*one.sources, BY_AUTHOR))


def read_stated(file: str) -> dict[str, dict[str, str]]:
    """What the author states, from a TOML file: a table a checklist, an entry an item.

    `[claim]` and `44 = "No funding."` states item 44 of CLAIM.

    Raises:
        UserError: the file can't be read, or names a checklist or an item that there isn't.
    """
    try:
        content = tomllib.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(
            f"forms.stated {file}: can't be read ({error}); write TOML such as "
            "[claim] and 44 = 'No funding.' on a line of its own"
        ) from error
    for name, entries in content.items():
        if name not in NAMES:
            raise UserError(f"forms.stated {file}: no form [{name}]; known: {', '.join(NAMES)}")
        known = [item.number for item in load(name).items]
        for number, words in entries.items() if isinstance(entries, dict) else [("", "")]:
            if number not in known or not isinstance(words, str):
                raise UserError(
                    f"forms.stated {file}: [{name}] '{number}' is no item with a text; items: "
                    f"{known[0]} to {known[-1]}"
                )
    return content


def table(filled: list[Answer]) -> pd.DataFrame:
    """A form as a table: number, topic, item, state, answer, author_must_state, sources."""
    return pd.DataFrame(
        {
            "number": one.item.number, "topic": one.item.topic, "item": one.item.text,
            "state": one.state, "answer": one.text, "author_must_state": one.author,
            "sources": "; ".join(one.sources),
        }
        for one in filled
    )  # fmt: skip

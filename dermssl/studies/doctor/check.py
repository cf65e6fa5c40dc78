"""One finding about a machine, in words that hold no name of a person or a machine."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import platform
import re
import textwrap
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dermssl.core.errors import one_line

COLUMNS = 100
LONGEST = 200  # characters of an error
_INDENT = 20  # columns before a value


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        what: was looked at, a word or two.
        value: what was found.
        advice: what to do; "" where all is well.
        broken: whether dermssl needs it and it doesn't work.

    Example:

    >>> Check("disk", "1.0 GB free", "free some").state
    'note'
    """

    what: str
    value: str
    advice: str = ""
    broken: bool = False

    @property
    def state(self) -> str:
        """ "ok", "note" or "BAD"."""
        return "BAD" if self.broken else "note" if self.advice else "ok"

    def lines(self) -> list[str]:
        """Its lines on a console, of `COLUMNS` columns at most.

        Example:

        >>> print("\\n".join(Check("disk", "1.0 GB free", "free some").lines()))
        note  disk          1.0 GB free
                            -> free some
        """
        start = f"{self.state:6}{self.what:{_INDENT - 6}}"
        shown = _wrapped(self.value, start, " " * _INDENT)
        if self.advice:
            shown += _wrapped(self.advice, f"{'':{_INDENT}}-> ", " " * (_INDENT + 3))
        return shown


def _wrapped(text, first, rest):
    return textwrap.wrap(
        text, COLUMNS, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False
    ) or [first.rstrip()]


def guarded(what: str, function: Callable[[], Check]) -> Check:
    """What a function finds; where it fails, a broken `Check` that says how and where."""
    try:
        check = function()
    except Exception as error:  # whatever is broken here is what was asked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        value = f"{one_line(error, LONGEST)} ({where})"
        check = Check(what, value, "if the message doesn't help, ask in an issue", broken=True)
    return dataclasses.replace(
        check, value=without_names(check.value), advice=without_names(check.advice)
    )


def without_names(text: str) -> str:
    """A text with the home folder as ~, and without the names of the user and of the machine.

    A user's name is looked for in paths alone: it may well be a common word.
    """
    for home in _homes():
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    for user in _users():
        word = rf"(?<![A-Za-z0-9]){re.escape(user)}(?![A-Za-z0-9])"
        parts = re.split(r"(\S*[/\\]\S*)", text)  # every second one is a path
        parts[1::2] = [re.sub(word, "USER", path) for path in parts[1::2]]
        text = "".join(parts)
    for host in _hosts():
        text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", "HOST", text)
    return text


def _homes() -> Iterator[str]:
    with contextlib.suppress(RuntimeError):  # a user without a home
        home = Path.home()
        for folder in {str(home), str(home.resolve())}:
            if folder != home.anchor:
                yield folder


def _users() -> Iterator[str]:
    with contextlib.suppress(OSError, KeyError, ImportError):  # a number without a name
        yield getpass.getuser()
    yield from {Path(home).name for home in _homes()}


def _hosts() -> Iterator[str]:
    name = platform.node()
    for host in dict.fromkeys((name, name.partition(".")[0])):
        if host not in ("", "localhost"):
            yield host

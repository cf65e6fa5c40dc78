"""Find runs and reports below a folder, with their states, settings and scores."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.evaluation.interval import Interval
from dermssl.reporting import wording

NAME = "index"  # of the page itself
PASSED_OVER = ("tensorboard", "checkpoints")  # folders of a run that hold no report
OURS = re.compile(r'<html lang="en" data-report>.*?<title>(.*?)</title>', re.DOTALL)
HEAD = 4000  # characters that hold a page's title
# What tells runs apart in columns of their own, or in no interesting way.
NO_SETTING = ("seed", "data.path", "data.cache_mb", "data.cache_dir", "data.cache_disk_mb")


@dataclass(frozen=True)
class Page:
    """A report: its file, and its title in plain text."""

    path: Path
    title: str


@dataclass(frozen=True, eq=False)
class Entry:
    """A run's folder.

    Attributes:
        path: Path.
        status: dict, its status.json.
        score: of its test records, if `dermssl.evaluate` has scored them.
        n: independent groups that the score is of, and what they are, such as "15 patients".
        health: "green", "yellow" or "red" of a pretraining; "" of others.
        pages: its reports.
    """

    path: Path
    status: dict[str, Any] = field(repr=False)
    score: Interval | None = None
    n: str = ""
    health: str = ""
    pages: Sequence[Page] = ()

    @property
    def command(self) -> str:
        """The command that made it."""
        return str(self.status.get("command", "unknown"))

    @property
    def settings(self) -> dict[str, Any]:
        """ "section.field" -> value."""
        return dict(_flat(self.status.get("config", {})))


@dataclass(frozen=True, eq=False)
class Index:
    """All that was found.

    Attributes:
        folder: that was searched.
        entries: runs, by their path.
        pages: reports that belong to no run.
        damaged: (path, why) of each status.json that can't be read.
    """

    folder: Path
    entries: Sequence[Entry]
    pages: Sequence[Page]
    damaged: Sequence[tuple[str, str]]


def scan(folder: Path | str) -> Index:
    """The `Index` of a folder; links are not followed.

    Raises:
        UserError: no such folder, or neither a run nor a report in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "no such folder"
        raise UserError(f"report.folder {folder}: {what}; give a folder that holds runs")
    entries, damaged, pages = [], [], []
    for path in _folders(folder):
        here = list(_pages(path))
        if (path / "status.json").is_file():
            try:
                entries.append(_entry(path))
            except UserError as error:
                damaged.append((str(path), str(error)))
            except (AttributeError, TypeError, ValueError) as error:
                damaged.append((str(path), f"its files are not those of a run: {error}"))
        owners = [k for k, one in enumerate(entries) if one.path in (path, *path.parents)]
        if owners:  # the innermost: a run may lie in another one's folder
            owner = entries[owners[-1]]
            entries[owners[-1]] = replace(owner, pages=[*owner.pages, *here])
        else:
            pages += here
    if not entries and not pages and not damaged:
        raise UserError(
            f"report.folder {folder}: no run and no report is there; make one, such as by "
            "python -m dermssl.quickstart"
        )
    return Index(folder, entries, pages, damaged)


def check_page(folder: Path) -> None:
    """Refuse a folder whose index.html somebody else has written."""
    file = folder / f"{NAME}.html"
    if file.exists() and not OURS.search(file.read_text(encoding="utf-8", errors="replace")[:HEAD]):
        raise UserError(
            f"run.output {folder}: its {NAME}.html is not of dermssl.report; choose another folder"
        )


def differing(entries: Sequence[Entry]) -> list[str]:
    """Settings whose values differ among runs, in the order of their sections."""
    every = [entry.settings for entry in entries]
    names = dict.fromkeys(name for settings in every for name in settings)
    return [
        name
        for name in names
        if name not in NO_SETTING and len({repr(one.get(name)) for one in every}) > 1
    ]


def _folders(folder: Path) -> Iterator[Path]:
    for path, names, _ in os.walk(folder):
        names[:] = sorted(n for n in names if n not in PASSED_OVER and not n.startswith("."))
        yield Path(path)


def _pages(folder: Path) -> Iterator[Page]:
    for file in sorted(folder.glob("*.html")):
        if file.stem != NAME and file.is_file():
            with open(file, encoding="utf-8", errors="replace") as page:
                if match := OURS.search(page.read(HEAD)):
                    yield Page(file, html.unescape(match[1]))


def _entry(folder: Path) -> Entry:
    status = runs.read_json(folder / "status.json")
    if not isinstance(status.get("config", {}), dict) or not isinstance(status.get("status"), str):
        raise UserError(f"{folder / 'status.json'}: not that of a run")
    health, score, n = "", None, ""
    if (folder / "health.json").is_file():
        health = str(runs.read_json(folder / "health.json").get("light", ""))
    scored = folder / "evaluation_test" / "metrics.json"
    if scored.is_file():
        summary = runs.read_json(scored)
        kept = summary.get("metrics", {}).get("balanced_accuracy") or {}
        estimate, low, high = (
            math.nan if kept.get(name) is None else float(kept[name])
            for name in ("estimate", "low", "high")
        )
        score = Interval(estimate, low, high)
        n = wording.count(int(summary["n_groups"]), str(summary["grouped_by"]))
    return Entry(folder, status, score, n, health)


def _flat(tables: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tables.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value

"""The page's three files, as text."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import jinja2

from dermssl.core.taxonomy import Taxonomy
from dermssl.reporting import html_parts
from dermssl.studies.app.answer import NOTICE, tree


@dataclass(frozen=True)
class Page:
    """The page's files. The browser loads nothing else."""

    html: str
    css: str
    js: str


def render(taxonomy: Taxonomy, run: str, max_bytes: int) -> Page:
    """The page of a run.

    Args:
        taxonomy: the run's classes.
        run: the name of its folder.
        max_bytes: of a photo.
    """
    template = jinja2.Environment(autoescape=True).from_string(_file("studies.app", "page.html"))
    html = template.render(
        run=run, notice=NOTICE, megabytes=max_bytes // 2**20,
        data=html_parts.attributes(tree=tree(taxonomy), limit=max_bytes),
    )  # fmt: skip
    css = _file("reporting", "report.css") + _file("studies.app", "page.css")
    return Page(html, css, _file("studies.app", "page.js"))


def _file(package, name):
    place = resources.files(f"dermssl.{package}") / "templates" / name
    return place.read_text(encoding="utf-8")

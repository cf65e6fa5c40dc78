"""A report as an object: sections of text, tables and pictures, printed in three ways.

`to_markdown`, `to_html` and `to_console` print the same `Report`. A sentence names a setting as
`section.field`; all three show its flag, as a reader types it. Titles, findings, warnings,
captions and table cells are plain text: the templates escape them, so a class named `<script>` or
`a|b` is printed as that. `Text`, `Bullets`, the titles of columns and the provenance are Markdown;
what comes from outside goes into them through `escaped` or `code`.
"""

from __future__ import annotations

import dataclasses
import functools
import mimetypes
import numbers
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from dermssl.core import atomic_files
from dermssl.core.cli import with_flags
from dermssl.core.errors import UserError
from dermssl.core.markdown import escaped
from dermssl.evaluation.interval import Interval
from dermssl.reporting import fonts, hover, html_parts, wording

TEMPLATES = Path(__file__).parent / "templates"
NO_DIAGNOSIS = "Research software: nothing here is for diagnosis."


@dataclass(frozen=True)
class Text:
    """A paragraph in Markdown."""

    markdown: str


@dataclass(frozen=True)
class Bullets:
    """A list, each line in Markdown; nothing is printed where it is empty."""

    lines: Sequence[str]
    numbered: bool = False


@dataclass(frozen=True)
class Findings:
    """Plain sentences that the report is about; the console shows them, too.

    Attributes:
        sentences: of plain text; nothing is printed where there are none.
        bullets: a list; False for one paragraph.
    """

    sentences: Sequence[str]
    bullets: bool = True


@dataclass(frozen=True)
class Warnings:
    """Plain sentences on what to know before a number is trusted; the console shows them, too.

    Attributes:
        sentences: of plain text; nothing is printed where there are none.
        label: the word that each opens with; "" for a list without one.
    """

    sentences: Sequence[str]
    label: str = "Note"


@dataclass(frozen=True)
class Command:
    """A command line to copy."""

    words: str


@dataclass(frozen=True)
class Photo:
    """A small photo that a value of a figure opens on the page.

    Attributes:
        caption: plain text.
        jpeg: the bytes of a JPEG.
    """

    caption: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class Figure:
    """A picture in the report's folder, with what it shows in plain text.

    Attributes:
        file: name of the PNG, whose values (`hover`) the page shows under the pointer.
        caption: plain text.
        photos: a value's key -> what it opens.
    """

    file: str
    caption: str
    photos: Mapping[str, Sequence[Photo]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Gallery:
    """Small photos on the page, some a case; a table beside them says the same in Markdown.

    Attributes:
        cases: of each case its pictures, from left to right.
    """

    cases: Sequence[Sequence[Photo]] = field(repr=False)


@dataclass(frozen=True)
class Cell:
    """A value of a table that is printed in bold, or with a remark in Markdown after it."""

    value: Any
    note: str = ""
    bold: bool = False


@dataclass(frozen=True)
class Column:
    """How a column of a table is printed.

    Attributes:
        title: in Markdown.
        right: whether it is aligned to the right.
        format: gives a value as Markdown; by default `printed`.
    """

    title: str
    right: bool = False
    format: Callable[[Any], str] | None = None

    def show(self, cell: Any) -> str:
        """A cell of this column in Markdown."""
        if not isinstance(cell, Cell):
            cell = Cell(cell)
        text = (self.format or printed)(cell.value)
        return (f"**{text}**" if cell.bold else text) + cell.note


@dataclass(frozen=True)
class Table:
    """Rows of numbers, `Interval`s, plain text or `Cell`s under `Column`s, or mere titles."""

    columns: Sequence[Any]
    rows: Sequence[Sequence[Any]]

    @property
    def heads(self) -> list[Column]:
        """The columns, each a `Column`."""
        return [Column(one) if isinstance(one, str) else one for one in self.columns]


Block = Text | Bullets | Findings | Warnings | Command | Figure | Gallery | Table


@dataclass(frozen=True)
class Section:
    """A part of a report under a plain title; a block that is None is left out."""

    title: str
    blocks: Sequence[Block | None]
    level: int = 2


@dataclass(frozen=True)
class Report:
    """Everything that a report says, with numbers as numbers.

    Attributes:
        title: plain text.
        opening: blocks before the first section.
        sections: a section that is None is left out.
        provenance: where every number comes from, as lines of Markdown.
        closing: the last line, plain text.

    Example:

    >>> table = Table(["class", Column("records", right=True)], [["a|b", 1200]])
    >>> print(to_markdown(Report("Counts", [table], closing="")).strip())
    # Counts
    <BLANKLINE>
    | class | records |
    | :-- | --: |
    | a\\|b | 1,200 |
    """

    title: str
    opening: Sequence[Block | None] = ()
    sections: Sequence[Section | None] = ()
    provenance: Sequence[str] = ()
    closing: str = NO_DIAGNOSIS

    @property
    def blocks(self) -> list[Block]:
        """Every block, in the order of the page."""
        parts = [self.opening, *(section.blocks for section in self.sections if section)]
        return [block for part in parts for block in part if block]

    @property
    def lead(self) -> str:
        """The first finding, with which the page begins; "" where it begins so already."""
        first = next((block for block in self.blocks if isinstance(block, Findings)), None)
        if first is None or first is self.blocks[0] or not first.sentences:
            return ""
        return first.sentences[0]


def to_markdown(report: Report) -> str:
    """The report as Markdown; its pictures are named, not held."""
    return _environment().get_template("report.md").render(report=report)


def to_html(report: Report, folder: Path | str) -> str:
    """The report as one page that needs nothing else.

    Args:
        report: `Report`.
        folder: where its pictures lie, which are put into the page.
    """
    folder = Path(folder)

    def picture(file):
        return html_parts.data_uri((folder / file).read_bytes(), mimetypes.guess_type(file)[0])

    def values(figure):
        photos = {
            key: [(photo.caption, html_parts.data_uri(photo.jpeg, "image/jpeg")) for photo in group]
            for key, group in figure.photos.items()
        }
        rows = [dataclasses.astuple(value) for value in hover.read(folder / figure.file)]
        return html_parts.attributes(values=rows, photos=photos)

    template = _environment().get_template("report.html")
    return template.render(report=report, picture=picture, values=values)


def to_console(report: Report) -> str:
    """The findings and warnings as plain lines, in the order of the page."""
    lines: list[str] = []
    for block in report.blocks:
        if isinstance(block, Findings):
            lines += [f"- {text}" if block.bullets else text for text in block.sentences]
        elif isinstance(block, Warnings):
            lines += [f"note: {text}" for text in block.sentences]
    return with_flags("\n".join(lines))


def write(report: Report, folder: Path | str, name: str = "report") -> Path:
    """Write `name`.md and `name`.html.

    Args:
        report: `Report`.
        folder: to write into, where its pictures already lie.
        name: of the files.

    Returns:
        Path of the Markdown file.
    """
    if names := fonts.key_of(folder):
        words = "; ".join(f"#{k} is {escaped(name)}" for k, name in enumerate(names, 1))
        line = f"Names in figures, as no font there has their characters: {words}."
        report = dataclasses.replace(report, provenance=[*report.provenance, line])
    path = Path(folder) / f"{name}.md"
    atomic_files.write_text(path, to_markdown(report))
    atomic_files.write_text(path.with_suffix(".html"), to_html(report, folder))
    return path


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        md=escaped,
        inline=html_parts.inline,
        flags=with_flags,
        sortable=lambda cell: html_parts.sort_attribute(getattr(cell, "value", cell)),
        kind=lambda block: type(block).__name__,
        jpeg=lambda photo: html_parts.data_uri(photo.jpeg, "image/jpeg"),
    )
    return environment


def printed(value: Any) -> str:
    """A value of a table as Markdown: an interval, a count, a number of 3 decimals, or text."""
    if value is None or isinstance(value, Interval):
        return wording.estimate(value)
    if isinstance(value, numbers.Integral):
        return f"{value:,}"
    return wording.number(float(value)) if isinstance(value, numbers.Real) else escaped(value)


def code(text: Any) -> str:
    """Text as inline code; a backtick in it would end it, so it becomes a quote."""
    return "`" + " ".join(str(text).split()).replace("`", "'").replace("|", "¦") + "`"


def link(text: Any, path: Path | str) -> str:
    """A link to a file beside the report, as Markdown; the text is plain.

    Example:

    >>> link("a|b", "run 1/report.html")
    '[a\\\\|b](run%201/report.html)'
    """
    return f"[{escaped(text)}]({urllib.parse.quote(str(path))})"


# Every figure of a class, as one run's reports show them.
CLASS_COLUMNS = {
    "sensitivity": Column("sensitivity (95% interval)"),
    "specificity": Column("specificity"),
    "precision": Column("precision"),
    "f1": Column("F1"),
    "roc_auc": Column("ROC-AUC"),
    "average_precision": Column("average precision"),
}


def class_table(classes: pd.DataFrame, figures: dict[str, Column]) -> Table:
    """The table of one model's classes.

    Args:
        classes: from `metric_tables.per_class`; a figure with bounds is shown with its interval.
        figures: figure -> its column.
    """
    rows = [
        [
            row["title"],
            Cell(row["support"], " (!)" if row["support"] < wording.ENOUGH_RECORDS else ""),
            *(_with_bounds(row, figure) for figure in figures),
        ]
        for row in classes.to_dict("records")
    ]
    return Table(["class", Column("records", right=True), *figures.values()], rows)


def _with_bounds(row: dict[Any, Any], figure: str) -> Interval | float:
    if f"{figure}_low" not in row:
        return row[figure]
    return Interval(row[figure], row[f"{figure}_low"], row[f"{figure}_high"])


def versions(status: dict[str, Any]) -> str:
    """The versions of a run on one line, as Markdown."""
    names = status.get("versions", {}).items()
    return escaped(", ".join(f"{name} {version}" for name, version in names))


def hashes(status: dict[str, Any]) -> str:
    """The hashes of a run's settings and data, as Markdown."""
    named = (f"{name} {code(status.get(f'{name}_hash', 'n/a'))}" for name in ("config", "data"))
    return ", ".join(named)


def make_output_folder(path: Path | str) -> Path:
    """The folder to write into, made if it is missing."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"run.output {folder}: can't be made ({error.strerror}); choose another folder"
        ) from error
    return folder

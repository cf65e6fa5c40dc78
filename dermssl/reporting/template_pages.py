"""A page from a Markdown template of its own, for reports that aren't `report.Report` yet."""

import base64
import mimetypes
import re
from pathlib import Path

import jinja2

from dermssl.core import atomic_files, progress
from dermssl.evaluation.bootstrap import Interval
from dermssl.evaluation.metric_tables import CLASS_FIGURES
from dermssl.reporting import report, wording

TEMPLATES = Path(__file__).parent / "templates"


def render(template, **context):
    """The text of a template in `templates/`; a name it lacks is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        md=report.escaped,
        code=report.code,
        number=wording.number,
        estimate=wording.estimate,
        duration=progress.duration,
    )
    return environment.get_template(template).render(**context)


def for_console(section):
    """A part of a report as plain lines: no pictures, no signs of Markdown."""
    lines = [line.replace("> **Note.**", "note:") for line in section.splitlines()]
    lines = [line for line in lines if line and not line.startswith("![")]
    return "\n".join(re.sub(r"\\(\W)", r"\1", line) for line in lines)


def write(path, template, **context):
    """Write `path` (.md) from a template, and beside it the same page as .html.

    Returns:
        Path of the Markdown file.
    """
    path = Path(path)
    text = render(template, **context)
    atomic_files.write_text(path, text)
    atomic_files.write_text(path.with_suffix(".html"), to_html(text, path.parent))
    return path


def to_html(text, folder):
    """A page without links: Markdown with its pictures, found in `folder`, put inside."""
    import markdown

    body = markdown.markdown(text, extensions=["tables", "sane_lists", "fenced_code"])
    body = re.sub(r'src="([^"]+)"', lambda found: f'src="{_data(folder / found[1])}"', body)
    body = body.replace("<table>", '<div class="scroll"><table>')
    body = body.replace("</table>", "</table></div>")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    return render("page.html", title=title[1] if title else "report", body=body)


def class_rows(classes):
    """Rows of a class table as dicts: `scores.per_class`, FIGURE_text of each, and `few`."""
    return [
        {
            **row,
            **{f"{figure}_text": _with_interval(row, figure) for figure in CLASS_FIGURES},
            "few": row["support"] < wording.ENOUGH_RECORDS,
        }
        for row in classes.to_dict("records")
    ]


def _with_interval(row, figure):
    """A figure of a class with its interval, where the table has one."""
    if f"{figure}_low" not in row:
        return wording.number(row[figure])
    bounds = row[f"{figure}_low"], row[f"{figure}_high"]
    return wording.estimate(Interval(row[figure], *bounds))


def _data(path):
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"

"""What Sphinx builds the site from: settings, and the pages that are written from the package."""

import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import Any

from dermssl.core import config
from dermssl.core.commands import COMMANDS, SECTIONS

ROOT = Path(__file__).parents[1]

project = "dermssl"
html_title = "dermssl"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".ipynb": "markdown"}
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]
smartquotes = False  # "--output" has two hyphens
myst_heading_anchors = 3

# Docstrings are written as Keras writes them: `name` is code.
default_role = "code"
napoleon_custom_sections = [("Call arguments", "params_style")]
napoleon_use_ivar = True  # attributes that a docstring lists and autodoc finds are said once
autodoc_inherit_docstrings = False  # Keras documents its own methods
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True


def commands() -> str:
    """Every command: what `--help` says, where it writes, and which settings it has."""
    parts = []
    for name, command in COMMANDS.items():
        doc = importlib.import_module(f"dermssl.{name}").__doc__
        sections = ", ".join(f"[{section}](settings.md#{section})" for section in command.sections)
        alike = ", ".join(
            word
            for word, has in (
                ("`--seed`", command.seeded), ("`--overwrite`", command.resumable),
                ("`--output`", True), ("`--config`", True), ("`--debug`", True),
            )
            if has
        )  # fmt: skip
        parts.append(f"## {name}\n\n{doc}\n\nWrites: {command.output}.\n\n"
                     f"Settings: {sections}; {alike}.\n")  # fmt: skip
        if command.without:
            parts.append(f"Without: {', '.join(f'`{each}`' for each in command.without)}.\n")
        if command.embedded:
            small = ", ".join(f"`{key} = {value}`" for key, value in command.embedded.items())
            parts.append(f"Without `--data`, on the drawn photos: {small}.\n")
        if command.from_imagenet:
            parts.append(f"`{command.from_imagenet}` is `imagenet` on your own photos, if you name "
                         "no other; `none` for `cnn` and `mlp`.\n")  # fmt: skip
    return "\n".join(parts)


def settings() -> str:
    """Every section of settings as a table."""
    return "\n".join(
        f"## {name}\n\n{section.__doc__}\n\n| flag | key | default | what it is |\n"
        "| :-- | :-- | :-- | :-- |\n" + "\n".join(map(_row, dataclasses.fields(section))) + "\n"
        for name, section in SECTIONS.items()
    )


def _row(field: dataclasses.Field) -> str:
    """A setting as a row: its flag, its key in a file and in Python, default, meaning, range."""
    meta, default = field.metadata, config.default_of(field)
    flag = meta["positional"] or f"--{config.flag_of(field)}"
    if isinstance(default, bool):
        default = "yes" if default else "no"
    elif isinstance(default, list):
        default = " ".join(map(str, default))
    what = meta["help"]
    if valid := meta["choices"] or meta["names"]:
        what += f"; one of: {', '.join(f'`{each}`' for each in valid)}"
    elif meta["low"] is not None:
        high = meta["high"]
        what += f" ({meta['low']:g} or more)" if high is None else f" ({meta['low']:g} to {high:g})"
    cells = (f"`{flag}`", f"`{field.name}`", f"`{default}`" if default != "" else "none", what)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def notebook(text: str) -> str:
    """A Jupyter notebook as Markdown: its text, its code, and what each cell showed."""
    parts = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            shown = output.get("text") or output["data"]["text/plain"]
            parts.append(f"```text\n{''.join(shown)}\n```")
    return "\n\n".join(parts) + "\n"


def experiments() -> str:
    """Every experiment file as it is."""
    return "\n".join(
        f"## {file.name}\n\n```toml\n{file.read_text(encoding='utf-8')}```\n"
        for file in sorted((ROOT / "experiments").glob("*.toml"))
    )


WRITTEN = {
    "<!-- commands -->": commands,
    "<!-- settings -->": settings,
    "<!-- experiments -->": experiments,
}
# Links that lead out of docs/, for those who read the files -> pages of the site.
ELSEWHERE = {"CONTRIBUTING.md": "contributing.md", "experiments": "experiments.md"}


def read(app: Any, name: str, source: list[str]) -> None:
    """Put what is written from the package into a page that Sphinx has just read; mend links."""
    if name == "notebook":
        source[0] = notebook(source[0])
    for place, write in WRITTEN.items():
        if place in source[0]:
            source[0] = source[0].replace(place, write())
    for target, page in ELSEWHERE.items():
        source[0] = re.sub(rf"\]\((\.\./)+{target}(?=[)#])", f"](/reference/{page}", source[0])


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", read)

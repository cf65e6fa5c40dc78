"""Which folders dermssl wrote, and that no output folder spoils the photos that a command reads."""

import json
import os
from collections.abc import Iterator
from typing import Any

from dermssl.core import file_locks
from dermssl.core.errors import UserError

SHARDS = "dermssl_shards.json"  # in a folder of shards
REPORTS = ("report", "label_efficiency", "ssl_analysis_report", "export")
# Settings that name folders of photos, in whatever section.
PHOTOS = ("path", "unlabelled", "data", "run_data", "photos")


def is_ours(folder: str) -> bool:
    """Whether dermssl wrote a folder: a run, a report, an audit or shards."""

    def holds(*names):
        return all(os.path.isfile(os.path.join(folder, name)) for name in names)

    if holds("check_data.json") or holds(SHARDS):
        return True
    if any(holds(f"{name}.md", f"{name}.html") for name in REPORTS):
        return True
    try:
        with open(os.path.join(folder, "status.json"), encoding="utf-8") as file:
            status = json.load(file)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(status, dict) and {"status", "command"} <= status.keys()


def check(settings: dict[str, Any], tables: dict[str, Any], output: str) -> None:
    """Refuse an output folder that is the photo folder, or holds other files inside of it.

    A report among photos would make its folder one that dermssl wrote, whose photos are left out,
    and its pictures would be taken for photos. Links are resolved.

    Args:
        settings: section name -> dataclass.
        tables: of the experiment file, which may name the photos alone.
        output: the setting `run.output`, or where the command writes without it.

    Raises:
        UserError: as said.
    """
    for name, given in _photo_folders(settings, tables):
        if reason := _refusal(output, given, name):
            raise UserError(f"run.output {output}: {reason}; give a folder outside of the photos")


def _refusal(output: str, photos: str, name: str) -> str:
    """Why a folder is no place to write to, beside `photos`, a folder or one of them; else ""."""
    target, folder = os.path.realpath(output), os.path.realpath(os.path.expanduser(photos))
    if os.path.isfile(folder):
        folder = os.path.dirname(folder)
    if not photos or not os.path.isdir(folder):
        return ""
    if target == folder:
        return f"is the folder of the photos ({name})"
    if target.startswith(f"{folder.rstrip('/')}/") and (file := _foreign(target)):
        where = f"lies in the folder of the photos ({name})"
        return f"{where} and holds {file}, which dermssl didn't write"
    return ""


def _photo_folders(settings, tables) -> Iterator[tuple[str, str]]:
    """(setting, folder or file) of all photos that a command is given."""
    for section, values in settings.items():
        for name in PHOTOS:
            given = getattr(values, name, None) or []
            for one in given if isinstance(given, list) else [given]:
                yield f"{section}.{name}", str(one)
    given = tables.get("data")
    if isinstance(given, dict) and isinstance(given.get("path"), str):
        yield "data.path", given["path"]


def _foreign(folder):
    """The first file in a folder that dermssl didn't write; "" where there is none."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:  # not there yet, or a file: who opens it says so
        return ""
    # A killed run has its lock, perhaps no status yet.
    if is_ours(folder) or any(entry.name == file_locks.NAME for entry in entries):
        return ""
    for entry in entries:
        if entry.name.startswith("."):
            continue
        found = _foreign(entry.path) if entry.is_dir(follow_symlinks=False) else entry.name
        if found:
            return entry.name
    return ""

"""Class names at two levels: fine diagnoses in coarse groups, with their malignancy.

A taxonomy is a small TOML file, one table a fine class::

    name = "ham10000"

    [fine.mel]
    title = "melanoma"
    coarse = "melanocytic"
    malignancy = "malignant"      # benign, premalignant or malignant

The order in the file is the order of the probabilities in every output.
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core.errors import UserError

MALIGNANCY = ("benign", "premalignant", "malignant")
BUILT_IN = Path(__file__).parents[1] / "taxonomies"
MAX_BYTES = 2**20  # of a taxonomy file; the built-in one has 0.9 KB


@dataclass(frozen=True)
class Taxonomy:
    """Fine classes, the coarse group of each, and its malignancy.

    Attributes:
        name: what the tables call it.
        fine: fine class names, in the order of the model's outputs.
        parents: for each fine class, the name of its coarse group.
        malignancy: for each fine class, one of `MALIGNANCY`, or "" if unknown.
        titles: for each fine class, the name to print.

    Example:

    >>> load("ham10000").coarse
    ('melanocytic', 'keratinocytic', 'fibrous', 'vascular')
    """

    name: str
    fine: tuple[str, ...]
    parents: tuple[str, ...]
    malignancy: tuple[str, ...]
    titles: tuple[str, ...]

    @property
    def coarse(self) -> tuple[str, ...]:
        """Coarse names in the order of their first fine class."""
        return tuple(dict.fromkeys(self.parents))

    @property
    def parent_index(self) -> np.ndarray:
        """int64 array (fine,): the coarse index of each fine class."""
        coarse = self.coarse
        return np.array([coarse.index(parent) for parent in self.parents], dtype=np.int64)

    @property
    def matrix(self) -> np.ndarray:
        """float32 array (fine, coarse), 1 where the fine class belongs to the group.

        `p_coarse = p_fine @ matrix`: P(coarse) is the sum of P(fine) over its children.
        """
        return np.eye(len(self.coarse), dtype=np.float32)[self.parent_index]

    @property
    def has_hierarchy(self) -> bool:
        """False where every coarse group is just its one fine class."""
        return self.fine != self.parents

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change with a class, its order, its group, malignancy or title."""
        return hashlib.sha256(json.dumps(self.as_dict()).encode()).hexdigest()[:12]

    def as_dict(self) -> dict[str, Any]:
        """The TOML form, for a run's folder."""
        rows = zip(self.fine, self.titles, self.parents, self.malignancy)
        return {
            "name": self.name,
            "fine": {
                fine: {"title": title, "coarse": coarse, "malignancy": malignancy}
                for fine, title, coarse, malignancy in rows
            },
        }


def from_dict(table: dict[str, Any], where: Path | str = "taxonomy") -> Taxonomy:
    """Read a taxonomy from its TOML form; `where` names the file in errors."""
    fine = table.get("fine")
    if not isinstance(fine, dict) or not fine:
        raise UserError(f"{where}: no [fine.NAME] table found; add one for each fine class")
    for name, entry in fine.items():
        if not name.strip() or not name.isprintable():
            raise UserError(f"{where}: class name {name!r} is blank or odd; rename the class")
        if not isinstance(entry, dict) or not entry.get("coarse"):
            raise UserError(f"{where}: [fine.{name}] has no 'coarse' key; name its coarse group")
        for key in ("coarse", "title"):
            text = entry.get(key, "")
            if not isinstance(text, str) or not text.isprintable():
                raise UserError(f"{where}: [fine.{name}] '{key}' is {text!r}; write a plain text")
        if entry.get("malignancy", "") not in (*MALIGNANCY, ""):
            raise UserError(
                f"{where}: [fine.{name}] malignancy is {entry['malignancy']!r}; "
                f"use one of: {', '.join(MALIGNANCY)}"
            )
    return Taxonomy(
        name=str(table.get("name", where)),
        fine=tuple(fine),
        parents=tuple(str(entry["coarse"]) for entry in fine.values()),
        malignancy=tuple(entry.get("malignancy", "") for entry in fine.values()),
        titles=tuple(entry.get("title", name) for name, entry in fine.items()),
    )


def load(name_or_path: Path | str) -> Taxonomy:
    """A built-in taxonomy by name (`ham10000`), or one from a TOML file."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = BUILT_IN / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in BUILT_IN.glob("*.toml")))
        raise UserError(
            f"taxonomy '{name_or_path}' not found; give the path of a .toml file or one of: {known}"
        )
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{path}: {size:,} bytes, no taxonomy is over {MAX_BYTES:,}; replace it")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a valid TOML file ({error}); correct it") from error
    return from_dict(table, where=str(path))


def flat(labels: Iterable[str], name: str = "flat") -> Taxonomy:
    """A taxonomy without hierarchy: each fine class is its own coarse group.

    Example:

    >>> flat(["mel", "nv"]).parents
    ('mel', 'nv')
    """
    labels = tuple(labels)
    blank = ("",) * len(labels)
    return Taxonomy(name=name, fine=labels, parents=labels, malignancy=blank, titles=labels)

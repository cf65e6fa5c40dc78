"""Map the classes of another data set to those of a run: fine, coarse, or malignant and benign.

Names that match are mapped by themselves: a class's name or title, in any case, and the usual
synonyms. What isn't found by name is looked for one level up, by the group or the malignancy that
the other data set's own taxonomy states. A map file says the rest::

    [classes]
    "seb. ker." = "bkl"        # theirs = ours
    lentigo = "benign"         # a malignancy serves where no class does
    other = ""                 # left out
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.core.taxonomy import MAX_BYTES, Taxonomy

FINE, COARSE, MALIGNANCY, LEFT_OUT = "fine", "coarse", "malignancy", "left out"
MALIGNANT, BENIGN = "malignant", "benign"
OUT = ("", "-")
BY_FILE = "map file"
# Names of one diagnosis in ISIC's archive and challenges, HAM10000, PH2, Derm7pt and PAD-UFES-20.
# Squamous cell carcinoma is in none: a run that doesn't know it has no class for it.
SYNONYMS = (
    ("mel", "melanoma", "malignant melanoma", "melanoma in situ", "melanoma invasive"),
    ("nv", "nev", "nevus", "naevus", "melanocytic nevus", "melanocytic naevus", "common nevus",
     "mole"),
    ("bcc", "basal cell carcinoma", "basal cell cancer"),
    ("akiec", "ak", "ack", "actinic keratosis", "actinic keratosis bowen s disease",
     "actinic keratoses and intraepithelial carcinoma", "bowen s disease", "bowen disease",
     "intraepithelial carcinoma"),
    ("bkl", "sek", "sk", "seborrheic keratosis", "seborrhoeic keratosis", "benign keratosis",
     "benign keratosis like lesion", "pigmented benign keratosis", "solar lentigo",
     "lichen planus like keratosis", "lichenoid keratosis"),
    ("df", "dermatofibroma"),
    ("vasc", "vascular", "vascular lesion", "angioma", "hemangioma", "haemangioma",
     "angiokeratoma"),
    ("malignant", "malign", "cancer"),
    ("benign", "non malignant", "not malignant"),
)  # fmt: skip
PLURALS = {
    "nevi": "nevus", "naevi": "naevus", "keratoses": "keratosis", "lesions": "lesion",
    "melanomas": "melanoma", "carcinomas": "carcinoma", "angiomas": "angioma", "moles": "mole",
}  # fmt: skip


@dataclass(frozen=True)
class Mapped:
    """Where one of their classes goes.

    Attributes:
        theirs: as their labels have it.
        level: "fine", "coarse", "malignancy" or "left out"; "" where it can't be mapped.
        ours: the class, group, "malignant" or "benign"; "" where there is none.
        how: "name", "synonym", "their group", "their malignancy" or "map file".
        n: photos.
    """

    theirs: str
    level: str
    ours: str
    how: str
    n: int


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of each record in the run's classes, -1 unknown; each int64 (n,).

    Attributes:
        fine, coarse: class numbers.
        malignant: 1 malignant, 0 benign or premalignant.
    """

    fine: np.ndarray
    coarse: np.ndarray
    malignant: np.ndarray


def labels(index: pd.DataFrame) -> pd.Series:
    """The label of each record at the finest level that it has, "" without one."""
    return index["fine"].where(index["fine"] != "", index["coarse"])


def read_map(path: Path | str) -> dict[str, str]:
    """The `[classes]` table of a map file: theirs -> ours."""
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"evaluate.classes {path}: over {MAX_BYTES:,} bytes; it is no map")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"evaluate.classes {path}: can't be read ({error.strerror}); give a .toml file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"evaluate.classes {path}: not a valid TOML file ({error}); correct it"
        ) from error
    classes = table.get("classes")
    if not isinstance(classes, dict) or not classes:
        raise UserError(
            f'evaluate.classes {path}: no table [classes]; write lines such as theirs = "ours"'
        )
    for theirs, ours in classes.items():
        if not isinstance(ours, str):
            raise UserError(
                f"evaluate.classes {path}: {theirs} = {ours!r}; write a class of the run, "
                '"malignant", "benign", or "" to leave it out'
            )
    return {theirs.strip(): ours.strip() for theirs, ours in classes.items()}


def map_classes(
    counts: Mapping[str, int],
    theirs: Taxonomy,
    ours: Taxonomy,
    given: Mapping[str, str] | None = None,
    where: str = "",
) -> list[Mapped]:
    """Where each of their classes goes.

    Args:
        counts: their label -> photos.
        theirs: the taxonomy of their labels, for titles, groups and malignancies.
        ours: the run's.
        given: theirs -> ours, from `read_map`; it wins over names.
        where: the map file, for errors.

    Returns:
        A list of `Mapped`, in the order of `counts`; those that can't be mapped have level "".

    Raises:
        UserError: the map file names a class that the run doesn't have.

    Example:

    >>> from dermssl.core import taxonomy
    >>> ham, isic = taxonomy.load("ham10000"), taxonomy.flat(["Melanoma", "benign"])
    >>> [(m.ours, m.level) for m in map_classes({"Melanoma": 3, "benign": 9}, isic, ham)]
    [('mel', 'fine'), ('benign', 'malignancy')]
    """
    found = []
    for label, n in counts.items():
        if given is not None and label in given:
            level, name = _given(given[label], ours, label, where)
            found.append(Mapped(label, level, name, BY_FILE, int(n)))
        else:
            level, name, how = _by_name(label, theirs, ours)
            found.append(Mapped(label, level, name, how, int(n)))
    return found


def check_map(given: Mapping[str, str], known: Iterable[str], where: str) -> None:
    """Refuse a map file that names classes which no data set has."""
    known = sorted(set(known))
    if odd := [name for name in given if name not in known]:
        raise UserError(
            f"{where}: no photo has the class '{odd[0]}'; the classes there: {', '.join(known)}"
        )


def check_complete(mapped: Iterable[Mapped], ours: Taxonomy, where: str) -> None:
    """Refuse classes that can't be mapped, listing the pairs that were found and the rest."""
    mapped = list(mapped)
    missing = [one.theirs for one in mapped if not one.level]
    if missing:
        pairs = [f"{one.theirs} = {one.ours or '(left out)'}" for one in mapped if one.level]
        raise UserError(
            f"{where}: classes without a counterpart in the run: {', '.join(missing)}; found: "
            f"{', '.join(pairs) or 'none'}. Say where they go in a file of evaluate.classes, "
            f'[classes] theirs = "ours"; ours: {", ".join(_valid(ours))}, or "" to leave one out'
        )


def truth_of(index: pd.DataFrame, mapped: Iterable[Mapped], ours: Taxonomy) -> Truth:
    """What is known of each record in the run's classes.

    Args:
        index: record table of the other data set.
        mapped: from `map_classes`.
        ours: the run's taxonomy.
    """
    by_label = {one.theirs: one for one in mapped}
    fine, coarse, malignant = (np.full(len(index), -1, dtype=np.int64) for _ in range(3))
    axis = has_axis(ours)
    for label, rows in labels(index).groupby(labels(index)).groups.items():
        at, one = index.index.get_indexer(rows), by_label.get(str(label))
        if one is None:
            continue
        if one.level == FINE:
            k = ours.fine.index(one.ours)
            fine[at], coarse[at] = k, ours.parent_index[k]
            if axis:
                malignant[at] = int(ours.malignancy[k] == MALIGNANT)
        elif one.level == COARSE:
            coarse[at] = ours.coarse.index(one.ours)
            kinds = {m == MALIGNANT for m, p in zip(ours.malignancy, ours.parents) if p == one.ours}
            if axis and len(kinds) == 1:
                malignant[at] = int(kinds.pop())
        elif one.level == MALIGNANCY:
            malignant[at] = int(one.ours == MALIGNANT)
    return Truth(fine, coarse, malignant)


def has_axis(taxonomy: Taxonomy) -> bool:
    """Whether every fine class states its malignancy, with some malignant and some not."""
    kinds = {name == MALIGNANT for name in taxonomy.malignancy}
    return all(taxonomy.malignancy) and len(kinds) == 2


def _given(name, ours, label, where):
    """The level and name that a map file's entry stands for."""
    if name in OUT:
        return LEFT_OUT, ""
    if name in ours.fine:
        return FINE, name
    if name in ours.coarse:
        return COARSE, name
    if name in (MALIGNANT, BENIGN) and has_axis(ours):
        return MALIGNANCY, name
    raise UserError(
        f"evaluate.classes {where}: {label} = '{name}' is no class of the run; "
        f'choose of: {", ".join(_valid(ours))}, or "" to leave it out'
    )


def _valid(ours):
    groups = ours.coarse if ours.has_hierarchy else ()
    return [*ours.fine, *groups, *((MALIGNANT, BENIGN) if has_axis(ours) else ())]


def _by_name(label, theirs, ours):
    """(level, name, how) of a label, by its name, then by what their taxonomy says of it."""
    own = theirs.fine.index(label) if label in theirs.fine else None
    spellings = [label] if own is None else [label, theirs.titles[own]]
    if found := _match(spellings, ours):
        return found
    if own is None:
        return "", "", ""
    if theirs.parents[own] != label and (found := _match([theirs.parents[own]], ours)):
        return *found[:2], "their group"
    if kind := theirs.malignancy[own]:  # premalignant counts as benign, as in `binary_tasks`
        kind = MALIGNANT if kind == MALIGNANT else BENIGN
        if found := _match([kind], ours):
            return *found[:2], "their malignancy"
    return "", "", ""


def _match(spellings, ours):
    """(level, name, how) of the first class of ours that has one of these names, or None."""
    names = [
        *((FINE, name, (name, title)) for name, title in zip(ours.fine, ours.titles)),
        *((COARSE, name, (name,)) for name in ours.coarse),
        *((MALIGNANCY, name, (name,)) for name in (MALIGNANT, BENIGN) if has_axis(ours)),
    ]
    plain = {plain_name(word) for word in spellings}
    for how, same in (("name", plain), ("synonym", _synonyms(plain))):
        for level, name, words in names:
            if same & {plain_name(word) for word in words}:
                return level, name, how
    return None


def _synonyms(words):
    """The words with all that mean the same."""
    same = set(words)
    for group in SYNONYMS:
        plain = {plain_name(word) for word in group}
        if words & plain:
            same |= plain
    return same


def plain_name(text: str) -> str:
    """Letters and digits in lower case, other signs as one space; no accents, no plurals.

    Example:

    >>> plain_name("Basal-cell Carcinomas")
    'basal cell carcinoma'
    """
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    words = re.sub(r"[^a-z0-9]+", " ", text).split()
    return " ".join(PLURALS.get(word, word) for word in words)

"""Tables of data sets as they were released: how each is recognised, and what its columns mean.

A layout is known by the names of its columns. To add one, add an entry to `LAYOUTS` and a folder to
tests/data/test_layouts.py; `released_tables` finds and reads the files. What a table says of how
the diagnosis was made (`dx_type`, `diagnosis_confirm_type`, `biopsed`) is left out: it gives the
diagnosis away.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import csv_tables, one_hot, vocabulary

# Challenge tables with one column a class; the union of ISIC 2018, 2019 and MILK10k.
CLASSES = (
    "mel", "nv", "bcc", "ak", "akiec", "bkl", "df", "vasc", "scc", "unk", "ben_oth", "inf",
    "mal_oth", "sccka",
)  # fmt: skip
NO_CLASS = ("unk",)
ISIC = {
    "age_approx": "age", "sex": "sex", "anatom_site_general": "site",
    "anatom_site_general_challenge": "site", "lesion_id": "lesion_id", "patient_id": "patient_id",
    "fitzpatrick_skin_type": "skin_tone",
}  # fmt: skip
PH2 = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
DDI_TONES = {"12": "I-II", "34": "III-IV", "56": "V-VI"}
MILK_TONES = {str(k): f"MILK10k {k}" for k in range(6)}  # 0 very dark to 5 very light

log = logging.getLogger(__name__)
Prepare = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Truth:
    """A second table with the diagnoses, one row a lesion or case, tied to the first by `key`."""

    key: str
    needs: frozenset[str]
    prepare: Prepare


@dataclass(frozen=True)
class Layout:
    """One released table.

    Attributes:
        needs: columns (lower case) that tell it from the others.
        rename: its columns -> the index's; `path` is the photo's id or name.
        prepare: makes `fine` (and more) where a column doesn't say it.
        one_of: further columns, one of which it has.
        without: columns that it doesn't have.
        truth: the second table that belongs to it.
        taxonomies: built-in ones that its classes may be.
        skin_tones: words of its scale, in lower case -> how they are written here.
        row_positions: a column; tables beside it that have it list rows of a split, from 0.
    """

    needs: frozenset[str]
    rename: Mapping[str, str]
    prepare: Prepare | None = None
    one_of: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    truth: Truth | None = None
    taxonomies: tuple[str, ...] = ()
    skin_tones: Mapping[str, str] = field(default_factory=lambda: vocabulary.FITZPATRICK_WORDS)
    row_positions: str = ""

    @property
    def photo(self) -> str:
        """Its column that names a row's photo; "path" where `prepare` makes it."""
        return next(theirs for theirs, ours in self.rename.items() if ours == "path")

    def fits(self, columns: Collection[str]) -> bool:
        """Whether a table with these columns is one of this layout that says a diagnosis."""
        columns = set(columns)
        one = not self.one_of or bool(self.one_of & columns)
        return self.needs <= columns and one and not self.without & columns


def _one_hot(table: pd.DataFrame) -> pd.DataFrame:
    """The class of each row from a column a class; a row without a mark is unlabelled."""
    names = [name for name in CLASSES if name in table]
    marks = table[names].apply(one_hot.shares).fillna(0)
    several = (marks > 0.5).sum(axis=1) > 1
    if several.any():
        raise UserError(f"line {table.index[several][0]}: two classes are marked; mark one")
    named = marks.idxmax(axis=1).where(marks.max(axis=1) > 0.5, "")
    return table.assign(fine=named.where(~named.isin(NO_CLASS), ""))


def _malignant(column: str) -> Prepare:
    """Malignant or benign from a column of marks, such as 1 and 0; a blank one is unlabelled."""
    words = {1.0: "malignant", 0.0: "benign"}

    def prepare(table):
        shares = one_hot.shares(table[column])
        if len(odd := shares[shares.notna() & ~shares.isin([*words])]):
            raise UserError(
                f"line {odd.index[0]}: {column} {odd.iloc[0]:g}; write {one_hot.UNDERSTOOD}"
            )
        return table.assign(fine=shares.map(words).fillna(""))

    return prepare


def _isic_archive(table: pd.DataFrame) -> pd.DataFrame:
    """The archive's diagnosis: `diagnosis`, else diagnosis_3 under diagnosis_1.

    Its tree is benign or malignant, kind of growth, diagnosis; 4 and 5 are subtypes. A row that
    stops above the diagnosis has its coarse label alone: "Benign" is no class beside "Nevus".
    """
    if "diagnosis" in table:
        return table.assign(fine=table["diagnosis"])
    return table.assign(fine=table.get("diagnosis_3", ""), coarse=table["diagnosis_1"])


def _both_views(table: pd.DataFrame) -> pd.DataFrame:
    """Derm7pt: a row a case with a dermoscopic and a clinical photo -> a row a photo."""
    views = [table.assign(path=table[view], source=view) for view in ("derm", "clinic")]
    both = pd.concat(views).sort_index(kind="stable")
    return both[both["path"] != ""]


def _ph2(table: pd.DataFrame) -> pd.DataFrame:
    """PH2's clinical diagnosis by its code."""
    codes = table["clinical diagnosis"]
    odd = codes[~codes.isin([*PH2, ""])]
    if len(odd):
        raise UserError(
            f"line {odd.index[0]}: clinical diagnosis {csv_tables.quoted(odd.iloc[0])}; "
            "PH2 has 0, 1 and 2"
        )
    return table.assign(fine=codes.map(PH2).fillna(""))


def _lower(column: str) -> Prepare:
    """The diagnosis in lower case: BCN20000's codes are those of ISIC 2019."""
    return lambda table: table.assign(fine=table[column].str.lower())


def _scin_photos(table: pd.DataFrame) -> pd.DataFrame:
    """SCIN: a row a case with up to three photos -> a row a photo.

    The skin type is the one that all dermatologists who named one agree on. The body part is
    given where it is the only one.
    """
    blank = pd.Series("", table.index)
    types = [table.get(f"dermatologist_fitzpatrick_skin_type_label_{k}", blank) for k in (1, 2, 3)]
    prefix = "body_parts_"
    parts = [name for name in map(str, table) if name.startswith(prefix)]
    marked = table[parts].apply(lambda column: column.str.lower().isin(("yes", "true", "1")))
    only = marked.sum(axis=1) == 1
    site = marked.idxmax(axis=1).str.removeprefix(prefix).str.replace("_", " ") if parts else blank
    named = [{*row} - {""} for row in zip(*types)]
    table = table.assign(
        skin_tone=[row.pop() if len(row) == 1 else "" for row in named],
        sex=table.get("sex_at_birth", blank).replace("OTHER_OR_UNSPECIFIED", ""),
        site=site.where(only, ""),
    )  # fmt: skip
    photos = [
        table.assign(path=table[f"image_{k}_path"], source=table.get(f"image_{k}_shot_type", blank))
        for k in (1, 2, 3) if f"image_{k}_path" in table
    ]  # fmt: skip
    every = pd.concat(photos).sort_index(kind="stable")
    return every[every["path"] != ""]


def _scin_conditions(table: pd.DataFrame) -> pd.DataFrame:
    """SCIN: the condition with the highest weight; none where two weigh the same."""
    fine, ties = [], 0
    for line, text in table["weighted_skin_condition_label"].items():
        weights = _weights(text, line)
        top = max(weights.values(), default=0)
        first = [name for name, weight in weights.items() if weight == top]
        ties += len(first) > 1
        fine.append(first[0] if len(first) == 1 else "")
    if ties:
        left_out.tell(
            log,
            f"SCIN: {ties:,} of {len(table):,} cases have two conditions of the highest weight and "
            "are taken as unlabelled",
        )
    return table.assign(fine=fine)


def _weights(text, line):
    """The dict of condition -> weight that a cell spells out."""
    try:
        weights = ast.literal_eval(text or "{}")
        if all(isinstance(name, str) for name in weights):
            return {name: float(weight) for name, weight in weights.items()}
    except (ValueError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError):
        pass
    raise UserError(
        f"line {line}: weighted_skin_condition_label {csv_tables.quoted(text)}; "
        "write it like {'Eczema': 0.7, 'Psoriasis': 0.3}"
    )


# The more special stand first: where two tables of a folder differ, the first is the data set's.
LAYOUTS = {
    "isic2020": Layout(
        frozenset({"image_name", "benign_malignant", "target"}),
        {"image_name": "path", "benign_malignant": "fine", **ISIC}, taxonomies=("malignancy",),
    ),
    "isic2024": Layout(  # SLICE-3D as Kaggle has it
        frozenset({"isic_id", "target", "tbp_lv_location"}),
        {"isic_id": "path", "fine": "fine", **ISIC}, _malignant("target"),
        taxonomies=("malignancy",),
    ),
    "isic2024_challenge": Layout(  # as ISIC has it: the truth alone, metadata in a second table
        frozenset({"isic_id", "malignant"}),
        {"isic_id": "path", "fine": "fine", **ISIC}, _malignant("malignant"),
        taxonomies=("malignancy",),
    ),
    "milk10k": Layout(  # two photos a lesion
        frozenset({"lesion_id", "image_type", "isic_id"}),
        {"isic_id": "path", "fine": "fine", "image_type": "source", "skin_tone_class": "skin_tone",
         "site": "site", **ISIC},
        without=frozenset({"diagnosis", "diagnosis_1"}),  # which the archive's own table has
        truth=Truth("lesion_id", frozenset({"lesion_id", "mel", "nv", "bcc"}), _one_hot),
        taxonomies=("milk10k",), skin_tones=MILK_TONES,
    ),
    "isic_onehot": Layout(  # ISIC 2018 and 2019
        frozenset({"image", "mel", "nv", "bcc"}),
        {"image": "path", "fine": "fine", **ISIC}, _one_hot, taxonomies=("ham10000", "isic2019"),
    ),
    "bcn20000": Layout(
        frozenset({"bcn_filename", "diagnosis"}),
        {"bcn_filename": "path", "fine": "fine", **ISIC}, _lower("diagnosis"),
        taxonomies=("isic2019",),
    ),
    "isic_archive": Layout(
        frozenset({"isic_id"}),
        {"isic_id": "path", "fine": "fine", "coarse": "coarse", **ISIC}, _isic_archive,
        one_of=frozenset({"diagnosis", "diagnosis_1"}),
    ),
    "pad_ufes_20": Layout(
        frozenset({"img_id", "diagnostic", "patient_id"}),
        {"img_id": "path", "diagnostic": "fine", "patient_id": "patient_id", "age": "age",
         "lesion_id": "lesion_id", "gender": "sex", "region": "site", "fitspatrick": "skin_tone"},
        taxonomies=("pad_ufes_20",),
    ),
    "derm7pt": Layout(
        frozenset({"case_num", "diagnosis", "derm", "clinic"}),
        {"path": "path", "diagnosis": "fine", "case_num": "lesion_id", "sex": "sex",
         "location": "site", "source": "source"},
        _both_views, taxonomies=("derm7pt",), row_positions="indexes",
    ),
    "ddi": Layout(
        frozenset({"ddi_file", "skin_tone", "malignant"}),
        {"ddi_file": "path", "fine": "fine", "skin_tone": "skin_tone"}, _malignant("malignant"),
        taxonomies=("malignancy",), skin_tones=DDI_TONES,
    ),
    "fitzpatrick17k": Layout(
        frozenset({"md5hash", "label", "three_partition_label"}),
        {"md5hash": "path", "label": "fine", "three_partition_label": "coarse",
         "fitzpatrick_scale": "skin_tone", "fitzpatrick": "skin_tone"},
    ),
    "scin": Layout(
        frozenset({"case_id", "image_1_path"}),
        {"path": "path", "fine": "fine", "case_id": "lesion_id", "sex": "sex", "site": "site",
         "skin_tone": "skin_tone", "source": "source"},
        _scin_photos,
        truth=Truth(
            "case_id", frozenset({"case_id", "weighted_skin_condition_label"}), _scin_conditions
        ),
    ),
    "ph2": Layout(  # PH2_dataset.txt: "||" between cells, a legend below the table
        frozenset({"name", "histological diagnosis", "clinical diagnosis"}),
        {"name": "path", "fine": "fine"}, _ph2, taxonomies=("ph2",),
    ),
}  # fmt: skip


def fitting(columns: Collection[str]) -> list[str]:
    """Names of the layouts that a table with these columns may be of.

    A layout whose columns are all among another's isn't named beside it: the other says more.

    Example:

    >>> fitting(["isic_id", "diagnosis_1", "target", "tbp_lv_location"])
    ['isic2024']
    """
    names = [name for name, layout in LAYOUTS.items() if layout.fits(columns)]
    needs = [LAYOUTS[name].needs for name in names]
    return [name for name in names if not any(LAYOUTS[name].needs < other for other in needs)]

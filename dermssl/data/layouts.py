"""Tables of data sets as they were released: how each is recognised, and what its columns mean.

A layout is known by the names of its columns. To add one, add an entry to `LAYOUTS` and a folder to
tests/data/test_layouts.py. What a table says of how the diagnosis was made (`dx_type`,
`diagnosis_confirm_type`, `biopsed`) is left out: it gives the diagnosis away.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dermssl.core import taxonomy
from dermssl.core.errors import UserError
from dermssl.data import csv_tables, not_photos

TABLES = (".csv", ".tsv", ".tab", ".txt", "")
SHEETS = (".xlsx", ".xls", ".ods")
DEPTH = 2  # folders below the root in which tables are looked for
# Challenge tables with one column a class; the union of ISIC 2018, 2019 and MILK10k.
CLASSES = (
    "mel", "nv", "bcc", "ak", "akiec", "bkl", "df", "vasc", "scc", "unk", "ben_oth", "inf",
    "mal_oth", "sccka",
)  # fmt: skip
NO_CLASS = ("unk",)
ISIC = {
    "age_approx": "age", "sex": "sex", "anatom_site_general": "site",
    "anatom_site_general_challenge": "site", "lesion_id": "lesion_id", "patient_id": "patient_id",
}  # fmt: skip


SCIN = {"image_1_path", "weighted_skin_condition_label"}
PH2 = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}


@dataclass(frozen=True)
class Layout:
    """One released table.

    Attributes:
        needs: columns (lower case) that tell it from the others.
        rename: its columns -> the index's; `path` is the photo's id or name.
        prepare: makes `fine` (and more) where a column doesn't say it.
        joins: columns of a second table that belongs to it, matched by `path` or `lesion_id`.
    """

    needs: frozenset[str]
    rename: dict[str, str]
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    joins: dict[str, str] = field(default_factory=dict)


def _one_hot(table: pd.DataFrame) -> pd.DataFrame:
    """The class of each row from columns of 0 and 1; a row without a 1 is unlabelled."""
    names = [name for name in CLASSES if name in table]
    marks = table[names].apply(pd.to_numeric, errors="coerce").fillna(0)
    several = (marks > 0.5).sum(axis=1) > 1
    if several.any():
        raise UserError(f"line {table.index[several][0]}: two classes are marked; mark one")
    named = marks.idxmax(axis=1).where(marks.max(axis=1) > 0.5, "")
    return table.assign(fine=named.where(~named.isin(NO_CLASS), ""))


def _malignant(column: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Malignant or benign from a column of 1 and 0, or of True and False."""
    words = {"1": "malignant", "0": "benign", "1.0": "malignant", "0.0": "benign",
             "true": "malignant", "false": "benign"}  # fmt: skip

    def prepare(table):
        return table.assign(fine=table[column].str.lower().map(words).fillna(""))

    return prepare


def _isic_archive(table: pd.DataFrame) -> pd.DataFrame:
    """The archive's diagnosis: `diagnosis`, else the deepest of diagnosis_1 to _5 that is given."""
    if "diagnosis" in table:
        return table.assign(fine=table["diagnosis"])
    fine = pd.Series("", table.index)
    for level in range(1, 6):
        column = table.get(f"diagnosis_{level}", fine)
        fine = column.where(column != "", fine)
    return table.assign(fine=fine, coarse=table["diagnosis_1"].where(fine != "", ""))


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


# The first whose columns are all there is taken.
LAYOUTS = {
    "isic2020": Layout(
        frozenset({"image_name", "benign_malignant", "target"}),
        {"image_name": "path", "benign_malignant": "fine", **ISIC},
    ),
    "isic2024": Layout(  # SLICE-3D
        frozenset({"isic_id", "target", "tbp_lv_location"}),
        {"isic_id": "path", "fine": "fine", **ISIC}, _malignant("target"),
    ),
    "milk10k": Layout(  # two photos a lesion; the truth stands in a second table, a row a lesion
        frozenset({"lesion_id", "image_type", "isic_id"}),
        {"isic_id": "path", "fine": "fine", "image_type": "source", "skin_tone_class": "skin_tone",
         "site": "site", **ISIC},
        joins={"lesion_id": "lesion_id"},
    ),
    "isic_onehot": Layout(  # ISIC 2018 and 2019; 2019 has its lesions in a second table
        frozenset({"image", "mel", "nv", "bcc"}),
        {"image": "path", "fine": "fine", **ISIC}, _one_hot, {"image": "image"},
    ),
    "bcn20000": Layout(
        frozenset({"bcn_filename", "diagnosis"}),
        {"bcn_filename": "path", "diagnosis": "fine", **ISIC},
    ),
    "isic_archive": Layout(
        frozenset({"isic_id"}),
        {"isic_id": "path", "fine": "fine", "coarse": "coarse", **ISIC}, _isic_archive,
    ),
    "pad_ufes_20": Layout(
        frozenset({"img_id", "diagnostic", "patient_id"}),
        {"img_id": "path", "diagnostic": "fine", "patient_id": "patient_id", "age": "age",
         "lesion_id": "lesion_id", "gender": "sex", "region": "site", "fitspatrick": "skin_tone"},
    ),
    "derm7pt": Layout(
        frozenset({"case_num", "diagnosis", "derm", "clinic"}),
        {"path": "path", "diagnosis": "fine", "case_num": "lesion_id", "sex": "sex",
         "location": "site", "source": "source"},
        _both_views,
    ),
    "ddi": Layout(
        frozenset({"ddi_file", "skin_tone", "malignant"}),
        {"ddi_file": "path", "fine": "fine", "skin_tone": "skin_tone"}, _malignant("malignant"),
    ),
    "fitzpatrick17k": Layout(
        frozenset({"md5hash", "label", "three_partition_label"}),
        {"md5hash": "path", "label": "fine", "three_partition_label": "coarse",
         "fitzpatrick_scale": "skin_tone", "fitzpatrick": "skin_tone"},
    ),
    "ph2": Layout(  # PH2_dataset.txt: "||" between cells, a legend below the table
        frozenset({"name", "histological diagnosis", "clinical diagnosis"}),
        {"name": "path", "fine": "fine"}, _ph2,
    ),
}  # fmt: skip


def tables(root: Path, suffixes: tuple[str, ...] = TABLES) -> list[Path]:
    """Files of a folder, and of the folders in it, whose ending is a table's; sorted.

    Not those that a link leads to, nor those that a command of ours wrote.
    """
    found: list[Path] = []
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        within = waiting.pop()
        for entry in _entries(root.joinpath(*within)):
            # Names alone decide of most: a folder may hold 100,000 photos.
            ending = os.path.splitext(entry.name)[1].lower()
            # A file without an ending may be anything: only names that speak of a table.
            named = bool(ending) or "metadata" in entry.name.lower()
            named = named and ending in suffixes and not entry.name.startswith(".")
            if named and entry.is_file(follow_symlinks=False) and not _is_ours(root, within):
                found.append(Path(entry.path))
            if len(within) < DEPTH and entry.is_dir(follow_symlinks=False):
                waiting.append((*within, entry.name))
    return sorted(found, key=lambda file: (len(file.parts), str(file)))


def _entries(folder):
    try:
        with os.scandir(folder) as listing:
            return list(listing)
    except OSError:  # `paths.scan` says so
        return []


def _is_ours(root, within):
    """Whether a folder below the root, or one above it, was written by a command."""
    folders = (root.joinpath(*within[: depth + 1]) for depth in range(len(within)))
    return any(not_photos.is_ours(str(folder)) for folder in folders)


def _header(file):
    """A table's columns in lower case; of one with "||" between cells, too."""
    header = csv_tables.header_of(file, "image,isic_id")
    if header and header[0].startswith("||"):
        return _cells(",".join(header))
    return header


def _cells(line):
    return [cell.strip().lower() for cell in line.strip().strip("|").split("||")]


def built_in(root: Path, name: str, labels: set[str]) -> str | None:
    """The built-in taxonomy whose classes are those of a released table; None without one.

    Args:
        root: the data folder.
        name: of the layout.
        labels: those of its rows.
    """
    if labels == {"benign", "malignant"}:
        return "malignancy"
    if name not in ("isic_onehot", "milk10k"):
        return None
    columns = set().union(*(csv_tables.header_of(file, "") for file in tables(root)))
    classes = (columns & set(CLASSES)) - set(NO_CLASS)
    for one in ("ham10000", "isic2019"):
        if classes == set(taxonomy.load(one).fine) and labels <= classes:
            return one
    return None


def _piped(file):
    """The rows of a table with "||" between cells, None of another; lines without are a legend."""
    if not (csv_tables.header_of(file, "") or [""])[0].startswith("||"):
        return None
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = {n: line for n, line in enumerate(lines, 1) if line.strip()}
    (_, header), *body = rows.items()
    names = _cells(header)
    found = {}
    for n, line in body:
        if line.lstrip().startswith("||"):
            cells = [cell.strip() for cell in line.strip().removeprefix("||").split("||")]
            found[n] = (cells + [""] * len(names))[: len(names)]
    if not found:
        raise UserError(f"{file}: a header but no rows; get the file anew")
    index = pd.Index(list(found), name="line")
    return pd.DataFrame(list(found.values()), columns=names, index=index, dtype=str)


def find(root: Path) -> tuple[str, Path] | None:
    """(name, table) of the released layout that a folder has; None without one.

    Raises:
        UserError: two tables fit, so that which is meant isn't known; or the tables are known,
            but of a kind that isn't read.
    """
    fits: dict[str, list[Path]] = {}
    for file in tables(root):
        header = set(_header(file))
        if header & SCIN:
            raise UserError(
                f"{file}: SCIN isn't read, a case has several photos and weighted conditions; "
                "write labels.csv with filename,label,lesion_id, or give data.format unlabelled"
            )
        name = next((name for name, one in LAYOUTS.items() if one.needs <= header), None)
        if name == "isic_archive" and not header & {"diagnosis", "diagnosis_1"}:
            continue
        if name:
            fits.setdefault(name, []).append(file)
    for name in LAYOUTS:
        files = fits.get(name, [])
        if len(files) > 1:
            shown = ", ".join(str(file.relative_to(root)) for file in files)
            raise UserError(
                f"data.path {root}: {len(files)} tables look like {name}: {shown}; keep one, or "
                "write labels.csv"
            )
        if files:
            return name, files[0]
    return None


def read(root: Path, name: str, file: Path) -> pd.DataFrame:
    """The rows of a released table under the index's names; `path` is still the photo's id."""
    layout = LAYOUTS[name]
    table = _piped(file)
    if table is None:
        table = csv_tables.read_table(file, ",".join(sorted(layout.needs)))
    try:
        if layout.joins:
            table = _joined(root, file, table, layout)
        if layout.prepare:
            table = layout.prepare(table)
    except UserError as error:
        place = "" if str(error).startswith(str(root)) else f"{file}: "
        raise UserError(f"{place}{error}") from error
    kept = {theirs: ours for theirs, ours in layout.rename.items() if theirs in table}
    records = table[list(kept)].rename(columns=kept)
    return records.loc[:, ~records.columns.duplicated()]


def _joined(root, file, table, layout):
    """The table with the columns of the others that share its key (truth, metadata)."""
    (key,) = layout.joins
    for other in tables(root):
        if other == file or key not in csv_tables.header_of(other, key):
            continue
        more = csv_tables.read_table(other, key)
        fresh = [name for name in more if name not in table]
        if not fresh or more[key].duplicated().any():
            continue
        line = table.index
        table = table.merge(more[[key, *fresh]], on=key, how="left").fillna("").set_index(line)
    if "fine" not in table and set(CLASSES) & set(table):
        table = _one_hot(table)
    return table


def naming(root: Path, photos: list[str]) -> tuple[Path, str] | None:
    """(table, column) that names at least half of the photos; None without one."""
    names = {part for path in photos for part in _names(path)}
    for file in tables(root):
        if not csv_tables.header_of(file, ""):
            continue
        try:
            table = csv_tables.read_table(file, "")
        except UserError:
            continue
        for column in table:
            named = sum(bool(_names(cell) & names) for cell in table[column].unique())
            if named >= max(2, len(photos) / 2):
                return file, str(column)
    return None


def _names(path):
    """A photo's name with and without its ending."""
    name = str(path).replace("\\", "/").rsplit("/", 1)[-1]
    return {name, name.rsplit(".", 1)[0]} - {""}

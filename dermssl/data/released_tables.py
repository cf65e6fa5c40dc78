"""Find the tables of a released data set in a folder, and read them as one table of photos.

A release may come in parts (training and test) and in kinds (diagnoses, metadata): rows of one
photo are joined, a blank cell is filled from the other table, and cells that contradict each other
are refused. What each table's columns mean is in `layouts`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dermssl.core import left_out, taxonomy
from dermssl.core.errors import UserError
from dermssl.data import column_words, csv_tables, packed, table_splits, vocabulary
from dermssl.data.layouts import CLASSES, LAYOUTS, NO_CLASS, Layout, fitting
from dermssl.data.table_files import tables

TABLE = "table"  # the column that says which table a row is from, until `settle`

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Release:
    """The tables of one data set.

    Attributes:
        name: of its layout.
        files: tables with a row a photo, those with diagnoses first.
        truths: tables with a row a lesion or case, see `layouts.Truth`.
        others: tables of these photos in another layout: only their ids of lesion and patient are
            read, since what else they say is in other words.
    """

    name: str
    files: list[Path]
    truths: list[Path]
    others: list[Path]

    @property
    def layout(self) -> Layout:
        """Its layout."""
        return LAYOUTS[self.name]


def find(root: Path) -> Release | None:
    """The released data set that a folder has; None without one.

    Raises:
        UserError: a table fits two layouts, or the folder has tables of two data sets, so that
            which is meant isn't known; or a table is there without the one it belongs to.
    """
    headers = {file: set(_header(file)) for file in tables(root)}
    fits = {
        file: [
            name for name in fitting(columns)
            if not column_words.names_none(root, file, LAYOUTS[name].photo)
        ]
        for file, columns in headers.items()
    }  # fmt: skip
    for file, names in fits.items():
        if len(names) > 1:
            raise UserError(
                f"{file}: its columns fit {' and '.join(names)}; delete the columns of one, or "
                "write labels.csv with the columns filename,label"
            )
    name = next((name for name in LAYOUTS if [name] in fits.values()), None)
    if name is None:
        _refuse_lone_truth(headers)
        return None
    layout = LAYOUTS[name]
    own = [file for file, names in fits.items() if names == [name]]
    others = [file for file, names in fits.items() if names and names != [name]]
    if strangers := [file for file in others if layout.photo not in headers[file]]:
        shown = ", ".join(
            f"{file.relative_to(root)} ({fits[file][0]})" for file in (*own, *strangers)
        )
        raise UserError(
            f"data.path {root}: tables of several data sets: {shown}; keep those of one, or give "
            "data.path one data set's folder"
        )
    _refuse_other_classes(root, own, headers)
    useful = {*layout.rename} - {layout.photo}
    if layout.photo in layout.needs:
        own += [
            file for file, columns in headers.items()
            if not fits[file] and layout.photo in columns and useful & columns
        ]  # fmt: skip
    truths = [] if layout.truth is None else [
        file for file, columns in headers.items()
        if layout.truth.needs <= columns and file not in own and layout.photo not in columns
    ]  # fmt: skip
    return Release(name, own, truths, others)


def _header(file):
    """A table's columns in lower case; of one with "||" between cells, too."""
    header = csv_tables.header_of(file, "image,isic_id")
    if header and header[0].startswith("||"):
        return _cells(",".join(header))
    return header


def _cells(line):
    return [cell.strip().lower() for cell in line.strip().strip("|").split("||")]


def _refuse_lone_truth(headers):
    """Refuse diagnoses by case without the table of the cases' photos: they'd go unnoticed."""
    for name, layout in LAYOUTS.items():
        for file, columns in headers.items():
            if layout.truth and layout.truth.needs <= columns:
                needed = ", ".join(sorted(layout.needs))
                raise UserError(
                    f"{file}: {name}'s diagnoses without the table that names the photos, with the "
                    f"columns {needed}; add it, or move this one away"
                )


def _classes(columns):
    return {*columns} & {*CLASSES} - {*NO_CLASS}


def _refuse_other_classes(root, files, headers):
    """Refuse tables with one column a class whose classes differ: they are two releases."""
    kinds = {}
    for file in files:
        kinds.setdefault(frozenset(_classes(headers[file])), file)
    if len(kinds) > 1:
        shown = "; ".join(
            f"{file.relative_to(root)} has {', '.join(sorted(kind)) or 'none'}"
            for kind, file in kinds.items()
        )
        raise UserError(
            f"data.path {root}: the classes of two tables differ: {shown}; keep one release"
        )


def read(root: Path, release: Release) -> tuple[pd.DataFrame, Path]:
    """The rows of a release under the index's names; `path` is still the photo's id.

    Args:
        root: the data folder.
        release: from `find`.

    Returns:
        `(records, place)`: text columns, indexed by line, with a column `TABLE`, and `split` as
        the tables' names say it (see `settle`). `place` is the table, or the folder of several,
        whose lines then read "12 of NAME.csv".

    Raises:
        UserError: a table is damaged, or two rows of one photo contradict each other.
    """
    several = len(release.files) + len(release.others) > 1
    place = root if several else release.files[0]
    names = ", ".join(file.name for file in (*release.files, *release.truths))
    others = ", ".join(file.name for file in release.others)
    log.warning(
        "%s: read as the table of %s%s%s", place, release.name,
        f": {names}" if several or release.truths else "",
        f"; of {others} only the ids" if others else "",
    )  # fmt: skip
    parts = [(file, _part(root, file, release)) for file in release.files]
    known = set().union(*(part["path"] for _, part in parts))
    for file in release.others:
        ids = _part(root, file, release)
        parts.append((file, ids[ids["path"].isin(known)]))
    return (_joined(stacked(root, parts), place) if several else parts[0][1]), place


def stacked(root: Path, parts: list[tuple[Path, pd.DataFrame]]) -> pd.DataFrame:
    """Tables below each other, blank where one lacks a column; lines read "12 of NAME.csv".

    Args:
        root: the data folder.
        parts: each table's file and rows, indexed by line.
    """
    every = pd.concat([part for _, part in parts]).fillna("")
    lines = [f"{line} of {file.relative_to(root)}" for file, part in parts for line in part.index]
    return every.set_axis(pd.Index(lines, name="line"))


def _part(root, file, release):
    """One table with a row a photo, cleaned."""
    layout = release.layout
    table = _piped(file)
    if table is None:
        table = csv_tables.read_table(file, ",".join(sorted(layout.needs)))
    if "split" in table and file not in release.others:
        log.warning(
            "%s: its column split is not used; write labels.csv with filename,label,split to have "
            "these splits", file,
        )  # fmt: skip
    split = "" if file in release.others else table_splits.split_of(file.relative_to(root))
    table[TABLE], table["split"] = file.name, split
    if layout.row_positions:
        table["split"] = table_splits.by_position(file, table, layout.row_positions)
    if layout.fits(table.columns) and file not in release.others:
        if release.truths:
            table = _with_truth(table, layout.truth, release.truths)
        table = _prepared(file, table, layout.prepare)
    ids = ("path", "lesion_id", "patient_id") if file in release.others else layout.rename.values()
    kept = {
        theirs: ours for theirs, ours in layout.rename.items() if theirs in table and ours in ids
    }
    records = table[[*kept, TABLE, "split"]].rename(columns=kept)
    records = records.loc[:, ~records.columns.duplicated()]
    if "skin_tone" in records:
        records["skin_tone"] = vocabulary.skin_tones(records["skin_tone"], layout.skin_tones, file)
    records = vocabulary.clean(records, file)
    return records.assign(**{name: "" for name in ("fine", "coarse") if name not in records})


def _prepared(file, table, prepare):
    try:
        return prepare(table) if prepare else table
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _with_truth(table, truth, files):
    """The table with the columns of the tables of lesions or cases that it lacks."""
    said = [
        _prepared(file, csv_tables.read_table(file, truth.key), truth.prepare) for file in files
    ]
    every = pd.concat(said).fillna("")
    every = csv_tables.drop_duplicate_rows(every, truth.key, files[0].parent)
    fresh = [name for name in every if name not in table]
    lines = table.index
    joined = table.merge(every[[truth.key, *fresh]], on=truth.key, how="left")
    return joined.fillna("").set_index(lines)


def _piped(file):
    """The rows of a table with "||" between cells, None of another; lines without are a legend."""
    if not (csv_tables.header_of(file, "") or [""])[0].startswith("||"):
        return None
    lines = file.read_text(csv_tables.encoding(file), errors="replace").splitlines()
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


def _joined(every, place):
    """One row a photo: blank cells filled, contradictions refused."""
    twice = every["path"].duplicated(keep=False)
    columns = [name for name in every if name not in ("path", TABLE)]
    cells = every.loc[twice, ["path", *columns]]
    known = cells.mask(cells == "").groupby("path", sort=False)
    several = known[columns].nunique() > 1
    if several.any(axis=None):
        path = several.index[several.any(axis=1)][0]
        name = str(several.columns[several.loc[path]][0])
        said = cells[(cells["path"] == path) & (cells[name] != "")].drop_duplicates(name)[name]
        lines, values = said.index[:2], [csv_tables.quoted(value) for value in said.iloc[:2]]
        raise UserError(
            f"{place}: lines {lines[0]} and {lines[1]} are both {csv_tables.quoted(path)}, with "
            f"{name} {values[0]} and {values[1]}; keep the right line"
        )
    every.loc[twice, columns] = known[columns].transform("first").fillna("").to_numpy()
    return every[~every["path"].duplicated()]


def settle(records: pd.DataFrame, there: pd.Series, place: Path) -> pd.DataFrame:
    """Leave out a table none of whose photos is there, and decide about the splits.

    The splits that tables' names say are taken where labelled photos are of two or more, each of
    them of one. Else they are dealt anew; an unlabelled part is no test.

    Args:
        records: from `read`.
        there: bool, whether the row's photo is there; a row each, as in `records`.
        place: as `read` gives it, for messages.

    Returns:
        The records without `TABLE`; `split` is blank where it isn't taken.
    """
    of = records[TABLE]
    seen = there.groupby(of).transform("any")
    if seen.any() and not seen.all():
        absent = records[~seen]
        counts = ", ".join(f"{name} ({n:,} rows)" for name, n in of[~seen].value_counts().items())
        left_out.tell(
            log,
            f"{place}: left out, since none of their photos is there: {counts}"
            f"{'; ' if packed.way_out(place) else ''}{packed.way_out(place)}",
            [(path, f"{name}: none of its photos is there")
             for path, name in zip(absent["path"], absent[TABLE])],
        )  # fmt: skip
        records = records[seen]
    records = _labels_told(records, place)
    labelled = (records["fine"] != "") | (records["coarse"] != "")
    splits = records["split"][labelled].value_counts()
    taken = len(splits) > 1 and "" not in splits
    if taken:
        shown = ", ".join(f"{n:,} {split}" for split, n in splits.items())
        log.warning("%s: labelled photos are split as the tables say: %s", place, shown)
    split = records["split"].where(records["split"].isin(splits.index) & taken, "")
    return records.drop(columns=TABLE).assign(split=split)


def _labels_told(records, place):
    """The records, with a line on those that have a coarse label alone, or none.

    A group of which no photo has a fine label can't be a group of fine classes: its photos are
    unlabelled, unless there are groups alone.
    """
    fine, coarse = records["fine"], records["coarse"]
    lone = (fine == "") & (coarse != "")
    orphans = lone & ~coarse.isin(coarse[fine != ""]) & (fine != "").any()
    groups = left_out.few(sorted(set(coarse[orphans])))
    coarse = coarse.mask(orphans, "")
    counts = {
        "have a coarse label alone": (lone & ~orphans & (fine != "").any()).sum(),
        "have no label": ((fine == "") & (coarse == "")).sum(),
        f"of these are of a group in which no photo has a fine label ({groups})": orphans.sum(),
    }
    if told := ", ".join(f"{n:,} {what}" for what, n in counts.items() if n):
        left_out.tell(log, f"{place}: of {len(records):,} photos {told}")
    return records.assign(coarse=coarse)


def built_in(release: Release, labels: set[str]) -> str | None:
    """The built-in taxonomy whose classes are those of a release; None without one.

    Args:
        release: from `find`.
        labels: those of its rows.
    """
    columns = set().union(*(_header(file) for file in (*release.files, *release.truths)))
    names = release.layout.taxonomies
    for name in names:
        fine = {*taxonomy.load(name).fine}
        # Tables with one column a class say all classes, also those without a photo.
        if labels <= fine and _classes(columns) in (set(), fine):
            return name
    if names and labels:
        log.warning(
            "%s: the classes (%s) aren't those of a built-in taxonomy (%s); malignancy isn't "
            "known without a taxonomy.toml",
            release.files[0], left_out.few(sorted(labels)), ", ".join(names),
        )  # fmt: skip
    return None

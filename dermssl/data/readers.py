"""Read a folder of photos into a `Dataset`: one reader for each layout.

| format | what the folder holds |
| --- | --- |
| labels | `labels.csv` (`.tsv`, `.tab`, `.txt`): `filename`, `label`, `coarse`, any of `LABELS` |
| ham10000 | `*metadata*` (`.csv`, `.tab`) with the columns of HAM10000, photos anywhere below |
| released | another data set's own table, see `layouts`; photos anywhere below |
| npz | an .npz file with photos and labels (`train_images`, `train_labels`, ...) |
| folders | a sub-folder a class, or `train/`, `test/` ... with a sub-folder a class in each |
| unlabelled | photos, anywhere below |

`auto` takes the first that fits. Photos are files, or lie in HDF5 or npz files (`photo_bytes`).
What a reader leaves out is counted in a log warning.
"""

import logging
import math
import os
from pathlib import Path, PurePosixPath

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError, unknown_name
from dermssl.core.settings import Data
from dermssl.data import class_folders, csv_tables, decode, layouts, masks, npz_labels, packed
from dermssl.data import labels as labelling
from dermssl.data import paths as files
from dermssl.data.records import MASK, Dataset, check_files, make_index
from dermssl.data.synthetic import embedded

# Columns of labels.csv -> columns of the index; all but `filename` may be missing.
LABELS = {"filename": "path", "label": "fine", "coarse": "coarse"} | {
    name: name
    for name in (
        "lesion_id", "patient_id", "split", "site", "sex", "age", "skin_tone", "source", MASK,
    )
}  # fmt: skip
# `dx_type` says how the diagnosis was made and so gives it away: histopathology is for the
# suspicious. It is left out, here and for good.
HAM10000 = {
    "image_id": "path", "dx": "fine", "lesion_id": "lesion_id",
    "localization": "site", "sex": "sex", "age": "age",
}  # fmt: skip
HAM10000_FOLDERS = ("images", "HAM10000_images_part_1", "HAM10000_images_part_2")
MAX_AGE = 120  # years

log = logging.getLogger(__name__)


def read(data: Data) -> Dataset:
    """The data set in `data.path`, and the photos in `data.unlabelled`, if any.

    Paths are relative to the real path of `data.path`, the root. So those of the second
    folder begin with "../" where it lies elsewhere; they hold as long as both folders keep
    their places to each other. Its photos get the source "unlabelled"; those that are in
    the data set already are not added again.

    Args:
        data: `config.Data`.

    Returns:
        `Dataset`; its taxonomy is None where nothing is labelled.

    Raises:
        UserError: see the readers; always a file or an option, a finding and the way out.
    """
    embedded.draw_if_missing(data.path)
    root = files.existing_folder(data.path, "data.path")
    extra = files.existing_folder(data.unlabelled, "data.unlabelled") if data.unlabelled else None
    kind = detect(root, extra) if data.format == "auto" else data.format
    built_in = "ham10000" if kind == "ham10000" else None
    if kind not in READERS:
        raise unknown_name("data format", kind, ["auto", *READERS])
    records, origin = READERS[kind](root, extra, data.on_bad == "skip")
    for name in records.columns.intersection(["fine", "coarse", "lesion_id", "patient_id"]):
        records[name] = [files.nfc(text) for text in records[name]]  # one name, one class
    if kind == "released" and (found := layouts.find(root)):
        built_in = layouts.built_in(root, found[0], {*records["fine"]} - {""})
    if kind == "npz" and set(records["fine"]) <= set(npz_labels.DERMAMNIST):
        built_in = "ham10000"
    records, classes = labelling.resolve(records, data.taxonomy, root, built_in, origin)
    if extra is not None:
        records = pd.concat([records, _unlabelled_records(root, extra, records)])
    table = make_index(records.fillna("").reset_index(drop=True))
    return Dataset(root, masks.attach(root, table, data, extra), classes)


def checked(dataset: Dataset, on_bad: str, where: str) -> tuple[Dataset, list[tuple[str, str]]]:
    """Decode every photo and mask once, before hours of work rest on them.

    Args:
        dataset: `Dataset`.
        on_bad: "error" refuses the data set at a bad file, "skip" drops a bad photo's record, and
            a bad mask alone.
        where: the option or folder to name in errors, such as "data.path ham10000".

    Returns:
        `(dataset, bad)`: bad is a list of (full path, message), in the order of the records.
    """
    if on_bad == "error":
        check_files(dataset, where)
    paths = dataset.files
    bad = decode.verify_all(paths)
    if bad and on_bad == "error":
        more = f" (and {len(bad) - 1} more bad)" if len(bad) > 1 else ""
        raise UserError(f"{where}: {bad[0][1]}{more}; or leave bad images out: data.on_bad skip")
    if bad:
        refused = {path for path, _ in bad}
        keep = [path not in refused for path in paths]
        dataset = dataset.with_index(dataset.index[keep])
    if dataset.index.empty:
        raise UserError(f"{where}: none of {len(paths)} images is readable; check the folder")
    return masks.verified(dataset, on_bad, where), bad


def detect(root: Path, extra: Path | None = None) -> str:
    """The format of a folder: a key of `READERS`.

    Raises:
        UserError: a table names the photos, but is none that is known; or the labels are in a
            spreadsheet: the folders' names would be taken for diagnoses.
    """
    if _labels_file(root).is_file():
        return "labels"
    if _metadata_files(root):
        return "ham10000"
    if layouts.find(root):
        return "released"
    photos = files.scan(root, extra, strict=False)
    if photos and (known := layouts.naming(root, photos)):
        file, column = known
        raise UserError(
            f"{file}: its column {csv_tables.quoted(column)} names the photos, but it is no table "
            "that is known; write labels.csv with the columns filename,label, or give "
            "data.format folders or unlabelled to do without it"
        )
    for file in layouts.tables(root, (*layouts.TABLES, *layouts.SHEETS)):
        if photos and file.suffix.lower() in layouts.SHEETS:
            raise UserError(f"{file}: a spreadsheet isn't read; save the sheet as labels.csv")
        if file.parent == root and file.suffix.lower() in (".csv", ".tsv", ".tab"):
            log.warning("%s: not read; a table needs the name labels.csv", file)
    if npz_labels.find(root, photos):
        return "npz"
    if not class_folders.has_classes(photos):
        return "unlabelled"
    class_folders.refuse_ids(root, photos)
    return "folders"


def _labels_file(root):
    """labels.csv, or the same with another table's ending where that is all there is."""
    names = [f"labels{ending}" for ending in (".csv", ".tsv", ".tab", ".txt")]
    there = [name for name in names if (root / name).is_file()]
    return files.path_inside(root, there[0] if there else names[0])


def labels(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """`labels.csv`: (records, the file). A blank label is unlabelled.

    File names start at the folder, or at `images/` in it.
    """
    file = _labels_file(root)
    if not file.is_file():
        raise UserError(f"{file}: not found; add it, with the columns filename,label")
    table = csv_tables.read_table(file, "filename,label")
    csv_tables.require_columns(table, ["filename"], file)
    if "coarse" not in table:
        csv_tables.require_columns(table, ["label"], file)
    ignored = [name for name in table.columns if name not in LABELS]
    if ignored:
        known = ", ".join(LABELS)
        log.warning("%s: columns not used: %s; known: %s", file, ", ".join(ignored), known)
    records = _rename(table, LABELS, file)
    records["path"] = [
        files.checked_relative_path(name, f"{file}: line {line}")
        for line, name in records["path"].items()
    ]
    records["path"] = files.as_on_disk(root, records["path"].tolist())
    there = pd.Series(files.existing(root, records["path"]), records.index)
    below = "images/" + records["path"][~there]  # many tables name the photos only
    below[:] = files.as_on_disk(root, below.tolist())
    below = below[files.existing(root, below)]
    records.loc[below.index, "path"], there[below.index] = below, True
    records["path"], there = _found_below(root, records["path"], there, file)
    records = _drop_missing(root, records, there, file, skip_missing)
    if MASK in records:
        records[MASK] = masks.checked(root, records[MASK], file)
    records = csv_tables.drop_duplicate_rows(records, "path", file)
    unlisted = set(masks.photos_in(root, strict=False)) - set(records["path"])
    _warn_unlisted(unlisted, file, extra)
    return records, file


def ham10000(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """HAM10000's metadata: (records, the file). Photos are found by `image_id`."""
    found = _metadata_files(root)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(
            f"{root}: found {names} with the columns image_id and dx; "
            "keep exactly one *metadata*.csv, such as HAM10000_metadata.csv"
        )
    file = files.path_inside(root, found[0].name)
    table = csv_tables.read_table(file, "image_id,dx")
    records = csv_tables.drop_duplicate_rows(_rename(table, HAM10000, file), "path", file)
    photos: dict[str, str] = {}
    for path in sorted(files.scan(root), key=_ham10000_rank):
        photos.setdefault(PurePosixPath(path).stem, path)
    there = records["path"].isin(photos.keys())
    records = _drop_missing(root, records, there, file, skip_missing)
    _warn_unlisted(photos.keys() - set(records["path"]), file, extra)
    return records.assign(path=records["path"].map(photos)), file


def released(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """A data set's own table (see `layouts`): (records, the file). Photos are found by their id."""
    found = layouts.find(root)
    if not found:
        known = ", ".join(layouts.LAYOUTS)
        raise UserError(f"data.path {root}: no table of a known data set there ({known})")
    name, file = found
    log.warning("%s: read as the table of %s", file, name)
    records = _cleaned(layouts.read(root, name, file), file)
    records = csv_tables.drop_duplicate_rows(records, "path", file)
    nowhere, photos = pd.Series(False, records.index), files.scan(root)
    paths, there = _found_below(root, records["path"], nowhere, file)
    records = records.assign(path=paths.to_numpy())
    records = _drop_missing(root, records, there, file, skip_missing)
    _warn_unlisted(set(photos) - set(records["path"]), file, extra)
    return records, file


def _found_below(root, names, there, file):
    """The paths of names that aren't there as written: anywhere below, with or without ending."""
    if there.all():
        return names, there
    known: dict[str, set[str]] = {}
    for path in files.scan(root, strict=False):
        plain = PurePosixPath(path)
        for name in (plain.name, plain.stem):
            known.setdefault(name.lower(), set()).add(path)
    paths, seen = list(names), list(there)
    for place, (line, name) in enumerate(names.items()):
        if seen[place]:
            continue
        found = known.get(PurePosixPath(name).name.lower(), set())
        if len(found) > 1:
            raise UserError(
                f"{file}: line {line}: {csv_tables.quoted(name)} may be "
                f"{' or '.join(sorted(found))}; write the whole path"
            )
        if found:
            paths[place], seen[place] = next(iter(found)), True
    return pd.Series(paths, names.index, dtype=object), pd.Series(seen, names.index)


def arrays(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """An npz file with photos and labels: (records, the file); see `npz_labels`."""
    photos = files.scan(root, extra)
    records, file = npz_labels.read(root, photos)
    _warn_unlisted(set(photos) - set(records["path"]), file, extra)
    return records, file


def folders(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, None]:
    """A folder a class: (records, None); see `class_folders`."""
    return class_folders.read(root, _some_photos(root, extra)), None


def unlabelled(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, None]:
    """Photos without labels: (records, None)."""
    return pd.DataFrame({"path": _some_photos(root, extra)}), None


READERS = {
    "labels": labels, "ham10000": ham10000, "released": released, "npz": arrays,
    "folders": folders, "unlabelled": unlabelled,
}  # fmt: skip


def _some_photos(root, extra):
    photos = files.scan(root, extra)
    if not photos:
        if found := packed.way_out(root):
            raise UserError(f"data.path {root}: {found}")
        raise UserError(f"data.path {root}: no images found; {files.ACCEPTED}")
    return photos


def _unlabelled_records(root, extra, records):
    found = files.scan(extra)
    if not found:
        raise UserError(f"data.unlabelled {extra}: no images found; {files.ACCEPTED}")
    known = {os.path.realpath(root / path) for path in records["path"]}
    new = [name for name in found if os.path.realpath(extra / name) not in known]
    # The same photo under another path would bring a held-out one into pretraining.
    twin = files.find_identical_files([str(extra / name) for name in new], sorted(known))
    if any(twin):
        log.warning(
            "data.unlabelled %s: %d of %d photos are copies of photos in %s and left out, "
            "first '%s'",
            extra, sum(twin), len(new), root, new[twin.index(True)],
        )  # fmt: skip
        new = [name for name, copied in zip(new, twin) if not copied]
    paths = [PurePosixPath(os.path.relpath(extra / name, root)).as_posix() for name in new]
    return pd.DataFrame({"path": paths, "source": "unlabelled"})


def _metadata_files(root):
    return [
        file
        for file in _without_twins(root)
        if "metadata" in file.name.lower()
        and {"image_id", "dx"} <= {*csv_tables.header_of(file, "image_id,dx")}
    ]


def _without_twins(root):
    """Tables in the folder itself; of NAME.csv and NAME.tab, as Dataverse gives both, the first."""
    first: dict[str, Path] = {}
    for file in layouts.tables(root):
        if file.parent == root:
            first.setdefault(file.stem, file)
    return list(first.values())


def _ham10000_rank(path):
    """Where one id has several files: the usual folders first, then JPEG, then by name."""
    folder = path.split("/")[0]
    known = HAM10000_FOLDERS.index(folder) if folder in HAM10000_FOLDERS else 99
    return known, not path.lower().endswith((".jpg", ".jpeg")), path


def _rename(table, columns, file):
    """The known columns under the index's names, cleaned."""
    return _cleaned(
        table[[name for name in columns if name in table]].rename(columns=columns), file
    )


def _cleaned(records, file):
    """Records without words for "unknown", ages checked."""
    for name in records.columns.difference(["path", "fine", "coarse"]):
        records[name] = records[name].mask(records[name].str.lower().isin(csv_tables.UNKNOWN), "")
    if "split" in records:
        records["split"] = records["split"].str.lower()
    if "age" in records:
        for text in records["age"].unique():
            if text and not _is_age(text):
                line = records.index[records["age"] == text][0]
                raise UserError(
                    f"{file}: line {line}: age {csv_tables.quoted(text)}; "
                    f"write years from 0 to {MAX_AGE}, or leave it blank"
                )
    return records


def _is_age(text):
    try:
        return math.isfinite(float(text)) and 0 <= float(text) <= MAX_AGE
    except ValueError:
        return False


def _drop_missing(root, records, there, file, skip):
    if there.all():
        return records
    gone = records[~there]
    name = gone["path"].iloc[0]
    finding = (
        f"{file}: line {gone.index[0]}: image {csv_tables.quoted(name)} not found "
        f"({len(gone)} of {len(records)} images are missing)"
    )
    if len(gone) == len(records):
        way_out = packed.way_out(root) or "put the photos below the folder, or correct the names"
        raise UserError(f"{finding}; {way_out}")
    if not skip:
        raise UserError(f"{finding}; add the file, correct the line, or use data.on_bad skip")
    rows = [(name, f"{file}: line {line}: not found") for line, name in gone["path"].items()]
    left_out.tell(log, f"{finding}; their rows are left out", rows, left_out.MISSING)
    return records[there]


def _warn_unlisted(names, file, extra):
    near = extra is not None and (
        files.is_inside(file.parent, str(extra)) or files.is_inside(extra, str(file.parent))
    )
    if names and not near:  # else the second folder brings them in
        line = (
            f"{file}: {len(names)} image(s) in the folder have no row and are left out, "
            f"the first is '{min(names)}'"
        )
        left_out.tell(log, line, [(name, f"no row in {file}") for name in sorted(names)])

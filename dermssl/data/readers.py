"""Read a folder of photos into a `Dataset`: one reader for each layout.

| format | what the folder holds |
| --- | --- |
| labels | `labels.csv` (`.tsv`, `.tab`, `.txt`, `.xlsx`): `filename`, `label`, any of `LABELS` |
| ham10000 | `*metadata*` (`.csv`, `.tab`) with the columns of HAM10000, photos anywhere below |
| released | another data set's own table, see `layouts`; photos anywhere below |
| shards | what `dermssl.shards` wrote, with the records of another reader |
| npz | an .npz file with photos and labels (`train_images`, `train_labels`, ...) |
| folders | a sub-folder a class, or `train/`, `test/` ... with a sub-folder a class in each |
| unlabelled | photos, anywhere below |

`auto` takes the first that fits. Photos are files, or lie in HDF5 or npz files or shards.
What a reader leaves out is counted in a log warning.
"""

import logging
import os
from pathlib import Path, PurePosixPath

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError, unknown_name
from dermssl.core.settings import Data
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import (
    class_folders,
    column_words,
    csv_tables,
    decode,
    masks,
    npz_labels,
    packed,
    photo_bytes,
    released_tables,
    same_files,
    shard_files,
    table_files,
    table_photos,
    table_splits,
    vocabulary,
)
from dermssl.data import labels as labelling
from dermssl.data import paths as files
from dermssl.data.layouts import LAYOUTS
from dermssl.data.records import MASK, TEST, TRAIN, Dataset, check_files, make_index
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
    built_in: str | Taxonomy | None = "ham10000" if kind == "ham10000" else None
    if kind not in READERS:
        raise unknown_name("data format", kind, ["auto", *READERS])
    records, origin = READERS[kind](root, extra, data.on_bad == "skip")
    for name in records.columns.intersection(["fine", "coarse", "lesion_id", "patient_id"]):
        records[name] = list(map(files.nfc, records[name].to_numpy(object)))  # one name, one class
    if kind == "released" and (release := released_tables.find(root)):
        built_in = released_tables.built_in(release, {*records["fine"]} - {""})
    built_in = shard_files.classes(root) if kind == "shards" else built_in
    if kind == "npz" and set(records["fine"]) <= set(npz_labels.DERMAMNIST):
        built_in = "ham10000"
    home = origin.parent if kind == "labels" and origin else root
    records, classes = labelling.resolve(records, data.taxonomy, home, built_in, origin)
    if extra is not None:
        records = pd.concat([records, _unlabelled_records(root, extra, records)])
    records = same_files.once(root, records.fillna("").reset_index(drop=True))
    table = make_index(records.reset_index(drop=True))
    return Dataset(root, masks.attach(root, table, data, extra), classes)


def checked(dataset: Dataset, on_bad: str, where: str) -> tuple[Dataset, list[tuple[str, str]]]:
    """Decode every photo and mask once, before hours of work rest on them.

    Those in shards were decoded when these were written, and their bytes are checked when read.

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
    bad = decode.verify_all(photo_bytes.unverified(paths))
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
    if shard_files.is_index(root):
        return "shards"
    if table_files.named_labels(root):
        return "labels"
    if _metadata_files(root):
        return "ham10000"
    if released_tables.find(root):
        return "released"
    photos = files.scan(root, extra, strict=False)
    if photos and (known := column_words.naming(root, photos)):
        file, column = known
        if file == column_words.labels_file(root) and not class_folders.has_classes(photos):
            return "labels"
        if column_words.is_labels(file):
            raise UserError(
                f"{file}: it may have the labels, and so may other tables or the folders' names; "
                "say which: give data.format labels (the only such table there, or one labels.csv "
                "in the folder itself), folders or unlabelled, or the table's folder as data.path"
            )
        raise UserError(
            f"{file}: its column {csv_tables.quoted(column)} names the photos, but it is no table "
            "that is known; write labels.csv with the columns filename,label, or give "
            "data.format folders or unlabelled to do without it"
        )
    endings = (*table_files.TABLES, *table_files.OLD_SHEETS)
    for file in table_files.tables(root, endings) if photos else ():
        table_files.refuse_unread_sheet(file)
        if file.parent == root and file.suffix.lower() in (".csv", ".tsv", ".tab", ".xlsx"):
            log.warning("%s: not read; a table needs the name labels.csv", file)
    if npz_labels.find(root, photos):
        return "npz"
    if not class_folders.has_classes(photos):
        class_folders.refuse_parts(root, photos)
        return "unlabelled"
    class_folders.refuse_ids(root, photos)
    return "folders"


def labels(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """`labels.csv`: (records, the file). A blank label is unlabelled.

    File names start at the folder of the file, or at `images/` in it.
    """
    file = column_words.labels_file(root)
    if not file.is_file():
        raise UserError(f"{file}: not found; add it, with the columns filename,label")
    if others := table_files.named_labels(root)[1:]:
        names = ", ".join(other.name for other in others)
        left_out.tell(log, f"{file.parent}: {file.name} is read, not {names}")
    table = column_words.renamed(root, csv_tables.read_table(file, "filename,label"), file)
    csv_tables.require_columns(table, ["filename"], file)
    table = column_words.with_label(table, file)
    if "coarse" not in table:
        csv_tables.require_columns(table, ["label"], file)
    ignored = [name for name in table.columns if name not in LABELS]
    if ignored:
        known = ", ".join(LABELS)
        log.warning("%s: columns not used: %s; known: %s", file, ", ".join(ignored), known)
    records = _rename(table, LABELS, file)
    if "fine" in records:
        blank = records["fine"].str.lower().isin(column_words.NO_LABEL[1:])
        if blank.any():
            words = ", ".join(sorted(set(records["fine"][blank])))
            log.warning("%s: %d labels (%s) are taken as none", file, blank.sum(), words)
        records["fine"] = records["fine"].mask(blank, "")
    inside = file.parent.relative_to(root).as_posix()
    prefix = "" if inside == "." else f"{inside}/"
    records["path"] = [
        prefix + files.checked_relative_path(name, f"{file}: line {line}")
        for line, name in records["path"].items()
    ]
    records["path"] = files.as_on_disk(root, records["path"].tolist())
    there = pd.Series(files.existing(root, records["path"]), records.index)
    # Many tables name the photos only.
    below = f"{prefix}images/" + records["path"][~there].str.removeprefix(prefix)
    below[:] = files.as_on_disk(root, below.tolist())
    below = below[files.existing(root, below)]
    records.loc[below.index, "path"], there[below.index] = below, True
    records["path"], there = table_photos.found_below(root, records["path"], there, file)
    records = table_photos.drop_missing(root, records, there, file, skip_missing)
    if MASK in records:
        records[MASK] = masks.checked(root, records[MASK].map(lambda m: m and prefix + m), file)
    records = csv_tables.drop_duplicate_rows(records, "path", file)
    unlisted = set(masks.photos_in(root, strict=False, tell=True)) - set(records["path"])
    table_photos.warn_unlisted(unlisted, file, extra)
    return records, file


def ham10000(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """HAM10000's metadata: (records, the file). Photos are found by `image_id`.

    Dataverse has ISIC 2018's test set beside it, in the same columns. Where its photos are there,
    it is the test split, and the records' place is the folder.
    """
    found = _metadata_files(root)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(
            f"{root}: found {names} with the columns image_id and dx; "
            "keep exactly one *metadata*.csv, such as HAM10000_metadata.csv"
        )
    file = found[0]
    records = _ham10000_rows(root, file)
    named: dict[str, list[str]] = {}
    for path in sorted(files.scan(root), key=_ham10000_rank):
        named.setdefault(PurePosixPath(path).stem, []).append(path)
    photos = {name: found[0] for name, found in named.items()}
    for other in _ham10000_tests(root):
        test = _ham10000_rows(root, other)
        if test["path"].isin(photos.keys()).any():
            log.warning(
                "%s: the test split, %d rows; %s: the training split, %d rows",
                other, len(test), file.name, len(records),
            )  # fmt: skip
            parts = [(file, records.assign(split=TRAIN)), (other, test.assign(split=TEST))]
            records, file = released_tables.stacked(root, parts), root
            records = csv_tables.drop_duplicate_rows(records, "path", file)
            break
    there = records["path"].isin(photos.keys())
    records = table_photos.drop_missing(root, records, there, file, skip_missing)
    table_photos.warn_unlisted(photos.keys() - set(records["path"]), file, extra)
    several = [name for name in records["path"] if len(named[name]) > 1]
    copies = [table_photos.checked_copies(root, named[name], str(file), name) for name in several]
    same_files.tell_copies(root, copies)
    return records.assign(path=records["path"].map(photos)), file


def released(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """A data set's own tables (see `layouts`): (records, the table, or the folder of several).

    Photos are found by their id.
    """
    release = released_tables.find(root)
    if not release:
        known = ", ".join(LAYOUTS)
        raise UserError(f"data.path {root}: no table of a known data set there ({known})")
    photos = files.scan(root)
    records, place = released_tables.read(root, release)
    nowhere = pd.Series(False, records.index)
    paths, there = table_photos.found_below(root, records["path"], nowhere, place)
    records = records.assign(path=paths.to_numpy())
    seen = set(paths[there])
    records = released_tables.settle(records, there, place)
    records = csv_tables.drop_duplicate_rows(records, "path", place)
    there = records["path"].isin(seen)
    records = table_photos.drop_missing(root, records, there, place, skip_missing)
    table_photos.warn_unlisted(set(photos) - set(records["path"]), place, extra)
    return records, place


def arrays(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, Path]:
    """An npz file with photos and labels: (records, the file); see `npz_labels`."""
    photos = files.scan(root, extra)
    records, file = npz_labels.read(root, photos)
    table_photos.warn_unlisted(set(photos) - set(records["path"]), file, extra)
    return records, file


def shards(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, None]:
    """The records in the index of shards: (records, None); see `shard_files`."""
    if not shard_files.is_index(root):
        raise UserError(f"data.path {root}: no folder of shards; dermssl.shards writes one")
    return shard_files.records(root), None


def folders(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, None]:
    """A folder a class: (records, None); see `class_folders`."""
    return class_folders.read(root, _some_photos(root, extra)), None


def unlabelled(root: Path, extra: Path | None, skip_missing: bool) -> tuple[pd.DataFrame, None]:
    """Photos without labels: (records, None)."""
    return pd.DataFrame({"path": _some_photos(root, extra)}), None


READERS = {
    "labels": labels, "ham10000": ham10000, "released": released, "npz": arrays,
    "shards": shards, "folders": folders, "unlabelled": unlabelled,
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
    twin = same_files.find_identical_files([str(extra / name) for name in new], sorted(known))
    # Of shards the id counts too: their photos may be shrunk.
    ids = {*records["path"]} if any(map(shard_files.is_index, (root, extra))) else ()
    twin = [copied or name in ids for copied, name in zip(twin, new)]
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
    return [file for file in _ham10000_tables(root) if "metadata" in file.name.lower()]


def _ham10000_tests(root):
    """ISIC 2018's test set in HAM10000's columns: ISIC2018_Task3_Test_GroundTruth."""
    return [
        file for file in _ham10000_tables(root)
        if "metadata" not in file.name.lower()
        and table_splits.split_of(Path(file.name)) == TEST
    ]  # fmt: skip


def _ham10000_tables(root):
    """Tables in HAM10000's columns; one with splits, patients or file names is somebody's own."""
    headers = {
        file: {*csv_tables.header_of(file, "image_id,dx")}
        for file in table_files.without_twins(root)
    }
    return [
        file for file, header in headers.items()
        if {"image_id", "dx"} <= header and not header & {"split", "patient_id", "patient"}
        and not column_words.names_none(root, file, "image_id")
    ]  # fmt: skip


def _ham10000_rows(root, file):
    file = files.path_inside(root, file.relative_to(root).as_posix())
    table = column_words.with_label(csv_tables.read_table(file, "image_id,dx"), file, "dx")
    return csv_tables.drop_duplicate_rows(_rename(table, HAM10000, file), "path", file)


def _ham10000_rank(path):
    """Of equal files of one id: the usual folders first, then JPEG, then by name."""
    folder = path.split("/")[0]
    known = HAM10000_FOLDERS.index(folder) if folder in HAM10000_FOLDERS else 99
    return known, not path.lower().endswith((".jpg", ".jpeg")), path


def _rename(table, columns, file):
    """The known columns under the index's names, cleaned."""
    kept = table[[name for name in columns if name in table]].rename(columns=columns)
    return vocabulary.clean(kept, file)

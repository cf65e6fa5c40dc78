"""Which lesion mask belongs to which photo: as a table says, else by name.

For a photo `NAME.jpg` that is `NAME.png`, `NAME_segmentation.png` (ISIC writes `_Segmentation`) or
`NAME_mask.png` in a folder `masks`, or a `NAME_segmentation.png` anywhere. Where several photos
share a name, only a mask beside its photo is taken. A photo without a mask has "".
"""

import os
import posixpath
import re
from collections import Counter
from pathlib import Path, PurePosixPath

from dermssl.data import files, preprocess, tables
from dermssl.data.index import MASK
from dermssl.errors import UserError

ENDING = re.compile("_segmentation.*|_mask$", re.IGNORECASE)


def attach(root, table, data):
    """A record table with the column `mask`: paths below `root`, "" where there is none.

    With `data.masks` "ignore" no table has it. Else a table that has the column keeps it, and for
    others masks are looked for by name. Without any mask the table stays as it is.

    Raises:
        UserError: photos are to be cropped to their masks, and there are none.
    """
    if data.masks == "ignore":
        table = table.drop(columns=MASK, errors="ignore")
    elif MASK not in table:
        column = find(root, table["path"])
        table = table.assign(**{MASK: column}) if any(column) else table
    if preprocess.CROP in data.preprocess and not (MASK in table and table[MASK].any()):
        hint = "leave out --masks ignore" if data.masks == "ignore" else "add masks/NAME.png"
        raise UserError(f"--preprocess {preprocess.CROP}: no photo has a mask; {hint}")
    return table


def find(root, paths, among=None):
    """list of str: the mask of each photo by its name, a path below `root`, or "".

    Args:
        root: real path of a folder.
        paths: of photos, relative to it.
        among: all photos that a name could mean; None for `paths`.
    """
    return _matched(files.scan_masks(root), paths, among)


def in_folder(folder, paths, among=None):
    """list of str: full path of the mask of each photo, or ""; every PNG in `folder` is a mask.

    Only the photos' names count, not where they lie. Arguments are those of `find`.
    """
    there = sorted(name for name in os.listdir(folder) if name.lower().endswith(".png"))
    names = [PurePosixPath(path).name for path in paths]  # so no mask can lie beside its photo
    found = _matched([f"masks/{name}" for name in there], names, among)
    return [str(Path(folder, PurePosixPath(mask).name)) if mask else "" for mask in found]


def of_folder(root, paths):
    """list of str: the mask of each photo in a folder, as training on that folder would find it.

    That is what labels.csv says, where it has the column `mask` and the photo; for other photos a
    name must be the only one in the whole folder. Arguments and result are those of `find`.
    """
    listed = _listed(root)
    named = find(root, paths, photos_in(root, strict=False))
    return [listed.get(path, mask) for path, mask in zip(paths, named)]


def photos_in(root, strict=True):
    """`files.scan` without the masks that labels.csv names, which may lie in any folder."""
    table = _table(root)
    named = () if table is None else table[MASK].str.replace("\\", "/").map(posixpath.normpath)
    masks = set(named)
    return [path for path in files.scan(root, strict=strict) if path not in masks]


def of_files(source, paths):
    """list of str: full paths of the masks of photos in a folder, or of the one photo `source`."""
    root = Path(os.path.realpath(source if os.path.isdir(source) else Path(source).parent))
    real = [os.path.join(os.path.realpath(Path(path).parent), Path(path).name) for path in paths]
    inside = [os.path.relpath(path, root).replace(os.sep, "/") for path in real]
    return [str(root / mask) if mask else "" for mask in of_folder(root, inside)]


def checked(root, column, file):
    """The column `mask` of a table, as plain relative paths; a file that is not there is refused.

    Args:
        root: real path of the data folder.
        column: pandas text column, indexed by line.
        file: the table, for errors.
    """
    given = column[column.fillna("") != ""]
    plain = given.copy()
    for line, name in given.items():
        plain[line] = files.relative(name, f"{file}: line {line}")
    for line, there in zip(plain.index, files.present(root, plain)):
        if not there:
            raise UserError(
                f"{file}: line {line}: mask {tables.quoted(plain[line])} not found; "
                "add the file, or leave the cell blank"
            )
    return plain.reindex(column.index, fill_value="")


def _matched(found, paths, among):
    """The mask of each photo among `found`; a mask of just the photo's name comes first."""
    beside, anywhere = {}, {}
    stems = [PurePosixPath(path).stem for path in found]
    for names in (stems, [ENDING.sub("", stem) for stem in stems]):
        for path, name in zip(found, names):
            beside.setdefault((PurePosixPath(path).parent, name), path)
            anywhere.setdefault(name, path)
    names = [PurePosixPath(path).stem for path in paths]
    photos = Counter(names if among is None else [PurePosixPath(path).stem for path in among])
    return [
        beside.get((PurePosixPath(path).parent, name))
        or (anywhere.get(name, "") if photos[name] <= 1 else "")
        for path, name in zip(paths, names)
    ]


def _table(root):
    """labels.csv, where it has a column for masks; else None."""
    file = Path(root) / "labels.csv"
    if not file.is_file() or not {"filename", MASK} <= {*tables.header_of(file, "filename,label")}:
        return None
    return tables.read_table(files.inside(root, file.name), "filename,label")


def _listed(root):
    """dict of photo -> mask or "", as labels.csv says; empty where it has no column for masks."""
    table, file = _table(root), Path(root) / "labels.csv"
    if table is None:
        return {}
    blank = table[MASK].str.lower().isin(tables.UNKNOWN)
    column = checked(root, table[MASK].mask(blank, ""), file)
    photos = [
        files.relative(name, f"{file}: line {line}") for line, name in table["filename"].items()
    ]
    there = files.present(root, photos)  # else below images/, as the reader of labels.csv has it
    return {
        path if found else f"images/{path}": mask
        for path, found, mask in zip(photos, there, column)
    }

"""Find photos in folders, and check paths from tables.

A data folder is a closed box: no path in a table and no link leads out of it, so that a
copied folder is a whole data set and a table from a stranger can't name other files.
"""

import filecmp
import logging
import os
import posixpath
import re
import stat
from collections import Counter
from pathlib import Path

from dermssl.core.errors import UserError
from dermssl.data.csv_tables import quoted

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
ACCEPTED = f"accepted formats are JPEG, PNG, BMP and WebP ({', '.join(SUFFIXES)})"
UNREADABLE = (".tif", ".tiff", ".gif", ".avif", ".heic", ".heif", ".dcm", ".npz")  # see decode.py
SKIPPED = ("masks", "__macosx")  # folders whose images are no photos
MASK_NAME = re.compile("_segmentation", re.IGNORECASE)  # nor are HAM10000's and ISIC's masks

log = logging.getLogger(__name__)


def existing_folder(path, option):
    """The real path of a folder that a user named by `option`."""
    if not str(path).strip():
        raise UserError(f"{option}: not set; give the folder with the photos")
    folder = Path(os.path.expanduser(path))
    if not folder.exists():
        raise UserError(f"{option} {quoted(path)}: not found; check the path")
    if not folder.is_dir():
        raise UserError(f"{option} {quoted(path)}: not a folder; give the folder with the photos")
    return Path(os.path.realpath(folder))


def scan(root, skip=None, strict=True):
    """All photos under a folder, by extension, in any depth.

    Hidden files, masks and the folders `SKIPPED` are left out. So are links to folders inside the
    root, whose photos are found in their own place.

    Args:
        root: real path of the folder.
        skip: real path of a sub-folder to leave out.
        strict: refuse a link that leaves the root or a name that can't be printed; else
            leave it out.

    Returns:
        Sorted list of paths relative to `root`, with "/".
    """
    found, other, waiting = [], Counter(), [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                entries = list(entries)
        except OSError as error:
            raise UserError(
                f"{root / folder}: can't list this folder ({error.strerror}); check permissions"
            ) from error
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith(".") or entry.name.lower() in SKIPPED:
                continue
            if suffix == ".png" and MASK_NAME.search(entry.name):
                continue
            link = entry.is_symlink()
            if entry.is_dir():
                if link and (is_inside(root, os.path.realpath(entry.path)) or not strict):
                    continue
                if not link:
                    if skip is None or entry.path != str(skip):
                        waiting.append(f"{folder}{entry.name}/")
                    continue
            elif suffix not in SUFFIXES:
                other[suffix] += suffix in UNREADABLE
                continue
            outside = link and not is_inside(root, os.path.realpath(entry.path))
            if (outside or not entry.name.isprintable()) and not strict:
                continue
            if not entry.name.isprintable():
                raise UserError(f"{quoted(entry.path, 400)}: name with odd characters; rename it")
            if outside:
                raise _leaves(root, f"{folder}{entry.name}")
            found.append(f"{folder}{entry.name}")
    if other.total() and strict:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(other.items()) if count)
        log.warning("%s: %s file(s) are not read; convert them to JPEG or PNG", root, kinds)
    return sorted(found)


def scan_masks(root):
    """Sorted paths, relative to `root`, of the PNG files that are lesion masks by place or name.

    Links are left out, to files as to folders.
    """
    found = []
    for folder, _, names in os.walk(root):
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        in_masks = "masks" in inside.lower().split("/")
        found += [
            name if inside == "." else f"{inside}/{name}"
            for name in names
            if name.lower().endswith(".png") and not name.startswith(".")
            if in_masks or MASK_NAME.search(name)
            if not os.path.islink(os.path.join(folder, name))
        ]
    return sorted(found)


def checked_relative_path(name, place):
    """A path from a table as a plain relative one with "/"; `place` says where it stands."""
    path = name.replace("\\", "/")
    if not path:
        raise UserError(f"{place}: the file name is blank; name the photo or delete the line")
    if not path.isprintable():
        raise UserError(f"{place}: file name {quoted(name)} has odd characters; rename the file")
    if path.startswith("/") or re.match("[A-Za-z]:", path):
        raise UserError(
            f"{place}: {quoted(name)} is an absolute path; write it relative to the data folder"
        )
    if ".." in path.split("/"):
        raise UserError(
            f"{place}: {quoted(name)} leaves the data folder by '..'; "
            "move the file into the folder and name it there"
        )
    return posixpath.normpath(path)


def existing(root, paths):
    """bool list: the file is there. One that a link takes out of the root is refused."""
    parents, there = {}, []
    for path in paths:
        parent, name = posixpath.split(path)
        if parent not in parents:
            parents[parent] = os.path.realpath(root / parent)
            if not is_inside(root, parents[parent]):
                raise _leaves(root, parent)
        try:
            mode = os.lstat(f"{parents[parent]}/{name}").st_mode
            if stat.S_ISLNK(mode):
                target = os.path.realpath(f"{parents[parent]}/{name}")
                if not is_inside(root, target):
                    raise _leaves(root, path)
                mode = os.stat(target).st_mode
            there.append(stat.S_ISREG(mode))
        except OSError:  # also a name that is too long, or below a file
            there.append(False)
    return there


def path_inside(root, name):
    """Path of a table or taxonomy in the root; a link that takes it out of the root is refused."""
    if not is_inside(root, os.path.realpath(root / name)):
        raise _leaves(root, name)
    return root / name


def is_inside(root, real):
    """Whether a real path is the root or lies under it."""
    return real == str(root) or real.startswith(str(root).rstrip("/") + "/")


def _leaves(root, path):
    return UserError(
        f"{root}: {quoted(path)} is a link that leaves the folder; "
        "put the files in its place, or give the folder that it leads to"
    )


def find_identical_files(paths, originals):
    """bool list: whether each file holds the very bytes of one of the originals.

    Files of one size are told apart by their ends; only where these are equal too are they read.
    """
    sizes = {path: size for path in paths if (size := _size(path))}
    wanted, known = set(sizes.values()), {}
    for path in originals:
        if (size := _size(path)) in wanted:
            known.setdefault((size, _end(path, size)), path)
    twins = {path: known.get((size, _end(path, size))) for path, size in sizes.items()}
    return [
        twins.get(path) is not None and filecmp.cmp(path, twins[path], shallow=False)
        for path in paths
    ]


def _size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return 0


def _end(path, size, n=4096):
    with open(path, "rb") as file:
        file.seek(max(0, size - n))
        return file.read(n)

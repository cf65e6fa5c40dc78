"""Find photos in folders, and check paths from tables.

A data folder is a closed box: no path in a table and no link leads out of it, so that a
copied folder is a whole data set and a table from a stranger can't name other files.
"""

import logging
import os
import posixpath
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import not_photos, photo_bytes, shard_files, storage
from dermssl.data.csv_tables import quoted

ACCEPTED = not_photos.ACCEPTED

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".jpg", ".jpeg")

log = logging.getLogger(__name__)


def existing_folder(path: Path | str, option: str) -> Path:
    """The real path of a folder that a user named by `option`; of shards, that of their index."""
    if not str(path).strip():
        raise UserError(f"{option}: not set; give the folder with the photos")
    if url := storage.elsewhere(path):
        return shard_files.fetched(url, option)
    folder = Path(os.path.expanduser(path))
    if not folder.exists():
        raise UserError(f"{option} {quoted(path)}: not found; check the path")
    if not folder.is_dir():
        raise UserError(f"{option} {quoted(path)}: not a folder; give the folder with the photos")
    return shard_files.root_of(Path(os.path.realpath(folder)))


def real_root(path: Path | str) -> str:
    """`existing_folder` of a run's data folder, which may be gone: then the path alone."""
    try:
        return str(existing_folder(path, "data.path"))
    except UserError:
        return os.path.realpath(os.path.expanduser(path))


def scan(
    root: Path, skip: Path | None = None, strict: bool = True, tell: bool | None = None
) -> list[str]:
    """All photos under a folder, in any depth.

    The photos in a container lie below its path, as in a folder. What `not_photos` has a reason for
    is left out, and summed up in a line of the log. So are links to folders inside the root, whose
    photos are found in their own place. A link to nothing that is named like a photo is one that
    `decode` can't read.

    Args:
        root: real path of the folder, as of `existing_folder`.
        skip: real path of a sub-folder to leave out.
        strict: refuse a link that leaves the root, a name that can't be printed or a container
            that can't be read; else leave it out.
        tell: say what is left out; None does so where `strict`.

    Returns:
        Sorted list of paths relative to `root`, with "/".
    """
    if shard_files.is_index(root):
        return shard_files.records(root)["path"].tolist()
    found, waiting = [], [""]
    reasons: dict[str, str] = {}
    while waiting:
        folder = waiting.pop()
        for entry in _entries(root, folder):
            path = f"{folder}{entry.name}"
            link = entry.is_symlink()
            is_folder = _is_folder(entry)
            if is_folder and not link:
                if entry.name.startswith(".") and entry.name not in not_photos.SYSTEM_FOLDERS:
                    continue
                if skip is not None and entry.path == str(skip):
                    continue
                if reason := not_photos.folder_reason(entry.path, entry.name):
                    if entry.name.lower() != "masks":  # its usual place is no news
                        reasons[f"{path}/"] = reason
                else:
                    waiting.append(f"{path}/")
                continue
            gone = link and not os.path.exists(entry.path)
            outside = link and not gone and not is_inside(root, os.path.realpath(entry.path))
            if is_folder and (not outside or not strict or entry.name.startswith(".")):
                if not outside and not entry.name.startswith("."):
                    reasons[f"{path}/"] = not_photos.LINKS
                continue
            if gone and not_photos.says_nothing(entry.name):
                reasons[path] = not_photos.GONE
                continue
            if not is_folder and photo_bytes.is_container(entry.name) and not outside:
                found += _inside(entry.path, path, strict, reasons)
                continue
            if not is_folder and not (outside and photo_bytes.is_container(entry.name)):
                # A link out of the root isn't followed, not even for a look.
                by_name = outside and os.path.splitext(entry.name)[1].lower()
                if outside and by_name not in not_photos.SUFFIXES:
                    continue
                why = not_photos.file_reason(entry.path, entry.name)
                if why is None:
                    continue
                if why:
                    reasons[path] = why
                    continue
            if (outside or not is_printable(entry.name)) and not strict:
                continue
            if not is_printable(entry.name):
                raise UserError(f"{quoted(entry.path, 400)}: name with odd characters; rename it")
            if outside:
                raise _leaves(root, path)
            found.append(path)
    for path in not_photos.masks_by_companion(str(root), found):
        reasons[path] = not_photos.MASK
    photos = sorted(path for path in found if path not in reasons)
    if not photos:  # the error of who needs some names the archives, by `packed.way_out`
        reasons = {path: why for path, why in reasons.items() if not_photos.PACKED not in why}
    if reasons and (strict if tell is None else tell):
        _tell(root, reasons)
    return photos


def in_container(file: Path) -> list[str]:
    """Full paths of the photos in a container; what is no photo is told."""
    reasons: dict[str, str] = {}
    photos = _inside(str(file), file.name, True, reasons)
    if not photos:
        raise UserError(f"{file}: no photos inside")
    if reasons:
        _tell(file.parent, reasons)
    return [str(file.parent / photo) for photo in photos]


def _inside(file, path, strict, reasons):
    """The photos in a container, as paths that begin with its own; the rest gets its reason."""
    if not os.path.isfile(file):  # a pipe would block for ever
        return []
    try:
        content = photo_bytes.listing(file)
    except UserError:
        if strict:
            raise
        return []
    masks = {key for key in content.photos if not_photos.is_mask_for_sure(key)}
    reasons |= {f"{path}/{key}": not_photos.MASK for key in masks}
    if content.photos:
        reasons |= {f"{path}/{key}": f"{kind}: no photo" for key, kind in content.others.items()}
    else:  # a network's weights have hundreds
        reasons[path] = "without photos inside"
    photos = [f"{path}/{key}" for key in content.photos if key not in masks]
    odd = [photo for photo in photos if not _is_plain(photo)]
    if odd and strict:
        raise UserError(f"{file}: {quoted(odd[0], 400)} is no plain name; rename it")
    return [photo for photo in photos if _is_plain(photo)] if odd else photos


def _is_plain(path):
    return is_printable(path) and {"", ".", ".."}.isdisjoint(path.split("/"))


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: `decode` says so
        return False


def _entries(root, folder):
    try:
        with os.scandir(root / folder) as listing:
            return list(listing)
    except OSError as error:
        raise UserError(
            f"{root / folder}: can't list this folder ({error.strerror}); check permissions"
        ) from error


def _tell(root, reasons):
    """One line for all that was left out, by reason."""
    by_reason = defaultdict(list)
    for path, reason in sorted(reasons.items()):
        kind, way_out = reason.partition(": ")[::2]  # ".cr2: convert them ..."
        by_reason[way_out or kind].append((path, kind if way_out else ""))
    parts = []
    for reason, found in by_reason.items():
        kinds = ", ".join(sorted({kind for _, kind in found} - {""}))
        names = left_out.few([path for path, _ in found], 2)
        parts.append(f"{len(found):,} {f'{kinds}, ' if kinds else ''}{reason} ({names})")
    line = f"{root}: {len(reasons):,} left out: {'; '.join(parts)}"
    left_out.tell(log, line, [(f"{root}/{path}", why) for path, why in sorted(reasons.items())])


def scan_masks(root: Path) -> list[str]:
    """Sorted paths, relative to `root`, of the images that are lesion masks by place or name.

    Those are `NAME_segmentation`, `NAME_mask` and `NAME_lesion`, and all in a folder `masks`.
    Links are left out, to files as to folders.
    """
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [name for name in below if name.lower() not in not_photos.SYSTEM_FOLDERS]
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        in_masks = "masks" in inside.lower().split("/")
        found += [
            name if inside == "." else f"{inside}/{name}"
            for name in names
            if os.path.splitext(name)[1].lower() in MASK_SUFFIXES and not name.startswith(".")
            if in_masks or not_photos.LESION_MASK.fullmatch(os.path.splitext(name)[0])
            if not os.path.islink(os.path.join(folder, name))
        ]
    # A picture with colours is no mask, whatever its name.
    unsure = [path for path in found if not not_photos.is_mask_for_sure(path)]
    photos = set(scan(root, strict=False)) if unsure else ()
    return sorted(path for path in found if path not in photos)


def wrapped(root: Path) -> list[Path]:
    """The folder, and the folders in it down to the one that holds more than a folder alone.

    Files that are no photos, such as the archive that was unpacked, don't count.

    Args:
        root: real path of a folder.
    """
    folders = [root]
    while True:
        entries = _entries(folders[-1], "")
        below = [
            entry for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            and not not_photos.folder_reason(entry.path, entry.name)
        ]  # fmt: skip
        photos = any(entry.name.lower().endswith(not_photos.SUFFIXES) for entry in entries)
        if len(below) != 1 or photos:
            return folders
        folders.append(Path(below[0].path))


def nfc(text: str) -> str:
    """A name in Unicode's composed form, as macOS writes "é" as "e" and an accent; plain spaces.

    Example:

    >>> nfc("ne\\u0301vus") == "n\\xe9vus"
    True
    >>> nfc("a\\xa0b")
    'a b'
    """
    text = unicodedata.normalize("NFC", text)
    if text.isprintable():
        return text
    return "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)


def is_printable(text: str) -> bool:
    """Whether a name has no control character; a space may be of any kind.

    Example:

    >>> is_printable("a\\u202fb.jpg"), is_printable("a\\tb.jpg"), is_printable("a\\u200bb.jpg")
    (True, False, False)
    """
    return nfc(text).isprintable()


def as_on_disk(root: Path, paths: Sequence[str]) -> list[str]:
    """Paths of a table as the disk spells them, where it has them in another Unicode form.

    Args:
        root: real path of the folder.
        paths: relative to the root.
    """
    spelled: dict[str, str] = {}
    listed: dict[str, dict[str, str]] = {}
    for path in paths:
        if path.isascii() or path in spelled or os.path.lexists(root / path):
            continue
        here = ""
        for part in path.split("/"):
            if here not in listed:
                listed[here] = _names(root / here)
            here = posixpath.join(here, listed[here].get(nfc(part), part))
        spelled[path] = here
    return [spelled.get(path, path) for path in paths]


def _names(folder):
    """The names in a folder by their composed form; none where it can't be listed."""
    try:
        return {nfc(name): name for name in os.listdir(folder)}
    except OSError:
        return {}


def checked_relative_path(name: str, place: str) -> str:
    """A path from a table as a plain relative one with "/"; `place` says where it stands.

    Example:

    >>> checked_relative_path("images\\\\./mole.jpg", "labels.csv: line 2")
    'images/mole.jpg'
    """
    path = name.replace("\\", "/")
    if not path:
        raise UserError(f"{place}: the file name is blank; name the photo or delete the line")
    if not is_printable(path):
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


def existing(root: Path, paths: Iterable[str]) -> list[bool]:
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
            there.append(photo_bytes.is_there(f"{parents[parent]}/{name}"))
    return there


def path_inside(root: Path, name: str) -> Path:
    """Path of a table or taxonomy in the root; a link that takes it out of the root is refused."""
    if not is_inside(root, os.path.realpath(root / name)):
        raise _leaves(root, name)
    return root / name


def is_inside(root: Path, real: str) -> bool:
    """Whether a real path is the root or lies under it."""
    return real == str(root) or real.startswith(str(root).rstrip("/") + "/")


def _leaves(root, path):
    return UserError(
        f"{root}: {quoted(path)} is a link that leaves the folder; "
        "put the files in its place, or give the folder that it leads to"
    )

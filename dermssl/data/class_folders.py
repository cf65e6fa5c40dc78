"""Folders as classes: which names are diagnoses, and which are splits, parts or "no label"."""

from __future__ import annotations

import logging
import re
import statistics
from collections import Counter
from pathlib import Path

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import table_splits

SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")
NOT_CLASSES = (*SPLIT_FOLDERS, "training", "testing", "dev")
# Folder names that say "no label", and those that archives give to parts of themselves.
WITHOUT_LABEL = (
    "unlabelled", "unlabeled", "no_label", "no_labels", "nolabel", "unsorted", "unknown", "unk",
)  # fmt: skip
PART = re.compile(
    r"(.*[_\-\s])?(images?|imgs?|photos?|pictures?|part|batch)([_\-\s]*(part[_\-\s]*)?\d+)?"
    r"|isic[_\-\s].*(input|images?)|train-image",
    re.IGNORECASE,
)
FEW = 5  # photos in a folder: a patient's or a lesion's, not a class's
MANY = 40  # folders of one name and a number: no such data set has as many classes
NEARLY = 0.9  # of the folders

log = logging.getLogger(__name__)


def has_classes(photos: list[str]) -> bool:
    """Whether some folder's name may be a diagnosis."""
    _, inside = _unwrapped(photos)
    named = {path.split("/")[0] for path in inside if "/" in path}
    return any(not _is_part(name) for name in named)


def refuse_parts(root: Path, photos: list[str]) -> None:
    """Refuse folders that may be diagnoses by what stands before "images": `benign images`.

    Raises:
        UserError: several folders with photos are named so, each by another word.
    """
    _, inside = _unwrapped(photos)
    named = sorted({path.split("/")[0] for path in inside if "/" in path})
    parts = [PART.fullmatch(name) for name in named]
    words = [part[1].strip(" _-").lower() for part in parts if part and part[1]]
    if set(words) <= table_splits.SPLIT_WORDS.keys():  # train-image, test-image: parts
        return
    if len(words) > 1 and len(set(words)) == len(words) == len(named):
        raise UserError(
            f"data.path {root}: folders {', '.join(named)} may be diagnoses or parts of an "
            "archive; rename them to the diagnosis alone, write labels.csv, or give data.format "
            "unlabelled"
        )


def refuse_ids(root: Path, photos: list[str]) -> None:
    """Refuse folders that are a patient or a lesion each: IMD001, P012, PAT_4_55.

    They have the same letters and a number of two or more digits, and few photos each. A handful
    of folders named by one digit, or with many photos, may be classes.

    Raises:
        UserError: nearly all folders are such.
    """
    _, inside = _unwrapped(photos)
    parts = [path.split("/") for path in inside]
    skip = all(len(part) > 2 and part[0].lower() in SPLIT_FOLDERS for part in parts)
    sizes = Counter(part[skip] for part in parts if len(part) > 1 + skip)
    forms = Counter(re.sub(r"\d+", "#", name) for name in sizes)
    form, n = forms.most_common(1)[0] if forms else ("", 0)
    alike = sorted(name for name in sizes if re.sub(r"\d+", "#", name) == form)
    if n < 2 or n < NEARLY * len(sizes) or not any(re.search(r"\d\d", name) for name in alike):
        return
    few = statistics.median(sizes[name] for name in alike)
    if "#" in form and (few <= FEW or n > MANY):
        raise UserError(
            f"data.path {root}: {n} of {len(sizes)} folders are like {alike[0]} ... {alike[-1]}, "
            f"with {few:g} photo(s) each: patients or lesions, not diagnoses. Write labels.csv "
            "with filename,label,lesion_id, or give data.format unlabelled (or folders, if they "
            "are classes)"
        )


def read(root: Path, photos: list[str]) -> pd.DataFrame:
    """Records whose class is the first folder of the path; loose photos are unlabelled.

    Args:
        root: the data folder, for messages.
        photos: paths below it.

    Raises:
        UserError: a folder's name is no diagnosis, but a split's or a part of an archive.
    """
    prefix, inside = _unwrapped(photos)
    parts = [path.split("/") for path in inside]
    if all(len(part) == 1 for part in parts):
        raise UserError(f"{root}: no photos in sub-folders; make one for each class")
    _refuse_splits(root, parts)
    fits = [len(part) > 2 and part[0].lower() in SPLIT_FOLDERS for part in parts]
    split_first = all(fits)
    named = sorted({part[0] for part in parts if len(part) > 1 and part[0].lower() in NOT_CLASSES})
    if named and not split_first:
        odd = prefix + "/".join(parts[fits.index(False)])
        raise UserError(
            f"data.path {root}: {', '.join(named)} would be classes. Put all photos or none into "
            f"SPLIT/CLASS/ ({', '.join(SPLIT_FOLDERS)}): move or rename {odd}, or write labels.csv"
        )
    fine = [part[split_first] if len(part) > 1 + split_first else "" for part in parts]
    parts_of_archive = sorted({name for name in fine if PART.fullmatch(name)})
    if parts_of_archive:
        raise UserError(
            f"data.path {root}: folder {', '.join(parts_of_archive)} looks like a part of an "
            "archive, not like a diagnosis; move its photos, write labels.csv, or give data.format "
            "unlabelled"
        )
    blank = sorted({name for name in fine if name.lower() in WITHOUT_LABEL})
    if blank:
        n = sum(name in blank for name in fine)
        log.warning("%s: %d photos in %s are taken as without a label", root, n, ", ".join(blank))
    counts = Counter(name for name in fine if name not in ("", *blank))
    shown = left_out.few([f"{name} ({n:,})" for name, n in sorted(counts.items())], 12)
    log.warning("%s: the classes are the folders' names: %s", root, shown)
    return pd.DataFrame({
        "path": photos,
        "fine": ["" if name in blank else name for name in fine],
        "split": [part[0].lower() if split_first else "" for part in parts],
    })  # fmt: skip


def _refuse_splits(root, parts):
    """Refuse folders that are splits in other words: train_set, test data, or CLASS/train."""
    for level in (0, 1):
        names = {part[level] for part in parts if len(part) > level + 1}
        words = {name: table_splits.split_of(Path(name)) for name in names}
        known = not level and names <= {name for name in names if name.lower() in SPLIT_FOLDERS}
        below = level and all(len(part) > 2 for part in parts) and not _is_split_tree(parts)
        if len(names) > 1 and all(words.values()) and not known and (not level or below):
            shown = ", ".join(sorted(names))
            raise UserError(
                f"data.path {root}: folders {shown} look like splits, not like diagnoses; put "
                f"photos into SPLIT/CLASS/ ({', '.join(SPLIT_FOLDERS)}), write labels.csv with a "
                "column split, or give data.format unlabelled"
            )


def _is_split_tree(parts):
    return all(part[0].lower() in SPLIT_FOLDERS for part in parts)


def _unwrapped(photos):
    """(prefix, rest of each path) without the folders that all photos share.

    An archive unpacks into a folder of its name: a folder that is alone is no diagnosis.
    """
    prefix, rest = "", [_as_folders(path) for path in photos]
    while rest and all("/" in path for path in rest):
        first = rest[0].split("/")[0]
        if any(path.split("/")[0] != first for path in rest):
            break
        prefix, rest = f"{prefix}{first}/", [path[len(first) + 1 :] for path in rest]
    return prefix, rest


def _as_folders(path):
    """The path as if its photo were a file: what is said of folders holds of HDF5's groups.

    A container's name counts without its ending; an archive of arrays has no folders.
    """
    if ".npz/" in path.lower():
        return path.rsplit("/", 1)[1]
    return re.sub(r"\.(hdf5|h5)/", "/", path, flags=re.IGNORECASE)


def _is_part(name):
    """Whether a folder's name speaks of photos or of a part of an archive, not of a diagnosis."""
    return bool(PART.fullmatch(name)) or name.lower() in WITHOUT_LABEL

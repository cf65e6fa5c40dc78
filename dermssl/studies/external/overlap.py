"""Find photos of another place that the run has already seen, before anything is predicted.

A photo that a run trained on, or was chosen by, measures its memory. Copies are found by the hash
of the file and of its pixels, near copies (re-encoded, resized, mirrored) by a perceptual hash.
"""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data import near_pairs, perceptual_hash, readers
from dermssl.data.records import TEST, group_ids
from dermssl.inference import finished_run
from dermssl.inference.finished_run import FinishedRun

COLUMNS = ("path", "kind", "bits", "flipped", "run_path", "run_split", "left_out")
FILE, PIXELS, NEAR, LESION = "same file", "same pixels", "near", "same lesion as one"
log = logging.getLogger("dermssl")


def photos_of_run(run: FinishedRun, moved: str = "") -> tuple[pd.DataFrame, str]:
    """Every photo that a run has seen, also those without a prediction, and its pretraining's.

    Args:
        run: `FinishedRun`.
        moved: the folder of its photos now; "" for where it found them.

    Returns:
        DataFrame of `file` (full path), `path` and `split`, empty where the photos aren't there;
        and why, "" where they are.
    """
    data = dataclasses.replace(run.data, masks="ignore", on_bad="skip")
    data = dataclasses.replace(data, path=moved or data.path)
    level = log.level
    try:
        if not Path(data.path).expanduser().is_dir():
            raise UserError(f"{data.path}: no such folder")
        log.setLevel(logging.ERROR)  # the reader's remarks were made when the run was
        dataset = readers.read(data)
    except UserError as error:
        if moved:
            raise
        return pd.DataFrame(columns=["file", "path", "split"]), str(error)
    finally:
        log.setLevel(level)
    known = dict(zip(run.records()["path"], run.records()["split"]))
    split = [known.get(path, "train") for path in dataset.index["path"]]
    table = pd.DataFrame({"file": dataset.files, "path": dataset.index["path"], "split": split})
    return pd.concat([table, _pretrained_on(run)]).drop_duplicates("file", ignore_index=True), ""


def _pretrained_on(run):
    """The photos of the pretraining that the run started from; none where they aren't there."""
    nothing = pd.DataFrame(columns=["file", "path", "split"])
    start = Path(run.settings["backbone"].weights)
    if not (start / "status.json").is_file():
        return nothing
    try:
        dataset = finished_run.load(start, "pretrain").dataset()
    except UserError:
        return nothing
    files = dataset.files
    return pd.DataFrame({"file": files, "path": dataset.index["path"], "split": "pretraining"})


def survey_of_run(photos: pd.DataFrame) -> perceptual_hash.Survey:
    """`perceptual_hash.survey` of the photos of `photos_of_run`."""
    return perceptual_hash.survey(photos["file"])


def find(
    index: pd.DataFrame,
    seen: perceptual_hash.Survey,
    run_photos: pd.DataFrame,
    run_seen: perceptual_hash.Survey,
    near: int = perceptual_hash.NEAR,
) -> pd.DataFrame:
    """The photos of another place that the run has seen: a row each, with the nearest.

    Args:
        index: record table of the place.
        seen: what `perceptual_hash.survey` saw of it, row by row.
        run_photos, run_seen: from `photos_of_run`, and its survey.
        near: bits of 255 up to which two photos are near copies.

    Returns:
        DataFrame of `COLUMNS`; `left_out` is "yes" in all. Other photos of the same lesion or
        patient in the place are in it, too (kind `LESION`).
    """
    rows: dict[int, tuple[str, float, str, int]] = {}
    for kind, column in ((FILE, "file_hash"), (PIXELS, "pixel_hash")):
        first = {
            value: k for k, value in reversed(list(enumerate(run_seen.table[column]))) if value
        }
        for k, value in enumerate(seen.table[column]):
            if value in first:
                rows.setdefault(k, (kind, 0.0, "no", first[value]))
    mine = np.flatnonzero(_comparable(seen.table))
    theirs = np.flatnonzero(_comparable(run_seen.table))
    a, b, bits, way, _ = near_pairs.near_pairs_between(
        seen.words[mine], seen.turned[mine], run_seen.words[theirs], near
    )
    for k in np.lexsort((b, bits)):
        turned = "mirrored or turned" if way[k] else "no"
        rows.setdefault(int(mine[a[k]]), (NEAR, float(bits[k]), turned, int(theirs[b[k]])))
    groups = group_ids(index)
    touched = {groups[k]: k for k in sorted(rows, reverse=True)}
    for k, group in enumerate(groups):
        if k not in rows and group in touched:
            rows[k] = (LESION, np.nan, "no", rows[touched[group]][3])
    found = [
        (index["path"].iloc[k], kind, bits, flipped, run_photos["path"].iloc[other],
         run_photos["split"].iloc[other], "yes")
        for k, (kind, bits, flipped, other) in sorted(rows.items())
    ]  # fmt: skip
    return pd.DataFrame(found, columns=list(COLUMNS))


def _comparable(table):
    return ((table["error"] == "") & ~table["flat"].astype(bool)).to_numpy()


def sentence(overlap: pd.DataFrame, n: int, name: str) -> str:
    """One line on what was found and left out; "" where nothing was."""
    if overlap.empty:
        return ""
    kinds = overlap["kind"].value_counts()
    parts = [f"{kinds[kind]:,} {kind}" for kind in (FILE, PIXELS, NEAR, LESION) if kind in kinds]
    in_training = int((overlap["run_split"] != TEST).sum())
    return (
        f"{name}: {len(overlap):,} of {n:,} photos are photos of the run ({', '.join(parts)}; "
        f"{in_training:,} of them of what it learnt from or was chosen by) and left out; "
        "overlaps.csv lists them."
    )

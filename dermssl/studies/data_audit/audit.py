"""Audit a data set: duplicates, leaks between splits, contradicting labels.

A table goes in (records with splits, and what `perceptual_hash.survey` saw of them), tables come
out; nothing is read or written here.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data import near_pairs, perceptual_hash, splits
from dermssl.data.records import SPLITS, VALIDATION, Dataset

FILE, PIXELS, NEAR, SIMILAR = KINDS = ("same file", "same pixels", "near", "similar")
DUPLICATES = (FILE, PIXELS, NEAR)  # look-alikes by embedding are a hint, no proof
WAYS = ("no", *["mirrored or turned"] * 7)  # of `near_pairs.near_pairs`
PAIR_COLUMNS = (
    "kind", "path_a", "path_b", "bits", "cosine", "flipped", "split_a", "split_b", "label_a",
    "label_b", "lesion_a", "lesion_b", "same_lesion", "same_patient", "across_splits",
    "labels_differ",
)  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """The findings.

    Attributes:
        photos: records and what was seen of them, a row a photo.
        pairs: `PAIR_COLUMNS`; of k equal photos the first is paired with the k - 1 others.
        crossing: columns kind (path, lesion_id, patient_id), id, splits, photos: what stands
            in several splits.
        cut: tuple of kinds whose list of pairs was cut at `near_pairs.MAX_PAIRS`.
    """

    photos: pd.DataFrame
    pairs: pd.DataFrame
    crossing: pd.DataFrame
    cut: tuple[str, ...]

    @property
    def leaks(self) -> pd.DataFrame:
        """Duplicate pairs across two splits."""
        return self.pairs[self.pairs["across_splits"] & self.pairs["kind"].isin(DUPLICATES)]

    @property
    def conflicts(self) -> pd.DataFrame:
        """Duplicate pairs whose labels contradict each other."""
        return self.pairs[self.pairs["labels_differ"] & self.pairs["kind"].isin(DUPLICATES)]


def with_splits(
    dataset: Dataset, validation: float, test: float, seed: int, group_by: str
) -> tuple[Dataset, str]:
    """The data set with splits, as far as there can be any, also leaky ones.

    Returns:
        `(Dataset, note)`: where the splits come from, in words. Unlike `splits.assign` this
        refuses nothing: an audit is there to show it.
    """
    index = dataset.index
    brought = index["split"].replace({"val": VALIDATION, "valid": VALIDATION})
    if (brought != "").any():
        known = brought.where(brought.isin(SPLITS), "")
        note = "the data set's own"
        odd = sorted(set(brought) - set(SPLITS) - {""})
        if odd:
            note += f"; not used: {', '.join(odd)}"
        return dataset.with_index(index.assign(split=known)), note
    try:
        made = splits.assign(dataset, validation, test, seed, group_by)
        unit = "patient, else lesion, else photo" if group_by == "auto" else group_by
        return made, f"as every command here splits it: seed {seed}, grouped by {unit}"
    except UserError as error:
        return dataset, f"none: {error}"


def refusal(dataset: Dataset, validation: float, test: float, seed: int, group_by: str) -> str:
    """Why training would refuse the records; "" where it would not.

    Lesions and patients in several splits are not told: `ids_in_several_splits` has them all.
    """
    try:
        splits.assign(dataset, validation, test, seed, group_by)
    except UserError as error:
        known, _ = with_splits(dataset, validation, test, seed, group_by)
        return "" if len(ids_in_several_splits(known.index)) else str(error)
    return ""


def audit(
    index: pd.DataFrame,
    seen: perceptual_hash.Survey,
    near: int = perceptual_hash.NEAR,
    features: np.ndarray | None = None,
    similarity: float = 0.95,
    workers: int = 2,
) -> Audit:
    """Everything that can be found in the tables.

    Args:
        index: record table, with splits where there are any.
        seen: `perceptual_hash.Survey` of the same rows.
        near: int, bits of 255 up to which two photos are near duplicates; -1 looks for none.
        features: float (n, d), embeddings of the same rows, or None; rows of unreadable
            photos are not looked at.
        similarity: float, cosine of the centred features from which two photos are similar.
        workers: int, threads.

    Returns:
        `Audit`.
    """
    table = seen.table
    readable = (table["error"] == "").to_numpy()
    found = [_equal(table["file_hash"], FILE)]
    later = table["file_hash"].where(table["file_hash"] != "").duplicated().to_numpy()
    found.append(_equal(table["pixel_hash"].mask(later, ""), PIXELS))
    # Of photos with equal pixels only the first is compared further.
    first = readable & ~table["pixel_hash"].duplicated().to_numpy()
    cut = []
    rows = np.flatnonzero(first & ~table["flat"].to_numpy(dtype=bool))
    if near >= 0:
        a, b, bits, way, full = near_pairs.near_pairs(
            seen.words[rows], seen.turned[rows], near, workers
        )
        flipped = np.array(WAYS, dtype=object)[way]
        found.append(_pairs(NEAR, rows[a], rows[b], bits=bits, flipped=flipped))
        cut += [NEAR] if full else []
    if features is not None:
        rows = np.flatnonzero(first)
        a, b, cosine, full = near_pairs.similar_pairs(features[rows], similarity)
        found.append(_pairs(SIMILAR, rows[a], rows[b], cosine=cosine))
        cut += [SIMILAR] if full else []
    pairs = pd.concat(found, ignore_index=True)
    pairs = pairs.drop_duplicates(["a", "b"])  # kinds are in order: the surest is kept
    photos = pd.concat([index.reset_index(drop=True), table], axis=1)
    return Audit(photos, _described(pairs, index), ids_in_several_splits(index), tuple(cut))


def _equal(hashes, kind):
    """Each photo with the first of the same hash; "" is no hash."""
    codes = hashes.where(hashes != "").reset_index(drop=True)
    known = codes.dropna()
    first = known.groupby(known).transform(lambda same: same.index[0]) if len(known) else known
    first = first.astype(np.int64)
    later = first.index.to_numpy() != first.to_numpy()
    return _pairs(kind, first.to_numpy()[later], first.index.to_numpy()[later])


def _pairs(kind, a, b, bits=np.nan, cosine=np.nan, flipped="no"):
    columns = {"kind": kind, "a": a, "b": b, "bits": bits, "cosine": cosine, "flipped": flipped}
    table = pd.DataFrame(columns)
    if kind in (FILE, PIXELS):
        table["bits"] = 0.0
    return table.astype({"a": np.int64, "b": np.int64, "bits": float, "cosine": float})


def _described(pairs, index):
    """`PAIR_COLUMNS` from row numbers; the nearest first within a kind."""
    sides = {side: index.iloc[pairs[side]].reset_index(drop=True) for side in "ab"}
    table = pairs.reset_index(drop=True)
    for side, rows in sides.items():
        table[f"path_{side}"] = rows["path"]
        table[f"split_{side}"] = rows["split"]
        table[f"label_{side}"] = rows["fine"].where(rows["fine"] != "", rows["coarse"])
        table[f"lesion_{side}"] = rows["lesion_id"]
    a, b = sides["a"], sides["b"]

    def both(name, equal):
        known = (a[name] != "") & (b[name] != "")
        return known & ((a[name] == b[name]) == equal)

    table["same_lesion"] = both("lesion_id", True)
    table["same_patient"] = both("patient_id", True)
    table["across_splits"] = both("split", False)
    table["labels_differ"] = both("fine", False) | both("coarse", False)
    rank = table["kind"].map({kind: k for k, kind in enumerate(KINDS)})
    order = np.lexsort((table["b"], table["a"], -table["cosine"].fillna(2), table["bits"], rank))
    return table.iloc[order].reset_index(drop=True)[list(PAIR_COLUMNS)]


def ids_in_several_splits(index: pd.DataFrame) -> pd.DataFrame:
    """What stands in two splits or more: DataFrame of kind, id, splits, photos."""
    rows = []
    for name in ("path", "lesion_id", "patient_id"):
        known = index[(index[name] != "") & (index["split"] != "")]
        table = pd.crosstab(known[name], known["split"])
        for value, there in table[(table > 0).sum(axis=1) > 1].to_dict("index").items():
            own = [split for split in SPLITS if there.get(split)]
            rows.append((name, value, " ".join(own), sum(there[split] for split in own)))
    return pd.DataFrame(rows, columns=["kind", "id", "splits", "photos"])


def contradicting_lesions(index: pd.DataFrame) -> list[str]:
    """Ids of the lesions whose photos have more than one fine label, in order."""
    known = index[(index["lesion_id"] != "") & (index["fine"] != "")]
    labels = known.groupby("lesion_id")["fine"].nunique()
    return sorted(labels.index[labels > 1])


def counts(audited: Audit) -> pd.DataFrame:
    """Pairs by kind: DataFrame of kind, pairs, same_lesion, across_splits, labels_differ, ..."""
    names = ["same_lesion", "same_patient", "across_splits", "labels_differ"]
    rows = []
    for kind in KINDS:
        own = audited.pairs[audited.pairs["kind"] == kind]
        told = (own["lesion_a"] != "") & (own["lesion_b"] != "")
        rows.append(
            {"kind": kind, "pairs": len(own)}
            | {name: int(own[name].sum()) for name in names}
            | {"of_different_lesions": int((told & ~own["same_lesion"]).sum())}
        )
    return pd.DataFrame(rows)


def classes(index: pd.DataFrame) -> pd.DataFrame:
    """Photos by class and split: DataFrame, a row a label, "(no label)" last."""
    label = index["fine"].where(index["fine"] != "", index["coarse"])
    split = index["split"].where(index["split"] != "", "(no split)")
    table = pd.crosstab(label.where(label != "", "(no label)"), split)
    order = [name for name in (*SPLITS, "(no split)") if name in table]
    last = [name for name in table.index if name == "(no label)"]
    table = table.loc[[name for name in table.index if name not in last] + last, order]
    return table.rename_axis(index="class", columns=None).reset_index()

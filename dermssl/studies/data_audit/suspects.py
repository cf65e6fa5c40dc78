"""Likely label errors and off-topic photos of a data set: what was found, its files, its sheets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core import atomic_files
from dermssl.data import decode
from dermssl.data.records import Dataset
from dermssl.reporting import figures
from dermssl.studies.data_audit import label_errors, off_topic

LABELS, TOPICS = "likely_label_errors", "off_topic"  # names of the CSV files and pictures
ACROSS = 6  # photos a row of a sheet
SIDE = 128  # pixels of a photo on it


@dataclass(frozen=True, eq=False)
class Suspects:
    """Photos to look at, the most suspicious first.

    Attributes:
        labels: likely_label_errors.csv: every photo whose label was judged.
        topics: off_topic.csv: every readable photo.
        n_shown: how many of each are shown at most.
        by_embeddings: whether a run's embeddings were compared; else label errors weren't looked
            for, and pixels alone say what is off topic.
        left_out: classes with too few groups to be judged -> how many they have.
        n_unlabelled: readable photos without a label.
    """

    labels: pd.DataFrame
    topics: pd.DataFrame
    n_shown: int
    by_embeddings: bool
    left_out: dict[str, int]
    n_unlabelled: int

    @property
    def confident(self) -> pd.DataFrame:
        """The photos that confident learning counts as wrongly labelled."""
        return self.labels[self.labels["confident"].astype(bool)]

    @property
    def balanced_accuracy(self) -> float:
        """How well the embeddings name the labels out of fold; NaN where none was judged."""
        right = self.labels["margin"].astype(float) > 0
        return float(right.groupby(self.labels["given"]).mean().mean())

    @property
    def chance(self) -> float:
        """The same of one answer for all; NaN where none was judged."""
        n = self.labels["given"].nunique()
        return 1 / n if n else float("nan")

    @property
    def apart(self) -> pd.DataFrame:
        """The photos that stand apart."""
        return self.topics[self.topics["apart"].astype(bool)]


def find(
    dataset: Dataset,
    seen: pd.DataFrame,
    features: np.ndarray | None,
    groups: np.ndarray,
    n_shown: int,
) -> Suspects:
    """Judge labels and topics.

    Args:
        dataset: `Dataset`, with the photos that can't be read.
        seen: `perceptual_hash.Survey.table` of the same rows.
        features: float (n, d), embeddings of the same rows, or None.
        groups: object (n,), patient or lesion of each photo.
        n_shown: of each kind at most.
    """
    index, readable = dataset.index, (seen["error"] == "").to_numpy()
    labels = _labels(index)
    found = label_errors.LabelErrors(
        label_errors.NOTHING, {}, int((readable & (labels == "")).sum())
    )
    if features is not None:
        rows = np.flatnonzero(readable)
        found = label_errors.find(features[rows], labels[rows], groups[rows])
        found.table["row"] = rows[found.table["row"].to_numpy(int)]
    topics = off_topic.find(seen, features)
    own = ["path", "split", "lesion_id"]
    described = _joined(found.table, index, own)
    shown = _joined(topics, index.assign(label=labels), [*own, "label"])
    return Suspects(
        described, shown, n_shown, features is not None, found.left_out, found.n_unlabelled
    )


def _labels(index: pd.DataFrame) -> np.ndarray:
    """The fine label of each photo, or where no photo has one the coarse."""
    name = "fine" if (index["fine"] != "").any() else "coarse"
    return index[name].to_numpy(dtype=object)


def _joined(table, index, columns):
    """A ranked table with its rank and the records' columns, without row numbers."""
    own = index.iloc[table["row"].to_numpy(int)][columns].reset_index(drop=True)
    rest = table.drop(columns="row").reset_index(drop=True)
    rank = pd.Series(np.arange(1, len(rest) + 1), name="rank")
    return pd.concat([rank, own, rest], axis=1)


def write(folder: Path, suspects: Suspects | None) -> None:
    """The CSV files; those of an earlier audit go where there is nothing to say now."""
    for name, table in (
        (LABELS, suspects.labels if suspects else label_errors.NOTHING),
        (TOPICS, suspects.topics if suspects else label_errors.NOTHING),
    ):
        if table.empty:
            (folder / f"{name}.csv").unlink(missing_ok=True)
        else:
            atomic_files.write_csv(folder / f"{name}.csv", table)


def shown_labels(suspects: Suspects) -> pd.DataFrame:
    """The likely label errors of the sheet: those that confident learning counts, first ranks."""
    return suspects.confident.head(suspects.n_shown)


def shown_topics(suspects: Suspects) -> pd.DataFrame:
    """The off-topic photos of the sheet: the first ranks, whether or not they stand apart."""
    return suspects.topics.head(suspects.n_shown)


def draw(folder: Path, dataset: Dataset, suspects: Suspects) -> list[str]:
    """The contact sheets; returns the names of those that were drawn."""
    labels, topics = shown_labels(suspects), shown_topics(suspects)
    captions = {
        LABELS: [
            f"{row.rank}. given {row.given}\nsuggested {row.suggested} {row.p_suggested:.2f}"
            for row in labels.itertuples()
        ],
        TOPICS: [f"{row.rank}. {_why(row)}" for row in topics.itertuples()],
    }
    drawn = []
    for name, table in ((LABELS, labels), (TOPICS, topics)):
        path = folder / f"{name}.png"
        if table.empty:
            path.unlink(missing_ok=True)
        else:
            _sheet(path, [dataset.root / photo for photo in table["path"]], captions[name])
            drawn.append(name)
    return drawn


def _why(row):
    if not np.isnan(row.times_median):
        return f"{row.label or 'no label'}\n{row.times_median:.2f} x median"
    return f"{row.label or 'no label'}\n{figures.wrap(row.reasons.split('; ')[0], 22)}"


def _sheet(path, files, captions):
    """Photos in rows of `ACROSS`, whole in their squares, with words above."""
    missing = -len(files) % ACROSS
    photos = [_square(decode.decode(file, min_size=SIDE)) for file in files] + [None] * missing
    captions = [*captions, *[""] * missing]
    rows = range(0, len(photos), ACROSS)
    figures.image_sheet(
        path,
        [photos[k : k + ACROSS] for k in rows],
        captions=[captions[k : k + ACROSS] for k in rows],
        cell=1.6,
    )


def _square(photo: np.ndarray) -> np.ndarray:
    """The whole photo on a white square: a strip would be stretched beyond recognition."""
    height, width = photo.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = photo
    return square

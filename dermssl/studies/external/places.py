"""Read labelled photos from another place, and map their classes to the run's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.core.study_settings import Adapt, Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import class_map, masks, perceptual_hash, preprocess, readers, splits
from dermssl.data.records import Dataset, group_ids, is_labelled
from dermssl.studies.external import levels, overlap


@dataclass(frozen=True, eq=False)
class Place:
    """Photos from elsewhere.

    Attributes:
        name: of its folder in the output.
        path: as given.
        dataset: the photos that are scored.
        mapped: where each of its classes goes.
        seen: `perceptual_hash.Survey` of the photos, row by row.
        left_out: dict of reason -> photos.
        overlap: photos that the run has seen, from `overlap.find`.
        section: the settings that name it, for errors: "evaluate" or "adapt".
    """

    name: str
    path: str
    dataset: Dataset
    mapped: list[class_map.Mapped]
    seen: perceptual_hash.Survey
    left_out: dict[str, int]
    overlap: pd.DataFrame
    section: str = "evaluate"

    def truth(self, taxonomy: Taxonomy) -> class_map.Truth:
        """What is known of its photos in the run's classes."""
        return class_map.truth_of(self.dataset.index, self.mapped, taxonomy)

    @property
    def groups(self) -> np.ndarray:
        """The lesion or patient of each photo."""
        return group_ids(self.dataset.index)

    def keep(self, rows: np.ndarray) -> Place:
        """The place with some of its photos only."""
        seen = perceptual_hash.Survey(
            self.seen.table.iloc[rows].reset_index(drop=True),
            self.seen.words[rows],
            self.seen.turned[rows],
        )
        dataset = self.dataset.with_index(self.dataset.index.iloc[rows])
        return replace(self, dataset=dataset, seen=seen)


def read(
    paths: Sequence[str],
    settings: Evaluate | Adapt,
    taxonomy: Taxonomy,
    data: Data,
    dataset: Dataset | None = None,
    section: str = "evaluate",
    labelled: bool = True,
) -> list[Place]:
    """Read every place, and refuse what can't be scored before any photo is predicted.

    Args:
        paths: folders.
        settings: `study_settings.Evaluate` or `Adapt`: the map file, what to do with bad photos.
        taxonomy: the run's.
        data: the run's settings of the data; its preprocessing is done to the photos.
        dataset: the only place, where the caller has read it already.
        section: "evaluate" or "adapt", for errors.
        labelled: whether photos without a label are left out, and a place without any refused.

    Raises:
        UserError: no labelled folder, classes that can't be mapped, unreadable photos.
    """
    given = class_map.read_map(settings.classes) if settings.classes else None
    datasets = [dataset] if dataset is not None else [_labelled(path, data, settings.on_bad)
                                                      for path in paths]  # fmt: skip
    counts = [class_map.labels(one.index).value_counts() for one in datasets]
    if given is not None:
        known = [name for one in counts for name in one.index if name]
        class_map.check_map(given, known, f"{section}.classes {settings.classes}")
    places: list[Place] = []
    for path, one, labels in zip(paths, datasets, counts):
        if one.taxonomy is None and labelled:
            raise UserError(
                f"{section}.data {path}: no photo has a label, so nothing can be scored; add "
                "labels.csv (filename,label) or a sub-folder for each class"
            )
        photos = {str(name): int(n) for name, n in sorted(labels.items()) if name}
        mapped = []
        if one.taxonomy is not None:
            mapped = class_map.map_classes(photos, one.taxonomy, taxonomy, given, settings.classes)
        class_map.check_complete(mapped, taxonomy, f"{section}.data {path}")
        name = _name(path, [place.name for place in places])
        places.append(_place(name, path, one, mapped, data, settings.on_bad, section, labelled))
    return places


def _labelled(path, data, on_bad):
    mine = Data(path=path, on_bad=on_bad, masks=data.masks, preprocess=data.preprocess)
    return readers.read(mine)


def _name(path, taken):
    """The name of a place's folder in the output: that of its own, with a number if need be."""
    base = re.sub(r"[^\w.-]+", "_", Path(path).expanduser().resolve().name).strip("._") or "place"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def _place(name, path, dataset, mapped, data, on_bad, section, labelled):
    """A place without the photos that are left out by the map, or bad, or that need a label."""
    out = [one.theirs for one in mapped if one.level == class_map.LEFT_OUT]
    told = is_labelled(dataset.index) | (not labelled)
    kept = told & ~class_map.labels(dataset.index).isin(out).to_numpy()
    left_out = {
        "without a label": int((~told).sum()),
        "of classes that the map leaves out": int((told & ~kept).sum()),
    }
    dataset = dataset.with_index(dataset.index[kept])
    if dataset.index.empty:
        raise UserError(f"{section}.data {path}: the map leaves every class out; map some")
    seen = perceptual_hash.survey(dataset.files)
    errors = seen.table["error"]
    bad = (errors != "").to_numpy()
    if bad.any() and on_bad == "error":
        raise UserError(
            f"{section}.data {path}: {errors[bad].iloc[0]} ({bad.sum()} bad of {len(bad)}; "
            f"{section}.on_bad skip leaves them out)"
        )
    splits.report_skipped(list(zip(np.array(dataset.files)[bad], errors[bad])), len(bad))
    left_out["unreadable"] = int(bad.sum())
    nothing = pd.DataFrame(columns=list(overlap.COLUMNS))
    place = Place(name, path, dataset, mapped, seen, left_out, nothing, section)
    place = place.keep(np.flatnonzero(~bad))
    if place.dataset.index.empty:
        raise UserError(f"{section}.data {path}: none of {len(bad)} images is readable")
    if preprocess.CROP in data.preprocess:
        checked = masks.verified(place.dataset, on_bad, f"{section}.data {path}")
        place = replace(place, dataset=checked)
    return place


def without_overlap(
    place: Place, run_photos: pd.DataFrame, run_seen: perceptual_hash.Survey
) -> Place:
    """The place without the photos that the run has seen, and lesions that have one.

    Raises:
        UserError: nothing is left.
    """
    if not len(run_photos):
        return place
    found = overlap.find(place.dataset.index, place.seen, run_photos, run_seen)
    n = len(place.dataset.index)
    if len(found) == n:
        raise UserError(
            f"{place.section}.data {place.path}: all {n:,} photos are photos of the run (same "
            "file, same pixels or near copies); give photos from elsewhere, or score the run's own "
            f"split without {place.section}.data"
        )
    kept = place.keep(np.flatnonzero(~place.dataset.index["path"].isin(found["path"]).to_numpy()))
    left_out = place.left_out | {"photos of the run": len(found)}
    return replace(kept, overlap=found, left_out=left_out)


def check_classes(place: Place, taxonomy: Taxonomy) -> None:
    """Refuse a place with one class only, or without a positive or negative answer."""
    truth = place.truth(taxonomy)
    level = levels.choose(truth)
    y = levels.known_at(level, truth)
    there = np.unique(y[y >= 0])
    if len(there) >= 2:
        return
    names = levels.taxonomy_at(level, taxonomy).titles
    where = f"{place.section}.data {place.path}"
    only = names[there[0]] if len(there) else "none"
    if level == class_map.MALIGNANCY:
        missing = "malignant (no positives)" if only == class_map.BENIGN else "benign"
        raise UserError(
            f"{where}: all {len(y):,} photos are {only}, none is {missing}; sensitivity and "
            "specificity need both"
        )
    raise UserError(
        f"{where}: one class only, {only} ({len(y):,} photos), so that there "
        "is nothing to tell apart; give photos of two classes or more"
    )

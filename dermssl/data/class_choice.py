"""Choose the classes that a classifier learns: those asked for, without or with rare ones.

A class of too few lesions to stand in every split is in training alone (see `splits.assign`). One
without a training photo can't be learnt at all. Both are named with their counts, never passed
over: the first is not scored, the second only ever scored as wrong.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from dermssl.core import left_out, taxonomy
from dermssl.core.errors import UserError, unknown_name
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.labels import spelling
from dermssl.data.records import SPLITS, TRAIN, Dataset, group_ids, is_labelled

log = logging.getLogger("dermssl")


@dataclass(frozen=True)
class ClassCounts:
    """How many photos and groups of a fine class are in each split.

    Attributes:
        name: the class.
        photos: split -> photos.
        groups: lesions, or patients, in all.
    """

    name: str
    photos: dict[str, int]
    groups: int

    @property
    def is_rare(self) -> bool:
        """Whether it is in training alone."""
        return sum(self.photos.values()) == self.photos[TRAIN] > 0

    @property
    def is_untaught(self) -> bool:
        """Whether it has no training photo."""
        return not self.photos[TRAIN]

    def __str__(self) -> str:
        parts = ", ".join(f"{n:,} {split}" for split, n in self.photos.items())
        twins = sum(self.photos.values()) > self.groups
        groups = f"; independent lesions or patients: {self.groups:,}" if twins else ""
        return f"{self.name} ({parts}{groups})"


def count(dataset: Dataset) -> list[ClassCounts]:
    """The counts of every fine class of the taxonomy, in its order.

    Args:
        dataset: with splits and a taxonomy.
    """
    index, found = dataset.index, []
    groups = pd.Series(group_ids(index), index.index)
    for name in dataset.taxonomy.fine if dataset.taxonomy else ():
        own = index["fine"] == name
        photos = {split: int((own & (index["split"] == split)).sum()) for split in SPLITS}
        found.append(ClassCounts(name, photos, int(groups[own].nunique())))
    return found


def only(dataset: Dataset, classes: Sequence[str], setting: str) -> Dataset:
    """The records of some fine classes, and those without a label.

    A record with a coarse label only may be of a class that was left out, and goes, too.

    Args:
        dataset: with a taxonomy.
        classes: names of fine classes with photos.
        setting: what named them, for errors.

    Returns:
        A data set whose taxonomy holds these classes alone, in the taxonomy's order.

    Raises:
        UserError: a class has no photo, or fewer than two are left.
    """
    taxonomy, index = dataset.taxonomy, dataset.index
    assert taxonomy is not None
    there = set(index["fine"])
    known = [name for name in taxonomy.fine if name in there]
    for name in classes:
        if name not in known:
            raise unknown_name(setting, name, known)
    where = [k for k, name in enumerate(taxonomy.fine) if name in classes]
    if len(where) < 2:
        raise UserError(
            f"{setting}: leaves {len(where)} class of {', '.join(known)}; there must be two or "
            "more to tell apart"
        )
    parts = {
        name: tuple(getattr(taxonomy, name)[k] for k in where)
        for name in ("fine", "parents", "malignancy", "titles")
    }
    kept = index["fine"].isin(classes) | ~is_labelled(index)
    return replace(dataset.with_index(index[kept]), taxonomy=Taxonomy(taxonomy.name, **parts))


def tell_taxonomy(classes: Taxonomy) -> None:
    """Say which built-in taxonomy has classes that state neither groups nor malignancy.

    Args:
        classes: of a data set.
    """
    wanted = {*map(spelling, classes.fine)}
    if classes.has_hierarchy or any(classes.malignancy) or len(wanted) < 2:
        return
    fits = []
    for file in taxonomy.BUILT_IN.glob("*.toml"):
        known = taxonomy.load(file.stem)
        if wanted <= {*map(spelling, known.fine)}:
            exact = {*classes.fine} <= {*known.fine}
            fits.append((not exact, len(known.fine), known.name, known.has_hierarchy))
    if fits:
        *_, name, has_groups = min(fits)
        groups = "their groups, and " if has_groups else ""
        left_out.tell(
            log,
            f"the classes are those of {name}: data.taxonomy {name} would tell {groups}which are "
            "malignant",
        )


def choose(dataset: Dataset, settings: Any) -> Dataset:
    """The data set that a classifier learns from; what is odd about its classes goes to the log.

    Args:
        dataset: with splits.
        settings: `settings.Finetune`, whose `classes` and `rare_classes` are looked at.

    Returns:
        The data set itself, or one without the records of the classes that are left out.

    Raises:
        UserError: unknown classes, fewer than two left, or rare ones where they are an error.
    """
    if dataset.taxonomy is None:
        return dataset
    if settings.classes:
        dataset = only(dataset, settings.classes, "finetune.classes")
    counts = [each for each in count(dataset) if sum(each.photos.values())]
    labelled = dataset.index[is_labelled(dataset.index)]
    scored = (labelled["split"] != TRAIN).any()
    rare = [each for each in counts if scored and each.is_rare]
    untaught = [each for each in counts if each.is_untaught]
    if settings.rare_classes == "error" and (rare or untaught):
        raise UserError(
            f"classes that aren't in training and in a scored split: {_listed(rare + untaught)}; "
            "add lesions, name the others in finetune.classes, or set finetune.rare_classes train "
            "or drop"
        )
    if settings.rare_classes == "drop" and (rare or untaught):
        out = {each.name for each in rare + untaught}
        left_out.tell(
            log,
            f"left out by finetune.rare_classes drop: {_listed(rare + untaught)}: too few lesions "
            "to be trained on and scored",
        )
        kept = [each.name for each in counts if each.name not in out]
        return only(dataset, kept, "finetune.rare_classes drop")
    if rare:
        left_out.tell(
            log,
            f"too few lesions for every split: {_listed(rare)}: trained on, but not scored; "
            "finetune.rare_classes drop leaves them out",
        )
    if untaught:
        left_out.tell(
            log,
            f"no training photo of: {_listed(untaught)}: the model can't learn it, and its photos "
            "count as errors; finetune.rare_classes drop leaves it out",
        )
    return dataset


def table(dataset: Dataset, chosen: Dataset) -> pd.DataFrame:
    """What became of every class that has photos: a row each.

    Args:
        dataset: with splits and all classes.
        chosen: what `choose` made of it.

    Returns:
        Columns `class`, the splits (photos), `groups` (lesions or patients) and `use`.
    """
    kept = chosen.taxonomy.fine if chosen.taxonomy else ()
    rows = []
    for each in count(dataset):
        use = "learnt and scored"
        if each.name not in kept:
            use = "left out"
        elif each.is_untaught:
            use = "no training photo"
        elif each.is_rare:
            use = "trained on, not scored"
        if sum(each.photos.values()):
            rows.append({"class": each.name, **each.photos, "groups": each.groups, "use": use})
    return pd.DataFrame(rows, columns=["class", *SPLITS, "groups", "use"])


def _listed(counts):
    return "; ".join(map(str, counts))

"""Choose a grid's photos: classes, balance, and a test split of a given size.

Splits are by group (patient, lesion) throughout: a test lesion never has a photo in train.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError, unknown_name
from dermssl.core.settings import Data, Grid
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import readers, splits
from dermssl.data.records import TEST, TRAIN, Dataset, group_ids


def only_classes(dataset: Dataset, classes: Sequence[str]) -> Dataset:
    """The labelled records of some fine classes, under a flat taxonomy.

    Args:
        dataset: with labels.
        classes: fine class names; empty keeps them all.

    Returns:
        A data set whose taxonomy holds these classes alone, in the taxonomy's order.
    """
    if dataset.taxonomy is None:
        raise UserError("data.path: no photo has a label; a grid needs some")
    there = set(dataset.index["fine"]) - {""}
    known = [name for name in dataset.taxonomy.fine if name in there]
    for name in classes:
        if name not in known:
            raise unknown_name("grid.classes", name, known)
    chosen = [name for name in known if name in classes or not classes]
    if len(chosen) < 2:
        raise UserError(f"grid.classes: {len(chosen)} class with photos; a grid needs two or more")
    where = [dataset.taxonomy.fine.index(name) for name in chosen]
    old = dataset.taxonomy
    names = Taxonomy(
        name=old.name, fine=tuple(chosen), parents=tuple(chosen),
        malignancy=tuple(old.malignancy[k] for k in where),
        titles=tuple(old.titles[k] for k in where),
    )  # fmt: skip
    index = dataset.index[dataset.index["fine"].isin(chosen)]
    index = index.assign(coarse=index["fine"])
    return replace(dataset.with_index(index), taxonomy=names)


def with_test(dataset: Dataset, per_class: int, seed: int, group_by: str = "auto") -> Dataset:
    """Hold out exactly `per_class` photos of each class for the test, the rest is train.

    Whole groups are drawn; photos of a drawn group beyond the number are in neither split.
    """
    index = dataset.index
    groups = group_ids(index, group_by)
    rng = np.random.Generator(np.random.Philox(key=seed))
    drawn, split = set(), np.full(len(index), TRAIN, dtype=object)
    for name, order in splits.shuffled_groups(_groups_by_class(index, groups), rng):
        of_class = (index["fine"] == name).to_numpy()
        held = np.array([group in drawn for group in groups]) & of_class
        for group in order:
            if held.sum() >= per_class:
                break
            drawn.add(group)
            held |= (groups == group) & of_class
        rows = np.flatnonzero(held)
        if len(rows) < per_class or held.sum() == of_class.sum():
            raise UserError(
                f"grid.test_per_class {per_class}: class '{name}' has {of_class.sum()} photos, "
                "and some must be left to train on; ask for fewer"
            )
        split[rows[:per_class]] = TEST
    left_out = np.array([group in drawn for group in groups]) & (split == TRAIN)
    result = dataset.with_index(index.assign(split=split)[~left_out])
    splits.check_overlap(result.index)
    return result


def folds(dataset: Dataset, count: int, seed: int, group_by: str = "auto") -> list[Dataset]:
    """`count` versions of a data set; each group is in the test split of exactly one.

    Stratified: the groups of each class are shuffled and dealt out in turn.
    """
    index = dataset.index
    groups = group_ids(index, group_by)
    strata, taken = _groups_by_class(index, groups), set()
    for name, own in strata.items():
        strata[name] = [group for group in own if group not in taken]
        taken.update(own)
        if len(strata[name]) < count:
            raise UserError(
                f"grid.folds {count}: class '{name}' has {len(strata[name])} group(s); "
                "use fewer folds"
            )
    fold = splits.deal_groups(strata, count, np.random.Generator(np.random.Philox(key=seed)))
    numbers = np.array([fold[group] for group in groups])
    versions = []
    for k in range(count):
        split = np.where(numbers == k, TEST, TRAIN)
        versions.append(dataset.with_index(index.assign(split=split)))
        splits.check_overlap(versions[-1].index)
    return versions


def _groups_by_class(index, groups):
    """dict of class -> its groups, sorted; the rarest class first."""
    counts = index["fine"].value_counts()
    names = sorted(counts.index, key=lambda name: (counts[name], name))
    return {name: sorted(set(groups[(index["fine"] == name).to_numpy()])) for name in names}


def balanced(dataset: Dataset, seed: int) -> Dataset:
    """As many training photos of each class as the rarest has; other splits stay."""
    index = dataset.index
    rng = np.random.Generator(np.random.Philox(key=seed))
    train = index["split"] == TRAIN
    least = index["fine"][train].value_counts().min()
    keep = [index.index[~train].to_numpy()]
    for name in sorted(index["fine"][train].unique()):
        rows = index.index[train & (index["fine"] == name)].to_numpy()
        keep.append(rng.permutation(rows)[:least])
    return dataset.with_index(index.loc[np.sort(np.concatenate(keep))])


def select(dataset: Dataset, grid: Grid, data: Data) -> list[Dataset]:
    """The data of a grid: one `Dataset` a fold, or one, every photo checked.

    Args:
        dataset: as read, without splits.
        grid: which classes, folds and numbers of photos.
        data: how bad photos are handled and how splits are made.

    Returns:
        A data set with train and test splits, one a fold.
    """
    seed = data.split_seed
    if grid.folds == 1:
        raise UserError("grid.folds 1: cross-validation needs 2 or more; 0 is one test split")
    if grid.folds and grid.test_per_class:
        raise UserError("grid.folds and grid.test_per_class: give one; folds test every photo")
    dataset, bad = readers.checked(dataset, data.on_bad, f"data.path {data.path}")
    splits.report_skipped(bad, len(bad) + len(dataset.index))
    if not grid.folds and not grid.test_per_class:
        # Split before classes are left out: as every other command splits this data set, so
        # that a pretraining run on it has kept out the same lesions.
        dataset = splits.assign(dataset, data.validation, data.test, seed, data.group_by)
    dataset = only_classes(dataset, grid.classes)
    versions = [dataset]
    if grid.folds:
        versions = folds(dataset, grid.folds, seed, data.group_by)
    elif grid.test_per_class:
        versions = [with_test(dataset, grid.test_per_class, seed, data.group_by)]
    if grid.balance:
        versions = [balanced(version, seed) for version in versions]
    for version in versions:
        for split in (TRAIN, TEST):
            there = set(version.index["fine"][version.index["split"] == split])
            known = version.taxonomy.fine if version.taxonomy else ()
            lacking = [name for name in known if name not in there]
            if lacking:
                others = " ".join(name for name in known if name in there)
                raise UserError(
                    f"no {split} photo of class '{lacking[0]}': too few lesions; add some, or "
                    f"leave the class out with grid.classes {others}"
                )
    return versions


def joined(versions: Sequence[Dataset]) -> pd.DataFrame:
    """All folds as one record table, for hashing and for the report: `fold` says which."""
    return pd.concat([version.index.assign(fold=k) for k, version in enumerate(versions)])

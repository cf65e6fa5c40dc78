"""Split records into train, validation and test: stratified, and no group in two splits.

All photos of a group (patient, lesion) go to one split; otherwise the test score
measures memory. Unlabelled photos go to train, the pool of pretraining, unless
their group is held out.
"""

import logging
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import config as configs
from dermssl.core import left_out, settings
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import readers
from dermssl.data.records import (
    SPLITS,
    TEST,
    TRAIN,
    VALIDATION,
    Dataset,
    group_ids,
    is_labelled,
)

log = logging.getLogger("dermssl")


def assign(
    dataset: Dataset,
    validation: float = 0.15,
    test: float = 0.2,
    seed: int = 0,
    group_by: str = "auto",
) -> Dataset:
    """Give every record a split; a split column that the data set brought is kept.

    Within each class the groups are shuffled by `seed` and dealt out until each split
    holds its share of the class's groups, at least one each. A group with several
    classes counts under its rarest. A class of fewer groups than splits is in train alone:
    `class_choice` says so where labels matter, and can leave it out.

    Args:
        dataset: with records, and splits or none.
        validation, test: shares of the groups, in [0, 1).
        seed: of the order in which groups are dealt.
        group_by: see `records.group_ids`.

    Returns:
        The data set with every `split` one of train, validation, test.

    Raises:
        UserError: a brought split is unknown or incomplete, or a lesion or patient crosses two
            splits.
    """
    index = dataset.index
    brought = index["split"] != ""
    if brought.any():
        split = _brought(index)
        if validation and not (split == VALIDATION).any() and (split == TEST).any():
            split = _with_validation(index, split, validation, seed, group_by)
    else:
        if validation + test >= 1:
            raise UserError(
                f"data.validation {validation} and data.test {test} leave nothing to train on; "
                "their sum must be under 1"
            )
        groups = group_ids(index, group_by)
        shares = {TEST: test, VALIDATION: validation}
        by_group = _deal(_strata(index, groups), {k: v for k, v in shares.items() if v > 0}, seed)
        split = np.array([by_group.get(group, TRAIN) for group in groups], dtype=object)
    result = dataset.with_index(index.assign(split=split))
    check_overlap(result.index)
    return result


def _brought(index):
    split = index["split"].replace({"val": VALIDATION, "valid": VALIDATION})
    wrong = ~split.isin(SPLITS) & ~((split == "") & ~is_labelled(index))
    if wrong.any():
        row = index[wrong].iloc[0]
        raise UserError(
            f"split column: '{row['path']}' has '{row['split']}'; "
            f"every labelled photo needs one of: {', '.join(SPLITS)}"
        )
    # An unlabelled photo without a split follows its lesion or patient, else it is for training.
    groups = group_ids(index)
    held_out = split.isin((VALIDATION, TEST))
    known = dict(zip(groups[held_out], split[held_out]))
    return np.array(
        [name or known.get(group, TRAIN) for group, name in zip(groups, split)], dtype=object
    )


def _with_validation(index, split, share, seed, group_by):
    """Validation dealt out of train, where a data set brings train and test alone."""
    train = split == TRAIN
    groups = group_ids(index, group_by)
    strata = {
        label: own for label, own in _strata(index[train], groups[train]).items() if len(own) > 1
    }
    by_group = _deal(strata, {VALIDATION: share}, seed)
    dealt = np.array([by_group.get(group, TRAIN) for group in groups], dtype=object)
    log.warning(
        "the data set brings train and test alone: %d of its %d training photos serve as "
        "validation (data.validation %g)",
        int((train & (dealt == VALIDATION)).sum()), int(train.sum()), share,
    )  # fmt: skip
    return np.where(train, dealt, split)


def _strata(index, groups):
    """dict of (fine, coarse) -> list of its groups, coarse "" where fine is known.

    Unlabelled groups are in none.
    """
    labelled = is_labelled(index)
    fine = index["fine"][labelled]
    coarse = index["coarse"][labelled].where(fine == "", "")
    label = pd.Series(list(zip(fine, coarse)), fine.index, dtype=object)
    table = pd.DataFrame({
        "group": groups[labelled],
        "label": label,
        "coarse_only": fine == "",
        "rarity": label.map(Counter(label)),
    })  # fmt: skip
    order = ["coarse_only", "rarity", "label"]
    rarest = table.sort_values(order, kind="stable").drop_duplicates("group")
    strata = {}
    for label, group in zip(rarest["label"], rarest["group"]):
        strata.setdefault(label, []).append(group)
    return {label: sorted(strata[label]) for label in sorted(strata)}


def shuffled_groups(
    strata: Mapping[Hashable, Sequence[Hashable]], rng: np.random.Generator
) -> Iterator[tuple[Hashable, list[Hashable]]]:
    """Yields the label of each stratum and its groups in random order, stratum by stratum."""
    for label, groups in strata.items():
        yield label, [groups[i] for i in rng.permutation(len(groups))]


def deal_groups(
    strata: Mapping[Hashable, Sequence[Hashable]], n_folds: int, rng: np.random.Generator
) -> dict[Hashable, int]:
    """The fold of each group: the groups of each stratum are shuffled and dealt out in turn.

    Args:
        strata: label -> its groups; each group stands in one of them.
        n_folds: at least 1.
        rng: what the order is drawn from.

    Returns:
        Group -> fold, from 0.
    """
    order = [group for _, groups in shuffled_groups(strata, rng) for group in groups]
    return {group: place % n_folds for place, group in enumerate(order)}


def _deal(strata, shares, seed):
    """dict of group -> held-out split; groups that are in none stay in train."""
    # A class of too few groups is for training, and so are a few photos with a coarse label only.
    strata = {label: groups for label, groups in strata.items() if len(groups) > len(shares)}
    by_group = {}
    for _, groups in shuffled_groups(strata, np.random.Generator(np.random.Philox(key=seed))):
        start = 0
        for split, share in shares.items():
            # At least one group for each split, and one left to train on.
            room = len(groups) - start - (len(shares) - list(shares).index(split))
            count = min(max(1, round(share * len(groups))), room)
            by_group |= dict.fromkeys(groups[start : start + count], split)
            start += count
    return by_group


def check_overlap(index: pd.DataFrame, held_out: pd.DataFrame | None = None) -> None:
    """Refuse a photo, lesion or patient that stands in two splits.

    Args:
        index: record table with splits.
        held_out: a second table (validation and test of a data set); then `index` is a
            pool whose records must not touch it.
    """
    for column in ("path", "lesion_id", "patient_id"):
        if held_out is not None:
            shared = (set(index[column]) & set(held_out[column])) - {""}
            where = "both the pretraining pool and validation/test"
        else:
            known = index[index[column] != ""]
            splits = known.groupby(column)["split"].nunique()
            shared = set(splits.index[splits > 1])
            where = "two splits"
        if shared:
            raise UserError(
                f"{column} '{min(shared)}' is in {where} ({len(shared)} in all); "
                "the score would measure memory: split by lesion and patient, "
                "or pretrain again on this data set with the same data.split_seed"
            )


def few_labels(
    dataset: Dataset, per_class: int = 0, fraction: float = 1.0, seed: int = 0
) -> Dataset:
    """Hide labels of the training split until only a few are left.

    One photo of each lesion is taken before a second one, since a second photo of the
    same lesion teaches little. Subsets of one seed are nested: more labels add to fewer.

    Args:
        dataset: with splits.
        per_class: labels to keep a fine class; 0 keeps them all.
        fraction: share of each class to keep (at least one), in (0, 1].
        seed: of the order in which labels are kept.

    Returns:
        The data set in which the other training records have empty labels.
    """
    index = dataset.index
    train = (index["split"] == TRAIN) & (index["fine"] != "")
    if per_class and fraction < 1:
        raise UserError(
            f"finetune.labels_per_class {per_class} and finetune.label_fraction {fraction:g}: "
            "give one of them"
        )
    if not per_class and fraction <= 0:
        raise UserError(
            f"finetune.label_fraction {fraction:g}: must be above 0; 1 keeps every label"
        )
    if not per_class and fraction >= 1:
        return dataset
    rng = np.random.Generator(np.random.Philox(key=seed))
    keep = []
    for label in sorted(index["fine"][train].unique()):
        rows = index[train & (index["fine"] == label)]
        rows = rows.iloc[rng.permutation(len(rows))]
        photo = rows.groupby(pd.Series(group_ids(rows, "lesion_id"), rows.index)).cumcount()
        rows = rows.loc[photo.sort_values(kind="stable").index]
        count = per_class or max(1, round(fraction * len(rows)))
        if count > len(rows):
            raise UserError(
                f"finetune.labels_per_class {per_class}: class '{label}' has only {len(rows)} "
                f"labelled training {'photo' if len(rows) == 1 else 'photos'}; ask for at most "
                "that many"
            )
        keep.extend(rows.index[:count])
    hidden = (index["split"] == TRAIN) & ~index.index.isin(keep)
    blank = {name: index[name].mask(hidden, "") for name in ("fine", "coarse")}
    return dataset.with_index(index.assign(**blank))


def prepare(config: settings.Data) -> Dataset:
    """Read, check every photo, and split.

    Args:
        config: where the photos are and how they are split.

    Returns:
        A data set with every record in train, validation or test. Without any labels all
        of it is train.
    """
    dataset = readers.read(config)
    dataset, bad = readers.checked(dataset, config.on_bad, f"data.path {config.path}")
    report_skipped(bad, len(bad) + len(dataset.index))
    return assign(dataset, config.validation, config.test, config.split_seed, config.group_by)


def report_skipped(bad: Sequence[tuple[str, str]], total: int) -> None:
    """Say how many photos were left out, in one line of the log; see `left_out`.

    Args:
        bad: (path, message) of each, as from `readers.checked`.
        total: photos before.
    """
    left_out.tell_bad(log, bad, total)


def load_dataset(path: Path | str, **settings: Any) -> Dataset:
    """The records of a folder of photos, with splits.

    Args:
        path: the folder.
        **settings: other fields of `dermssl.core.settings.Data`, e.g. `validation=0.2`.

    Returns:
        `Dataset` of readable photos. Its `train`, `validation` and `test` are its splits, each a
        `Dataset`; `records` is the table and `taxonomy` has the class names.

    Raises:
        UserError: no data set there, bad settings, or unreadable photos.

    Example:

    >>> data = load_dataset("PHOTOS", test=0.3)
    >>> sorted(data.records["split"].unique())
    ['test', 'train', 'validation']
    """
    return prepare(configs.build(Data, {"path": str(path), **settings}, "load_dataset"))

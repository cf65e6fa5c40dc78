"""Check that runs may be compared: they may differ only in what is compared.

Runs of other records, splits, classes or training budget are refused with the first thing that
differs. A run here is a `run_groups.FinetuneRun`, a model a `run_groups.RunGroup`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dermssl.core import config as configs
from dermssl.core import runs
from dermssl.core.errors import UserError

if TYPE_CHECKING:
    from dermssl.evaluation.run_groups import FinetuneRun, RunGroup

# Settings of a run that may differ between arms with the same labels, or that train nothing.
SETTINGS_NOT_COMPARED_BETWEEN_ARMS = ("finetune.predict", "finetune.arm", "backbone.weights")
# Those that may differ between numbers of labels, too. Equal numbers, chosen in another way (ten
# a class, or a share of all), are other labels.
SETTINGS_NOT_COMPARED = (
    "finetune.labels_per_class",
    "finetune.label_fraction",
    *SETTINGS_NOT_COMPARED_BETWEEN_ARMS,
)


def check_data(first: FinetuneRun, other: FinetuneRun, split: str) -> None:
    """Same classes, same records in the same splits, same truth, or the first difference."""
    refuse = f"{first.path} and {other.path} can't be compared:"
    there, here = (run.status.get("command") for run in (first, other))
    if there != here:
        raise UserError(
            f"{refuse} a run of {there} and one of {here}; a probe of a frozen backbone and a "
            "fine-tuned network had different training"
        )
    a, b = first.predictions.taxonomy, other.predictions.taxonomy
    for name in ("fine", "parents", "malignancy"):
        if getattr(a, name) != getattr(b, name):
            there, here = (", ".join(getattr(taxonomy, name)) for taxonomy in (a, b))
            raise UserError(f"{refuse} taxonomy, {name}: {there} there, {here} here")
    rows = [run.predictions.table.set_index("path") for run in (first, other)]
    both = rows[0].index.intersection(rows[1].index)
    crossed = rows[0].loc[both, "split"] != rows[1].loc[both, "split"]
    if crossed.any():
        path = both[crossed][0]
        there, here = (table.loc[path, "split"] for table in rows)
        raise UserError(
            f"{refuse} record '{path}' is in {there} there, in {here} here "
            f"({crossed.sum()} such records); use one data.split_seed"
        )
    scored = [table[table["split"] == split] for table in rows]
    lone = scored[0].index.symmetric_difference(scored[1].index)
    if len(lone):
        raise UserError(
            f"{refuse} the {split} split differs, record '{lone[0]}' is in one only "
            f"({len(scored[0])} records there, {len(scored[1])} here)"
        )
    for level in ("fine", "coarse"):
        wrong = scored[0][level] != scored[1].loc[scored[0].index, level]
        if wrong.any():
            path = scored[0].index[wrong][0]
            there, here = (table.loc[path, level] for table in scored)
            raise UserError(f"{refuse} record '{path}' is '{there}' there, '{here}' here")
    if list(scored[0].index) != list(scored[1].index):
        raise UserError(f"{refuse} the {split} records stand in another order; predict them again")
    if first.status["data_hash"] != other.status["data_hash"]:
        raise UserError(
            f"{refuse} data hash {first.status['data_hash']} there, "
            f"{other.status['data_hash']} here: photos or their descriptions have changed"
        )


def check_seeds(model: RunGroup) -> None:
    """Refuse two runs of one model with the same seed."""
    for one, two in zip(model.members, model.members[1:]):
        if one.status["seed"] == two.status["seed"]:
            raise UserError(
                f"{one.path} and {two.path}: both are {model.name}, seed {one.status['seed']}; "
                "name one of them, or set finetune.arm to tell them apart"
            )


def check_starts(members: Sequence[FinetuneRun]) -> None:
    """Refuse runs from one pretraining, or one file, that was made anew between them."""
    first_of: dict[str, FinetuneRun] = {}
    for member in members:
        start = member.status.get("start")
        if not start:  # a run of older versions
            continue
        weights = member.status["config"].get("backbone", {}).get("weights", "none")
        name = os.path.normpath(weights.removesuffix(runs.BACKBONE_FILE))
        first = first_of.setdefault(name, member)
        there = first.status["start"]
        if start != there:
            raise UserError(
                f"{first.path} and {member.path} both start from {weights}, but not from the same "
                f"weights (hash {there} there, {start} here): it was made anew in between, or "
                "lies in two places; fine-tune both from one"
            )


def budget_notes(models: Sequence[RunGroup], allowed: bool) -> list[str]:
    """Arms with the same labels must be tuned alike; other label counts are noted only."""
    notes = []
    first_of: dict[int | str, FinetuneRun] = {}
    for model in models:
        for member in model.members:
            first = first_of.setdefault(model.labels, member)
            shown = _budget_difference(first, member, SETTINGS_NOT_COMPARED_BETWEEN_ARMS)
            if not shown:
                continue
            if not allowed:
                raise UserError(
                    f"{first.path} and {member.path} had different budgets: {shown}; tune them "
                    "alike, or model_comparison.allow_different_budget to compare them with a "
                    "warning"
                )
            notes.append(f"Different budgets at {model.labels_text}: {shown} (of {member.path}).")
    firsts = list(first_of.values())
    for other in firsts[1:]:
        shown = _budget_difference(firsts[0], other, SETTINGS_NOT_COMPARED)
        if shown:
            notes.append(f"Budgets differ between label counts, not between their arms: {shown}.")
    return list(dict.fromkeys(notes))


def _budget_difference(first, other, free):
    """The settings that differ but for the free ones: "name is X there and Y here", or ""."""
    a, b = _budget(first, free), _budget(other, free)
    keys = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
    return "; ".join(f"{key} is {a.get(key)!r} there and {b.get(key)!r} here" for key in keys)


def _budget(member, free):
    config = member.status["config"]
    # What was done to the photos is no part of the data hash.
    compared = configs.comparable(config)  # a run may be older than a setting
    return {"data.preprocess": config["data"]["preprocess"]} | {
        f"{section}.{key}": value
        for section in ("finetune", "backbone")
        for key, value in compared.get(section, {}).items()
        if f"{section}.{key}" not in free
    }

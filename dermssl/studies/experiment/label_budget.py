"""Count the labels that an experiment keeps, and check that they suffice, before training."""

from collections.abc import Sequence
from typing import Any

from dermssl.core.errors import UserError
from dermssl.core.settings import Finetune
from dermssl.data import class_choice, records, splits
from dermssl.studies.experiment import plan


def count(
    dataset: records.Dataset, amounts: Sequence[plan.LabelBudget]
) -> dict[plan.LabelBudget, int]:
    """Labels of the training split under each amount; the same for every seed.

    Args:
        dataset: `Dataset` with splits.
        amounts: list of `plan.LabelBudget`.

    Returns:
        dict of `Amount` -> int, fewest first.

    Raises:
        UserError: there are no labels, or coarse ones alone among them, fewer than asked for, or
            two amounts keep equally many.
    """
    if dataset.taxonomy is None:
        raise UserError(f"{dataset.root}: no photo has a label; a curve over labels needs some")
    train = dataset.subset(records.TRAIN).index
    coarse = int((records.is_labelled(train) & (train["fine"] == "")).sum())
    if coarse:
        raise UserError(
            f"{dataset.root}: a coarse label only in {coarse} of the training photos; amounts of "
            "labels are of fine ones, so give those photos fine labels, or empty their coarse one"
        )
    found: dict[plan.LabelBudget, int] = {}
    for amount in amounts:
        try:
            few = splits.few_labels(dataset, amount.per_class, amount.fraction)
        except UserError as error:
            flag, key = f"label_efficiency.labels {amount.key}", "([experiment] labels)"
            said = str(error).replace(
                f"finetune.labels_per_class {amount.per_class}", f"{flag} {key}"
            )
            raise UserError(said) from error
        n = int(records.is_labelled(few.subset(records.TRAIN).index).sum())
        if not n:
            raise UserError(f"{dataset.root}: no labelled photo in the training split")
        for other, same in found.items():
            if n == same:
                raise UserError(
                    f"label_efficiency.labels {other.key} and {amount.key} both keep {n} labels; "
                    "leave one out"
                )
        found[amount] = n
    return dict(sorted(found.items(), key=lambda item: item[1]))


def check(jobs: Sequence[plan.Job], dataset: records.Dataset, tables: dict[str, Any]) -> None:
    """Refuse what fine-tuning would refuse, of all jobs, before the first one trains.

    Args:
        jobs: list of `plan.Job`.
        dataset: `Dataset` with splits, of all classes.
        tables: dict, the sections of the experiment file, which say where a number came from.

    Raises:
        UserError: a job asks for labels that aren't there or a batch larger than its labels.
    """
    from dermssl.training import finetuning

    checked: list[Finetune] = []
    for settings in (job.config["finetune"] for job in jobs if not job.is_pretraining):
        if settings in checked:
            continue
        checked.append(settings)
        finetuning.check(settings)
        _check(settings, class_choice.choose(dataset, settings), tables)


def _check(settings, dataset, tables):
    per_class, asked = settings.labels_per_class, "labels" in tables.get("experiment", {})
    key = "[experiment] labels" if asked else "[finetune] labels_per_class"
    if dataset.taxonomy is None:
        raise UserError(f"{dataset.root}: no photo has a label; fine-tuning needs some")
    try:
        few = splits.few_labels(dataset, per_class, settings.label_fraction)
    except UserError as error:
        raise UserError(f"{key} = {per_class}, {error}") from error
    counts = {}
    for split in (records.TRAIN, records.VALIDATION):
        counts[split] = int(records.is_labelled(few.subset(split).index).sum())
        if not counts[split]:
            raise UserError(f"no labelled photo in the {split} split; fine-tuning needs some")
    n, batch = counts[records.TRAIN], settings.batch_size
    if batch > n:
        share = settings.label_fraction
        name = plan.LabelBudget(per_class, share).key
        flag = (
            f"finetune.labels_per_class {per_class}"
            if share == 1
            else f"finetune.label_fraction {share:g}"
        )
        part = f"with_{name}" if share == 1 else f'"with_{name}"'  # TOML quotes a "%"
        table = f"[experiment.{part}]" if asked else "[finetune]"
        raise UserError(
            f"{key} = {name}, {flag}: batch_size {batch} is larger than the {n} labelled "
            f"training {'photo' if n == 1 else 'photos'}; set a smaller batch_size in {table}, or "
            "ask for more labels"
        )

"""Which arms and how many labels: from the settings to the tables of an experiment."""

from __future__ import annotations

from typing import Any

from dermssl.core import progress
from dermssl.core.errors import UserError
from dermssl.studies.experiment import plan

LABELS = ["1%", "10%", "100%"]
# What an arm's name means where the config has no [arms.NAME] section.
ARMS = {
    "random": {"weights": "none"},
    "ssl": {"weights": "none", "pretrain": True},
    "imagenet": {"weights": "imagenet"},
    "ssl_imagenet": {"weights": "imagenet", "pretrain": True},
}


def without_missing_weights(tables: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The tables without ImageNet arms whose weights can't be had, and a sentence on each."""
    kept, left_out = {}, []
    for name, arm in plan.arms(tables).items():
        try:
            plan.check_start(tables, arm)
        except UserError as error:
            if arm["weights"] != "imagenet":
                raise
            left_out.append(f"The arm '{name}' was left out: {error}.")
            progress.log_progress(f"without {name}: {error}")
        else:
            kept[name] = arm
    if len(kept) < 2:
        raise UserError(
            f"label_efficiency.arms {' '.join(plan.arms(tables))}: {len(kept)} of them can be had; "
            "nothing is left to compare"
        )
    return {**tables, "arms": kept}, left_out


def with_settings(config: dict[str, Any]) -> dict[str, Any]:
    """The experiment's tables: the file's, then what was typed, then defaults.

    Args:
        config: settings from `core.config.configure`.
    """
    settings, tables = config["label_efficiency"], dict(config["tables"])
    typed = {"labels": settings.labels, "seeds": settings.seeds}
    experiment = {name: value for name, value in typed.items() if value}
    tables["experiment"] = {"labels": LABELS, **tables.get("experiment", {}), **experiment}
    if settings.classes:
        tables["finetune"] = {**tables.get("finetune", {}), "classes": settings.classes}
    for text in settings.labels:
        # In a file 0 stands for all labels; typed, it is more likely meant as none.
        every = plan.amount(text, "label_efficiency.labels") == plan.LabelBudget()
        if every and "all" not in text and "%" not in text:
            raise UserError(
                f"label_efficiency.labels {text}: give 10 (a class), 5%, or all for every label"
            )
    if settings.labels:  # budgets of numbers of labels that were not asked for
        asked = {f"with_{amount.key}" for amount in plan.amounts(tables)}
        for key in [key for key in tables["experiment"] if key.startswith("with_")]:
            if key not in asked:
                del tables["experiment"][key]
    arms = plan.arms(tables) if tables.get("arms") else {}
    tables["arms"] = _arms_of(settings.arms or list(arms) or ["random", "ssl"], arms)
    for arm in tables["arms"].values():
        if settings.imagenet_weights and arm["weights"] == "imagenet":
            arm["weights"] = settings.imagenet_weights
    return tables


def _arms_of(names, arms):
    known, chosen = ARMS | arms, {}
    for text in names:
        name, given, weights = text.partition("=")
        if not given and name not in known:
            raise UserError(
                f"label_efficiency.arms {name}: choose of {', '.join(known)}, or give "
                f"{name}=WEIGHTS, a weights file or the folder of a pretraining run"
            )
        chosen[name] = {"weights": weights} if given else dict(known[name])
    return chosen

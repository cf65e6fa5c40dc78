"""Find the runs of a comparison and group them into models: runs that differ in the seed only.

A model is an arm (how the backbone started) with a number of labels; its runs differ in the
seed only. `comparability` refuses runs that differ in anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.records import TEST
from dermssl.evaluation import comparability, predictions
from dermssl.evaluation.predictions import Arrays, Predictions

COMMAND = "finetune"
COMMANDS = (COMMAND, "probe")  # both leave predictions.csv
DEPTH = 3
TITLES = {
    "random": "random init",
    "imagenet": "ImageNet",
    "ssl": "SimCLR",
    "ssl_imagenet": "SimCLR from ImageNet",
    "ssl_file": "SimCLR from a file",
}
SSL = ("ssl", "ssl_imagenet", "ssl_file")
NOT_KNOWN = "not known"  # neither the run tells, nor its pretraining's folder, which isn't there
NO_RUN = ("", "none", "imagenet")  # weights that name no file and no pretraining run
REQUIRED = ("arm", "seed", "n_labels", "config", "data_hash", "config_hash")


@dataclass(frozen=True, eq=False)  # tables have no single truth value to compare by
class FinetuneRun:
    """One finished run: its folder, status, history, and predictions of the compared split."""

    path: Path
    status: dict[str, Any]
    predictions: Predictions
    arrays: Arrays
    history: pd.DataFrame

    @property
    def labels(self) -> int | str:
        """Number of labelled training photos, or "all" where none was held back."""
        finetune = self.status["config"].get("finetune", {})
        every = not finetune.get("labels_per_class") and finetune.get("label_fraction", 1.0) == 1.0
        return "all" if every else int(self.status["n_labels"])


@dataclass(frozen=True, eq=False)
class RunGroup:
    """The runs of one arm with one number of labels, ordered by seed."""

    arm: str
    labels: int | str
    members: tuple[FinetuneRun, ...]

    @property
    def title(self) -> str:
        """The arm as printed; an unknown one as it is."""
        return title_of(self.arm, self.began_from)

    @property
    def name(self) -> str:
        """The arm and its labels, e.g. "SimCLR, 70 labels"."""
        return f"{self.title}, {self.labels_text}"

    @property
    def labels_text(self) -> str:
        """The labels as printed, e.g. "70 labels" or "all 6,006 labels"."""
        n = f"{int(self.members[0].status['n_labels']):,}"
        plural = "label" if n == "1" else "labels"
        return f"all {n} {plural}" if self.labels == "all" else f"{n} {plural}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds, ascending."""
        return tuple(member.status["seed"] for member in self.members)

    @property
    def arrays(self) -> list[Arrays]:
        """`predictions.Arrays` of each seed."""
        return [member.arrays for member in self.members]

    @property
    def starts(self) -> tuple[str, ...]:
        """The weights that the backbones began from, e.g. pretraining runs, without repeats."""
        every = (m.status["config"].get("backbone", {}).get("weights", "") for m in self.members)
        return tuple(dict.fromkeys(every))

    @cached_property
    def began_from(self) -> tuple[str, ...]:
        """What its pretraining began from, but for random weights: "imagenet", files, `NOT_KNOWN`.

        Empty where it began from nothing, and where nothing was pretrained here.
        """
        if not self.is_ssl:
            return ()
        began = (began_from(self.arm, member.status) for member in self.members)
        return tuple(dict.fromkeys(start for start in began if start != "none"))

    @property
    def units(self) -> list[str]:
        """What counts as one run: a pretraining run where there are several, else each run.

        Runs that start from one of several pretraining runs share its luck. Where all start from
        the same one, its luck can't be seen: they count each, for fine-tuning alone.
        """
        if self.n_pretrainings < 2:
            return [str(seed) for seed in self.seeds]
        return [m.status["config"]["backbone"]["weights"] for m in self.members]

    @property
    def n_pretrainings(self) -> int:
        """Pretraining runs that its backbones start from; 0 where none was pretrained here."""
        return len(self.starts) if self.is_ssl else 0

    @property
    def is_ssl(self) -> bool:
        """Whether its backbones were pretrained here: by the arm's name, or from a run's folder."""
        return self.arm in SSL or all(map(names_a_run, self.starts))

    @property
    def is_imagenet(self) -> bool:
        """Whether its backbones began from ImageNet weights."""
        return self.arm == "imagenet" or self.starts == ("imagenet",)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is compared, and what was noticed on the way.

    Attributes:
        models: tuple of `RunGroup`, fewest labels first, arms in the order of `TITLES`.
        split: the split whose predictions are scored.
        failures: (path, status dict) of each run that isn't finished and was left out.
        notes: sentences on budgets that differ.
    """

    models: tuple[RunGroup, ...]
    split: str
    failures: tuple[tuple[Path, dict[str, Any]], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def members(self) -> list[FinetuneRun]:
        """Every run, in the order of the models."""
        return [member for model in self.models for member in model.members]

    @property
    def taxonomy(self) -> Taxonomy:
        """The `Taxonomy` that all runs share."""
        return self.members[0].predictions.taxonomy

    @property
    def labels(self) -> tuple[int | str, ...]:
        """The numbers of labels, ascending, "all" last."""
        return tuple(dict.fromkeys(model.labels for model in self.models))

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the order of `TITLES`, unknown ones after."""
        return tuple(sorted({model.arm for model in self.models}, key=_order))

    @property
    def titles(self) -> dict[str, str]:
        """Each arm as printed."""
        return {model.arm: model.title for model in self.models}

    def at(self, labels: int | str) -> list[RunGroup]:
        """The models with this number of labels."""
        return [model for model in self.models if model.labels == labels]


def began_from(arm: str, status: dict[str, Any]) -> str:
    """What the pretraining of a run began from: "none", "imagenet", a file, or `NOT_KNOWN`.

    Where neither the run tells nor the pretraining's folder, which isn't there, its arm may.

    >>> began_from("ssl_imagenet", {"config": {"backbone": {"weights": "runs/simclr"}}})
    'imagenet'
    """
    weights = status.get("config", {}).get("backbone", {}).get("weights", "")
    by_arm = {"ssl_imagenet": "imagenet", "ssl_file": "a file"}.get(arm)
    unknown = by_arm or (NOT_KNOWN if names_a_run(weights) else "none")
    return runs.pretraining_start(status) or unknown


def title_of(arm: str, began_from: Sequence[str] = ()) -> str:
    """An arm as printed; SimCLR that began from other weights isn't called SimCLR alone.

    >>> title_of("ssl"), title_of("ssl", ["imagenet"])
    ('SimCLR', 'SimCLR from ImageNet')
    """
    other = [start for start in began_from if start != "none"]
    if arm == "ssl" and NOT_KNOWN in other:
        return f"{TITLES[arm]} (start not known)"
    if arm == "ssl" and other:
        arm = "ssl_imagenet" if set(other) == {"imagenet"} else "ssl_file"
    return TITLES.get(arm, arm)


def names_a_run(weights: str) -> bool:
    """Whether a setting `backbone.weights` names a pretraining run's folder, there or not."""
    return weights not in NO_RUN and not weights.endswith((".h5", ".keras"))


def gather(
    paths: Iterable[Path | str],
    split: str = TEST,
    skip_unfinished: bool = False,
    allow_different_budget: bool = False,
) -> Comparison:
    """Find the runs under `paths`, check that they can be compared, group them into models.

    Args:
        paths: run folders, or folders that hold some up to three levels down.
        split: the split to score.
        skip_unfinished: leave out runs that didn't finish instead of refusing.
        allow_different_budget: note different fine-tuning settings instead of refusing.

    Returns:
        `Comparison`.
    """
    finished, failures = [], []
    for path in find(paths):
        status = runs.read_json(path / "status.json")
        if skip_unfinished and status.get("status") != runs.FINISHED:
            failures.append((path, status))
        else:
            finished.append(_member(path, split))
    if not finished:
        raise UserError(f"no finished fine-tuning run among {len(failures)}; nothing to compare")
    first = finished[0]
    for other in finished[1:]:
        comparability.check_data(first, other, split)
    comparability.check_starts(finished)
    models = _models(finished)
    for model in models:
        comparability.check_seeds(model)
    models.sort(key=lambda m: (m.labels == "all", m.members[0].status["n_labels"], *_order(m.arm)))
    notes = comparability.budget_notes(models, allow_different_budget)
    return Comparison(tuple(models), split, tuple(failures), tuple(notes))


def _models(members):
    """The runs as `RunGroup`s, in the order of the first of each."""
    groups: dict[tuple[str, int | str], list[FinetuneRun]] = {}
    for member in members:
        groups.setdefault((member.status["arm"], member.labels), []).append(member)
    return [
        RunGroup(arm, labels, tuple(sorted(group, key=lambda m: m.status["seed"])))
        for (arm, labels), group in groups.items()
    ]


def largest(
    paths: Iterable[Path | str], split: str = TEST, allow_different_budget: bool = False
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The most runs under `paths` that `gather` compares with one another.

    Args:
        paths, split, allow_different_budget: as for `gather`.

    Returns:
        The runs' folders, in order, and (folder, reason) of each that was left out. Of two equally
        large groups it is the one that comes first.

    Raises:
        UserError: none is finished.
    """
    left_out: list[tuple[Path, str]] = []
    groups: list[list[FinetuneRun]] = []
    for path in find(paths):
        try:
            member = _member(path, split)
        except UserError as error:
            left_out.append((path, str(error)))
            continue
        for group in groups:
            if not _misfit(group, member, split, allow_different_budget):
                group.append(member)
                break
        else:
            groups.append([member])
    if not groups:
        raise UserError(
            f"no finished fine-tuning run among {len(left_out)}, the first: {left_out[0][1]}"
        )
    best = max(groups, key=len)  # the first of equals
    for group in groups:
        if group is not best:
            left_out += [
                (member.path, _misfit(best, member, split, allow_different_budget))
                for member in group
            ]
    return [member.path for member in best], left_out


def _misfit(group, member, split, allow_different_budget):
    """Why a run can't be compared with a group of runs; "" where it can."""
    try:
        comparability.check_data(group[0], member, split)
        comparability.check_starts([*group, member])
        models = _models([*group, member])
        for model in models:
            comparability.check_seeds(model)
        comparability.budget_notes(models, allow_different_budget)
    except UserError as error:
        return str(error)
    return ""


def find(paths: Iterable[Path | str]) -> list[Path]:
    """Folders of fine-tuning runs, each once, in a fixed order."""
    found = []
    for path in map(Path, paths):
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; give the folder of a fine-tuning run")
        below = [path, *_folders(path, DEPTH)]
        here = [folder for folder in below if _is_run(folder)]
        if not here:
            raise UserError(
                f"{path}: no fine-tuning run there, {DEPTH} folders deep "
                f"(no status.json of command {COMMAND}); run python -m dermssl.finetune first"
            )
        found += here
    return list({folder.resolve(): folder for folder in found}.values())


def _folders(path, depth):
    if depth == 0:
        return
    for child in sorted(path.iterdir()):
        if child.is_dir() and not child.name.startswith("."):
            yield child
            yield from _folders(child, depth - 1)


def _is_run(folder):
    file = folder / "status.json"
    return file.is_file() and runs.read_json(file).get("command") in COMMANDS


def _member(path, split):
    found = predictions.read(path)
    for key in REQUIRED:
        if key not in found.status:
            raise UserError(f"{path}/status.json: no '{key}'; make the run again")
    arrays = found.arrays(split)
    if (arrays.y_coarse < 0).all():
        raise UserError(f"{path}: no labelled record in split '{split}'; nothing can be scored")
    return FinetuneRun(path, found.status, found, arrays, predictions.read_history(path))


def _order(arm):
    known = list(TITLES)
    return (known.index(arm) if arm in TITLES else len(known), arm)

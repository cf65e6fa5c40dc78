"""Plan and run an experiment: arms x label counts x seeds.

An arm says how the backbone starts. All runs share the data and its splits, and at one seed
all arms see the same labels. A run that is finished is not made again, so the same call resumes
where it was stopped.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermssl.core import cluster, executor, runs
from dermssl.core import config as configs
from dermssl.core.errors import UserError, did_you_mean
from dermssl.core.progress import Progress, log_progress
from dermssl.core.settings import (
    Backbone,
    Checkpoint,
    Data,
    Distribution,
    Executor,
    Finetune,
    Logging,
    Pretrain,
)
from dermssl.data.records import Dataset

HERE = Executor()
FEW_STEPS = 20  # an epoch; one pass over ten labels would be one step, and train nothing


@dataclass(frozen=True)
class Job:
    """One run of the experiment.

    Attributes:
        name: str, its folder.
        title: str, for the progress line.
        arm: str.
        config: dict, as the command's `run` takes it.
        work: float, photos through the network, in units of one forward pass.
    """

    name: str
    title: str
    arm: str
    config: dict[str, Any]
    work: float

    @property
    def is_pretraining(self) -> bool:
        return "pretrain" in self.config

    @property
    def is_finished(self) -> bool:
        status = Path(self.config["output"]) / "status.json"
        return status.is_file() and runs.read_json(status).get("status") == runs.FINISHED


@dataclass(frozen=True)
class LabelBudget:
    """A number of labels as an experiment file or the command line gives it.

    Attributes:
        per_class: int, labels a class; 0 where a share is meant.
        fraction: float in (0, 1], share of each class; 1 with `per_class` 0 is all of them.
    """

    per_class: int = 0
    fraction: float = 1.0

    @property
    def key(self) -> str:
        """Its name in `[experiment.with_KEY]`."""
        if self.per_class:
            return str(self.per_class)
        return "all" if self.fraction == 1 else f"{100 * self.fraction:g}%"

    @property
    def folder(self) -> str:
        """Its part of a folder's name."""
        if self.per_class:
            return f"{self.per_class}_per_class"
        return "all_labels" if self.fraction == 1 else f"{100 * self.fraction:g}_percent"


def amount(given: str | int, where: str = "labels") -> LabelBudget:
    """An `LabelBudget` from 10 or "10" (a class), "5%", or 0, "all" or "100%" (every label).

    >>> amount("5%").fraction, amount(10).per_class
    (0.05, 10)
    """
    text = str(given).strip()
    wrong = f"{where}: {given!r} is no number of labels; give 10 (a class), 5% or all"
    if text in ("0", "all"):
        return LabelBudget()
    try:
        if not text.endswith("%"):
            found = LabelBudget(per_class=int(text))
        else:
            found = LabelBudget(fraction=float(text[:-1]) / 100)
    except ValueError:
        raise UserError(wrong) from None
    if isinstance(given, bool) or found.per_class < 0 or not 0 < found.fraction <= 1:
        raise UserError(wrong)
    return found


def arms(tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """dict of arm -> {"weights": str, "pretrain": bool}, from the sections [arms.NAME]."""
    found = tables.get("arms", {})
    if not found:
        raise UserError('the config has no [arms.NAME] section; add one with weights = "none"')
    for name, arm in found.items():
        if not isinstance(arm, dict):
            raise UserError(f"[arms]: {name} is {arm!r}; it must be a section [arms.{name}]")
        refuse_unknown(f"[arms.{name}]", arm, ("weights", "pretrain"))
    return {name: {"weights": "none", "pretrain": False, **arm} for name, arm in found.items()}


def refuse_unknown(where: str, table: Iterable[str], valid: Sequence[str]) -> None:
    """A `UserError` that names the first key that is not valid, and those that are."""
    for key in table:
        if key not in valid:
            raise UserError(
                f"{where}: unknown key '{key}'; valid keys: {', '.join(valid)}"
                f"{did_you_mean(key, valid)}"
            )


def backbone(tables: dict[str, Any], weights: str) -> Backbone:
    """The `Backbone` settings of an arm."""
    made = configs.build(Backbone, tables.get("backbone", {}), "[backbone]")
    return dataclasses.replace(made, weights=str(weights))


def amounts(tables: dict[str, Any]) -> list[LabelBudget]:
    """list of `LabelBudget`, without repeats, in the order of the file."""
    base = configs.build(Finetune, tables.get("finetune", {}), "[finetune]")
    given = tables.get("experiment", {}).get("labels", [base.labels_per_class])
    if not isinstance(given, list) or not given:
        raise UserError(f"[experiment]: labels is {given!r}; give a list, e.g. [10, 0]")
    return list(dict.fromkeys(amount(each, "[experiment]: labels") for each in given))


def with_data(tables: dict[str, Any], output: Path) -> dict[str, Any]:
    """The tables with a data path; synthetic photos are made where there is none."""
    if tables.get("data", {}).get("path"):
        return tables
    if "synthetic" not in tables:
        raise UserError("no photos: give data.path FOLDER, or a [synthetic] section in the config")
    from dermssl.data.synthetic import dataset as synthetic

    settings = {"n": 2000, "size": 64, "seed": 0, **tables["synthetic"]}
    refuse_unknown("[synthetic]", settings, ("n", "size", "seed"))
    log_progress(f"making {settings['n']} synthetic photos of {settings['size']} px")
    path = synthetic.write(output / "data", **settings)
    return {**tables, "data": {**tables.get("data", {}), "path": str(path)}}


def check_start(tables: dict[str, Any], arm: dict[str, Any]) -> None:
    """Build an arm's first backbone: weights that can't be had show now, not in an hour."""
    from dermssl.models import backbones, weights

    backbones.build(weights.resolve(backbone(tables, arm["weights"]))[0])


def plan(
    tables: dict[str, Any],
    output: Path,
    splits: Mapping[Any, int],
    n_labels: Mapping[LabelBudget, int] | None = None,
) -> list[Job]:
    """The jobs of an experiment, in order: pretraining first.

    Args:
        tables: dict, the sections of an experiment file.
        output: Path.
        splits: dict of split -> number of photos.
        n_labels: dict of `LabelBudget` -> labels it keeps; given, the batch and the steps of an
            epoch are fitted to them (see `fit_batch_to_labels`). None leaves the settings
            as they are.

    Returns:
        list of `Job`.
    """
    data = configs.build(Data, tables.get("data", {}), "[data]")
    pretraining = configs.build(Pretrain, tables.get("pretrain", {}), "[pretrain]")
    base = configs.build(Finetune, tables.get("finetune", {}), "[finetune]")
    saved = configs.build(Checkpoint, tables.get("checkpoint", {}), "[checkpoint]")
    spread = _distribution(tables)
    spread["logging"] = configs.build(Logging, tables.get("logging", {}), "[logging]")
    experiment, every = tables.get("experiment", {}), amounts(tables)
    budgets = [f"with_{each.key}" for each in every]
    refuse_unknown("[experiment]", experiment, ("seeds", "labels", "pretrainings", *budgets))
    seeds = experiment.get("seeds", [0, 1, 2])
    repeats = _pretrainings(experiment, seeds)
    held_out = sum(count for split, count in splits.items() if split != "train")
    jobs, starts = [], {}
    for arm, entry in arms(tables).items():
        starts[arm] = [backbone(tables, entry["weights"])]
        if entry["pretrain"]:
            # Two views, each forward and backward (about three forward passes).
            work = 6 * pretraining.epochs * splits.get("train", 0)
            folders = [output / pretraining_folder(arm, seed) for seed in range(repeats)]
            for seed, folder in enumerate(folders):
                config = {"data": data, "backbone": starts[arm][0], "pretrain": pretraining}
                config |= {"checkpoint": saved, "seed": seed, "output": str(folder)} | spread
                title = f"SimCLR pretraining ({arm}" + f", seed {seed}" * (repeats > 1) + ")"
                jobs.append(Job(folder.name, title, arm, config, work))
            starts[arm] = [
                dataclasses.replace(starts[arm][0], weights=str(folder)) for folder in folders
            ]
    for each, budget in zip(every, budgets):
        changed = {**dataclasses.asdict(base), "labels_per_class": each.per_class}
        # A share in [finetune] holds where the experiment doesn't say one itself.
        changed |= {"label_fraction": each.fraction} if each.fraction < 1 else {}
        changed |= experiment.get(budget, {})
        settings = configs.build(Finetune, changed, f"[experiment.{budget}]")
        if n_labels:
            settings = fit_batch_to_labels(settings, n_labels[each])
        photos = settings.steps_per_epoch * settings.batch_size or splits.get("train", 0)
        work = photos * (settings.frozen_epochs + 3 * settings.unfrozen_epochs)
        work += held_out * (settings.frozen_epochs + settings.unfrozen_epochs)
        for number, seed in enumerate(seeds):
            for arm, start in starts.items():
                name = f"finetune_{arm}_{each.folder}_seed{seed}"
                config = {"data": data, "backbone": start[number % len(start)]}
                config["finetune"] = dataclasses.replace(settings, arm=arm)
                config |= {"checkpoint": saved, "seed": seed, "output": str(output / name)} | spread
                title = f"fine-tuning {arm}, {each.folder.replace('_', ' ')}, seed {seed}"
                jobs.append(Job(name, title, arm, config, work))
    return jobs


def _distribution(tables):
    """The section of the same name, as part of a config; without one each run has one device."""
    if "distribution" not in tables:
        return {}
    section = configs.build(Distribution, tables["distribution"], "[distribution]")
    if cluster.read(section.strategy):
        raise UserError(
            f"[distribution] strategy {section.strategy}: an experiment's runs can't be shared by "
            f"several workers; use none or mirrored, or unset {cluster.VARIABLE}"
        )
    return {"distribution": section}


def pretraining_folder(arm: str, seed: int) -> str:
    """The folder of an arm's pretraining run; that of seed 0 is named by the arm alone."""
    return f"pretrain_{arm}" + (f"_seed{seed}" if seed else "")


def _pretrainings(experiment, seeds):
    """How often each arm is pretrained: `[experiment] pretrainings`, 1 where it isn't said."""
    n = experiment.get("pretrainings", 1)
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(seeds):
        raise UserError(
            f"[experiment]: pretrainings is {n!r}; give a whole number from 1 to the number of "
            f"seeds, {len(seeds)}: fine-tuning seed number i starts from pretraining i modulo it"
        )
    return n


def fit_batch_to_labels(settings: Finetune, n_labels: int) -> Finetune:
    """`Finetune` settings for a number of labels: a batch no larger than that, enough steps.

    With one pass an epoch, ten labels would get one step where a thousand get thirty: the arms
    would then be compared before any has trained. All arms of one label count share the result.
    """
    batch = min(settings.batch_size, n_labels)
    few = not settings.steps_per_epoch and math.ceil(n_labels / batch) < FEW_STEPS
    steps = FEW_STEPS if few else settings.steps_per_epoch
    return dataclasses.replace(settings, batch_size=batch, steps_per_epoch=steps)


@dataclass
class RunMaker:
    """Makes the run of a job.

    Attributes:
        makers: the `run` functions of `dermssl.pretrain` and `dermssl.finetune`.
        dataset: `Dataset` with splits.
        overwrite: bool, replace runs with other settings.
    """

    makers: tuple[Callable[..., Any], Callable[..., Any]]
    dataset: Dataset
    overwrite: bool = False

    def __call__(self, job: Job) -> None:
        import keras

        keras.backend.clear_session()
        pretrain, finetune = self.makers
        make = pretrain if job.is_pretraining else finetune
        make(job.config | {"overwrite": self.overwrite}, self.dataset)


def run_jobs(
    jobs: Sequence[Job],
    makers: tuple[Callable[..., Any], Callable[..., Any]],
    dataset: Dataset,
    overwrite: bool = False,
    spread: Executor = HERE,
) -> None:
    """Make the runs that are missing, with the time left.

    Args:
        jobs: list of `Job`, in one folder.
        makers, dataset, overwrite: as of `RunMaker`.
        spread: where they are made.
    """
    work = RunMaker(makers, dataset, overwrite)
    # What an earlier call finished costs nothing, so it must not count as fast work.
    todo = [job for job in jobs if overwrite or not job.is_finished]
    numbers = {job.name: number for number, job in enumerate(jobs, start=1)}
    for job in jobs:
        if job not in todo:
            log_progress(f"[{numbers[job.name]}/{len(jobs)}] {job.title} (finished before)")
            work(job)  # a different run there is refused
    if not todo:
        return
    shown = Progress("experiment", sum(job.work for job in todo))

    def announce(task):
        job = task.argument
        shown.announce(f"[{numbers[job.name]}/{len(jobs)}] {job.title}")

    results = executor.run(
        work, _tasks(todo), spread, _reads(todo, dataset), Path(todo[0].config["output"]).parent,
        announce,
    )  # fmt: skip
    with contextlib.closing(results):
        for task, _ in results:
            shown.done += task.argument.work


def _tasks(jobs):
    """A task a job; one that starts from a pretraining run here comes after it."""
    pretraining = {job.config["output"]: job.name for job in jobs if job.is_pretraining}
    return [
        executor.Task(job.name, job, pretraining.get(job.config["backbone"].weights))
        for job in jobs
    ]


def _reads(jobs, dataset):
    """The files and folders that jobs start from and that are there already."""
    weights = {Path(job.config["backbone"].weights) for job in jobs}
    return [dataset.root, *(path for path in sorted(weights) if path.exists())]

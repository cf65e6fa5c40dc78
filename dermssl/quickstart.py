"""The whole road in one command: data, pretraining, fine-tuning, comparison, report.

    python -m dermssl.quickstart                                  # synthetic photos, minutes
    python -m dermssl.quickstart --config experiments/ham10000_small.toml --data HAM10000

An experiment file names the arms (how the backbone starts), the label counts and the
seeds; every combination is one fine-tuning run, all on the same splits. What is finished
is not made again, so the same command goes on where it was stopped.
"""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from dermssl import cli, runs
from dermssl import config as configs
from dermssl.errors import UserError

DEMO = Path(__file__).with_suffix(".toml")
OUTPUT = "outputs/quickstart"


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
    config: dict
    work: float

    @property
    def pretrains(self):
        return "pretrain" in self.config


def run(tables, output, overwrite=False):
    """Run an experiment.

    Args:
        tables: dict, the sections of an experiment file.
        output: path of the folder for all runs and the report.
        overwrite: bool, replace runs with other settings in that folder.

    Returns:
        Path of the comparison's folder, with `ssl_analysis_report.md`.
    """
    import keras

    from dermssl import finetune, model_comparison, pretrain
    from dermssl.data.prepare import prepare
    from dermssl.models import backbones, weights

    output = Path(output)
    started = time.time()
    plan(tables, output, {})  # a mistake in the file shows now, not after the first run
    tables = _with_data(tables, output)
    data = configs.build(configs.Data, tables.get("data", {}), "[data]")
    for arm in _arms(tables).values():  # weights that can't be had show now, not in an hour
        backbones.build(weights.resolve(_backbone(tables, arm["weights"]))[0])
    _say(f"checking the photos in {data.path}")
    dataset = prepare(data)
    splits = dataset.index["split"].value_counts().to_dict()
    _say(f"{len(dataset.index)} photos: {', '.join(f'{n} {s}' for s, n in splits.items())}")
    jobs = plan(tables, output, splits)
    pretrainings = sum(job.pretrains for job in jobs)
    _say(f"{len(jobs)} runs: {pretrainings} pretraining, {len(jobs) - pretrainings} fine-tuning")
    # What an earlier call finished costs nothing, so it must not count as fast work.
    left, done, spent = sum(job.work for job in jobs if not _is_finished(job)), 0.0, 0.0
    for number, job in enumerate(jobs, start=1):
        finished = _is_finished(job)
        pace = f", about {_minutes(spent / done * left)} left in all" if done else ""
        _say(f"[{number}/{len(jobs)}] {job.title}" + (" (finished before)" if finished else pace))
        keras.backend.clear_session()
        before = time.time()
        if job.pretrains:
            pretrain.run(job.config, dataset=dataset, overwrite=overwrite)
        else:
            finetune.run(job.config, arm=job.arm, dataset=dataset, overwrite=overwrite)
        if not finished:
            left, done, spent = left - job.work, done + job.work, spent + time.time() - before
    folders = [output / job.name for job in jobs if not job.pretrains]
    report = model_comparison.run(folders, output=output / "model_comparison")
    _say(f"done in {_minutes(time.time() - started)}")
    return report


def _is_finished(job):
    status = Path(job.config["output"]) / "status.json"
    return status.is_file() and runs.read_json(status).get("status") == runs.FINISHED


def _with_data(tables, output):
    """The tables with a data path; synthetic photos are made where there is none."""
    if tables.get("data", {}).get("path"):
        return tables
    if "synthetic" not in tables:
        raise UserError("no photos: give --data FOLDER, or a [synthetic] section in the config")
    from dermssl.data import synthetic

    settings = {"n": 2000, "size": 64, "seed": 0, **tables["synthetic"]}
    _refuse_unknown("[synthetic]", settings, ("n", "size", "seed"))
    _say(f"making {settings['n']} synthetic photos of {settings['size']} px")
    path = synthetic.write(output / "data", **settings)
    return {**tables, "data": {**tables.get("data", {}), "path": str(path)}}


def _arms(tables):
    arms = tables.get("arms", {})
    if not arms:
        raise UserError('the config has no [arms.NAME] section; add one with weights = "none"')
    for name, arm in arms.items():
        if not isinstance(arm, dict):
            raise UserError(f"[arms]: {name} is {arm!r}; it must be a section [arms.{name}]")
        _refuse_unknown(f"[arms.{name}]", arm, ("weights", "pretrain"))
    return {name: {"weights": "none", "pretrain": False, **arm} for name, arm in arms.items()}


def _refuse_unknown(where, table, valid):
    for key in table:
        if key not in valid:
            raise UserError(f"{where}: unknown key '{key}'; valid keys: {', '.join(valid)}")


def _backbone(tables, weights):
    backbone = configs.build(configs.Backbone, tables.get("backbone", {}), "[backbone]")
    return dataclasses.replace(backbone, weights=str(weights))


def plan(tables, output, splits):
    """The jobs of an experiment, in order: pretraining first.

    Args:
        tables: dict, the sections of an experiment file.
        output: Path.
        splits: dict of split -> number of photos.

    Returns:
        list of `Job`.
    """
    data = configs.build(configs.Data, tables.get("data", {}), "[data]")
    pretraining = configs.build(configs.Pretrain, tables.get("pretrain", {}), "[pretrain]")
    base = configs.build(configs.Finetune, tables.get("finetune", {}), "[finetune]")
    every = configs.build(configs.Checkpoint, tables.get("checkpoint", {}), "[checkpoint]")
    experiment = {
        "seeds": [0, 1, 2],
        "labels": [base.labels_per_class],
        **tables.get("experiment", {}),
    }
    budgets = [_budget_key(labels) for labels in experiment["labels"]]
    _refuse_unknown("[experiment]", experiment, ("seeds", "labels", *budgets))
    held_out = sum(count for split, count in splits.items() if split != "train")
    jobs, starts = [], {}
    for arm, entry in _arms(tables).items():
        backbone = _backbone(tables, entry["weights"])
        starts[arm] = backbone
        if entry["pretrain"]:
            folder = output / f"pretrain_{arm}"
            starts[arm] = dataclasses.replace(backbone, weights=str(folder))
            config = {"data": data, "backbone": backbone, "pretrain": pretraining}
            config |= {"checkpoint": every, "seed": 0, "output": str(folder)}
            # Two views, each forward and backward (about three forward passes).
            work = 6 * pretraining.epochs * splits.get("train", 0)
            jobs.append(Job(folder.name, f"SimCLR pretraining ({arm})", arm, config, work))
    for labels in experiment["labels"]:
        budget = experiment.get(_budget_key(labels), {})
        changed = {**dataclasses.asdict(base), "labels_per_class": labels, **budget}
        settings = configs.build(configs.Finetune, changed, f"[experiment.{_budget_key(labels)}]")
        photos = settings.steps_per_epoch * settings.batch_size or splits.get("train", 0)
        work = photos * (settings.frozen_epochs + 3 * settings.unfrozen_epochs)
        work += held_out * (settings.frozen_epochs + settings.unfrozen_epochs)
        shown = f"{labels}_per_class" if labels else "all_labels"
        for seed in experiment["seeds"]:
            for arm, backbone in starts.items():
                name = f"finetune_{arm}_{shown}_seed{seed}"
                config = {"data": data, "backbone": backbone, "finetune": settings}
                config |= {"checkpoint": every, "seed": seed, "output": str(output / name)}
                title = f"fine-tuning {arm}, {shown.replace('_', ' ')}, seed {seed}"
                jobs.append(Job(name, title, arm, config, work))
    return jobs


def _budget_key(labels):
    """Other fine-tuning settings for one label count stand in `[experiment.with_LABELS]`."""
    return f"with_{labels or 'all'}"


def _say(line):
    print(line, flush=True)


def _minutes(seconds):
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def parser():
    """The command line."""
    made = cli.parser("quickstart", __doc__)
    made.add_argument("--config", metavar="F.toml", default=DEMO, help="experiment file")
    made.add_argument("--data", metavar="FOLDER", help="photos; default: synthetic ones")
    help = "file to take where an arm has weights = imagenet"
    made.add_argument("--imagenet-weights", metavar="PATH", help=help)
    made.add_argument("--arms", nargs="+", metavar="ARM", help="only these arms of the config")
    made.add_argument("--seeds", nargs="+", type=int, metavar="N", help="instead of the config's")
    made.add_argument("--output", metavar="FOLDER", default=OUTPUT)
    made.add_argument("--overwrite", action="store_true", help="replace different runs there")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def with_flags(tables, args):
    """The experiment's tables with what the command line says put over them."""
    tables = {
        key: dict(value) if isinstance(value, dict) else value for key, value in tables.items()
    }
    if args.data:
        tables["data"] = {**tables.get("data", {}), "path": args.data}
    arms = _arms(tables)
    for name in args.arms or ():
        if name not in arms:
            raise UserError(f"--arms {name}: the config has {', '.join(arms)}")
    if args.imagenet_weights:
        for arm in arms.values():
            if arm["weights"] == "imagenet":
                arm["weights"] = args.imagenet_weights
    tables["arms"] = {name: arms[name] for name in args.arms or arms}
    if args.seeds:
        tables["experiment"] = {**tables.get("experiment", {}), "seeds": args.seeds}
    return tables


def _run(args):
    cli.quiet_tensorflow()
    report = run(with_flags(configs.read_toml(args.config), args), args.output, args.overwrite)
    print(f"\nreport:      {report / 'ssl_analysis_report.md'}")
    print(f"table:       {report / 'performance_comparison.csv'}")
    print(f"TensorBoard: python -m tensorboard.main --host localhost --logdir {args.output}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""The whole road in one command: data, pretraining, fine-tuning, comparison, report.

    python -m dermssl.quickstart                                  # synthetic photos, minutes
    python -m dermssl.quickstart --config experiments/ham10000_small.toml --data HAM10000

An experiment file names the arms (how the backbone starts), the label counts and the
seeds; every combination is one fine-tuning run, all on the same splits. What is finished
is not made again, so the same command goes on where it was stopped.
"""

import time
from pathlib import Path

from dermssl.core import cli, progress
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.studies.experiment import plan

DEMO = Path(__file__).with_suffix(".toml")
OUTPUT = "outputs/quickstart"


def run(tables, output, overwrite=False):
    """Run an experiment.

    Args:
        tables: dict, the sections of an experiment file.
        output: path of the folder for all runs and the report.
        overwrite: bool, replace runs with other settings in that folder.

    Returns:
        Path of the comparison's folder, with `ssl_analysis_report.md`.
    """
    from dermssl import finetune, model_comparison, pretrain
    from dermssl.data.splits import prepare
    from dermssl.studies.experiment import label_budget

    output = Path(output)
    started = time.time()
    plan.plan(tables, output, {})  # a mistake in the file shows now, not after the first run
    tables = plan.with_data(tables, output)
    data = configs.build(Data, tables.get("data", {}), "[data]")
    for arm in plan.arms(tables).values():
        plan.check_start(tables, arm)
    plan.log_progress(f"checking the photos in {data.path}")
    dataset = prepare(data)
    splits = dataset.index["split"].value_counts().to_dict()
    shares = ", ".join(f"{n} {split}" for split, n in splits.items())
    plan.log_progress(f"{len(dataset.index)} photos: {shares}")
    jobs = plan.plan(tables, output, splits)
    label_budget.check(jobs, dataset, tables)
    pretrainings = sum(job.is_pretraining for job in jobs)
    plan.log_progress(
        f"{len(jobs)} runs: {pretrainings} pretraining, {len(jobs) - pretrainings} fine-tuning"
    )
    plan.run_jobs(jobs, (pretrain.run, finetune.run), dataset, overwrite)
    folders = [output / job.name for job in jobs if not job.is_pretraining]
    report = model_comparison.run(folders, output=output / "model_comparison", one_is_enough=True)
    plan.log_progress(f"done in {progress.minutes(time.time() - started)}")
    return report


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
    arms = plan.arms(tables)
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

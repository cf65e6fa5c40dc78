"""How many labels until self-supervised pretraining stops paying? Arms x labels x seeds.

    python -m dermssl.label_efficiency --data PHOTOS --arms random ssl imagenet \\
        --labels 1% 10% 100% --seeds 0 1 2

At one seed all arms see the same labels on the same splits, and more labels add to fewer. Writes
a curve with intervals (label_efficiency.png, .csv, .md, .html) and one sentence a pair of arms.
Finished runs are not made again. LABELS: 10 (a class), 5% (of each class) or all.
"""

import shlex
import time
from pathlib import Path

from dermssl.core import cli, progress
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.studies.experiment import plan

OUTPUT = "outputs/label_efficiency"
REPORT = "label_efficiency.md"
LABELS = ["1%", "10%", "100%"]
# What an arm's name means where the config has no [arms.NAME] section.
ARMS = {
    "random": {"weights": "none"},
    "ssl": {"weights": "none", "pretrain": True},
    "imagenet": {"weights": "imagenet"},
    "ssl_imagenet": {"weights": "imagenet", "pretrain": True},
}


def run(tables, output=None, overwrite=False, probe=False, n_resamples=2000, command=""):
    """Make the runs that are missing, and write the curve.

    Args:
        tables: dict, the sections of an experiment file (see `with_flags`): data, backbone,
            pretrain, finetune, arms, experiment.
        output: folder for all runs and the report.
        overwrite: bool, replace runs with other settings in that folder.
        probe: bool, fit a logistic regression on frozen features instead of fine-tuning.
        n_resamples: draws of the bootstrap.
        command: str, the command as typed, for the report.

    Returns:
        Path of the folder, with `label_efficiency.md`.

    Raises:
        UserError: bad input, before any training.
        RunFailed: a run diverged; the same call goes on from there.
    """
    from dermssl import finetune, pretrain
    from dermssl.data.splits import prepare
    from dermssl.studies.experiment import label_budget

    output, started = Path(output or OUTPUT), time.time()
    # How many labels there are is for the experiment to say, not for [finetune].
    tables = {**tables, "finetune": {**tables.get("finetune", {}), "label_fraction": 1.0}}
    plan.plan(tables, output, {})  # a mistake in the file shows now, not after the first run
    tables = plan.with_data(tables, output)
    tables, left_out = _with_arms_that_are_there(tables)
    data = configs.build(Data, tables.get("data", {}), "[data]")
    plan.log_progress(f"checking the photos in {data.path}")
    dataset = prepare(data)
    splits = dataset.index["split"].value_counts().to_dict()
    counts = label_budget.count(dataset, plan.amounts(tables))
    shown = ", ".join(f"{amount.key} = {n:,}" for amount, n in counts.items())
    plan.log_progress(f"{len(dataset.index):,} photos; labels to train on: {shown}")
    # A probe has neither batches nor epochs.
    jobs = plan.plan(tables, output, splits, None if probe else counts)
    if probe:
        from dermssl.studies.experiment import linear_probe

        linear_probe.check(dataset)
        jobs, train = (
            linear_probe.replace_finetuning_by_probes(jobs, len(dataset.index)),
            linear_probe.LinearProbeRunner(dataset).run,
        )
    else:
        label_budget.check(jobs, dataset, tables)
        train = finetune.run
    plan.run_jobs(jobs, (pretrain.run, train), dataset, overwrite)
    folders = [output / job.name for job in jobs if not job.is_pretraining]
    _report(folders, output, left_out, n_resamples, command)
    plan.log_progress(f"done in {progress.minutes(time.time() - started)}")
    return output


def _with_arms_that_are_there(tables):
    """The tables without ImageNet arms whose weights can't be had, and a sentence on each."""
    kept, left_out = {}, []
    for name, arm in plan.arms(tables).items():
        try:
            plan.check_start(tables, arm)
        except UserError as error:
            if arm["weights"] != "imagenet":
                raise
            left_out.append(f"The arm '{name}' was left out: {error}.")
            plan.log_progress(f"without {name}: {error}")
        else:
            kept[name] = arm
    if len(kept) < 2:
        raise UserError(
            f"--arms {' '.join(plan.arms(tables))}: {len(kept)} of them can be had; "
            "nothing is left to compare"
        )
    return {**tables, "arms": kept}, left_out


def _report(folders, output, left_out, n_resamples, command):
    """Score the runs and write what they say."""
    from dermssl.evaluation import run_groups
    from dermssl.reporting import results_csv, template_pages
    from dermssl.studies.label_efficiency import compute, figures

    found = run_groups.gather(folders)
    curve = compute.score(found, n_resamples)
    results_csv.write_rows(output / "label_efficiency.csv", compute.rows(curve))
    results_csv.write_rows(
        output / "label_differences.csv", compute.difference_rows(curve),
        compute.DIFFERENCES,
    )  # fmt: skip
    figures.curve(output / "label_efficiency.png", curve)
    template_pages.write(
        output / REPORT, REPORT, **compute.context(curve, left_out),
        command=command or f"dermssl.label_efficiency.run(..., output={str(output)!r})",
    )  # fmt: skip


def parser():
    """The command line."""
    made = cli.parser("label_efficiency", __doc__)
    made.add_argument(
        "--config", metavar="F.toml",
        help="experiment file, as for quickstart; the epochs and all other settings of pretraining "
        "and fine-tuning come from its [pretrain] and [finetune], else they are the defaults",
    )  # fmt: skip
    made.add_argument("--data", metavar="FOLDER", help="photos with labels")
    made.add_argument("--backbone", metavar="NAME", help="instead of the config's")
    made.add_argument("--image-size", type=int, metavar="N", help="instead of the config's")
    made.add_argument(
        "--arms", nargs="+", metavar="ARM",
        help=f"of the config, or of {', '.join(ARMS)}; NAME=WEIGHTS starts from a file or a "
        "pretraining run that is there (default: the config's, else random ssl)",
    )  # fmt: skip
    made.add_argument(
        "--labels", nargs="+", metavar="LABELS",
        help=f"10 (a class), 5%% or all (default: the config's, else {' '.join(LABELS)})"
        .replace("1% 10% 100%", "1%% 10%% 100%%"),
    )  # fmt: skip
    made.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: 0 1 2")
    made.add_argument(
        "--imagenet-weights", metavar="PATH", help="file to take where an arm asks for imagenet"
    )
    made.add_argument(
        "--probe", action="store_true",
        help="fast: a logistic regression on frozen features instead of fine-tuning; arms that "
        "pretrain still do, with the config's [pretrain]",
    )  # fmt: skip
    made.add_argument(
        "--n-resamples", type=int, default=2000, metavar="N",
        help="draws of the bootstrap (default: 2000)",
    )  # fmt: skip
    made.add_argument("--output", metavar="FOLDER", default=OUTPUT)
    made.add_argument("--overwrite", action="store_true", help="replace different runs there")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def with_flags(args):
    """The experiment's tables: the config's, then what the command line says, then defaults."""
    tables = configs.read_toml(args.config) if args.config else {}
    typed = {
        "data": {"path": args.data},
        "backbone": {"name": args.backbone, "image_size": args.image_size},
        "experiment": {"labels": args.labels, "seeds": args.seeds},
    }
    for section, values in typed.items():
        values = {key: value for key, value in values.items() if value is not None}
        if values:
            tables[section] = {**tables.get(section, {}), **values}
    tables["experiment"] = {"labels": LABELS, **tables.get("experiment", {})}
    for text in args.labels or ():
        # In a file 0 stands for all labels; typed, it is more likely meant as none.
        every = plan.amount(text, "--labels") == plan.LabelBudget()
        if every and "all" not in text and "%" not in text:
            raise UserError(f"--labels {text}: give 10 (a class), 5%, or all for every label")
    if args.labels:  # budgets of numbers of labels that were not asked for
        asked = {f"with_{amount.key}" for amount in plan.amounts(tables)}
        for key in [key for key in tables["experiment"] if key.startswith("with_")]:
            if key not in asked:
                del tables["experiment"][key]
    arms = plan.arms(tables) if tables.get("arms") else {}
    tables["arms"] = _arms_of(args.arms or list(arms) or ["random", "ssl"], arms)
    for arm in tables["arms"].values():
        if args.imagenet_weights and arm["weights"] == "imagenet":
            arm["weights"] = args.imagenet_weights
    return tables


def _arms_of(names, arms):
    known, chosen = ARMS | arms, {}
    for text in names:
        name, given, weights = text.partition("=")
        if not given and name not in known:
            raise UserError(
                f"--arms {name}: choose of {', '.join(known)}, or give {name}=WEIGHTS, a weights "
                "file or the folder of a pretraining run"
            )
        chosen[name] = {"weights": weights} if given else dict(known[name])
    return chosen


def _run(args):
    from dermssl.reporting import template_pages

    cli.check_resamples(args.n_resamples)
    tables = with_flags(args)
    cli.quiet_tensorflow()
    folder = run(
        tables, args.output, args.overwrite, args.probe, args.n_resamples,
        "python -m dermssl.label_efficiency " + shlex.join(args.words),
    )  # fmt: skip
    text = (folder / REPORT).read_text(encoding="utf-8")
    print(template_pages.for_console(text.split("## What was found")[1].split("## The curve")[0]))
    print(f"report: {folder / REPORT}")
    # Probes and fine-tuning may lie in one folder; they are no runs of one model.
    made = "probe" if args.probe else "finetune"
    print(f"next:   python -m dermssl.model_comparison {shlex.quote(str(folder))}/{made}_*")


def main(argv=None):
    """Entry point; returns the exit code."""
    import sys

    words = [str(word) for word in (sys.argv[1:] if argv is None else argv)]
    made = parser()
    made.set_defaults(words=words)
    return cli.run(made, _run, words)


if __name__ == "__main__":
    raise SystemExit(main())

"""How much would a leaky split inflate the score? Photos of one lesion in training and test.

    python -m dermssl.leakage --data PHOTOS --backbone mobilenet --image-size 96 \\
        --backbone-weights RUN_OR_FILE

The same test lesions are scored twice, with and without their other photos in training; the
training sets are equally large. Frozen features of the backbone and a logistic regression keep it
affordable; what a fine-tuned network would memorise is not measured, it has more room to.
"""

import itertools
import shlex

from dermssl.core import cli, runs
from dermssl.core import config as configs
from dermssl.core.errors import UserError

SECTIONS = ("data", "backbone")
OUTPUT = "outputs/leakage"
BATCH = 64  # photos through the backbone at once


def run(config, n_folds=5, n_seeds=3, n_resamples=1000, command=""):
    """Estimate the inflation and write a report.

    Args:
        config: dict from `dermssl.core.config.from_flags`: data, backbone, seed, output.
        n_folds: int, each lesion is tested in one of them.
        n_seeds: int, repetitions with other folds and other tested photos.
        n_resamples: int, draws of the bootstrap.
        command: str, what to type for the same again.

    Returns:
        Path of the folder: leakage.json, leakage.csv, leakage.png, report.md, report.html.

    Raises:
        UserError: bad input, or no lesion with two photos.
    """
    import numpy as np

    from dermssl.data import readers, splits
    from dermssl.data.records import group_ids
    from dermssl.inference import outputs
    from dermssl.models import backbones, weights
    from dermssl.reporting import report
    from dermssl.studies.leakage import compute
    from dermssl.studies.leakage import report as leakage_report
    from dermssl.training import callbacks

    for flag, value, least in (
        ("--folds", n_folds, 2), ("--n-seeds", n_seeds, 1), ("--n-resamples", n_resamples, 1)
    ):  # fmt: skip
        if value < least:
            raise UserError(f"{flag} {value}; it must be at least {least}")
    data = config["data"]
    backbones.check(weights.resolve(config["backbone"])[0])
    dataset = readers.read(data)
    dataset = dataset.with_index(dataset.index[dataset.index["fine"] != ""])
    unit = _unit(dataset.index, data)
    dataset, bad = readers.checked(dataset, data.on_bad, f"--data {data.path}")
    splits.report_skipped(bad, len(bad) + len(dataset.index))
    dataset, left_out = _with_classes_of_every_fold(dataset, n_folds)
    index = dataset.index
    names, groups = np.unique(group_ids(index, unit).astype(str), return_inverse=True)
    there = [name for name in dataset.taxonomy.fine if (index["fine"] == name).any()]
    labels = index["fine"].map({name: k for k, name in enumerate(there)}).to_numpy()
    if len(there) < 2 or (np.bincount(groups) > 1).sum() < 2:
        raise UserError(
            f"--data {data.path}: {len(there)} classes of {n_folds} independent patients or "
            f"lesions or more (--folds), {(np.bincount(groups) > 1).sum()} "
            f"{unit.removesuffix('_id')}s with two photos or more; leakage needs two of each"
        )
    folder = report.make_output_folder(config["output"] or OUTPUT)
    n_fits = 2 * n_folds * n_seeds
    print(f"{len(index)} photos through the backbone, then {n_fits} regressions", flush=True)
    features = outputs.embed_records(config["backbone"], dataset, data, BATCH)
    seeds = range(config["seed"], config["seed"] + n_seeds)
    clusters = group_ids(index)[np.unique(groups, return_index=True)[1]]
    whole = np.unique(clusters.astype(str), return_inverse=True)[1]
    with callbacks.counted("Regressions", n_fits) as done:
        predicted = compute.predict(features, labels, groups, n_folds, seeds, _told(done), whole)
    rows = compute.score(predicted, clusters, n_resamples)
    leakage_report.write(
        folder, rows, predicted,
        {
            "data": str(data.path), "unit": unit.removesuffix("_id"), "photos": len(index),
            "groups": len(names), "with_twins": int(predicted.twinned.sum()), "classes": there,
            "left_out": left_out,
            "backbone": config["backbone"].name, "image_size": config["backbone"].image_size,
            "weights": config["backbone"].weights, "folds": n_folds, "seeds": list(seeds),
            "n_resamples": n_resamples, "command": command,
        },
    )  # fmt: skip
    return folder


def _with_classes_of_every_fold(dataset, n_folds):
    """The data set without classes of fewer groups than folds, and those: dict of name -> groups.

    A group is a patient where known, else a lesion: what lies in one fold. With one of a class,
    its twins decide whether training knows the class at all, which is no memory of a lesion.
    """
    from dermssl.data.records import group_ids

    index = dataset.index
    groups = index.assign(group=group_ids(index)).groupby("fine")["group"].nunique()
    few = groups[groups < n_folds].to_dict()
    return dataset.with_index(index[~index["fine"].isin(few)]), few


def _told(done):
    """`compute.logistic`, and after each call `done` hears how many there were."""
    from dermssl.studies.leakage import compute

    count = itertools.count(1)

    def fit(*args):
        found = compute.logistic(*args)
        done(next(count))
        return found

    return fit


def _unit(index, data):
    """The id column that ties twins together."""
    if data.group_by != "auto":
        return data.group_by
    for name in ("lesion_id", "patient_id"):
        if (index[name] != "").any():
            return name
    raise UserError(
        f"--data {data.path}: no lesion or patient ids, so nothing tells which photos are twins; "
        "add a column lesion_id, python -m dermssl.check_data finds near duplicates"
    )


def parser():
    """The command line."""
    made = cli.parser("leakage", __doc__)
    configs.add_flags(made, *SECTIONS, resumable=False)
    made.add_argument(
        "--folds", type=int, default=5, metavar="N", help="parts of the data (default: 5)"
    )
    made.add_argument(
        "--n-seeds", type=int, default=3, metavar="N", help="repetitions (default: 3)"
    )
    made.add_argument(
        "--n-resamples", type=int, default=1000, metavar="N",
        help="draws of the bootstrap (default: 1000)",
    )  # fmt: skip
    return made


def _run(args):
    cli.check_resamples(args.n_resamples)
    cli.quiet_tensorflow()
    config = configs.from_flags(args, *SECTIONS)
    words = ["python", "-m", "dermssl.leakage"]
    words += [word for name in SECTIONS for word in configs.as_flags(config[name])]
    words += ["--folds", str(args.folds), "--n-seeds", str(args.n_seeds)]
    words += ["--seed", str(config["seed"])]
    words += ["--n-resamples", str(args.n_resamples)] if args.n_resamples != 1000 else []
    words += ["--output", config["output"]] if config["output"] else []
    folder = run(config, args.folds, args.n_seeds, args.n_resamples, shlex.join(words))
    for sentence in runs.read_json(folder / "leakage.json")["findings"]:
        print(f"- {sentence}")
    print(f"report: {folder / 'report.md'}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

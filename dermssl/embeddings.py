"""What a backbone makes of the photos: its embeddings in a plane, and in TensorBoard's projector.

    python -m dermssl.embeddings outputs/ssl_simclr
    python -m dermssl.embeddings outputs/ssl_finetuned --split test --colour-by site age

For pretraining runs (the photos it was pretrained on) and fine-tuning runs (all that it
predicted). t-SNE by default, --umap as well where umap-learn is installed. Writes into
RUN/embeddings/ and, for the projector, RUN/tensorboard/embeddings/.
"""

import shlex
from pathlib import Path

from dermssl.core import atomic_files, cli
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import SPLITS

FOLDER = "embeddings"
MAX_PHOTOS = 5000  # beyond, t-SNE takes many minutes and its picture is a cloud
COLUMNS = ("fine", "coarse", "split")
OTHERS = ("site", "sex", "age", "skin_tone", "source")


def run(
    path, data=None, split="all", max_photos=MAX_PHOTOS, perplexity=None, umap=False,
    colour_by=(), n_resamples=1000, batch_size=32, seed=0, output=None,
):  # fmt: skip
    """Lay out the embeddings of a finished run's photos.

    Args:
        path: folder of a pretraining or fine-tuning run.
        data: the folder of its photos, if it has moved.
        split: "all", "train", "validation" or "test".
        max_photos: take no more than these, spread evenly over the fine classes; 0 for all.
        perplexity: of t-SNE; None for 30, or less where photos are few.
        umap: bool, UMAP as well.
        colour_by: names of `OTHERS`, a picture each besides the fine and coarse class and the
            split.
        n_resamples: draws of the bootstrap.
        batch_size: photos through the network at once.
        seed: int, of the layout and of the choice.
        output: folder to write into; None for `embeddings` in the run's folder.

    Returns:
        Path of the folder: tsne_COLUMN.png, coordinates.csv, report.md and report.html.
        TensorBoard's files are in RUN/tensorboard/embeddings, or in OUTPUT/tensorboard.

    Raises:
        UserError: the run isn't finished, its photos aren't there, or too few.
    """
    import numpy as np

    from dermssl.data import pipeline
    from dermssl.data.records import group_ids
    from dermssl.inference import finished_run, outputs
    from dermssl.reporting import report
    from dermssl.studies.embedding_map import projections
    from dermssl.training import callbacks

    _check(max_photos, n_resamples, batch_size, colour_by)
    path = Path(path)
    finished = finished_run.load(path)
    table, source = _records(finished, split)
    rows = finished_run.stratified_subset(table["fine"], max_photos, seed)
    perplexity = projections.perplexity_for(len(rows), perplexity)
    dataset = finished.dataset(table.iloc[rows], moved=data)
    columns = _columns(dataset.index, colour_by)
    model, photos = finished.backbone(), finished.photos(dataset)
    images = pipeline.evaluation_data(photos, batch_size, finished.image_size)
    with callbacks.counted("Embeddings", len(rows)) as done:
        h, thumbnails = outputs.embed_with_thumbnails(model, images, done)
    h = projections.unit(h)
    names = ("tsne", "umap") if umap else ("tsne",)
    planes = {name: projections.lay_out(name, h, perplexity, seed) for name in names}
    folder = report.make_output_folder(output or path / FOLDER)
    if len(rows) < len(table):
        source += f" ({len(rows):,} of {len(table):,}, chosen evenly over the fine classes)"
    made = {
        "path": path, "status": finished.status, "index": dataset.index, "h": h, "planes": planes,
        "columns": columns, "perplexity": perplexity, "seed": seed, "n_resamples": n_resamples,
        "groups": group_ids(dataset.index), "source": source,
        "log": (folder if output else path) / "tensorboard" / "embeddings",
        "command": _command(
            path, data, split, max_photos, perplexity, umap, colour_by, n_resamples, seed, output
        ),
    }  # fmt: skip
    pictures = _draw(folder, made)
    _tensorboard(made, np.asarray(h, np.float32), thumbnails, folder, pictures)
    _write(folder, made, pictures)
    return folder


def _check(max_photos, n_resamples, batch_size, colour_by):
    if max_photos < 0:
        raise UserError(f"--max-photos {max_photos}; it must be at least 1, or 0 for all")
    for name, value in (("n-resamples", n_resamples), ("batch-size", batch_size)):
        if value < 1:
            raise UserError(f"--{name} is {value}; it must be at least 1")
    for name in colour_by:
        if name not in OTHERS:
            raise UserError(f"--colour-by '{name}'; choose of: {', '.join(OTHERS)}")


def _records(finished, split):
    """The run's record table, and what it is."""
    path, names = finished.path, {"finetune": "predictions.csv", "pretrain": "pool.csv"}
    if finished.command not in names:
        raise UserError(
            f"{path}: a run of dermssl.{finished.command}; give one of pretrain or finetune"
        )
    name, table = names[finished.command], finished.records(None if split == "all" else split)
    if table.empty:
        raise UserError(f"{path}: no record of split '{split}' in {name}; try --split all")
    what = "records" if split == "all" else f"{split} records"
    return table, f"the {what} of {path / name}"


def _columns(index, colour_by):
    """The columns that a picture is made for: those asked for, and those that tell photos apart."""
    for name in colour_by:
        if index[name].nunique() < 2:
            raise UserError(f"--colour-by {name}: the photos have fewer than two values of it")
    there = [name for name in COLUMNS if index[name].nunique() > 1]
    if "coarse" in there and (index["coarse"] == index["fine"]).all():
        there.remove("coarse")
    return [*there, *dict.fromkeys(colour_by)] or ["split"]


def _command(path, data, split, max_photos, perplexity, umap, colour_by, n_resamples, seed, output):
    words = ["python", "-m", "dermssl.embeddings", str(path)]
    options = {
        "data": (data, None), "split": (split, "all"), "max-photos": (max_photos, MAX_PHOTOS),
        "perplexity": (f"{perplexity:g}", "30"), "n-resamples": (n_resamples, 1000),
        "seed": (seed, 0), "output": (output, None),
    }  # fmt: skip
    words += cli.changed(options)
    words += ["--umap"] if umap else []
    words += ["--colour-by", *colour_by] if colour_by else []
    return shlex.join(words)


def _draw(folder, made):
    """A picture for each layout and column; (title, file) of each."""
    from dermssl.studies.embedding_map import figures
    from dermssl.studies.embedding_map.projections import TITLES

    pictures = []
    for name, points in made["planes"].items():
        for column in made["columns"]:
            file = f"{name}_{column}.png"
            by = f"{column} class" if column in ("fine", "coarse") else column.replace("_", " ")
            title = f"{TITLES[name]} by {by}, {made['path'].name}"
            what = f"perplexity {made['perplexity']:.3g}" if name == "tsne" else "cosine"
            subtitle = f"{len(points):,} photos, {what}, seed {made['seed']}"
            figures.plane(folder / file, points, made["index"][column], title, subtitle)
            pictures.append({"title": title, "file": file})
    return pictures


def _tensorboard(made, h, thumbnails, folder, pictures):
    """The pictures under Images, the photos in the projector."""
    import numpy as np
    from PIL import Image

    from dermssl.training import tensorboard

    files = [each["file"] for each in pictures]
    drawn = [np.array(Image.open(folder / file).convert("RGB")) for file in files]
    shown = [(file.removesuffix(".png"), picture, "") for file, picture in zip(files, drawn)]
    tensorboard.images(made["log"], shown)
    described = ["path", "fine", "coarse", "split", "lesion_id", *OTHERS]
    metadata = made["index"][[name for name in described if name in made["index"]]]
    tensorboard.projector(made["log"], h, metadata, thumbnails)


def _write(folder, made, pictures):
    """coordinates.csv and the report."""
    from dermssl.evaluation import metric_tables
    from dermssl.reporting import report, wording
    from dermssl.studies.embedding_map import projections
    from dermssl.studies.embedding_map import report as embeddings_report

    index, planes, status = made["index"], made["planes"], made["status"]
    axes = {
        f"{name}_{axis}": points[:, k]
        for name, points in planes.items()
        for k, axis in enumerate("xy")
    }
    atomic_files.write_csv(folder / "coordinates.csv", index.assign(**axes))
    unit = metric_tables.grouped_by(made["groups"])
    trust = {
        name: projections.trustworthiness(made["h"], points) for name, points in planes.items()
    }
    status = dict.fromkeys(("config_hash", "data_hash"), "n/a") | status
    report.write(
        folder / "report.md",
        "embeddings.md",
        run=made["path"].name or made["path"],
        model=f"{status['command']} of {status['config']['backbone']['name']}",
        basis=wording.count(len(index), "photo"),
        pictures=pictures,
        dimensions=made["h"].shape[1],
        made=embeddings_report.how(planes, made["h"].shape[1], made["perplexity"], made["seed"]),
        trust=", ".join(f"{projections.TITLES[k]} {wording.number(v)}" for k, v in trust.items()),
        classes=embeddings_report.classes(made["h"], index, made["groups"], made["n_resamples"]),
        k=projections.NEIGHBOURS,
        unit=unit,
        n_resamples=made["n_resamples"],
        enough=wording.ENOUGH_RECORDS,
        notes=embeddings_report.notes(status, index),
        source=made["source"],
        tensorboard=f"python -m tensorboard.main --host localhost --logdir {made['log'].parent}",
        status=status,
        versions=report.versions(status),
        command=made["command"],
    )


def parser():
    """The command line."""
    made = cli.parser("embeddings", __doc__)
    made.add_argument("run", metavar="RUN", help="folder of a pretraining or fine-tuning run")
    made.add_argument("--data", metavar="FOLDER", help="the run's photos, if they have moved")
    made.add_argument("--split", choices=("all", *SPLITS), default="all", help="(default: all)")
    made.add_argument(
        "--max-photos", type=int, default=MAX_PHOTOS, metavar="N",
        help=f"at most N, spread evenly over the classes; 0: all (default: {MAX_PHOTOS})",
    )  # fmt: skip
    made.add_argument(
        "--perplexity", type=float, metavar="X", help="of t-SNE (default: 30, less for few photos)"
    )
    made.add_argument("--umap", action="store_true", help="UMAP too; needs umap-learn")
    made.add_argument(
        "--colour-by", nargs="+", default=[], metavar="COLUMN",
        help=f"a picture for each of these too: {', '.join(OTHERS)}",
    )  # fmt: skip
    made.add_argument(
        "--n-resamples", type=int, default=1000, metavar="N",
        help="draws of the bootstrap (default: 1000)",
    )  # fmt: skip
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="(default: 32)")
    made.add_argument("--seed", type=int, default=0, help="of layout and choice (default: 0)")
    made.add_argument("--output", metavar="FOLDER", help="(default: RUN/embeddings)")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _run(args):
    cli.check_resamples(args.n_resamples)
    configs.check_seed(args.seed)
    cli.quiet_tensorflow()
    folder = run(
        args.run, args.data, args.split, args.max_photos, args.perplexity, args.umap,
        tuple(args.colour_by), args.n_resamples, args.batch_size, args.seed, args.output,
    )  # fmt: skip
    print(f"embeddings: {folder / 'report.md'}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

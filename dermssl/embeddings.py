"""What a backbone makes of the photos: its embeddings in a plane, and in TensorBoard's projector.

    python -m dermssl.embeddings outputs/ssl_simclr
    python -m dermssl.embeddings outputs/ssl_finetuned --split test --colour-by site age

For pretraining runs (the photos it was pretrained on) and fine-tuning runs (all that it
predicted). t-SNE by default, --umap as well where umap-learn is installed. Writes into
RUN/embeddings/ and, for the projector, RUN/tensorboard/embeddings/.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import atomic_files, cli, results, runs
from dermssl.core.errors import UserError

FOLDER = "embeddings"
COLUMNS = ("fine", "coarse", "split")
OTHERS = ("site", "sex", "age", "skin_tone", "source")


def run(config: dict[str, Any]) -> Path:
    """Lay out the embeddings of a finished run's photos.

    Args:
        config: settings from `core.config.configure`; the seed is that of the layout and of the
            choice of photos.

    Returns:
        Path of the folder: tsne_COLUMN.png, coordinates.csv, report.md and report.html.
        TensorBoard's files are in RUN/tensorboard/embeddings, or in OUTPUT/tensorboard.

    Raises:
        UserError: the run isn't finished, its photos aren't there, or too few.
    """
    import numpy as np

    from dermssl.data.records import group_ids
    from dermssl.inference import finished_run, outputs
    from dermssl.reporting import report
    from dermssl.studies.embedding_map import projections
    from dermssl.training import callbacks

    settings, output, seed = config["embeddings"], config["output"], config["seed"]
    path, data, split = Path(settings.run), settings.data, settings.split
    _check(settings.colour_by)
    status = runs.finished(path, sections=("backbone", "data"))
    table, taxonomy, source = _records(path, status, split)
    rows = finished_run.stratified_subset(table["fine"], settings.max_photos, seed)
    perplexity = projections.perplexity_for(len(rows), settings.perplexity or None)
    dataset = finished_run.dataset(table.iloc[rows], taxonomy, status["config"]["data"], data)
    columns = _columns(dataset.index, settings.colour_by)
    model, size = outputs.backbone(path), status["config"]["backbone"]["image_size"]
    photos = finished_run.photos(dataset, status["config"]["data"], size)
    with callbacks.counted("Embeddings", len(rows)) as done:
        h, thumbnails = outputs.embed(model, photos, size, settings.batch_size, done)
    h = projections.unit(h)
    names = ("tsne", "umap") if settings.umap else ("tsne",)
    planes = {name: projections.lay_out(name, h, perplexity, seed) for name in names}
    folder = report.make_output_folder(output or path / FOLDER)
    if len(rows) < len(table):
        source += f" ({len(rows):,} of {len(table):,}, chosen evenly over the fine classes)"
    made = {
        "path": path, "status": status, "index": dataset.index, "h": h, "planes": planes,
        "columns": columns, "perplexity": perplexity, "seed": seed,
        "n_resamples": settings.n_resamples,
        "groups": group_ids(dataset.index), "source": source,
        "log": (folder if output else path) / "tensorboard" / "embeddings",
        "command": config["command"],
    }  # fmt: skip
    pictures = _draw(folder, made)
    _tensorboard(made, np.asarray(h, np.float32), thumbnails, folder, pictures)
    _write(folder, made, pictures)
    return folder


def _check(colour_by):
    for name in colour_by:
        if name not in OTHERS:
            raise UserError(f"embeddings.colour_by '{name}'; choose of: {', '.join(OTHERS)}")


def _records(path, status, split):
    """The run's record table, its taxonomy or None, and what they are."""
    from dermssl.data import records
    from dermssl.evaluation import predictions

    if status["command"] == "finetune":
        found = predictions.read(path)
        table, taxonomy, name = found.table, found.taxonomy, predictions.NAME
    elif status["command"] == "pretrain":
        table, taxonomy, name = records.read_csv(path / "pool.csv"), None, "pool.csv"
    else:
        raise UserError(
            f"{path}: a run of dermssl.{status['command']}; give one of pretrain or finetune"
        )
    if split != "all":
        table = table[table["split"] == split]
    if table.empty:
        raise UserError(f"{path}: no record of split '{split}' in {name}; try embeddings.split all")
    what = "records" if split == "all" else f"{split} records"
    return table.reset_index(drop=True), taxonomy, f"the {what} of {path / name}"


def _columns(index, colour_by):
    """The columns that a picture is made for: those asked for, and those that tell photos apart."""
    for name in colour_by:
        if index[name].nunique() < 2:
            raise UserError(
                f"embeddings.colour_by {name}: the photos have fewer than two values of it"
            )
    there = [name for name in COLUMNS if index[name].nunique() > 1]
    if "coarse" in there and (index["coarse"] == index["fine"]).all():
        there.remove("coarse")
    return [*there, *dict.fromkeys(colour_by)] or ["split"]


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


def tell(config: dict[str, Any], path: Path) -> None:
    """Print where the pictures are."""
    print(f"embeddings: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("embeddings", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())

"""Lay out the embeddings of a finished run's photos, and write the report."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dermssl.core import atomic_files, progress
from dermssl.core.errors import UserError
from dermssl.data import pipeline
from dermssl.data.records import group_ids
from dermssl.inference import finished_run, outputs
from dermssl.reporting import report
from dermssl.studies.embedding_map import projections
from dermssl.studies.embedding_map import report as page
from dermssl.training import tensorboard

FOLDER = "embeddings"
COLUMNS = ("fine", "coarse", "split")
OTHERS = ("site", "sex", "age", "skin_tone", "source")


def map_embeddings(config: dict[str, Any]) -> Path:
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
    settings, output, seed = config["embeddings"], config["output"], config["seed"]
    path, data, split = Path(settings.run), settings.data, settings.split
    _check(settings.colour_by)
    finished = finished_run.load(path)
    table, source = _records(finished, split)
    rows = finished_run.stratified_subset(table["fine"], settings.max_photos, seed)
    perplexity = projections.perplexity_for(len(rows), settings.perplexity or None)
    dataset = finished.dataset(table.iloc[rows], moved=data)
    columns = _columns(dataset.index, settings.colour_by)
    model, photos = finished.backbone(), finished.photos(dataset)
    images = pipeline.evaluation_data(photos, settings.batch_size, finished.image_size)
    with progress.Progress("Embeddings", len(rows)) as shown:
        h, thumbnails = outputs.embed_with_thumbnails(model, images, shown.reach)
    h = projections.unit(h)
    names = ("tsne", "umap") if settings.umap else ("tsne",)
    progress.log_progress(f"laying out {len(rows):,} embeddings in a plane, {' and '.join(names)}")
    planes = {name: projections.lay_out(name, h, perplexity, seed) for name in names}
    folder = report.make_output_folder(output or path / FOLDER)
    if len(rows) < len(table):
        source += f" ({len(rows):,} of {len(table):,}, chosen evenly over the fine classes)"
    mapped = page.EmbeddingMap(
        path=path,
        status=finished.status,
        index=dataset.index,
        h=h,
        planes=planes,
        columns=columns,
        perplexity=perplexity,
        seed=seed,
        n_resamples=settings.n_resamples,
        groups=group_ids(dataset.index),
        source=source,
        log=(folder if output else path) / "tensorboard" / "embeddings",
        command=config["command"],
    )
    progress.log_progress("counting neighbours of the same class, and drawing")
    page.draw(folder, mapped)
    _tensorboard(mapped, np.asarray(h, np.float32), thumbnails, folder)
    atomic_files.write_csv(folder / "coordinates.csv", page.coordinates(mapped))
    report.write(page.build(mapped), folder)
    return folder


def _check(colour_by):
    for name in colour_by:
        if name not in OTHERS:
            raise UserError(f"embeddings.colour_by '{name}'; choose of: {', '.join(OTHERS)}")


def _records(finished, split):
    """The run's record table, and what it is."""
    path, names = finished.path, {"finetune": "predictions.csv", "pretrain": "pool.csv"}
    if finished.command not in names:
        raise UserError(
            f"{path}: a run of dermssl.{finished.command}; give one of pretrain or finetune"
        )
    name, table = names[finished.command], finished.records(None if split == "all" else split)
    if table.empty:
        raise UserError(f"{path}: no record of split '{split}' in {name}; try embeddings.split all")
    what = "records" if split == "all" else f"{split} records"
    return table, f"the {what} of {path / name}"


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


def _tensorboard(mapped, h, thumbnails, folder):
    """The pictures under Images, the photos in the projector."""
    files = [figure.file for _, _, figure in page.pictures(mapped)]
    drawn = [np.array(Image.open(folder / file).convert("RGB")) for file in files]
    shown = [(file.removesuffix(".png"), picture, "") for file, picture in zip(files, drawn)]
    tensorboard.images(mapped.log, shown)
    described = ["path", "fine", "coarse", "split", "lesion_id", *OTHERS]
    metadata = mapped.index[[name for name in described if name in mapped.index]]
    tensorboard.projector(mapped.log, h, metadata, thumbnails)

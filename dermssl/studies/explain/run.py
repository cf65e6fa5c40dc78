"""Draw heat maps of chosen or given photos, and write the report."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core.errors import UserError
from dermssl.data import decode, masks
from dermssl.data.augmentation import opencv
from dermssl.data.records import COLUMNS, MASK, Dataset
from dermssl.evaluation import select_photos
from dermssl.inference import finished_run, heat_maps
from dermssl.models import grad_cam
from dermssl.reporting import report, results_csv
from dermssl.studies.explain import report as page
from dermssl.training import tensorboard

FOLDERS = {True: "explained_photos", False: "explanations"}
MOST = 60  # photos at once; a sheet of more can't be read


def explain_photos(config: dict[str, Any]) -> Path:
    """Explain photos of a finished fine-tuning run, or new ones.

    Args:
        config: settings from `core.config.configure`; the seed is that of the weights' shuffle in
            the sanity check.

    Returns:
        Path of the folder: a sheet a group (hits.png ...), explanations.csv, report.md and
        report.html. TensorBoard's pictures are in RUN/tensorboard/explain, or in
        OUTPUT/tensorboard where an output is given.

    Raises:
        UserError: the run isn't finished, or its photos aren't there.
    """
    settings, output, seed = config["explain"], config["output"], config["seed"]
    path, photos, data, split = Path(settings.run), settings.photos, settings.data, settings.split
    command, batch_size = config["command"], settings.batch_size
    finished = finished_run.load(path, "finetune")
    if photos:
        groups, dataset, kept = _given(photos, finished.data.preprocess)
    else:
        groups, dataset, kept = _chosen(finished, data, split, settings.count)
    model, size = finished.model(), finished.image_size
    cells = grad_cam.spatial(model).shape[1:3]
    folder = report.make_output_folder(output or path / FOLDERS[bool(photos)])
    seen = finished.photos(dataset, cache_mb=256)
    explained = heat_maps.explain(model, seen, dataset.index, size, batch_size)
    images = np.stack([opencv.center_square(seen[k], size) for k in range(len(seen))])
    predicted = np.stack([photo.p_fine for photo in explained]).argmax(axis=1)
    log = (folder if output else path) / "tensorboard" / f"explain{'_photos' if photos else ''}"
    maps = page.HeatMaps(
        path=path,
        status=finished.status,
        groups=groups,
        photos=explained,
        likeness=heat_maps.randomization_check(model, images, predicted, seed),
        cells=cells,
        kept=kept,
        source=_source(path, split, photos),
        log=log,
        command=command,
    )
    page.draw(folder, maps)
    tensorboard.images(log, page.strips(maps))
    results_csv.write_rows(folder / "explanations.csv", page.rows(maps, model.taxonomy))
    report.write(page.build(maps), folder)
    return folder


def _given(photos, steps):
    """Groups, a `Dataset` without labels, and no kept probabilities."""
    files, given = [], []
    for one in photos:
        new = [file for file in masks.image_files(one) if file not in files]
        given.append((one, new))
        files += new
    if len(files) > MOST:
        raise UserError(f"{len(files)} photos given; explain at most {MOST} at once")
    bad = decode.verify_all(files)
    if bad:
        raise UserError(bad[0][1])
    columns = [*COLUMNS, MASK]
    index = pd.DataFrame("", index=range(len(files)), columns=columns).assign(path=files)
    found = masks.of_model([each for each in given if each[1]], steps, "skip")
    if found:
        index[MASK] = found
    return {"photos": range(len(files))}, Dataset(Path.cwd(), index, None), None


def _chosen(finished, data, split, count):
    """The same for a choice from the run's split, each photo once."""
    arrays = finished.predictions.arrays(split)
    chosen = select_photos.choose(arrays.y, arrays.p_fine, count, arrays.groups)
    if not chosen:
        raise UserError(
            f"{finished.path}: no record with a fine label in split '{split}'; give photos"
        )
    rows = np.unique(np.concatenate(list(chosen.values())))
    dataset = finished.dataset(finished.records(split).iloc[rows], moved=data)
    groups = {name: np.searchsorted(rows, each) for name, each in chosen.items()}
    return groups, dataset, arrays.p_fine[rows]


def _source(path, split, photos):
    if photos:
        return "those given on the command line"
    return f"the {split} records of {path / 'predictions.csv'}"

"""Score a finished run under artefacts and without the lesion, and write the report."""

from pathlib import Path
from typing import Any

import numpy as np

from dermssl.core import progress
from dermssl.core.errors import UserError
from dermssl.data import masks as named
from dermssl.data.records import group_ids, label_arrays
from dermssl.evaluation import hypothesis_tests
from dermssl.inference import finished_run
from dermssl.reporting import report
from dermssl.studies.stress import conditions, figures, predict
from dermssl.studies.stress import report as stress_report
from dermssl.studies.stress import scores as shortcuts

FOLDER = "stress_test"
SHOWN = 7  # photos on the contact sheet, one a class


def stress_run(config: dict[str, Any]) -> Path:
    """Stress a finished fine-tuning run.

    Args:
        config: settings from `core.config.configure`; the seed is that of the artefacts, the noise
            and the choice of photos.

    Returns:
        Path of the folder: stress.csv, stress.json, stress.png, conditions.png, report.md and
        report.html.

    Raises:
        UserError: the run isn't finished, its photos aren't there, or nothing can be scored.
    """
    settings, output, seed = config["stress_test"], config["output"], config["seed"]
    path, data, split = Path(settings.run), settings.data, settings.split
    masks, strength, n_resamples = settings.masks, settings.strength, settings.n_resamples
    command, batch_size = config["command"], settings.batch_size
    finished = finished_run.load(path, "finetune")
    found = finished.predictions
    rows = np.flatnonzero(found.table["split"].eq(split) & found.table["fine"].ne(""))
    if not len(rows):
        raise UserError(f"{path}: no record with a fine label in split '{split}'; nothing to score")
    rows = rows[
        finished_run.stratified_subset(found.table["fine"].iloc[rows], settings.max_photos, seed)
    ]
    dataset = finished.dataset(found.table.iloc[rows], moved=data)
    if masks and not Path(masks).is_dir():
        raise UserError(
            f"stress_test.masks {masks}: no such folder; give the one with the lesion masks"
        )
    if masks:
        mask_files = named.in_folder(masks, dataset.index["path"], found.table["path"])
    else:
        mask_files = finished_run.masks_of(dataset)
    if masks and not any(mask_files):
        raise UserError(
            f"stress_test.masks {masks}: no mask of these photos in it (NAME_segmentation.png)"
        )
    folder = report.make_output_folder(output or path / FOLDER)

    model, size, taxonomy = finished.model(), finished.image_size, found.taxonomy
    photos = finished.photos(dataset, cache_mb=64, prepared=False)
    hole = conditions.lesion_regions(mask_files, photos)
    n_masks = sum(map(bool, mask_files))
    wanted = conditions.names(n_masks / len(rows))
    options = {"seed": seed, "strength": strength}
    options["steps"] = finished.data.preprocess
    with progress.Progress("Stress test", len(rows)) as shown:
        p = predict.predict(
            model, photos, hole, rows, wanted, size, batch_size, shown.reach, **options
        )
    y, _ = label_arrays(dataset.index, taxonomy)
    groups = group_ids(dataset.index)
    scores = shortcuts.score(y, p, groups, taxonomy, conditions.CLEAN, n_resamples)
    kept = found.table.iloc[rows][[f"p_fine_{name}" for name in taxonomy.fine]].to_numpy(float)
    made = {
        "run": str(path),
        "command": command,
        "split": split,
        "data": str(dataset.root),
        "n": len(y),
        "n_of": int((found.table["split"].eq(split) & found.table["fine"].ne("")).sum()),
        "n_groups": len(set(groups)),
        "n_masks": n_masks,
        "preprocess": list(options["steps"]),
        "augmentation": finished.settings["finetune"].augmentation,
        "strength": strength,
        "seed": seed,
        "n_resamples": n_resamples,
        "chance": hypothesis_tests.chance(y),
        "agreement": float(np.abs(p[conditions.CLEAN] - kept).max()),
    }
    picked = [int(np.flatnonzero(y == k)[0]) for k in np.unique(y)][:SHOWN]
    pictures = [
        [
            conditions.view(
                name, photos[k], hole(k, photos[k]), size, record=int(rows[k]), **options
            )
            for name in wanted
        ]
        for k in picked
    ]
    figures.draw(folder, made, scores, pictures, [taxonomy.fine[y[k]] for k in picked])
    stress_report.write(folder, made, found, scores, y, p, groups)
    return folder

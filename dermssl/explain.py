"""Heat maps (Grad-CAM): where in a photo the network saw what speaks for a class.

    python -m dermssl.explain outputs/ssl_finetuned
    python -m dermssl.explain outputs/ssl_finetuned NEW_PHOTO.jpg FOLDER

Without photos it takes the surest hits and misses of the test split and one photo of every class;
at the fine and the coarse level, for the predicted class and, where it is another, the true one.
Writes into RUN/explanations/ (RUN/explained_photos/ for given photos), and the same pictures for
TensorBoard. Not for diagnosis.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, results, runs
from dermssl.core.errors import UserError

FOLDERS = {True: "explained_photos", False: "explanations"}
FEW_CELLS = 4  # a side
MOST = 60  # photos at once; a sheet of more can't be read
TITLES = {
    "hits": "Surest hits",
    "misses": "Surest misses",
    "classes": "One of every class",
    "photos": "The photos",
}
TEXTS = {
    "hits": "Right, with the highest probabilities of the split; one photo a lesion.",
    "misses": "Wrong, with the highest probabilities of the split; one photo a lesion. The "
    "predicted class stands beside the true one.",
    "classes": "Of each class the photo in the middle by the probability of the true class: "
    "neither a lucky nor an unlucky one.",
    "photos": "As given; their truth isn't known.",
}


def run(config: dict[str, Any]) -> Path:
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
    import numpy as np

    from dermssl.data.augmentation import opencv
    from dermssl.inference import finished_run
    from dermssl.models import grad_cam, weights
    from dermssl.reporting import report
    from dermssl.studies.explain import figures, heat_maps
    from dermssl.training import tensorboard

    settings, output, seed = config["explain"], config["output"], config["seed"]
    path, photos, data, split = Path(settings.run), settings.photos, settings.data, settings.split
    command, batch_size = config["command"], settings.batch_size
    config = runs.finished(path, "finetune", ("backbone", "finetune", "data"))["config"]
    if photos:
        groups, dataset, kept = _given(photos, config["data"].get("preprocess", ()))
    else:
        groups, dataset, kept = _chosen(path, config, data, split, settings.count)
    model, taxonomy = weights.load_classifier(path)
    cells = grad_cam.spatial(model).shape[1:3]
    folder = report.make_output_folder(output or path / FOLDERS[bool(photos)])
    size, head = config["backbone"]["image_size"], config["finetune"]["head"]
    seen = finished_run.photos(dataset, config["data"], size, cache_mb=256)
    found = heat_maps.explain(model, taxonomy, head, seen, dataset.index, size, batch_size)
    images = np.stack([opencv.center_square(seen[k], size) for k in range(len(seen))])
    predicted = np.stack([each.p_fine for each in found]).argmax(axis=1)
    alike = heat_maps.randomization_check(model, images, predicted, seed)

    for group, rows in groups.items():
        title = f"{TITLES[group]}, {path.name}"
        figures.sheet(folder / f"{group}.png", [found[k] for k in rows], title)
    log = (folder if output else path) / "tensorboard" / f"explain{'_photos' if photos else ''}"
    tensorboard.images(log, _pictures(groups, found))
    _write(
        folder, path, groups, found, alike, taxonomy, cells, kept,
        command=command,
        source=_source(path, split, photos), log=log,
    )  # fmt: skip
    return folder


def _given(photos, steps):
    """Groups, a `Dataset` without labels, and no kept probabilities."""
    import pandas as pd

    from dermssl.data import decode, masks
    from dermssl.data.records import COLUMNS, MASK, Dataset

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


def _chosen(path, config, data, split, count):
    """The same for a choice from the run's split, each photo once."""
    import numpy as np

    from dermssl.evaluation import predictions
    from dermssl.inference import finished_run
    from dermssl.studies.explain import select_photos

    found = predictions.read(path)
    arrays = found.arrays(split)
    chosen = select_photos.choose(arrays.y, arrays.p_fine, count, arrays.groups)
    if not chosen:
        raise UserError(f"{path}: no record with a fine label in split '{split}'; give photos")
    rows = np.unique(np.concatenate(list(chosen.values())))
    table = found.table[found.table["split"] == split].iloc[rows]
    dataset = finished_run.dataset(table, found.taxonomy, config["data"], data)
    groups = {name: np.searchsorted(rows, each) for name, each in chosen.items()}
    return groups, dataset, arrays.p_fine[rows]


def _pictures(groups, found):
    """TensorBoard's: a strip a photo, with what it shows in words."""
    from dermssl.reporting.report import escaped
    from dermssl.studies.explain import figures

    pictures = []
    for group, rows in groups.items():
        for number, each in enumerate((found[k] for k in rows), start=1):
            shown = ", ".join(f"{h.level} {h.role} {h.name} P = {h.p:.2f}" for h in each.heats)
            truth = each.fine or each.coarse or "not known"
            text = f"{each.path}; truth: {truth}. Left to right: photo, {shown}"
            strip = figures.strip(each.photo, each.heats)
            pictures.append((f"{group}/{number:02d}", strip, escaped(text)))
    return pictures


def _source(path, split, photos):
    if photos:
        return "those given on the command line"
    return f"the {split} records of {path / 'predictions.csv'}"


def _write(folder, path, groups, found, alike, taxonomy, cells, kept, command, source, log):
    """explanations.csv and the report."""
    import numpy as np

    from dermssl.evaluation.run_groups import TITLES as ARMS
    from dermssl.reporting import report, results_csv, wording

    rows = []
    for group, chosen in groups.items():
        for k in chosen:
            each = found[k]
            top, top_coarse = each.p_fine.argmax(), each.p_coarse.argmax()
            rows.append(
                {
                    "group": group, "path": each.path, "fine": each.fine, "coarse": each.coarse,
                    "predicted_fine": taxonomy.fine[top], "p_fine": float(each.p_fine[top]),
                    "predicted_coarse": taxonomy.coarse[top_coarse],
                    "p_coarse": float(each.p_coarse[top_coarse]),
                    "empty_maps": sum(not heat.values.any() for heat in each.heats),
                    "likeness_to_shuffled_weights": float(alike[k]),
                }
            )  # fmt: skip
    results_csv.write_rows(folder / "explanations.csv", rows)
    notes = []
    if min(cells) < FEW_CELLS:
        notes.append(
            f"The map has {cells[0]} x {cells[1]} cells, too few to tell places apart; "
            "a run with a larger image size has more."
        )
    if kept is not None:
        p = np.stack([each.p_fine for each in found])
        notes += wording.changed(float(np.abs(p - kept).max()))
    status = dict.fromkeys(("arm", "seed", "config_hash", "data_hash"), "n/a")
    status |= runs.finished(path)
    model = ARMS.get(status["arm"], status["arm"])
    if status.get("n_labels"):
        model += f", {wording.count(status['n_labels'], 'label')}"
    known = alike[~np.isnan(alike)]
    mean = wording.number(float(known.mean()) if len(known) else None, 2)
    report.write(
        folder / "report.md",
        "explanations.md",
        run=path.name or path,
        model=model,
        status=status,
        basis=wording.count(len(found), "photo"),
        notes=notes,
        groups=[
            {"title": TITLES[name], "text": TEXTS[name], "file": f"{name}.png"} for name in groups
        ],
        backbone=status["config"]["backbone"]["name"],
        cells=f"{cells[0]} x {cells[1]}",
        n=wording.count(len(found), "photo"),
        sanity=f"mean {mean} over {wording.count(len(known), 'photo')}",
        source=source,
        tensorboard=f"python -m tensorboard.main --host localhost --logdir {log.parent}",
        versions=report.versions(status),
        command=command,
    )


def tell(config: dict[str, Any], path: Path) -> None:
    """Print where the heat maps are."""
    print(f"heat maps: {path / 'report.md'}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("explain", __doc__, run, tell, argv)


results.make_callable(__name__, run)

if __name__ == "__main__":
    raise SystemExit(main())

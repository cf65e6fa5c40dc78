"""Does the model read the lesion, or what lies beside it? Score it under artefacts, and without.

    python -m dermssl.stress_test outputs/ssl_finetuned

Every photo of the split is shown clean, with each artefact drawn on it (hair, ruler, ink, ...),
with its lesion erased, and with nothing but its lesion. The drop against the clean photos is
paired. A score clearly above chance without the lesion is reported as a shortcut. Lesions are
erased by the run's masks, or those found below DATA (masks/NAME.png, NAME_segmentation.png), where
there are any, else by a disc in the centre. Writes into RUN/stress_test/.
"""

import shlex
from pathlib import Path

from dermssl.core import atomic_files, cli, runs
from dermssl.core.errors import UserError
from dermssl.core.settings import SPLITS

FOLDER = "stress_test"
SHOWN = 7  # photos on the contact sheet, one a class


def run(
    path, data=None, split="test", max_photos=0, masks=None, strength=1.0, n_resamples=1000,
    batch_size=32, seed=0, output=None,
):  # fmt: skip
    """Stress a finished fine-tuning run.

    Args:
        path: the run's folder.
        data: the folder of its photos, if it has moved.
        split: "train", "validation" or "test".
        max_photos: score no more than these, spread evenly over the classes; 0 for all.
        masks: folder of lesion masks; None for the run's own, or those below its data.
        strength: of the artefacts, in (0, 1].
        n_resamples: draws of the bootstrap.
        batch_size: photos through the network at once.
        seed: int, of the artefacts, the noise and the choice of photos.
        output: folder to write into; None for `stress_test` in the run's folder.

    Returns:
        Path of the folder: stress.csv, stress.json, stress.png, conditions.png, report.md and
        report.html.

    Raises:
        UserError: the run isn't finished, its photos aren't there, or nothing can be scored.
    """
    import numpy as np

    from dermssl.data import masks as named
    from dermssl.data.records import group_ids, label_arrays
    from dermssl.evaluation import hypothesis_tests
    from dermssl.inference import finished_run
    from dermssl.reporting import report
    from dermssl.studies.stress import conditions, predict
    from dermssl.studies.stress import scores as shortcuts
    from dermssl.training import callbacks

    _check(max_photos, strength, n_resamples, batch_size)
    path = Path(path)
    finished = finished_run.load(path, "finetune")
    found = finished.predictions
    rows = found.table["split"].eq(split) & found.table["fine"].ne("")
    rows = np.flatnonzero(rows)
    if not len(rows):
        raise UserError(f"{path}: no record with a fine label in split '{split}'; nothing to score")
    rows = rows[finished_run.stratified_subset(found.table["fine"].iloc[rows], max_photos, seed)]
    dataset = finished.dataset(found.table.iloc[rows], moved=data)
    if masks and not Path(masks).is_dir():
        raise UserError(f"--masks {masks}: no such folder; give the one with the lesion masks")
    if masks:
        mask_files = named.in_folder(masks, dataset.index["path"], found.table["path"])
    else:
        mask_files = finished_run.masks_of(dataset)
    if masks and not any(mask_files):
        raise UserError(f"--masks {masks}: no mask of these photos in it (NAME_segmentation.png)")
    folder = report.make_output_folder(output or path / FOLDER)

    model, size, taxonomy = finished.model(), finished.image_size, found.taxonomy
    photos = finished.photos(dataset, cache_mb=64, prepared=False)
    hole = conditions.lesion_regions(mask_files, photos)
    n_masks = sum(map(bool, mask_files))
    wanted = conditions.names(n_masks / len(rows))
    options = {"seed": seed, "strength": strength}
    options["steps"] = finished.data.preprocess
    with callbacks.counted("Stress test", len(rows)) as done:
        p = predict.predict(model, photos, hole, rows, wanted, size, batch_size, done, **options)
    y, _ = label_arrays(dataset.index, taxonomy)
    groups = group_ids(dataset.index)
    scores = shortcuts.score(y, p, groups, taxonomy, conditions.CLEAN, n_resamples)
    kept = found.table.iloc[rows][[f"p_fine_{name}" for name in taxonomy.fine]].to_numpy(float)
    made = {
        "run": str(path),
        "command": _command(
            path, data, split, max_photos, masks, strength, n_resamples, seed, output
        ),
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
    shown = [
        [
            conditions.view(
                name, photos[k], hole(k, photos[k]), size, record=int(rows[k]), **options
            )
            for name in wanted
        ]
        for k in picked
    ]
    _draw(folder, made, scores, shown, [taxonomy.fine[y[k]] for k in picked])
    _write(folder, made, found, scores, y, p, groups)
    return folder


def _check(max_photos, strength, n_resamples, batch_size):
    if max_photos < 0:
        raise UserError(f"--max-photos {max_photos}; it must be at least 1, or 0 for all")
    if not 0 < strength <= 1:
        raise UserError(f"--strength {strength}; it must be above 0 and at most 1")
    for name, value in (("n-resamples", n_resamples), ("batch-size", batch_size)):
        if value < 1:
            raise UserError(f"--{name} is {value}; it must be at least 1")


def _command(path, data, split, max_photos, masks, strength, n_resamples, seed, output):
    words = ["python", "-m", "dermssl.stress_test", str(path)]
    options = {
        "data": (data, None), "split": (split, "test"), "max-photos": (max_photos, 0),
        "masks": (masks, None), "strength": (strength, 1.0), "n-resamples": (n_resamples, 1000),
        "seed": (seed, 0), "output": (output, None),
    }  # fmt: skip
    return shlex.join(words + cli.changed(options))


def _write(folder, made, found, scores, y, p, groups):
    """stress.csv, stress.json and the report."""
    import numpy as np

    from dermssl.data import lesion_inpainting
    from dermssl.evaluation import metric_tables as scored
    from dermssl.evaluation.run_groups import TITLES
    from dermssl.reporting import report, results_csv, wording
    from dermssl.studies.stress import conditions
    from dermssl.studies.stress import report as stress_report

    n_discs = made["n"] - made["n_masks"]
    warned = stress_report.warnings(scores, y, p, n_discs, groups)
    said = stress_report.findings(scores, y, p, n_discs, groups)
    results_csv.write_rows(
        folder / "stress.csv", stress_report.rows(scores, made["n"], made["n_groups"])
    )
    atomic_files.write_json(
        folder / "stress.json",
        {
            **made, "warnings": warned, "findings": said,
            "conditions": stress_report.numbers(scores), "versions": runs.versions(),
        },
    )  # fmt: skip
    status = dict.fromkeys(("arm", "seed", "config_hash", "data_hash"), "n/a") | found.status
    model = TITLES.get(status["arm"], status["arm"])
    if status.get("n_labels"):
        model += f", {wording.count(status['n_labels'], 'label')}"
    unit = scored.grouped_by(groups)
    counts = {"n_fine": made["n"], "n_groups": made["n_groups"], "grouped_by": unit}
    report.write(
        folder / "report.md",
        "stress_report.md",
        **{key: made[key] for key in ("n", "n_masks", "strength", "n_resamples", "command")},
        **{key: made[key] for key in ("split", "chance", "agreement")},
        run=Path(made["run"]).name or made["run"],
        run_path=made["run"],
        model=model,
        status=status,
        basis=wording.photos(counts, made["split"]),
        chosen=stress_report.chosen(made),
        warnings=warned,
        notes=stress_report.notes(made, scores, y, groups, found.taxonomy, unit),
        findings=said,
        rows=stress_report.table(scores),
        malignant=scores[0].sensitivity is not None,
        boxed=conditions.BACKGROUND in p,
        n_classes=len(np.unique(y)),
        disc=lesion_inpainting.DISC,
        root=made["data"],
        unit=unit,
        versions=report.versions(status),
    )


def _draw(folder, made, scores, pictures, classes):
    """stress.png and conditions.png."""
    from dermssl.studies.stress import conditions, figures

    shown = [(conditions.title(score.name), score) for score in scores]
    title = f"Stress test, {made['n']:,} {made['split']} photos"
    figures.scores(folder / "stress.png", shown, made["chance"], title)
    names = [name for name, _ in shown]
    figures.conditions(folder / "conditions.png", pictures, classes, names)


def parser():
    """The command line."""
    made = cli.parser("stress_test", __doc__)
    made.add_argument("run", metavar="RUN", help="folder of a finished fine-tuning run")
    made.add_argument("--data", metavar="FOLDER", help="the run's photos, if they have moved")
    made.add_argument("--split", choices=SPLITS, default="test", help="(default: test)")
    made.add_argument(
        "--max-photos", type=int, default=0, metavar="N",
        help="score no more than N, spread evenly over the classes (default: all)",
    )  # fmt: skip
    made.add_argument("--masks", metavar="FOLDER", help="lesion masks (default: the run's)")
    made.add_argument(
        "--strength", type=float, default=1.0, metavar="X", help="of the artefacts (default: 1)"
    )
    made.add_argument(
        "--n-resamples", type=int, default=1000, metavar="N",
        help="draws of the bootstrap (default: 1000)",
    )  # fmt: skip
    made.add_argument("--batch-size", type=int, default=32, metavar="N", help="(default: 32)")
    made.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    made.add_argument("--output", metavar="FOLDER", help="(default: RUN/stress_test)")
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def _run(args):
    cli.check_resamples(args.n_resamples)
    if not 0 <= args.seed < 2**31:
        raise UserError(f"--seed {args.seed}; it must be from 0 to 2147483647")
    cli.quiet_tensorflow()
    folder = run(
        args.run, args.data, args.split, args.max_photos, args.masks, args.strength,
        args.n_resamples, args.batch_size, args.seed, args.output,
    )  # fmt: skip
    found = runs.read_json(folder / "stress.json")
    _tell(args, found)
    print(f"report: {folder / 'report.md'}")


def _tell(args, found):
    from dermssl.reporting import wording
    from dermssl.studies.stress.conditions import title

    print(f"{args.run}: {found['n']} {args.split} photos, chance {found['chance']:.3f}")
    for name, entry in found["conditions"].items():
        print(
            f"  {title(name):<20} balanced accuracy {wording.of_json(entry['balanced_accuracy'])}"
        )
    for sentence in found["findings"]:
        print(f"- {sentence}")
    for warning in found["warnings"]:
        print(f"warning: {warning}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

"""Look a data set over before anything is trained on it: duplicates, leaks, contradictions.

    python -m dermssl.check_data --data PHOTOS

Finds unreadable photos, equal files and pixels, near duplicates (also mirrored, turned, resized or
re-encoded), lesions and patients in two splits, lesions and duplicates with different labels. With
--run, photos that a pretrained backbone takes for alike, too. Writes a report, and pairs as CSV.
"""

import logging
import shlex
from pathlib import Path

from dermssl.core import cli, runs
from dermssl.core import config as configs
from dermssl.core.errors import RunFailed, UserError

SECTIONS = ("data",)
OUTPUT = "outputs/check_data"
# Photos are looked at as they are, once; an experiment file may still hold these.
UNUSED = ("preprocess", "cache_mb", "cache_dir", "cache_disk_mb")
NEAR = 28  # bits of 255; where it comes from stands in dermssl.studies.data_audit.perceptual_hash
SIMILARITY = 0.95  # cosine of centred embeddings


def run(config, pretrained=None, near=NEAR, similarity=SIMILARITY, command=""):
    """Audit a data set and write what was found.

    Args:
        config: dict from `dermssl.core.config.from_flags`: data, output. `on_bad` is not asked:
            bad photos are listed.
        pretrained: folder of a pretraining run, whose embeddings are compared, or None.
        near: int, bits of 255 up to which two photos are near duplicates; -1 for none.
        similarity: float, cosine from which two embeddings are similar.
        command: str, what to type for the same again.

    Returns:
        Path of the folder: check_data.json, duplicates.csv, crossing.csv, photos.csv, report.md,
        report.html and the pictures.

    Raises:
        UserError: no data set there, or no readable photo in it.
    """
    import dataclasses

    import numpy as np

    from dermssl.data import masks, preprocess
    from dermssl.reporting import report
    from dermssl.studies.data_audit import audit, perceptual_hash
    from dermssl.studies.data_audit import report as data_report

    data = config["data"]
    dataset, notes = _read(data)
    backbone, steps = _backbone(pretrained) if pretrained else (None, ())
    folder = report.make_output_folder(config["output"] or OUTPUT)
    seen = perceptual_hash.survey(dataset.files)
    readable = (seen.table["error"] == "").to_numpy()
    if not readable.any():
        raise UserError(
            f"--data {data.path}: none of {len(readable)} images is readable; "
            f"the first: {seen.table['error'].iloc[0]}"
        )
    # As for training: without the photos that can't be read.
    good, splits_from = audit.with_splits(
        dataset.with_index(dataset.index[readable]),
        data.validation, data.test, data.split_seed, data.group_by,
    )  # fmt: skip
    split = np.full(len(readable), "", dtype=object)
    split[readable] = good.index["split"]
    dataset = dataset.with_index(dataset.index.assign(split=split))
    features = None
    if backbone:
        from dermssl.inference import outputs

        good = dataset.with_index(dataset.index[readable])
        if preprocess.CROP in steps:  # nothing else here looks at masks
            good = masks.verified(good, "skip", "")
        found = outputs.embed_records(backbone, good, dataclasses.replace(data, preprocess=steps))
        features = np.zeros((len(readable), found.shape[1]), np.float32)
        features[readable] = found
    found = audit.audit(dataset.index, seen, near, features, similarity)
    settings = {
        "data": str(data.path), "near_bits": near, "bits": perceptual_hash.BITS,
        "run": pretrained and str(pretrained), "similarity": similarity if pretrained else None,
        "splits": splits_from, "command": command, "notes": notes,
    }  # fmt: skip
    data_report.write(folder, found, dataset, settings)
    return folder


def _read(data):
    """The data set and what its reader warned of, each a line."""
    import dataclasses

    from dermssl.data import readers

    notes, handler = [], logging.Handler(logging.WARNING)
    handler.emit = lambda record: notes.append(record.getMessage())
    log = logging.getLogger("dermssl")
    log.addHandler(handler)
    try:
        # A missing photo is a finding here, not the end.
        dataset = readers.read(dataclasses.replace(data, on_bad="skip"))
    finally:
        log.removeHandler(handler)
    return dataset, notes


def _backbone(pretrained):
    """The backbone settings of a pretraining run, pointing at its weights, and its steps."""
    from dermssl.inference import finished_run

    run = finished_run.load(pretrained, "pretrain")
    return run.start(), run.data.preprocess


def show_augmentations(config, path):
    """Write a picture of what each augmentation does to some photos of the data set."""
    from dermssl.data import decode
    from dermssl.studies.data_audit import augmentation_sheet

    if Path(path).suffix.lower() != ".png":
        raise UserError(f"--show-augmentations {path}: give the name of a .png file")
    dataset, _ = _read(config["data"])
    good, files = [], iter(dataset.files)
    while len(good) < augmentation_sheet.COLUMNS and (file := next(files, None)):
        if not decode.verify_all([file]):
            good.append(file)
    if not good:
        raise UserError(f"--data {config['data'].path}: no readable photo to show")
    augmentation_sheet.write(path, good, seed=config["seed"])


def parser():
    """The command line."""
    made = cli.parser("check_data", __doc__)
    configs.add_flags(made, *SECTIONS, without=UNUSED, resumable=False)
    made.add_argument("--run", metavar="RUN", help="pretraining run whose embeddings are compared")
    made.add_argument(
        "--near", type=int, default=NEAR, metavar="N",
        help=f"bits of 255 up to which photos are near duplicates; -1: none (default: {NEAR})",
    )  # fmt: skip
    made.add_argument(
        "--similarity", type=float, default=SIMILARITY, metavar="X",
        help=f"cosine from which embeddings are similar, with --run (default: {SIMILARITY})",
    )  # fmt: skip
    made.add_argument(
        "--strict", action="store_true",
        help="exit with 1 on unreadable photos, leaks or contradicting labels",
    )  # fmt: skip
    made.add_argument(
        "--show-augmentations", metavar="OUT.png", help="only draw what each augmentation does"
    )
    return made


def _run(args):
    config = configs.from_flags(args, *SECTIONS)
    if args.show_augmentations:
        show_augmentations(config, args.show_augmentations)
        print(f"augmentations: {args.show_augmentations}")
        return
    if not -1 <= args.near <= 64:
        raise UserError(f"--near {args.near}; give bits from -1 to 64, strangers differ in 70 up")
    if not 0 < args.similarity <= 1:
        raise UserError(f"--similarity {args.similarity}; give a cosine over 0 and up to 1")
    if args.run:
        cli.quiet_tensorflow()
    words = ["python", "-m", "dermssl.check_data", *configs.as_flags(config["data"], UNUSED)]
    words += ["--near", str(args.near)] if args.near != NEAR else []
    words += ["--run", args.run, "--similarity", str(args.similarity)] if args.run else []
    words += ["--output", config["output"]] if config["output"] else []
    folder = run(config, args.run, args.near, args.similarity, shlex.join(words))
    found = runs.read_json(folder / "check_data.json")
    for finding in found["findings"]:
        print(f"- {finding}")
    print(f"report: {folder / 'report.md'}")
    if args.strict and found["faults"]:
        raise RunFailed(f"--strict: {'; '.join(found['faults'])}; see {folder / 'report.md'}")


def main(argv=None):
    """Entry point; returns the exit code."""
    return cli.run(parser(), _run, argv)


if __name__ == "__main__":
    raise SystemExit(main())

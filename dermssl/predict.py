"""Predict fine and coarse class probabilities for new photos.

    python -m dermssl.predict outputs/ssl_finetuned PHOTO_OR_FOLDER ... --output new.csv

Photos are read once, predicted and written batch by batch, so a folder of any size fits in memory;
those that can't be read are passed over and reported. The ending of the output chooses CSV, JSON
lines (.jsonl) or Parquet; `path` is relative to the folder given, or to the one that holds all that
was given. Probabilities are calibrated as the run's temperature.json says; --uncalibrated gives
them raw, as in the run's own predictions.csv. The classes named, `fine` and `coarse`, are the same
either way: the likeliest by the raw probabilities, as they are scored. A coarse class is as likely
as its fine ones together, so it needn't be that of the fine class named. `most_probable_fine` and
`most_probable_coarse` have the highest probability given, which are others where training counted
rare classes as common ones. `p_malignant` is what the thresholds of dermssl.evaluate are for. The
columns `temperature` and `prior_power` say what was applied, 1 and 0 being raw. With --coverage
`conformal_set` has the classes that a photo may be of (see dermssl.evaluate). Photos that don't
look like the run's, by embedding, colour or size, are named in the column `unlike_run` and counted
in one line: the run's scores may not hold for them. `nearest_training` names the three training
lesions with the nearest embeddings, each with its class and its distance (1 is the limit of
`distance_to_run`). `remark` says "not confident" where the highest probability is under a limit
that a fifth of the validation photos didn't reach, or, with --coverage, where the set doesn't hold
one class, "not like the training photos", and "fine and coarse disagree" where the class in `fine`
isn't of the group in `coarse`: take it as undecided. --explain FOLDER draws a heat map (Grad-CAM)
of the class in `fine` for every photo. Not for diagnosis: the probabilities are those of a research
model.
"""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dermssl.core import cli, left_out, results
from dermssl.core.errors import UserError
from dermssl.core.setting import SQUARE


def run(config: dict[str, Any], passing: Callable[[Any], Iterator[Any]] | None = None) -> int:
    """Predict photos with a fine-tuned run.

    Args:
        config: settings from `core.config.configure`; "output" is the path of a table.
        passing: takes the tables and yields them again; without an output they then go nowhere
            else. None writes them to standard output where there is no output.

    Returns:
        int, the number of photos predicted.
    """
    from dermssl.data import decode, preprocess
    from dermssl.data.masks import image_files, of_model
    from dermssl.inference import finished_run, new_photos, prediction_files

    settings, output = config["predict"], config["output"]
    if not settings.run or not settings.source:
        raise UserError(
            "no photos to predict: give predict.run, the folder of a fine-tuned run, and "
            "predict.source, images or folders of them"
        )
    if output:
        prediction_files.check(output)
    finished = finished_run.load(settings.run, "finetune")
    scaling = new_photos.calibrator_of(settings.run, not settings.uncalibrated)
    sets = new_photos.sets_of(settings.run, settings.coverage)
    given: dict[str, str] = {}  # a photo -> what it was given by, once
    known: set[str] = set()
    for source in settings.source:
        new = {file: os.path.realpath(file) for file in image_files(source)}
        given |= {file: source for file, real in new.items() if real not in known}
        known |= set(new.values())
    files = every = list(given)
    bad: list[tuple[str, str]] = []
    # Else a photo is read once: it is found to be bad when its turn comes.
    if settings.on_bad == "error" or preprocess.CROP in finished.data.preprocess:
        bad = decode.verify_all(files)
        refused = dict(bad)
        files = [file for file in files if file not in refused]
    if bad and settings.on_bad == "error":
        raise UserError(
            f"{bad[0][1]} ({len(bad)} bad of {len(every)}; predict.on_bad skip leaves them out)"
        )
    draw = _overlays(settings.explain, settings.source) if settings.explain else None
    groups = [(one, [file for file in files if given[file] == one]) for one in settings.source]
    masks = of_model(groups, finished.data.preprocess, settings.on_bad)
    folder = os.path.commonpath([_folder_of(source) for source in settings.source])

    def readable():
        tables = new_photos.tables(
            finished, files, masks, settings.batch_size, scaling, sets, bad, folder, draw
        )
        yield from passing(tables) if passing else tables
        if len(bad) == len(every):
            raise UserError(
                f"{', '.join(settings.source)}: none of {len(bad)} images is readable, the first: "
                f"{bad[0][1]}"
            )

    if output:
        prediction_files.write(readable(), output)
    elif passing:
        list(readable())
    else:
        prediction_files.csv(readable(), sys.stdout)
    left_out.tell_bad(logging.getLogger("dermssl"), bad, len(every))
    return len(every) - len(bad)


def _overlays(folder, sources):
    """A function that writes the heat maps of a batch below a folder and returns their paths."""
    from dermssl.core import atomic_files
    from dermssl.data import heat_overlay, paths

    for source in sources:
        if os.path.isdir(source) and paths.is_inside(
            Path(source).resolve(), os.path.realpath(folder)
        ):
            raise UserError(
                f"predict.explain {folder}: lies in the folder of the photos, {source}, where heat "
                "maps would be taken for photos; name another folder"
            )
        if os.path.realpath(folder) == os.path.dirname(os.path.realpath(source)):
            raise UserError(
                f"predict.explain {folder}: the folder of the photo {source}, where heat maps "
                "would be taken for photos; name another folder"
            )

    def make(place):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"predict.explain {folder}: {place} can't be made ({error.strerror}); choose "
                "another folder"
            ) from error

    def draw(names, photos, heat_maps):
        written = [root / f"{name}.jpg" for name in names]  # a.png and a.jpg may lie together
        for file, photo, heat in zip(written, photos, heat_maps):
            make(file.parent)
            atomic_files.write_bytes(file, heat_overlay.jpeg(photo, heat))
        return [file.as_posix() for file in written]

    root = Path(folder)
    make(root)
    return draw


def _folder_of(source):
    """The folder given (of shards, their index), or that of the photo or container given."""
    from dermssl.data import paths, photo_bytes, shard_files, storage

    if storage.elsewhere(source):
        return str(paths.existing_folder(source, "predict.source"))
    place, _ = photo_bytes.located(source) or (source, "")
    place = os.path.abspath(place)
    if os.path.isdir(place):
        return str(shard_files.root_of(Path(place)))
    return os.path.dirname(place)


def tell(config: dict[str, Any], count: int) -> None:
    """Print how many photos there were, what is seen of one, and what was done to its P."""
    from dermssl.inference import new_photos

    settings, output = config["predict"], config["output"]
    if output:
        print(f"{count} photos: {output}")
    said = cli.with_flags(new_photos.calibration(settings.run, not settings.uncalibrated))
    # Without an output the table itself is on standard output.
    print(f"{SQUARE}.\n{said}", file=sys.stdout if output else sys.stderr)


def table(config: dict[str, Any]) -> Any:
    """The predictions as a DataFrame, also written where the settings name an output."""
    import pandas as pd

    kept = []

    def passing(tables):
        for table in tables:
            kept.append(table)
            yield table

    run(config, passing)
    return pd.concat(kept, ignore_index=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("predict", __doc__, run, tell, argv)


results.make_callable(__name__, table, lambda predictions: predictions)

if __name__ == "__main__":
    raise SystemExit(main())

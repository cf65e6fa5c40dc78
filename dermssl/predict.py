"""Predict fine and coarse class probabilities for new photos.

    python -m dermssl.predict outputs/ssl_finetuned PHOTO_OR_FOLDER --output new.csv

Photos are read, predicted and written batch by batch, so a folder of any size fits in
memory. Probabilities are calibrated as the run's temperature.json says; --uncalibrated gives
them raw, as in the run's own predictions.csv. The classes named, `fine` and `coarse`, are the same
either way: the likeliest by the raw probabilities, as they are scored. A coarse class is as likely
as its fine ones together, so it needn't be that of the fine class named. `most_probable_fine` and
`most_probable_coarse` have the highest probability given, which are others where training counted
rare classes as common ones. `p_malignant` is what the thresholds of dermssl.evaluate are for. The
columns `temperature` and `prior_power` say what was applied, 1 and 0 being raw. With --coverage
`conformal_set` has the classes that a photo may be of (see dermssl.evaluate). Photos that don't
look like the run's, by embedding, colour or size, are named in the column `unlike_run` and counted
in one line: the run's scores may not hold for them. Not for diagnosis: the probabilities are those
of a research model.
"""

import io
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from dermssl.core import atomic_files, cli, left_out, results
from dermssl.core.errors import UserError


def run(config: dict[str, Any], file: TextIO | None = None) -> int:
    """Predict photos with a fine-tuned run.

    Args:
        config: settings from `core.config.configure`; "output" is the path of a CSV.
        file: where to write without an output.

    Returns:
        int, the number of photos predicted.
    """
    from dermssl.data import decode
    from dermssl.data.masks import image_files, of_model
    from dermssl.inference import finished_run, new_photos

    settings, output = config["predict"], config["output"]
    folder, source, on_bad = settings.run, settings.source, settings.on_bad
    if not folder or not source:
        raise UserError(
            "no photos to predict: give predict.run, the folder of a fine-tuned run, and "
            "predict.source, an image or a folder of images"
        )
    _check_output(output)
    finished = finished_run.load(folder, "finetune")
    scaling = new_photos.calibrator_of(folder, not settings.uncalibrated)
    sets = new_photos.sets_of(folder, settings.coverage)
    files = image_files(source)
    bad = decode.verify_all(files)
    if on_bad == "skip":
        left_out.tell_bad(logging.getLogger("dermssl"), bad, len(files))
    if bad and on_bad == "error":
        raise UserError(
            f"{bad[0][1]} ({len(bad)} bad of {len(files)}; predict.on_bad skip leaves them out)"
        )
    refused = {name for name, _ in bad}
    files = [file for file in files if file not in refused]
    if not files:
        raise UserError(f"{source}: none of {len(bad)} images is readable; check the folder")
    masks = of_model([(source, files)], finished.data.preprocess, on_bad)
    tables = new_photos.tables(finished, files, masks, settings.batch_size, scaling, sets)
    if output is None:
        new_photos.write(tables, file or sys.stdout)
    else:
        with (
            atomic_files.atomic_write(output) as temporary,
            open(temporary, "w", encoding="utf-8") as file,
        ):
            new_photos.write(tables, file)
    return len(files)


def _check_output(output):
    if output and not Path(output).absolute().parent.is_dir():
        raise UserError(f"run.output {output}: its folder does not exist; make it first")
    if output and Path(output).is_dir():
        raise UserError(f"run.output {output}: is a folder; give the name of a CSV file")


def tell(config: dict[str, Any], count: int) -> None:
    """Print how many photos there were, and what was done to their probabilities."""
    from dermssl.inference import new_photos

    settings, output = config["predict"], config["output"]
    if output:
        print(f"{count} photos: {output}")
    # Without an output the table itself is on standard output.
    said = cli.with_flags(new_photos.calibration(settings.run, not settings.uncalibrated))
    print(said, file=sys.stdout if output else sys.stderr)


def table(config: dict[str, Any]) -> Any:
    """The predictions as a DataFrame, also written where the settings name an output."""
    import pandas as pd

    file = io.StringIO()
    run(config, file)
    source = config["output"] or io.StringIO(file.getvalue())
    return atomic_files.unescape_formulas(pd.read_csv(source, keep_default_na=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return cli.main("predict", __doc__, run, tell, argv)


results.make_callable(__name__, table, lambda predictions: predictions)

if __name__ == "__main__":
    raise SystemExit(main())

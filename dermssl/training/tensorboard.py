"""Write images, embeddings, hyperparameters and scores for TensorBoard."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from dermssl.core import atomic_files, runs
from dermssl.core import config as configs
from dermssl.core.event_file import EventFile
from dermssl.evaluation.interval import Interval

SPRITE_SIDE = 8192  # pixels; the projector shows no larger sheet


def images(folder: Path, pictures: Iterable[tuple[str, np.ndarray, str]]) -> None:
    """Image summaries, without those of an attempt before.

    Args:
        folder: Path, such as RUN/tensorboard/explain.
        pictures: list of (tag, uint8 (h, w, 3) RGB, description in Markdown).
    """
    with EventFile(folder) as events:
        for tag, picture, description in pictures:
            events.image(tag, picture, about=description)


def projector(
    folder: Path, embeddings: np.ndarray, metadata: pd.DataFrame, thumbnails: Sequence[np.ndarray]
) -> None:
    """The files of TensorBoard's projector, beside an event file: without one it sees no run.

    Args:
        folder: Path, a run of TensorBoard's, as `images` makes it.
        embeddings: float (n, d).
        metadata: DataFrame, n rows; its columns are offered for labels and colours.
        thumbnails: list of n uint8 (side, side, 3) RGB.
    """
    from google.protobuf import text_format
    from tensorboard.plugins import projector as plugin

    lines = ("\t".join(f"{value:.5g}" for value in row) for row in np.asarray(embeddings))
    atomic_files.write_text(folder / "tensors.tsv", "\n".join(lines) + "\n")
    cells = atomic_files.escape_formulas(metadata).map(_cell)
    rows = ["\t".join(cells.columns), *("\t".join(row) for row in cells.itertuples(index=False))]
    atomic_files.write_text(folder / "metadata.tsv", "\n".join(rows) + "\n")
    sheet, side = sprite(thumbnails)
    with atomic_files.atomic_write(folder / "sprite.png") as temporary:
        Image.fromarray(sheet).save(temporary)
    config = plugin.ProjectorConfig()
    entry = config.embeddings.add()
    entry.tensor_name, entry.tensor_path = "embedding", "tensors.tsv"
    entry.metadata_path, entry.sprite.image_path = "metadata.tsv", "sprite.png"
    entry.sprite.single_image_dim.extend([side, side])
    atomic_files.write_text(folder / "projector_config.pbtxt", text_format.MessageToString(config))


def _cell(value):
    """A value on one line, without tabs; what isn't known says so."""
    return "not known" if pd.isna(value) else " ".join(str(value).split()) or "not known"


def sprite(thumbnails: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """All thumbnails on one square sheet, row by row; (uint8 (h, h, 3), side of one)."""
    across = math.ceil(math.sqrt(len(thumbnails)))
    side = min(len(thumbnails[0]), SPRITE_SIDE // across)
    sheet = np.full((across * side, across * side, 3), 255, np.uint8)
    for k, picture in enumerate(thumbnails):
        top, left = (side * place for place in divmod(k, across))
        shown = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        sheet[top : top + side, left : left + side] = shown
    return sheet, side


SCORES = ("balanced_accuracy", "roc_auc", "log_loss")
SETTINGS = ("backbone", "pretrain", "finetune")  # sections whose settings HParams compares


def write_scores(
    run: runs.Run, config: dict[str, Any], scores: Mapping[str, float | None], **known: Any
) -> None:
    """A run as a row of TensorBoard's HParams: its settings and its scores at the end.

    Below one folder HParams compares all runs. It is in RUN/tensorboard/scores.

    Args:
        run: `runs.Run`.
        config: dict as from `dermssl.core.config.from_flags`.
        scores: tag -> score; one that isn't defined is left out.
        known: what else tells runs apart, such as the arm.
    """
    compared = configs.comparable(configs.as_tables(config))
    settings = {
        f"{section}.{name}": " ".join(map(str, value)) if isinstance(value, list) else value
        for section in SETTINGS
        for name, value in compared.get(section, {}).items()
    }
    trial = settings | known | {"seed": config["seed"], "data": run.status["data_hash"]}
    with EventFile(run / "tensorboard" / "scores") as events:
        events.hparams(trial, name=configs.config_hash(config) + run.status["data_hash"])
        for tag, score in scores.items():
            if score is not None and np.isfinite(score):
                events.scalar(tag, score)


def write_cell(
    folder: Path, cell: Any, losses: Sequence[float], intervals: Mapping[str, Interval]
) -> None:
    """Log a cell of a grid: its axes, its loss curve, and its scores on the test photos.

    What a process killed before the cell's row was written had logged is replaced.

    Args:
        folder: of this cell alone.
        cell: `grid_plan.Cell`.
        losses: list of float, one an epoch; empty where the cell failed.
        intervals: dict of metric -> `Interval`; empty where there is no score.
    """
    axes = {"model": cell.model, "depth": cell.depth, "augmentation": cell.augmentation}
    axes |= {} if cell.fold is None else {"fold": cell.fold}
    with EventFile(folder) as events:
        events.hparams(axes | {"seed": cell.seed}, name=cell.name)
        for epoch, loss in enumerate(losses, start=1):
            events.scalar("loss", loss, step=epoch)
        for name in SCORES:
            if name in intervals and np.isfinite(intervals[name].estimate):
                events.scalar(name, intervals[name].estimate, step=len(losses))

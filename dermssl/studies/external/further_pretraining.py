"""Pretrain a run's backbone further on another place's photos, and train its head again.

SimCLR goes on from the run's own backbone, on the photos that are adapted to together with the
run's training photos: with the new ones alone, the embedding would lose what the run's classes are
told by. No label is used. The old head doesn't fit the embedding that moved, so a new one is
trained on the run's labelled photos with the backbone frozen, and calibrated on the run's
validation records. Both are the trainings of dermssl.pretrain and dermssl.finetune, and resume
exactly.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import keras
import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.core.settings import Finetune, Pretrain
from dermssl.core.study_settings import Adapt
from dermssl.data import paths, records, splits
from dermssl.data.records import MASK, TRAIN, Dataset
from dermssl.inference import finished_run
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import weights
from dermssl.studies.external.places import Place

# Folders below the adapted run's; that of the head is gone once its content is the adapted run.
PRETRAINING, HEAD = "pretraining", "head"
START = "start.weights.h5"  # the run's backbone, from which SimCLR goes on
UNLABELLED = "unlabelled"  # source of photos from a second folder; see `data.readers`
Makers = Sequence[Callable[..., Any]]


@dataclass(frozen=True, eq=False)
class FurtherPretraining:
    """A finished further pretraining.

    Attributes:
        head: the run of the new head on the moved backbone.
        recipe: of SimCLR.
        n_new, n_own: photos of the new place, and training photos of the run, that SimCLR saw.
        loss: of its last epoch.
    """

    head: FinishedRun
    recipe: Pretrain
    n_new: int
    n_own: int
    loss: float

    @property
    def head_epochs(self) -> int:
        """At most; training stops by the validation split."""
        return int(self.head.settings["finetune"].frozen_epochs)


def own_dataset(run: FinishedRun, moved: str = "") -> Dataset:
    """The records and splits that a run was made with, read again from its photos.

    Args:
        run: of fine-tuning.
        moved: the folder of its photos now; "" for where it found them.

    Raises:
        UserError: they aren't there, or aren't those that the run was made with.
    """
    data = _own_data(run, moved)
    needs = "adapt.pretrain_epochs: the head is trained again on the run's own labelled photos, and"
    try:
        paths.existing_folder(data.path, "data.path")
    except UserError as error:
        raise UserError(
            f"{needs} {data.path or 'their folder'} isn't there; name their folder with "
            "adapt.run_data"
        ) from error
    dataset = splits.prepare(data)
    if records.data_hash(dataset) != run.status.get("data_hash"):
        raise UserError(
            f"{needs} those in {data.path} aren't the ones that {run.path} was made with (another "
            "data hash); name their folder with adapt.run_data"
        )
    return dataset


def _own_data(run, moved):
    return dataclasses.replace(run.data, path=moved or run.data.path)


def pool(own: Dataset, place: Place, mine: np.ndarray, scored: np.ndarray) -> Dataset:
    """The run's records with the photos that are adapted to, as unlabelled training records.

    Args:
        own: from `own_dataset`; its training split is pretrained on, its validation split serves
            the health panel.
        place: `Place`.
        mine, scored: positions of its photos to adapt to, and to score. A photo of `mine` with the
            same pixels as a scored one is left out.
    """
    pixels = place.seen.table["pixel_hash"]
    mine = mine[~pixels.iloc[mine].isin(set(pixels.iloc[scored]) - {""}).to_numpy()]
    new = place.dataset.with_index(place.dataset.index.iloc[mine])
    table = {"path": _below(own.root, new.files), "source": UNLABELLED, "split": TRAIN}
    if new.mask_files is not None:
        table[MASK] = _below(own.root, new.mask_files)
    index = own.index[own.index["source"] != UNLABELLED]
    return Dataset(
        own.root,
        records.make_index(pd.concat([index, pd.DataFrame(table)]).fillna({MASK: ""})),
        own.taxonomy,
    )


def _below(root, files):
    """Paths as a record table has them; "" stays ""."""
    return [PurePosixPath(os.path.relpath(file, root)).as_posix() if file else "" for file in files]


def train(
    run: FinishedRun,
    own: Dataset,
    place: Place,
    mine: np.ndarray,
    scored: np.ndarray,
    folder: Path,
    config: dict[str, Any],
    makers: Makers,
) -> FurtherPretraining:
    """Pretrain further, then train the head; what an earlier call finished is taken from there.

    Args:
        run: whose backbone SimCLR goes on from.
        own: from `own_dataset`.
        place, mine, scored: as of `pool`.
        folder: of the adapted run.
        config: settings from `core.config.configure`; its seed is that of SimCLR. The head keeps
            the run's seed, which also chose its labels.
        makers: the `run` functions of `dermssl.pretrain` and `dermssl.finetune`.

    Raises:
        UserError: the folder holds a further pretraining with other settings.
        RunFailed: a training diverged, or a file could not be written.
    """
    settings: Adapt = config["adapt"]
    pretrain, finetune = makers
    both = pool(own, place, mine, scored)
    photos = both.subset(TRAIN).index
    n_new = int((photos["source"] == UNLABELLED).sum())
    recipe = _recipe(run, settings.pretrain_epochs, len(photos))
    every = {"checkpoint": config.get("checkpoint"), "overwrite": config.get("overwrite", False)}
    data, backbone = _own_data(run, settings.run_data), run.settings["backbone"]
    first = dataclasses.replace(backbone, weights=str(_start(run, folder)))
    keras.backend.clear_session()
    pretrain(
        every | {
            "data": dataclasses.replace(data, unlabelled=place.path), "backbone": first,
            "pretrain": recipe, "seed": config["seed"], "output": str(folder / PRETRAINING),
        },
        both,
    )  # fmt: skip
    keras.backend.clear_session()
    second = dataclasses.replace(backbone, weights=str(folder / PRETRAINING))
    finetune(
        every | {
            "data": data, "backbone": second, "finetune": _head(run.settings["finetune"]),
            "seed": run.settings["seed"], "output": str(folder / HEAD),
            "tables": {"backbone": {"weights": second.weights}},
        },
        own,
    )  # fmt: skip
    keras.backend.clear_session()
    loss = runs.read_json(folder / PRETRAINING / "ssl_stats.json")["loss"]
    head = finished_run.load(folder / HEAD, "finetune")
    return FurtherPretraining(head, recipe, n_new, len(photos) - n_new, loss)


def _start(run, folder):
    """The file of the run's backbone, written anew each time: equal weights give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_files.atomic_write(folder / START) as temporary:
        run.backbone().save_weights(temporary)
    return folder / START


def _recipe(run, epochs, n_photos):
    """That of the pretraining that the run began with, else the defaults of dermssl.pretrain."""
    _, pretrained = weights.resolve(run.settings["backbone"])
    recipe = Pretrain()
    if pretrained is not None:
        recipe = finished_run.load(pretrained, "pretrain").settings["pretrain"]
    # A batch of more photos than there are has no setting here that could make it smaller.
    return dataclasses.replace(recipe, epochs=epochs, batch_size=min(recipe.batch_size, n_photos))


def _head(settings: Finetune) -> Finetune:
    """The run's own settings with the frozen phase alone."""
    epochs = settings.frozen_epochs or settings.unfrozen_epochs
    return dataclasses.replace(settings, frozen_epochs=epochs, unfrozen_epochs=0)

"""Fine-tune in phases: each freezes layers, compiles, and has its own cosine decay."""

import logging
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core import config as configs
from dermssl.core.errors import UserError
from dermssl.core.settings import Checkpoint, Finetune, Logging
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import pipeline, records
from dermssl.data.augmentation import opencv
from dermssl.data.augmentation.policies import find_policy
from dermssl.data.photos import Photos, photos_of
from dermssl.data.records import TRAIN, Dataset, is_labelled
from dermssl.evaluation import predictions
from dermssl.evaluation.metrics import summarise
from dermssl.inference import finished_run, outputs
from dermssl.losses import focal
from dermssl.models import freezing
from dermssl.models.classifier import LesionClassifier
from dermssl.training import (
    callbacks,
    checkpoint,
    epoch_details,
    input_share,
    loop,
    metrics,
    tensorboard,
)
from dermssl.training.distribution import Distribution
from dermssl.training.run_setup import RunSetup

log = logging.getLogger("dermssl")
# BatchNorm and biases are not decayed: it would only fight their purpose (He et al., 2019).
NOT_DECAYED = ["bias", "gamma", "beta"]
# `select_by` -> the name in Keras's logs, and the sign that makes more of it better.
MONITORS = {"balanced_accuracy": ("val_fine_balanced_accuracy", 1), "loss": ("val_loss", -1)}
# Share of a phase's steps: Adam's first steps are as large as its rate, whatever the gradient,
# and would undo what the phase starts from.
WARMUP = 0.1


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one set of trainable layers.

    Attributes:
        name: str.
        epochs: int.
        learning_rate: float, the peak.
        depth: int, unfrozen layers of the backbone; 0 none, -1 all.
    """

    name: str
    epochs: int
    learning_rate: float
    depth: int


def plan(config: Finetune) -> list[Phase]:
    """The phases of a `settings.Finetune`; one without epochs is left out."""
    phases = (
        Phase("frozen", config.frozen_epochs, config.frozen_learning_rate, 0),
        Phase("unfrozen", config.unfrozen_epochs, config.unfrozen_learning_rate, config.depth),
    )
    return [phase for phase in phases if phase.epochs]


def check(config: Finetune) -> None:
    """Refuse fine-tuning settings that could not run."""
    find_policy(config.augmentation, "finetune.augmentation")
    if not plan(config):
        raise UserError(
            "finetune.frozen_epochs and finetune.unfrozen_epochs are both 0; train at least one"
        )


def check_last_batch(config: Finetune, photos: int, replicas: int) -> None:
    """Refuse a pass whose last batch has no photo for some replica: BatchNorm can't do without."""
    left = photos % config.batch_size
    if 0 < left < replicas:
        raise UserError(
            f"finetune.batch_size {config.batch_size}: a pass over {photos} photos ends with {left}"
            f" photo(s), fewer than {replicas} replicas; use another batch size"
        )


def check_depth(config: Finetune, model: LesionClassifier) -> None:
    """Refuse a depth beyond the backbone, before the frozen phase has trained for hours."""
    for phase in plan(config):
        freezing.set_depth(model.backbone, phase.depth)


@dataclass(frozen=True)
class LabelledPhotos:
    """Photos with their class numbers.

    Attributes:
        photos: `pipeline.Photos`.
        records: int array (n,), the row of each in the full data set.
        targets: dict of int arrays (n,): "fine" and "coarse", -1 unknown.
        paths: of n photos, as in the table.
    """

    photos: Photos
    records: np.ndarray
    targets: dict[str, np.ndarray]
    paths: list[str]


def class_weights(
    config: Finetune, train: LabelledPhotos, validation: LabelledPhotos, taxonomy: Taxonomy
) -> tuple[dict[str, list[float] | None], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Per-class weights of both levels, so that every class counts equally.

    In training they are applied once: in the loss (alpha) or as sample weights. In
    validation each class also counts equally, whatever its share there is: otherwise
    early stopping would favour the commonest class.

    Returns:
        alpha: dict of list or None;
        weights: dict of float arrays (n,) for training, 0 where the label is unknown;
        held_out: the same for validation.
    """
    sizes = {"fine": len(taxonomy.fine), "coarse": len(taxonomy.coarse)}
    alpha, weights, held_out = {}, {}, {}
    for level, size in sizes.items():
        ones = np.ones(size)
        balanced = focal.balanced_weights(train.targets[level], size)
        in_loss = balanced if config.class_balance == "alpha" else ones
        in_samples = balanced if config.class_balance == "sample_weights" else ones
        alpha[level] = balanced.tolist() if config.class_balance == "alpha" else None
        weights[level] = _per_record(in_samples, train.targets[level])
        equal = ones
        if config.class_balance != "none":
            equal = focal.balanced_weights(validation.targets[level], size)
        # The loss multiplies by alpha again, so that is divided out. A class without a
        # training label has alpha 0: its loss is 0 anyway.
        equal = np.divide(equal, in_loss, out=np.zeros(size), where=in_loss > 0)
        held_out[level] = _per_record(equal, validation.targets[level])
    return alpha, weights, held_out


def _per_record(per_class, labels):
    return np.where(labels >= 0, per_class[np.maximum(labels, 0)], 0.0)


def run_phases(
    run: runs.Run, model: LesionClassifier, train: LabelledPhotos, validation: LabelledPhotos,
    config: Finetune, seed: int, title: str, every: Checkpoint | None = None,
    saved: checkpoint.Saved | None = None, distribution: Distribution | None = None,
    jit_compile: bool = False, logging: Logging | None = None,
) -> tuple[list[dict[str, Any]], dict[str, freezing.Manifest]]:  # fmt: skip
    """Train `model` through the phases of `config`, or through what is left of them.

    It ends with the weights of the best epoch of all phases, on the validation split.

    Args:
        run: `runs.Run`, gets history.csv, tensorboard/ and checkpoints/.
        model: `LesionClassifier`.
        train, validation: `LabelledPhotos`.
        config: `settings.Finetune`.
        seed: int.
        title: str, for the progress line.
        every: `settings.Checkpoint`, how often to save; None for its defaults.
        saved: `checkpoint.Saved` to go on from, or None.
        distribution: `Distribution` in whose scope the model was made; None for one device.
        jit_compile: whether XLA compiles the steps.
        logging: `settings.Logging`, what goes to TensorBoard; None for its defaults.

    Returns:
        list of dict, the rows of history.csv; dict of phase name -> `freezing.Manifest`.
    """
    distribution, logging = distribution or Distribution(), logging or Logging()
    alpha, weights, equal = class_weights(config, train, validation, model.taxonomy)
    size = model.backbone.input.shape[1]
    policy = find_policy(config.augmentation)
    steps = config.steps_per_epoch or pipeline.steps_per_epoch(len(train.photos), config.batch_size)
    held_out = pipeline.evaluation_data(
        validation.photos, config.batch_size, size, validation.targets, equal
    )
    # With few labels an unfrozen phase often ends worse than the frozen one before it.
    # The best epoch of all phases is what counts, and what the next phase starts from.
    best = callbacks.BestWeights(*monitor(config, validation), config.patience, model.get_weights())
    state = loop.TrainingState(best, saved)
    manifests, offset, at = {}, 0, state.first_phase()
    watched = watched_photos(validation, size) if logging.tensorboard == "full" else None

    def data(first, last):
        return pipeline.supervised_data(
            train.photos, train.records, train.targets, weights, policy, seed,
            config.batch_size, size, steps=offset + last, start=offset + first,
            **distribution.parts,
        )  # fmt: skip

    for number, phase in enumerate(plan(config)):
        manifests[phase.name] = freezing.set_depth(
            model.backbone, phase.depth, batchnorm=config.batchnorm
        )
        if number >= at:
            metric = compile_phase(model, phase, steps, alpha, config, jit_compile)
            state.begin_phase(number, offset)
            fit_settings = loop.FitSettings(
                phase.name, f"{title}, {phase.name}", steps, phase.epochs,
                ("loss", "val_fine_balanced_accuracy"), every or Checkpoint(), logging,
            )  # fmt: skip
            also = [] if watched is None else [epoch_details.EpochDetails(
                run, phase.name, state.rows, phase.epochs, watched, metric,
                distribution.parts["workers"],
            )]  # fmt: skip
            loop.fit(
                run, model, data, state, fit_settings, distribution.held_out(held_out), also,
                distribution,
            )  # fmt: skip
            model.set_weights(best.weights)
            if watched is not None:
                epoch_details.write_heat_maps(run, phase.name, model, watched)
        offset += phase.epochs * steps
    return state.rows, manifests


def watched_photos(validation: LabelledPhotos, size: int) -> epoch_details.WatchedPhotos:
    """Some validation photos of `size` pixels, as evenly over the fine classes as they allow."""
    fine, coarse = validation.targets["fine"], validation.targets["coarse"]
    rows = finished_run.stratified_subset(fine, epoch_details.WATCHED)
    images = np.stack([opencv.center_square(validation.photos[k], size) for k in rows])
    paths = [validation.paths[k] for k in rows]
    return epoch_details.WatchedPhotos(images, paths, fine[rows], coarse[rows])


def monitor(config: Finetune, validation: LabelledPhotos) -> tuple[str, int]:
    """What the best epoch is chosen by, an entry of `MONITORS`.

    Without a fine label in validation balanced accuracy is 0 in every epoch, and the first one
    would be the best; then it is the loss, which coarse labels have, too.
    """
    if config.select_by != "loss" and (validation.targets["fine"] < 0).all():
        if not config.coarse_weight:
            raise UserError(
                "finetune.coarse_weight 0: without a fine label in the validation split nothing "
                "tells which epoch is the best; leave it out"
            )
        log.warning("no fine label in the validation split: the best epoch is chosen by its loss")
        return MONITORS["loss"]
    return MONITORS[config.select_by]


def compile_phase(
    model: LesionClassifier, phase: Phase, steps: int, alpha: dict[str, list[float] | None],
    config: Finetune, jit_compile: bool = False,
) -> metrics.BalancedAccuracy:  # fmt: skip
    """Compile with a fresh optimizer: an old one knows nothing of newly unfrozen weights.

    Returns:
        The metric of the fine level, which holds its confusion matrix.
    """
    taxonomy, total = model.taxonomy, phase.epochs * steps
    rate = loop.warmup_cosine(phase.learning_rate, total, round(WARMUP * total))
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    # Without a hierarchy the coarse level repeats the fine one and would count it twice.
    coarse_weight = config.coarse_weight if taxonomy.has_hierarchy else 0.0
    balanced_accuracy = metrics.BalancedAccuracy(len(taxonomy.fine))
    model.compile(
        optimizer,
        loss={level: focal.SparseFocalLoss(config.gamma, alpha[level]) for level in alpha},
        loss_weights={"fine": 1.0, "coarse": coarse_weight},
        metrics={
            "fine": [metrics.KnownAccuracy(), balanced_accuracy],
            "coarse": [metrics.KnownAccuracy()],
        },
        jit_compile=jit_compile,
    )
    return balanced_accuracy


def labelled_rows(dataset: Dataset, split: str) -> np.ndarray:
    """Positions of a split's labelled records."""
    rows = ((dataset.index["split"] == split) & is_labelled(dataset.index)).to_numpy().nonzero()[0]
    if not len(rows):
        why = "" if split == TRAIN else f" to choose the best epoch (data.{split} above 0)"
        raise UserError(f"no labelled photo in the {split} split; fine-tuning needs some{why}")
    return rows


def labelled_photos(
    dataset: Dataset, rows: np.ndarray, taxonomy: Taxonomy, config: dict[str, Any]
) -> LabelledPhotos:
    """The photos and class numbers of some rows."""
    part = dataset.with_index(dataset.index.iloc[rows])
    fine, coarse = records.label_arrays(part.index, taxonomy)
    photos = photos_of(part, config["data"], config["backbone"].image_size, share=0.5)
    targets = {"fine": fine, "coarse": coarse}
    return LabelledPhotos(photos, rows, targets, part.index["path"].tolist())


def predict(model: LesionClassifier, dataset: Dataset, config: dict[str, Any]) -> pd.DataFrame:
    """The predictions table, with the true labels, also those that training did not see."""
    settings, size = config["finetune"], config["backbone"].image_size
    rows = dataset.index
    if settings.predict == "held_out":
        rows = rows[rows["split"] != TRAIN]
    part = dataset.with_index(rows)
    photos = photos_of(part, config["data"], size, share=0)  # each is seen once
    p = outputs.predict_proba(model, pipeline.evaluation_data(photos, settings.batch_size, size))
    return predictions.table(part.index, p["fine"], p["coarse"], model.taxonomy)


def write_stats(
    run: runs.Run,
    table: pd.DataFrame,
    history: list[dict[str, Any]],
    manifests: dict[str, freezing.Manifest],
    taxonomy: Taxonomy,
    setup: RunSetup,
) -> None:
    """finetuned_stats.json: where the run ended, and its scores by split; for TensorBoard, too."""
    scores = {}
    for split in table["split"].unique():
        y, y_coarse, p_fine, p_coarse, _ = predictions.arrays_of(table, taxonomy, split)
        scores[split] = summarise(y, y_coarse, p_fine, taxonomy, p_coarse=p_coarse)
    atomic_files.write_json(
        run / "finetuned_stats.json",
        {
            "arm": run.status["arm"],
            "n_labels": run.status["n_labels"],
            "scores": scores,
            "phases": {
                name: {
                    "epochs": sum(row["phase"] == name for row in history),
                    "trainable_backbone_parameters": manifest.parameters,
                    "unfrozen_kernels": len(manifest.kernels),
                }
                for name, manifest in manifests.items()
            },
            "seconds": sum(row["seconds"] for row in history),
            "input_share": input_share.of_run(history),
            "seed": setup.config["seed"],
            "data_hash": setup.data_hash,
            "config_hash": configs.config_hash(setup.config),
            "versions": runs.versions(),
        },
    )
    if (setup.config.get("logging") or Logging()).tensorboard != "none":
        ends = {
            f"{split}/{name}": of_split[name]
            for split, of_split in scores.items() if split != TRAIN
            for name in tensorboard.SCORES
        }  # fmt: skip
        status = run.status
        tensorboard.write_scores(
            run, setup.config, ends, arm=status["arm"], n_labels=status["n_labels"]
        )

"""Fit SimCLR on the views of a pretraining set."""

from typing import Any

from dermssl.core.runs import Run
from dermssl.core.settings import Checkpoint, Logging
from dermssl.data import contact_sheet, pipeline, python_calls
from dermssl.data.augmentation import policies
from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.photos import Photos
from dermssl.models.simclr import SimCLR
from dermssl.training import checkpoint, finetuning, loop, tensorboard
from dermssl.training.adam import Adam
from dermssl.training.distribution import Distribution
from dermssl.training.epoch_details import EpochDetails
from dermssl.training.ssl_health.panel import Panel

SHOWN_PAIRS = 8


def fit(
    run: Run, model: SimCLR, photos: Photos, config: dict[str, Any], panel: Panel,
    saved: checkpoint.Saved | None = None, distribution: Distribution | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Compile and train; returns the rows of history.csv.

    Args:
        run: `Run`.
        model: `SimCLR`, made in the scope of `distribution`.
        photos: `Photos`, the pretraining set.
        config: dict, of `dermssl.pretrain.run`.
        panel: `Panel`.
        saved: `checkpoint.Saved` to go on from, or None.
        distribution: `Distribution`; None for one device.
    """
    distribution = distribution or Distribution()
    settings, size, seed = config["pretrain"], config["backbone"].image_size, config["seed"]
    steps = pipeline.steps_per_epoch(len(photos), settings.batch_size, drop_remainder=True)
    total = steps * settings.epochs
    policy = policies.scaled(AUGMENTATIONS["simclr"], settings.strength)

    def data(first, last):
        return pipeline.two_view_data(
            photos, policy, seed, settings.batch_size, size, last, first, **distribution.parts
        )

    with python_calls.guarded():
        shown = [view.numpy().astype("uint8") for view in next(iter(data(0, 1)))]
    pairs = min(SHOWN_PAIRS, len(shown[0]))
    rows = [list(view[:pairs]) for view in shown]
    contact_sheet.write(run / "views.png", rows)
    logging = config.get("logging") or Logging()
    if logging.tensorboard == "full":
        sheet = contact_sheet.compose(rows, contact_sheet.SIDE)
        about = "Two views of the same photos, one above the other."
        tensorboard.images(run / "tensorboard" / "views", [("views", sheet, about)])

    warmup = min(round(settings.warmup * total), total - 1)
    rate = loop.warmup_cosine(settings.learning_rate, total, warmup)
    optimizer = Adam(rate, weight_decay=settings.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_names=finetuning.NOT_DECAYED)
    model.compile(optimizer=optimizer, jit_compile=config["backbone"].jit_compile)
    state = loop.TrainingState(saved=saved)
    fit_settings = loop.FitSettings(
        "pretrain", "SimCLR pretraining", steps, settings.epochs, ("loss", "accuracy"),
        config.get("checkpoint") or Checkpoint(), logging,
    )  # fmt: skip
    also = [panel] if distribution.is_chief else []  # it only reads, and the weights are equal
    if distribution.is_chief and logging.tensorboard == "full":
        also.append(EpochDetails(run, "pretrain", state.rows, settings.epochs))
    loop.fit(run, model, data, state, fit_settings, also=also, distribution=distribution)
    return state.rows

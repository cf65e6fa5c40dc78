"""Fit SimCLR on the views of a pretraining set."""

from typing import Any

from dermssl.core.runs import Run
from dermssl.core.settings import Checkpoint
from dermssl.data import contact_sheet, pipeline
from dermssl.data.augmentation import policies
from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.photos import Photos
from dermssl.models.simclr import SimCLR
from dermssl.training import checkpoint, finetuning, loop
from dermssl.training.adam import Adam
from dermssl.training.ssl_health.panel import Panel

SHOWN_PAIRS = 8


def fit(
    run: Run, model: SimCLR, photos: Photos, config: dict[str, Any], panel: Panel
) -> list[dict[str, Any]]:
    """Compile and train; returns the rows of history.csv."""
    settings, size, seed = config["pretrain"], config["backbone"].image_size, config["seed"]
    steps = pipeline.steps_per_epoch(len(photos), settings.batch_size, drop_remainder=True)
    total = steps * settings.epochs
    policy = policies.scaled(AUGMENTATIONS["simclr"], settings.strength)

    def data(first, last):
        return pipeline.two_view_data(photos, policy, seed, settings.batch_size, size, last, first)

    shown = [view.numpy().astype("uint8") for view in next(iter(data(0, 1)))]
    pairs = min(SHOWN_PAIRS, settings.batch_size)
    contact_sheet.write(run / "views.png", [list(view[:pairs]) for view in shown])

    warmup = min(round(settings.warmup * total), total - 1)
    rate = loop.warmup_cosine(settings.learning_rate, total, warmup)
    optimizer = Adam(rate, weight_decay=settings.weight_decay or None)
    optimizer.exclude_from_weight_decay(var_names=finetuning.NOT_DECAYED)
    model.compile(optimizer=optimizer, jit_compile=False)
    state = loop.TrainingState(saved=checkpoint.load(run))
    fit_settings = loop.FitSettings(
        "pretrain", "SimCLR pretraining", steps, settings.epochs, ("loss", "accuracy"),
        config.get("checkpoint") or Checkpoint(),
    )  # fmt: skip
    loop.fit(run, model, data, state, fit_settings, also=[panel])
    return state.rows

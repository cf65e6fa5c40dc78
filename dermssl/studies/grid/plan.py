"""Plan a grid: its models and cells, and checks that come before training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dermssl.core.errors import UserError, unknown_name
from dermssl.core.settings import Backbone, Grid
from dermssl.data.augmentation.policies import find_policy
from dermssl.models import backbones, freezing, weights
from dermssl.training import memory_check

if TYPE_CHECKING:
    import keras

# "All layers": the one depth of a network that starts from nothing, where a frozen part
# would be noise.
ALL = freezing.ALL
TRACING = 8.0  # seconds a model, two cores; once on a shared trunk


@dataclass(frozen=True)
class Cell:
    """One entry of a grid, for one seed (and fold)."""

    model: str
    depth: int
    augmentation: str
    seed: int
    fold: int | None = None

    @property
    def name(self) -> str:
        """What its row and its files are called."""
        depth = "all" if self.depth == ALL else self.depth
        name = f"{self.model}-depth_{depth}-{self.augmentation}-seed{self.seed}"
        return name if self.fold is None else f"{name}-fold{self.fold}"


@dataclass(frozen=True)
class ModelPlan:
    """One model of a grid.

    Attributes:
        start: `config.Backbone`, its weights resolved to a file.
        source: what `grid.weights` says of it.
        pretrained: folder of the pretraining run, or None.
        depths: which depths it is trained at.
        manifests: dict of depth -> `freezing.Manifest`.
        parameters: int, of the backbone.
        forward: seconds of one photo through the backbone, or None where it was not timed.
    """

    start: Backbone
    source: str
    pretrained: Path | None
    depths: tuple[int, ...]
    manifests: dict[int, freezing.Manifest]
    parameters: int
    forward: float | None = None

    @property
    def name(self) -> str:
        """The backbone's name."""
        return self.start.name

    @property
    def from_nothing(self) -> bool:
        """Whether it is trained whole, whatever the depths: there is nothing worth freezing."""
        return self.depths == (ALL,) and self.start.weights == "none"


def check(grid: Grid) -> None:
    """Refuse unknown names, repeated values and sizes, before anything is built."""
    for name in grid.models:
        if name not in backbones.BACKBONES:
            raise unknown_name("grid.models", name, backbones.BACKBONES)
    policies = [find_policy(name, "grid.augmentations") for name in grid.augmentations]
    mixed = [name for name, policy in zip(grid.augmentations, policies) if policy.mixes]
    if mixed:
        raise UserError(
            f"grid.augmentations {mixed[0]}: a cell learns from one label a photo and can't mix "
            "two; leave it out here, or use it with dermssl.finetune"
        )
    for option in ("models", "depths", "augmentations", "seeds"):
        values = getattr(grid, option)
        if len(set(values)) < len(values):
            raise UserError(f"grid.{option} {' '.join(map(str, values))}: a value is there twice")
    small = [n for n in grid.models if backbones.BACKBONES[n].min_size > grid.image_size]
    if small and grid.small_size == "refuse":
        name = small[0]
        fits = [n for n, s in backbones.BACKBONES.items() if s.min_size <= grid.image_size]
        raise UserError(
            f"grid.image_size {grid.image_size} is under the {backbones.BACKBONES[name].min_size} "
            f"px that {name} needs; use a larger size, grid.small_size raise, or one of the models "
            f"that run: {', '.join(fits) or 'none'}"
        )


def sources(grid: Grid) -> dict[str, str]:
    """dict of model -> what its weights are: an entry MODEL=SOURCE, else the bare one."""
    bare, own = [], {}
    for entry in grid.weights:
        name, equals, source = entry.partition("=")
        if equals and name in backbones.BACKBONES:
            own[name] = source
        else:
            bare.append(entry)
    if len(bare) > 1:
        raise UserError(f"grid.weights {' '.join(bare)}: give one for all, others as MODEL=SOURCE")
    for name in own:
        if name not in grid.models:
            raise UserError(
                f"grid.weights {name}=...: not among grid.models {' '.join(grid.models)}"
            )
    return {name: own.get(name, bare[0] if bare else "none") for name in grid.models}


def plan_models(grid: Grid, timed: bool = False) -> list[ModelPlan]:
    """Build each model once, to see that its weights fit and what its depths train.

    Args:
        grid: `config.Grid`.
        timed: bool, time a batch of each as well.

    Returns:
        list of `ModelPlan`, in the order of `grid.models`.
    """
    check(grid)
    from dermssl.studies.grid.train import free_memory

    plans, found = [], sources(grid)
    for name in grid.models:
        free_memory()
        spec = backbones.BACKBONES[name]
        config = Backbone(
            name=name, image_size=max(grid.image_size, spec.min_size), weights=found[name]
        )
        try:
            start, pretrained = weights.resolve(config)
            backbone = backbones.build(start)
            depths = tuple(grid.depths)
            if spec.from_scratch and start.weights == "none":
                depths = (ALL,)
            memory_check.check(
                backbone, grid.batch_size, ("grid.batch_size", "grid.image_size"),
                trained=ALL in depths,
            )  # fmt: skip
            manifests = {
                depth: freezing.set_depth(backbone, depth, grid.depth_unit, grid.batchnorm)
                for depth in depths
            }
        except UserError as error:
            raise UserError(_in_grid_settings(str(error), name)) from error
        forward = seconds_per_photo(backbone) if timed else None
        size = backbone.count_params()
        plans.append(ModelPlan(start, found[name], pretrained, depths, manifests, size, forward))
    free_memory()
    return plans


def _in_grid_settings(message, model):
    """An error of one model's builder, with the settings of this command."""
    for theirs, ours in (
        ("backbone.weights ", "grid.weights "), ("backbone.name", "grid.models"),
        ("finetune.depth ", "grid.depths "),
    ):  # fmt: skip
        message = message.replace(theirs, ours)
    return message if message.startswith("grid.weights") else f"{model}: {message}"


def seconds_per_photo(backbone: keras.Model, batch: int = 32) -> float:
    """Seconds of a forward pass, the better of two after one that traces."""
    import numpy as np
    import tensorflow as tf

    forward = tf.function(lambda images: backbone(images, training=False))
    images = np.zeros((batch, *backbone.input.shape[1:]), np.float32)
    forward(images)
    seconds = []
    for _ in range(2):
        before = time.perf_counter()
        forward(images)
        seconds.append(time.perf_counter() - before)
    return min(seconds) / batch


def cells_of(plan: ModelPlan, grid: Grid) -> list[Cell]:
    """The cells of one model, in the order they are trained."""
    folds = range(grid.folds) if grid.folds else [None]
    return [
        Cell(plan.name, depth, augmentation, seed, fold)
        for fold in folds
        for seed in grid.seeds
        for augmentation in grid.augmentations
        for depth in plan.depths
    ]


def work_of(cell: Cell, grid: Grid, shared: bool, n_train: int, n_test: int) -> float:
    """Photos through the network, in forward passes: the unit of the time that is left.

    A plain cell sends each photo through once an epoch, and some of it back; on a trunk all
    depths share that, and the views of `none` and flips are not computed again.
    """
    passes = grid.epochs
    if not shared or cell.depth == ALL:
        return n_train * passes * (3.0 if cell.depth == ALL else 1.3) + n_test
    limit = find_policy(cell.augmentation).n_variants or passes
    tails = 0.3 * n_train * passes  # a tail itself: 0.02 (DenseNet121) to 0.4 (MobileNet)
    return n_train * min(passes, limit) / len(grid.depths) + tails


def group_title(group: Sequence[Cell]) -> str:
    """What cells that are trained together are: "mobilenet, none, seed 0, depths 2/4"."""
    first = group[0]
    depths = "/".join("all" if cell.depth == ALL else str(cell.depth) for cell in group)
    fold = "" if first.fold is None else f", fold {first.fold}"
    return f"{first.model}, {first.augmentation}, seed {first.seed}{fold}, depths {depths}"

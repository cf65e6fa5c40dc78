"""Set-up that pretraining and fine-tuning share: check the input, then lock the run's folder."""

import atexit
import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from dermssl.core import config as configs
from dermssl.core import runs, threads
from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone
from dermssl.data import class_choice, records
from dermssl.data.splits import prepare
from dermssl.models import backbones, batchnorm, precision, weights
from dermssl.training import checkpoint, memory_check, mlflow_log, pretraining_pool
from dermssl.training import distribution as distributions
from dermssl.training.distribution import Distribution


@dataclass(frozen=True)
class RunSetup:
    """What a run starts from.

    Attributes:
        command: str.
        config: dict as from `dermssl.core.config.from_flags`; "auto" is what was chosen.
        overwrite: bool.
        output: Path of the run's folder, not made yet.
        start: `settings.Backbone` with resolved weights.
        pretrained: Path of the pretraining run that they are from, or None.
        dataset: `Dataset` with splits, of the classes that are learnt.
        class_table: what became of every class, as from `class_choice.table`; None without labels.
        data_hash, origin, classes: str, which data (with all classes), weights and taxonomy these
            are.
        distribution: `Distribution`, the devices to train on.
    """

    command: str
    config: dict[str, Any]
    overwrite: bool
    output: Path
    start: Backbone
    pretrained: Path | None
    dataset: records.Dataset
    class_table: pd.DataFrame | None
    data_hash: str
    origin: str
    classes: str
    distribution: Distribution = Distribution()

    def is_finished(self) -> bool:
        """Whether the folder holds this very run, finished; a different one is refused.

        Only the chief looks: its folder is the run's.
        """
        finished = False
        if self.distribution.is_chief:
            finished = not self.overwrite and runs.is_finished(self.output, **self._identity())
        if finished:  # killed right after it had finished, it left them
            checkpoint.clear(runs.Run(self.output))
        with self.distribution.lost_worker_stops():
            return bool(self.distribution.agree(int(finished)))

    def backbone(self) -> keras.Model:
        """The backbone, its first weights a function of the run's seed."""
        keras.utils.set_random_seed(self.config["seed"])
        backbones.use_precision(self.start)
        return backbones.build(self.start)

    def model(self, make: Callable[[keras.Model], Any]) -> Any:
        """The model to train, on the run's devices.

        Args:
            make: function of the backbone; what it gives has the backbone inside.
        """
        with self.distribution.scope():
            model = make(self.backbone())
        if self.config["backbone"].sync_batchnorm:
            batchnorm.synchronise(model)
        return model

    @contextlib.contextmanager
    def run(self, backbone: keras.Model | None = None) -> Iterator[runs.Run]:
        """The run's folder, locked: a context, as from `runs.open_run`.

        Of several workers only the chief has it; the others get a temporary one.

        Args:
            backbone: what is going to be trained; it is refused where it can't fit into memory.
        """
        if backbone is not None and self.overwrite:  # before anything is replaced
            self._check_memory(backbone)
        folder, overwrite = self.output, self.overwrite
        if not self.distribution.is_chief:
            folder, overwrite = _temporary_folder(), False
        with (
            runs.open_run(folder, overwrite=overwrite, **self._identity()) as made,
            self.distribution.lost_worker_stops(),
            self._logged(made),
        ):
            if backbone is not None and made.status["status"] != runs.FINISHED:
                self._check_memory(backbone)
            yield made
            self.distribution.agree(0)  # nobody leaves before the chief has written all

    def _logged(self, run):
        """The run at MLflow; the chief's alone."""
        if not self.distribution.is_chief:
            return contextlib.nullcontext()
        return mlflow_log.tracked(run, self.config, self.command)

    def _check_memory(self, backbone):
        pretrain, finetune = self.config.get("pretrain"), self.config.get("finetune")
        whole = finetune is None or (finetune.unfrozen_epochs > 0 and finetune.depth < 0)
        batch, beside = (pretrain or finetune).batch_size, 0.0
        names = ["pretrain.batch_size" if pretrain else "finetune.batch_size"]
        if pretrain and pretrain.chunk_size:
            names.insert(0, "pretrain.chunk_size")
            beside = memory_check.batch_bytes(backbone.input.shape[1], batch)
            batch = pretrain.chunk_size
        memory_check.check(
            backbone, batch, [*names, "backbone.image_size"], trained=whole,
            views=2 if pretrain else 1, half=self.start.precision != "float32",
            remat=bool(pretrain and pretrain.remat),
            halves=bool(pretrain and pretrain.chunk_size), beside=beside,
        )  # fmt: skip

    def saved(self, run: runs.Run) -> checkpoint.Saved | None:
        """The checkpoint to go on from, the chief's, on every worker; None at the beginning."""
        if self.distribution.cluster is None:
            return checkpoint.load(run)
        own = checkpoint.load(run) if self.distribution.is_chief else None
        message = self.distribution.from_chief(checkpoint.to_bytes(own) if own else None)
        return checkpoint.from_bytes(message) if message else None

    def _identity(self):
        return {
            "command": self.command, "config": self.config, "data_hash": self.data_hash,
            "start": self.origin, "classes": self.classes,
        }  # fmt: skip


def _temporary_folder():
    """A folder that lasts as long as this process."""
    folder = tempfile.mkdtemp(prefix="dermssl_worker_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def start_line(opened: RunSetup, photos: int, work: str, shorter: str) -> str:
    """What begins, on what, and how to make it shorter; nobody knows yet how long it takes.

    Args:
        opened: the run.
        photos: to train on.
        work: epochs and steps, in words.
        shorter: the settings that make it shorter; left out in a study, which has no such flags.

    Returns:
        One line, with settings as `section.field`.
    """
    start = opened.start
    what = f"{start.name}, {start.image_size} px, weights {start.weights}"
    devices = opened.distribution.words() or device()
    typed = "command" in opened.config  # the settings of a study's run have none
    ways = f"; shorter: {shorter}" if typed else ""
    return (
        f"{what}, on {devices}, {precision.words(start.precision)}: {photos:,} photos, {work}; "
        f"time: measuring, shown after the first steps{ways}"
    )


def device() -> str:
    """What TensorFlow computes on where a run has one device: "1 GPU", or "CPU (2 cores)"."""
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        return f"1 of {gpus} GPUs" if gpus > 1 else "1 GPU"
    cores = threads.cores()
    return f"CPU ({cores} core{'' if cores == 1 else 's'})"


def set_up_run(
    command: str, config: dict[str, Any], output: str, dataset: records.Dataset | None = None
) -> RunSetup:
    """Read and check what a run starts from; makes no file.

    Args:
        command: str.
        config: dict as from `dermssl.core.config.from_flags`.
        output: str, the folder where the config names none.
        dataset: `Dataset` with splits, where the caller has one already.

    Returns:
        `RunSetup`.

    Raises:
        UserError: weights, photos or labels that can't be used as they are.
    """
    start, pretrained = weights.resolve(config["backbone"])
    backbones.check(start)
    mlflow_log.check(config)
    # Before anything is computed: TensorFlow joins a cluster at its start, or never.
    distribution = _distribution(config)
    # What was chosen is part of the run: it goes on in the same precision, or is refused.
    start = replace(start, precision=precision.choose(start.precision))
    config = config | {"backbone": replace(config["backbone"], precision=start.precision)}
    dataset = dataset or prepare(config["data"])
    pretraining_pool.check(pretrained, dataset)
    pretraining_pool.warn(pretrained, config["data"].preprocess)
    data_hash = records.data_hash(dataset)
    table = None
    if "finetune" in config and dataset.taxonomy is not None:
        every, dataset = dataset, class_choice.choose(dataset, config["finetune"])
        table = class_choice.table(every, dataset)
    # Pretraining has no classes: those that its probes look at change nothing of it.
    classes = dataset.taxonomy.fingerprint if command != "pretrain" and dataset.taxonomy else ""
    origin = weights.fingerprint(start)
    with distribution.lost_worker_stops():
        distribution.check_alike(
            settings=configs.config_hash(config), photos=data_hash, weights=origin
        )
    return RunSetup(
        command, config, config.get("overwrite", False), Path(config["output"] or output), start,
        pretrained, dataset, table, data_hash, origin, classes, distribution,
    )  # fmt: skip


def _distribution(config):
    """The devices of a run; what isn't asked for, as by a study, trains on one."""
    chosen = config.get("distribution")
    made = distributions.choose(chosen.strategy) if chosen else Distribution()
    for section in ("pretrain", "finetune"):
        if section in config:
            made.check_batch(f"{section}.batch_size", config[section].batch_size)
    if made.replicas > 1 and config["backbone"].jit_compile:
        raise UserError(
            f"backbone.jit_compile: is for one device, and this run has {made.replicas} replicas; "
            "leave it out, or set distribution.strategy none"
        )
    return made

"""How pretraining and fine-tuning begin: all that may refuse its input, then the locked folder."""

from dataclasses import dataclass
from pathlib import Path

import keras

from dermssl.core import runs
from dermssl.core.settings import Backbone
from dermssl.data import records
from dermssl.data.splits import prepare
from dermssl.models import backbones, weights
from dermssl.training import checkpoint, pretraining_pool


@dataclass(frozen=True)
class RunSetup:
    """What a run starts from.

    Attributes:
        command: str.
        config: dict as from `dermssl.core.config.from_flags`.
        overwrite: bool.
        output: Path of the run's folder, not made yet.
        start: `config.Backbone` with resolved weights.
        pretrained: Path of the pretraining run that they are from, or None.
        dataset: `Dataset` with splits.
        data_hash, origin, classes: str, which data, weights and taxonomy these are.
    """

    command: str
    config: dict
    overwrite: bool
    output: Path
    start: Backbone
    pretrained: Path | None
    dataset: records.Dataset
    data_hash: str
    origin: str
    classes: str

    def is_finished(self):
        """Whether the folder holds this very run, finished; a different one is refused."""
        found = not self.overwrite and runs.is_finished(self.output, **self._identity())
        if found:  # killed right after it had finished, it left them
            checkpoint.clear(runs.Run(self.output))
        return found

    def backbone(self):
        """The backbone, its first weights a function of the run's seed."""
        keras.utils.set_random_seed(self.config["seed"])
        backbones.use_precision(self.start)
        return backbones.build(self.start)

    def run(self):
        """The run's folder, locked: a context, as from `runs.open_run`."""
        return runs.open_run(self.output, overwrite=self.overwrite, **self._identity())

    def _identity(self):
        return {
            "command": self.command, "config": self.config, "data_hash": self.data_hash,
            "start": self.origin, "classes": self.classes,
        }  # fmt: skip


def set_up_run(command, config, output, dataset=None):
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
    dataset = dataset or prepare(config["data"])
    pretraining_pool.check(pretrained, dataset)
    pretraining_pool.warn(pretrained, config["data"].preprocess)
    # Pretraining has no classes: those that its probes look at change nothing of it.
    classes = dataset.taxonomy.fingerprint if command != "pretrain" and dataset.taxonomy else ""
    return RunSetup(
        command, config, config.get("overwrite", False), Path(config["output"] or output), start,
        pretrained, dataset, records.data_hash(dataset), weights.fingerprint(start), classes,
    )  # fmt: skip

"""The pretraining set of a backbone, which no validation or test split may share."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.data import paths as files
from dermssl.data import records, same_files, shard_files, splits
from dermssl.inference import finished_run

log = logging.getLogger("dermssl")


def write(run: runs.Run, pool: records.Dataset) -> None:
    """Keep the records of a pretraining pool (a `Dataset`) in the run's folder."""
    atomic_files.write_csv(run / finished_run.POOL, pool.index)


def check(pretrained: Path | str | None, dataset: records.Dataset) -> None:
    """Refuse a data set whose validation or test split was pretrained on.

    Looks at all runs that the weights went through. Photos are known by their ids, by where they
    lie (the second folder of one run may be the data folder of the next), by their path where
    the pretraining's data folder is this one or isn't there any more or where one of the two is
    shards, and else by their bytes: a collection of photos may hold those of another under other
    names. (Equal photos within one folder are for dermssl.check_data.)

    Args:
        pretrained: folder of a pretraining run, or None.
        dataset: `Dataset` with splits.
    """
    held_out = dataset.index[dataset.index["split"] != records.TRAIN]
    lying = held_out.assign(path=_real(dataset.root, held_out["path"]))
    while pretrained is not None and Path(pretrained).is_dir():
        run = finished_run.load(pretrained, "pretrain")
        pool = run.records()
        root = files.real_root(run.data.path)
        there = _real(root, pool["path"])
        splits.check_overlap(pool.assign(path=there), lying)
        same = not os.path.exists(root) or root == os.path.realpath(dataset.root)
        if same or shard_files.is_index(root) or shard_files.is_index(dataset.root):
            splits.check_overlap(pool, held_out)
        if not same and any(twin := same_files.find_identical_files(lying["path"].tolist(), there)):
            raise UserError(
                f"{pretrained}: {sum(twin)} validation or test photos of this data set were "
                "pretrained on under other names, the first is "
                f"{held_out['path'].iloc[twin.index(True)]}; the score would measure memory: leave "
                "their copies out and pretrain again, or split this data set otherwise"
            )
        pretrained = run.settings["backbone"].weights


def warn(pretrained: Path | str | None, preprocess: Sequence[str]) -> None:
    """Say so where a backbone learnt from photos that were prepared in another way.

    Args:
        pretrained: folder of a pretraining run, or None.
        preprocess: list of str, of the [data] section of the run that starts from it.
    """
    if pretrained is None:
        return
    before = finished_run.load(pretrained, "pretrain").data.preprocess
    if before != list(preprocess):
        there, here = (" ".join(steps) or "nothing" for steps in (before, preprocess))
        log.warning("data.preprocess: %s in %s, %s here: the backbone learnt from other photos",
                    there, pretrained, here)  # fmt: skip


def _real(root, paths):
    return [os.path.realpath(Path(root, path)) for path in paths]

"""TensorBoard's HParams table: one line a cell of a grid."""

import shutil

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api

SCORES = ("balanced_accuracy", "roc_auc", "log_loss")


def write(folder, cell, losses, intervals):
    """Log a cell's axes, its loss curve, and its scores on the test photos.

    What a process killed before the cell's row was written had logged is replaced.

    Args:
        folder: of this cell alone.
        cell: `grid_plan.Cell`.
        losses: list of float, one an epoch; empty where the cell failed.
        intervals: dict of metric -> `Interval`; empty where there is no score.
    """
    shutil.rmtree(folder, ignore_errors=True)
    axes = {"model": cell.model, "depth": cell.depth, "augmentation": cell.augmentation}
    axes |= {} if cell.fold is None else {"fold": cell.fold}
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams(axes | {"seed": cell.seed}, trial_id=cell.name)
        for epoch, loss in enumerate(losses, start=1):
            tf.summary.scalar("loss", loss, step=epoch)
        for name in SCORES:
            if name in intervals and np.isfinite(intervals[name].estimate):
                tf.summary.scalar(name, intervals[name].estimate, step=len(losses))

"""What a training step needs from the other replicas of a `tf.distribute` strategy.

All of it does nothing where there is one replica. The state that Keras keeps apart on each
replica, BatchNorm's moving statistics, is averaged in every step, so that all variables but those
of metrics are equal on all replicas between two steps: any of them can be saved, and reading one
needs no other.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def _context():
    """The replica's context, or None where it is alone."""
    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None


def gather(tensors: tuple[Any, ...]) -> tuple[Any, ...]:
    """The rows of all replicas, in the order of the replicas; gradients flow back to each.

    With the loss of all rows computed on every replica and divided by their number, the gradients
    summed over replicas are those of one loss (Keras's losses and optimizers do both).

    Args:
        tensors: tuple of float (n, ...), this replica's part of a batch.

    Returns:
        tuple of float32 (n * replicas, ...); `tensors` as they are where there is one replica.

    Example:

    >>> gather((np.eye(2),))[0].shape
    (2, 2)
    """
    context = _context()
    if context is None:
        return tensors
    # In float32: gradients are summed over replicas on their way back.
    return tuple(context.all_gather([tf.cast(item, tf.float32) for item in tensors], axis=0))


def end_step(model: keras.Model, logs: dict[str, Any], training: bool = True) -> dict[str, Any]:
    """What a step returns: the logs, after the moving statistics were averaged over replicas.

    Args:
        model: whose step it is.
        logs: dict of scalars.
        training: bool, whether the step may have moved statistics.

    Returns:
        the logs; of shape (1,) where there are several workers, since Keras can't reduce scalars
        over them (tensorflow#72388).
    """
    context = _context()
    if context is None:
        return logs
    moving = [v.value for v in model.non_trainable_variables if _is_float(v)] if training else []
    if moving:
        flat = tf.concat([tf.reshape(tf.cast(v, tf.float32), [-1]) for v in moving], axis=0)
        # One message for all layers, not two a layer.
        mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, flat)
        for variable, part in zip(moving, tf.split(mean, [v.shape.num_elements() for v in moving])):
            variable.assign(tf.cast(tf.reshape(part, variable.shape), variable.dtype))
    if isinstance(context.strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {name: tf.reshape(value, (1,)) for name, value in logs.items()}
    return logs


def _is_float(variable):
    return keras.backend.is_float_dtype(variable.dtype)

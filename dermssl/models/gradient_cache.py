"""Gradients of a large contrastive batch with the memory of a small one (GradCache).

A contrastive loss looks at all projections of a batch at once, so summing up the gradients of
small batches is another loss. But it looks at nothing else than the projections. Gao et al.
(2021, "Scaling deep contrastive learning batch size under memory limited setup") therefore take
the gradient in two parts: first the projections of all chunks, without keeping any activation,
and the loss's gradient with respect to them; then each chunk goes through the network again, and
that gradient goes back through the chunk alone.

The views of the whole batch stay in memory. To make room for them, `dermssl.SimCLR` forgets the
first half of a chunk's activations and computes it a third time (see `rematerialise`).

What holds:

- BatchNorm normalises a chunk by the chunk's own statistics. So the gradients are those of a
  plain step whose network takes the batch chunk by chunk; they are those of a plain step on the
  whole batch where BatchNorm is frozen or where there is none.
- Moving statistics move once a chunk, in the order of the chunks.
- Dropout's masks are the same in both passes; its seeds move once a chunk.

The state of the network (moving statistics, seeds) goes through both passes as values, and is
assigned at the end: nothing is computed from a variable that a pass has already moved.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from dermssl.models import replicas


def gradients(
    model: Any, views: tuple[Any, Any], chunk_size: int
) -> tuple[Any, tuple[Any, Any], list[Any]]:
    """The loss of a batch, its projections, and the gradients, chunk by chunk.

    Args:
        model: compiled `dermssl.SimCLR`, or one with its `project`, `compute_loss`, `backbone`
            and `projection_head`.
        views: two of float (n, size, size, 3), of the same n records.
        chunk_size: int, 1 or more: the records that go through the network at once, both of
            their views together. Where it doesn't divide n, the last chunk is smaller.

    Returns:
        loss: float32 scalar.
        projections: two of float (n, k), in training mode; those of all replicas.
        gradients: of the loss as scaled by the model's optimizer, one for each of
            `model.trainable_variables`; None where a weight has no part in the loss.
    """
    first, second = (tf.convert_to_tensor(view) for view in views)
    parts = (model.backbone, model.projection_head)
    state = [variable for part in parts for variable in part.non_trainable_variables]
    weights = model.trainable_variables
    n = tf.shape(first)[0]
    chunks = -(-n // chunk_size)

    def chunk_of(tensors, number):
        rows = slice(number * chunk_size, tf.minimum(n, (number + 1) * chunk_size))
        return tuple(tensor[rows] for tensor in tensors)

    def project(number, values):
        """Projections of a chunk and the state after it, from the state before it."""
        with keras.StatelessScope(list(zip(state, values))) as scope:
            projections = model.project(chunk_of((first, second), number), training=True)
        return projections, [scope.get_current_value(variable) for variable in state]

    def look(number, values, arrays):
        projections, values = _apart(project)(number, values)
        return number + 1, values, [a.write(number, z) for a, z in zip(arrays, projections)]

    def pull(number, values):
        """Gradients of a chunk and the state after it, from the state before it."""
        with tf.GradientTape() as tape:
            projections, values = project(number, values)
        return tape.gradient(projections, weights, chunk_of(slopes, number)), values

    def add(number, values, sums):
        found, values = _apart(pull)(number, values)
        untouched.update(place for place, gradient in enumerate(found) if gradient is None)
        sums = [s if g is None else s + tf.convert_to_tensor(g) for s, g in zip(sums, found)]
        return number + 1, values, sums

    def over_chunks(step, collected):
        start = [tf.convert_to_tensor(variable.value) for variable in state]
        return tf.while_loop(
            lambda number, *_: number < chunks, step, (0, start, collected), parallel_iterations=1
        )[1:]

    dtype, width = model.projection_head.compute_dtype, model.projection_head.output_shape[-1]
    arrays = [
        tf.TensorArray(dtype, chunks, infer_shape=False, element_shape=(None, width)) for _ in views
    ]
    _, arrays = over_chunks(look, arrays)
    projections = tuple(tf.ensure_shape(a.concat(), (first.shape[0], width)) for a in arrays)
    with tf.GradientTape() as tape:
        tape.watch(projections)
        every = replicas.gather(projections)
        loss = model.compute_loss(y_pred=every)
        scaled = model.optimizer.scale_loss(loss)
    slopes = tape.gradient(scaled, projections)

    untouched: set[int] = set()
    values, sums = over_chunks(add, [tf.zeros(weight.shape, weight.dtype) for weight in weights])
    for variable, value in zip(state, values):
        variable.assign(value)
    return loss, every, [None if i in untouched else s for i, s in enumerate(sums)]


def _apart(function):
    """The function as a graph of its own, where there is a graph.

    As part of the loop's graph it took 7% more memory (MobileNet at 96 px, chunks of 64).
    """
    if tf.executing_eagerly():
        return function
    # Inlined, it would be part of the loop's graph again.
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})

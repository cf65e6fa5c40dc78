"""Train a network in less memory: forget activations, and compute them again for the gradient.

A plain step keeps the outputs of all layers until the gradient has come back to them. Here the
network is cut into parts (Chen et al., 2016, "Training deep nets with sublinear memory cost"): only
what goes from one part to the next is kept, and a part is computed once more when the gradient
arrives at it, for about one more forward pass.

Gradients, dropout's masks and BatchNorm are those of a plain step. The state of a part, its moving
statistics and seeds, goes in as values: both times it is the one from before the step, and what the
first time made of it is assigned, once.

Keras's own `RematScope` (3.15) raises an error in TensorFlow's graphs. It would also wrap single
layers, and so keep the input of each.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import keras
import tensorflow as tf
from keras import layers, tree


def call(model: keras.Model, inputs: Any, halves: bool = False) -> Any:
    """What `model(inputs, training=True)` gives, its activations forgotten.

    Args:
        model: `keras.Model` with a flat graph, one input and one output.
        inputs: tensor (n, ...).
        halves: bool; forget only the first half of them. EfficientNetB1 at 96 px then takes 0.7 of
            the memory, for a tenth more time.

    Returns:
        Tensor (n, ...), the model's output.
    """
    *first, last = parts(model, halves)
    for part in first:
        inputs = _recomputed(part, inputs)
    return last(inputs, training=True)  # its gradient comes at once


def _recomputed(part, inputs):
    weights, state = part.trainable_variables, part.non_trainable_variables
    before = [tf.convert_to_tensor(variable.value) for variable in state]
    after: list[Any] = []

    @tf.recompute_grad
    def run(inputs, *values):
        pairs = [*zip(weights, values), *zip(state, before)]
        with keras.StatelessScope(pairs) as scope:
            outputs = part(inputs, training=True)
        if not after:
            after.extend(scope.get_current_value(variable) for variable in state)
        return outputs

    outputs = run(inputs, *(tf.convert_to_tensor(weight.value) for weight in weights))
    for variable, old, new in zip(state, before, after):
        if new is not old:
            variable.assign(new)
    return outputs


def parts(model: keras.Model, halves: bool = False) -> list[keras.Model]:
    """The parts of a network, one after the other; they share its layers.

    Cuts are where one tensor carries all. Of the ways to cut, that one is chosen whose kept tensors
    and largest part, all outputs of its layers, take the least memory together.

    Args:
        model: as of `call`.
        halves: bool; make two parts. It is one where no tensor carries all.
    """
    _, cuts, places = _halves(model) if halves else _best(model)
    ends = [cuts[place] for place in places]
    return [
        keras.Model(start, end, name=f"part{number}")
        for number, (start, end) in enumerate(itertools.pairwise(ends))
    ]


def numbers_kept(model: keras.Model, halves: bool = False) -> float:
    """The numbers, of one photo, that a step keeps at once: between parts, and of the largest."""
    return _halves(model)[0] if halves else _best(model)[0]


def _best(model):
    """(Numbers kept, the tensors to cut at, which of them) of the way that keeps the fewest."""
    cuts, inner = _cuts(model)
    ways = (_cheapest(cuts, inner, limit) for limit in _limits(inner))
    kept, places = min(ways, key=lambda way: way[0])
    return kept, cuts, places


def _halves(model):
    """The same of the way with one cut at most."""
    cuts, inner = _cuts(model)
    ways = [(float(sum(inner)), [0, len(inner)])]
    for at in range(1, len(inner)):
        larger = max(sum(inner[:at]), sum(inner[at:]))
        ways.append((float(larger + _size(cuts[at])), [0, at, len(inner)]))
    kept, places = min(ways, key=lambda way: way[0])
    return kept, cuts, places


def _cuts(model):
    """The tensors that everything flows through, and the numbers computed between each two."""
    readers: dict[int, int] = {}
    for operation in model.operations:
        if not isinstance(operation, layers.InputLayer):
            for tensor in {id(tensor): tensor for tensor in tree.flatten(operation.input)}.values():
                readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    cuts, inner, alive, computed = [model.input], [], {id(model.input)}, 0
    for operation in model.operations:  # inputs before those who read them
        if isinstance(operation, layers.InputLayer):
            continue
        for name in {id(tensor) for tensor in tree.flatten(operation.input)}:
            readers[name] -= 1
            if not readers[name]:
                alive.discard(name)
        outputs = tree.flatten(operation.output)
        alive.update(map(id, outputs))
        computed += sum(map(_size, outputs))
        if len(alive) == 1:
            cuts.append(outputs[0])
            inner.append(computed)
            computed = 0
    return cuts, inner


def _size(tensor):
    """Numbers of a tensor, of one photo."""
    return math.prod(tensor.shape[1:])


def _limits(inner):
    """What the largest part may be: from the least that is possible to the whole, in 24 steps."""
    least, whole = max(inner), sum(inner)
    return [least * (whole / least) ** (step / 24) for step in range(25)]


def _cheapest(cuts, inner, limit):
    """(Memory, places of the cuts) where no part is over `limit`: the shortest way through them."""
    kept = [0.0] + [float("inf")] * len(inner)
    came = [0] * len(cuts)
    for end in range(1, len(cuts)):
        within = 0
        for start in range(end - 1, -1, -1):
            within += inner[start]
            if within > limit * (1 + 1e-9):
                break
            if kept[start] + _size(cuts[start]) < kept[end]:
                kept[end], came[end] = kept[start] + _size(cuts[start]), start
    way = [len(cuts) - 1]
    while way[-1]:
        way.append(came[way[-1]])
    return kept[-1] + limit, way[::-1]

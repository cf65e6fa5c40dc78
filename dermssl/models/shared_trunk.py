"""Train several unfrozen ends (tails) on one frozen trunk, with one forward pass of it.

Cells that differ in depth alone share all layers below. Here the backbone's graph is cut
at each depth's frontier: the tensors that cross from its frozen to its unfrozen part,
several where branches cross (ResNet, DenseNet, Inception). The trunk gives all frontiers
of all depths at once, in inference mode. A tail is the unfrozen part of one depth under a
head of its own: its own copy of the weights, its own dropout seeds.

    image -> trunk -+-> frontier of depth 10 -> tail 10 -> logits
                    +-> frontier of depth 2  -> tail 2  -> logits

So a tail holds no frozen layer below its depth: what lies between two depths' frontiers
belongs to the trunk and is computed once, not once a tail.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, tree

from dermssl.core.taxonomy import Taxonomy
from dermssl.models import freezing
from dermssl.models.classifier import LesionClassifier


@dataclass(frozen=True, eq=False)
class Tail:
    """The unfrozen part of one depth.

    Attributes:
        depth: int, as in `freezing.set_depth`.
        manifest: `freezing.Manifest` of the backbone at that depth.
        places: which outputs of the trunk it reads, in order.
        network: `keras.Model` from those to the embedding, or None where all is frozen.
    """

    depth: int
    manifest: freezing.Manifest
    places: tuple[int, ...]
    network: keras.Model | None


def cut(
    backbone: keras.Model, depths: Sequence[int], unit: str = "layers", batchnorm: str = "train"
) -> tuple[keras.Model, list[Tail]]:
    """Cut a backbone into a trunk and one tail a depth.

    Args:
        backbone: `keras.Model` with a flat graph, from `backbones.build`.
        depths: list of int, 0 or more.
        unit, batchnorm: as in `freezing.set_depth`.

    Returns:
        trunk: `keras.Model` from the image to a list of tensors; it shares the backbone's
            layers, so that new weights in one are in the other. Call it with
            `training=False`.
        tails: list of `Tail`, in the order of `depths`; they share the backbone's layers
            too, see `own_cell` for a copy.

    Raises:
        UserError: a depth beyond the backbone.
    """
    frontiers, manifests = [], []
    for depth in depths:
        manifests.append(freezing.set_depth(backbone, depth, unit, batchnorm))
        start = freezing.first_unfrozen(_graph(backbone), depth, unit)
        frontiers.append(frontier(backbone, start))
    # Two depths may share a tensor; the trunk gives each once.
    shared = list({id(tensor): tensor for tensors in frontiers for tensor in tensors}.values())
    place = {id(tensor): number for number, tensor in enumerate(shared)}
    trunk = keras.Model(backbone.input, shared, name="trunk")
    tails = []
    for depth, manifest, tensors in zip(depths, manifests, frontiers):
        ends = len(tensors) == 1 and tensors[0] is backbone.output
        network = None if ends else keras.Model(tensors, backbone.output, name=backbone.name)
        tails.append(Tail(depth, manifest, tuple(place[id(t)] for t in tensors), network))
    return trunk, tails


def frontier(backbone: keras.Model, start: int) -> list[Any]:
    """The tensors that cross from the frozen to the unfrozen part of a backbone.

    Args:
        backbone: `keras.Model` with a flat graph, in which no layer is called twice.
        start: int, position from which on layers train, from `freezing.first_unfrozen`.

    Returns:
        list of symbolic tensors, in the order of the layers that read them. Where nothing
        is unfrozen, the backbone's output.
    """
    unfrozen = {id(layer) for layer in _graph(backbone)[start:]}
    crossing, inside = {}, set()
    for operation in backbone.operations:  # inputs before those who read them
        if isinstance(operation, layers.InputLayer):
            continue  # the image comes from outside, at any depth
        read = tree.flatten(operation.input)
        if id(operation) in unfrozen or any(id(tensor) in inside for tensor in read):
            crossing |= {id(tensor): tensor for tensor in read if id(tensor) not in inside}
            inside.update(id(tensor) for tensor in tree.flatten(operation.output))
    return list(crossing.values()) or [backbone.output]


def _graph(backbone):
    """The layers that `freezing` counts: all but the pooling at the end."""
    return [layer for layer in backbone.layers if layer.name != "embedding"]


def own_cell(
    backbone: keras.Model, tail: Tail, taxonomy: Taxonomy, dropout: float, seed: int
) -> keras.Model:
    """A trainable copy of a tail under a new head, equal to `whole_cell` at its depth.

    Args:
        backbone: the backbone that was cut; gives weights and what is frozen.
        tail: `Tail`.
        taxonomy: `Taxonomy`.
        dropout: float, before the head.
        seed: int, of the head's first weights and of every dropout mask.

    Returns:
        `keras.Model`: list of the trunk's outputs at `tail.places` -> fine logits.
    """
    if tail.network is None:
        inputs = keras.Input(backbone.output.shape[1:], name="embedding")
        # A layer between, as a model can't give its own input away.
        network = keras.Model([inputs], layers.Identity()(inputs), name=backbone.name)
    else:
        network = keras.models.clone_model(tail.network)
        network.set_weights(tail.network.get_weights())
        for layer in network.layers:
            if not isinstance(layer, layers.InputLayer):
                name = layer.name
                norm = isinstance(layer, layers.BatchNormalization)
                layer.trainable = not norm or name in tail.manifest.trainable
    _seed_dropout(network, seed)
    return _with_head(network, taxonomy, dropout, seed)


def whole_cell(backbone: keras.Model, taxonomy: Taxonomy, dropout: float, seed: int) -> keras.Model:
    """The same cell as a model from pixels to fine logits, for plain `fit`.

    Args:
        backbone: `keras.Model`, frozen to its depth by `freezing.set_depth`.
        taxonomy, dropout, seed: as in `own_cell`.

    Returns:
        `keras.Model`: (n, size, size, 3) in [0, 255] -> fine logits. Dropout in the frozen
        part (EfficientNet has some) is off, as it is in a trunk: `fit` would leave it on.
    """
    for layer in backbone.layers:
        if isinstance(layer, layers.Dropout) and not layer.trainable:
            layer.rate = 0
    _seed_dropout(backbone, seed)
    return _with_head(backbone, taxonomy, dropout, seed)


def _with_head(network, taxonomy, dropout, seed):
    whole = LesionClassifier(network, taxonomy, dropout=dropout, seed=seed)
    return keras.Model(whole.input, whole.output["fine"], name="cell")


def _seed_dropout(network, seed):
    """Masks that depend on the seed and the layer alone, not on what was built before."""
    for layer in network.layers:
        if isinstance(layer, layers.Dropout) and layer.rate > 0:
            key = zlib.crc32(f"{seed}/{layer.name}".encode())
            layer.seed_generator.state.assign([key, 0])

"""The estimate of a step's memory, against the arrays that the layers give."""

import keras
import numpy as np
import pytest

from dermssl.core.memory import OutOfMemory
from dermssl.core.settings import Backbone
from dermssl.models import backbones
from dermssl.training import memory_check

NAMES = ("finetune.batch_size", "backbone.image_size")


@pytest.fixture(scope="module")
def backbone():
    return backbones.build(Backbone(name="cnn", image_size=32))


def test_it_is_the_size_of_what_the_layers_give(backbone):
    inner = list(memory_check._layers(backbone))
    network = next((layer for layer in backbone.layers if hasattr(layer, "layers")), backbone)
    every = keras.Model(network.inputs, [layer.output for layer in network.layers])
    made = sum(np.asarray(given).nbytes for given in every(np.zeros((3, 32, 32, 3), np.float32)))
    outside = [layer for layer in inner if layer not in network.layers]
    made += sum(4 * 3 * np.prod(layer.output.shape[1:]) for layer in outside)
    assert memory_check.step_bytes(backbone, 3) == memory_check.KEPT * made
    remat = memory_check.step_bytes(backbone, 3, remat=True)
    halves = memory_check.step_bytes(backbone, 3, halves=True)
    assert remat < halves < memory_check.KEPT * made
    assert remat == memory_check.step_bytes(backbone, 3, remat=True, halves=True)
    half = memory_check.step_bytes(backbone, 3, bytes_a_number=2)
    assert half == memory_check.KEPT * made / 2
    assert memory_check.step_bytes(backbone, 3, trained=False) < memory_check.KEPT * made


def test_what_can_t_fit_is_refused_with_a_batch_that_passes(backbone):
    one = memory_check.step_bytes(backbone, 1)
    memory_check.check(backbone, 10, NAMES, room=int(10 * one) + 1)
    message = (
        r"out of memory at a batch of 100 photos of 32 px: a step needs 0\.\d GB at least, "
        r"0\.\d GB are free; use a smaller finetune.batch_size \(5 or less\) or "
        "backbone.image_size"
    )
    with pytest.raises(OutOfMemory, match=message):
        memory_check.check(backbone, 100, NAMES, room=int(10 * one) + 1)
    memory_check.check(backbone, 5, NAMES, room=int(10 * one) + 1)
    with pytest.raises(OutOfMemory, match="two views each, of 32 px"):
        memory_check.check(backbone, 10, NAMES, views=2, room=int(10 * one) + 1)
    with pytest.raises(OutOfMemory, match=r"1 is too large: use a smaller backbone.image_size"):
        memory_check.check(backbone, 1, NAMES, room=10)


def test_of_chunks_the_whole_batch_is_pixels_and_similarities(backbone):
    names = ("pretrain.chunk_size", "pretrain.batch_size", "backbone.image_size")
    beside = memory_check.batch_bytes(32, 2048)
    assert beside == 2 * 2048 * 32 * 32 * 3 * 4 + (2 * 2048) ** 2 * 4
    need = memory_check.step_bytes(backbone, 2 * 8) + beside
    memory_check.check(backbone, 8, names, views=2, beside=beside, room=int(need) + 1)
    message = (
        r"at a chunk of 8 photos, two views each, of 32 px: a step needs 0\.1 GB at least, 0\.1 GB "
        r"are free; use a smaller pretrain.chunk_size \(3 or less\) or pretrain.batch_size or "
        "backbone.image_size"
    )
    with pytest.raises(OutOfMemory, match=message):
        memory_check.check(backbone, 8, names, views=2, beside=beside, room=int(need) - 1)
    with pytest.raises(OutOfMemory, match=r"smaller pretrain\.batch_size or"):
        memory_check.check(backbone, 8, names, views=2, beside=beside, room=int(beside) // 2)


def test_without_a_word_on_memory_nothing_is_refused(backbone, monkeypatch):
    monkeypatch.setattr(memory_check.memory, "available", lambda: None)
    memory_check.check(backbone, 10**9, NAMES)
    monkeypatch.setattr(memory_check.memory, "available", lambda: 10**6)
    with pytest.raises(OutOfMemory, match="are free"):
        memory_check.check(backbone, 10**6, NAMES)

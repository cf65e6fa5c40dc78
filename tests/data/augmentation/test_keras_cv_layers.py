"""Keras-CV's layers as augmentations: each view can be computed again, or the layer is refused."""

import builtins

import numpy as np
import pytest
import tiny

from dermssl import finetune
from dermssl.core.errors import UserError
from dermssl.data.augmentation import keras_cv_layers, opencv
from dermssl.data.augmentation.policies import find_policy

NAMES = (
    "RandAugment", "AugMix", "GridMask", "RandomHue(factor=0.5)", "RandomSaturation(factor=0.5)",
    "RandomRotation(factor=0.2)", "RandomCutout(height_factor=0.3, width_factor=0.3)",
)  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _installed():
    pytest.importorskip("keras_cv", reason="the extra keras-cv is not installed")


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_a_function_of_its_key(photo, name):
    policy = find_policy(f"keras_cv:{name}")
    keys = [(0, 0, record, 0) for record in range(4)] + [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1)]

    def views(order):
        made = {key: opencv.view(photo, policy, *key, 32) for key in order}
        return [made[key] for key in keys]

    first = views(keys)
    assert {view.shape for view in first} == {(32, 32, 3)}
    assert {view.dtype for view in first} == {np.dtype(np.uint8)}
    assert len({view.tobytes() for view in first}) > 3
    keras_cv_layers._function.cache_clear()  # as in another process
    np.testing.assert_array_equal(first, views(reversed(keys)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("MixUp", "mixes photos and so their labels"),
        ("RandomCrop(height=9, width=9)", r"gives \(9, 9, 3\), not \(32, 32, 3\)"),
        ("Rescaling(scale=2.0)", r"gives values from 0 to 510, not those of a"),
        ("RandomJpegQuality(factor=(30, 60))", r"to 1, not those of a photo in \[0, 255\]"),
        ("RandomHue", "missing 1 required positional argument: 'factor'"),
        ("RandomHue(factor=", r"write it as keras_cv:RandomHue\(factor=0.1\)"),
        ("RandomHue(factor=open('x'))", "can't be read; write it as"),
        ("Lambda", "unknown layer of keras_cv: 'Lambda'; choose one of: AugMix, AutoContrast"),
    ],
)
def test_what_can_not_be_used_is_refused_with_the_reason(name, message):
    with pytest.raises(UserError, match=message):
        find_policy(f"keras_cv:{name}")


def test_a_layer_that_keeps_a_state_is_refused(monkeypatch):
    import tensorflow as tf
    from keras_cv import layers

    class Stateful(layers.BaseImageAugmentationLayer):
        def augment_image(self, image, **options):
            return image * tf.raw_ops.RandomUniform(shape=tf.zeros([0], tf.int32), dtype=tf.float32)

    monkeypatch.setattr(layers, "Stateful", Stateful, raising=False)
    with pytest.raises(UserError, match=r"Stateful: keeps a random state \(RandomUniform\)"):
        find_policy("keras_cv:Stateful")


def test_without_the_extra_its_name_is_given(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **options):
        if name == "keras_cv":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    keras_cv_layers._function.cache_clear()
    with pytest.raises(UserError, match=r"install the extra: pip install 'dermssl\[keras-cv\]'"):
        find_policy("keras_cv:RandAugment")


@pytest.mark.slow
def test_a_run_trains_with_it_and_again_the_same(photos, tmp_path):
    settings = {"augmentation": "keras_cv:RandAugment", "unfrozen_epochs": 0}
    histories = []
    for name in "ab":
        run = finetune.run(tiny.finetuning(photos, tmp_path / name, name="mlp", **settings))
        histories.append((run / "predictions.csv").read_bytes())
    assert histories[0] == histories[1]

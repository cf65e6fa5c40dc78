"""The classifier: two levels that agree, known labels only, the same after loading."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny

from dermssl.core import taxonomy
from dermssl.core.settings import Backbone
from dermssl.losses.focal import SparseFocalLoss
from dermssl.models import backbones, classifier, weights

HAM = taxonomy.load("ham10000")


def build(classes=HAM, **settings):
    backbone = backbones.build(Backbone(name="mlp", image_size=32))
    return classifier.LesionClassifier(backbone, classes, **settings)


def photos(n=6):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, size=(n, 32, 32, 3)).astype(np.float32)


def softmax(logits):
    return np.asarray(keras.ops.softmax(keras.ops.cast(logits, "float32")))


def test_p_coarse_is_the_sum_of_its_children():
    logits = build()(photos())
    p_fine, p_coarse = softmax(logits["fine"]), softmax(logits["coarse"])
    assert p_fine.shape == (6, 7)
    for k, name in enumerate(HAM.coarse):
        children = [i for i, parent in enumerate(HAM.parents) if parent == name]
        np.testing.assert_allclose(p_coarse[:, k], p_fine[:, children].sum(axis=1), atol=1e-6)


def test_coarse_outputs_are_log_probabilities():
    coarse = np.asarray(build()(photos())["coarse"], np.float64)
    np.testing.assert_allclose(np.exp(coarse).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 100, 1e4, 1e30])
def test_levels_agree_for_extreme_logits(scale):
    fine = np.float32(scale) * np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    layer = classifier.CoarseFromFine(HAM.parent_index)
    coarse = layer(fine)
    assert np.isfinite(coarse).all()
    np.testing.assert_allclose(softmax(coarse), softmax(fine) @ HAM.matrix, atol=1e-6)


def test_probabilities_agree_exactly_and_sum_to_one():
    logits = {name: np.asarray(value) for name, value in build()(photos()).items()}
    p_fine, p_coarse = classifier.probabilities(logits, HAM).values()
    assert p_fine.dtype == p_coarse.dtype == np.float64
    np.testing.assert_array_equal(p_coarse, p_fine @ HAM.matrix.astype(np.float64))
    np.testing.assert_allclose(p_fine.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_allclose(p_fine, softmax(logits["fine"]), atol=1e-6)
    np.testing.assert_allclose(p_coarse, softmax(logits["coarse"]), atol=1e-6)


def test_probabilities_of_huge_logits():
    logits = {"fine": np.array([[1e30, 0, 0, 0, 0, 0, -1e30]], np.float32)}
    p_fine = classifier.probabilities(logits, HAM)["fine"]
    np.testing.assert_array_equal(p_fine, [[1, 0, 0, 0, 0, 0, 0]])


def test_independent_heads():
    model = build(head="independent")
    logits = {name: np.asarray(value) for name, value in model(photos()).items()}
    assert [logits["fine"].shape, logits["coarse"].shape] == [(6, 7), (6, 4)]
    p_fine, p_coarse = classifier.probabilities(logits, HAM, "independent").values()
    np.testing.assert_allclose(p_coarse, softmax(logits["coarse"]), atol=1e-6)
    np.testing.assert_allclose(p_coarse.sum(axis=1), 1, rtol=1e-14)
    assert np.abs(p_coarse - p_fine @ HAM.matrix).max() > 1e-3


@pytest.mark.parametrize("head", classifier.HEADS)
def test_the_head_is_a_function_of_its_seed(head):
    one, same, other = (build(head=head, seed=seed) for seed in (1, 1, 2))
    names = ["fine"] if head == "hierarchical" else ["fine", "coarse"]
    for name in names:
        kernel = one.get_layer(name).get_weights()[0]
        np.testing.assert_array_equal(kernel, same.get_layer(name).get_weights()[0])
        assert (kernel != other.get_layer(name).get_weights()[0]).any()
    if head == "independent":  # two heads, not one twice
        fine, coarse = (one.get_layer(name).get_weights()[0] for name in names)
        assert (fine[:, :4] != coarse).any()


def gradients(model, labels):
    """Gradients of both losses together, by variable name."""
    losses = {name: SparseFocalLoss(2.0) for name in labels}
    with tf.GradientTape() as tape:
        logits = model(photos(3), training=False)
        loss = sum(losses[name](labels[name], logits[name]) for name in labels)
    return float(loss), tape.gradient(loss, model.trainable_variables)


def test_a_coarse_only_record_still_teaches():
    model = build()
    unknown, coarse = np.full(3, -1), np.array([0, 1, 3])
    loss, found = gradients(model, {"fine": unknown, "coarse": coarse})
    alone, expected = gradients(model, {"coarse": coarse})
    assert loss == alone > 0
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one).max() > 0
    loss, found = gradients(model, {"fine": unknown, "coarse": unknown})
    assert loss == 0
    assert all(np.abs(gradient).max() == 0 for gradient in found)


def test_a_coarse_only_record_leaves_its_children_alone():
    # Which child of the group it is, nobody said: their shares within the group must not move.
    logits = tf.Variable(np.random.default_rng(0).normal(size=(1, 7)).astype(np.float32))
    group = HAM.coarse.index("keratinocytic")
    children = np.flatnonzero(HAM.parent_index == group)
    with tf.GradientTape() as tape:
        coarse = classifier.CoarseFromFine(HAM.parent_index)(logits)
        loss = SparseFocalLoss(0.0)([group], coarse)
    slope = tape.gradient(loss, logits).numpy()[0]
    within = softmax(logits)[0][children]
    np.testing.assert_allclose(slope[children] / slope[children].sum(), within / within.sum(),
                               rtol=1e-4)  # fmt: skip
    assert (slope[children] < 0).all()


def test_flat_taxonomy():
    flat = taxonomy.flat(["b", "a", "c"])
    logits = build(flat)(photos())
    np.testing.assert_allclose(softmax(logits["fine"]), softmax(logits["coarse"]), atol=1e-6)


@pytest.mark.parametrize("head", classifier.HEADS)
def test_mixed_precision_head_is_float32(restored_policy, head):
    keras.config.set_dtype_policy("mixed_float16")
    model = build(head=head)
    assert model.backbone.compute_dtype == "float16"
    for output in model(photos()).values():
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
    again = classifier.CoarseFromFine.from_config(model.get_layer("coarse").get_config()) if (
        head == "hierarchical"
    ) else None  # fmt: skip
    assert again is None or again.compute_dtype == "float32"


@pytest.mark.parametrize("head", classifier.HEADS)
def test_save_and_load(tmp_path, head):
    model = build(head=head)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")  # safe mode
    for name, output in model(photos()).items():
        np.testing.assert_array_equal(output, again(photos())[name])


def test_load_classifier_gives_the_trained_model(finetuned, photos):
    model = weights.load_classifier(finetuned)
    assert model.taxonomy == HAM
    saved = keras.saving.load_model(finetuned / weights.MODEL_FILE)
    for one, other in zip(model.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


LOAD = """
import json, sys, numpy as np
from dermssl.models import weights
model = weights.load_classifier(sys.argv[1])
images = np.random.default_rng(0).uniform(0, 255, size=(4, 32, 32, 3)).astype("float32")
print(json.dumps(np.asarray(model(images, training=False)["fine"]).tolist()))
"""


@pytest.mark.slow  # dermssl.predict does it in the fast tests
def test_load_classifier_in_a_fresh_process(finetuned):
    model = weights.load_classifier(finetuned)
    images = np.random.default_rng(0).uniform(0, 255, size=(4, 32, 32, 3)).astype("float32")
    process = tiny.python("-c", LOAD, finetuned)
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, model(images, training=False)["fine"], atol=1e-6)


def test_load_classifier_refuses_a_damaged_model(finetuned, tmp_path):
    import shutil

    from dermssl.core.errors import UserError

    copy = shutil.copytree(finetuned, tmp_path / "copy")
    (copy / weights.MODEL_FILE).write_bytes(b"no zip")
    with pytest.raises(UserError, match="does not hold the weights of this run"):
        weights.load_classifier(copy)
    (copy / weights.MODEL_FILE).unlink()
    with pytest.raises(UserError, match=weights.MODEL_FILE):
        weights.load_classifier(copy)


def test_predictions_hold_both_levels(finetuned):
    table = pd.read_csv(finetuned / "predictions.csv")
    p_fine = table[[f"p_fine_{name}" for name in HAM.fine]].to_numpy()
    p_coarse = table[[f"p_coarse_{name}" for name in HAM.coarse]].to_numpy()
    np.testing.assert_allclose(p_fine @ HAM.matrix, p_coarse, atol=1e-8)

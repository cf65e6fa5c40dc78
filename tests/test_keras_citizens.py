"""Every model, layer, loss and metric of the package does what Keras's own can."""

import json

import keras
import keras_citizens as citizens
import numpy as np
import pytest
import tiny

import dermssl

NAMES = ("SimCLR", "LesionClassifier", "CoarseFromFine", "NTXent", "SparseFocalLoss",
         "KnownAccuracy", "BalancedAccuracy")  # fmt: skip
MODELS = NAMES[:2]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """What the saved examples gave here, and what a fresh process found."""
    folder = tmp_path_factory.mktemp("citizens")
    given = citizens.save(folder)
    process = tiny.python(citizens.__file__, folder)
    assert process.returncode == 0, process.stderr
    return given, json.loads(process.stdout.splitlines()[-1])


def test_every_class_has_an_example():
    assert set(citizens.classes()) == set(citizens.examples()) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_registered_and_public(name):
    found = citizens.classes()[name]
    assert keras.saving.get_registered_name(found) == f"dermssl>{name}"
    assert keras.saving.get_registered_object(f"dermssl>{name}") is found
    assert getattr(dermssl, name) is found


@pytest.mark.parametrize("name", NAMES)
def test_its_config_makes_it_again(name):
    one = citizens.examples()[name]
    config = one.get_config()
    json.dumps(config)
    other = type(one).from_config(config)
    assert other.get_config() == config
    if name in MODELS:
        other.set_weights(one.get_weights())
    np.testing.assert_allclose(citizens.outputs(other), citizens.outputs(one), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_process_finds_it_after_importing_dermssl_alone(fresh, name):
    here, there = fresh[0][name], fresh[1]["given"][name]
    np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_it_fits_evaluates_and_predicts_under_a_strategy(fresh, name):
    found = fresh[1]["distributed"][name]
    assert found["shapes"] == ([[8, 6]] if name == "SimCLR" else [[8, 4], [8, 7]])
    assert np.isfinite(found["losses"]).all()
    assert found["validation"] == pytest.approx(found["score"], rel=1e-4)


@pytest.mark.slow
def test_replicas_contrast_the_views_of_the_whole_batch(fresh):
    for step, (chunk_size, _) in zip(fresh[1]["steps"], citizens.STEPS, strict=True):
        wanted = citizens.one_step(chunk_size=chunk_size)
        np.testing.assert_allclose(step, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_evaluates_in_mixed_precision(restored_policy, tmp_path, name):
    keras.config.set_dtype_policy("mixed_float16")
    model, (x, y) = citizens.examples()[name], citizens.data(name)
    citizens.compile_model(name, model)
    assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    history = model.fit(x, y, validation_data=(x, y), verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert {f"val_{key}" for key in history if not key.startswith("val_")} <= set(history)
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.dtype_policy.name == "mixed_float16"
    assert isinstance(again.optimizer, keras.mixed_precision.LossScaleOptimizer)
    np.testing.assert_allclose(citizens.outputs(again), citizens.outputs(model), atol=1e-3)

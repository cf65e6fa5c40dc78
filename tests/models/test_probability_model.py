"""The network that leaves gives what the run's calibrator makes of its probabilities."""

import json
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest

from dermssl.core import taxonomy
from dermssl.core.settings import Backbone
from dermssl.evaluation import calibration, calibrator
from dermssl.models import backbones, classifier
from dermssl.models.probability_model import Scaling, probability_model

HAM = taxonomy.load("ham10000")
NONE = calibrator._level(calibration.fit_temperature(np.zeros((0, 1)), []))
FINE = replace(
    NONE, temperature=1.7, prior_power=0.8, shares=(0.1, 0.6, 0.05, 0.05, 0.1, 0.05, 0.05)
)
COARSE = replace(NONE, temperature=0.6, prior_power=1.2, shares=(0.7, 0.2, 0.05, 0.05))


@pytest.fixture(scope="module", params=classifier.HEADS)
def classifiers(request):
    """A classifier whose logits spread, with the calibrator that suits its head."""
    backbone = backbones.build(Backbone(name="mlp", image_size=32))
    model = classifier.LesionClassifier(backbone, HAM, request.param, seed=3)
    rng = np.random.default_rng(0)
    model.set_weights(
        [3 * weight + rng.normal(0, 0.1, weight.shape) for weight in model.get_weights()]
    )
    return model, calibrator.Calibrator(FINE, None if request.param == "hierarchical" else COARSE)


def test_probabilities_are_those_of_the_calibrator(classifiers):
    model, scaling = classifiers
    photos = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    raw = model.predict_proba(photos)
    fine, coarse = scaling.apply(raw["fine"], raw["coarse"], HAM)
    assert np.abs(fine - raw["fine"]).max() > 0.05
    scalings = [
        level and Scaling(level.temperature, level.offset) for level in (FINE, scaling.coarse)
    ]
    leaving = probability_model(model, *scalings)
    for images in (photos, photos.astype("float32")):
        given = leaving.predict(images, verbose=0)
        np.testing.assert_allclose(given["fine"], fine, atol=1e-5)
        np.testing.assert_allclose(given["coarse"], coarse, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(photos)["fine"], raw["fine"])  # as it was


def test_a_saved_file_names_no_class_of_this_package(classifiers, tmp_path):
    model, _ = classifiers
    probability_model(model, Scaling(2.0)).save(tmp_path / "model.keras")
    config = json.loads(zipfile.ZipFile(tmp_path / "model.keras").read("config.json"))
    assert config["class_name"] == "Functional"
    assert "dermssl" not in json.dumps(config)
    assert isinstance(keras.saving.load_model(tmp_path / "model.keras"), keras.Model)

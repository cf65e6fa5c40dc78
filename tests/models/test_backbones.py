"""Backbones: every registry entry, its preprocessing, and the weights that it accepts."""

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.legacy.saving import legacy_h5_format

from dermssl.core.errors import UserError
from dermssl.core.settings import Backbone
from dermssl.models import backbones, weight_inspection

FAST = ("cnn", "mlp", "mobilenet")
NAMES = [
    pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
    for name in backbones.BACKBONES
]
# The function that Keras documents for each application; None where it does nothing.
OFFICIAL = {
    "mobilenet": keras.applications.mobilenet.preprocess_input,
    "mobilenetv2": keras.applications.mobilenet_v2.preprocess_input,
    "resnet50": keras.applications.resnet.preprocess_input,
    "inceptionv3": keras.applications.inception_v3.preprocess_input,
    "densenet121": keras.applications.densenet.preprocess_input,
    "efficientnetb0": keras.applications.efficientnet.preprocess_input,
    "efficientnetb1": keras.applications.efficientnet.preprocess_input,
    "efficientnetv2b0": keras.applications.efficientnet_v2.preprocess_input,
    "cnn": keras.applications.mobilenet.preprocess_input,
    "mlp": keras.applications.mobilenet.preprocess_input,
}


def backbone(name="mobilenet", size=32, **settings):
    return backbones.build(Backbone(name=name, image_size=size, **settings))


def photos(n=2, size=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(n, size, size, 3)).astype(np.float32)


def liven(model, seed=0, gain=3):
    """Weights of a size that keeps signals alive: new MobileNets give embeddings of 1e-21."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance):
                weight.assign(weight + rng.uniform(0, 0.1, size=weight.shape))
        elif layer.weights and not isinstance(layer, layers.Normalization):
            layer.set_weights([gain * weight for weight in layer.get_weights()])
    return model


def embed(model, images):
    found = np.asarray(model(images, training=False))
    assert np.abs(found).max() > 1e-6  # else equality would say nothing
    return found


def save_legacy(model, path):
    """The layout of the .h5 files that keras.applications downloads."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.fixture(scope="module")
def mobilenet():
    return liven(backbone())


@pytest.mark.parametrize("name", NAMES)
def test_builds_at_its_smallest_size(name):
    size = backbones.BACKBONES[name].min_size
    model = backbone(name, size, batchnorm_momentum=0.8)
    assert model.input.shape == (None, size, size, 3)
    assert len(model.output.shape) == 2
    assert model.name == "backbone"
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)  # a flat graph
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} <= {0.8}
    assert norms or name == "mlp"
    found = np.asarray(model(photos(size=size), training=False))
    assert found.shape == (2, model.output.shape[-1])
    assert np.isfinite(found).all()


def test_batchnorm_momentum_by_default(mobilenet):
    norms = [layer for layer in mobilenet.layers if isinstance(layer, layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {0.9}


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_preprocessing_is_the_official_one(name):
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, backbones.BACKBONES[name].preprocess(inputs) + 0.0)
    images = photos()
    expected = OFFICIAL[name](images.copy())
    np.testing.assert_allclose(np.asarray(model(images)), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_backbone_reads_0_to_255(name):
    # A second scaling, or a missing one, would leave its own scale far from the unit.
    size = backbones.BACKBONES[name].min_size
    model = backbone(name, size)
    first = next(
        layer
        for layer in model.layers
        if isinstance(layer, layers.Conv2D | layers.Dense) and layer.name != "embedding"
    )
    seen = np.asarray(keras.Model(model.input, first.input)(photos(size=size)))
    assert 0.2 < np.abs(seen).mean() < (130 if name == "resnet50" else 1.5)


def test_every_name_is_covered():
    assert set(OFFICIAL) == set(backbones.BACKBONES)


def test_size_under_the_minimum_names_what_fits():
    with pytest.raises(
        UserError, match=r"backbone.image_size 50 .* 75 px that inceptionv3.*mobilenet"
    ):
        backbone("inceptionv3", 50)
    with pytest.raises(UserError, match=r"20 is under the 32 px .*one of: cnn, mlp$"):
        backbone("mobilenet", 20)
    with pytest.raises(UserError, match="none fits"):
        backbone("cnn", 8)


def test_unknown_name_lists_the_valid_ones():
    with pytest.raises(UserError) as error:
        backbone("vgg")
    assert "backbone.name 'vgg'" in str(error.value)
    assert all(name in str(error.value) for name in backbones.BACKBONES)


@pytest.mark.parametrize(
    "name", ["mobilenet", pytest.param("efficientnetb1", marks=pytest.mark.slow)]
)
def test_imagenet_without_a_network(monkeypatch, name):
    def offline(*args, origin=None, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name not known")

    for module in ("mobilenet", "efficientnet"):
        place = f"keras.src.applications.{module}.file_utils.get_file"
        monkeypatch.setattr(place, offline)
    with pytest.raises(UserError) as error:
        backbone(name, weights="imagenet")
    message = str(error.value)
    assert "\n" not in message
    assert "URL fetch failure" in message
    assert "backbone.weights none" in message
    assert "backbone.weights PATH" in message


def test_other_errors_of_keras_are_not_taken_for_a_missing_network(monkeypatch):
    def broken(*args, **kwargs):
        raise TypeError("a bug")

    monkeypatch.setattr("keras.src.applications.mobilenet.file_utils.get_file", broken)
    with pytest.raises(TypeError):
        backbone(weights="imagenet")


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_imagenet_where_there_is_none(name):
    with pytest.raises(UserError, match=f"imagenet: {name} has none"):
        backbone(name, weights="imagenet")


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_save_and_load(mobilenet, tmp_path, suffix):
    file = tmp_path / f"backbone{suffix}"
    (mobilenet.save_weights if suffix == ".weights.h5" else mobilenet.save)(file)
    again = backbone(weights=str(file))
    np.testing.assert_array_equal(embed(again, photos()), embed(mobilenet, photos()))


def test_a_file_fits_another_size(mobilenet, tmp_path):
    mobilenet.save_weights(tmp_path / "b.weights.h5")
    again = backbone(size=48, weights=str(tmp_path / "b.weights.h5"))
    for old, new in zip(mobilenet.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_released_file_without_a_top(tmp_path):
    released = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg"
    )
    liven(released)
    save_legacy(released, tmp_path / "no_top.h5")
    again = backbone(weights=str(tmp_path / "no_top.h5"))
    expected = embed(released, keras.applications.mobilenet.preprocess_input(photos()))
    np.testing.assert_allclose(embed(again, photos()), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_files_that_are_refused(mobilenet, tmp_path, recwarn):
    whole = tmp_path / "whole.weights.h5"
    mobilenet.save_weights(whole)
    other = tmp_path / "of_mobilenetv2.weights.h5"
    backbone("mobilenetv2").save_weights(other)
    narrow = keras.applications.MobileNet(
        include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.25
    )
    save_legacy(narrow, tmp_path / "narrow.h5")
    (tmp_path / "cut.weights.h5").write_bytes(whole.read_bytes()[:100_000])
    for name in ("no.h5", "no.weights.h5", "no.keras", "no.pt"):
        (tmp_path / name).write_bytes(b"no such format" * 9)
    (tmp_path / "empty.h5").touch()
    files = {*tmp_path.iterdir(), tmp_path / "absent.h5"} - {whole}
    assert len(files) == 9
    recwarn.clear()
    for file in files:
        with pytest.raises(UserError) as error:
            backbone(weights=str(file))
        message = str(error.value)
        assert str(file) in message
        assert "\n" not in message
        assert "mobilenet" in message or file.name in ("absent.h5", "no.pt")
    assert not [w for w in recwarn if "Skipping" in str(w.message)]  # one line is enough


def test_weights_that_are_no_numbers(tmp_path):
    model = backbone("mlp")
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    model.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(UserError, match=r"nan.weights.h5: holds weights that are no numbers"):
        backbone("mlp", weights=str(tmp_path / "nan.weights.h5"))


def released_efficientnet(monkeypatch, folder):
    """EfficientNetB0 as `weights="imagenet"` makes it, from a file made here."""
    plain = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    liven(plain, gain=1)  # with 3 it reaches 1e18, and rounding differs by 1e-4
    norm = next(layer for layer in plain.layers if isinstance(layer, layers.Normalization))
    variance = np.square(backbones.TORCH_STD)
    norm.set_weights([np.float32(backbones.TORCH_MEAN), np.float32(variance), np.int32(0)])
    save_legacy(plain, folder / "released.h5")
    place = "keras.src.applications.efficientnet.file_utils.get_file"
    monkeypatch.setattr(place, lambda *args, **kwargs: str(folder / "released.h5"))
    return keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=(32, 32, 3), pooling="avg"
    )


@pytest.mark.slow
def test_efficientnet_is_one_function_however_its_weights_came(monkeypatch, tmp_path):
    # Keras adds a layer for weights="imagenet", which a graph built for the same weights from
    # a file, such as a saved run, lacks: its embeddings would be others.
    expected = embed(released_efficientnet(monkeypatch, tmp_path), photos())
    size = np.abs(expected).max()
    downloaded = backbone("efficientnetb0", weights="imagenet")
    from_file = backbone("efficientnetb0", weights=str(tmp_path / "released.h5"))
    downloaded.save_weights(tmp_path / "run.weights.h5")
    from_run = backbone("efficientnetb0", weights=str(tmp_path / "run.weights.h5"))
    for model in (downloaded, from_file, from_run):
        np.testing.assert_allclose(embed(model, photos()) / size, expected / size, atol=1e-5)
    np.testing.assert_array_equal(embed(from_run, photos()), embed(downloaded, photos()))


def test_a_folder_is_no_weights_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        backbone(weights=str(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_a_weights_file_tells_its_backbone(name, tmp_path):
    model = backbone(name, size=75 if name == "inceptionv3" else 32)
    for file in ("w.weights.h5", "w.keras"):
        (model.save_weights if file == "w.weights.h5" else model.save)(tmp_path / file)
        assert weight_inspection.looks_like(weight_inspection.check(tmp_path / file, "x")) == name

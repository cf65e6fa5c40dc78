"""The notebook of the documentation, docs/notebook.ipynb, and what stands in it and in README."""

import json

import keras
import numpy as np
import pytest
import tiny

import dermssl
from dermssl.data.synthetic import embedded


@pytest.fixture(scope="module")
def data(photos):
    return dermssl.load_dataset(photos)


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedded, "PHOTOS", 300)
    notebook = json.loads((tiny.ROOT / "docs" / "notebook.ipynb").read_text("utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join(cells)
    for shown, small in (
        ("epochs=3", "epochs=1"), ("epochs=20", "epochs=1"), ("_epochs\": 5", "_epochs\": 1"),
        ("_epochs\": 20", "_epochs\": 1"), ("image_size=48", "image_size=32"),
        ("\"image_size\": 48", "\"image_size\": 32"), (".evaluate()", ".evaluate(n_resamples=100)"),
    ):  # fmt: skip
        assert shown in code
        code = code.replace(shown, small)
    names = {}
    exec(code, names)
    assert np.isfinite(names["history"]["loss"]).all()
    assert len(names["pretrained"].history) == 1
    assert len(names["table"]) == len(names["data"].records) == 300
    assert 0 <= names["evaluation"].metrics.loc["balanced_accuracy", "estimate"] <= 1
    assert names["model"].input_shape == (None, 32, 32, 3)


def test_simclr_fits_two_views_and_validates_on_them(photos):
    data = dermssl.load_dataset(photos)
    backbone = dermssl.Backbone("cnn", image_size=32)
    model = dermssl.SimCLR(backbone)
    model.compile("adam")
    history = model.fit(
        dermssl.two_views(data.train, batch_size=32, image_size=32),
        validation_data=dermssl.two_views(data.validation, batch_size=8, image_size=32, epoch=0),
        epochs=2, verbose=0,
    ).history  # fmt: skip
    assert len(history["loss"]) == len(history["val_loss"]) == 2
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.slow
def test_the_notebook_with_its_own_numbers(photos):
    data = dermssl.load_dataset(photos)
    backbone = dermssl.Backbone("mobilenet", image_size=96)
    model = dermssl.SimCLR(backbone)
    model.compile("adam")
    views = dermssl.two_views(data.train, batch_size=64)
    assert np.isfinite(model.fit(views, epochs=1, verbose=0).history["loss"]).all()


def test_a_dataset_knows_its_splits(data):
    assert len(data.records) == len(data.train.files) + sum(
        len(part.files) for part in (data.validation, data.test)
    )
    assert set(data.test.records["split"]) == {"test"}
    with pytest.raises(dermssl.UserError, match="load_dataset: unknown key 'valid'"):
        dermssl.load_dataset(data.root, valid=0.2)


def firsts(views):
    """The first view of every record in one pass, as bytes."""
    return [np.concatenate([first for first, _ in views]).tobytes()]


def test_each_pass_over_two_views_is_an_epoch_of_its_own(data):
    views = dermssl.two_views(data.train, batch_size=16, image_size=16, seed=3)
    steps = len(data.train.files) // 16
    assert len(list(views)) == views.cardinality() == steps
    second, third = firsts(views), firsts(views)
    assert second != third
    again = dermssl.two_views(data.train, batch_size=16, image_size=16, seed=3)
    passes = [firsts(again) for _ in range(3)]
    assert passes[1:] == [second, third]
    fixed = dermssl.two_views(data.train, batch_size=16, image_size=16, seed=3, epoch=2)
    assert firsts(fixed) == firsts(fixed) == third


def test_two_views_are_those_of_a_run(data):
    from dermssl.data import pipeline
    from dermssl.data.photos import Photos

    steps = len(data.train.files) // 16
    policy = dermssl.AUGMENTATIONS["simclr"]
    photos = Photos(data.train.files, 16, mask_files=data.train.mask_files)
    run = pipeline.two_view_data(photos, policy, 0, 16, 16, 2 * steps, start=steps)
    ours = dermssl.two_views(data.train, batch_size=16, image_size=16, epoch=1)
    for one, other in zip(run, ours, strict=True):
        np.testing.assert_array_equal(np.stack(one), np.stack(other))


def test_a_batch_larger_than_the_data_is_refused(data):
    with pytest.raises(dermssl.UserError, match=r"pretrain\.batch_size 999 is larger than the "):
        dermssl.two_views(data.train, batch_size=999)


def test_a_run_s_model_gives_its_predictions(finetuned):
    run = dermssl.load_run(finetuned)
    photos = run.photos(run.dataset(split="test"))
    table = run.records("test")
    images = np.stack([dermssl_view(photos[k]) for k in range(len(photos))])
    wanted = table[[f"p_fine_{name}" for name in run.taxonomy.fine]].to_numpy()
    saved = keras.saving.load_model(finetuned / "model.keras")
    for model in (saved, run.model()):
        np.testing.assert_allclose(model.predict_proba(images)["fine"], wanted, atol=1e-6)
    assert run.settings["finetune"].batch_size == 16
    assert run.backbone().output_shape == (None, 256)


def dermssl_view(photo):
    from dermssl.data.augmentation import opencv

    return opencv.center_square(photo, 32)


def test_public_names_are_there_and_listed():
    for name in dir(dermssl):
        assert getattr(dermssl, name) is not None
    assert {"SimCLR", "LesionClassifier", "Backbone", "load_dataset", "two_views"} <= set(
        dir(dermssl)
    )
    with pytest.raises(AttributeError, match="no attribute 'simclr'"):
        _ = dermssl.simclr


def test_importing_the_package_takes_no_tensorflow():
    code = "import time; a = time.process_time(); import dermssl; print(time.process_time() - a)"
    process = tiny.python(
        "-c", f"{code}; import sys; assert not {{'tensorflow', 'keras'}} & set(sys.modules)"
    )
    assert process.returncode == 0, process.stderr
    assert float(process.stdout) < 0.1

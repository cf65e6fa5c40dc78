"""Heat maps of a run: pictures, table, TensorBoard, and what is refused."""

import io
import os
import shutil

import numpy as np
import pages
import pandas as pd
import pytest
import tiny
from matplotlib import colormaps
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dermssl import explain
from dermssl.core import taxonomy as taxonomies
from dermssl.core.settings import Backbone
from dermssl.data import heat_overlay
from dermssl.models import backbones, classifier, weights
from dermssl.studies.explain import run as explain_run

HAM = taxonomies.load("ham10000")


@pytest.fixture(scope="module")
def explained(own_run):
    assert tiny.call(explain, own_run, "--count", 2) == 0
    return own_run / "explanations"


def test_sheets_and_table(explained, own_run):
    table = pd.read_csv(explained / "explanations.csv")
    kept = pd.read_csv(own_run / "predictions.csv").set_index("path")
    for group, part in table.groupby("group"):
        width, height = Image.open(explained / f"{group}.png").size
        assert height > width * len(part) / 10
        right = part["fine"] == part["predicted_fine"]
        if group != "classes":
            assert len(part) <= 2
            assert right.all() if group == "hits" else not right.any()
            assert (np.diff(part["p_fine"]) <= 0).all()
    assert (kept.loc[table["path"], "split"] == "test").all()
    columns = [f"p_fine_{name}" for name in table["predicted_fine"]]
    expected = [kept.loc[path, column] for path, column in zip(table["path"], columns)]
    np.testing.assert_allclose(table["p_fine"], expected, atol=1e-5)
    test = kept[kept["split"] == "test"]
    classes = table[table["group"] == "classes"]
    assert set(classes["fine"]) == set(test["fine"].dropna())


def test_report_says_what_a_map_does_not_prove(explained):
    text = (explained / "report.md").read_text()
    assert "what it does not prove" in text
    assert "2 x 2 cells" in text  # 32 px through four strides of two
    assert "Adebayo" in text
    assert "too few to tell places apart" in text
    assert "aren't those of the run" not in text  # the probabilities are the run's own
    assert pages.check(explained)


def test_tensorboard_shows_every_photo(explained, own_run):
    events = EventAccumulator(str(own_run / "tensorboard" / "explain"))
    events.Reload()
    table = pd.read_csv(explained / "explanations.csv")
    tags = events.Tags()["tensors"]
    assert len(tags) == len(table)
    assert {tag.split("/")[0] for tag in tags} == set(table["group"])
    width, height = (int(v) for v in events.Tensors("classes/01")[0].tensor_proto.string_val[:2])
    assert width > 2 * height  # photo, fine map, coarse map


def test_new_photos(own_run, photos, tmp_path, capsys):
    some = tmp_path / "some"
    some.mkdir()
    for k in range(2):
        shutil.copy(photos / "images" / f"SYN_00000{k}.jpg", some / f"{k}.jpg")
    output = tmp_path / "out"
    assert tiny.call(explain, own_run, "--output", output, some, some / "1.jpg") == 0
    assert str(output) in capsys.readouterr().out
    table = pd.read_csv(output / "explanations.csv", keep_default_na=False)
    assert table["path"].tolist() == [str(some / "0.jpg"), str(some / "1.jpg")]
    assert set(table["fine"]) == {""}
    assert list((output / "tensorboard" / "explain_photos").glob("events*"))
    assert not (own_run / "explained_photos").exists()


def test_the_overlay_by_hand():
    photo = np.full((4, 4, 3), 100, np.uint8)
    low, high = (255 * np.array(colormaps["viridis"](v)[:3]) for v in (0.0, 1.0))
    one = heat_overlay.overlay(photo, np.zeros((2, 2), np.float32))
    np.testing.assert_array_equal(one, np.broadcast_to(np.rint(50 + low / 2), one.shape))
    heat = np.float32([[1, 0], [0, 0]])
    found = heat_overlay.overlay(photo, heat)
    np.testing.assert_array_equal(found[0, 0], np.rint(50 + high / 2))
    np.testing.assert_array_equal(found[3, 3], one[3, 3])


def test_a_thumbnail_is_the_central_square_with_its_map():
    photo = np.zeros((60, 100, 3), np.uint8)
    photo[:, 20:80] = 200
    heat, low = np.zeros((2, 2), np.float32), 255 * np.array(colormaps["viridis"](0.0)[:3])
    for one, expected in (
        (heat_overlay.thumbnail(photo, 30), 200),
        (heat_overlay.thumbnail(photo, 30, heat), 100 + low / 2),
    ):
        shown = np.asarray(Image.open(io.BytesIO(one)), float)
        assert shown.shape == (30, 30, 3)
        assert np.abs(shown - expected).max() < 4


def test_an_mlp_has_no_map(own_run, tmp_path, monkeypatch, capsys):
    mlp = backbones.build(Backbone(name="mlp", image_size=32))
    model = classifier.LesionClassifier(mlp, HAM)
    monkeypatch.setattr(weights, "load_classifier", lambda path: model)
    assert tiny.call(explain, own_run, "--output", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "no spatial map" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["RUN", "--count", "0"], "--count is 0"),
        (["RUN", "nowhere.jpg"], "nowhere.jpg"),
        (["RUN", "BAD"], "bad.jpg"),
        (["RUN", "PHOTOS"], "160 photos given; explain at most 60"),
        (["RUN", "--data", "BAD"], "photos of the run aren't there"),
        (["PRETRAINED"], "a run of dermssl.pretrain, not of dermssl.finetune"),
    ],
)
def test_bad_input_is_one_line(own_run, pretrained, photos, tmp_path, capsys, argv, said):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.jpg").write_bytes(b"no image")
    names = {"RUN": own_run, "PRETRAINED": pretrained, "PHOTOS": photos / "images"}
    names["BAD"] = tmp_path / "bad"
    assert tiny.call(explain, *[names.get(word, word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_given_photos_are_where_their_names_say_with_masks_of_their_own(tmp_path, monkeypatch):
    for name in ("p/a.jpg", "q/a.jpg", "q/b.jpg", "p/masks/a.png", "q/masks/b.png", "q/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), "white").save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    _, found, _ = explain_run._given(["p/a.jpg", "q", "q/b.jpg"], ["lesion_crop"])
    files = [tmp_path / "p/a.jpg", *(tmp_path / f"q/{name}.jpg" for name in "abc")]
    assert [*map(os.path.realpath, found.files[:4])] == [*map(os.path.realpath, files)]
    assert all(map(os.path.isfile, found.files))
    assert found.index["path"].iloc[0] == "p/a.jpg"
    masks = [os.path.relpath(mask, tmp_path) if mask else "" for mask in found.mask_files]
    assert masks == ["p/masks/a.png", "", "q/masks/b.png", "", "q/masks/b.png"]
    assert set(explain_run._given(["q"], ["sharpen"])[1].mask_files) == {""}

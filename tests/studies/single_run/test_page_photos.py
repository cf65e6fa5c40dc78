"""The photos of an evaluation's page: which errors, their heat maps, and what isn't shown."""

import base64
import re
import shutil

import cv2
import fake_runs
import numpy as np
import pandas as pd
import pytest

from dermssl import evaluate
from dermssl.core.study_settings import Evaluate
from dermssl.data import heat_overlay
from dermssl.data.augmentation import opencv
from dermssl.inference import finished_run
from dermssl.models import grad_cam
from dermssl.studies.single_run import compute, confident_errors, page_photos


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    fake_runs.no_pictures(monkeypatch)


def evaluation(run, **settings):
    return compute.make(run, "test", 20, Evaluate(run=str(run), **settings), "command")


def of(run, **settings):
    """The page's photos, none of them behind a matrix's cell but those of the errors."""
    return page_photos.of(evaluation(run, **settings))


def names(photos):
    """The file names of the errors that are shown."""
    return [re.match(r"\d+: (.+?), true: ", case[0].caption)[1] for case in photos.errors]


def test_the_errors_are_the_surest_wrong_ones_one_a_lesion(tmp_path):
    table = fake_runs.records(n=400)
    made = evaluation(fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0)))
    kept = pd.read_csv(tmp_path / "run" / "predictions.csv")
    kept = kept[kept["split"] == "test"].reset_index(drop=True)
    p = kept.filter(regex="^p_fine_")
    guess = p.idxmax(axis=1).str.removeprefix("p_fine_")
    wrong = kept[guess != kept["fine"]].assign(p=p.max(axis=1))
    expected = wrong.sort_values("p", ascending=False).drop_duplicates("lesion_id")
    found = confident_errors.rows(made)
    assert len(found) == confident_errors.MOST < len(expected)
    assert found.tolist() == expected.index[: len(found)].tolist()
    section = confident_errors.section(made, "lesion", (), "no photos")
    rows = section.blocks[-1].rows
    assert [row[1] for row in rows] == kept["path"][found].tolist()
    assert [row[4] for row in rows] == pytest.approx(p.max(axis=1)[found].tolist(), abs=1e-6)


def test_without_an_error_there_is_no_section(tmp_path):
    table = fake_runs.records(n=80)
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 50.0))
    made = evaluation(folder)
    assert confident_errors.section(made, "lesion", (), "") is None


def test_the_page_has_each_error_with_its_maps(own_run):
    out = evaluate(own_run, n_resamples=20)
    html, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    part = text.split("## Most confident errors")[1].split("## ")[0]
    listed = re.findall(r"^\| (\d+) \| (\S+) \|", part, re.MULTILINE)
    assert 1 <= len(listed) <= confident_errors.MOST
    gallery = re.search(r'<ul class="gallery">(.+?)</ul>', html, re.DOTALL)[1]
    cases = re.findall(r"<li.+?</li>", gallery)
    assert len(cases) == len(listed)
    run = finished_run.load(own_run)
    kept = run.predictions.table.set_index("path")
    rows = kept.loc[[path for _, path in listed]].reset_index()
    photos = run.photos(run.dataset(rows))
    names = run.taxonomy.fine
    model = run.model()
    for k, (case, (number, path)) in enumerate(zip(cases, listed)):
        whole = photos[k]
        image = opencv.center_square(whole, run.image_size)[None]
        shown = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", case)]
        assert f"<figcaption>{number}: {path.rsplit('/', 1)[-1]}, true: " in case
        assert shown[0] == heat_overlay.thumbnail(whole, page_photos.ERROR_SIDE)
        guess = int(rows.filter(regex="^p_fine_").iloc[k].argmax())
        assert len(shown) == 3
        for data, true in zip(shown[1:], (guess, names.index(rows["fine"][k]))):
            heat = grad_cam.heat_maps(model, image, [true])[0]
            expected = heat_overlay.thumbnail(whole, page_photos.ERROR_SIDE, heat)
            pixels = [cv2.imdecode(np.frombuffer(one, np.uint8), 1).astype(int)
                      for one in (data, expected)]  # fmt: skip
            assert pixels[0].shape == (page_photos.ERROR_SIDE,) * 2 + (3,)
            assert np.abs(pixels[0] - pixels[1]).mean() < 1  # rounding, batch by batch
    assert "gives each of them its probabilities in predictions.csv, to within 0.02" in text


def test_a_photo_that_is_another_now_is_left_out_and_counted(own_run, photos, tmp_path):
    moved = shutil.copytree(photos, tmp_path / "moved")
    before = of(own_run, run_data=str(moved))
    assert not before.warning
    first = names(before)[0]
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert cv2.imwrite(str(next(moved.rglob(first))), noise)
    after = of(own_run, run_data=str(moved))
    assert names(after) == names(before)[1:]
    assert after.errors[0][0].caption.startswith("2: ")  # as in the table
    assert re.match(r"1 of \d+ photos are left out of this page: the run's net", after.warning)
    shown = [photo.caption for cells in after.cells.values() for one in cells.values()
             for photo in one]  # fmt: skip
    assert shown
    assert not [caption for caption in shown if first in caption]


def test_photos_that_are_gone_hide_no_other(own_run, photos, tmp_path):
    moved = shutil.copytree(photos, tmp_path / "moved")
    before = of(own_run, run_data=str(moved))
    n = int(re.match(r"(\d+) small photos of the test split", before.source)[1])
    assert "missing" not in before.source
    first, second, *others = names(before)
    next(moved.rglob(first)).unlink()
    next(moved.rglob(second)).write_bytes(b"no photo")
    after = of(own_run, run_data=str(moved))
    assert names(after) == others
    assert after.source.startswith(f"{n - 2} small photos")
    line = f"2 of the {n} that belong there are missing or can't be read ("
    assert line in after.source
    gone = set(after.source.split(line)[1].removesuffix(").").split(", "))
    assert {path.rpartition("/")[2] for path in gone} == {first, second}
    assert not after.warning
    for level, cells in before.cells.items():
        kept = [photo.caption for cell in cells.values() for photo in cell]
        kept = [text for text in kept if text.split(", raw P")[0] not in gone]
        found = [photo.caption for cell in after.cells[level].values() for photo in cell]
        assert found == kept
        assert all(after.cells[level].values())


def test_without_the_network_photos_are_shown_unchecked_and_without_maps(own_run, tmp_path):
    run = shutil.copytree(own_run, tmp_path / "run", ignore=lambda *_: ["model.keras"])
    found = of(run)
    assert len(found.errors) == len(confident_errors.rows(evaluation(run)))
    assert {len(case) for case in found.errors} == {1}
    assert found.on_errors.startswith("Without heat maps: ")
    assert "model.keras" in found.on_errors
    assert "That they are those of the run isn't checked: " in found.source


def test_a_backbone_without_places_has_photos_without_maps(own_run, monkeypatch):
    def refuse(model):
        raise page_photos.UserError("Grad-CAM: no map")

    monkeypatch.setattr(grad_cam, "spatial", refuse)
    found = of(own_run)
    assert {len(case) for case in found.errors} == {1}
    assert found.on_errors == "Without heat maps: Grad-CAM: no map."
    assert "gives each of them its probabilities" in found.source  # still checked


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"without_photos": True}, "No photo is in this page (evaluate.without_photos)."),
        ({"run_data": "EMPTY"}, "Photos aren't shown: none of them is where the run found it. "),
    ],
)
def test_no_photos_and_why(own_run, tmp_path, settings, said):
    settings = {name: str(tmp_path) if value == "EMPTY" else value
                for name, value in settings.items()}  # fmt: skip
    found = of(own_run, **settings)
    assert not found.cells
    assert not found.errors
    assert found.on_errors == found.source
    assert found.source.startswith(said)

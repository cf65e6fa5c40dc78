"""Photos behind the confusion matrices: those that are gone are counted, the others are shown."""

import dataclasses
import re
import shutil

import fake_runs
import pytest
from PIL import Image

from dermssl.core.study_settings import Evaluate
from dermssl.studies.single_run import cell_photos, compute


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    """Of a simulated run whose photos are all in a folder that has moved."""
    folder = tmp_path_factory.mktemp("cells")
    table = fake_runs.records(n=80)
    run = fake_runs.make(folder / "run", table, fake_runs.simulate(table, 1.5))
    (folder / "moved").mkdir()
    for k, name in enumerate(table["path"]):
        Image.new("RGB", (40, 30), (k, 2 * k, 99)).save(folder / "moved" / name)
    settings = Evaluate(run=str(run), run_data=str(folder / "moved"))
    return compute.make(run, "test", 10, settings, "")


def captions(pages):
    return {
        level: [photo.caption for cell in cells.values() for photo in cell]
        for level, cells in pages.items()
    }


def test_photos_that_are_gone_hide_no_other(evaluation, tmp_path):
    folder = shutil.copytree(evaluation.settings.run_data, tmp_path / "moved")
    moved = dataclasses.replace(evaluation.settings, run_data=str(folder))
    now = dataclasses.replace(evaluation, settings=moved)
    whole, line = cell_photos.behind(evaluation)
    n = int(re.match(r"(\d+) small photos of the test split", line)[1])
    assert "missing" not in line
    seen = [{text.split(",")[0] for text in texts} for texts in captions(whole).values()]
    gone = sorted(seen[0] & seen[1])[:2]
    (folder / gone[0]).unlink()
    (folder / gone[1]).write_bytes(b"no photo")
    pages, line = cell_photos.behind(now)
    assert line.startswith(f"{n - 2} small photos")
    assert (
        f"2 of the {n} that belong there are missing or can't be read ({', '.join(gone)})" in line
    )
    for level, texts in captions(whole).items():
        kept = [text for text in texts if text.split(",")[0] not in gone]
        assert captions(pages)[level] == kept
        assert len(kept) < len(texts)
    assert all(cell for cells in pages.values() for cell in cells.values())


def test_without_any_photo_one_line_says_so(evaluation, tmp_path):
    for folder in ("", str(tmp_path), str(tmp_path / "none")):
        settings = dataclasses.replace(evaluation.settings, run_data=folder)
        pages, line = cell_photos.behind(dataclasses.replace(evaluation, settings=settings))
        assert pages == {}
        assert "aren't shown: none of them is where the run found it. evaluate.run_data" in line

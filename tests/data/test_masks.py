"""Which mask is whose: by a table, by name, and the same whatever part of a folder is asked for."""

import numpy as np
import pytest
from PIL import Image

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import masks as mask_files
from dermssl.data import readers
from dermssl.data.masks import MaskIndex
from dermssl.data.records import data_hash, make_index
from dermssl.inference import finished_run


def write(root, *names, shape=(40, 60)):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture = np.zeros(shape, np.uint8)
        picture[10:20, 20:30] = 255
        Image.fromarray(picture).save(root / name)
        with open(root / name, "ab") as file:
            file.write(str(root / name).encode())  # no two photos are copies


def test_one_rule_for_names(tmp_path):
    write(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg", "e_mask.jpg")
    write(tmp_path, "masks/a.png", "masks/a_mask.png", "masks/b_Segmentation.png")
    write(tmp_path, "masks/c_mask.png", "masks/e_mask.png", "masks/e.png")
    photos = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e_mask.jpg"]
    want = ["a.png", "b_Segmentation.png", "c_mask.png", "", "e_mask.png"]
    assert MaskIndex(tmp_path, photos).of(photos) == [name and f"masks/{name}" for name in want]
    folder = tmp_path / "masks"
    full = [name and str(folder / name) for name in want]
    assert mask_files.in_folder(folder, photos, photos) == full
    assert mask_files.in_folder(folder, ["x/a.jpg"], ["x/a.jpg"]) == [str(folder / "a.png")]
    assert mask_files.in_folder(folder, ["x/a.jpg"], ["x/a.jpg", "y/a.jpg"]) == [""]


def test_a_part_of_a_folder_finds_what_all_of_it_does(tmp_path):
    write(tmp_path, "a/1.jpg", "b/1.jpg", "b/2.jpg", "masks/1.png", "masks/2.png")
    assert readers.read(Data(path=str(tmp_path))).index["mask"].tolist() == ["", "", "masks/2.png"]
    assert MaskIndex(tmp_path).of(["b/1.jpg"]) == [""]
    assert mask_files.of_files(tmp_path, [str(tmp_path / "b/1.jpg")]) == [""]
    assert MaskIndex(tmp_path).of(["b/2.jpg"]) == ["masks/2.png"]
    assert MaskIndex(tmp_path).of(["../more/2.jpg"]) == [""]


def test_a_folder_s_table_goes_before_names(tmp_path, monkeypatch):
    write(tmp_path, "images/a.jpg", "images/b.jpg", "c.jpg", "d.jpg", "lesions/m.png")
    write(tmp_path, "masks/a.png", "masks/b.png", "masks/c.png", "masks/d.png")
    table = tmp_path / "labels.csv"
    table.write_text("filename,label,mask\na.jpg,nv,lesions/m.png\nb.jpg,nv,\nc.jpg,nv,NA\n")
    photos = ["images/a.jpg", "images/b.jpg", "c.jpg", "d.jpg"]
    want = ["lesions/m.png", "", "", "masks/d.png"]  # d has no row
    assert MaskIndex(tmp_path).of(photos) == want
    found = readers.read(Data(path=str(tmp_path))).index.set_index("path")["mask"]
    assert [found[path] for path in photos[:3]] == sorted(want[:3], reverse=True)
    monkeypatch.chdir(tmp_path)
    assert mask_files.of_files("c.jpg", ["c.jpg"]) == [""]
    assert mask_files.of_files("d.jpg", ["d.jpg"]) == [str(tmp_path / "masks/d.png")]
    table.write_text("filename,label,mask\na.jpg,nv,lesions/x.png\n")
    with pytest.raises(UserError, match=r"labels.csv: line 2: mask 'lesions/x.png' not found"):
        MaskIndex(tmp_path).of(photos)


def test_a_table_without_any_mask_says_that_there_is_none(tmp_path):
    write(tmp_path, "a.jpg", "masks/a.png")
    (tmp_path / "labels.csv").write_text("filename,label,mask\na.jpg,nv,\n")
    assert readers.read(Data(path=str(tmp_path))).index["mask"].tolist() == [""]
    with pytest.raises(UserError, match=r"lesion_crop: no photo has a mask; add"):
        readers.read(Data(path=str(tmp_path), preprocess=["lesion_crop"]))


def test_a_run_s_masks_are_those_of_its_table(tmp_path):
    write(tmp_path, "data/a.jpg", "data/b.jpg", "data/m.png", "data/masks/b.png", "out.png")
    config = Data(path=str(tmp_path / "data"), preprocess=["lesion_crop"])

    def masks(config=config, **columns):
        rows = make_index({"path": ["a.jpg", "b.jpg"], **columns})
        found = finished_run.located(rows, None, config)
        return [mask.removeprefix(f"{tmp_path}/data/") for mask in finished_run.masks_of(found)]

    assert masks(mask=["m.png", ""]) == ["m.png", ""]
    assert masks(mask=["", ""]) == ["", ""]
    assert masks() == ["", "masks/b.png"]  # a run on photos without any
    for gone in ("n.png", "../out.png"):
        with pytest.raises(UserError, match=rf"1 masks of the run aren't there, such as '{gone}'"):
            masks(mask=[gone, ""])
        assert masks(Data(path=config.path), mask=[gone, "m.png"]) == ["", "m.png"]


def data_of(root, **settings):
    return readers.read(Data(path=str(root), **settings))


def test_bad_masks_are_refused_or_left_out_before_training(tmp_path, caplog):
    write(tmp_path, "a.jpg", "b.jpg", "c.jpg", "masks/a.png", "masks/b.png")
    write(tmp_path, "masks/c.png", shape=(60, 40))
    (tmp_path / "masks/a.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"data.path x: .*a\.png: 0 bytes.*1 more bad mask.*data.on_b"
    ):
        readers.checked(data_of(tmp_path), "error", "data.path x")
    with left_out.collected() as notes:
        found, bad = readers.checked(data_of(tmp_path), "skip", "data.path x")
    assert found.index["mask"].tolist() == ["", "masks/b.png", ""]
    assert bad == []
    assert "2 mask(s): " in caplog.text
    reason = "c.png: a mask of 40 x 60 px doesn't fit its photo of 60 x 40"
    assert any(reason in row.reason for row in notes.rows)
    write(tmp_path, "masks/a.png", "masks/c.png")
    same = data_of(tmp_path)
    assert readers.checked(same, "error", "x")[0] is same


def test_new_photos_masks_are_checked_too(tmp_path, capsys, caplog):
    write(tmp_path, "a.jpg", "b.jpg", "masks/a.png")
    (tmp_path / "masks/b.png").write_bytes(b"no image")
    given = [(str(tmp_path), [str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")])]
    assert mask_files.of_model(given, ["sharpen"], "error") is None
    with pytest.raises(UserError, match=r"masks: .*b\.png"):
        mask_files.of_model(given, ["lesion_crop"], "error")
    want = [str(tmp_path / "masks/a.png"), ""]
    assert mask_files.of_model(given, ["lesion_crop"], "skip") == want
    said = capsys.readouterr().err
    assert "skipped, while their photos stay: 1 mask(s): " in caplog.text
    assert "1 of 2 photos have no mask and stay whole" in said


def test_the_second_folder_has_its_own_masks(tmp_path, caplog):
    write(tmp_path, "data/a.jpg", "data/masks/a.png", "more/a.jpg", "more/b.jpg", "more/c.jpg")
    write(tmp_path, "more/masks/b.png", "more/masks/a.png")
    settings = {"unlabelled": str(tmp_path / "more"), "preprocess": ["lesion_crop"]}
    want = {
        "../more/a.jpg": "../more/masks/a.png", "../more/b.jpg": "../more/masks/b.png",
        "../more/c.jpg": "", "a.jpg": "masks/a.png",
    }  # fmt: skip
    found = data_of(tmp_path / "data", **settings).index.set_index("path")["mask"]
    assert found.to_dict() == want
    assert "1 of 4 photos have no mask and stay whole" in caplog.text
    (tmp_path / "data/labels.csv").write_text("filename,label,mask\na.jpg,nv,\n")
    found = data_of(tmp_path / "data", **settings).index.set_index("path")["mask"]
    assert found.to_dict() == want | {"a.jpg": ""}
    located_again = finished_run.located(
        data_of(tmp_path / "data", **settings).index, None,
        Data(path=str(tmp_path / "data"), **settings),
    )  # fmt: skip
    assert located_again.mask_files[0] == f"{tmp_path}/data/../more/masks/a.png"


def test_redrawn_masks_are_other_data_and_blank_ones_none(tmp_path):
    write(tmp_path, "a.jpg")
    bare = data_hash(data_of(tmp_path))
    (tmp_path / "labels.csv").write_text("filename,mask,label\na.jpg,,\n")
    assert data_hash(data_of(tmp_path)) == bare
    (tmp_path / "labels.csv").unlink()
    write(tmp_path, "masks/a.png")
    first = data_hash(data_of(tmp_path))
    assert data_hash(data_of(tmp_path, masks="ignore")) == bare != first
    with open(tmp_path / "masks/a.png", "ab") as file:
        file.write(b"more")
    assert data_hash(data_of(tmp_path)) not in (first, bare)

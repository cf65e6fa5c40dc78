"""What is left out of a folder of photos, and that each of it is counted."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import not_photos, other_formats, paths, readers

COLOURS = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)


def encoded(kind="JPEG", pixels=COLOURS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def put(root, *names, data=None):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded() if data is None else data)


def look(root):
    """(photos, {path or folder left out: reason}) of a scan."""
    with left_out.collected() as notes:
        photos = paths.scan(root)
    assert len(notes.lines) <= 1
    return photos, {row.path.removeprefix(f"{root}/"): row.reason for row in notes.rows}


def test_a_photo_is_known_by_content_where_its_ending_says_nothing(tmp_path):
    names = ["a.jpg", "b.jfif", "c.JPE", "d", "ISIC_0000001.0", "dr. smith"]
    put(tmp_path, *names)
    put(tmp_path, "e", data=encoded("PNG"))
    put(tmp_path, "f", data=encoded("WEBP"))
    put(tmp_path, "g", data=encoded("BMP"))
    put(tmp_path, "h.tif", "i", data=encoded("TIFF"))
    put(tmp_path, "LICENSE", "notes", data=b"BMI of the patients, and no picture")
    put(tmp_path, "t.csv", "x.json", "DICOMDIR", data=b"")
    photos, left = look(tmp_path)
    assert photos == sorted([*names, "e", "f", "g", "h.tif", "i"])
    assert left == {}


def test_other_pictures_are_counted_with_what_to_do(tmp_path):
    put(tmp_path, "a.jpg", "b.CR2", "c.dng", "d.jp2", "e.jpg.bak", "f.jpg~", ".g.jpg", "._a.jpg")
    with left_out.collected() as notes:
        assert paths.scan(tmp_path) == ["a.jpg"]
    (line,) = notes.lines
    assert "3 .cr2, .dng, .jp2, convert them to JPEG or PNG (b.CR2, c.dng and 1 more)" in line
    assert "2 copies or halves of files (e.jpg.bak, f.jpg~)" in line
    assert "1 hidden files (.g.jpg)" in line
    assert len(notes.rows) == 6


SYSTEM = ["@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "lost+found", ".thumbnails"]


@pytest.mark.parametrize("name", [*SYSTEM, "System Volume Information", "__MACOSX"])
def test_folders_of_the_system_are_left_out_wherever_they_are(tmp_path, name):
    put(tmp_path, "nv/a.jpg", f"nv/{name}/a.jpg", f"{name}/a.jpg/SYNOPHOTO_THUMB_M.jpg")
    photos, left = look(tmp_path)
    assert photos == ["nv/a.jpg"]
    assert left == {f"nv/{name}/": not_photos.SYSTEM, f"{name}/": not_photos.SYSTEM}


def test_thumbnails_and_masks_are_left_out_by_name(tmp_path):
    put(tmp_path, "a.jpg", "thumb.jpg", "nv/SYNOPHOTO_THUMB_XL.jpg", "a_thumbnail.png")
    masks = ["a_superpixels.png", "a_Segmentation.PNG", "a_mask.jpg", "a_mask_2.tif",
             "a_segmentation.bmp", "a_attribute_globules.png", "IMD3_R1_Label3.bmp"]  # fmt: skip
    put(tmp_path, *masks)
    put(tmp_path, "thumbelina.jpg", "unmasked.jpg", "lesion_R1.jpg")
    photos, left = look(tmp_path)
    assert photos == ["a.jpg", "lesion_R1.jpg", "thumbelina.jpg", "unmasked.jpg"]
    assert {name for name, reason in left.items() if reason == not_photos.MASK} == {*masks}
    assert sum(reason == not_photos.THUMBNAILS for reason in left.values()) == 3


def test_a_lesion_is_a_mask_only_without_colours_and_beside_its_photo(tmp_path):
    black_and_white = np.zeros((20, 24), np.uint8)
    black_and_white[5:9, 5:9] = 255
    put(tmp_path, "IMD1/IMD1.bmp", data=encoded("BMP"))
    put(tmp_path, "IMD1/IMD1_lesion.bmp", "b_lesion.bmp", data=encoded("BMP", black_and_white))
    put(tmp_path, "c.jpg", "c_lesion.jpg")
    photos, left = look(tmp_path)
    assert photos == ["IMD1/IMD1.bmp", "b_lesion.bmp", "c.jpg", "c_lesion.jpg"]
    assert left == {"IMD1/IMD1_lesion.bmp": not_photos.MASK}
    dataset = readers.read(Data(path=str(tmp_path), format="unlabelled"))
    assert dataset.index["mask"].tolist() == ["IMD1/IMD1_lesion.bmp", "", "", ""]


def test_what_dermssl_wrote_is_no_class(tmp_path):
    put(tmp_path, "nv/a.jpg", "mel/b.jpg", "outputs/run/views.png", "outputs/audit/c.png")
    put(tmp_path, "outputs/run/evaluation_test/roc.png", "outputs/report/x.png")
    status = json.dumps({"status": "FINISHED", "command": "pretrain"}).encode()
    put(tmp_path, "outputs/run/status.json", data=status)
    put(tmp_path, "outputs/audit/check_data.json", data=b"{}")
    put(tmp_path, "outputs/report/report.md", "outputs/report/report.html", data=b"")
    put(tmp_path, "other/c.jpg", data=encoded(quality=30))
    put(tmp_path, "other/status.json", data=b'{"status": "of a camera"}')
    photos, left = look(tmp_path)
    assert photos == ["mel/b.jpg", "nv/a.jpg", "other/c.jpg"]
    assert left == {f"outputs/{name}/": not_photos.OURS for name in ("run", "audit", "report")}
    dataset = readers.read(Data(path=str(tmp_path)))
    assert dataset.taxonomy.fine == ("mel", "nv", "other")


@pytest.mark.parametrize("name", ["a.heic", "a.dcm", "a"])
def test_without_an_extra_its_files_are_counted_with_how_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.setattr(other_formats, "missing", lambda kind: "install the extra" if kind else "")
    data = bytes(128) + b"DICM" if name != "a.heic" else b"\0\0\0\x18ftypheic" + bytes(20)
    put(tmp_path, "b.jpg")
    put(tmp_path, name, data=data)
    photos, left = look(tmp_path)
    assert photos == ["b.jpg"]
    assert left[name].endswith(": install the extra")


def test_the_extras_are_named():
    before = other_formats.EXTRAS["HEIC"]
    other_formats.missing.cache_clear()
    try:
        other_formats.EXTRAS["HEIC"] = ("no_such_module", "heic")
        assert "pip install 'dermssl[heic]'" in other_formats.missing("HEIC")
    finally:
        other_formats.EXTRAS["HEIC"] = before
        other_formats.missing.cache_clear()


def test_one_name_in_two_unicode_forms_is_one_class_and_one_file(tmp_path):
    composed, apart = "n\u00e9vus", "ne\u0301vus"
    put(tmp_path, f"train/{composed}/a.jpg", f"test/{apart}/b.jpg", "train/mel/c.jpg")
    dataset = readers.read(Data(path=str(tmp_path)))
    assert dataset.taxonomy.fine == ("mel", composed)
    table = tmp_path / "table"
    put(table, f"{apart}/1.jpg", f"images/{apart}.jpg", f"{composed}.jpg")
    put(table, f"masks/{apart}.png", data=encoded("PNG"))
    lines = ["filename,label", f"{composed}/1.jpg,nv", f"{composed}.jpg,nv", f"{apart}.jpg,nv"]
    (table / "labels.csv").write_text("\n".join(lines[:3]), encoding="utf-8")
    dataset = readers.read(Data(path=str(table)))
    assert sorted(dataset.index["path"]) == sorted([f"{apart}/1.jpg", f"{composed}.jpg"])
    masks = dataset.index.set_index("path")["mask"]
    assert masks[f"{composed}.jpg"] == f"masks/{apart}.png"


def test_links_in_a_folder_of_photos(tmp_path):
    put(tmp_path, "data/a.jpg", "elsewhere/b.jpg")
    (tmp_path / "data/inside.jpg").symlink_to(tmp_path / "data/a.jpg")
    (tmp_path / "data/folder").symlink_to(tmp_path / "data")
    with left_out.collected() as notes:
        assert paths.scan(tmp_path / "data") == ["a.jpg", "inside.jpg"]
    (line,) = notes.lines
    assert line.endswith("/data: 1 left out: 1 links to folders, not followed (folder/)")
    (tmp_path / "data/loop.jpg").symlink_to(tmp_path / "data/loop.jpg")
    assert "loop.jpg" in paths.scan(tmp_path / "data")  # `decode` says what is wrong
    (tmp_path / "data/out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="'out' is a link that leaves the folder"):
        paths.scan(tmp_path / "data")


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz", "a.7z", "a.RAR"])
def test_an_archive_beside_photos_is_counted(tmp_path, name):
    put(tmp_path, "b.jpg", f"more/{name}")
    put(tmp_path, "notes.gz", data=b"")
    photos, left = look(tmp_path)
    assert photos == ["b.jpg"]
    assert list(left) == [f"more/{name}"]
    assert left[f"more/{name}"].endswith(": packed; unpack them if they hold photos")


def test_a_table_s_reader_counts_what_is_left_out_as_well(tmp_path):
    put(tmp_path, "a.jpg", "b.cr2", "c.zip")
    (tmp_path / "labels.csv").write_text("filename,label\na.jpg,nv\n")
    with left_out.collected() as notes:
        readers.read(Data(path=str(tmp_path)))
    assert sum("2 left out: 1 .cr2, convert" in line for line in notes.lines) == 1

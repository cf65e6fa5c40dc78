"""One file under several names, and copies of it: one record, said; or refused where unclear."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from folders import fill, read

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import same_files

HAM = "lesion_id,image_id,dx,dx_type,age,sex,localization"


def distinct(root, *photos):
    """Photos that differ in what stands after their end."""
    fill(root, photos)
    for place in photos:
        with open(root / place, "ab") as file:
            file.write(place.encode())
    return root


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_makes_no_second_record(tmp_path, link):
    distinct(tmp_path, "mel/a.jpg", "mel/b.jpg", "nv/c.jpg")
    link(tmp_path / "mel/a.jpg", tmp_path / "mel/z.jpg")
    (tmp_path / "mel/more").mkdir()
    link(tmp_path / "mel/a.jpg", tmp_path / "mel/more/y.jpg")
    with left_out.collected() as notes:
        records = read(tmp_path)
    assert records.index.tolist() == ["mel/a.jpg", "mel/b.jpg", "nv/c.jpg"]
    line = "2 left out: the same files under other names (mel/more/y.jpg is mel/a.jpg, mel/z.jpg is"
    assert any(line in told for told in notes.lines)
    assert [row.path for row in notes.rows if "same file" in row.reason] == [
        f"{tmp_path}/mel/more/y.jpg", f"{tmp_path}/mel/z.jpg"]  # fmt: skip


def test_the_name_that_a_link_stands_for_stays_whatever_the_order(tmp_path):
    distinct(tmp_path, "train/nv/b.jpg", "train/mel/c.jpg", "test/mel/d.jpg")
    os.symlink("../../train/nv/b.jpg", tmp_path / _folder(tmp_path / "test/nv") / "a.jpg")
    records = read(tmp_path)
    assert "test/nv/a.jpg" not in records.index
    assert records.loc["train/nv/b.jpg", "split"] == "train"


def _folder(path):
    path.mkdir(parents=True)
    return path


def test_rows_of_a_table_that_name_one_file_twice_are_one_record(tmp_path):
    distinct(tmp_path, "a.jpg", "b.jpg")
    os.symlink("b.jpg", tmp_path / "A.jpg")
    fill(tmp_path, **{"labels.csv": ["filename,label", "A.jpg,nv", "a.jpg,mel", "b.jpg,nv"]})
    assert read(tmp_path)["fine"].to_dict() == {"a.jpg": "mel", "b.jpg": "nv"}


def test_a_link_that_alone_is_named_is_the_photo(tmp_path):
    distinct(tmp_path, "store/5f3a.jpg", "b.jpg")
    os.symlink("store/5f3a.jpg", tmp_path / "a.jpg")
    fill(tmp_path, **{"labels.csv": ["filename,label", "a.jpg,nv", "b.jpg,mel"]})
    assert read(tmp_path)["fine"].to_dict() == {"a.jpg": "nv", "b.jpg": "mel"}


def test_one_file_with_two_labels_is_refused(tmp_path):
    distinct(tmp_path, "mel/a.jpg", "nv/b.jpg")
    os.link(tmp_path / "mel/a.jpg", tmp_path / "nv/a.jpg")
    message = r"mel/a\.jpg and nv/a\.jpg are one file, with the labels 'mel' and 'nv'; keep the ri"
    with pytest.raises(UserError, match=message):
        read(tmp_path)
    (tmp_path / "unlabelled").mkdir()
    (tmp_path / "nv/a.jpg").rename(tmp_path / "unlabelled/a.jpg")
    assert read(tmp_path)["fine"].to_dict() == {"mel/a.jpg": "mel", "nv/b.jpg": "nv"}


def test_a_container_under_two_names_gives_its_photos_once(tmp_path):
    h5py = pytest.importorskip("h5py")
    photo = (fill(tmp_path, ["x.jpg"]) / "x.jpg").read_bytes()
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for key in ("1", "2"):
            file[key] = np.frombuffer(photo, np.uint8)
    (tmp_path / "x.jpg").unlink()
    os.symlink("a.hdf5", tmp_path / "b.hdf5")
    assert len(read(tmp_path, format="unlabelled")) == 2


def test_copies_of_one_id_are_one_photo_and_others_are_refused(tmp_path, caplog):
    distinct(tmp_path, "HAM10000_images_part_1/I_1.jpg", "HAM10000_images_part_2/I_2.jpg")
    first, second = (tmp_path / f"{part}/I_1.jpg" for part in (
        "HAM10000_images_part_1", "ham10000_images_part_1"))  # fmt: skip
    second.parent.mkdir()
    shutil.copy(first, second)
    table = {"HAM10000_metadata.csv": [HAM, "L1,I_1,nv,histo,50,male,", "L2,I_2,mel,,50,male,"]}
    fill(tmp_path, **table)
    records = read(tmp_path)
    assert records["fine"].to_dict() == {
        "HAM10000_images_part_1/I_1.jpg": "nv",
        "HAM10000_images_part_2/I_2.jpg": "mel",
    }
    told = "1 photos are there in several equal files, of which one is read (HAM10000_images_part_1"
    assert told in caplog.text
    second.write_bytes(second.read_bytes() + b"!")
    with pytest.raises(UserError, match=r"'I_1' may be HAM.*I_1\.jpg or ham.*I_1\.jpg, which diff"):
        read(tmp_path)


def test_copies_that_a_table_names_by_id_are_one_photo_too(tmp_path, caplog):
    distinct(tmp_path, "x/1.jpg", "x/2.jpg")
    (tmp_path / "y").mkdir()
    shutil.copy(tmp_path / "x/1.jpg", tmp_path / "y/1.jpg")
    fill(tmp_path, **{"labels.csv": ["filename,label", "1,nv", "2,mel"]})
    assert read(tmp_path)["fine"].to_dict() == {"x/1.jpg": "nv", "x/2.jpg": "mel"}
    assert "1 photos are there in several equal files" in caplog.text
    (tmp_path / "y/1.jpg").write_bytes(b"another")
    with pytest.raises(UserError, match=r"line 2: '1' may be x/1\.jpg or y/1\.jpg, which differ"):
        read(tmp_path)


def test_copies_are_told_by_their_ends(tmp_path):
    one = b"1" * 20_000
    others = (one[:-1] + b"2", b"2" + one[1:], one[:10_000] + b"2" + one[10_001:], one + b"1")
    paths = [str(tmp_path / name) for name in "abcdef"]
    for path, data in zip(paths, (one, one, *others)):
        Path(path).write_bytes(data)
    assert same_files.are_copies(paths[:2])
    for other in paths[2:]:
        assert not same_files.are_copies([paths[0], other])
    assert not same_files.are_copies([paths[0], str(tmp_path / "gone")])


@pytest.mark.parametrize("column", ["patient_id", "lesion_id", "split"])
def test_what_one_name_of_a_file_states_holds_for_the_file(tmp_path, column):
    (tmp_path / "a.jpg").write_bytes(b"one")
    os.link(tmp_path / "a.jpg", tmp_path / "z.jpg")
    (tmp_path / "b.jpg").write_bytes(b"another")
    table = pd.DataFrame(
        {"path": ["a.jpg", "z.jpg", "b.jpg"], "fine": "mel", "coarse": "", column: ["", "P1", "P1"]}
    )
    kept = same_files.once(tmp_path, table)
    assert kept["path"].tolist() == ["a.jpg", "b.jpg"]
    assert kept[column].tolist() == ["P1", "P1"]
    table[column] = ["P2", "P1", "P1"]
    if column == "split":
        assert same_files.once(tmp_path, table)["split"].tolist() == ["P2", "P1"]
        return
    said = f"a.jpg and z.jpg are one file, with two values of {column}"
    with pytest.raises(UserError, match=said):
        same_files.once(tmp_path, table)

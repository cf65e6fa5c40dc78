"""Readers: what each layout becomes, and one clear line for each thing that is refused."""

import logging
import os
import re
import shutil
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from dermssl.core import taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import csv_tables, masks, readers, splits
from dermssl.data import paths as files
from dermssl.data.records import COLUMNS
from dermssl.data.synthetic import dataset as synthetic

REAL = Path(
    os.environ.get("DERMSSL_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
PHOTO = cv2.imencode(".jpg", np.full((16, 16, 3), 128, np.uint8))[1].tobytes()
FLAT = '[fine.nv]\ncoarse = "nv"\n[fine.mel]\ncoarse = "mel"\n'


def fill(root, content):
    """Write files under `root`: a str is their text, None a tiny photo, a Path a link to it.

    Photos differ in what stands after their end, lest they be copies of each other.
    """
    for name, text in content.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, Path):
            file.symlink_to(text)
        else:
            photo = PHOTO + str(file).encode()
            file.write_bytes(photo if text is None else getattr(text, "encode", lambda t=text: t)())
    return root


def read(root, **settings):
    return readers.read(Data(path=str(root), **settings))


def rows(dataset, *columns):
    return list(dataset.index[list(columns)].itertuples(index=False, name=None))


TOP = "filename,label\n"
HAM = "lesion_id,image_id,dx,dx_type,age,sex,localization\n"
# name: (files, settings, (path, fine, coarse) of the records, taxonomy name)
LAYOUTS = {
    "class folders, deeper photos too": (
        {"nv/a.jpg": None, "nv/2019/b.PNG": None, "mel/c.webp": None},
        {},
        [("mel/c.webp", "mel", "mel"), ("nv/2019/b.PNG", "nv", "nv"), ("nv/a.jpg", "nv", "nv")],
        "flat",
    ),
    "no photos: masks, hidden files, other formats": (
        {"nv/a.jpg": None, "masks/a.png": None, "nv/masks/a.png": None, "nv/._a.jpg": None,
         "nv/x.txt": "", "nv/y.gif": None, "__MACOSX/nv/a.jpg": None, "mel/b.jpg": None},
        {},
        [("mel/b.jpg", "mel", "mel"), ("nv/a.jpg", "nv", "nv")],
        "flat",
    ),
    "loose photos are unlabelled": (
        {"nv/a.jpg": None, "b.jpg": None},
        {}, [("b.jpg", "", ""), ("nv/a.jpg", "nv", "nv")], "flat",
    ),
    "only photos": (
        {"b.jpg": None, "a.jpg": None}, {}, [("a.jpg", "", ""), ("b.jpg", "", "")], None,
    ),
    "only images/": ({"images/a.jpg": None}, {}, [("images/a.jpg", "", "")], None),
    "folders read as unlabelled": (
        {"nv/a.jpg": None}, {"format": "unlabelled"}, [("nv/a.jpg", "", "")], None,
    ),
    "labels.csv wins over folders": (
        {"x/a.jpg": None, "labels.csv": TOP + "x/a.jpg,nv\n"},
        {}, [("x/a.jpg", "nv", "nv")], "flat",
    ),
    "names below images/": (
        {"images/a.jpg": None, "labels.csv": TOP + "a.jpg,nv\n"},
        {}, [("images/a.jpg", "nv", "nv")], "flat",
    ),
    "BOM, semicolons, CRLF, blank rows, spaces, a backslash, capitals": (
        {"x/a.jpg": None, "b.jpg": None, "labels.csv":
         "\ufeff Filename ;LABEL\r\n\r\nx\\a.jpg ; nv \r\n;\r\n./b.jpg;mel\r\n"},
        {}, [("b.jpg", "mel", "mel"), ("x/a.jpg", "nv", "nv")], "flat",
    ),
    "tabs, with commas in the rows and in a column's name": (
        {"a.jpg": None, "labels.csv":
         "filename\tlabel\tnote (a, b, c, d)\na.jpg\tnv, atypical\t1,2\n"},
        {}, [("a.jpg", "nv, atypical", "nv, atypical")], "flat",
    ),
    "NA and None are text, blank is unlabelled": (
        {"a.jpg": None, "b.jpg": None, "c.jpg": None,
         "labels.csv": TOP + "a.jpg,NA\nb.jpg,None\nc.jpg,\n"},
        {}, [("a.jpg", "NA", "NA"), ("b.jpg", "None", "None"), ("c.jpg", "", "")], "flat",
    ),
    "equal rows are one": (
        {"a.jpg": None, "labels.csv": TOP + "a.jpg,nv\n./a.jpg,nv\n"},
        {}, [("a.jpg", "nv", "nv")], "flat",
    ),
    "one letter in two Unicode forms": (
        {"a.jpg": None, "b.jpg": None, "labels.csv": TOP + "a.jpg,n\u00e9\nb.jpg,ne\u0301\n"},
        {}, [("a.jpg", "n\u00e9", "n\u00e9"), ("b.jpg", "n\u00e9", "n\u00e9")], "flat",
    ),
    "coarse column: derived, filled in, coarse only": (
        {"a.jpg": None, "b.jpg": None, "c.jpg": None, "d.jpg": None, "labels.csv":
         "filename,label,coarse\na.jpg,nv,melanocytic\nb.jpg,nv,\nc.jpg,,melanocytic\nd.jpg,df,fib\n"},
        {},
        [("a.jpg", "nv", "melanocytic"), ("b.jpg", "nv", "melanocytic"),
         ("c.jpg", "", "melanocytic"), ("d.jpg", "df", "fib")],
        "derived",
    ),
    "coarse alone: the groups are the classes": (
        {"a.jpg": None, "labels.csv": "filename,coarse\na.jpg,fib\n"},
        {}, [("a.jpg", "fib", "fib")], "flat",
    ),
    "coarse alone under a built-in taxonomy": (
        {"a.jpg": None, "labels.csv": "filename,coarse\na.jpg,fibrous\n"},
        {"taxonomy": "ham10000"}, [("a.jpg", "", "fibrous")], "ham10000",
    ),
    "taxonomy.toml in the folder": (
        {"a.jpg": None, "labels.csv": TOP + "a.jpg,nv\n", "taxonomy.toml":
         'name = "mine"\n[fine.nv]\ncoarse = "m"\n[fine.df]\ncoarse = "f"\n'},
        {}, [("a.jpg", "nv", "m")], "mine",
    ),
    "no label anywhere": (
        {"a.jpg": None, "labels.csv": TOP + "a.jpg,\n"},
        {"taxonomy": "ham10000"}, [("a.jpg", "", "")], None,
    ),
    "split folders": (
        {"train/nv/a.jpg": None, "test/nv/b.jpg": None, "test/mel/x/c.jpg": None}, {},
        [("test/mel/x/c.jpg", "mel", "mel"), ("test/nv/b.jpg", "nv", "nv"),
         ("train/nv/a.jpg", "nv", "nv")], "flat",
    ),
    "HAM10000: parts, masks": (
        {"HAM10000_images_part_1/I_1.jpg": None, "HAM10000_images_part_2/I_2.jpg": None,
         "masks/I_1.png": None,
         "HAM10000_metadata.csv": HAM
         + "H1,I_1,mel,histo,40.0,male,unknown\nH2,I_2,nv,,,unknown,\n"},
        {},
        [("HAM10000_images_part_1/I_1.jpg", "mel", "melanocytic"),
         ("HAM10000_images_part_2/I_2.jpg", "nv", "melanocytic")], "ham10000",
    ),
    "a missing photo, skipped": (
        {"a.jpg": None, "labels.csv": TOP + "a.jpg,nv\nb.jpg,nv\n"},
        {"on_bad": "skip"}, [("a.jpg", "nv", "nv")], "flat",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(tmp_path, name):
    content, settings, expected, classes = LAYOUTS[name]
    dataset = read(fill(tmp_path, content), **settings)
    assert rows(dataset, "path", "fine", "coarse") == expected
    assert (dataset.taxonomy and dataset.taxonomy.name) == classes
    assert dataset.root == tmp_path
    assert tuple(dataset.index.columns.drop("mask", errors="ignore")) == COLUMNS
    assert all(map(os.path.isfile, dataset.files))


# name: (files, settings, what the message says); "labels" stands for a labels.csv, whose
# photos a.jpg and b.jpg are there.
def labels(text, **settings):
    return {"a.jpg": None, "b.jpg": None, "labels.csv": text}, settings


REFUSED = {
    "empty folder": (({}, {}), r"data.path .*no images found; accepted formats are JPEG.*WebP"),
    "only other files": (({"a.gif": None, "b.txt": ""}, {}), "no images found; accepted formats"),
    "unknown format": (({"a.jpg": None}, {"format": "x"}), "unknown data format 'x'; choose one"),
    "no labels.csv": (({"a.jpg": None}, {"format": "labels"}), r"labels\.csv: not found; add it"),
    "no metadata": (({"a.jpg": None}, {"format": "ham10000"}), "found none with .*image_id and dx"),
    "no class folders": (
        ({"a.jpg": None}, {"format": "folders"}),
        "no photos in sub-folders; make",
    ),
    "two metadata files": (
        ({"a.metadata.csv": HAM, "b.metadata.csv": HAM}, {}), "a.metadata.csv, b.metadata.csv.*one",
    ),
    "labels.csv is a folder": (
        ({"labels.csv/a.jpg": None}, {"format": "labels"}), r"labels\.csv: not found",
    ),
    "no filename column": (
        labels("datei,label\na.jpg,nv\n"),
        "no column 'filename'; found 'datei', 'la",
    ),
    "no label column": (
        labels("filename,grade\na.jpg,nv\n"),
        "no column 'label'; found 'filename', 'grade'",
    ),
    "doubled column": (labels("filename,label, Label\na.jpg,nv,nv\n"), "'label' stands twice"),
    "empty table": (
        labels("\n \n"),
        "labels.csv: empty; write a header line such as filename,label",
    ),
    "header only": (labels(TOP), "labels.csv: a header but no rows"),
    "too many cells": (labels(TOP + "a.jpg,nv\nb.jpg,nv,x\n"), "line 3 has 3 .*header 2"),
    "too few cells": (labels(TOP + "a.jpg\n"), r"line 2 has 1 column\(s\), the header 2"),
    "unclosed quote": (labels(TOP + 'a.jpg,"nv\nb.jpg,nv\n'), "line 3 is no valid CSV"),
    "huge field": (labels(TOP + "a.jpg," + "x" * 200_000), "line 2 .*larger than field"),
    "Latin-1": (labels((TOP + "a.jpg,nävus\n").encode("latin-1")), "line 2 .*save as UTF-8"),
    "UTF-16, unmarked": (labels((TOP + "a.jpg,nv\n").encode("utf-16-le")), "line 1 holds a NUL by"),
    "NUL byte": (labels(TOP + "a.jpg,n\0v\n"), "line 2 holds a NUL byte"),
    "missing photo": (
        labels(TOP + "a.jpg,nv\n\nc.jpg,nv\n"),
        r"line 4: image 'c.jpg' not found \(1 of 2 .*data.on_bad skip",
    ),
    "all photos missing": (
        labels(TOP + "c.jpg,nv\n", on_bad="skip"), r"'c.jpg' not found \(1 of 1 .*put the",
    ),
    "a folder for a photo": (
        ({"c.jpg/x.jpg": None, "labels.csv": TOP + "c.jpg,nv\n"}, {}), "'c.jpg' not found",
    ),
    "blank name": (labels(TOP + ",nv\n"), "line 2: the file name is blank"),
    "dots": (labels(TOP + "x/../a.jpg,nv\n"), r"line 2: 'x/../a.jpg' leaves .* by '\.\.'"),
    "absolute": (labels(TOP + "/a.jpg,nv\n"), "line 2: '/a.jpg' is an absolute path"),
    "drive": (labels(TOP + "C:\\a.jpg,nv\n"), r"line 2: 'C:\\a.jpg' is an absolute path"),
    "odd file name": (labels(TOP + '"a\n.jpg",nv\n'), r"line 3: file name 'a\\n.jpg' has odd"),
    "link to a file outside": (
        ({"labels.csv": TOP + "a.jpg,nv\n", "a.jpg": Path("/etc/hosts")}, {}),
        "'a.jpg' is a link that leaves the folder; put",
    ),
    "link to a folder outside": (
        ({"labels.csv": TOP + "x/a.jpg,nv\n", "x": Path("/tmp")}, {}),
        "'x' is a link that leaves the folder",
    ),
    "class folder that is a link": (
        ({"nv/a.jpg": None, "mel": Path("/tmp")}, {}), "'mel' is a link that leaves the folder",
    ),
    "rows that disagree": (
        labels(TOP + "a.jpg,nv\nb.jpg,nv\na.jpg,mel\n"),
        "lines 2 and 4 are both 'a.jpg', with fine 'nv' and 'mel'; keep",
    ),
    "HAM10000 rows that disagree": (
        ({"I.jpg": None, "metadata.csv": HAM + "A,I,nv,,,,\nB,I,nv,,,,\n"}, {}),
        "lines 2 and 3 are both 'I', with lesion_id 'A' and 'B'",
    ),
    "HAM10000 photo missing": (
        ({"I.jpg": None, "metadata.csv": HAM + "A,I,nv,,,,\nB,J,nv,,,,\nB,K,nv,,,,\n"}, {}),
        r"line 3: image 'J' not found \(2 of 3",
    ),
    "HAM10000 unknown dx": (
        ({"I.jpg": None, "metadata.csv": HAM + "A,I,scc,,,,\n"}, {}),
        r"metadata.csv: line 2: unknown label 'scc' for 'I.jpg'; .* knows: mel, nv, bcc",
    ),
    "unknown label": (
        labels(TOP + "a.jpg,nv\nb.jpg,x\n", taxonomy="ham10000"),
        "labels.csv: line 3: unknown label 'x' for 'b.jpg'; taxonomy 'ham10000' knows: mel, nv",
    ),
    "unknown class folder": (
        ({"nv/a.jpg": None, "x/b.jpg": None, "taxonomy.toml": FLAT}, {}),
        "folder of 'x/b.jpg': unknown label 'x' .*taxonomy.toml knows: nv, mel",
    ),
    "unknown coarse": (
        labels("filename,coarse\na.jpg,x\n", taxonomy="ham10000"),
        "line 2: unknown coarse 'x' .*knows: melanocytic, keratinocytic",
    ),
    "coarse without a fine class": (
        labels("filename,label,coarse\na.jpg,nv,m\nb.jpg,,x\n"),
        "unknown coarse 'x' .*rows knows?: m",
    ),
    "odd label": (labels(TOP + 'a.jpg,"n\nv"\n'), r"label 'n\\nv' has odd characters"),
    "contradiction": (
        labels("filename,label,coarse\na.jpg,nv,fibrous\n", taxonomy="ham10000"),
        "line 2: label 'nv' with coarse 'fibrous', but .* puts it under 'melanocytic'",
    ),
    "two parents": (
        labels("filename,label,coarse\na.jpg,nv,m\nb.jpg,nv,k\n"),
        "line 3: label 'nv' is under coarse 'k' for 'b.jpg' and under 'm' for 'a.jpg'",
    ),
    "no parent": (
        labels("filename,label,coarse\na.jpg,nv,m\nb.jpg,df,\n"), "line 3: label 'df' has no group",
    ),
    "no such taxonomy": (
        labels(TOP + "a.jpg,nv\n", taxonomy="ham"), "taxonomy 'ham' not found; .*ham10000",
    ),
    "age in words": (
        labels("filename,label,age\na.jpg,nv,old\n"),
        "line 2: age 'old'; write years",
    ),
    "age of a stone": (
        labels("filename,label,age\na.jpg,nv,999\n"),
        "line 2: age '999'; .*0 to 120",
    ),
    "no such second folder": (
        ({"a.jpg": None}, {"unlabelled": "/no/x"}),
        "data.unlabelled '/no/x': not",
    ),
    "a photo beside the splits": (
        ({"train/nv/a.jpg": None, "test/nv/b.jpg": None, "logo.png": None}, {}),
        "test, train would be classes. .*move or rename logo.png",
    ),
    "a split of another name": (
        ({"Training/nv/a.jpg": None, "Testing/nv/b.jpg": None}, {}),
        "folders Testing, Training look like splits",
    ),
    "empty second folder": (
        ({"a.jpg": None, "new/x.txt": ""}, {"unlabelled": "new"}), ".*unlabelled .*no images found",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path, name):
    (content, settings), message = REFUSED[name]
    fill(tmp_path, content)
    if settings.get("unlabelled") == "new":
        settings = {"unlabelled": str(tmp_path / "new")}
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "data.path: not set"),
        ("{}/none", "data.path '.*none': not found; check the path"),
        ("{}/a.jpg", "data.path '.*a.jpg': not a folder"),
    ],
)
def test_refused_folder(tmp_path, path, message):
    fill(tmp_path, {"a.jpg": None})
    with pytest.raises(UserError, match=message):
        read(path.format(tmp_path))


def test_refused_file_name(tmp_path):
    fill(tmp_path, {"nv/a\nb.jpg": None})
    with pytest.raises(UserError, match=r"a\\nb.jpg': name with odd characters; rename it"):
        read(tmp_path)


def test_ham10000_columns(tmp_path):
    text = HAM + "H1,I_1,mel,histo,40.0,male,unknown\nH1,I_2,mel,histo,,unknown,back\n"
    dataset = read(
        fill(tmp_path, {"I_1.jpg": None, "I_2.jpg": None, "HAM10000_metadata.csv": text})
    )
    index = dataset.index
    assert rows(dataset, "lesion_id", "site", "sex") == [("H1", "", "male"), ("H1", "back", "")]
    assert index["age"].fillna(-1).tolist() == [40, -1]
    assert not index.astype(str).isin(["histo"]).any(axis=None)  # dx_type leaks the diagnosis
    assert dataset.taxonomy == taxonomy.load("ham10000")


def test_labels_columns_and_words_for_unknown(tmp_path):
    text = (
        "filename,label,lesion_id,patient_id,split,site,sex,age,skin_tone,source\n"
        "a.jpg,unknown,L1,P1,Train,back,male,40,II,clinic\n"
        "b.jpg,unknown,NA,none,test,Unknown,?,n/a,nan,\n"
    )
    dataset = read(fill(tmp_path, {"a.jpg": None, "b.jpg": None, "labels.csv": text}))
    names = ("fine", "lesion_id", "patient_id", "split", "site", "sex", "skin_tone", "source")
    assert rows(dataset, *names) == [
        ("", "L1", "P1", "train", "back", "male", "II", "clinic"),
        ("", "", "", "test", "", "", "", ""),
    ]
    assert dataset.index["age"].fillna(-1).tolist() == [40, -1]


def test_synthetic_round_trip(tmp_path):
    dataset = read(synthetic.write(tmp_path, n=28, size=24))
    table = synthetic.records(28)
    same = ["coarse", "lesion_id", "patient_id", "site", "sex", "skin_tone"]
    expected = table[["filename", "label", *same]].itertuples(index=False, name=None)
    assert rows(dataset, "path", "fine", *same) == list(expected)
    assert dataset.taxonomy.has_hierarchy
    ham = taxonomy.load("ham10000")
    parents = dict(zip(dataset.taxonomy.fine, dataset.taxonomy.parents))
    assert parents == dict(zip(ham.fine, ham.parents))
    assert readers.checked(dataset, "error", "x") == (dataset, [])


def test_split_folders_bring_their_split(tmp_path):
    fill(tmp_path, {"train/nv/a.jpg": None, "val/nv/b.jpg": None, "Test/nv/c.jpg": None})
    found = rows(splits.assign(read(tmp_path)), "path", "split")
    expected = {"train/nv/a.jpg": "train", "val/nv/b.jpg": "validation", "Test/nv/c.jpg": "test"}
    assert dict(found) == expected


# Where the second folder lies, seen from the data folder: the paths that its photos get.
SECOND = {
    "../more": ["../more/x.jpg", "../more/y.png"],
    "more": ["more/x.jpg", "more/y.png"],
    "nv/more": ["nv/more/x.jpg", "nv/more/y.png"],
    ".": ["more/x.jpg", "more/y.png"],
    "..": ["../more/x.jpg", "../more/y.png"],
}


@pytest.mark.parametrize(
    ("layout", "place"),  # the whole of class folders has no second folder: more/ is a class
    [("labels", place) for place in SECOND]
    + [("folders", place) for place in SECOND if place != "."],
)
def test_second_folder(tmp_path, layout, place):
    root = fill(tmp_path / "data", {"nv/a.jpg": None, "mel/b.jpg": None})
    if layout == "labels":
        fill(root, {"labels.csv": TOP + "nv/a.jpg,nv\nmel/b.jpg,mel\n"})
    paths = SECOND[place]
    fill(root, dict.fromkeys(paths))
    dataset = read(root, unlabelled=str(root / place))
    expected = {"nv/a.jpg": ("nv", ""), "mel/b.jpg": ("mel", "")}
    expected |= dict.fromkeys(paths, ("", "unlabelled"))
    assert {row[0]: row[1:] for row in rows(dataset, "path", "fine", "source")} == expected
    assert all(map(os.path.isfile, dataset.files))
    assert dataset.taxonomy.fine == ("mel", "nv")


def test_copies_of_the_data_sets_photos_are_not_added(tmp_path, caplog):
    """A held-out photo under another path would be pretrained on."""
    root = fill(tmp_path / "data", {"nv/a.jpg": None, "mel/b.jpg": None})
    pool = fill(tmp_path / "pool", {"b.jpg": None, "c.jpg": None})
    shutil.copy(root / "nv" / "a.jpg", pool / "ISIC_1.jpg")
    dataset = read(root, unlabelled=str(pool))
    found = dataset.index["path"][dataset.index["source"] == "unlabelled"]
    assert found.tolist() == ["../pool/b.jpg", "../pool/c.jpg"]
    assert "1 of 3 photos are copies of photos in" in caplog.text
    assert "first 'ISIC_1.jpg'" in caplog.text


def test_linked_photo_is_not_added_twice(tmp_path):
    fill(tmp_path, {"pool/a.jpg": None, "pool/b.jpg": None, "nv/a.jpg": Path("../pool/a.jpg")})
    fill(tmp_path, {"labels.csv": TOP + "nv/a.jpg,nv\n"})
    dataset = read(tmp_path, unlabelled=str(tmp_path / "pool"))
    assert rows(dataset, "path") == [("nv/a.jpg",), ("pool/b.jpg",)]


def test_link_loop_ends(tmp_path):
    fill(tmp_path, {"nv/a.jpg": None, "mel/b.jpg": None, "nv/loop": tmp_path})
    assert len(read(tmp_path).index) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels.csv": TOP + "a.jpg,nv\n"}, r"1 image\(s\) .*the first is 'b.jpg'"),
        (
            {"labels.csv": "filename,label,leson_id\na.jpg,nv,L\n"},
            "columns not used: leson_id; known",
        ),
        ({"m_metadata.csv": HAM + "L,a,nv,,,,\n"}, r"1 image\(s\) .*have no row.*'b'"),
        ({"truth.csv": TOP + "a.jpg,nv\n"}, "truth.csv: not read"),
        (
            {"c.cr2": None, "d.GIF": None},
            r"2 left out: 2 \.cr2, \.gif, conv.*\(c\.cr2, d\.GIF\)",
        ),
    ],
)
def test_nothing_is_left_out_in_silence(tmp_path, caplog, content, message):
    with caplog.at_level(logging.WARNING, logger="dermssl"):
        read(fill(tmp_path, {"a.jpg": None, "b.jpg": None, **content}))
    assert re.search(message, caplog.text)


def test_checked(tmp_path):
    fill(tmp_path, {"a.jpg": None, "b.jpg": "no image", "c.jpg": PHOTO[:-40]})
    dataset = read(tmp_path)
    found = r"^data.path x: .*b.jpg: .*\(and 1 more bad\).*data.on_bad skip$"
    with pytest.raises(UserError, match=found):
        readers.checked(dataset, "error", "data.path x")
    good, bad = readers.checked(dataset, "skip", "data.path x")
    assert rows(good, "path") == [("a.jpg",)]
    assert [path for path, _ in bad] == [str(tmp_path / "b.jpg"), str(tmp_path / "c.jpg")]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match=r"data.path x: image '.*a.jpg' not found"):
        readers.checked(dataset, "error", "data.path x")
    with pytest.raises(UserError, match=r"data.path x: none of 3 images is readable"):
        readers.checked(dataset, "skip", "data.path x")


def test_image_files(tmp_path):
    fill(tmp_path, {"b/a.jpg": None, "a.png": None, "c.txt": "", "e/d.txt": ""})
    assert masks.image_files(tmp_path / "a.png") == [str(tmp_path / "a.png")]
    expected = [str(tmp_path / name) for name in ("a.png", "b/a.jpg")]
    assert masks.image_files(str(tmp_path)) == expected
    with pytest.raises(UserError, match="no images found"):
        masks.image_files(tmp_path / "e")
    with pytest.raises(UserError, match="not found"):
        masks.image_files(tmp_path / "x")


@pytest.mark.parametrize(
    ("header", "columns"),
    [("a,b;c", 2), ("filename;label,x", 2), ('"filename, x";label;y', 3), ("filename", 1)],
)
def test_header_of(tmp_path, header, columns):
    (tmp_path / "t.csv").write_text(f"\n{header}\nx\n")
    assert len(csv_tables.header_of(tmp_path / "t.csv", "filename,label")) == columns
    assert csv_tables.header_of(tmp_path / "none.csv", "filename,label") == []


@pytest.mark.slow
def test_many_rows_take_no_time(tmp_path):
    """10,000 rows on tiny files; 100,000 take ten times as long."""
    (tmp_path / "images").mkdir()
    for number in range(10_000):
        (tmp_path / f"images/{number}.jpg").write_bytes(b"x")
    lines = [f"images/{number}.jpg,c{number % 7},L{number // 2}" for number in range(10_000)]
    (tmp_path / "labels.csv").write_text("filename,label,lesion_id\n" + "\n".join(lines))
    start = time.perf_counter()
    assert len(read(tmp_path).index) == 10_000
    assert time.perf_counter() - start < 2  # 0.2 s alone on the machine


def test_scan_is_sorted_and_skips_a_folder(tmp_path):
    fill(tmp_path, {"b/c.jpg": None, "b.jpg": None, "a/d/e.BMP": None, "a/f.jpg": None})
    assert files.scan(tmp_path) == ["a/d/e.BMP", "a/f.jpg", "b.jpg", "b/c.jpg"]
    assert files.scan(tmp_path, skip=tmp_path / "a") == ["b.jpg", "b/c.jpg"]


def real(name):
    if not (REAL / name).is_dir():
        pytest.skip(f"no real data: {name} is not in {REAL}; set DERMSSL_REAL_DATA")
    return read(REAL / name)


def test_real_ham10000():
    dataset = real("ham10000")
    counts = {"nv": 5339, "bkl": 899, "mel": 895, "bcc": 420, "akiec": 257, "vasc": 112, "df": 92}
    assert dataset.index["fine"].value_counts().to_dict() == counts
    assert len(dataset.index) == 8014
    assert dataset.index["lesion_id"].nunique() == 5975
    assert (dataset.index["sex"] == "").sum() == 48
    assert (dataset.index["site"] == "").sum() == 187
    assert dataset.index["age"].isna().sum() == 42
    split = splits.assign(dataset).index.groupby("split").size() / 8014
    np.testing.assert_allclose(split[["train", "validation", "test"]], [0.65, 0.15, 0.2], atol=0.01)


def test_real_isic2016():
    dataset = real("isic2016")
    assert dataset.index["fine"].value_counts().to_dict() == {"benign": 417, "malignant": 90}
    assert dataset.taxonomy == taxonomy.flat(["benign", "malignant"])

"""Tables in the words that people use: column names, ages, sex, Excel's first line, spaces."""

import cv2
import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data import column_words, readers


@pytest.fixture
def folder(tmp_path):
    """A folder of six photos a.jpg to f.jpg below img/."""
    (tmp_path / "img").mkdir()
    for number, name in enumerate("abcdef"):
        pixels = np.full((20, 30, 3), 40 * number, np.uint8)
        cv2.imwrite(str(tmp_path / "img" / f"{name}.jpg"), pixels)
    return tmp_path


def write(folder, header, rows, name="labels.csv", first=""):
    text = f"{first}{header}\n" + "".join(f"{row}\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    return readers.read(Data(path=str(folder))).index


def labelled(ending=".jpg", words=("nv", "mel")):
    return [f"{name}{ending},{words[k % 2]}" for k, name in enumerate("abcdef")]


@pytest.mark.parametrize("photo", ["image", "image_id", "isic_id", "img_id", "file", "path"])
@pytest.mark.parametrize("label", ["dx", "diagnosis", "class", "category", "label"])
def test_the_words_that_public_tables_use(folder, caplog, photo, label):
    if (photo, label) == ("isic_id", "diagnosis"):
        return  # the ISIC archive's own table; see test_layouts
    index = write(folder, f"{photo},{label}", labelled(""), "train.csv")
    assert index["path"].tolist() == [f"img/{name}.jpg" for name in "abcdef"]
    assert index["fine"].tolist() == ["nv", "mel"] * 3
    shown = f"train.csv: columns taken: {photo} for filename"
    shown += "" if label == "label" else f", {label} for label"
    assert [shown in message for message in caplog.messages] == [True]


@pytest.mark.parametrize(
    ("label", "words"),
    [("target", ("0", "1")), ("benign_malignant", ("benign", "malignant"))],
)
def test_two_classes_keep_the_table_s_words(folder, label, words):
    index = write(folder, f"image_name,{label}", labelled(".jpg", words), "train.csv")
    assert sorted(set(index["fine"])) == sorted(words)


def test_two_columns_that_may_be_one_are_refused(folder):
    with pytest.raises(UserError, match="both 'diagnosis' and 'target' may be the column 'label'"):
        write(folder, "image,diagnosis,target", [f"{row},1" for row in labelled()], "train.csv")
    # One of them has the name of ours: it is meant, and the others are not used.
    index = write(folder, "image,label,target", [f"{row},1" for row in labelled()], "train.csv")
    assert index["fine"].tolist() == ["nv", "mel"] * 3


def test_a_table_that_names_no_photo_is_no_table_of_labels(folder):
    (folder / "stock.csv").write_text("file,category\nx.pdf,1\ny.pdf,2\n")
    assert set(readers.read(Data(path=str(folder))).index["fine"]) == {""}


def test_two_tables_are_refused(folder):
    (folder / "other.csv").write_text("image,dx\na.jpg,nv\nb.jpg,mel\nc.jpg,nv\n")
    with pytest.raises(UserError, match="names the photos, but it is no table that is known"):
        write(folder, "image,dx", labelled(), "train.csv")


def test_ages_as_people_write_them(folder, caplog):
    ages = ["45.5", '"45,5"', "40-50", "40–49", "85+", "-1"]
    rows = [f"{row},{age}" for row, age in zip(labelled(), ages)]
    index = write(folder, "filename,label,age", rows)
    assert index["age"].fillna(-1).tolist() == [45.5, 45.5, 45, 44.5, 85, -1]
    assert "3 ages are bands, such as '40-50': taken as the band's middle" in caplog.text


@pytest.mark.parametrize("age", ["50-40", "40-400", "old", "200", "nan", "1e9", "12 months"])
def test_what_is_no_age_is_refused(folder, age):
    rows = [f"{row},{age if k == 3 else 50}" for k, row in enumerate(labelled())]
    if age == "nan":  # a word for unknown
        assert write(folder, "filename,label,age", rows)["age"].isna().tolist() == [
            k == 3 for k in range(6)
        ]
        return
    with pytest.raises(UserError, match=f"line 5: age '{age}'; write years from 0 to 120"):
        write(folder, "filename,label,age", rows)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["M", "f", "Male", "FEMALE", "woman", "-1"],
         ["male", "female", "male", "female", "female", ""]),
        (["M", "H", "h", "M", "mujer", "hombre"], ["M", "H", "h", "M", "female", "male"]),
        (["w", "m", "N/A", "weiblich", "männlich", "divers"],
         ["female", "male", "", "female", "male", "divers"]),
    ],
)  # fmt: skip
def test_sex_in_any_spelling(folder, given, expected):
    rows = [f"{row},{sex}" for row, sex in zip(labelled(), given)]
    assert write(folder, "filename,label,gender", rows)["sex"].tolist() == expected


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n"])
def test_excel_s_first_line(folder, first):
    rows = [row.replace(",", ";") for row in labelled()]
    index = write(folder, "filename;label", rows, first=first)
    assert index["fine"].tolist() == ["nv", "mel"] * 3
    with pytest.raises(UserError, match="line 4 has 1 column"):  # its own count of lines
        write(folder, "filename;label", [rows[0], "b.jpg", *rows[2:]], first=first)


def test_spaces_of_any_kind_in_names_and_labels(folder):
    for name, space in zip("abc", ("\u00a0", "\u202f", "\u3000")):
        (folder / "img" / f"{name}.jpg").rename(folder / "img" / f"{name}{space}1.jpg")
    (folder / "img" / "d.jpg").rename(folder / "img" / "d\u00a01.jpg")
    rows = ["a\u00a01.jpg,basal cell", "b\u202f1.jpg,basal\u00a0cell", "c\u30001.jpg,nv"]
    rows += ["d 1.jpg,nv", "e.jpg,basal cell", "f.jpg,nv"]  # the table has a plain one
    index = write(folder, "filename,label", rows)
    assert set(index["fine"]) == {"basal cell", "nv"}
    assert "img/d\u00a01.jpg" in index["path"].tolist()
    (folder / "img" / "e.jpg").rename(folder / "img" / "e\u200b.jpg")
    with pytest.raises(UserError, match="odd characters"):
        write(folder, "filename,label", [*rows[:4], "e\u200b.jpg,nv", rows[5]])


def test_labels_may_have_several_words_for_a_column():
    for name, words in column_words.WORDS.items():
        assert name in readers.LABELS
        assert name not in words
    every = [word for words in column_words.WORDS.values() for word in words]
    assert len(every) == len(set(every)) == len({word.lower() for word in every})

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
    assert [message for message in caplog.messages if shown in message]


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
    with pytest.raises(UserError, match="it may have the labels, and so may other tables"):
        write(folder, "image,dx", labelled(), "train.csv")


def test_a_table_of_few_labels_is_taken_and_an_unreadable_one_is_refused(folder):
    index = write(folder, "image,diagnosis", ["a.jpg,nv", "b.jpg,mel"], "few.csv")
    assert index["fine"].tolist() == ["nv", "mel", "", "", "", ""][: len(index)]
    assert len(index) == 2  # the others have no row, which a line says
    (folder / "few.csv").write_bytes("image,diagnosis\na.jpg,n\xe6vus\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"line 2 is not UTF-8 text.*data\.format folders or unlab"):
        readers.read(Data(path=str(folder)))


@pytest.mark.parametrize("name", ["labels.csv", "diagnoses.csv"])
def test_folders_and_a_table_of_labels_below_or_beside_are_not_guessed_between(tmp_path, name):
    for place in ("ukm", "lmu"):
        (tmp_path / place).mkdir()
        for number in range(4):
            pixels = np.full((20, 30, 3), 40 * number, np.uint8)
            cv2.imwrite(str(tmp_path / place / f"{place}{number}.jpg"), pixels)
        rows = "".join(f"{place}{k}.jpg,{('nv', 'mel')[k % 2]}\n" for k in range(4))
        (tmp_path / place / name).write_text(f"filename,label\n{rows}")
    with pytest.raises(UserError, match=f"{name}: it may have the labels, and so may other tables"):
        readers.read(Data(path=str(tmp_path)))
    index = readers.read(Data(path=str(tmp_path), format="folders")).index
    assert set(index["fine"]) == {"ukm", "lmu"}


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["train", "test"] * 3, "splits"), ([f"m{k}.png" for k in range(6)], "file names")],
)
def test_a_column_of_something_else_is_no_label(folder, words, kind):
    rows = [f"{name}.jpg,{word}" for name, word in zip("abcdef", words)]
    with pytest.raises(UserError, match=f"'category' would be the label and has {kind}, not diag"):
        write(folder, "image,category", rows, "train.csv")


def test_a_measurement_is_no_label(tmp_path):
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.full((20, 30, 3), number, np.uint8))
    rows = [f"{number}.jpg,{number / 7}" for number in range(12)]
    with pytest.raises(UserError, match="has 12 different words in 12 rows, not diagnoses"):
        write(tmp_path, "image,target", rows, "train.csv")


def test_a_name_with_a_folder_is_no_photo_of_another_folder(tmp_path):
    for place in ("P1", "P2"):
        (tmp_path / place).mkdir()
        cv2.imwrite(str(tmp_path / place / "IMG_0.jpg"), np.full((20, 30, 3), 9, np.uint8))
    with pytest.raises(UserError, match=r"image 'P5/IMG_0\.jpg' not found"):
        write(tmp_path, "filename,label", ["P2/IMG_0.jpg,nv", "P5/IMG_0.jpg,mel"])


@pytest.mark.parametrize("word", ["-", "n.a.", "missing", "#N/A", "-1", "unbekannt"])
def test_a_word_for_nothing_ties_no_photos_together(folder, word):
    rows = [f"{row},{word if k else 'L1'}" for k, row in enumerate(labelled())]
    index = write(folder, "filename,label,lesion_id", rows)
    assert index["lesion_id"].tolist() == ["L1", "", "", "", "", ""]


def test_lesions_numbered_within_each_patient(folder, caplog):
    rows = [f"{row},P{k // 3},{k % 3}" for k, row in enumerate(labelled())]
    index = write(folder, "filename,label,patient_id,lesion_id", rows)
    assert index["lesion_id"].tolist() == ["P0/0", "P0/1", "P0/2", "P1/0", "P1/1", "P1/2"]
    assert "3 of 3 lesion ids, such as '0', are those of several patients" in caplog.text
    one_slip = [row.replace("P1,0", "P1,9").replace("P1,1", "P1,8") for row in rows]
    index = write(folder, "filename,label,patient_id,lesion_id", one_slip)
    assert index["lesion_id"].tolist() == ["0", "1", "2", "9", "8", "2"]


@pytest.mark.parametrize(
    ("ids", "told"),
    [(["Erika Muster", "Meier, J.", "\u738b\u5c0f\u660e"], True), (["P1", "PAT_02", "7"], False),
     (["A", "B", "C"], False), (["Meier", "P2", "P3"], False)],
)  # fmt: skip
def test_patients_by_name_are_told_without_the_names(folder, caplog, ids, told):
    rows = [f'{row},"{ids[k % 3]}"' for k, row in enumerate(labelled())]
    index = write(folder, "filename,label,patient_id", rows)
    assert set(index["patient_id"]) == {*ids}
    line = "3 of 3 patient ids look like names; runs and reports copy them: write pseudonyms"
    assert (line in caplog.text) == told
    assert not any(name in caplog.text for name in ids if len(name) > 1)


@pytest.mark.parametrize(
    "tree", ["train_set/nv test_set/nv train_set/mel", "nv/train nv/test mel/train mel/test"]
)
def test_splits_in_other_words_are_no_classes(tmp_path, tree):
    for place in tree.split():
        (tmp_path / place).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place / "a.jpg"), np.full((20, 30, 3), 9, np.uint8))
    with pytest.raises(UserError, match="look like splits, not like diagnoses"):
        readers.read(Data(path=str(tmp_path)))


def test_folders_of_images_by_another_word_each_are_not_taken_as_parts(tmp_path):
    for place in ("benign images", "malignant images"):
        (tmp_path / place).mkdir()
        cv2.imwrite(str(tmp_path / place / "a.jpg"), np.full((20, 30, 3), 9, np.uint8))
    with pytest.raises(UserError, match="benign images, malignant images may be diagnoses or"):
        readers.read(Data(path=str(tmp_path)))
    assert set(readers.read(Data(path=str(tmp_path), format="unlabelled")).index["fine"]) == {""}


def test_words_for_no_label_are_none_and_a_second_table_is_named(folder, caplog):
    (folder / "labels.tsv").write_text("filename\tlabel\na.jpg\tmel\n")
    rows = ["a.jpg,unknown", "b.jpg,nv", "c.jpg,?", "d.jpg,mel", "e.jpg,nv", "f.jpg,mel"]
    index = write(folder, "filename,label", rows)
    assert index["fine"].tolist() == ["", "nv", "", "mel", "nv", "mel"]
    assert "2 labels (?, unknown) are taken as none" in caplog.text
    assert "labels.csv is read, not labels.tsv" in caplog.text


def test_a_released_table_s_own_splits_are_said_to_be_left(folder, caplog):
    rows = [f"{name},{('nevus', 'melanoma')[k % 2]},train" for k, name in enumerate("abcdef")]
    write(folder, "isic_id,diagnosis,split", rows, "metadata.csv")
    assert "its column split is not used; write labels.csv with filename,label,split" in caplog.text


def test_the_folders_that_are_classes_are_said(tmp_path, caplog):
    for place in ("nv", "mel"):
        (tmp_path / place).mkdir()
        cv2.imwrite(str(tmp_path / place / "a.jpg"), np.full((20, 30, 3), 9, np.uint8))
    readers.read(Data(path=str(tmp_path)))
    assert "the classes are the folders' names: mel (1), nv (1)" in caplog.text


def test_somebody_s_own_metadata_keeps_its_splits_and_patients(folder):
    rows = [f"{name},{('nv', 'mel')[k % 2]},P{k},{('train', 'test')[k > 3]},F"
            for k, name in enumerate("abcdef")]  # fmt: skip
    index = write(folder, "image_id,dx,patient_id,split,gender", rows, "my_metadata.csv")
    assert index["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert index["patient_id"].tolist() == [f"P{k}" for k in range(6)]
    assert set(index["sex"]) == {"female"}


def test_ages_as_people_write_them(folder, caplog):
    ages = ["45.5", '"45,5"', "40-50", "40–49", "85+", "-1"]
    rows = [f"{row},{age}" for row, age in zip(labelled(), ages)]
    index = write(folder, "filename,label,age", rows)
    assert index["age"].fillna(-1).tolist() == [45.5, 45.5, 45, 44.5, 85, -1]
    assert "3 ages are bands, such as '40-50': taken as the band's middle" in caplog.text


@pytest.mark.parametrize("age", ["50-40", "40-400", "old", "200", "nan", "1e9", "1_0", "12 months"])
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
        (["M", "V", "V", "M", "M", "V"], ["M", "V", "V", "M", "M", "V"]),
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


@pytest.mark.parametrize("name", ["labels.csv", "labels.txt", "train.csv"])
@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_excel_s_unicode_text(folder, name, order):
    """UTF-16 with a byte order mark and tabs."""
    text = "\ufefffilename\tlabel\n" + "".join(
        f"{row}\n".replace(",", "\t") for row in labelled(words=("nävus", "mel"))
    )
    (folder / name).write_bytes(text.encode(order))
    assert readers.read(Data(path=str(folder))).index["fine"].tolist() == ["nävus", "mel"] * 3
    (folder / name).write_bytes(text.encode(order)[:-1])
    with pytest.raises(UserError, match=r"line \d+ is not UTF-16 text; save as UTF-8, in Excel as"):
        readers.read(Data(path=str(folder)))


@pytest.mark.parametrize("header", ["filename,label", "filename,nävus,mel"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_a_table_in_another_encoding_is_never_passed_over(folder, header, encoding):
    rows = labelled(words=("nävus", "mel")) if "label" in header else labelled(words=("1,0", "0,1"))
    text = "\n".join([header, *rows])
    for name in ("labels.csv", "train.csv") if encoding == "latin-1" else ("labels.csv",):
        (folder / name).write_bytes(text.encode(encoding))
        with pytest.raises(
            UserError, match=r"line \d (is not UTF-8 text|holds a NUL byte); save as"
        ):
            readers.read(Data(path=str(folder)))
        (folder / name).unlink()


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


@pytest.mark.parametrize("options", [{}, {"taxonomy": "ham10000"}])
def test_labels_in_several_spellings_are_one_class_and_said(folder, caplog, options):
    words = ["mel", "MEL", "Mel ", "nv", "\uff4e\uff56", "NV"]
    rows = [f"{name}.jpg,{word}" for name, word in zip("abcdef", words)]
    (folder / "labels.csv").write_text("\n".join(["filename,label", *rows]), encoding="utf-8")
    dataset = readers.read(Data(path=str(folder), **options))
    assert dataset.index["fine"].tolist() == ["mel"] * 3 + ["nv"] * 3
    told = "labels that differ in case, space or Unicode form alone are taken as one: 'MEL' (1) as "
    assert f"{told}'mel', 'Mel' (1) as 'mel', 'NV' (1) as 'nv' and 1 more" in caplog.text


def test_the_most_common_spelling_of_a_class_stays(folder):
    rows = ["a.jpg,basal cell", "b.jpg,Basal Cell", "c.jpg,Basal  Cell", "d.jpg,Basal Cell"]
    index = write(folder, "filename,label", [*rows, "e.jpg,nv", "f.jpg,nv"])
    assert index["fine"].tolist() == ["Basal Cell"] * 4 + ["nv"] * 2


def test_folders_and_groups_in_several_spellings_are_one(tmp_path):
    for place in ("train/Nevus", "test/nevus", "train/mel", "test/mel"):
        (tmp_path / place).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / place / f"{place[1]}.jpg"), np.full((20, 30, 3), 9, np.uint8))
    assert readers.read(Data(path=str(tmp_path))).taxonomy.fine == ("mel", "nevus")
    rows = ["train/Nevus/r.jpg,nv,Benign", "test/nevus/e.jpg,df,benign"]
    rows.append("train/mel/r.jpg,bkl,benign")
    assert set(write(tmp_path, "filename,label,coarse", rows)["coarse"]) == {"benign"}


def test_labels_that_differ_in_signs_or_number_are_a_question(folder, caplog):
    words = ["mel", "mel.", "nevus", "nevi", "basal-cell", "df"]
    index = write(folder, "filename,label", [f"{n}.jpg,{w}" for n, w in zip("abcdef", words)])
    assert index["fine"].tolist() == words
    told = "may be one class in two spellings: 'mel' and 'mel.', 'nevi' and 'nevus'; write them"
    assert told in caplog.text


def test_labels_may_have_several_words_for_a_column():
    for name, words in column_words.WORDS.items():
        assert name in readers.LABELS
        assert name not in words
    every = [word for words in column_words.WORDS.values() for word in words]
    assert len(every) == len(set(every)) == len({word.lower() for word in every})

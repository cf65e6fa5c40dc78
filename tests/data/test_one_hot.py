"""Tables with one column a class: the words that mark one, and what is refused with what it has."""

import numpy as np
import pandas as pd
import pytest
from folders import fill, read

from dermssl.core.errors import UserError
from dermssl.data import column_words

CLASSES = ("mel", "nv", "bcc")
TRUTH = ("mel", "nv", "nv", "bcc", "mel", "nv")
WORDS = [
    ("1", "0"), ("1", ""), ("1.0", "0.0"), ("TRUE", "FALSE"), ("True", "False"), ("true", ""),
    ("yes", "no"), ("Yes", "No"), ("Y", "N"), ("x", ""), ("X", ""), ("WAHR", "FALSCH"),
    ("ja", "nein"), ("1,0", "0,0"), ("✓", ""),
]  # fmt: skip


def quoted(cell):
    return f'"{cell}"' if "," in cell else cell


def lines(yes="1", no="0", more=(), header="", classes=CLASSES, truth=TRUTH):
    """A table of six photos with a column a class; `more` are the cells of further columns."""
    more = more or [()] * len(truth)
    rows = [
        ",".join([f"{k}.jpg", *cells, *(quoted(yes if name == label else no) for name in classes)])
        for k, (label, cells) in enumerate(zip(truth, more))
    ]
    return [",".join(filter(None, ["filename", header, *classes])), *rows]


def labels_of(folder, table, name="labels.csv"):
    fill(folder, [f"{k}.jpg" for k in range(6)], **{name: table})
    return read(folder)["fine"].tolist()


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [("labels.csv", *words) for words in WORDS]
    + [(name, *words) for name in ("train.csv", "labels.xlsx") for words in WORDS[::4]],
)
def test_the_words_that_mark_a_class(tmp_path, caplog, name, yes, no):
    assert labels_of(tmp_path, lines(yes, no), name) == [*TRUTH]
    word = yes.lower().replace(",", ".").removesuffix(".0")
    told = f"{name}: one column a class, marked by '{word}': mel, nv, bcc"
    assert [message for message in caplog.messages if told in message]


@pytest.mark.parametrize(("yes", "no"), WORDS[::3])
@pytest.mark.parametrize("header", ["label", "dx", "coarse"])
def test_a_blank_column_beside_them_says_nothing(tmp_path, caplog, yes, no, header):
    assert labels_of(tmp_path, lines(yes, no, [("",)] * 6, header)) == [*TRUTH]
    assert ("6 of 6 cells of the column label say nothing" in caplog.text) == (header != "coarse")


@pytest.mark.parametrize("own", ["", "nv"])
def test_metadata_in_ham10000_s_columns_too(tmp_path, caplog, own):
    more = [(own if label == "nv" else "",) for label in TRUTH]
    table = [row.replace("filename", "image_id") for row in lines(more=more, header="dx")]
    table = [row.replace(".jpg", "") for row in table]
    assert labels_of(tmp_path, table, "HAM10000_metadata.csv") == [*TRUTH]
    assert f"{3 if own else 6} of 6 cells of the column dx say nothing" in caplog.text


def test_labels_that_are_there_stay_and_blank_ones_are_filled(tmp_path, caplog):
    more = [("MEL",), ("",), ("unknown",), ("bcc",), ("",), ("nv",)]
    assert labels_of(tmp_path, lines(more=more, header="label")) == [*TRUTH]
    assert "; 3 of 6 cells of the column label say nothing" in caplog.text


def test_labels_that_contradict_the_marks_are_refused(tmp_path):
    more = [(word,) for word in ("mel", "nv", "mel", "bcc", "mel", "nv")]
    with pytest.raises(
        UserError, match="line 4: label 'mel', and the columns mel, nv, bcc mark nv"
    ):
        labels_of(tmp_path, lines(more=more, header="label"))


@pytest.mark.parametrize("words", [("a", "b"), ("a", "")])
def test_labels_of_other_words_win_over_marks(tmp_path, caplog, words):
    """Left and right are no diagnoses."""
    table = lines(more=[(words[k % 2],) for k in range(6)], header="label")
    assert labels_of(tmp_path, table) == [words[k % 2] for k in range(6)]
    assert "columns not used: mel, nv, bcc" in caplog.text


def test_photos_without_labels_may_have_answers_to_questions(tmp_path, caplog):
    answers = [("TRUE", "TRUE"), ("TRUE", "TRUE"), ("FALSE", "FALSE")] * 2
    rows = [f"{k}.jpg,,P{k},{','.join(cells)}" for k, cells in enumerate(answers)]
    assert labels_of(tmp_path, ["filename,label,patient_id,itch,bleed", *rows]) == [""] * 6
    assert "labels.csv: no row has a label; all photos are taken as unlabelled" in caplog.text
    assert "columns not used: itch, bleed" in caplog.text


def spoilt(line, was, now, table):
    return [*table[:line], table[line].replace(was, now), *table[line + 1 :]]


BLANK = [("",)] * 6
TWO = ("mel", "nv")
REFUSED = {
    "a row without a mark": (
        spoilt(2, "1", "0", lines()),
        "no column 'label', and its columns mel, nv, bcc, marked by '1', are no classes: line 3 "
        "marks 0 of them; mark one class in each row, in all columns by 1 and 0, TRUE and FALSE, ",
    ),
    "a row with three": (
        spoilt(2, "FALSE", "TRUE", lines("TRUE", "FALSE")),
        "mel, nv, bcc, marked by 'true', are no classes: line 3 marks 3",
    ),
    "a row with two, and a blank label": (
        spoilt(2, ",,x,", ",x,x,", lines("x", "", BLANK, "label")),
        "its column label is blank, and its columns mel, nv, bcc, marked by 'x', are no classes: "
        "line 3 marks 2 of them",
    ),
    "another word": (
        spoilt(1, ",1", ",maybe", lines(classes=TWO, truth=TWO * 3)),
        "no column 'label', and its columns of marks aren't understood: mel has '0', '1', 'maybe'; "
        "nv has '0', '1'; mark one class",
    ),
    "another word in one of three": (
        spoilt(1, ",1", ",maybe", lines()),
        "its columns nv, bcc, marked by '1', are no classes: line 2 marks 0 of them, and mel has "
        "'0', '1', 'maybe'; mark one class",
    ),
    "other words in all": (
        [row.replace("1", "2").replace("0", "1") for row in lines()],
        "marks aren't understood: mel has '1', '2'; nv has '1', '2'; bcc has '1', '2'; mark one",
    ),
    "words that differ between columns": (
        ["filename,mel,nv", "0.jpg,TRUE,0", "1.jpg,FALSE,1"],
        "its columns of marks aren't understood: mel has 'FALSE', 'TRUE'; nv has '0', '1'; mark",
    ),
    "a column with two kinds of words": (
        ["filename,mel,nv,bcc", "0.jpg,x,,TRUE", "1.jpg,,x,0"],
        "no column 'label', and its columns mel, nv may be the classes, but bcc has '0', 'TRUE';",
    ),
    "two sets": (
        ["filename,mel,nv,left,right", "0.jpg,1,0,x,", "1.jpg,0,1,x,", "2.jpg,0,1,,x"],
        "the columns mel, nv and left, right have one mark in each row, so that both may be the",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_what_was_found(tmp_path, name):
    table, words = REFUSED[name]
    with pytest.raises(UserError) as error:
        labels_of(tmp_path, table)
    assert words in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/labels.csv: ")


def test_a_label_is_never_another_than_the_one_that_is_marked():
    """1,000 random tables against a reading by eye; most are refused, none is misread."""
    rng, taken = np.random.default_rng(0), 0
    yes = {"1", "true", "x", "yes"}
    for _ in range(1000):
        pairs = [("1", "0"), ("TRUE", "FALSE"), ("x", ""), ("yes", "no"), ("1", "")]
        n, columns = rng.integers(2, 6), list("abcd"[: rng.integers(2, 5)])
        pair = pairs[rng.integers(5)]
        cells = np.array(pair)[
            1 - np.eye(len(columns), dtype=int)[rng.integers(0, len(columns), n)]
        ]
        cells = cells.astype(object)
        if rng.random() < 0.7:  # one cell is spoilt
            cells[rng.integers(n), rng.integers(len(columns))] = rng.choice(
                [*pair, "2", "TRUE", "x", "", "maybe"]
            )
        table = pd.DataFrame(cells, columns=columns).assign(filename="a.jpg")
        if rng.random() < 0.5:
            table["label"] = ""
        try:
            labels = column_words.with_label(table, "labels.csv").get("label", pd.Series([""] * n))
        except UserError:
            continue
        taken += bool((labels != "").all())
        for row, label in enumerate(labels):
            if label:
                words = {name: str(table[name][row]).lower() for name in columns}
                assert words[label] in yes, (table, labels)
                # A column in other words may be another question.
                assert list(words.values()).count(words[label]) == 1, (table, labels)
    assert 200 < taken < 700


# Released tables, whose rows without a mark are unlabelled.


@pytest.mark.parametrize(("yes", "no"), WORDS[::2])
def test_a_released_table_with_other_words(tmp_path, yes, no):
    cells = [",".join(quoted(yes if k == j else no) for j in range(3)) for k in range(4)]
    rows = [f"ISIC_{k},{row}" for k, row in enumerate(cells)]
    fill(
        tmp_path,
        [f"ISIC_{k}.jpg" for k in range(4)],
        **{"GroundTruth.csv": ["image,MEL,NV,BCC", *rows]},
    )
    assert read(tmp_path)["fine"].tolist() == ["mel", "nv", "bcc", ""]


def test_a_released_table_with_a_word_that_is_none_is_refused(tmp_path):
    rows = ["ISIC_0,1,0,0", "ISIC_1,perhaps,0,0"]
    fill(tmp_path, ["ISIC_0.jpg", "ISIC_1.jpg"], **{"GroundTruth.csv": ["image,MEL,NV,BCC", *rows]})
    with pytest.raises(
        UserError, match=r"GroundTruth.csv: line 3: mel 'perhaps'; write 1 and 0, TR"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("cells", "fine"),
    [
        (("True", "False", ""), ["malignant", "benign", ""]),
        (("1.0", "0.0", "NA"), ["malignant", "benign", ""]),
        (("yes", "no", "yes"), ["malignant", "benign", "malignant"]),
    ],
)
def test_malignant_by_any_mark(tmp_path, cells, fine):
    rows = [f"{k}.png,12,{cell}" for k, cell in enumerate(cells)]
    fill(
        tmp_path,
        ["0.png", "1.png", "2.png"],
        **{"ddi.csv": ["DDI_file,skin_tone,malignant", *rows]},
    )
    assert read(tmp_path)["fine"].tolist() == fine


@pytest.mark.parametrize("cell", ["0.3", "maybe"])
def test_malignant_by_another_word_is_refused(tmp_path, cell):
    rows = ["0.png,12,True", f"1.png,12,{cell}"]
    fill(tmp_path, ["0.png", "1.png"], **{"ddi.csv": ["DDI_file,skin_tone,malignant", *rows]})
    with pytest.raises(UserError, match=rf"ddi.csv: line 3: malignant '?{cell}'?; write 1 and 0"):
        read(tmp_path)

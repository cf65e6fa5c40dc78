"""Excel workbooks: cells as typed, and one line for what can't be read."""

import datetime
import sys
import zipfile

import openpyxl
import pytest
from folders import fill, read, workbook

from dermssl.core.errors import UserError
from dermssl.data import csv_tables, spreadsheets


def test_cells_come_out_as_a_person_typed_them(tmp_path):
    rows = [
        ["Filename", " label ", "age", "lesion_id", "patient_id", "seen", "note", None],
        ["007.jpg", "nv", 55.0, 7, 12345, datetime.date(2024, 3, 1), True, None],
        [None, " ", None, None, None, None, None, None],
        ["8.jpg", "mel", 55.5, 8, "0012", datetime.datetime(2024, 3, 1, 14, 5), 0.1 + 0.2, None],
    ]
    file = tmp_path / "labels.xlsx"
    book = workbook(file, {"Photos": rows})
    for row in (2, 4):
        book["Photos"].cell(row, 4).number_format = "0000"
    book.save(file)
    table = csv_tables.read_table(file, "filename,label")
    assert table.columns.tolist() == [
        "filename", "label", "age", "lesion_id", "patient_id", "seen", "note"]  # fmt: skip
    assert table.to_numpy().tolist() == [
        ["007.jpg", "nv", "55", "0007", "12345", "2024-03-01", "TRUE"],
        ["8.jpg", "mel", "55.5", "0008", "0012", "2024-03-01 14:05:00", "0.3"],
    ]
    assert table.index.tolist() == [2, 4]
    assert csv_tables.header_of(file, "filename,label")[:2] == ["filename", "label"]


def test_rows_beyond_what_a_file_states_of_itself_are_read(tmp_path):
    rows = [["filename", "label"], *([f"{k}.jpg", "nv"] for k in range(20))]
    workbook(tmp_path / "right.xlsx", {"Photos": rows})
    sheet, stale = "xl/worksheets/sheet1.xml", tmp_path / "labels.xlsx"
    with zipfile.ZipFile(tmp_path / "right.xlsx") as old, zipfile.ZipFile(stale, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == sheet:
                assert b'ref="A1:B21"' in content
                content = content.replace(b'ref="A1:B21"', b'ref="A1:B11"')
            new.writestr(name, content)
    assert len(csv_tables.read_table(stale, "filename,label")) == 20


def test_labels_in_a_workbook(tmp_path):
    names = [f"part_{k % 2}/00{k}.jpg" for k in range(4)]
    rows = [["filename", "label"], *(["001", "nv"] if k == 1 else [f"00{k}", "mel"]
                                     for k in range(4))]  # fmt: skip
    fill(tmp_path, names)
    workbook(tmp_path / "labels.xlsx", {"Sheet1": rows})
    assert read(tmp_path)["fine"].to_dict() == {
        name: "nv" if "001" in name else "mel" for name in names
    }


def test_an_edited_workbook_is_read_anew(tmp_path):
    file = tmp_path / "labels.xlsx"
    workbook(file, {"A": ["filename,label", "a,nv"]})
    assert csv_tables.read_table(file, "")["label"].tolist() == ["nv"]
    workbook(file, {"A": ["filename,label", "a,nv", "b,melanoma"]})
    assert csv_tables.read_table(file, "")["label"].tolist() == ["nv", "melanoma"]


@pytest.mark.parametrize("name", ["labels.xlsx", "truth.xlsx", "deep/truth.xlsx"])
def test_two_sheets_with_content_are_refused(tmp_path, name):
    fill(tmp_path, ["a/1.jpg", "b/2.jpg"])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    workbook(tmp_path / name, {"Photos": ["filename,label", "1,nv"], "Empty": [], "Old": ["x"]})
    message = r"\.xlsx: 2 sheets have content: 'Photos', 'Old'; keep one of them"
    with pytest.raises(UserError, match=message) as refused:
        read(tmp_path)
    assert ("data.format" in str(refused.value)) == (name != "labels.xlsx")


def test_a_hidden_sheet_is_left_alone(tmp_path):
    file = tmp_path / "labels.xlsx"
    book = workbook(file, {"Photos": ["filename,label", "1,nv"], "Lists": ["nv", "mel"]})
    book["Lists"].sheet_state = "hidden"
    book.save(file)
    assert csv_tables.read_table(file, "")["label"].tolist() == ["nv"]


@pytest.mark.parametrize(("cell", "message"), [
    ("=1+1", r"sheet 'A', cell B2: a formula without its value; open the file in Excel and save"),
    ("#N/A", r"sheet 'A', cell B2: #N/A; correct the cell or clear it"),
    (-1000600354148496558, r"sheet 'A', cell B2: a number of more than 15 digits, which Excel has"),
])  # fmt: skip
def test_cells_without_a_value_of_their_own_are_refused(tmp_path, cell, message):
    workbook(tmp_path / "labels.xlsx", {"A": [["filename", "label"], ["a.jpg", cell]]})
    with pytest.raises(UserError, match=message):
        csv_tables.read_table(tmp_path / "labels.xlsx", "filename,label")


def test_what_is_no_workbook_is_one_line(tmp_path):
    file = tmp_path / "labels.xlsx"
    file.write_bytes(b"\xd0\xcf\x11\xe0 a workbook with a password")
    fill(tmp_path, ["a.jpg"])
    with pytest.raises(UserError, match=r"labels.xlsx: no Excel workbook, a damaged one or one"):
        read(tmp_path)
    with zipfile.ZipFile(file, "w") as parts:
        parts.writestr("xl/workbook.xml", "<broken")
    with pytest.raises(UserError, match=r"labels.xlsx: no Excel workbook, a damaged one or one"):
        read(tmp_path)
    assert csv_tables.header_of(file, "") == []


def test_a_workbook_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    workbook(tmp_path / "labels.xlsx", {"A": ["filename,label", "a,nv"]})
    monkeypatch.setattr(spreadsheets, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match=r"bytes unpacked, more than 1,000; split it"):
        csv_tables.read_table(tmp_path / "labels.xlsx", "")


def test_without_openpyxl_one_line_says_what_to_install(tmp_path, monkeypatch):
    fill(tmp_path, ["a.jpg"])
    workbook(tmp_path / "labels.xlsx", {"A": ["filename,label", "a,nv"]})
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(UserError, match=r"needs openpyxl; pip install 'dermssl\[excel\]', or save"):
        read(tmp_path)


def test_a_damaged_sheet_is_one_line(tmp_path):
    file = tmp_path / "labels.xlsx"
    workbook(file, {"A": ["filename,label", "a,nv"]})
    with zipfile.ZipFile(file) as parts:
        content = {name: parts.read(name) for name in parts.namelist()}
    content["xl/worksheets/sheet1.xml"] = content["xl/worksheets/sheet1.xml"][:300]
    with zipfile.ZipFile(file, "w") as parts:
        for name, data in content.items():
            parts.writestr(name, data)
    with pytest.raises(UserError, match=r"labels.xlsx: no Excel workbook, a damaged one"):
        csv_tables.read_table(file, "")
    assert openpyxl.__name__ in sys.modules


def merged(file, rows, *ranges):
    book = workbook(file, {"A": rows})
    for cells in ranges:
        book["A"].merge_cells(cells)
    book.save(file)
    return file


def test_a_merged_cell_is_that_of_each_of_its_rows(tmp_path, caplog):
    rows = [["filename", "note", "label"], ["a", "x", "nv"], ["b", "y"], ["c", ""], [None],
            ["d", "", "mel"], ["e", "z", "nv"], ["f"]]  # fmt: skip
    file = merged(tmp_path / "labels.xlsx", rows, "C2:C5", "C7:C9", "B4:C4")
    book = openpyxl.load_workbook(file)
    book["A"].unmerge_cells("B4:C4")
    book.save(file)
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        table = csv_tables.read_table(file, "filename,label")
        assert table["label"].tolist() == ["nv", "nv", "nv", "mel", "nv", "nv"]
        assert table["filename"].tolist() == [*"abcdef"]
        assert "3 cells take the value of the merged cell they are in (C2:C5, C7:C9)" in caplog.text


@pytest.mark.parametrize("cells", ["B2:C2", "A1:C1", "A1:A2"])
def test_other_merged_cells_are_refused(tmp_path, cells):
    rows = [["filename", "label", "site"], ["a", "nv", "back"], ["b", "mel", "arm"]]
    file = merged(tmp_path / "labels.xlsx", rows, cells)
    message = f"sheet 'A': cells {cells} are merged across columns or with the header; unmerge them"
    with pytest.raises(UserError, match=message):
        csv_tables.read_table(file, "filename,label")


def test_blank_merged_cells_are_layout(tmp_path):
    rows = [["filename", "label"], ["a", "nv"], ["b", "mel"]]
    file = merged(tmp_path / "labels.xlsx", rows, "D1:E3", "A8:B9")
    assert csv_tables.read_table(file, "filename,label")["label"].tolist() == ["nv", "mel"]

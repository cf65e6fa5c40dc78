"""One line on the console, the whole list in the folder."""

import logging

import pandas as pd

from dermssl.core import left_out

log = logging.getLogger("dermssl.test")


def test_a_list_is_written_where_a_file_was_left_out(tmp_path, caplog):
    with left_out.collected() as notes:
        left_out.tell(log, "2 left out", [("a.cr2", "raw"), ("=b.cr2", "raw")])
        left_out.tell(log, "2 left out", [("a.cr2", "raw"), ("=b.cr2", "raw")])  # read twice
        log.warning("something is %s", "assumed")
    log.warning("not collected any more")
    assert notes.lines == ["2 left out", "something is assumed"]
    assert notes.rows == [("a.cr2", "raw"), ("=b.cr2", "raw"), ("", "something is assumed")]
    notes.write(tmp_path)
    table = pd.read_csv(tmp_path / left_out.FILE, keep_default_na=False)
    assert table["path"].tolist() == ["a.cr2", "'=b.cr2", ""]  # no formula for a spreadsheet
    assert str(tmp_path / left_out.FILE) in caplog.text
    left_out.Notes().write(tmp_path)  # the next run there leaves nothing out
    assert not (tmp_path / left_out.FILE).exists()


def test_a_mere_warning_makes_no_file_and_a_table_has_its_list_beside_it(tmp_path):
    with left_out.collected() as notes:
        log.warning("a warning")
    notes.write(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "new.csv").write_text("x")
    with left_out.collected() as notes:
        left_out.tell_bad(log, [("a.jpg", "a.jpg: empty"), ("b.jpg", "b.jpg: cut")], 9)
    assert notes.lines == ["skipped: 2 of 9 photos, the first: a.jpg: empty (and 1 more)"]
    notes.write(9, str(tmp_path / "new.csv"))
    (tmp_path / "new.jsonl").write_text("x")
    notes.write(9, str(tmp_path / "new.jsonl"))
    assert (tmp_path / "new.jsonl_left_out.csv").is_file()
    assert (tmp_path / "new.csv_left_out.csv").read_text().splitlines()[1:] == [
        "a.jpg,empty", "b.jpg,cut",
    ]  # fmt: skip
    left_out.tell_bad(log, [], 9)
    notes.write(9, None)


def test_a_remark_is_said_and_not_listed(caplog):
    with left_out.collected() as notes:
        left_out.tell(log, "3 photos are undecided", kind=left_out.REMARK)
    assert (notes.lines, notes.rows) == (["3 photos are undecided"], [])
    assert "3 photos are undecided" in caplog.text


def test_a_line_is_told_once_a_command_and_again_by_the_next(caplog):
    for _ in range(2):
        with left_out.collected() as notes:
            left_out.tell(log, "1 class is rare")
            left_out.tell(log, "1 class is rare")  # the next run of an experiment
            with left_out.collected() as inner:  # a part that looks at what was told in it
                left_out.tell(log, "1 class is rare")
        assert notes.lines == inner.lines == ["1 class is rare"]
    assert caplog.text.count("1 class is rare") == 4
    for _ in range(2):
        left_out.tell(log, "outside")
    assert caplog.text.count("outside") == 2

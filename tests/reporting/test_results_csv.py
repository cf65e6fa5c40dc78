"""Results files: appended to without loss, whole at any moment."""

import math
import threading

import pandas as pd
import pytest

from dermssl.core import runs
from dermssl.core.errors import UserError
from dermssl.evaluation.interval import Interval
from dermssl.reporting import results_csv


def test_rows_come_back_with_their_types(tmp_path):
    file = tmp_path / "results.csv"
    first = {"run": "=cmd", "config_hash": "12e456789012", "seed": 3, "difference": -0.1 - 0.2}
    results_csv.append_row(file, first)
    results_csv.append_row(file, {**first, "seed": 4, "difference": math.nan})
    results_csv.append_row(file, {**first, "seed": 5, "extra": 1})
    found = results_csv.read_rows(file)
    assert list(found["run"]) == ["=cmd"] * 3
    assert list(found["config_hash"]) == ["12e456789012"] * 3
    assert list(found["seed"]) == [3, 4, 5]
    assert found["difference"][0] == first["difference"]
    assert math.isnan(found["difference"][1])
    assert found["extra"].isna().tolist() == [True, True, False]
    assert "n/a" in file.read_text()
    assert "'=cmd" in file.read_text()
    assert "'-0.3" not in file.read_text()  # a number is no formula, also when written again


def test_appending_from_two_places_loses_nothing(tmp_path):
    file = tmp_path / "results.csv"

    def work(offset):
        for k in range(15):
            results_csv.append_row(file, {"run": "r", "seed": offset + k})

    threads = [threading.Thread(target=work, args=(offset,)) for offset in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results_csv.read_rows(file)["seed"]) == [*range(15), *range(100, 115)]


def test_a_row_has_the_same_columns_for_success_and_failure():
    failed = results_csv.row("runs/1", {"status": runs.DIVERGED, "reason": "loss is nan"})
    status = {
        "status": runs.FINISHED, "arm": "ssl", "seed": 1, "versions": {"keras": "3.15.1"},
        "config": {"backbone": {"name": "cnn", "image_size": 48}},
    }  # fmt: skip
    done = results_csv.row(
        "runs/2", status, "test", {"n": 10}, {"macro_f1": Interval(0.5, 0.4, 0.6)}
    )
    assert list(failed) == list(done)
    assert failed["reason"] == "loss is nan"
    assert math.isnan(failed["macro_f1"])
    assert (done["backbone"], done["versions"], done["n"]) == ("cnn", "keras 3.15.1", 10)
    assert (done["macro_f1"], done["macro_f1_low"], done["macro_f1_high"]) == (0.5, 0.4, 0.6)


def test_a_broken_results_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        results_csv.read_rows(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="not a whole CSV file"):
        results_csv.append_row(tmp_path / "empty.csv", {"a": 1})


def test_no_row_still_gives_a_header(tmp_path):
    results_csv.write_rows(tmp_path / "none.csv", [], ("a", "b"))
    assert list(pd.read_csv(tmp_path / "none.csv").columns) == ["a", "b"]

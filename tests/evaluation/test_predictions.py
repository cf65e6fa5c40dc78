"""predictions.csv: back as it went, and refused when it isn't whole."""

import fake_runs
import numpy as np
import pytest

from dermssl.core import atomic_files
from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.data import records
from dermssl.evaluation import predictions

HAM = fake_runs.HAM


@pytest.fixture
def table():
    return fake_runs.records(n=80)


@pytest.fixture
def folder(tmp_path, table):
    return fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))


def edit(folder, change):
    file = folder / "predictions.csv"
    file.write_text(change(file.read_text()))


def test_probabilities_come_back_to_the_last_bit_of_float32(folder, table):
    p = fake_runs.simulate(table, 1.0)
    found = predictions.read(folder)
    here = (table["split"] == "test").to_numpy()
    y, y_coarse, p_fine, p_coarse, groups = found.arrays("test")
    np.testing.assert_array_equal(p_fine.astype(np.float32), p[here])
    np.testing.assert_allclose(p_coarse, p[here] @ HAM.matrix, atol=1e-6)
    fine, coarse = records.label_arrays(table[here], HAM)
    np.testing.assert_array_equal(y, fine)
    np.testing.assert_array_equal(y_coarse, coarse)
    assert list(groups) == ["lesion_id=" + lesion for lesion in table.loc[here, "lesion_id"]]


def test_groups_are_patients_before_lesions_before_photos(table):
    table = table.assign(patient_id=["P1", "", *[""] * 78], lesion_id=["L0", "L1", *[""] * 78])
    table["split"] = "test"
    groups = predictions.arrays_of(
        predictions.table(table, fake_runs.simulate(table, 1.0), None, HAM), HAM
    ).groups
    assert list(groups[:3]) == ["patient_id=P1", "lesion_id=L1", "path=photo_00002.png"]


def test_labels_that_look_like_formulas_or_nothing_come_back(tmp_path):
    names = ("=1+1", "-dash", "@at", "NA", "None", "nan", "with,comma")
    flat = taxonomies.flat(names)
    table = fake_runs.records(n=60, taxonomy=flat)
    p = fake_runs.simulate(table, 1.0, taxonomy=flat)
    folder = fake_runs.make(tmp_path / "run", table, p, taxonomy=flat)
    assert "'=1+1" in (folder / "predictions.csv").read_text()
    found = predictions.read(folder)
    assert list(found.table["fine"]) == list(table["fine"])
    assert (found.arrays("test").y >= 0).all()


def test_coarse_only_and_unknown_labels(tmp_path, table):
    table = table.assign(split="test")
    table.loc[0, "fine"] = ""
    table.loc[1, ["fine", "coarse"]] = ""
    table.loc[2, "coarse"] = ""
    folder = fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.0))
    y, y_coarse, *_ = predictions.read(folder).arrays("test")
    assert list(y[:2]) == [-1, -1]
    assert y[2] >= 0
    assert y_coarse[0] == HAM.coarse.index(table.loc[0, "coarse"])
    assert y_coarse[1] == -1
    assert y_coarse[2] == HAM.parent_index[y[2]]  # a fine label knows its group


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",lesion_id,", ",lesion,"), "no column 'lesion_id'"),
        (lambda text: text.replace("p_fine_bcc", "p_fine_bc"), "no column 'p_fine_bcc'"),
        (lambda text: text[: len(text) // 2], "NaN or infinite values in 1 of"),
        (lambda text: "", "not a whole CSV file"),
        (lambda text: text + text.splitlines()[1] + "\n", "is there twice"),
        (lambda text: text.replace(",test,", ",tset,", 1), "split 'tset' in row"),
        (lambda text: text.replace(",nv,", ",naevus,", 1), "fine label 'naevus' in row"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(folder, change, message):
    edit(folder, change)
    with pytest.raises(UserError) as error:
        predictions.read(folder)
    assert message in str(error.value)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_probabilities_must_sum_to_one(folder):
    found = predictions.read(folder).table
    found.loc[3, "p_fine_mel"] += 0.5
    atomic_files.write_csv(folder / "predictions.csv", found)
    with pytest.raises(UserError, match="1 of 80 rows don't sum to 1"):
        predictions.read(folder)


def test_rows_lost_at_the_end_are_noticed_where_the_run_counted_them(folder):
    fake_runs.change_status(folder, n_records=80)
    predictions.read(folder)
    edit(folder, lambda text: "".join(text.splitlines(keepends=True)[:-10]))
    with pytest.raises(UserError, match=r"70 records, but status.json says 80"):
        predictions.read(folder)


def test_unfinished_and_missing_runs_are_refused(folder, tmp_path):
    with pytest.raises(UserError, match="no run found there"):
        predictions.read(tmp_path / "nowhere")
    fake_runs.change_status(folder, status="DIVERGED")
    with pytest.raises(UserError, match="this run is DIVERGED"):
        predictions.read(folder)


def test_an_absent_split_lists_the_present_ones(folder, table):
    with pytest.raises(UserError, match="splits there: test, train, validation"):
        predictions.read(folder).arrays("holdout")


def test_table_refuses_logits_and_wrong_lengths(table):
    p = fake_runs.simulate(table, 1.0)
    with pytest.raises(UserError, match="a probability lies in"):
        predictions.table(table, np.log(p), None, HAM)
    with pytest.raises(UserError, match="records don't match"):
        predictions.table(table[:-1], p, None, HAM)

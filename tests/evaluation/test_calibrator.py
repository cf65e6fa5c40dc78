"""A run's calibration: fitted on validation alone, kept in the run, none if it can't be trusted."""

import fake_runs
import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.data import records as index
from dermssl.evaluation import calibrator, predictions

HAM = fake_runs.HAM
TRUE = 2.0  # of the labels below
PLAIN, TWO_HEADS = {"class_balance": "none"}, {"head": "independent"}


def drawn(n=1600, seed=0, splits=("validation", "test")):
    """A predictions table whose labels are drawn from the tempered probabilities themselves."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, 7))
    p = softmax(logits / TRUE, axis=1)
    y = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=6)
    records = index.make_index(
        {
            "path": [f"{k:05d}.png" for k in range(n)],
            "fine": np.array(HAM.fine, dtype=object)[y],
            "coarse": np.array(HAM.parents, dtype=object)[y],
            "split": np.resize(splits, n),
        }
    )
    return predictions.table(records, softmax(logits, axis=1), None, HAM)


def test_it_is_fitted_on_validation_and_mends_the_test_split():
    table = drawn()
    found = calibrator.fit(table, HAM, PLAIN)
    assert found.fine.temperature == pytest.approx(TRUE, rel=0.1)
    assert (found.fine.n, found.fine.concern, found.coarse) == (800, "", None)
    here = predictions.arrays_of(table, HAM, "validation")
    before = sk.log_loss(here.y, here.p_fine / here.p_fine.sum(axis=1, keepdims=True))
    assert found.fine.log_loss_before == pytest.approx(before, abs=1e-6)
    tempered, _ = found.apply(here.p_fine, here.p_coarse, HAM)
    assert found.fine.log_loss_after == pytest.approx(sk.log_loss(here.y, tempered), abs=1e-6)
    test = predictions.arrays_of(table, HAM, "test")
    assert sk.log_loss(test.y, found.apply(*test[2:4], HAM)[0]) < sk.log_loss(test.y, test.p_fine)
    # The test labels have no say.
    other = table.copy()
    other.loc[other["split"] == "test", ["fine", "coarse"]] = ["nv", "melanocytic"]
    assert calibrator.fit(other, HAM, PLAIN) == found


def test_the_argmax_stays_and_coarse_is_still_the_sum_of_fine():
    table = drawn()
    found = calibrator.fit(table, HAM, PLAIN)
    test = predictions.arrays_of(table, HAM, "test")
    fine, coarse = found.apply(test.p_fine, test.p_coarse, HAM)
    assert found.changes
    np.testing.assert_array_equal(fine.argmax(axis=1), test.p_fine.argmax(axis=1))
    np.testing.assert_allclose(coarse, fine @ HAM.matrix, atol=1e-12)
    np.testing.assert_allclose(coarse.sum(axis=1), 1)


def uneven(n=4000, seed=0):
    """A predictions table of a model that was trained as if all classes were equally common."""
    table = fake_runs.records(n=n, photos_a_lesion=1, seed=seed)
    truth = index.label_arrays(table, HAM)[0]
    x = np.random.default_rng([seed, 1]).normal(size=(n, 7)) + 1.5 * np.eye(7)[truth]
    return predictions.table(table, softmax(TRUE * 1.5 * x, axis=1), None, HAM)


def test_balanced_training_is_undone_and_probabilities_are_frequencies():
    table = uneven()
    found = calibrator.fit(table, HAM, {})
    assert found.fine.temperature == pytest.approx(TRUE, rel=0.15)
    assert found.fine.prior_power == pytest.approx(1, abs=0.15)
    here = predictions.arrays_of(table, HAM, "validation")
    assert found.fine.shares == pytest.approx((np.bincount(here.y, minlength=7) + 1) / 1007)
    assert found.fine.log_loss_before == pytest.approx(sk.log_loss(here.y, here.p_fine), abs=1e-6)
    fine, _ = found.apply(here.p_fine, here.p_coarse, HAM)
    assert found.fine.log_loss_after == pytest.approx(sk.log_loss(here.y, fine), abs=1e-6)
    # On records that had no say: each class is as probable as it is frequent.
    test = predictions.arrays_of(table, HAM, "test")
    fine, coarse = found.apply(test.p_fine, test.p_coarse, HAM)
    counts = np.bincount(test.y, minlength=7)
    assert (np.abs(fine.sum(axis=0) - counts) < 3 * np.sqrt(counts)).all()
    assert test.p_fine.sum(axis=0)[5] > 1.5 * counts[5]
    np.testing.assert_allclose(coarse, fine @ HAM.matrix, atol=1e-12)
    alone = calibrator.fit(table, HAM, PLAIN)
    assert (alone.fine.prior_power, alone.fine.shares) == (0, ())
    tempered, _ = alone.apply(test.p_fine, test.p_coarse, HAM)
    assert sk.log_loss(test.y, fine) < sk.log_loss(test.y, tempered) - 0.02


def test_a_class_that_validation_has_none_of_stays_possible():
    table = uneven()
    absent = (table["split"] == "validation") & (table["fine"] == HAM.fine[6])
    found = calibrator.fit(table[~absent], HAM, {})
    assert 0 < found.fine.shares[6] < 0.0012
    test = predictions.arrays_of(table, HAM, "test")
    assert found.apply(test.p_fine, test.p_coarse, HAM)[0][:, 6].min() > 0


def test_each_of_two_heads_is_corrected_by_its_own_shares():
    table = uneven()
    found = calibrator.fit(table, HAM, TWO_HEADS)
    assert (len(found.fine.shares), len(found.coarse.shares)) == (7, len(HAM.coarse))
    test = predictions.arrays_of(table, HAM, "test")
    _, coarse = found.apply(test.p_fine, test.p_coarse, HAM)
    shares = np.bincount(test.y_coarse, minlength=len(HAM.coarse)) / len(test.y_coarse)
    raw, given = (np.abs(p.mean(axis=0) - shares).sum() for p in (test.p_coarse, coarse))
    assert given < 0.6 * raw
    assert found.sentence(True).count("to the power") == 2


def test_a_head_that_can_not_be_corrected_says_so_for_itself():
    table = uneven()
    y = index.label_arrays(table, HAM)[1]
    columns = [f"p_coarse_{name}" for name in HAM.coarse]
    table[columns] = 0.5 * np.eye(len(HAM.coarse))[y] + 0.5 / len(HAM.coarse)  # never wrong
    found = calibrator.fit(table, HAM, TWO_HEADS)
    assert found.fine.shares
    assert not found.coarse.shares
    assert found.sentence(True).startswith("calibrated with temperature")
    assert "coarse head: no optimum within" in found.sentence(True)
    assert found.advice(True).startswith(calibrator.CORRECTED)


def test_equally_many_labels_a_class_are_a_balance_too():
    assert calibrator.is_balanced({})
    assert not calibrator.is_balanced(PLAIN)
    assert calibrator.is_balanced(PLAIN | {"labels_per_class": 10})
    assert calibrator.fit(uneven(), HAM, PLAIN | {"labels_per_class": 10}).fine.shares


@pytest.mark.parametrize("seed", range(3))
def test_without_anything_to_correct_the_temperature_stays_alone(seed):
    rng = np.random.default_rng(seed)
    table = fake_runs.records(n=4000, photos_a_lesion=1, shares=[1 / 7] * 7, seed=seed)
    table["split"] = "validation"
    table = table.sort_values("fine", kind="stable").groupby("fine").head(400)
    truth = index.label_arrays(table, HAM)[0]
    x = rng.normal(size=(len(table), 7)) + 1.5 * np.eye(7)[truth]
    table = predictions.table(table, softmax(TRUE * 1.5 * x, axis=1), None, HAM)
    assert calibrator.fit(table, HAM, {}) == calibrator.fit(table, HAM, PLAIN)  # equal shares


def test_what_is_said_follows_what_was_done():
    corrected = calibrator.fit(uneven(), HAM, {})
    assert corrected.sentence(True).startswith("calibrated with temperature ")
    assert "class shares of validation to the power" in corrected.sentence(True)
    assert corrected.advice(True) == calibrator.CORRECTED
    only = calibrator.fit(uneven(), HAM, PLAIN)
    assert only.sentence(True).startswith("tempered with temperature ")
    assert only.advice(True) == calibrator.BALANCED
    assert only.sentence(False).startswith("calibrated with temperature ")
    assert only.advice(False) == ""
    few = calibrator.fit(uneven(n=80), HAM, {})
    assert "only 20 labelled records" in few.sentence(True)
    assert few.advice(True) == calibrator.BALANCED
    assert few.advice(False) == ""


def test_independent_heads_have_a_temperature_each():
    table = drawn()
    columns = [f"p_coarse_{name}" for name in HAM.coarse]
    p = table[columns].to_numpy() ** 3
    table[columns] = p / p.sum(axis=1, keepdims=True)
    found = calibrator.fit(table, HAM, PLAIN | TWO_HEADS)
    assert found.fine == calibrator.fit(table, HAM, PLAIN).fine
    assert found.coarse.temperature > 1.2 * found.fine.temperature
    test = predictions.arrays_of(table, HAM, "test")
    _, coarse = found.apply(test.p_fine, test.p_coarse, HAM)
    np.testing.assert_array_equal(coarse.argmax(axis=1), test.p_coarse.argmax(axis=1))
    assert "coarse head: temperature" in found.sentence()


def certain(table):
    """Probabilities that are never wrong: the sharper, the better."""
    y = index.label_arrays(table, HAM)[0]
    return predictions.table(table, 0.5 * np.eye(7)[y] + 0.5 / 7, None, HAM)


@pytest.mark.parametrize(
    ("table", "concern"),
    [
        (lambda: drawn(n=60), "only 30 labelled records"),
        (lambda: drawn(splits=("test",)), "only 0 labelled records"),
        (lambda: certain(drawn()), "no optimum within the bounds of the search"),
        (lambda: drawn().assign(fine="nv", coarse="melanocytic"), "only one class"),
    ],
)
def test_a_temperature_that_can_not_be_trusted_is_one_and_says_why(table, concern):
    found = calibrator.fit(table(), HAM, PLAIN)
    assert found.fine.temperature == 1
    assert not found.changes
    assert concern in found.fine.concern
    assert concern in found.sentence()
    np.testing.assert_equal(found.fine.log_loss_after, found.fine.log_loss_before)


def test_it_comes_back_from_the_run_as_it_was(tmp_path):
    found = calibrator.write(tmp_path, uneven(), HAM, {})
    assert found.fine.shares
    assert calibrator.read(tmp_path) == found
    found = calibrator.write(tmp_path, drawn(), HAM, PLAIN)
    assert not found.fine.shares
    assert calibrator.read(tmp_path) == found
    stored = runs.read_json(tmp_path / "temperature.json")
    assert stored["fitted_on"] == "validation split of predictions.csv"
    assert stored["temperature"] == stored["optimum"]
    assert calibrator.read(tmp_path / "elsewhere") is None
    older = {key: value for key, value in stored.items() if key not in ("prior_power", "shares")}
    atomic_files.write_json(tmp_path / "temperature.json", older)
    assert calibrator.read(tmp_path) is None  # to be fitted anew
    for broken in (
        {**stored, "temperature": 0},
        {**stored, "temperature": None},
        {**stored, "prior_power": None},
        {**stored, "shares": [0.5, 0], "prior_power": 1.0},
        {**stored, "shares": [0.5, 0.5]},
        {"n": 3},
    ):
        atomic_files.write_json(tmp_path / "temperature.json", broken)
        with pytest.raises(UserError, match="no temperature of dermssl"):
            calibrator.read(tmp_path)


def test_the_calibration_of_another_run_is_refused(tmp_path):
    found = calibrator.write(tmp_path, uneven(), HAM, {})
    with pytest.raises(UserError, match="shares of 7 classes, but the run has 2"):
        found.apply(np.full((3, 2), 0.5), None, HAM)


def test_many_photos_of_few_lesions_are_few():
    """F13 of the audit: 12 lesions of 4 photos passed for 48 records and more."""
    table = drawn(n=480)
    table["lesion_id"] = [f"L{k // 8}" for k in range(480)]  # 240 validation photos of 60 lesions
    assert calibrator.fit(table, HAM, PLAIN).fine.concern == ""
    table["lesion_id"] = [f"L{k // 40}" for k in range(480)]
    found = calibrator.fit(table, HAM, PLAIN)
    assert found.fine.concern == "only 12 lesions in 240 labelled records"
    assert found.fine.temperature == 1
    assert "only 12 lesions in 240 labelled records" in found.sentence()

"""A run's temperature: fitted on validation alone, kept in the run, 1 where it can't be trusted."""

import fake_runs
import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from dermssl import runs
from dermssl.data import index
from dermssl.errors import UserError
from dermssl.evaluation import predictions, temperature

HAM = fake_runs.HAM
TRUE = 2.0  # of the labels below


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
    found = temperature.fit(table, HAM, "hierarchical")
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
    assert temperature.fit(other, HAM, "hierarchical") == found


def test_the_argmax_stays_and_coarse_is_still_the_sum_of_fine():
    table = drawn()
    found = temperature.fit(table, HAM, "hierarchical")
    test = predictions.arrays_of(table, HAM, "test")
    fine, coarse = found.apply(test.p_fine, test.p_coarse, HAM)
    assert found.changes
    np.testing.assert_array_equal(fine.argmax(axis=1), test.p_fine.argmax(axis=1))
    np.testing.assert_allclose(coarse, fine @ HAM.matrix, atol=1e-12)
    np.testing.assert_allclose(coarse.sum(axis=1), 1)


def test_independent_heads_have_a_temperature_each():
    table = drawn()
    columns = [f"p_coarse_{name}" for name in HAM.coarse]
    p = table[columns].to_numpy() ** 3
    table[columns] = p / p.sum(axis=1, keepdims=True)
    found = temperature.fit(table, HAM, "independent")
    assert found.fine == temperature.fit(table, HAM, "hierarchical").fine
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
    found = temperature.fit(table(), HAM, "hierarchical")
    assert found.fine.temperature == 1
    assert not found.changes
    assert concern in found.fine.concern
    assert concern in found.sentence()
    np.testing.assert_equal(found.fine.log_loss_after, found.fine.log_loss_before)


def test_it_comes_back_from_the_run_as_it_was(tmp_path):
    found = temperature.write(tmp_path, drawn(), HAM, "hierarchical")
    assert temperature.read(tmp_path) == found
    stored = runs.read_json(tmp_path / "temperature.json")
    assert stored["fitted_on"] == "validation split of predictions.csv"
    assert stored["temperature"] == stored["optimum"]
    assert temperature.read(tmp_path / "elsewhere") is None
    for broken in ({**stored, "temperature": 0}, {**stored, "temperature": None}, {"n": 3}):
        runs.write_json(tmp_path / "temperature.json", broken)
        with pytest.raises(UserError, match="no temperature of dermssl"):
            temperature.read(tmp_path)

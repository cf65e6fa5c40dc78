"""Leaving photos to a human: what the report says of sets and of errors by confidence."""

import fake_runs
import numpy as np
import pytest

from dermssl.core.study_settings import Evaluate
from dermssl.evaluation import conformal, predictions
from dermssl.studies.single_run import abstention

HAM = fake_runs.HAM


def measured(tmp_path, p=None, n=800, split="test", **settings):
    table = fake_runs.records(n=n)
    p = fake_runs.simulate(table, 1.8) if p is None else p(table)
    run = predictions.read(fake_runs.make(tmp_path / "run", table, p))
    arrays = run.arrays(split)
    found = abstention.measure(run, arrays, None, split, [], 50, Evaluate(**settings))
    return run, arrays, found


def test_sets_are_calibrated_on_validation_and_counted_on_test(tmp_path):
    run, arrays, found = measured(tmp_path)
    validation = run.arrays("validation")
    expected = conformal.calibrate(validation.p_fine, validation.y, validation.groups, 0.9)
    assert found.sets.thresholds == expected
    held = expected.sets(arrays.p_fine)[np.arange(len(arrays.y)), arrays.y]
    row = found.sets.by_class.iloc[0]
    assert row["coverage"] == pytest.approx(held.mean())
    assert row["size"] == pytest.approx(expected.sets(arrays.p_fine).sum(axis=1).mean())
    said = abstention.spoken(found, HAM)
    assert f"hold it in {held.mean():.3f} (" in said[0]
    assert said[0].startswith("Sets meant to hold the true class in 90% of the photos of each")


def test_classes_of_few_validation_lesions_are_in_every_set_and_said_so(tmp_path):
    _, _, found = measured(tmp_path, n=400)
    none = found.sets.thresholds.has_none
    assert none.any()
    assert not none.all()
    k = int(np.flatnonzero(none)[0])
    assert found.sets.by_class.iloc[1 + k]["coverage"] == 1
    said = abstention.spoken(found, HAM)[1]
    assert said.startswith("In every set, since validation has fewer than 9 of their lesions: ")
    assert f"{HAM.titles[k]} ({found.sets.thresholds.lesions[k]})" in said
    table = abstention.tables(found)["conformal_sets.csv"]
    assert table["validation_lesions"].tolist()[1:] == list(found.sets.thresholds.lesions)


def test_photos_of_classes_in_every_set_are_no_success(tmp_path):
    _, arrays, found = measured(tmp_path, n=400)
    held = int(found.sets.thresholds.has_none[arrays.y].sum())
    said = abstention.spoken(found, HAM)[1]
    assert f"{held:,} of the {len(arrays.y):,} photos are of these classes, and held for" in said


def test_too_few_lesions_of_any_class_make_no_sets(tmp_path):
    _, _, found = measured(tmp_path, n=80)
    assert abstention.spoken(found, HAM)[0] == (
        "No class has the 9 validation lesions that sets of 90% need: there are none."
    )
    section = abstention.section(found, HAM, "lesion")
    assert "Table" not in {type(block).__name__ for block in section.blocks}


def test_more_coverage_asks_for_larger_sets(tmp_path):
    _, _, low = measured(tmp_path, coverage=0.75)
    _, _, high = measured(tmp_path, coverage=0.95)
    assert low.sets.by_class.iloc[0]["size"] < high.sets.by_class.iloc[0]["size"]


def test_the_validation_split_has_no_sets(tmp_path):
    _, _, found = measured(tmp_path, split="validation")
    assert found.sets is None
    assert list(abstention.tables(found)) == ["risk_coverage.csv"]
    assert abstention.summary(found, HAM)["conformal"] is None


def test_a_sure_model_errs_less_where_it_is_sure(tmp_path):
    _, arrays, found = measured(tmp_path)
    wrong = arrays.p_fine.argmax(axis=1) != arrays.y
    sure = np.argsort(-arrays.p_fine.max(axis=1), kind="stable")[: len(wrong) // 2]
    half = found.curve.table.query("coverage == 0.5")["risk"].item()
    assert half == pytest.approx(wrong[sure].mean())
    said = abstention.spoken(found, HAM)[-1]
    assert f"the model is wrong in {half:.3f} (" in said
    assert f"against {wrong.mean():.3f} of all (area under the curve 0." in said


def test_a_confidence_that_says_nothing_is_told(tmp_path):
    _, _, found = measured(tmp_path, p=lambda table: np.full((len(table), 7), 1 / 7))
    assert abstention.spoken(found, HAM)[-1].endswith("isn't shown to tell errors.")

"""One prediction a lesion: the mean of its photos."""

import fake_runs
import numpy as np
import pytest
from sklearn import metrics as sk

from dermssl import evaluate
from dermssl.core.study_settings import Evaluate
from dermssl.evaluation.predictions import Arrays
from dermssl.studies.single_run import lesion_level

HAM = fake_runs.HAM


def photos(seed=0, n=40):
    rng = np.random.default_rng(seed)
    lesions = rng.integers(0, n // 2, n)
    y = rng.integers(0, 7, n)[lesions]
    p = rng.dirichlet(np.ones(7), n)
    return Arrays(y, HAM.parent_index[y], p, p @ HAM.matrix, lesions.astype(str)), lesions


def test_a_lesion_has_the_mean_of_its_photos():
    arrays, lesions = photos()
    whole, counts, contradicting = lesion_level.by_lesion(arrays, lesions)
    order = list(dict.fromkeys(lesions))
    assert contradicting == 0
    assert counts.sum() == 40
    for k, lesion in enumerate(order):
        own = lesions == lesion
        np.testing.assert_allclose(whole.p_fine[k], arrays.p_fine[own].mean(axis=0))
        np.testing.assert_allclose(whole.p_coarse[k], arrays.p_coarse[own].mean(axis=0))
        assert {whole.y[k]} == set(arrays.y[own])
        assert whole.groups[k] == str(lesion)


def test_unknown_labels_follow_the_lesion_and_contradictions_are_left_out():
    arrays, _ = photos(n=6)
    y = np.array([2, -1, 3, 4, -1, -1])
    arrays = arrays._replace(y=y, y_coarse=np.where(y < 0, -1, HAM.parent_index[y]))
    whole, counts, contradicting = lesion_level.by_lesion(arrays, np.array(list("aabbcd")))
    assert whole.y.tolist() == [2, -1, -1]
    assert counts.tolist() == [2, 1, 1]
    assert contradicting == 1


def test_one_photo_a_lesion_has_no_second_level():
    arrays, _ = photos()
    assert lesion_level.score(arrays, np.arange(40), HAM, 20, Evaluate()) is None


def test_the_report_has_both_levels(tmp_path, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    table = fake_runs.records(n=400)
    p = fake_runs.simulate(table, 1.5)
    out = evaluate(fake_runs.make(tmp_path / "run", table, p), n_resamples=50)
    found = out.json("metrics.json")
    test = (table["split"] == "test").to_numpy()
    y = table["fine"][test].map(HAM.fine.index).to_numpy().reshape(-1, 2)[:, 0]
    mean = p[test].astype(float).reshape(-1, 2, 7).mean(axis=1)
    mean /= mean.sum(axis=1, keepdims=True)
    entry = found["by_lesion"]
    assert (entry["n"], entry["n_several"]) == (100, 100)
    by_lesion = {name: one["estimate"] for name, one in entry["metrics"].items()}
    assert by_lesion["fine_accuracy"] == pytest.approx((mean.argmax(axis=1) == y).mean())
    assert by_lesion["log_loss"] == pytest.approx(sk.log_loss(y, mean), abs=1e-6)
    # Independent photos of one lesion tell more together.
    assert by_lesion["log_loss"] < found["metrics"]["log_loss"]["estimate"]
    assert "## One prediction a lesion" in out.report
    assert "100 lesions of 100 have several photos." in out.report


def test_photos_without_ids_have_no_such_section(tmp_path, monkeypatch):
    fake_runs.no_pictures(monkeypatch)
    table = fake_runs.records(n=200, ids=False)
    out = evaluate(
        fake_runs.make(tmp_path / "run", table, fake_runs.simulate(table, 1.5)), n_resamples=20
    )
    assert out.json("metrics.json")["by_lesion"] is None
    assert "One prediction a lesion" not in out.report

"""What the stress test says: a model with nothing to lose gets no praise for losing nothing."""

import fake_runs
import numpy as np
import pytest

from dermssl.studies.stress import scores as shortcuts
from dermssl.studies.stress import wording


def said(skill):
    table = fake_runs.records(n=300)
    y = np.array([fake_runs.HAM.fine.index(name) for name in table["fine"]])
    clean = fake_runs.simulate(table, skill).astype(float)
    blind = fake_runs.simulate(table, 0.0, seed=3).astype(float)
    p = {"clean": clean, "hair": clean, "lesion_erased": blind}
    groups = table["lesion_id"].to_numpy()
    scores = shortcuts.score(y, p, groups, fake_runs.HAM, "clean", 100)
    return wording.findings(scores, y, p), scores[0].balanced_accuracy.estimate


@pytest.mark.parametrize("skill", [0.0, -0.7])  # at chance, and below it
def test_at_chance_the_test_can_say_nothing(skill):
    found, estimate = said(skill)
    assert found[0].startswith("The clean score isn't shown to be above chance (balanced accuracy ")
    assert f" {estimate:.3f} (0." in found[0]
    assert "chance 0.143), so this test can say nothing about what the model relies on" in found[0]
    assert not [text for text in found if "No drop" in text or "no shortcut" in text]


def noted(**made):
    table = fake_runs.records(n=300)
    y = np.array([fake_runs.HAM.fine.index(name) for name in table["fine"]])
    groups = table["lesion_id"].to_numpy(dtype=object)
    p = {"clean": fake_runs.simulate(table, 1.0).astype(float)}
    scores = shortcuts.score(y, p, groups, fake_runs.HAM, "clean", 100)
    usual = {"augmentation": "skin", "preprocess": [], "split": "test", "n_groups": 150,
             "agreement": 0.0}  # fmt: skip
    groups = made.pop("groups", groups)
    unit = made.pop("unit", "lesion")
    return " ".join(wording.notes({**usual, **made}, scores, y, groups, fake_runs.HAM, unit))


def test_what_is_noted():
    assert "draws the same" not in noted()
    assert "go through" not in noted()
    assert "the augmentation skin_artefacts, which draws" in noted(augmentation="skin_artefacts")
    steps = ["lesion_crop", "hair_removal"]
    assert "The photos go through hair_removal after" in noted(preprocess=steps)
    assert "go through" not in noted(preprocess=["lesion_crop"])
    assert "neither patient nor lesion ids" in noted(unit="photo")
    assert "fewer than 5 independent records" not in noted()
    few = noted(groups=np.zeros(300, dtype=object), n_groups=1)
    assert "Only 1 independent lesion: intervals" in few
    assert "fewer than 5 independent records" in few


def test_above_chance_ties_are_told():
    found, _ = said(3.0)
    assert (
        found[0] == "No drop in balanced accuracy found (the interval holds 0, a tie) under: hair."
    )
    assert "no shortcut was shown" in found[-1]
    assert not [text for text in found if "can say nothing" in text]

"""What the stress test says: a model with nothing to lose gets no praise for losing nothing."""

import fake_runs
import numpy as np
import pytest

from dermssl.evaluation.interval import Interval
from dermssl.studies.stress import scores as shortcuts
from dermssl.studies.stress import wording
from dermssl.studies.stress.scores import Score


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


def scored(name, drop, level=0.9975, sensitivity=None, **entries):
    return Score(
        name, Interval(0.5, 0.4, 0.6), Interval(*drop, level, 5000), Interval(0.3, 0.2, 0.4),
        sensitivity_drop=sensitivity and Interval(*sensitivity, level, 5000), **entries,
    )  # fmt: skip


FAMILY = "99.75% interval, one of the 4 of this report, which hold together at 95%"


def test_every_sentence_on_a_drop_names_its_family():
    clean = Score("clean", Interval(0.9, 0.85, 0.95))
    hair = scored("hair", (0.05, 0.02, 0.08), sensitivity=(0.1, 0.05, 0.2), gains="nv", gain=0.1)
    ruler = scored("ruler", (0.01, -0.01, 0.03), sensitivity=(0.0, -0.1, 0.1))
    y = np.arange(40) % 2
    p = {name: np.eye(2)[y] for name in ("clean", "hair", "ruler", "background_only")}
    assert wording.findings([clean, hair, ruler], y, p) == [
        f"With hair drawn, balanced accuracy is lower by 0.050 (0.020 to 0.080; {FAMILY}); 30% of "
        "the predictions change, most towards nv (+10% of all photos).",
        f"No drop in balanced accuracy is shown under: ruler (−0.010 to 0.030) ({FAMILY}; what "
        "lies in an interval is not ruled out).",
        f"Malignant sensitivity (likeliest class) is lower with hair drawn by 0.100 (0.050 to "
        f"0.200) ({FAMILY}).",
    ]


def test_a_higher_score_is_told_with_an_interval_of_its_size():
    clean = Score("clean", Interval(0.9, 0.85, 0.95))
    y = np.arange(40) % 2
    scores = [clean, scored("lesion_only", (-0.05, -0.08, -0.02), 0.95)]
    found = wording.findings(scores, y, {"clean": np.eye(2)[y], "background_only": np.eye(2)[y]})
    assert found[0].startswith(
        "With the lesion alone, on a plain ground, balanced accuracy is higher by 0.050 (0.020 to "
        "0.080; 95% interval, the one comparison of this report)"
    )


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
    assert "Each artefact was drawn once on each photo" in noted()
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
    assert found[0] == "No prediction changes under: hair."
    assert "no shortcut was shown" in found[-1]
    assert not [text for text in found if "can say nothing" in text]

"""The sentence on label efficiency follows from the intervals by rule, and names its basis."""

import math

import pytest

from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import FinetuneRun, RunGroup
from dermssl.studies.label_efficiency import compute, wording

COUNTS = {"n": 412, "n_fine": 412, "n_coarse": 412, "n_groups": 301, "grouped_by": "lesion"}
BETTER = Interval(0.12, 0.05, 0.19, 0.9875)
TIE = Interval(0.01, -0.03, 0.05, 0.9875)
WORSE = Interval(-0.1, -0.16, -0.04, 0.9875)
UNDEFINED = Interval(math.nan, math.nan, math.nan, 0.9875)
LABELS = (52, 260, 520, 5219)


def model(arm, n):
    config = {"finetune": {"labels_per_class": 10}}
    members = tuple(
        FinetuneRun(None, {"n_labels": n, "seed": seed, "config": config}, None, None, None)
        for seed in (0, 1, 2)
    )
    return RunGroup(arm, n, members)


def steps(*joint, n_seeds=3):
    return [
        compute.LabelCountDifference(model("ssl", n), model("random", n), n_seeds, each, each)
        for n, each in zip(LABELS, joint)
    ]


def say(*joint, **options):
    return wording.verdict(steps(*joint, **options), COUNTS, "test", "balanced accuracy")


def test_golden_sentence_of_a_clear_win_below_n():
    assert say(BETTER, BETTER, TIE, TIE) == (
        "SimCLR is worth it below N labels against random init, where N is above 260 (with 520 "
        "and 5,219 labels no difference found): with 52 labels +0.12 (0.05 to 0.19), better; with "
        "260 labels +0.12 (0.05 to 0.19), better; with 520 labels +0.01 (−0.03 to 0.05), no "
        "difference found; with 5,219 labels +0.01 (−0.03 to 0.05), no difference found. "
        "Differences in balanced accuracy on 412 test photos of 301 lesions, 3 seeds, paired by "
        "seed, split and labels; one interval a number of labels, each at 98.8%, so that all 4 "
        "hold together with 95%; 3 seeds understate the luck of training."
    )


@pytest.mark.parametrize(
    ("joint", "finding"),
    [
        ((TIE, TIE, TIE, TIE), "No difference found between SimCLR and random init at any of the "
         "numbers of labels tried, 52 to 5,219: "),
        ((BETTER,) * 4, "SimCLR is worth it against random init at any of the numbers of labels "
         "tried, 52 to 5,219: "),
        ((BETTER, TIE, WORSE, WORSE), "SimCLR is worth it below N labels against random init, "
         "where N lies between 52 (better) and 520 (worse), and worse with 520 "
         "and 5,219 labels: "),
        ((BETTER, WORSE, WORSE, WORSE), "SimCLR is worth it below N labels against random init, "
         "where N lies between 52 (better) and 260 (worse), and worse with 260, 520 and 5,219 "
         "labels: "),
        ((TIE, BETTER, WORSE), "SimCLR beats random init with 260 labels, but is worse with 520 "
         "labels, and not better with fewer (52), so no number of labels can be named below "
         "which it is worth it: "),
        ((WORSE, BETTER), "SimCLR beats random init with 260 labels, but is worse with 52 labels, "
         "so no number"),
        ((WORSE,) * 4, "SimCLR is not worth it against random init, and worse with 52, 260, 520 "
         "and 5,219 labels: "),
        ((TIE, TIE, WORSE, TIE), "SimCLR is not worth it against random init, and worse with 520 "
         "labels: "),
        ((TIE, BETTER, TIE, BETTER), "SimCLR beats random init with 260 and 5,219 labels, but not "
         "with fewer (52 and 520), so no number of labels can be named below which it is "
         "worth it: "),
        ((BETTER, TIE, BETTER, TIE), "SimCLR beats random init with 52 and 520 labels, but not "
         "with fewer (260), so no number"),
        ((UNDEFINED, BETTER, TIE, TIE), "SimCLR is worth it below N labels against random init, "
         "where N is above 260 (with 520 and 5,219 labels no difference found): with 52 "
         "labels n/a, nothing can be said; "),
        ((UNDEFINED,) * 4, "Nothing can be said of SimCLR against random init: "),
        ((BETTER,), "SimCLR is worth it against random init at the one number of labels tried, "
         "52: "),
        ((TIE,), "No difference found between SimCLR and random init at the one number of labels "
         "tried, 52: "),
    ],
)  # fmt: skip
def test_findings(joint, finding):
    said = say(*joint)
    assert said.startswith(finding)
    assert said.count("below N labels") <= 1
    assert "\n" not in said


@pytest.mark.parametrize("low", [-0.2, -1e-9, 0.0])
def test_worth_it_needs_an_interval_without_zero(low):
    assert say(Interval(0.2, low, 0.4)).startswith("No difference found")


def test_the_basis_is_told():
    assert "a 95% interval" in say(Interval(0.12, 0.05, 0.19))
    assert "together" not in say(Interval(0.12, 0.05, 0.19))
    assert "variation of training isn't covered" in say(BETTER, TIE, n_seeds=1)
    lone = [
        *steps(BETTER),
        compute.LabelCountDifference(model("ssl", 99), model("random", 99), 0, None, None),
    ]
    said = wording.verdict(lone, COUNTS, "test", "balanced accuracy")
    assert "with 99 labels they share no seed" in said
    assert "0 to 3 seeds" in said


def test_a_difference_near_chance_is_warned_of():
    low, high = Interval(0.05, 0.01, 0.2), Interval(0.4, 0.3, 0.5)
    tried = steps(BETTER, BETTER, TIE, UNDEFINED)
    scores = zip((high, low, low, low), (low, high, low, low))
    found = {
        (arm, n): each
        for n, both in zip(LABELS, scores)
        for arm, each in zip(("ssl", "random"), both)
    }
    said = wording.near_chance(tried, found, 0.143)
    assert said == [
        "With 52 labels, SimCLR is ahead of random init, 0.050 (0.010 to 0.200), which is no "
        "better than a guess, 0.143.",
        "With 260 labels, SimCLR, 0.050 (0.010 to 0.200), is ahead, but not shown to be above a "
        "guess, 0.143.",
        "With 520 labels, neither SimCLR, 0.050 (0.010 to 0.200), nor random init, 0.050 (0.010 "
        "to 0.200), is shown to be above a guess, 0.143: their difference tells little.",
    ]


def test_the_level_of_several_intervals():
    assert compute.joint_level(1) == pytest.approx(0.95)
    assert compute.joint_level(5) == pytest.approx(0.99)

"""The sentence on label efficiency follows from the intervals by rule, and names its basis."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dermssl.evaluation.contrasts import Contrast
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import FinetuneRun, RunGroup
from dermssl.studies.label_efficiency import wording

COUNTS = {"n": 412, "n_fine": 412, "n_coarse": 412, "n_groups": 301, "grouped_by": "lesion"}
BETTER = Interval(0.12, 0.05, 0.19)
OPEN = Interval(0.01, -0.03, 0.05)
WORSE = Interval(-0.1, -0.16, -0.04)
EQUAL = Interval(0.001, -0.012, 0.014)
UNDEFINED = Interval(math.nan, math.nan, math.nan)
SAME = replace(UNDEFINED, estimate=0.0, record_variance=0.0)
LABELS = (52, 260, 520, 5219)


def model(arm, n, start, n_runs=3):
    config = {"finetune": {"labels_per_class": 10}}
    members = tuple(
        FinetuneRun(
            None,
            {"n_labels": n, "seed": seed, "pretraining_start": "none",
             "config": config | {"backbone": {"weights": start.format(seed)}}},
            None, None, None,
        )
        for seed in range(n_runs)
    )  # fmt: skip
    return RunGroup(arm, n, members)


def steps(*found, labels=LABELS, runs=None, start="outputs/pretrain_{}", planned=(), margin=0.0):
    """Contrasts of SimCLR against random init whose intervals are given, one a number of labels."""
    made = []
    for place, (n, each) in enumerate(zip(labels, found)):
        n_runs = runs[place] if runs else (3, 3)
        sides = [SimpleNamespace(n_runs=k, sample=np.arange(k)) for k in n_runs]
        difference = SimpleNamespace(
            a=sides[0], b=sides[1], interval=lambda level, each=each: replace(each, level=level)
        )
        is_planned = n in planned
        family = 1 if is_planned else len(found) - len(planned)
        models = model("ssl", n, start, n_runs[0]), model("random", n, "none", n_runs[1])
        made.append(Contrast(*models, difference, family, margin, is_planned))
    return made


def say(*found, **options):
    return wording.verdict(steps(*found, **options), COUNTS, "test")


def test_golden_sentence():
    assert say(BETTER, BETTER, OPEN, OPEN) == (
        "Against random init, SimCLR is better with 52 and 260 labels; not told apart with 520 and "
        "5,219 labels (differences up to 0.05 aren't ruled out). Where that ends can't be said: "
        "with 52 labels +0.12 (0.05 to 0.19), better; with 260 labels +0.12 (0.05 to 0.19), "
        "better; with 520 labels +0.01 (−0.03 to 0.05), not told apart; with 5,219 labels +0.01 "
        "(−0.03 to 0.05), not told apart. Differences in balanced accuracy on 412 test photos of "
        "301 lesions, 3 runs each; 98.8% intervals, of 4 comparisons that hold together with 95%."
    )


OPEN_BOUND = "(differences up to 0.05 aren't ruled out)"
ENDS = "Where that ends lies between"
UNKNOWN = "Where that ends can't be said"


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        # S1 of the audit: better, then not told apart, with the larger estimate
        ((BETTER, Interval(0.09, -0.01, 0.19), Interval(0.06, -0.01, 0.12)),
         "Against random init, SimCLR is better with 52 labels; not told apart with 260 and 520 "
         f"labels (differences up to 0.19 aren't ruled out). {UNKNOWN}: "),
        # S2: not told apart, then worse
        ((Interval(0.1, -0.01, 0.2), OPEN, Interval(-0.02, -0.039, -0.001)),
         "Against random init, SimCLR is worse with 520 labels; not told apart with 52 and 260 "
         "labels (differences up to 0.20 aren't ruled out): "),
        # S3: better everywhere
        ((BETTER,) * 4, "Against random init, SimCLR is better with 52, 260, 520 and 5,219 "
         "labels: "),
        # S4: worse, then better
        ((WORSE, OPEN, BETTER), "Against random init, SimCLR is better with 520 labels and worse "
         f"with 52 labels; not told apart with 260 labels {OPEN_BOUND}: "),
        ((WORSE, BETTER), "Against random init, SimCLR is better with 260 labels and worse with 52 "
         "labels: "),
        ((OPEN,) * 4, "SimCLR and random init are not told apart with 52, 260, 520 and 5,219 "
         f"labels {OPEN_BOUND}: "),
        ((BETTER, OPEN, WORSE, WORSE), "Against random init, SimCLR is better with 52 labels and "
         f"worse with 520 and 5,219 labels; not told apart with 260 labels {OPEN_BOUND}. {ENDS} 52 "
         "and 520 labels: "),
        ((BETTER, BETTER, WORSE), "Against random init, SimCLR is better with 52 and 260 labels "
         f"and worse with 520 labels. {ENDS} 260 and 520 labels: "),
        ((OPEN, BETTER, WORSE), "Against random init, SimCLR is better with 260 labels and worse "
         f"with 520 labels; not told apart with 52 labels {OPEN_BOUND}. {ENDS} 260 and 520 "
         "labels: "),
        ((BETTER, WORSE, BETTER), "Against random init, SimCLR is better with 52 and 520 labels "
         "and worse with 260 labels: "),
        ((OPEN, BETTER), "Against random init, SimCLR is better with 260 labels; not told apart "
         f"with 52 labels {OPEN_BOUND}: "),
        ((WORSE,) * 2, "Against random init, SimCLR is worse with 52 and 260 labels: "),
        ((UNDEFINED, BETTER, OPEN), "Against random init, SimCLR is better with 260 labels; not "
         f"told apart with 520 labels {OPEN_BOUND}. {UNKNOWN}: with 52 labels nothing can be "
         "said; with 260 labels"),
        ((BETTER, UNDEFINED, SAME), f"Against random init, SimCLR is better with 52 labels. "
         f"{UNKNOWN}: with 52 labels +0.12 (0.05 to 0.19), better; with 260 labels nothing can be "
         "said; with 520 labels the same answers. "),
        ((UNDEFINED,) * 2, "Nothing can be said of SimCLR against random init, since there are too "
         "few records for it: with 52 labels nothing can be said; "),
        ((SAME,) * 2, "Nothing can be said of SimCLR against random init, since both gave the same "
         "answers: with 52 labels the same answers; "),
        ((BETTER,), "Against random init, SimCLR is better with 52 labels: "),
    ],
)  # fmt: skip
def test_findings(found, finding):
    said = say(*found)
    assert said.startswith(finding)
    assert "worth" not in said  # without a margin
    assert "equivalent" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("found", "finding"),
    [
        ((BETTER, BETTER, EQUAL), "Against random init, SimCLR is worth it (better by more than "
         "0.02) with 52 and 260 labels; equivalent within 0.02 with 520 labels. Where that ends "
         "lies between 260 and 520 labels: "),
        ((Interval(0.03, 0.01, 0.05), WORSE), "Against random init, SimCLR is better (by more than "
         "0.02 isn't shown) with 52 labels and worse with 260 labels. Where that ends lies between "
         "52 and 260 labels: "),
        ((BETTER, Interval(0.03, 0.01, 0.05), OPEN), "Against random init, SimCLR is worth it "
         "(better by more than 0.02) with 52 labels and better (by more than 0.02 isn't shown) "
         "with 260 labels; not told apart with 520 labels (differences up to 0.05 aren't ruled "
         "out). Where that ends can't be said: "),
        ((EQUAL, EQUAL), "SimCLR and random init are equivalent within 0.02 with 52 and 260 "
         "labels: with 52 labels +0.00 (−0.01 to 0.01), equivalent within 0.02; "),
        ((EQUAL, OPEN), "SimCLR and random init are equivalent within 0.02 with 52 labels; not "
         "told apart with 260 labels (differences up to 0.05 aren't ruled out): "),
    ],
)  # fmt: skip
def test_findings_with_a_margin(found, finding):
    assert say(*found, margin=0.02).startswith(finding)


@pytest.mark.parametrize("low", [-0.2, -1e-9, 0.0])
def test_better_needs_an_interval_without_zero(low):
    assert say(Interval(0.2, low, 0.4)).startswith("SimCLR and random init are not told apart with")


def test_one_run_an_arm_gives_no_verdict():
    assert say(BETTER, WORSE, runs=[(1, 1), (1, 1)]) == (
        "Nothing can be said of SimCLR against random init, since one run of an arm shows nothing "
        "of its way of training: with 52 labels +0.12 (0.05 to 0.19) over lesions alone, one run "
        "each, so no verdict; with 260 labels −0.10 (−0.16 to −0.04) over lesions alone, one run "
        "each, so no verdict. Differences in balanced accuracy on 412 test photos of 301 lesions, "
        "1 run each; 97.5% intervals, of 2 comparisons that hold together with 95%."
    )
    said = say(BETTER, BETTER, margin=0.02, runs=[(3, 3), (1, 3)])
    assert said.startswith(
        "Against random init, SimCLR is worth it (better by more than 0.02) with 52 labels. Where "
        "that ends can't be said: "
    )
    assert "with 260 labels +0.12 (0.05 to 0.19) over lesions alone, one run of an arm, so" in said
    assert ", at least 1 run against 3;" in said


def test_one_pretraining_run_speaks_of_itself_alone():
    one = {"start": "outputs/pretrain"}
    said = say(BETTER, OPEN, **one)
    assert said.startswith("Against random init, this pretraining run of SimCLR is better with 52")
    assert say(OPEN, **one).startswith("This pretraining run of SimCLR and random init are not")
    said = say(EQUAL, margin=0.02, **one)
    assert said.startswith("This pretraining run of SimCLR and random init are equivalent within")
    assert "of this pretraining run of SimCLR against" in say(UNDEFINED, **one)


def test_the_basis_is_told():
    assert say(BETTER).endswith(", 3 runs each; 95% interval, the one comparison here.")
    assert ", 2 runs against 3; 95% interval" in say(BETTER, runs=[(2, 3)])
    assert ", at least 2 runs each; " in say(BETTER, OPEN, runs=[(3, 3), (2, 2)])
    assert say(BETTER, OPEN, WORSE, planned=(260,)).endswith(
        "; the planned comparison (260 labels) at 95%; 97.5% intervals, of 2 comparisons that hold "
        "together with 95%."
    )
    assert say(BETTER, OPEN, planned=(260,)).endswith(
        "; the planned comparison (260 labels) at 95%; 95% interval, the one other comparison here."
    )
    assert say(OPEN, planned=(52,)).endswith("; the planned comparison (52 labels) at 95%.")


def test_one_label_is_not_labels():
    said = say(BETTER, OPEN, labels=(1, 1000))
    assert "is better with 1 label; not told apart with 1,000 labels (" in said
    assert ": with 1 label +0.12 (" in said


def test_a_small_bound_is_not_rounded_to_nothing():
    said = say(Interval(0.0, -0.003, 0.004))
    assert "(differences up to 0.004 aren't ruled out): with 52 labels 0.000 (−0.003 to 0.004)" in (
        said
    )


def test_a_difference_near_chance_is_warned_of():
    low, high = Interval(0.05, 0.01, 0.2), Interval(0.4, 0.3, 0.5)
    tried = steps(BETTER, BETTER, OPEN, UNDEFINED)
    scores = zip((high, low, low, low), (low, high, low, low))
    found = {
        (arm, n): each
        for n, both in zip(LABELS, scores)
        for arm, each in zip(("ssl", "random"), both)
    }
    said = wording.near_chance(tried, found, 0.143)
    assert said == [
        "With 52 labels, SimCLR is ahead of random init, 0.050 (0.010 to 0.200), which isn't shown "
        "to be better than a guess, 0.143.",
        "With 260 labels, SimCLR, 0.050 (0.010 to 0.200), is ahead, but not shown to be above a "
        "guess, 0.143.",
        "With 520 labels, neither SimCLR, 0.050 (0.010 to 0.200), nor random init, 0.050 (0.010 "
        "to 0.200), is shown to be above a guess, 0.143: their difference tells little.",
    ]

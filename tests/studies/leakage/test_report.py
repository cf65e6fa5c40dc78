"""What the leakage report says: the size and its interval have the same sign."""

import pytest

from dermssl.evaluation.interval import Interval
from dermssl.studies.leakage import report

SETTINGS = {"unit": "lesion", "seeds": [0, 1, 2]}


def said(estimate, low, high):
    nan = float("nan")
    row = {
        "subset": "all", "metric": "balanced_accuracy", "n": 300,
        "clean": Interval(0.5, 0.4, 0.6), "leaky": Interval(0.5 + estimate, nan, nan),
        "inflation": Interval(estimate, low, high),
    }  # fmt: skip
    return report.sentence(row, SETTINGS)


def test_a_lower_score_is_told_with_an_interval_of_its_size():
    assert said(-0.03, -0.05, -0.01) == (
        "Over all (300 lesions, 3 seeds), with twins in training balanced accuracy is lower by "
        "0.030 (95% interval 0.010 to 0.050)."
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.03, 0.01, 0.05), "a leaky split inflates balanced accuracy by 0.030 (95% interval "
         "0.010 to 0.050): 0.530 instead of 0.500."),
        ((0.01, -0.01, 0.03), "no inflation of balanced accuracy is shown: 0.010 (95% interval "
         "−0.010 to 0.030), an interval that holds 0."),
        ((0.01, float("nan"), float("nan")), "nothing can be said of balanced accuracy"),
    ],
)  # fmt: skip
def test_the_other_verdicts(values, words):
    assert words in said(*values)

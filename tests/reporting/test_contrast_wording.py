"""The words on a comparison follow from its interval, runs and margin, and say no more."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dermssl.evaluation.contrasts import Contrast
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import FinetuneRun, RunGroup
from dermssl.reporting import contrast_wording

COUNTS = {"n": 412, "n_fine": 412, "n_coarse": 412, "n_groups": 301, "grouped_by": "lesion"}
BASIS = "3 runs each, 412 test photos of 301 lesions"
NO_RESULT = Interval(math.nan, math.nan, math.nan)


class Arm:
    """Stands for `SeedDraws`: the scores of some runs."""

    def __init__(self, n_runs):
        self.n_runs, self.sample = n_runs, np.arange(n_runs) / 100

    def merged(self):
        return self


def model(arm, n_labels=70, labels=None, seeds=(0, 1, 2), starts=("none",)):
    config = {"finetune": {"labels_per_class": 10}}
    members = tuple(
        FinetuneRun(
            None,
            {
                "n_labels": n_labels, "seed": seed,
                "config": {**config, "backbone": {"weights": starts[k % len(starts)]}},
                "pretraining_start": "none",
            },
            None, None, None,
        )
        for k, seed in enumerate(seeds)
    )  # fmt: skip
    return RunGroup(arm, labels or n_labels, members)


def contrast(interval, runs=(3, 3), one_sided=None, starts=("p0", "p1", "p2"), **options):
    """A contrast whose intervals are given."""
    labels = {key: options.pop(key) for key in ("n_labels", "labels") if key in options}
    intervals = {0.95: interval}

    def at(level):
        given = intervals.get(round(level, 3), one_sided or interval)
        return replace(given, level=round(level, 3))

    difference = SimpleNamespace(interval=at, a=Arm(runs[0]), b=Arm(runs[1]))
    a = model("ssl", seeds=range(runs[0]), starts=starts, **labels)
    return Contrast(a, model("random", seeds=range(runs[1]), **labels), difference, **options)


def say(interval, counts=COUNTS, **options):
    return contrast_wording.sentence(contrast(interval, **options), counts, "test")


@pytest.mark.parametrize(
    ("interval", "options", "sentence"),
    [
        (
            Interval(0.21, 0.15, 0.27), {},
            "With 70 labels, SimCLR beats random init by 0.21 balanced accuracy (95% interval 0.15 "
            f"to 0.27 of the difference, the one comparison of this report; {BASIS}).",
        ),
        (
            Interval(0.02, -0.02, 0.05), {},
            "With 70 labels, SimCLR and random init are not told apart in balanced accuracy: "
            "differences up to 0.05 aren't ruled out (95% interval −0.02 to 0.05 of the "
            f"difference, the one comparison of this report; {BASIS}).",
        ),
        (
            Interval(-0.08, -0.12, -0.03), {"is_planned": True},
            "With 70 labels, SimCLR is worse than random init by 0.08 balanced accuracy (95% "
            "interval −0.12 to −0.03 of the difference, the comparison that was planned; "
            f"{BASIS}).",
        ),
        (
            Interval(0.002, -0.01, 0.012), {"margin": 0.02},
            "With 70 labels, SimCLR and random init are equivalent within 0.02 balanced accuracy "
            "(two one-sided tests: 90% interval −0.01 to 0.01 of the difference; the one "
            f"comparison of this report; {BASIS}).",
        ),
        (
            NO_RESULT, {},
            "With 70 labels, nothing can be said of SimCLR against random init: the difference in "
            "balanced accuracy has no defined interval; too few records for it (the one "
            f"comparison of this report; {BASIS}).",
        ),
        (
            Interval(0.05, 0.01, 0.09), {"runs": (1, 1)},
            "With 70 labels, one run each: on these 412 test photos of 301 lesions, this run of "
            "SimCLR scored 0.05 more balanced accuracy than this run of random init (95% interval "
            "0.01 to 0.09 over lesions alone). Another training run may turn it round; nothing is "
            "said of the two starts.",
        ),
        (
            Interval(-0.05, -0.09, -0.01), {"runs": (1, 3)},
            "With 70 labels, one run of SimCLR only: on these 412 test photos of 301 lesions, this "
            "run of SimCLR scored 0.05 less balanced accuracy than the mean of 3 runs of random "
            "init (95% interval −0.09 to −0.01 over lesions alone). Another training run may turn "
            "it round; nothing is said of the two starts.",
        ),
        (
            replace(NO_RESULT, estimate=0.0, record_variance=0.0), {},
            "With 70 labels, SimCLR and random init gave the same answers in every run: how far "
            "they would differ elsewhere can't be told.",
        ),
    ],
)  # fmt: skip
def test_golden_sentences(interval, options, sentence):
    assert say(interval, **options) == sentence


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (Interval(0.05, 0.03, 0.07), ", and is worth it: by more than the margin of 0.02"),
        (Interval(0.05, 0.01, 0.09), "that it is more than the margin of 0.02 isn't shown"),
        (Interval(0.01, 0.004, 0.016), ", by less than the margin of 0.02"),
        (Interval(-0.05, -0.07, -0.03), ", by more than the margin of 0.02"),
        (Interval(0.01, -0.01, 0.05), "SimCLR isn't worse by the margin of 0.02 or more"),
    ],
)
def test_with_a_margin_its_size_is_judged(interval, says):
    assert says in say(interval, margin=0.02)
    assert "worth" not in say(interval)
    assert "margin" not in say(interval)


def test_equivalence_goes_by_the_one_sided_interval():
    wide, narrow = Interval(0.0, -0.024, 0.024), Interval(0.0, -0.019, 0.019)
    assert "are equivalent within 0.02" in say(wide, margin=0.02, one_sided=narrow)
    assert "are not told apart" in say(wide, margin=0.02)


def test_a_family_is_named_and_widens_its_level():
    one = contrast(Interval(0.1, 0.05, 0.15), family=3)
    assert one.level == pytest.approx(0.98333, abs=1e-5)
    said = contrast_wording.sentence(one, COUNTS, "test")
    assert "98.3% interval" in said
    assert "one of 3 comparisons that hold together with 95%" in said


def test_one_pretraining_run_is_called_one():
    said = say(Interval(0.21, 0.15, 0.27), starts=("outputs/pretrain",))
    assert said.startswith("With 70 labels, this pretraining run of SimCLR beats random init")


def test_two_runs_and_unequal_numbers_are_said():
    assert "2 runs against 3" in say(Interval(0.21, 0.15, 0.27), runs=(2, 3))


def test_a_bound_that_rounds_to_zero_is_shown_with_more_digits():
    assert "0.001 to 0.04 of" in say(Interval(0.02, 0.0012, 0.04))
    assert "−0.00004 to 0.37 of" in say(Interval(0.2, -0.00004, 0.37))


@pytest.mark.parametrize("low", [-0.2, -0.01, -1e-9, 0.0])
def test_nothing_beats_with_an_interval_that_holds_zero(low):
    assert "beats" not in say(Interval(0.1, low, 0.3))
    assert "worse" not in say(Interval(0.1, low, 0.3))


def test_photos_without_ids_and_all_labels():
    counts = {**COUNTS, "grouped_by": "photo", "n_groups": 412}
    said = say(Interval(0.2, 0.1, 0.3), counts=counts, n_labels=6006, labels="all")
    assert said.startswith("With all 6,006 labels, ")
    assert "3 runs each, 412 test photos)" in said


def test_what_narrows_goes_by_the_larger_part_of_the_width():
    def of(seeds, records, df=1e6):
        return contrast(
            Interval(0.1, 0.0, 0.2, record_variance=records, seed_variance=seeds, df=df)
        )

    assert contrast_wording.what_narrows([]) == ""
    assert contrast_wording.what_narrows([of(2.0, 1.0)]).startswith(
        "More training runs would narrow the interval more than more lesions"
    )
    three = [of(1.0, 2.0), of(1.0, 2.0), of(2.0, 1.0)]
    assert contrast_wording.what_narrows(three).startswith(
        "More lesions would narrow 2 of the 3 intervals more than more training runs"
    )
    # Two runs: a df of 1 makes 4% of the variance 64% of the squared half width.
    assert "More training runs" in contrast_wording.what_narrows([of(0.04, 1.0, df=1)])
    assert "More lesions" in contrast_wording.what_narrows([of(0.02, 1.0, df=1)])

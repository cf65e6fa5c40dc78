"""The words follow from the interval, and never say more than it."""

import math

import pytest

from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import FinetuneRun, RunGroup
from dermssl.reporting import wording

COUNTS = {"n": 412, "n_fine": 412, "n_coarse": 412, "n_groups": 301, "grouped_by": "lesion"}


def model(arm, n_labels=70, labels=None, seeds=(0, 1, 2)):
    config = {"finetune": {"labels_per_class": 10}}
    members = tuple(
        FinetuneRun(None, {"n_labels": n_labels, "seed": seed, "config": config}, None, None, None)
        for seed in seeds
    )
    return RunGroup(arm, labels or n_labels, members)


def say(interval, metric="balanced_accuracy", n_seeds=3, counts=COUNTS, **options):
    a, b = model("ssl", **options), model("random", **options)
    return wording.comparison(a, b, metric, interval, n_seeds, counts, "test")


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        (
            Interval(0.21, 0.15, 0.27),
            "With 70 labels, SimCLR beats random init by 0.21 balanced accuracy "
            "(95% interval 0.15 to 0.27; 3 seeds, 412 test photos of 301 lesions).",
        ),
        (
            Interval(0.02, -0.02, 0.05),
            "With 70 labels, no difference found between SimCLR and random init in balanced "
            "accuracy: the 95% interval −0.02 to 0.05 holds 0 "
            "(a tie; 3 seeds, 412 test photos of 301 lesions).",
        ),
        (
            Interval(-0.08, -0.12, -0.03),
            "With 70 labels, SimCLR is worse than random init by 0.08 balanced accuracy "
            "(95% interval of the difference −0.12 to −0.03; "
            "3 seeds, 412 test photos of 301 lesions).",
        ),
        (
            Interval(math.nan, math.nan, math.nan),
            "With 70 labels, nothing can be said of SimCLR against random init: the difference "
            "in balanced accuracy has no defined interval; too few records for it "
            "(3 seeds, 412 test photos of 301 lesions).",
        ),
        (None, "With 70 labels, SimCLR and random init share no seed, so they aren't compared."),
    ],
)
def test_golden_sentences(interval, sentence):
    assert say(interval) == sentence


def test_a_bound_that_rounds_to_zero_is_shown_with_more_digits():
    assert "0.001 to 0.040" in say(Interval(0.02, 0.0012, 0.04))
    assert "beats" in say(Interval(0.02, 0.0012, 0.04))
    assert "0.00 to 0.00 holds 0" in say(Interval(0.0, 0.0, 0.0))


def test_a_loss_is_better_when_lower():
    assert "SimCLR beats random init by 0.30 log loss" in say(
        Interval(-0.3, -0.4, -0.2), "log_loss"
    )
    assert "SimCLR is worse than" in say(Interval(0.3, 0.2, 0.4), "log_loss")


def test_one_seed_says_that_training_is_not_covered():
    said = say(Interval(0.21, 0.15, 0.27), n_seeds=1)
    assert "1 seed, 412 test photos" in said
    assert said.endswith("; with one seed, the variation of training isn't covered.")


def test_photos_without_ids_and_all_labels():
    counts = {**COUNTS, "grouped_by": "photo", "n_groups": 412}
    said = say(Interval(0.2, 0.1, 0.3), counts=counts, n_labels=6006, labels="all")
    assert said.startswith("With all 6,006 labels, ")
    assert "3 seeds, 412 test photos)" in said


@pytest.mark.parametrize("low", [-0.2, -0.01, -1e-9, 0.0])
def test_nothing_beats_with_an_interval_that_holds_zero(low):
    assert "beats" not in say(Interval(0.1, low, 0.3))
    assert "worse" not in say(Interval(0.1, low, 0.3))


def test_numbers():
    assert wording.number(-0.5) == "−0.500"
    assert wording.number(math.nan) == "n/a"
    assert wording.estimate(Interval(0.5, 0.4, 0.6)) == "0.500 (0.400 to 0.600)"
    assert wording.estimate(Interval(0.5, math.nan, math.nan)) == "0.500 (n/a)"
    assert wording.estimate(Interval(math.nan, math.nan, math.nan)) == "n/a"
    assert wording.count(1, "seed") == "1 seed"
    assert wording.count(1511, "photo") == "1,511 photos"

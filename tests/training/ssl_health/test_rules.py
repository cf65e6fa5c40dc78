"""The traffic light: every rule turns on what it is for, and a healthy run stays green."""

import math
from dataclasses import replace

import pytest

from dermssl.evaluation.bootstrap import Interval
from dermssl.training.ssl_health import rules
from dermssl.training.ssl_health.view_shortcuts import ViewCheck

VIEWS = ViewCheck(250, 38.0, 0.0, 0.02, 0.1, 0.05, 1 / 499)
HEALTHY = rules.HealthMeasures(
    temperature=0.1, batch_size=64, progress=0.6, steps=5000, views=VIEWS, loss=2.1, entropy=2.0,
    spread=0.8, dead=0.0, rank=40.0, most=128.0, pair_accuracy=0.8,
    knn=Interval(0.45, 0.38, 0.52), knn_start=Interval(0.3, 0.25, 0.35), chance=0.14,
)  # fmt: skip
GUESSES = Interval(0.2, 0.1, 0.3)  # holds chance


def light(**changes):
    return rules.worst_finding(replace(HEALTHY, **changes))


def test_a_healthy_run_is_green():
    assert light().colour == "green"
    assert str(light()) == "GREEN, no rule found anything wrong"


@pytest.mark.parametrize(
    ("colour", "word", "changes"),
    [
        ("red", "no number", {"broken": True, "spread": math.nan, "rank": math.nan}),
        ("red", "collapsed", {"spread": 0.01, "rank": 1.1}),
        ("red", "collapsed", {"rank": 1.0}),
        ("red", "temperature 100 is high", {"temperature": 100.0}),
        ("yellow", "temperature 1 is high", {"temperature": 1.0}),
        ("green", "", {"temperature": 0.5}),
        ("yellow", "temperature 0.01 is low", {"temperature": 0.01}),
        ("red", "above a guess's", {"temperature": 0.001, "loss": 90.0}),
        ("red", "all peak", {"temperature": 0.001, "entropy": 0.01}),
        ("red", "nearly the same", {"views": replace(VIEWS, identical=1.0)}),
        ("red", "nearly the same", {"views": replace(VIEWS, mean_difference=0.5)}),
        ("yellow", "colours alone find 70%", {"views": replace(VIEWS, by_histogram=0.7)}),
        ("red", "nothing learned in 5,000 steps", {"loss": math.log(127)}),
        ("yellow", "nothing learned yet", {"loss": math.log(127), "progress": 0.1}),
        ("yellow", "nothing learned yet", {"loss": 9.0, "steps": 20}),
        ("yellow", "few dimensions", {"rank": 3.0}),
        ("yellow", "few dimensions", {"dead": 0.6}),
        ("yellow", "fallen below the start's 0.600", {"knn_start": Interval(0.6, 0.55, 0.65)}),
        ("green", "", {"knn_start": Interval(0.6, 0.5, 0.7)}),
        ("yellow", "the k-NN probe, 0.200 [0.100, 0.300], is not shown", {"knn": GUESSES}),
        ("yellow", "neither the k-NN probe, 0.2", {"knn": GUESSES, "linear": GUESSES}),
        ("yellow", "; 30 photos may be too few", {"knn": GUESSES, "n_labelled": 30}),
        ("yellow", "; 30 photos", {"knn": GUESSES, "n_labelled": 30, "pair_accuracy": 0.01}),
        ("yellow", "not shown", {"knn": GUESSES, "progress": 0.4}),
        ("yellow", "not shown", {"knn": GUESSES, "steps": 150}),
        ("green", "too early", {"knn": GUESSES, "progress": 0.2}),
        ("green", "too early", {"knn": GUESSES, "progress": 0.4, "steps": 150}),
        ("yellow", "pairs found 10%, not above the 10% that colours", {"pair_accuracy": 0.1}),
        ("yellow", "of only 30 pairs", {"pair_accuracy": 0.1, "views": replace(VIEWS, n=30)}),
        (
            "green",
            "too early to tell (9 steps)",
            {"pair_accuracy": 0.05, "steps": 9, "progress": 0.02},
        ),
        ("green", "no rule", {"pair_accuracy": 0.11}),
        ("green", "", {"knn": None, "knn_start": None, "chance": math.nan, "views": None}),
    ],
)
def test_each_rule(colour, word, changes):
    found = light(**changes)
    assert found.colour == colour, found
    assert word in found.reason
    assert "\n" not in str(found)
    assert bool(found.remedy) == (colour != "green")


def test_the_worst_finding_speaks():
    found = light(rank=1.0, views=replace(VIEWS, by_colour=0.9), temperature=1.0)
    assert found.colour == "red"
    assert "collapsed" in found.reason


def test_before_training_only_the_settings_and_the_views_are_judged():
    nothing = {"progress": 0.0, "steps": 0, "loss": math.nan, "entropy": math.nan}
    assert light(**nothing, spread=0.01, rank=1.0, dead=1.0).colour == "green"
    assert light(**nothing, temperature=100.0).colour == "red"
    assert light(**nothing, views=replace(VIEWS, identical=0.9)).colour == "red"


def test_unknown_numbers_turn_no_light_on():
    assert (
        rules.worst_finding(rules.HealthMeasures(temperature=0.1, batch_size=64)).colour == "green"
    )

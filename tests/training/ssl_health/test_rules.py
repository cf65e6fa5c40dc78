"""The traffic light: every rule turns on what it is for, and a healthy run stays green."""

import math
from dataclasses import replace

import pytest

from dermssl.core.cli import with_flags
from dermssl.core.settings import Pretrain
from dermssl.training.ssl_health import rules
from dermssl.training.ssl_health.measures import HealthContext, HealthMeasures
from dermssl.training.ssl_health.view_shortcuts import ViewCheck

VIEWS = ViewCheck(250, 38.0, 0.0, 0.02, 0.1, 0.05, 1 / 499)
HEALTHY = HealthMeasures(
    knn=0.45, knn_low=0.38, knn_high=0.52, pair_accuracy=0.8, effective_rank=40.0, spread=0.8,
    dead=0.0, averaged_spread=0.8, dimension=128,
)  # fmt: skip
CONTEXT = HealthContext(
    Pretrain(temperature=0.1, batch_size=64), VIEWS, progress=0.6, steps=5000, loss=2.1,
    entropy=2.0, start=HealthMeasures(knn=0.3, knn_low=0.25, knn_high=0.35), chance=0.14,
)  # fmt: skip
GUESSES = {"knn": 0.2, "knn_low": 0.1, "knn_high": 0.3}  # holds chance
LINEAR_GUESSES = {"linear": 0.2, "linear_low": 0.1, "linear_high": 0.3}


def start(knn, low, high):
    return {"start": HealthMeasures(knn=knn, knn_low=low, knn_high=high)}


def light(**changes):
    """The finding on the healthy run with some measures, settings or facts changed."""
    measures = {name: changes.pop(name) for name in list(changes) if hasattr(HEALTHY, name)}
    if "temperature" in changes:
        changes["settings"] = replace(CONTEXT.settings, temperature=changes.pop("temperature"))
    return rules.worst_finding(replace(HEALTHY, **measures), replace(CONTEXT, **changes))


def test_a_healthy_run_is_green():
    assert light().colour == "green"
    assert str(light()) == "GREEN, no rule found anything wrong"


@pytest.mark.parametrize(
    ("colour", "word", "changes"),
    [
        ("red", "no number", {"broken": True, "spread": math.nan, "effective_rank": math.nan}),
        ("red", "collapsed", {"spread": 0.01, "effective_rank": 1.1}),
        ("red", "collapsed", {"effective_rank": 1.0}),
        ("yellow", "moving averages lag behind", {"averaged_spread": 0.01}),
        ("green", "too few to tell", {"averaged_spread": 0.01, "steps": 5, "progress": 0.1}),
        ("green", "no rule", {"averaged_spread": 0.5}),
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
        ("yellow", "few dimensions", {"effective_rank": 3.0}),
        ("yellow", "few dimensions", {"dead": 0.6}),
        ("yellow", "fallen below the start's 0.600", start(0.6, 0.55, 0.65)),
        ("green", "", start(0.6, 0.5, 0.7)),
        ("yellow", "the k-NN probe, 0.200 [0.100, 0.300], is not shown", GUESSES),
        ("yellow", "neither the k-NN probe, 0.2", GUESSES | LINEAR_GUESSES),
        ("yellow", "; 30 photos may be too few", GUESSES | {"n_labelled": 30}),
        ("yellow", "; 30 photos", GUESSES | {"n_labelled": 30, "pair_accuracy": 0.01}),
        ("yellow", "not shown", GUESSES | {"progress": 0.4}),
        ("yellow", "not shown", GUESSES | {"steps": 150}),
        ("green", "too few to tell", GUESSES | {"progress": 0.2}),
        ("green", "too few to tell", GUESSES | {"progress": 0.4, "steps": 150}),
        ("yellow", "pairs found 10%, not above the 10% that colours", {"pair_accuracy": 0.1}),
        ("yellow", "of only 30 pairs", {"pair_accuracy": 0.1, "views": replace(VIEWS, n=30)}),
        (
            "green",
            "9 steps are too few to tell",
            {"pair_accuracy": 0.05, "steps": 9, "progress": 0.02},
        ),
        ("green", "no rule", {"pair_accuracy": 0.11}),
        ("green", "", dict.fromkeys(GUESSES) | {"start": None, "chance": math.nan}),
    ],
)
def test_each_rule(colour, word, changes):
    found = light(**changes)
    assert found.colour == colour, found
    assert word in found.reason
    assert "\n" not in str(found)
    assert bool(found.remedy) == (colour != "green")


def test_the_worst_finding_speaks():
    found = light(effective_rank=1.0, views=replace(VIEWS, by_colour=0.9), temperature=1.0)
    assert found.colour == "red"
    assert "collapsed" in found.reason


def test_before_training_only_the_settings_and_the_views_are_judged():
    nothing = {"progress": 0.0, "steps": 0, "loss": math.nan, "entropy": math.nan}
    assert light(**nothing, spread=0.01, effective_rank=1.0, dead=1.0).colour == "green"
    assert light(**nothing, temperature=100.0).colour == "red"
    assert light(**nothing, views=replace(VIEWS, identical=0.9)).colour == "red"


def test_unknown_numbers_turn_no_light_on():
    unknown = HealthMeasures(dimension=128)
    assert rules.worst_finding(unknown, HealthContext(Pretrain(), VIEWS)).colour == "green"


def test_a_remedy_names_settings_that_the_command_line_shows_as_flags():
    finding = light(temperature=100.0)
    assert finding.remedy == "pretrain.temperature 0.1"
    assert with_flags(str(finding)).endswith("usual remedy: --temperature 0.1")


def test_a_method_brings_its_own_rules(monkeypatch):
    monkeypatch.setitem(rules.RULES, "other", (rules.broken, rules.collapsed))
    guesses = replace(CONTEXT, loss=9.0)
    assert rules.worst_finding(HEALTHY, guesses).colour == "red"
    assert rules.worst_finding(HEALTHY, guesses, "other").colour == "green"

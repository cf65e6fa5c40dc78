"""What an evaluation opens with: against chance, and against naming the commonest class."""

import fake_runs
import numpy as np
import pytest

from dermssl.evaluation import metric_tables
from dermssl.evaluation.predictions import Arrays
from dermssl.evaluation.small_samples import wilson
from dermssl.studies.single_run import wording

HAM = fake_runs.HAM


def arrays(p=None, skill=0.0, y=None):
    table = fake_runs.records(n=300)
    y = np.array([HAM.fine.index(name) for name in table["fine"]]) if y is None else y
    p = fake_runs.simulate(table, skill).astype(float) if p is None else p
    p = p / p.sum(1, keepdims=True)
    groups = table["lesion_id"].to_numpy()
    return Arrays(
        y=y, y_coarse=np.array([HAM.coarse.index(HAM.parents[k]) for k in y]), p_fine=p,
        p_coarse=p @ HAM.matrix, groups=groups,
    )  # fmt: skip


def scored(seed, names):
    return metric_tables.intervals(metric_tables.score([seed], HAM, 100, names))


def said(seed):
    names = ("balanced_accuracy", "fine_accuracy")
    return wording.findings(seed, HAM, scored(seed, names), 100)


@pytest.mark.parametrize(
    ("skill", "balanced", "accuracy"),
    [
        (3.0, " is above chance (0.143).", " is above that of always naming"),
        (0.0, " isn't shown to be above chance (0.143): these photos don't", " is below that of"),
        (-1.0, " is below chance (0.143).", " is below that of always naming"),
    ],
)
def test_a_sentence_follows_from_its_interval(skill, balanced, accuracy):
    found = said(arrays(skill=skill))
    assert balanced in found[0]
    assert accuracy in found[1]
    assert "commonest class, melanocytic nevus (0.393)" in found[1]


def test_always_naming_the_commonest_class_is_called_that():
    p = np.full((300, 7), 0.01)
    p[:, HAM.fine.index("nv")] = 1
    same, balanced, accuracy = said(arrays(p))
    assert same == "The model gives every photo the same answer (melanocytic nevus)."
    assert balanced.startswith("Balanced accuracy 0.143 (0.0")
    assert "isn't shown to be above chance (0.143)" in balanced
    assert accuracy.endswith(
        "is that of always naming the commonest class, melanocytic nevus: the model does nothing "
        "else."
    )


def test_a_class_of_one_lesion_shows_nothing():
    y = np.repeat([0, 1], [1, 299])
    p = np.full((300, 7), 0.01)
    p[np.arange(300), np.where(np.arange(300) % 5 < 3, y, 1 - y)] = 1
    found = said(arrays(p, y=y))
    assert found[0].startswith("Balanced accuracy 0.799 (0.318 to 1.000)")
    assert "isn't shown to be above chance (0.500)" in found[0]


def test_one_class_alone_shows_nothing():
    found = said(arrays(y=np.zeros(300, int)))
    assert found == [
        "All photos are melanoma: they can't show whether the model tells classes apart."
    ]


def test_none_found_has_wilsons_interval_of_as_many_lesions():
    p = np.full((300, 7), 0.01)
    p[:, HAM.fine.index("nv")] = 1
    seed = arrays(p)
    n = len(set(seed.groups[seed.y == 0]))
    assert 0 < n < (seed.y == 0).sum()
    row = metric_tables.per_class([seed], HAM, 100).iloc[0]
    expected = wilson(0, n)
    assert (row["sensitivity_low"], row["sensitivity_high"]) == (expected.low, expected.high)
    assert row["sensitivity"] == 0
    found = scored(seed, ("malignant_sensitivity", "balanced_accuracy"))
    ill = len(set(seed.groups[np.isin(seed.y, [0, 2])]))
    assert found["malignant_sensitivity"].high == wilson(0, ill).high
    assert found["balanced_accuracy"].low < 1 / 7 < found["balanced_accuracy"].high


def test_a_tree_distance_of_0_is_no_share():
    perfect = np.eye(7)[arrays().y]
    found = scored(arrays(perfect), ("tree_distance", "fine_accuracy"))
    assert not found["tree_distance"].is_defined
    assert found["fine_accuracy"].low == wilson(150, 150).low


@pytest.mark.parametrize("lesions", [50, 200])
def test_an_exact_guesser_is_hardly_ever_called_below_or_above_chance(lesions):
    """F4 of the audit: a rare class of which none is found has no spread in the draws."""
    rng = np.random.default_rng(lesions)
    shares = np.array([0.11, 0.67, 0.05, 0.03, 0.11, 0.011, 0.019])
    below, above, n = 0, 0, 150
    for _ in range(n):
        y = rng.choice(7, size=lesions, p=shares)
        p = np.eye(7)[rng.choice(7, size=lesions)]
        seed = Arrays(y, HAM.parent_index[y], p, p @ HAM.matrix, np.arange(lesions).astype(str))
        interval = scored(seed, ("balanced_accuracy",))
        sentence = wording._chance(seed, interval)
        below += " is below " in sentence
        above += " is above " in sentence
    limit = n * (0.025 + 2.5 * np.sqrt(0.025 * 0.975 / n))
    assert below <= limit
    assert above <= limit

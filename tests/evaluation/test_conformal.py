"""Conformal sets: the guarantee by simulation, against a slow twin, and where there is none."""

import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.evaluation import conformal


def sample(lesions_a_class, rng, classes=3, photos=4):
    """(p, y, lesions): photos of a lesion are alike, classes differ in difficulty."""
    y = np.repeat(np.arange(classes), lesions_a_class)
    sizes = rng.integers(1, photos, size=len(y), endpoint=True)
    lesion = np.repeat(np.arange(len(y)), sizes)
    skill = np.array([2.0, 1.0, 0.3])[y]
    shared = rng.normal(size=(len(y), classes)) + skill[:, None] * np.eye(classes)[y]
    logits = shared[lesion] + 0.4 * rng.normal(size=(len(lesion), classes))
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True), y[lesion], lesion


def slow(p, y, lesions, k, level):
    """The lowest probability whose lesions' weights reach level (G + 1); 0 if none does."""
    names = np.unique(lesions[y == k])
    for value in np.sort(np.unique(p[y == k, k]))[::-1]:
        shares = [(p[(lesions == name) & (y == k), k] >= value).mean() for name in names]
        if sum(shares) >= level * (len(names) + 1) - 1e-9:
            return value
    return 0.0


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_thresholds_equal_the_slow_definition(level):
    p, y, lesions = sample([30, 12, 9], np.random.default_rng(0))
    found = conformal.calibrate(p, y, lesions, level)
    assert found.lowest == pytest.approx([slow(p, y, lesions, k, level) for k in range(3)])
    assert found.lesions == (30, 12, 9)


def test_single_records_have_the_usual_quantile():
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(2), 57)
    found = conformal.calibrate(p, np.zeros(57, int), level=0.9)
    scores = np.sort(1 - p[:, 0])
    expected = scores[int(np.ceil(0.9 * 58)) - 1]
    assert 1 - found.lowest[0] == pytest.approx(expected)


@pytest.mark.parametrize("lesions", [9, 25])
def test_every_class_is_held_as_often_as_asked_in_lesions_never_seen(lesions):
    """A random photo of a new lesion, over calibration sets: at least 90%, and not much more."""
    rng, hits = np.random.default_rng(lesions), np.zeros(3)
    repetitions = 400
    for _ in range(repetitions):
        p, y, names = sample([lesions] * 3, rng)
        found = conformal.calibrate(p, y, names, 0.9)
        new_p, new_y, new_names = sample([10] * 3, rng)
        held = found.sets(new_p)[np.arange(len(new_y)), new_y]
        per_lesion = np.bincount(new_names, held) / np.bincount(new_names)
        hits += np.bincount(np.repeat([0, 1, 2], 10), per_lesion) / 10
    error = np.sqrt(0.9 * 0.1 / repetitions)  # lesions of one repetition share their thresholds
    assert (hits / repetitions >= 0.9 - 2.5 * error).all()
    assert (hits / repetitions <= 0.9 + 1 / (lesions + 1) + 2.5 * error).all()


@pytest.mark.parametrize(("level", "needed"), [(0.9, 9), (0.95, 19), (0.8, 4), (0.75, 3)])
def test_a_class_of_too_few_lesions_is_in_every_set(level, needed):
    p = np.full((40, 2), 0.5)
    y = np.repeat([0, 1], [needed - 1, 41 - needed])
    found = conformal.calibrate(p, y, level=level)
    assert found.needed == needed
    assert found.has_none.tolist() == [True, False]
    assert found.sets(np.array([[0.0, 1.0]])).tolist() == [[True, True]]
    # Many photos of few lesions are few lesions.
    again = conformal.calibrate(p, y, np.where(y == 0, 0, np.arange(40)), level)
    assert again.lesions[0] == 1
    enough = conformal.calibrate(p, np.repeat([0, 1], [needed, 40 - needed]), level=level)
    assert enough.lowest[0] == 0.5


def test_a_class_without_records_is_in_every_set():
    p = np.eye(3)[np.repeat([0, 1], 20)]
    found = conformal.calibrate(p, np.repeat([0, 1], 20))
    assert found.lesions == (20, 20, 0)
    assert found.sets(p)[:, 2].all()


def test_coverage_is_counted_by_part():
    sets = np.array([[1, 0], [1, 1], [0, 0], [0, 1], [1, 0]], dtype=bool)
    y = np.array([0, 1, 0, 0, -1])
    places = [("all", np.ones(5, bool)), ("late", np.arange(5) > 1)]
    table = conformal.coverage(sets, y, None, places, 50).set_index("name")
    assert table["coverage"].tolist() == [0.5, 0.0]
    assert table["size"].tolist() == [1.0, 0.5]
    assert table["n"].tolist() == [4, 2]
    assert table.loc["all", ["single", "empty"]].tolist() == [0.5, 0.25]
    assert table.loc["late", "coverage_high"] > 0.5


def test_bad_input_is_one_line():
    with pytest.raises(UserError, match=r"evaluate\.coverage"):
        conformal.calibrate(np.full((4, 2), 0.5), [0, 1, 0, 1], level=1.0)
    with pytest.raises(UserError, match="sets"):
        conformal.coverage(np.ones((3, 2), bool), [0, 1], None, [])

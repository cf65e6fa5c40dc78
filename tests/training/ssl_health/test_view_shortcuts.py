"""Pairs of views: the same, given away by colour, or worth learning."""

import numpy as np
import pytest

from dermssl.training.ssl_health import view_shortcuts


def noise(n, seed=0, size=16):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)


def test_identical_views():
    views = noise(10)
    found = view_shortcuts.check(views, views)
    assert (found.n, found.identical, found.mean_difference) == (10, 1.0, 0.0)
    assert found.shortcut == 1
    assert found.chance == pytest.approx(1 / 19)


def test_the_difference_is_in_grey_levels_and_does_not_wrap_around():
    first = np.full((4, 8, 8, 3), 250, np.uint8)
    second = first.copy()
    second[:2] = 5
    found = view_shortcuts.check(first, second)
    assert found.mean_difference == 245 / 2
    assert found.identical == 0.5


def test_a_colour_cast_of_each_photo_is_a_shortcut():
    # Every photo has its own colour, every view its own noise.
    colour = np.random.default_rng(1).integers(40, 200, (30, 1, 1, 3))
    first, second = (np.uint8(colour + noise(30, seed) // 10) for seed in (2, 3))
    found = view_shortcuts.check(first, second)
    assert found.identical == 0
    assert found.by_colour == found.shortcut == 1


def test_unrelated_views_are_found_by_chance_only():
    found = view_shortcuts.check(noise(60, 4), noise(60, 5))
    assert found.shortcut < 0.1


def test_shapes_that_colours_do_not_give_away():
    # A stripe at one place per photo: the histogram is the same for all, the thumbnail isn't.
    first = np.zeros((4, 16, 16, 3), np.uint8)
    for k in range(4):
        first[k, 4 * k : 4 * k + 4] = 255
    found = view_shortcuts.check(first, first.copy())
    assert found.by_colour == found.by_histogram == pytest.approx(1 / 7)
    assert found.by_thumbnail == found.shortcut == 1

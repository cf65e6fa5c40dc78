"""Artefacts: each shows, is the same each time, and is drawn to the photo's scale."""

import cv2
import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.data.augmentation import artefacts
from dermssl.data.augmentation.artefacts import ARTEFACTS, apply
from dermssl.data.augmentation.draw import uniforms

NAMES = list(ARTEFACTS)


@pytest.fixture(scope="module")
def skin():
    """Skin with a lesion, uint8 [120, 160, 3]."""
    y, x = np.mgrid[:120, :160]
    inside = np.hypot(x - 80, y - 60)[..., None] < 30
    noise = np.random.default_rng(3).normal(0, 5, (120, 160, 3))
    return np.clip(np.where(inside, [120, 70, 50], [205, 160, 140]) + noise, 0, 255).astype("uint8")


@pytest.mark.parametrize("name", NAMES)
def test_it_shows_and_stays_a_photo(skin, name):
    before = skin.copy()
    for record in range(12):
        drawn = apply(name, skin, 0, record)
        assert drawn.shape == skin.shape
        assert drawn.dtype == np.uint8
        changed = np.abs(drawn.astype(int) - skin).max(axis=2) > 8
        assert changed.mean() > 0.001, record
        assert name == "colour_cast" or changed.mean() < 0.6, record
    assert np.array_equal(skin, before)


@pytest.mark.parametrize("name", NAMES)
def test_it_depends_on_its_key_alone(skin, name):
    one = apply(name, skin, 3, 7, epoch=2, view=1)
    np.random.seed(0)
    apply(name, skin, 4, 8)
    assert np.array_equal(apply(name, skin, 3, 7, epoch=2, view=1), one)
    keys = [(4, 7, 2, 1), (3, 8, 2, 1), (3, 7, 3, 1), (3, 7, 2, 0)]
    for seed, record, epoch, view in keys:
        other = apply(name, skin, seed, record, epoch=epoch, view=view)
        assert not np.array_equal(other, one)


def test_two_artefacts_of_one_record_are_drawn_apart(monkeypatch, skin):
    seen = {}
    for name in NAMES:
        monkeypatch.setitem(ARTEFACTS, name, lambda image, u, key=name: seen.setdefault(key, u))
        try:
            apply(name, skin, 0, 0)
        except TypeError:
            pytest.fail(name)
    assert len({tuple(u) for u in seen.values()}) == len(NAMES)
    assert all(len(u) == artefacts.DRAWS for u in seen.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_draw_has_enough_numbers_at_its_ends(skin, name):
    for value in (0.0, 1 - 2**-53):
        drawn = ARTEFACTS[name](skin, [value] * artefacts.DRAWS)
        assert drawn.shape == skin.shape


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_at_any_size(skin, name):
    large = cv2.resize(skin, (640, 480), interpolation=cv2.INTER_CUBIC)
    for record in range(4):
        u = uniforms(0, 0, record, 0, artefacts.DRAWS, 5)
        small = ARTEFACTS[name](skin, u).astype(float) - skin
        big = ARTEFACTS[name](large, u).astype(float) - large
        big = cv2.resize(big, (160, 120), interpolation=cv2.INTER_AREA)
        assert np.abs(big - small).mean() < 3
        blurred = [cv2.GaussianBlur(each, (0, 0), 3).ravel() for each in (small, big)]
        assert np.corrcoef(*blurred)[0, 1] > 0.8


@pytest.mark.parametrize("shape", [(16, 16), (28, 28), (40, 200), (301, 97)])
def test_any_shape_will_do(shape):
    image = np.full((*shape, 3), 170, np.uint8)
    for name in NAMES:
        drawn = apply(name, image, 0, 1)
        assert drawn.shape == image.shape
        assert not np.array_equal(drawn, image)


def test_strength_is_opacity(skin):
    whole = apply("patch", skin, 0, 0).astype(int)
    half = apply("patch", skin, 0, 0, strength=0.5).astype(int)
    assert np.array_equal(apply("patch", skin, 0, 0, strength=0.0), skin)
    assert np.abs(half - (whole + skin) / 2).max() <= 0.5
    with pytest.raises(UserError, match=r"artefact strength is 1\.5; give a number from 0 to 1"):
        apply("hair", skin, 0, 0, strength=1.5)
    with pytest.raises(UserError, match=r"hairs.*hair, ruler, ink, gel_bubbles"):
        apply("hairs", skin, 0, 0)
    with pytest.raises(ValueError, match="uint8"):
        apply("hair", skin.astype(np.float32), 0, 0)


def test_what_each_does_to_the_light(skin):
    """Ink and rulers darken, bubbles lighten, corners are black and the middle is left alone."""
    for record in range(6):
        assert (apply("ink", skin, 0, record) <= skin).all()
        assert (apply("ruler", skin, 0, record) <= skin).all()
        assert apply("gel_bubbles", skin, 0, record).max() > skin.max()
        tube = apply("dark_corners", skin, 0, record)
        assert tube[[0, 0, -1, -1], [0, -1, 0, -1]].max() < 60
        assert np.array_equal(tube[40:80, 50:110], skin[40:80, 50:110])


def test_a_cast_moves_grey_by_its_gains_and_leaves_white():
    grey, casts = np.full((16, 16, 3), 128, np.uint8), []
    for record in range(40):
        red, green, blue = apply("colour_cast", grey, 0, record)[0, 0] / 128
        assert 0.29 * red + 0.587 * green + 0.114 * blue == pytest.approx(1, abs=0.02)
        assert 0.05 < abs(red - blue) < 0.45
        casts.append(red > blue)
    assert 8 < sum(casts) < 32
    white = np.full((16, 16, 3), 255, np.uint8)
    assert np.array_equal(apply("colour_cast", white, 0, 0), white)

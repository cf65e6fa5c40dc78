"""Erasing a lesion: nothing of it may stay, and the hole must not be a cue of its own."""

import numpy as np
import pytest
from PIL import Image

from dermssl.core.errors import UserError
from dermssl.data import lesion_inpainting

SIDE = 64


def skin(slope=0.0, grain=0.0, seed=0):
    """Skin whose red rises by `slope` over the photo, with `grain` as standard deviation."""
    photo = np.full((SIDE, SIDE, 3), (190.0, 150.0, 140.0))
    photo[..., 0] += np.linspace(-slope / 2, slope / 2, SIDE)
    photo += np.random.default_rng(seed).normal(0, grain or 1e-9, photo.shape)
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8)


def lesion(photo, radius=12):
    grid = np.arange(SIDE) - SIDE / 2
    hole = np.hypot(grid, grid[:, None]) < radius
    return np.where(hole[..., None], np.uint8((60, 20, 20)), photo), hole


def test_nothing_of_the_lesion_stays():
    clean = skin()
    photo, hole = lesion(clean)
    found = lesion_inpainting.inpaint_lesion(photo, hole, 0, 0)
    assert np.abs(found.astype(int) - clean).max() <= 1


def test_a_rim_around_the_mask_goes_too():
    clean = skin()
    photo, hole = lesion(clean)
    tight = lesion(clean, 11)[1]
    found = lesion_inpainting.inpaint_lesion(photo, tight, 0, 0)
    assert np.abs(found.astype(int) - clean).max() <= 25
    assert (np.abs(found.astype(int) - clean).max(axis=-1)[hole] <= 5).mean() > 0.9


def test_what_is_far_from_the_lesion_stays_as_it_was():
    photo, hole = lesion(skin(grain=8))
    found = lesion_inpainting.inpaint_lesion(photo, hole, 0, 0)
    far = ~lesion(photo, 12 + 3 * lesion_inpainting.MARGIN * SIDE)[1]
    np.testing.assert_array_equal(found[far], photo[far])


def test_colours_go_on_through_the_hole():
    clean = skin(slope=60)
    photo, hole = lesion(clean)
    found = lesion_inpainting.inpaint_lesion(photo, hole, 0, 0).astype(int)
    left, right = found[28:36, 20:24, 0].mean(), found[28:36, 40:44, 0].mean()
    assert right - left > 8  # of 19 in truth; a flat fill has 0
    assert np.abs(found - clean).mean(axis=(0, 1)).max() < 2


def test_the_hole_has_the_grain_of_the_skin():
    photo, hole = lesion(skin(grain=6))
    inside = lesion_inpainting.inpaint_lesion(photo, hole, 0, 0)[26:38, 26:38].std(axis=(0, 1))
    np.testing.assert_allclose(inside, 6, atol=2)
    smooth = lesion_inpainting.inpaint_lesion(lesion(skin())[0], hole, 0, 0)
    assert smooth[26:38, 26:38].std(axis=(0, 1)).max() < 1


def test_the_noise_is_a_function_of_seed_and_record():
    photo, hole = lesion(skin(grain=6))
    one = lesion_inpainting.inpaint_lesion(photo, hole, 1, 2)
    np.testing.assert_array_equal(one, lesion_inpainting.inpaint_lesion(photo, hole, 1, 2))
    assert (one != lesion_inpainting.inpaint_lesion(photo, hole, 1, 3)).any()
    assert (one != lesion_inpainting.inpaint_lesion(photo, hole, 2, 2)).any()


def test_no_hole_and_nothing_but_a_hole():
    photo, hole = lesion(skin(grain=6))
    np.testing.assert_array_equal(
        lesion_inpainting.inpaint_lesion(photo, hole & False, 0, 0), photo
    )
    everything = lesion_inpainting.inpaint_lesion(photo, hole | True, 0, 0)
    np.testing.assert_array_equal(everything, np.broadcast_to(lesion_inpainting.SKIN, photo.shape))


def test_the_lesion_alone_stands_on_one_colour():
    photo, hole = lesion(skin(slope=60))
    photo[:5, :5] = (0, 255, 0)  # a patch in the corner
    found = lesion_inpainting.lesion_alone(photo, hole, 0, 0)
    np.testing.assert_array_equal(found[hole], photo[hole])
    far = ~lesion(photo, 22)[1]
    np.testing.assert_array_equal(
        found[far], np.broadcast_to(lesion_inpainting.SKIN, photo.shape)[far]
    )


def test_the_box_holds_the_hole_and_a_tenth_more():
    hole = np.zeros((40, 60), bool)
    hole[10:21, 30:51] = True
    hole[10, 30] = hole[20, 50] = False
    found = lesion_inpainting.bounding_rectangle(hole)
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (8, 22, 27, 53)
    assert found.sum() == 15 * 27
    assert not lesion_inpainting.bounding_rectangle(hole & False).any()
    assert lesion_inpainting.bounding_rectangle(hole | True).all()


def test_the_disc_takes_half_of_the_square():
    assert lesion_inpainting.disc(200).mean() == pytest.approx(
        np.pi * lesion_inpainting.DISC**2, abs=0.01
    )
    assert lesion_inpainting.disc(200)[100, 100]
    assert not lesion_inpainting.disc(200)[0, 0]


def write_mask(path, shape, rows):
    mask = np.zeros(shape, np.uint8)
    mask[rows] = 255
    Image.fromarray(mask).save(path)


def test_a_mask_of_ones_is_a_mask(tmp_path):
    mask = np.zeros((45, 60), np.uint8)
    mask[:15] = 1
    Image.fromarray(mask).save(tmp_path / "ones.png")
    write_mask(tmp_path / "full.png", (45, 60), slice(0, 15))
    ones, full = (
        lesion_inpainting.read_mask(tmp_path / f"{name}.png", (90, 120))
        for name in ("ones", "full")
    )
    assert ones.any()
    np.testing.assert_array_equal(ones, full)


def test_masks_fit_their_photo(tmp_path):
    write_mask(tmp_path / "a_segmentation.png", (45, 60), slice(0, 15))
    mask = lesion_inpainting.read_mask(tmp_path / "a_segmentation.png", (90, 120))
    assert mask.shape == (90, 120)
    assert mask[:28].all()
    assert not mask[32:].any()
    with pytest.raises(UserError, match=r"a_segmentation\.png: a mask of 60 x 45 px doesn't fit"):
        lesion_inpainting.read_mask(tmp_path / "a_segmentation.png", (120, 90))


def test_the_square_is_the_middle():
    photo = np.arange(6 * 10).reshape(6, 10)
    np.testing.assert_array_equal(lesion_inpainting.square(photo), photo[:, 2:8])
    np.testing.assert_array_equal(lesion_inpainting.square(photo.T), photo.T[2:8])

"""What the stress test shows of a photo."""

import numpy as np
import pytest
from PIL import Image

from dermssl.core.settings import Data
from dermssl.data import lesion_inpainting, preprocess
from dermssl.data.augmentation import artefacts, opencv
from dermssl.data.photos import Photos
from dermssl.data.splits import prepare
from dermssl.studies.stress import conditions


@pytest.fixture(scope="module")
def some(photos):
    files = prepare(Data(path=str(photos))).files[:5]
    return Photos(files, 32)


def test_every_artefact_is_a_condition():
    names = conditions.names()
    assert names[0] == conditions.CLEAN
    assert set(artefacts.ARTEFACTS) < set(names)
    assert len(set(names)) == len(names) == len(artefacts.ARTEFACTS) + 4
    assert conditions.title("gel_bubbles") == "gel bubbles"


def test_batches_hold_every_view_whatever_their_size(some):
    hole = conditions.lesion_regions([None] * 5, some)
    records = np.array([4, 7, 1, 0, 9])
    options = some, hole, records, conditions.names(), 32
    whole = np.concatenate(list(conditions.batches(*options, 2, seed=3)), axis=1)
    assert whole.shape == (len(conditions.names()), 5, 32, 32, 3)
    assert whole.dtype == np.uint8
    one = np.concatenate(list(conditions.batches(*options, 5, seed=3)), axis=1)
    np.testing.assert_array_equal(whole, one)
    for k, name in enumerate(conditions.names()):
        photo = lesion_inpainting.square(some[2])
        expected = conditions.view(name, photo, hole(2, some[2]), 32, seed=3, record=1)
        np.testing.assert_array_equal(whole[k, 2], expected)
        if name != conditions.CLEAN:
            assert (whole[k] != whole[0]).any(), name


def test_clean_is_what_prediction_sees(some):
    hole = conditions.lesion_regions([None] * 5, some)
    found = next(iter(conditions.batches(some, hole, range(5), ("clean",), 32, 5)))[0]
    for k in range(5):
        np.testing.assert_array_equal(found[k], opencv.center_square(some[k], 32))


def test_the_run_s_steps_come_after_the_artefact(some):
    steps = ("shades_of_grey", "sharpen")
    prepared = Photos(some.files, 32, steps=steps)
    photo, hole = some[0], lesion_inpainting.disc(min(some[0].shape[:2]))
    clean = conditions.view(conditions.CLEAN, photo, hole, 32, steps=steps)
    np.testing.assert_array_equal(clean, opencv.center_square(prepared[0], 32))
    cast = conditions.view("colour_cast", photo, hole, 32, steps=steps)
    drawn = artefacts.apply("colour_cast", photo, 0, 0)
    np.testing.assert_array_equal(cast, opencv.center_square(preprocess.apply(drawn, steps), 32))
    # Which is the point: colour constancy takes most of a cast away again.
    after = np.abs(cast.astype(int) - clean).mean()
    plain = [conditions.view(name, photo, hole, 32) for name in (conditions.CLEAN, "colour_cast")]
    assert after < 0.9 * np.abs(plain[0].astype(int) - plain[1]).mean()


def test_a_wide_photo_is_prepared_whole(some):
    # Colour constancy looks at the margins, too, that the network doesn't see.
    photo = np.concatenate([some[0], np.full((some[0].shape[0], 20, 3), 255, np.uint8)], axis=1)
    photo = np.concatenate([np.full((some[0].shape[0], 20, 3), 90, np.uint8), photo], axis=1)
    hole, steps = lesion_inpainting.disc(some[0].shape[0]), ("shades_of_grey",)
    clean = conditions.view(conditions.CLEAN, photo, hole, 32, steps=steps)
    np.testing.assert_array_equal(clean, opencv.center_square(preprocess.apply(photo, steps), 32))
    square = conditions.view(
        conditions.CLEAN, lesion_inpainting.square(photo), hole, 32, steps=steps
    )
    assert (clean != square).any()


def test_without_masks_no_box_is_erased():
    assert conditions.BACKGROUND in conditions.names(0.95)
    assert conditions.BACKGROUND not in conditions.names(0.8)
    assert len(conditions.names(0.8)) == len(conditions.names()) - 1


def test_an_artefact_is_another_one_on_each_record(some):
    photo, hole = lesion_inpainting.square(some[0]), lesion_inpainting.disc(some[0].shape[0])
    views = [conditions.view("patch", photo, hole, 32, record=k) for k in (0, 0, 1)]
    np.testing.assert_array_equal(views[0], views[1])
    assert (views[0] != views[2]).any()


class Fake:
    steps = ()


def test_a_hole_is_the_mask_or_a_disc_for_want_of_one(tmp_path):
    photo = np.full((40, 60, 3), 200, np.uint8)
    mask = np.zeros((80, 120), np.uint8)
    Image.fromarray(mask).save(tmp_path / "empty.png")
    mask[:40] = 255
    Image.fromarray(mask).save(tmp_path / "half.png")
    hole = conditions.lesion_regions(
        [str(tmp_path / "half.png"), str(tmp_path / "empty.png"), ""], Fake()
    )
    np.testing.assert_array_equal(hole(0, photo), np.arange(40)[:, None] < np.full(40, 20))
    np.testing.assert_array_equal(hole(1, photo), lesion_inpainting.disc(40))
    np.testing.assert_array_equal(hole(2, photo), lesion_inpainting.disc(40))


def test_a_bad_photo_is_named_and_not_swallowed(tmp_path):
    from dermssl.core.errors import UserError

    (tmp_path / "bad.jpg").write_bytes(b"no image")
    bad = Photos([str(tmp_path / "bad.jpg")], 32)
    with pytest.raises(UserError, match=r"bad\.jpg"):
        list(conditions.batches(bad, conditions.lesion_regions([""], bad), [0], ("clean",), 32, 5))


def test_a_hole_follows_the_crop_to_the_lesion(tmp_path):
    photo = np.full((120, 180, 3), 200, np.uint8)
    photo[20:60, 110:150] = 40
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(np.uint8(255 * (photo[..., 0] < 100))).save(tmp_path / "a_segmentation.png")
    mask = tmp_path / "a_segmentation.png"
    options = {"steps": ["lesion_crop"], "mask_files": [str(mask)]}
    photos = Photos([str(tmp_path / "a.png")], 24, 0, **options)
    hole = conditions.lesion_regions([mask], photos)(0, photos[0])
    dark = lesion_inpainting.square(photos[0])[..., 0] < 120
    assert 0.4 < dark.mean() < 0.8  # the lesion fills the crop, not a tenth of the photo
    assert (hole == dark).mean() > 0.95


def test_a_hole_is_cropped_as_its_photo_was_whatever_mask_it_is(tmp_path):
    photo = np.full((120, 180, 3), 200, np.uint8)
    photo[20:60, 110:150] = 40
    Image.fromarray(photo).save(tmp_path / "a.png")
    for name, rows, columns in (("own", (0, 80), (90, 170)), ("given", (20, 60), (110, 150))):
        mask = np.zeros((120, 180), np.uint8)
        mask[slice(*rows), slice(*columns)] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    given = str(tmp_path / "given.png")
    for own in (str(tmp_path / "own.png"), ""):
        options = {"steps": ["lesion_crop"], "mask_files": [own]}
        photos = Photos([str(tmp_path / "a.png")], 60, 0, **options)
        hole = conditions.lesion_regions([given], photos)(0, photos[0])
        dark = lesion_inpainting.square(photos[0])[..., 0] < 120
        assert dark.mean() > 0.08
        assert (hole == dark).mean() > 0.97

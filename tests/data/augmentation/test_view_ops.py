"""Extras on a view, mixed records, the gallery: each a function of its key, and what it says."""

import numpy as np
import pytest
from PIL import Image

from dermssl.core.errors import UserError
from dermssl.data import pipeline
from dermssl.data.augmentation import artefacts, mixup, opencv, policies, view_ops
from dermssl.data.augmentation.policies import AUGMENTATIONS, Policy
from dermssl.data.photos import Photos
from dermssl.data.pipeline import ALIGNMENT, Buffers
from dermssl.studies.data_audit import augmentation_sheet

SIZE = 48
ONLY = {
    "artefacts": Policy(artefacts=1.0),
    "cutout": Policy(cutout=1.0, cutout_side=(0.2, 0.5)),
    "randaugment": Policy(randaugment=1.0),
}


def picture(seed=0, shape=(60, 80)):
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def view():
    return picture(shape=(SIZE, SIZE))


# Extras


@pytest.mark.parametrize("name", ONLY)
def test_an_extra_does_something_and_stays_an_image(view, name):
    before, made = view.copy(), []
    for record in range(12):
        made.append(view_ops.apply(view.copy(), ONLY[name], 0, 0, record, 0))
        assert made[-1].shape == view.shape
        assert made[-1].dtype == np.uint8
    assert sum(not np.array_equal(each, before) for each in made) >= 10
    again = view_ops.apply(view.copy(), ONLY[name], 0, 0, 5, 0)
    assert np.array_equal(again, made[5])
    for other in ((1, 0, 5, 0), (0, 1, 5, 0), (0, 0, 6, 0), (0, 0, 5, 1)):
        assert not np.array_equal(view_ops.apply(view.copy(), ONLY[name], *other), again)


@pytest.mark.parametrize("name", [n for n, p in AUGMENTATIONS.items() if p.has_extras])
def test_extras_leave_the_view_s_own_draws_alone(name):
    photo, base = picture(), AUGMENTATIONS["skin"]
    changed = 0
    for record in range(30):
        plain = opencv.view(photo, base, 0, 0, record, 0, SIZE)
        extra = opencv.view(photo, AUGMENTATIONS[name], 0, 0, record, 0, SIZE)
        changed += not np.array_equal(plain, extra)
        again = view_ops.apply(plain, AUGMENTATIONS[name], 0, 0, record, 0)
        assert np.array_equal(again, extra)
    assert 5 <= changed <= 30


def test_extras_keep_their_probabilities(view):
    policy = Policy(artefacts=0.3, cutout=0.0)
    hit = [
        not np.array_equal(view_ops.apply(view.copy(), policy, 0, 0, record, 0), view)
        for record in range(400)
    ]
    assert np.mean(hit) == pytest.approx(0.3, abs=0.09)  # 4 sigma


def test_cutout_hides_the_share_it_says(view):
    for side, x, y in ((0.25, 0.0, 0.0), (0.5, 1.0, 1.0), (0.4, 0.3, 0.9)):
        made = view_ops.cutout(view, side, x, y)
        hidden = (made == 150).all(axis=2)
        rows, columns = np.nonzero(hidden)
        cut = round(side * SIZE)
        assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == cut
        assert hidden.sum() == pytest.approx(cut**2, abs=5)
        assert np.array_equal(made[~hidden], view[~hidden])


@pytest.mark.parametrize("name", view_ops.OPERATIONS)
def test_randaugment_s_operations_grow_with_their_magnitude(view, name):
    operation, view = view_ops.OPERATIONS[name], view // 2 + 60  # room for contrast to grow
    away = [np.abs(operation(view, m).astype(int) - view).mean() for m in (0.0, 0.3, 1.0)]
    assert away[0] <= 0.01
    assert away[0] < away[1] < away[2]
    assert operation(view, -1.0).dtype == np.uint8


def test_strength_nought_has_no_extras(view):
    for name in AUGMENTATIONS:
        policy = policies.scaled(AUGMENTATIONS[name], 0.0)
        assert not policy.has_extras
        assert not policy.mixes


# Mixing


def test_mixup_and_cutmix_hold_the_share_they_say():
    one, other = np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 200, np.uint8)
    for record in range(20):
        share, place = mixup.share(Policy(mixup=1.0), 0, 0, record)
        mixed, kept = mixup.mix(one, other, share, place)
        assert place is None
        assert 0.5 <= kept == share <= 1
        assert np.abs(mixed - 200 * (1 - share)).max() <= 0.5
        share, place = mixup.share(Policy(cutmix=1.0), 0, 0, record)
        mixed, kept = mixup.mix(one, other, share, place)
        assert 0.5 <= kept <= 1
        assert kept == pytest.approx(share, abs=0.03)
        assert mixed.mean() == pytest.approx(200 * (1 - kept), abs=1e-6)
        assert set(np.unique(mixed)) <= {0, 200}
    assert mixup.share(Policy(), 0, 0, 0) == (1.0, None)


def test_shares_follow_their_distribution():
    shares = [mixup.share(Policy(mixup=0.2), 0, 0, record)[0] for record in range(2000)]
    # Beta(.2, .2), folded: 2 * F(.1) of it lies above .9, F from SciPy.
    from scipy.stats import beta

    assert np.mean(np.array(shares) > 0.9) == pytest.approx(2 * beta.cdf(0.1, 0.2, 0.2), abs=0.045)
    cut = [mixup.share(Policy(cutmix=0.5), 0, 0, record)[1] for record in range(1000)]
    assert np.mean([place is not None for place in cut]) == pytest.approx(0.5, abs=0.065)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, files = tmp_path_factory.mktemp("mixed"), []
    for k in range(7):
        files.append(str(folder / f"{k}.png"))
        Image.fromarray(picture(k)).save(files[-1])
    return Photos(files, SIZE)


TARGETS = {"fine": np.array([0, 1, 2, -1, 1, 0, 2]), "coarse": np.array([0, 0, 1, 1, 0, 0, 1])}
WEIGHTS = {"fine": np.array([1, 2, 3, 0, 2, 1, 3.0]), "coarse": np.ones(7)}


def labelled(photos, policy, **parts):
    data = pipeline.supervised_data(
        photos, np.arange(7), TARGETS, WEIGHTS, policy, 0, 3, SIZE, steps=6, **parts
    )
    return list(data.as_numpy_iterator())


@pytest.mark.parametrize("policy", [Policy(mixup=0.5), Policy(cutmix=1.0)])
def test_a_mixed_batch_is_its_records_and_the_next_ones(photos, policy):
    for step, (images, targets, weights) in enumerate(labelled(photos, policy)):
        epoch, within = divmod(step, 3)
        order = pipeline.epoch_order(7, 0, epoch)
        assert len(images) == (3, 3, 1)[within]
        for place, image in enumerate(images):
            at = 3 * within + place
            own, other = order[at], order[(at + 1) % 7]
            views = [opencv.center_square(photos[row], SIZE) for row in (own, other)]
            mixed, kept = mixup.mix(*views, *mixup.share(policy, 0, epoch, own))
            np.testing.assert_array_equal(image, mixed)
            for name in TARGETS:
                label, share, second, rest = targets[name][place]
                assert (label, second) == (TARGETS[name][own], TARGETS[name][other])
                assert share == pytest.approx(kept * WEIGHTS[name][own])
                assert rest == pytest.approx((1 - kept) * WEIGHTS[name][other])
                assert weights[name][place] == 1


@pytest.mark.parametrize("policy", [AUGMENTATIONS["skin_mixup"], AUGMENTATIONS["skin"]])
def test_the_parts_of_all_workers_are_the_batch(photos, policy):
    whole = labelled(photos, policy)
    parts = [labelled(photos, policy, worker=k, workers=2) for k in (0, 1)]
    for step, (images, targets, weights) in enumerate(whole):
        both = [part[step] for part in parts]
        np.testing.assert_array_equal(np.concatenate([each[0] for each in both]), images)
        for name in targets:
            joined = np.concatenate([each[1][name] for each in both])
            np.testing.assert_array_equal(joined, targets[name])
            # So that the mean of the parts' means is the mean of all.
            shares = [len(each[0]) * len(both) / len(images) for each in both]
            even = [each[2][name] / share for each, share in zip(both, shares)]
            np.testing.assert_allclose(np.concatenate(even), weights[name], rtol=1e-6)


def test_two_views_are_sharded_too(photos):
    def batches(**parts):
        data = pipeline.two_view_data(photos, AUGMENTATIONS["simclr"], 0, 6, 16, 3, **parts)
        return [np.stack(views) for views in data.as_numpy_iterator()]

    parts = [batches(worker=k, workers=3) for k in range(3)]
    for step, batch in enumerate(batches()):
        joined = np.concatenate([part[step] for part in parts], axis=1)
        np.testing.assert_array_equal(joined, batch)
    with pytest.raises(ValueError, match="worker 0 of 4 has no equal part of 6 photos"):
        batches(worker=0, workers=4)


def test_the_order_of_a_pass_is_drawn_once():
    pipeline.epoch_order.cache_clear()
    for step in range(50):
        pipeline.batch_rows(step, 10_000, 100, 3)
    assert pipeline.epoch_order.cache_info().misses == 1
    with pytest.raises(ValueError, match="read-only"):
        pipeline.epoch_order(10_000, 3, 0)[0] = 1


# Buffers


def test_a_buffer_is_lent_to_one_at_a_time():
    buffers = Buffers(most=2)
    one, two = buffers.take((2, 3)), buffers.take((2, 3))
    three = buffers.take((2, 3))
    assert len({each.ctypes.data for each in (one, two, three)}) == 3
    assert all(each.ctypes.data % ALIGNMENT == 0 for each in (one, two, three))
    place, view = two.ctypes.data, two[0]
    del two
    assert buffers.take((2, 3)).ctypes.data != place  # a view still refers to it
    del view
    assert buffers.take((2, 3)).ctypes.data == place
    assert buffers.take((4, 3)).shape == (4, 3)


def test_batches_that_are_kept_are_not_written_over(photos):
    data = pipeline.two_view_data(photos, AUGMENTATIONS["simclr"], 0, 2, 16, 30)
    kept = list(data)  # more tensors than there are buffers
    again = [np.stack(views) for views in data]
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(np.stack(one), other)


# The gallery


def test_the_gallery_shows_everything_once(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(augmentation_sheet, "SIDE", 32)
    shown = [photos[k] for k in range(3)]
    rows = dict(augmentation_sheet.rows(shown))
    want = {*AUGMENTATIONS, *artefacts.ARTEFACTS, "hair_removal", "shades_of_grey", "sharpen"}
    assert want - {"none", "simclr"} | {"photo", "simclr, view 1", "simclr, view 2"} == set(rows)
    assert all(len(row) == 3 for row in rows.values())
    augmentation_sheet.write(tmp_path / "sheet.png", photos.files)
    sheet = np.array(Image.open(tmp_path / "sheet.png"))
    height, width = len(rows) * 36 + 4, 6 * 36 + 4
    assert height < sheet.shape[0] < 1.2 * height + 50
    assert width < sheet.shape[1] < 3 * width
    margin = sheet[:, : sheet.shape[1] - width - 50].min(axis=(1, 2)) < 150  # ink of the names
    assert (np.diff(margin.astype(int)) == 1).sum() >= len(rows)  # every row has its name
    with pytest.raises(UserError, match="no photo to show"):
        augmentation_sheet.write(tmp_path / "none.png", [])

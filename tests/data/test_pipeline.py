"""The pipeline: any step can be computed again, whatever was or was not computed before."""

import numpy as np
import pytest
from PIL import Image

from dermssl.data import pipeline
from dermssl.data.augmentation import opencv
from dermssl.data.augmentation.policies import AUGMENTATIONS, Policy
from dermssl.data.photos import Photos

SIZE, N, BATCH = 16, 11, 4
POLICY = AUGMENTATIONS["simclr"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """11 photos of several shapes, as PNG and JPEG."""
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    made = []
    for k in range(N):
        shape = [(40, 40), (33, 60), (90, 41), (200, 150)][k % 4]
        coarse = rng.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC)
        made.append(folder / f"{k}.{'png' if k % 2 else 'jpg'}")
        photo.save(made[-1])
    return [str(file) for file in made]


@pytest.fixture
def photos(files):
    return Photos(files, SIZE)


TARGETS = {"fine": np.arange(N) % 3, "coarse": np.arange(N) % 2 - 1}
WEIGHTS = {"fine": np.linspace(0, 1, N), "coarse": np.linspace(2, 3, N)}


def labelled(photos, start=0, steps=6, seed=0, policy=POLICY, records=None, rows=slice(None)):
    records = np.arange(N) if records is None else records
    targets, weights = ({k: v[rows] for k, v in table.items()} for table in (TARGETS, WEIGHTS))
    data = pipeline.supervised_data(
        photos, records, targets, weights, policy, seed, BATCH, SIZE, steps=steps, start=start
    )
    return list(data.as_numpy_iterator())


def two_views(photos, start=0, steps=5, seed=0, policy=POLICY):
    data = pipeline.two_view_data(photos, policy, seed, BATCH, SIZE, steps, start=start)
    return [np.stack(views) for views in data.as_numpy_iterator()]


def same(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other):
        if isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
        else:
            np.testing.assert_array_equal(a[0], b[0])
            for k in (1, 2):
                assert a[k].keys() == b[k].keys()
                for name in a[k]:
                    np.testing.assert_array_equal(a[k][name], b[k][name])


@pytest.mark.parametrize("start", [1, 3, 4])
def test_starting_at_a_step_equals_skipping_to_it(photos, start):
    same(two_views(photos, start=start), two_views(photos)[start:])
    same(labelled(photos, start=start), labelled(photos)[start:])


@pytest.mark.parametrize("cache_mb", [0, 2048])
def test_the_cache_changes_nothing(files, photos, cache_mb):
    other = Photos(files, SIZE, cache_mb=cache_mb)
    for _ in range(2):
        same(two_views(other), two_views(photos))
        same(labelled(other), labelled(photos))


def test_the_cache_keeps_to_its_budget(files, monkeypatch):
    reads = []
    original = Photos._read
    monkeypatch.setattr(Photos, "_read", lambda self, k: reads.append(k) or original(self, k))
    for cache_mb, expected in ((2048, N), (0, 2 * N)):
        reads.clear()
        photos = Photos(files, SIZE, cache_mb)
        first = [photos[k] for k in range(N)]
        assert all((photos[k] == first[k]).all() for k in range(N))
        assert len(reads) == expected
    photos = Photos(files, SIZE, cache_mb=0)
    photos._room = first[0].nbytes + first[1].nbytes  # for two of them
    for _ in range(2):
        assert [photos[k].nbytes for k in range(N)]
    assert 0 <= photos._room < first[0].nbytes + first[1].nbytes
    assert sum(photo.nbytes for photo in photos._cache.values()) + photos._room == (
        first[0].nbytes + first[1].nbytes
    )


def test_photos_are_shrunk_but_never_enlarged(files, photos):
    for k in range(N):
        height, width = photos[k].shape[:2]
        whole = Image.open(files[k])
        kept = min(whole.size) < 1.1 * 2 * SIZE  # near enough
        assert min(height, width) == (min(whole.size) if kept else 2 * SIZE)
        assert width / height == pytest.approx(whole.width / whole.height, rel=0.05)
    large = Photos(files, 400)
    assert large[0].shape == (40, 40, 3)


def test_order_is_a_permutation_that_differs_by_epoch_and_seed():
    orders = [
        tuple(pipeline.epoch_order(50, seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)
    ]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(orders)) == 6
    assert tuple(pipeline.epoch_order(50, 0, 1)) == orders[1]


@pytest.mark.parametrize(("drop", "steps", "seen"), [(False, 3, N), (True, 2, 2 * BATCH)])
def test_a_pass_shows_every_record_once(drop, steps, seen):
    assert pipeline.steps_per_epoch(N, BATCH, drop) == steps
    for epoch in range(3):
        rows = []
        for step in range(epoch * steps, (epoch + 1) * steps):
            number, part = pipeline.batch_rows(step, N, BATCH, 0, drop)
            assert number == epoch
            assert len(part) == BATCH or not drop
            rows += part.tolist()
        assert len(set(rows)) == len(rows) == seen


def test_no_record_is_left_out_for_good_by_dropping_the_remainder():
    rows = [pipeline.batch_rows(step, N, BATCH, 0, True)[1] for step in range(2 * 10)]
    assert set(np.concatenate(rows)) == set(range(N))


def test_exact_multiples_have_no_part_batch():
    assert pipeline.steps_per_epoch(8, 4) == pipeline.steps_per_epoch(8, 4, True) == 2
    assert pipeline.steps_per_epoch(3, 4) == 1


def test_two_views_are_float32_pixels_that_differ(photos):
    for batch in two_views(photos):
        assert batch.shape == (2, BATCH, SIZE, SIZE, 3)
        assert batch.dtype == np.float32
        assert batch.min() >= 0
        assert 1 < batch.max() <= 255
        assert (batch == np.round(batch)).all()
        difference = np.abs(batch[0] - batch[1]).mean(axis=(1, 2, 3))
        assert (difference > 1).all()


def test_views_change_with_epoch_and_seed(photos):
    rows, records = np.arange(N), np.arange(N)

    def view(seed=0, epoch=0, number=0):
        return pipeline.views(photos, rows, records, POLICY, seed, epoch, number, SIZE)

    np.testing.assert_array_equal(view(), view())
    for other in (view(seed=1), view(epoch=1), view(number=1)):
        assert all((a != b).any() for a, b in zip(view(), other))


def test_two_views_are_those_of_the_records(photos):
    # Augmentation off: what is left is which record stands where, alike in both views.
    data = two_views(photos, policy=Policy())
    for step, batch in enumerate(data):
        _, rows = pipeline.batch_rows(step, N, BATCH, 0, drop_remainder=True)
        expected = np.stack([opencv.center_square(photos[row], SIZE) for row in rows])
        np.testing.assert_array_equal(batch[0], expected)
        np.testing.assert_array_equal(batch[1], expected)


def test_labels_and_weights_stay_with_their_photo(photos):
    for step, (images, targets, weights) in enumerate(labelled(photos, policy=Policy())):
        _, rows = pipeline.batch_rows(step, N, BATCH, 0)
        assert images.shape == (len(rows), SIZE, SIZE, 3)
        assert images.dtype == np.float32
        expected = np.stack([opencv.center_square(photos[row], SIZE) for row in rows])
        np.testing.assert_array_equal(images, expected)
        for name in ("fine", "coarse"):
            assert targets[name].dtype == np.int64
            assert weights[name].dtype == np.float32
            np.testing.assert_array_equal(targets[name], TARGETS[name][rows])
            np.testing.assert_array_equal(weights[name], WEIGHTS[name][rows].astype(np.float32))


def test_a_record_has_the_same_view_in_every_subset(files, photos):
    # Few labels against many: the same photo in the same epoch must look the same.
    some = np.array([2, 5, 7, 8])
    few = Photos([files[k] for k in some], SIZE)
    ((images, _, _),) = labelled(few, steps=1, records=some, rows=some)
    _, places = pipeline.batch_rows(0, len(some), BATCH, 0)
    for place, image in zip(places, images):
        expected = pipeline.views(photos, [some[place]], np.arange(N), POLICY, 0, 0, 0, SIZE)
        np.testing.assert_array_equal(image, expected[0])


def test_plain_is_every_photo_once_in_order(photos):
    batches = list(pipeline.evaluation_data(photos, BATCH, SIZE).as_numpy_iterator())
    assert [len(batch) for batch in batches] == [4, 4, 3]
    found = np.concatenate(batches)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [opencv.center_square(photos[k], SIZE) for k in range(N)])
    data = pipeline.evaluation_data(photos, BATCH, SIZE, TARGETS, WEIGHTS)
    images, targets, weights = zip(*data.as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate(images), found)
    for name in ("fine", "coarse"):
        joined = np.concatenate([batch[name] for batch in targets])
        np.testing.assert_array_equal(joined, TARGETS[name])
        joined = np.concatenate([batch[name] for batch in weights])
        np.testing.assert_array_equal(joined, WEIGHTS[name].astype(np.float32))


def test_static_shapes_are_known_to_the_model(photos):
    assert pipeline.evaluation_data(photos, BATCH, SIZE).element_spec.shape == (None, SIZE, SIZE, 3)
    data = pipeline.two_view_data(photos, POLICY, 0, BATCH, SIZE, 3)
    assert [view.shape for view in data.element_spec] == [(BATCH, SIZE, SIZE, 3)] * 2
    assert data.cardinality() == 3


def test_reading_does_not_change_the_cached_photos(photos):
    before = [photos[k].copy() for k in range(N)]
    two_views(photos)
    labelled(photos, policy=AUGMENTATIONS["flip_brightness"])
    list(pipeline.evaluation_data(photos, BATCH, SIZE))
    for k in range(N):
        np.testing.assert_array_equal(photos[k], before[k])


@pytest.mark.parametrize(("workers", "devices"), [(2, 1), (1, 2), (2, 2)])
def test_the_parts_of_workers_and_devices_make_up_the_batch(photos, workers, devices):
    def parts(worker):
        data = pipeline.two_view_data(
            photos, POLICY, 0, BATCH, SIZE, 4, 1, worker, workers, devices
        )  # fmt: skip
        return [np.stack(views) for views in data.as_numpy_iterator()]

    every = [parts(worker) for worker in range(workers)]
    together = [
        np.concatenate([part for own in every for part in own[devices * k : devices * (k + 1)]], 1)
        for k in range(3)
    ]
    same(together, two_views(photos, start=1, steps=4))


@pytest.mark.parametrize("policy", ["skin", "skin_mixup"])
def test_unequal_parts_have_weights_that_make_up_for_it(photos, policy):
    policy = AUGMENTATIONS[policy]

    def part(worker):
        data = pipeline.supervised_data(
            photos, np.arange(N), TARGETS, WEIGHTS, policy, 0, BATCH, SIZE, 3, 0, worker, 2
        )
        return list(data.as_numpy_iterator())

    whole, (first, second) = labelled(photos, steps=3, policy=policy), (part(0), part(1))
    assert [len(step[0]) for step in first + second] == [2, 2, 1, 2, 2, 2]
    for step, one, two in zip(whole, first, second):
        np.testing.assert_array_equal(np.concatenate([one[0], two[0]]), step[0])
        for name in TARGETS:
            labels = np.concatenate([one[1][name], two[1][name]])
            np.testing.assert_array_equal(labels, step[1][name])
            # Any loss of a photo: the mean over both parts' means is that over the batch.
            loss = np.cos(np.arange(len(labels)))
            losses = np.split(loss, [len(one[0])])
            means = [
                np.mean(own * side[2][name]) for own, side in zip(losses, (one, two), strict=True)
            ]
            assert np.mean(means) == pytest.approx(np.mean(loss * step[2][name]), rel=1e-6)

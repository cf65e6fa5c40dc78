"""Augmentation: it does something, the same thing each time, and what it says."""

import itertools
import math

import cv2
import numpy as np
import pytest
import tensorflow as tf
from twins import augment_tf

from dermssl.core.errors import UserError
from dermssl.data.augmentation import draw as augment_policy
from dermssl.data.augmentation import opencv, policies
from dermssl.data.augmentation.draw import FOCUS_RADIUS, SKIN_GREY, Params, draw
from dermssl.data.augmentation.opencv import apply, center_square
from dermssl.data.augmentation.policies import AUGMENTATIONS, Policy, scaled

ASPECT = 4 / 3
SIMCLR = AUGMENTATIONS["simclr"]
ACTIVE = [name for name in AUGMENTATIONS if name != "none"]
OPS = {
    "crop": Policy(crop=(0.3, 0.6), shift=1.0),
    "rotate": Policy(rotate=180),
    "shear": Policy(shear=10),
    "flip_h": Policy(flip_h=1.0),
    "flip_v": Policy(flip_v=1.0),
    "brightness": Policy(brightness=0.3),
    "contrast": Policy(contrast=0.3),
    "saturation": Policy(saturation=0.3),
    "hue": Policy(hue=6),
    "grayscale": Policy(grayscale=1.0),
    "blur": Policy(blur=1.0, blur_sigma=(0.004, 0.007)),
    "noise": Policy(noise=1.0, noise_sigma=6.0),
    "dim": Policy(dim=(0.5, 0.7)),
}
RANDOM_OPS = [name for name in OPS if name not in ("flip_h", "flip_v", "grayscale")]


@pytest.fixture(scope="module")
def photo():
    """A lesion-like photo with detail at all scales, uint8 [150, 200, 3]."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:150, :200]
    inside = np.hypot(x - 95, (y - 80) * 1.3) < 45 + 6 * np.sin(np.arctan2(y - 80, x - 95) * 5)
    image = (
        np.where(inside[..., None], [120, 70, 50], [205, 160, 140]) + 20 * np.sin(x / 7)[..., None]
    )
    return np.clip(image + rng.normal(0, 6, (150, 200, 3)), 0, 255).astype(np.uint8)


def view_of(photo, policy, *key, size=64):
    return apply(photo, draw(policy, *key, aspect=photo.shape[1] / photo.shape[0]), size)


def identity(**changes):
    return Params(
        np.eye(2, 3, dtype=np.float32), np.eye(3, 4, dtype=np.float32), 0.0, 0.0, 0, 1.0
    )._replace(**changes)


# The draw

# Of (seed, epoch, record, view) = (1, 2, 5, 4).
GOLDEN_UNIFORMS = [0.5397884747602771, 0.7761963998638497, 0.41156536799229315]
GOLDEN_AFFINE = [[0.676903, 0.375073, 0.281357], [-0.420294, 0.704981, 0.0]]
GOLDEN_COLOUR = [
    [1.032026, -0.127081, 0.03135, 22.935328],
    [0.00035, 0.994799, -0.058855, 22.935328],
    [-0.089855, -0.036876, 1.063026, 22.935328],
]
GOLDEN_REST = (0.003996863943943625, 0.20311321430084184, 2115701795, 1.0)


def test_golden_draw():
    # A change here changes every run's augmentation: old checkpoints can't be resumed exactly.
    params = draw(SIMCLR, 1, 2, 5, 4, aspect=ASPECT)
    assert augment_policy.uniforms(1, 2, 5, 4, count=3) == pytest.approx(GOLDEN_UNIFORMS, abs=1e-15)
    np.testing.assert_allclose(params.affine, GOLDEN_AFFINE, atol=1e-5)
    np.testing.assert_allclose(params.colour, GOLDEN_COLOUR, atol=1e-4)
    assert params[2:] == pytest.approx(GOLDEN_REST, rel=1e-9)


def test_draws_need_no_order():
    keys = list(itertools.product((0, 1), (0, 5), (0, 9), (0, 1)))
    forward = [draw(SIMCLR, *key) for key in keys]
    backward = [draw(SIMCLR, *key) for key in reversed(keys)][::-1]
    np.random.seed(3)  # nobody's global state enters
    for one, other in zip(forward, backward):
        assert all(np.array_equal(a, b) for a, b in zip(one, other))
    assert len({params.affine.tobytes() for params in forward}) == len(keys)


def test_each_part_of_the_key_counts_by_itself():
    keys = [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (0, 0, 0, 0)]
    rows = {tuple(augment_policy.uniforms(*key)) for key in keys}
    rows.add(tuple(augment_policy.uniforms(0, 0, 0, 0, stream=1)))
    assert len(rows) == 6


def test_uniforms_are_uniform_and_uncorrelated():
    n = 3000
    rows = np.array([augment_policy.uniforms(0, 0, record, 0) for record in range(n)])
    views = np.array([augment_policy.uniforms(0, 0, record, 1) for record in range(n)])
    assert rows.min() >= 0
    assert rows.max() < 1
    np.testing.assert_allclose(rows.mean(0), 0.5, atol=5 * math.sqrt(1 / 12 / n))
    both = np.corrcoef(np.hstack([rows[:-1], rows[1:], views[:-1]]), rowvar=False)
    np.fill_diagonal(both, 0)
    assert np.abs(both).max() < 5 / math.sqrt(n)  # 2,556 pairs: 5 sigma


def test_rotation_is_uniform_on_the_circle():
    policy = Policy(rotate=180)
    affines = np.array([draw(policy, 0, 0, record, 0).affine for record in range(3600)])
    angles = np.arctan2(affines[:, 1, 0], affines[:, 0, 0])
    counts, _ = np.histogram(angles, bins=36, range=(-math.pi, math.pi))
    assert ((counts - 100) ** 2 / 100).sum() < 73  # chi2, 35 degrees of freedom: p = 2e-4
    np.testing.assert_allclose(np.linalg.det(affines[:, :, :2]), 1, atol=1e-5)


def test_probabilities_are_kept():
    views = [draw(SIMCLR, 0, 0, record, 0) for record in range(2000)]
    grey = np.mean([np.ptp(v.colour[:, 0]) < 1e-6 for v in views])
    still = np.mean([np.array_equal(v.colour, np.eye(3, 4)) for v in views])
    turned = np.mean([np.linalg.det(v.affine[:, :2]) < 0 for v in views])
    got = [
        grey,
        still,
        turned,
        np.mean([v.blur > 0 for v in views]),
        np.mean([v.noise > 0 for v in views]),
    ]
    np.testing.assert_allclose(got, [0.2, 0.2 * 0.8, 0.5, 0.5, 0.5], atol=0.045)  # 4 sigma
    shares = np.array([abs(np.linalg.det(v.affine[:, :2])) for v in views])
    assert 0.2499 < shares.min() < 0.26
    assert 0.99 < shares.max() < 1.0001


# Crops keep the lesion


def inside_crop(affine, points):
    """Which of the points (photo coordinates) a view shows."""
    at = np.linalg.solve(affine[:, :2].astype(float), (points - affine[:, 2]).T)
    return np.abs(at).max(axis=0) <= 1


@pytest.mark.parametrize("name", ["skin", "simclr"])
@pytest.mark.parametrize("strength", [1.0, 0.3])
@pytest.mark.parametrize("aspect", [0.6, 1.0, 1.5])
def test_a_crop_overlaps_the_central_disc(name, strength, aspect):
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 21)] * 2), -1).reshape(-1, 2)
    disc = FOCUS_RADIUS * grid[np.hypot(*grid.T) <= 1]
    policy = scaled(AUGMENTATIONS[name], strength)
    shown = [inside_crop(draw(policy, 0, 0, r, 0, aspect).affine, disc).mean() for r in range(300)]
    assert min(shown) > 0.02
    assert np.mean(shown) > 0.7


def test_a_crop_overlaps_the_lesions_box():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 25)] * 2), -1).reshape(-1, 2)
    small = Policy(crop=(0.05, 0.1), shift=1.0, rotate=180, shear=8)
    for record in range(1000):
        corner = rng.uniform(0, 0.9, 2)
        sides = rng.uniform(0.05, 1 - corner)
        points = (2 * (corner + grid * sides) - 1) * [ASPECT, 1]
        focus = (*corner, *(corner + sides))
        for policy in (SIMCLR, small):
            affine = draw(policy, 0, 0, record, 0, ASPECT, focus).affine
            assert inside_crop(affine, points).any()


def test_crops_favour_no_side():
    policy = Policy(crop=(0.1, 0.2), shift=1.0)
    middles = np.array([draw(policy, 0, 0, record, 0).affine[:, 2] for record in range(2000)])
    spread = middles.std(0)
    assert (spread > 0.2).all()
    assert (np.abs(middles.mean(0)) < 4 * spread / math.sqrt(2000)).all()


def test_small_crops_stay_on_the_photo():
    policy = Policy(crop=(0.2, 0.3), shift=1.0, rotate=180)
    over = 0
    for record in range(1000):
        affine = draw(policy, 0, 0, record, 0, ASPECT).affine
        corners = affine[:, :2] @ [[-1, 1, -1, 1], [-1, -1, 1, 1]] + affine[:, 2:]
        over += (np.abs(corners).max(axis=1) > [ASPECT + 1e-5, 1 + 1e-5]).any()
    assert over <= 10


# The pixels


def numpy_warp(image, affine, size):
    """The view by the definition, one pixel after the other."""
    height, width = image.shape[:2]
    out = np.zeros((size, size, 3))

    def mirror(i, n):
        i %= 2 * (n - 1)
        return min(i, 2 * (n - 1) - i)

    for row, column in itertools.product(range(size), range(size)):
        place = np.array([(2 * column + 1) / size - 1, (2 * row + 1) / size - 1, 1])
        x, y = affine.astype(float) @ place * min(height, width) / 2 + [width / 2, height / 2] - 0.5
        for dx, dy in itertools.product((0, 1), (0, 1)):
            i, j = math.floor(x) + dx, math.floor(y) + dy
            weight = (1 - abs(x - i)) * (1 - abs(y - j))
            out[row, column] += weight * image[mirror(j, height), mirror(i, width)]
    return out


@pytest.mark.parametrize("record", range(4))
def test_warp_equals_numpy(photo, record):
    affine = draw(
        Policy(crop=(0.5, 1), shift=1, rotate=180, shear=8, flip_h=0.5), 0, 0, record, 0, ASPECT
    )[0]
    got = apply(photo, identity(affine=affine), 72)
    assert np.abs(got - numpy_warp(photo, affine, 72)).max() < 2


def test_warp_keeps_circles_round():
    image = np.zeros((120, 240, 3), np.uint8)
    cv2.circle(image, (120, 60), 30, (255, 255, 255), -1)
    for record in range(5):
        view = view_of(image, Policy(rotate=180), 0, 0, record, 0, size=120)[..., 0] > 127
        y, x = np.nonzero(view)
        assert abs(np.ptp(x) - np.ptp(y)) <= 2
        assert view.sum() == pytest.approx(math.pi * 30**2, rel=0.05)


@pytest.mark.parametrize(
    ("side", "middle", "shrink"),
    [(0.8, (0, 0), 6), (0.8, (0.3, -0.45), 6), (0.8, (0.9, 0.8), 6), (0.3, (1.5, -1.2), 2)],
)
def test_large_photos_are_averaged_not_skipped(side, middle, shrink):
    image = np.random.default_rng(1).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    affine = np.array([[side, -0.1, middle[0]], [0.1, side, middle[1]]], np.float32)
    view = apply(image, identity(affine=affine), 64)
    matrix, got = opencv.pixel_affine(affine, 700, 900, 64)
    assert got == shrink
    assert view.std() < 75 / shrink  # noise of sigma 74, averaged over shrink x shrink pixels
    # The part that was cut out equals the same places of the whole averaged photo.
    rows, columns = 700 // shrink, 900 // shrink
    blocks = image[: rows * shrink].reshape(rows, shrink, columns, shrink, 3).mean((1, 3)).round()
    matrix[:, 2] = (matrix[:, 2] + 0.5) / shrink - 0.5
    matrix[:, :2] /= shrink
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = cv2.warpAffine(blocks.astype(np.uint8), matrix, (64, 64), flags=flags, borderMode=4)
    assert np.abs(view.astype(int) - whole).max() <= 2


def test_colour_matrix_equals_numpy(photo):
    for record in range(10):
        colour = draw(SIMCLR, 0, 0, record, 0).colour
        base = center_square(photo, 64).astype(float)
        want = np.clip(base @ colour[:, :3].T.astype(float) + colour[:, 3], 0, 255)
        got = apply(photo, identity(colour=colour), 64)
        # 0.5 for rounding, and OpenCV's coefficients in 1/1024: 3 * 255 * 0.5 / 1024 = 0.37
        assert np.abs(got - want).max() < 0.88


def test_colour_matrix_is_its_parts():
    colour = draw(Policy(contrast=0.3, brightness=0.3), 0, 0, 0, 0).colour
    grey = draw(Policy(grayscale=1.0), 0, 0, 0, 0).colour
    bright = draw(Policy(brightness=0.3), 0, 0, 0, 0).colour
    assert colour[0, 1] == colour[1, 0] == 0
    assert colour[0, 0] != pytest.approx(bright[0, 0], abs=0.01)
    np.testing.assert_allclose(colour @ [*[SKIN_GREY] * 3, 1], bright @ [*[SKIN_GREY] * 3, 1], 1e-5)
    np.testing.assert_allclose(grey, [[0.299, 0.587, 0.114, 0]] * 3, atol=1e-6)
    for record in range(20):  # brightness 0: hue and saturation leave greys alone
        soft = draw(Policy(hue=6, saturation=0.3), 0, 0, record, 0).colour
        np.testing.assert_allclose(soft @ [90, 90, 90, 1], 90, atol=1e-3)


@pytest.mark.parametrize("name", ["skin", "simclr"])
def test_hue_moves_no_further_than_the_policy_says(name):
    def hue(rgb):
        red, green, blue = rgb.T
        return np.degrees(np.arctan2(math.sqrt(3) * (green - blue), 2 * red - green - blue))

    skin = np.array([[200, 150, 130], [120, 70, 50], [180, 60, 70], [70, 60, 80]], float)
    policy = AUGMENTATIONS[name]
    moved = []
    for record in range(1000):
        colour = draw(policy, 0, 0, record, 0).colour.astype(float)
        if np.ptp(colour[:, 0]) > 1e-6:  # a grey view has no hue
            moved.append(np.abs(hue(skin @ colour[:, :3].T + colour[:, 3]) - hue(skin)).max())
    assert 0.95 * policy.hue < max(moved) < policy.hue + 1e-3 <= 7


def test_old_brightness_rule_is_exact(photo):
    factors = []
    for record in range(200):
        params = draw(AUGMENTATIONS["brightness"], 0, 0, record, 0)
        factors.append(params.dim)
        if record < 10:
            want = np.floor(center_square(photo, 64) * params.dim).astype(np.uint8)
            assert np.array_equal(apply(photo, params, 64), want)
    assert 0.5 <= min(factors) < 0.51
    assert 0.69 < max(factors) < 0.7


def test_flips_are_exact(photo):
    base, seen = center_square(photo, 64), set()
    for record in range(40):
        params = draw(AUGMENTATIONS["flip_hv"], 0, 0, record, 0, ASPECT)
        x, y = int(params.affine[0, 0]), int(params.affine[1, 1])
        seen.add((x, y))
        assert np.array_equal(apply(photo, params, 64), base[::y, ::x])
    assert len(seen) == 4


def test_plain_is_the_central_square(photo):
    assert np.array_equal(center_square(photo, 150), photo[:, 25:175])
    assert np.array_equal(
        center_square(photo, 75), cv2.resize(photo[:, 25:175], (75, 75), interpolation=3)
    )
    means = photo[:, 25:175].reshape(75, 2, 75, 2, 3).mean((1, 3))
    assert np.abs(center_square(photo, 75) - means).max() <= 0.51
    assert center_square(photo, 300).shape == (300, 300, 3)


def test_short_cuts_give_the_same_pixels(photo):
    """Four channels to the warp and equal types to the noise are faster, and change nothing."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for record in range(6):
        affine = draw(SIMCLR, 0, 0, record, 0, ASPECT).affine
        matrix, shrink = opencv.pixel_affine(affine, 150, 200, 96)
        assert shrink == 1
        want = cv2.warpAffine(photo, matrix, (96, 96), flags=flags, borderMode=4)
        assert np.array_equal(apply(photo, identity(affine=affine), 96), want)
        top, left = opencv.noise_place(9000 + record)
        tile = opencv.noise_tile(96 + opencv.NOISE_SHIFTS)[top : top + 96, left : left + 96]
        base = center_square(photo, 96)
        want = cv2.addWeighted(base, 1, tile, (1 + record) / opencv.NOISE_UNIT, 0, dtype=0)
        got = apply(photo, identity(noise=1.0 + record, noise_key=9000 + record), 96)
        assert np.abs(got.astype(int) - want).max() <= 1  # where a sum ends on .5
        assert (got == want).mean() > 0.999


def test_noise_has_its_sigma(photo):
    flat = np.full((64, 64, 3), 128, np.uint8)
    noisy = apply(flat, identity(noise=5.0, noise_key=12345), 64).astype(float)
    assert noisy.std() == pytest.approx(5, rel=0.05)
    assert abs(noisy.mean() - 128) < 0.3
    other = apply(flat, identity(noise=5.0, noise_key=54321), 64)
    assert abs(np.corrcoef(noisy.ravel(), other.ravel())[0, 1]) < 0.05


# Each policy and operation


@pytest.mark.parametrize("name", [*ACTIVE, *OPS])
def test_it_does_something_and_stays_an_image(photo, name):
    policy = {**OPS, **AUGMENTATIONS}[name]
    before = photo.copy()
    base = center_square(photo, 64)
    views = [view_of(photo, policy, 0, 0, record, 0) for record in range(8)]
    assert sum(not np.array_equal(view, base) for view in views) >= 4
    assert all(view.shape == (64, 64, 3) and view.dtype == np.uint8 for view in views)
    assert np.array_equal(photo, before)
    assert np.mean(views) > 40  # no black corners
    assert np.array_equal(views[3], view_of(photo, policy, 0, 0, 3, 0))


@pytest.mark.parametrize("name", ["brightness", "skin", "simclr", *RANDOM_OPS])
def test_views_epochs_records_and_seeds_differ(photo, name):
    policy = {**OPS, **AUGMENTATIONS}[name]
    for other in ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)):
        one, two = view_of(photo, policy, 0, 0, 0, 0), view_of(photo, policy, *other)
        assert not np.array_equal(one, two)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_nought_is_plain(photo, name):
    policy = scaled(AUGMENTATIONS[name], 0.0)
    for record in range(10):
        assert np.array_equal(view_of(photo, policy, 0, 0, record, 0), center_square(photo, 64))


def test_strength_lies_between(photo):
    assert scaled(SIMCLR, 1.0) == SIMCLR
    half = scaled(SIMCLR, 0.5)
    assert (half.crop, half.rotate, half.hue, half.blur) == ((0.625, 1.0), 90, 3, 0.5)
    base = center_square(photo, 64).astype(float)
    colour_only = Policy(brightness=0.3, contrast=0.3, saturation=0.3, hue=6)
    away = [
        np.mean(
            [np.abs(view_of(photo, scaled(colour_only, s), 0, 0, r, 0) - base) for r in range(20)]
        )
        for s in (0.0, 0.3, 0.6, 1.0)
    ]
    assert away == sorted(away)
    assert away[0] == 0


def test_bad_names_and_values_are_refused(photo):
    with pytest.raises(UserError, match=r"skinn.*choose one of: none, flip_hv"):
        policies.find_policy("skinn")
    with pytest.raises(UserError, match=r"strength is 1.5"):
        scaled(AUGMENTATIONS["skin"], 1.5)
    with pytest.raises(UserError, match=r"Policy.crop"):
        Policy(crop=(0.8, 0.3))
    with pytest.raises(UserError, match=r"Policy.flip_h"):
        Policy(flip_h=1.5)
    for wrong in (photo.astype(np.float32), photo[..., 0], np.dstack([photo, photo[..., :1]])):
        with pytest.raises(ValueError, match="uint8"):
            apply(wrong, identity(), 64)


# The TensorFlow twin


@pytest.mark.parametrize("shape", [(150, 200), (200, 130), (40, 50), (301, 407)])
def test_twin_shows_the_same(photo, shape):
    image = cv2.resize(photo, shape[::-1])
    for name, record in itertools.product(AUGMENTATIONS, range(3)):
        params = draw(AUGMENTATIONS[name], 0, 0, record, 0, aspect=shape[1] / shape[0])
        ours = apply(image, params, 64).astype(int)
        theirs = augment_tf.apply_tf(image, augment_tf.as_tensors(params), 64).numpy()
        apart = np.abs(ours - theirs)
        assert apart.mean() < 0.3, name
        assert apart.max() <= 3, name


def test_twin_in_tf_data_equals_eager(photo):
    drawn = [draw(SIMCLR, 0, 0, record, 0, ASPECT) for record in range(6)]
    drawn.append(draw(AUGMENTATIONS["flip_brightness"], 0, 0, 0, 0))
    data = tf.data.Dataset.from_tensor_slices(augment_tf.as_tensors(drawn))
    data = data.map(lambda params: augment_tf.apply_tf(photo, params, 48), num_parallel_calls=2)
    assert data.element_spec == tf.TensorSpec((48, 48, 3), tf.uint8)
    for params, view in zip(drawn, data, strict=True):
        eager = augment_tf.apply_tf(photo, augment_tf.as_tensors(params), 48)
        assert np.abs(view.numpy().astype(int) - eager.numpy()).max() <= 1
        assert np.abs(view.numpy().astype(int) - apply(photo, params, 48)).max() <= 3


def test_host_engine_in_tf_data_equals_eager(photo):
    def view(record):
        return view_of(photo, SIMCLR, 0, 0, int(record), 1, size=48)

    data = tf.data.Dataset.range(8).map(
        lambda record: tf.numpy_function(view, [record], tf.uint8), num_parallel_calls=2
    )
    for record, got in enumerate(data):
        assert np.array_equal(got.numpy(), view(record))

"""NT-Xent against golden values, an O(N^2) transcription of the paper, and its symmetries."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dermssl.losses.nt_xent import contrastive_statistics, nt_xent, pair_logits

Z1 = np.array([[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]], np.float32)
Z2 = np.array([[6, 5, 4, 3], [5, 4, 3, 2], [4, 3, 2, 1]], np.float32)


def loop(first, second, temperature):
    """Algorithm 1 of Chen et al. (2020), in float64, one anchor after the other."""
    both = np.concatenate([first, second]).astype(np.float64)
    n, total = len(first), 0.0
    for i in range(2 * n):
        j = i + n if i < n else i - n

        def similarity(k, i=i):
            return both[i] @ both[k] / np.linalg.norm(both[i]) / np.linalg.norm(both[k])

        others = sum(np.exp(similarity(k) / temperature) for k in range(2 * n) if k != i)
        total -= np.log(np.exp(similarity(j) / temperature) / others)
    return total / (2 * n)


def random_views(n, d, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, n, d)).astype(np.float32)


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 1.783345), (0.1, 2.863050)])
def test_golden_values(temperature, expected):
    assert float(nt_xent(Z1, Z2, temperature)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("temperature", "expected"), [(0.5, 0.594438), (1.0, 1.1654)])
def test_equal_views_of_orthogonal_records(temperature, expected):
    eye = np.eye(4, dtype=np.float32)
    closed_form = np.log(1 + 6 * np.exp(-1 / temperature))
    assert float(nt_xent(eye, eye, temperature)) == pytest.approx(closed_form, abs=1e-6)
    assert closed_form == pytest.approx(expected, abs=5e-5)


def test_the_default_temperature_is_the_paper_s():
    assert float(nt_xent(Z1, Z2)) == pytest.approx(2.863050, abs=1e-6)


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("d", [2, 16, 64])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_equals_the_loop(n, d, temperature):
    first, second = random_views(n, d)
    expected = loop(first, second, temperature)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(expected, rel=2e-6)


def test_equals_the_loop_in_one_dimension():
    first, second = random_views(4, 1, seed=3)
    assert float(nt_xent(first, second, 0.5)) == pytest.approx(loop(first, second, 0.5), rel=2e-6)


@pytest.mark.parametrize("d", [1, 2, 16])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_one_record_has_nothing_to_contrast(d, temperature):
    assert float(nt_xent(*random_views(1, d), temperature)) == 0


@pytest.mark.parametrize("n", [2, 5, 16])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_equal_embeddings_give_chance(n, temperature):
    same = np.full((n, 8), 0.3, np.float32)
    assert float(nt_xent(same, same, temperature)) == pytest.approx(np.log(2 * n - 1), rel=1e-6)


def test_is_symmetric_in_the_views():
    first, second = random_views(6, 8)
    assert float(nt_xent(first, second)) == pytest.approx(float(nt_xent(second, first)), rel=1e-6)


def test_does_not_see_scale_or_order():
    first, second = random_views(6, 8)
    expected = float(nt_xent(first, second))
    scale = np.random.default_rng(1).uniform(0.01, 100, size=(6, 1)).astype(np.float32)
    assert float(nt_xent(first * scale, second / scale)) == pytest.approx(expected, rel=1e-5)
    order = np.random.default_rng(2).permutation(6)
    assert float(nt_xent(first[order], second[order])) == pytest.approx(expected, rel=1e-6)
    # Another pairing is another loss: the invariance above is not blindness.
    assert float(nt_xent(first[order], second)) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 1.0])
def test_half_precision_inputs(temperature):
    first, second = random_views(8, 32)
    second = first + 0.1 * second
    expected = float(nt_xent(first, second, temperature))
    loss = nt_xent(first.astype(np.float16), second.astype(np.float16), temperature)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    # A similarity is off by float16's 1e-3 at most, and divided by the temperature.
    assert float(loss) == pytest.approx(expected, abs=1e-3 / temperature)


def test_half_precision_gradient_is_finite():
    first, second = (tf.Variable(view, dtype=tf.float16) for view in random_views(8, 32))
    with tf.GradientTape() as tape:
        loss = nt_xent(first, second, 0.1)
    for gradient in tape.gradient(loss, [first, second]):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("case", ["equal", "zero", "opposite", "huge", "tiny"])
def test_gradient_is_finite(case):
    first, second = random_views(4, 8)
    first, second = {
        "equal": (first, first),
        "zero": (0 * first, second),
        "opposite": (first, -first),
        "huge": (1e15 * first, second),
        "tiny": (1e-12 * first, second),
    }[case]
    first, second = tf.Variable(first), tf.Variable(second)
    with tf.GradientTape() as tape:
        loss = nt_xent(first, second, 0.05)
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, [first, second]):
        assert np.isfinite(gradient).all()


def test_gradient_equals_finite_differences():
    views = random_views(3, 4).astype(np.float64)
    first = tf.Variable(views[0], dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = nt_xent(first, views[1].astype(np.float32), 0.5)
    found = tape.gradient(loss, first).numpy()
    for place in np.ndindex(3, 4):
        step = np.zeros((3, 4))
        step[place] = 1e-5
        up, down = (loop(views[0] + sign * step, views[1], 0.5) for sign in (1, -1))
        assert found[place] == pytest.approx((up - down) / 2e-5, abs=1e-4)


def test_logits_hide_the_diagonal_and_name_the_partner():
    logits, partner = map(np.asarray, pair_logits(Z1, Z2, 0.5))
    assert partner.tolist() == [3, 4, 5, 0, 1, 2]
    assert (np.diag(logits) < -1e8).all()
    cosine = Z1[0] @ Z2[1] / np.linalg.norm(Z1[0]) / np.linalg.norm(Z2[1])
    assert logits[0, 4] == pytest.approx(cosine / 0.5, rel=1e-6)
    np.testing.assert_allclose(logits, logits.T, rtol=1e-6)


def test_statistics_by_hand():
    # Views of the first two records find each other; those of the last two are swapped.
    eye = np.eye(4, dtype=np.float32)
    accuracy, entropy = contrastive_statistics(*pair_logits(eye, eye[[0, 1, 3, 2]], 1.0))
    assert float(accuracy) == 0.5
    # Each anchor sees one equal vector and six orthogonal ones.
    p, q = np.e / (np.e + 6), 1 / (np.e + 6)
    assert float(entropy) == pytest.approx(-p * np.log(p) - 6 * q * np.log(q), rel=1e-6)


def test_statistics_at_both_ends():
    eye = np.eye(4, dtype=np.float32)
    accuracy, entropy = contrastive_statistics(*pair_logits(eye, eye, 0.01))
    assert float(accuracy) == 1
    assert float(entropy) == pytest.approx(0, abs=1e-6)
    same = np.ones((4, 3), np.float32)
    _, entropy = contrastive_statistics(*pair_logits(same, same, 0.1))
    assert float(entropy) == pytest.approx(np.log(7), rel=1e-6)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_keras_cv_gives_twice_as_much(temperature):
    losses = pytest.importorskip("keras_cv", reason="the extra is not installed").losses
    first, second = random_views(12, 8)
    theirs = float(losses.SimCLRLoss(temperature=temperature)(first, second))
    assert theirs == pytest.approx(2 * float(nt_xent(first, second, temperature)), rel=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_projection_of_zero_has_a_finite_gradient(jit_compile):
    """A small head may have no active unit for a photo; under XLA its gradient was NaN."""
    first, second = np.eye(4, 3, dtype="float32"), np.ones((4, 3), "float32")  # the last is zero

    @tf.function(jit_compile=jit_compile)
    def computed(first, second):
        with tf.GradientTape() as tape:
            tape.watch([first, second])
            loss = nt_xent(first, second)
        return loss, *tape.gradient(loss, [first, second])

    found = computed(tf.constant(first), tf.constant(second))
    assert all(np.isfinite(item).all() for item in found)
    # Its cosine with the others is 0, as that of a view in a direction of its own.
    apart = np.eye(4, dtype="float32"), np.pad(second, [(0, 0), (0, 1)])
    np.testing.assert_allclose(found[0], loop(*apart, 0.1), rtol=1e-5)

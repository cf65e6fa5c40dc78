"""Geometry and probes of embeddings: closed forms, slow twins, and what must not matter."""

import math

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import balanced_accuracy_score

from dermssl.training.ssl_health import embedding_quality


def normal(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_alignment_of_equal_and_of_opposite_views():
    z = normal(20, 5)
    assert embedding_quality.alignment(z, 3 * z) == pytest.approx(0, abs=1e-15)
    assert embedding_quality.alignment(z, -z) == pytest.approx(4)
    assert embedding_quality.alignment(z, -z, alpha=1) == pytest.approx(2)
    right_angle = [[0.0, 2.0]], [[5.0, 0.0]]
    assert embedding_quality.alignment(*right_angle) == pytest.approx(2)


@pytest.mark.parametrize("n", [16, 101])
def test_uniformity_of_even_points_on_a_circle(n):
    # The mean of exp(-4 (1 - cos)) over n even angles is e^-4 I0(4), to the last digit from
    # n = 32 or so on; without the n pairs of a point with itself it is this.
    angle = 2 * np.pi * np.arange(n) / n
    every = np.exp(-4 * (1 - np.cos(angle))).mean()
    expected = math.log((n * every - 1) / (n - 1))
    z = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert embedding_quality.uniformity(7 * z) == pytest.approx(expected, abs=1e-12)
    if n > 100:
        assert every == pytest.approx(np.exp(-4) * special.i0(4), rel=1e-12)


@pytest.mark.parametrize("d", [2, 3, 16])
def test_uniformity_of_points_uniform_on_the_sphere(d):
    even = embedding_quality.uniformity_on_sphere(d)
    assert embedding_quality.uniformity(normal(3000, d)) == pytest.approx(even, abs=0.02)
    closed = {2: np.exp(-4) * special.i0(4), 3: np.exp(-4) * np.sinh(4) / 4}
    if d in closed:
        assert even == pytest.approx(math.log(closed[d]), rel=1e-12)


def test_uniformity_of_one_point_and_of_none():
    assert embedding_quality.uniformity(np.ones((9, 4))) == pytest.approx(0, abs=1e-12)
    assert math.isnan(embedding_quality.uniformity(np.ones((1, 4))))


@pytest.mark.parametrize("d", [1, 2, 7])
def test_effective_rank_is_d_for_an_identity_covariance(d):
    q, _ = np.linalg.qr(normal(40, d))  # orthonormal columns: the covariance is I / 40
    assert embedding_quality.effective_rank(13 * q) == pytest.approx(d, rel=1e-12)


def test_effective_rank_of_rank_one_and_of_nothing():
    assert embedding_quality.effective_rank(np.outer(normal(30, 1), normal(1, 8))) == pytest.approx(
        1
    )
    assert embedding_quality.effective_rank(np.full((30, 8), 0.3)) == pytest.approx(1)
    assert math.isnan(embedding_quality.effective_rank(np.zeros((30, 8))))


def test_effective_rank_of_known_singular_values():
    q, _ = np.linalg.qr(normal(30, 2))
    p = 3 / 4
    expected = math.exp(-p * math.log(p) - (1 - p) * math.log(1 - p))
    assert embedding_quality.effective_rank(q * [3, 1]) == pytest.approx(expected)


def test_spread_is_one_on_the_sphere_and_zero_at_a_point():
    assert embedding_quality.dimension_spread(normal(5000, 16)) == pytest.approx(
        np.ones(16), abs=0.05
    )
    assert embedding_quality.dimension_spread(np.ones((9, 4))) == pytest.approx(
        np.zeros(4), abs=1e-12
    )
    two = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert embedding_quality.dimension_spread(two) == pytest.approx([math.sqrt(2), 0])


def test_pair_accuracy_equals_a_loop():
    first = normal(30, 3, seed=1)
    second = first + 0.5 * normal(30, 3, seed=2)
    both = embedding_quality.unit(np.concatenate([first, second]))
    right = 0
    for row in range(60):
        others = [k for k in range(60) if k != row]
        right += max(others, key=lambda k: both[row] @ both[k]) == (row + 30) % 60
    assert 0 < right < 60
    assert embedding_quality.pair_accuracy(first, second) == pytest.approx(right / 60)
    # It is the statistic that training reports, on other views.
    from dermssl.losses import nt_xent

    logits, partner = nt_xent.pair_logits(first, second, 0.1)
    assert float(nt_xent.contrastive_statistics(logits, partner)[0]) == pytest.approx(right / 60)


@pytest.mark.parametrize(
    "measure", [embedding_quality.pair_accuracy, embedding_quality.nearest_pairs]
)
def test_a_collapsed_model_finds_pairs_by_chance(measure):
    point = np.full((25, 7), 0.123)
    assert measure(point, point) == pytest.approx(1 / 49)
    assert measure(normal(25, 7), normal(25, 7)) == pytest.approx(1)
    assert math.isnan(measure(point[:1], point[:1]))


def test_nearest_pairs_sees_lengths():
    first = np.array([[1.0, 1.0], [2.0, 2.0], [9.0, 9.0]])
    assert embedding_quality.nearest_pairs(first, first + 0.1) == 1
    assert embedding_quality.pair_accuracy(first, first) == pytest.approx(
        1 / 5
    )  # all one direction


def labelled(n=120, classes=3, seed=0, separation=4.0):
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 2
    labels = rng.integers(classes, size=n // 2)[groups]
    vectors = rng.normal(size=(n, 6))
    vectors[:, :classes] += separation * np.eye(classes)[labels]
    return vectors, labels, groups


def test_halves_share_no_group_and_every_class_is_in_both():
    _, labels, groups = labelled()
    half = embedding_quality.halves(labels, groups)
    assert set(half) == {0, 1}
    assert not set(groups[half == 0]) & set(groups[half == 1])
    for label in range(3):
        sizes = [((half == k) & (labels == label)).sum() for k in (0, 1)]
        assert abs(sizes[0] - sizes[1]) <= 2
    np.testing.assert_array_equal(half, embedding_quality.halves(labels, groups))


def test_a_class_of_one_group_is_left_out_of_the_halves():
    _, labels, groups = labelled()
    labels = labels.copy()
    labels[groups == 7] = 3
    half = embedding_quality.halves(labels, groups)
    assert (half[labels == 3] == -1).all()
    assert (half[labels != 3] >= 0).all()
    assert embedding_quality.halves([0, 0, 0, 0], [1, 2, 3, 4]) is None
    assert embedding_quality.halves([0, 1], [1, 2]) is None
    assert embedding_quality.halves([0, 1], [1, 1]) is None


@pytest.mark.parametrize("probe", [embedding_quality.knn_probe, embedding_quality.linear_probe])
def test_probes_find_what_is_there_and_nothing_else(probe):
    vectors, labels, groups = labelled()
    half = embedding_quality.halves(labels, groups)
    assert balanced_accuracy_score(labels, probe(vectors, labels, half)) > 0.95
    assert balanced_accuracy_score(labels, probe(normal(120, 6), labels, half)) < 0.5
    collapsed = probe(np.ones((120, 6)), labels, half)
    assert balanced_accuracy_score(labels, collapsed) < 0.5


@pytest.mark.parametrize("probe", [embedding_quality.knn_probe, embedding_quality.linear_probe])
def test_a_probe_never_sees_the_labels_it_is_scored_by(probe):
    vectors, labels, groups = labelled(separation=1.0)
    half = embedding_quality.halves(labels, groups)
    before = probe(vectors, labels, half)
    changed = np.where(half == 0, (labels + 1) % 3, labels)
    after = probe(vectors, changed, half)
    np.testing.assert_array_equal(before[half == 0], after[half == 0])
    assert (before[half == 1] != after[half == 1]).any()


def test_knn_probe_equals_a_loop():
    vectors, labels, groups = labelled(n=60, separation=1.0)
    half = embedding_quality.halves(labels, groups)
    found = embedding_quality.knn_probe(vectors, labels, half)
    z = embedding_quality.unit(vectors)
    for row in range(60):
        others = np.flatnonzero(half != half[row])
        nearest = others[np.argsort(-(z[others] @ z[row]), kind="stable")[:5]]
        votes = np.bincount(labels[nearest], minlength=3) / np.bincount(labels[others])
        assert found[row] == votes.argmax()


def test_a_rare_class_can_win_the_vote_of_its_neighbours():
    # Two of the rare class in each half: never three of five neighbours.
    vectors, labels, groups = labelled(classes=2, separation=0.0)
    labels[:], labels[:8] = 0, 1
    vectors[:8] += 20
    half = embedding_quality.halves(labels, groups)
    assert (embedding_quality.knn_probe(vectors, labels, half)[:8] == 1).all()

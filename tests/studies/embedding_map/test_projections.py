"""Embeddings in a plane, and what is said of their neighbourhoods."""

import sys
import types

import numpy as np
import pytest

from dermssl.core.errors import UserError
from dermssl.studies.embedding_map import projections


def blobs(n=60, d=80, seed=0):
    """Three groups of directions; the group of each row is row % 3."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, d))
    return centres[np.arange(n) % 3] + 0.3 * rng.normal(size=(n, d))


@pytest.fixture(scope="module")
def plane():
    h = projections.unit(blobs())
    return h, projections.lay_out("tsne", h, 10, seed=3)


def test_tsne_is_a_function_of_its_seed_and_keeps_groups_together(plane):
    h, points = plane
    assert points.shape == (60, 2)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, projections.tsne(h, 10, seed=3))
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    same = np.arange(60)[:, None] % 3 == np.arange(60) % 3
    assert distance[same].max() < distance[~same].min()
    assert projections.trustworthiness(h, points) > 0.7
    assert projections.trustworthiness(h, np.random.default_rng(0).normal(size=(60, 2))) < 0.65


def test_trustworthiness_of_many_is_that_of_some(plane, monkeypatch):
    h, points = plane
    monkeypatch.setattr(projections, "MOST", 30)
    rows = np.random.Generator(np.random.Philox(key=0)).permutation(60)[:30]
    expected = projections.trustworthiness(h[rows], points[rows])
    assert projections.trustworthiness(h, points) == expected


def test_lengths_do_not_matter():
    h = blobs(12, 4)
    np.testing.assert_allclose(projections.unit(h), projections.unit(h * np.arange(1, 13)[:, None]))
    np.testing.assert_allclose(np.linalg.norm(projections.unit(h), axis=1), 1)


def test_collapsed_and_diverged_embeddings_are_refused():
    with pytest.raises(UserError, match="collapsed"):
        projections.unit(np.ones((9, 4)))
    with pytest.raises(UserError, match="no numbers"):
        projections.unit(np.full((9, 4), np.nan))


@pytest.mark.parametrize(
    ("n", "asked", "expected"), [(5000, None, 30), (31, None, 10), (100, 12, 12)]
)
def test_perplexity(n, asked, expected):
    assert projections.perplexity_for(n, asked) == expected


@pytest.mark.parametrize(
    ("n", "asked", "said"),
    [(7, None, "needs 8 or more"), (20, 20, "below the 20"), (20, 0.5, "at least 1")],
)
def test_a_perplexity_that_cannot_be(n, asked, said):
    with pytest.raises(UserError, match=said):
        projections.perplexity_for(n, asked)


def test_umap_is_asked_for_only_when_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)  # an import of it now fails
    with pytest.raises(UserError, match=r"pip install 'dermssl\[umap\]'"):
        projections.umap(blobs(), 10)
    asked = {}

    class UMAP:
        def __init__(self, **options):
            asked.update(options)

        def fit_transform(self, h):
            return h[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    assert projections.lay_out("umap", blobs(), 10.4, seed=5).shape == (60, 2)
    assert asked == {"n_neighbors": 10, "metric": "cosine", "random_state": 5}


def test_an_unknown_layout_lists_the_known():
    with pytest.raises(UserError, match="tsne, umap"):
        projections.lay_out("pca", blobs(), 10)


def test_neighbours_by_hand():
    angle = np.radians([0, 1, 2, 10, 11, 90])
    h = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    labels = ["a", "a", "b", "b", "", "b"]
    groups = ["1", "1", "2", "3", "4", "5"]
    share, chance = projections.same_class(h, labels, groups, k=2)
    # Row 0: its own lesion's row 1 doesn't count; nearest are 2 and 3 (both b).
    # Row 2: nearest are 1 and 0. Row 3: 2 and 1. Row 5: 3 and 2; the unlabelled 4 never counts.
    np.testing.assert_allclose(share, [0, 0, 0, 0.5, np.nan, 1])
    np.testing.assert_allclose(chance, [0, 0, 0.5, 0.5, np.nan, 0.5])


def test_neighbours_against_a_slow_loop():
    rng = np.random.default_rng(1)
    h, labels = projections.unit(rng.normal(size=(40, 5))), rng.choice(["a", "b", "c"], 40)
    groups = rng.integers(0, 20, 40).astype(str)
    share, _ = projections.same_class(h, labels, groups, k=7)
    for row in range(40):
        others = [k for k in range(40) if groups[k] != groups[row]]
        near = sorted(others, key=lambda k: np.linalg.norm(h[k] - h[row]))[:7]
        assert share[row] == pytest.approx(np.mean([labels[k] == labels[row] for k in near]))


def test_no_other_lesion_is_no_number():
    share, chance = projections.same_class(np.eye(2), ["a", "a"], ["1", "1"])
    assert np.isnan(share).all()
    assert np.isnan(chance).all()

"""Near copies between two sets of photos, against comparing every pair."""

import numpy as np
import pytest

from dermssl.data import near_pairs


def test_pairs_between_two_sets_are_those_of_both_together(monkeypatch):
    monkeypatch.setattr(near_pairs, "ROWS", 16)
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, (60, 4)).astype(np.uint64)
    words[40:50] = words[:10]  # of the second set, copies of the first
    words[45:50, 3] ^= np.uint64(0b1011)  # three bits off
    turned = words[:, [0, 2, 1, 3]]
    a, b, bits, _, cut = near_pairs.near_pairs(words, turned, 28)
    wanted = {(i, j, d) for i, j, d in zip(a, b, bits) if i < 40 <= j}
    x, y, bits, _, _ = near_pairs.near_pairs_between(words[40:], turned[40:], words[:40], 28)
    assert {(j, i + 40, d) for i, j, d in zip(x, y, bits)} == wanted
    assert len(wanted) == 10
    assert sorted(bits.tolist()) == [0] * 5 + [3] * 5
    assert not cut
    assert len(near_pairs.near_pairs_between(words[:0], turned[:0], words, 28)[0]) == 0


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("point", 1, 1), ("nearly a point", 0.9, 1), ("line", 0.4, 0.6), ("sound", 0, 0.01)],
)
def test_the_share_of_pairs_alike_tells_a_collapse(kind, least, most):
    rng = np.random.default_rng(0)
    away = {
        "point": np.zeros((700, 16)),
        "nearly a point": rng.normal(size=(700, 16)) * 1e-7,
        "line": rng.normal(size=(700, 1)) * rng.normal(size=(1, 16)),
        "sound": rng.normal(size=(700, 16)),
    }[kind]
    assert least <= near_pairs.share_alike(away + 5, 0.95) <= most


def test_of_few_photos_none_is_many():
    assert near_pairs.share_alike(np.ones((3, 4)), 0.95) == 0

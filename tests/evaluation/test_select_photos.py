"""Which photos are chosen to be explained."""

import numpy as np

from dermssl.evaluation import select_photos


def rows(*pairs):
    """Probabilities of two classes from P(class 1)."""
    return np.array([(1 - p, p) for p in pairs])


def test_the_surest_hits_and_misses_and_the_middle_of_each_class():
    #       0    1    2    3    4    5    6    7
    p = rows(0.9, 0.8, 0.6, 0.1, 0.2, 0.9, 0.3, 0.95)
    y = np.array([1, 1, 1, 1, 0, 0, 0, -1])
    found = select_photos.choose(y, p, count=2)
    assert found["hits"].tolist() == [0, 1]  # 4 is as sure as 1 and comes later
    assert found["misses"].tolist() == [3, 5]  # both 0.9
    # Class 0: P(true) 0.8, 0.1, 0.7 -> row 6. Class 1: 0.9, 0.8, 0.6, 0.1 -> the lower middle.
    assert found["classes"].tolist() == [6, 2]


def test_no_lesion_twice_among_hits_and_misses():
    p, y = rows(0.9, 0.8, 0.7, 0.1, 0.2), np.array([1, 1, 1, 1, 1])
    found = select_photos.choose(y, p, count=3, groups=["a", "a", "b", "c", "c"])
    assert found["hits"].tolist() == [0, 2]
    assert found["misses"].tolist() == [3]


def test_a_group_without_rows_is_left_out():
    found = select_photos.choose(np.array([1, 1]), rows(0.9, 0.8))
    assert set(found) == {"hits", "classes"}
    assert select_photos.choose(np.array([-1]), rows(0.9)) == {}

"""A run's photos found again, and a choice of them that is even over the classes."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermssl.core.errors import UserError
from dermssl.core.settings import Data
from dermssl.data.records import make_index
from dermssl.inference import finished_run


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 70))
def test_spread_is_even_and_grows(labels, count):
    labels = np.array(labels)
    found = finished_run.stratified_subset(labels, count, seed=1)
    assert len(set(found)) == len(found) == min(count, len(labels))
    assert (np.diff(found) > 0).all()
    most = np.bincount(labels[found], minlength=5).max()
    for k in range(5):  # a class may have fewer than the fullest only if it has no more to give
        chosen, there = (labels[found] == k).sum(), (labels == k).sum()
        assert chosen == there or chosen >= most - 1
    assert set(found) <= set(finished_run.stratified_subset(labels, count + 3, seed=1))


def test_spread_follows_the_seed():
    labels = ["a"] * 100
    np.testing.assert_array_equal(finished_run.stratified_subset(labels, 0), range(100))
    one, other = (
        finished_run.stratified_subset(labels, 10, seed=0),
        finished_run.stratified_subset(labels, 10, seed=1),
    )
    np.testing.assert_array_equal(one, finished_run.stratified_subset(labels, 10, seed=0))
    assert set(one) != set(other)


@pytest.fixture
def folder(tmp_path):
    for name in ("data/images", "second"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("data/images/b.jpg", "data/images/a.jpg", "second/c.jpg", "out.jpg"):
        (tmp_path / name).touch()
    return tmp_path


def table(*paths):
    return make_index({"path": list(paths)})[["path", "fine", "split"]]


def test_photos_are_found_where_they_were_or_are_now(folder, tmp_path):
    rows = table("images/b.jpg", "images/a.jpg").iloc[::-1]
    found = finished_run.located(rows, None, Data(path=str(folder / "data")))
    assert found.files == [str(folder / "data/images/b.jpg"), str(folder / "data/images/a.jpg")]
    (folder / "data").rename(folder / "moved")
    with pytest.raises(UserError, match=r"aren't there any more; say where with data\.path"):
        finished_run.located(rows, None, Data(path=str(folder / "data")))
    moved = finished_run.located(rows, None, Data(path=str(folder / "data")), str(folder / "moved"))
    assert moved.files[0] == str(folder / "moved/images/b.jpg")


def test_a_missing_photo_is_named(folder):
    rows = table("images/a.jpg", "images/z.jpg")
    with pytest.raises(UserError, match=r"1 of 2 photos of the run aren't there, .*'images/z.jpg'"):
        finished_run.located(rows, None, Data(path=str(folder / "data")))


def test_no_path_leads_out_but_into_the_second_folder(folder):
    config = Data(path=str(folder / "data"))
    with pytest.raises(UserError, match="aren't there"):
        finished_run.located(table("../out.jpg"), None, config)
    with pytest.raises(UserError, match="aren't there"):
        finished_run.located(table("../second/c.jpg"), None, config)
    config = dataclasses.replace(config, unlabelled=str(folder / "second"))
    assert finished_run.located(table("../second/c.jpg"), None, config).files

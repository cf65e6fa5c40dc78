"""Which photos a grid sees: classes, balance, test size, folds; lesions never cross."""

from pathlib import Path

import numpy as np
import pytest

from dermssl.core import taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Data, Grid
from dermssl.data import records
from dermssl.data.records import Dataset, make_index
from dermssl.data.synthetic import dataset as synthetic
from dermssl.studies.grid import data as selection


@pytest.fixture(scope="module")
def dataset():
    table = synthetic.records(400, seed=3).rename(columns={"filename": "path", "label": "fine"})
    return Dataset(Path(), make_index(table.to_dict("list")), taxonomy.load("ham10000"))


def counts(dataset, split):
    rows = dataset.index[dataset.index["split"] == split]
    return rows["fine"].value_counts().to_dict()


def assert_apart(dataset):
    groups = records.group_ids(dataset.index)
    test = (dataset.index["split"] == "test").to_numpy()
    assert set(groups[test]).isdisjoint(groups[~test])


def test_only_classes_is_flat_and_keeps_what_is_known(dataset):
    found = selection.only_classes(dataset, ["nv", "mel"])
    assert found.taxonomy.fine == found.taxonomy.coarse == ("mel", "nv")
    assert found.taxonomy.malignancy == ("malignant", "benign")
    assert set(found.index["fine"]) == {"mel", "nv"}
    assert (found.index["coarse"] == found.index["fine"]).all()
    assert len(selection.only_classes(dataset, []).taxonomy.fine) == 7


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["nv", "wart"], "unknown grid.classes 'wart'; choose one of: mel, nv"),
        (["nv"], "two or more"),
    ],
)
def test_classes_that_can_not_be_are_refused(dataset, classes, message):
    with pytest.raises(UserError, match=message):
        selection.only_classes(dataset, classes)


def test_the_test_split_has_the_stated_size(dataset):
    two = selection.only_classes(dataset, ["mel", "nv"])
    found = selection.with_test(two, 12, seed=0)
    assert counts(found, "test") == {"mel": 12, "nv": 12}
    assert_apart(found)
    again = selection.with_test(two, 12, seed=0)
    assert found.index.equals(again.index)
    other = selection.with_test(two, 12, seed=1)
    assert set(found.index["path"][found.index["split"] == "test"]) != set(
        other.index["path"][other.index["split"] == "test"]
    )
    with pytest.raises(UserError, match=r"grid.test_per_class 500: class"):
        selection.with_test(two, 500, seed=0)


def test_every_photo_is_tested_in_one_fold(dataset):
    two = selection.only_classes(dataset, ["mel", "nv"])
    made = selection.folds(two, 4, seed=0)
    tested = [set(each.index["path"][each.index["split"] == "test"]) for each in made]
    assert sum(map(len, tested)) == len(two.index)
    assert set.union(*tested) == set(two.index["path"])
    shares = [counts(each, "test")["mel"] for each in made]
    assert max(shares) - min(shares) <= 8  # lesions are dealt out evenly, photos nearly
    for each in made:
        assert_apart(each)
    with pytest.raises(UserError, match=r"grid.folds 90: class 'mel'"):
        selection.folds(two, 90, seed=0)


def test_balanced_leaves_the_test_split_alone(dataset):
    two = selection.with_test(selection.only_classes(dataset, ["mel", "nv"]), 10, seed=0)
    found = selection.balanced(two, seed=0)
    train = counts(found, "train")
    assert train["mel"] == train["nv"] == counts(two, "train")["mel"]
    assert counts(found, "test") == counts(two, "test")


def test_one_split_is_that_of_the_other_commands(photos):
    from dermssl.data import readers
    from dermssl.data.splits import prepare

    data = Data(path=str(photos))
    usual = prepare(data).index.set_index("path")["split"]
    grid = Grid(classes=["mel", "nv"])
    (found,) = selection.select(readers.read(data), grid, data)
    assert np.array_equal(usual[found.index["path"]], found.index["split"])

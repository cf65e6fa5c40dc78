"""Splits: no group crosses, every class is everywhere, and few labels are nested."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dermssl.core import taxonomy
from dermssl.core.errors import UserError
from dermssl.data.records import SPLITS, TEST, TRAIN, VALIDATION, Dataset, group_ids, make_index
from dermssl.data.splits import assign, check_overlap, few_labels
from dermssl.data.synthetic import dataset as synthetic

HAM = taxonomy.load("ham10000")


def dataset(classes=HAM, **columns):
    """A data set from columns; photos are p000, p001, ... unless named."""
    n = len(next(iter(columns.values())))
    columns = {"path": [f"p{k:03d}" for k in range(n)]} | columns
    return Dataset(Path(), make_index(columns), classes)


def synthetic_records(n, **changes):
    table = synthetic.records(n).rename(columns={"filename": "path", "label": "fine"})
    return Dataset(Path(), make_index(table.assign(**changes)), HAM)


def split_of(data):
    return dict(zip(data.index["path"], data.index["split"]))


def labelled(data):
    return set(data.index["path"][data.index["fine"] != ""])


@pytest.mark.parametrize(
    ("n", "changes", "unit"),
    [
        (1500, {}, "patient_id"),
        (600, {"patient_id": ""}, "lesion_id"),
        (600, {"patient_id": "", "lesion_id": ""}, "path"),
    ],
)
def test_groups_stay_whole_and_classes_keep_their_share(n, changes, unit):
    index = assign(synthetic_records(n, **changes)).index
    assert (index.groupby(unit)["split"].nunique() == 1).all()
    assert set(index["split"]) == set(SPLITS)
    counts = index.drop_duplicates(unit).groupby(["fine", "split"]).size().unstack(fill_value=0)
    assert (index.groupby(["fine", "split"]).size().unstack(fill_value=0) > 0).all(axis=None)
    share = counts.div(counts.sum(axis=1), axis=0).loc["nv"]
    np.testing.assert_allclose(share[[TRAIN, VALIDATION, TEST]], [0.65, 0.15, 0.2], atol=0.03)


@pytest.mark.parametrize(
    ("groups", "shares", "expected"),  # expected: groups in (train, validation, test)
    [
        (20, {}, (13, 3, 4)),
        (3, {}, (1, 1, 1)),
        (4, {}, (2, 1, 1)),
        (3, {"validation": 0.45, "test": 0.45}, (1, 1, 1)),
        (10, {"validation": 0.0}, (8, 0, 2)),
        (10, {"test": 0.0}, (8, 2, 0)),
        (1, {"validation": 0.0, "test": 0.0}, (1, 0, 0)),
        (2, {"validation": 0.0, "test": 0.9}, (1, 0, 1)),
    ],
)
def test_counts_by_hand(groups, shares, expected):
    data = dataset(fine=["nv"] * groups * 2, lesion_id=[f"L{k // 2}" for k in range(groups * 2)])
    counts = Counter(assign(data, **shares).index["split"])
    assert tuple(counts[split] for split in SPLITS) == tuple(2 * n for n in expected)


def test_same_seed_same_split():
    data = synthetic_records(400)
    first = split_of(assign(data, seed=3))
    assert first == split_of(assign(data, seed=3))
    assert first != split_of(assign(data, seed=4))
    shuffled = make_index(data.index.sample(frac=1, random_state=0))
    assert first == split_of(assign(data.with_index(shuffled), seed=3))


def test_group_of_two_classes_counts_under_its_rarest():
    """Each patient has nevi and one has a melanoma too: still a melanoma in every split."""
    patients = [f"P{k}" for k in range(20)]
    data = dataset(fine=["nv"] * 20 + ["mel"] * 3, patient_id=patients + patients[:3])
    index = assign(data).index
    assert (index.groupby("patient_id")["split"].nunique() == 1).all()
    assert set(index["split"][index["fine"] == "mel"]) == set(SPLITS)


@pytest.mark.parametrize("brought", [False, True])
def test_unlabelled_photos_follow_their_group(brought):
    fine = ["nv", "nv", "nv", "", "", "", ""]
    lesion = ["L1", "L2", "L3", "L1", "L2", "L3", ""]
    split = ["train", "val", "test", "", "", "", ""] if brought else [""] * 7
    index = assign(dataset(fine=fine, lesion_id=lesion, split=split)).index
    by_lesion = index[index["lesion_id"] != ""].groupby("lesion_id")["split"].agg(set)
    assert sorted(map(tuple, by_lesion)) == [(TEST,), (TRAIN,), (VALIDATION,)]
    assert index["split"].iloc[6] == TRAIN


@pytest.mark.parametrize("brought", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_lesion_whose_photos_name_no_patient(brought, seed):
    """Photo 0 ties lesion L0 to patient P0, photo 1 of L0 has no patient, 2 is more of P0."""
    fine = ["nv", "", "", "nv", "nv", "nv"]
    lesion = ["L0", "L0", "M0", "L1", "L2", "L3"]
    patient = ["P0", "", "P0", "P1", "", ""]
    split = ["test", "", "", "train", "validation", "train"] if brought else [""] * 6
    data = dataset(fine=fine, lesion_id=lesion, patient_id=patient, split=split)
    assert len(set(assign(data, seed=seed).index["split"][:3])) == 1


def test_group_ids():
    data = dataset(
        patient_id=["P1", "", "P2", "", "", "P3"],
        lesion_id=["A", "A", "B", "C", "", "B"],
    )
    expected = ["patient_id=P1"] * 2 + ["patient_id=P3", "lesion_id=C", "path=p004"]
    assert group_ids(data.index).tolist() == [*expected, "patient_id=P3"]
    by_lesion = [f"lesion_id={name}" for name in "AABC"] + ["path=p004", "lesion_id=B"]
    assert group_ids(data.index, "lesion_id").tolist() == by_lesion
    assert group_ids(data.index, "path").tolist() == [f"path=p{k:03d}" for k in range(6)]


def test_chain_of_lesions_and_patients_is_one_group():
    """P0 - L0 - P1 - L1 - P2 - ..., one photo a link."""
    n = 50
    data = dataset(
        patient_id=[f"P{k // 2}" for k in range(2 * n)],
        lesion_id=[f"L{(k + 1) // 2}" for k in range(2 * n)],
    )
    assert len(set(group_ids(data.index))) == 1


def test_brought_split_is_kept():
    names = ["train", "val", "valid", "validation", "test"]
    data = dataset(fine=["nv"] * 5, split=names)
    expected = [TRAIN, VALIDATION, VALIDATION, VALIDATION, TEST]
    assert assign(data).index["split"].tolist() == expected


def test_no_labels_is_all_train():
    data = dataset(None, lesion_id=["A", "A", "B"])
    assert assign(data).index["split"].tolist() == [TRAIN] * 3


def test_few_photos_with_only_a_coarse_label_are_for_training():
    data = dataset(fine=["nv"] * 6 + [""] * 2, coarse=["melanocytic"] * 6 + ["fibrous"] * 2)
    assert assign(data).index["split"].tolist()[6:] == [TRAIN] * 2


def test_coarse_photo_does_not_move_its_lesion_to_another_class():
    """Two of three melanomas have a photo with only a coarse label; all count as melanomas."""
    fine, coarse = ["mel"] * 3 + [""] * 2, ["melanocytic"] * 5
    data = dataset(fine=fine, coarse=coarse, lesion_id=["A", "B", "C", "A", "B"])
    assert set(assign(data).index["split"]) == set(SPLITS)


REFUSED = {
    "shares": ({"fine": ["nv"] * 9}, {"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
    "lesions by photo": (
        {"fine": ["nv"] * 40, "lesion_id": ["A"] * 40},
        {"group_by": "path"},
        "lesion_id 'A' is in two splits",
    ),
    "unknown split": (
        {"fine": ["nv"] * 2, "split": ["train", "holdout"]},
        {},
        "split column: 'p001' has 'holdout'; every labelled photo needs one of: train, val",
    ),
    "split of half the labels": (
        {"fine": ["nv"] * 2, "split": ["train", ""]},
        {},
        "split column: 'p001' has ''",
    ),
    "brought split cuts a lesion": (
        {"fine": ["nv"] * 3, "split": ["train", "test", "test"], "lesion_id": ["A", "A", "B"]},
        {},
        r"lesion_id 'A' is in two splits \(1 in all\); the score would measure memory",
    ),
    "brought split cuts a patient": (
        {"fine": ["nv"] * 2, "split": ["train", "val"], "patient_id": ["A", "A"]},
        {},
        "patient_id 'A' is in two splits",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    columns, settings, message = REFUSED[name]
    with pytest.raises(UserError, match=message) as caught:
        assign(dataset(**columns), **settings)
    assert "\n" not in str(caught.value)


def test_pool_must_not_touch_what_is_held_out():
    data = assign(synthetic_records(400))
    held_out = data.index[data.index["split"] != TRAIN]
    check_overlap(data.subset(TRAIN).index, held_out)
    for column in ("path", "lesion_id", "patient_id"):
        blank = dict.fromkeys({"path", "lesion_id", "patient_id"} - {column}, "")
        pool = held_out[:1].assign(**blank)
        with pytest.raises(UserError, match=f"{column} '.*' is in both the pretraining pool and"):
            check_overlap(pool, held_out)
    nameless = held_out.assign(lesion_id="", patient_id="")
    check_overlap(nameless.assign(path="other/" + nameless["path"]), nameless)


def shown(data, **settings):
    return labelled(few_labels(data, **settings).subset(TRAIN))


@pytest.fixture(scope="module")
def split_set():
    return assign(synthetic_records(900, patient_id=""))


@pytest.mark.parametrize("settings", [{"per_class": 3}, {"fraction": 0.25}])
def test_few_labels_are_counted_by_class(split_set, settings):
    train = split_set.subset(TRAIN).index["fine"].value_counts()
    few = few_labels(split_set, **settings)
    counts = few.subset(TRAIN).index["fine"].value_counts().drop("").to_dict()
    assert counts == {
        name: settings.get("per_class") or max(1, round(0.25 * n)) for name, n in train.items()
    }
    for split in (VALIDATION, TEST):
        assert few.subset(split).index.equals(split_set.subset(split).index)
    hidden = few.subset(TRAIN).index
    assert (hidden["coarse"][hidden["fine"] == ""] == "").all()
    assert len(few.index) == len(split_set.index)


def test_few_labels_are_nested(split_set):
    for name, steps in (("per_class", (1, 2, 3, 5)), ("fraction", (0.01, 0.1, 0.3, 0.7, 1.0))):
        sets = [shown(split_set, **{name: step}) for step in steps]
        assert all(small < large for small, large in itertools.pairwise(sets))


def test_few_labels_by_seed(split_set):
    assert shown(split_set, per_class=3) == shown(split_set, per_class=3)
    assert shown(split_set, per_class=3) != shown(split_set, per_class=3, seed=1)
    assert few_labels(split_set) is split_set


@pytest.mark.parametrize("seed", range(5))
def test_few_labels_take_new_lesions_first(seed):
    """Ten photos of one lesion and one each of three others: four labels show all four."""
    data = dataset(
        fine=["nv"] * 13, lesion_id=["A"] * 10 + ["B", "C", "D"], split=["train"] * 13
    )  # fmt: skip
    index = few_labels(data, per_class=4, seed=seed).index
    assert set(index["lesion_id"][index["fine"] != ""]) == set("ABCD")
    index = few_labels(data, per_class=6, seed=seed).index
    assert Counter(index["lesion_id"][index["fine"] != ""]) == {"A": 3, "B": 1, "C": 1, "D": 1}


def test_too_many_labels_are_refused():
    data = dataset(fine=["nv"] * 5 + ["mel"] * 2, split=["train"] * 7)
    with pytest.raises(
        UserError, match=r"finetune.labels_per_class 3: class 'mel' has only 2 labelled"
    ):
        few_labels(data, per_class=3)
    data = dataset(fine=["nv"] * 5 + ["mel"], split=["train"] * 6)
    with pytest.raises(UserError, match="has only 1 labelled training photo; ask"):
        few_labels(data, per_class=3)


def test_shares_of_labels_that_can_t_be_are_refused():
    data = dataset(fine=["nv"] * 5 + ["mel"] * 2, split=["train"] * 7)
    with pytest.raises(UserError, match=r"finetune.label_fraction 0: must be above 0"):
        few_labels(data, fraction=0.0)
    with pytest.raises(
        UserError, match=r"finetune.labels_per_class 1 and finetune.label_fraction 0\.5"
    ):
        few_labels(data, per_class=1, fraction=0.5)

"""Which classes a classifier learns: rare ones, unknown ones, those that nothing teaches."""

import logging

import numpy as np
import pytest

from dermssl.core import left_out, taxonomy
from dermssl.core.errors import UserError
from dermssl.core.settings import Finetune
from dermssl.data import class_choice, records, splits


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.WARNING, "dermssl")
    return caplog


def dataset(counts, **columns):
    """A data set of these photos a class, not split yet."""
    fine = [name for name, n in counts.items() for _ in range(n)]
    table = {"path": [f"{k:03d}.png" for k in range(len(fine))], "fine": fine, **columns}
    table.setdefault("coarse", [f"group_{name[0]}" for name in fine])
    names = taxonomy.Taxonomy(
        "t", tuple(counts), tuple(f"group_{name[0]}" for name in counts),
        ("",) * len(counts), tuple(counts),
    )  # fmt: skip
    return records.Dataset(".", records.make_index(table), names)


COMMON = {"nv": 10, "mel": 10}


@pytest.mark.parametrize("n", [1, 2])
def test_a_class_of_too_few_lesions_is_in_training_alone(n, said):
    made = splits.assign(dataset(COMMON | {"rare": n}))
    assert set(made.index.loc[made.index["fine"] == "rare", "split"]) == {"train"}
    for name in COMMON:
        assert set(made.index.loc[made.index["fine"] == name, "split"]) == set(records.SPLITS)
    assert not said.messages  # pretraining doesn't care
    chosen = class_choice.choose(made, Finetune())
    assert chosen is made
    (line,) = said.messages
    assert f"rare ({n} train, 0 validation, 0 test)" in line
    assert "trained on, but not scored" in line


def test_many_photos_of_two_lesions_are_too_few(said):
    ids = [f"L{k}" for k in range(20)] + ["A"] * 4 + ["B"] * 4
    made = splits.assign(dataset(COMMON | {"rare": 8}, lesion_id=ids))
    class_choice.choose(made, Finetune())
    assert "rare (8 train, 0 validation, 0 test; independent lesions or patients: 2)" in said.text


def test_the_split_of_the_others_is_that_without_the_rare_class():
    alone, both = (splits.assign(dataset(counts)) for counts in (COMMON, COMMON | {"zz": 2}))
    shared = both.index["path"].isin(alone.index["path"])
    assert both.index.loc[shared, "split"].tolist() == alone.index["split"].tolist()


def test_drop(said):
    made = splits.assign(dataset(COMMON | {"rare": 2}))
    chosen = class_choice.choose(made, Finetune(rare_classes="drop"))
    assert chosen.taxonomy.fine == ("nv", "mel")
    assert chosen.taxonomy.parents == ("group_n", "group_m")
    assert len(chosen.index) == 20
    assert set(chosen.index["fine"]) == {"nv", "mel"}
    table = class_choice.table(made, chosen).set_index("class")
    assert table.loc["rare"].tolist() == [2, 0, 0, 2, "left out"]
    assert (table.loc[["nv", "mel"], "use"] == "learnt and scored").all()
    assert class_choice.table(made, made).set_index("class").loc["rare", "use"] == (
        "trained on, not scored"
    )
    assert "left out by finetune.rare_classes drop: rare (2 train" in said.text
    assert class_choice.choose(chosen, Finetune(rare_classes="drop")) is chosen


def test_error():
    made = splits.assign(dataset(COMMON | {"rare": 2}))
    with pytest.raises(UserError, match=r"rare \(2 train, 0 validation, 0 test\); add lesions"):
        class_choice.choose(made, Finetune(rare_classes="error"))
    made = splits.assign(dataset(COMMON))
    assert class_choice.choose(made, Finetune(rare_classes="error")) is made


def test_a_class_without_a_training_photo_is_named(said):
    split = ["train", "validation", "test", "train", "test"] * 4 + ["test"] * 3
    made = splits.assign(dataset(COMMON | {"rare": 3}, split=split))
    assert class_choice.choose(made, Finetune()) is made
    (line,) = said.messages
    assert line.startswith("no training photo of: rare (0 train, 0 validation, 3 test)")
    assert "can't learn it" in line
    with pytest.raises(UserError, match=r"rare \(0 train"):
        class_choice.choose(made, Finetune(rare_classes="error"))
    chosen = class_choice.choose(made, Finetune(rare_classes="drop"))
    assert chosen.taxonomy.fine == ("nv", "mel")


def test_without_a_held_out_photo_no_class_is_rare(said):
    made = splits.assign(dataset(COMMON | {"rare": 1}), validation=0, test=0)
    assert class_choice.choose(made, Finetune()) is made
    assert not said.messages


def test_a_class_of_the_taxonomy_without_any_photo_is_no_news(said):
    made = splits.assign(dataset(COMMON | {"unseen": 0}))
    assert class_choice.choose(made, Finetune()) is made
    assert not said.messages


def test_only_some_classes():
    made = splits.assign(dataset(COMMON | {"bcc": 10}))
    index = made.index.copy()
    index.loc[0, "fine"] = ""  # a coarse label only: it may be of a class that is left out
    index.loc[1, ["fine", "coarse"]] = ""
    made = made.with_index(index)
    chosen = class_choice.choose(made, Finetune(classes=["bcc", "nv"]))
    assert chosen.taxonomy.fine == ("nv", "bcc")
    expected = index[index["fine"].isin(["nv", "bcc"]) | (np.arange(30) == 1)]
    assert chosen.index["path"].tolist() == expected["path"].tolist()


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["nv", "mole"], r"unknown finetune.classes 'mole'; choose one of: nv, mel"),
        (["nv"], r"finetune.classes: leaves 1 class of nv, mel"),
    ],
)
def test_classes_that_can_t_be(classes, message):
    made = splits.assign(dataset(COMMON))
    with pytest.raises(UserError, match=message):
        class_choice.choose(made, Finetune(classes=classes))


def test_dropping_may_not_leave_one_class():
    made = splits.assign(dataset({"nv": 10, "rare": 1}))
    with pytest.raises(UserError, match=r"finetune.rare_classes drop: leaves 1 class"):
        class_choice.choose(made, Finetune(rare_classes="drop"))


def test_the_runs_of_a_command_say_the_same_line_once(said):
    made = splits.assign(dataset(COMMON | {"rare": 1}))
    for _ in range(2):
        with left_out.collected():
            for _ in range(3):
                class_choice.choose(made, Finetune())
    assert len(said.messages) == 2


@pytest.mark.parametrize(
    ("words", "name"),
    [(("mel", "bkl"), "ham10000"), (("benign", "malignant"), "malignancy"),
     (("BCC", "MEL"), "pad_ufes_20"), (("scc", "wart"), ""), (("mel",), "")],
)  # fmt: skip
def test_a_built_in_taxonomy_that_has_the_classes_is_told(caplog, words, name):
    class_choice.tell_taxonomy(taxonomy.flat(words))
    assert (f"those of {name}: data.taxonomy {name} would tell" in caplog.text) == bool(name)
    caplog.clear()
    if name:
        class_choice.tell_taxonomy(taxonomy.load(name))
    assert not caplog.text

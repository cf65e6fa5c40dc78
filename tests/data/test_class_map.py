"""Their classes and ours: names, synonyms, groups, malignancy, map files, and what is refused."""

import numpy as np
import pytest

from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.data import class_map, records

HAM = taxonomies.load("ham10000")
TWO = taxonomies.flat(["benign", "malignant"])
GROUPED = taxonomies.from_dict({
    "name": "g",
    "fine": {
        "spitz": {"coarse": "melanocytic", "malignancy": "benign"},
        "scc": {"coarse": "squamous", "malignancy": "malignant"},
        "bowen": {"coarse": "squamous", "malignancy": "premalignant"},
    },
})  # fmt: skip


def pairs(labels, theirs=None, ours=HAM, given=None):
    theirs = theirs or taxonomies.flat(labels)
    found = class_map.map_classes(dict.fromkeys(labels, 1), theirs, ours, given)
    return [(one.level, one.ours) for one in found]


@pytest.mark.parametrize(
    ("label", "level", "ours"),
    [
        ("mel", "fine", "mel"), ("MEL", "fine", "mel"), ("Melanoma", "fine", "mel"),
        ("melanocytic nevi", "fine", "nv"), ("Naevus", "fine", "nv"),
        ("basal_cell_carcinoma", "fine", "bcc"), ("Seborrheic-keratosis", "fine", "bkl"),
        ("Actinic keratosis / Bowen's disease", "fine", "akiec"), ("ACK", "fine", "akiec"),
        ("vascular lesion", "fine", "vasc"), ("melanocytic", "coarse", "melanocytic"),
        ("keratinocytic", "coarse", "keratinocytic"), ("benign", "malignancy", "benign"),
        ("Malignant", "malignancy", "malignant"), ("squamous cell carcinoma", "", ""),
    ],
)  # fmt: skip
def test_names(label, level, ours):
    assert pairs([label]) == [(level, ours)]


def test_their_group_and_malignancy_serve_where_no_name_does():
    assert pairs(["spitz", "scc", "bowen"], GROUPED) == [
        ("coarse", "melanocytic"), ("malignancy", "malignant"), ("malignancy", "benign"),
    ]  # fmt: skip
    found = pairs(HAM.fine, HAM, TWO)
    assert [ours for _, ours in found] == [
        "malignant", "benign", "malignant", "benign", "benign", "benign", "benign",
    ]  # fmt: skip


def test_a_map_file_wins_and_leaves_out(tmp_path):
    file = tmp_path / "map.toml"
    file.write_text('[classes]\nmel = "nv"\nodd = "-"\nother = ""\nscc = "malignant"\n')
    given = class_map.read_map(file)
    assert pairs(["mel", "odd", "other", "scc"], given=given) == [
        ("fine", "nv"), ("left out", ""), ("left out", ""), ("malignancy", "malignant"),
    ]  # fmt: skip


def test_truth_at_every_level():
    labels = ["bcc", "keratinocytic", "fibrous", "benign", "left"]
    index = records.make_index({"path": [f"{k}.png" for k in range(5)], "fine": labels})
    mapped = class_map.map_classes(
        dict.fromkeys(labels, 1), taxonomies.flat(labels), HAM, {"left": ""}
    )
    truth = class_map.truth_of(index, mapped, HAM)
    assert truth.fine.tolist() == [HAM.fine.index("bcc"), -1, -1, -1, -1]
    keratinocytic, fibrous = HAM.coarse.index("keratinocytic"), HAM.coarse.index("fibrous")
    assert truth.coarse.tolist() == [keratinocytic, keratinocytic, fibrous, -1, -1]
    # Keratinocytic holds malignant and benign ones; fibrous ones are all benign.
    assert truth.malignant.tolist() == [1, -1, 0, 0, -1]
    flat = taxonomies.flat(["a", "b"])
    one = class_map.map_classes({"a": 1}, taxonomies.flat(["a"]), flat)
    index = records.make_index({"path": ["x"], "fine": ["a"]})
    assert np.array_equal(class_map.truth_of(index, one, flat).malignant, [-1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[classes]\n", r"no table \[classes\]"),
        ("classes = 3\n", r"no table \[classes\]"),
        ("[classes]\nmel = 3\n", 'mel = 3; write a class of the run, "malignant"'),
        ("[classes\n", "not a valid TOML file"),
        ('[classes]\nmel = "nope"\n', "mel = 'nope' is no class of the run; choose of: mel, nv"),
    ],
)
def test_bad_map_files(tmp_path, text, said):
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        class_map.map_classes({"mel": 1}, HAM, HAM, class_map.read_map(file), str(file))
    with pytest.raises(UserError, match="can't be read"):
        class_map.read_map(tmp_path / "none.toml")


def test_what_cannot_be_mapped_is_listed_with_what_can():
    found = class_map.map_classes(
        {"mel": 3, "scc": 1, "spitz": 2}, taxonomies.flat(["mel", "scc", "spitz"]), HAM
    )
    with pytest.raises(UserError) as raised:
        class_map.check_complete(found, HAM, "evaluate.data X")
    text = str(raised.value)
    assert "\n" not in text
    assert "without a counterpart in the run: scc, spitz; found: mel = mel." in text
    with pytest.raises(UserError, match="no photo has the class 'zzz'; the classes there: a, b"):
        class_map.check_map({"zzz": "mel"}, ["b", "a"], "m")
    assert class_map.labels(records.make_index({"path": ["p"], "coarse": ["c"]})).tolist() == ["c"]

"""Numbers as they are printed."""

import json
import math

import fake_runs
import pandas as pd
import pytest

from dermssl.core import runs
from dermssl.evaluation import run_groups
from dermssl.evaluation.interval import Interval
from dermssl.reporting import wording


def test_numbers():
    assert wording.number(-0.5) == "−0.500"
    assert wording.number(math.nan) == "n/a"
    assert wording.estimate(Interval(0.5, 0.4, 0.6)) == "0.500 (0.400 to 0.600)"
    assert wording.estimate(Interval(0.5, math.nan, math.nan)) == "0.500 (n/a)"
    assert wording.estimate(Interval(math.nan, math.nan, math.nan)) == "n/a"
    assert wording.count(1, "seed") == "1 seed"
    assert wording.count(1511, "photo") == "1,511 photos"


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize(
    ("start", "title", "said"),
    [
        ("none", "SimCLR", "random weights"),
        ("imagenet", "SimCLR from ImageNet", "ImageNet weights"),
        ("in.weights.h5", "SimCLR from a file", "in.weights.h5"),
    ],
)
def test_simclr_that_began_from_other_weights_is_told(tmp_path, start, title, said, recorded):
    """Through two pretraining runs; told by the fine-tuning run, or read in their folders."""
    first, second, table = tmp_path / "first", tmp_path / "second", fake_runs.records(60)
    p = fake_runs.simulate(table, 1.0)
    if not recorded:
        for folder, weights in ((first, start), (second, f"{first}/backbone.weights.h5")):
            folder.mkdir()
            config = {"backbone": {"weights": weights}}
            (folder / "status.json").write_text(json.dumps({"config": config}))
    status = {"pretraining_start": start if recorded else None}
    fake_runs.make(tmp_path / "runs/a", table, p, arm="ssl", weights=str(second), status=status)
    fake_runs.make(tmp_path / "runs/b", table, p)
    compared = run_groups.gather([tmp_path / "runs"])
    assert [model.title for model in compared.models] == ["random init", title]
    counts = {"n_groups": 40, "grouped_by": "lesion"}
    classes = pd.DataFrame({"lesions": [40], "title": ["nevus"]})
    warned = f"{title}: its pretraining started from {said}, so that its difference to random"
    told = any(text.startswith(warned) for text in wording.warnings(compared, counts, classes))
    gaps = " ".join(wording.gaps(compared, "random"))
    assert told == (start != "none")
    assert ("No run from ImageNet weights is here" in gaps) == (start == "none")
    assert (f"No run starts from {said} without SimCLR" in gaps) == (start != "none")


def test_simclr_whose_start_nobody_knows_is_not_called_simclr_alone(tmp_path):
    """A run of an older version, whose pretraining folder is gone."""
    table = fake_runs.records(60)
    p = fake_runs.simulate(table, 1.0)
    run = fake_runs.make(
        tmp_path / "runs/a", table, p, arm="ssl", weights=str(tmp_path / "gone"),
        status={"pretraining_start": None},
    )  # fmt: skip
    fake_runs.make(tmp_path / "runs/b", table, p)
    compared = run_groups.gather([tmp_path / "runs"])
    title = "SimCLR (start not known)"
    assert [model.title for model in compared.models] == ["random init", title]
    assert wording.model_title(runs.read_json(run / "status.json")).startswith(title)
    counts = {"n_groups": 40, "grouped_by": "lesion"}
    classes = pd.DataFrame({"lesions": [40], "title": ["nevus"]})
    warned = " ".join(wording.warnings(compared, counts, classes))
    assert f"{title}: what its pretraining started from isn't known" in warned
    gaps = " ".join(wording.gaps(compared, "random"))
    assert "not known" not in gaps
    assert "No run from ImageNet weights is here" not in gaps

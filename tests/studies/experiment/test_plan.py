"""The plan of an experiment: amounts of labels, budgets, names, and which runs are made."""

from pathlib import Path

import pytest
import tiny
import workers

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.core.settings import Finetune
from dermssl.data.splits import few_labels, prepare
from dermssl.studies.experiment import label_budget, plan
from dermssl.studies.experiment.plan import LabelBudget

TABLES = {
    "data": {"path": "photos"},
    "backbone": {"name": "cnn", "image_size": 32},
    "arms": {"random": {}, "ssl": {"pretrain": True}},
    "experiment": {"labels": [10, "5%", 0], "seeds": [3, 4], "with_5%": {"unfrozen_epochs": 7}},
}


@pytest.mark.parametrize(
    ("given", "found", "key"),
    [
        (10, LabelBudget(per_class=10), "10"),
        ("10", LabelBudget(per_class=10), "10"),
        (0, LabelBudget(), "all"),
        ("all", LabelBudget(), "all"),
        ("100%", LabelBudget(), "all"),
        ("1%", LabelBudget(fraction=0.01), "1%"),
        ("2.5%", LabelBudget(fraction=0.025), "2.5%"),
    ],
)
def test_amounts(given, found, key):
    assert plan.amount(given) == found
    assert found.key == key


@pytest.mark.parametrize("given", ["-3", "0%", "101%", "nan%", "ten", "1.5", "", True, None])
def test_bad_amounts_are_refused(given):
    with pytest.raises(UserError, match=r"is no number of labels; give 10 \(a class\), 5% or all"):
        plan.amount(given)


def test_the_plan_pairs_every_arm_with_every_amount_and_seed():
    jobs = plan.plan(TABLES, Path("out"), {"train": 100, "test": 20})
    assert jobs[0].name == "pretrain_ssl"
    assert [job.name for job in jobs[1:]] == [
        f"finetune_{arm}_{labels}_seed{seed}"
        for labels in ("10_per_class", "5_percent", "all_labels")
        for seed in (3, 4)
        for arm in ("random", "ssl")
    ]
    by_name = {job.name: job.config for job in jobs}
    share = by_name["finetune_ssl_5_percent_seed4"]
    assert (share["finetune"].label_fraction, share["finetune"].labels_per_class) == (0.05, 0)
    assert share["finetune"].unfrozen_epochs == 7
    assert share["backbone"].weights == str(Path("out/pretrain_ssl"))
    assert by_name["finetune_random_all_labels_seed3"]["finetune"] == Finetune(arm="random")


def test_pretraining_is_repeated_and_each_fine_tuning_seed_has_its_own():
    experiment = {"labels": [10], "seeds": [3, 4, 5], "pretrainings": 3}
    jobs = plan.plan(TABLES | {"experiment": experiment}, Path("out"), {"train": 100})
    names = ["pretrain_ssl", "pretrain_ssl_seed1", "pretrain_ssl_seed2"]
    assert [job.name for job in jobs[:3]] == names
    assert [job.config["seed"] for job in jobs[:3]] == [0, 1, 2]
    starts = [job.config["backbone"].weights for job in jobs[3:] if job.arm == "ssl"]
    assert starts == [str(Path("out") / name) for name in names]
    assert {job.config["backbone"].weights for job in jobs if job.arm == "random"} == {"none"}


@pytest.mark.parametrize("given", [0, 3, 1.5, True, "two"])
def test_a_bad_number_of_pretrainings_is_refused(given):
    tables = TABLES | {"experiment": {"seeds": [3, 4], "pretrainings": given}}
    with pytest.raises(UserError, match=r"pretrainings is .*; give a whole number from 1 to"):
        plan.plan(tables, Path("out"), {})


def test_settings_are_fitted_to_few_labels_and_left_alone_with_many():
    base = Finetune(batch_size=32)
    assert plan.fit_batch_to_labels(base, 5000) == base
    few = plan.fit_batch_to_labels(base, 7)
    assert (few.batch_size, few.steps_per_epoch) == (7, plan.FEW_STEPS)
    asked = plan.fit_batch_to_labels(Finetune(batch_size=4, steps_per_epoch=3), 7)
    assert (asked.batch_size, asked.steps_per_epoch) == (4, 3)


def test_counts_are_those_of_every_seed_and_nested(photos):
    dataset = prepare(tiny.pretraining(photos, "unused")["data"])
    every = [plan.amount(text) for text in ("all", "1", "30%")]
    counts = label_budget.count(dataset, every)
    assert list(counts.values()) == sorted(counts.values())
    assert counts[LabelBudget()] == 90
    kept = {}
    for seed in (0, 5):
        for amount, n in counts.items():
            few = few_labels(dataset, amount.per_class, amount.fraction, seed).index
            train = few[(few["split"] == "train") & (few["fine"] != "")]
            assert len(train) == n
            kept[seed, amount] = set(train["path"])
        one, third, whole = (kept[seed, amount] for amount in counts)
        assert one < third < whole
    assert kept[0, every[2]] != kept[5, every[2]]


def test_two_amounts_that_are_the_same_labels_are_refused(photos):
    dataset = prepare(tiny.pretraining(photos, "unused")["data"])
    with pytest.raises(UserError, match=r"label_efficiency.labels 1 and 0.5% both keep 7 labels"):
        label_budget.count(dataset, [plan.amount("1"), plan.amount("0.5%")])


def test_unfinished_runs_are_left_and_finished_ones_are_known(tmp_path):
    job = plan.plan(TABLES, tmp_path, {})[1]
    assert not job.is_finished
    Path(job.config["output"]).mkdir()
    for status in (runs.RUNNING, runs.FAILED, runs.FINISHED):
        atomic_files.write_json(Path(job.config["output"]) / "status.json", {"status": status})
        assert job.is_finished == (status == runs.FINISHED)


def test_runs_of_an_experiment_have_one_device_unless_it_asks_for_more(monkeypatch):
    splits = {"train": 100, "test": 20}
    assert all("distribution" not in job.config for job in plan.plan(TABLES, Path("out"), splits))
    tables = TABLES | {"distribution": {"strategy": "mirrored"}}
    jobs = plan.plan(tables, Path("out"), splits)
    assert {job.config["distribution"].strategy for job in jobs} == {"mirrored"}
    monkeypatch.setenv("TF_CONFIG", workers.tf_config(["a:1", "b:2"], 0))
    tables["distribution"]["strategy"] = "auto"
    with pytest.raises(UserError, match="can't be shared by several workers"):
        plan.plan(tables, Path("out"), splits)

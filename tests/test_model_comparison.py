"""dermssl.model_comparison on simulated runs: planted differences are found, nothing else is."""

import re
import shutil

import fake_runs
import numpy as np
import pages
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from dermssl import model_comparison
from dermssl.core import runs
from dermssl.core import taxonomy as taxonomies
from dermssl.core.errors import UserError
from dermssl.data import records
from dermssl.evaluation import contrasts, hypothesis_tests, run_groups
from dermssl.reporting import results_csv, wording
from dermssl.reporting.report import to_console
from dermssl.studies.comparison import compute, decision, report
from dermssl.studies.comparison import wording as sentences

HAM = fake_runs.HAM
QUICK = 60  # resamples


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A comparison in which SSL is much better and ImageNet equals random, seed by seed."""
    folder = tmp_path_factory.mktemp("planted")
    table = fake_runs.records(n=400)
    fake_runs.experiment(folder, {"random": 0.5, "ssl": 2.0}, table=table)
    for seed in range(3):
        fake_runs.make(
            folder / f"imagenet_{seed}", table, fake_runs.simulate(table, 0.5, seed),
            arm="imagenet", seed=seed, weights="imagenet",
        )  # fmt: skip
    output = model_comparison([folder], output=folder / "out", n_resamples=QUICK)
    return folder, output, table


@pytest.fixture
def quick(monkeypatch):
    fake_runs.no_pictures(monkeypatch)


@pytest.fixture
def pair(tmp_path):
    """Two runs, of different arms, that can be compared; and their table."""
    table = fake_runs.records(n=120, shares=(1 / 7,) * 7)
    for arm, skill in (("random", 0.5), ("ssl", 0.7)):
        fake_runs.make(tmp_path / arm, table, fake_runs.simulate(table, skill), arm=arm)
    return tmp_path, table


def sentences_of(paths, **options):
    return sentences.verdicts(compute.score(run_groups.gather(paths, **options), n_resamples=QUICK))


def test_a_planted_better_arm_is_called_better_and_equal_ones_tie(planted):
    table = results_csv.read_rows(planted[1] / "differences.csv").set_index(["a", "b", "metric"])
    assert table.loc[("ssl", "random", "balanced_accuracy"), "verdict_for_a"] == "better"
    row = table.loc[("ssl", "imagenet", "balanced_accuracy")]
    assert (row["family"], row["runs_a"], row["runs_b"]) == (3, 3, 3)
    assert row["level"] == pytest.approx(1 - 0.05 / 3)
    # Metrics beside the primary one have no verdict, and intervals at 95% alone.
    assert table["verdict_for_a"].notna().sum() == 3
    assert table.loc[("ssl", "imagenet", "log_loss"), "level"] == 0.95
    assert table.loc[("ssl", "random", "log_loss"), "difference"] < 0
    equal = table.sort_index().loc[("imagenet", "random")]
    assert equal.loc["balanced_accuracy", "verdict_for_a"] == "not told apart"
    # Runs aren't paired: each arm has its own luck, though the arms have the same three scores.
    assert (equal["difference"] == 0).all()
    assert (equal.loc["balanced_accuracy", "low"] < 0) & (equal["seed_variance"] > 0).all()


def test_runs_that_give_one_answer_are_named(tmp_path):
    table, one = fake_runs.records(n=120), np.tile(np.eye(7)[1] * 0.93 + 0.01, (120, 1))
    for seed in range(3):
        learnt = fake_runs.simulate(table, 1.0, seed)
        fake_runs.make(tmp_path / f"random_{seed}", table, one, arm="random", seed=seed)
        fake_runs.make(
            tmp_path / f"ssl_{seed}", table, one if seed == 1 else learnt, arm="ssl", seed=seed
        )
    numbers = compute.score(run_groups.gather([tmp_path]), n_resamples=QUICK)
    said = [text for text in sentences.warnings(numbers) if "same answer" in text]
    assert said == [
        "random init, 70 labels: each run gives every photo the same answer (melanocytic nevus).",
        "SimCLR, 70 labels: 1 of 3 runs gives every photo the same answer (melanocytic nevus).",
    ]


def test_the_report_opens_with_the_verdict(planted):
    text = (planted[1] / "ssl_analysis_report.md").read_text()
    opening = text.split("![")[0]
    assert re.search(
        r"- With 70 labels, this pretraining run of SimCLR beats random init by 0\.\d\d balanced "
        r"accuracy \(98\.3% interval 0\.\d\d to 0\.\d\d of the difference, one of 3 comparisons "
        r"that hold together with 95%; 3 runs each, 200 test photos of 100 lesions\)\.",
        opening,
    )
    assert "ImageNet and random init are not told apart in balanced accuracy" in opening
    assert "every run starts from one pretraining run (outputs/pretrain_ssl)" in text
    again = f"python -m dermssl.model_comparison {planted[0]} --n-resamples {QUICK} --output "
    assert again in text


def test_the_differences_show_what_their_intervals_are_made_of(planted):
    table = results_csv.read_rows(planted[1] / "differences.csv").set_index(["a", "b", "metric"])
    row = table.loc[("ssl", "random", "balanced_accuracy")]
    z, t = stats.norm.ppf(1 - 0.025 / 3), stats.t.ppf(1 - 0.025 / 3, row["df"])
    half = np.sqrt(z**2 * row["record_variance"] + t**2 * row["seed_variance"])
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half)
    assert row["seed_variance"] == pytest.approx((row["sd_a"] ** 2 + row["sd_b"] ** 2) / 3)
    text = (planted[1] / "ssl_analysis_report.md").read_text()
    assert "would narrow" in text
    assert "| records' variance | runs' variance | degrees of freedom |" in text


def test_a_planned_comparison_stands_alone_and_a_margin_is_judged(planted, tmp_path, quick):
    options = {"n_resamples": QUICK, "primary": "random:ssl", "margin": 0.02}
    output = model_comparison([planted[0]], output=tmp_path, **options)
    text = (output / "ssl_analysis_report.md").read_text()
    assert re.search(r"SimCLR beats random init .*95% interval .* that was planned;.* and is worth "
                     r"it: by more than the margin of 0\.02", text)  # fmt: skip
    assert "one of 2 comparisons that hold together with 95%" in text
    rows = results_csv.read_rows(output / "differences.csv").set_index(["a", "b", "metric"])
    assert rows.loc[("ssl", "random", "balanced_accuracy"), "level"] == 0.95
    assert rows.loc[("ssl", "imagenet", "balanced_accuracy"), "level"] == 0.975


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"primary": "ssl:nothing"}, "primary ssl:nothing: names no comparison .* ssl:random:70"),
        ({"margin": 0.0}, "margin is 0; it is the smallest difference that matters: give one"),
    ],
)
def test_bad_margins_and_plans_are_refused(planted, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        model_comparison([planted[0]], output=tmp_path, n_resamples=QUICK, **options)


def test_performance_equals_sklearn_on_the_same_predictions(planted):
    _, output, table = planted
    found = results_csv.read_rows(output / "performance_comparison.csv").set_index("arm")
    here = table[table["split"] == "test"]
    y = records.label_arrays(here, HAM)[0]
    each = []
    for seed in range(3):
        p = fake_runs.simulate(table, 2.0, seed + 100)[here.index]
        each.append((sk.balanced_accuracy_score(y, p.argmax(1)), sk.accuracy_score(y, p.argmax(1))))
    row = found.loc["ssl"]
    np.testing.assert_allclose(
        [row["balanced_accuracy"], row["fine_accuracy"]], np.mean(each, axis=0)
    )
    np.testing.assert_allclose(
        [row["balanced_accuracy_sd"], row["fine_accuracy_sd"]], np.std(each, axis=0, ddof=1)
    )
    assert row["balanced_accuracy_low"] < row["balanced_accuracy"] < row["balanced_accuracy_high"]
    assert (row["seeds"], row["n_seeds"], row["n_fine"], row["n_groups"]) == ("0 1 2", 3, 200, 100)
    assert row["seconds_total"] == pytest.approx(61.5 + 62.5 + 63.5)


def test_every_run_is_a_row(planted):
    found = results_csv.read_rows(planted[1] / "runs.csv")
    assert len(found) == 9
    assert set(found["status"]) == {"FINISHED"}
    assert found["balanced_accuracy_low"].notna().all()


def test_page_is_self_contained(planted):
    assert len(pages.check(planted[1], "ssl_analysis_report")) == 5 + 3


def test_paired_tests_equal_scipy_on_one_photo_a_lesion(planted):
    _, output, table = planted
    found = results_csv.read_rows(output / "ensemble_tests.csv").set_index(["a", "b", "test"])
    here = table[table["split"] == "test"]
    first = here.drop_duplicates("lesion_id").index
    y = records.label_arrays(table.loc[first], HAM)[0]

    def mean(skill, offset=0):
        return np.mean([fake_runs.simulate(table, skill, k + offset)[first] for k in range(3)], 0)

    p = {"random": mean(0.5), "imagenet": mean(0.5), "ssl": mean(2.0, 100)}
    right = {arm: each.argmax(axis=1) == y for arm, each in p.items()}
    only = [(right["ssl"] & ~right["random"]).sum(), (right["random"] & ~right["ssl"]).sum()]
    expected = stats.chi2.sf((abs(only[0] - only[1]) - 1) ** 2 / sum(only), 1)
    row = found.loc[("ssl", "random", "McNemar (fine accuracy)")]
    assert row["n_tested"] == 100
    assert row["p_ensemble"] == pytest.approx(expected)
    # The smaller of two equal ones, of three.
    assert row["p_ensemble_holm"] == pytest.approx(3 * expected)
    assert row["ensemble_difference"] == pytest.approx((only[0] - only[1]) / 100)
    equal = found.loc[("imagenet", "random", "McNemar (fine accuracy)")]
    assert equal["p_ensemble_holm"] == 1
    row = found.loc[("ssl", "random", "DeLong (malignant_auc)")]
    truth = np.isin(y, [0, 2])
    slow = hypothesis_tests.delong(truth, p["ssl"][:, [0, 2]].sum(1), p["random"][:, [0, 2]].sum(1))
    assert row["p_ensemble"] == pytest.approx(slow.p, rel=1e-4)
    areas = [sk.roc_auc_score(truth, p[arm][:, [0, 2]].sum(1)) for arm in ("ssl", "random")]
    assert slow.difference.estimate == pytest.approx(areas[0] - areas[1], abs=1e-6)
    differences = results_csv.read_rows(output / "differences.csv")
    assert not [name for name in differences if name.startswith("p")]
    text = (output / "ssl_analysis_report.md").read_text()
    assert re.search(
        rf"\| SimCLR / random init \| 100 \| {only[0]} / {only[1]} \| .* \(Holm ", text
    )
    assert f"| {areas[0]:.3f} / {areas[1]:.3f} |" in text
    assert "Holm corrects for the number of pairs, 3." in text


def test_net_benefits_are_compared_on_the_scale_of_predict(planted):
    _, output, _ = planted
    found = results_csv.read_rows(output / "decision_differences.csv")
    assert len(found) == 3 * 99
    pair = found[(found["a"] == "ssl") & (found["b"] == "random")].set_index("threshold")
    np.testing.assert_allclose(pair["difference"], pair["benefit_a"] - pair["benefit_b"])
    known = pair["band_low"].notna() & (pair["difference"] != 0)
    assert known.sum() > 80
    assert (pair["band_low"] < pair["low"])[known].mean() > 0.9  # a band is wider
    found = run_groups.gather([planted[0] / f"ssl_70_{seed}" for seed in range(3)])
    target = decision.ensemble(found.models[0], HAM)
    raw = found.members[0].arrays.p_fine[:, [0, 2]].sum(axis=1)
    assert target.name == "malignant"
    assert not np.allclose(target.score, raw)  # calibrated, and of the ensemble
    acted = (target.score >= 0.3) & (target.y == 1), (target.score >= 0.3) & (target.y == 0)
    benefit = (acted[0].sum() - acted[1].sum() * 0.3 / 0.7) / target.n
    assert pair.loc[0.3, "benefit_a"] == pytest.approx(benefit)
    said = (output / "ssl_analysis_report.md").read_text()
    assert "random init's ensemble (malignant), that of SimCLR has a higher one at" in said


def test_two_classes_are_tested_by_the_area_of_the_second(tmp_path):
    flat = taxonomies.flat(("no", "yes"))
    table = fake_runs.records(n=200, taxonomy=flat, shares=(0.6, 0.4))
    for arm, skill in (("random", 0.2), ("ssl", 2.0)):
        p = fake_runs.simulate(table, skill, len(arm), flat)
        fake_runs.make(tmp_path / arm, table, p, arm=arm, taxonomy=flat)
    rows = compute.test_rows(compute.score(run_groups.gather([tmp_path]), n_resamples=QUICK))
    p = {row["test"]: (row["p_ensemble"], row["p_ensemble_holm"]) for row in rows}
    assert set(p) == {"McNemar (fine accuracy)", "DeLong (roc_auc)"}
    assert p["DeLong (roc_auc)"][0] == p["DeLong (roc_auc)"][1] < 0.05  # one pair: uncorrected


def test_no_arm_is_called_better_without_a_difference(tmp_path):
    wrong = 0
    for trial in range(4):
        table = fake_runs.records(n=160, seed=trial, shares=(1 / 7,) * 7)
        folder = fake_runs.experiment(
            tmp_path / str(trial), {"random": 1.0, "ssl": 1.0}, table=table,
            seeds=(trial * 3, trial * 3 + 1),
        )  # fmt: skip
        numbers = compute.score(run_groups.gather([folder]), n_resamples=10)
        wrong += numbers.contrasts[0].verdict != "not told apart"
    assert wrong <= 1


def test_a_class_of_few_lesions_is_told(tmp_path):
    table = fake_runs.records(n=120)
    rare = table["lesion_id"] == table.loc[table["split"] == "test", "lesion_id"].iloc[0]
    table["fine"], table["coarse"] = "nv", "melanocytic"
    table.loc[rare, ["fine", "coarse"]] = ["mel", "melanocytic"]
    fake_runs.experiment(tmp_path, {"random": 0.5, "ssl": 0.6}, seeds=(0,), table=table)
    numbers = compute.score(run_groups.gather([tmp_path]), n_resamples=QUICK)
    said = " ".join(sentences.warnings(numbers))
    assert "Classes with fewer than 30 test lesions" in said
    assert "With fewer than 5 lesions of a class (melanoma), F1, average precision" in said
    assert np.isnan(numbers.intervals["ssl", 70]["macro_f1"].low)
    assert numbers.intervals["ssl", 70]["balanced_accuracy"].is_defined


def test_one_seed_is_said_everywhere(pair):
    numbers = compute.score(run_groups.gather([pair[0]]), n_resamples=QUICK)
    said = sentences.verdicts(numbers)
    assert len(said) == 1
    assert "one run each: on these" in said[0]
    assert "Another training run may turn it round" in said[0]
    assert any(said.startswith("1 run only") for said in sentences.warnings(numbers))
    assert {row["verdict_for_a"] for row in compute.difference_rows(numbers)} == {"one run", ""}
    row = compute.performance_rows(numbers)[0]
    assert np.isnan(row["balanced_accuracy_sd"])


def test_missing_arms_and_few_seeds_are_said(tmp_path):
    fake_runs.experiment(
        tmp_path, {"random": 0.5, "ssl": 0.6}, seeds=(0, 1), table=fake_runs.records(n=120)
    )
    numbers = compute.score(run_groups.gather([tmp_path]), n_resamples=QUICK)
    text = to_console(report.build(numbers, "again"))
    assert "\n- No run from ImageNet weights is here" in text
    assert "\nnote: 2 runs only" in text


def test_arms_may_have_other_seeds_and_other_numbers_of_them(pair):
    folder, table = pair
    for arm, seed in (("ssl", 5), ("ssl", 6), ("random", 9)):
        p = fake_runs.simulate(table, 0.7, seed)
        fake_runs.make(folder / f"{arm}_{seed}", table, p, arm=arm, seed=seed)
    assert "; 3 runs against 2, " in sentences_of([folder])[0]


def test_repeated_pretraining_is_the_method_and_one_is_one(tmp_path):
    table = fake_runs.records(n=120, shares=(1 / 7,) * 7)
    for seed in range(3):
        for arm, weights in (("random", "none"), ("ssl", f"outputs/p{seed}")):
            p = fake_runs.simulate(table, 0.7, seed + 5 * (arm == "ssl"))
            name = tmp_path / f"{arm}{seed}"
            fake_runs.make(name, table, p, arm=arm, seed=seed, weights=weights)
    found = run_groups.gather([tmp_path])
    assert "this pretraining run" not in sentences_of([tmp_path])[0]
    numbers = compute.score(found, n_resamples=QUICK)
    assert not any("one pretraining run" in said for said in sentences.warnings(numbers))
    ssl = next(model for model in found.models if model.is_ssl)
    assert (ssl.n_pretrainings, len(set(ssl.units))) == (3, 3)


def test_undefined_metrics_are_not_available(tmp_path, quick):
    table = fake_runs.records(n=80).assign(fine="nv", coarse="melanocytic")
    fake_runs.experiment(tmp_path, {"random": 0.5, "ssl": 0.6}, table=table, seeds=(0,))
    output = model_comparison([tmp_path], output=tmp_path / "out", n_resamples=20)
    cells = pd.read_csv(output / "performance_comparison.csv", dtype=str, keep_default_na=False)
    assert set(cells["balanced_accuracy"]) == {"n/a"}
    text = (output / "ssl_analysis_report.md").read_text()
    assert "one run each: on these" in text
    assert "beats" not in text
    assert "nan" not in text.replace("finance", "").lower().split()


def test_runs_on_other_data_are_refused(pair):
    folder, table = pair
    other = table.assign(split=["train", "test"] * 60)
    fake_runs.make(folder / "ssl", other, fake_runs.simulate(other, 1.0), arm="ssl")
    with pytest.raises(UserError, match=r"record 'photo_\d+.png' is in \w+ there, in \w+ here"):
        run_groups.gather([folder])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(index=t.index[t["split"] == "test"][0]), "the test split differs"),
        (lambda t: t.replace({"fine": {"nv": "mel"}}), "is 'nv' there, 'mel' here"),
        (lambda t: t.iloc[::-1], "stand in another order"),
    ],
)
def test_the_first_difference_is_shown(pair, change, message):
    folder, table = pair
    other = change(table).reset_index(drop=True)
    fake_runs.make(folder / "ssl", other, fake_runs.simulate(other, 1.0), arm="ssl")
    with pytest.raises(UserError, match=message) as error:
        run_groups.gather([folder])
    assert f"{folder / 'random'} and {folder / 'ssl'} can't be compared" in str(error.value)


def test_another_data_hash_is_refused(pair):
    fake_runs.change_status(pair[0] / "ssl", data_hash="other")
    with pytest.raises(UserError, match="data hash d4d4d4d4d4d4 there, other here"):
        run_groups.gather([pair[0]])


def test_equal_numbers_of_other_labels_are_not_compared(pair):
    folder, table = pair
    other = {"labels_per_class": 0, "label_fraction": 0.02}
    p = fake_runs.simulate(table, 0.7)
    fake_runs.make(folder / "ssl", table, p, arm="ssl", finetune=other)
    with pytest.raises(UserError, match=r"finetune\.label_fraction is 1\.0 there and 0\.02 here"):
        run_groups.gather([folder])


def test_a_probe_is_not_compared_with_fine_tuning(pair):
    fake_runs.change_status(pair[0] / "ssl", command="probe")
    with pytest.raises(UserError, match="a run of finetune and one of probe"):
        run_groups.gather([pair[0]])


def test_an_arm_is_what_its_weights_are_whatever_its_name(tmp_path):
    table = fake_runs.records(n=120)
    for arm, weights in (("random", "none"), ("t05", "outputs/t05"), ("in1k", "imagenet")):
        p = fake_runs.simulate(table, 0.6, 0)
        fake_runs.make(tmp_path / arm, table, p, arm=arm, weights=weights)
    found = run_groups.gather([tmp_path])
    pairs = [(a.arm, b.arm) for a, b in contrasts.pairs_of(found, "random")]
    assert pairs == [("t05", "random"), ("t05", "in1k"), ("in1k", "random")]
    assert wording.gaps(found, "random") == []
    (ssl,) = [model for model in found.models if model.is_ssl]
    assert ssl.arm == "t05"


def test_two_arms_have_two_pictures():
    models = [run_groups.RunGroup(arm, 70, ()) for arm in ("ssl_a", "ssl-a", "ssl a", "ä", "ö")]
    assert len({report.confusion_file(model) for model in models}) == 5


def test_another_taxonomy_is_refused(pair):
    file = pair[0] / "ssl" / "taxonomy.json"
    file.write_text(file.read_text().replace('"premalignant"', '"malignant"'))
    with pytest.raises(UserError, match=r"taxonomy, malignancy: .*premalignant.* there"):
        run_groups.gather([pair[0]])


def test_another_budget_is_refused_or_told(pair):
    folder, table = pair
    p = fake_runs.simulate(table, 0.7)
    fake_runs.make(folder / "ssl", table, p, arm="ssl", finetune={"unfrozen_epochs": 40})
    shown = "finetune.unfrozen_epochs is 20 there and 40 here"
    with pytest.raises(UserError, match=shown):
        run_groups.gather([folder])
    found = run_groups.gather([folder], allow_different_budget=True)
    assert any(shown in said for said in sentences.warnings(compute.score(found, n_resamples=20)))


def test_photos_prepared_in_another_way_are_another_budget(pair):
    folder, table = pair
    p = fake_runs.simulate(table, 0.7)
    fake_runs.make(folder / "ssl", table, p, arm="ssl", preprocess=["shades_of_grey"])
    shown = r"data.preprocess is \[\] there and \['shades_of_grey'\] here"
    with pytest.raises(UserError, match=shown):
        run_groups.gather([folder])
    assert any(
        re.search(shown, said)
        for said in run_groups.gather([folder], allow_different_budget=True).notes
    )


def test_runs_of_a_pretraining_made_anew_are_refused(tmp_path):
    table = fake_runs.records(n=120)
    for seed, start in ((0, None), (1, "aaaa"), (2, "aaaa")):
        fake_runs.make(
            tmp_path / f"ssl{seed}", table, fake_runs.simulate(table, 0.6, seed), arm="ssl",
            seed=seed, weights="outputs/ssl", status={"start": start} if start else None,
        )  # fmt: skip
    run_groups.gather([tmp_path])  # a run of older versions doesn't say what it started from
    fake_runs.change_status(tmp_path / "ssl2", start="bbbb")
    said = "start from outputs/ssl, but not from the same weights .hash aaaa there, bbbb here"
    with pytest.raises(UserError, match=said):
        run_groups.gather([tmp_path])


def test_budgets_may_differ_between_label_counts_but_are_told(pair):
    folder, table = pair
    for arm in ("random", "ssl"):
        fake_runs.make(
            folder / f"{arm}_all", table, fake_runs.simulate(table, 1.0), arm=arm, n_labels="all",
            finetune={"steps_per_epoch": 50},
        )  # fmt: skip
    found = run_groups.gather([folder])
    assert found.labels == (70, "all")
    assert found.notes == (
        "Budgets differ between label counts, not between their arms: "
        "finetune.steps_per_epoch is 0 there and 50 here.",
    )


def test_the_same_seed_twice_is_refused(pair):
    shutil.copytree(pair[0] / "ssl", pair[0] / "again")
    with pytest.raises(UserError, match="both are SimCLR, 70 labels, seed 0"):
        run_groups.gather([pair[0]])
    assert len(run_groups.find([pair[0], pair[0] / "ssl"])) == 3  # named twice, found once


def test_unfinished_runs_are_refused_or_listed(pair, capsys, quick):
    folder, table = pair
    broken = fake_runs.make(folder / "broken", table, fake_runs.simulate(table, 0.7), arm="ssl")
    fake_runs.change_status(broken, status=runs.DIVERGED, reason="the loss became nan")
    arguments = [str(folder), "--output", str(folder / "out"), "--n-resamples", "100"]
    assert model_comparison.main(arguments) == 2
    assert "this run is DIVERGED" in capsys.readouterr().err
    assert model_comparison.main([*arguments, "--skip-unfinished"]) == 0
    assert "report: " in capsys.readouterr().out
    text = (folder / "out" / "ssl_analysis_report.md").read_text()
    assert f"`{broken}`: DIVERGED, the loss became nan" in text
    assert "1 run did not finish" in text
    assert "DIVERGED" in set(results_csv.read_rows(folder / "out" / "runs.csv")["status"])


def test_an_unknown_baseline_lists_the_arms(pair):
    refused = r"unknown model_comparison\.baseline 'imagenet'; choose one of: random, ssl"
    with pytest.raises(UserError, match=refused):
        compute.score(run_groups.gather([pair[0]]), "imagenet", QUICK)


def test_the_baseline_is_always_the_second(pair):
    numbers = compute.score(run_groups.gather([pair[0]]), "ssl", QUICK)
    assert [(pair.a.arm, pair.b.arm) for pair in numbers.pairs] == [("random", "ssl")]
    assert "random init" in sentences.verdicts(numbers)[0].split(" SimCLR")[0]


def test_folders_without_runs_are_refused(tmp_path, capsys, monkeypatch):
    assert model_comparison.main([str(tmp_path)]) == 2
    assert "no fine-tuning run there, 3 folders deep" in capsys.readouterr().err
    assert model_comparison.main([str(tmp_path / "no")]) == 2
    assert "no such folder" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert model_comparison.main([]) == 2
    assert "no run given, and no folder outputs/ here" in capsys.readouterr().err
    (tmp_path / "outputs").mkdir()
    assert model_comparison.main([]) == 2
    assert "outputs: no fine-tuning run there" in capsys.readouterr().err


def test_without_a_run_all_comparable_ones_are_compared(tmp_path, monkeypatch, capsys, quick):
    """The largest group; others are left out by name and reason."""
    monkeypatch.chdir(tmp_path)
    table = fake_runs.records(n=120, shares=(1 / 7,) * 7)
    other = fake_runs.records(n=120, shares=(1 / 7,) * 7, seed=5)
    p = fake_runs.simulate(table, 1.0)
    outputs = tmp_path / "outputs"
    fake_runs.make(outputs / "a_alone", other, fake_runs.simulate(other, 1.0), data_hash="other")
    fake_runs.experiment(outputs / "study", {"random": 0.5, "ssl": 0.7}, (0, 1), table=table)
    fake_runs.make(outputs / "broken", table, p, arm="file", status={"status": "DIVERGED"})
    fake_runs.make(outputs / "again", table, p, arm="random", seed=1)
    fake_runs.make(outputs / "tuned", table, p, arm="imagenet", finetune={"gamma": 1.0})
    assert model_comparison.main(["--n-resamples", "100"]) == 0
    said = "".join(capsys.readouterr())
    folder = outputs / "model_comparison"
    left_out = results_csv.read_rows(folder / "left_out.csv")
    reasons = dict(zip(left_out["path"], left_out["reason"]))
    # "again" comes first and so takes the place of study/random_70_1.
    assert set(reasons) == {
        "outputs/a_alone", "outputs/broken", "outputs/study/random_70_1", "outputs/tuned"
    }  # fmt: skip
    assert "can't be compared" in reasons["outputs/a_alone"]
    assert "DIVERGED" in reasons["outputs/broken"]
    assert "both are random init, 70 labels, seed 1" in reasons["outputs/study/random_70_1"]
    assert "finetune.gamma" in reasons["outputs/tuned"]
    assert "No run given: the 4 finished runs under outputs/" in said
    assert "left out: 4 runs" in said
    assert set(results_csv.read_rows(folder / "performance_comparison.csv")["model"]) == {
        "random init, 70 labels", "SimCLR, 70 labels"
    }  # fmt: skip


def test_the_experiment_file_says_where_the_runs_are(pair, quick):
    file = pair[0] / "experiment.toml"
    file.write_text(f'output = "{pair[0]}"\n')
    output = model_comparison([], config=file, n_resamples=20)
    assert output.path == pair[0] / "model_comparison"
    assert f"`{file}`" in (output / "ssl_analysis_report.md").read_text()


def test_leaking_groups_are_told_first(tmp_path):
    table = fake_runs.records(n=120)
    table["lesion_id"] = ["L" + str(k % 30) for k in range(120)]
    fake_runs.experiment(tmp_path, {"random": 0.5, "ssl": 0.6}, seeds=(0,), table=table)
    numbers = compute.score(run_groups.gather([tmp_path]), n_resamples=20)
    assert "in more than one split" in sentences.warnings(numbers)[0]


def test_drawn_photos_are_called_drawings(pair, quick):
    folder, table = pair
    numbers = compute.score(run_groups.gather([folder]), n_resamples=QUICK)
    assert not any("drawings" in warning for warning in sentences.warnings(numbers))
    for arm, skill in (("random", 0.5), ("ssl", 0.7)):
        drawn = table.assign(source=records.SYNTHETIC)
        fake_runs.make(folder / "drawn" / arm, drawn, fake_runs.simulate(drawn, skill), arm=arm)
    numbers = compute.score(run_groups.gather([folder / "drawn"]), n_resamples=QUICK)
    assert "drawings, not skin" in sentences.warnings(numbers)[0]


def test_a_run_named_twice_or_alone_is_refused_before_a_report_is_lost(pair, capsys, quick):
    run, out = pair[0] / "random", pair[0] / "out"
    again = pair[0] / "ssl" / ".." / "random"
    assert model_comparison.main([str(run), str(again), "--output", str(out)]) == 2
    assert "random: named twice; a run isn't compared with itself" in capsys.readouterr().err
    assert model_comparison.main([str(run), "--output", str(out)]) == 2
    shown = capsys.readouterr().err
    assert f"{run}: one run alone, nothing to compare it with" in shown
    assert shown.count("\n") == 1
    assert not out.exists()
    model_comparison([run], output=out, n_resamples=20, one_is_enough=True)  # a quickstart's
    assert "Only one arm is here" in (out / "ssl_analysis_report.md").read_text()

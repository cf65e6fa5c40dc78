"""dermssl.label_efficiency: its flags, what it leaves, and that nothing is made twice."""

import shutil
import subprocess

import fake_runs
import pages
import pandas as pd
import pytest
import tiny

from dermssl import label_efficiency
from dermssl.core import cli, runs
from dermssl.evaluation import run_groups
from dermssl.reporting.report import Report
from dermssl.studies.experiment import linear_probe
from dermssl.studies.label_efficiency import arms
from dermssl.training import finetuning, pretraining


@pytest.fixture
def argv(photos, tmp_path):
    (tmp_path / "c.toml").write_text(tiny.EXPERIMENT)
    words = ["--config", tmp_path / "c.toml", "--data", photos, "--backbone", "mlp"]
    words += ["--image-size", 32, "--labels", "1", "100%", "--seeds", 0]
    return [*words, "--n-resamples", 100, "--output", tmp_path / "out"]


def tables(*words):
    args = cli.parser("label_efficiency", "").parse_args([*map(str, words)])
    return arms.with_settings(cli.from_flags("label_efficiency", args))


def test_flags_go_over_the_config_and_defaults_under_it(tmp_path):
    found = tables()
    assert list(found["arms"]) == ["random", "ssl"]
    assert found["experiment"]["labels"] == ["1%", "10%", "100%"]
    (tmp_path / "c.toml").write_text(
        '[arms.mine]\nweights = "none"\n[experiment]\nlabels = [5]\n[data]\nformat = "labels"\n'
    )
    found = tables("--config", tmp_path / "c.toml", "--data", "PHOTOS", "--seeds", 7)
    assert list(found["arms"]) == ["mine"]
    assert found["data"] == {"format": "labels", "path": "PHOTOS"}
    assert found["experiment"] == {"labels": [5], "seeds": [7]}
    (tmp_path / "c.toml").write_text(
        "[experiment]\nlabels = [5, 0]\n"
        "[experiment.with_5]\nunfrozen_epochs = 3\n[experiment.with_all]\nunfrozen_epochs = 4\n"
    )
    found = tables("--config", tmp_path / "c.toml", "--labels", "3", "100%")["experiment"]
    assert found == {"labels": ["3", "100%"], "with_all": {"unfrozen_epochs": 4}}
    found = tables("--arms", "ssl=outputs/ssl_simclr", "imagenet", "--imagenet-weights", "w.h5")
    assert found["arms"]["ssl"] == {"weights": "outputs/ssl_simclr"}
    assert found["arms"]["imagenet"] == {"weights": "w.h5"}
    assert arms.ARMS["imagenet"] == {"weights": "imagenet"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--arms", "ssll"], "--arms ssll: choose of random, ssl, imagenet, ssl_imagenet"),
        (["--labels", "ten"], "'ten' is no number of labels"),
        (["--labels", "0"], "--labels 0: give 10 (a class), 5%, or all for every label"),
        (["--labels", "1", "00"], "--labels 00: give 10"),
        (["--labels", "500"], "--labels 500 ([experiment] labels): class '"),
        (["--labels", "1", "1%"], "--labels 1 and 1% both keep 7 labels"),
        (["--arms", "random"], "nothing is left to compare"),
        (["--arms", "random", "imagenet"], "1 of them can be had"),  # the MLP has no such weights
        (["--n-resamples", "0"], "--n-resamples is 0"),
    ],
)
def test_bad_input_is_one_line_and_makes_no_run(words, said, argv, tmp_path, capfd):
    assert tiny.call(label_efficiency, *argv, *words) == 2
    shown = capfd.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1
    assert not list(tmp_path.glob("out/*/status.json"))


def test_probes_and_fine_tuning_in_one_folder_are_compared_apart(
    argv, tmp_path, monkeypatch, capsys
):
    folder, table = tmp_path / "a folder", fake_runs.records(n=40)
    for name in ("probe", "finetune"):
        p = fake_runs.simulate(table, 1.0)
        made = fake_runs.make(folder / f"{name}_random_1_per_class_seed0", table, p)
        fake_runs.change_status(made, command=name)
    monkeypatch.setattr(label_efficiency, "_measure", lambda *args: (folder, Report("t")))
    for words, name in (([], "finetune"), (["--probe"], "probe")):
        assert tiny.call(label_efficiency, *argv, *words) == 0
        command = capsys.readouterr().out.split("dermssl.model_comparison ")[1].strip()
        listed = subprocess.run(["bash", "-c", f"ls -d {command}"], capture_output=True, text=True)
        (member,) = run_groups.gather(listed.stdout.splitlines()).members
        assert member.status["command"] == name


def test_a_probe_needs_labels_to_choose_by(argv, tmp_path, capfd):
    (tmp_path / "c.toml").write_text(f"{tiny.EXPERIMENT}[data]\nvalidation = 0.0\n")
    assert tiny.call(label_efficiency, *argv, "--probe") == 2
    assert "no photo with a fine label in the validation split" in capfd.readouterr().err
    assert not list(tmp_path.glob("out/*/status.json"))


def test_amounts_are_of_fine_labels_alone(argv, photos, tmp_path, capfd):
    folder = shutil.copytree(photos, tmp_path / "coarse")
    table = pd.read_csv(folder / "labels.csv", dtype=str, keep_default_na=False)
    words = [*argv, "--data", folder]
    table.loc[table.index[table["label"] == "nv"][::2], "label"] = ""
    table.to_csv(folder / "labels.csv", index=False)
    assert tiny.call(label_efficiency, *words) == 2
    said = capfd.readouterr().err
    assert "a coarse label only in" in said
    assert "amounts of labels are of fine ones" in said
    assert not list(tmp_path.glob("out/*/status.json"))


@pytest.mark.slow
def test_probes_from_end_to_end_and_again(argv, tmp_path, capsys, monkeypatch):
    words = [*argv, "--arms", "random", "ssl", "imagenet", "--probe"]
    assert tiny.call(label_efficiency, *words) == 0
    shown = capsys.readouterr().out
    assert "without imagenet: --weights imagenet: mlp has none" in shown
    assert "labels to train on: 1 = 7, all = 90" in shown
    assert "SimCLR" in shown.split("done in")[1]
    folder = tmp_path / "out"
    table = pd.read_csv(folder / "label_efficiency.csv")
    assert table["n_labels"].tolist() == [7, 7, 90, 90]
    assert table["arm"].tolist() == ["random", "ssl"] * 2
    assert len(pd.read_csv(folder / "label_differences.csv")) == 2
    text = (folder / "label_efficiency.md").read_text()
    assert "The arm 'imagenet' was left out" in text
    assert "logistic regression on the frozen features" in text
    assert "1 run each; 97.5% intervals, of 2 comparisons that hold together with 95%" in text
    assert "one run each, so no verdict" in text
    assert "is better" not in text
    assert str(tmp_path / "c.toml") in text  # the command
    assert "| random init | 1 |" in text  # seeds are counted
    assert "1 run only (" in shown.split("done in")[1]
    assert pages.check(folder, "label_efficiency") == ["label_efficiency.png"]
    assert (folder / "label_efficiency.png").stat().st_size > 10_000

    # The same command again: nothing is made, and the report is the same.
    monkeypatch.setattr(linear_probe, "_fitted", lambda *args: pytest.fail("fitted"))
    monkeypatch.setattr(pretraining, "fit", lambda *args: pytest.fail("trained"))
    assert tiny.call(label_efficiency, *words) == 0
    assert "(finished before)" in capsys.readouterr().out
    assert (folder / "label_efficiency.md").read_text() == text


@pytest.mark.slow
def test_a_stopped_experiment_goes_on_with_the_runs_that_are_missing(argv, monkeypatch, tmp_path):
    made, real = [], linear_probe.LinearProbeRunner.run

    def stops_at_the_third(self, config, arm, **options):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(config["output"])
        return real(self, config, arm, **options)

    words = [*argv, "--arms", "random", "other=none", "--probe"]
    monkeypatch.setattr(linear_probe.LinearProbeRunner, "run", stops_at_the_third)
    assert tiny.call(label_efficiency, *words) == 130
    fits, fitted = [], linear_probe._fitted
    monkeypatch.setattr(linear_probe.LinearProbeRunner, "run", real)
    monkeypatch.setattr(linear_probe, "_fitted", lambda *args: fits.append(1) or fitted(*args))
    assert tiny.call(label_efficiency, *words) == 0
    assert len(fits) == 4 - 2
    states = {runs.read_json(file)["status"] for file in (tmp_path / "out").glob("*/status.json")}
    assert states == {runs.FINISHED}
    # Both arms start from the same random weights and see the same labels.
    rows = pd.read_csv(tmp_path / "out" / "label_differences.csv")
    assert rows["difference"].tolist() == [0, 0]


@pytest.mark.slow
def test_fine_tuning_from_end_to_end(argv, tmp_path, capsys, monkeypatch):
    assert tiny.call(label_efficiency, *argv) == 0
    assert "report: " in capsys.readouterr().out
    done = sorted(path.parent.name for path in (tmp_path / "out").glob("finetune_*/status.json"))
    assert len(done) == 4
    one = runs.read_json(tmp_path / "out" / "finetune_ssl_1_per_class_seed0" / "status.json")
    assert one["n_labels"] == 7
    assert one["config"]["finetune"]["batch_size"] == 7
    monkeypatch.setattr(finetuning, "predict", lambda *args: pytest.fail("trained"))
    assert tiny.call(label_efficiency, *argv) == 0

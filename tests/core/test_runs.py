"""A run's folder: whole files, one writer, one identity, a status that tells the truth."""

import dataclasses
import errno
import fcntl
import json
import os
import tomllib

import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl.core import atomic_files, file_locks, runs
from dermssl.core import config as configs
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import Backbone, Data, Finetune, Pretrain
from dermssl.data import records
from dermssl.studies.embedding_map import run as embedding_map
from dermssl.studies.explain import run as explain
from dermssl.studies.forms import run as forms
from dermssl.studies.stress import run as stress

CONFIG = {
    "data": Data(path="photos"),
    "pretrain": Pretrain(),
    "seed": 0,
    "output": "x",
}


def opened(path, config=CONFIG, data_hash="d1", **options):
    return runs.open_run(path, "pretrain", config, data_hash, **options)


def finish(path, **options):
    with opened(path, **options) as run:
        run.set_status(runs.FINISHED)


def status(path):
    return json.loads((path / "status.json").read_text())


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    atomic_files.write_text(tmp_path / "a.txt", "old")
    atomic_files.write_text(tmp_path / "a.txt", "néw")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "néw"
    assert files(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_inside_leaves_the_old_file(tmp_path, error):
    atomic_files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(error), atomic_files.atomic_write(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a.txt").read_text() == "old"
    assert files(tmp_path) == ["a.txt"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    atomic_files.write_text(tmp_path / "a.keras", "old")
    with atomic_files.atomic_write(tmp_path / "a.keras") as temporary:
        temporary.write_text("new")
        assert (tmp_path / "a.keras").read_text() == "old"
        assert temporary.parent == tmp_path  # a rename across disks is no rename
        assert temporary.suffix == ".keras"
    assert (tmp_path / "a.keras").read_text() == "new"


def test_the_new_file_takes_the_place_of_the_old_one(tmp_path):
    # Writing into the old file would also change it under its other name.
    atomic_files.write_text(tmp_path / "a.txt", "old")
    os.link(tmp_path / "a.txt", tmp_path / "b.txt")
    atomic_files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "b.txt").read_text() == "old"


@pytest.mark.parametrize("place", ["nowhere/a.txt", "file/a.txt", "folder"])
def test_what_can_t_be_written_is_a_failed_run(tmp_path, place):
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(RunFailed, match="can't be written"):
        atomic_files.write_text(tmp_path / place, "text")
    assert files(tmp_path) == ["file", "folder"]


def test_a_full_disk_is_a_failed_run(tmp_path):
    with pytest.raises(RunFailed, match="No space left"), atomic_files.atomic_write(tmp_path / "a"):
        raise OSError(28, "No space left on device")


def test_json_has_no_nan(tmp_path):
    value = {"a": [np.float32("nan"), np.inf, np.int64(3)], "b": np.arange(2), "c": (1.5, "é")}
    atomic_files.write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": [None, None, 3], "b": [0, 1], "c": [1.5, "é"],
    }  # fmt: skip
    assert "é" in text


def test_unreadable_json_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone.json: can't be read"):
        runs.read_json(tmp_path / "gone.json")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"cut.json: not valid JSON"):
        runs.read_json(tmp_path / "cut.json")


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@x", "\tx"])
def test_csv_text_is_harmless_and_comes_back(tmp_path, text):
    table = pd.DataFrame({text: [text, "a"], "n": [-1.5, 2.0], "kept": ["a=1", "'quoted'"]})
    atomic_files.write_csv(tmp_path / "a.csv", table)
    found = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert found.columns[0][0] == found.iloc[0, 0][0] == "'"
    assert found["n"].tolist() == ["-1.5", "2.0"]
    assert found["kept"].tolist() == ["a=1", "'quoted'"]
    again = found.map(atomic_files.unescape_formulas).rename(columns=atomic_files.unescape_formulas)
    assert again[text].tolist() == [text, "a"]
    assert again["kept"].tolist() == table["kept"].tolist()


def test_a_new_run(tmp_path):
    with opened(tmp_path / "deep" / "run") as run:
        found = status(run.path)
        assert found["status"] == runs.RUNNING
        assert found["config_hash"] == configs.config_hash(CONFIG)
        assert found["versions"]["keras"]
        written = tomllib.loads((run / "config.toml").read_text())
        assert written == configs.as_tables(CONFIG) == found["config"]
        assert "output" not in written
        run.set_status(runs.FINISHED, extra=3)
    found = status(run.path)
    assert (found["status"], found["extra"], found["command"]) == (runs.FINISHED, 3, "pretrain")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt, runs.KILLED),
        (RunFailed("disk"), runs.FAILED),
        (ValueError("bug"), runs.FAILED),
        (UserError("input"), runs.FAILED),
        (SystemExit, runs.FAILED),
    ],
)
def test_a_block_that_raises_leaves_a_reason(tmp_path, error, expected):
    kind = type(error) if isinstance(error, Exception) else error
    with pytest.raises(kind), opened(tmp_path):
        raise error
    assert status(tmp_path)["status"] == expected
    assert status(tmp_path)["reason"]


def test_a_diverged_run_stays_diverged(tmp_path):
    with pytest.raises(RunFailed), opened(tmp_path) as run:  # noqa: PT012
        run.set_status(runs.DIVERGED, reason="nan")
        raise RunFailed("x")
    assert (status(tmp_path)["status"], status(tmp_path)["reason"]) == (runs.DIVERGED, "nan")


def test_an_unfinished_run_is_taken_up_again(tmp_path):
    with pytest.raises(KeyboardInterrupt), opened(tmp_path):
        raise KeyboardInterrupt
    assert not runs.is_finished(tmp_path, "pretrain", CONFIG, "d1")
    with opened(tmp_path) as run:
        assert run.status["status"] == runs.RUNNING
        assert run.status["reason"] is None


def test_a_finished_run_is_left_alone(tmp_path):
    finish(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert runs.is_finished(tmp_path, "pretrain", CONFIG, "d1")
    with opened(tmp_path) as run:
        assert run.status["status"] == runs.FINISHED
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_there_is_not_finished_and_makes_nothing(tmp_path):
    assert not runs.is_finished(tmp_path / "none", "pretrain", CONFIG, "d1")
    assert files(tmp_path) == []


def other_seed(config):
    return {**config, "seed": 7}


def other_epochs(config):
    return {**config, "pretrain": dataclasses.replace(config["pretrain"], epochs=9)}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"config": other_seed(CONFIG)}, "seed: 0 there, 7 now"),
        ({"config": other_epochs(CONFIG)}, "pretrain.epochs: 50 there, 9 now"),
        ({"data_hash": "d2"}, "data: 'd1' there, 'd2' now"),
        ({"start": "w2"}, "starting weights: 'none' there, 'w2' now"),
        ({"classes": "c2"}, "taxonomy: 'c1' there, 'c2' now"),
    ],
)
def test_a_different_run_is_refused_with_the_difference(tmp_path, options, shown):
    finish(tmp_path, classes="c1")
    before = (tmp_path / "status.json").read_bytes()
    arguments = {"config": CONFIG, "data_hash": "d1", "classes": "c1"} | options
    with pytest.raises(UserError, match=shown), opened(tmp_path, **arguments):
        pytest.fail("opened")
    with pytest.raises(UserError, match=shown):
        runs.is_finished(tmp_path, "pretrain", **arguments)
    assert (tmp_path / "status.json").read_bytes() == before


def test_another_command_and_many_differences(tmp_path):
    finish(tmp_path)
    with pytest.raises(UserError, match="command: 'pretrain' there, 'finetune' now"):
        runs.is_finished(tmp_path, "finetune", CONFIG, "d1")
    config = {**other_epochs(other_seed(CONFIG)), "data": Data(path="b", test=0.3)}
    with pytest.raises(UserError, match="and 1 more") as error:
        runs.is_finished(tmp_path, "pretrain", config, "d2")
    assert "run.overwrite" in str(error.value)


def test_the_output_is_no_difference(tmp_path):
    finish(tmp_path)
    assert runs.is_finished(tmp_path, "pretrain", {**CONFIG, "output": "elsewhere"}, "d1")


def test_where_and_how_much_is_cached_is_no_difference(tmp_path):
    finish(tmp_path)
    data = Data(path="photos", cache_mb=0, cache_dir="c", cache_disk_mb=1)
    config = {**CONFIG, "data": data, "pretrain": Pretrain(probe_every=0)}
    assert configs.config_hash(config) == configs.config_hash(CONFIG)
    assert runs.is_finished(tmp_path, "pretrain", config, "d1")
    config = {**config, "data": dataclasses.replace(data, on_bad="skip")}
    with pytest.raises(UserError, match=r"run \(data.on_bad: 'error' there, 'skip' now\)"):
        runs.is_finished(tmp_path, "pretrain", config, "d1")


@pytest.mark.parametrize("path", ["photos/", "./photos", "/elsewhere/photos", ""])
def test_how_the_path_was_typed_is_no_difference(tmp_path, path):
    finish(tmp_path)
    data = Data(path=path, unlabelled=path)
    config = {**CONFIG, "data": data}
    assert runs.is_finished(tmp_path, "pretrain", config, "d1")
    assert configs.config_hash(config) == configs.config_hash(CONFIG)
    assert status(tmp_path)["config"]["data"]["path"] == "photos"  # as typed at first
    with pytest.raises(UserError, match="data: 'd1' there, 'd2' now"):
        runs.is_finished(tmp_path, "pretrain", config, "d2")


def test_how_the_weights_were_typed_is_no_difference(tmp_path):
    config = {**CONFIG, "backbone": Backbone(weights="outputs/ssl")}
    finish(tmp_path, config=config, start="w1")
    config = {**config, "backbone": Backbone(weights="/home/me/outputs/ssl/")}
    assert runs.is_finished(tmp_path, "pretrain", config, "d1", "w1")
    with pytest.raises(UserError, match="starting weights: 'w1' there, 'w2' now"):
        runs.is_finished(tmp_path, "pretrain", config, "d1", "w2")


def test_a_run_from_before_a_setting_is_this_run_at_its_default(tmp_path):
    config = {"data": Data(path="p"), "finetune": Finetune(), "seed": 0}
    finish(tmp_path, config=config)
    found = status(tmp_path)
    for name in ("classes", "rare_classes"):
        del found["config"]["finetune"][name]
    atomic_files.write_json(tmp_path / "status.json", found)
    runs.finished(tmp_path)
    assert runs.is_finished(tmp_path, "pretrain", config, "d1")
    assert configs.config_hash(found["config"]) == configs.config_hash(config)
    other = {**config, "finetune": Finetune(rare_classes="drop")}
    with pytest.raises(UserError, match=r"rare_classes: 'train' there, 'drop' now"):
        runs.is_finished(tmp_path, "pretrain", other, "d1")
    finish(tmp_path, config=other, overwrite=True)
    with pytest.raises(UserError, match=r"rare_classes: 'drop' there, 'train' now"):
        runs.is_finished(tmp_path, "pretrain", config, "d1")


def test_the_run_of_another_version_is_refused(tmp_path):
    finish(tmp_path)
    found = status(tmp_path)
    del found["config"]["data"]["masks"]
    atomic_files.write_json(tmp_path / "status.json", found)
    shown = (
        r"a run of another version of dermssl, which differs in the settings \[data\] masks; make"
    )
    with pytest.raises(UserError, match=shown):
        runs.finished(tmp_path)
    with pytest.raises(UserError, match=f"{shown} the run again with run.overwrite"):
        runs.is_finished(tmp_path, "pretrain", CONFIG, "d1")
    finish(tmp_path, overwrite=True)
    assert runs.is_finished(tmp_path, "pretrain", CONFIG, "d1")


def test_a_run_older_than_a_setting_s_name_is_the_same_run(tmp_path):
    config = CONFIG | {"backbone": Backbone(precision="float32")}
    finish(tmp_path, config=config)
    found = status(tmp_path)
    del found["config"]["backbone"]["precision"]
    found["config"]["backbone"]["mixed_precision"] = False
    atomic_files.write_json(tmp_path / "status.json", found)
    assert runs.finished(tmp_path)["config"] == found["config"]
    assert runs.is_finished(tmp_path, "pretrain", config, "d1")
    half = CONFIG | {"backbone": Backbone(precision="mixed_float16")}
    shown = "precision: 'float32' there, 'mixed_float16' now"
    with pytest.raises(UserError, match=shown):
        runs.is_finished(tmp_path, "pretrain", half, "d1")


def test_overwrite(tmp_path):
    finish(tmp_path)
    with opened(tmp_path, config=other_seed(CONFIG), overwrite=True) as run:
        assert run.status["status"] == runs.RUNNING
        assert run.status["config"]["seed"] == 7
        assert tomllib.loads((run / "config.toml").read_text())["seed"] == 7


def test_overwrite_removes_what_was_said_of_the_old_run(tmp_path):
    finish(tmp_path / "run")
    for folder in (tmp_path / "run", tmp_path / "none"):
        for name in (*runs.DERIVED_OUTPUTS[:-1], "mine"):
            (folder / name).mkdir(parents=True)
            (folder / name / "report.md").touch()
        (folder / runs.DERIVED_OUTPUTS[-1]).touch()
    with opened(tmp_path / "run"):  # the same one again
        assert (tmp_path / "run" / "stress_test" / "report.md").exists()
    for folder in (tmp_path / "run", tmp_path / "none"):
        with opened(folder, overwrite=True):
            left = {name for name in runs.DERIVED_OUTPUTS if (folder / name).exists()}
        assert left == (
            set() if folder.name == "run" else set(runs.DERIVED_OUTPUTS)
        )  # no run, not ours
        assert (folder / "mine" / "report.md").exists()


def test_the_list_of_later_files_names_those_of_every_command():
    names = {f"evaluation_{split}" for split in records.SPLITS}
    names |= {stress.FOLDER, embedding_map.FOLDER, *explain.FOLDERS.values(), forms.FOLDER}
    names |= {"health.json", "tensorboard"}
    names |= {"external", "external_*", "export_*", "likeness.npz"}
    assert set(runs.DERIVED_OUTPUTS) == names


def test_overwrite_also_mends_a_damaged_status(tmp_path):
    finish(tmp_path)
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"), opened(tmp_path):
        pytest.fail("opened")
    with opened(tmp_path, overwrite=True) as run:
        assert run.status["status"] == runs.RUNNING


def test_a_kill_while_overwriting_leaves_no_finished_run(tmp_path, monkeypatch):
    finish(tmp_path)

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "write_text", killed)
    with pytest.raises(KeyboardInterrupt), opened(tmp_path, overwrite=True):
        pytest.fail("opened")
    assert not (tmp_path / "status.json").exists()


LOCKED = """
import sys
from dermssl.core import runs
from dermssl.core.errors import UserError
try:
    with runs.open_run(sys.argv[1], "pretrain", {"seed": 0}, "d1"):
        print("opened")
except UserError as error:
    print(error)
"""


def test_a_second_process_is_refused_while_the_first_writes(tmp_path):
    with runs.open_run(tmp_path, "pretrain", {"seed": 0}, "d1"):
        assert "another process is writing there" in tiny.python("-c", LOCKED, tmp_path).stdout
    assert tiny.python("-c", LOCKED, tmp_path).stdout == "opened\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_warns_and_goes_on(tmp_path, monkeypatch, caplog, number):
    def no_locks(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    finish(tmp_path)
    assert status(tmp_path)["status"] == runs.FINISHED
    (said,) = caplog.messages
    assert "this file system can't lock" in said
    assert "run.output to a folder on a local disk" in said


def test_a_system_without_locks_warns_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(file_locks, "fcntl", None)  # Windows
    finish(tmp_path)
    assert status(tmp_path)["status"] == runs.FINISHED
    assert ["can't lock" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN])
def test_a_lock_that_is_held_is_another_process(tmp_path, monkeypatch, number):
    def held(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", held)
    with pytest.raises(UserError, match="another process is writing there"), opened(tmp_path):
        pytest.fail("opened")


def test_an_output_that_can_t_be_written(tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        wanted = pytest.raises(UserError, match=r"run.output .*can't be written")
        with wanted, opened(tmp_path / place):
            pytest.fail("opened")
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if not os.access(folder, os.W_OK):  # root may write anywhere
        with pytest.raises(UserError, match="Permission denied"), opened(folder / "run"):
            pytest.fail("opened")


def test_finished_says_what_is_there(tmp_path):
    with pytest.raises(UserError, match=r"no run found there \(no status.json\)"):
        runs.finished(tmp_path)
    with opened(tmp_path), pytest.raises(UserError, match="this run is RUNNING"):
        runs.finished(tmp_path)
    finish(tmp_path, overwrite=True)
    assert runs.finished(tmp_path, command="pretrain")["status"] == runs.FINISHED
    with pytest.raises(UserError, match=r"a run of dermssl.pretrain, not of dermssl.finetune"):
        runs.finished(tmp_path, command="finetune")

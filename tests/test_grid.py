"""The grid command: plan, rows, resume, failures, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl import grid
from dermssl.core import atomic_files, runs
from dermssl.core import config as configs
from dermssl.core.errors import RunFailed, UserError
from dermssl.core.settings import Data, Grid
from dermssl.reporting import results_csv
from dermssl.studies.grid import rows as grid_rows


def config(photos, output, weights="none", **settings):
    base = {
        "models": ["cnn"], "depths": [1, 4], "augmentations": ["none", "skin"], "seeds": [0, 1],
        "image_size": 32, "epochs": 2, "batch_size": 16, "classes": ["mel", "nv"],
        "weights": weights if isinstance(weights, list) else [str(weights)], "n_resamples": 20,
    }  # fmt: skip
    return {
        "data": Data(path=str(photos)),
        "grid": Grid(**(base | settings)),
        "seed": 0,
        "output": str(output),
    }


def rows_of(path):
    return results_csv.read_rows(path / grid_rows.RESULTS)


@pytest.fixture(scope="module")
def made(photos, pretrained, tmp_path_factory):
    """A finished grid of 8 cells on an SSL run's backbone."""
    return grid.run(config(photos, tmp_path_factory.mktemp("grid") / "made", pretrained))


def test_a_row_and_a_file_a_cell(made):
    rows = rows_of(made)
    assert len(rows) == rows["cell"].nunique() == 8
    assert set(rows["status"]) == {"FINISHED"}
    assert set(rows["depth"]) == {1, 4}
    deep = rows[rows["depth"] == 4].iloc[0]
    assert deep["unfrozen_layers"] == "stage4b_conv"
    # 3 x 3 x 256 x 256, gamma and beta, and the head
    assert deep["trainable_parameters"] == 9 * 256 * 256 + 2 * 256 + 2 * 256 + 2
    shallow = rows[rows["depth"] == 1].iloc[0]
    assert (shallow["trains_no_kernel"], deep["trains_no_kernel"]) == (1, 0)
    assert (rows["fine_accuracy_low"] <= rows["fine_accuracy"]).all()
    for name in rows["cell"]:
        p, losses = grid_rows.read_cell(made, name)
        assert p.shape == (rows["n"].iloc[0], 2)
        assert len(losses) == 2
    assert runs.read_json(made / "status.json")["status"] == "FINISHED"
    assert len(list((made / "tensorboard").glob("*/events*"))) == 8 + 1  # the report


@pytest.mark.slow
def test_both_ways_give_the_same_numbers(made, photos, pretrained, tmp_path):
    plain = grid.run(config(photos, tmp_path / "plain", pretrained, shared_trunk=False, seeds=[1]))
    names = rows_of(plain)["cell"]
    assert len(names) == 4
    for name in names:
        for one, other in zip(grid_rows.read_cell(made, name), grid_rows.read_cell(plain, name)):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_what_is_missing_is_made_and_nothing_else(made, photos, pretrained, tmp_path, monkeypatch):
    """Killed after 3 rows: the same command adds the other 5, equal to those never stopped."""
    from dermssl.studies.grid import train as cells

    output = tmp_path / "stopped"
    written = []

    def stop(path, row):
        if len(written) == 3:
            raise KeyboardInterrupt
        written.append(row["cell"])
        append(path, row)

    append = results_csv.append_row
    monkeypatch.setattr(results_csv, "append_row", stop)
    with pytest.raises(KeyboardInterrupt):
        grid.run(config(photos, output, pretrained))
    monkeypatch.undo()
    assert runs.read_json(output / "status.json")["status"] == "KILLED"
    assert rows_of(output)["cell"].tolist() == written
    grid.run(config(photos, output, pretrained))
    names = rows_of(output)["cell"]
    assert names.is_unique
    assert set(names) == set(rows_of(made)["cell"])
    for name in names:
        for one, other in zip(grid_rows.read_cell(made, name), grid_rows.read_cell(output, name)):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)

    def never(*args):
        raise AssertionError("nothing is left to train")

    monkeypatch.setattr(cells.SharedCells, "train", never)
    grid.run(config(photos, output, pretrained))


@pytest.mark.slow
def test_out_of_memory_is_a_row_and_the_rest_goes_on(photos, tmp_path, monkeypatch, capsys):
    from dermssl.studies.grid import train as cells

    train = cells.train_plain

    def full(start, depth, augmentation, seed, *rest):
        if augmentation == "none":
            raise MemoryError
        return train(start, depth, augmentation, seed, *rest)

    monkeypatch.setattr(cells, "train_plain", full)
    settings = config(photos, tmp_path / "g", models=["mlp"], seeds=[0], epochs=1)
    with pytest.raises(RunFailed, match="1 of 2 cells failed"):
        grid.run(settings)
    rows = rows_of(tmp_path / "g").set_index("augmentation")
    assert rows["status"].to_dict() == {"none": "FAILED", "skin": "FINISHED"}
    assert "out of memory" in rows["reason"]["none"]
    assert np.isnan(rows["fine_accuracy"]["none"])
    assert np.isnan(rows["coarse_accuracy"]["skin"])  # two classes under no coarse ones
    assert "mlp starts from nothing" in capsys.readouterr().out
    report = (tmp_path / "g" / "report.md").read_text()
    assert "mlp-depth_all-none-seed0: FAILED, out of memory" in report
    monkeypatch.undo()
    grid.run(settings)  # memory is back
    rows = rows_of(tmp_path / "g")
    assert rows["cell"].is_unique
    assert set(rows["status"]) == {"FINISHED"}
    assert set(rows["shared_trunk"]) == {0}  # nothing is frozen, so nothing is shared


@pytest.mark.slow
def test_overwrite_leaves_nothing_of_the_other_grid(photos, tmp_path):
    output = tmp_path / "g"
    small = {"epochs": 1, "seeds": [0]}
    grid.run(config(photos, output, models=["mlp"], augmentations=["none", "skin"], **small))
    before = {str(path.relative_to(output)) for path in output.rglob("*")}
    (output / "mine.png").write_bytes(b"kept")
    settings = config(photos, output, models=["mlp"], augmentations=["none"], **small)
    grid.run(settings | {"overwrite": True})
    assert (output / "mine.png").read_bytes() == b"kept"
    after = {str(path.relative_to(output)) for path in output.rglob("*")}
    assert any("skin" in name for name in before)
    assert not [name for name in after if "skin" in name]


@pytest.mark.slow
def test_rows_of_another_config_are_not_done(photos, tmp_path):
    """What a kill between a new status and the removal of old rows leaves."""
    output = tmp_path / "g"
    settings = config(photos, output, models=["mlp"], augmentations=["none"], seeds=[0], epochs=1)
    grid.run(settings)
    text = (output / "results.csv").read_text()
    status = runs.read_json(output / "status.json")
    (output / "results.csv").write_text(text.replace(status["config_hash"], "0" * 12))
    atomic_files.write_json(output / "status.json", status | {"status": "RUNNING"})
    grid.run(settings)
    rows = rows_of(output)
    assert rows["config_hash"].tolist() == [status["config_hash"]]


@pytest.mark.slow
def test_a_smaller_cache_is_the_same_grid(photos, pretrained, tmp_path):
    """The advice of a cell that ran out of memory can be followed."""
    small = {"augmentations": ["none"], "seeds": [0], "epochs": 1}
    with_cache, without = (
        grid.run(config(photos, tmp_path / f"{mb}", pretrained, feature_cache_mb=mb, **small))
        for mb in (64, 0)
    )
    assert len(rows_of(without)) == 2
    for name in rows_of(without)["cell"]:
        for one, other in zip(*(grid_rows.read_cell(path, name) for path in (with_cache, without))):
            np.testing.assert_allclose(one, other, atol=1e-6)
    grid.run(config(photos, without, pretrained, feature_cache_mb=64, **small))  # is taken up


def test_a_changed_setting_is_refused_with_the_difference(made, photos, pretrained):
    with pytest.raises(UserError, match=r"grid\.epochs: 2 there, 3 now"):
        grid.run(config(photos, made, pretrained, epochs=3))


def test_a_changed_data_set_is_refused(made, photos, pretrained, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    table = pd.read_csv(copy / "labels.csv", dtype=str, keep_default_na=False)
    table.loc[table["label"] == "mel", "site"] = "elsewhere"
    table.to_csv(copy / "labels.csv", index=False)
    with pytest.raises(UserError, match="data: '"):
        grid.run(config(copy, made, pretrained))


@pytest.mark.slow
def test_folds_test_every_photo_once(photos, tmp_path):
    settings = config(
        photos, tmp_path / "g", models=["mlp"], seeds=[0], augmentations=["none"], folds=2,
        epochs=1,
    )  # fmt: skip
    path = grid.run(settings)
    rows = rows_of(path)
    assert rows["fold"].tolist() == [0, 1]
    records = pd.read_csv(path / "records.csv")
    assert rows["n"].sum() == records["path"].nunique()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["vgg"]}, "unknown grid.models 'vgg'; choose one of: mobilenet"),
        ({"augmentations": ["blur"]}, "unknown grid.augmentations 'blur'; choose one of: none"),
        ({"depths": [2, 2]}, "grid.depths 2 2: a value is there twice"),
        ({"models": ["cnn", "inceptionv3"]}, "under the 75 px that inceptionv3 needs.*cnn"),
        ({"weights": ["none", "imagenet"]}, "grid.weights none imagenet: give one for all"),
        ({"weights": ["mlp=imagenet"]}, "not among grid.models cnn"),
        ({"weights": ["no/such.h5"]}, "^grid.weights no/such.h5: no such file"),
        ({"folds": 1}, "grid.folds 1"),
    ],
)
def test_bad_input_is_refused_before_training(photos, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        grid.run(config(photos, tmp_path / "g", **changes))
    assert not (tmp_path / "g").exists()


def test_a_depth_beyond_the_backbone_names_the_model(photos, pretrained, tmp_path):
    with pytest.raises(UserError, match=r"cnn: grid\.depths 99 is beyond the backbone"):
        grid.run(config(photos, tmp_path / "g", pretrained, depths=[2, 99]))


def test_weights_of_another_architecture_name_both(photos, pretrained, tmp_path):
    with pytest.raises(UserError, match="pretrained a cnn, not a mlp"):
        grid.run(config(photos, tmp_path / "g", pretrained, models=["mlp"]))


def test_pretrained_on_the_test_photos_is_refused(photos, pretrained, tmp_path):
    with pytest.raises(UserError, match="measure memory"):
        grid.run(config(photos, tmp_path / "g", pretrained, folds=2))


def test_small_sizes_can_be_raised():
    from dermssl.studies.grid import plan as grid_plan

    settings = Grid(models=["cnn"], image_size=8, small_size="raise", depths=[2])
    (plan,) = grid_plan.plan_models(settings)
    assert plan.start.image_size == 16
    assert plan.depths == (grid_plan.ALL,)  # from scratch: nothing worth freezing


def test_dry_run_prints_the_plan_and_trains_nothing(photos, pretrained, tmp_path, capsys):
    out = tmp_path / "g"
    code = grid.main(
        ["--data", str(photos), "--models", "cnn", "--weights", str(pretrained), "--depths", "1",
         "4", "--image-size", "32", "--dry-run", "--output", str(out)]
    )  # fmt: skip
    said = capsys.readouterr().out
    assert code == 0
    assert "depth 4: 590,336 backbone parameters train; stage4b_conv" in said
    assert "depth 1: 0 backbone parameters train; NO KERNEL" in said
    assert "8 cells, about" in said
    assert not out.exists()


def test_findings_are_told_in_plain_words(made, photos, monkeypatch, capsys):
    from dermssl.studies.grid import report

    monkeypatch.setattr(grid, "_train", lambda *args, **kwargs: (made, report.write(made)))
    assert grid.main(["--data", str(photos)]) == 0
    said = capsys.readouterr().out
    assert "tie for the highest mean accuracy" in said or "the highest cell is" in said
    assert not any(sign in said for sign in ("\\", "![", "**"))


def test_errors_are_one_line_with_exit_code_2(photos, capsys):
    assert grid.main(["--data", str(photos), "--models", "vgg"]) == 2
    assert tiny.call(grid, "--data", photos, "--seed", 1) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 2
    assert all(line.startswith("dermssl: error: ") for line in said)


def test_the_experiment_files_are_valid():
    from dermssl.studies.grid import plan as grid_plan

    for name, n_cells in (("seed_grid", 80), ("seed_grid_mobilenet", 60)):
        tables = configs.read_toml(tiny.ROOT / "experiments" / f"{name}.toml")
        settings = configs.build(Grid, tables["grid"], name)
        grid_plan.check(settings)
        axes = (settings.models, settings.depths, settings.augmentations, settings.seeds)
        assert np.prod([len(axis) for axis in axes]) == n_cells


def test_the_report_has_no_nan_and_the_status_counts_the_cells(made):
    text = (made / "report.md").read_text()
    assert "nan" not in text.lower().split()
    assert json.loads((made / "status.json").read_text())["cells"] == 8


def test_a_cell_logged_by_a_killed_process_is_logged_once(tmp_path):
    from dermssl.evaluation.interval import Interval
    from dermssl.studies.grid import plan as grid_plan
    from dermssl.training import tensorboard

    cell = grid_plan.Cell("cnn", 1, "none", 0, fold=2)
    for _ in range(2):
        tensorboard.write_cell(
            tmp_path / "cell", cell, [2.0, 1.0], {"roc_auc": Interval(0.5, 0.4, 0.6)}
        )
    assert len(list((tmp_path / "cell").glob("events*"))) == 1

"""adapt --pretrain-epochs: what is pretrained on, which arm is compared, what is saved."""

import re
import shutil
from dataclasses import replace

import kills
import numpy as np
import pages
import pandas as pd
import pytest
import tiny

import dermssl
from dermssl import adapt
from dermssl.core import runs, taxonomy
from dermssl.core.study_settings import Adapt
from dermssl.data import records
from dermssl.data.synthetic import dataset as synthetic
from dermssl.evaluation import calibrator
from dermssl.evaluation.predictions import Arrays
from dermssl.inference import finished_run
from dermssl.models import weights
from dermssl.studies.external import adapt as study
from dermssl.studies.external import adapt_scores, further_pretraining, places

pytestmark = pytest.mark.slow

FURTHER = adapt_scores.FURTHER
FLAGS = ("--pretrain-epochs", 2, "--n-resamples", 100)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return synthetic.write(tmp_path_factory.mktemp("other") / "clinic", n=120, size=32, seed=11)


@pytest.fixture(scope="module")
def adapted(own_run, other):
    return dermssl.adapt(own_run, data=str(other), n_resamples=100, pretrain_epochs=2)


@pytest.fixture(scope="module")
def place(own_run, other):
    run = finished_run.load(own_run)
    return places.read(
        [str(other)], Adapt(data=str(other)), run.taxonomy, run.data, section="adapt",
        labelled=False,
    )[0]  # fmt: skip


def pool_of(folder):
    pool = records.read_csv(folder / "pretraining" / "pool.csv")
    return pool, pool["source"] == further_pretraining.UNLABELLED


def test_the_arm_stands_in_every_output(adapted):
    assert pages.check(adapted.path) == ["adaptation.png"]
    found = adapted.json("adaptation.json")
    assert list(found["metrics"]) == ["before", "class shares", "BatchNorm", "both", FURTHER]
    assert found["saved"] == FURTHER
    table = pd.read_csv(adapted / "adaptation.csv")
    rows = table[(table["arm"] == FURTHER) & (table["metric"] == "balanced_accuracy")]
    assert set(rows["photos"]) == {"new place", "the run's own test"}
    scores = found["metrics"]
    for base, differences in (
        ("before", found["differences"][FURTHER]),
        ("BatchNorm", found["differences_to_batchnorm"]),
    ):
        for name, gap in differences.items():
            expected = scores[FURTHER][name]["estimate"] - scores[base][name]["estimate"]
            assert gap["estimate"] == pytest.approx(expected, abs=1e-12)
    sentences = [text for text in found["findings"] if text.startswith("Further pretraining")]
    assert len(sentences) == 2
    assert "against BatchNorm alone" in sentences[1]
    assert all(re.search("isn't shown|it (helps|harms) here", text) for text in sentences)
    assert any("98.75% intervals" in text for text in found["notes"])  # four findings, 5% in all
    assert "The saved run is that of the further pretraining" in adapted.report


def test_a_verdict_is_as_sure_as_its_family(monkeypatch):
    """Each finding's interval has the level that its note names."""
    levels = []
    differences = adapt_scores.metric_tables.differences

    def noted(a, b, names, level=0.95):
        levels.append(level)
        return differences(a, b, names, level)

    monkeypatch.setattr(adapt_scores.metric_tables, "differences", noted)
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    groups = np.arange(60)
    classes = taxonomy.flat(("a", "b"))

    def draws():
        p = rng.dirichlet((1, 1), 60)
        arrays = Arrays(y, y, p, p, groups)
        names = ["balanced_accuracy", "log_loss"]
        return adapt_scores._draws(arrays, arrays, classes, names, Adapt(n_resamples=20))

    arms = {name: draws() for name in ("before", "class shares", "BatchNorm", "both", FURTHER)}
    verdicts = adapt_scores._verdicts(arms, "balanced_accuracy")
    assert list(verdicts) == [
        ("BatchNorm", "before"), ("class shares", "before"), (FURTHER, "before"),
        (FURTHER, "BatchNorm"),
    ]  # fmt: skip
    assert levels == [pytest.approx(1 - 0.05 / 4)] * 4
    levels.clear()
    arms.pop(FURTHER)
    assert len(adapt_scores._verdicts(arms, "balanced_accuracy")) == 2
    assert levels == [pytest.approx(1 - 0.05 / 2)] * 2


def test_the_scored_half_and_held_out_photos_are_not_pretrained_on(adapted, own_run, other, place):
    mine, rest = study.halves(place, 0.5)
    pool, new = pool_of(adapted)
    run = finished_run.load(own_run)
    seen = {(run.dataset().root / path).resolve() for path in pool["path"]}
    files = np.array([str(file) for file in place.dataset.files])
    assert {str(path) for path in seen} >= set(files[mine])
    assert not {str(path) for path in seen} & set(files[rest])
    own = run.records()
    assert set(pool["path"][~new]) == set(own["path"][own["split"] == "train"])
    assert not pool.loc[new, ["fine", "coarse", "lesion_id", "patient_id"]].to_numpy().any()
    said = adapted.json("adaptation.json")["further_pretraining"]
    assert (said["new_photos"], said["own_photos"]) == (len(mine), int((~new).sum()))


def test_a_copy_of_a_scored_photo_is_not_pretrained_on(own_run, place):
    mine, rest = study.halves(place, 0.5)
    own = further_pretraining.own_dataset(finished_run.load(own_run))
    table = place.seen.table.copy()
    table.loc[mine[0], "pixel_hash"] = table["pixel_hash"].iloc[rest[0]]
    seen = type(place.seen)(table, place.seen.words, place.seen.turned)
    both = further_pretraining.pool(own, replace(place, seen=seen), mine, rest)
    new = both.index[both.index["source"] == further_pretraining.UNLABELLED]
    assert len(new) == len(mine) - 1
    assert both.with_index(new).files[0] not in place.dataset.files[mine[0]]


def test_the_saved_run_is_the_pretrained_one_with_its_own_head(adapted, own_run, other):
    assert not (adapted / "head").exists()
    old, new = weights.load_classifier(own_run), weights.load_classifier(adapted)
    backbone = dermssl.Backbone("cnn", image_size=32)
    backbone.load_weights(adapted / "pretraining" / "backbone.weights.h5")
    for mine, theirs in zip(new.backbone.weights, backbone.weights):  # frozen under the new head
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    assert np.abs(np.asarray(new.fine.kernel) - np.asarray(old.fine.kernel)).max() > 1e-3
    status = runs.read_json(adapted / "status.json")
    assert status["adapted"]["arm"] == FURTHER
    assert status["config"]["finetune"]["unfrozen_epochs"] == 0
    run = finished_run.load(adapted)
    fitted = calibrator.fit(run.records(), run.taxonomy, status["config"]["finetune"])
    assert calibrator.of_folder(adapted).as_dict() == fitted.as_dict()


def test_the_saved_run_can_predict_and_be_evaluated(adapted, own_run, other):
    table = dermssl.predict(adapted, str(other / "images"))
    assert len(table) == 120
    assert (table["unlike_run"] != "n/a").all()
    own = dermssl.evaluate(adapted, n_resamples=100).json("metrics.json")
    home = adapted.json("adaptation.json")["home"]
    assert home["n"] == own["n_fine"]
    for metric in ("balanced_accuracy", "fine_accuracy"):
        assert home["metrics"][FURTHER][metric]["estimate"] == pytest.approx(
            own["metrics"][metric]["estimate"]
        )
    before = dermssl.evaluate(own_run, n_resamples=100).json("metrics.json")["metrics"]
    assert home["metrics"]["before"]["fine_accuracy"]["estimate"] == pytest.approx(
        before["fine_accuracy"]["estimate"]
    )
    # It saw half of these photos: they are left out with what it says of them.
    _, new = pool_of(adapted)
    there = dermssl.evaluate(adapted, data=str(other), n_resamples=100).json("metrics.json")
    assert there["n"] == 120 - new.sum()


def test_no_epochs_leave_everything_as_it_was(own_run, other, tmp_path):
    out = tmp_path / "out"
    found = dermssl.adapt(own_run, data=str(other), n_resamples=100, output=out)
    assert not (out / "pretraining").exists()
    assert not (out / further_pretraining.START).exists()
    said = found.json("adaptation.json")
    assert said["saved"] == "BatchNorm"
    assert said["further_pretraining"] is None
    assert FURTHER not in said["metrics"]
    assert "97.5% intervals" in " ".join(said["notes"])
    old, new = weights.load_classifier(own_run), weights.load_classifier(out)
    for before, after in zip(old.trainable_weights, new.trainable_weights):
        np.testing.assert_array_equal(np.asarray(before), np.asarray(after))
    assert set(said["home"]["metrics"]) == {"before", "BatchNorm"}
    # At home the BatchNorm model is what predictions.csv of the saved run holds.
    own = dermssl.evaluate(out, n_resamples=100).json("metrics.json")["metrics"]
    assert said["home"]["metrics"]["BatchNorm"]["balanced_accuracy"]["estimate"] == pytest.approx(
        own["balanced_accuracy"]["estimate"]
    )


def test_it_is_refused_without_the_run_s_photos(own_run, other, tmp_path, capfd):
    run = shutil.copytree(own_run, tmp_path / "run")
    data = runs.read_json(run / "status.json")["config"]["data"]["path"]
    status = (run / "status.json").read_text().replace(data, str(tmp_path / "gone"))
    (run / "status.json").write_text(status)
    argv = (run, "--data", other, *FLAGS)
    for more, said in (
        ((), "gone isn't there; name their folder with --run-data"),
        (("--run-data", other), "aren't the ones that"),
    ):
        assert tiny.call(adapt, *argv, *more) == 2
        error = capfd.readouterr().err.splitlines()[-1]
        assert error.startswith("dermssl: error: --pretrain-epochs: the head is trained again on")
        assert said in error
    assert not (tmp_path / "run_adapted_clinic").exists()


def test_other_epochs_in_the_same_folder_are_refused(adapted, own_run, other, capfd):
    assert tiny.call(adapt, own_run, "--data", other, "--pretrain-epochs", 3,
                     "--n-resamples", 100) == 2  # fmt: skip
    error = capfd.readouterr().err.splitlines()[-1]
    assert "holds another adaptation (pretrain_epochs 2 there, 3 here)" in error
    assert "or set --overwrite" in error


def test_a_folder_without_its_report_is_no_run(adapted, own_run, other, monkeypatch):
    """Killed in the report, it is made again; the head that it needs is still there."""

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(study.adapt_report, "write", killed)
    before = kills.content(adapted.path)
    with pytest.raises(KeyboardInterrupt):
        dermssl.adapt(own_run, data=str(other), n_resamples=100, pretrain_epochs=2)
    assert not (adapted / "status.json").exists()
    assert (adapted / "head" / "status.json").exists()
    (adapted / f".tmp1.{study.predictions.NAME}").write_text("half")
    monkeypatch.undo()
    dermssl.adapt(own_run, data=str(other), n_resamples=100, pretrain_epochs=2)
    again = kills.content(adapted.path)
    # Reports that other commands made of the old model are gone, as they should.
    derived = ("evaluation_", "external", "tensorboard")
    kept = {name for name in before if not name.startswith(derived)}
    changed = {name for name in kept if before[name] != again.get(name)}
    assert not {name for name in changed if not name.endswith("metrics.json")}


@pytest.mark.slow
def test_killed_in_simclr_in_the_head_and_at_the_end_it_ends_the_same(own_run, other, tmp_path):
    attempts = kills.Attempts(tmp_path / "attempts.log")

    def argv(output, rng):
        return [own_run, "--data", other, "--pretrain-epochs", 1, "--n-resamples", 100,
                "--checkpoint-steps", 4, "--output", output]  # fmt: skip

    out = tmp_path / "out"
    chain = kills.Chain(attempts, "adapt", argv, out)
    out.rename(tmp_path / "reference")  # the folder's name is a setting: where SimCLR starts from
    fuses = [
        ("replace", ".ckpt", 2, False),  # SimCLR's second checkpoint
        ("replace", "temperature.json", 1, False),  # the head is trained
    ]
    chain.run_with_fuses(out, fuses)
    assert "resumes after step" in attempts.log.read_text()

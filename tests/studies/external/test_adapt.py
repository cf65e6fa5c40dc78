"""A run adapted to another place: what is kept, what is compared, what is refused."""

import shutil

import numpy as np
import pages
import pandas as pd
import pytest
import tiny

import dermssl
from dermssl import adapt
from dermssl.core import runs
from dermssl.core.study_settings import Adapt
from dermssl.data.synthetic import dataset as synthetic
from dermssl.evaluation import calibrator, prevalence
from dermssl.inference import finished_run
from dermssl.studies.external import adapt as study
from dermssl.studies.external import adapt_report, adapt_scores, compute, places

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other") / "clinic"
    return synthetic.write(folder, n=120, size=32, seed=11)


@pytest.fixture(scope="module")
def adapted(own_run, other):
    return dermssl.adapt(own_run, data=str(other), n_resamples=100)


def read_place(run, other):
    settings = Adapt(data=str(other))
    return places.read(
        [str(other)], settings, run.taxonomy, run.data, section="adapt", labelled=False
    )[0]


def test_no_lesion_is_in_both_halves(own_run, other):
    place = read_place(finished_run.load(own_run), other)
    mine, rest = study.halves(place, 0.5)
    assert sorted([*mine, *rest]) == list(range(120))
    groups = place.groups
    assert not set(groups[mine]) & set(groups[rest])
    assert 30 < len(rest) < 90
    labels = place.dataset.index["fine"]
    several = {name for name in set(labels) if len(set(groups[labels == name])) > 1}
    assert several <= set(labels.iloc[mine]) & set(labels.iloc[rest])
    assert len(study.halves(place, 1.0)[1]) == 0
    assert not np.array_equal(study.halves(place, 0.5, seed=1)[0], mine)


def test_the_adapted_run_can_predict_and_be_evaluated(adapted, own_run, other):
    assert adapted.path == own_run.with_name("run_adapted_clinic")
    assert pages.check(adapted.path) == ["adaptation.png"]
    old, new = (dermssl.predict(folder, str(other / "images")) for folder in (own_run, adapted))
    columns = [name for name in old if name.startswith("p_")]
    assert np.abs(old[columns] - new[columns]).to_numpy().max() > 1e-3
    assert (new["unlike_run"] != "n/a").all()
    own = dermssl.evaluate(adapted, n_resamples=100)  # its predictions.csv: the run's records
    assert own.json("metrics.json")["n"] == dermssl.evaluate(own_run, n_resamples=100).json(
        "metrics.json")["n"]  # fmt: skip
    there = dermssl.evaluate(adapted, data=str(other), n_resamples=100)
    assert there.json("metrics.json")["n"] == 120
    assert runs.read_json(adapted / "status.json")["adapted"]["photos"] >= 32


def test_before_is_the_old_model_on_the_scored_half(adapted, own_run, other):
    found = adapted.json("adaptation.json")
    run = finished_run.load(own_run)
    place = read_place(run, other)
    _, rest = study.halves(place, 0.5)
    assert found["scored"] == len(rest)
    raw = dermssl.predict(own_run, str(other / "images"), uncalibrated=True)
    names = run.taxonomy.fine
    hit = raw[[f"p_fine_{name}" for name in names]].to_numpy()[rest].argmax(1)
    y = [names.index(name) for name in place.dataset.index["fine"].iloc[rest]]
    accuracy = found["metrics"]["before"]["fine_accuracy"]["estimate"]
    assert accuracy == pytest.approx(np.mean(hit == y))
    gap = found["differences"]["BatchNorm"]["fine_accuracy"]["estimate"]
    after = found["metrics"]["BatchNorm"]["fine_accuracy"]["estimate"]
    assert gap == pytest.approx(after - accuracy)
    assert found["differences"]["class shares"]["fine_accuracy"]["estimate"] == 0


def test_kept_shares_are_the_correction_in_predict(own_run, other, tmp_path):
    out = tmp_path / "shares"
    dermssl.adapt(own_run, data=str(other), keep_shares=True, n_resamples=100, output=out)
    run, scaling = finished_run.load(own_run), calibrator.of_folder(own_run)
    source = compute.source_shares(run.predictions, scaling)
    shares = np.array([row["estimate"] for row in
                       runs.read_json(out / "adaptation.json")["shares"]["BatchNorm"]])  # fmt: skip
    raw = dermssl.predict(out, str(other / "images"), uncalibrated=True)
    new = dermssl.predict(out, str(other / "images"))
    columns = [f"p_fine_{name}" for name in run.taxonomy.fine]
    given = scaling.fine.apply(raw[columns])
    np.testing.assert_allclose(new[columns], prevalence.corrected(given, source, shares), atol=1e-5)


def test_a_model_of_one_answer_is_called_that(own_run, other):
    """Before and after: the same answers say neither that it helps nor that it harms."""
    run = finished_run.load(own_run)
    place, n = read_place(run, other), 120
    one = {"fine": np.tile(np.eye(7)[1] * 0.93 + 0.01, (n, 1))}
    one["coarse"] = one["fine"] @ run.taxonomy.matrix
    model = adapt_scores.Model(one, None, run.predictions, calibrator.of_run(run.predictions))
    mine, rest = study.halves(place, 0.5)
    models = {adapt_scores.BEFORE: model, adapt_scores.NORM: model}
    settings = Adapt(data=str(other), n_resamples=100)
    found = adapt_scores.compare(place, mine, rest, models, settings, run.taxonomy)
    said = " ".join(adapt_report.notes(found, settings))
    for who in ("Before, the model", "With new BatchNorm statistics, the model"):
        assert f"{who} gives every photo the same answer (melanocytic nevus)." in said
    first = adapt_report.findings(found, run, settings)[0]
    assert first.endswith("the answers are the same, so nothing tells whether it helps or harms.")


def test_without_labels_nothing_is_claimed(own_run, other, tmp_path, capfd):
    folder = shutil.copytree(other / "images", tmp_path / "photos")
    out = tmp_path / "out"
    argv = (own_run, "--data", folder, "--n-resamples", 100, "--output", out)
    assert tiny.call(adapt, *argv) == 0
    shown = capfd.readouterr().out
    assert "nothing says whether the adaptation helps" in shown
    assert runs.read_json(out / "adaptation.json")["metrics"] == {}
    assert len(dermssl.predict(out, str(folder))) == 120
    assert tiny.call(adapt, *argv) == 0  # again, over the adapted run


def test_without_the_run_s_photos_the_place_s_own_are_kept(own_run, other, tmp_path):
    run = shutil.copytree(own_run, tmp_path / "run")
    data = runs.read_json(run / "status.json")["config"]["data"]["path"]
    status = (run / "status.json").read_text().replace(data, str(tmp_path / "gone"))
    (run / "status.json").write_text(status)
    found = dermssl.adapt(run, data=str(other), n_resamples=100)
    table = pd.read_csv(found / "predictions.csv", keep_default_na=False)
    assert set(table["split"]) == {"train", "test"}
    assert "it has no validation records to choose thresholds on" in found.report
    assert dermssl.evaluate(found, n_resamples=100).json("metrics.json")["n"] == (
        table["split"] == "test").sum()  # fmt: skip


def test_another_adaptation_is_not_replaced_in_silence(own_run, other, tmp_path, capfd):
    output = tmp_path / "adapted"
    argv = [own_run, "--data", other, "--n-resamples", 100, "--output", output]
    assert tiny.call(adapt, *argv) == 0
    report = output / "evaluation_test" / "report.md"
    report.parent.mkdir()
    report.write_text("of the model that is there")
    assert tiny.call(adapt, *argv, "--share", 0.6) == 2
    assert "holds another adaptation (share 0.5 there, 0.6 here)" in capfd.readouterr().err
    assert report.is_file()
    assert tiny.call(adapt, *argv, "--share", 0.6, "--overwrite") == 0
    assert not report.exists()
    assert runs.read_json(output / "status.json")["adapted"]["share"] == 0.6


def test_what_adapt_refuses(own_run, finetuned, other, tmp_path, capfd):
    few = tmp_path / "few"
    (few / "nv").mkdir(parents=True)
    for photo in sorted((other / "images").glob("*"))[:10]:
        shutil.copy(photo, few / "nv")
    for argv, said in (
        ((own_run,), "--data is empty"),
        ((own_run, "--data", tmp_path / "nowhere"), "nowhere"),
        ((own_run, "--data", few), "10 photos to adapt to; BatchNorm statistics need at least 32"),
        ((own_run, "--data", other, "--output", finetuned), "holds a run that was trained"),
        ((tmp_path, "--data", other), "no run found there"),
    ):
        assert tiny.call(adapt, *argv) == 2
        error = capfd.readouterr().err.splitlines()[-1]
        assert error.startswith("dermssl: error: ")
        assert said in error

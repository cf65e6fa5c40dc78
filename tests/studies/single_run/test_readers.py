"""Human readers beside the model: their file, their scores, and the mean reader's interval."""

import fake_runs
import numpy as np
import pandas as pd
import pytest

from dermssl import evaluate
from dermssl.core.errors import UserError
from dermssl.evaluation import binary_tasks, multi_reader, predictions
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.studies.single_run import reader_answers, readers

HAM = fake_runs.HAM
MALIGNANT = np.isin(np.arange(7), [k for k, m in enumerate(HAM.malignancy) if m == "malignant"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    table = fake_runs.records(n=400)
    folder = tmp_path_factory.mktemp("readers") / "run"
    fake_runs.make(folder, table, fake_runs.simulate(table, 1.8))
    return predictions.read(folder)


def answered(run, count=4, skill=0.75, classes=True, share=1.0, seed=0):
    """A table of answers on test photos: right with chance `skill`, else any class."""
    rng = np.random.default_rng(seed)
    rows = run.table[run.table["split"] == "test"]
    tables = []
    for name in range(count):
        some = rows[rng.random(len(rows)) < share]
        right = rng.random(len(some)) < skill + 0.05 * rng.normal()
        said = np.where(right, some["fine"], rng.choice(HAM.fine, len(some)))
        if not classes:
            yes = MALIGNANT[[HAM.fine.index(one) for one in said]]
            said = np.where(yes, "malignant", "benign")
        tables.append(pd.DataFrame({"reader": f"Dr {name}", "path": some["path"], "answer": said}))
    return pd.concat(tables)


def written(tmp_path, table):
    file = tmp_path / "answers.csv"
    table.to_csv(file, index=False)
    return file


def evaluated(run, tmp_path, table):
    return evaluate(
        run.path, readers=str(written(tmp_path, table)), n_resamples=50, output=tmp_path / "out"
    )


@pytest.fixture
def quick(monkeypatch):
    fake_runs.no_pictures(monkeypatch)


def test_scores_are_those_of_the_photos_that_each_answered(run, tmp_path, quick):
    table = answered(run, share=0.6)
    out = evaluated(run, tmp_path, table)
    rows = out.table("readers").set_index(["question", "measure", "reader"])
    asked = out.json("metrics.json")["against_rest"]["malignant"]
    arrays = run.arrays("test")
    truth = pd.Series(MALIGNANT[arrays.y], index=run.table[run.table["split"] == "test"]["path"])
    for name, own in table.groupby("reader"):
        yes = MALIGNANT[[HAM.fine.index(one) for one in own["answer"]]]
        ill = truth[own["path"]].to_numpy()
        row = rows.loc[("malignant", "sensitivity", name)]
        assert row["n"] == len(own)
        assert row["reader_value"] == pytest.approx(yes[ill].mean())
        row = rows.loc[("malignant", "specificity", name)]
        assert row["reader_value"] == pytest.approx((~yes[~ill]).mean())
        assert row["model_less_reader"] == pytest.approx(row["model"] - row["reader_value"])
        both = rows.loc[("malignant", "balanced accuracy (mean of both)", name)]
        assert both["model_less_reader_low"] < both["model_less_reader"]
    classes = rows.loc["all classes"].loc["balanced accuracy"]
    means = classes.drop("(mean)")["model_less_reader"].mean()
    assert classes.loc["(mean)", "model_less_reader"] == pytest.approx(means)
    assert classes.loc["(mean)", "between_readers"] > 0
    assert asked["threshold_chosen_on"] == "validation"
    text = out.report
    assert "## Readers beside the model" in text
    assert "| mean of the readers |" in text
    assert "this model less the mean of 4 readers is" in text


def test_all_photos_at_the_models_threshold_give_the_models_own_score(run, tmp_path, quick):
    out = evaluated(run, tmp_path, answered(run, count=2))
    rows = out.table("readers").set_index(["question", "measure", "reader"])
    metrics = out.json("metrics.json")
    found = metrics["against_rest"]["malignant"]["metrics"]
    for name in ("sensitivity", "specificity"):
        expected = found[f"fixed_{name}"]["estimate"]
        assert rows.loc[("malignant", name, "Dr 0"), "model"] == pytest.approx(expected)
    own = rows.loc[("all classes", "balanced accuracy", "Dr 1"), "model"]
    assert own == pytest.approx(metrics["metrics"]["balanced_accuracy"]["estimate"])


def test_against_a_model_that_never_varies_it_is_the_published_mean_of_readers(run):
    """The difference from a model of a constant score has the readers' own interval."""
    arrays = run.arrays("test")
    table = answered(run, classes=False)
    names = sorted(set(table["reader"]))
    said = np.stack(
        [(table[table["reader"] == one]["answer"] == "malignant").to_numpy(int) for one in names]
    )
    target = binary_tasks.malignancy(arrays.y, arrays.p_fine, HAM)
    perfect = target.y  # right on every photo
    question = readers._yes_no(target, said, perfect, names, arrays.groups)
    plan = {
        str(k): PlannedMetric("mean", None, np.where(target.y == 1, row.astype(float), np.nan))
        for k, row in enumerate(said)
    }
    expected = multi_reader.mean_of_readers(*multi_reader.jackknife(plan, arrays.groups))
    score = question.scores[0]
    assert score.mean_reader.interval.low == pytest.approx(expected.interval.low)
    assert score.mean_reader.df == pytest.approx(expected.df)
    assert score.mean_difference.interval.high == pytest.approx(1 - expected.interval.low)
    assert score.mean_difference.shared_by_cases == pytest.approx(expected.shared_by_cases)


def test_yes_and_no_are_scored_on_malignancy_alone(run, tmp_path, quick):
    out = evaluated(run, tmp_path, answered(run, classes=False))
    assert set(out.table("readers")["question"]) == {"malignant"}


def test_one_reader_speaks_for_himself(run, tmp_path, quick):
    out = evaluated(run, tmp_path, answered(run, count=1))
    assert "(mean)" not in set(out.table("readers")["reader"])
    assert "nothing is said of other readers" in out.report
    assert "this model less Dr 0 is" in out.report


def test_a_reader_of_too_few_photos_is_in_no_mean(run, tmp_path, quick):
    table = answered(run, count=3)
    table = table[(table["reader"] != "Dr 1") | (table["path"] == table["path"].iloc[0])]
    out = evaluated(run, tmp_path, table)
    assert "Dr 1 answered too little" in out.report
    assert set(out.table("readers")["reader"]) == {"Dr 0", "Dr 2", "(mean)"}


def test_photos_may_be_named_without_ending_and_other_splits_are_left_out(run, tmp_path):
    table = answered(run, count=2)
    other = run.table[run.table["split"] == "validation"]["path"].iloc[:3]
    more = pd.DataFrame({"reader": "Dr 0", "path": other, "answer": "nv"})
    table = pd.concat([table, more])
    plain = reader_answers.read(written(tmp_path, table), run.table, "test", HAM)
    assert plain.elsewhere == 3
    named = table.rename(columns={"path": "image_id"})
    named["image_id"] = named["image_id"].str.removesuffix(".png")
    again = reader_answers.read(written(tmp_path, named), run.table, "test", HAM)
    np.testing.assert_array_equal(again.classes, plain.classes)
    np.testing.assert_array_equal(again.malignant, plain.malignant)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"answer": "label"}), "no column 'answer'"),
        (lambda t: t.rename(columns={"path": "file"}), "no column 'path'"),
        (lambda t: t.assign(path="x.png"), "'x.png' is no photo of this run"),
        (lambda t: t.assign(answer="cancer"), "unknown answer 'cancer'; choose one of: mel, nv"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "answers 'photo_0000.' twice|answers .* twice"),
        (lambda t: t.assign(answer=""), "none of its 0 answers"),
        (lambda t: t.assign(reader=" "), "names no reader"),
    ],
)
def test_a_bad_file_is_one_line(run, tmp_path, change, message):
    file = written(tmp_path, change(answered(run, count=1)))
    with pytest.raises(UserError, match=message) as caught:
        reader_answers.read(file, run.table, "test", HAM)
    assert "\n" not in str(caught.value)
    assert "evaluate.readers" in str(caught.value)


def test_a_missing_file_is_one_line_of_the_command(run, capsys):
    assert evaluate.main([str(run.path), "--readers", "nowhere.csv"]) == 2
    error = capsys.readouterr().err
    assert "--readers nowhere.csv: no such file" in error
    assert error.count("\n") == 1

"""Every item of a form has an answer, and no number that isn't in a file of the run."""

import itertools
import json
import re
import shutil

import fake_runs
import numpy as np
import pandas as pd
import pytest
import tiny

from dermssl.core import runs
from dermssl.reporting import wording
from dermssl.studies.forms import checklists, evidence, fill_data, fill_model
from dermssl.studies.forms.checklists import AUTHOR, Item


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A simulated run with metadata, its forms, and the folder of its photos' table."""
    from dermssl import forms

    monkeypatch = pytest.MonkeyPatch()
    fake_runs.no_pictures(monkeypatch)
    folder = tmp_path_factory.mktemp("forms")
    table = fake_runs.records(n=400)
    rng = np.random.default_rng(0)
    table = table.assign(
        age=rng.choice([30.0, 45, 60, np.nan], 400), sex=rng.choice(["male", "female", ""], 400),
        site=rng.choice(["back", "face"], 400), skin_tone=rng.choice(["I", "III", "VI", ""], 400),
        source="clinic",
    )  # fmt: skip
    photos = folder / "photos"
    photos.mkdir()
    standard = np.where(table["fine"] == "mel", "histo", "follow_up")
    listed = pd.DataFrame({"filename": table["path"], "label": table["fine"], "dx_type": standard})
    listed.to_csv(photos / "labels.csv", index=False)
    run = folder / "run"
    fake_runs.make(run, table, fake_runs.simulate(table, 1.5), n_labels=90)
    output = forms(run, data=photos)
    monkeypatch.undo()
    people = evidence.participants.nested(pd.read_csv(output / "participants.csv"))
    return run, output.path, table, people


@pytest.mark.parametrize(("name", "n"), [("tripod_ai", 27), ("claim", 44), ("clear_derm", 25)])
def test_a_checklist_has_every_item_of_its_paper(name, n):
    checklist = checklists.load(name)
    numbers = [item.number for item in checklist.items]
    whole = [int(re.sub("[a-z]", "", number)) for number in numbers]
    assert checklist.items_in_all == n
    assert list(dict.fromkeys(whole)) == list(range(1, n + 1))
    assert len(set(numbers)) == len(numbers)
    assert re.search(r"doi:10\.\d+/\S+$", checklist.cite)
    for item in checklist.items:
        assert item.fill or item.author
        assert not item.fill or callable(checklists.filler(item.fill))
        assert item.text
        assert len(item.text) < 110  # short, and ours


def test_an_unknown_filling_function_is_refused():
    with pytest.raises(checklists.UserError, match="no filling function '_found'"):
        checklists.filler("_found")


@pytest.mark.parametrize("name", checklists.NAMES)
def test_every_item_has_an_answer(filled, name):
    _, output, *_ = filled
    form = pd.read_csv(output / f"{name}.csv", keep_default_na=False)
    assert form["number"].astype(str).tolist() == [i.number for i in checklists.load(name).items]
    for row in form.to_dict("records"):
        assert row["answer"] or row["author_must_state"]
        assert bool(row["answer"]) == bool(row["sources"])  # no answer without its source
        assert row["state"] in checklists.STATES
    assert (form["state"] != AUTHOR).sum() > len(form) / 3
    assert (form["state"] == AUTHOR).any()
    text = (output / f"{name}.md").read_text()
    assert f"**{AUTHOR}: " in text
    assert (output / f"{name}.html").is_file()


def values(run, output, people, source):
    """Everything that stands in a source, as it may be printed."""
    file, _, keys = source.partition(": ")
    if file == evidence.PEOPLE:
        content = people
    elif file.endswith(".csv"):
        return [*pd.read_csv(run / file, na_values=["n/a"]).to_numpy().ravel().tolist(),
                *range(200)]  # fmt: skip
    else:
        path = output / "flow.json" if file == evidence.FLOW else run / file
        content = json.loads(path.read_text())
    for key in keys.split(" / ") if keys else []:
        content = content[key]
    return list(leaves(content))


def leaves(content):
    if isinstance(content, dict):
        yield len(content)
        yield from itertools.chain.from_iterable(leaves(value) for value in content.values())
        yield from content  # names of levels may hold digits
    elif isinstance(content, list):
        yield len(content)
        yield from itertools.chain.from_iterable(map(leaves, content))
    else:
        yield content


def printed(value):
    if isinstance(value, str):
        return set(re.findall(NUMBER, value))
    if value is None or isinstance(value, bool) or (isinstance(value, float) and np.isnan(value)):
        return set()
    forms = {f"{value:g}", f"{value:.3g}", f"{value:,.3f}", f"{value:,}", f"{100 * value:g}"}
    return {form.lstrip("-") for form in forms}


NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?"
SAID = {"0", "1", "30", "95"}  # of sentences that every run gets: "95% intervals", "sum to 1"


@pytest.mark.parametrize("name", sorted({
    item.fill for form in checklists.NAMES for item in checklists.load(form).items if item.fill
}))  # fmt: skip
def test_no_number_without_a_file(filled, name):
    run, output, _, people = filled
    table = pd.concat([pd.read_csv(output / f"{form}.csv", keep_default_na=False)
                       for form in checklists.NAMES])  # fmt: skip
    item = next(item for form in checklists.NAMES for item in checklists.load(form).items
                if item.fill == name)  # fmt: skip
    row = table[table["item"] == item.text].iloc[0]
    known = set(SAID)
    for source in row["sources"].split("; ") if row["sources"] else []:
        found = values(run, output, people, source)
        assert found, source  # the entry is there
        known = known.union(*map(printed, found))
    numbers = {number.rstrip(",") for number in re.findall(NUMBER, row["answer"])}
    assert numbers <= known, (name, numbers - known, row["answer"])


def test_numbers_equal_metrics_json(filled):
    run, output, *_ = filled
    metrics = runs.read_json(run / "evaluation_test/metrics.json")["metrics"]
    form = pd.read_csv(output / "claim.csv", keep_default_na=False).set_index("number")
    for number, metric in ((37, "balanced_accuracy"), (37, "malignant_auc"), (32, "ece")):
        assert (
            wording.of_json({k: metrics[metric][k] for k in ("estimate", "low", "high")})
            in (form.loc[number, "answer"])
        )
    card = (output / "model_card.md").read_text()
    assert wording.of_json(
        {k: metrics["roc_auc"][k] for k in ("estimate", "low", "high")}
    ) in card  # fmt: skip
    for title in ("Intended use", "Factors", "Metrics", "Subgroups", "Ethics", "Caveats"):
        assert f"## {title}" in card
    assert f"**{AUTHOR}: users, purpose" in card


@pytest.mark.parametrize(
    ("start", "said"), [("imagenet", "ImageNet weights"), ("none", "random weights")]
)
def test_a_pretraining_run_and_its_start_are_named(tmp_path, start, said):
    pretraining, table = tmp_path / "pretrain", fake_runs.records(n=60)
    p = fake_runs.simulate(table, 1.0)
    run = fake_runs.make(tmp_path / "run", table, p, weights=str(pretraining), arm="ssl")
    status = runs.read_json(run / "status.json") | {"pretraining_start": None}

    def answered(status):
        found = evidence._pretraining(status)
        return fill_model.initial_weights(
            evidence.Citing(evidence.Evidence({evidence.STATUS: status, **found}))
        )

    told = f"those of the SimCLR pretraining run {pretraining}, which started from {said} (arm ssl)"
    assert told in answered({**status, "pretraining_start": start})
    assert f"run {pretraining}; its folder isn't there to tell more" in answered(status)
    pretraining.mkdir()
    (pretraining / "status.json").write_text(
        json.dumps({"config": {"backbone": {"weights": start}}})
    )
    assert told in answered(status)


def test_an_adapted_run_says_so(filled, tmp_path):
    """A head alone on a backbone that was pretrained further has no unfrozen phase."""
    from dermssl import forms

    run = shutil.copytree(filled[0], tmp_path / "run")
    config = runs.read_json(run / "status.json")["config"]
    config["finetune"]["unfrozen_epochs"] = 0
    adapted = {"from": "r", "to": "CLINIC", "photos": 253, "arm": "further pretraining"}
    fake_runs.change_status(run, config=config, adapted=adapted)
    card = (forms(run, data=filled[0].parent / "photos").path / "model_card.md").read_text()
    assert "no layer of the backbone was trained on labels" in card
    assert "up to 0 unfrozen" not in card
    assert "Adapted without labels to 253 photos of CLINIC (further pretraining)" in card


def test_participants_by_hand(filled):
    _, _, table, people = filled
    test = table[table["split"] == "test"]
    assert people["photos"]["all"]["test"] == len(test)
    assert people["lesions"]["all"]["all"] == table["lesion_id"].nunique()
    assert people["age"]["median"]["test"] == test["age"].median()
    assert people["age"]["missing"]["test"] == test["age"].isna().sum()
    assert people["sex"]["missing"]["all"] == (table["sex"] == "").sum()
    assert (
        people["class"]["mel"]["train"]
        == ((table["split"] == "train") & (table["fine"] == "mel")).sum()
    )
    malignant = people["reference standard of malignant classes"]
    assert malignant["histo"]["test"] == (test["fine"] == "mel").sum()
    assert malignant["all"]["all"] == table["fine"].isin(["mel", "bcc"]).sum()
    assert people["reference standard"]["histo"]["all"] == (table["fine"] == "mel").sum()
    for name in ("sex", "site", "skin tone", "class", "reference standard", "source"):
        assert sum(level["test"] for level in people[name].values()) == len(test)


def test_what_a_file_lacks_the_author_is_asked(filled):
    run, output, *_ = filled
    form = pd.read_csv(output / "claim.csv", keep_default_na=False).set_index("number")
    robust = form.loc[30]  # no stress test was made
    assert robust["state"] == AUTHOR
    assert "stress_test/stress.json" in robust["author_must_state"]
    bare = evidence.Evidence({evidence.STATUS: runs.read_json(run / "status.json")})
    for name in vars(fill_data) | vars(fill_model):
        if getattr(vars(fill_data).get(name) or vars(fill_model)[name], "__module__", "").endswith(
            ("fill_data", "fill_model")
        ) and not name.startswith("_"):
            answer = checklists.answer(Item("1", "t", "Text", name), bare)
            assert answer.words


def test_a_moved_or_missing_folder_is_told(filled, monkeypatch):
    from dermssl import forms

    fake_runs.no_pictures(monkeypatch)
    run, *_ = filled
    again = forms(run, output=run / "without")
    steps = again.json("flow.json")
    assert steps["found"] is None
    assert again.report.startswith("# Reporting forms of run")
    assert "photos' folder could not be read" in again.report
    assert "No record says anything of: reference standard." in again.report
    form = again.table("claim").set_index("number")
    assert form.loc[14, "state"] == AUTHOR


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: runs_status(run, status="RUNNING"), "this run is RUNNING"),
        (lambda run: runs_status(run, command="pretrain"), "a run of dermssl.pretrain, not of"),
        (lambda run: (run / "evaluation_test/metrics.json").write_text("{"), "metrics.json"),
        (lambda run: (run / "evaluation_test/subgroups.csv").write_text(""), "evaluate the run"),
    ],
)
def test_bad_input_is_one_line(filled, tmp_path, capfd, change, said):
    run = shutil.copytree(filled[0], tmp_path / "run")
    change(run)
    assert tiny.call(forms_door(), run) == 2
    shown = capfd.readouterr().err
    assert said in shown
    assert shown.count("\n") == 1


def test_a_folder_of_photos_that_is_not_there_is_named(filled, capfd):
    assert tiny.call(forms_door(), filled[0], "--data", "nowhere") == 2
    shown = capfd.readouterr().err
    assert "nowhere" in shown
    assert shown.count("\n") == 1


def runs_status(run, **entries):
    fake_runs.change_status(run, **entries)


def forms_door():
    from dermssl import forms

    return forms


def test_what_the_author_states_is_put_in(filled, tmp_path, monkeypatch, capfd):
    fake_runs.no_pictures(monkeypatch)
    file = tmp_path / "stated.toml"
    file.write_text('[claim]\n44 = "No funding."\n7 = "Vienna, 2010."\n')
    assert tiny.call(forms_door(), filled[0], "--stated", file, "--output", tmp_path / "o") == 0
    form = pd.read_csv(tmp_path / "o/claim.csv", keep_default_na=False).set_index("number")
    assert form.loc[44, ["state", "answer", "sources"]].tolist() == [
        "filled", "Author: No funding.", "the author's file",
    ]  # fmt: skip
    assert form.loc[7, "answer"].endswith("Author: Vienna, 2010.")
    assert form.loc[7, "author_must_state"] == ""
    capfd.readouterr()
    for text, said in (
        ("[clami]\n44 = 'x'\n", "no form [clami]; known: tripod_ai, claim, clear_derm"),
        ("[claim]\n45 = 'x'\n", "[claim] '45' is no item with a text; items: 1 to 44"),
        ("[claim]\n4 = 4\n", "[claim] '4' is no item"),
        ("[claim\n", "can't be read"),
    ):
        file.write_text(text)
        assert tiny.call(forms_door(), filled[0], "--stated", file) == 2
        shown = capfd.readouterr().err
        assert said in shown
        assert f"--stated {file}" in shown
        assert shown.count("\n") == 1


@pytest.mark.parametrize("concern", ["", "the optimum lies at the edge"])
def test_probabilities_that_were_left_as_they_are_are_not_called_calibrated(filled, concern):
    files = dict(evidence.read(filled[0], pd.read_csv(filled[1] / "participants.csv"), {}).files)
    heat = files[evidence.METRICS]["temperature"]
    files[evidence.METRICS] = files[evidence.METRICS] | {"temperature": heat | {"concern": concern}}
    asked = evidence.Citing(evidence.Evidence(files))
    for fill in (fill_model.recalibration, fill_model.calibration):
        assert ("fitted on" in fill(asked)) == (not concern)
        assert concern in fill(asked)
        assert not (concern and ", after: " in fill(asked))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"clinic": 400}, "None of 400 photos is marked as synthetic by the records' sources."),
        ({"clinic": 300, "synthetic": 100}, "100 of 400 photos are drawings"),
        ({"clinic": 300, "missing": 100}, "100 of 400 photos have no source in the records"),
        ({"missing": 400}, "400 of 400 photos have no source in the records"),
    ],
)
def test_no_photo_is_called_real_whose_source_nobody_names(filled, sources, said):
    files = dict(evidence.read(filled[0], pd.read_csv(filled[1] / "participants.csv"), {}).files)
    levels = {name: {"all": n} for name, n in sources.items()}
    files[evidence.PEOPLE] = files[evidence.PEOPLE] | {"source": levels}
    asked = evidence.Citing(evidence.Evidence(files))
    try:
        answer = fill_data.synthetic(asked)
    except evidence.MissingFact as fact:
        answer = str(fact)
    assert said in answer


def test_an_external_evaluation_is_quoted(filled, tmp_path):
    run = shutil.copytree(filled[0], tmp_path / "run")
    for name, n in (("external_isic", 507), ("external/clinic", 90)):
        (run / name).mkdir(parents=True)
        found = {"n": n, "findings": [f"Malignant AUC 0.55 on {n} photos."]}
        (run / name / "metrics.json").write_text(json.dumps(found))
    files = evidence.read(run, pd.read_csv(filled[1] / "participants.csv"), {})
    answer = checklists.answer(Item("33", "t", "Text", "external"), files)
    assert "external_isic: Malignant AUC 0.55 on 507 photos." in answer.text
    assert "external/clinic: Malignant AUC 0.55 on 90 photos." in answer.text
    assert answer.sources == (
        "external/clinic/metrics.json: findings", "external_isic/metrics.json: findings",
    )  # fmt: skip

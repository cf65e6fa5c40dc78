"""The pages of the reporting forms: overview, one page a checklist, and the model card."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dermssl.data.records import SPLITS
from dermssl.reporting import report, wording
from dermssl.reporting.report import Column, Section, Table, Text
from dermssl.studies.forms import checklists, flow, participants
from dermssl.studies.forms.checklists import AUTHOR, Answer, Checklist
from dermssl.studies.forms.evidence import METRICS, Citing, Evidence
from dermssl.studies.forms.fill_model import AVERAGES

OWN_WORDS = (
    "Numbers and topics are those of the paper; the descriptions are our own short words and take "
    "the place of nothing: read the paper, and hand in its own form where a journal wants that."
)
# Of what the model card asks the author where the files say nothing.
ASKED = {
    "robustness": "how robust it is",
    "external": "how good it is on photos from elsewhere",
    "skin_tone": "skin tones, and how good it is on each",
    "reference_standard": "how the diagnoses were made",
}
NO_PROOF = (
    "A filled item says what this run's files say. That something is reported doesn't make it good."
)


def counts(filled: list[Answer]) -> dict[str, int]:
    """How many items are in each of `checklists.STATES`."""
    return {state: sum(one.state == state for one in filled) for state in checklists.STATES}


def sentence(checklist: Checklist, filled: list[Answer]) -> str:
    """How far a form is filled: "CLAIM 2024: 20 of 44 entries filled, ..."."""
    n = counts(filled)
    return (
        f"{checklist.name}: of {wording.count(len(filled), 'entry', 'entries')} "
        f"{n[checklists.FILLED]} are filled, {n[checklists.PARTLY]} in part, and "
        f"{n[checklists.OPEN]} the author must state."
    )


def form(checklist: Checklist, filled: list[Answer], command: str) -> report.Report:
    """The page of one checklist."""
    columns = ["no.", "topic", "asks for", "answer", "from"]
    rows = [
        [
            one.item.number, one.item.topic, one.item.text, _answer(one),
            "; ".join(one.sources) or "-",
        ]
        for one in filled
    ]  # fmt: skip
    return report.Report(
        f"{checklist.name}, filled",
        [
            report.Findings([sentence(checklist, filled)]),
            Text(f"{report.escaped(checklist.cite)}. {OWN_WORDS}"),
            Text(NO_PROOF),
            Table(columns, rows),
        ],
        provenance=_made_by(command),
    )


def _answer(one):
    """Text of the files plain, what the author must state in bold."""
    asked = f"**{AUTHOR}: {report.escaped(one.author)}**" if one.author else ""
    return report.Cell(one.text, note=f" {asked}" if asked else "")


def overview(
    run: str,
    people: pd.DataFrame,
    steps: dict[str, Any],
    forms: dict[str, tuple[Checklist, list[Answer]]],
    command: str,
) -> report.Report:
    """The page that the folder opens with: participants, flow, and how far the forms are."""
    told = [sentence(*pair) for pair in forms.values()]
    files = [
        report.code(f"{name}.md") + f", {report.code(f'{name}.html')}, {report.code(f'{name}.csv')}"
        for name in forms
    ]
    return report.Report(
        f"Reporting forms of {run}",
        [report.Findings(told), report.Warnings(warnings(people, steps))],
        [
            Section("Participants", [
                Text("Counts are of photos, but for lesions and patients; quartiles of age are "
                     "over photos. “missing” counts the photos whose record lacks the value."),
                participants_table(people),
            ]),
            Section("Flow", [
                report.Bullets([report.escaped(line) for line in flow.lines(steps)]),
                report.Figure("flow.png", "From the photos found to the splits"),
            ]),
            Section("Forms", [
                report.Bullets(files),
                Text("`model_card.md` is a model card (Mitchell et al. 2019, "
                     "doi:10.1145/3287560.3287596)."),
            ]),
        ],
        _made_by(command),
    )  # fmt: skip


def participants_table(people: pd.DataFrame) -> Table:
    """The participant table as it is printed."""
    columns = [
        "characteristic", "",
        *(Column(name, right=True, format=_number) for name in (*SPLITS, participants.ALL)),
    ]  # fmt: skip
    return Table(columns, people[list(participants.COLUMNS)].to_numpy(object).tolist())


def _number(value):
    number = float(value)
    return wording.number(number, 0 if number == int(number) else 1) if number == number else "n/a"


def warnings(people: pd.DataFrame, steps: dict[str, Any]) -> list[str]:
    """What to know before the table is trusted."""
    numbers, lines = participants.nested(people), []
    photos = numbers["photos"][participants.ALL]
    for name in ("age", "sex", "site", "skin tone", "reference standard"):
        if numbers[name][participants.MISSING][participants.ALL] == photos[participants.ALL]:
            lines.append(f"No record says anything of: {name}.")
    if not steps["all_records_predicted"]:
        lines.append(
            "The run predicted held-out records only (finetune.predict): its training photos are "
            "in no table here."
        )
    if steps["data_unchanged"] is False:
        lines.append(
            "The photos' folder isn't what it was when the run was made (another data hash): what "
            "was found there now may differ from what the run found."
        )
    if steps["note"]:
        lines.append(f"{steps['note'][:1].upper()}{steps['note'][1:]}.")
    return lines


def model_card(run: str, evidence: Evidence, command: str) -> report.Report:
    """A model card after Mitchell et al. (2019)."""
    used: list[str] = []

    def block(*names: str, author: str = "") -> Text:
        """The answers of some filling functions, and what the author must state."""
        parts = []
        for name in names:
            item = checklists.Item(name, name, ASKED.get(name, name.replace("_", " ")), name)
            one = checklists.answer(item, evidence)
            parts.append(report.escaped(one.text) if one.text else _asked(one.author))
            used.extend(source for source in one.sources if source not in used)
        if author:
            parts.append(_asked(author))
        return Text(" ".join(parts))

    metrics = _metrics(evidence)
    return report.Report(
        f"Model card: {run}",
        [Text("After Mitchell et al., Model Cards for Model Reporting, 2019, "
              "doi:10.1145/3287560.3287596. Research software; no medical device.")],
        [
            Section("Model", [
                block("model", "initial_weights", "training", "selection"),
                block("availability", author="licence, contact and version"),
            ]),
            Section("Intended use", [
                block(author="users, purpose, and uses it must not have"),
                block("out_of_distribution"),
            ]),
            Section("Factors", [block("skin_tone"), block("predictors")]),
            Section("Data", [
                block("data_sources", "sample_size", "class_shares"),
                block("reference_standard", "missing"),
            ]),
            Section("Metrics", [block("uncertainty", "output"), metrics, block("diagnostic")]),
            Section("Subgroups", [block("subgroups")]),
            Section("Calibration", [block("calibration")]),
            Section("Robustness", [block("robustness"), block("external")]),
            Section("Ethics", [block(author="consent, privacy, and who may be harmed by errors")]),
            Section("Caveats", [
                block("limitations", "findings", author="further caveats and advice")
            ]),
        ],
        [f"Numbers come from: {report.escaped('; '.join(used))}.", *_made_by(command)],
    )  # fmt: skip


def _asked(author):
    return f"**{AUTHOR}: {report.escaped(author)}**"


def _metrics(evidence):
    """Averages over the classes with their intervals."""
    citing = Citing(evidence)
    rows = [
        [words, citing.metric(name), citing(METRICS, "metrics", name)["n"]]
        for name, words in AVERAGES.items()
        if citing.maybe(METRICS, "metrics", name)
    ]
    columns = ["metric", "estimate (95% interval)", Column("test photos", right=True)]
    return Table(columns, rows) if rows else None


def _made_by(command):
    return [f"This page: {report.code(command)}"] if command else []

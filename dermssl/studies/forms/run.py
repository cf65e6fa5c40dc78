"""Fill the reporting forms of a finished run, and write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dermssl.core import atomic_files
from dermssl.data import paths
from dermssl.inference import finished_run
from dermssl.reporting import report
from dermssl.studies.forms import checklists, evidence, figures, flow, participants
from dermssl.studies.forms import report as pages

FOLDER = "forms"


def fill_forms(config: dict[str, Any]) -> Path:
    """Fill the forms of a run that has been evaluated.

    Args:
        config: settings from `core.config.configure`.

    Returns:
        Path of the folder: participants.csv, flow.json, flow.png, report.md, model_card.md, and
        NAME.md and NAME.csv of each of `checklists.NAMES`; each page as HTML, too.

    Raises:
        UserError: the run isn't a finished fine-tuning run, or its evaluation isn't there.
    """
    settings, command = config["forms"], config["command"]
    run = finished_run.load(settings.run, "finetune")
    stated = checklists.read_stated(settings.stated) if settings.stated else {}
    taxonomy = run.predictions.taxonomy
    people = participants.table(run.records(), taxonomy, _standard(run, settings.data))
    steps = flow.trace(run, settings.data)
    found = evidence.read(run.path, people, steps)
    folder = report.make_output_folder(config["output"] or run.path / FOLDER)
    atomic_files.write_csv(folder / "participants.csv", people)
    atomic_files.write_json(folder / "flow.json", steps)
    figures.flow(folder / "flow.png", steps)
    forms = {}
    for name in checklists.NAMES:
        checklist = checklists.load(name)
        filled = checklists.answers(checklist, found, stated.get(name))
        atomic_files.write_csv(folder / f"{name}.csv", checklists.table(filled))
        report.write(pages.form(checklist, filled, command), folder, name)
        forms[name] = (checklist, filled)
    report.write(pages.model_card(run.path.name, found, command), folder, "model_card")
    report.write(pages.overview(run.path.name, people, steps, forms, command), folder)
    told = [pages.sentence(*pair) for pair in forms.values()]
    atomic_files.write_json(
        folder / "forms.json", {"run": str(run.path), "command": command, "findings": told}
    )
    return folder


def _standard(run, moved):
    """How the diagnoses were made, by the data folder; empty where it isn't there."""
    folder = Path(moved or run.data.path).expanduser()
    if moved:
        paths.existing_folder(moved, "forms.data")
    return participants.reference_standard(folder)

"""The page that lists runs and reports, with links to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import runs
from dermssl.reporting import report, wording
from dermssl.studies.run_index.compute import Entry, Index, Page, differing

MOST_SETTINGS = 12  # columns; the others are in each run's config.toml
TITLES = {"pretrain": "Pretraining", "finetune": "Fine-tuning", "grid": "Grids"}
STATES = {
    runs.FINISHED: "finished",
    runs.RUNNING: "not finished",
    runs.KILLED: "stopped",
    runs.FAILED: "failed",
    runs.DIVERGED: "diverged",
}


def build(index: Index, command: str) -> report.Report:
    """The page of an `Index`; its links hold within the folder that was searched."""
    commands = sorted({entry.command for entry in index.entries}, key=_order)
    groups = {name: [one for one in index.entries if one.command == name] for name in commands}
    unreadable = [f"{path}: left out ({why})" for path, why in index.damaged]
    return report.Report(
        f"Runs in {index.folder.resolve().name}",
        [report.Findings(findings(index)), report.Warnings(unreadable)],
        [
            *(_runs(name, entries, index) for name, entries in groups.items()),
            _others(index) if index.pages else None,
        ],
        [
            "State, settings and data: each run's `status.json`. Scores: balanced accuracy on the "
            "test split with its 95% interval, from the run's `evaluation_test/metrics.json`.",
            f"This page: {report.code(command)}",
        ],
    )


def findings(index: Index) -> list[str]:
    """What the table says, in sentences."""
    states = [STATES.get(entry.status.get("status", ""), "unknown") for entry in index.entries]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    sentences = [f"{wording.count(len(states), 'run')}: {counts}."] if states else []
    scored = [entry for entry in index.entries if entry.score is not None]
    by_data: dict[str, list[Entry]] = {}
    for entry in scored:
        if entry.score is not None and entry.score.is_defined:
            by_data.setdefault(str(entry.status.get("data_hash")), []).append(entry)
    for entries in by_data.values():
        if len(entries) > 1:
            sentences.append(_best(entries, index.folder))
    missing = sum(
        entry.command == "finetune" and entry.status.get("status") == runs.FINISHED
        and entry.score is None for entry in index.entries
    )  # fmt: skip
    if missing:
        runs_ = wording.count(missing, "finished fine-tuning run")
        sentences.append(f"{runs_} without a test score: python -m dermssl.evaluate RUN.")
    return sentences


def _best(entries: Sequence[Entry], folder: Path) -> str:
    best = max(entries, key=lambda entry: entry.score.estimate)
    level = [one for one in entries if one.score.high >= best.score.low and one is not best]
    text = (
        f"Of {len(entries)} runs scored on the same data, {os.path.relpath(best.path, folder)} has "
        f"the highest balanced accuracy, {wording.estimate(best.score)}"
    )
    if level:
        text += f"; the intervals of {len(level)} others overlap with its own"
    return (
        f"{text}. The best of several looks better than it is; which differences are more than "
        "luck, python -m dermssl.model_comparison says."
    )


def _runs(command: str, entries: Sequence[Entry], index: Index) -> report.Section:
    settings = differing(entries)
    shown = settings[:MOST_SETTINGS]
    columns: list[Any] = [
        report.Column("run", format=lambda path: report.link(path, path)),
        "state",
        report.Column("seed", right=True),
        "data",
        *(report.code(name) for name in shown),
    ]
    scored = command == "finetune"
    healthy = any(entry.health for entry in entries)
    columns += ["balanced accuracy (95% interval)", report.Column("lesions", right=True)] * scored
    columns += ["health"] * healthy
    columns.append(report.Column("reports", format=lambda pages: _links(pages, index.folder)))
    rows = []
    for entry in entries:
        data = Path(str(entry.settings.get("data.path", "")) or "n/a").name
        row: list[Any] = [
            os.path.relpath(entry.path, index.folder),
            STATES.get(entry.status.get("status", ""), "unknown"),
            entry.status.get("seed"),
            f"{data} {entry.status.get('data_hash', '')}".strip(),
            *(entry.settings.get(name, "n/a") for name in shown),
        ]
        row += [entry.score, entry.n or None] * scored
        row += [entry.health or "n/a"] * healthy
        rows.append([*row, entry.pages])
    left = len(settings) - len(shown)
    text = f"{left} more settings differ; they are in each run's `config.toml`." if left else ""
    return report.Section(
        TITLES.get(command, command),
        [report.Table(columns, rows), report.Text(text) if text else None],
    )


def _others(index: Index) -> report.Section:
    lines = [
        f"{report.link(page.title, os.path.relpath(page.path, index.folder))}, "
        f"{report.code(os.path.relpath(page.path.parent, index.folder))}"
        for page in index.pages
    ]
    return report.Section("Other reports", [report.Bullets(lines)])


def _links(pages: Sequence[Page], folder: Path) -> str:
    links = [report.link(page.title, os.path.relpath(page.path, folder)) for page in pages]
    return "; ".join(links) or "none"


def _order(command: str) -> tuple[int, str]:
    known = list(TITLES)
    return (known.index(command) if command in TITLES else len(known), command)

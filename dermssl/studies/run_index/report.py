"""The page that lists runs and reports, with links to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dermssl.core import runs
from dermssl.evaluation.interval import Interval
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


def build(index: Index, command: str, written: Path | None = None) -> report.Report:
    """The page of an `Index`, with links from the folder that it is written to."""
    home = written or index.folder
    commands = sorted({entry.command for entry in index.entries}, key=_order)
    groups = {name: [one for one in index.entries if one.command == name] for name in commands}
    unreadable = [f"{path}: left out ({why})" for path, why in index.damaged]
    return report.Report(
        f"Runs in {index.folder.resolve().name}",
        [report.Findings(findings(index)), report.Warnings(unreadable)],
        [
            *(_runs(name, entries, index, home) for name, entries in groups.items()),
            _others(index, home) if index.pages else None,
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
    by_data: dict[str, list[tuple[str, Interval]]] = {}
    for entry in index.entries:
        if entry.score is not None and entry.score.is_defined:
            name = os.path.relpath(entry.path, index.folder)
            by_data.setdefault(str(entry.status.get("data_hash")), []).append((name, entry.score))
    sentences += [_best(scores) for scores in by_data.values() if len(scores) > 1]
    missing = sum(
        entry.command == "finetune" and entry.status.get("status") == runs.FINISHED
        and entry.score is None for entry in index.entries
    )  # fmt: skip
    if missing:
        runs_ = wording.count(missing, "finished fine-tuning run")
        sentences.append(f"{runs_} not evaluated yet: python -m dermssl.evaluate RUN.")
    return sentences


def _best(scores: Sequence[tuple[str, Interval]]) -> str:
    """A sentence on the highest of several scores on the same data."""
    name, best = max(scores, key=lambda pair: pair[1].estimate)
    level = sum(score.high >= best.low for _, score in scores) - 1
    text = (
        f"Of {len(scores)} runs scored on the same data, {name} has the highest balanced accuracy, "
        f"{wording.estimate(best)}"
    )
    if level:
        text += f"; {level} of the other intervals overlap with this one"
    return (
        f"{text}. The best of several looks better than it is: python -m dermssl.model_comparison "
        "says which differences are more than luck."
    )


def _runs(command: str, entries: Sequence[Entry], index: Index, home: Path) -> report.Section:
    settings = differing(entries)
    shown = settings[:MOST_SETTINGS]
    columns: list[Any] = [
        report.Column("run", format=lambda path: report.link(path, _from(home, index, path))),
        "state",
        report.Column("seed", right=True),
        "data",
        *(report.code(name) for name in shown),
    ]
    scored = command == "finetune"
    healthy = any(entry.health for entry in entries)
    columns += ["balanced accuracy (95% interval)", "of"] * scored
    columns += ["health"] * healthy
    columns.append(report.Column("reports", format=lambda pages: _links(pages, home)))
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
        row += [entry.score, entry.n or "n/a"] * scored
        row += [entry.health or "n/a"] * healthy
        rows.append([*row, entry.pages])
    left = len(settings) - len(shown)
    text = f"{left} more settings differ; they are in each run's `config.toml`." if left else ""
    return report.Section(
        TITLES.get(command, command),
        [report.Table(columns, rows), report.Text(text) if text else None],
    )


def _from(home: Path, index: Index, path: str) -> str:
    return os.path.relpath(index.folder / path, home)


def _others(index: Index, home: Path) -> report.Section:
    lines = [
        f"{report.link(page.title, os.path.relpath(page.path, home))}, "
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

"""The report on a run's embeddings: how the planes were made, and whether neighbours agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import config as configs
from dermssl.data.records import TRAIN
from dermssl.evaluation import bootstrap, metric_tables
from dermssl.reporting import report, wording
from dermssl.studies.embedding_map import figures, projections


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """All that the report is made of.

    Attributes:
        path, status: of the run.
        index: record table of the n photos.
        h: float (n, d), embeddings of length 1.
        planes: name of a layout -> float (n, 2).
        columns: names of the columns that a picture is made for.
        perplexity: of t-SNE.
        seed: of the layouts.
        n_resamples: draws of the bootstrap.
        groups: (n,), what isn't independent.
        source: what the photos are.
        log: folder of TensorBoard's projector.
        command: what to type for the same again.
    """

    path: Path
    status: dict[str, Any]
    index: pd.DataFrame
    h: np.ndarray
    planes: dict[str, np.ndarray]
    columns: list[str]
    perplexity: float
    seed: int
    n_resamples: int
    groups: np.ndarray
    source: str
    log: Path
    command: str


def pictures(mapped: EmbeddingMap) -> list[tuple[str, str, report.Figure]]:
    """The layout, the column and the `Figure` of every picture."""
    return [
        (layout, column, report.Figure(f"{layout}_{column}.png", _title(mapped, layout, column)))
        for layout in mapped.planes
        for column in mapped.columns
    ]


def _title(mapped: EmbeddingMap, layout: str, column: str) -> str:
    by = f"{column} class" if column in ("fine", "coarse") else column.replace("_", " ")
    return f"{projections.TITLES[layout]} by {by}, {mapped.path.name}"


def draw(folder: Path, mapped: EmbeddingMap) -> None:
    """The pictures, one a layout and column."""
    for layout, column, figure in pictures(mapped):
        points = mapped.planes[layout]
        what = f"perplexity {mapped.perplexity:.3g}" if layout == "tsne" else "cosine"
        subtitle = f"{len(points):,} photos, {what}, seed {mapped.seed}"
        colours = mapped.index[column]
        figures.plane(folder / figure.file, points, colours, figure.caption, subtitle)


def coordinates(mapped: EmbeddingMap) -> pd.DataFrame:
    """The content of coordinates.csv: every record with its place in each plane."""
    axes = {
        f"{layout}_{axis}": points[:, k]
        for layout, points in mapped.planes.items()
        for k, axis in enumerate("xy")
    }
    return mapped.index.assign(**axes)


def build(mapped: EmbeddingMap) -> report.Report:
    """The report on a run's embeddings; its pictures are those of `draw`."""
    status = mapped.status
    model = f"{status['command']} of {status['config']['backbone']['name']}"
    tensorboard = configs.command_line(
        "tensorboard", {"tensorboard": {"folder": mapped.log.parent}}
    )
    neighbours, warnings = _neighbours(mapped), report.Warnings(notes(mapped))
    reading = _reading(mapped)
    return report.Report(
        f"Embeddings of {mapped.path.name or mapped.path}",
        [
            report.Text(f"{report.escaped(model)}; {wording.count(len(mapped.index), 'photo')}."),
            *(figure for _, _, figure in pictures(mapped)),
        ],
        # The warnings end the last section before the provenance.
        [
            report.Section("How to read this", reading if neighbours else [*reading, warnings]),
            report.Section("Do neighbours share their class?", [*neighbours, warnings])
            if neighbours
            else None,
        ],
        [
            f"Photos: {report.escaped(mapped.source)}.",
            "Every photo with its place: `coordinates.csv` in this folder.",
            f"To walk through them: {report.code(tensorboard)}, then Projector (PCA, t-SNE "
            "and UMAP there are TensorBoard's own).",
            f"Run: {report.hashes(status)}. Versions: {report.versions(status)}.",
            f"This page: {report.code(mapped.command)}",
        ],
    )


def _reading(mapped: EmbeddingMap) -> list[report.Text | report.Bullets]:
    trust = ", ".join(
        f"{projections.TITLES[layout]} "
        f"{wording.number(projections.trustworthiness(mapped.h, points))}"
        for layout, points in mapped.planes.items()
    )
    return [
        report.Text(
            "Each point is a photo, put near those whose embeddings (the "
            f"{mapped.h.shape[1]} numbers that the backbone gives) point the same way. "
            f"{report.escaped(how(mapped))} Near points are photos that the network finds alike; "
            "how far apart groups lie, how large they are and on which side of each other means "
            "nothing, and another seed or perplexity gives another picture. The numbers below are "
            "of the embeddings themselves."
        ),
        report.Bullets(
            [
                "Trustworthiness, how far neighbours in the plane are neighbours in the embedding: "
                f"{trust} (1 is best, a random plane has about 0.5)."
            ]
        ),
    ]


def how(mapped: EmbeddingMap) -> str:
    """One or two sentences on the layouts' settings."""
    reduced = mapped.h.shape[1] > projections.DIMENSIONS
    text = (
        f"t-SNE: {f'PCA to {projections.DIMENSIONS} numbers, ' if reduced else ''}started from the "
        f"first two principal components, perplexity {mapped.perplexity:.3g}, seed {mapped.seed}."
    )
    if "umap" in mapped.planes:
        near = max(2, round(mapped.perplexity))
        text += f" UMAP: {near} neighbours, cosine distance, seed {mapped.seed}."
    return text


def _neighbours(mapped: EmbeddingMap) -> list[report.Table | report.Text]:
    """How far the neighbours of each fine class share it; nothing without two classes."""
    labels = mapped.index["fine"].to_numpy(dtype=object)
    names = sorted(set(labels) - {""})
    if len(names) < 2:
        return []
    share, chance = projections.same_class(mapped.h, labels, mapped.groups)
    rows, few = [], False
    for name in names:
        own = labels == name
        n, known = int(own.sum()), chance[own][~np.isnan(chance[own])]
        interval = bootstrap.bootstrap_metric(
            "mean",
            None,
            np.where(own, share, np.nan),
            mapped.groups,
            n_resamples=mapped.n_resamples,
        )
        few |= n < wording.ENOUGH_RECORDS
        note = " (!)" if n < wording.ENOUGH_RECORDS else ""
        rows.append(
            [name, report.Cell(n, note), interval, float(known.mean()) if len(known) else None]
        )
    columns = [
        "class",
        report.Column("photos", right=True),
        "neighbours of its class (95% interval)",
        report.Column("by chance", right=True),
    ]
    unit = metric_tables.grouped_by(mapped.groups)
    text = (
        f"Of the {projections.NEIGHBOURS} nearest photos of other {unit}s, the mean share with the "
        "same class; by chance: the share among all of them. Intervals: percentile bootstrap over "
        f"{unit}s, {mapped.n_resamples:,} draws."
    )
    text += f" (!): fewer than {wording.ENOUGH_RECORDS} photos." if few else ""
    return [report.Table(columns, rows), report.Text(text)]


def notes(mapped: EmbeddingMap) -> list[str]:
    """What to know before the picture is believed."""
    status, index = mapped.status, mapped.index
    sentences = []
    in_training = index["split"] == TRAIN
    if status["command"] == "finetune":  # it was told no class of the others
        in_training &= (index["fine"] != "") | (index["coarse"] != "")
    trained = int(in_training.sum())
    if status["command"] == "finetune" and trained:
        sentences.append(
            f"{trained:,} of these {len(index):,} photos are training photos, whose classes the "
            "network was told: they lie better apart than new ones. For new ones: the test split."
        )
    if status["command"] == "pretrain" and trained:
        sentences.append(
            "These are the photos of the pretraining pool. No label was used, but the network "
            "has seen every one of them often."
        )
    if (index[["lesion_id", "patient_id"]] == "").all(axis=None):
        sentences.append(
            "The records carry neither patient nor lesion ids: if several show one lesion, they "
            "count as neighbours, and the classes look better apart than they are."
        )
    return sentences

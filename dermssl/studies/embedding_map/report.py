"""What is said of a run's embeddings: how the plane was made, and whether neighbours agree."""

import numpy as np

from dermssl.data.records import TRAIN
from dermssl.evaluation import bootstrap
from dermssl.reporting import wording
from dermssl.studies.embedding_map import projections


def how(planes, dimensions, perplexity, seed):
    """One or two sentences on the layouts' settings."""
    reduced = (
        f"PCA to {projections.DIMENSIONS} numbers, " if dimensions > projections.DIMENSIONS else ""
    )
    said = (
        f"t-SNE: {reduced}started from the first two principal components, perplexity "
        f"{perplexity:.3g}, seed {seed}."
    )
    if "umap" in planes:
        near = max(2, round(perplexity))
        said += f" UMAP: {near} neighbours, cosine distance, seed {seed}."
    return said


def classes(h, index, groups, n_resamples=1000):
    """A row a fine class: how far its photos' neighbours share it; empty without two classes.

    Returns:
        list of dict: name, n, few, interval (`Interval`), chance.
    """
    labels = index["fine"].to_numpy(dtype=object)
    names = sorted(set(labels) - {""})
    if len(names) < 2:
        return []
    share, chance = projections.same_class(h, labels, groups)
    rows = []
    for name in names:
        own = labels == name
        interval = bootstrap.bootstrap_metric(
            "mean", None, np.where(own, share, np.nan), groups, n_resamples=n_resamples
        )
        known = chance[own][~np.isnan(chance[own])]
        rows.append(
            {
                "name": name,
                "n": int(own.sum()),
                "few": own.sum() < wording.ENOUGH_RECORDS,
                "interval": interval,
                "chance": float(known.mean()) if len(known) else None,
            }
        )
    return rows


def notes(status, index):
    """What to know before the picture is believed."""
    said = []
    trained = int((index["split"] == TRAIN).sum())
    if status["command"] == "finetune" and trained:
        said.append(
            f"{trained:,} of these {len(index):,} photos are training photos, whose classes the "
            "network was told: they lie better apart than new ones. For new ones: --split test."
        )
    if status["command"] == "pretrain" and trained:
        said.append(
            "These are the photos of the pretraining pool. No label was used, but the network "
            "has seen every one of them often."
        )
    if (index[["lesion_id", "patient_id"]] == "").all(axis=None):
        said.append(
            "The records carry neither patient nor lesion ids: if several show one lesion, they "
            "count as neighbours, and the classes look better apart than they are."
        )
    return said

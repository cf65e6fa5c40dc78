"""Predict photos under every condition of the stress test."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dermssl.data.photos import Photos
from dermssl.inference import outputs
from dermssl.models.classifier import LesionClassifier
from dermssl.studies.stress import conditions


def predict(
    model: LesionClassifier, photos: Photos, hole: Callable[..., np.ndarray], records: np.ndarray,
    wanted: Sequence[str], size: int, batch_size: int = 32,
    progress: Callable[[int], None] | None = None, **options: Any,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Score every photo under every condition.

    Args:
        model: `LesionClassifier`.
        photos, hole, records, wanted, size, batch_size: as for `conditions.batches`.
        progress: function of the number of photos done, or None.
        **options: as for `conditions.batches`.

    Returns:
        dict of condition -> float64 (n, fine), in the order of `wanted`.
    """
    done, logits_of = 0, outputs.traced(model, outputs.inference)

    def forward(batch):
        nonlocal done
        logits = {name: logits_of(pixels) for name, pixels in zip(wanted, batch)}
        done += batch.shape[1]
        if progress:
            progress(done)
        return logits

    batches = conditions.batches(photos, hole, records, wanted, size, batch_size, **options)
    logits = outputs.run(forward, batches)
    return {name: model.probabilities(logits[name])["fine"] for name in wanted}

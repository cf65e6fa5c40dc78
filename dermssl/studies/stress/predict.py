"""A model's probabilities for photos under every condition of the stress test."""

import numpy as np
import tensorflow as tf

from dermssl.models import classifier
from dermssl.studies.stress import conditions


def predict(
    model, taxonomy, head, photos, hole, records, wanted, size, batch_size=32, progress=None,
    **options,
):  # fmt: skip
    """Score every photo under every condition.

    Args:
        model: function of (float32 (b, size, size, 3) in [0, 255], training=False) to a dict of
            logits, "fine" (b, fine) and "coarse" (b, coarse): a classifier.
        taxonomy, head: as for `classifier.probabilities`.
        photos, hole, records, wanted, size, batch_size: as for `conditions.batches`.
        progress: function of the number of photos done, or None.
        **options: as for `conditions.batches`.

    Returns:
        dict of condition -> float64 (n, fine), in the order of `wanted`.
    """
    found = {name: [] for name in wanted}
    done = 0
    made = conditions.batches(photos, hole, records, wanted, size, batch_size, **options)
    for batch in made:
        for name, pixels in zip(found, batch):
            logits = model(tf.cast(pixels, tf.float32), training=False)
            logits = {level: np.asarray(values) for level, values in logits.items()}
            found[name].append(classifier.probabilities(logits, taxonomy, head)[0])
        done += batch.shape[1]
        if progress:
            progress(done)
    return {name: np.concatenate(parts) for name, parts in found.items()}

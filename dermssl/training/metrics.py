"""Keras metrics that skip records without a label (label -1).

Of two mixed records the one with the larger share counts. Keras hands `sample_weight` to the
metrics of `compile(weighted_metrics=...)` alone; there a record counts by its weight.
"""

from typing import Any

import keras
from keras import ops

from dermssl.losses import focal


@keras.saving.register_keras_serializable("dermssl")
class KnownAccuracy(keras.metrics.Metric):
    """Share of the labelled records whose largest logit is their class; 0 without any.

    Args:
        name: str.

    Example:

    >>> metric = KnownAccuracy()
    >>> metric.update_state([0, 1, -1], [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    >>> float(metric.result())  # the last record has no label
    0.5
    """

    def __init__(self, name: str = "accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.hits = self.add_weight(name="hits", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: labels (n,) as of `SparseFocalLoss`, logits (n, classes), weights (n,)."""
        label, guess = _label_and_guess(y_true, y_pred)
        hit = ops.cast(ops.equal(guess, label), "float32")
        known = _weighted(ops.cast(label >= 0, "float32"), sample_weight)
        self.hits.assign_add(ops.sum(hit * known))
        self.count.assign_add(ops.sum(known))

    def result(self) -> Any:
        """float32 scalar in [0, 1]."""
        return ops.divide_no_nan(self.hits, self.count)


@keras.saving.register_keras_serializable("dermssl")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean recall over the classes that occur; 0 without any labelled record.

    Args:
        n_classes: int.
        name: str.

    Attributes:
        confusion: float32 variable (n_classes, n_classes), records by their class and the largest
            logit.

    Example:

    >>> metric = BalancedAccuracy(2)
    >>> metric.update_state([0, 0, 1], [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]])
    >>> float(metric.result())  # (2 / 2 + 0 / 1) / 2
    0.5
    >>> metric.confusion.numpy().tolist()
    [[2.0, 0.0], [1.0, 0.0]]
    """

    def __init__(self, n_classes: int, name: str = "balanced_accuracy", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.n_classes = n_classes
        shape = (n_classes, n_classes)
        self.confusion = self.add_weight(name="confusion", shape=shape, initializer="zeros")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch, as of `KnownAccuracy`."""
        label, guess = _label_and_guess(y_true, y_pred)
        known = _weighted(ops.cast(label >= 0, "float32"), sample_weight)
        cell = ops.maximum(label, 0) * self.n_classes + guess
        counts = ops.segment_sum(known, cell, num_segments=self.n_classes**2)
        self.confusion.assign_add(ops.reshape(counts, self.confusion.shape))

    def result(self) -> Any:
        """float32 scalar in [0, 1]."""
        count = ops.sum(self.confusion, axis=1)
        recall = ops.divide_no_nan(ops.diagonal(self.confusion), count)
        present = ops.sum(ops.cast(count > 0, "float32"))
        return ops.divide_no_nan(ops.sum(recall), present)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n_classes": self.n_classes}


def _label_and_guess(y_true, y_pred):
    """int32 (n,) labels, and int32 (n,) the classes of the largest logits."""
    label = focal.first_label(ops.convert_to_tensor(y_true))
    return label, ops.cast(ops.argmax(y_pred, axis=-1), "int32")


def _weighted(values, sample_weight):
    """float32 (n,) times the weights (n,) or (n, 1) of the records, if there are any."""
    if sample_weight is None:
        return values
    weight = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    return values * (ops.reshape(weight, (-1,)) if len(weight.shape) else weight)

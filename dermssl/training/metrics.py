"""Keras metrics that leave out records without a label at their level (label -1).

Of two mixed records the one with the larger share counts.
"""

import keras
from keras import ops

from dermssl.losses import focal


@keras.saving.register_keras_serializable("dermssl")
class KnownAccuracy(keras.metrics.Metric):
    """Share of the labelled records whose largest logit is their class; 0 without any."""

    def __init__(self, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.hits = self.add_weight(name="hits", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        label = focal.first_label(y_true)
        known = ops.cast(label >= 0, "float32")
        hit = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), label), "float32")
        self.hits.assign_add(ops.sum(hit * known))
        self.count.assign_add(ops.sum(known))

    def result(self):
        return ops.divide_no_nan(self.hits, self.count)


@keras.saving.register_keras_serializable("dermssl")
class BalancedAccuracy(keras.metrics.Metric):
    """Mean recall over the classes that occur; 0 without any labelled record."""

    def __init__(self, n_classes, name="balanced_accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.n_classes = n_classes
        self.hits = self.add_weight(name="hits", shape=(n_classes,), initializer="zeros")
        self.count = self.add_weight(name="count", shape=(n_classes,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        label = focal.first_label(y_true)
        # one_hot of -1 is all zeros: an unknown label counts nowhere.
        classes = ops.one_hot(label, self.n_classes, dtype="float32")
        hit = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), label), "float32")
        self.hits.assign_add(ops.sum(classes * hit[:, None], axis=0))
        self.count.assign_add(ops.sum(classes, axis=0))

    def result(self):
        recall = ops.divide_no_nan(self.hits, self.count)
        present = ops.sum(ops.cast(self.count > 0, "float32"))
        return ops.divide_no_nan(ops.sum(recall), present)

    def get_config(self):
        return {**super().get_config(), "n_classes": self.n_classes}

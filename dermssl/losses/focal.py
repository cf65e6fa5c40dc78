"""Focal loss on logits with integer labels (Lin et al., 2017, equation 5)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

FLOOR = 1e-7  # of 1 - p


@keras.saving.register_keras_serializable("dermssl")
class SparseFocalLoss(keras.losses.Loss):
    """`-alpha[y] * (1 - p[y]) ** gamma * log p[y]`, with p = softmax(logits).

    A label of -1 gives a loss of 0, so that a record with only a coarse label teaches
    the coarse head alone.

    Where two records are mixed, a target is (label, share, other label, share), and the loss
    is the sum of both labels' losses times their shares. That is the focal loss of the soft
    label `sum of share * one_hot(label)`, which is linear in it.

    Args:
        gamma: float, 0 or more; 0 is cross-entropy. Defaults to `2.0`.
        alpha: sequence of float, one weight a class, or None for 1 each.
        name: str.

    Call arguments:
        y_true: int (n,) or (n, 1), in [-1, classes); or float (n, 4), two labels with shares.
        y_pred: float (n, classes), logits.
        sample_weight: float (n,), a factor of each record's loss; its mean is taken over all
            n records, whatever the weights are.

    Example:

    >>> loss = SparseFocalLoss(gamma=2.0)
    >>> round(float(loss([0], [[0.0, 0.0]])), 6)  # 0.25 * log 2
    0.173287
    """

    def __init__(
        self, gamma: float = 2.0, alpha: Sequence[float] | None = None,
        name: str = "sparse_focal", **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(name=name, **kwargs)
        self.gamma = float(gamma)
        self.alpha = None if alpha is None else [float(weight) for weight in alpha]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """float32 (n,)."""
        y_true = ops.convert_to_tensor(y_true)
        if not is_mixed(y_true):
            return self._of_label(y_true, y_pred)
        first, share, second, rest = ops.unstack(ops.cast(y_true, "float32"), 4, axis=-1)
        return share * self._of_label(first, y_pred) + rest * self._of_label(second, y_pred)

    def _of_label(self, y_true, y_pred):
        log_p = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        label = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        known = ops.cast(label >= 0, "float32")
        label = ops.maximum(label, 0)
        log_p = ops.squeeze(ops.take_along_axis(log_p, label[:, None], axis=-1), axis=-1)
        # At p = 1 the gradient of (1 - p) ** gamma is infinite for gamma under 1; the floor,
        # about the last digit of a float32 p, stops it there. gamma = 0 is then 1, too.
        loss = -ops.power(ops.maximum(-ops.expm1(log_p), FLOOR), self.gamma) * log_p
        if self.alpha is not None:
            loss = loss * ops.take(ops.convert_to_tensor(self.alpha, "float32"), label)
        return loss * known

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}


def is_mixed(y_true: Any) -> bool:
    """Whether targets are two labels with their shares, (n, 4), and not one."""
    return len(y_true.shape) == 2 and y_true.shape[-1] == 4


def first_label(y_true: Any) -> Any:
    """int32 (n,): the label of each record; of a mixed one, that with the larger share."""
    label = y_true[:, 0] if is_mixed(y_true) else ops.reshape(y_true, (-1,))
    return ops.cast(label, "int32")


def balanced_weights(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Class weights inverse to class counts; their mean over the records is 1.

    `w[c] = n / (classes present * n[c])`, as scikit-learn's "balanced". A class without
    records gets 0: it has nothing to weigh.

    Args:
        labels: int array (n,); -1 is left out.
        n_classes: int.

    Returns:
        float64 array (n_classes,).
    """
    counts = np.bincount(labels[labels >= 0], minlength=n_classes)
    present = counts > 0
    weights = np.zeros(n_classes)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights

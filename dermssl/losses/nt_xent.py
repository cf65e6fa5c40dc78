"""NT-Xent, the contrastive loss of SimCLR (Chen et al., 2020, equation 1)."""

from typing import Any

import keras
from keras import ops

SMALLEST = 1e-7  # norm of a projection that is still made 1
MASKED = -1e9  # added to a float32 similarity; exp() of it is exactly 0


def pair_logits(first: Any, second: Any, temperature: float) -> tuple[Any, Any]:
    """Similarities of each view with every other view, ready for a softmax.

    The matrix is float32 whatever the inputs are: in float16 the mask overflows to
    infinity, and 0 * infinity is NaN.

    Args:
        first, second: float tensors (n, d), the projections of the two views of n records;
            any scale, they are L2-normalised here.
        temperature: float, over 0.

    Returns:
        logits: float32 (2n, 2n), cosine / temperature, with itself masked out.
        partner: int32 (2n,), the column of the other view of the same record.
    """
    n = ops.shape(first)[0]
    both = ops.cast(ops.concatenate([first, second], axis=0), "float32")
    square = ops.sum(ops.square(both), axis=-1, keepdims=True)
    # Keras's normalize has a gradient of 0 * infinity where a projection is 0; XLA makes NaN of it.
    both = both * ops.rsqrt(ops.maximum(square, SMALLEST**2))  # (2n, d)
    cosine = ops.matmul(both, ops.transpose(both))  # (2n, 2n)
    logits = cosine / temperature + MASKED * ops.eye(2 * n, dtype="float32")
    partner = ops.concatenate([ops.arange(n, 2 * n), ops.arange(n)], axis=0)
    return logits, ops.cast(partner, "int32")


def nt_xent(first: Any, second: Any, temperature: float = 0.1) -> Any:
    """Mean over the 2n anchors of -log softmax(cosine / temperature)[other view].

    `loss = -1/2n * sum_i log( exp(s[i, j(i)] / t) / sum_{k != i} exp(s[i, k] / t) )`

    This is the paper's mean over anchors. keras-cv, google-research/simclr and
    tf-similarity sum the two directions, which is twice this number.

    Args:
        first, second: float tensors (n, d), one row a record; n of 2 or more, since
            with one record there is nothing to contrast and the loss is 0.
        temperature: float, over 0. Defaults to `0.1`.

    Returns:
        float32 scalar, 0 or more; log(2n - 1) when all embeddings are equal.

    Example:

    >>> z1 = np.array([[1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]], "float32")
    >>> z2 = np.array([[6, 5, 4, 3], [5, 4, 3, 2], [4, 3, 2, 1]], "float32")
    >>> round(float(nt_xent(z1, z2, temperature=0.5)), 6)
    1.783345
    """
    return from_logits(*pair_logits(first, second, temperature))


@keras.saving.register_keras_serializable("dermssl")
class NTXent(keras.losses.Loss):
    """`nt_xent` as a Keras loss of the projections of two views.

    A record has no loss of its own, since every record is a negative example of all others:
    there is one number a batch, and `sample_weight` scales it by the mean of the weights.

    Args:
        temperature: float, over 0. Defaults to `0.1`.
        name: str.

    Call arguments:
        y_true, y_pred: float (n, d), the projections of the first and of the second views.

    Example:

    >>> views = np.eye(4, dtype="float32")
    >>> round(float(NTXent(temperature=0.5)(views, views)), 6)  # log(1 + 6 e^-2)
    0.594438
    """

    def __init__(self, temperature: float = 0.1, name: str = "nt_xent", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.temperature = float(temperature)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """float32 (1,). Keras would not share out a scalar among a strategy's replicas."""
        return ops.reshape(nt_xent(y_true, y_pred, self.temperature), (1,))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}


def from_logits(logits: Any, partner: Any) -> Any:
    """NT-Xent from `pair_logits`, for callers that also want its statistics."""
    return ops.mean(keras.losses.sparse_categorical_crossentropy(partner, logits, from_logits=True))


def contrastive_statistics(logits: Any, partner: Any) -> tuple[Any, Any]:
    """How well the views find each other, from `pair_logits`.

    Returns:
        accuracy: float32 scalar in [0, 1]; share of anchors whose nearest is their partner.
        entropy: float32 scalar in [0, log(2n - 1)] nats; mean entropy of the softmax.
            Near its maximum nothing is told apart; near 0 the task is solved.
    """
    nearest = ops.cast(ops.argmax(logits, axis=-1), "int32")
    accuracy = ops.mean(ops.cast(ops.equal(nearest, partner), "float32"))
    log_p = ops.log_softmax(logits, axis=-1)
    # exp(-1e9) * -1e9 is -0.0, so the masked diagonal adds nothing.
    entropy = -ops.mean(ops.sum(ops.exp(log_p) * log_p, axis=-1))
    return accuracy, entropy

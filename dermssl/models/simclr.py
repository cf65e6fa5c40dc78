"""SimCLR: a backbone and a projection head under NT-Xent (Chen et al., 2020)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops

from dermssl.core.errors import UserError
from dermssl.losses import nt_xent
from dermssl.models import backbones, fused_kernels, gradient_cache, rematerialise, replicas


def projection_head(
    dimension: int, widths: Sequence[int] = (512, 128), seed: int = 0, dtype: Any = None
) -> keras.Sequential:
    """Dense layers with BatchNorm and ReLU between them, none after the last.

    Args:
        dimension: int, width of the embedding h.
        widths: sequence of int; the last is the width of the projection z.
        seed: int, of the first weights.
        dtype: of the layers, a name or a policy; None for Keras's global policy.

    Returns:
        `keras.Sequential`: float (n, dimension) -> float (n, widths[-1]).
    """
    head = keras.Sequential([keras.Input((dimension,))], name="projection_head")
    for position, width in enumerate(widths):
        start = keras.initializers.GlorotUniform(seed=seed + position)
        head.add(layers.Dense(width, use_bias=False, kernel_initializer=start, dtype=dtype))
        if position < len(widths) - 1:
            head.add(layers.BatchNormalization(momentum=0.9, dtype=dtype))
            head.add(layers.ReLU(dtype=dtype))
    return head


@keras.saving.register_keras_serializable("dermssl")
class SimCLR(keras.Model):
    """Pretrains a backbone on pairs of views; called on images, it gives their embeddings.

    Training and validation data are tuples of two float32 (n, size, size, 3) tensors in
    [0, 255], the two views of the same n records (2 or more), as from `dermssl.two_views`.
    Views of another size are resized to the backbone's. The logs are `loss`; `accuracy`, the
    share of views whose nearest neighbour is their other view; `entropy`, in nats (see
    `nt_xent.contrastive_statistics`). Metrics given to `compile` compare the projections of
    the first views, as `y_true`, with those of the second ones.

    Under a `tf.distribute` strategy the projections of all replicas are gathered: every view of a
    batch is contrasted with all others, whichever replica it is on.

    Args:
        backbone: `keras.Model`: (n, size, size, 3) in [0, 255] -> embedding h (n, d); or its
            config; or None for an EfficientNetB1 of 224 px with random weights.
        projection: widths of the projection head.
        temperature: float, over 0; of the loss, where `compile` is given no other.
        seed: int, of the head's first weights.
        chunk_size: int; the records that go through the network at once in training, by
            `gradient_cache`: a large batch in a small memory, for two fifths more time. The loss
            still contrasts all of the batch; BatchNorm sees a chunk. The first half of a chunk's
            activations is forgotten, to make room for the views. 0: the whole batch.
        remat: bool; forget the backbone's activations in training and compute them again for the
            gradient, see `rematerialise`: the same step in less memory, for about a third more
            time.

    Raises:
        UserError: `chunk_size` is negative.

    Example:

    >>> model = SimCLR(dermssl.Backbone("cnn", image_size=32), projection=(32, 16))
    >>> model.compile("adam")
    >>> first = second = np.zeros((4, 32, 32, 3), "float32")
    >>> history = model.fit(first, second, verbose=0)
    >>> model.predict(first, verbose=0).shape
    (4, 256)
    """

    def __init__(
        self, backbone: keras.Model | None = None, projection: Sequence[int] = (512, 128),
        temperature: float = 0.1, seed: int = 0, chunk_size: int = 0, remat: bool = False,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        super().__init__(**kwargs)
        if chunk_size < 0:
            raise UserError(f"SimCLR: chunk_size is {chunk_size}; it must be 0 (off) or more")
        self.chunk_size, self.remat = int(chunk_size), bool(remat)
        if self.chunk_size:
            self.supports_jit = False  # the last chunk's size is known only when it runs
        if isinstance(backbone, dict):  # a config; Keras takes it apart as it reads it
            backbone = keras.saving.deserialize_keras_object(copy.deepcopy(backbone))
        backbone = backbone or backbones.Backbone()
        self.backbone = fused_kernels.substitute(backbone)  # Keras reads a model without it
        dimension = backbone.output.shape[-1]
        self.projection_head = projection_head(dimension, projection, seed, self.dtype_policy)
        self.projection, self.seed = tuple(projection), seed
        self.temperature = float(temperature)
        self.accuracy_tracker = keras.metrics.Mean(name="accuracy")
        self.entropy_tracker = keras.metrics.Mean(name="entropy")
        self.built = True  # all of its layers are

    def call(self, images: Any, training: bool = False) -> Any:
        """Embeddings h, float (n, d), of images (n, size, size, 3) in [0, 255]."""
        size = self.backbone.input.shape[1:3]
        if tuple(images.shape[1:3]) != tuple(size):
            images = ops.image.resize(images, size, antialias=True)
        if training and (self.remat or self.chunk_size):
            return rematerialise.call(self.backbone, images, halves=not self.remat)
        return self.backbone(images, training=training)

    def project(self, views: tuple[Any, Any], training: bool = False) -> tuple[Any, Any]:
        """Projections z, two of float (n, k), of two views (n, size, size, 3)."""
        # One forward pass over both views: BatchNorm sees them together.
        images = ops.concatenate(views, axis=0)  # (2n, size, size, 3)
        z = self.projection_head(self(images, training=training), training=training)
        first, second = ops.split(z, 2, axis=0)
        return first, second

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None,
        training: bool = True,
    ) -> Any:  # fmt: skip
        """The loss of `y_pred`, the projections of two views; float32 scalar."""
        return self._contrastive_loss(*_pair(y_pred))

    @property
    def _contrastive_loss(self):
        """The loss given to `compile`, or NT-Xent at the model's temperature."""
        given = getattr(self, "loss", None)
        return nt_xent.NTXent(self.temperature) if given is None else keras.losses.get(given)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """The logs of a step; `y_pred` holds the projections of two views."""
        return super().compute_metrics(x, *_pair(y_pred))

    def train_step(self, data: tuple[Any, Any]) -> dict[str, Any]:
        """One update by two views of the same records."""
        if self.chunk_size:
            loss, projections, gradients = gradient_cache.gradients(self, data, self.chunk_size)
        else:
            loss, projections, gradients = self._gradients(data)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables))
        return self._logs(loss, projections)

    def _gradients(self, views):
        with tf.GradientTape() as tape:
            projections = replicas.gather(self.project(views, training=True))
            loss = self.compute_loss(y_pred=projections)
            # Without this, small float16 gradients round to zero.
            scaled = self.optimizer.scale_loss(loss)
        return loss, projections, tape.gradient(scaled, self.trainable_variables)

    def test_step(self, data: tuple[Any, Any]) -> dict[str, Any]:
        """The same logs in inference mode, without an update."""
        projections = replicas.gather(self.project(data, training=False))
        return self._logs(self.compute_loss(y_pred=projections), projections, training=False)

    def _logs(self, loss, projections, training=True):
        temperature = getattr(self._contrastive_loss, "temperature", self.temperature)
        logits = nt_xent.pair_logits(*projections, temperature)
        accuracy, entropy = nt_xent.contrastive_statistics(*logits)
        # Keras divides a loss by the number of replicas, whose gradients are summed.
        self._loss_tracker.update_state(loss * self.distribute_strategy.num_replicas_in_sync)
        self.accuracy_tracker.update_state(accuracy)
        self.entropy_tracker.update_state(entropy)
        return replicas.end_step(self, self.compute_metrics(None, None, projections), training)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "projection": list(self.projection),
            "temperature": self.temperature,
            "seed": self.seed,
            "chunk_size": self.chunk_size,
            "remat": self.remat,
        }


def _pair(projections):
    """Two tensors; where Keras builds the metrics by a call with images, twice the one it has."""
    return projections if isinstance(projections, tuple) else (projections, projections)

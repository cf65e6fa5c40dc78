"""Choose the precision to compute in: what the devices are made for, or what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# Compute capability from which an NVIDIA GPU has matrix units of a type, and that type. bfloat16
# has the range of float32, so that no gradient is lost and no loss has to be scaled.
# Source: NVIDIA, CUDA C++ Programming Guide, "Compute Capabilities".
SINCE = (((8, 0), "mixed_bfloat16"), ((7, 0), "mixed_float16"))


def choose(setting: str = "auto", gpus: Sequence[Mapping[str, Any]] | None = None) -> str:
    """The name of the Keras policy for a setting `backbone.precision`.

    Args:
        setting: one of `core.setting.PRECISIONS`; whatever isn't `"auto"` is the answer.
        gpus: of each GPU its details, as from `tf.config.experimental.get_device_details`; None for
            those that TensorFlow sees.

    Returns:
        `"mixed_bfloat16"` where all GPUs have compute capability 8.0 or more, `"mixed_float16"`
        from 7.0 on, else `"float32"`: without a GPU, or where one doesn't tell what it can.

    Example:

    >>> choose("auto", [{"compute_capability": (8, 6)}]), choose("auto", [])
    ('mixed_bfloat16', 'float32')
    """
    if setting != "auto":
        return setting
    if gpus is None:
        gpus = _gpus()
    able = min((tuple(gpu.get("compute_capability") or (0, 0)) for gpu in gpus), default=(0, 0))
    return next((policy for since, policy in SINCE if able >= since), "float32")


def words(policy: str) -> str:
    """A policy in words, for the line at a run's start.

    Example:

    >>> words("mixed_float16")
    'float16 with float32 weights'
    """
    kind = policy.removeprefix("mixed_")
    return kind if kind == policy else f"{kind} with float32 weights"


def _gpus():
    import tensorflow as tf

    visible = tf.config.get_visible_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu) for gpu in visible]

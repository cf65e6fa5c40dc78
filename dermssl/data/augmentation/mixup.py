"""MixUp and CutMix: mix two records into one image and one label.

keras-cv 0.9 draws both from `tf.random`'s global state, and wants one-hot labels. Here shares and
rectangles are f(seed, epoch, record), and the partner is the next record of the pass, so a mixed
batch can be computed again like any other, on any number of workers.

Labels stay class numbers: a target is (label, share, other label, other share), which
`losses.focal` scores as the two losses, weighed. For the focal loss as for cross-entropy this is
exactly the loss of the soft label, as both are linear in it.
"""

import cv2
import numpy as np
from scipy.special import betaincinv

from dermssl.data.augmentation.draw import uniforms
from dermssl.data.augmentation.view_ops import MIX


def share(policy, seed, epoch, record):
    """How much of itself a record keeps, and CutMix's place.

    Returns:
        `(share, place)`: float in [0.5, 1]; `place` is `None` for MixUp, else (x, y) in [0, 1].
    """
    u = uniforms(seed, epoch, record, 0, 5, MIX)
    if u[0] < policy.cutmix:
        return 0.5 + 0.5 * u[1], (u[2], u[3])  # Beta(1, 1), the larger part the record's own
    if policy.mixup > 0:
        kept = float(betaincinv(policy.mixup, policy.mixup, u[4]))
        return max(kept, 1 - kept), None
    return 1.0, None


def mix(view, other, share, place):
    """Two views in one.

    Args:
        view, other: uint8 arrays `[size, size, 3]`.
        share, place: from `share`.

    Returns:
        uint8 array `[size, size, 3]`, and the share of `view` in it: CutMix cuts whole pixels.
    """
    if share == 1:
        return view, 1.0
    if place is None:
        return cv2.addWeighted(view, share, other, 1 - share, 0), share
    size = view.shape[0]
    cut = round(size * (1 - share) ** 0.5)
    left, top = round(place[0] * (size - cut)), round(place[1] * (size - cut))
    mixed = view.copy()
    mixed[top : top + cut, left : left + cut] = other[top : top + cut, left : left + cut]
    return mixed, 1 - (cut / size) ** 2


def targets(labels, weights, other_labels, other_weights, shares):
    """float32 (n, 4): label, its share, other label, its share; shares times class weights."""
    parts = [labels, shares * weights, other_labels, (1 - shares) * other_weights]
    return np.stack(parts, axis=1).astype(np.float32)

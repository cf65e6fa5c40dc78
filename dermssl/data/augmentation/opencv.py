"""Augment photos with OpenCV: one warp for all geometry, one matrix for all colour.

`draw` says what a view does, `apply` does it, `center_square` is the view without any of it;
 `view` is all of it, with the policy's extras on top. OpenCV frees the GIL, so a thread
pool runs views in parallel; call `cv2.setNumThreads(1)` there, or its own threads compete with the
pool's.
"""

import functools

import cv2
import numpy as np

from dermssl.data.augmentation import keras_cv_layers, view_ops
from dermssl.data.augmentation.draw import Params, draw
from dermssl.data.augmentation.policies import Policy

NOISE_UNIT = 32  # noise_tile's value of one sigma: int8 then reaches 4 sigma in steps of 1/32
NOISE_SHIFTS = 128  # places of a view's corner in the tile, each way: 16,384 noises
MIN_BLUR = 0.3  # px; below it the middle tap weighs over 99%


def center_square(image: np.ndarray, size: int) -> np.ndarray:
    """The evaluation view: the central square of the photo, resized; nothing random.

    Args:
        image: uint8 array (height, width, 3).
        size: side of the result, px.

    Returns:
        uint8 array `[size, size, 3]`: area averages, or bilinear where it must enlarge.
    """
    _check(image)
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[top : top + side, left : left + side]
    if side == size:
        return square.copy()
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return cv2.resize(square, (size, size), interpolation=way)


def view(
    image: np.ndarray,
    policy: Policy,
    seed: int,
    epoch: int,
    record: int,
    number: int,
    size: int,
    focus: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """One view of a photo by a policy, with its extras: a pure function of the arguments.

    Args:
        image: uint8 array (height, width, 3).
        policy: `Policy`.
        seed, epoch, record, number: ints >= 0; `number` says which view of the record.
        size: side of the result, px.
        focus: box of the lesion, or `None`; see `draw`.

    Returns:
        uint8 array `[size, size, 3]`.
    """
    if policy.layer:
        square = center_square(image, size)
        return keras_cv_layers.view(square, policy.layer, seed, epoch, record, number)
    aspect = image.shape[1] / image.shape[0]
    made = apply(image, draw(policy, seed, epoch, record, number, aspect, focus), size)
    return view_ops.apply(made, policy, seed, epoch, record, number) if policy.has_extras else made


def apply(image: np.ndarray, params: Params, size: int) -> np.ndarray:
    """One view of a photo.

    The order is a camera's: geometry, colour, blur, noise, then the old brightness rule. Each
    step rounds to uint8; a step that does nothing costs nothing. A view without geometry, or with
    flips only, is cut from `center_square`. Over the photo's edge the picture is mirrored.

    Args:
        image: uint8 array (height, width, 3).
        params: `Params`, drawn with `aspect=width / height`.
        size: side of the result, px.

    Returns:
        uint8 array `[size, size, 3]`.
    """
    _check(image)
    (a, b, x), (c, d, y) = params.affine.tolist()
    if b == c == x == y == 0 and abs(a) == abs(d) == 1:
        view = center_square(image, size)
        if a < 0 or d < 0:
            view = cv2.flip(view, 1 if d > 0 else 0 if a > 0 else -1)
    else:
        view = _warp(image, params.affine, size)
    if not np.array_equal(params.colour, _SAME_COLOUR):
        view = cv2.transform(view, params.colour)
    sigma = params.blur * size
    if sigma >= MIN_BLUR:
        taps = blur_taps(sigma)
        view = cv2.GaussianBlur(view, (taps, taps), sigma, borderType=cv2.BORDER_REFLECT_101)
    if params.noise > 0:
        top, left = noise_place(params.noise_key)
        noise = _noise_bytes(size + NOISE_SHIFTS)[top : top + size, left : left + size]
        share = params.noise / NOISE_UNIT
        view = cv2.addWeighted(view, 1, noise, share, -128 * share)
    if params.dim != 1:
        view = cv2.LUT(view, np.floor(np.arange(256) * params.dim).astype(np.uint8))
    return view


_SAME_COLOUR = np.eye(3, 4, dtype=np.float32)


def _check(image):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"an image must be uint8 [height, width, 3], not {found}")


def _warp(image, affine, size):
    height, width = image.shape[:2]
    matrix, shrink = pixel_affine(affine, height, width, size)
    if shrink > 1:
        image, left, top = _shrunk_part(image, matrix, size, shrink)
        # From the photo's pixels to those of the part, centres half a pixel in.
        matrix[:, 2] = (matrix[:, 2] + 0.5) / shrink - 0.5 - (left, top)
        matrix[:, :2] /= shrink
    # OpenCV's vectors fit four channels: the same pixels as of three in 0.18 ms for 0.27, with
    # both conversions (600 x 450 to 224 px).
    image = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(
        image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return cv2.cvtColor(view, cv2.COLOR_RGBA2RGB)


def pixel_affine(affine: np.ndarray, height: int, width: int, size: int) -> tuple[np.ndarray, int]:
    """`Params.affine` in pixels, and how far to shrink the photo before a bilinear warp.

    Bilinear reads 2 x 2 pixels, so it skips some, and aliases, where a view's pixel is wider than
    2 of the photo's. From 2.25 on the photo is averaged over `shrink` x `shrink` pixels first.

    Returns:
        float64 array `[2, 3]`, from (x, y) in the view to (x, y) in the photo, and an int >= 1.
    """
    half = min(height, width) / 2
    matrix = affine.astype(np.float64)
    matrix[:, 2] += matrix[:, :2] @ np.full(2, 1 / size - 1)
    matrix[:, 2] = half * matrix[:, 2] + ((width - 1) / 2, (height - 1) / 2)
    matrix[:, :2] *= 2 * half / size
    (a, b, _), (c, d, _) = matrix.tolist()
    shrink = int(abs(a * d - b * c) ** 0.5 / 1.5 + 0.5)
    return matrix, max(1, min(shrink, height // 2, width // 2))


def _shrunk_part(image, matrix, size, shrink):
    """The part that a view can see, averaged; its corner, in averaged pixels.

    Blocks lie on the photo's own grid, so the part equals the same part of the whole averaged
    photo; the last pixels that fill no block are dropped.
    """
    corners = matrix @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    spans = []
    for axis, cells in ((0, image.shape[1] // shrink), (1, image.shape[0] // shrink)):
        low, high = corners[axis].min() / shrink - 2, corners[axis].max() / shrink + 3
        over = max(-low, high - cells, 0)  # what is mirrored must be there to be mirrored
        low, high = min(low, cells - over - 2), max(high, over + 2)
        spans.append((int(max(low, 0)), int(min(high, cells))))
    (left, right), (top, bottom) = spans
    part = image[top * shrink : bottom * shrink, left * shrink : right * shrink]
    to = (right - left, bottom - top)
    return cv2.resize(part, to, interpolation=cv2.INTER_AREA), left, top


def blur_taps(sigma: float) -> int:
    """Odd width, px, of a Gaussian's kernel: 2.5 sigma each way hold 98.8% of it.

    Example:

    >>> blur_taps(1.0)
    7
    """
    return 2 * int(2.5 * sigma + 0.999) + 1


def noise_place(key: int) -> tuple[int, int]:
    """(top, left) in `noise_tile` of the noise with this key."""
    return key % NOISE_SHIFTS, key // NOISE_SHIFTS % NOISE_SHIFTS


@functools.lru_cache(maxsize=8)
def noise_tile(side: int) -> np.ndarray:
    """Fixed Gaussian noise, int8 `[side, side, 3]`, sigma `NOISE_UNIT`; made once a process.

    Views take windows of it: drawing 150,528 normal values afresh would cost 2 ms a view.
    """
    normal = np.random.Generator(np.random.Philox(key=side)).standard_normal((side, side, 3))
    tile = np.clip(np.rint(normal * NOISE_UNIT), -127, 127).astype(np.int8)
    tile.flags.writeable = False
    return tile


@functools.lru_cache(maxsize=8)
def _noise_bytes(side):
    """`noise_tile` with 128 added: OpenCV adds equal types five times faster."""
    return (noise_tile(side).astype(np.int16) + 128).astype(np.uint8)

"""Turn a drawn scene into a synthetic photo, with a camera's artefacts.

No function here is told the class, the lesion or the patient: an artefact can't be a
shortcut to the label, because what it depends on is the photo's own random stream alone.
"""

import cv2
import numpy as np

from dermssl.data.synthetic.brushes import SUBPIXEL, pixel, soft_step, soften

# Share of photos with each artefact, near what is seen in HAM10000's.
ARTEFACTS = {"hair": 0.35, "ruler": 0.08, "corners": 0.20, "bubbles": 0.15, "glints": 0.20}


def pick_artefacts(rng):
    """Which of `ARTEFACTS` a photo shows, as a set; drawn without knowing the class."""
    chance = rng.random(len(ARTEFACTS))
    return {name for name, draw in zip(ARTEFACTS, chance) if draw < ARTEFACTS[name]}


def photograph(rng, subject, size):
    """One photo of a scene: uint8 (size, size, 3) RGB.

    Camera position, light, colour cast, artefacts and sensor noise come from `rng` alone.

    Args:
        rng: the photo's generator; its first draws are `pick_artefacts`.
        subject: float32 (side, side, 3), from `scene`.
        size: pixels a side.
    """
    shown = pick_artefacts(rng)
    image = _frame(rng, subject, size)
    if "hair" in shown:
        image = _hairs(rng, image)
    image = _light(rng, image)
    if "ruler" in shown:
        image = _ruler(rng, image)
    if "bubbles" in shown:
        image = _bubbles(rng, image)
    if "glints" in shown:
        image = _glints(rng, image)
    if "corners" in shown:
        image = _corners(rng, image)
    grain = np.float32(rng.uniform(0.004, 0.018))
    image = image + grain * rng.standard_normal(image.shape, dtype=np.float32)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _frame(rng, subject, size):
    """Turn, zoom and shift the camera over the scene."""
    zoom, shift = rng.uniform(0.85, 1.2), rng.normal(0, 0.06, 2) * size
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(0, 360), zoom)
    centre = np.array([(subject.shape[0] - size) / 2] * 2)
    matrix[:, 2] += shift - matrix[:, :2] @ centre  # scene centre -> photo centre
    flags = cv2.INTER_CUBIC
    return cv2.warpAffine(subject, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT)


def _light(rng, image):
    """Exposure, a lighting gradient and a colour cast."""
    size = image.shape[0]
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    slope = rng.normal(0, 0.06, 2).astype(np.float32)
    field = 1 + slope[0] * ramp + slope[1] * ramp[:, None]
    field -= np.float32(rng.uniform(0, 0.1)) * (ramp**2 + ramp[:, None] ** 2)  # softer at the rim
    gains = rng.lognormal(0, 0.06, 3) * rng.uniform(0.85, 1.1)
    return image * cv2.merge([field * gain for gain in gains.astype(np.float32)])


def _hairs(rng, image):
    """Curved hairs, dark on most heads and light on some, all combed roughly one way."""
    size, count = image.shape[0], 1 + int(rng.gamma(1.3, 5))
    comb = rng.uniform(0, np.pi) + rng.normal(0, 0.45, count)
    along = np.stack([np.cos(comb), np.sin(comb)], -1) * rng.uniform(0.2, 0.9, (count, 1))
    middle = rng.uniform(-0.1, 1.1, (count, 2))
    bow = along[:, ::-1] * [-1, 1] * rng.normal(0, 0.25, (count, 1))
    t = np.linspace(-1, 1, 9)[:, None]
    paths = middle[:, None] + along[:, None] * t + bow[:, None] * (1 - t * t)
    points = (paths * size * (1 << SUBPIXEL)).astype(np.int32)
    layer = np.zeros((size, size), np.uint8)
    for path, shade in zip(points, rng.integers(60, 256, count)):
        cv2.polylines(layer, [path], False, int(shade), max(1, size // 72), cv2.LINE_AA, SUBPIXEL)
    dark = rng.random() < 0.85
    colour = np.array([0.17, 0.10, 0.07] if dark else [0.90, 0.82, 0.70])
    strength = rng.uniform(0.4, 0.9) if dark else rng.uniform(0.25, 0.5)
    cover = layer[..., None] * np.float32(strength / 255)
    return image + cover * (colour.astype(np.float32) - image)


def _ruler(rng, image):
    """Dark millimetre ticks along one side."""
    size, layer = image.shape[0], np.zeros(image.shape[:2], np.uint8)
    pitch, length = size * rng.uniform(0.06, 0.14), size * rng.uniform(0.05, 0.1)
    for number, at in enumerate(np.arange(pitch / 2, size, pitch)):
        long = length * (1.7 if number % 5 == 0 else 1)
        start, end = np.array([[at, size], [at, size - long]]) * (1 << SUBPIXEL)
        cv2.line(layer, pixel(start), pixel(end), 255, max(1, size // 64), cv2.LINE_AA, SUBPIXEL)
    cover = np.rot90(layer, int(rng.integers(4)))[..., None] * np.float32(rng.uniform(0.5, 0.85))
    return image * (1 - cover / 255)


def _bubbles(rng, image):
    """Gel bubbles: bright rims around a slightly brighter inside."""
    size, layer = image.shape[0], np.zeros(image.shape[:2], np.uint8)
    for _ in range(int(rng.integers(1, 7))):
        centre = pixel(rng.uniform(0, size, 2) * (1 << SUBPIXEL))
        radius = int(size * rng.uniform(0.035, 0.09) * (1 << SUBPIXEL))
        cv2.circle(layer, centre, radius, 25, -1, cv2.LINE_AA, SUBPIXEL)
        cv2.circle(layer, centre, radius, 110, 1, cv2.LINE_AA, SUBPIXEL)
    cover = soften(layer, 0.5)[..., None] * np.float32(rng.uniform(0.5, 1))
    return image + cover * (1 - image)


def _glints(rng, image):
    """Specular points of the lamp on wet skin."""
    size, layer = image.shape[0], np.zeros(image.shape[:2], np.uint8)
    spots = rng.integers(0, size, (int(rng.integers(2, 14)), 2))
    layer[spots[:, 0], spots[:, 1]] = rng.integers(120, 256, len(spots))
    cover = soften(layer, 0.6)[..., None]
    return image + cover * (1 - image)


def _corners(rng, image):
    """The dark ring of the dermatoscope's tube."""
    ramp = np.linspace(-1, 1, image.shape[0], dtype=np.float32)
    off = rng.normal(0, 0.06, 2).astype(np.float32)
    distance = np.sqrt((ramp - off[0]) ** 2 + (ramp[:, None] - off[1]) ** 2)
    return image * soft_step(rng.uniform(1.2, 1.42) - distance, rng.uniform(0.1, 0.4))[..., None]

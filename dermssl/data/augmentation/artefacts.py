"""Draw artefacts of skin photos: hair, rulers, ink, gel, dark corners, patches, colour casts.

Networks take such things for signs of a diagnosis (Bissoto et al., 2020): as an augmentation they
become noise, as a stress test they show how far a model leans on them. Each is a function of the
photo and of uniform numbers alone, and lengths are shares of the photo's shorter side, so the
same numbers draw the same artefact at any size. Draw on the square that a network sees
(`augment.plain`): on a whole photo, rulers and corners may lie where the crop leaves them out.
"""

import math
import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from dermssl.core.errors import UserError, unknown_name
from dermssl.data.augmentation.draw import uniforms
from dermssl.data.synthetic.brushes import SUBPIXEL, pixel, soft_step, soften

DRAWS = 256  # uniforms an artefact may use; hair, the hungriest, takes 6 + 6 a hair
MAX_HAIRS = 40


def apply(
    name: str,
    image: np.ndarray,
    seed: int,
    record: int,
    strength: float = 1.0,
    epoch: int = 0,
    view: int = 0,
) -> np.ndarray:
    """A photo with an artefact on it: a pure function of its arguments.

    Args:
        name: key of `ARTEFACTS`.
        image: uint8 array (height, width, 3) RGB; stays as it is.
        seed, record, epoch, view: ints >= 0, the key of the draw (`augment_policy.uniforms`).
        strength: opacity in [0, 1]; 0 is the photo itself.

    Returns:
        uint8 array (height, width, 3).

    Raises:
        UserError: unknown name, or a strength beyond [0, 1].
    """
    if name not in ARTEFACTS:
        raise unknown_name("artefact", name, ARTEFACTS)
    if not 0 <= strength <= 1:
        raise UserError(f"artefact strength is {strength}; give a number from 0 to 1")
    stream = zlib.crc32(name.encode())  # its own numbers, whatever else the dict holds
    drawn = ARTEFACTS[name](image, uniforms(seed, epoch, record, view, DRAWS, stream))
    return drawn if strength == 1 else cv2.addWeighted(drawn, strength, image, 1 - strength, 0)


def hair(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """Curved hairs, combed roughly one way; dark on most skin, light on some."""
    height, width, side = _shape(image)
    count = 3 + int((MAX_HAIRS - 3) * u[0] ** 2)  # few on most photos, a thicket on some
    own = np.array(u[6 : 6 + 6 * count]).reshape(count, 6)
    angle = math.pi * u[1] + 0.9 * (own[:, 0] - 0.5)
    along = np.stack([np.cos(angle), np.sin(angle)], -1) * (0.15 + 0.45 * own[:, 1:2])
    bow = along[:, ::-1] * [-1, 1] * 0.7 * (own[:, 2:3] - 0.5)
    middle = own[:, 3:5] * [width / side, height / side]
    t = np.linspace(-1, 1, 17)[:, None]
    paths = side * (middle[:, None] + along[:, None] * t + bow[:, None] * (1 - t * t))
    layer = np.zeros((height, width), np.uint8)
    dark = u[2] < 0.85
    for path, thick in zip(paths, own[:, 5]):
        # A terminal hair is 60-90 um wide, a field of view 10-20 mm: 0.3 to 0.9% of it; the tip
        # is thinner than the root.
        wide, shade = side * (0.003 + 0.005 * thick), 150 + int(105 * thick)
        for start, end, share in ((0, 9, 1.0), (8, 14, 0.8), (13, 17, 0.5)):
            _stroke(layer, path[start:end], wide * share, shade)
    cover = _softened(layer, side / 600) * (0.6 + 0.35 * u[3] if dark else 0.35 + 0.3 * u[3])
    tone = u[4]
    colour = (24 + 50 * tone, 15 + 28 * tone, 10 + 18 * tone) if dark else (222, 205, 178)
    return _over(image, cover, colour)


def ruler(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """The scale of a dermatoscope or a paper ruler: dark ticks along one side."""
    height, width, side = _shape(image)
    turns = int(4 * u[0])
    across, deep = (width, height) if turns % 2 == 0 else (height, width)
    layer = np.zeros((deep, across), np.uint8)
    pitch, length = side * (0.03 + 0.04 * u[1]), side * (0.025 + 0.025 * u[2])
    base = deep - side * (0.01 + 0.08 * u[3])
    for number, at in enumerate(np.arange(pitch * u[4], across, pitch)):
        long = length * (1.9 if number % 10 == 0 else 1.45 if number % 5 == 0 else 1)
        _stroke(layer, np.array([[at, base], [at, base - long]]), side * 0.006)
    if u[5] < 0.4:
        _stroke(layer, np.array([[0, base], [across, base]]), side * 0.005)
    layer = np.ascontiguousarray(np.rot90(layer, turns))
    return _over(image, _softened(layer, side / 400) * (0.55 + 0.35 * u[6]), (25, 22, 24))


def ink(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """Strokes of a surgical marker; ink absorbs light, so the skin shows through."""
    height, width, side = _shape(image)
    layer = np.zeros((height, width), np.uint8)
    thick = side * (0.012 + 0.014 * u[0])
    t = np.linspace(0, 1, 25)
    shake = _waves(u[20:28], t) * side * 0.012
    middle = np.array([width, height]) / 2 + side * 0.1 * (np.array(u[1:3]) - 0.5)
    if u[3] < 0.5:  # round the lesion, part of the way
        angle = 2 * math.pi * (u[4] + (0.3 + 0.6 * u[5]) * t)
        radius = (side * (0.36 + 0.1 * u[6]) + shake)[:, None]
        _stroke(layer, middle + radius * np.stack([np.cos(angle), np.sin(angle)], -1), thick)
    else:  # short dashes towards it from two to four sides
        count = 2 + int(3 * u[4])
        for number in range(count):
            turn = 2 * math.pi * (u[5] + number / count) + 0.5 * (u[7 + number] - 0.5)
            way = np.array([math.cos(turn), math.sin(turn)])
            reach = side * (0.36 + 0.14 * u[11 + number] + 0.16 * t)[:, None]
            off = 0.25 * shake[:, None] * way[::-1] * [-1, 1]
            _stroke(layer, middle + reach * way + off, thick)
    uneven = cv2.resize(np.array(u[32:96], np.float32).reshape(8, 8), (width, height))
    cover = _softened(layer, side / 250) * (0.55 + 0.45 * uneven) * (0.7 + 0.3 * u[15])
    # Share of red, green, blue that gentian violet, blue and black ink let through.
    passes = ((0.42, 0.22, 0.62), (0.25, 0.35, 0.68), (0.22, 0.20, 0.24))[int(3 * u[16])]
    return _rounded(image * (1 - cover[..., None] * (1 - np.array(passes, np.float32))))


def gel_bubbles(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """Air in the contact gel: a bright rim, a dark one inside it, a glint of the lamp."""
    height, width, side = _shape(image)
    bright, dim = (np.zeros((height, width), np.uint8) for _ in range(2))
    centre = np.array(u[1:3]) * [width, height]
    lamp = 2 * math.pi * u[3]
    glint = np.array([math.cos(lamp), math.sin(lamp)])
    count = 4 + int(26 * u[0])
    own = np.array(u[8 : 8 + 5 * count]).reshape(count, 5)
    for far, turn, size, loose, lit in own:
        radius = side * (0.006 + 0.045 * size**3)  # many small ones, few large
        if loose < 0.4:
            place = np.array([far, turn]) * [width, height]
        else:  # a swarm
            turn = 2 * math.pi * turn
            place = centre + 0.3 * side * far * np.array([math.cos(turn), math.sin(turn)])
        edge = max(1, round(0.15 * radius))
        _circle(dim, place, 0.8 * radius, 150, edge)
        _circle(bright, place, radius, 26, -1)
        _circle(bright, place, radius, 50 + int(80 * lit), edge)
        _circle(bright, place + 0.5 * radius * glint, 0.17 * radius, 235, -1)
    shadow = _softened(dim, side / 350) * 0.3
    light = _softened(bright, side / 400) * (0.6 + 0.4 * u[4])
    return _over(_rounded(image * (1 - shadow[..., None])), light, (252, 250, 246))


def dark_corners(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """The tube of the dermatoscope: black outside a circle."""
    height, width, _ = _shape(image)
    x = np.arange(width, dtype=np.float32) + 0.5 - width * (0.5 + 0.05 * (u[0] - 0.5))
    y = np.arange(height, dtype=np.float32) + 0.5 - height * (0.5 + 0.05 * (u[1] - 0.5))
    diagonal = math.hypot(width, height) / 2
    distance = np.sqrt(x**2 + y[:, None] ** 2) / np.float32(diagonal)
    edge = 0.015 + 0.14 * u[3] ** 2  # sharp where the tube is in focus
    cover = soft_step(distance - np.float32(0.80 + 0.14 * u[2]), edge)
    return _over(image, cover * np.float32(0.97), (8, 6, 6))


def patch(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """A coloured sticker at the rim, as beside moles of children in ISIC."""
    height, width, side = _shape(image)
    radius = side * (0.14 + 0.14 * u[0])
    turn = 2 * math.pi * u[1]
    # Its centre lies near the photo's border, so that it hides little of a central lesion.
    rim = 1 / max(abs(math.cos(turn)) / width, abs(math.sin(turn)) / height) / 2
    reach = rim - radius * (0.6 * u[2] - 0.1)
    place = np.array([width, height]) / 2 + reach * np.array([math.cos(turn), math.sin(turn)])
    layer, shadow = (np.zeros((height, width), np.uint8) for _ in range(2))
    _circle(shadow, place + 0.012 * side * (np.array(u[4:6]) * 2 - 1), 1.02 * radius, 255, -1)
    _circle(layer, place, radius, 255, -1)
    colours = ((226, 196, 60), (86, 150, 92), (70, 116, 176), (222, 128, 60), (196, 66, 70))
    colour = np.array(colours[int(len(colours) * u[3])], np.float32) * (0.85 + 0.25 * u[6])
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    lit = 1 + 0.12 * ((u[7] - 0.5) * x + (u[8] - 0.5) * y)
    cloth = np.array(u[9 : 9 + 225], np.float32).reshape(15, 15) - 0.5
    cloth = np.tile(cloth, (height // 15 + 1, width // 15 + 1))[:height, :width]
    face = colour * (lit + 0.05 * cloth)[..., None]
    shaded = image * (1 - 0.35 * _softened(shadow, side / 60)[..., None])
    cover = _softened(layer, side / 350)[..., None]
    return _rounded(shaded + cover * (face - shaded))


def colour_cast(image: np.ndarray, u: Sequence[float]) -> np.ndarray:
    """A camera set for another light: gains along warm and cool, and along green and magenta."""
    warm = 0.06 + 0.12 * u[1]  # never none: that would test nothing
    warm = warm if u[0] < 0.5 else -warm
    tint = 0.1 * (u[2] - 0.5)
    gains = np.array([1 + warm, 1 + tint, 1 - warm])
    gains /= gains @ (0.299, 0.587, 0.114)  # as bright as before, on grey
    value = np.arange(256)[:, None]
    gains = 1 + (gains - 1) * (1 - (value / 255) ** 4)  # what has burnt out stays white
    table = np.rint(np.clip(value * gains, 0, 255)).astype(np.uint8)
    return cv2.LUT(image, np.ascontiguousarray(table[:, None]))


ARTEFACTS = {
    "hair": hair,
    "ruler": ruler,
    "ink": ink,
    "gel_bubbles": gel_bubbles,
    "dark_corners": dark_corners,
    "patch": patch,
    "colour_cast": colour_cast,
}


def _shape(image):
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}"
        raise ValueError(f"an image must be uint8 [height, width, 3], not {found}")
    return *image.shape[:2], min(image.shape[:2])


def _stroke(layer, path, thickness, shade=255):
    """A line through points (x, y), px; one thinner than a pixel is fainter instead."""
    points = np.rint(path * (1 << SUBPIXEL)).astype(np.int32)
    shade = int(shade * min(1.0, thickness))
    width = max(1, round(thickness))
    cv2.polylines(layer, [points], False, shade, width, cv2.LINE_AA, SUBPIXEL)


def _circle(layer, place, radius, shade, thickness):
    centre, radius = pixel(place * (1 << SUBPIXEL)), max(1, int(radius * (1 << SUBPIXEL)))
    cv2.circle(layer, centre, radius, shade, thickness, cv2.LINE_AA, SUBPIXEL)


def _softened(layer, sigma):
    return soften(layer, sigma) if sigma > 0.3 else layer * np.float32(1 / 255)


def _waves(u, t):
    """A smooth curve within about [-1, 1] over t in [0, 1]."""
    parts = zip(u[::2], u[1::2], (1, 2, 3, 5))
    return sum((size - 0.5) * np.sin(2 * np.pi * (k * t + phase)) for size, phase, k in parts)


def _over(image, cover, colour):
    """A colour over the photo, with opacity `cover`, float `[height, width]` in [0, 1]."""
    return _rounded(image + np.float32(cover)[..., None] * (np.float32(colour) - image))


def _rounded(values):
    return (np.clip(values, 0, 255) + 0.5).astype(np.uint8)

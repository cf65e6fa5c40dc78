"""Drawing primitives of the synthetic photos: canvas, noise, dots, vessels, networks.

Nothing here knows a class. Colours and painters are in `synthetic_lesions`, camera and
artefacts in `synthetic_photo`.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SUBPIXEL = 4  # fractional bits of cv2's drawing coordinates


@dataclass
class Canvas:
    """One lesion while it is painted; all maps are float32 (side, side).

    Attributes:
        rng: the lesion's generator.
        side: pixels a side of the scene.
        unit: pixels in one lesion radius.
        axes: float32 (2, 2), lesion units -> pixels (elongation and rotation).
        x, y: pixel positions in lesion units; the border is near radius 1.
        melanin, blood, veil, white: the maps; veil and white are opacities in [0, 1].
        keratin: how yellow the white is, in [0, 1].
    """

    rng: np.random.Generator
    side: int
    unit: float
    axes: np.ndarray
    x: np.ndarray
    y: np.ndarray
    melanin: np.ndarray
    blood: np.ndarray
    veil: np.ndarray
    white: np.ndarray
    keratin: float = 0.0


def blank(rng, side, radius, elongation=1.0):
    """An empty `Canvas` of `side` pixels for a lesion of `radius` pixels."""
    angle, stretch = rng.uniform(0, np.pi), np.sqrt(elongation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    axes = (turn @ np.diag([radius * stretch, radius / stretch])).astype(np.float32)
    grid = np.arange(side, dtype=np.float32) - (side - 1) / 2
    (a, b), (c, d) = np.linalg.inv(axes)
    x, y = a * grid + b * grid[:, None], c * grid + d * grid[:, None]
    maps = np.zeros((4, side, side), np.float32)
    return Canvas(rng, side, radius, axes, x, y, *maps)


def soft_step(value, width):
    """0 below -width/2, 1 above width/2, smooth between; float32 like `value`."""
    t = value * np.float32(1 / width) + np.float32(0.5)
    t = np.minimum(np.maximum(t, 0), 1)
    return t * t * (3 - 2 * t)


def noise(canvas, detail):
    """Smooth noise of about unit spread with `detail` blobs across the lesion."""
    cells = int(np.clip(detail * canvas.side / (2 * canvas.unit), 2, canvas.side)) + 1
    lattice = canvas.rng.standard_normal((cells, cells), dtype=np.float32)
    lattice *= np.float32(1.35)  # interpolation shrinks the spread
    return cv2.resize(lattice, (canvas.side, canvas.side), interpolation=cv2.INTER_CUBIC)


def dots(canvas, count, size, spread=0.9, ring=0.0):
    """Filled discs inside the lesion, as a map in [0, 1].

    Args:
        count: how many.
        size: (low, high) radius in lesion units.
        spread: distance from the centre of the farthest, in lesion units.
        ring: distance of the nearest.
    """
    rng, layer = canvas.rng, np.zeros((canvas.side, canvas.side), np.uint8)
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = np.sqrt(rng.uniform(ring**2, spread**2, count))
    points = np.stack([np.cos(angle), np.sin(angle)]) * distance
    points = (canvas.axes @ points).T + (canvas.side - 1) / 2
    radii = np.maximum(rng.uniform(*size, count) * canvas.unit, 0.5)
    scale = 1 << SUBPIXEL
    for point, radius, shade in zip(points * scale, radii * scale, rng.integers(130, 256, count)):
        centre = (int(point[0]), int(point[1]))
        cv2.circle(layer, centre, int(radius), int(shade), -1, cv2.LINE_AA, SUBPIXEL)
    return soften(layer, max(0.6, 0.3 * size[0] * canvas.unit))


def soften(layer, sigma):
    """A uint8 layer out of focus by `sigma` pixels, as float32 in [0, 1]."""
    return cv2.GaussianBlur(layer, (0, 0), sigma) * np.float32(1 / 255)


def vessels(canvas, trunks, bend=0.35, branches=3):
    """Arborizing vessels: curved trunks from the border with thinner branches; in [0, 1]."""
    rng, layer = canvas.rng, np.zeros((canvas.side, canvas.side), np.uint8)
    around = rng.uniform(0, 2 * np.pi, trunks)
    roots = np.stack([np.cos(around), np.sin(around)], -1) * 0.9
    heading = around + np.pi + rng.normal(0, 0.5, trunks)
    paths = _walks(rng, roots, heading, bend, steps=11, stride=0.12)
    _lines(canvas, layer, paths, shade=255, thickness=2 if canvas.unit > 40 else 1)
    start = rng.integers(2, 10, (branches, trunks))
    roots = paths[np.arange(trunks), start].reshape(-1, 2)
    heading = np.tile(heading, branches) + rng.choice([-0.9, 0.9], branches * trunks)
    _lines(canvas, layer, _walks(rng, roots, heading, bend, steps=6, stride=0.1), shade=150)
    return soften(layer, 0.5)


def _walks(rng, roots, heading, bend, steps, stride):
    """Curved paths from `roots`, float64 (paths, steps, 2) in lesion units."""
    turns = heading[:, None] + np.cumsum(rng.normal(0, bend, (len(roots), steps)), axis=1)
    moves = np.stack([np.cos(turns), np.sin(turns)], -1) * stride
    return roots[:, None] + np.cumsum(moves, axis=1)


def _lines(canvas, layer, paths, shade, thickness=1):
    points = (paths @ canvas.axes.T + (canvas.side - 1) / 2) * (1 << SUBPIXEL)
    cv2.polylines(
        layer, list(points.astype(np.int32)), False, shade, thickness, cv2.LINE_AA, SUBPIXEL
    )


def ripples(canvas, period, warp=0.5):
    """Wavy parallel lines (fingerprint) in [0, 1]; `period` in lesion units, 3 px at least."""
    step = np.float32(np.pi / max(period, 3.0 / canvas.unit))
    angle = canvas.rng.uniform(0, np.pi)
    along = np.float32(np.cos(angle)) * canvas.x + np.float32(np.sin(angle)) * canvas.y
    return np.sin(step * along + np.float32(warp * 2) * noise(canvas, 3)) ** 2


def network(canvas, period):
    """Pigment network: 1 on its lines, 0 in its holes; `period` in lesion units."""
    step = np.float32(np.pi / max(period, 3.2 / canvas.unit))
    u = step * canvas.x + noise(canvas, 4)
    v = step * canvas.y + noise(canvas, 4)
    return 1 - (np.sin(u) * np.sin(v)) ** 2


def grain(canvas):
    """Uneven pigment from lobes down to single cells' nests; unit spread."""
    return 0.55 * noise(canvas, 5) + 0.6 * noise(canvas, 11) + 0.6 * noise(canvas, 24)


def mist(canvas):
    """Large clouds with a ragged rim; unit spread."""
    return 0.85 * noise(canvas, 2) + 0.35 * noise(canvas, 7) + 0.25 * noise(canvas, 16)


def outline(canvas, wobble, ragged, edge):
    """The lesion's body: how deep a pixel lies inside, and its opacity.

    Args:
        wobble: amplitude of the large lobes of the border, in lesion units.
        ragged: amplitude of its small notches.
        edge: width over which it fades into the skin, in lesion units.

    Returns:
        depth: lesion units inside the border, below 0 outside.
        body: opacity in [0, 1].
    """
    depth = 1 - np.sqrt(canvas.x**2 + canvas.y**2) + np.float32(wobble) * noise(canvas, 2.5)
    depth += np.float32(wobble / 4 + ragged) * noise(canvas, 6)
    depth += np.float32(wobble / 10 + ragged / 2) * noise(canvas, 14)
    return depth, soft_step(depth, max(edge, 1.5 / canvas.unit))


def pixel(point):
    """A point as the tuple of ints that cv2 wants."""
    return int(point[0]), int(point[1])

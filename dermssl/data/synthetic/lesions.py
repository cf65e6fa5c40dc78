"""Draw the seven synthetic lesion classes and the skin around them.

A lesion is painted as four maps, as a dermatologist reads it: melanin, blood, a blue-grey
veil (melanin seen through deep dermis) and white (scar, keratin). Colour then follows from
how each absorbs light, so one painter serves every skin tone. The painters differ by
structure; their colours overlap on purpose. Everything after the scene (camera, light,
artefacts) is `synthetic_photo`'s, which never learns the class.
"""

import cv2
import numpy as np

from dermssl.data.synthetic.brushes import (
    blank,
    dots,
    grain,
    mist,
    network,
    noise,
    outline,
    ripples,
    soft_step,
    vessels,
)

MARGIN = 1.3  # a scene is this much wider than a photo: room to rotate and shift the camera

# Optical density (R, G, B) of one unit of pigment, read off skin-to-lesion ratios in
# dermoscopy: melanin absorbs blue most; blood absorbs green most, from scarlet to magenta.
MELANIN = np.array([0.42, 0.80, 1.08], np.float32)
SCARLET = np.array([0.16, 1.00, 0.86], np.float32)
MAGENTA = np.array([0.22, 1.15, 0.52], np.float32)
DERMIS = np.array([1.0, 0.91, 0.87], np.float32)  # what is left without any pigment
VEIL = np.array([0.36, 0.39, 0.50], np.float32)  # blue-grey
TONES = {"I": 0.05, "II": 0.14, "III": 0.28, "IV": 0.55, "V": 0.95, "VI": 1.45}  # melanin


def paint_nevus(canvas):
    """Round or oval, even, smooth border; network, globules or plain; sometimes a pink dome."""
    rng = canvas.rng
    depth, body = outline(
        canvas, rng.uniform(0.03, 0.14), rng.uniform(0, 0.04), rng.uniform(0.25, 0.9)
    )
    tint = rng.gamma(5, 0.17)
    profile = 1 + np.float32(rng.normal(0.15, 0.3)) * (depth - 0.5)  # darker centre, or rim
    texture = np.float32(rng.uniform(0.06, 0.2)) * grain(canvas)
    pattern = rng.choice(["network", "globules", "plain"], p=[0.45, 0.25, 0.3])
    if pattern == "network":
        texture += np.float32(rng.uniform(0.25, 0.6)) * (network(canvas, 0.2) - 0.75)
    elif pattern == "globules":
        texture += 0.6 * dots(canvas, int(rng.integers(12, 40)), (0.05, 0.09)) - 0.1
    canvas.melanin += np.float32(tint) * body * np.clip(profile + texture, 0.1, None)
    canvas.blood += np.float32(rng.uniform(0.0, 0.45)) * body
    if rng.random() < 0.1:  # dysplastic: one darker, off-centre area, as early melanoma has
        canvas.melanin += np.float32(0.8) * body * soft_step(noise(canvas, 2) - 0.6, 0.6)


def paint_melanoma(canvas):
    """Asymmetrical, irregular border, several colours, streaks; one in six nearly pink."""
    rng = canvas.rng
    depth, body = outline(
        canvas, rng.uniform(0.15, 0.36), rng.uniform(0.03, 0.12), rng.uniform(0.15, 0.7)
    )
    pale = rng.random() < 0.16
    tint = rng.uniform(0.2, 0.6) if pale else rng.gamma(8, 0.14)
    patches = 0.6 + np.float32(rng.uniform(0.5, 1.5)) * soft_step(noise(canvas, 2.5), 1.4)
    patches += np.float32(rng.uniform(0.2, 0.4)) * grain(canvas)
    if rng.random() < 0.5:  # an atypical network: broad meshes in one part only
        part = soft_step(noise(canvas, 2), 0.6)
        patches += np.float32(0.9) * part * (network(canvas, rng.uniform(0.24, 0.36)) - 0.7)
    if rng.random() < 0.45:
        streaks = _streaks(canvas, depth)
        patches += 1.2 * streaks
        body = np.maximum(body, 0.8 * streaks)
    canvas.melanin += np.float32(tint) * body * np.clip(patches, 0.05, None)
    canvas.blood += body * (0.2 + np.float32(rng.uniform(0, 0.7)) * soft_step(noise(canvas, 2), 1))
    if rng.random() < 0.65:
        cover = soft_step(mist(canvas) - rng.uniform(0.1, 0.9), 1.6)
        canvas.veil += np.float32(rng.uniform(0.35, 0.8)) * body * cover
    if rng.random() < 0.4:  # regression
        cover = soft_step(mist(canvas) - rng.uniform(0.3, 1.0), 1.4)
        canvas.white += np.float32(rng.uniform(0.25, 0.6)) * body * cover
        canvas.melanin *= 1 - np.float32(0.6) * cover
    if rng.random() < 0.4:
        canvas.melanin += 1.5 * dots(canvas, int(rng.integers(4, 18)), (0.03, 0.09), 1.0, 0.4)


def _streaks(canvas, depth):
    """Radial lines at one side of the border."""
    angle = np.arctan2(canvas.y, canvas.x)
    side = np.cos(angle - np.float32(canvas.rng.uniform(0, 2 * np.pi)))
    rays = np.sin(angle * int(canvas.rng.integers(9, 15)) + noise(canvas, 2)) ** 2
    return rays * soft_step(side - 0.3, 0.8) * soft_step(0.4 - np.abs(depth), 0.2)


def paint_basal_cell(canvas):
    """Translucent pink with arborizing vessels, blue-grey nests, sometimes an ulcer."""
    rng = canvas.rng
    _, body = outline(canvas, rng.uniform(0.08, 0.3), rng.uniform(0, 0.1), rng.uniform(0.3, 0.9))
    canvas.blood += np.float32(rng.uniform(0.05, 0.35)) * body * (1 + 0.35 * grain(canvas))
    canvas.melanin += np.float32(rng.gamma(1.2, 0.2)) * body * soft_step(grain(canvas), 2)
    canvas.white += np.float32(rng.uniform(0, 0.4)) * body * soft_step(mist(canvas), 2)
    if rng.random() < 0.85:
        lines = vessels(canvas, int(rng.integers(3, 8)))
        canvas.blood += np.float32(rng.uniform(0.6, 1.2)) * lines
    if rng.random() < 0.7:
        nests = _clumps(canvas, int(rng.integers(2, 10)), (0.07, 0.2), 0.9)
        canvas.veil += np.float32(rng.uniform(0.3, 0.75)) * nests
        canvas.melanin += np.float32(rng.uniform(0.1, 0.7)) * nests
    if rng.random() < 0.3:  # ulcer: one raw spot with a crust
        raw = _clumps(canvas, 1, (0.15, 0.35), 0.5)
        canvas.blood += 0.9 * raw
        canvas.melanin += np.float32(rng.uniform(0.2, 0.9)) * raw * soft_step(noise(canvas, 6), 1)


def _clumps(canvas, count, size, spread):
    """Discs with worn edges and an uneven inside, in [0, 1]."""
    discs = dots(canvas, count, size, spread)
    return soft_step(discs * (1 + 0.3 * grain(canvas)) - 0.45, 0.8)


def paint_actinic(canvas):
    """Rough red 'strawberry' surface: pale follicles in a red net, yellow-white scale."""
    rng = canvas.rng
    _, body = outline(canvas, rng.uniform(0.15, 0.4), rng.uniform(0.05, 0.2), rng.uniform(0.4, 1))
    rough = 1 + np.float32(rng.uniform(0.25, 0.6)) * grain(canvas)
    canvas.blood += np.float32(rng.uniform(0.35, 0.85)) * body * np.clip(rough, 0, None)
    canvas.keratin = rng.uniform(0.1, 0.8)
    if rng.random() < 0.8:
        follicles = dots(canvas, int(rng.integers(12, 36)), (0.05, 0.1), 0.95)
        canvas.white += np.float32(rng.uniform(0.35, 0.75)) * follicles
    if rng.random() < 0.8:
        flakes = soft_step(0.6 * mist(canvas) + noise(canvas, 15) - rng.uniform(0.4, 1.1), 1)
        canvas.white += np.float32(rng.uniform(0.3, 0.8)) * body * flakes
    if rng.random() < 0.4:  # pigmented, close to a flat seborrhoeic keratosis
        grains = soft_step(grain(canvas) - 0.1, 1.2)
        canvas.melanin += np.float32(rng.uniform(0.3, 1.3)) * body * grains


def paint_keratosis(canvas):
    """'Stuck-on': sharp border; milia-like cysts, comedo-like openings, fissures, ridges."""
    rng = canvas.rng
    edge = rng.uniform(0.06, 0.25)
    depth, body = outline(canvas, rng.uniform(0.04, 0.22), rng.uniform(0.01, 0.1), edge)
    tint = rng.gamma(5, 0.16)
    surface = 1 + np.float32(rng.uniform(0.15, 0.4)) * grain(canvas)
    pattern = rng.choice(["ridges", "fissures", "none"], p=[0.35, 0.3, 0.35])
    if pattern == "ridges":
        surface += np.float32(rng.uniform(0.3, 0.8)) * (ripples(canvas, 0.22) - 0.5)
    elif pattern == "fissures":
        surface += np.float32(rng.uniform(0.7, 1.4)) * soft_step(
            0.16 - np.abs(noise(canvas, 5)), 0.25
        )
    canvas.melanin += np.float32(tint) * body * np.clip(surface, 0.1, None)
    canvas.melanin += np.float32(0.3 * tint) * soft_step(0.12 - np.abs(depth - 0.08), 0.12)  # rim
    canvas.blood += np.float32(rng.uniform(0, 0.35)) * body
    canvas.keratin = rng.uniform(0.2, 0.9)
    canvas.white += np.float32(rng.uniform(0, 0.25)) * body  # waxy, opaque
    if rng.random() < 0.85:
        cysts = dots(canvas, int(rng.integers(4, 18)), (0.05, 0.09), 0.85)
        canvas.white += np.float32(rng.uniform(0.5, 0.95)) * cysts
    if rng.random() < 0.8:
        openings = dots(canvas, int(rng.integers(4, 18)), (0.05, 0.11), 0.85)
        canvas.melanin += np.float32(rng.uniform(0.9, 2.0)) * openings


def paint_fibroma(canvas):
    """A central white scar-like patch inside a faint ring of delicate network."""
    rng = canvas.rng
    depth, body = outline(canvas, rng.uniform(0.04, 0.18), rng.uniform(0, 0.05), 0.9)
    scar = soft_step(depth - rng.uniform(0.4, 0.75) + 0.12 * grain(canvas), 0.6)
    ring = body * (1 - 0.7 * scar)
    fine = 0.5 + 0.6 * network(canvas, 0.17) + 0.15 * grain(canvas)
    canvas.melanin += np.float32(rng.gamma(5, 0.12)) * ring * fine
    canvas.blood += np.float32(rng.uniform(0.05, 0.45)) * ring
    canvas.white += np.float32(rng.uniform(0.3, 0.7)) * scar * (0.8 + 0.3 * grain(canvas))
    if rng.random() < 0.35:  # dotted vessels in the scar
        canvas.blood += 0.7 * dots(canvas, int(rng.integers(3, 10)), (0.03, 0.06), 0.5)


def paint_vascular(canvas):
    """Red, purple or blue-black lacunae, sharply cut, with paler septa between them."""
    rng = canvas.rng
    _, body = outline(canvas, rng.uniform(0.05, 0.2), rng.uniform(0.02, 0.1), rng.uniform(0.1, 0.3))
    lacunae = _clumps(canvas, int(rng.integers(6, 20)), (0.14, 0.32), 0.75)
    canvas.blood += np.float32(rng.uniform(0.3, 1.1)) * body
    canvas.blood += np.float32(rng.uniform(0.5, 1.4)) * lacunae * (1 + 0.15 * grain(canvas))
    canvas.white += np.float32(rng.uniform(0, 0.5)) * body * (1 - lacunae)
    if rng.random() < 0.35:  # thrombosed: near black
        clot = lacunae * soft_step(noise(canvas, 2), 0.8)
        canvas.melanin += np.float32(rng.uniform(0.5, 2.0)) * clot
        canvas.veil += np.float32(rng.uniform(0.2, 0.6)) * clot


# Painter, median radius as a share of half the photo.
PAINTERS = {
    "mel": (paint_melanoma, 0.58),
    "nv": (paint_nevus, 0.48),
    "bcc": (paint_basal_cell, 0.48),
    "akiec": (paint_actinic, 0.60),
    "bkl": (paint_keratosis, 0.54),
    "df": (paint_fibroma, 0.50),
    "vasc": (paint_vascular, 0.42),
}


def scene(rng, label, tone, size):
    """A lesion in its skin, evenly lit: float32 (side, side, 3) RGB in [0, 1].

    Args:
        rng: the lesion's generator.
        label: a key of `PAINTERS`.
        tone: Fitzpatrick type, a key of `TONES`.
        size: pixels a side of the photos to be taken; the scene is `MARGIN` times wider.
    """
    paint, median = PAINTERS[label]
    side = round(size * MARGIN)
    radius = size / 2 * np.clip(median * rng.lognormal(0, 0.28), 0.2, 1.0)
    canvas = blank(rng, side, radius, elongation=1 + rng.gamma(1.5, 0.15))
    hue = SCARLET + np.float32(rng.random()) * (MAGENTA - SCARLET)
    paint(canvas)
    white = np.clip(canvas.white, 0, 0.92)
    veil = np.clip(canvas.veil, 0, 0.9)
    _add_skin(rng, canvas, size, tone)
    shade = np.exp(-TONES[tone] / 2 * MELANIN)  # scars, scale and veil are darker on dark skin
    yellow = np.array([0, 0.06, 0.25], np.float32) * np.float32(canvas.keratin)
    paper = DERMIS * shade * (1 - yellow)
    planes = []
    for channel in range(3):
        density = canvas.melanin * MELANIN[channel] + canvas.blood * hue[channel]
        plane = DERMIS[channel] * np.exp(-np.maximum(density, 0))
        plane += veil * (VEIL[channel] * shade[channel] - plane)
        planes.append(plane + white * (paper[channel] - plane))
    image = cv2.merge(planes)
    return _wrinkle(canvas, image)


def _wrinkle(canvas, image):
    """Shift each pixel a little, so nothing keeps the shape of the tool it was drawn with."""
    pull = np.float32(0.014 * canvas.unit)
    grid = np.arange(canvas.side, dtype=np.float32)
    at = [grid + pull * noise(canvas, 6), grid[:, None] + pull * noise(canvas, 6)]
    return cv2.remap(image, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _add_skin(rng, canvas, size, tone):
    """Skin under and around the lesion: tone, flush, mottling, lines, freckles, fine vessels."""
    skin = blank(rng, canvas.side, size / 2)  # its own frame: as wide as the photo
    base = TONES[tone] * rng.lognormal(0, 0.15)
    mottle = rng.gamma(2, 0.012)
    canvas.melanin += np.float32(base) + np.float32(mottle) * noise(skin, 5)
    canvas.melanin += np.float32(rng.uniform(0.01, 0.06)) * noise(skin, 26)
    canvas.blood += np.float32(rng.uniform(0.03, 0.3))
    canvas.blood += np.float32(rng.gamma(2, 0.015)) * grain(skin)
    canvas.melanin += np.float32(rng.uniform(0, 0.05)) * ripples(skin, 0.09, 3) * noise(skin, 9)
    if rng.random() < 0.25:
        freckles = dots(skin, int(rng.integers(3, 25)), (0.02, 0.1), 1.4)
        blur = cv2.GaussianBlur(freckles, (0, 0), 0.03 * skin.unit)
        canvas.melanin += np.float32(rng.uniform(0.15, 0.6)) * blur
    if rng.random() < 0.05:  # sun-damaged skin has vessels of its own, whatever the lesion
        canvas.blood += np.float32(rng.uniform(0.2, 0.7)) * vessels(skin, int(rng.integers(2, 6)))

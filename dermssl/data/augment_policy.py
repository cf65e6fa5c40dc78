"""Which augmentation: policies by name, and the random numbers of one view.

What happens to a view is drawn here, apart from the work on its pixels, so that two engines can
share it (`augment` with OpenCV, `augment_tf` with TensorFlow). A draw is a pure function of
(seed, epoch, record, view): no state, no order, no process enters it.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from dermssl.errors import UserError, unknown_name

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights of OpenCV's and Pillow's grey
SKIN_GREY = 150.0  # contrast turns about it; the mean of ISIC 2016 is 167, most of it light skin
FOCUS_RADIUS = 0.35  # of half the shorter side; most ISIC lesions are centred and larger than this
FOCUS_MARGIN = 0.8  # the focus point lies within this share of a crop, not on its very edge
SLOTS = 24  # uniforms a view: 21 in use, and room, as a later op must not shift the earlier ones


@dataclass(frozen=True)
class Policy:
    """Ranges and probabilities of one augmentation; the defaults do nothing.

    Attributes:
        crop: `(low, high)`, share of the central square's area that a view shows, uniform.
        shift: 0 to 1, how far crops wander from the photo's centre; at 1 as `draw` says.
        rotate: degrees, uniform in +-`rotate`.
        shear: degrees, uniform in +-`shear`.
        flip_h, flip_v: probability of a mirror image, left-right and up-down.
        jitter: probability of the next four together.
        brightness, contrast, saturation: factors, uniform in 1 +- the value. Contrast is about
            `SKIN_GREY`: an image's own mean would tie the draw to its pixels, and 128, the middle
            of the range, overexposes light skin.
        hue: degrees about the grey axis, uniform in +-`hue`.
        grayscale: probability of a grey view.
        blur: probability; `blur_sigma`: `(low, high)`, shares of the output's side.
        noise: probability; `noise_sigma`: grey levels, uniform from 0 to the value.
        dim: `(low, high)`, the old Keras `brightness_range`: floor(x * u), u uniform.
    """

    crop: tuple[float, float] = (1.0, 1.0)
    shift: float = 0.0
    rotate: float = 0.0
    shear: float = 0.0
    flip_h: float = 0.0
    flip_v: float = 0.0
    jitter: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    noise_sigma: float = 0.0
    dim: tuple[float, float] = (1.0, 1.0)

    def __post_init__(self):
        tops = {"rotate": 180, "shear": 30, "hue": 180, "blur_sigma": 0.1, "noise_sigma": 64}
        for field in fields(self):
            value, top = getattr(self, field.name), tops.get(field.name, 1)
            pair = value if isinstance(value, tuple) else (0, value)
            least = 0.01 if field.name == "crop" else 0
            if not least <= pair[0] <= pair[1] <= top:
                raise UserError(f"Policy.{field.name} is {value}; give {least} to {top}, in order")


AUGMENTATIONS = {
    "none": Policy(),
    # The four strategies of the seed experiments, to the letter: flips with p = .5 each, and
    # Keras' old brightness_range=[0.5, 0.7], which only darkens.
    "flip_hv": Policy(flip_h=0.5, flip_v=0.5),
    "brightness": Policy(dim=(0.5, 0.7)),
    "flip_brightness": Policy(flip_h=0.5, flip_v=0.5, dim=(0.5, 0.7)),
    # Supervised training: what differs between two photos of one lesion, and no more.
    "skin": Policy(
        crop=(0.7, 1.0),  # distance to the skin; the lesion stays in view but for its rim
        shift=0.5,  # lesions lie near the centre; more would cut them
        rotate=180,  # a dermatoscope has no "up"
        flip_h=0.5,  # nor has skin a left
        flip_v=0.5,
        brightness=0.15,  # exposure differs by about a quarter of a stop
        contrast=0.15,
        saturation=0.15,
        hue=3,  # white balance; brown and red lie 15 to 30 degrees apart
    ),
    # Two views for contrastive learning: as SimCLR (Chen 2020), milder where colour diagnoses.
    "simclr": Policy(
        crop=(0.25, 1.0),  # paper .08; at .25 a 450 px photo still fills 224 px without enlarging
        shift=1.0,
        rotate=180,
        shear=8,  # a phone held at a slant: cos 8 = .99, so shapes keep their diagnosis
        flip_h=0.5,
        flip_v=0.5,
        jitter=0.8,  # paper
        brightness=0.2,  # paper .8; at .3 a contact sheet of ISIC photos shows burnt-out skin
        contrast=0.25,  # paper .8
        saturation=0.3,  # paper .8; at .4 brown turns orange
        hue=6,  # paper 72: would turn a red vascular lesion blue
        grayscale=0.2,  # paper: structure must suffice now and then
        blur=0.5,  # paper
        blur_sigma=(0.0005, 0.007),  # paper .1 to 2 px at 224; here to 1.6, or networks vanish
        noise=0.5,
        noise_sigma=6.0,  # grey levels; a phone in room light, by eye
    ),
}


def find_policy(name, strength=1.0):
    """`AUGMENTATIONS[name]` at a strength in [0, 1]; an unknown name lists the valid ones."""
    if name not in AUGMENTATIONS:
        raise unknown_name("augmentation", name, AUGMENTATIONS)
    return scaled(AUGMENTATIONS[name], strength)


def scaled(policy, strength):
    """`policy` on the way from "none" (`strength` 0) to itself (1).

    Sizes (angles, factors, sigmas, ranges) shrink; the probabilities of jitter, blur and noise
    stay, as they have a size. Flips and grey have none, so their probabilities shrink.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"augmentation strength is {strength}; give a number from 0 to 1")

    def scale(name, value):
        if name in ("jitter", "blur", "noise"):
            return value
        if name in ("crop", "dim"):
            return tuple(1 - strength * (1 - end) for end in value)
        return tuple(strength * x for x in value) if name == "blur_sigma" else strength * value

    names = [field.name for field in fields(policy)]
    return replace(policy, **{name: scale(name, getattr(policy, name)) for name in names})


class Params(NamedTuple):
    """What one view does to its photo; drawn once, then applied by either engine.

    Attributes:
        affine: float32 `[2, 3]`, from a place in the view to a place in the photo. The view is
            the square [-1, 1]^2; the photo's unit is half its shorter side, and (0, 0) its
            centre: the identity shows the central square.
        colour: float32 `[3, 4]`, RGB in [0, 255] to RGB, last column the offset.
        blur: Gaussian sigma as a share of the output's side; 0 for none.
        noise: Gaussian sigma in grey levels; 0 for none.
        noise_key: int in [0, 2^31), which noise.
        dim: factor of floor(x * dim); 1 for none.
    """

    affine: np.ndarray
    colour: np.ndarray
    blur: float
    noise: float
    noise_key: int
    dim: float


def uniforms(seed, epoch, record, view, count=SLOTS, stream=0):
    """`count` floats, uniform in [0, 1), that depend on the arguments alone.

    Philox 4x64 with (seed, stream) as its key and (block, record, epoch, view) as its counter, so
    no two views ever share a block. All are ints in [0, 2^64); another `stream` (1 and up) is
    another set of numbers for the same view. About 11 us.
    """
    key = np.array([seed, stream], np.uint64)
    counter = np.array([0, record, epoch, view], np.uint64)
    raw = np.random.Philox(key=key, counter=counter).random_raw(count)
    return ((raw >> 11) * 2.0**-53).tolist()


def draw(policy, seed, epoch, record, view, aspect=1.0, focus=None):
    """The parameters of one view: a pure function, about 20 us.

    A crop keeps some of the lesion: a point is drawn in an ellipse (the middle of `focus`, or a
    central disc of `FOCUS_RADIUS`), then its place in the crop. So the crop always holds that
    point (at `policy.shift` 1, or for a central focus at any). Within this it stays on the photo
    where it can; what is left over the edge is mirrored by the engine.

    Args:
        policy: `Policy`.
        seed, epoch, record, view: ints >= 0; `record` is the row in the index.
        aspect: width / height of the photo.
        focus: `None`, or the lesion's box `(left, top, right, bottom)`, in [0, 1] of the photo.

    Returns:
        `Params`.
    """
    u = uniforms(seed, epoch, record, view)
    noisy = u[17] < policy.noise and policy.noise_sigma > 0
    blurred = u[15] < policy.blur
    return Params(
        _draw_affine(policy, u, aspect, focus),
        _draw_colour(policy, u),
        _between(policy.blur_sigma, u[16]) if blurred else 0.0,
        policy.noise_sigma * u[18] if noisy else 0.0,
        int(u[19] * 2**31),
        _between(policy.dim, u[20]),
    )


def _between(ends, u):
    return ends[0] + (ends[1] - ends[0]) * u


def _about_zero(size, u):
    return size * (2 * u - 1)


def _draw_affine(policy, u, aspect, focus):
    flip_x = -1.0 if u[0] < policy.flip_h else 1.0
    flip_y = -1.0 if u[1] < policy.flip_v else 1.0
    if policy.rotate == 0 and policy.shift == 0 and policy.shear == 0 and policy.crop == (1, 1):
        return np.array([[flip_x, 0, 0], [0, flip_y, 0]], np.float32)
    angle = math.radians(_about_zero(policy.rotate, u[2]))
    side = math.sqrt(_between(policy.crop, u[3]))
    slant = math.tan(math.radians(_about_zero(policy.shear, u[4])))
    cos, sin = side * math.cos(angle), side * math.sin(angle)
    # rotation @ shear @ flip, of one area whatever the angle
    a, b = cos * flip_x, (cos * slant - sin) * flip_y
    c, d = sin * flip_x, (sin * slant + cos) * flip_y
    half_w, half_h = max(aspect, 1.0), max(1 / aspect, 1.0)  # the photo, in its own unit
    mid_x = mid_y = 0.0
    radius_x = radius_y = FOCUS_RADIUS
    if focus is not None:
        left, top, right, bottom = focus
        mid_x, mid_y = (left + right - 1) * half_w, (top + bottom - 1) * half_h
        radius_x = (right - left) * half_w * FOCUS_MARGIN
        radius_y = (bottom - top) * half_h * FOCUS_MARGIN
    far, turn = math.sqrt(u[5]), 2 * math.pi * u[6]  # uniform on the disc
    point_x = mid_x + radius_x * far * math.cos(turn)
    point_y = mid_y + radius_y * far * math.sin(turn)
    at_x, at_y = _about_zero(FOCUS_MARGIN, u[7]), _about_zero(FOCUS_MARGIN, u[8])
    # The centre that puts the point there, moved until the crop is on the photo, moved back until
    # it holds the point again.
    room_x = max(half_w - abs(a) - abs(b), 0.0)
    room_y = max(half_h - abs(c) - abs(d), 0.0)
    x = min(max(point_x - a * at_x - b * at_y, -room_x), room_x)
    y = min(max(point_y - c * at_x - d * at_y, -room_y), room_y)
    away_x, away_y, det = point_x - x, point_y - y, a * d - b * c
    at_x = min(max((d * away_x - b * away_y) / det, -FOCUS_MARGIN), FOCUS_MARGIN)
    at_y = min(max((a * away_y - c * away_x) / det, -FOCUS_MARGIN), FOCUS_MARGIN)
    x = policy.shift * (point_x - a * at_x - b * at_y)
    y = policy.shift * (point_y - c * at_x - d * at_y)
    return np.array([[a, b, x], [c, d, y]], np.float32)


def _draw_colour(policy, u):
    bright = contrast = saturation = 1.0
    hue = 0.0
    if u[9] < policy.jitter:
        bright += _about_zero(policy.brightness, u[10])
        contrast += _about_zero(policy.contrast, u[11])
        saturation += _about_zero(policy.saturation, u[12])
        hue = math.radians(_about_zero(policy.hue, u[13]))
    if u[14] < policy.grayscale:
        saturation = 0.0
    # A turn by `hue` about the axis R = G = B (Rodrigues), a mix with its luma, then
    # bright * (contrast * (x - SKIN_GREY) + SKIN_GREY): all of it one matrix and one offset.
    cos, sin = math.cos(hue), math.sin(hue) / math.sqrt(3)
    one = (1 - cos) / 3
    p, q, r = cos + one, one - sin, one + sin
    gain = bright * contrast
    keep, grey = gain * saturation, gain * (1 - saturation)
    red, green, blue = LUMA
    mix_r = grey * (red * p + green * r + blue * q)
    mix_g = grey * (red * q + green * p + blue * r)
    mix_b = grey * (red * r + green * q + blue * p)
    p, q, r = keep * p, keep * q, keep * r
    offset = bright * (1 - contrast) * SKIN_GREY
    rows = [
        [p + mix_r, q + mix_g, r + mix_b, offset],
        [r + mix_r, p + mix_g, q + mix_b, offset],
        [q + mix_r, r + mix_g, p + mix_b, offset],
    ]
    return np.array(rows, np.float32)

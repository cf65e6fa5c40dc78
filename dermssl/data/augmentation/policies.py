"""The augmentation policies by name, each constant with its reason.

A policy says how far and how often; `augment_policy.draw` draws from it what one view does.
"""

from dataclasses import dataclass, fields, replace

from dermssl.core.errors import UserError, unknown_name
from dermssl.data.augmentation import keras_cv_layers


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
            `augment_policy.SKIN_GREY`: an image's own mean would tie the draw to its pixels, and
            128, the middle of the range, overexposes light skin.
        hue: degrees about the grey axis, uniform in +-`hue`.
        grayscale: probability of a grey view.
        blur: probability; `blur_sigma`: `(low, high)`, shares of the output's side.
        noise: probability; `noise_sigma`: grey levels, uniform from 0 to the value.
        dim: `(low, high)`, the old Keras `brightness_range`: floor(x * u), u uniform.
        artefacts: probability of one of `artefacts.ARTEFACTS` on the finished view.
        cutout: probability of a grey square on it; `cutout_side`: `(low, high)`, its side in
            sides of the view.
        randaugment: magnitude in [0, 1] of two random operations on it, see `extras`.
        mixup: alpha of the Beta distribution that two views are mixed by; labelled data only.
        cutmix: probability that a rectangle comes from another view; labelled data only.
        layer: name of a Keras-CV layer, see `keras_cv_layers`, which alone makes the view out of
            the photo's central square; "" for none.
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
    artefacts: float = 0.0
    cutout: float = 0.0
    cutout_side: tuple[float, float] = (0.0, 0.0)
    randaugment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    layer: str = ""

    def __post_init__(self):
        tops = {"rotate": 180, "shear": 30, "hue": 180, "blur_sigma": 0.1, "noise_sigma": 64}
        for field in fields(self)[:-1]:  # all numbers but the layer
            value, top = getattr(self, field.name), tops.get(field.name, 1)
            pair = value if isinstance(value, tuple) else (0, value)
            least = 0.01 if field.name == "crop" else 0
            if not least <= pair[0] <= pair[1] <= top:
                raise UserError(f"Policy.{field.name} is {value}; give {least} to {top}, in order")

    @property
    def has_extras(self):
        """Whether there is something to do to a finished view (`extras.apply`)."""
        return self.artefacts > 0 or self.cutout > 0 or self.randaugment > 0

    @property
    def n_variants(self) -> int | None:
        """How many views it can make of a photo: 1, 4 (flips), or None for no end."""
        if self != Policy(flip_h=self.flip_h, flip_v=self.flip_v):
            return None
        return 4 if self.flip_h or self.flip_v else 1

    @property
    def mixes(self):
        """Whether two records are mixed, so that a label becomes two with shares."""
        return self.mixup > 0 or self.cutmix > 0


_SKIN = Policy(  # what differs between two photos of one lesion, and no more
    crop=(0.7, 1.0),  # distance to the skin; the lesion stays in view but for its rim
    shift=0.5,  # lesions lie near the centre; more would cut them
    rotate=180,  # a dermatoscope has no "up"
    flip_h=0.5,  # nor has skin a left
    flip_v=0.5,
    brightness=0.15,  # exposure differs by about a quarter of a stop
    contrast=0.15,
    saturation=0.15,
    hue=3,  # white balance; brown and red lie 15 to 30 degrees apart
)

AUGMENTATIONS = {
    "none": Policy(),
    # The four strategies of the seed experiments, to the letter: flips with p = .5 each, and
    # Keras' old brightness_range=[0.5, 0.7], which only darkens.
    "flip_hv": Policy(flip_h=0.5, flip_v=0.5),
    "brightness": Policy(dim=(0.5, 0.7)),
    "flip_brightness": Policy(flip_h=0.5, flip_v=0.5, dim=(0.5, 0.7)),
    # Supervised training.
    "skin": _SKIN,
    "skin_artefacts": replace(_SKIN, artefacts=0.4),  # about as often as HAM10000 shows one
    # Up to a quarter of the view: a lesion fills about a third of it, and some must be left.
    "skin_cutout": replace(_SKIN, cutout=0.5, cutout_side=(0.2, 0.5)),
    "skin_randaugment": replace(_SKIN, randaugment=0.5),
    "skin_mixup": replace(_SKIN, mixup=0.2),  # Zhang 2018 on ImageNet
    # Yun 2019 on CIFAR; at their 1.0 for ImageNet hardly a lesion would stay whole.
    "skin_cutmix": replace(_SKIN, cutmix=0.5),
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


def find_policy(name: str, setting: str = "augmentation") -> Policy:
    """`AUGMENTATIONS[name]`, or the policy of a Keras-CV layer such as "keras_cv:RandAugment".

    Args:
        name: of the augmentation.
        setting: what named it, for the message.

    Raises:
        UserError: an unknown name, or a layer whose views can't be computed again.
    """
    if name.startswith(keras_cv_layers.PREFIX):
        keras_cv_layers.check(name)
        return Policy(layer=name)
    if name not in AUGMENTATIONS:
        raise unknown_name(setting, name, [*AUGMENTATIONS, f"{keras_cv_layers.PREFIX}LAYER"])
    return AUGMENTATIONS[name]


def scaled(policy, strength):
    """`policy` on the way from "none" (`strength` 0) to itself (1).

    Sizes (angles, factors, sigmas, ranges) shrink; the probabilities of jitter, blur and noise
    stay, as they have a size. Flips, grey, artefacts, cutout and CutMix become rarer.
    """
    if not 0 <= strength <= 1:
        raise UserError(f"augmentation strength is {strength}; give a number from 0 to 1")

    def scale(name, value):
        if name in ("jitter", "blur", "noise"):
            return value
        if name in ("crop", "dim"):
            return tuple(1 - strength * (1 - end) for end in value)
        if isinstance(value, tuple):
            return tuple(strength * end for end in value)
        return strength * value

    names = [field.name for field in fields(policy)[:-1]]  # all numbers but the layer
    return replace(policy, **{name: scale(name, getattr(policy, name)) for name in names})

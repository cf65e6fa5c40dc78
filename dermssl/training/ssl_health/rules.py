"""A traffic light for self-supervised training: what is wrong, and the usual remedy.

Red: the run is wasted as it stands. Yellow: look at it. Green: none of the rules below holds,
which is no promise. Rules read numbers only; `RULES` is the list, the first red one speaks.
"""

import math
from dataclasses import dataclass

from dermssl.evaluation.bootstrap import Interval
from dermssl.training.ssl_health.embedding_quality import uniformity_on_sphere
from dermssl.training.ssl_health.view_shortcuts import ViewCheck

LIGHTS = GREEN, YELLOW, RED = ("green", "yellow", "red")

# Where the rules draw their lines. Those without a source were set on small runs that were
# healthy or broken on purpose; tests/evaluation/test_health_rules.py keeps both apart.
COLLAPSED = 0.05  # of spread, whose healthy value is about 1
FEW_RANKS = 0.05  # of the dimensions there are
DEAD = 0.5  # share of dimensions that don't vary
FLAT = 0.95  # of log(2n - 1), the loss of a perfect model: nothing is left to learn
NEARLY_FLAT = 0.75  # temperature 1 at a batch of 64; SimCLR, table 5, has its best at 0.1
NOT_LEARNING = 0.98  # of log(2n - 1)
PEAKED = 0.01  # of log(2n - 1), the entropy of a softmax that is sure of all it says
COLD = 0.02  # temperature; Wang & Liu (2021) find harm below 0.07 and worst at their lowest
EASY = 0.5  # contrastive accuracy by colours alone
SAME = 2.0  # grey levels of difference, less than the noise of a camera
EARLY = 0.25  # share of the epochs in which a slow start is forgiven, and
FEW_STEPS = 200  # in any case so many steps: a loss above a guess's is usual then
HALF = 0.5  # share of the epochs from which on all is judged, however few the steps are
FEW_PHOTOS = 100  # fewer leave a probe an interval so wide that it tells little


@dataclass(frozen=True)
class Finding:
    """One finding: "green", "yellow" or "red", the reason, the usual remedy."""

    colour: str
    reason: str
    remedy: str = ""

    def __str__(self):
        remedy = f"; usual remedy: {self.remedy}" if self.remedy else ""
        return f"{self.colour.upper()}, {self.reason}{remedy}"


@dataclass(frozen=True)
class HealthMeasures:
    """What the rules may look at; None or NaN where it isn't known.

    Attributes:
        temperature: float. batch_size: int, photos a step.
        progress: float in 0..1, share of the epochs done; 0 before training.
        steps: int, steps done.
        views: `ViewCheck` or None.
        broken: bool, an embedding or a projection is no number.
        loss, entropy: float, means over the epoch; nats.
        spread: float, mean of `embeddings.spread` of the projections.
        dead: float, share of their dimensions with a spread under 0.1.
        rank, most: float, effective rank of the projections, and the highest it can be.
        pair_accuracy: float, contrastive accuracy on the pairs of `views`.
        knn: `Interval` of the k-NN probe's balanced accuracy, or None.
        knn_start: the same before training, or None.
        linear: `Interval` of the linear probe's balanced accuracy, or None.
        n_labelled: int, photos behind the two probes.
        chance: float, balanced accuracy of a guess.
    """

    temperature: float
    batch_size: int
    progress: float = 0.0
    steps: int = 0
    views: ViewCheck | None = None
    broken: bool = False
    loss: float = math.nan
    entropy: float = math.nan
    spread: float = math.nan
    dead: float = math.nan
    rank: float = math.nan
    most: float = math.nan
    pair_accuracy: float = math.nan
    knn: Interval | None = None
    knn_start: Interval | None = None
    linear: Interval | None = None
    n_labelled: int = 0
    chance: float = math.nan

    @property
    def guess(self):
        """The loss of a model that tells nothing apart, log(2n - 1)."""
        return math.log(2 * self.batch_size - 1)

    @property
    def is_early(self):
        """Too few epochs or steps are done to expect anything of the model."""
        slow = self.progress <= EARLY or self.steps < FEW_STEPS
        return self.progress < HALF and slow


def worst_finding(seen):
    """The worst finding of all rules; among equals the first rule's.

    Args:
        seen: `HealthMeasures`.

    Returns:
        `Finding`.
    """
    found = [light for rule in RULES if (light := rule(seen)) is not None]
    if not found and not seen.progress:
        return Finding(GREEN, "the views and the settings look right")
    if not found:
        early = f"too early to tell ({seen.steps:,} steps): " if seen.is_early else ""
        return Finding(GREEN, f"{early}no rule found anything wrong")
    return max(found, key=lambda light: LIGHTS.index(light.colour))


def broken(seen):
    """Overflow: no weight need be infinite for it."""
    if seen.broken:
        return Finding(
            RED, "an embedding is no number any more", "a lower learning rate; full precision"
        )
    return None


def collapsed(seen):
    """All photos on (nearly) one point; fresh random weights may begin near it."""
    if seen.progress == 0:
        return None
    if seen.spread <= COLLAPSED or (seen.rank < 1.01 and seen.most > 1):
        return Finding(
            RED,
            f"collapsed: all photos lie on nearly one point (spread {seen.spread:.2f}, 1 would be "
            f"even; effective rank {seen.rank:.1f} of {seen.most:.0f})",
            "a lower learning rate, more warm-up, other starting weights",
        )
    return None


def temperature(seen):
    """A temperature at which the softmax is flat or all peak, whatever the model."""
    most = 2 * seen.batch_size - 2
    # Partner at cosine 1, all others at 0, which is where most of a spread-out batch lies.
    perfect = math.log1p(most * math.exp(-1 / seen.temperature)) / seen.guess if most else 0.0
    if perfect > NEARLY_FLAT:
        return Finding(
            RED if perfect > FLAT else YELLOW,
            f"temperature {seen.temperature:g} is high: even a model that finds every pair would "
            f"have {perfect:.0%} of the loss of a guess",
            "--temperature 0.1",
        )
    if seen.temperature < COLD:
        worse = seen.loss > seen.guess
        sure = seen.entropy < PEAKED * seen.guess
        said = (
            f", and the loss {seen.loss:.2f} is above a guess's {seen.guess:.2f}" if worse else ""
        )
        said = said or (", and the softmax is all peak" if sure else "")
        return Finding(
            RED if worse or sure else YELLOW,
            f"temperature {seen.temperature:g} is low: only the single nearest photo counts{said}",
            "--temperature 0.1",
        )
    return None


def views(seen):
    """Pairs that are the same, or that colours give away."""
    found = seen.views
    if found is None:
        return None
    if found.identical > 0.5 or found.mean_difference < SAME:
        return Finding(
            RED,
            f"the two views are nearly the same ({found.identical:.0%} of the pairs identical, "
            f"mean difference {found.mean_difference:.1f} of 255)",
            "--strength 1; look at views.png",
        )
    if found.shortcut >= EASY:
        return Finding(
            YELLOW,
            f"colours alone find {found.shortcut:.0%} of the pairs, so a model needs no more",
            "a higher --strength; look at views.png",
        )
    return None


def learning(seen):
    """A loss that stays where a guess has it."""
    if not seen.loss >= NOT_LEARNING * seen.guess:
        return None
    late = seen.progress > EARLY and seen.steps >= FEW_STEPS
    return Finding(
        RED if late else YELLOW,
        f"nothing learned {'' if late else 'yet '}in {seen.steps:,} steps: loss {seen.loss:.2f}, "
        f"a guess has {seen.guess:.2f}",
        "a higher learning rate if the loss is flat, a lower one if it jumps",
    )


def dimensions(seen):
    """Only few dimensions in use."""
    if seen.progress == 0:
        return None
    few = seen.rank < max(2.0, FEW_RANKS * seen.most)
    if few or seen.dead > DEAD:
        return Finding(
            YELLOW,
            f"few dimensions are used: effective rank {seen.rank:.1f} of {seen.most:.0f}, "
            f"{seen.dead:.0%} of the dimensions hardly vary",
            "a larger --batch-size, more varied photos, a lower learning rate",
        )
    return None


def probes(seen):
    """The labelled photos say it is of no use, once there was time to learn."""
    if seen.knn is None or not seen.knn.is_defined or seen.progress == 0 or seen.is_early:
        return None
    if seen.knn_start is not None and seen.knn.high < seen.knn_start.low:
        return Finding(
            YELLOW,
            f"the k-NN probe, {seen.knn}, has fallen below the start's {seen.knn_start}",
            "fewer epochs, a lower learning rate, a lower --strength",
        )
    if seen.knn.low > seen.chance:
        return None
    who = f"the k-NN probe, {seen.knn}, is not"
    if seen.linear is not None and seen.linear.low <= seen.chance:
        who = f"neither the k-NN probe, {seen.knn}, nor the linear probe, {seen.linear}, is"
    n = seen.n_labelled
    few = f"; {n} photos may be too few for the probes" if 0 < n < FEW_PHOTOS else ""
    return Finding(
        YELLOW,
        f"{who} shown to be above chance, {seen.chance:.3f}{few}",
        "more epochs; or more labelled photos for the probes",
    )


def pairs(seen):
    """The model finds no more pairs than colours alone would."""
    if seen.views is None or seen.progress == 0 or seen.is_early:
        return None
    if not seen.pair_accuracy <= seen.views.shortcut:
        return None
    n = seen.views.n
    few = f"; of only {n} pairs, which may be too few to tell" if n < FEW_PHOTOS else ""
    return Finding(
        YELLOW,
        f"pairs found {seen.pair_accuracy:.0%}, not above the {seen.views.shortcut:.0%} that "
        f"colours alone find{few}",
        "more epochs; more photos; a higher learning rate",
    )


RULES = (broken, collapsed, temperature, views, learning, dimensions, probes, pairs)


def describe(measures, seen, n_labelled):
    """The numbers of one look as one line.

    Args:
        measures: dict, from `dermssl.training.ssl_health.panel`.
        seen: `HealthMeasures`.
        n_labelled: int, photos behind the probes.
    """
    parts = ["probes n/a (no labels)"]
    if n_labelled:
        knn, linear = (_bounded(measures, name) for name in ("knn", "linear"))
        parts = [
            f"balanced accuracy by k-NN {knn}, by linear probe {linear} "
            f"(chance {seen.chance:.2f}, {n_labelled} photos)"
        ]
    aside = ""
    if seen.views:
        aside = f" (by colours alone {seen.views.shortcut:.2f}, chance {seen.views.chance:.3f})"
    even = uniformity_on_sphere(measures["dimension"])
    parts += [
        f"pairs found {_text(measures['pair_accuracy'])}{aside}",
        f"effective rank {_text(measures['effective_rank'], 1)} of {seen.most:.0f}",
        f"spread {_text(measures['spread'])}",
        f"alignment {_text(measures['alignment'])}",
        f"uniformity {_text(measures['uniformity'])} (even {_text(even)})",
    ]
    return ", ".join(parts)


def _bounded(measures, name):
    estimate, low, high = (measures[key] for key in (name, f"{name}_low", f"{name}_high"))
    bounds = "n/a" if math.isnan(low) else f"{low:.2f} to {high:.2f}"
    return f"{_text(estimate)} [{bounds}]"


def _text(value, digits=2):
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")

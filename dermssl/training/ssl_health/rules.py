"""Rules that turn the measures of a self-supervised training into green, yellow or red.

Red: the run is wasted as it stands. Yellow: look at it. Green: no rule found anything wrong,
which is no promise. Each finding comes with its reason and the usual remedy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from dermssl.training.ssl_health.embedding_quality import uniformity_on_sphere
from dermssl.training.ssl_health.measures import EARLY, FEW_STEPS, HealthContext, HealthMeasures

LIGHTS = GREEN, YELLOW, RED = ("green", "yellow", "red")

# Where the rules draw their lines. Those without a source were set on small runs that were
# healthy or broken on purpose; tests/training/ssl_health/test_rules.py keeps both apart.
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
FEW_PHOTOS = 100  # fewer leave a probe an interval so wide that it tells little


@dataclass(frozen=True)
class Finding:
    """One finding: "green", "yellow" or "red", the reason, the usual remedy.

    A remedy names settings as `section.field`; the command line shows their flags.
    """

    colour: str
    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; usual remedy: {self.remedy}" if self.remedy else ""
        return f"{self.colour.upper()}, {self.reason}{remedy}"


Rule = Callable[[HealthMeasures, HealthContext], Finding | None]


def worst_finding(
    measures: HealthMeasures, context: HealthContext, method: str = "simclr"
) -> Finding:
    """The worst finding of a method's rules; among equals the first rule's.

    Args:
        measures: `HealthMeasures` of the model.
        context: `HealthContext` of its training.
        method: str, a name in `RULES`.
    """
    findings = [
        finding for rule in RULES[method] if (finding := rule(measures, context)) is not None
    ]
    if findings:
        return max(findings, key=lambda finding: LIGHTS.index(finding.colour))
    if not context.progress:
        return Finding(GREEN, "the views and the settings look right")
    early = f"; {context.steps:,} steps are too few to tell" if context.is_early else ""
    return Finding(GREEN, f"no rule found anything wrong{early}")


def broken(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """Overflow: no weight need be infinite for it."""
    if measures.broken:
        return Finding(
            RED, "an embedding is no number any more", "a lower learning rate; full precision"
        )
    return None


def collapsed(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """All photos on (nearly) one point; fresh random weights may begin near it."""
    if context.progress == 0:
        return None
    rank, most = measures.effective_rank, highest_rank(measures, context)
    if measures.spread <= COLLAPSED or (rank < 1.01 and most > 1):
        return Finding(
            RED,
            f"collapsed: all photos lie on nearly one point (spread {measures.spread:.2f}, 1 "
            f"would be even; effective rank {rank:.1f} of {most:.0f})",
            "a lower learning rate, more warm-up, other starting weights",
        )
    return None


def averages(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """BatchNorm's moving averages lag behind the weights, and the saved model is used with them."""
    lags = measures.averaged_spread <= COLLAPSED < measures.spread
    if context.progress == 0 or context.is_early or not lags:
        return None
    return Finding(
        YELLOW,
        f"BatchNorm's moving averages lag behind the weights after {context.steps:,} steps: with "
        f"them all photos lie on nearly one point (spread {measures.averaged_spread:.2f}; with "
        f"statistics of the photos {measures.spread:.2f})",
        "more epochs; a lower backbone.batchnorm_momentum",
    )


def temperature(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """A temperature of NT-Xent at which the softmax is flat or all peak, whatever the model."""
    value, most = context.settings.temperature, 2 * context.settings.batch_size - 2
    # Partner at cosine 1, all others at 0, which is where most of a spread-out batch lies.
    perfect = math.log1p(most * math.exp(-1 / value)) / context.guess if most else 0.0
    if perfect > NEARLY_FLAT:
        return Finding(
            RED if perfect > FLAT else YELLOW,
            f"temperature {value:g} is high: even a model that finds every pair would "
            f"have {perfect:.0%} of the loss of a guess",
            "pretrain.temperature 0.1",
        )
    if value >= COLD:
        return None
    worse = context.loss > context.guess
    peaked = context.entropy < PEAKED * context.guess
    effect = ", and the softmax is all peak" if peaked else ""
    if worse:
        effect = f", and the loss {context.loss:.2f} is above a guess's {context.guess:.2f}"
    return Finding(
        RED if worse or peaked else YELLOW,
        f"temperature {value:g} is low: only the single nearest photo counts{effect}",
        "pretrain.temperature 0.1",
    )


def views(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """Pairs of views that are the same, or that colours give away."""
    check = context.views
    if check.identical > 0.5 or check.mean_difference < SAME:
        return Finding(
            RED,
            f"the two views are nearly the same ({check.identical:.0%} of the pairs identical, "
            f"mean difference {check.mean_difference:.1f} of 255)",
            "pretrain.strength 1; look at views.png",
        )
    if check.shortcut >= EASY:
        return Finding(
            YELLOW,
            f"colours alone find {check.shortcut:.0%} of the pairs, so a model needs no more",
            "a higher pretrain.strength; look at views.png",
        )
    return None


def learning(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """An NT-Xent loss that stays at that of a random guess."""
    if not context.loss >= NOT_LEARNING * context.guess:
        return None
    late = context.progress > EARLY and context.steps >= FEW_STEPS
    return Finding(
        RED if late else YELLOW,
        f"nothing learned {'' if late else 'yet '}in {context.steps:,} steps: "
        f"loss {context.loss:.2f}, a guess has {context.guess:.2f}",
        "a higher learning rate if the loss is flat, a lower one if it jumps",
    )


def dimensions(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """Only few dimensions of the projections are used."""
    if context.progress == 0:
        return None
    rank, most = measures.effective_rank, highest_rank(measures, context)
    if rank < max(2.0, FEW_RANKS * most) or measures.dead > DEAD:
        return Finding(
            YELLOW,
            f"few dimensions are used: effective rank {rank:.1f} of {most:.0f}, "
            f"{measures.dead:.0%} of the dimensions hardly vary",
            "a larger pretrain.batch_size, more varied photos, a lower learning rate",
        )
    return None


def probes(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """Probes on labelled photos that stay at chance, or fall, after time to learn."""
    knn, linear = measures.interval("knn"), measures.interval("linear")
    if knn is None or not knn.is_defined or context.progress == 0 or context.is_early:
        return None
    start = context.start.interval("knn") if context.start else None
    if start is not None and knn.high < start.low:
        return Finding(
            YELLOW,
            f"the k-NN probe, {knn}, has fallen below the start's {start}",
            "fewer epochs, a lower learning rate, a lower pretrain.strength",
        )
    if knn.low > context.chance:
        return None
    who = f"the k-NN probe, {knn}, is not"
    if linear is not None and linear.low <= context.chance:
        who = f"neither the k-NN probe, {knn}, nor the linear probe, {linear}, is"
    n = context.n_labelled
    few = f"; {n} photos may be too few for the probes" if 0 < n < FEW_PHOTOS else ""
    return Finding(
        YELLOW,
        f"{who} shown to be above chance, {context.chance:.3f}{few}",
        "more epochs; or more labelled photos for the probes",
    )


def pairs(measures: HealthMeasures, context: HealthContext) -> Finding | None:
    """The model finds no more pairs of views than colours alone would."""
    if context.progress == 0 or context.is_early:
        return None
    accuracy, check = measures.pair_accuracy, context.views
    if not accuracy <= check.shortcut:
        return None
    few = f"; of only {check.n} pairs, which may be too few to tell" if check.n < FEW_PHOTOS else ""
    return Finding(
        YELLOW,
        f"pairs found {accuracy:.0%}, not above the {check.shortcut:.0%} that "
        f"colours alone find{few}",
        "more epochs; more photos; a higher learning rate",
    )


# Method -> its rules. `temperature`, `learning` and `pairs` are for contrastive methods.
RULES: dict[str, tuple[Rule, ...]] = {
    "simclr": (
        broken, collapsed, averages, temperature, views, learning, dimensions, probes, pairs,
    ),
}  # fmt: skip


def highest_rank(measures: HealthMeasures, context: HealthContext) -> int:
    """The highest effective rank that the projections of the pairs can have."""
    return min(context.views.n, measures.dimension)


def describe(measures: HealthMeasures, context: HealthContext) -> str:
    """The measures of one look as one line."""
    parts = ["probes n/a (no labels)"]
    if context.n_labelled:
        parts = [
            f"balanced accuracy by k-NN {_bounded(measures, 'knn')}, by linear probe "
            f"{_bounded(measures, 'linear')} "
            f"(chance {context.chance:.2f}, {context.n_labelled} photos)"
        ]
    even = uniformity_on_sphere(measures.dimension)
    parts += [
        f"pairs found {_text(measures.pair_accuracy)} (by colours alone "
        f"{context.views.shortcut:.2f}, chance {context.views.chance:.3f})",
        f"effective rank {_text(measures.effective_rank, 1)} of "
        f"{highest_rank(measures, context):.0f}",
        f"spread {_text(measures.spread)}",
        f"alignment {_text(measures.alignment)}",
        f"uniformity {_text(measures.uniformity)} (even {_text(even)})",
    ]
    return ", ".join(parts)


def _bounded(measures, probe):
    interval = measures.interval(probe)
    bounds = "n/a" if math.isnan(interval.low) else f"{interval.low:.2f} to {interval.high:.2f}"
    return f"{_text(interval.estimate)} [{bounds}]"


def _text(value, digits=2):
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")

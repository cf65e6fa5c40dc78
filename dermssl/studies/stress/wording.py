"""What the stress test says: each sentence follows from its interval alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.preprocess import CROP
from dermssl.data.records import TEST
from dermssl.evaluation import hypothesis_tests
from dermssl.evaluation.small_samples import FEW_OF_A_CLASS
from dermssl.reporting import wording
from dermssl.studies.stress.conditions import BACKGROUND, ERASED, LESION, title

if TYPE_CHECKING:
    from dermssl.core.taxonomy import Taxonomy
    from dermssl.evaluation.interval import Interval
    from dermssl.studies.stress.scores import Score

WARNED = (ERASED, BACKGROUND)  # without the lesion a model should be at chance
GAINED = 0.02  # share of the records from which on it is told where predictions went
MANY_DISCS = 0.1  # share of photos without a mask from which on the rims are told of


def warnings(
    scores: Sequence[Score],
    y: np.ndarray,
    n_discs: int = 0,
) -> list[str]:
    """Why not to trust the model; empty where it does no better than chance without the lesion.

    Args:
        scores: of each condition, the clean one first.
        y: int (n,), fine classes.
        n_discs: number of records whose lesion was erased as a disc, for want of a mask.
    """
    sentences, chance = [], hypothesis_tests.chance(y)
    for score in scores:
        if score.name not in WARNED:
            continue
        if not score.balanced_accuracy.low > chance:
            continue
        shown = wording.estimate(score.balanced_accuracy)
        text = (
            f"Shortcut: with the {'lesion' if score.name == ERASED else 'box round the lesion'} "
            f"erased, balanced accuracy is {shown}, clearly above chance "
            f"({wording.number(chance)}): the model reads part of the diagnosis off what lies "
            "beside the lesion"
        )
        spot = "size and shape of the erased spot" if score.name == ERASED else "size of the box"
        text += f", or off the {spot}"
        if n_discs >= MANY_DISCS * len(y):
            text += (
                f", or off a rim of the lesion, since {n_discs:,} of {len(y):,} photos have no "
                "mask and lost a disc in the centre"
            )
        sentences.append(f"{text}.")
    return sentences


def findings(
    scores: Sequence[Score],
    y: np.ndarray,
    p: dict[str, np.ndarray],
    n_discs: int = 0,
) -> list[str]:
    """A sentence for every drop that its interval shows, then the others, then the lesion.

    Arguments are those of `warnings`, and `p`: condition -> float (n, F), probabilities. All drops
    of a report are one family, which every sentence on one names (`scores.family_size`). A model
    that isn't above chance on the clean photos has
    nothing to lose: that comes first, and neither a tie nor a score at chance is told to its
    credit.
    """
    chance, clean = hypothesis_tests.chance(y), scores[0]
    at_chance = {
        score.name: not score.balanced_accuracy.low > chance
        for score in scores
        if score is clean or score.name in WARNED
    }
    artefacts = [score for score in scores if score.name not in WARNED]
    told = family(scores)
    clear, others = _drops(artefacts, told)
    if at_chance[clean.name]:
        sentences = [
            "The clean score isn't shown to be above chance (balanced accuracy "
            f"{wording.estimate(clean.balanced_accuracy)}, chance {wording.number(chance)}), "
            "so this test can say nothing about what the model relies on.",
            *clear,
        ]
    else:
        sentences = [*clear, *others]
    lost = [
        f"{_shown(score.name)} by {wording.estimate(score.sensitivity_drop)}"
        for score in artefacts
        if score.sensitivity_drop is not None and score.sensitivity_drop.low > 0
    ]
    if lost:
        sentences.append(
            f"Malignant sensitivity (likeliest class) is lower {'; '.join(lost)} ({told})."
        )
    if not at_chance[clean.name]:
        sentences += [
            f"{_capital(title(score.name))}: {wording.estimate(score.balanced_accuracy)} "
            f"balanced accuracy, not clearly above chance ({wording.number(chance)}); "
            "no shortcut was shown, which doesn't prove that there is none."
            for score in scores
            if score.name in WARNED and at_chance[score.name]
        ]
    if BACKGROUND not in p and n_discs:
        sentences.append(
            f"{n_discs:,} of {len(y):,} photos have no mask: what is called the lesion is a disc "
            "in their centre, and the box round it, nearly the whole photo, was not erased."
        )
    return sentences


def family(scores: Sequence[Score]) -> str:
    """The level of the drops and how many there are, in words; "" without any."""
    drops = [drop for score in scores for drop in (score.drop, score.sensitivity_drop) if drop]
    if not drops:
        return ""
    level = f"{100 * drops[0].level:.4g}% interval"
    if len(drops) == 1:
        return f"{level}, the one comparison of this report"
    return f"{level}, one of the {len(drops)} of this report, which hold together at 95%"


def _drops(scores: Sequence[Score], told: str) -> tuple[list[str], list[str]]:
    """Sentences on the drops that exclude 0, and on the others."""
    drops = [(score, score.drop) for score in scores if score.drop is not None]
    same = [title(score.name) for score, _ in drops if score.flips and not score.flips.estimate]
    drops = [(score, drop) for score, drop in drops if title(score.name) not in same]
    defined = [(score, drop) for score, drop in drops if drop.is_defined]
    open_ones = [
        f"{title(score.name)} ({wording.number(drop.low)} to {wording.number(drop.high)})"
        for score, drop in defined
        if not drop.excludes_zero
    ]
    undefined = [
        f"{title(score.name)} ({wording.number(drop.estimate)})"
        for score, drop in drops
        if not drop.is_defined
    ]
    others = []
    if open_ones:
        others.append(
            f"No drop in balanced accuracy is shown under: {', '.join(open_ones)} ({told}; what "
            "lies in an interval is not ruled out)."
        )
    if same:
        others.append(f"No prediction changes under: {', '.join(same)}.")
    if undefined:
        others.append(f"Drops that have no interval: {', '.join(undefined)}.")
    return [_lower(score, drop, told) for score, drop in defined if drop.excludes_zero], others


def _lower(score: Score, drop: Interval, told: str) -> str:
    low, high = drop.low, drop.high
    word = "lower" if drop.estimate > 0 else "higher"
    size = wording.number(abs(drop.estimate))
    if drop.estimate < 0:  # the interval is of the size that is told, so its signs turn as well
        low, high = -high, -low
    text = (
        f"{_capital(_shown(score.name))}, balanced accuracy is {word} by {size} "
        f"({wording.number(low)} to {wording.number(high)}; {told}); {score.changed} of the "
        "predictions change"
    )
    if score.gains and score.gain >= GAINED:
        text += f", most towards {score.gains} (+{score.gain:.0%} of all photos)"
    return f"{text}."


def _shown(name: str) -> str:
    """How the photos of a condition were shown: "with hair drawn"."""
    alone = "with the lesion alone, on a plain ground"
    return alone if name == LESION else f"with {title(name)} drawn"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def chosen(summary: dict[str, Any]) -> str:
    """What was left out by `stress_test.max_photos`, or nothing."""
    if summary["n"] == summary["n_of"]:
        return ""
    return (
        f", chosen evenly over the classes out of {summary['n_of']:,} (so shares of all photos "
        "are of this choice, too)"
    )


def notes(
    summary: dict[str, Any],
    scores: Sequence[Score],
    y: np.ndarray,
    groups: np.ndarray,
    taxonomy: Taxonomy,
    unit: str,
) -> list[str]:
    """What to know before the numbers are trusted.

    Args:
        summary: the content of stress.json.
        scores: of each condition.
        y: int (n,), fine classes.
        groups: (n,), patient or lesion ids.
        taxonomy: of the run.
        unit: what one of the groups is.
    """
    sentences = [
        "Each artefact was drawn once on each photo, at chance. Other drawings would give other "
        "scores; how much they would differ is in no interval here."
    ]
    policy = AUGMENTATIONS.get(summary["augmentation"])
    if policy and policy.artefacts > 0:
        sentences.append(
            f"The run was trained with the augmentation {summary['augmentation']}, which draws the "
            "same artefacts: that they change little says nothing about real ones, and a run "
            "without it can't be held against this one."
        )
    steps = [name for name in summary["preprocess"] if name != CROP]
    if steps:
        sentences.append(
            f"The photos go through {', '.join(steps)} after the artefact is drawn, as a photo "
            "that has it would; so does the lesion on its plain ground, whose colours may shift."
        )
    if summary["split"] != TEST:
        sentences.append(f"These are {summary['split']} records: the clean scores are too good.")
    counts = {name: int((y == k).sum()) for k, name in enumerate(taxonomy.fine)}
    few = {name: n for name, n in counts.items() if 0 < n < wording.ENOUGH_RECORDS}
    if few:
        listed = ", ".join(f"{name} ({n})" for name, n in few.items())
        sentences.append(
            f"Classes with fewer than {wording.ENOUGH_RECORDS} photos, on which balanced "
            f"accuracy hangs: {listed}."
        )
    sentences += wording.few_groups(summary["n_groups"], unit)
    if any(len(set(groups[y == k])) < FEW_OF_A_CLASS for k in np.unique(y)):
        sentences.append(
            f"Some class has fewer than {FEW_OF_A_CLASS} independent records, which show little: "
            "nothing is called clearly above chance on the strength of it."
        )
    sentences += wording.without_ids(unit)
    return sentences + wording.changed(summary["agreement"])

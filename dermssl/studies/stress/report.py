"""The stress test in words, and as rows: each sentence follows from its interval alone."""

from dataclasses import asdict

import numpy as np

from dermssl.data.augmentation.policies import AUGMENTATIONS
from dermssl.data.preprocess import CROP
from dermssl.data.records import TEST
from dermssl.evaluation import hypothesis_tests
from dermssl.evaluation.hypothesis_tests import FEW_OF_A_CLASS
from dermssl.reporting import wording
from dermssl.studies.stress.conditions import BACKGROUND, ERASED, LESION, title

WARNED = (ERASED, BACKGROUND)  # without the lesion a model should be at chance
GAINED = 0.02  # share of the records from which on it is told where predictions went
MANY_DISCS = 0.1  # share of photos without a mask from which on the rims are told of


def warnings(scores, y, p, n_discs=0, groups=None):
    """Why not to trust the model; empty where it does no better than chance without the lesion.

    Args:
        scores: list of `shortcuts.Score`.
        y: int [n], fine classes.
        p: dict of condition -> float [n, F].
        n_discs: number of records whose lesion was erased as a disc, for want of a mask.
        groups: [n], what isn't independent.
    """
    said, chance = [], hypothesis_tests.chance(y)
    for score in scores:
        if score.name not in WARNED:
            continue
        low = hypothesis_tests.lower_bound(score.balanced_accuracy, y, p[score.name], groups)
        if not low > chance:
            continue
        shown = wording.estimate(score.balanced_accuracy)
        if not score.balanced_accuracy.is_defined:
            shown = f"{wording.number(score.balanced_accuracy.estimate)} (at least "
            shown += f"{wording.number(low)})"
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
        said.append(f"{text}.")
    return said


def findings(scores, y, p, n_discs=0, groups=None):
    """A sentence for every artefact that costs or gains, then one for the lesion, and the ties.

    Arguments are those of `warnings`. A model that isn't above chance on the clean photos has
    nothing to lose: that comes first, and neither a tie nor a score at chance is told to its
    credit.
    """
    chance, clean = hypothesis_tests.chance(y), scores[0]
    low = hypothesis_tests.lower_bound(clean.balanced_accuracy, y, p[clean.name], groups)
    nothing_to_lose = not low > chance
    said, ties, undefined = [], [], []
    if nothing_to_lose:
        said.append(
            "The clean score isn't shown to be above chance (balanced accuracy "
            f"{wording.estimate(clean.balanced_accuracy)}, chance {wording.number(chance)}), "
            "so this test can say nothing about what the model relies on."
        )
    for score in scores:
        if score.drop is None or score.name in WARNED:
            continue
        if not score.drop.is_defined:
            undefined.append(f"{title(score.name)} ({wording.number(score.drop.estimate)})")
        elif not score.drop.excludes_zero:
            ties.append(title(score.name))
        else:
            said.append(_cost(score))
    if ties and not nothing_to_lose:
        said.append(
            "No drop in balanced accuracy found (the interval holds 0, a tie) under: "
            f"{', '.join(ties)}."
        )
    if undefined and not nothing_to_lose:
        said.append(f"Drops that have no interval: {', '.join(undefined)}.")
    lost = [
        f"{title(score.name)} by {wording.estimate(score.sensitivity_drop)}"
        for score in scores
        if score.sensitivity_drop is not None
        and score.sensitivity_drop.low > 0
        and score.name not in WARNED
    ]
    if lost:
        said.append(f"Malignant sensitivity (likeliest class) falls under: {'; '.join(lost)}.")
    for score in scores:
        if score.name not in WARNED or nothing_to_lose:
            continue
        low = hypothesis_tests.lower_bound(score.balanced_accuracy, y, p[score.name], groups)
        if not low > chance:
            said.append(
                f"{_capital(title(score.name))}: {wording.estimate(score.balanced_accuracy)} "
                f"balanced accuracy, not clearly above chance ({wording.number(chance)}); "
                "no shortcut was shown, which doesn't prove that there is none."
            )
    if BACKGROUND not in p and n_discs:
        said.append(
            f"{n_discs:,} of {len(y):,} photos have no mask: what is called the lesion is a disc "
            "in their centre, and the box round it, nearly the whole photo, was not erased."
        )
    return said


def _cost(score):
    low, high = score.drop.low, score.drop.high
    name = "The lesion alone, on a plain ground," if score.name == LESION else None
    name = name or f"{_capital(title(score.name))}"
    verb = "cost" if score.drop.estimate > 0 else "gain"
    verb += "" if title(score.name).endswith("s") else "s"
    size = wording.number(abs(score.drop.estimate))
    if score.drop.estimate < 0:
        low, high = -high, -low
    text = (
        f"{name} {verb} {size} balanced accuracy (95% interval {wording.number(low)} to "
        f"{wording.number(high)}); {score.flips.estimate:.0%} of the predictions change"
    )
    if score.gains and score.gain >= GAINED:
        text += f", most towards {score.gains} (+{score.gain:.0%} of all photos)"
    return f"{text}."


def _capital(text):
    return text[:1].upper() + text[1:]


def rows(scores, n, n_groups):
    """stress.csv: one row a condition; None is "n/a" there."""
    found = []
    for score in scores:
        row = {"condition": score.name, "n": n, "n_groups": n_groups}
        for name in ("balanced_accuracy", "drop", "flips", "sensitivity", "sensitivity_drop"):
            interval = getattr(score, name)
            row[name] = interval and interval.estimate
            row[f"{name}_low"] = interval and interval.low
            row[f"{name}_high"] = interval and interval.high
        row |= {"gains": score.gains, "gain": score.gain if score.gains else None}
        found.append(row)
    return found


def numbers(scores):
    """stress.json: the same with everything an `Interval` says."""
    return {score.name: asdict(score) for score in scores}


def table(scores):
    """Rows of the report's table: the condition, its `Score`, and cells as text."""
    return [
        {
            "title": title(score.name),
            "score": score,
            "drop": difference(score.drop),
            "sensitivity_drop": difference(score.sensitivity_drop),
            "flips": "" if score.flips is None else f"{score.flips.estimate:.0%}",
        }
        for score in scores
    ]


def difference(interval):
    """A drop as a cell, bold where its interval excludes 0; the clean photos have none."""
    if interval is None:
        return ""
    text = wording.estimate(interval)
    return f"**{text}**" if interval.is_defined and interval.excludes_zero else text


def chosen(made):
    """What was left out by --max-photos, or nothing."""
    if made["n"] == made["n_of"]:
        return ""
    return (
        f", chosen evenly over the classes out of {made['n_of']:,} (so shares of all photos "
        "are of this choice, too)"
    )


def notes(made, scores, y, groups, taxonomy, unit):
    """What to know before the numbers are trusted.

    Args:
        made: dict, the content of stress.json.
        scores: list of `shortcuts.Score`.
        y, groups: arrays (n,), fine classes and what isn't independent.
        taxonomy: `Taxonomy`.
        unit: str, what one of the groups is.
    """
    said = []
    policy = AUGMENTATIONS.get(made["augmentation"])
    if policy and policy.artefacts > 0:
        said.append(
            f"The run was trained with --augmentation {made['augmentation']}, which draws the same "
            "artefacts: that they cost little says nothing about real ones, and a run without it "
            "can't be held against this one."
        )
    steps = [name for name in made["preprocess"] if name != CROP]
    if steps:
        said.append(
            f"The photos go through {', '.join(steps)} after the artefact is drawn, as a photo "
            "that has it would; so does the lesion on its plain ground, whose colours may shift."
        )
    if made["split"] != TEST:
        said.append(f"These are {made['split']} records: the clean scores are too good.")
    counts = {name: int((y == k).sum()) for k, name in enumerate(taxonomy.fine)}
    few = {name: n for name, n in counts.items() if 0 < n < wording.ENOUGH_RECORDS}
    if few:
        listed = ", ".join(f"{name} ({n})" for name, n in few.items())
        said.append(
            f"Classes with fewer than {wording.ENOUGH_RECORDS} photos, on which balanced "
            f"accuracy hangs: {listed}."
        )
    said += wording.few_groups(made["n_groups"], unit)
    if any(len(set(groups[y == k])) < FEW_OF_A_CLASS for k in np.unique(y)):
        said.append(
            f"Some class has fewer than {FEW_OF_A_CLASS} independent records, which show little: "
            "nothing is called clearly above chance on the strength of it."
        )
    said += wording.without_ids(unit)
    said += wording.dropped([score.balanced_accuracy for score in scores])
    return said + wording.changed(made["agreement"])

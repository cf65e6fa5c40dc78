"""Sentences on label efficiency: below how many labels an arm is worth it.

"Worth it" needs an interval that excludes 0, at that very number of labels. A turning point needs
one on either side: a number of labels where no difference is found is none, it may be too few
photos that tell. Between two numbers nothing is known, so it is given as a span.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dermssl.evaluation.bootstrap import Interval
from dermssl.reporting import wording

if TYPE_CHECKING:
    from dermssl.studies.label_efficiency.compute import LabelCountDifference

SAID = {
    "better": "better",
    "worse": "worse",
    "tie": "no difference found",
    "undefined": "nothing can be said",
}


def verdict(
    steps: Sequence[LabelCountDifference], counts: dict[str, Any], split: str, name: str
) -> str:
    """The sentence on one pair of arms.

    Args:
        steps: of one pair, fewest labels first.
        counts: from `metric_tables.counts`.
        split: that was scored.
        name: what the score is called.

    Returns:
        The finding, the evidence at every number of labels, and what it rests on.
    """
    a, b = steps[0].a.title, steps[0].b.title
    verdicts = [step.verdict for step in steps]
    evidence = "; ".join(map(_evidence, steps))
    return f"{_finding(a, b, steps, verdicts)}: {evidence}. {_basis(steps, counts, split, name)}"


def _finding(a, b, steps, verdicts):
    known = [(step, said) for step, said in zip(steps, verdicts) if said != "undefined"]
    better = [k for k, (_, said) in enumerate(known) if said == "better"]
    numbers = [_number(step) for step, _ in known]
    if not known:
        return f"Nothing can be said of {a} against {b}"
    worse = [_number(step) for step, said in known if said == "worse"]
    lost = f"worse with {_listed(worse)} labels" if worse else ""
    if not better:
        if worse:
            return f"{a} is not worth it against {b}, and {lost}"
        return f"No difference found between {a} and {b} {_everywhere(numbers)}"
    if len(better) == len(known):
        return f"{a} is worth it against {b} {_everywhere(numbers)}"
    if better == list(range(len(better))):
        last = numbers[better[-1]]
        where = f"N is above {last} (with {_listed(numbers[len(better) :])} labels {SAID['tie']})"
        if worse:
            where = f"N lies between {last} (better) and {worse[0]} (worse), and {lost}"
        return f"{a} is worth it below N labels against {b}, where {where}"
    ties = [_number(step) for step, said in known[: better[-1]] if said == "tie"]
    fewer = f"with fewer ({_listed(ties)})" if ties else ""
    but = f"but not {fewer}"
    if lost:
        but = f"but is {lost}" + (f", and not better {fewer}" if fewer else "")
    return (
        f"{a} beats {b} with {_listed([numbers[k] for k in better])} labels, {but}, so no number "
        "of labels can be named below which it is worth it"
    )


def _everywhere(numbers):
    if len(numbers) == 1:
        return f"at the one number of labels tried, {numbers[0]}"
    return f"at any of the numbers of labels tried, {numbers[0]} to {numbers[-1]}"


def _listed(numbers):
    return " and ".join(filter(None, [", ".join(numbers[:-1]), numbers[-1]]))


def _number(step):
    return f"{step.n_labels:,}"


def _evidence(step):
    if step.joint is None:
        return f"with {step.a.labels_text} they share no seed"
    return f"with {step.a.labels_text} {difference(step.joint)}, {SAID[step.verdict]}"


def difference(interval: Interval | None) -> str:
    """ "+0.12 (0.05 to 0.19)"; "n/a" for None or where it isn't defined."""
    if interval is None or not interval.is_defined:
        return wording.NOT_AVAILABLE
    sign = "+" if interval.estimate > 0 else ""
    return sign + wording.estimate(interval, wording.digits(interval))


def _basis(steps, counts, split, name):
    n_seeds = sorted({step.n_seeds for step in steps})
    seeds = wording.count(n_seeds[0], "seed")
    if len(n_seeds) > 1:
        seeds = f"{n_seeds[0]} to {n_seeds[-1]} seeds"
    level = next((step.joint.level for step in steps if step.joint is not None), None)
    text = f"Differences in {name} on {wording.photos(counts, split)}, {seeds}, paired by seed, "
    text += "split and labels"
    if level is not None and len(steps) > 1:
        text += (
            f"; one interval a number of labels, each at {level:.1%}, so that all {len(steps)} "
            "hold together with 95%"
        )
    elif level is not None:
        text += f"; a {level:.0%} interval"
    if 1 < n_seeds[-1] < wording.SEEDS_THAT_COVER:
        text += f"; {n_seeds[-1]} seeds understate the luck of training"
    if n_seeds == [1]:
        text += "; with one seed, the variation of training isn't covered"
    return text + "."


def near_chance(
    steps: Sequence[LabelCountDifference], intervals: dict[tuple, Interval], chance: float
) -> list[str]:
    """Warnings where a difference lies between scores that a guess may have, too.

    Args:
        steps: list of `label_curve.Step` of one pair.
        intervals: dict of (arm, labels) -> `Interval` at 95%.
        chance: float, the score of a guess.
    """
    sentences = []
    for step in steps:
        if step.verdict == "undefined":
            continue
        both = [(arm, intervals[arm.arm, arm.labels]) for arm in (step.a, step.b)]
        # An interval without bounds shows nothing to be above chance.
        low = [pair for pair in both if not pair[1].low > chance]
        ahead = {"better": step.a, "worse": step.b}.get(step.verdict)
        guess = wording.number(chance)
        names = [f"{model.title}, {wording.estimate(interval)}," for model, interval in low]
        if len(low) == 2:
            sentences.append(
                f"With {step.a.labels_text}, neither {names[0]} nor {names[1]} is shown to be "
                f"above a guess, {guess}: their difference tells little."
            )
        elif low and low[0][0] is ahead:
            sentences.append(
                f"With {step.a.labels_text}, {names[0]} is ahead, but not shown to be above a "
                f"guess, {guess}."
            )
        elif low and ahead is not None and low[0][1].estimate <= chance:
            sentences.append(
                f"With {step.a.labels_text}, {ahead.title} is ahead of {names[0]} which is no "
                f"better than a guess, {guess}."
            )
    return sentences

"""Sentences on label efficiency: with how many labels an arm is better, and where that ends.

"Better" needs an interval that excludes 0, at that very number of labels; "worth it" one that lies
above the margin. A turning point needs both sides: a number of labels where the arm is better, and
a larger one where it is shown to be worse or equivalent. Where no difference was shown, it may
be too few photos or runs that tell; so the bound is given. Between two numbers nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dermssl.evaluation.contrasts import LEVEL, Contrast
from dermssl.reporting import wording
from dermssl.reporting.contrast_wording import NAME, subject

if TYPE_CHECKING:
    from dermssl.evaluation.interval import Interval

NOTHING_SAID = {"one run", "undefined"}  # verdicts that tell nothing of two ways of training


def verdict(steps: Sequence[Contrast], counts: dict[str, Any], split: str) -> str:
    """The sentence on one pair of arms.

    Args:
        steps: of one pair, fewest labels first.
        counts: from `metric_tables.counts`.
        split: that was scored.

    Returns:
        The finding, the evidence at every number of labels, and what it rests on.
    """
    evidence = "; ".join(_evidence(step, counts["grouped_by"]) for step in steps)
    return f"{_finding(steps)}: {evidence}. {_basis(steps, counts, split)}"


def _finding(steps):
    a, b, margin = subject(steps[0].a), subject(steps[0].b), steps[0].margin
    at: dict[str, list[Contrast]] = {}
    for step in steps:
        at.setdefault(step.verdict, []).append(step)
    if not at.keys() - NOTHING_SAID:
        why = "there are too few records for it"
        if all(map(_is_same, steps)):
            why = "both gave the same answers"
        if "one run" in at:
            why = "one run of an arm shows nothing of its way of training"
        return f"Nothing can be said of {a} against {b}, since {why}"
    worth = [step for step in at.get("better", []) if step.is_worth_it]
    beyond = [step for step in at.get("better", []) if not step.is_worth_it]
    parts = []
    if worth:
        parts.append(f"worth it (better by more than {margin:g}) with {_with(worth)}")
    if beyond:
        less = f" (by more than {margin:g} isn't shown)" if margin else ""
        parts.append(f"better{less} with {_with(beyond)}")
    if "worse" in at:
        parts.append(f"worse with {_with(at['worse'])}")
    text = f"Against {b}, {a} is {_and(parts)}" if parts else ""
    if "equivalent" in at:
        same = f"equivalent within {margin:g} with {_with(at['equivalent'])}"
        text = f"{text}; {same}" if text else f"{_capital(a)} and {b} are {same}"
    if "not told apart" in at:
        open_ = at["not told apart"]
        most = max((step.interval for step in open_), key=lambda interval: interval.reach)
        bound = wording.number(most.reach, wording.digits(most))
        rest = f"not told apart with {_with(open_)} (differences up to {bound} aren't ruled out)"
        text = f"{text}; {rest}" if text else f"{_capital(a)} and {b} are {rest}"
    return text + _turning_point(steps)


def _turning_point(steps):
    """Where being better ends: shown on both sides, and in one direction, or said to be unknown."""
    better = [k for k, step in enumerate(steps) if step.verdict == "better"]
    ended = [k for k, step in enumerate(steps) if step.verdict in ("worse", "equivalent")]
    if not better:
        return ""
    if ended and max(better) < min(ended):
        low, high = _number(steps[max(better)]), _number(steps[min(ended)])
        return f". Where that ends lies between {low} and {high} labels"
    if not ended and max(better) < len(steps) - 1:
        return ". Where that ends can't be said"
    return ""


def _with(steps):
    numbers = [_number(step) for step in steps]
    labels = "label" if numbers == ["1"] else "labels"
    return f"{_and(numbers)} {labels}"


def _and(texts):
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def _capital(text):
    return text[:1].upper() + text[1:]


def _number(step):
    return f"{step.a.members[0].status['n_labels']:,}"


def _evidence(step, unit):
    where, shown = f"with {step.a.labels_text}", _difference(step.interval)
    if step.verdict == "one run":
        over = f" over {unit}s alone" if step.interval.is_defined else ""
        each = "one run each" if max(step.n_runs) == 1 else "one run of an arm"
        return f"{where} {shown}{over}, {each}, so no verdict"
    if step.verdict == "undefined":
        return f"{where} {'the same answers' if _is_same(step) else 'nothing can be said'}"
    within = f" within {step.margin:g}" if step.verdict == "equivalent" else ""
    return f"{where} {shown}, {step.verdict}{within}"


def _is_same(step):
    """Whether both arms gave the same answers, so that nothing varies."""
    found = step.interval
    return not found.is_defined and found.estimate == 0 and found.record_variance == 0


def _difference(interval):
    return wording.signed(interval) if interval.is_defined else wording.NOT_AVAILABLE


def _basis(steps, counts, split):
    n, m = ([step.n_runs[side] for step in steps] for side in (0, 1))
    runs = wording.count(min(n), "run") + (" each" if n == m else f" against {min(m)}")
    if len(set(n)) + len(set(m)) > 2:
        runs = f"at least {runs}"
    text = f"Differences in {NAME} on {wording.photos(counts, split)}, {runs}"
    planned = [step for step in steps if step.is_planned]
    rest = [step for step in steps if not step.is_planned]
    if planned:
        text += f"; the planned comparison ({_with(planned)}) at {LEVEL:.0%}"
    if rest:
        family, level = rest[0].family, f"{100 * rest[0].level:.3g}%"
        if family > 1:
            text += f"; {level} intervals, of {family} comparisons that hold together with "
            text += f"{LEVEL:.0%}"
        else:
            text += f"; {level} interval, the one{' other' if planned else ''} comparison here"
    return text + "."


def near_chance(
    steps: Sequence[Contrast], intervals: dict[tuple, Interval], chance: float
) -> list[str]:
    """Warnings where a difference lies between scores that a guess may have, too.

    Args:
        steps: contrasts.
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
                f"With {step.a.labels_text}, {ahead.title} is ahead of {names[0]} which isn't "
                f"shown to be better than a guess, {guess}."
            )
    return sentences

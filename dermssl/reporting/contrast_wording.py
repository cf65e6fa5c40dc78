"""Sentences on comparisons: each follows from its interval, its runs and the margin, by rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from dermssl.evaluation.contrasts import LEVEL, METRIC, Contrast
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.metric_tables import NAMES
from dermssl.evaluation.run_groups import RunGroup
from dermssl.reporting.wording import count, digits, number, photos

NAME = NAMES[METRIC]


def subject(model: RunGroup) -> str:
    """What a model is called where a sentence speaks of its way of training.

    Several runs from a single pretraining run say nothing of another pretraining run.
    """
    one = model.n_pretrainings == 1 and len(model.members) > 1
    return f"this pretraining run of {model.title}" if one else model.title


def sentence(contrast: Contrast, counts: dict[str, Any], split: str) -> str:
    """The verdict on model a against model b, as one sentence.

    Args:
        contrast: what is compared.
        counts: from `metric_tables.counts`.
        split: that was scored.
    """
    a, b, found = contrast.a, contrast.b, contrast.interval
    where = f"With {a.labels_text}, "
    if contrast.verdict == "one run":
        return where + _one_run(contrast, counts, split)
    basis = f"{_level(contrast)}; {_runs(contrast)}, {photos(counts, split)}"
    if not found.is_defined:
        if found.estimate == 0 and found.record_variance == 0:
            same = f"{subject(a)} and {subject(b)} gave the same answers in every run"
            return f"{where}{same}: how far they would differ elsewhere can't be told."
        return (
            f"{where}nothing can be said of {subject(a)} against {subject(b)}: the difference in "
            f"{NAME} has no defined interval; too few records for it ({basis})."
        )
    text = {
        "better": _clear, "worse": _clear, "equivalent": _equivalent,
        "not told apart": _not_told_apart,
    }[contrast.verdict](contrast, basis)  # fmt: skip
    return f"{where}{text}."


def _clear(contrast, basis):
    found, margin = contrast.interval, contrast.margin
    places = digits(found)
    size = number(abs(found.estimate), places)
    says = "beats {b} by" if contrast.verdict == "better" else "is worse than {b} by"
    text = f"{subject(contrast.a)} {says.format(b=subject(contrast.b))} {size} {NAME} "
    text += f"({_bounds(found)} of the difference, {basis})"
    if not margin:
        return text
    shown = f"the margin of {margin:g}"
    if contrast.is_worth_it:
        return f"{text}, and is worth it: by more than {shown}"
    if min(abs(found.low), abs(found.high)) > margin:
        return f"{text}, by more than {shown}"
    if contrast.one_sided.reach < margin:
        return f"{text}, by less than {shown}"
    return f"{text}; that it is more than {shown} isn't shown"


def _equivalent(contrast, basis):
    return (
        f"{subject(contrast.a)} and {subject(contrast.b)} are equivalent within "
        f"{contrast.margin:g} {NAME} (two one-sided tests: {_bounds(contrast.one_sided)} of the "
        f"difference; {basis})"
    )


def _not_told_apart(contrast, basis):
    found, margin = contrast.interval, contrast.margin
    text = (
        f"{subject(contrast.a)} and {subject(contrast.b)} are not told apart in {NAME}: "
        f"differences up to {_bound(found.reach)} aren't ruled out "
        f"({_bounds(found)} of the difference, {basis})"
    )
    if contrast.is_not_inferior:
        text += (
            f"; {subject(contrast.a)} isn't worse by the margin of {margin:g} or more "
            f"(one-sided, {_bounds(contrast.one_sided)})"
        )
    return text


def _one_run(contrast, counts, split):
    n, m = contrast.n_runs
    a, b, found = contrast.a.title, contrast.b.title, contrast.interval
    who = "one run each" if n == m else f"one run of {a if n == 1 else b} only"
    of_a = f"this run of {a}" if n == 1 else f"the mean of {count(n, 'run')} of {a}"
    of_b = f"this run of {b}" if m == 1 else f"the mean of {count(m, 'run')} of {b}"
    unit = counts["grouped_by"]
    if found.estimate == 0:
        scored = f"{of_a} scored the same {NAME} as {of_b}"
    else:
        size = number(abs(found.estimate), digits(found) if found.is_defined else 3)
        scored = f"{of_a} scored {size} {'more' if found.estimate > 0 else 'less'} {NAME} "
        scored += f"than {of_b}"
    over = f" ({_bounds(found)} over {unit}s alone)" if found.is_defined else ""
    return (
        f"{who}: on these {photos(counts, split)}, {scored}{over}. Another training run may turn "
        "it round; nothing is said of the two starts."
    )


def _bounds(interval: Interval) -> str:
    """ "98.3% interval 0.01 to 0.09"."""
    return f"{100 * interval.level:.3g}% interval {_bound(interval.low)} to {_bound(interval.high)}"


def _bound(value: float) -> str:
    """Two decimals, or as many as show that it isn't 0."""
    return number(value, digits(Interval(value, value, value)))


def _level(contrast):
    if contrast.is_planned:
        return "the comparison that was planned"
    if contrast.family == 1:
        return "the one comparison of this report"
    return f"one of {contrast.family} comparisons that hold together with {LEVEL:.0%}"


def _runs(contrast):
    n, m = contrast.n_runs
    return count(n, "run") + (" each" if n == m else f" against {m}")


def what_narrows(contrasts: Sequence[Contrast]) -> str:
    """Would more training runs or more lesions narrow the intervals? "" where nothing tells.

    The parts are compared as they enter the half width, see `seed_draws`: a variance known from few
    runs counts more than one of many lesions.
    """
    runs = lesions = 0
    for contrast in contrasts:
        found = contrast.interval
        if np.isnan(found.seed_variance) or np.isnan(found.record_variance):
            continue
        tail = (1 + found.level) / 2
        of_runs = stats.t.ppf(tail, found.df) ** 2 * found.seed_variance
        of_lesions = stats.norm.ppf(tail) ** 2 * found.record_variance
        runs += bool(of_runs > of_lesions)
        lesions += bool(of_runs <= of_lesions)
    if not runs + lesions:
        return ""
    more = "More training runs" if runs > lesions else "More lesions"
    other = "more lesions" if runs > lesions else "more training runs"
    which = f"{max(runs, lesions)} of the {count(runs + lesions, 'interval')}"
    which = "the interval" if runs + lesions == 1 else which
    return (
        f"{more} would narrow {which} more than {other}: the larger part of the width comes from "
        f"{'the luck of training' if runs > lesions else 'the choice of lesions'}."
    )

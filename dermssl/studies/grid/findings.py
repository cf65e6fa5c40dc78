"""Derive a grid's findings from intervals: the best cell, the effect of each axis.

Every sentence follows from an interval by a rule, so that nobody can hope into it. The cells of a
model are trained alike, so the luck of one cell is one variance, pooled over them. A best cell is
picked after the fact: its differences are held to Tukey's quantile of the largest of all, and its
accuracy has an interval that holds for all cells together. An axis is held against a reference
fixed beforehand (the shallowest depth, the first augmentation, the first model), by the means over
cells of one seed: what these cells share (the order of the photos, the first head) doesn't average
out, so that their mean has a luck of its own. All comparisons of a report are one family
(Bonferroni). With one seed the luck isn't known, and nothing is called better. Only whole cells
take part: one that lost a seed is shown, and compared with none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from dermssl.evaluation import bootstrap
from dermssl.evaluation import interval as intervals
from dermssl.evaluation.bootstrap_metrics import planned
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.seed_draws import Luck, SeedDraws
from dermssl.reporting import wording
from dermssl.studies.grid.read import CellKey, GridResults

N_RESAMPLES = 1000


@dataclass(frozen=True)
class CellScore:
    """One entry over its seeds: mean accuracy, spread, and of how many seeds."""

    key: CellKey
    mean: float
    spread: float
    n_seeds: int


@dataclass(frozen=True)
class CellComparison:
    """The best cell against another, with the interval of their difference."""

    other: CellKey
    difference: Interval


@dataclass(frozen=True)
class BestCell:
    """The highest cell of a model, and the cells that it isn't shown to be better than.

    Attributes:
        cell: the highest; the first of several that are equally high.
        interval: of its accuracy; holds for all cells of the model together, so for the highest.
        against: each other cell.
        as_high: keys of the other cells whose accuracy is the same.
    """

    cell: CellScore
    interval: Interval
    against: tuple[CellComparison, ...]
    as_high: tuple[CellKey, ...] = ()

    @property
    def ties(self) -> list[CellKey]:
        """Keys of the cells that it isn't shown to be better than."""
        return [a.other for a in self.against if verdict(a.difference) != "better"]

    @property
    def is_clear(self) -> bool:
        """Whether it is shown to be better than every other cell."""
        return bool(self.against) and not self.ties


def verdict(interval: Interval) -> str:
    """As `interval.verdict`, but "one run" where one seed can't tell the luck of training."""
    return "one run" if interval.n_runs < 2 else intervals.verdict(interval)


def cells(grid: GridResults, model: str) -> dict[CellKey, CellScore]:
    """dict of key -> `CellScore` of one model, those that lost a seed too."""
    found = {}
    for key, by_seed in grid.p.items():
        if key[0] == model:
            each = [float(np.mean(p.argmax(axis=1) == grid.y)) for p in by_seed.values()]
            spread = float(np.std(each, ddof=1)) if len(each) > 1 else np.nan
            found[key] = CellScore(key, float(np.mean(each)), spread, len(each))
    return found


def luck(grid: GridResults, model: str) -> Luck | None:
    """The luck of a cell's mean over its seeds.

    The variance over seeds is pooled over the model's A whole cells, with A (S - 1) degrees of
    freedom. None with one seed.
    """
    spreads = [cell.spread for key, cell in cells(grid, model).items() if grid.is_whole(key)]
    return _pooled(np.square(spreads), len(grid.seeds))


def _pooled(variances, n_seeds):
    """`Luck` of a mean over seeds, of several variances over as many; None with one seed."""
    if n_seeds < 2:
        return None
    return Luck(float(np.mean(variances)) / n_seeds, float(len(variances) * (n_seeds - 1)))


def family(grid: GridResults) -> int:
    """Comparisons that a report of this grid makes; they hold together with 95%.

    One best cell a model (all its differences together, by Tukey), each value of an axis but the
    reference, each model but the first. 0 where there is but one cell.
    """
    n = len(grid.models) - 1
    for model in grid.models:
        n += len(grid.whole(model)) > 1
        n += sum(len(grid.planned(model, axis)) - 1 for axis in ("depth", "augmentation"))
    return max(0, n)


def level(grid: GridResults) -> float:
    """The level of each comparison of the family."""
    return intervals.joint_level(family(grid))


def bests(grid: GridResults) -> dict[str, BestCell]:
    """The `BestCell` of each model that has a whole cell: the highest mean over seeds.

    A difference to another cell is clear where it exceeds
    q / sqrt(2) sqrt(V_records + 2 s^2 / S), q Tukey's studentised range over all cells with the
    degrees of freedom of s^2 (Tukey 1953).

    Returns:
        dict of model -> `BestCell`.
    """
    made, at = {}, level(grid)
    for model in grid.models:
        whole, found = grid.whole(model), cells(grid, model)
        if not whole:
            continue
        top = max(whole, key=lambda key: found[key].mean)
        draws, own = _scores(grid, {key: [key] for key in whole}), luck(grid, model)
        of_all = draws[top].interval(intervals.joint_level(len(whole)), own)
        q = None
        if own and len(whole) > 1:
            q = _tukey(at, len(whole), own.df) / np.sqrt(2)
        against = tuple(
            CellComparison(key, (draws[top] - draws[key]).interval(at, own, q))
            for key in whole
            if key != top
        )
        as_high = tuple(
            key for key in whole
            if key != top and abs(found[key].mean - found[top].mean) < intervals.ROUNDING
        )  # fmt: skip
        made[model] = BestCell(found[top], of_all, against, as_high)
    return made


@functools.cache  # a numerical integral, the same for all models of equally many cells
def _tukey(at: float, n_cells: int, df: float) -> float:
    """The quantile of the studentised range."""
    return float(stats.studentized_range.ppf(at, n_cells, df))


def _scores(grid: GridResults, sides: Mapping[Any, Sequence[CellKey]]) -> dict[Any, SeedDraws]:
    """Mean accuracy of groups of cells, a row a seed: name -> `SeedDraws` on the same draws."""
    plan = {}
    for name, keys in sides.items():
        by_seed = zip(*(_hits(grid, key) for key in keys))
        plan[name] = planned("mean", None, [np.mean(each, axis=0) for each in by_seed])
    # Over several runs the intervals of shares are by formula: draws serve a lone run alone.
    n_resamples = N_RESAMPLES if len(grid.seeds) == 1 else 2
    draws = bootstrap.score(plan, grid.groups, n_resamples=n_resamples)
    return {
        name: replace(one, basis=replace(one.basis, low=0.0, high=1.0))
        for name, one in draws.items()
    }


def _hits(grid, key):
    """list of float (n,), one a seed: 1 where a cell is right."""
    return [(p.argmax(axis=1) == grid.y).astype(float) for p in grid.by_seed(key)]


def axis_effects(
    grid: GridResults, model: str, axis: str
) -> tuple[Any, list[tuple[Any, Interval]]]:
    """Each value of an axis against its reference, the other axis held equal.

    Args:
        grid: `GridResults`.
        model: str.
        axis: "depth" (reference: the shallowest) or "augmentation" (the first).

    Returns:
        reference, list of (value, `Interval` of the difference), at the level of the family.
        None of a value without a whole cell to compare.
    """
    place = {"augmentation": 1, "depth": 2}[axis]
    values = grid.planned(model, axis)
    whole, sides = set(grid.whole(model)), {}
    for value in values[1:]:
        pairs = []
        for key in sorted(whole):
            other = tuple(values[0] if k == place else part for k, part in enumerate(key))
            if key[place] == value and other in whole:
                pairs.append((key, other))
        if pairs:
            sides[value, True], sides[value, False] = zip(*pairs)
    draws, at = _scores(grid, sides), level(grid)
    found = []
    for value, is_value in sides:
        if is_value:
            # Means over as many cells have one luck, whatever the cells of a seed share.
            alike = {keys: side for side, keys in sides.items()
                     if len(keys) == len(sides[value, True])}  # fmt: skip
            own = _luck_of(draws[side] for side in alike.values())
            difference = draws[value, True] - draws[value, False]
            found.append((value, difference.interval(at, own)))
    return values[0], found


def _luck_of(means: Iterable[SeedDraws]) -> Luck | None:
    """Pooled over several means over cells, a row a seed; None with one seed."""
    samples = [one.sample for one in means]
    spreads = [np.var(rows, ddof=1) if len(rows) > 1 else np.nan for rows in samples]
    return _pooled(spreads, len(samples[0]))


def model_effects(grid: GridResults) -> tuple[str, list[tuple[str, Interval]]]:
    """Each model against the first, by the means over all cells of the augmentations they share.

    A mean of all cells, since the highest one was picked by the test photos. Models differ in their
    luck, so each has that of its own means, a mean a seed (Welch).

    Returns:
        reference, list of (model, `Interval` of the difference), as `axis_effects` gives them.
    """
    reference, *others = grid.status["config"]["grid"]["models"]
    found = []
    for model in others:
        sides = {name: grid.whole(name) for name in (model, reference)}
        shared = set.intersection(*({key[1] for key in keys} for keys in sides.values()))
        sides = {name: [k for k in keys if k[1] in shared] for name, keys in sides.items()}
        if shared:
            draws = _scores(grid, sides)
            difference = draws[model] - draws[reference]
            found.append((model, difference.interval(level(grid))))
    return reference, found


def sentences(grid: GridResults, model: str, top: BestCell | None) -> list[str]:
    """What can be said of one model, as a list of sentences.

    Args:
        grid: `GridResults`.
        model: str.
        top: `BestCell`, or None where no cell has all its seeds.
    """
    if top is None:
        return [f"{model}: no cell has all its seeds, so that none is compared."]
    n = len(top.against) + 1
    high = f"mean accuracy {top.cell.mean:.3f}"
    every = "both" if n == 2 else f"all {n}"
    joint = f"; holds for {every} cells together" if n > 1 else ""
    seeds = "" if top.interval.n_runs > 1 else ", over test photos alone"
    bounds = f"({100 * top.interval.level:.3g}% interval {span(top.interval)}{seeds}{joint})"
    said = [f"{model}: the highest cell is {describe(top.cell.key)}, {high} {bounds}."]
    if top.as_high:
        keys = [top.cell.key, *top.as_high]
        said = [f"{model}: {len(keys)} of {n} cells tie for the highest {high} {bounds}: "
                f"{_listed(keys)}."]  # fmt: skip
    if n > 1:
        found = cells(grid, model)
        whole = np.mean([found[key].mean for key in grid.whole(model)])
        said.append(
            f"As the highest of {n} it is likely too high: the mean of {every} is {whole:.3f}."
        )
    if lost := [describe(key) for key in grid.p if key[0] == model and not grid.is_whole(key)]:
        said.append(f"Not compared, as a seed has no result: {'; '.join(lost)}.")
    if (sentence := _against_one_answer(grid, top)) is not None:
        said.append(sentence)
    if top.against:
        said.append(_against_others(top))
    for axis in ("depth", "augmentation"):
        reference, effects = axis_effects(grid, model, axis)
        if effects:
            base = label(axis, reference) if axis == "depth" else f"'{reference}'"
            said.append(effect_sentence(axis, base, [
                (label(axis, value), difference) for value, difference in effects
            ]))  # fmt: skip
        elif len(grid.planned(model, axis)) > 1:
            said.append(
                f"Of the {axis} nothing is said: {label(axis, reference)}, which the others would "
                "be held against, or all the others, lack whole cells."
            )
    return said


def _against_others(top: BestCell) -> str:
    n = len(top.against)
    if top.is_clear:
        others = "the other cell" if n == 1 else f"each of the {n} other cells"
        return f"It is shown to be better than {others}."
    if top.against[0].difference.n_runs < 2:
        return "With one seed a cell none is called better: the luck of training isn't known."
    others = "the other cell" if n == 1 else f"{len(top.ties)} of the {n} other cells"
    open_ = [one.difference for one in top.against if one.other in top.ties]
    known = [one.reach for one in open_ if one.is_defined]
    bound = (
        f"differences up to {wording.number(max(known))} aren't ruled out, and " if known else ""
    )
    return (
        f"It is not told apart from {others} ({_listed(top.ties)}): {bound}these numbers name no "
        "winner among them."
    )


def _against_one_answer(grid, top):
    """What always giving the commonest class would score, where the best isn't clearly above."""
    counts = np.bincount(grid.y, minlength=len(grid.taxonomy.fine))
    share = counts.max() / counts.sum()
    if top.interval.is_defined and top.interval.low > share:
        return None
    title = grid.taxonomy.titles[counts.argmax()]
    return f"Always answering {title} scores {share:.3f}: it is not shown to do better than that."


def effect_sentence(axis: str, base: str, effects: Sequence[tuple[str, Interval]]) -> str:
    """One sentence on an axis: list of (value in words, `Interval`), against `base`."""
    verdicts = [verdict(difference) for _, difference in effects]
    listed = "; ".join(
        f"{value} {wording.signed(difference, 3)}"
        + (", differs" if said in ("better", "worse") else "")
        for (value, difference), said in zip(effects, verdicts)
    )
    if "one run" in verdicts:
        return (
            f"One seed: of the {axis} nothing is concluded; on these photos, against {base}: "
            f"{listed} (intervals over test photos alone)."
        )
    if {"better", "worse"} & set(verdicts):
        return f"{axis.capitalize()} makes a difference, against {base}: {listed}."
    known = [difference.reach for _, difference in effects if difference.is_defined]
    if not known:
        return (
            f"Of the {axis} nothing can be said, against {base}: too few independent photos, or "
            f"the same answers ({listed})."
        )
    bound = wording.number(max(known))
    return (
        f"No {axis} is told apart from {base}: differences up to {bound} aren't ruled out "
        f"({listed})."
    )


def _digits(interval: Interval) -> int:
    return max(3, wording.digits(interval)) if interval.is_defined else 3


def label(axis: str, value: Any) -> str:
    """A value of an axis, in words.

    >>> label("depth", -1)
    'all layers'
    """
    if axis == "augmentation":
        return str(value)
    return "all layers" if value < 0 else f"depth {value}"


def describe(key: CellKey) -> str:
    """A cell in words: its depth and augmentation."""
    return f"{label('depth', key[2])}, {key[1]}"


def _listed(keys: Sequence[CellKey]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return "; ".join(map(describe, keys[:3])) + more


def span(interval: Interval) -> str:
    """ "0.650 to 0.790", or n/a."""
    if not interval.is_defined:
        return "n/a"
    digits = _digits(interval)
    return f"{wording.number(interval.low, digits)} to {wording.number(interval.high, digits)}"

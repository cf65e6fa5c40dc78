"""Derive a grid's findings from intervals: the best cell, its ties, the effect of each axis.

Every sentence follows from an interval by a rule, so that nobody can hope into it. A best
cell is picked after the fact, so it is held against all others; an axis is held against a
reference fixed beforehand (the shallowest depth, the first augmentation, the first model).
Only whole cells take part: one that lost a seed is shown, and compared with none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermssl.evaluation import bootstrap, hypothesis_tests, pair_tests
from dermssl.evaluation.bootstrap import Interval
from dermssl.reporting.wording import count
from dermssl.studies.grid.read import CellKey, GridResults

LEVEL = 0.95
N_RESAMPLES = 5000  # enough for the quantiles that 19 comparisons together ask for


@dataclass(frozen=True)
class CellScore:
    """One entry over its seeds: mean accuracy, spread, and of how many seeds."""

    key: CellKey
    mean: float
    spread: float
    n_seeds: int


@dataclass(frozen=True)
class CellComparison:
    """The best cell against another: difference with interval, McNemar's p, Holm's p."""

    other: CellKey
    difference: Interval
    p: float
    holm: float


@dataclass(frozen=True)
class BestCell:
    """The best cell of a model, and the cells that it doesn't clearly beat."""

    cell: CellScore
    interval: Interval
    against: tuple[CellComparison, ...]

    @property
    def ties(self) -> list[CellKey]:
        """Keys of the cells that it isn't shown to beat."""
        return [a.other for a in self.against if bootstrap.verdict(a.difference) != "better"]

    @property
    def is_clear(self) -> bool:
        """Whether it beats every other cell."""
        return bool(self.against) and not self.ties


def cells(grid: GridResults, model: str) -> dict[CellKey, CellScore]:
    """dict of key -> `CellScore` of one model, those that lost a seed too."""
    found = {}
    for key, by_seed in grid.p.items():
        if key[0] == model:
            each = [float(np.mean(p.argmax(axis=1) == grid.y)) for p in by_seed.values()]
            spread = float(np.std(each, ddof=1)) if len(each) > 1 else np.nan
            found[key] = CellScore(key, float(np.mean(each)), spread, len(each))
    return found


def bests(grid: GridResults) -> dict[str, BestCell]:
    """The `BestCell` of each model that has a whole cell: the highest mean over seeds.

    Differences to its other cells are paired by photo and seed, bootstrapped over lesions and
    seeds, and their intervals hold together (Bonferroni). McNemar compares the mean
    probabilities over seeds on one photo of each group; Holm corrects it over the tests of all
    models.

    Returns:
        dict of model -> `BestCell`.
    """
    alone = pair_tests.independent(grid)
    tops, pairs = {}, []
    for model in grid.models:
        found = cells(grid, model)
        whole = grid.whole(model)
        if whole:
            top = max(whole, key=lambda key: found[key].mean)
            tops[model] = found[top]
            pairs += [(top, key) for key in whole if key != top]
    p = [hypothesis_tests.mcnemar(*(_right(grid, key)[alone] for key in pair)).p for pair in pairs]
    tested = dict(zip(pairs, zip(p, hypothesis_tests.holm(p).tolist())))
    made = {}
    for model, cell in tops.items():
        own = [pair for pair in pairs if pair[0] == cell.key]
        interval = hypothesis_tests.share_with_interval(
            "accuracy", grid.y, grid.by_seed(cell.key), grid.groups,
            n_resamples=N_RESAMPLES, level=LEVEL,
        )  # fmt: skip
        made[model] = BestCell(cell, interval, tuple(
            CellComparison(other, _difference(grid, [top], [other], len(own)), *tested[top, other])
            for top, other in own
        ))  # fmt: skip
    return made


def _right(grid, key):
    return np.mean(grid.by_seed(key), axis=0).argmax(axis=1) == grid.y


def _difference(grid, keys_a, keys_b, n_comparisons):
    """Mean accuracy of some cells less that of others; lesions and seeds are redrawn.

    Several cells of one seed are one draw of a seed's luck: their hits are averaged first.
    """
    first, second = (
        [np.mean(each, axis=0) for each in zip(*(_hits(grid, key) for key in keys))]
        for keys in (keys_a, keys_b)
    )
    return bootstrap.paired_difference(
        "mean", None, first, second, grid.groups,
        n_resamples=N_RESAMPLES, level=1 - (1 - LEVEL) / max(1, n_comparisons),
    )  # fmt: skip


def _hits(grid, key):
    """list of float (n,), one a seed: 1 where a cell is right."""
    return [(p.argmax(axis=1) == grid.y).astype(float) for p in grid.by_seed(key)]


def axis_effects(
    grid: GridResults, model: str, axis: str
) -> tuple[Any, list[tuple[Any, Interval]]]:
    """Each value of an axis against its reference, the other axis held equal.

    Args:
        grid: `grid_read.Grid`.
        model: str.
        axis: "depth" (reference: the shallowest) or "augmentation" (the first).

    Returns:
        reference, list of (value, `Interval` of the difference); the intervals hold together
        (Bonferroni). None of a value without a whole cell to compare.
    """
    place = {"augmentation": 1, "depth": 2}[axis]
    values = grid.planned(model, axis)
    whole, found = set(grid.whole(model)), []
    for value in values[1:]:
        pairs = []
        for key in sorted(whole):
            other = tuple(values[0] if k == place else part for k, part in enumerate(key))
            if key[place] == value and other in whole:
                pairs.append((key, other))
        if pairs:
            keys, references = zip(*pairs)
            found.append((value, _difference(grid, keys, references, len(values) - 1)))
    return values[0], found


def model_effects(grid: GridResults) -> tuple[str, list[tuple[str, Interval]]]:
    """Each model against the first, by the means over all cells of the augmentations they share.

    A mean of all cells, since the highest one was picked by the test photos.

    Returns:
        reference, list of (model, `Interval` of the difference), as `axis_effects` gives them.
    """
    reference, *others = grid.status["config"]["grid"]["models"]
    found = []
    for model in others:
        sides = [grid.whole(model), grid.whole(reference)]
        shared = set.intersection(*({key[1] for key in keys} for keys in sides))
        sides = [[key for key in keys if key[1] in shared] for keys in sides]
        if shared:
            found.append((model, _difference(grid, sides[0], sides[1], len(others))))
    return reference, found


def sentences(grid: GridResults, model: str, top: BestCell | None) -> list[str]:
    """What can be said of one model, as a list of sentences.

    Args:
        grid: `grid_read.Grid`.
        model: str.
        top: `BestCell`, or None where no cell has all its seeds.
    """
    if top is None:
        return [f"{model}: no cell has all its seeds, so that none is compared."]
    name = f"{describe(top.cell.key)}, mean accuracy {top.cell.mean:.3f}"
    said = [f"{model}: the highest cell is {name} (95% interval {span(top.interval)})."]
    if lost := [describe(key) for key in grid.p if key[0] == model and not grid.is_whole(key)]:
        said.append(f"Not compared, as a seed has no result: {'; '.join(lost)}.")
    if (sentence := _against_one_answer(grid, top)) is not None:
        said.append(sentence)
    if top.is_clear:
        said.append(f"It is better than each of {count(len(top.against), 'other cell')}.")
    elif top.against:
        shown = "; ".join(describe(key) for key in top.ties[:3])
        more = f" and {len(top.ties) - 3} more" if len(top.ties) > 3 else ""
        said.append(
            f"It ties with {len(top.ties)} of "
            f"{count(len(top.against), 'other cell')} ({shown}{more}): "
            "these numbers name no winner among them."
        )
    for axis in ("depth", "augmentation"):
        reference, effects = axis_effects(grid, model, axis)
        if effects:
            said.append(effect_sentence(axis, label(axis, reference), [
                (label(axis, value), difference) for value, difference in effects
            ]))  # fmt: skip
        elif len(grid.planned(model, axis)) > 1:
            said.append(
                f"Of {axis} nothing is said: {label(axis, reference)}, which the others would be "
                "held against, or all the others, lack whole cells."
            )
    return said


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
    named: dict[str, list[tuple[str, Interval]]] = {
        "better": [],
        "worse": [],
        "tie": [],
        "undefined": [],
    }
    for value, difference in effects:
        named[bootstrap.verdict(difference)].append((value, difference))
    ties = [value for value, _ in named["tie"]]
    clear = [each for each in effects if each in named["better"] + named["worse"]]
    said = []
    if clear:
        listed = "; ".join(
            f"{value} is {abs(d.estimate):.3f} {'above' if d.estimate > 0 else 'below'} "
            f"(difference {span(d)})"
            for value, d in clear
        )
        rest = f"; {', '.join(ties)} {'ties' if len(ties) == 1 else 'tie'} with it" if ties else ""
        said.append(f"{axis.capitalize()} matters, against {base}: {listed}{rest}")
    elif ties:
        who = f"every {axis} ties" if len(ties) == len(effects) else f"{', '.join(ties)}: a tie"
        widest = max(abs(end) for _, d in named["tie"] for end in (d.low, d.high))
        bound = f"differences up to {widest:.3f} can't be ruled out"
        bound = bound if widest else "each lesion has equally many hits"
        said.append(f"No effect of {axis} is shown: {who} with {base}; {bound}")
    if named["undefined"]:
        of = ", ".join(value for value, _ in named["undefined"])
        said.append(f"of {of} against {base} nothing can be said: too few independent photos")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


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


def span(interval: Interval) -> str:
    """[low, high], or n/a."""
    if not interval.is_defined:
        return "n/a"
    return f"[{_bound(interval.low)}, {_bound(interval.high)}]"


def _bound(value):
    # One that rounds to 0 would look as if the interval held it.
    return f"{value:.1g}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"

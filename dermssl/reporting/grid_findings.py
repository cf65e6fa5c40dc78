"""What a grid's numbers show: the best cell, its ties, and whether an axis matters.

Every sentence follows from an interval by a rule, so that nobody can hope into it. A best
cell is picked after the fact, so it is held against all others; an axis is held against a
reference fixed beforehand (the shallowest depth, the first augmentation).
"""

from dataclasses import dataclass

import numpy as np

from dermssl.evaluation import statistics
from dermssl.evaluation.resampling import Interval
from dermssl.reporting.sentences import count

LEVEL = 0.95
N_RESAMPLES = 2000


@dataclass(frozen=True)
class Cell:
    """One entry over its seeds: mean accuracy, spread, and the accuracies themselves."""

    key: tuple
    mean: float
    spread: float
    by_seed: tuple[float, ...]


@dataclass(frozen=True)
class Against:
    """The best cell against another: difference with interval, McNemar's p, Holm's p."""

    other: tuple
    difference: Interval
    p: float
    holm: float


@dataclass(frozen=True)
class Best:
    """The best cell of a model, and the cells that it doesn't clearly beat."""

    cell: Cell
    interval: Interval
    against: tuple[Against, ...]

    @property
    def ties(self):
        """Keys of the cells whose difference from the best holds 0."""
        return [a.other for a in self.against if not a.difference.excludes_zero]

    @property
    def is_clear(self):
        """Whether it beats every other cell."""
        return bool(self.against) and not self.ties


def accuracy(y, p):
    """Share of photos whose most probable class is the true one."""
    return float((p.argmax(axis=1) == y).mean())


def cells(grid, model):
    """dict of key -> `Cell` of one model."""
    found = {}
    for key, seeds in grid.p.items():
        if key[0] == model:
            each = tuple(accuracy(grid.y, p) for p in seeds)
            spread = float(np.std(each, ddof=1)) if len(each) > 1 else np.nan
            found[key] = Cell(key, float(np.mean(each)), spread, each)
    return found


def best(grid, model):
    """`Best` of a model: the highest mean over seeds, against every other cell.

    Differences are paired by photo and seed, bootstrapped over lesions and seeds. McNemar
    compares the mean probabilities over seeds; Holm corrects it over all cells.
    """
    found = cells(grid, model)
    top = max(found.values(), key=lambda cell: cell.mean)
    interval = statistics.bootstrap_metric(
        "accuracy", grid.y, grid.p[top.key], grid.groups, n_resamples=N_RESAMPLES, level=LEVEL
    )
    others = [key for key in found if key != top.key]
    right = _right(grid, top.key)
    p_values = [statistics.mcnemar(right, _right(grid, key)).p for key in others]
    against = [
        Against(key, _difference(grid, [top.key], [key], LEVEL), p, float(holm))
        for key, p, holm in zip(others, p_values, statistics.holm(p_values))
    ]
    return Best(top, interval, tuple(against))


def _right(grid, key):
    return np.mean(grid.p[key], axis=0).argmax(axis=1) == grid.y


def _difference(grid, keys_a, keys_b, level):
    """Accuracy of some cells less that of others, pair by pair, seeds and lesions redrawn."""
    a, b = [], []
    for key_a, key_b in zip(keys_a, keys_b):
        shared = min(len(grid.p[key_a]), len(grid.p[key_b]))
        a += grid.p[key_a][:shared]
        b += grid.p[key_b][:shared]
    return statistics.paired_difference(
        "accuracy", grid.y, a, b, grid.groups, n_resamples=N_RESAMPLES, level=level
    )


def axis_effects(grid, model, axis):
    """Each value of an axis against its reference, the other axis held equal.

    Args:
        grid: `grid_read.Grid`.
        model: str.
        axis: "depth" (reference: the shallowest) or "augmentation" (the first).

    Returns:
        reference, list of (value, `Interval` of the difference, corrected for the number of
        values by Bonferroni).
    """
    place = {"augmentation": 1, "depth": 2}[axis]
    values = grid.depths(model) if axis == "depth" else grid.augmentations(model)
    found = []
    level = 1 - (1 - LEVEL) / max(1, len(values) - 1)
    for value in values[1:]:
        pairs = []
        for key in grid.p:
            other = tuple(values[0] if k == place else part for k, part in enumerate(key))
            if key[0] == model and key[place] == value and other in grid.p:
                pairs.append((key, other))
        if pairs:
            found.append((value, _difference(grid, *zip(*pairs), level)))
    return values[0], found


def sentences(grid, model, top):
    """What can be said of one model, as a list of sentences."""
    name = f"{describe(top.cell.key)}, mean accuracy {top.cell.mean:.3f}"
    said = [f"{model}: the highest cell is {name} (95% interval {span(top.interval)})."]
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
            said.append(_effect_sentence(axis, reference, effects))
    return said


def _against_one_answer(grid, top):
    """What always giving the commonest class would score, where the best isn't clearly above."""
    counts = np.bincount(grid.y, minlength=len(grid.taxonomy.fine))
    share = counts.max() / counts.sum()
    if top.interval.is_defined and top.interval.low > share:
        return None
    title = grid.taxonomy.titles[counts.argmax()]
    return f"Always answering {title} scores {share:.3f}: no cell is shown to do better than that."


def _effect_sentence(axis, reference, effects):
    clear = [(value, d) for value, d in effects if d.is_defined and d.excludes_zero]
    base = label(axis, reference)
    if not clear:
        widest = max(abs(end) for _, d in effects for end in (d.low, d.high))
        bound = "" if np.isnan(widest) else f"; differences up to {widest:.3f} can't be ruled out"
        bound = bound if widest else ", with equal predictions"
        return f"No effect of {axis} is shown: every {axis} ties with {base}{bound}."
    listed = "; ".join(
        f"{label(axis, value)} is {abs(d.estimate):.3f} {'above' if d.estimate > 0 else 'below'} "
        f"(difference {span(d)})"
        for value, d in clear
    )
    ties = [label(axis, value) for value, d in effects if not (d.is_defined and d.excludes_zero)]
    rest = f"; {', '.join(ties)} {'ties' if len(ties) == 1 else 'tie'} with it" if ties else ""
    return f"{axis.capitalize()} matters, against {base}: {listed}{rest}."


def label(axis, value):
    """A value of an axis, in words."""
    if axis == "augmentation":
        return str(value)
    return "all layers" if value < 0 else f"depth {value}"


def describe(key):
    """A cell in words: its depth and augmentation."""
    return f"{label('depth', key[2])}, {key[1]}"


def span(interval):
    """[low, high], or n/a."""
    if not interval.is_defined:
        return "n/a"
    return f"[{interval.low:.3f}, {interval.high:.3f}]"

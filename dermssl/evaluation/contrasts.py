"""The planned comparisons of a report: which models, at which level, with which verdict.

All comparisons that a report draws a sentence from are one family: each interval is at
1 - 0.05 / m, so that all m hold together with 95% (Bonferroni). A comparison that was named
beforehand as the primary one stands outside of it, at 95%.

A margin is the smallest difference that matters to the user. With it there are three verdicts
instead of two: better (or worse), equivalent within the margin (two one-sided tests, that is the
interval at 1 - 2 alpha lies within it), and not told apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dermssl.core.errors import UserError
from dermssl.evaluation import interval as intervals
from dermssl.evaluation import metric_tables
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.evaluation.seed_draws import SeedDifference, SeedDraws

LEVEL = 0.95  # of a family together
METRIC = metric_tables.PRIMARY
VERDICTS = ("better", "worse", "equivalent", "not told apart", "one run", "undefined")


@dataclass(frozen=True, eq=False)
class Contrast:
    """Model a against model b of equal labels, on the primary metric.

    Attributes:
        a, b: the two models.
        difference: a - b.
        family: comparisons that hold together with this one, itself among them.
        margin: smallest difference that matters; 0 where none was named.
        is_planned: whether it was named beforehand; its family is itself alone.
    """

    a: RunGroup
    b: RunGroup
    difference: SeedDifference
    family: int = 1
    margin: float = 0.0
    is_planned: bool = False

    @property
    def level(self) -> float:
        """Of its own interval."""
        return intervals.joint_level(self.family)

    @cached_property
    def interval(self) -> Interval:
        """Of a - b at `level`."""
        return self.difference.interval(self.level)

    @cached_property
    def one_sided(self) -> Interval:
        """Of a - b at 1 - 2 alpha: each end is a one-sided bound at the level alpha."""
        return self.difference.interval(1 - 2 * (1 - self.level))

    @property
    def n_runs(self) -> tuple[int, int]:
        """Runs of a and of b that count; equal predictions count once."""
        return self.difference.a.n_runs, self.difference.b.n_runs

    @property
    def sd(self) -> tuple[float, float]:
        """Standard deviation of the score over the runs of a and of b; NaN for one."""
        runs = (self.difference.a.merged(), self.difference.b.merged())
        a, b = (float(np.std(x.sample, ddof=1)) if x.n_runs > 1 else np.nan for x in runs)
        return a, b

    @property
    def verdict(self) -> str:
        """Of a, one of `VERDICTS`; "one run" where an arm has no second run to tell its luck."""
        found = self.interval
        if min(self.n_runs) < 2:
            return "one run"
        said = intervals.verdict(found)
        if said == "not told apart" and self._within():
            return "equivalent"
        return said

    @property
    def is_worth_it(self) -> bool:
        """Whether a is shown to be better by more than the margin."""
        return bool(self.margin and min(self.n_runs) > 1 and self.interval.low > self.margin)

    @property
    def is_not_inferior(self) -> bool:
        """Whether a is shown not to be worse by the margin or more (one-sided)."""
        return bool(self.margin and min(self.n_runs) > 1 and self.one_sided.low > -self.margin)

    def _within(self):
        bounds = self.one_sided
        return bool(self.margin and bounds.is_defined and bounds.reach < self.margin)


def contrasts(
    compared: Comparison,
    draws: Mapping[tuple, Mapping[str, SeedDraws]],
    baseline: str,
    margin: float = 0.0,
    primary: str = "",
    command: str = "model_comparison",
) -> list[Contrast]:
    """The comparisons that a report's sentences are about, fewest labels first.

    Args:
        compared: what is compared.
        draws: (arm, labels) -> from `metric_tables.score`.
        baseline: the arm that the others are held against.
        margin: smallest difference that matters; 0 for none.
        primary: "ARM:ARM" of the one comparison that was planned, or "ARM:ARM:LABELS" (a number,
            or all) where there are several numbers of labels; "" for none.
        command: whose setting `primary` is, for its error.
    """
    pairs = pairs_of(compared, baseline)
    planned = _planned(primary, pairs, command)
    family = len(pairs) - (planned is not None)
    made = []
    for a, b in pairs:
        first, second = (draws[model.arm, model.labels][METRIC] for model in (a, b))
        is_planned = (a, b) == planned
        size = 1 if is_planned else max(1, family)
        made.append(Contrast(a, b, first - second, size, margin, is_planned))
    return made


def pairs_of(compared: Comparison, baseline: str) -> list[tuple[RunGroup, RunGroup]]:
    """Which models are compared: (a, b) of equal labels.

    The SSL arms against the baseline first, then against ImageNet, then the other arms against
    the baseline.
    """
    pairs: list[tuple[RunGroup, RunGroup]] = []
    for labels in compared.labels:
        models = {model.arm: model for model in compared.at(labels)}
        ssl = [arm for arm, model in models.items() if model.is_ssl]
        rest = [arm for arm in models if arm not in ssl]
        imagenet = [arm for arm, model in models.items() if model.is_imagenet and arm != baseline]
        wanted = [(arm, baseline) for arm in ssl]
        wanted += [(arm, other) for other in imagenet for arm in ssl]
        wanted += [(arm, baseline) for arm in rest]
        # A pair is told once, the way round that comes first.
        chosen: dict[frozenset[str], tuple[RunGroup, RunGroup]] = {}
        for a, b in wanted:
            if a != b and {a, b} <= models.keys():
                chosen.setdefault(frozenset((a, b)), (models[a], models[b]))
        pairs += chosen.values()
    return pairs


def check_margin(tables: Mapping[str, Mapping[str, Any]], command: str) -> None:
    """Refuse a margin of 0 that somebody gave: equality can't be shown within nothing.

    Args:
        tables: what was typed and what the config file holds, by section.
        command: whose section it is.
    """
    if tables.get(command, {}).get("margin") == 0:
        raise UserError(
            f"{command}.margin is 0; it is the smallest difference that matters: give one above 0, "
            "such as 0.02, or leave it out"
        )


def _planned(primary: str, pairs: Sequence[tuple[RunGroup, RunGroup]], command: str):
    """The pair that the setting `primary` names, either way round; None for ""."""
    if not primary:
        return None
    arms, labels = primary.split(":")[:2], primary.split(":")[2:]
    found = [
        (a, b)
        for a, b in pairs
        if sorted(arms) == sorted((a.arm, b.arm)) and labels in ([], [str(a.labels)])
    ]
    if len(found) == 1:
        return found[0]
    there = ", ".join(f"{a.arm}:{b.arm}:{a.labels}" for a, b in pairs) or "none"
    problem = "names no comparison" if not found else f"names {len(found)} comparisons"
    raise UserError(f"{command}.primary {primary}: {problem} of this report; there: {there}")

"""Scores against the number of labels, for several arms, with their differences.

Two intervals are given for a difference: 95% of its own, and a wider one. The sentence over K
label counts uses the wider ones, at 1 - 0.05 / K (Bonferroni): all K hold together with 95%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dermssl.evaluation import hypothesis_tests, metric_tables, run_groups
from dermssl.evaluation.bootstrap import Interval
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.reporting import wording
from dermssl.studies.label_efficiency import wording as label_sentences

LEVEL = 0.95
METRIC = metric_tables.PRIMARY
DIFFERENCES = (
    "a", "b", "labels", "n_labels", "n_seeds", "metric", "difference", "low", "high", "level",
    "joint_low", "joint_high", "joint_level", "verdict_for_a", "n_resamples", "n_dropped",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class LabelCountDifference:
    """The difference of two arms at one number of labels.

    Attributes:
        n_seeds: seeds that both have; those with equal predictions count once, as where a
            probe has all labels and the same weights.
        own: of a - b at 95%; None where no seed is shared.
        joint: the same at the level of the whole sentence.
    """

    a: RunGroup
    b: RunGroup
    n_seeds: int
    own: Interval | None
    joint: Interval | None

    @property
    def n_labels(self) -> int:
        """Labelled training photos of each."""
        return self.a.members[0].status["n_labels"]

    @property
    def verdict(self) -> str:
        """Of arm a, by the wider interval: better, worse, tie or undefined."""
        return "undefined" if self.joint is None else metric_tables.verdict(METRIC, self.joint)


@dataclass(frozen=True, eq=False)
class Curve:
    """Everything that the report shows.

    Attributes:
        compared: what is compared.
        baseline: the arm the others are held against.
        counts: from `metric_tables.counts`.
        intervals: of (arm, labels), at 95%.
        by_seed: of (arm, labels), the score of each seed.
        pairs: of (arm a, arm b), fewest labels first.
        chance: the score of a guess.
        n_resamples: draws of the bootstrap.
    """

    compared: Comparison
    baseline: str
    counts: dict[str, Any]
    intervals: dict[tuple, Interval]
    by_seed: dict[tuple, list[float]]
    pairs: dict[tuple, list[LabelCountDifference]]
    chance: float
    n_resamples: int


def score(compared: Comparison, n_resamples: int = 2000) -> Curve:
    """Score a comparison whose arms have several numbers of labels.

    Args:
        compared: what is compared.
        n_resamples: draws of the bootstrap.
    """
    baseline = "random" if "random" in compared.arms else compared.arms[0]
    draws = {
        (model.arm, model.labels): metric_tables.score(
            model.arrays, compared.taxonomy, n_resamples, (METRIC,)
        )
        for model in compared.models
    }
    pairs: dict[tuple[str, str], list[tuple[RunGroup, RunGroup]]] = {}
    for a, b in wording.verdict_pairs(compared, baseline):
        pairs.setdefault((a.arm, b.arm), []).append((a, b))
    y = compared.members[0].arrays.y
    return Curve(
        compared=compared,
        baseline=baseline,
        counts=metric_tables.counts(compared.members[0].arrays),
        intervals={key: metric_tables.intervals(one)[METRIC] for key, one in draws.items()},
        by_seed={key: one[METRIC].sample.tolist() for key, one in draws.items()},
        pairs={
            arms: [_step(a, b, draws, len(steps)) for a, b in steps]
            for arms, steps in pairs.items()
        },
        chance=hypothesis_tests.chance(y),
        n_resamples=n_resamples,
    )


def _step(a, b, draws, n_steps):
    rows = run_groups.shared_seeds(a, b)
    if not rows[0]:
        return LabelCountDifference(a, b, 0, None, None)
    of_a, of_b = (
        draws[model.arm, model.labels][METRIC].at(own) for model, own in zip((a, b), rows)
    )
    difference = of_a - of_b
    distinct = {
        tuple(model.arrays[row].p_fine.tobytes() for model, row in zip((a, b), pair))
        for pair in zip(*rows)
    }
    own, joint = (difference.interval(level) for level in (LEVEL, joint_level(n_steps)))
    return LabelCountDifference(a, b, len(distinct), own, joint)


def joint_level(n: int) -> float:
    """The level of each of `n` intervals that hold together with `LEVEL` (Bonferroni)."""
    return 1 - (1 - LEVEL) / n


def verdicts(curve: Curve) -> list[str]:
    """One sentence a pair of arms, over all its numbers of labels."""
    return [
        label_sentences.verdict(
            steps, curve.counts, curve.compared.split, metric_tables.NAMES[METRIC]
        )
        for steps in curve.pairs.values()
    ]


def rows(curve: Curve) -> list[dict]:
    """Rows of label_efficiency.csv: one an arm and number of labels."""
    return [
        {
            "arm": model.arm,
            "labels": str(model.labels),
            "n_labels": model.members[0].status["n_labels"],
            "seeds": " ".join(map(str, model.seeds)),
            "n_seeds": len(model.seeds),
            "metric": METRIC,
            "estimate": interval.estimate,
            "low": interval.low,
            "high": interval.high,
            "level": interval.level,
            "split": curve.compared.split,
            "n": curve.counts["n_fine"],
            "n_groups": curve.counts["n_groups"],
            "grouped_by": curve.counts["grouped_by"],
            "n_resamples": curve.n_resamples,
        }
        for model in curve.compared.models
        for interval in [curve.intervals[model.arm, model.labels]]
    ]


def difference_rows(curve: Curve) -> list[dict]:
    """Rows of label_differences.csv: one a pair of arms and number of labels."""
    return [
        {
            "a": step.a.arm,
            "b": step.b.arm,
            "labels": str(step.a.labels),
            "n_labels": step.n_labels,
            "n_seeds": step.n_seeds,
            "metric": METRIC,
            "difference": step.own.estimate,
            "low": step.own.low,
            "high": step.own.high,
            "level": step.own.level,
            "joint_low": step.joint.low,
            "joint_high": step.joint.high,
            "joint_level": step.joint.level,
            "verdict_for_a": step.verdict,
            "n_resamples": step.own.n_resamples,
            "n_dropped": step.own.n_dropped,
        }
        for steps in curve.pairs.values()
        for step in steps
        if step.own and step.joint
    ]

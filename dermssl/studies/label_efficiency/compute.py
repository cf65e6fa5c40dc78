"""Scores against the number of labels, for several arms, with their differences.

The comparisons of all pairs of arms at all numbers of labels are one family, the same that
`model_comparison` makes of the same runs: both commands say the same of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dermssl.evaluation import contrasts, hypothesis_tests, metric_tables
from dermssl.evaluation.contrasts import Contrast
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.studies.label_efficiency import wording as label_sentences

METRIC = contrasts.METRIC
DIFFERENCES = (
    "a", "b", "labels", "n_labels", "runs_a", "runs_b", "metric", "difference", "low", "high",
    "level", "family", "verdict_for_a", "sd_a", "sd_b", "record_variance", "seed_variance", "df",
    "n_groups", "n_resamples", "n_dropped",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Curve:
    """Everything that the report shows.

    Attributes:
        compared: what is compared.
        baseline: the arm the others are held against.
        counts: from `metric_tables.counts`.
        intervals: of (arm, labels), at 95%.
        by_seed: of (arm, labels), the score of each seed.
        pairs: contrasts of (arm a, arm b), fewest labels first; all are one family.
        chance: the score of a guess.
        n_resamples: draws of the bootstrap.
    """

    compared: Comparison
    baseline: str
    counts: dict[str, Any]
    intervals: dict[tuple, Interval]
    by_seed: dict[tuple, list[float]]
    pairs: dict[tuple, list[Contrast]]
    chance: float
    n_resamples: int


def score(
    compared: Comparison, n_resamples: int = 2000, margin: float = 0.0, primary: str = ""
) -> Curve:
    """Score a comparison whose arms have several numbers of labels.

    Args:
        compared: what is compared.
        n_resamples: draws of the bootstrap.
        margin, primary: of `contrasts.contrasts`.
    """
    baseline = "random" if "random" in compared.arms else compared.arms[0]
    draws = {
        (model.arm, model.labels): metric_tables.score(
            model.arrays, compared.taxonomy, n_resamples, (METRIC,), units=model.units
        )
        for model in compared.models
    }
    pairs: dict[tuple[str, str], list[Contrast]] = {}
    for one in contrasts.contrasts(compared, draws, baseline, margin, primary, "label_efficiency"):
        pairs.setdefault((one.a.arm, one.b.arm), []).append(one)
    y = compared.members[0].arrays.y
    return Curve(
        compared=compared,
        baseline=baseline,
        counts=metric_tables.counts(compared.members[0].arrays),
        intervals={key: metric_tables.intervals(one)[METRIC] for key, one in draws.items()},
        by_seed={key: one[METRIC].sample.tolist() for key, one in draws.items()},
        pairs=pairs,
        chance=hypothesis_tests.chance(y),
        n_resamples=n_resamples,
    )


def n_labels(model: RunGroup) -> int:
    """Labelled training photos of a model."""
    return model.members[0].status["n_labels"]


def verdicts(curve: Curve) -> list[str]:
    """One sentence a pair of arms, over all its numbers of labels."""
    return [
        label_sentences.verdict(steps, curve.counts, curve.compared.split)
        for steps in curve.pairs.values()
    ]


def rows(curve: Curve) -> list[dict]:
    """Rows of label_efficiency.csv: one an arm and number of labels."""
    return [
        {
            "arm": model.arm,
            "labels": str(model.labels),
            "n_labels": n_labels(model),
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
            "a": one.a.arm,
            "b": one.b.arm,
            "labels": str(one.a.labels),
            "n_labels": n_labels(one.a),
            "runs_a": one.n_runs[0],
            "runs_b": one.n_runs[1],
            "metric": METRIC,
            "difference": found.estimate,
            "low": found.low,
            "high": found.high,
            "level": found.level,
            "family": one.family,
            "verdict_for_a": one.verdict,
            "sd_a": one.sd[0],
            "sd_b": one.sd[1],
            "record_variance": found.record_variance,
            "seed_variance": found.seed_variance,
            "df": found.df,
            "n_groups": curve.counts["n_groups"],
            "n_resamples": found.n_resamples,
            "n_dropped": found.n_dropped,
        }
        for steps in curve.pairs.values()
        for one in steps
        for found in [one.interval]
    ]

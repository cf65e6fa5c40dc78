"""Numbers of a comparison: of every model, and of every pair with equal labels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import runs
from dermssl.core.errors import UserError, unknown_name
from dermssl.data.records import group_ids
from dermssl.evaluation import hypothesis_tests, metric_tables, pair_tests, run_groups
from dermssl.evaluation.bootstrap import Interval, SeedDraws
from dermssl.evaluation.pair_tests import PairTest
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.reporting import results_csv

DIFFERENCE_COLUMNS = (
    "labels", "a", "b", "n_seeds", "metric", "difference", "low", "high", "level",
    "n_resamples", "n_dropped", "verdict_for_a", "test", "n_tested", "p", "p_holm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """The differences a - b of two models with equal labels, over the seeds both have.

    Attributes:
        n_seeds: seeds that both have.
        found: of each metric; empty where no seed is shared.
        tested: None where no seed is shared.
    """

    a: RunGroup
    b: RunGroup
    n_seeds: int
    found: dict[str, Interval]
    tested: PairTest | None = None

    @property
    def uneven(self) -> bool:
        """Whether some seed has no partner."""
        return self.a.seeds != self.b.seeds


@dataclass(frozen=True, eq=False)
class Scored:
    """The numbers of a comparison; dicts have (arm, labels) as keys.

    Attributes:
        compared: what is compared.
        baseline: the arm that the others are held against.
        n_resamples: draws of the bootstrap.
        counts: from `metric_tables.counts`.
        draws: of every model and metric, from `metric_tables.score`; the next two are read off.
        intervals: of every metric, from `metric_tables.intervals`.
        spread: standard deviations over seeds, from `metric_tables.std_over_seeds`.
        classes: from `metric_tables.per_class`.
        pairs: the baseline always as b.
    """

    compared: Comparison
    baseline: str
    n_resamples: int
    counts: dict[str, Any]
    draws: dict[tuple, dict[str, SeedDraws]]
    intervals: dict[tuple, dict[str, Interval]]
    spread: dict[tuple, dict[str, float]]
    classes: dict[tuple, pd.DataFrame]
    pairs: tuple[Pair, ...]

    @property
    def tested(self) -> list[tuple[Pair, PairTest]]:
        """The pairs that share a seed, with their tests."""
        return [(pair, pair.tested) for pair in self.pairs if pair.tested]

    def difference(self, a: RunGroup, b: RunGroup, metric: str) -> tuple[Interval | None, int]:
        """(`Interval` of a - b or None, number of shared seeds), whichever way it is kept."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair.found.get(metric), pair.n_seeds
            if (pair.b, pair.a) == (a, b):
                interval = pair.found.get(metric)
                return (interval and _negative(interval)), pair.n_seeds
        return None, 0

    def leads(self, model: RunGroup, metric: str) -> bool:
        """Whether its difference to every other model with equal labels excludes 0, for it."""
        others = [other for other in self.compared.at(model.labels) if other is not model]
        intervals = [self.difference(model, other, metric)[0] for other in others]
        return bool(intervals) and all(
            interval is not None and metric_tables.verdict(metric, interval) == "better"
            for interval in intervals
        )


def score(compared: Comparison, baseline: str | None = None, n_resamples: int = 1000) -> Scored:
    """Score every model and every pair of a comparison.

    Args:
        compared: what is compared.
        baseline: an arm; None for random init where it is there, else the first arm.
        n_resamples: draws of the bootstrap.
    """
    if n_resamples < 1:
        raise UserError(f"model_comparison.n_resamples is {n_resamples}; it must be at least 1")
    arms, taxonomy = compared.arms, compared.taxonomy
    if baseline is None:
        baseline = "random" if "random" in arms else arms[0]
    if baseline not in arms:
        raise unknown_name("model_comparison.baseline", baseline, arms)
    models = {_key(model): model for model in compared.models}
    draws = {
        key: metric_tables.score(model.arrays, taxonomy, n_resamples)
        for key, model in models.items()
    }
    pairs = []
    for labels in compared.labels:
        at = sorted(compared.at(labels), key=lambda model: model.arm != baseline)
        pairs += [_pair(a, b, draws) for b, a in itertools.combinations(at, 2)]
    tests = pair_tests.run([_shared_arrays(pair.a, pair.b) for pair in pairs], taxonomy)
    pairs = [replace(pair, tested=tested) for pair, tested in zip(pairs, tests)]
    return Scored(
        compared=compared,
        baseline=baseline,
        n_resamples=n_resamples,
        counts=metric_tables.counts(compared.members[0].arrays),
        draws=draws,
        intervals={key: metric_tables.intervals(one) for key, one in draws.items()},
        spread={key: metric_tables.std_over_seeds(one) for key, one in draws.items()},
        classes={
            key: metric_tables.per_class(model.arrays, taxonomy, n_resamples)
            for key, model in models.items()
        },
        pairs=tuple(pairs),
    )


def performance_rows(scored: Scored) -> list[dict]:
    """Rows of performance_comparison.csv, one a model."""
    rows = []
    for model in scored.compared.models:
        key = _key(model)
        seconds = [member.status.get("seconds", math.nan) for member in model.members]
        row = {
            "model": model.name,
            "arm": model.arm,
            "labels": str(model.labels),
            "n_labels": model.members[0].status["n_labels"],
            "seeds": " ".join(str(seed) for seed in model.seeds),
            "n_seeds": len(model.members),
            "split": scored.compared.split,
            **scored.counts,
        }
        for name in results_csv.METRICS:
            row |= results_csv.bounds(name, scored.intervals[key].get(name))
            row[f"{name}_sd"] = scored.spread[key].get(name, math.nan)
        row |= {
            "n_resamples": scored.n_resamples,
            "seconds_mean": float(np.mean(seconds)),
            "seconds_total": float(np.sum(seconds)),
            "parameters": model.members[0].status.get("parameters", math.nan),
            "weights": " ".join(model.starts),
            "config_hashes": " ".join(member.status["config_hash"] for member in model.members),
            "data_hash": model.members[0].status["data_hash"],
        }
        rows.append(row)
    return rows


def run_rows(scored: Scored) -> list[dict]:
    """Rows of runs.csv, one a run; those that didn't finish come last."""
    rows = []
    for model in scored.compared.models:
        for number, member in enumerate(model.members):
            draws = metric_tables.of_seeds(scored.draws[_key(model)], [number])
            rows.append(
                results_csv.row(
                    member.path, member.status, scored.compared.split, scored.counts,
                    metric_tables.intervals(draws),
                )
            )  # fmt: skip
    return rows + [results_csv.row(path, status) for path, status in scored.compared.failures]


def difference_rows(scored: Scored) -> list[dict]:
    """Rows of differences.csv: one a pair and metric; `p` where a test goes with it."""
    rows = []
    for pair, tested in scored.tested:
        for name, interval in pair.found.items():
            test, p, holm = tested.of_metric(name) or ("", math.nan, math.nan)
            rows.append(
                {
                    "labels": str(pair.a.labels),
                    "a": pair.a.arm,
                    "b": pair.b.arm,
                    "n_seeds": pair.n_seeds,
                    "metric": name,
                    "difference": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "level": interval.level,
                    "n_resamples": interval.n_resamples,
                    "n_dropped": interval.n_dropped,
                    "verdict_for_a": metric_tables.verdict(name, interval),
                    "test": test,
                    "n_tested": tested.n if test else math.nan,
                    "p": p,
                    "p_holm": holm,
                }
            )
    return rows


def chance(scored: Scored) -> float:
    """Balanced accuracy of a guess: 1 / the classes that have records."""
    return hypothesis_tests.chance(scored.compared.members[0].arrays.y)


def crossing_groups(compared: Comparison) -> int:
    """How many patients, lesions or photos have records in two splits; it should be none."""
    table = compared.members[0].predictions.table
    table = table[table["split"] != ""]
    return int((table.groupby(group_ids(table))["split"].nunique() > 1).sum())


def pretraining(compared: Comparison) -> list[dict]:
    """The pretraining runs that models start from: dicts of path, arms, and status or None."""
    starts: dict[str, list[str]] = {}
    for model in compared.models:
        for start in model.starts:
            if start not in ("", "none", "imagenet"):
                starts.setdefault(start, []).append(model.title)
    return [
        {
            "path": start,
            "arms": list(dict.fromkeys(titles)),
            "status": runs.read_json(file)
            if (file := Path(start) / "status.json").is_file()
            else {},
        }
        for start, titles in starts.items()
    ]


def _key(model):
    return model.arm, model.labels


def _pair(a, b, draws):
    rows_a, rows_b = run_groups.shared_seeds(a, b)
    if not rows_a:
        return Pair(a, b, 0, {})
    of_a = metric_tables.of_seeds(draws[_key(a)], rows_a)
    of_b = metric_tables.of_seeds(draws[_key(b)], rows_b)
    return Pair(a, b, len(rows_a), metric_tables.differences(of_a, of_b))


def _shared_arrays(a, b):
    """`Arrays` of the seeds that two models both have: (list of a, list of b)."""
    return tuple(
        [model.arrays[row] for row in rows]
        for model, rows in zip((a, b), run_groups.shared_seeds(a, b))
    )


def _negative(interval):
    return replace(interval, estimate=-interval.estimate, low=-interval.high, high=-interval.low)

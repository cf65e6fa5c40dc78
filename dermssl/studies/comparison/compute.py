"""A comparison with all its numbers: of every model, and of every pair with equal labels."""

import itertools
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dermssl.core import runs
from dermssl.core.errors import UserError, unknown_name
from dermssl.data.records import group_ids
from dermssl.evaluation import hypothesis_tests, metric_tables, pair_tests
from dermssl.evaluation.run_groups import Comparison
from dermssl.reporting import results_csv

DIFFERENCE_COLUMNS = (
    "labels", "a", "b", "n_seeds", "metric", "difference", "low", "high", "level",
    "n_resamples", "n_dropped", "verdict_for_a", "test", "n_tested", "p", "p_holm",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """The differences a - b of two models with equal labels, over the seeds both have.

    Attributes:
        a, b: `compared.Model`.
        n_seeds: seeds that both have.
        found: dict of metric -> `Interval`; empty where no seed is shared.
        tested: `pair_tests.Tested`; None where no seed is shared.
    """

    a: object
    b: object
    n_seeds: int
    found: dict
    tested: object = None

    @property
    def uneven(self):
        """Whether some seed has no partner."""
        return self.a.seeds != self.b.seeds


@dataclass(frozen=True, eq=False)
class Scored:
    """The numbers of a comparison; dicts have (arm, labels) as keys.

    Attributes:
        compared: `Compared`.
        baseline: the arm that the others are held against.
        n_resamples: draws of the bootstrap.
        counts: dict, from `metric_tables.counts`.
        intervals: of every metric, from `metric_tables.intervals`.
        spread: standard deviations over seeds, from `metric_tables.std_over_seeds`.
        classes: from `metric_tables.per_class`.
        pairs: tuple of `Pair`, the baseline always as b.
    """

    compared: Comparison
    baseline: str
    n_resamples: int
    counts: dict
    intervals: dict
    spread: dict
    classes: dict
    pairs: tuple[Pair, ...]

    def difference(self, a, b, metric):
        """(`Interval` of a - b or None, number of shared seeds), whichever way it is kept."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair.found.get(metric), pair.n_seeds
            if (pair.b, pair.a) == (a, b):
                found = pair.found.get(metric)
                return (found and _negative(found)), pair.n_seeds
        return None, 0

    def leads(self, model, metric):
        """Whether its difference to every other model with equal labels excludes 0, for it."""
        others = [other for other in self.compared.at(model.labels) if other is not model]
        found = [self.difference(model, other, metric)[0] for other in others]
        return bool(found) and all(
            interval is not None and metric_tables.verdict(metric, interval) == "better"
            for interval in found
        )


def score(compared, baseline=None, n_resamples=1000):
    """Score every model and every pair of a `Compared`.

    Args:
        compared: `Compared`.
        baseline: an arm; None for random init where it is there, else the first arm.
        n_resamples: draws of the bootstrap.
    """
    if n_resamples < 1:
        raise UserError(f"--n-resamples is {n_resamples}; it must be at least 1")
    arms, taxonomy = compared.arms, compared.taxonomy
    if baseline is None:
        baseline = "random" if "random" in arms else arms[0]
    if baseline not in arms:
        raise unknown_name("--baseline", baseline, arms)
    models = {(model.arm, model.labels): model for model in compared.models}
    pairs = []
    for labels in compared.labels:
        at = sorted(compared.at(labels), key=lambda model: model.arm != baseline)
        pairs += [_pair(a, b, taxonomy, n_resamples) for b, a in itertools.combinations(at, 2)]
    tests = pair_tests.run([_shared(pair.a, pair.b) for pair in pairs], taxonomy)
    pairs = [replace(pair, tested=tested) for pair, tested in zip(pairs, tests)]
    return Scored(
        compared=compared,
        baseline=baseline,
        n_resamples=n_resamples,
        counts=metric_tables.counts(compared.members[0].arrays),
        intervals={
            key: metric_tables.intervals(model.arrays, taxonomy, n_resamples)
            for key, model in models.items()
        },
        spread={
            key: metric_tables.std_over_seeds(model.arrays, taxonomy)
            for key, model in models.items()
        },
        classes={
            key: metric_tables.per_class(model.arrays, taxonomy, n_resamples)
            for key, model in models.items()
        },
        pairs=tuple(pairs),
    )


def performance_rows(scored):
    """Rows of performance_comparison.csv, one a model."""
    rows = []
    for model in scored.compared.models:
        key = (model.arm, model.labels)
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


def run_rows(scored):
    """Rows of runs.csv, one a run; those that didn't finish come last."""
    rows = []
    for member in scored.compared.members:
        intervals = metric_tables.intervals(
            [member.arrays], scored.compared.taxonomy, scored.n_resamples
        )
        rows.append(
            results_csv.row(
                member.path, member.status, scored.compared.split, scored.counts, intervals
            )
        )
    return rows + [results_csv.row(path, status) for path, status in scored.compared.failures]


def difference_rows(scored):
    """Rows of differences.csv: one a pair and metric; `p` where a test goes with it."""
    rows = []
    for pair in scored.pairs:
        for name, interval in pair.found.items():
            test, p, holm = pair.tested.of_metric(name) or ("", math.nan, math.nan)
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
                    "n_tested": pair.tested.n if test else math.nan,
                    "p": p,
                    "p_holm": holm,
                }
            )
    return rows


def chance(scored):
    """Balanced accuracy of a guess: 1 / the classes that have records."""
    return hypothesis_tests.chance(scored.compared.members[0].arrays.y)


def crossing_groups(compared):
    """How many patients, lesions or photos have records in two splits; it should be none."""
    table = compared.members[0].predictions.table
    table = table[table["split"] != ""]
    return int((table.groupby(group_ids(table))["split"].nunique() > 1).sum())


def pretraining(compared):
    """The pretraining runs that models start from: dicts of path, arms, and status or None."""
    starts = {}
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


def _pair(a, b, taxonomy, n_resamples):
    both = _shared(a, b)
    found = metric_tables.differences(*both, taxonomy, n_resamples) if both[0] else {}
    return Pair(a, b, len(both[0]), found)


def _shared(a, b):
    """`Arrays` of the seeds that two models both have: (list of a, list of b)."""
    shared = set(a.seeds) & set(b.seeds)
    return tuple(
        [member.arrays for member in model.members if member.status["seed"] in shared]
        for model in (a, b)
    )


def _negative(interval):
    return replace(interval, estimate=-interval.estimate, low=-interval.high, high=-interval.low)

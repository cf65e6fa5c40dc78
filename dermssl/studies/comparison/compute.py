"""Numbers of a comparison: of every model, and of every pair with equal labels."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import runs
from dermssl.core.errors import UserError, unknown_name
from dermssl.data.records import group_ids
from dermssl.evaluation import contrasts, hypothesis_tests, metric_tables, pair_tests
from dermssl.evaluation.contrasts import Contrast
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.pair_tests import PairTest
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.evaluation.seed_draws import SeedDraws
from dermssl.reporting import results_csv
from dermssl.studies.comparison import decision

DIFFERENCE_COLUMNS = (
    "labels",
    "a",
    "b",
    "title_a",
    "title_b",
    "runs_a",
    "runs_b",
    "metric",
    "difference",
    "low",
    "high",
    "level",
    "family",
    "verdict_for_a",
    "sd_a",
    "sd_b",
    "above_chance",
    "record_variance",
    "seed_variance",
    "df",
    "n_groups",
    "n_resamples",
    "n_dropped",
)
TEST_COLUMNS = (
    "labels", "a", "b", "test", "n_tested", "p_ensemble", "p_ensemble_holm", "ensemble_difference",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """Two models with equal labels.

    Attributes:
        a, b: the models.
        contrast: what the sentences say of them, on the primary metric; None where the report
            draws none.
        found: a - b of each metric, each interval at 95% alone.
        tested: McNemar's and DeLong's tests of their ensembles.
    """

    a: RunGroup
    b: RunGroup
    contrast: Contrast | None
    found: dict[str, Interval]
    tested: PairTest


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
        contrasts: the comparisons of the report's sentences, one family.
        pairs: every pair of equal labels; those of `contrasts` the same way round.
        benefits: from `decision.differences`.
    """

    compared: Comparison
    baseline: str
    n_resamples: int
    counts: dict[str, Any]
    draws: dict[tuple, dict[str, SeedDraws]]
    intervals: dict[tuple, dict[str, Interval]]
    spread: dict[tuple, dict[str, float]]
    classes: dict[tuple, pd.DataFrame]
    contrasts: list[Contrast]
    pairs: tuple[Pair, ...]
    benefits: pd.DataFrame


def score(
    compared: Comparison,
    baseline: str | None = None,
    n_resamples: int = 1000,
    margin: float = 0.0,
    primary: str = "",
) -> Scored:
    """Score every model and every pair of a comparison.

    Args:
        compared: what is compared.
        baseline: an arm; None for random init where it is there, else the first arm.
        n_resamples: draws of the bootstrap.
        margin, primary: of `contrasts.contrasts`.
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
        key: metric_tables.score(model.arrays, taxonomy, n_resamples, units=model.units)
        for key, model in models.items()
    }
    told = contrasts.contrasts(compared, draws, baseline, margin, primary)
    pairs = _pairs(compared, told, baseline, draws)
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
        contrasts=told,
        pairs=tuple(pairs),
        benefits=decision.differences(told, taxonomy, n_resamples),
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
    """Rows of differences.csv: one a pair and metric.

    The primary metric of a pair that the report speaks of has the interval and the verdict of its
    family; all other intervals are at 95% alone and have no verdict.
    """
    rows = []
    for pair in scored.pairs:
        for name, found in pair.found.items():
            contrast = pair.contrast if name == contrasts.METRIC else None
            interval = contrast.interval if contrast else found
            sd = [scored.spread[_key(model)].get(name, math.nan) for model in (pair.a, pair.b)]
            rows.append(
                {
                    "labels": str(pair.a.labels),
                    "a": pair.a.arm,
                    "b": pair.b.arm,
                    "title_a": pair.a.title,
                    "title_b": pair.b.title,
                    "runs_a": scored.draws[_key(pair.a)][name].n_runs,
                    "runs_b": scored.draws[_key(pair.b)][name].n_runs,
                    "metric": name,
                    "difference": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "level": interval.level,
                    "family": contrast.family if contrast else "",
                    "verdict_for_a": contrast.verdict if contrast else "",
                    "sd_a": sd[0],
                    "sd_b": sd[1],
                    "above_chance": int(_is_above_chance(scored, pair)),
                    "record_variance": interval.record_variance,
                    "seed_variance": interval.seed_variance,
                    "df": interval.df,
                    "n_groups": scored.counts["n_groups"],
                    "n_resamples": interval.n_resamples,
                    "n_dropped": interval.n_dropped,
                }
            )
    return rows


def test_rows(scored: Scored) -> list[dict]:
    """Rows of ensemble_tests.csv: each test of each pair, of the runs' mean probabilities."""
    rows = []
    for pair in scored.pairs:
        tested = pair.tested
        base = {"labels": str(pair.a.labels), "a": pair.a.arm, "b": pair.b.arm}
        right = (tested.mcnemar.only_a - tested.mcnemar.only_b) / tested.n if tested.n else math.nan
        found = [("McNemar (fine accuracy)", tested.mcnemar.p, tested.mcnemar_holm, right)]
        if tested.delong:
            apart = tested.delong.difference.estimate
            found.append((f"DeLong ({tested.area})", tested.delong.p, tested.delong_holm, apart))
        rows += [base | dict(zip(TEST_COLUMNS[3:], (name, tested.n, p, holm, difference)))
                 for name, p, holm, difference in found]  # fmt: skip
    return rows


def chance(scored: Scored) -> float:
    """Balanced accuracy of a guess: 1 / the classes that have records."""
    return hypothesis_tests.chance(scored.compared.members[0].arrays.y)


def _is_above_chance(scored, pair):
    """Whether an arm of the pair is shown to be above a guess."""
    lows = [scored.intervals[_key(model)][contrasts.METRIC].low for model in (pair.a, pair.b)]
    return any(low > chance(scored) for low in lows)


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


def _pairs(compared, told, baseline, draws):
    """Every `Pair` of equal labels; a contrast says which way round, else the baseline is b."""
    known = {frozenset((_key(one.a), _key(one.b))): one for one in told}
    sides = []
    for labels in compared.labels:
        at = sorted(compared.at(labels), key=lambda model: model.arm != baseline)
        for b, a in itertools.combinations(at, 2):
            contrast = known.get(frozenset((_key(a), _key(b))))
            sides.append((contrast.a, contrast.b, contrast) if contrast else (a, b, None))
    tests = pair_tests.run([(a.arrays, b.arrays) for a, b, _ in sides], compared.taxonomy)
    return [
        Pair(a, b, contrast, metric_tables.differences(draws[_key(a)], draws[_key(b)]), tested)
        for (a, b, contrast), tested in zip(sides, tests)
    ]

"""Do the intervals hold, and do sentences name a winner where there is none?

    python benchmarks/coverage.py [--quick] [--check] [--json F] [--only NAME ...]

Simulates test sets and training runs, gives them to the product's own functions, and counts. In
every scenario the truth is known: arms are equal, a guesser guesses, a model is calibrated. A
record is right where class + lesion + photo + arm x lesion + run x record + luck of the run > 0.
Prints each rate with its Monte Carlo error (2 standard errors); the last line is the worst excess
over a target, in such errors. `--check` exits with 1 where a rate misses its target by more.
"""

# ruff: noqa: E402 (threads are counted when numpy is imported)
from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import numpy as np
from scipy.stats import norm

from dermssl.core import taxonomy
from dermssl.evaluation import bootstrap, calibration_null, hypothesis_tests
from dermssl.evaluation.bootstrap_metrics import planned
from dermssl.evaluation.interval import verdict
from dermssl.evaluation.seed_draws import SeedDraws
from dermssl.studies.grid import findings as grid_findings
from dermssl.studies.grid.read import GridResults
from dermssl.studies.stress import scores as stress_scores

SHARES = np.array([0.67, 0.111, 0.109, 0.051, 0.033, 0.014, 0.011])  # HAM10000's classes
RECALL = np.array([0.80, 0.55, 0.60, 0.65, 0.50, 0.60, 0.45])
# Standard deviations of what decides whether a record is right.
LESION, PHOTO, ARM, RUN = 1.0, 0.5, 0.5, 1.0
TOTAL = np.sqrt(LESION**2 + PHOTO**2 + ARM**2 + RUN**2)
PHOTOS = (1, 2, 3, 4)  # a lesion
PHOTO_SHARES = (0.75, 0.17, 0.05, 0.03)
DRAWS = 300


@dataclass
class Rate:
    """How often something happened, and how often it may.

    Attributes:
        what: the scenario.
        rate, n: the share, and of how many simulated reports.
        at_most, at_least: the target.
    """

    what: str
    rate: float
    n: int
    at_most: float = 1.0
    at_least: float = 0.0

    @property
    def error(self) -> float:
        """One standard error, of the target's rate where the target is missed."""
        p = np.clip(self.rate, self.at_least, self.at_most)
        return float(np.sqrt(max(p * (1 - p), 1e-4) / self.n))

    @property
    def excess(self) -> float:
        """By how many standard errors the target is missed; under 0 where it is met."""
        return max(self.rate - self.at_most, self.at_least - self.rate) / self.error

    def __str__(self) -> str:
        limits = f"<= {self.at_most:.1%}" if self.at_most < 1 else ""
        limits += f"{', ' * bool(limits)}>= {self.at_least:.1%}" if self.at_least else ""
        text = f"{self.what:<72} {self.rate:6.1%} +- {2 * self.error:.1%} of {self.n}"
        return f"{text}  ({limits}){'  MISSED' if self.excess > 2 else ''}"


def test_set(rng: np.random.Generator, n_lesions: int) -> tuple[np.ndarray, np.ndarray]:
    """(y, lesions) of the photos; each class has a lesion or more."""
    of_lesion = np.concatenate(
        [np.arange(7), rng.choice(7, size=n_lesions - 7, p=SHARES / SHARES.sum())]
    )
    lesions = np.repeat(np.arange(n_lesions), rng.choice(PHOTOS, size=n_lesions, p=PHOTO_SHARES))
    return of_lesion[lesions], lesions


def named(lesions: np.ndarray) -> np.ndarray:
    """Lesions under names, as `records.group_ids` gives them; object (n,)."""
    return np.array([f"lesion_id=L{k}" for k in range(lesions.max() + 1)], dtype=object)[lesions]


class World:
    """A test set, and models that share what makes its lesions easy or hard."""

    def __init__(self, rng: np.random.Generator, n_lesions: int, level: float = 0.0) -> None:
        self.rng, (self.y, self.lesions) = rng, test_set(rng, n_lesions)
        self.groups = named(self.lesions)
        base = norm.ppf(RECALL)[self.y] * TOTAL + level
        of_lesion = rng.normal(0, LESION, n_lesions)[self.lesions]
        self.base = base + of_lesion + rng.normal(0, PHOTO, len(self.y))

    def arm(self, n_runs: int, luck: float) -> list[np.ndarray]:
        """Probabilities (n, 7) of each run of a way of training."""
        own = self.rng.normal(0, ARM, self.lesions.max() + 1)[self.lesions]
        return [self.run(own, luck) for _ in range(n_runs)]

    def run(self, own: np.ndarray | float, luck: float, shared: float = 0.0) -> np.ndarray:
        """Probabilities of one run, 0.4 on the class that it names; `shared` adds to its luck."""
        noise = self.rng.normal(0, RUN, len(self.y)) + self.rng.normal(0, luck) + shared
        right = self.base + own + noise > 0
        called = np.where(right, self.y, (self.y + self.rng.integers(1, 7, len(self.y))) % 7)
        p = np.full((len(self.y), 7), 0.1)
        p[np.arange(len(self.y)), called] = 0.4
        return p


def draws(world: World, runs: list[np.ndarray], metric: str = "balanced_accuracy") -> SeedDraws:
    """The product's scores of a model."""
    plan = {metric: planned(metric, world.y, runs)}
    return bootstrap.score(plan, world.groups, n_resamples=2)[metric]


def lesions_alone(a: SeedDraws, b: SeedDraws) -> float:
    """Standard error of the difference over lesions, were these runs the only ones there are."""
    moved = [model.basis.strata.influence().mean(axis=0) for model in (a, b)]
    return float(np.sqrt(((moved[0] - moved[1]) ** 2).sum()))


def luck_of(ratio: float, n_lesions: int) -> float:
    """The luck on the scale of records at which its variance in one run's difference is `ratio`
    times the sampling variance of the mean difference over three runs."""
    if not ratio:
        return 0.0
    rng = np.random.default_rng(12345)
    worlds = [World(rng, n_lesions) for _ in range(60)]
    null = [(draws(w, w.arm(3, 0.0)) - draws(w, w.arm(3, 0.0))).interval().estimate for w in worlds]
    step = 0.1
    slope = np.mean(
        norm.cdf(norm.ppf(RECALL) + step / TOTAL) - norm.cdf(norm.ppf(RECALL) - step / TOTAL)
    ) / (2 * step)
    return float(np.sqrt(ratio * np.mean(np.square(null)) / 2) / slope)


def equal_arms(quick: bool) -> Iterator[Rate]:
    """Two ways of training that are equal: how often is one called better?"""
    n = 100 if quick else 600
    for n_lesions in (300, 1200):
        for ratio in (0, 3, 30) if quick else (0, 1, 3, 10, 30):
            luck = luck_of(ratio, n_lesions)
            for runs in (2, 3, 5):
                for uneven in (False, True) if ratio >= 10 else (False,):
                    said = narrow = defined = 0
                    for seed in range(n):
                        world = World(np.random.default_rng([seed, n_lesions, runs, 1]), n_lesions)
                        a = draws(world, world.arm(runs, luck * (np.sqrt(2) if uneven else 1)))
                        b = draws(world, world.arm(runs, 0.0 if uneven else luck))
                        found = (a - b).interval()
                        said += verdict(found) in ("better", "worse")
                        half = (found.high - found.low) / 2
                        narrow += half < norm.ppf(0.975) * lesions_alone(a, b) - 1e-9
                        defined += found.is_defined
                    what = f"winner among equals, {n_lesions} lesions, {runs} runs, luck x{ratio}"
                    what += ", all in one arm" * uneven
                    yield Rate(what, said / n, n, at_most=0.08 if uneven else 0.06)
                    if narrow:
                        yield Rate(f"{what}: narrower than by lesions alone", narrow / n, n, 0.0)
                    if defined < n:
                        yield Rate(f"{what}: interval defined", defined / n, n)


def one_arm(quick: bool) -> Iterator[Rate]:
    """Does a model's own interval hold its expected score?"""
    n = 250 if quick else 1000
    truth = RECALL.mean()
    for n_lesions in (50, 100, 200, 400, 1200):
        held = 0
        for seed in range(n):
            world = World(np.random.default_rng([seed, n_lesions, 2]), n_lesions)
            found = draws(world, world.arm(1, 0.0)).interval()
            held += found.low <= truth <= found.high
        yield Rate(f"balanced accuracy of one run holds, {n_lesions} lesions", held / n, n,
                   at_least=0.93, at_most=0.99)  # fmt: skip
    for luck in (0.0, 0.1, 0.4):
        held = 0
        expected = np.mean(norm.cdf(norm.ppf(RECALL) * TOTAL / np.hypot(TOTAL, luck)))
        for seed in range(n):
            world = World(np.random.default_rng([seed, 3]), 1200)
            found = draws(world, world.arm(3, luck)).interval()
            held += found.low <= expected <= found.high
        yield Rate(f"balanced accuracy of 3 runs holds, luck {luck}", held / n, n, at_least=0.93)


def few_lesions(quick: bool) -> Iterator[Rate]:
    """Does the interval of a sensitivity hold it, from two lesions of two photos on?

    On average over sensitivities: of so few lesions it can't be the same at each.
    """
    n = 500 if quick else 4000
    for n_lesions in (2, 3, 5, 9, 20):
        held, rng = 0, np.random.default_rng([n_lesions, 8])
        lesions = np.repeat(np.arange(n_lesions), 2)
        for truth in rng.random(n):
            own = rng.normal(0, 1, n_lesions)[lesions]
            score = (own + rng.normal(0, PHOTO, len(own))) / np.hypot(1, PHOTO)
            hits = (score < norm.ppf(truth)).astype(float)
            found = bootstrap.bootstrap_metric("mean", None, hits, lesions, n_resamples=DRAWS)
            held += found.low <= truth <= found.high
        # With 20 the draws speak, which are a little narrow.
        least = 0.93 if n_lesions < 10 else 0.90
        yield Rate(f"sensitivity of {n_lesions} lesions holds", held / n, n, at_least=least)


def areas(quick: bool) -> Iterator[Rate]:
    """Does the interval of an AUC hold it, from one positive on?"""
    n = 250 if quick else 2000
    for area in (0.80, 0.95):
        for positives in (1, 2, 3, 5, 10, 20, 40):
            held, rng = 0, np.random.default_rng([positives, int(100 * area)])
            y = np.repeat([1, 0], [positives, 300])
            for _ in range(n if positives < 40 else n // 2):
                score = rng.normal(0, 1, len(y)) + y * norm.ppf(area) * np.sqrt(2)
                found = bootstrap.bootstrap_metric("roc_auc", y, score, n_resamples=DRAWS)
                held += found.low <= area <= found.high
            count = n if positives < 40 else n // 2
            yield Rate(f"AUC {area} holds, {positives} positives", held / count, count,
                       at_least=0.93)  # fmt: skip


def guessers(quick: bool) -> Iterator[Rate]:
    """Is a guess called above or below chance?"""
    n = 250 if quick else 1000
    kinds = {
        "uniform": np.full(7, 1 / 7), "by share": SHARES / SHARES.sum(),
        "mostly nevus": np.array([0.94] + [0.01] * 6),
    }  # fmt: skip
    for n_lesions in (50, 200, 1200):
        for name, shares in kinds.items():
            above = below = 0
            for seed in range(n):
                rng = np.random.default_rng([seed, n_lesions, 4])
                y, lesions = test_set(rng, n_lesions)
                groups = named(lesions)
                called = rng.choice(7, size=len(y), p=shares)
                found = bootstrap.bootstrap_metric(
                    "balanced_accuracy", y, np.eye(7)[called], groups, n_resamples=2
                )
                chance = hypothesis_tests.chance(y)
                above, below = above + (found.low > chance), below + (found.high < chance)
            for side, count in (("above", above), ("below", below)):
                yield Rate(f"guesser {name} is {side} chance, {n_lesions} lesions", count / n, n,
                           at_most=0.05)  # fmt: skip


def grids(quick: bool) -> Iterator[Rate]:
    """A grid of equal cells: does a sentence name a difference?"""
    n = 20 if quick else 250
    kinds = (
        ("none", 0.0, 0.0), ("as MobileNet", 0.08, 0.0), ("as ResNet50", 0.30, 0.0),
        ("as ResNet50, half of it a depth's", 0.21, 0.21),
    )  # fmt: skip
    for title, luck, shared in kinds:
        said = dict.fromkeys(("a best cell", "depth", "augmentation", "model", "any sentence"), 0)
        held = models = 0
        for seed in range(n):
            rng = np.random.default_rng([seed, 5])
            grid, truth = null_grid(rng, luck, shared)
            here = dict.fromkeys(said, False)
            for best in grid_findings.bests(grid).values():
                models += 1
                named = [grid_findings.verdict(one.difference) for one in best.against]
                here["a best cell"] |= "better" in named or "worse" in named
                held += best.interval.low <= truth <= best.interval.high
            for axis in ("depth", "augmentation"):
                for model in grid.models:
                    effects = grid_findings.axis_effects(grid, model, axis)[1]
                    here[axis] |= any(one.excludes_zero for _, one in effects)
            here["model"] = any(d.excludes_zero for _, d in grid_findings.model_effects(grid)[1])
            here["any sentence"] = any(here.values())
            for key, value in here.items():
                said[key] += value
        for key, count in said.items():
            what = f"80 equal cells, luck {title}: {key} told apart"
            yield Rate(what, count / n, n, at_most=0.06)
        yield Rate(f"80 equal cells, luck {title}: interval of the highest holds", held / models,
                   models, at_least=0.93)  # fmt: skip


def stress_tests(quick: bool) -> Iterator[Rate]:
    """Eight conditions that do nothing but turn some answers: is a drop named?"""
    n = 100 if quick else 500
    fine = tuple(f"c{k}" for k in range(7))
    classes = taxonomy.flat(fine)
    for n_lesions in (200, 600):
        named = 0
        for seed in range(n):
            rng = np.random.default_rng([seed, n_lesions, 6])
            world = World(rng, n_lesions)
            own = rng.normal(0, ARM, n_lesions)[world.lesions]
            p = {f"condition {k}": world.run(own, 0.0) for k in range(9)}
            found = stress_scores.score(
                world.y, p, world.groups, classes, "condition 0", n_resamples=2
            )
            named += any(one.drop is not None and one.drop.excludes_zero for one in found)
        yield Rate(f"stress report of 8 idle conditions names a drop, {n_lesions} lesions",
                   named / n, n, at_most=0.06)  # fmt: skip


def means(quick: bool) -> Iterator[Rate]:
    """A calibrated model: is it called too high or too low for a class?"""
    n = 150 if quick else 600
    for n_records in (100, 400, 1600):
        named = 0
        for seed in range(n):
            rng = np.random.default_rng([seed, n_records, 7])
            logits = rng.normal(0, 1, (n_records, 7)) + np.log(SHARES)
            p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            y = (rng.random(n_records)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 6)
            named += any(
                calibration_null.share_range(y == k, p[:, k], None, 1 - 0.05 / 7).is_outside
                for k in range(7)
            )
        yield Rate(f"calibrated model is 'too high for' a class, {n_records} records", named / n,
                   n, at_most=0.05)  # fmt: skip


def null_grid(rng: np.random.Generator, luck: float, shared: float) -> tuple[GridResults, float]:
    """A `GridResults` of 4 models x 4 augmentations x 5 depths x 3 seeds that are all equal.

    `shared` is the luck that the augmentations of one model, depth and seed share.
    """
    world = World(rng, 300)
    names, augmentations, depths = list("abcd"), list("wxyz"), (2, 4, 6, 8, 10)
    together = {
        (model, depth, seed): rng.normal(0, shared)
        for model in names
        for depth in depths
        for seed in range(3)
    }
    p = {
        (model, augmentation, depth): {
            seed: world.run(
                rng.normal(0, ARM, 300)[world.lesions], luck, together[model, depth, seed]
            )
            for seed in range(3)
        }
        for model in names
        for augmentation in augmentations
        for depth in depths
    }
    import pandas as pd

    keys = pd.DataFrame(list(p), columns=["model", "augmentation", "depth"])
    config = {"models": names, "augmentations": augmentations, "seeds": [0, 1, 2]}
    fine = tuple(f"c{k}" for k in range(7))
    grid = GridResults(
        keys, SimpleNamespace(fine=fine, titles=fine), pd.DataFrame(), None, world.y,
        world.groups, p, {}, {"config": {"grid": config}},
    )  # fmt: skip
    spread = np.hypot(TOTAL, np.hypot(luck, shared))
    recall = norm.cdf(norm.ppf(RECALL) * TOTAL / spread)
    return grid, float((recall * SHARES / SHARES.sum()).sum())


SCENARIOS: dict[str, Callable[[bool], Iterator[Rate]]] = {
    "equal_arms": equal_arms, "one_arm": one_arm, "few_lesions": few_lesions, "areas": areas,
    "guessers": guessers, "grids": grids, "stress_tests": stress_tests, "means": means,
}  # fmt: skip


def main() -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: 75 s of CPU")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a target is missed")
    parser.add_argument("--json", help="write the rates to this file")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    arguments = parser.parse_args()
    rates, started = [], time.process_time()
    for name in arguments.only:
        for rate in SCENARIOS[name](arguments.quick):
            print(rate, flush=True)
            rates.append(rate)
    print(f"{time.process_time() - started:.0f} s of CPU")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump([asdict(rate) | {"error": rate.error} for rate in rates], file, indent=1)
    worst = max(rates, key=lambda rate: rate.excess)
    print(f"worst: {worst.what}, {worst.excess:+.1f} standard errors over its target")
    return int(arguments.check and worst.excess > 2)


if __name__ == "__main__":
    raise SystemExit(main())

"""Intervals over records and training runs, for one model or for the difference of two.

A score varies by the photos that were taken and by the luck of training. Two training runs of
one kind share their test photos, so the covariance of their scores over redrawn photos is the
variance of the photos, and what is left between the runs is luck (Obuchowski & Rockette 1995, with
runs in the place of readers). The two parts are put together as MOVER does (Zou & Donner 2008):
the normal quantile belongs to many photos, Student's t to few runs (Welch's degrees of freedom
where two models differ in their luck).

    half width = sqrt(z^2 V_records + t_df^2 V_runs)

and never less than the records alone give for the mean of these very runs.

With one run the luck isn't known, and an interval covers the photos alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.interval import ROUNDING, Interval
from dermssl.evaluation.small_samples import (
    FEW_OF_A_CLASS,
    NEWCOMBE_BELOW,
    Strata,
    needs_wilson,
    newcombe,
    wilson_of_groups,
)


class Luck(NamedTuple):
    """The luck of training of a mean over runs: its variance, and the degrees of freedom of that.

    Known from elsewhere, as from the other cells of a grid that were trained alike.
    """

    variance: float
    df: float


@dataclass(frozen=True)
class Basis:
    """What a metric rests on, which says how its interval is made.

    Attributes:
        kind: "shares" (accuracy, balanced accuracy, a sensitivity), "area" (ROC-AUC), "ranking"
            (what else needs lesions on both sides, or of each class) or "mean".
        sides: lesions of positives and of negatives, or of each class; () where it doesn't matter.
        strata: of shares, else None.
        low, high: the metric's range, infinite where it has none.
    """

    kind: str = "mean"
    sides: tuple[int, ...] = ()
    strata: Strata | None = field(default=None, repr=False)
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True, eq=False)
class SeedDraws:
    """A metric of each training run, on the sample and on every draw of records.

    Attributes:
        sample: float (S,), the point estimates.
        draws: float (S, B), NaN where undefined.
        n_clusters: independent groups.
        basis: what the metric rests on.
        units: int (S,), 0..U-1: runs of one unit count once, by their mean; so do runs with equal
            predictions, and runs that start from one of several pretraining runs.
    """

    sample: np.ndarray = field(repr=False)
    draws: np.ndarray = field(repr=False)
    n_clusters: int
    basis: Basis = field(default_factory=Basis)
    units: np.ndarray | None = None

    @property
    def n_runs(self) -> int:
        """Runs that count."""
        return len(self.sample) if self.units is None else int(self.units.max()) + 1

    def at(self, runs: npt.ArrayLike) -> SeedDraws:
        """Those of some training runs, by position."""
        runs = np.atleast_1d(runs)
        units = None if self.units is None else np.unique(self.units[runs], return_inverse=True)[1]
        strata = self.basis.strata
        strata = strata and replace(strata, hits=strata.hits[runs])
        basis = replace(self.basis, strata=strata)
        return replace(
            self, sample=self.sample[runs], draws=self.draws[runs], basis=basis, units=units
        )

    def merged(self) -> SeedDraws:
        """The same with one row a unit."""
        if self.units is None:
            return self
        rows = [self.units == unit for unit in range(self.n_runs)]
        strata = self.basis.strata and self.basis.strata.merged(self.units)
        return replace(
            self,
            sample=np.array([self.sample[row].mean() for row in rows]),
            draws=np.stack([self.draws[row].mean(axis=0) for row in rows]),
            basis=replace(self.basis, strata=strata),
            units=None,
        )

    def paired(self, other: SeedDraws) -> SeedDraws:
        """This less `other`, run by run: where both have run i in all but what is asked about.

        Two scores of the same trained model, say, or two trainings on the same folds; not two
        ways of training that share a seed.
        """
        if len(self.sample) != len(other.sample):
            raise UserError(
                f"paired: {len(self.sample)} runs and {len(other.sample)}; each needs its partner"
            )
        return replace(
            self, sample=self.sample - other.sample, draws=self.draws - other.draws,
            basis=_difference_basis(self.basis, other.basis),
        )  # fmt: skip

    def __sub__(self, other: SeedDraws) -> SeedDifference:
        """The difference of two models on the same records; see `SeedDifference`."""
        return SeedDifference(self, other)

    @property
    def luck(self) -> Luck:
        """Of the mean over these runs, from these runs alone; NaN for a single one."""
        scores = self.merged().sample
        n = len(scores)
        return Luck(float(np.var(scores, ddof=1)) / n, n - 1.0) if n > 1 else Luck(np.nan, np.nan)

    def interval(self, level: float = 0.95, luck: Luck | None = None) -> Interval:
        """The mean over runs with its interval.

        Args:
            level: confidence level.
            luck: of the mean, where more is known of it than these runs tell.

        Returns:
            an `Interval`. Of one run: of balanced accuracy the normal one of cluster-robust
            variances, floored for classes of few lesions (`Strata.floor`); of an AUC Newcombe's
            with fewer than `NEWCOMBE_BELOW` lesions on a side, else the normal one of its logit;
            of a share of few lesions, or that all or none show, Wilson's; else the percentiles of
            the draws. Of several runs: mean -+ sqrt(z^2 V + t^2 s^2/S) with S - 1 degrees of
            freedom, V the mean covariance of two runs; Newcombe's and Wilson's stand in for z^2 V.
            NaN bounds with fewer than two clusters, with more than half of the draws undefined,
            with fewer than `FEW_OF_A_CLASS` lesions on a side (a ranking), and where nothing
            varies.
        """
        validate.open_fraction(level, "level")
        own = self.merged()
        base = Interval(
            float(np.mean(own.sample)), np.nan, np.nan, level, own.draws.shape[1],
            int(np.isnan(own.draws.mean(axis=0)).sum()), own.n_clusters, len(own.sample),
        )  # fmt: skip
        if np.isnan(base.estimate) or own.n_clusters < 2 or own._too_few():
            return base
        if len(own.sample) == 1 and luck is None:
            return own._of_one_run(base)
        covariance, hidden = own._covariance(), own._hidden()
        records = max(0.0, float(_between(covariance))) + hidden
        seeds, df = luck or own.luck
        base = replace(base, record_variance=records, seed_variance=seeds, df=df)
        reach = stats.t.ppf((1 + level) / 2, df) * np.sqrt(seeds)
        # At an edge, or with few lesions, one run's interval says how far the records reach.
        shown = own._exact(base)
        z = stats.norm.ppf((1 + level) / 2) * np.sqrt(records)
        below, above = (z, z) if shown is None else (
            base.estimate - shown.low, shown.high - base.estimate
        )  # fmt: skip
        # Never narrower than by records alone, were these runs the only ones there are.
        alone = stats.norm.ppf((1 + level) / 2) * np.sqrt(covariance.mean() + hidden)
        below, above = (max(alone, np.hypot(part, reach)) for part in (below, above))
        if np.isnan(records) or max(below, above) < ROUNDING:
            return base
        low, high = base.estimate - below, base.estimate + above
        return _cut(replace(base, low=low, high=high), own.basis)

    def _too_few(self):
        sides = self.basis.sides
        return self.basis.kind == "ranking" and min(sides, default=0) < FEW_OF_A_CLASS

    def _hidden(self):
        return self.basis.strata.floor() if self.basis.strata else 0.0

    def _covariance(self):
        """float (S, S): covariances of the runs' scores by the choice of records."""
        return _covariance([self])

    def _exact(self, base):
        """The interval by formula where one is needed: few lesions, or a share of 0 or 1."""
        kind, sides, strata = self.basis.kind, self.basis.sides, self.basis.strata
        if kind == "area" and (min(sides) < NEWCOMBE_BELOW or base.estimate in (0, 1)):
            return newcombe(base.estimate, sides[0], sides[1], base.level)
        one = strata is not None and len(strata.lesions) == 1  # not a mean over classes
        if one and needs_wilson(base.estimate, len(strata.size)):
            return wilson_of_groups(base, strata.size)
        return None

    def _of_one_run(self, base):
        exact = self._exact(base)
        if exact is not None:
            return replace(base, low=exact.low, high=exact.high)
        strata = self.basis.strata
        if strata and len(strata.lesions) > 1:  # a mean over classes, each with its own lesions
            variance = float(self._covariance()[0, 0]) + self._hidden()
            reach = stats.norm.ppf((1 + base.level) / 2) * np.sqrt(variance)
            low, high = base.estimate - reach, base.estimate + reach
            return _cut(replace(base, low=low, high=high, record_variance=variance), self.basis)
        draws = self.draws[0][~np.isnan(self.draws[0])]
        if len(draws) < self.draws.shape[1] / 2 or np.ptp(draws) < ROUNDING:
            return base
        variance = float(draws.var(ddof=1))
        if self.basis.kind == "area":
            # Draws of m lesions vary (m - 1) / m as much as m new ones do.
            few, scale = min(self.basis.sides), base.estimate * (1 - base.estimate)
            reach = stats.norm.ppf((1 + base.level) / 2) * np.sqrt(variance * few / (few - 1))
            low, high = special.expit(
                special.logit(base.estimate) + np.array([-1, 1]) * reach / scale
            ).tolist()
            return replace(base, low=low, high=high, record_variance=variance)
        low, high = np.quantile(draws, [(1 - base.level) / 2, (1 + base.level) / 2]).tolist()
        return replace(base, low=low, high=high, record_variance=variance)


@dataclass(frozen=True, eq=False)
class SeedDifference:
    """Model a less model b on the same records: records are paired, training runs are not.

    Attributes:
        a, b: their `SeedDraws`, of any numbers of runs.
    """

    a: SeedDraws
    b: SeedDraws

    def interval(
        self,
        level: float = 0.95,
        luck: tuple[Luck, Luck] | Luck | None = None,
        q: float | None = None,
    ) -> Interval:
        """The difference of the means over runs, with its interval.

        V_records = mean covariance of two runs of a + of two of b - 2 of one of each (>= 0);
        V_runs = s_a^2 / S_a + s_b^2 / S_b with Welch's degrees of freedom. With one run in an
        arm the luck of training has no estimate: the interval is over records alone
        (`Interval.n_runs` is 1), and compares two runs, not two ways of training.

        Args:
            level: confidence level.
            luck: of a and of b, where more is known of it than these runs tell. One `Luck` alone
                is that of each, pooled over both, so that its degrees of freedom count once.
            q: a quantile for both parts, as Tukey's for the largest of many differences; None:
                the normal one for the records, Student's for the runs.

        Returns:
            an `Interval`; NaN bounds as in `SeedDraws.interval`, and where both gave the same
            answers (nothing varies: how far they would differ elsewhere isn't known). Bounds are
            cut at what a difference can be: -1 and 1 for two shares.
        """
        validate.open_fraction(level, "level")
        a, b = self.a.merged(), self.b.merged()
        if a.draws.shape[1] != b.draws.shape[1] or a.n_clusters != b.n_clusters:
            raise UserError("a and b were not scored on the same draws of the same records")
        n, m = len(a.sample), len(b.sample)
        undefined = np.isnan(a.draws).any(axis=0) | np.isnan(b.draws).any(axis=0)
        base = Interval(
            float(a.sample.mean() - b.sample.mean()), np.nan, np.nan, level, a.draws.shape[1],
            int(undefined.sum()), a.n_clusters, min(n, m),
        )  # fmt: skip
        if np.isnan(base.estimate) or a.n_clusters < 2 or a._too_few():
            return base
        if a.basis.kind == "area" and min(a.basis.sides) < FEW_OF_A_CLASS:
            return base
        of_one = min(n, m) == 1 and luck is None
        records, fixed = self._records(a, b, of_one)
        if isinstance(luck, Luck):
            seeds, df = 2 * luck.variance, luck.df
        else:
            seeds, df = (np.nan, np.nan) if of_one else _welch(*(luck or (a.luck, b.luck)))
        reach = 0.0 if of_one else (q or stats.t.ppf((1 + level) / 2, df)) * np.sqrt(seeds)
        z = (q or _quantile(a.basis, level)) * np.sqrt(records)
        base = replace(base, record_variance=records, seed_variance=seeds, df=df)
        # Never narrower than by records alone, were these runs the only ones there are.
        alone = _quantile(a.basis, level) * np.sqrt(fixed)
        half = float(np.maximum(np.hypot(z, reach), alone))
        if np.isnan(half) or half < ROUNDING:
            return base
        basis = _difference_basis(self.a.basis, self.b.basis)
        return _cut(replace(base, low=base.estimate - half, high=base.estimate + half), basis)

    @staticmethod
    def _records(a, b, of_one):
        """The records' variance of the difference: of other runs, and of these very runs.

        Runs of one arm share the first by their covariance; of an arm with one run it is the
        variance.
        """
        c = _covariance([a, b])
        n = len(a.sample)
        cross = -2 * c[:n, n:].mean()
        variance = max(0.0, float(_between(c[:n, :n]) + _between(c[n:, n:]) + cross))
        fixed = max(0.0, float(c[:n, :n].mean() + c[n:, n:].mean() + cross))
        if _alike(a, b):
            hidden = a.basis.strata.floor_of_difference(b.basis.strata, of_one)
            if of_one and not np.any(a.basis.strata.hits.mean(0) - b.basis.strata.hits.mean(0)):
                return 0.0, 0.0  # the same answers everywhere
            variance, fixed = variance + hidden, fixed + hidden
        return variance, fixed


def _difference_basis(a, b):
    """A difference's `Basis`: no more than its range, as from -1 to 1 for two shares."""
    return Basis(low=a.low - b.high, high=a.high - b.low)


def _cut(interval, basis):
    """An interval without what lies outside of the metric's range."""
    low, high = np.clip([interval.low, interval.high], basis.low, basis.high).tolist()
    return replace(interval, low=low, high=high)


def _between(covariance):
    """The mean covariance between two runs; of a single one its variance."""
    n = len(covariance)
    return covariance[0, 0] if n == 1 else covariance[~np.eye(n, dtype=bool)].mean()


def _covariance(models):
    """float (S, S) over the runs of one or two models, by the choice of records."""
    if models[0].basis.strata is not None and (len(models) == 1 or _alike(*models)):
        moved = np.concatenate([model.basis.strata.influence() for model in models])
        return moved @ moved.T
    draws = np.concatenate([model.draws for model in models])
    draws = draws[:, ~np.isnan(draws).any(axis=0)]
    if draws.shape[1] < max(2, models[0].draws.shape[1] / 2):
        return np.full((len(draws), len(draws)), np.nan)
    return np.atleast_2d(np.cov(draws))


def _alike(a, b):
    """Whether two models' shares are of the same records of the same classes."""
    one, two = a.basis.strata, b.basis.strata
    return (
        one is not None
        and two is not None
        and np.array_equal(one.size, two.size)
        and np.array_equal(one.cluster, two.cluster)
        and np.array_equal(one.stratum, two.stratum)
    )


def _welch(a, b):
    """Variance of the difference of two means over runs, and Welch's degrees of freedom."""
    both = a.variance + b.variance
    if both == 0:
        return 0.0, a.df + b.df
    return both, both**2 / (a.variance**2 / a.df + b.variance**2 / b.df)


def _quantile(basis, level):
    """Of the records' part: normal; Student's where few lesions stand on a side of a ranking."""
    few = min(basis.sides, default=NEWCOMBE_BELOW)
    if basis.kind in ("area", "ranking") and few < NEWCOMBE_BELOW:
        return stats.t.ppf((1 + level) / 2, few - 1)
    return stats.norm.ppf((1 + level) / 2)

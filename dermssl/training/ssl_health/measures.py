"""The measures of the health panel, and what it knows of the training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dermssl.core.settings import Pretrain
from dermssl.evaluation.interval import Interval
from dermssl.training.ssl_health import embedding_quality as quality
from dermssl.training.ssl_health.view_shortcuts import ViewCheck

ENDS = ("", "_low", "_high")  # of an interval's columns
DEAD = 0.1  # spread below which a dimension counts as dead
EARLY = 0.25  # share of the epochs in which a slow start is forgiven, and
FEW_STEPS = 200  # in any case so many steps: a loss above a guess's is usual then
HALF = 0.5  # share of the epochs from which on all is judged, however few the steps are


@dataclass(frozen=True)
class HealthMeasures:
    """The measures of a model on fixed photos. NaN where one is not defined.

    health.json holds all of them, in this order; the history and TensorBoard hold `COLUMNS`.

    Attributes:
        knn, linear: float in [0, 1], balanced accuracies of the two probes, each with the ends
            of its interval, `_low` and `_high`; None without labelled photos.
        pair_accuracy: float in [0, 1], contrastive accuracy on pairs of views.
        alignment, uniformity: float, of the projections z.
        effective_rank, effective_rank_h: float, of the projections z and the embeddings h.
        spread: float, mean of `embedding_quality.dimension_spread` of the projections.
        dead: float in [0, 1], share of their dimensions with a spread under `DEAD`.
        averaged_spread: float, the spread with BatchNorm's moving averages, which the saved model
            is used with; all else is with statistics of the pairs.
        health: float, 0 for green, 1 for yellow, 2 for red; NaN before it was judged.
        dimension: int, dimensions of the projections.
        broken: bool, an embedding or a projection is not finite.
    """

    knn: float | None = None
    knn_low: float | None = None
    knn_high: float | None = None
    linear: float | None = None
    linear_low: float | None = None
    linear_high: float | None = None
    pair_accuracy: float = math.nan
    alignment: float = math.nan
    uniformity: float = math.nan
    effective_rank: float = math.nan
    effective_rank_h: float = math.nan
    spread: float = math.nan
    dead: float = math.nan
    averaged_spread: float = math.nan
    health: float = math.nan
    dimension: int = 0
    broken: bool = False

    @classmethod
    def of(
        cls, h: np.ndarray, first: np.ndarray, second: np.ndarray, probes: dict[str, Interval],
        by_averages: np.ndarray,
    ) -> HealthMeasures:  # fmt: skip
        """Measure a model by its vectors.

        Args:
            h: float (n, d), embeddings of the first views.
            first, second: float (n, k), projections of both views.
            probes: dict of probe -> `Interval` of its balanced accuracy, or empty.
            by_averages: float (n, k), projections of the first views with moving averages.
        """
        values: dict[str, Any] = {
            f"{name}{end}": value
            for name, interval in probes.items()
            for end, value in zip(ENDS, (interval.estimate, interval.low, interval.high))
        }
        both = np.concatenate([first, second])
        if not all(np.isfinite(vectors).all() for vectors in (both, h, by_averages)):
            return cls(dimension=first.shape[1], broken=True, **values)
        spread = quality.dimension_spread(both)
        return cls(
            pair_accuracy=quality.pair_accuracy(first, second),
            alignment=quality.alignment(first, second),
            uniformity=quality.uniformity(both),
            # One view of each photo: two views of one are near by training.
            effective_rank=quality.effective_rank(first),
            effective_rank_h=quality.effective_rank(h),
            spread=float(spread.mean()),
            dead=float((spread < DEAD).mean()),
            averaged_spread=float(quality.dimension_spread(by_averages).mean()),
            dimension=first.shape[1],
            **values,
        )

    @classmethod
    def from_json(cls, table: dict[str, Any]) -> HealthMeasures:
        """Read back what health.json holds; it has null for NaN."""
        values: dict[str, Any] = {
            name: math.nan if value is None else value for name, value in table.items()
        }
        return cls(**values)

    def interval(self, probe: str) -> Interval | None:
        """The `Interval` of "knn" or "linear"; None without labelled photos."""
        values = [getattr(self, f"{probe}{end}") for end in ENDS]
        return None if values[0] is None else Interval(*values)

    def logs(self) -> dict[str, float]:
        """The measures of `COLUMNS` that there are."""
        values = {name: getattr(self, name) for name in COLUMNS}
        return {name: value for name, value in values.items() if value is not None}


COLUMNS = tuple(
    field.name
    for field in dataclasses.fields(HealthMeasures)
    if field.name not in ("dimension", "broken")
)


@dataclass(frozen=True)
class HealthContext:
    """What the rules know of a training besides the measures; NaN where it is not known.

    Attributes:
        settings: `settings.Pretrain`.
        views: `ViewCheck` of the pairs of views.
        progress: float in [0, 1], share of the epochs done; 0 before training.
        steps: int, steps done.
        loss, entropy: float, means over the epoch; nats.
        start: `HealthMeasures` before training, or None.
        n_labelled: int, photos behind the two probes.
        chance: float, balanced accuracy of a random guess on them.
    """

    settings: Pretrain
    views: ViewCheck
    progress: float = 0.0
    steps: int = 0
    loss: float = math.nan
    entropy: float = math.nan
    start: HealthMeasures | None = None
    n_labelled: int = 0
    chance: float = math.nan

    @property
    def guess(self) -> float:
        """NT-Xent of a model that cannot tell photos apart, log(2n - 1)."""
        return math.log(2 * self.settings.batch_size - 1)

    @property
    def is_early(self) -> bool:
        """Whether too few epochs or steps are done to expect anything of the model."""
        slow = self.progress <= EARLY or self.steps < FEW_STEPS
        return self.progress < HALF and slow

"""The calibration of a fine-tuned run: fitted on validation, stored beside its model.

    P'(k) = P(k)^(1/T) share(k)^b / sum_j P(j)^(1/T) share(j)^b

The temperature T makes a model more or less sure. b corrects for training that counted all
classes equally (`is_balanced`), after which the rare ones come out far more probable than they
are: share(k) is the class's share of the labelled validation records, b the power they need.
Where no b is found, or none is needed, it is 0; in balanced training `BALANCED` is then said
beside the probabilities.

The class that is named, and scored, stays the likeliest one before all this. Naming the most
probable one afterwards would be right more often, by overlooking the rare classes.

Each run of dermssl.finetune has a temperature.json; dermssl.predict applies it to new photos.
The run's own predictions.csv stays raw: it is what both numbers are fitted and judged on. With
the hierarchical head P'(coarse) is the sum of P'(fine), as before. Two independent heads have
a T and a b each.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.core.settings import Finetune
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.records import VALIDATION, group_ids
from dermssl.evaluation import calibration, predictions
from dermssl.evaluation.predictions import Predictions

NAME = "temperature.json"
HIERARCHICAL = "hierarchical"
BALANCED = (
    "training counted all classes equally, so that rare classes may come out far more probable "
    "than they are in the data: read these probabilities against each other, not as frequencies "
    "(finetune.class_balance none trains without)"
)
CORRECTED = (
    "these probabilities are meant for photos among which classes are as common as among the "
    "labelled validation records (dermssl.evaluate says how well they fit there); the class named "
    "is the likeliest before the correction, as it is scored, and needn't be the most probable"
)


@dataclass(frozen=True)
class LevelCalibration:
    """The temperature, and the correction for balanced training, of one level.

    Attributes:
        temperature: T as applied; 1 (no change) where there is a concern.
        optimum: the T that the search ended at.
        n, n_classes: labelled validation records, and classes among them.
        log_loss_before, log_loss_after: on those records in nats, raw and as applied.
        at_bound: the search ended at one of its bounds.
        concern: why the optimum isn't applied; "" where it is.
        prior_power: b as applied; 0 is no correction.
        shares: each class's share of those records, none of them 0; () without a correction.
    """

    temperature: float
    optimum: float
    n: int
    n_classes: int
    log_loss_before: float
    log_loss_after: float
    at_bound: bool
    concern: str
    prior_power: float
    shares: tuple[float, ...]

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.temperature != 1 or self.prior_power != 0

    @property
    def offset(self) -> np.ndarray | float:
        """What is added to log P(k) / T: float (K,), or 0 without a correction."""
        return self.prior_power * np.log(self.shares) if self.shares else 0.0

    def apply(self, p: npt.ArrayLike) -> np.ndarray:
        """Probabilities float (n, K) as they are to be read, float64."""
        p = np.asarray(p, dtype=np.float64)
        if not self.changes:
            return p
        if len(self.shares) not in (0, p.shape[1]):
            raise UserError(
                f"{NAME}: shares of {len(self.shares)} classes, but the run has {p.shape[1]}; "
                "it is of another run, delete it"
            )
        return calibration.apply_temperature(p, self.temperature, self.offset)

    def __str__(self):
        text = f"temperature {self.temperature:.3g}"
        if not self.shares:
            return text
        return f"{text} and the class shares of {VALIDATION} to the power {self.prior_power:.2g}"


@dataclass(frozen=True)
class Calibrator:
    """What is done to a model's probabilities.

    Attributes:
        fine: `LevelCalibration`.
        coarse: `LevelCalibration` of an independent coarse head; None where P(coarse) is a
            sum of P(fine).
    """

    fine: LevelCalibration
    coarse: LevelCalibration | None = None

    def apply(
        self, p_fine: np.ndarray, p_coarse: np.ndarray, taxonomy: Taxonomy
    ) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities of both levels as they are to be read, float64 (n, F) and (n, C)."""
        fine = self.fine.apply(p_fine)
        if self.coarse is None:
            return fine, fine @ taxonomy.matrix.astype(np.float64)
        return fine, self.coarse.apply(p_coarse)

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.fine.changes or bool(self.coarse and self.coarse.changes)

    def as_dict(self) -> dict[str, Any]:
        """The content of temperature.json."""
        return {
            **asdict(self.fine),
            "fitted_on": f"{VALIDATION} split of {predictions.NAME}",
            "coarse": asdict(self.coarse) if self.coarse else None,
        }

    def sentence(self, balanced: bool = False) -> str:
        """What was done to the probabilities, in one line; `balanced`: as from `is_balanced`."""
        level = self.fine
        if level.concern:
            said = f"not calibrated, temperature 1: {level.concern} ({VALIDATION} split)"
        else:
            how = "tempered" if balanced and not level.shares else "calibrated"
            said = f"{how} with {level}, fitted on {level.n:,} {VALIDATION} records"
        if self.coarse is None:
            return said
        return f"{said}; coarse head: {self.coarse.concern or self.coarse}"

    def advice(self, balanced: bool) -> str:
        """How to read the probabilities, in one line; "" where nothing need be said."""
        if not balanced:
            return ""
        return CORRECTED if self.fine.shares else BALANCED


def is_balanced(finetune: dict[str, Any]) -> bool:
    """Whether training counted all classes equally: by weights, or by equally many labels.

    Args:
        finetune: dict, the [finetune] section of a run's config.
    """
    settings = {**asdict(Finetune()), **finetune}
    return settings["class_balance"] != "none" or settings["labels_per_class"] > 0


def fit(table: pd.DataFrame, taxonomy: Taxonomy, finetune: dict[str, Any]) -> Calibrator:
    """The `Calibrator` that suits the validation records of a predictions table.

    Args:
        table: DataFrame as from `predictions.table`.
        taxonomy: `Taxonomy`.
        finetune: dict, the [finetune] section of the run's config: its head and its balance.
    """
    coarse = finetune.get("head", HIERARCHICAL) != HIERARCHICAL
    if not (table["split"] == VALIDATION).any():
        level = _level(calibration.fit_temperature(np.zeros((0, 1)), []))
        return Calibrator(level, level if coarse else None)
    arrays, balanced = predictions.arrays_of(table, taxonomy, VALIDATION), is_balanced(finetune)
    lesions = group_ids(table[table["split"] == VALIDATION], "lesion_id")
    fine = _fit(arrays.p_fine, arrays.y, balanced, lesions)
    if not coarse:
        return Calibrator(fine)
    return Calibrator(fine, _fit(arrays.p_coarse, arrays.y_coarse, balanced, lesions))


def write(
    folder: Path | str, table: pd.DataFrame, taxonomy: Taxonomy, finetune: dict[str, Any]
) -> Calibrator:
    """Fit a run's `Calibrator` and leave it in its folder; returns it. Arguments as in `fit`."""
    calibrator = fit(table, taxonomy, finetune)
    atomic_files.write_json(Path(folder) / NAME, calibrator.as_dict())
    return calibrator


def read(folder: Path | str) -> Calibrator | None:
    """A run's `Calibrator`; None where it has none, or one of an older version, without shares."""
    file = Path(folder) / NAME
    if not file.exists():
        return None
    values = runs.read_json(file)
    try:
        coarse = values["coarse"]
        if "temperature" in values and "shares" not in values:
            return None
        return Calibrator(_read_level(values), _read_level(coarse) if coarse else None)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: no temperature of dermssl.finetune in it ({error!r}); delete it, and it is "
            f"fitted anew from {predictions.NAME}"
        ) from error


def of_run(run: Predictions) -> Calibrator:
    """The `Calibrator` of a run's `Predictions`: the stored one, else fitted anew."""
    stored = read(run.path) if run.path else None
    return stored or fit(run.table, run.taxonomy, _finetune(run.status))


def of_folder(folder: Path | str) -> Calibrator:
    """`of_run` of a run's folder; its predictions.csv is read only where nothing is stored."""
    return read(folder) or of_run(predictions.read(folder))


def balanced_run(status: dict[str, Any]) -> bool:
    """`is_balanced` of a run, by its status.json."""
    return is_balanced(_finetune(status))


def _finetune(status):
    return status.get("config", {}).get("finetune", {})


def _fit(p, y, balanced, lesions):
    logits = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)
    alone = calibration.fit_temperature(logits, y, lesions=lesions)
    if alone.concern or not balanced:
        return _level(alone)
    # One record more a class (Laplace): a class of which validation has none isn't impossible.
    counts = np.bincount(y[y >= 0], minlength=p.shape[1]) + 1
    shares = counts / counts.sum()
    power = calibration.fit_prior_power(logits, y, np.log(shares))
    both = calibration.fit_temperature(logits, y, offset=power * np.log(shares), lesions=lesions)
    bounded = not 0 < power < calibration.PRIOR_POWERS[1]
    if bounded or both.concern or both.nll_after >= alone.nll_after:
        return _level(alone)
    corrected = {"prior_power": power, "shares": tuple(shares.tolist())}
    return replace(_level(both), log_loss_before=alone.nll_before, **corrected)


def _level(fitted):
    return LevelCalibration(
        temperature=1.0 if fitted.concern else fitted.temperature,
        optimum=fitted.temperature,
        n=fitted.n,
        n_classes=fitted.n_classes,
        log_loss_before=fitted.nll_before,
        log_loss_after=fitted.nll_before if fitted.concern else fitted.nll_after,
        at_bound=fitted.at_bound,
        concern=fitted.concern,
        prior_power=0.0,
        shares=(),
    )


def _read_level(values):
    level = LevelCalibration(
        **{name: values[name] for name in LevelCalibration.__dataclass_fields__}
    )
    level = replace(level, shares=tuple(level.shares))
    if not (isinstance(level.temperature, int | float) and 0 < level.temperature < np.inf):
        raise ValueError(f"temperature {level.temperature}")
    if not (np.isfinite(level.prior_power) and all(0 < share < 1 for share in level.shares)):
        raise ValueError(f"prior_power {level.prior_power}, shares {level.shares}")
    if bool(level.prior_power) != bool(level.shares):
        raise ValueError(f"prior_power {level.prior_power}, but shares {level.shares}")
    return level

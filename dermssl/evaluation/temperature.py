"""The temperature that belongs to a model: fitted on its validation split, kept in its folder.

    P'(k) = P(k)^(1/T) / sum_j P(j)^(1/T)

A temperature makes a model more or less sure; it can't undo that training counted all classes
equally (`--class-balance`), after which the rare ones come out more often than they are. So
`BALANCED` is said beside such probabilities.

Each run of dermssl.finetune has a temperature.json; dermssl.predict applies it to new photos.
The run's own predictions.csv stays raw: it is what the temperature is fitted and judged on.
With the hierarchical head P'(coarse) is the sum of P'(fine), as before. Two independent heads
have a temperature each.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dermssl import runs
from dermssl.data.index import VALIDATION
from dermssl.errors import UserError
from dermssl.evaluation import calibration, predictions
from dermssl.settings import Finetune

NAME = "temperature.json"
HIERARCHICAL = "hierarchical"
BALANCED = (
    "training counted all classes equally, so that rare classes come out more probable than they "
    "are in the data: read these probabilities against each other, not as frequencies "
    "(--class-balance none trains without)"
)


@dataclass(frozen=True)
class Level:
    """The temperature of one level.

    Attributes:
        temperature: T as applied; 1 (no change) where there is a concern.
        optimum: the T that the search ended at.
        n, n_classes: labelled validation records, and classes among them.
        log_loss_before, log_loss_after: on those records in nats, at 1 and at `temperature`.
        at_bound: the search ended at one of its bounds.
        concern: why the optimum isn't applied; "" where it is.
    """

    temperature: float
    optimum: float
    n: int
    n_classes: int
    log_loss_before: float
    log_loss_after: float
    at_bound: bool
    concern: str


@dataclass(frozen=True)
class Scaling:
    """A model's temperatures.

    Attributes:
        fine: `Level`.
        coarse: `Level` of an independent coarse head; None where P(coarse) is a sum of P(fine).
    """

    fine: Level
    coarse: Level | None = None

    def apply(self, p_fine, p_coarse, taxonomy):
        """Tempered probabilities of both levels, float64 [n, F] and [n, C]."""
        fine = _tempered(p_fine, self.fine.temperature)
        if self.coarse is None:
            return fine, fine @ taxonomy.matrix.astype(np.float64)
        return fine, _tempered(p_coarse, self.coarse.temperature)

    @property
    def changes(self):
        """Whether it does anything."""
        return any(level and level.temperature != 1 for level in (self.fine, self.coarse))

    def as_dict(self):
        """The content of temperature.json."""
        return {
            **asdict(self.fine),
            "fitted_on": f"{VALIDATION} split of {predictions.NAME}",
            "coarse": asdict(self.coarse) if self.coarse else None,
        }

    def sentence(self, balanced=False):
        """What was done to the probabilities, in one line; `balanced`: as from `is_balanced`."""
        level = self.fine
        if level.concern:
            said = f"not calibrated, temperature 1: {level.concern} ({VALIDATION} split)"
        else:
            said = (
                f"{'tempered' if balanced else 'calibrated'} with temperature "
                f"{level.temperature:.3g}, "
                f"fitted on {level.n:,} {VALIDATION} records"
            )
        if self.coarse is None:
            return said
        other = self.coarse.concern
        return f"{said}; coarse head: {other or f'temperature {self.coarse.temperature:.3g}'}"


def fit(table, taxonomy, head):
    """The `Scaling` that suits the validation records of a predictions table.

    The fine argmax never changes; a coarse one may, since a sum of tempered probabilities
    isn't a tempered sum.

    Args:
        table: DataFrame as from `predictions.table`.
        taxonomy: `Taxonomy`.
        head: "hierarchical" or "independent".
    """
    coarse = head != HIERARCHICAL
    if not (table["split"] == VALIDATION).any():
        level = _level(calibration.fit_temperature(np.zeros((0, 1)), []))
        return Scaling(level, level if coarse else None)
    found = predictions.arrays_of(table, taxonomy, VALIDATION)
    return Scaling(
        _fit(found.p_fine, found.y), _fit(found.p_coarse, found.y_coarse) if coarse else None
    )


def is_balanced(status):
    """Whether training counted all classes equally: see `BALANCED`.

    Args:
        status: dict, from the status.json of a fine-tuning run.
    """
    settings = status.get("config", {}).get("finetune", {})
    return settings.get("class_balance", Finetune().class_balance) != "none"


def write(folder, table, taxonomy, head):
    """Fit a run's temperature and leave it in its folder; returns the `Scaling`."""
    found = fit(table, taxonomy, head)
    runs.write_json(Path(folder) / NAME, found.as_dict())
    return found


def read(folder):
    """A run's `Scaling`; None where it has no temperature.json, as runs of older versions."""
    file = Path(folder) / NAME
    if not file.exists():
        return None
    values = runs.read_json(file)
    try:
        fine, coarse = _read_level(values), values["coarse"]
        return Scaling(fine, _read_level(coarse) if coarse else None)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{file}: no temperature of dermssl.finetune in it ({error!r}); make the run again"
        ) from error


def of_run(found):
    """The `Scaling` of a run's `Predictions`: the stored one, else fitted anew."""
    head = found.status.get("config", {}).get("finetune", {}).get("head", HIERARCHICAL)
    return read(found.path) or fit(found.table, found.taxonomy, head)


def _tempered(p, temperature):
    p = np.asarray(p, dtype=np.float64)
    return p if temperature == 1 else calibration.apply_temperature(p, temperature)


def _fit(p, y):
    logits = np.log(p, out=np.full(p.shape, -np.inf), where=p > 0)
    return _level(calibration.fit_temperature(logits, y))


def _level(found):
    return Level(
        temperature=1.0 if found.concern else found.temperature,
        optimum=found.temperature,
        n=found.n,
        n_classes=found.n_classes,
        log_loss_before=found.nll_before,
        log_loss_after=found.nll_before if found.concern else found.nll_after,
        at_bound=found.at_bound,
        concern=found.concern,
    )


def _read_level(values):
    level = Level(**{name: values[name] for name in Level.__dataclass_fields__})
    if not (isinstance(level.temperature, int | float) and 0 < level.temperature < np.inf):
        raise ValueError(f"temperature {level.temperature}")
    return level

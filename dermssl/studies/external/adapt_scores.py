"""Score a run before and after it was adapted: on the new place, and on the run's own records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dermssl.core.study_settings import Adapt, Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import class_map
from dermssl.data.records import TEST
from dermssl.evaluation import metric_tables, prevalence
from dermssl.evaluation.bootstrap import Replicates
from dermssl.evaluation.calibrator import Calibrator
from dermssl.evaluation.interval import Interval, joint_level
from dermssl.evaluation.predictions import Arrays, Predictions
from dermssl.evaluation.seed_draws import SeedDraws
from dermssl.reporting import wording
from dermssl.studies.external import compute, levels
from dermssl.studies.external.further_pretraining import FurtherPretraining
from dermssl.studies.external.places import Place

BEFORE, SHARES, NORM, BOTH = ("before", "class shares", "BatchNorm", "both")
FURTHER = "further pretraining"
WHO = {
    BEFORE: "Before, the model", NORM: "With new BatchNorm statistics, the model",
    FURTHER: "After further pretraining, the model",
}  # fmt: skip
FEWEST_SCORED = 20  # labelled photos of the half that is scored
# The class is named by raw probabilities, as predict names it; the rest is of those it gives.
NAMED = ("balanced_accuracy", "fine_accuracy", "coarse_accuracy", "macro_f1")
GIVEN = ("malignant_auc", "roc_auc", "log_loss", "brier")
Scores = dict[str, dict[str, Interval]]  # arm -> metric -> score


class Model(NamedTuple):
    """A model before or after.

    Attributes:
        p: raw probabilities of the place's photos, "fine" and "coarse".
        own: its predictions of the run's own records, the test records at least; None where
            their photos aren't there.
        chosen_on: predictions by whose validation records it was calibrated, and on which
            thresholds are chosen.
        scaling: its calibration.
    """

    p: dict[str, np.ndarray]
    own: Predictions | None
    chosen_on: Predictions
    scaling: Calibrator


@dataclass(frozen=True, eq=False)
class Home:
    """The run's own test records, before and after.

    Attributes:
        n: labelled photos.
        arms, differences: as of `Adaptation`; class shares of elsewhere aren't for them.
    """

    n: int
    arms: Scores
    differences: Scores


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What adapting a run did.

    Attributes:
        place: photos of the new place.
        adapted_to, scored: positions of its photos that were adapted to, and that are scored.
        level: at which they are scored; "" where they aren't.
        arms: dict of arm -> dict of metric -> `Interval`; empty where nothing is scored.
        differences: dict of arm -> dict of metric -> `Interval` of the arm less before.
        beyond_norm: dict of metric -> `Interval` of further pretraining less BatchNorm; empty
            where nothing was pretrained.
        thresholds: dict of arm -> `compute.Threshold`s.
        shares: dict of arm -> `Replicates` of re-estimated fine shares, for arms with a model of
            their own.
        source: float (F,), the shares that the run assumes.
        true: dict of class of the level -> share among the scored photos.
        counts: what the scores rest on, from `metric_tables.counts`.
        renamed: share of the scored half that the saved model calls another fine class.
        verdicts: dict of (arm, compared with) -> `Interval` of the difference that a finding
            follows from; all hold together with 95%.
        home: the run's own test records; None where they can't be predicted.
        further: the further pretraining, if there was one.
        notes: what to know.
    """

    place: Place
    adapted_to: np.ndarray = field(repr=False)
    scored: np.ndarray = field(repr=False)
    level: str
    arms: Scores
    differences: Scores
    beyond_norm: dict[str, Interval]
    thresholds: dict[str, tuple[compute.Threshold, ...]]
    shares: dict[str, Replicates]
    source: np.ndarray
    true: dict[str, float]
    counts: dict[str, Any]
    renamed: float
    verdicts: dict[tuple[str, str], Interval]
    home: Home | None
    further: FurtherPretraining | None
    notes: list[str]

    @property
    def saved(self) -> str:
        """The arm whose model is the adapted run: all that was asked for."""
        return FURTHER if self.further else NORM


def compare(
    place: Place,
    mine: np.ndarray,
    rest: np.ndarray,
    models: Mapping[str, Model],
    settings: Adapt,
    taxonomy: Taxonomy,
    further: FurtherPretraining | None = None,
) -> Adaptation:
    """Score the half that was kept back, and the run's own test records, before and after.

    Args:
        place: what was adapted to.
        mine, rest: positions of the photos adapted to, and of those to score.
        models: arm -> `Model`: `BEFORE`, `NORM`, and `FURTHER` where there was one.
        settings: `study_settings.Adapt`.
        taxonomy: the run's.
        further: what was pretrained.
    """
    groups = place.groups
    raw = {arm: model.p for arm, model in models.items()}
    given = {
        arm: dict(
            zip(
                ("fine", "coarse"),
                model.scaling.apply(model.p["fine"], model.p["coarse"], taxonomy),
            )
        )
        for arm, model in models.items()
    }
    source = {
        arm: compute.source_shares(model.chosen_on, model.scaling) for arm, model in models.items()
    }
    shares = {
        arm: prevalence.with_intervals(
            p["fine"][mine], source[arm], groups[mine], settings.n_resamples
        )
        for arm, p in given.items()
    }
    for arm, name in ((BEFORE, SHARES), (NORM, BOTH)):
        fine = prevalence.corrected(given[arm]["fine"], source[arm], shares[arm].sample)
        given[name] = {"fine": fine, "coarse": fine @ taxonomy.matrix.astype(np.float64)}
        raw[name] = raw[arm]
    last = models[FURTHER if further else NORM]
    changed = models[BEFORE].p["fine"].argmax(axis=1) != last.p["fine"].argmax(axis=1)
    truth = class_map.Truth(
        *(getattr(place.truth(taxonomy), name)[rest] for name in ("fine", "coarse", "malignant"))
    )
    level = levels.choose(truth) if len(rest) else ""
    y = levels.known_at(level, truth) if level else np.zeros(0, dtype=np.int64)
    notes = []
    if (y >= 0).sum() < FEWEST_SCORED or len(np.unique(y[y >= 0])) < 2:
        notes.append(
            f"{int((y >= 0).sum())} labelled photos of {len(np.unique(y[y >= 0]))} classes are "
            f"left to score (at least {FEWEST_SCORED} of two are needed): nothing says whether the "
            "adaptation helps."
        )
        level = ""
    arms: Scores = {}
    differences: Scores = {}
    thresholds: dict[str, tuple[compute.Threshold, ...]] = {}
    true, counts, verdicts, beyond = {}, {}, {}, {}
    if level:
        at = levels.taxonomy_at(level, taxonomy)

        def arrays(p):
            return levels.arrays_at(
                level, truth, p["fine"][rest], p["coarse"][rest], groups[rest], taxonomy
            )

        order = [BEFORE, SHARES, NORM, BOTH, *([FURTHER] if further else [])]
        names = [name for kind in (NAMED, GIVEN) for name in levels.METRICS[level] if name in kind]
        draws = {
            arm: _draws(arrays(raw[arm]), arrays(given[arm]), at, names, settings) for arm in order
        }
        arms, differences = _intervals(draws, names)
        verdicts = _verdicts(draws, levels.primary(level))
        if further:
            beyond = metric_tables.differences(draws[FURTHER], draws[NORM], names)
        for arm in (arm for arm in order if arm in models):
            notes += wording.one_answer(raw[arm]["fine"][rest], taxonomy.titles, WHO[arm])
        options = _options(settings)
        for arm in order:
            model = models.get(arm) or models[NORM if arm == BOTH else BEFORE]
            thresholds[arm] = compute.thresholds(
                model.chosen_on, model.scaling, level, arrays(given[arm]), options
            )
        first: Arrays = arrays(given[BEFORE])
        known = first.y[first.y >= 0]
        true = {title: float((known == k).mean()) for k, title in enumerate(at.titles)}
        counts = metric_tables.counts(first)
    return Adaptation(
        place=place, adapted_to=mine, scored=rest, level=level, arms=arms,
        differences=differences, beyond_norm=beyond, thresholds=thresholds, shares=shares,
        source=source[BEFORE], true=true, counts=counts, verdicts=verdicts, notes=notes,
        home=at_home(models, taxonomy, settings), further=further,
        renamed=float(changed[rest if len(rest) else mine].mean()),
    )  # fmt: skip


def at_home(models: Mapping[str, Model], taxonomy: Taxonomy, settings: Adapt) -> Home | None:
    """Score the run's own test records by each model; arguments as of `compare`.

    Returns:
        `Home`; None where a model has no prediction of them, or no label is known.
    """
    own = {arm: model.own for arm, model in models.items()}
    if not all(one is not None and (one.table["split"] == TEST).any() for one in own.values()):
        return None
    draws: dict[str, dict[str, SeedDraws]] = {}
    names = [name for kind in (NAMED, GIVEN) for name in levels.METRICS[class_map.FINE]
             if name in kind]  # fmt: skip
    n, paths = 0, None
    for arm, model in models.items():
        assert model.own is not None
        here = model.own.table.loc[model.own.table["split"] == TEST, "path"].tolist()
        assert paths in (None, here), "differences are paired: the same records in the same order"
        raw, paths = model.own.arrays(TEST), here
        n = int((raw.y >= 0).sum())
        if not n:
            return None
        fine, coarse = model.scaling.apply(raw.p_fine, raw.p_coarse, taxonomy)
        given = raw._replace(p_fine=fine, p_coarse=coarse)
        draws[arm] = _draws(raw, given, taxonomy, names, settings)
    return Home(n, *_intervals(draws, names))


def _options(settings):
    return Evaluate(specificity=settings.specificity, n_resamples=settings.n_resamples)


def _draws(
    raw: Arrays, given: Arrays, at: Taxonomy, names: Sequence[str], settings: Adapt
) -> dict[str, SeedDraws]:
    """Draws of each metric, in the order of `names`: of `raw` those of `NAMED`, else of `given`."""
    found: dict[str, SeedDraws] = {}
    for arrays, kind in ((raw, NAMED), (given, GIVEN)):
        mine = [name for name in names if name in kind]
        found |= metric_tables.score([arrays], at, settings.n_resamples, mine, _options(settings))
    return {name: found[name] for name in names if name in found}


def _intervals(draws, names):
    """Of each arm, and of its paired difference to before."""
    arms = {arm: metric_tables.intervals(one) for arm, one in draws.items()}
    differences = {
        arm: metric_tables.differences(one, draws[BEFORE], names)
        for arm, one in draws.items()
        if arm != BEFORE
    }
    return arms, differences


def _verdicts(draws, primary):
    """The comparisons that get a sentence; each has the level by which all hold together."""
    asked = {(NORM, BEFORE): primary, (SHARES, BEFORE): "log_loss"}
    if FURTHER in draws:
        asked |= {(FURTHER, BEFORE): primary, (FURTHER, NORM): primary}
    level = joint_level(len(asked))
    return {
        (arm, base): metric_tables.differences(draws[arm], draws[base], [name], level)[name]
        for (arm, base), name in asked.items()
    }

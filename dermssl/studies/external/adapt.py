"""Adapt a run to another place's photos without labels, score it before and after, save it."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.core.errors import UserError
from dermssl.core.study_settings import Adapt, Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import class_map, pipeline
from dermssl.data.records import TEST, TRAIN, group_ids
from dermssl.data.splits import shuffled_groups
from dermssl.evaluation import calibrator, metric_tables, predictions, prevalence
from dermssl.evaluation.bootstrap import Replicates
from dermssl.evaluation.calibrator import Calibrator
from dermssl.evaluation.interval import Interval, joint_level
from dermssl.evaluation.predictions import Arrays
from dermssl.inference import finished_run, likeness
from dermssl.inference.finished_run import FinishedRun
from dermssl.models import batchnorm, weights
from dermssl.reporting import report
from dermssl.studies.external import adapt_report, compute, levels, places
from dermssl.studies.external.places import Place
from dermssl.studies.external.run import predict, without_overlaps

BEFORE, SHARES, NORM, BOTH = ARMS = ("before", "class shares", "BatchNorm", "both")
FEWEST_SCORED = 20  # labelled photos of the half that is scored
KEPT = ("taxonomy.json", "history.csv", "config.toml")


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What adapting a run did.

    Attributes:
        place: photos of the new place.
        adapted_to, scored: positions of its photos that were adapted to, and that are scored.
        level: at which they are scored; "" where they aren't.
        arms: dict of arm -> dict of metric -> `Interval`; empty where nothing is scored.
        differences: dict of arm -> dict of metric -> `Interval` of the arm less before.
        thresholds: dict of arm -> `compute.Threshold`s.
        shares: dict of "before" and "BatchNorm" -> `Replicates` of re-estimated fine shares.
        source: float (F,), the shares that the run assumes.
        true: dict of class of the level -> share among the scored photos.
        renamed: share of the scored half that the adapted model calls another fine class.
        verdicts: dict of arm -> `Interval` of the difference that its finding follows from: both
            hold together with 95% (97.5% each).
        notes: what to know.
    """

    place: Place
    adapted_to: np.ndarray = field(repr=False)
    scored: np.ndarray = field(repr=False)
    level: str
    arms: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, Interval]]
    thresholds: dict[str, tuple[compute.Threshold, ...]]
    shares: dict[str, Replicates]
    source: np.ndarray
    true: dict[str, float]
    counts: dict[str, Any]
    renamed: float
    verdicts: dict[str, Interval]
    notes: list[str]


def adapt_run(config: dict[str, Any]) -> Path:
    """Adapt a finished run to photos of another place.

    Args:
        config: settings from `core.config.configure`; the seed deals the halves.

    Returns:
        Path of the adapted run's folder, with report.md, report.html, adaptation.json and
        adaptation.csv.

    Raises:
        UserError: too few photos, a network without BatchNorm, classes that can't be mapped, or a
            folder that holds another run.
    """
    settings: Adapt = config["adapt"]
    run = finished_run.load(settings.run, "finetune")
    taxonomy = run.taxonomy
    assert taxonomy is not None
    place = places.read(
        [settings.data], settings, taxonomy, run.data, section="adapt", labelled=False
    )[0]
    folder = Path(config["output"] or f"{str(run.path).rstrip('/')}_adapted_{place.name}")
    _check_output(folder)
    (place,), note = without_overlaps([place], run, settings)
    mine, rest = halves(place, settings.share, config["seed"])
    if len(mine) < batchnorm.FEWEST:
        raise UserError(
            f"adapt.data {place.path}: {len(mine)} photos to adapt to; BatchNorm statistics need "
            f"at least {batchnorm.FEWEST}: give more photos, or adapt.share 1"
        )
    model, scaling = run.model(), calibrator.of_run(run.predictions)
    before = predict(model, run, place.dataset, settings.batch_size, f"{place.name}, before")
    order = np.random.Generator(np.random.Philox(key=config["seed"])).permutation(mine)
    batchnorm.adapt(model.backbone, _batches(run, place, order, settings.batch_size))
    after = predict(model, run, place.dataset, settings.batch_size, f"{place.name}, after")
    report.make_output_folder(folder)
    found = compare(run, place, mine, rest, before, after, scaling, settings)
    if note:
        found.notes.append(note)
    save(folder, run, model, found, after, scaling, settings)
    adapt_report.write(folder, found, run, settings, config["command"])
    return folder


def _check_output(folder):
    """Only an adapted run, or nothing, is replaced."""
    if not (folder / "status.json").is_file():
        return
    if not runs.read_json(folder / "status.json").get("adapted"):
        raise UserError(f"run.output {folder}: holds a run that was trained; choose another folder")


def halves(place: Place, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the photos to adapt to, and of those to score; no lesion is in both.

    Lesions or patients of each label are dealt by the seed. Those without any label are adapted
    to, all of them.

    Args:
        place: `Place`.
        share: of the lesions, to adapt to; 1 leaves none to score.
        seed: of the order.

    Returns:
        two int64 arrays, ascending.
    """
    index = place.dataset.index
    groups, labels = group_ids(index), class_map.labels(index).to_numpy(dtype=object)
    label: dict[str, str] = {}
    for group, name in zip(groups, labels):
        label[group] = max(label.get(group, ""), name)
    strata: dict[str, list[str]] = {}
    for group in sorted(label):
        strata.setdefault(label[group], []).append(group)
    unlabelled = set(strata.pop("", []))
    rng, to_score = np.random.Generator(np.random.Philox(key=seed)), set()
    for _, dealt in shuffled_groups(dict(sorted(strata.items())), rng):
        to_score |= set(dealt[round(share * len(dealt)) :])
    scored = np.array([group in to_score and group not in unlabelled for group in groups], bool)
    return np.flatnonzero(~scored), np.flatnonzero(scored)


def _batches(run, place, rows, batch_size):
    """Batches of some photos; the last isn't smaller than two, which have a variance."""
    part = place.dataset.with_index(place.dataset.index.iloc[rows])
    for batch in pipeline.evaluation_data(run.photos(part), batch_size, run.image_size):
        if len(batch) > 1:
            yield batch


def compare(
    run: FinishedRun,
    place: Place,
    mine: np.ndarray,
    rest: np.ndarray,
    before: dict[str, np.ndarray],
    after: dict[str, np.ndarray],
    scaling: Calibrator,
    settings: Adapt,
) -> Adaptation:
    """Score the half that was kept back, before and after.

    Args:
        run, place, settings: what is adapted to what.
        mine, rest: from `halves`.
        before, after: raw probabilities of all photos of the place.
        scaling: the run's calibration, which is kept.
    """
    taxonomy, groups = run.predictions.taxonomy, place.groups
    source = compute.source_shares(run.predictions, scaling)
    raw = {BEFORE: before, NORM: after}
    given = {
        arm: dict(zip(("fine", "coarse"), scaling.apply(p["fine"], p["coarse"], taxonomy)))
        for arm, p in raw.items()
    }
    shares = {
        arm: prevalence.with_intervals(p["fine"][mine], source, groups[mine], settings.n_resamples)
        for arm, p in given.items()
    }
    for arm, name in ((BEFORE, SHARES), (NORM, BOTH)):
        fine = prevalence.corrected(given[arm]["fine"], source, shares[arm].sample)
        given[name] = {"fine": fine, "coarse": fine @ taxonomy.matrix.astype(np.float64)}
        raw[name] = raw[arm]
    changed = before["fine"].argmax(axis=1) != after["fine"].argmax(axis=1)
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
    arms: dict[str, dict[str, Interval]] = {}
    differences: dict[str, dict[str, Interval]] = {}
    thresholds: dict[str, tuple[compute.Threshold, ...]] = {}
    true, counts, verdicts = {}, {}, {}
    if level:
        arms, differences, thresholds, true, counts, verdicts = _scores(
            run, level, truth, raw, given, rest, groups, scaling, settings
        )
    return Adaptation(
        place=place, adapted_to=mine, scored=rest, level=level, arms=arms,
        differences=differences, thresholds=thresholds, shares=shares, source=source, true=true,
        counts=counts, verdicts=verdicts, notes=notes,
        renamed=float(changed[rest if len(rest) else mine].mean()),
    )  # fmt: skip


def _scores(run, level, truth, raw, given, rest, groups, scaling, settings):
    """Metrics of each arm with intervals, and paired differences to before."""
    taxonomy = run.predictions.taxonomy
    at = levels.taxonomy_at(level, taxonomy)
    options = Evaluate(specificity=settings.specificity, n_resamples=settings.n_resamples)
    # The class is named by raw probabilities, as predict names it; the rest is of those it gives.
    named = [name for name in levels.METRICS[level] if name in NAMED]
    others = [name for name in levels.METRICS[level] if name in GIVEN]

    def arrays(p):
        return levels.arrays_at(
            level, truth, p["fine"][rest], p["coarse"][rest], groups[rest], taxonomy
        )

    draws, thresholds = {}, {}
    for arm in ARMS:
        draws[arm] = metric_tables.score(
            [arrays(raw[arm])], at, settings.n_resamples, named, options
        ) | metric_tables.score([arrays(given[arm])], at, settings.n_resamples, others, options)
        thresholds[arm] = compute.thresholds(
            run.predictions, scaling, level, arrays(given[arm]), options
        )
    names = [*named, *others]
    arms = {arm: _in_order(metric_tables.intervals(one), names) for arm, one in draws.items()}
    differences = {
        arm: metric_tables.differences(draws[arm], draws[BEFORE], names) for arm in ARMS[1:]
    }
    verdicts = {}
    for arm, name in ((NORM, levels.primary(level)), (SHARES, "log_loss")):
        verdicts |= {
            arm: metric_tables.differences(draws[arm], draws[BEFORE], [name], joint_level(2))[name]
        }
    first: Arrays = arrays(given[BEFORE])
    known = first.y[first.y >= 0]
    true = {title: float((known == k).mean()) for k, title in enumerate(at.titles)}
    return arms, differences, thresholds, true, metric_tables.counts(first), verdicts


NAMED = ("balanced_accuracy", "fine_accuracy", "coarse_accuracy", "macro_f1")
GIVEN = ("malignant_auc", "roc_auc", "log_loss", "brier")


def _in_order(found, names):
    return {name: found[name] for name in names if name in found}


def save(
    folder: Path,
    run: FinishedRun,
    model: Any,
    found: Adaptation,
    after: dict[str, np.ndarray],
    scaling: Calibrator,
    settings: Adapt,
) -> None:
    """Leave the adapted model as a run folder that predict and evaluate take.

    Its predictions.csv holds the run's own records, predicted anew, where its photos are at hand;
    else the new place's photos, those adapted to as "train" and the others as "test".

    Args:
        folder: to write into.
        run: the run that was adapted.
        model: `LesionClassifier`, adapted.
        found: from `compare`.
        after: raw probabilities of the place's photos, adapted.
        scaling: the run's calibration.
        settings: `study_settings.Adapt`.
    """
    (folder / "status.json").unlink(missing_ok=True)  # until the end it is no run
    for name in KEPT:
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)
    with atomic_files.atomic_write(folder / weights.MODEL_FILE) as temporary:
        model.save(temporary)
    table = _own_predictions(run, model, found, after, settings)
    atomic_files.write_csv(folder / predictions.NAME, table)
    kept = scaling.as_dict()
    if settings.keep_shares:
        kept = _with_shares(scaling, found.source, found.shares[NORM].sample).as_dict()
    atomic_files.write_json(folder / calibrator.NAME, kept)
    (folder / likeness.NAME).unlink(missing_ok=True)
    _leave_likeness(folder, run, model, found)
    said = (
        f"{scaling.sentence(calibrator.balanced_run(run.status))}, by {run.path.name}; then "
        f"corrected to class shares that were re-estimated without labels on {found.place.name}"
    )
    entry = {
        "adapted": {
            "from": str(run.path), "to": found.place.path, "photos": len(found.adapted_to),
            "batchnorm": True, "shares": settings.keep_shares, "probabilities": said,
        },
        "arm": f"{run.status.get('arm', '')}_adapted", "n_records": len(table),
    }  # fmt: skip
    atomic_files.write_json(folder / "status.json", {**run.status, **entry})


def _own_predictions(run, model, found, after, settings):
    taxonomy = run.predictions.taxonomy
    try:
        dataset = run.dataset(moved=settings.run_data or None)
    except UserError as error:
        if settings.run_data:
            raise
        found.notes.append(
            f"The run's own photos aren't there ({error}), so predictions.csv of the adapted run "
            "holds the new place's: it has no validation records to choose thresholds on."
        )
        return _new_predictions(found, after, taxonomy)
    p = predict(model, run, dataset, settings.batch_size, "the run's own photos")
    return predictions.table(dataset.index, p["fine"], p["coarse"], taxonomy)


def _new_predictions(found, after, taxonomy: Taxonomy) -> pd.DataFrame:
    index, truth = found.place.dataset.index, found.place.truth(taxonomy)
    split = np.full(len(index), TRAIN, dtype=object)
    split[found.scored] = TEST
    index = index.assign(
        fine=np.array([*taxonomy.fine, ""], dtype=object)[truth.fine],
        coarse=np.array([*taxonomy.coarse, ""], dtype=object)[truth.coarse],
        split=split,
    )
    return predictions.table(index, after["fine"], after["coarse"], taxonomy)


def _with_shares(scaling: Calibrator, source: np.ndarray, shares: np.ndarray) -> Calibrator:
    """The calibration with a further correction from `source` to `shares`, as one of its kind.

    P^(1/T) s^b q/p is P^(1/T) r^1 with r = s^b q/p, normalised.
    """
    level = scaling.fine
    offset = np.log(shares / source)
    if level.shares:
        offset = offset + level.prior_power * np.log(level.shares)
    ratio = np.exp(offset - offset.max())
    changed = dataclasses.replace(
        level, prior_power=1.0, shares=tuple((ratio / ratio.sum()).tolist())
    )
    return Calibrator(changed, scaling.coarse)


def _leave_likeness(folder, run, model, found):
    """What photos of the new place look like: two thirds of those adapted to, limits of a third."""
    index = found.place.dataset.index.iloc[found.adapted_to]
    third = pd.Series(group_ids(index)).factorize()[0] % 3 == 2
    kept = index.assign(split=np.where(third, "validation", TRAIN))
    likeness.leave(folder, model.backbone, found.place.dataset.with_index(kept), run.data)

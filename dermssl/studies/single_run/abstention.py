"""Leaving photos to a human: sets of classes that hold the true one, and errors by confidence."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from dermssl.core.study_settings import Evaluate
from dermssl.core.taxonomy import Taxonomy
from dermssl.data.records import TEST
from dermssl.evaluation import conformal, selective, subgroups
from dermssl.evaluation.conformal import ClassThresholds
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.predictions import Arrays, Predictions
from dermssl.evaluation.subgroups import Group
from dermssl.reporting import report, wording
from dermssl.studies.single_run import wording as sentences

ALL = "all photos"
TWO_DIGITS = functools.partial(wording.estimate, digits=2)
COLUMNS = (
    report.Column("photos", right=True),
    report.Column("true class is in the set", format=TWO_DIGITS),
    report.Column("classes a set", format=TWO_DIGITS),
)


@dataclass(frozen=True, eq=False)
class Sets:
    """Conformal sets of a split.

    Attributes:
        thresholds: of the classes, from validation.
        by_class: table of `conformal.coverage`: all photos, then a row a class.
        by_group: the same for each subgroup, with its `axis`; empty without subgroups.
    """

    thresholds: ClassThresholds
    by_class: pd.DataFrame = field(repr=False)
    by_group: pd.DataFrame = field(repr=False)


@dataclass(frozen=True, eq=False)
class Abstention:
    """What there is to say of a split.

    Attributes:
        sets: None where there is nothing to calibrate on, or the split itself is what is.
        curve: errors by confidence.
    """

    sets: Sets | None
    curve: selective.RiskCoverage = field(repr=False)


def measure(
    run: Predictions,
    arrays: Arrays,
    given: Arrays | None,
    split: str,
    groups: Sequence[Group],
    n_resamples: int,
    settings: Evaluate,
) -> Abstention:
    """The sets and the curve of one split.

    Args:
        run: the run's `Predictions`.
        arrays, given: `Arrays` of the split as predicted, and as predict gives them or None.
        split: its name.
        groups: from `subgroups.score`.
        n_resamples: draws of the bootstrap.
        settings: the coverage asked for, the age bands.
    """
    known = arrays.y >= 0
    wrong = np.where(known, (arrays.p_fine.argmax(axis=1) != arrays.y).astype(float), np.nan)
    confidence = (given or arrays).p_fine.max(axis=1)
    curve = selective.risk_coverage(wrong, confidence, arrays.groups, n_resamples=n_resamples)
    thresholds = conformal.of_run(run, settings.coverage)
    if split != TEST or not known.any() or not thresholds:
        return Abstention(None, curve)
    sets = thresholds.sets(arrays.p_fine)
    rows = run.table[run.table["split"] == split]
    places = [(ALL, known)]
    places += [(name, arrays.y == k) for k, name in enumerate(run.taxonomy.fine)]
    inside = [
        (one.value, subgroups.values(rows, one.axis, settings.age_bands) == one.value)
        for one in groups
    ]
    by_group = conformal.coverage(sets, arrays.y, arrays.groups, inside, n_resamples)
    by_group.insert(0, "axis", [one.axis for one in groups])
    # Small groups that were taken together have no value of their own in the records.
    by_group = by_group[by_group["n"] > 0] if groups else by_group
    by_class = conformal.coverage(sets, arrays.y, arrays.groups, places, n_resamples)
    return Abstention(Sets(thresholds, by_class, by_group), curve)


def summary(found: Abstention, taxonomy: Taxonomy) -> dict:
    """The entry in metrics.json."""
    result: dict = {"aurc": vars(found.curve.aurc), "aurc_gain": vars(found.curve.gain)}
    if found.sets is None:
        return {**result, "conformal": None}
    thresholds = found.sets.thresholds
    sets = {
        "level": thresholds.level,
        "lowest_probability": dict(zip(taxonomy.fine, thresholds.lowest)),
        "validation_lesions": dict(zip(taxonomy.fine, thresholds.lesions)),
        "always_in_the_set": [
            name for name, none in zip(taxonomy.fine, thresholds.has_none) if none
        ],
        **found.sets.by_class.iloc[0].drop("name").to_dict(),
    }
    return {**result, "conformal": sets}


def tables(found: Abstention) -> dict[str, pd.DataFrame]:
    """dict of file name -> table to write."""
    written = {"risk_coverage.csv": found.curve.table}
    if found.sets:
        thresholds = found.sets.thresholds
        by_class = found.sets.by_class.assign(
            axis="class",
            lowest_probability=[math.nan, *thresholds.lowest],
            validation_lesions=[sum(thresholds.lesions), *thresholds.lesions],
        )
        parts = [by_class, found.sets.by_group] if len(found.sets.by_group) else [by_class]
        table = pd.concat(parts).astype({"validation_lesions": "Int64"})
        first = ["axis", "name", "validation_lesions", "lowest_probability"]
        written["conformal_sets.csv"] = table[[*first, *table.columns.drop(first)]]
    return written


def section(found: Abstention, taxonomy: Taxonomy, unit: str) -> report.Section:
    """The section of the report."""
    blocks: list[report.Block | None] = [
        report.Bullets([report.escaped(line) for line in spoken(found, taxonomy)])
    ]
    if found.sets and not found.sets.thresholds.has_none.all():
        blocks += [_class_table(found.sets, taxonomy), *_group_table(found.sets)]
        blocks.append(report.Text(_explained(found.sets.thresholds, unit)))
    blocks += [
        report.Figure("risk_coverage.png", "Errors by the share of photos answered"),
        report.Text(
            "Photos are answered from the most confident on; confidence is the highest probability "
            "as `python -m dermssl.predict` gives it, an error a class named wrongly. A flat line "
            "is a confidence that doesn't tell errors. Points: `risk_coverage.csv`. Neither the "
            "sets nor the confidence notice a photo that isn't of skin: they are for photos like "
            "those of the run."
        ),
    ]
    return report.Section("Leaving photos to a human", blocks)


def spoken(found: Abstention, taxonomy: Taxonomy) -> list[str]:
    """The sentences: coverage and size of sets, classes without a threshold, errors avoided."""
    said = _held(found.sets, taxonomy) if found.sets else []
    return [*said, _errors(found.curve)]


def _held(sets: Sets, taxonomy: Taxonomy) -> list[str]:
    row, thresholds = sets.by_class.iloc[0], sets.thresholds
    if thresholds.has_none.all():
        return [
            f"No class has the {thresholds.needed} validation lesions that sets of "
            f"{thresholds.level:.0%} need: there are none."
        ]
    lines = [
        f"Sets meant to hold the true class in {thresholds.level:.0%} of the photos of each class "
        f"hold it in {wording.estimate(_interval(row, 'coverage'))} of these, with "
        f"{wording.number(row['size'], 1)} classes on average; {row['single']:.0%} hold one class "
        f"alone, {row['empty']:.0%} none."
    ]
    if thresholds.has_none.any():
        named = ", ".join(
            f"{taxonomy.titles[k]} ({thresholds.lesions[k]})"
            for k in np.flatnonzero(thresholds.has_none)
        )
        held = int(sets.by_class["n"].iloc[1:][thresholds.has_none].sum())
        lines.append(
            f"In every set, since validation has fewer than {thresholds.needed} of their lesions: "
            f"{named}. {held:,} of the {int(row['n']):,} photos are of these classes, and held for "
            "this reason alone."
        )
    return lines


def _errors(curve: selective.RiskCoverage) -> str:
    table = curve.table
    everything = table["risk"].iloc[-1]
    if math.isnan(everything):
        return "Errors by confidence: n/a, since no photo here has a fine label."
    half = table[table["coverage"] == 0.5].iloc[0]
    text = (
        f"Answering the half of the photos it is surest of, the model is wrong in "
        f"{wording.estimate(_interval(half, 'risk'))} of them, against "
        f"{wording.number(everything)} of all"
    )
    if curve.gain.is_defined and curve.gain.low > 0:
        return f"{text} (area under the curve {wording.estimate(curve.aurc)})."
    return f"{text}: its confidence isn't shown to tell errors."


def _interval(row: pd.Series, name: str) -> Interval:
    return Interval(float(row[name]), float(row[f"{name}_low"]), float(row[f"{name}_high"]))


def _cells(row: pd.Series) -> list:
    return [int(row["n"]), _interval(row, "coverage"), _interval(row, "size")]


def _class_table(sets: Sets, taxonomy: Taxonomy) -> report.Table:
    columns = [
        "class", report.Column("validation lesions", right=True),
        report.Column("in the set from P", right=True), *COLUMNS,
    ]  # fmt: skip
    thresholds = sets.thresholds
    everything, *classes = (row for _, row in sets.by_class.iterrows())
    rows = [[ALL, sum(thresholds.lesions), "", *_cells(everything)]]
    for k, row in enumerate(classes):
        lowest = wording.number(thresholds.lowest[k], 4)
        shown = "always" if thresholds.has_none[k] else lowest
        rows.append([taxonomy.titles[k], thresholds.lesions[k], shown, *_cells(row)])
    return report.Table(columns, rows)


def _group_table(sets: Sets) -> list[report.Block]:
    rows = [
        [f"{sentences.AXES[row['axis']]} {row['name']}", *_cells(row)]
        for _, row in sets.by_group.iterrows()
    ]
    return [report.Table(["subgroup", *COLUMNS], rows)] if rows else []


def _explained(thresholds: ClassThresholds, unit: str) -> str:
    return (
        "A class is in a photo's set from a raw probability on that was chosen on validation "
        f"lesions of this class, so that {thresholds.level:.0%} of the photos of each class have "
        "it in their set, in photos that come as the validation photos came (class-conditional "
        "conformal prediction, lesions being exchangeable; Vovk 2012, Lee and others 2023). The "
        "promise is for each class over many validation sets, not for each subgroup nor for "
        "another hospital: the tables tell what it came to here. A set of several classes is a "
        f"photo to look at. Intervals: over {unit}s. All: `conformal_sets.csv`."
    )

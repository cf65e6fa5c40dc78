"""What stands in the report of an evaluation: from its numbers to the template's words."""

import math

from dermssl.evaluation import calibrator, curves, metric_tables
from dermssl.evaluation.run_groups import TITLES
from dermssl.reporting import report, wording
from dermssl.studies.single_run import calibration_effect, compute
from dermssl.studies.single_run.wording import subgroup_findings, tables, warnings

# Metrics that the section on yes/no questions, or that on calibration, shows.
ELSEWHERE = ("malignant_", "melanoma_")


def context(made):
    """The variables of `templates/evaluation.md`.

    Args:
        made: `compute.Evaluation`.
    """
    counts = metric_tables.counts(made.arrays)
    status = dict.fromkeys(("arm", "seed", "config_hash", "data_hash"), "n/a") | made.found.status
    model = TITLES.get(status["arm"], status["arm"])
    if status.get("n_labels"):
        model += f", {wording.count(status['n_labels'], 'label')}"
    return {
        "run": made.path.name or made.path,
        "model": model,
        "made": made,
        "status": status,
        "basis": wording.photos(counts, made.split),
        "findings": compute.findings(made),
        "warnings": wording.data_warnings(counts, made.classes, made.split)
        + wording.dropped([made.intervals["balanced_accuracy"]]),
        "metrics": [
            (title, made.intervals[name])
            for name, title in metric_tables.titles(made.settings).items()
            if name in made.intervals and not name.startswith(ELSEWHERE)
        ],
        "questions": [question(each, made) for each in made.questions],
        "question_rows": question_rows(made),
        "classes": report.class_rows(made.classes),
        "enough": wording.ENOUGH_RECORDS,
        "confusions": [
            {"title": f"{level} classes, {kind}", "file": f"confusion_{level}_{kind}.png"}
            for level in made.levels
            for kind in ("counts", "shares")
        ],
        "calibration": calibration(made),
        "calibration_rows": calibration_rows(made),
        "means": made.means.to_dict("records"),
        "decisions": [decision(each, made.split) for each in made.questions],
        "group_findings": subgroup_findings(made) if made.groups else [],
        "group_warnings": warnings(made),
        "group_tables": tables(made),
        "asked": made.question,
        "unit": counts["grouped_by"],
        "versions": report.versions(status),
    }


def question(each, made):
    """What a column of the table of yes/no questions is of."""
    return {
        "title": each.target.title,
        "basis": f"{each.target.n_positive:,} of {each.target.n:,}",
        "chosen": f"{wording.number(each.threshold, 4)}, chosen on {each.chosen_on}",
    }


def question_rows(made):
    """Rows of the table of yes/no questions: a metric with its parameter, a cell a question."""
    settings = made.settings
    names = {
        "auc": "ROC-AUC",
        "average_precision": "average precision (a guess gets the share of yes)",
        "partial_auc": f"partial AUC above {settings.min_sensitivity:g} sensitivity "
        f"(at most {round(1 - settings.min_sensitivity, 6):g})",
        "sensitivity": "sensitivity at P ≥ 0.5",
        "specificity": "specificity at P ≥ 0.5",
        "sensitivity_at_specificity": f"sensitivity at {settings.specificity:g} specificity, "
        "read off the ROC curve",
        "fixed_sensitivity": "sensitivity at the chosen threshold",
        "fixed_specificity": "specificity at the chosen threshold",
    }
    return [
        {
            "title": title,
            "cells": [wording.estimate(each.found.get(name)) for each in made.questions],
        }
        for name, title in names.items()
    ]


def calibration(made):
    """What is said of the probabilities, as predicted and as `predict` gives them."""
    said = f"{_scaling(made)} {_in_the_large(made)}".rstrip()
    if not calibrator.balanced_run(made.found.status):
        return said
    if made.scaling and made.scaling.fine.shares:
        return f"{said} {_named(made)}".rstrip()
    return (
        f"{said} But {calibrator.BALANCED}. The expected calibration error looks at the likeliest "
        "class alone and doesn't show it; thresholds of the decision curve are on this scale."
    )


def _scaling(made):
    scaling = made.scaling
    if scaling is None:
        return (
            "The calibration of the run is judged on the test split alone: on validation it was "
            "fitted, on training records any model is over-confident."
        )
    level = scaling.fine
    if level.concern:
        return (
            f"The run's temperature is 1, so its probabilities stay as predicted: {level.concern} "
            "in the validation split."
        )
    gain = (
        f"fitted on {level.n:,} validation records, where the log loss goes from "
        f"{wording.number(level.log_loss_before)} to {wording.number(level.log_loss_after)}"
    )
    said = f"The run's temperature is {level.temperature:.3g}"
    if level.shares:
        said += (
            ", and each class's share of the labelled validation records to the power "
            f"{level.prior_power:.2g} corrects for training that counted all classes equally; both "
            f"are {gain}. dermssl.predict applies them to new photos: the probabilities suit "
            "photos among which classes are as common as there."
        )
    else:
        said += f", {gain}. dermssl.predict applies it to new photos."
    changes = [_change(made, name) for name in ("log_loss", "ece")]
    return " ".join([said, *filter(None, changes)])


def _change(made, name):
    """What calibration did to one metric of the split."""
    change, title = made.change.get(name), metric_tables.titles(made.settings)[name]
    if change is None or not change.is_defined:
        return ""
    shown = f"{wording.estimate(change)} on these {made.split} records"
    if not change.excludes_zero:
        return f"The change in {title}, {shown}, holds 0: none is shown."
    return f"That {'lowers' if change.estimate < 0 else 'raises'} the {title}: {shown}."


def _in_the_large(made):
    """The classes whose mean probability clearly isn't their share."""
    wrong = {"low": made.means["excess_high"] < 0, "high": made.means["excess_low"] > 0}
    said = []
    for word, rows in wrong.items():
        found = made.means[rows]
        names = [
            f"{row.name} ({wording.number(row.calibrated)}, share {wording.number(row.share)})"
            for row in found.itertuples(index=False)
        ]
        if names:
            said.append(f"too {word} for {', '.join(names)}")
    if not said:
        return ""
    return (
        f"On average they are {'; '.join(said)}: by intervals that hold together for all rows of "
        "the table of means."
    )


def _named(made):
    """What naming the most probable class would change."""
    titles = metric_tables.titles(made.settings)
    pairs = {
        name: (made.intervals.get(name), made.after.get(name)) for name in calibration_effect.NAMED
    }
    changes = [
        f"{titles[name]} {wording.number(raw.estimate)} would become "
        f"{wording.number(after.estimate)}"
        for name, (raw, after) in pairs.items()
        if raw and after and not math.isnan(raw.estimate)
    ]
    if not changes:
        return ""
    return (
        "The class named, and scored elsewhere on this page, is the likeliest as predicted. Were "
        "it the most probable one afterwards, as it is in the second calibration error and "
        f"reliability curve, {', '.join(changes)}."
    )


def calibration_rows(made):
    """ECE, Brier score and log loss, as predicted, as `predict` gives them, and the change."""
    titles = metric_tables.titles(made.settings)
    return [
        {
            "title": titles[name],
            "before": made.intervals[name],
            "after": made.after.get(name),
            "change": made.change.get(name),
        }
        for name in calibration_effect.METRICS
    ]


def decision(each, split):
    """Where acting on the model is surely better than acting on all or on none."""
    name = list(each.benefit)[-1]
    stretch = curves.useful_threshold_range(each.benefit[name])
    how = "" if name == "raw" else " (as predict gives it)"
    if each.target.n_positive == 0:
        return f"{each.target.title}: no such {split} photo, so there is no curve."
    if stretch is None:
        return (
            f"{each.target.title}: at no threshold is the model{how} shown to be better than "
            "acting on all photos or on none."
        )
    return (
        f"{each.target.title}: at thresholds from {stretch[0]:g} to {stretch[1]:g} acting on the "
        f"model{how} has a higher net benefit than acting on all photos and on none "
        "(95% interval of the gain above 0 at each, not for all of them together)."
    )

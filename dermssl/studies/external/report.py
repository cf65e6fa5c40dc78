"""The report of a run on photos from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dermssl.core.setting import SQUARE
from dermssl.evaluation.subgroups import FEW
from dermssl.reporting import report, wording
from dermssl.studies.external import compute, levels
from dermssl.studies.external import wording as sentences

if TYPE_CHECKING:
    from dermssl.studies.external.files import Scored

TWO_DIGITS = partial(wording.estimate, digits=2)


def build(scored: Scored) -> report.Report:
    """The report of one place; its pictures are those of `figures.draw`."""
    numbers, place = scored.numbers, scored.place
    counts = numbers.counts
    basis = wording.photos(counts, "")
    status = scored.run.status
    model = f"{report.escaped(wording.model_title(status))}, seed {status.get('seed', 'n/a')}"
    return report.Report(
        f"{scored.run.path.name} on photos from elsewhere: {place.name}",
        [
            report.Text(
                f"{model}. {report.escaped(basis.replace('  ', ' '))} of "
                f"{report.code(place.path)}, scored as {compute.level_title(numbers)}. "
                f"{SQUARE}."
            ),
            report.Warnings(sentences.notes(scored)),
        ],
        [
            report.Section("What was found", [report.Findings(sentences.findings(scored))]),
            _scores(scored),
            _thresholds(scored),
            _calibration(scored),
            _shares(scored),
            report.Section(
                "Classes",
                [
                    report.class_table(
                        numbers.classes[numbers.classes["support"] > 0], report.CLASS_COLUMNS
                    ),
                    report.Text("Each class against the rest, where the likeliest is taken."),
                ],
            ),
            _subgroups(scored) if numbers.groups else None,
            _mapping(scored),
        ],
        _provenance(scored),
    )


def _scores(scored):
    numbers = scored.numbers
    rows = [
        [
            compute.metric_title(numbers.level, name, scored.settings), interval,
            numbers.internal.get(name), numbers.difference.get(name),
        ]
        for name, interval in numbers.intervals.items()
    ]  # fmt: skip
    text = (
        "The two sets have no photo in common; a difference's interval follows from the two "
        "(Newcombe 1998; Zou & Donner 2008), and each holds with 95% by itself: of this many, some "
        "exclude 0 by luck. Accuracy, average precision, log loss and Brier score hang on how "
        "common each class is, so they differ between places even where the model works equally "
        "well; ROC-AUC and balanced accuracy don't. The run's own figures are over those test "
        "photos whose class this place has, too. All of this is of the probabilities as predicted."
    )
    columns = [
        "metric", f"here (n = {numbers.counts['n_fine']:,})",
        f"run's own test photos (n = {numbers.n_internal:,})", "difference",
    ]  # fmt: skip
    return report.Section(
        "Scores",
        [
            report.Table(columns, rows),
            report.Text(text),
            report.Figure("scores.png", "Scores here and on the run's own test photos"),
        ],
    )


def _thresholds(scored: Scored) -> report.Section | None:
    if not scored.numbers.thresholds:
        return None
    rows: list[list[Any]] = []
    for one in scored.numbers.thresholds:
        for name in ("sensitivity", "specificity"):
            rows.append(
                [
                    f"{one.title}: {name}", wording.number(one.threshold, 4), one.here[name],
                    one.internal.get(name), one.difference.get(name),
                ]
            )  # fmt: skip
    text = (
        "Thresholds are kept, not chosen anew: each is the lowest P, as predict gives it, that has "
        f"a specificity of {scored.settings.specificity:g} on the run's own validation photos."
    )
    if "premalignant" in (scored.run.taxonomy.malignancy if scored.run.taxonomy else ()):
        text += " Premalignant classes count as not malignant."
    columns = ["question", "threshold", "here", "run's own test photos", "difference"]
    return report.Section(
        "At the kept thresholds", [report.Table(columns, rows), report.Text(text)]
    )


def _calibration(scored):
    numbers = scored.numbers
    rows = [
        [
            row["question"], compute.STAGE_TITLES[row["probabilities"]], row["n_positive"],
            row["share"], row["mean_p"], row["excess"], row["in_the_large"], row["intercept"],
            row["slope"],
        ]
        for row in numbers.slopes.to_dict("records")
    ]  # fmt: skip
    columns = [
        "question", "P", report.Column("photos", right=True), "share", "mean P",
        report.Column("mean P less share", format=TWO_DIGITS),
        report.Column("intercept at slope 1", format=TWO_DIGITS),
        report.Column("intercept", format=TWO_DIGITS),
        report.Column("slope", format=TWO_DIGITS),
    ]  # fmt: skip
    whole = [
        [
            compute.STAGE_TITLES[stage],
            _ece(numbers.ece[stage]),
            *(found[name] for name in compute.CALIBRATION),
        ]
        for stage, found in numbers.stages.items()
    ]
    text = (
        "Calibrated: mean P less share 0, intercepts 0, slope 1. A slope under 1: P too extreme; "
        "over 1: too timid. An intercept at slope 1 (calibration in the large, in log odds) above "
        "0: P too low. From a logistic regression of the answer on the log odds of P, without a "
        "penalty; n/a below five lesions or photos a side. Intervals hold one by one."
    )
    return report.Section(
        "Calibration",
        [
            report.Table(
                ["P", "ECE (what a calibrated model would show here)", "Brier score", "log loss"],
                whole,
            ),
            report.Table(columns, rows),
            report.Text(text),
            report.Figure("calibration.png", "Calibration in the large, and slope"),
        ],
    )


def _ece(one):
    low, high = wording.number(one.low), wording.number(one.high)
    return f"{wording.number(one.seen)} ({low} to {high})"


def _shares(scored):
    numbers = scored.numbers
    rows = [
        [row["class"], row["records"], row["assumed"], row["mean_p"], row["re-estimated"],
         row["true"]]
        for row in numbers.shares.to_dict("records")
    ]  # fmt: skip
    columns = [
        "class", report.Column("photos", right=True), "assumed by the run", "mean P",
        "re-estimated without labels", "true",
    ]  # fmt: skip
    wrong = [[row["shares"], row["log_loss"]] for row in numbers.assumed.to_dict("records")]
    text = (
        "Re-estimated by EM from the probabilities as predict gives them, without any label "
        "(Saerens, Latinne & Decaestecker 2002). It assumes that the photos of a class look the "
        "same in both places and only the shares differ; where they look different, too, it is "
        "wrong without a sign of it. What the run assumes is its mean P over its own validation "
        "photos; that this is itself estimated isn't in the interval."
    )
    return report.Section(
        "Class shares",
        [
            report.Table(columns, rows),
            report.Text(text),
            report.Table(["shares that P is corrected to", "log loss"], wrong),
            report.Text(
                "How much wrong shares cost: the log loss of the same predictions under other "
                "assumptions. The true shares need labels; they are the best that a correction of "
                "shares alone can be expected to do."
            ),
        ],
    )


def _subgroups(scored):
    rows = [
        [
            group.axis, group.value, report.Cell(group.n, " (!)" if group.n < FEW else ""),
            *(group.found.get(name) for name in ("balanced_accuracy", "sensitivity",
                                                 "specificity")),
        ]
        for group in scored.numbers.groups
    ]  # fmt: skip
    asked = next((one for one in scored.numbers.thresholds if one.threshold == one.threshold), None)
    what = f" ({asked.title}, at the kept threshold)" if asked else ""
    columns = ["by", "group", report.Column("photos", right=True), "balanced accuracy",
               f"sensitivity{what}", f"specificity{what}"]  # fmt: skip
    text = (
        f"(!): fewer than {FEW} photos. Intervals hold one by one; balanced accuracy is over each "
        "group's own classes, so that groups with other classes can't be compared by it."
    )
    return report.Section("Subgroups", [report.Table(columns, rows), report.Text(text)])


def _mapping(scored):
    rows = [
        [one.theirs, one.ours or "left out", one.level, one.how, one.n]
        for one in scored.place.mapped
    ]
    left = [[why, n] for why, n in scored.place.left_out.items() if n]
    photos = report.Column("photos", right=True)
    return report.Section(
        "Whose classes are whose",
        [
            report.Table(["theirs", "the run's", "level", "found by", photos], rows),
            report.Table(["left out", photos], left) if left else None,
        ],
    )


def _provenance(scored):
    unit = scored.numbers.counts["grouped_by"]
    return [
        "Numbers in full: `metrics.json`, `differences.csv`, `calibration.csv`, "
        "`class_shares.csv`, `log_loss_by_shares.csv`; raw probabilities of every photo: "
        "`predictions.csv`; whose classes are whose: `classes.csv`; photos that the run has seen: "
        "`overlaps.csv`.",
        f"{wording.how_intervals(scored.settings.n_resamples, unit)} The run is one training: "
        "intervals hold for this model, not for its recipe.",
        f"The run: {report.code(scored.run.path)}, {report.hashes(scored.run.status)}.",
        f"Versions: {report.versions(scored.run.status)}.",
        *([f"This page: {report.code(scored.command)}"] if scored.command else []),
    ]


def build_all(results: Sequence[Scored]) -> report.Report:
    """The report of several places: one table, one picture, and where the rest is."""
    first = results[0]
    rows = []
    for one in results:
        numbers = one.numbers
        name = levels.primary(numbers.level)
        asked = next(iter(numbers.thresholds), None)
        rows.append(
            [
                one.place.name, levels.TITLES[numbers.level], numbers.counts["n_fine"],
                compute.metric_title(numbers.level, name, one.settings),
                numbers.intervals.get(name), numbers.internal.get(name),
                numbers.difference.get(name),
                asked.here["sensitivity"] if asked else None,
                asked.here["specificity"] if asked else None,
                len(one.place.overlap),
            ]
        )  # fmt: skip
    columns = [
        "place", "scored as", report.Column("photos", right=True), "metric", "there",
        "run's own test photos", "difference", "sensitivity at the kept threshold",
        "specificity", report.Column("copies left out", right=True),
    ]  # fmt: skip
    found = [f"{one.place.name}: {' '.join(sentences.headline(one))}" for one in results]
    note = (
        f"{len(results)} places, a finding on the difference each: they hold together with 95%, "
        f"by {first.numbers.confidence:.2%} intervals. Those of the table are 95% ones that hold "
        "one by one."
    )
    return report.Report(
        f"{first.run.path.name} on photos from {len(results)} other places",
        [
            report.Findings(found),
            report.Warnings([note]),
            report.Table(columns, rows),
            report.Figure("external.png", "Scores in each place and on the run's own test photos"),
            report.Bullets([f"{report.code(one.place.name + '/report.md')}" for one in results]),
        ],
        provenance=[
            "Numbers in full: `external.csv`, `metrics.json`, and each place's own folder.",
            *([f"This page: {report.code(first.command)}"] if first.command else []),
        ],
    )

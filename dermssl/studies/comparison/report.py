"""The report of a comparison: what stands in it, made of the comparison's numbers."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

from dermssl.core.progress import duration
from dermssl.evaluation import metric_tables
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.evaluation.small_samples import FLOORED_BELOW
from dermssl.reporting import confusion, report, wording
from dermssl.studies.comparison import compute, decision
from dermssl.studies.comparison import figures as own_figures
from dermssl.studies.comparison import wording as sentences

HEADLINE = [metric_tables.NAMES[name] for name in metric_tables.HEADLINE]
CLASS_COLUMNS = {
    "sensitivity": report.Column("sensitivity (95% interval)"),
    "specificity": report.Column("specificity (95% interval)"),
    "precision": report.Column("precision", right=True),
    "f1": report.Column("F1", right=True),
    "roc_auc": report.Column("ROC-AUC", right=True),
}


def build(numbers: compute.Scored, command: str, config: Path | str | None = None) -> report.Report:
    """The report of a comparison; its pictures are those of `draw`.

    Args:
        numbers: from `compute.score`.
        command: what to type for the same again.
        config: path of the experiment file, or None.
    """
    comparison = numbers.compared
    findings = sentences.verdicts(numbers) + wording.gaps(comparison, numbers.baseline)
    caption = "Balanced accuracy of every model, with intervals"
    return report.Report(
        "Does self-supervised pretraining help?",
        sections=[
            report.Section(
                "What was found",
                [
                    report.Findings(findings),
                    report.Figure("comparison.png", caption),
                    report.Warnings(sentences.warnings(numbers)),
                ],
            ),
            _comparison(numbers),
            _differences(numbers),
            *_classes(numbers),
            _confusion_matrices(comparison),
            *_curves(),
            decision.section(comparison, numbers.contrasts, numbers.benefits),
            _cost(numbers),
            _method(numbers, command, config),
        ],
    )


def draw(folder: Path, numbers: compute.Scored) -> None:
    """The report's pictures."""
    comparison, taxonomy = numbers.compared, numbers.compared.taxonomy
    keys = {(model.arm, model.labels): model for model in comparison.models}
    own_figures.comparison(
        folder / "comparison.png",
        comparison,
        {key: numbers.intervals[key][metric_tables.PRIMARY] for key in keys},
        {key: numbers.draws[key][metric_tables.PRIMARY].sample for key in keys},
        wording.photos(numbers.counts, comparison.split),
        compute.chance(numbers),
        metric_tables.NAMES[metric_tables.PRIMARY],
    )
    own_figures.training_curves(folder / "training_curves.png", comparison)
    own_figures.roc(
        folder / "roc.png",
        comparison,
        {key: metric_tables.roc_curves(model.arrays, taxonomy) for key, model in keys.items()},
        {key: wording.estimate(numbers.intervals[key]["roc_auc"]) for key in keys},
    )
    own_figures.reliability(
        folder / "reliability.png",
        comparison,
        {key: metric_tables.reliability(model.arrays) for key, model in keys.items()},
        {key: wording.number(numbers.intervals[key]["ece"].estimate, 2) for key in keys},
    )
    if not numbers.benefits.empty:
        file = folder / "decision_differences.png"
        decision.draw(file, numbers.contrasts, numbers.benefits)
    for model in comparison.models:
        fine, coarse = metric_tables.matrices(model.arrays, taxonomy)
        title = f"{model.name} ({wording.count(len(model.members), 'seed')})"
        file = folder / confusion_file(model)
        confusion.write_pair(file, fine, coarse, taxonomy, title, len(model.members))


def _comparison(numbers: compute.Scored) -> report.Section:
    comparison = numbers.compared
    rows = [
        [
            model.labels_text,
            model.title,
            len(model.members),
            *(numbers.intervals[model.arm, model.labels][name] for name in metric_tables.HEADLINE),
        ]
        for model in comparison.models
    ]
    columns = ["labels", "start of the backbone", report.Column("seeds", right=True), *HEADLINE]
    text = (
        f"Scored on {report.escaped(wording.photos(numbers.counts, comparison.split))}. Mean over "
        "runs, 95% interval in brackets, over records and (of two runs or more) the luck of "
        "training. Intervals of two rows that overlap say little of their difference: the next "
        "section does. Log loss is better when lower. `performance_comparison.csv` holds every "
        "metric."
    )
    return report.Section("Comparison", [report.Table(columns, rows), report.Text(text)])


def _differences(numbers: compute.Scored) -> report.Section:
    if not numbers.pairs:
        text = "There is no pair of models with equal labels."
        return report.Section("Differences", [report.Text(text)])
    verdicts = [
        [
            one.a.labels_text, f"{one.a.title} − {one.b.title}", one.interval,
            report.Cell(f"{100 * one.level:.3g}%"), one.verdict, *map(_sd, zip(one.sd, one.n_runs)),
            _variance(one.interval.record_variance), _variance(one.interval.seed_variance),
            one.interval.df,
        ]
        for one in numbers.contrasts
    ]  # fmt: skip
    columns = [
        "labels", "difference", metric_tables.NAMES[metric_tables.PRIMARY], "level", "the first is",
        "sd of the first's runs", "of the second's", report.Column("records' variance", right=True),
        report.Column("runs' variance", right=True),
        report.Column("degrees of freedom", right=True, format=_one_digit),
    ]  # fmt: skip
    others = [
        [
            pair.a.labels_text, f"{pair.a.title} − {pair.b.title}",
            *(pair.found[name] for name in metric_tables.HEADLINE),
        ]
        for pair in numbers.pairs
    ]  # fmt: skip
    text = (
        f"{metric_tables.NAMES[metric_tables.PRIMARY].capitalize()} was chosen beforehand to "
        f"carry the verdicts: {_family(numbers)} Interval: difference ∓ √(z² records' variance + "
        "t² runs' variance), records paired, runs not. Not told apart: no difference was shown, "
        "not that there is none. One run: an arm has no second run that would tell the luck of "
        "training."
    )
    alone = (
        "All metrics of all pairs, each interval at 95% alone: no verdict follows from them. "
        "`differences.csv` holds more metrics."
    )
    return report.Section(
        "Differences",
        [
            report.Table(columns, verdicts), report.Text(text),
            report.Table(["labels", "difference", *HEADLINE], others), report.Text(alone),
            *_paired_tests(numbers),
        ],
    )  # fmt: skip


def _family(numbers: compute.Scored) -> str:
    planned = sum(one.is_planned for one in numbers.contrasts)
    rest = len(numbers.contrasts) - planned
    text = "the planned comparison at 95%; " if planned else ""
    text += f"{wording.count(rest, 'comparison')} that hold together with 95% (Bonferroni)."
    margin = numbers.contrasts[0].margin if numbers.contrasts else 0
    return text + (
        f" The margin, the smallest difference that matters, is {margin:g}." * bool(margin)
    )


def _sd(of: tuple[float, int]) -> report.Cell:
    return report.Cell(f"{wording.number(of[0])} ({wording.count(of[1], 'run')})")


def _variance(value: float) -> report.Cell:
    return report.Cell(wording.NOT_AVAILABLE if value != value else f"{value:.2g}")


def _one_digit(value: float) -> str:
    return wording.number(value, 1)


def _paired_tests(numbers: compute.Scored) -> list[report.Table | report.Text]:
    """The table of paired tests, one row a pair, and what they ask."""
    area = next((pair.tested.title for pair in numbers.pairs if pair.tested.area), "")
    columns = [
        "labels",
        "pair",
        report.Column("photos", right=True),
        "only one is right",
        "McNemar p (ensembles)",
    ]
    columns += ["AUC", "DeLong p (ensembles)"] if area else []
    rows = []
    for pair in numbers.pairs:
        tested = pair.tested
        mcnemar, delong = tested.mcnemar, tested.delong
        row = [
            pair.a.labels_text,
            f"{pair.a.title} / {pair.b.title}",
            tested.n,
            f"{mcnemar.only_a:,} / {mcnemar.only_b:,}",
            wording.p_value(mcnemar.p, tested.mcnemar_holm),
        ]
        if delong:
            row += [
                f"{wording.number(delong.auc_a)} / {wording.number(delong.auc_b)}",
                wording.p_value(delong.p, tested.delong_holm),
            ]
        rows.append(row)
    text = (
        f"Paired tests on one photo a {numbers.counts['grouped_by']}, since they take photos as "
        "independent, and on the mean probabilities over runs: of the ensembles, not of a run, "
        "and without the luck of training, so no verdict follows from them. McNemar: do both "
        "ensembles err equally often in the fine class? "
    )
    if area:
        text += f"DeLong: have both the same ROC-AUC for {report.escaped(area)}? "
    return [
        report.Table(columns, rows),
        report.Text(f"{text}Holm corrects for the number of pairs, {len(rows)}."),
    ]


def _classes(numbers: compute.Scored) -> list[report.Section]:
    parts = [
        report.Section(
            model.name,
            [report.class_table(numbers.classes[model.arm, model.labels], CLASS_COLUMNS)],
            level=3,
        )
        for model in numbers.compared.models
    ]
    unit = numbers.counts["grouped_by"]
    text = report.Text(
        "Each class against the rest, where the likeliest class is taken; mean over seeds, n/a "
        "where a seed can't define it. Where all or none are found, or of fewer than "
        f"{FLOORED_BELOW} {unit}s, the interval is Wilson's, of at most as many {unit}s. (!): "
        f"fewer than {wording.ENOUGH_RECORDS} records."
    )
    parts[-1] = replace(parts[-1], blocks=[*parts[-1].blocks, text])
    return [report.Section("Classes", []), *parts]


def _confusion_matrices(comparison: Comparison) -> report.Section:
    pictures = [report.Figure(confusion_file(model), model.name) for model in comparison.models]
    text = report.Text("Share of each true class, all seeds together.")
    return report.Section("Confusion matrices", [text, *pictures])


def _curves() -> list[report.Section]:
    return [
        report.Section(
            "Training curves",
            [
                report.Figure(
                    "training_curves.png",
                    "Validation loss and balanced accuracy by epoch, a line a seed",
                ),
                report.Text(
                    "A line a seed; a circle marks the first epoch with the backbone unfrozen."
                ),
            ],
        ),
        report.Section(
            "ROC curves",
            [
                report.Figure("roc.png", "ROC curves, mean of one class against the rest"),
                report.Text("Mean over the classes that have records, and over seeds."),
            ],
        ),
        report.Section(
            "Calibration",
            [
                report.Figure("reliability.png", "Reliability diagrams"),
                report.Text(
                    "These are the probabilities as predicted, like all scores here, and not as "
                    "`dermssl.predict` gives them after a run's calibration; `dermssl.evaluate` "
                    "shows both. On the line, a probability means what it says; below it, the "
                    "model is over-confident. Larger points: more records; bins with fewer than 10 "
                    "are left out. ECE (calibration error) is the mean distance from the line, "
                    "weighted by records."
                ),
            ],
        ),
    ]


def _cost(numbers: compute.Scored) -> report.Section:
    comparison = numbers.compared
    columns = [
        "labels",
        "start of the backbone",
        report.Column("runs", right=True),
        report.Column("wall time a run", right=True, format=duration),
        report.Column("wall time in all", right=True, format=duration),
        report.Column("parameters", right=True),
    ]
    rows = [
        [
            model.labels_text,
            model.title,
            len(model.members),
            cost["seconds_mean"],
            cost["seconds_total"],
            cost["parameters"],
        ]
        for model, cost in zip(comparison.models, compute.performance_rows(numbers))
    ]
    pretraining = [sentences.pretraining_line(row) for row in compute.pretraining(comparison)]
    text = report.Text("Pretraining comes on top, once a run:") if pretraining else None
    return report.Section(
        "What it cost", [report.Table(columns, rows), text, report.Bullets(pretraining)]
    )


def _method(numbers: compute.Scored, command: str, config: Path | str | None) -> report.Section:
    comparison, unit = numbers.compared, numbers.counts["grouped_by"]
    fair = "; budgets differ, see the note above"
    fair = fair if comparison.notes else ", and the same fine-tuning budget"
    data, data_hash = sentences.data_source(comparison), comparison.members[0].status["data_hash"]
    lines = [
        f"**Data.** {report.code(data)}, hash {report.code(data_hash)}, the same for all runs. "
        f"{report.escaped(sentences.split_text(comparison))} "
        f"{report.escaped(sentences.group_text(comparison, numbers.counts))}",
        "**Fairness.** All runs were checked to have the same classes, the same records in the "
        f"same splits and the same true labels{fair}: "
        f"{report.escaped(sentences.budget(comparison))}.",
        f"**Intervals.** The records' variance is the covariance of two runs over redrawn "
        f"{unit}s ({numbers.n_resamples:,} draws with replacement; by formula for shares, with a "
        "floor for classes of few lesions), the runs' that of their scores, joined as MOVER does "
        "(Student's t for the runs, Welch's degrees of freedom for two models; Obuchowski & "
        "Rockette 1995, Zou & Donner 2008). Of one run: percentiles of the draws; Newcombe's "
        f"method for an AUC of fewer than 40 {unit}s on a side, Wilson's for a share of fewer than "
        f"{FLOORED_BELOW}, or where all or none count. All are cut at the metric's range, a "
        "difference of two shares at −1 and 1.",
        f"**Seeds.** {report.escaped(sentences.seeds(comparison))}.",
        "**Selection.** The validation split chooses the epoch whose weights are scored.",
        f"**Versions.** {sentences.versions(comparison)}.",
    ]
    lines += [f"**Experiment file.** {report.code(config)}"] if config else []
    runs = [
        [member.path, model.name, member.status["seed"], member.status["config_hash"]]
        for model in comparison.models
        for member in model.members
    ]
    columns = [
        report.Column("run", format=report.code),
        "model",
        report.Column("seed", right=True, format=str),
        report.Column("config hash", format=report.code),
    ]
    failures = [
        f"{report.code(path)}: {report.escaped(status.get('status'))}"
        + (f", {report.escaped(status['reason'])}" if status.get("reason") else "")
        for path, status in comparison.failures
    ]
    return report.Section(
        "How it was done",
        [
            report.Bullets(lines),
            report.Text("Repeat this page:"),
            report.Command(command),
            report.Table(columns, runs),
            report.Text(
                "Each run's folder holds its `config.toml` and the `predictions.csv` that all "
                "numbers come from. Beside this page: `performance_comparison.csv` (a row a "
                "model), `differences.csv`, `ensemble_tests.csv`, `runs.csv` (a row a run)."
            ),
            report.Text("Left out, because they did not finish:") if failures else None,
            report.Bullets(failures),
        ],
    )


def confusion_file(model: RunGroup) -> str:
    """The name of a model's picture; arms may hold any character, file names not."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", model.arm)
    # Two arms may come to the same.
    mark = "" if plain == model.arm else f"-{zlib.crc32(model.arm.encode()):08x}"
    return f"confusion_{plain}{mark}_{model.labels}.png"

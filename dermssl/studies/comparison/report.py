"""The report of a comparison: what stands in it, made of the comparison's numbers."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

from dermssl.core.progress import duration
from dermssl.evaluation import metric_tables
from dermssl.evaluation.bootstrap import Interval
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.reporting import figures, report, wording
from dermssl.studies.comparison import compute
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
        {key: wording.estimate(numbers.intervals[key]["ece"], 2) for key in keys},
    )
    for model in comparison.models:
        fine, coarse = metric_tables.matrices(model.arrays, taxonomy)
        title = f"{model.name} ({wording.count(len(model.members), 'seed')})"
        file = folder / confusion_file(model)
        figures.confusion_pair(file, fine, coarse, taxonomy, title, len(model.members))


def _comparison(numbers: compute.Scored) -> report.Section:
    comparison = numbers.compared
    rows = [
        [
            model.labels_text,
            model.title,
            len(model.members),
            *(
                report.Cell(
                    numbers.intervals[model.arm, model.labels][name],
                    bold=numbers.leads(model, name),
                )
                for name in metric_tables.HEADLINE
            ),
        ]
        for model in comparison.models
    ]
    columns = ["labels", "start of the backbone", report.Column("seeds", right=True), *HEADLINE]
    text = (
        f"Scored on {report.escaped(wording.photos(numbers.counts, comparison.split))}. Mean over "
        "seeds, 95% interval in brackets. Bold: its difference to every other row with the same "
        "labels excludes 0, in its favour; without bold, no row leads. Log loss is better when "
        "lower. `performance_comparison.csv` holds every metric."
    )
    return report.Section("Comparison", [report.Table(columns, rows), report.Text(text)])


def _differences(numbers: compute.Scored) -> report.Section:
    pairs = [pair for pair in numbers.pairs if pair.found]
    if not pairs:
        text = "There is no pair of models with equal labels and a shared seed."
        return report.Section("Differences", [report.Text(text)])
    rows = [
        [
            pair.a.labels_text,
            f"{pair.a.title} − {pair.b.title}",
            pair.n_seeds,
            *(_difference(name, pair.found[name]) for name in metric_tables.HEADLINE),
        ]
        for pair in pairs
    ]
    columns = ["labels", "difference", report.Column("seeds", right=True), *HEADLINE]
    text = (
        "Better and worse are said of the first of the two, where the interval excludes 0. A tie "
        "is an interval that holds 0: no difference was shown, not that there is none. "
        f"{len(rows) * len(HEADLINE)} intervals at 95% are shown without a correction for their "
        "number; balanced accuracy was chosen beforehand to carry the verdict. `differences.csv` "
        "holds more metrics."
    )
    return report.Section(
        "Differences", [report.Table(columns, rows), report.Text(text), *_paired_tests(numbers)]
    )


def _difference(name: str, interval: Interval) -> report.Cell:
    """A difference with its verdict."""
    verdict = metric_tables.verdict(name, interval)
    return report.Cell(interval, {"undefined": "", "tie": ", tie"}.get(verdict, f", **{verdict}**"))


def _paired_tests(numbers: compute.Scored) -> list[report.Table | report.Text]:
    """The table of paired tests, one row a pair that shares a seed, and what they ask."""
    area = next((tested.title for _, tested in numbers.tested if tested.area), "")
    columns = [
        "labels",
        "pair",
        report.Column("photos", right=True),
        "only one is right",
        "McNemar p",
    ]
    columns += ["AUC", "DeLong p"] if area else []
    rows = []
    for pair, tested in numbers.tested:
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
        "independent, and on the mean probabilities over seeds, so they don't cover the luck of "
        "training. McNemar: do both err equally often in the fine class? "
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
    text = report.Text(
        "Each class against the rest, where the likeliest class is taken; mean over seeds, n/a "
        "where a seed can't define it. Where all or none are found the draws agree; the interval "
        f"is then Wilson's, of as many {numbers.counts['grouped_by']}s. (!): fewer than "
        f"{wording.ENOUGH_RECORDS} records."
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
        f"**Intervals.** Percentile bootstrap, {numbers.n_resamples:,} draws: whole {unit}s with "
        "replacement and, where there are several, seeds with replacement. Differences are paired: "
        "same draw, same records, same seed. Three seeds understate the variation of training by "
        "about a third of its variance.",
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
                "model), `differences.csv`, `runs.csv` (a row a run)."
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

"""What stands in the report of a comparison: from its numbers to the template's words."""

import math
import re
import zlib

from dermssl.core import progress
from dermssl.core import runs as folders
from dermssl.data.records import SPLITS
from dermssl.evaluation import metric_tables
from dermssl.evaluation.comparability import SETTINGS_NOT_COMPARED
from dermssl.reporting import report, wording
from dermssl.studies.comparison import compute


def context(numbers):
    """The variables of `templates/ssl_analysis_report.md`, but for the command.

    Args:
        numbers: `compute.Scored`.
    """
    compared, counts = numbers.compared, numbers.counts
    rows = difference_rows(numbers)
    performance = compute.performance_rows(numbers)
    return {
        "compared": compared,
        "verdicts": verdicts(numbers),
        "gaps": wording.gaps(compared, numbers.baseline),
        "warnings": warnings(numbers),
        "headline": metric_tables.HEADLINE,
        "names": metric_tables.NAMES,
        "models": [
            model_row(numbers, model, cost) for model, cost in zip(compared.models, performance)
        ],
        "source": data_source(compared),
        "basis": f"Scored on {wording.photos(counts, compared.split)}",
        "differences": rows,
        "tested": len(rows) * len(metric_tables.HEADLINE),
        "tests": paired_rows(numbers),
        "area": next((p.tested.title for p in numbers.pairs if p.tested and p.tested.area), ""),
        "enough": wording.ENOUGH_RECORDS,
        "pretraining": [pretraining_row(row) for row in compute.pretraining(compared)],
        "data_hash": compared.members[0].status["data_hash"],
        "split_text": split_text(compared),
        "group_text": group_text(compared, counts),
        "budget": budget(compared),
        "n_resamples": numbers.n_resamples,
        "unit": counts["grouped_by"],
        "seeds": seeds(compared),
        "versions": versions(compared),
        "runs": [
            {
                "path": member.path,
                "name": model.name,
                "seed": member.status["seed"],
                "config_hash": member.status["config_hash"],
            }
            for model in compared.models
            for member in model.members
        ],
        "failures": [
            {"path": path, "status": status.get("status"), "reason": status.get("reason")}
            for path, status in compared.failures
        ],
    }


def verdicts(numbers):
    """One sentence a pair, on the primary metric."""
    said = []
    for a, b in wording.verdict_pairs(numbers.compared, numbers.baseline):
        interval, n_seeds = numbers.difference(a, b, metric_tables.PRIMARY)
        said.append(
            wording.comparison(
                a,
                b,
                metric_tables.PRIMARY,
                interval,
                n_seeds,
                numbers.counts,
                numbers.compared.split,
            )
        )
    return said


def warnings(numbers):
    """All that must be known before an interval is trusted."""
    compared = numbers.compared
    first = compared.models[0]
    classes = numbers.classes[first.arm, first.labels]
    uneven = [(pair.a, pair.b, pair.n_seeds) for pair in numbers.pairs if pair.uneven]
    said = wording.warnings(compared, numbers.counts, classes, uneven)
    said += wording.dropped([found[metric_tables.PRIMARY] for found in numbers.intervals.values()])
    said = wording.drawings(first.members[0].predictions.table["source"]) + said
    crossing = compute.crossing_groups(compared)
    if crossing:
        said.insert(
            0,
            f"{wording.count(crossing, 'patient or lesion', 'patients or lesions')} with photos "
            "in more than one split: the scores partly measure memory.",
        )
    if compared.failures:
        said.append(
            f"{wording.count(len(compared.failures), 'run')} did not finish and are left out; "
            "if they failed because of their arm, the comparison flatters it."
        )
    return said


def model_row(numbers, model, cost):
    """A model's cells, classes, picture and cost."""
    key = (model.arm, model.labels)
    parameters = cost["parameters"]
    return {
        "model": model,
        "cells": [
            {"interval": numbers.intervals[key][name], "leads": numbers.leads(model, name)}
            for name in metric_tables.HEADLINE
        ],
        "classes": report.class_rows(numbers.classes[key]),
        "confusion": confusion_file(model),
        "seconds_mean": cost["seconds_mean"],
        "seconds_total": cost["seconds_total"],
        "parameters": "n/a" if math.isnan(parameters) else f"{parameters:,}",
    }


def difference_rows(numbers):
    """Rows of the table of differences: one a pair, a cell a metric."""
    words = {"undefined": "", "tie": ", tie"}
    return [
        {
            "labels": pair.a.labels_text,
            "a": pair.a.title,
            "b": pair.b.title,
            "n_seeds": pair.n_seeds,
            "cells": [
                wording.estimate(interval) + words.get(found, f", **{found}**")
                for interval, found in (
                    (pair.found[name], metric_tables.verdict(name, pair.found[name]))
                    for name in metric_tables.HEADLINE
                )
            ],
        }
        for pair in numbers.pairs
        if pair.found
    ]


def paired_rows(numbers):
    """Rows of the table of paired tests: one a pair that shares a seed."""
    rows = []
    for pair in numbers.pairs:
        if pair.tested is None:
            continue
        mcnemar, delong = pair.tested.mcnemar, pair.tested.delong
        row = {
            "labels": pair.a.labels_text,
            "a": pair.a.title,
            "b": pair.b.title,
            "n": pair.tested.n,
            "only": f"{mcnemar.only_a:,} / {mcnemar.only_b:,}",
            "mcnemar": wording.p_value(mcnemar.p, pair.tested.mcnemar_holm),
        }
        if delong:
            row["areas"] = f"{wording.number(delong.auc_a)} / {wording.number(delong.auc_b)}"
            row["delong"] = wording.p_value(delong.p, pair.tested.delong_holm)
        rows.append(row)
    return rows


def confusion_file(model):
    """The name of a model's picture; arms may hold any character, file names not."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", model.arm)
    # Two arms may come to the same.
    mark = "" if plain == model.arm else f"-{zlib.crc32(model.arm.encode()):08x}"
    return f"confusion_{plain}{mark}_{model.labels}.png"


def pretraining_row(row):
    """A pretraining run with its cost in words."""
    status = row["status"]
    if not status:
        text = "whose status.json isn't here, so its cost isn't known"
    elif status.get("status") != folders.FINISHED:
        text = f"now {status.get('status')}"
    else:
        settings = status.get("config", {}).get("pretrain", {})
        text = (
            f"{progress.duration(status.get('seconds'))}, {settings.get('epochs', 'n/a')} epochs, "
            f"seed {status.get('seed', 'n/a')}, config {status.get('config_hash', 'n/a')}"
        )
    return {**row, "text": text}


def data_source(compared):
    """Where the photos lie, as the runs' config says."""
    return compared.members[0].status["config"].get("data", {}).get("path", "n/a")


def split_text(compared):
    """How many records each split has."""
    table = compared.members[0].predictions.table
    found = [
        f"{wording.count(int((table['split'] == name).sum()), f'{name} record')}"
        for name in SPLITS
        if (table["split"] == name).any()
    ]
    data = compared.members[0].status["config"].get("data", {})
    seed = f", split seed {data['split_seed']}" if "split_seed" in data else ""
    return f"{', '.join(found)} in the predictions{seed}."


def group_text(compared, counts):
    """What never crosses two splits, and whether it does."""
    rule = compared.members[0].status["config"].get("data", {}).get("group_by", "auto")
    names = {"auto": "patient, else lesion, else photo", "path": "photo"}
    kept = names.get(rule, rule.removesuffix("_id"))
    crossing = compute.crossing_groups(compared)
    predicted = set(compared.members[0].predictions.table["split"])
    where = "here" if set(SPLITS) <= predicted else f"among the {' and '.join(sorted(predicted))}"
    seen = f"{'none does' if not crossing else f'{crossing} do'} {where}"
    return (
        f"Records of one {kept} must not cross two splits ({seen}); "
        f"the scored ones form {wording.count(counts['n_groups'], counts['grouped_by'])}."
    )


def budget(compared):
    """The settings that all arms shared, on one line."""
    config = compared.members[0].status["config"]
    return ", ".join(
        f"{'backbone' if key == 'name' else key} {value}"
        for section in ("backbone", "finetune")
        for key, value in config.get(section, {}).items()
        if f"{section}.{key}" not in SETTINGS_NOT_COMPARED
    )


def seeds(compared):
    """The seeds of every model; said once where they are the same."""
    texts = {model.name: ", ".join(map(str, model.seeds)) for model in compared.models}
    if len(set(texts.values())) == 1:
        return f"{texts.popitem()[1]} for every model"
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def versions(compared):
    """The versions of the runs, and whether they differ."""
    every = list(dict.fromkeys(report.versions(member.status) for member in compared.members))
    if len(every) == 1:
        return every[0]
    return f"runs were made with different versions: {' / '.join(every)}"

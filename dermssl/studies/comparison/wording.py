"""The sentences of a comparison's report, beside those that `reporting.wording` has for all."""

from __future__ import annotations

from typing import Any

from dermssl.core import progress
from dermssl.core import runs as folders
from dermssl.data.records import SPLITS
from dermssl.evaluation.comparability import SETTINGS_NOT_COMPARED
from dermssl.evaluation.run_groups import Comparison
from dermssl.reporting import contrast_wording, report, wording
from dermssl.reporting.report import code, escaped
from dermssl.studies.comparison import compute


def verdicts(numbers: compute.Scored) -> list[str]:
    """One sentence a pair, on the primary metric, and what would narrow their intervals."""
    split = numbers.compared.split
    said = [contrast_wording.sentence(one, numbers.counts, split) for one in numbers.contrasts]
    return said + list(filter(None, [contrast_wording.what_narrows(numbers.contrasts)]))


def warnings(numbers: compute.Scored) -> list[str]:
    """All that must be known before an interval is trusted."""
    comparison = numbers.compared
    first = comparison.models[0]
    sentences = []
    if crossing := compute.crossing_groups(comparison):
        sentences.append(
            f"{wording.count(crossing, 'patient or lesion', 'patients or lesions')} with photos "
            "in more than one split: the scores partly measure memory."
        )
    sentences += _one_answer(comparison)
    sentences += wording.drawings(first.members[0].predictions.table["source"])
    classes = numbers.classes[first.arm, first.labels]
    sentences += wording.warnings(comparison, numbers.counts, classes)
    if comparison.failures:
        sentences.append(
            f"{wording.count(len(comparison.failures), 'run')} did not finish and are left out; "
            "if they failed because of their arm, the comparison flatters it."
        )
    return sentences


def _one_answer(comparison: Comparison) -> list[str]:
    """A warning a model of which a run gives every photo the same answer."""
    sentences = []
    for model in comparison.models:
        named = [wording.only_answer(one.p_fine, comparison.taxonomy.titles)
                 for one in model.arrays]  # fmt: skip
        if answers := sorted({name for name in named if name}):
            n = sum(map(bool, named))
            of = wording.count(len(named), "run")
            who = "each run" if n == len(named) > 1 else f"{n} of {of}"
            sentences.append(
                f"{model.name}: {who} gives every photo the same answer ({', '.join(answers)})."
            )
    return sentences


def pretraining_line(row: dict[str, Any]) -> str:
    """A pretraining run with its cost, as Markdown."""
    status = row["status"]
    if not status:
        cost = "whose status.json isn't here, so neither its cost nor its start is known"
    elif status.get("status") != folders.FINISHED:
        cost = f"now {status.get('status')}"
    else:
        epochs = status.get("config", {}).get("pretrain", {}).get("epochs")
        trained = wording.count(epochs, "epoch") if epochs else "n/a epochs"
        cost = (
            f"{progress.duration(status.get('seconds'))}, {trained}, "
            f"seed {status.get('seed', 'n/a')}, config {status.get('config_hash', 'n/a')}"
        )
    return f"{escaped(', '.join(row['arms']))}: {code(row['path'])}, {escaped(cost)}"


def data_source(compared: Comparison) -> str:
    """Where the photos lie, as the runs' config says."""
    return compared.members[0].status["config"].get("data", {}).get("path", "n/a")


def split_text(compared: Comparison) -> str:
    """How many records each split has."""
    table = compared.members[0].predictions.table
    sizes = [
        f"{wording.count(int((table['split'] == name).sum()), f'{name} record')}"
        for name in SPLITS
        if (table["split"] == name).any()
    ]
    data = compared.members[0].status["config"].get("data", {})
    seed = f", split seed {data['split_seed']}" if "split_seed" in data else ""
    return f"{', '.join(sizes)} in the predictions{seed}."


def group_text(compared: Comparison, counts: dict[str, Any]) -> str:
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


def budget(compared: Comparison) -> str:
    """The settings that all arms shared, on one line."""
    config = compared.members[0].status["config"]
    return ", ".join(
        f"{'backbone' if key == 'name' else key} {value}"
        for section in ("backbone", "finetune")
        for key, value in config.get(section, {}).items()
        if f"{section}.{key}" not in SETTINGS_NOT_COMPARED
    )


def seeds(compared: Comparison) -> str:
    """The seeds of every model; said once where they are the same."""
    texts = {model.name: ", ".join(map(str, model.seeds)) for model in compared.models}
    if len(set(texts.values())) == 1:
        return f"{texts.popitem()[1]} for every model"
    return "; ".join(f"{name}: {text}" for name, text in texts.items())


def versions(compared: Comparison) -> str:
    """The versions of the runs, and whether they differ, as Markdown."""
    every = list(dict.fromkeys(report.versions(member.status) for member in compared.members))
    if len(every) == 1:
        return every[0]
    return f"runs were made with different versions: {' / '.join(every)}"

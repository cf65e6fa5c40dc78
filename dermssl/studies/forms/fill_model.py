"""Answers about the model and its evaluation, from a run's files.

Each function gets a `Citing` and returns a sentence or two. It takes every number through it, so
that a form can tell from where; where something isn't there it raises `MissingFact`.
"""

from __future__ import annotations

import math

from dermssl.data.records import SYNTHETIC
from dermssl.evaluation.run_groups import names_a_run
from dermssl.reporting import wording
from dermssl.reporting.wording import count
from dermssl.studies.forms.evidence import (
    EXPLAINED,
    GAPS,
    GROUPS,
    METRICS,
    PEOPLE,
    PER_CLASS,
    PRETRAINING,
    STRESS,
    TAXONOMY,
    Citing,
    MissingFact,
)
from dermssl.studies.forms.participants import MISSING

FEW = 30  # test photos of a class, below which its figures hang on single ones
AVERAGES = {
    "balanced_accuracy": "balanced accuracy", "fine_accuracy": "accuracy",
    "macro_f1": "macro F1", "roc_auc": "macro ROC-AUC", "malignant_auc": "malignant ROC-AUC",
    "ece": "expected calibration error",
}  # fmt: skip


def model(c: Citing) -> str:
    """Architecture and size."""
    depth = c.setting("finetune", "depth")
    trained = "all layers" if depth < 0 else f"the last {depth} layers"
    trained += " of the backbone unfrozen in the second phase"
    if not c.setting("finetune", "unfrozen_epochs"):
        trained = "no layer of the backbone was trained on labels"
    return (
        f"Backbone {c.setting('backbone', 'name')} with a {c.setting('finetune', 'head')} head "
        f"(dropout {c.setting('finetune', 'dropout'):g}), {c.status('parameters'):,} parameters; "
        f"{trained}. Input: a photo of "
        f"{c.setting('backbone', 'image_size')} px; output: a probability for each class."
    )


def initial_weights(c: Citing) -> str:
    """What the training began with."""
    weights = c.setting("backbone", "weights")
    arm = c.maybe("status.json", "arm")
    text = {"none": "drawn at random", "imagenet": "ImageNet"}.get(weights, f"the file {weights}")
    if names_a_run(weights):
        text = f"those of the SimCLR pretraining run {weights}; its folder isn't there to tell more"
    if PRETRAINING in c.evidence.files:
        first = wording.start_title(c(PRETRAINING, "started from"))
        text = f"those of the SimCLR pretraining run {weights}, which started from {first}"
    return (
        f"The backbone's initial weights: {text}{f' (arm {arm})' if arm else ''}. The head's are "
        "drawn at random."
    )


def training(c: Citing) -> str:
    """The settings of the training."""

    def of(name):
        return c.setting("finetune", name)

    unfrozen = ""
    if of("unfrozen_epochs"):
        unfrozen = (
            f", then up to {of('unfrozen_epochs')} unfrozen ({of('unfrozen_learning_rate'):g})"
        )
    adapted, how = c.maybe("status.json", "adapted"), ""
    if adapted:
        arm = adapted.get("arm", "BatchNorm")
        how = f" Adapted without labels to {adapted['photos']:,} photos of {adapted['to']} ({arm})."
    return (
        f"{count(of('frozen_epochs'), 'epoch')} with a frozen backbone (learning rate "
        f"{of('frozen_learning_rate'):g}){unfrozen}; batches of {of('batch_size')}, weight decay "
        f"{of('weight_decay'):g}, augmentation {of('augmentation')}, seed {c.setting_seed()}. "
        f"{c.status('n_labels'):,} labels. One model was trained in this run.{how}"
    )


def selection(c: Citing) -> str:
    """How the epoch was chosen."""
    return (
        f"The epoch with the best {c.setting('finetune', 'select_by')} on the validation split; "
        f"patience {count(c.setting('finetune', 'patience'), 'epoch')}."
    )


def model_and_training(c: Citing) -> str:
    """Model, start, training and choice in one."""
    return " ".join(part(c) for part in (model, initial_weights, training, selection))


def ensembles(c: Citing) -> str:
    """That there is one model."""
    return f"None: one model of seed {c.setting_seed()}."


def imbalance(c: Citing) -> str:
    """What was done about rare classes."""
    text = (
        f"Class balance in training: {c.setting('finetune', 'class_balance')}; focal loss with "
        f"gamma {c.setting('finetune', 'gamma'):g}."
    )
    power = c.maybe(METRICS, "temperature", "prior_power")
    if power is not None:
        text += f" Afterwards the class shares were corrected with power {power:.3g} (0: not)."
    return text


def clusters(c: Citing) -> str:
    """What counts as independent."""
    return (
        f"Photos of one {c(METRICS, 'grouped_by')} are not independent: intervals come from whole "
        f"{c(METRICS, 'grouped_by')}s ({c(METRICS, 'n_groups'):,} in the test)."
    )


def measures(c: Citing) -> str:
    """The names of the metrics."""
    shown = [words for name, words in AVERAGES.items() if c.maybe(METRICS, "metrics", name)]
    asked = ", ".join(c(METRICS, "against_rest")) or "none"
    return (
        f"{', '.join(shown)}; sensitivity, specificity and ROC-AUC of a class against the rest "
        f"({asked}), at {c(METRICS, 'parameters', 'specificity'):g} specificity too; calibration, "
        "decision curve, subgroups. Each is in metrics.json with its interval."
    )


def uncertainty(c: Citing) -> str:
    """How intervals were made."""
    entry = c(METRICS, "metrics", "balanced_accuracy")
    return (
        f"{100 * entry['level']:g}% intervals; resampled: {c(METRICS, 'resampled')} "
        f"({entry['n_resamples']:,} draws). One training run: the luck of training is in none."
    )


def performance(c: Citing) -> str:
    """Averages over classes with their intervals."""
    shown = [
        f"{words} {c.metric(name)}"
        for name, words in AVERAGES.items()
        if c.maybe(METRICS, "metrics", name)
    ]
    if not shown:
        raise MissingFact("no metric is defined")
    return (
        f"On {count(c(METRICS, 'n'), 'test photo')}: {'; '.join(shown)}. 95% intervals in "
        "brackets. Subgroups are in subgroups.csv, classes in per_class.csv."
    )


def diagnostic(c: Citing) -> str:
    """Each class that was asked against the rest."""
    parts = []
    for name in c(METRICS, "against_rest"):
        entry = c(METRICS, "against_rest", name)
        text = (
            f"{name} against the rest ({entry['n_positive']:,} of {entry['n']:,} photos): ROC-AUC "
            f"{c.target(name, 'auc')}"
        )
        if "fixed_sensitivity" in entry["metrics"]:
            text += (
                f", sensitivity {c.target(name, 'fixed_sensitivity')} and specificity "
                f"{c.target(name, 'fixed_specificity')} at a threshold chosen on "
                f"{entry['threshold_chosen_on']}"
            )
        parts.append(text)
    if not parts:
        raise MissingFact("no class was asked against the rest")
    return f"{'; '.join(parts)}."


def output(c: Citing) -> str:
    """What the model gives, and its thresholds."""
    text = f"Probabilities of {len(c(TAXONOMY, 'fine'))} classes that sum to 1"
    heat = c.maybe(METRICS, "temperature", "temperature")
    concern = c.maybe(METRICS, "temperature", "concern")
    if concern:
        text += f", not calibrated: {concern}."
    else:
        text += f", calibrated with temperature {heat:.3g}." if heat else "."
    for name in c(METRICS, "against_rest"):
        threshold = c.maybe(METRICS, "against_rest", name, "threshold")
        if threshold is not None:
            chosen = c(METRICS, "against_rest", name, "threshold_chosen_on")
            text += (
                f" Threshold for {name}: {threshold:.3g}, chosen on {chosen} for "
                f"{c(METRICS, 'parameters', 'specificity'):g} specificity."
            )
    return text


def recalibration(c: Citing) -> str:
    """The temperature."""
    if concern := c.maybe(METRICS, "temperature", "concern"):
        return f"None: the probabilities are as the network gives them ({concern})."
    return (
        f"Temperature scaling fitted on {c(METRICS, 'temperature', 'fitted_on')}: temperature "
        f"{c(METRICS, 'temperature', 'temperature'):.3g} from "
        f"{count(c(METRICS, 'temperature', 'n'), 'record')}."
    )


def calibration(c: Citing) -> str:
    """The calibration error before and after."""
    text = f"{recalibration(c)} Expected calibration error before: {c.metric('ece')}"
    after = c.maybe(METRICS, "ece_after_temperature")
    if after is None or c.maybe(METRICS, "temperature", "concern"):
        return f"{text}."
    return f"{text}, after: {after:.3f}."


def findings(c: Citing) -> str:
    """The evaluation's own sentences."""
    return " ".join(c(METRICS, "findings"))


def subgroups(c: Citing) -> str:
    """Which groups were scored, and the differences shown."""
    groups = c(GROUPS)
    axes = ", ".join(
        f"{axis.replace('_', ' ')} ({sum(row['axis'] == axis for row in groups)} groups)"
        for axis in dict.fromkeys(row["axis"] for row in groups)
    )
    shown = [row for row in c.maybe(GAPS) or [] if row["verdict"] == "difference"]
    few = sum(str(row["too_few"]) == "True" for row in groups)
    text = f"Scored by {axes}; {few} of {len(groups)} groups are too small to show much. "
    if not shown:
        return (
            f"{text}No difference between groups is shown, which doesn't prove that there is none."
        )
    listed = "; ".join(
        f"{row['metric'].replace('_', ' ')} {row['a']} against {row['b']} "
        f"({row['axis'].replace('_', ' ')}): {row['difference']:.3f} ({row['low']:.3f} to "
        f"{row['high']:.3f})"
        for row in shown
    )
    return f"{text}Differences shown: {listed}."


def artefacts(c: Citing) -> str:
    """Augmentation and stress test."""
    return f"Trained with the augmentation {c.setting('finetune', 'augmentation')}. {robustness(c)}"


def robustness(c: Citing) -> str:
    """What the stress test found."""
    return f"Stress test on {count(c(STRESS, 'n'), 'photo')}: {' '.join(c(STRESS, 'findings'))}"


def explanations(c: Citing) -> str:
    """How many heat maps there are."""
    shown = len(c(EXPLAINED))
    return f"Grad-CAM of {count(shown, 'photo')} (`explanations/`); such maps were not validated."


def failures(c: Citing) -> str:
    """The class that is found least."""
    known = [row for row in c(PER_CLASS) if row["support"] and not math.isnan(row["sensitivity"])]
    if not known:
        raise MissingFact("no class has a sensitivity")
    worst = min(known, key=lambda row: row["sensitivity"])
    return (
        f"Confusion matrices are in evaluation_test/. The class found least is {worst['title']}: "
        f"sensitivity {_bounded(worst, 'sensitivity')} of {count(worst['support'], 'photo')}."
    )


def _bounded(row, name):
    """A number of a table's row with its interval."""
    bounds = {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    return wording.of_json(bounds)


def internal(c: Citing) -> str:
    """The evaluation on the same source."""
    return f"The {c(METRICS, 'split')} split of the same data. {performance(c)}"


def external(c: Citing) -> str:
    """What the evaluations on other data found."""
    parts = []
    for name in c.evidence.files:
        found = c.maybe(name, "findings") if name.startswith("external") else None
        if found:
            parts.append(f"{name.removesuffix('/metrics.json')}: {' '.join(found)}")
    if not parts:
        raise MissingFact("no evaluation on other data is in the run's folder")
    return " ".join(parts)


def out_of_distribution(c: Citing) -> str:
    """What is not tested: photos of none of the classes."""
    return (
        f"None were tested here. Every photo gets one of {len(c(TAXONOMY, 'fine'))} classes, also "
        "one of something else."
    )


def bad_input(c: Citing) -> str:
    """What happens to a photo that can't be used."""
    return (
        "An unreadable photo is refused, or listed and left out (`predict.on_bad`). A readable "
        f"photo of anything gets one of {len(c(TAXONOMY, 'fine'))} classes."
    )


def software(c: Citing) -> str:
    """The versions."""
    return ", ".join(f"{name} {version}" for name, version in c.status("versions").items()) + "."


def availability(c: Citing) -> str:
    """What the run's folder holds."""
    return (
        "The run's folder holds the model, its settings, every prediction and the class list; "
        f"config hash {c.status('config_hash')}, data hash {c.status('data_hash')}. "
        f"{software(c)}"
    )


def limitations(c: Citing) -> str:
    """Limits that the files show."""
    parts = [
        "one training run and one split: the luck of both is in no interval",
        f"tested on {count(c(METRICS, 'n'), 'photo')} of the same source",
    ]
    few = [row for row in c.maybe(PER_CLASS) or [] if row["support"] < FEW]
    if few:
        parts.append(
            f"classes with fewer than {FEW} test photos: "
            + ", ".join(f"{row['title']} ({row['support']})" for row in few)
        )
    if c.people("skin tone", MISSING, "all") == c.people("photos", "all", "all"):
        parts.append("skin tones are not known")
    if c.maybe(PEOPLE, "source", SYNTHETIC, "all"):
        parts.append("photos are drawings, so nothing is said of skin")
    return f"By the files: {'; '.join(parts)}."

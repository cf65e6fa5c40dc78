"""Turn numbers into sentences by fixed rules: each follows from its interval.

What an interval doesn't cover (one training run, few records) is said beside it. The sentences on
comparisons stand in `contrast_wording`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dermssl.data.records import SYNTHETIC, TEST
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.run_groups import (
    NOT_KNOWN,
    SSL,
    TITLES,
    Comparison,
    began_from,
    title_of,
)
from dermssl.evaluation.small_samples import FEW_OF_A_CLASS

if TYPE_CHECKING:
    import pandas as pd

Counts = dict[str, Any]  # from `metric_tables.counts`

NOT_AVAILABLE = "n/a"
ENOUGH_RECORDS = 30  # of a class: below, one record moves its sensitivity by over 3 points
SAME = 0.02  # in a probability; rounding, or half precision, differs by less
FEW_CELLS = 4  # a side of a heat map
ENOUGH_GROUPS = 30  # below, a percentile bootstrap is too narrow


def number(value: float | None, digits: int = 3) -> str:
    """A number with a true minus sign; "n/a" for None or NaN."""
    if value is None or math.isnan(value):
        return NOT_AVAILABLE
    return f"{value:,.{digits}f}".replace("-", "−")


def estimate(interval: Interval | None, digits: int = 3) -> str:
    """An interval as a cell of a table: "0.612 (0.570 to 0.651)"."""
    if interval is None or math.isnan(interval.estimate):
        return NOT_AVAILABLE
    if not interval.is_defined:
        return f"{number(interval.estimate, digits)} (n/a)"
    low, high = number(interval.low, digits), number(interval.high, digits)
    return f"{number(interval.estimate, digits)} ({low} to {high})"


def signed(interval: Interval, least: int = 2) -> str:
    """A difference as a cell of a table: "+0.12 (0.05 to 0.19)", with `least` decimals or more."""
    places = max(least, digits(interval)) if interval.is_defined else 3
    return ("+" if interval.estimate > 0 else "") + estimate(interval, places)


def of_json(value: dict[str, float | None]) -> str:
    """`estimate` of an interval that a JSON file holds, where undefined is None."""
    known = {name: math.nan if bound is None else bound for name, bound in value.items()}
    return estimate(Interval(known["estimate"], known["low"], known["high"]))


def p_value(p: float | None, holm: float) -> str:
    """A p-value with Holm's: "0.012 (Holm 0.036)"; never 0, since none is."""
    if p is None or math.isnan(p):
        return NOT_AVAILABLE
    texts = ["<0.0001" if value < 1e-4 else f"{value:.2g}" for value in (p, holm)]
    return f"{texts[0]} (Holm {texts[1]})"


def count(n: int, word: str, words: str | None = None) -> str:
    """ "1 seed", "3 seeds", "1,511 photos"."""
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def model_title(status: dict[str, Any]) -> str:
    """What a fine-tuned run is called: "SimCLR, 90 labels"."""
    arm = status.get("arm", NOT_AVAILABLE)
    title = title_of(arm, [began_from(arm, status)] if arm in SSL else [])
    return f"{title}, {count(status['n_labels'], 'label')}" if status.get("n_labels") else title


def photos(counts: Counts, split: str) -> str:
    """What a score rests on: "412 test photos of 301 lesions"; `counts` of `metric_tables`."""
    return f"{count(counts['n_fine'], f'{split} photo')}{of_groups(counts)}"


def of_groups(counts: Counts) -> str:
    """ " of 301 lesions"; "" where each photo counts as one of its own."""
    if counts["grouped_by"] == "photo":
        return ""
    return f" of {count(counts['n_groups'], counts['grouped_by'])}"


def few_cells(height: int, width: int) -> list[str]:
    """A sentence about a heat map that is too coarse, or none."""
    if min(height, width) >= FEW_CELLS:
        return []
    return [
        f"The map has {height} x {width} cells, too few to tell places apart; a run with a larger "
        "image size has more."
    ]


def changed(difference: float) -> list[str]:
    """A warning where a model's probabilities aren't those it wrote itself, else none.

    Args:
        difference: the largest between the two.
    """
    if difference <= SAME:
        return []
    return [
        f"The model's probabilities differ by up to {difference:.2f} from those in "
        "predictions.csv: photos, weights or versions aren't those of the run."
    ]


def scope(n_seeds: int, counts: Counts, split: str) -> str:
    """What a sentence rests on: "3 seeds, 412 test photos of 301 lesions"."""
    return f"{count(n_seeds, 'seed')}, {photos(counts, split)}"


def digits(interval: Interval) -> int:
    """Decimals at which no bound rounds to a 0 that it isn't."""
    for digits in range(2, 6):
        bounds = (interval.low, interval.high)
        if all(bound == 0 or round(bound, digits) != 0 for bound in bounds):
            return digits
    return 6


def gaps(compared: Comparison, baseline: str) -> list[str]:
    """Sentences on arms that aren't there."""
    sentences = []
    if len(compared.arms) < 2:
        only = compared.models[0].title
        sentences.append(f"Only one arm is here ({only}), so nothing is compared.")
    for labels in compared.labels:
        models = compared.at(labels)
        if len(compared.arms) > 1 and baseline not in [model.arm for model in models]:
            title = TITLES.get(baseline, baseline)
            text = models[0].labels_text
            sentences.append(f"With {text} there is no run of the baseline ({title}).")
    began = list(dict.fromkeys(start for model in compared.models for start in model.began_from))
    alone = {start for model in compared.models if not model.is_ssl for start in model.starts}
    sentences += [
        f"No run starts from {start_title(start)} without SimCLR: nothing below tells what SimCLR "
        "adds to these weights."
        for start in began
        if start not in (*alone, NOT_KNOWN)
    ]
    if not began and not any(model.is_imagenet for model in compared.models):
        sentences.append(
            "No run from ImageNet weights is here (they need a download, or were not asked for): "
            "nothing below tells how SSL compares with them."
        )
    if not any(model.is_ssl for model in compared.models):
        sentences.append("No self-supervised run is here: nothing below tells what SSL does.")
    return sentences


def start_title(start: str) -> str:
    """What a backbone began from, as a sentence names it: "ImageNet weights", or the file."""
    return {"none": "random weights", "imagenet": "ImageNet weights"}.get(start, start)


def warnings(compared: Comparison, counts: Counts, classes: pd.DataFrame) -> list[str]:
    """What the reader must know before trusting an interval.

    Args:
        compared: what is compared.
        counts: from `metric_tables.counts`.
        classes: from `metric_tables.per_class`; only its support and lesions are read.
    """
    sentences = list(compared.notes)
    for n, says in (
        (1, "the intervals cover the choice of records, not the luck of training, and no verdict "
            "is given. Run at least 3 seeds"),
        (2, "the luck of training is known from two runs alone, so the intervals are so wide that "
            "they rarely tell anything apart"),
    ):  # fmt: skip
        names = "; ".join(m.name for m in compared.models if len(set(m.units)) == n)
        if names:
            sentences.append(f"{count(n, 'run').capitalize()} only ({names}): {says}.")
    began = dict.fromkeys((m.title, start) for m in compared.models for start in m.began_from)
    for title, start in began:
        told = f"its pretraining started from {start_title(start)}, so that"
        if start == NOT_KNOWN:
            told = (
                "what its pretraining started from isn't known, as its folder isn't there; if that "
                "wasn't random weights,"
            )
        sentences.append(
            f"{title}: {told} its difference to random init shows what both do together, not what "
            "SimCLR does."
        )
    lone: dict[tuple[str, str], list[str]] = {}
    for model in compared.models:
        if model.n_pretrainings == 1:
            lone.setdefault((model.title, model.starts[0]), []).append(model.labels_text)
    for (title, start), labels in lone.items():
        sentences.append(
            f"{title} ({'; '.join(labels)}): every run starts from one pretraining run "
            f"({start or 'not named'}); what is said holds for that one, since the luck of "
            "pretraining isn't covered (pretrainings = 3 in [experiment] repeats it)."
        )
    return sentences + data_warnings(counts, classes, compared.split)


def only_answer(p: np.ndarray, titles: Sequence[str]) -> str:
    """The title of the class that a model names for every photo; "" where it names several.

    Args:
        p: float (n, K), its probabilities.
        titles: K.

    >>> only_answer(np.array([[0.6, 0.4], [0.9, 0.1]]), ["nevus", "melanoma"])
    'nevus'
    """
    named = np.unique(p.argmax(axis=1))
    return titles[named[0]] if len(p) > 1 and len(named) == 1 else ""


def one_answer(p: np.ndarray, titles: Sequence[str], who: str = "The model") -> list[str]:
    """A warning where a model names one class for every photo, else none; see `only_answer`."""
    answer = only_answer(p, titles)
    return [f"{who} gives every photo the same answer ({answer})."] if answer else []


def drawings(sources: Iterable[str]) -> list[str]:
    """A list with a warning where all photos are synthetic, else an empty one.

    Args:
        sources: the column `source` of the photos.
    """
    if set(sources) != {SYNTHETIC}:
        return []
    return [
        "The photos are drawings, not skin: the numbers show that the road works, and say nothing "
        "about what pretraining does for real lesions."
    ]


def data_warnings(counts: Counts, classes: pd.DataFrame, split: str) -> list[str]:
    """Warnings that one run's records call for; arguments are those of `warnings`."""
    sentences = []
    if split != TEST:
        sentences.append(
            f"These are {split} records. "
            + (
                "The models were trained on them"
                if split == "train"
                else "The epoch was chosen by them"
            )
            + ": the numbers are too good. Use the test split for a result."
        )
    unit = counts["grouped_by"]
    small = classes[classes["lesions"] < ENOUGH_RECORDS]
    if len(small):
        names = ", ".join(f"{row.title} ({row.lesions})" for row in small.itertuples())
        sentences.append(
            f"Classes with fewer than {ENOUGH_RECORDS} {split} {unit}s, whose figures hang on "
            f"single ones: {names}."
        )
    if (few := small[small["lesions"].between(1, FEW_OF_A_CLASS - 1)]).size:
        sentences.append(
            f"With fewer than {FEW_OF_A_CLASS} {unit}s of a class ({', '.join(few['title'])}), F1, "
            "average precision and the means over classes of these and of AUC have no interval."
        )
    sentences += few_groups(counts["n_groups"], counts["grouped_by"])
    return sentences + without_ids(counts["grouped_by"])


def few_groups(n: int, unit: str, where: str = "") -> list[str]:
    """A warning where a percentile bootstrap has too few groups to draw from, else none."""
    if n >= ENOUGH_GROUPS:
        return []
    only = f"{count(n, f'independent {unit}')}{where}"
    return [f"Only {only}: intervals from fewer than {ENOUGH_GROUPS} are too narrow."]


def how_intervals(n_resamples: int, unit: str) -> str:
    """How the intervals of one run's scores were made, `metric_tables.intervals`."""
    return (
        f"Intervals: {n_resamples:,} draws of whole {unit}s with replacement, by their "
        f"percentiles; of balanced accuracy, and of areas and shares of few {unit}s, by formulas "
        "that know how little these tell (cluster-robust variance with a floor, Newcombe's method "
        "5, Wilson's)."
    )


def without_ids(grouped_by: str) -> list[str]:
    """A warning where nothing tells which photos are of one lesion, else none."""
    if grouped_by != "photo":
        return []
    return [
        "The records carry neither patient nor lesion ids: each photo counts as independent. "
        "If several show one lesion, the intervals are too narrow."
    ]

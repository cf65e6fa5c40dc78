"""Turn numbers into sentences by fixed rules: each follows from its interval.

"Beats" needs an interval that excludes 0. Everything else is a tie or isn't defined, and what
the interval doesn't cover (one seed, few records) is said beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dermssl.data.records import SYNTHETIC, TEST
from dermssl.evaluation.bootstrap import Interval
from dermssl.evaluation.metric_tables import NAMES, verdict
from dermssl.evaluation.run_groups import TITLES, Comparison, RunGroup

if TYPE_CHECKING:
    import pandas as pd

Counts = dict[str, Any]  # from `metric_tables.counts`

NOT_AVAILABLE = "n/a"
ENOUGH_SEEDS = 3
# Redrawing S seeds shows (S - 1) / S of their variance, and three lie on one side by luck alone
# in a quarter of all cases: below this it is told.
SEEDS_THAT_COVER = 6
ENOUGH_RECORDS = 30  # of a class: below, one record moves its sensitivity by over 3 points
ENOUGH_DRAWS = 0.05  # share of draws that may be undefined before it is told
SAME = 0.02  # in a probability; rounding, or half precision, differs by less
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
    title = TITLES.get(arm, arm)
    return f"{title}, {count(status['n_labels'], 'label')}" if status.get("n_labels") else title


def photos(counts: Counts, split: str) -> str:
    """What a score rests on: "412 test photos of 301 lesions"; `counts` of `metric_tables`."""
    text = count(counts["n_fine"], f"{split} photo")
    if counts["grouped_by"] != "photo":
        text += f" of {count(counts['n_groups'], counts['grouped_by'])}"
    return text


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


def comparison(
    a: RunGroup,
    b: RunGroup,
    metric: str,
    interval: Interval | None,
    n_seeds: int,
    counts: Counts,
    split: str,
) -> str:
    """The verdict on model a against model b (of the same labels), as one sentence.

    Args:
        a, b: the two models.
        metric: a name in `metric_tables.NAMES`.
        interval: of a - b; None where the two share no seed.
        n_seeds: seeds that both have.
        counts: from `metric_tables.counts`.
        split: that was scored.
    """
    name, where = NAMES[metric], f"With {a.labels_text}"
    if interval is None:
        return f"{where}, {a.title} and {b.title} share no seed, so they aren't compared."
    basis = scope(n_seeds, counts, split)
    if not interval.is_defined:
        return (
            f"{where}, nothing can be said of {a.title} against {b.title}: the difference in "
            f"{name} has no defined interval; too few records for it ({basis})."
        )
    places = digits(interval)
    low, high = number(interval.low, places), number(interval.high, places)
    size = number(abs(interval.estimate), places)
    level = f"{interval.level:.0%} interval"
    outcome = verdict(metric, interval)
    if outcome == "better":
        text = f"{a.title} beats {b.title} by {size} {name} ({level} {low} to {high}; {basis})"
    elif outcome == "worse":
        text = (
            f"{a.title} is worse than {b.title} by {size} {name} "
            f"({level} of the difference {low} to {high}; {basis})"
        )
    else:
        text = (
            f"no difference found between {a.title} and {b.title} in {name}: "
            f"the {level} {low} to {high} holds 0 (a tie; {basis})"
        )
    single = "; with one seed, the variation of training isn't covered" if n_seeds == 1 else ""
    return f"{where}, {text}{single}."


def digits(interval: Interval) -> int:
    """Decimals at which no bound rounds to a 0 that it isn't."""
    for digits in range(2, 6):
        bounds = (interval.low, interval.high)
        if all(bound == 0 or round(bound, digits) != 0 for bound in bounds):
            return digits
    return 6


def verdict_pairs(compared: Comparison, baseline: str) -> list[tuple[RunGroup, RunGroup]]:
    """Which models the opening compares: (a, b) of equal labels.

    The SSL arms against the baseline first, then against ImageNet, then the other arms against
    the baseline.
    """
    pairs: list[tuple[RunGroup, RunGroup]] = []
    for labels in compared.labels:
        models = {model.arm: model for model in compared.at(labels)}
        ssl = [arm for arm, model in models.items() if model.is_ssl]
        rest = [arm for arm in models if arm not in ssl]
        imagenet = [arm for arm, model in models.items() if model.is_imagenet and arm != baseline]
        wanted = [(arm, baseline) for arm in ssl]
        wanted += [(arm, other) for other in imagenet for arm in ssl]
        wanted += [(arm, baseline) for arm in rest]
        # A pair is told once, the way round that comes first.
        chosen: dict[frozenset[str], tuple[RunGroup, RunGroup]] = {}
        for a, b in wanted:
            if a != b and {a, b} <= models.keys():
                chosen.setdefault(frozenset((a, b)), (models[a], models[b]))
        pairs += chosen.values()
    return pairs


def gaps(compared: Comparison, baseline: str) -> list[str]:
    """Sentences on arms that aren't there."""
    sentences = []
    if len(compared.arms) < 2:
        only = TITLES.get(compared.arms[0], compared.arms[0])
        sentences.append(f"Only one arm is here ({only}), so nothing is compared.")
    for labels in compared.labels:
        models = compared.at(labels)
        if len(compared.arms) > 1 and baseline not in [model.arm for model in models]:
            title = TITLES.get(baseline, baseline)
            text = models[0].labels_text
            sentences.append(f"With {text} there is no run of the baseline ({title}).")
    if not any(model.is_imagenet for model in compared.models):
        sentences.append(
            "No run from ImageNet weights is here (they need a download, or were not asked for): "
            "nothing below tells how SSL compares with them."
        )
    if not any(model.is_ssl for model in compared.models):
        sentences.append("No self-supervised run is here: nothing below tells what SSL does.")
    return sentences


def warnings(
    compared: Comparison,
    counts: Counts,
    classes: pd.DataFrame,
    uneven: Sequence[tuple[RunGroup, RunGroup, int]] = (),
) -> list[str]:
    """What the reader must know before trusting an interval.

    Args:
        compared: what is compared.
        counts: from `metric_tables.counts`.
        classes: from `metric_tables.per_class`; only its support is read.
        uneven: (model a, model b, number of shared seeds) of pairs that don't share all seeds.
    """
    sentences = list(compared.notes)
    few = {len(m.members) for m in compared.models if len(m.members) < ENOUGH_SEEDS}
    if 1 in few:
        names = "; ".join(m.name for m in compared.models if len(m.members) == 1)
        sentences.append(
            f"One seed only ({names}): the intervals cover the choice of records, "
            "not the variation of training. Run at least 3 seeds."
        )
    if few - {1}:
        names = "; ".join(m.name for m in compared.models if 1 < len(m.members) < ENOUGH_SEEDS)
        sentences.append(
            f"Fewer than 3 seeds ({names}): the variation of training is hardly covered."
        )
    most = max(len(model.members) for model in compared.models)
    if ENOUGH_SEEDS <= most < SEEDS_THAT_COVER:
        sentences.append(
            f"At most {most} seeds a model: redrawing so few understates the luck of training, so "
            "an interval that excludes 0 by little may do so by luck."
        )
    lone: dict[tuple[str, str], list[str]] = {}
    for model in compared.models:
        if model.is_ssl and len(model.starts) == 1:
            lone.setdefault((model.title, model.starts[0]), []).append(model.labels_text)
    for (title, start), labels in lone.items():
        sentences.append(
            f"{title} ({'; '.join(labels)}): every seed starts from one pretraining run "
            f"({start or 'not named'}), so the variation of pretraining isn't covered."
        )
    for a, b, shared in uneven:
        sentences.append(
            f"{a.name}, and {b.title}: seeds {_list(a.seeds)} and {_list(b.seeds)}; only the "
            f"{count(shared, 'shared one', 'shared ones')} are compared."
        )
    return sentences + data_warnings(counts, classes, compared.split)


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


def dropped(intervals: Iterable[Interval]) -> list[str]:
    """A warning where many draws of the bootstrap missed a class, else none; of one metric."""
    share = max((one.n_dropped / max(1, one.n_resamples) for one in intervals), default=0)
    if share <= ENOUGH_DRAWS:
        return []
    return [
        f"{share:.0%} of the draws miss a class that has very few records and say nothing of "
        "balanced accuracy; an interval from the rest is shaky, and over half none is given."
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
    small = classes[classes["support"] < ENOUGH_RECORDS]
    if len(small):
        names = ", ".join(f"{row.title} ({row.support})" for row in small.itertuples())
        sentences.append(
            f"Classes with fewer than {ENOUGH_RECORDS} {split} records, whose figures hang on "
            f"single records: {names}."
        )
    sentences += few_groups(counts["n_groups"], counts["grouped_by"])
    return sentences + without_ids(counts["grouped_by"])


def few_groups(n: int, unit: str, where: str = "") -> list[str]:
    """A warning where a percentile bootstrap has too few groups to draw from, else none."""
    if n >= ENOUGH_GROUPS:
        return []
    only = f"{count(n, f'independent {unit}')}{where}"
    return [f"Only {only}: intervals from fewer than {ENOUGH_GROUPS} are too narrow."]


def without_ids(grouped_by: str) -> list[str]:
    """A warning where nothing tells which photos are of one lesion, else none."""
    if grouped_by != "photo":
        return []
    return [
        "The records carry neither patient nor lesion ids: each photo counts as independent. "
        "If several show one lesion, the intervals are too narrow."
    ]


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)

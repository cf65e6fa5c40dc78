"""Turn numbers into sentences by fixed rules: each follows from its interval.

"Beats" needs an interval that excludes 0. Everything else is a tie or isn't defined, and what
the interval doesn't cover (one seed, few records) is said beside it.
"""

import math

from dermssl.data.records import SYNTHETIC, TEST
from dermssl.evaluation.bootstrap import Interval
from dermssl.evaluation.metric_tables import NAMES, verdict
from dermssl.evaluation.run_groups import TITLES

NOT_AVAILABLE = "n/a"
ENOUGH_SEEDS = 3
# Redrawing S seeds shows (S - 1) / S of their variance, and three lie on one side by luck alone
# in a quarter of all cases: below this it is told.
SEEDS_THAT_COVER = 6
ENOUGH_RECORDS = 30  # of a class: below, one record moves its sensitivity by over 3 points
ENOUGH_DRAWS = 0.05  # share of draws that may be undefined before it is told
SAME = 0.02  # in a probability; rounding, or half precision, differs by less
ENOUGH_GROUPS = 30  # below, a percentile bootstrap is too narrow


def number(value, digits=3):
    """A number with a true minus sign; "n/a" for None or NaN."""
    if value is None or math.isnan(value):
        return NOT_AVAILABLE
    return f"{value:,.{digits}f}".replace("-", "−")


def estimate(interval, digits=3):
    """An interval as a cell of a table: "0.612 (0.570 to 0.651)"."""
    if interval is None or math.isnan(interval.estimate):
        return NOT_AVAILABLE
    if not interval.is_defined:
        return f"{number(interval.estimate, digits)} (n/a)"
    low, high = number(interval.low, digits), number(interval.high, digits)
    return f"{number(interval.estimate, digits)} ({low} to {high})"


def of_json(value):
    """`estimate` of an interval that a JSON file holds, where undefined is None."""
    known = [math.nan if value[key] is None else value[key] for key in ("estimate", "low", "high")]
    return estimate(Interval(*known))


def p_value(p, holm):
    """A p-value with Holm's: "0.012 (Holm 0.036)"; never 0, since none is."""
    if p is None or math.isnan(p):
        return NOT_AVAILABLE
    texts = ["<0.0001" if each < 1e-4 else f"{each:.2g}" for each in (p, holm)]
    return f"{texts[0]} (Holm {texts[1]})"


def count(n, word, words=None):
    """ "1 seed", "3 seeds", "1,511 photos"."""
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def model_title(status):
    """What a fine-tuned run is called: "SimCLR, 90 labels"."""
    arm = status.get("arm", NOT_AVAILABLE)
    title = TITLES.get(arm, arm)
    return f"{title}, {count(status['n_labels'], 'label')}" if status.get("n_labels") else title


def photos(counts, split):
    """What a score rests on: "412 test photos of 301 lesions"; `counts` of `scores.counts`."""
    text = count(counts["n_fine"], f"{split} photo")
    if counts["grouped_by"] != "photo":
        text += f" of {count(counts['n_groups'], counts['grouped_by'])}"
    return text


def changed(difference):
    """A warning where a model's probabilities aren't those it wrote itself, else none.

    Args:
        difference: float, the largest between the two.
    """
    if difference <= SAME:
        return []
    return [
        f"The model's probabilities differ by up to {difference:.2f} from those in "
        "predictions.csv: photos, weights or versions aren't those of the run."
    ]


def scope(n_seeds, counts, split):
    """What a sentence rests on: "3 seeds, 412 test photos of 301 lesions"."""
    return f"{count(n_seeds, 'seed')}, {photos(counts, split)}"


def comparison(a, b, metric, interval, n_seeds, counts, split):
    """The verdict on model a against model b (of the same labels), as one sentence.

    Args:
        a, b: `Model`.
        metric: name of the metric.
        interval: `Interval` of a - b; None where the two share no seed.
        n_seeds: seeds that both have.
        counts: dict, from `scores.counts`.
        split: name of the split.
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
    found = verdict(metric, interval)
    if found == "better":
        said = f"{a.title} beats {b.title} by {size} {name} ({level} {low} to {high}; {basis})"
    elif found == "worse":
        said = (
            f"{a.title} is worse than {b.title} by {size} {name} "
            f"({level} of the difference {low} to {high}; {basis})"
        )
    else:
        said = (
            f"no difference found between {a.title} and {b.title} in {name}: "
            f"the {level} {low} to {high} holds 0 (a tie; {basis})"
        )
    single = "; with one seed, the variation of training isn't covered" if n_seeds == 1 else ""
    return f"{where}, {said}{single}."


def digits(interval):
    """Decimals at which no bound rounds to a 0 that it isn't."""
    for digits in range(2, 6):
        bounds = (interval.low, interval.high)
        if all(bound == 0 or round(bound, digits) != 0 for bound in bounds):
            return digits
    return 6


def verdict_pairs(compared, baseline):
    """Which models the opening compares: (a, b) of equal labels.

    The SSL arms against the baseline first, then against ImageNet, then the other arms against
    the baseline.
    """
    pairs = []
    for labels in compared.labels:
        models = {model.arm: model for model in compared.at(labels)}
        ssl = [arm for arm, model in models.items() if model.is_ssl]
        rest = [arm for arm in models if arm not in ssl]
        imagenet = [arm for arm, model in models.items() if model.is_imagenet and arm != baseline]
        wanted = [(arm, baseline) for arm in ssl]
        wanted += [(arm, other) for other in imagenet for arm in ssl]
        wanted += [(arm, baseline) for arm in rest]
        said = {}  # a pair is told once, the way round that comes first
        for a, b in wanted:
            if a != b and {a, b} <= models.keys():
                said.setdefault(frozenset((a, b)), (models[a], models[b]))
        pairs += said.values()
    return pairs


def gaps(compared, baseline):
    """Sentences on arms that aren't there."""
    said = []
    if len(compared.arms) < 2:
        only = TITLES.get(compared.arms[0], compared.arms[0])
        said.append(f"Only one arm is here ({only}), so nothing is compared.")
    for labels in compared.labels:
        models = compared.at(labels)
        if len(compared.arms) > 1 and baseline not in [model.arm for model in models]:
            title = TITLES.get(baseline, baseline)
            text = models[0].labels_text
            said.append(f"With {text} there is no run of the baseline ({title}).")
    if not any(model.is_imagenet for model in compared.models):
        said.append(
            "No run from ImageNet weights is here (they need a download, or were not asked for): "
            "nothing below tells how SSL compares with them."
        )
    if not any(model.is_ssl for model in compared.models):
        said.append("No self-supervised run is here: nothing below tells what SSL does.")
    return said


def warnings(compared, counts, classes, uneven=()):
    """What the reader must know before trusting an interval.

    Args:
        compared: `Compared`.
        counts: dict, from `scores.counts`.
        classes: DataFrame, from `scores.per_class`; only its support is read.
        uneven: (model a, model b, number of shared seeds) of pairs that don't share all seeds.

    Returns:
        list of sentences.
    """
    said = list(compared.notes)
    few = {len(m.members) for m in compared.models if len(m.members) < ENOUGH_SEEDS}
    if 1 in few:
        names = "; ".join(m.name for m in compared.models if len(m.members) == 1)
        said.append(
            f"One seed only ({names}): the intervals cover the choice of records, "
            "not the variation of training. Run at least 3 seeds."
        )
    if few - {1}:
        names = "; ".join(m.name for m in compared.models if 1 < len(m.members) < ENOUGH_SEEDS)
        said.append(f"Fewer than 3 seeds ({names}): the variation of training is hardly covered.")
    most = max(len(model.members) for model in compared.models)
    if ENOUGH_SEEDS <= most < SEEDS_THAT_COVER:
        said.append(
            f"At most {most} seeds a model: redrawing so few understates the luck of training, so "
            "an interval that excludes 0 by little may do so by luck."
        )
    lone = {}
    for model in compared.models:
        if model.is_ssl and len(model.starts) == 1:
            lone.setdefault((model.title, model.starts[0]), []).append(model.labels_text)
    for (title, start), labels in lone.items():
        said.append(
            f"{title} ({'; '.join(labels)}): every seed starts from one pretraining run "
            f"({start or 'not named'}), so the variation of pretraining isn't covered."
        )
    for a, b, shared in uneven:
        said.append(
            f"{a.name}, and {b.title}: seeds {_list(a.seeds)} and {_list(b.seeds)}; only the "
            f"{count(shared, 'shared one', 'shared ones')} are compared."
        )
    return said + data_warnings(counts, classes, compared.split)


def drawings(sources):
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


def dropped(intervals):
    """A warning where many draws of the bootstrap missed a class, else none.

    Args:
        intervals: `Interval`s of one metric.
    """
    share = max((each.n_dropped / max(1, each.n_resamples) for each in intervals), default=0)
    if share <= ENOUGH_DRAWS:
        return []
    return [
        f"{share:.0%} of the draws miss a class that has very few records and say nothing of "
        "balanced accuracy; an interval from the rest is shaky, and over half none is given."
    ]


def data_warnings(counts, classes, split):
    """Warnings that one run's records call for; arguments are those of `warnings`."""
    said = []
    if split != TEST:
        said.append(
            f"These are {split} records. "
            + (
                "The models were trained on them"
                if split == "train"
                else "The epoch was chosen by them"
            )
            + ": the numbers are too good. Use --split test for a result."
        )
    small = classes[classes["support"] < ENOUGH_RECORDS]
    if len(small):
        names = ", ".join(f"{row.title} ({row.support})" for row in small.itertuples())
        said.append(
            f"Classes with fewer than {ENOUGH_RECORDS} {split} records, whose figures hang on "
            f"single records: {names}."
        )
    said += few_groups(counts["n_groups"], counts["grouped_by"])
    return said + without_ids(counts["grouped_by"])


def few_groups(n, unit, where=""):
    """A warning where a percentile bootstrap has too few groups to draw from, else none."""
    if n >= ENOUGH_GROUPS:
        return []
    only = f"{count(n, f'independent {unit}')}{where}"
    return [f"Only {only}: intervals from fewer than {ENOUGH_GROUPS} are too narrow."]


def without_ids(grouped_by):
    """A warning where nothing tells which photos are of one lesion, else none."""
    if grouped_by != "photo":
        return []
    return [
        "The records carry neither patient nor lesion ids: each photo counts as independent. "
        "If several show one lesion, the intervals are too narrow."
    ]


def _list(values):
    return ", ".join(str(value) for value in values)

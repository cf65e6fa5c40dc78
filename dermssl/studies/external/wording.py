"""The sentences of a run's report on photos from elsewhere: each follows from its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dermssl.evaluation import metric_tables
from dermssl.reporting import wording
from dermssl.studies.external import compute, levels
from dermssl.studies.external.compute import GIVEN, SHARES

if TYPE_CHECKING:
    from dermssl.studies.external.files import Scored


def findings(scored: Scored) -> list[str]:
    """What the report of one place opens with."""
    sentences = [*headline(scored), *_calibration(scored), *_shares(scored)]
    return [*sentences, *_at_thresholds(scored)]


def headline(scored: Scored) -> list[str]:
    """The score there against that at home; first, if so, that all photos get one answer."""
    numbers = scored.numbers
    same = wording.one_answer(numbers.arrays.p_fine, numbers.taxonomy.titles)
    return [*same, _against_internal(scored)]


def family(scored: Scored) -> str:
    """What the intervals of the sentences hold for."""
    numbers = scored.numbers
    return (
        f"What the findings say of the difference, mean P, slope and share hold together with 95%: "
        f"their intervals are {numbers.confidence:.2%} ones (Bonferroni over "
        f"{numbers.n_claims}); all other intervals are 95% ones that hold one by one."
    )


def _against_internal(scored):
    numbers, name = scored.numbers, levels.primary(scored.numbers.level)
    title = metric_tables.NAMES[name]
    here = numbers.intervals.get(name)
    text = (
        f"{title[0].upper()}{title[1:]} on {wording.count(_n(numbers), 'photo')} of "
        f"{scored.place.name}: {wording.estimate(here)}"
    )
    if name not in numbers.internal:
        return f"{text}. The run has no test record to compare it with."
    inside, gap = numbers.internal[name], numbers.claims["difference"]
    text += (
        f"; on {wording.count(numbers.n_internal, 'own test photo')} of the run: "
        f"{wording.estimate(inside)}"
    )
    if not gap.is_defined:
        return f"{text}. The difference has no defined interval."
    size = wording.estimate(gap, wording.digits(gap))
    if not gap.excludes_zero:
        return f"{text}. No difference is shown: the interval of the difference, {size}, holds 0."
    return f"{text}. It is {'lower' if gap.high < 0 else 'higher'} here: the difference is {size}."


def _n(numbers):
    return numbers.counts["n_fine"]


def _at_thresholds(scored):
    sentences = []
    for one in scored.numbers.thresholds:
        if not np.isfinite(one.threshold):
            sentences.append(
                f"No threshold for {one.title} was kept: the run's validation records can't "
                "choose one."
            )
            continue
        pair = ", ".join(f"{name} {wording.estimate(one.here[name])}" for name in one.here)
        text = (
            f"At the threshold for {one.title} that keeps {scored.settings.specificity:g} "
            f"specificity on the run's validation photos (P ≥ {one.threshold:.3g}): {pair}"
        )
        if one.internal:
            own = ", ".join(
                f"{name} {wording.estimate(one.internal[name])}" for name in one.internal
            )
            text += f"; on the run's own test photos: {own}"
        sentences.append(f"{text}.")
    return sentences


def _calibration(scored):
    """On the first question: is P too high or low on average, too extreme or too timid."""
    numbers = scored.numbers
    table = numbers.slopes
    rows = {row["probabilities"]: row for row in table.to_dict("records")[:3]}
    row = rows.get(GIVEN)
    if row is None:
        return []
    expected, slope, name = numbers.expected, numbers.claims["slope"], row["question"]
    word = "not shown to be off on average"
    if expected.is_outside:
        word = f"too {'high' if expected.seen < expected.low else 'low'} on average"
    text = (
        f"P({name}) as predict gives it is {word}: mean {wording.number(row['mean_p'])}, "
        f"{wording.number(row['share'])} of the photos are; were it right, "
        f"{wording.number(expected.low)} to {wording.number(expected.high)} would be"
    )
    if slope.is_defined:
        if slope.high < 1:
            kind = "too extreme"
        else:
            kind = "too timid" if slope.low > 1 else "not shown to be too extreme or too timid"
        text += f"; calibration slope {wording.estimate(slope, 2)} (1 is right): {kind}"
    return [f"{text}."]


def _shares(scored):
    numbers = scored.numbers
    table = numbers.shares
    wanted = [row for row in table.to_dict("records") if row["class"].startswith("malignant")]
    row = (wanted or table.to_dict("records"))[-1]
    found, true = numbers.claims["share"], row["true"]
    text = (
        f"Class shares re-estimated without labels: {row['class']} {wording.estimate(found)}, "
        f"true {wording.number(true.estimate)}, as the run assumes {wording.number(row['assumed'])}"
    )
    if found.is_defined:
        off = not found.low <= true.estimate <= found.high
        text += (
            "; the interval misses the true share: these photos differ in more than their shares"
            if off
            else "; the interval holds the true share"
        )
    before, after = (numbers.stages[stage]["log_loss"] for stage in (GIVEN, SHARES))
    text += (
        f". Log loss with the run's shares {wording.estimate(before)}, with the re-estimated ones "
        f"{wording.estimate(after)}"
    )
    return [f"{text}."]


def notes(scored: Scored) -> list[str]:
    """What to know before a number is trusted."""
    numbers, place = scored.numbers, scored.place
    counts = numbers.counts
    sentences = []
    if not place.overlap.empty:
        sentences.append(
            f"{wording.count(len(place.overlap), 'photo')} of this place were photos of the run "
            "(copies or near copies) and left out before prediction: overlaps.csv."
        )
    if scored.unchecked:
        sentences.append(scored.unchecked)
    unknown = counts["n"] - counts["n_fine"]
    if unknown:
        sentences.append(
            f"{wording.count(unknown, 'photo')} of classes that say nothing at this level "
            f"({compute.level_title(numbers)}) aren't scored."
        )
    absent = [
        row["class"]
        for row in numbers.shares.to_dict("records")
        if row["records"] == 0 and not row["class"].startswith("malignant,")
    ]
    if absent:
        sentences.append(
            f"No photo here is {', '.join(absent)}; means over classes leave such classes out, "
            "here and on the run's test photos that stand beside them."
        )
    small = numbers.classes[
        (numbers.classes["support"] < wording.ENOUGH_RECORDS) & (numbers.classes["support"] > 0)
    ]
    if len(small):
        names = ", ".join(f"{row.title} ({row.support})" for row in small.itertuples())
        sentences.append(
            f"Classes with fewer than {wording.ENOUGH_RECORDS} photos, whose figures hang on "
            f"single ones: {names}."
        )
    sentences += wording.few_groups(counts["n_groups"], counts["grouped_by"])
    return [*sentences, *wording.without_ids(counts["grouped_by"]), family(scored)]


def lines(scored: Scored) -> list[str]:
    """The console's lines on one place."""
    numbers, place = scored.numbers, scored.place
    left = ", ".join(f"{n:,} {why}" for why, n in place.left_out.items() if n)
    pairs = ", ".join(f"{one.theirs} = {one.ours or 'left out'}" for one in place.mapped)
    shown = [
        f"{place.path}: {wording.count(_n(numbers), 'photo')}{wording.of_groups(numbers.counts)}, "
        f"scored as {compute.level_title(numbers)} "
        f"({pairs}){f'; left out: {left}' if left else ''}",
        *(f"- {sentence}" for sentence in findings(scored)),
    ]
    # The difference that the first finding judges stands there, with the interval of its verdict.
    gaps = {name: gap for name, gap in numbers.difference.items()
            if name != levels.primary(numbers.level)}  # fmt: skip
    for name, interval in numbers.intervals.items():
        title = compute.metric_title(numbers.level, name, scored.settings)
        text = f"  {title:<48} {wording.estimate(interval)}"
        if name in numbers.internal:
            text += f"  run's test {wording.estimate(numbers.internal[name])}"
        if name in gaps:
            text += f"  difference {wording.estimate(gaps[name])}"
        shown.append(text)
    return shown

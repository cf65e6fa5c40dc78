"""What the audit says of likely label errors and off-topic photos: suggestions, and no more."""

from __future__ import annotations

from typing import Any

from dermssl.reporting import report
from dermssl.reporting.wording import count, number
from dermssl.studies.data_audit import label_errors, off_topic
from dermssl.studies.data_audit.suspects import (
    LABELS,
    TOPICS,
    Suspects,
    shown_labels,
    shown_topics,
)

LITTLE = 0.1  # of the way from chance to 1: embeddings below it tell the classes hardly apart
ONLY = "These are suggestions to look at: nothing was removed and no label was changed."


def summary(suspects: Suspects | None) -> dict[str, Any]:
    """Its part of check_data.json; empty where nothing was looked for."""
    if suspects is None:
        return {}
    return {
        "label_errors": {
            "looked_for": suspects.by_embeddings,
            "judged": len(suspects.labels),
            "balanced_accuracy": suspects.balanced_accuracy,
            "chance": suspects.chance,
            "likely": len(suspects.confident),
            "shown": len(shown_labels(suspects)),
            "folds": label_errors.FOLDS,
            "classes_left_out": suspects.left_out,
            "unlabelled": suspects.n_unlabelled,
        },
        "off_topic": {
            "by": "embeddings" if suspects.by_embeddings else "pixels",
            "judged": len(suspects.topics),
            "apart": len(suspects.apart),
            "shown": len(shown_topics(suspects)),
            "neighbour": off_topic.NEIGHBOUR,
        },
    }


def sentences(numbers: dict[str, Any]) -> list[str]:
    """For the head of the report and the terminal; `numbers` are those of check_data.json."""
    if "off_topic" not in numbers:
        return []
    labels, topics = numbers["label_errors"], numbers["off_topic"]
    lines = []
    if labels["judged"]:
        lines.append(
            f"Labels: {count(labels['judged'], 'photo')} looked at; the {labels['shown']:,} that "
            "photos of other lesions speak against most are on a sheet, all ranks in "
            f"{LABELS}.csv. Confident learning marks {labels['likely']:,}; many of these are hard "
            f"photos with a right label. {_worth(labels)}"
        )
    elif labels["looked_for"]:
        lines.append("Labels: no two classes have enough lesions for any label to be judged.")
    elif not numbers.get("indistinct"):
        lines.append(
            "Likely label errors were not looked for: that takes a run's embeddings "
            "(check_data.run)."
        )
    lines.append(
        f"Topics: {count(topics['judged'], 'photo')} looked at; {topics['apart']:,} stand apart by "
        f"their {topics['by']} ({TOPICS}.csv)."
    )
    return [*lines, ONLY]


def _worth(labels):
    """How well the labels are named by photos of other lesions: what a suggestion is worth."""
    found, chance = labels["balanced_accuracy"], labels["chance"]
    text = (
        f"By photos of other lesions the labels are named with a balanced accuracy of {found:.2f} "
        f"(chance: {chance:.2f})"
    )
    if found - chance < LITTLE * (1 - chance):
        text += ", so the suggestions are worth little: give a run that has learnt more"
    return f"{text}."


def sections(numbers: dict[str, Any], suspects: Suspects | None) -> list[report.Section | None]:
    """The sections of the report."""
    if suspects is None:
        return []
    return [_labels(numbers, suspects), _topics(numbers, suspects)]


def _labels(numbers, suspects):
    entry = numbers["label_errors"]
    if not entry["looked_for"]:
        return None
    table = shown_labels(suspects)
    columns = [
        report.Column("rank", right=True), "photo", "given label", "suggested label",
        report.Column("P(given)", right=True), report.Column("P(suggested)", right=True),
    ]  # fmt: skip
    keys = ("rank", "path", "given", "suggested", "p_given", "p_suggested")
    rows = [[row[key] for key in keys] for row in table.to_dict("records")]
    text = (
        f"{count(entry['judged'], 'labelled photo')} were judged, each by a logistic regression on "
        f"the embeddings that never saw its patient or lesion ({entry['folds']} folds). Ranked by "
        "P(given) minus the largest other probability; shown are those that confident learning "
        "(Northcutt et al. 2021, doi:10.1613/jair.1.12125) marks: "
        f"{entry['likely']:,}, of which the first {entry['shown']:,} are below and all ranks in "
        f"`{LABELS}.csv`. The higher the rank, the more of them are wrong: with 5% of the labels "
        "of 2,408 photos of HAM10000 swapped on purpose, 20 of the first 24 were planted ones, 42 "
        f"of the first 100, and 15% of all that were marked (a MobileNet). **{ONLY}** "
        "A photo that looks like the commonest class ranks first, whatever its label. A hard "
        "photo, a rare look or a weak backbone "
        "gets a photo here as well as a wrong label does; only a person who sees the photo and its "
        "record can tell."
    )
    blocks: list[report.Block | None] = [report.Text(text)]
    if numbers.get("trained_on_labels"):
        blocks.append(
            report.Warnings(
                [
                    "The run was fine-tuned, perhaps on these very labels: wrong ones that it "
                    "learnt look right to it. A pretraining run doesn't know them."
                ]
            )
        )
    if entry["classes_left_out"]:
        few = ", ".join(f"{name} ({n})" for name, n in entry["classes_left_out"].items())
        blocks.append(
            report.Warnings(
                [f"Not judged, with fewer than {entry['folds']} patients or lesions: {few}."]
            )
        )
    if rows:
        caption = "Likely label errors: the given label, and the suggested one with P(suggested)"
        blocks += [report.Figure(f"{LABELS}.png", caption), report.Table(columns, rows)]
    return report.Section("Likely label errors", blocks)


def _topics(numbers, suspects):
    entry = numbers["off_topic"]
    table = shown_topics(suspects)
    columns = [
        report.Column("rank", right=True), "photo", "label",
        report.Column("distance, x median", right=True, format=_times), "stands apart", "pixels",
    ]  # fmt: skip
    rows = [
        [
            row["rank"], row["path"], row["label"], row["times_median"],
            "yes" if row["apart"] else "no", row["reasons"],
        ]
        for row in table.to_dict("records")
    ]  # fmt: skip
    how = (
        f"the distance of its embedding to the {entry['neighbour']}th nearest other photo"
        if entry["by"] == "embeddings"
        else "brightness, contrast, colour, detail and shape of the pixels alone; a run "
        "(`check_data.run`) tells topics far better"
    )
    limit = off_topic.APART if entry["by"] == "embeddings" else off_topic.ODD
    text = (
        f"{count(entry['judged'], 'photo')} were looked at, ranked by {how}; those of one colour "
        f"and tiny ones come first. {entry['apart']:,} "
        f"stand apart: {limit:g} robust standard deviations from the median or more. "
        f"The first {entry['shown']:,} are below, all ranks in `{TOPICS}.csv`. **{ONLY}** A rare "
        "diagnosis, another camera or a dark skin in a light-skinned set stands apart, too: "
        "leaving such photos out would make the data set poorer."
    )
    caption = "The photos that stand most apart, with their labels"
    figure = report.Figure(f"{TOPICS}.png", caption) if rows else None
    return report.Section(
        "Photos that may be off topic",
        [report.Text(text), figure, report.Table(columns, rows) if rows else None],
    )


def _times(value):
    return number(value, 2)

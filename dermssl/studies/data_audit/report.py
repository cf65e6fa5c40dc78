"""The report of an audit of a data set: its numbers, sentences, tables and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermssl.core import atomic_files, runs
from dermssl.data import contact_sheet, decode
from dermssl.data.records import SPLITS, Dataset
from dermssl.reporting import report, wording
from dermssl.reporting.wording import count
from dermssl.studies.data_audit import audit, figures, suspects, suspects_report

SHOWN_PAIRS = 10  # of a kind, in the pictures
LISTED = 20  # rows of a table in the report; the CSV has all
QUANTILES = (0, 0.05, 0.5, 0.95, 1)
NAMES = {
    audit.FILE: "the same file twice", audit.PIXELS: "the same pixels in two files",
    audit.NEAR: "near duplicates", audit.SIMILAR: "alike to the backbone",
}  # fmt: skip
WHOLE = partial(wording.number, digits=0)
WHOLE_BITS = report.Column("bits", right=True, format=WHOLE)


def write(
    folder: Path,
    findings: audit.Audit,
    dataset: Dataset,
    settings: dict[str, Any],
    suspected: suspects.Suspects | None = None,
) -> dict[str, Any]:
    """check_data.json, the CSV files, the pictures and the report.

    Args:
        folder: to write into.
        findings: of the audit.
        dataset: that was audited.
        settings: data, near_bits, bits, run, indistinct, similarity, splits, command, notes, and
            what a later command would refuse or leave out: missing, refused, bad_masks, left_out.
        suspected: likely label errors and off-topic photos, or None where none were looked for.

    Returns:
        the content of check_data.json.
    """
    numbers = summary(findings, dataset, settings | suspects_report.summary(suspected))
    suspects.write(folder, suspected)
    atomic_files.write_csv(folder / "duplicates.csv", findings.pairs)
    atomic_files.write_csv(folder / "crossing.csv", findings.crossing)
    atomic_files.write_csv(folder / "photos.csv", findings.photos)
    atomic_files.write_json(folder / "check_data.json", numbers)
    figures.classes(folder / "classes.png", audit.classes(dataset.index))
    figures.sizes(folder / "sizes.png", findings.photos)
    figures.light(folder / "light.png", findings.photos)
    kinds = [kind for kind in audit.KINDS if _draw_pairs(folder, findings, dataset, kind)]
    report.write(build(numbers, findings, kinds, suspected), folder)
    return numbers


def build(
    numbers: dict[str, Any],
    findings: audit.Audit,
    kinds: Sequence[str],
    suspected: suspects.Suspects | None = None,
) -> report.Report:
    """The report of an audit.

    Args:
        numbers: from `summary`.
        findings: of the audit.
        kinds: of duplicates that have a picture.
        suspected: as of `write`.
    """
    return report.Report(
        f"Audit of {numbers['data']}",
        [
            report.Findings(numbers["findings"]),
            report.Text(f"Splits: {report.escaped(numbers['splits'])}."),
        ],
        [
            _duplicates(numbers, kinds),
            _pairs(
                "Duplicates across splits",
                findings.leaks,
                "split",
                numbers["leaking_pairs"],
                "To put right: give both photos one `lesion_id`, or leave one out. "
                "`python -m dermssl.leakage` estimates what a leak is worth.",
            ),
            _pairs(
                "Duplicates with different labels",
                findings.conflicts,
                "label",
                numbers["contradicting_pairs"],
            ),
            _contradicting_lesions(numbers["contradicting_lesions"]),
            _crossing(findings),
            *suspects_report.sections(numbers, suspected),
            _unreadable(numbers["unreadable"]),
            _list("What the reader said", numbers["notes"]),
            _classes(numbers["classes"]),
            _photos(numbers["quantiles"]),
        ],
        [
            "Everything is in `check_data.json`; pairs in `duplicates.csv`, a row a photo in "
            "`photos.csv`.",
            f"Versions: {report.versions(numbers)}.",
            *([f"This page: {report.code(numbers['command'])}"] if numbers["command"] else []),
        ],
        closing="",
    )


def _duplicates(numbers: dict[str, Any], kinds: Sequence[str]) -> report.Section:
    names = ("pairs", "same_lesion", "of_different_lesions", "across_splits", "labels_differ")
    rows = [
        [NAMES[row["kind"]], *(row[name] for name in names)]
        for row in numbers["duplicates"]
        if row["pairs"]
    ]
    titles = ("pairs", "one lesion", "different lesions", "across splits", "labels differ")
    columns = ["", *(report.Column(title, right=True) for title in titles)]
    pictures = [
        report.Figure(_file(kind), f"Pairs: {NAMES[kind]}, the surest first, one above the other")
        for kind in kinds
    ]
    text = "Near duplicates were not looked for."
    if numbers["near_bits"] >= 0:
        text = (
            f"Near: the perceptual hashes differ in at most {numbers['near_bits']} of "
            f"{numbers['bits']} bits, as it is, mirrored, turned by quarters, resized or "
            "re-encoded."
        )
    text += " Crops are mostly not found this way"
    if numbers["run"] and not numbers["indistinct"]:
        text += (
            f"; the embeddings of {report.code(numbers['run'])} may find them (cosine of at least "
            f"{numbers['similarity']}). They are a hint, no proof, and count as no leak"
        )
    elif not numbers["run"]:
        text += "; `check_data.run` compares the embeddings of a pretrained backbone, too"
    text += ". Pairs of one lesion in one split do no harm."
    table = report.Table(columns, rows) if rows else report.Text("None found.")
    return report.Section("Duplicates", [table, *pictures, report.Text(text)])


def _pairs(
    title: str, pairs: pd.DataFrame, name: str, n: int, remedy: str = ""
) -> report.Section | None:
    """A table of pairs of photos that lie or are called differently."""
    if pairs.empty:
        return None
    columns = ["", "photo", name, "photo", name, WHOLE_BITS]
    keys = ("kind", "path_a", f"{name}_a", "path_b", f"{name}_b", "bits")
    rows = [[row[key] for key in keys] for row in pairs.head(LISTED).to_dict("records")]
    cut = f"The first {LISTED} of {n:,}; all are in `duplicates.csv`."
    blocks = [report.Table(columns, rows), report.Text(cut) if n > LISTED else None]
    return report.Section(title, [*blocks, report.Text(remedy) if remedy else None])


def _contradicting_lesions(lesions: Sequence[str]) -> report.Section | None:
    if not lesions:
        return None
    more = " and more: all are in `check_data.json`, contradicting_lesions"
    text = report.escaped(", ".join(lesions[:LISTED])) + (more if len(lesions) > LISTED else "")
    return report.Section("Lesions with different labels", [report.Text(f"{text}.")])


def _crossing(findings: audit.Audit) -> report.Section | None:
    if findings.crossing.empty:
        return None
    names = ["kind", "id", "splits", "photos"]
    rows = findings.crossing.head(LISTED)[names].to_numpy(object).tolist()
    table = report.Table(
        ["", "id", "splits", report.Column("photos", right=True, format=str)], rows
    )
    text = report.Text("All are in `crossing.csv`.")
    return report.Section("Lesions and patients in several splits", [table, text])


def _unreadable(photos: Sequence[dict[str, str]]) -> report.Section | None:
    text = f"All {len(photos)} are in `photos.csv`, column `error`."
    return _list("Unreadable photos", [photo["error"] for photo in photos], report.Text(text))


def _list(
    title: str, lines: Sequence[str], text: report.Text | None = None
) -> report.Section | None:
    if not lines:
        return None
    return report.Section(
        title, [report.Bullets([report.escaped(line) for line in lines[:LISTED]]), text]
    )


def _classes(classes: Sequence[dict[str, Any]]) -> report.Section:
    names = [name for name in classes[0] if name != "class"] if classes else []
    columns = ["class", *(report.Column(name, right=True) for name in names)]
    rows = [[row["class"], *(row[name] for name in names)] for row in classes]
    figure = report.Figure("classes.png", "Photos by class and split")
    return report.Section("Classes", [report.Table(columns, rows), figure])


def _photos(quantiles: dict[str, dict[str, float]]) -> report.Section:
    titles = ("least", "5%", "median", "95%", "most")
    columns = ["", *(report.Column(title, right=True, format=WHOLE) for title in titles)]
    text = (
        "A class that stands apart in brightness or contrast can be told by light alone; a model "
        "may do so."
    )
    return report.Section(
        "Sizes and light",
        [
            report.Table(columns, [[name, *row.values()] for name, row in quantiles.items()]),
            report.Figure("sizes.png", "Width against height"),
            report.Figure("light.png", "Brightness and contrast by class"),
            report.Text(text),
        ],
    )


def summary(findings: audit.Audit, dataset: Dataset, settings: dict[str, Any]) -> dict[str, Any]:
    """Every number of the report: the content of check_data.json."""
    photos = findings.photos
    bad = photos[photos["error"] != ""]
    whole = photos[photos["error"] == ""]
    index = dataset.index
    crossing = findings.crossing["kind"].value_counts().to_dict()
    numbers = {
        **settings,
        "photos": len(photos),
        "readable": len(whole),
        "unreadable": [
            {"path": row.path, "error": row.error} for row in bad.itertuples(index=False)
        ],
        "without_structure": int(photos["flat"].sum()),
        "labelled": int(((index["fine"] != "") | (index["coarse"] != "")).sum()),
        "lesions": int(index["lesion_id"].replace("", np.nan).nunique()),
        "patients": int(index["patient_id"].replace("", np.nan).nunique()),
        "split_sizes": index["split"].replace("", "(no split)").value_counts().to_dict(),
        "classes": audit.classes(index).to_dict("records"),
        "quantiles": {
            name: dict(zip(map(str, QUANTILES), np.quantile(whole[name], QUANTILES).tolist()))
            for name in ("width", "height", "bytes", "brightness", "contrast")
        },
        "duplicates": audit.counts(findings).to_dict("records"),
        "cut": list(findings.cut),
        "crossing": {name: int(crossing.get(name, 0)) for name in ("lesion_id", "patient_id")},
        "leaking_pairs": len(findings.leaks),
        "contradicting_pairs": len(findings.conflicts),
        "contradicting_lesions": audit.contradicting_lesions(index),
        "versions": runs.versions(),
    }
    return numbers | {"faults": faults(numbers), "findings": sentences(numbers)}


def faults(numbers: dict[str, Any]) -> list[str]:
    """What `check_data.strict` fails on, each in a few words."""
    lines = []
    if numbers["unreadable"]:
        lines.append(count(len(numbers["unreadable"]), "unreadable photo"))
    if numbers["missing"]:
        first = numbers["missing"][0]
        file, _, line = first["reason"].removesuffix(": not found").rpartition(": ")
        are = "is" if len(numbers["missing"]) == 1 else "are"
        lines.append(
            f"{count(len(numbers['missing']), 'photo')} of {Path(file).name} {are} missing, first "
            f"{first['path']} ({line})"
        )
    if numbers["left_out"]:
        first = numbers["left_out"][0]
        pictures = count(len(numbers["left_out"]), "picture")
        lines.append(f"{pictures} left out, first {first['path']} ({first['reason']})")
    if numbers["bad_masks"]:
        lines.append(
            f"{count(len(numbers['bad_masks']), 'bad mask')}, first {numbers['bad_masks'][0]}"
        )
    if numbers["refused"]:
        lines.append(f"training would refuse it ({numbers['refused']})")
    for name, word in (("lesion_id", "lesion"), ("patient_id", "patient")):
        if numbers["crossing"][name]:
            lines.append(f"{count(numbers['crossing'][name], word)} in more than one split")
    if numbers["leaking_pairs"]:
        lines.append(f"{count(numbers['leaking_pairs'], 'duplicate pair')} across two splits")
    if numbers["contradicting_pairs"]:
        pairs = count(numbers["contradicting_pairs"], "duplicate pair")
        lines.append(f"{pairs} with different labels")
    if numbers["contradicting_lesions"]:
        lesions = numbers["contradicting_lesions"]
        lines.append(f"{count(len(lesions), 'lesion')} with different labels, such as {lesions[0]}")
    return lines


def sentences(numbers: dict[str, Any]) -> list[str]:
    """Sentences for the head of the report and the terminal."""
    lines = [
        f"{count(numbers['photos'], 'photo')}, {numbers['labelled']:,} labelled, of "
        f"{count(numbers['lesions'], 'known lesion')} and "
        f"{count(numbers['patients'], 'known patient')}."
    ]
    faulty = faults(numbers)
    if faulty:
        lines.append(f"To put right: {'; '.join(faulty)}.")
    split = bool(set(SPLITS) & set(numbers["split_sizes"]))
    without_ids = not (numbers["lesions"] or numbers["patients"])
    if not faulty:
        kind = "equal file" if numbers["near_bits"] < 0 else "duplicate"
        leak = (f"no {kind} across splits" if without_ids else "no leak between splits") + ", "
        labels = "no contradicting labels found" if numbers["labelled"] else "no labels"
        lines.append(f"No unreadable photo, {leak if split else ''}{labels}.")
    if split and without_ids:
        lines.append(
            "No photo has a lesion or patient id: whether other photos of a test lesion are in "
            "training could not be checked, since two photos of one lesion needn't be duplicates."
        )
    if numbers["near_bits"] < 0:
        lines.append("Near duplicates were not looked for (check_data.near).")
    if not split:
        why = "" if numbers["refused"] else f"; splits: {numbers['splits']}"
        lines.append(f"Leaks between splits were not looked for{why}.")
    for row in numbers["duplicates"]:
        if not row["pairs"]:
            continue
        text = f"{count(row['pairs'], 'pair')}, {NAMES[row['kind']]}"
        if numbers["lesions"]:
            text += (
                f": {row['same_lesion']:,} of one lesion by its id, "
                f"{row['of_different_lesions']:,} of different ones"
            )
        lines.append(f"{text}; {row['across_splits']:,} across splits." if split else f"{text}.")
    if numbers["without_structure"]:
        lines.append(
            f"{count(numbers['without_structure'], 'photo')} without any structure (one colour): "
            "not compared with others."
        )
    if numbers["indistinct"]:
        lines.append(
            f"To the run's backbone {numbers['indistinct']:.0%} of the pairs of photos are alike: "
            "it can't tell photos apart (a collapsed run?), so that it judges no pair, label or "
            "topic."
        )
    for kind in numbers["cut"]:
        lines.append(f"The list of pairs ({NAMES[kind]}) was cut: lower the threshold.")
    return lines + suspects_report.sentences(numbers)


def _draw_pairs(folder: Path, findings: audit.Audit, dataset: Dataset, kind: str) -> bool:
    """A sheet of the pairs of one kind, first above second; whether there are some."""
    pairs = findings.pairs[findings.pairs["kind"] == kind].head(SHOWN_PAIRS)
    if not pairs.empty:
        rows = [
            [decode.decode(dataset.root / path, min_size=128) for path in pairs[side]]
            for side in ("path_a", "path_b")
        ]
        contact_sheet.write(folder / _file(kind), rows)
    return not pairs.empty


def _file(kind: str) -> str:
    return f"pairs_{kind.replace(' ', '_')}.png"

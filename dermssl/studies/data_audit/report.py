"""What an audit of a data set found, as sentences, numbers, tables and pictures."""

import numpy as np

from dermssl.core import atomic_files, runs
from dermssl.data import contact_sheet, decode
from dermssl.data.records import SPLITS
from dermssl.reporting import template_pages
from dermssl.reporting.wording import count
from dermssl.studies.data_audit import audit, figures

SHOWN_PAIRS = 10  # of a kind, in the pictures
LISTED = 20  # rows of a table in the report; the CSV has all
QUANTILES = (0, 0.05, 0.5, 0.95, 1)
NAMES = {
    audit.FILE: "the same file twice", audit.PIXELS: "the same pixels in two files",
    audit.NEAR: "near duplicates", audit.SIMILAR: "alike to the backbone",
}  # fmt: skip


def write(folder, found, dataset, settings):
    """check_data.json, duplicates.csv, crossing.csv, photos.csv, the pictures and the report.

    Args:
        folder: Path.
        found: `audit.Audit`.
        dataset: the `Dataset` that was audited.
        settings: dict: data, near_bits, bits, run, similarity, splits, command, notes.
    """
    numbers = summary(found, dataset, settings)
    atomic_files.write_csv(folder / "duplicates.csv", found.pairs)
    atomic_files.write_csv(folder / "crossing.csv", found.crossing)
    atomic_files.write_csv(folder / "photos.csv", found.photos)
    atomic_files.write_json(folder / "check_data.json", numbers)
    classes = audit.classes(dataset.index)
    figures.classes(folder / "classes.png", classes)
    figures.sizes(folder / "sizes.png", found.photos)
    figures.light(folder / "light.png", found.photos)
    pictures = {kind: _picture(folder, found, dataset, kind) for kind in audit.KINDS}
    template_pages.write(
        folder / "report.md",
        "check_data.md",
        numbers=numbers,
        settings=settings,
        classes=classes.to_dict("records"),
        columns=[name for name in classes if name != "class"],
        kinds=[row for row in numbers["duplicates"] if row["pairs"]],
        names=NAMES,
        pictures={kind: name for kind, name in pictures.items() if name},
        crossing=found.crossing.head(LISTED).to_dict("records"),
        conflicts=found.conflicts.head(LISTED).to_dict("records"),
        leaks=found.leaks.head(LISTED).to_dict("records"),
        listed=LISTED,
        versions=", ".join(f"{name} {text}" for name, text in numbers["versions"].items()),
    )


def summary(found, dataset, settings):
    """Every number of the report: the content of check_data.json."""
    photos = found.photos
    bad = photos[photos["error"] != ""]
    whole = photos[photos["error"] == ""]
    index = dataset.index
    crossing = found.crossing["kind"].value_counts().to_dict()
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
        "duplicates": audit.counts(found).to_dict("records"),
        "cut": list(found.cut),
        "crossing": {name: int(crossing.get(name, 0)) for name in ("lesion_id", "patient_id")},
        "leaking_pairs": len(found.leaks),
        "contradicting_pairs": len(found.conflicts),
        "contradicting_lesions": audit.contradicting_lesions(index),
        "versions": runs.versions(),
    }
    return numbers | {"faults": faults(numbers), "findings": findings(numbers)}


def faults(numbers):
    """What `--strict` fails on, each in a few words."""
    said = []
    if numbers["unreadable"]:
        said.append(count(len(numbers["unreadable"]), "unreadable photo"))
    for name, word in (("lesion_id", "lesion"), ("patient_id", "patient")):
        if numbers["crossing"][name]:
            said.append(f"{count(numbers['crossing'][name], word)} in more than one split")
    if numbers["leaking_pairs"]:
        said.append(
            count(numbers["leaking_pairs"], "duplicate pair") + " across two splits"
        )  # fmt: skip
    if numbers["contradicting_pairs"]:
        said.append(
            count(numbers["contradicting_pairs"], "duplicate pair") + " with different labels"
        )
    if numbers["contradicting_lesions"]:
        lesions = numbers["contradicting_lesions"]
        said.append(f"{count(len(lesions), 'lesion')} with different labels, such as {lesions[0]}")
    return said


def findings(numbers):
    """Sentences for the head of the report and the terminal."""
    said = [
        f"{count(numbers['photos'], 'photo')}, {numbers['labelled']:,} labelled, of "
        f"{count(numbers['lesions'], 'known lesion')} and "
        f"{count(numbers['patients'], 'known patient')}."
    ]
    faulty = faults(numbers)
    if faulty:
        said.append(f"To put right: {'; '.join(faulty)}.")
    split = bool(set(SPLITS) & set(numbers["split_sizes"]))
    without_ids = not (numbers["lesions"] or numbers["patients"])
    if not faulty:
        kind = "equal file" if numbers["near_bits"] < 0 else "duplicate"
        leak = (f"no {kind} across splits" if without_ids else "no leak between splits") + ", "
        labels = "no contradicting labels found" if numbers["labelled"] else "no labels"
        said.append(f"No unreadable photo, {leak if split else ''}{labels}.")
    if split and without_ids:
        said.append(
            "No photo has a lesion or patient id: whether other photos of a test lesion are in "
            "training could not be checked, since two photos of one lesion needn't be duplicates."
        )
    if numbers["near_bits"] < 0:
        said.append("Near duplicates were not looked for (--near).")
    if not split:
        said.append(f"Leaks between splits were not looked for; splits: {numbers['splits']}.")
    for row in numbers["duplicates"]:
        if not row["pairs"]:
            continue
        text = f"{count(row['pairs'], 'pair')}, {NAMES[row['kind']]}"
        if numbers["lesions"]:
            text += (
                f": {row['same_lesion']:,} of one lesion by its id, "
                f"{row['of_different_lesions']:,} of different ones"
            )
        said.append(f"{text}; {row['across_splits']:,} across splits." if split else f"{text}.")
    if numbers["without_structure"]:
        said.append(
            f"{count(numbers['without_structure'], 'photo')} without any structure (one colour): "
            "not compared with others."
        )
    for kind in numbers["cut"]:
        said.append(f"The list of pairs ({NAMES[kind]}) was cut: lower the threshold.")
    return said


def _picture(folder, found, dataset, kind):
    """A sheet of the pairs of one kind, first above second; its name, "" where there is none."""
    own = found.pairs[found.pairs["kind"] == kind].head(SHOWN_PAIRS)
    if own.empty:
        return ""
    rows = [
        [decode.decode(dataset.root / path, min_size=128) for path in own[side]]
        for side in ("path_a", "path_b")
    ]
    name = f"pairs_{kind.replace(' ', '_')}.png"
    contact_sheet.write(folder / name, rows)
    return name

"""Answers about data and participants, from a run's files.

Each function gets a `Citing` and returns a sentence or two. It takes every number through it, so
that a form can tell from where; where something isn't there it raises `MissingFact`.
"""

from __future__ import annotations

import math

from dermssl.data.records import SPLITS, SYNTHETIC
from dermssl.reporting.wording import count
from dermssl.studies.forms.evidence import FLOW, METRICS, PEOPLE, TAXONOMY, Citing, MissingFact
from dermssl.studies.forms.participants import MALIGNANT, MISSING


def objectives(c: Citing) -> str:
    """What was made and tested."""
    return (
        f"A classifier of {count(len(c(TAXONOMY, 'fine')), 'diagnosis', 'diagnoses')} was "
        f"developed ({c.status('command')}) and evaluated on the {c(METRICS, 'split')} split of "
        "the same data."
    )


def data_sources(c: Citing) -> str:
    """How many records, from which sources."""
    text = (
        f"{count(c.people('photos', 'all', 'all'), 'photo')} of the run's records, data hash "
        f"{c.status('data_hash')}."
    )
    sources = {name: n for name, n in c(PEOPLE, "source").items() if name != MISSING}
    if sources:
        listed = ", ".join(f"{name} ({n['all']:,})" for name, n in sources.items())
        text += f" Sources by the records: {listed}."
    return text


def eligibility(c: Citing) -> str:
    """Which records could be used."""
    return (
        f"{_found(c)}A record needs a readable photo; one without a label is not scored. "
        f"{c(FLOW, 'left_out_rare_classes'):,} photos were left out for a rare class: a class "
        "with fewer lesions than splits stops the run."
    )


def _found(c):
    found = c.maybe(FLOW, "found")
    if found is None:
        return ""
    return (
        f"{count(found, 'photo')} were found; {c(FLOW, 'without_row'):,} had no row in the table "
        f"and {c(FLOW, 'unreadable'):,} were unreadable. "
    )


def flow(c: Citing) -> str:
    """How many photos reached each split."""
    splits = ", ".join(
        f"{c(FLOW, 'in_splits', name):,} in {name}"
        for name in SPLITS
        if name != "train" or c.evidence.get(FLOW, "all_records_predicted")
    )
    return (
        f"{_found(c)}{c(FLOW, 'records_in_predictions'):,} records were predicted, "
        f"{c(FLOW, 'unlabelled'):,} without a label: {splits}. The flow is drawn in flow.png."
    )


def subsets(c: Citing) -> str:
    """How many labels were used."""
    held = c.maybe(FLOW, "labels_held_back")
    text = f"{c.status('n_labels'):,} labels were used in training"
    text += f"; {held:,} labels of training photos were held back on purpose." if held else "."
    return text + " Whole photos were used, but for the steps named under preprocessing."


def preprocessing(c: Citing) -> str:
    """From the photo to the network's input."""
    size, steps = c.setting("backbone", "image_size"), c.setting("data", "preprocess")
    done = f"Steps: {', '.join(steps)}. " if steps else ""
    return (
        f"{done}The photo's central square is resized to {size} x {size} px; the backbone's own "
        "scaling of the pixels is part of the model. All records go the same way. Unreadable "
        f"photos: {c.setting('data', 'on_bad')}."
    )


def outcome(c: Citing) -> str:
    """The classes."""
    classes = c(TAXONOMY, "fine")
    names = ", ".join(f"{entry.get('title') or name} ({name})" for name, entry in classes.items())
    return f"The diagnosis, one of {len(classes)}: {names}."


def predictors(c: Citing) -> str:
    """What the model sees."""
    return (
        f"The pixels of one photo, {c.setting('backbone', 'image_size')} px a side. No age, sex, "
        "site, skin tone or other information about the patient enters the model."
    )


def sample_size(c: Citing) -> str:
    """Photos and lesions by split."""
    parts = []
    for split in SPLITS:
        photos = c.maybe(PEOPLE, "photos", "all", split)
        if photos:
            text = f"{split}: {count(photos, 'photo')}"
            lesions = c.maybe(PEOPLE, "lesions", "all", split)
            text += f" of {count(lesions, 'known lesion')}" if lesions else ""
            parts.append(text)
    if not parts:
        raise MissingFact("no split has photos")
    return (
        f"{'; '.join(parts)}. {c.status('n_labels'):,} labels in training. Independent in the "
        f"test: {count(c(METRICS, 'n_groups'), c(METRICS, 'grouped_by'))}."
    )


def missing(c: Citing) -> str:
    """Missing values by column."""
    photos = c.people("photos", "all", "all")
    counted = ", ".join(
        f"{name} {c.people(name, MISSING, 'all'):,}"
        for name in ("age", "sex", "site", "skin tone", "reference standard")
    )
    return (
        f"Of {count(photos, 'photo')} the records lack: {counted}. Nothing was filled in. These "
        "columns don't enter the model; a subgroup leaves out the records that lack its column."
    )


def partitions(c: Citing) -> str:
    """How the splits were made."""
    return (
        f"Shares {c.setting('data', 'validation'):g} for validation and "
        f"{c.setting('data', 'test'):g} for the test, unless the data brought splits of their own; "
        f"split seed {c.setting('data', 'split_seed')}, stratified by class, grouped by "
        f"{_unit(c)}. Validation chose the epoch, the calibration and the thresholds; the test "
        "split was predicted at the end."
    )


def _unit(c):
    by = c.setting("data", "group_by")
    return "the patient where known, else the lesion, else the photo" if by == "auto" else by


def disjoint(c: Citing) -> str:
    """What no two splits share."""
    lesions = c.people("lesions", "photos without lesion_id", "all")
    patients = c.people("patients", "photos without patient_id", "all")
    return (
        f"Grouped by {_unit(c)}: no photo, known lesion or known patient is in two splits (the run "
        f"refuses it). {lesions:,} photos have no lesion id and {patients:,} no patient id; for "
        "those it can't be known."
    )


def class_shares(c: Citing) -> str:
    """Photos of each class by split."""
    lines = []
    for split in SPLITS:
        if not c.maybe(PEOPLE, "photos", "all", split):
            continue
        classes = {name: n for name, n in c(PEOPLE, "class").items() if name != MISSING}
        shares = ", ".join(f"{name} {n[split]:,}" for name, n in classes.items())
        lines.append(f"{split}: {shares}")
    if not lines:
        raise MissingFact("no split has photos")
    return f"Photos a class: {'; '.join(lines)}."


def characteristics(c: Citing) -> str:
    """Age, sex, site and skin tone of the test split."""
    split = "test"
    photos = c.people("photos", "all", split)
    text = f"By split in participants.csv. Test ({count(photos, 'photo')}): "
    median = c.maybe(PEOPLE, "age", "median", split)
    if median is not None and not math.isnan(median):
        low, high = (c.people("age", q, split) for q in ("lower quartile", "upper quartile"))
        text += f"age {median:g} years (quartiles {low:g} to {high:g}), "
    text += f"unknown for {c.people('age', MISSING, split):,}; "
    return text + "; ".join(
        f"{name}: {_listed(c, name, split)}" for name in ("sex", "site", "skin tone")
    ) + "."  # fmt: skip


def _listed(c, characteristic, split):
    levels = c(PEOPLE, characteristic)
    return ", ".join(f"{level} {n[split]:,}" for level, n in levels.items())


def skin_tone(c: Citing) -> str:
    """Skin tones of the test split."""
    if c.people("skin tone", MISSING, "all") == c.people("photos", "all", "all"):
        raise MissingFact("no skin tone is known")
    return f"Test split: {_listed(c, 'skin tone', 'test')}."


def reference_standard(c: Citing) -> str:
    """How the diagnoses were made."""
    return _standard(c, "all")


def reference_standard_test(c: Citing) -> str:
    """The same, of the test split."""
    return _standard(c, "test")


def _standard(c, split):
    if c.people("reference standard", MISSING, "all") == c.people("photos", "all", "all"):
        raise MissingFact("the records don't say how diagnoses were made")
    name = "all records" if split == "all" else f"the {split} split"
    return f"How the diagnoses of {name} were made: {_listed(c, 'reference standard', split)}."


def histopathology(c: Citing) -> str:
    """How many photos of malignant classes histopathology proved."""
    levels = c(PEOPLE, MALIGNANT)
    proved = next((name for name in levels if name.lower().startswith("hist")), None)
    if proved is None:
        raise MissingFact("no record of a malignant class names histopathology")
    return (
        f"{levels[proved]['all']:,} of {count(c.people(MALIGNANT, 'all', 'all'), 'photo')} of "
        f"malignant classes were proved by histopathology ({proved})."
    )


def synthetic(c: Citing) -> str:
    """How many photos are drawings."""
    sources = c(PEOPLE, "source")
    n = sources.get(SYNTHETIC, {}).get("all", 0)
    photos = c.people("photos", "all", "all")
    if n:
        return f"{n:,} of {count(photos, 'photo')} are drawings of this toolkit, not skin."
    if unknown := sources.get(MISSING, {}).get("all", 0):
        raise MissingFact(f"{unknown:,} of {count(photos, 'photo')} have no source in the records")
    return f"None of {count(photos, 'photo')} is marked as synthetic by the records' sources."

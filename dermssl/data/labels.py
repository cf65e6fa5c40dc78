"""Make a taxonomy and `fine` and `coarse` columns from the labels of a data set."""

import logging
import unicodedata
from pathlib import Path

import pandas as pd

from dermssl.core import left_out, taxonomy
from dermssl.core.errors import UserError
from dermssl.core.taxonomy import Taxonomy
from dermssl.data import class_map, paths
from dermssl.data.csv_tables import quoted

log = logging.getLogger(__name__)


def resolve(
    records: pd.DataFrame,
    option: str,
    root: Path,
    built_in: str | Taxonomy | None = None,
    origin: Path | None = None,
) -> tuple[pd.DataFrame, Taxonomy | None]:
    """Choose the taxonomy, check each label against it, and fill coarse from fine.

    `auto` takes the folder's own `taxonomy.toml`, else the reader's `built_in`, else one
    derived from a coarse column, else a flat one with the labels in alphabetical order. Labels
    that differ in case, space or Unicode form alone are one.

    Args:
        records: table with `path`, and `fine` and `coarse` where known, indexed by line.
        option: the setting `data.taxonomy`: "auto", a name or a file.
        root: the data folder.
        built_in: the taxonomy that belongs to the reader, or its name, or None.
        origin: the table file that the labels come from, or None for folder names.

    Returns:
        `(records, Taxonomy)`; the taxonomy is None where nothing is labelled.
    """
    records = records.assign(**{name: _clean(records, name) for name in ("fine", "coarse")})
    own = paths.path_inside(root, "taxonomy.toml")
    if option != "auto":
        classes, where = taxonomy.load(option), f"taxonomy '{option}'"
    elif own.is_file():
        classes, where = taxonomy.load(own), str(own)
    elif isinstance(built_in, Taxonomy):
        classes, where = built_in, f"taxonomy '{built_in.name}'"
    elif built_in:
        classes, where = taxonomy.load(built_in), f"taxonomy '{built_in}'"
    else:
        classes, where = None, "the other rows"
    if not ((records["fine"] != "") | (records["coarse"] != "")).any():
        return records, None
    known = ((), ()) if classes is None else (classes.fine, classes.coarse)
    for name, valid in zip(("fine", "coarse"), known):
        records = _joined(records, name, valid, origin or root)
    if classes is None:
        if not (records["fine"] != "").any():  # groups only: they are the classes
            records = records.assign(fine=records["coarse"])
        classes = _from_records(records, origin)
        _tell_near_twins(classes, origin or root)
    for name, kind, valid in (
        ("fine", "label", classes.fine),
        ("coarse", "coarse", classes.coarse),
    ):
        wrong = records[(records[name] != "") & ~records[name].isin(valid)]
        if len(wrong):
            _unknown(wrong, name, kind, valid, where, origin)
    parents = dict(zip(classes.fine, classes.parents))
    parent = records["fine"].map(parents).fillna("").astype(str)
    clash = (parent != "") & (records["coarse"] != "") & (parent != records["coarse"])
    if clash.any():
        row = records[clash].iloc[0]
        raise UserError(
            f"{_place(row, origin)}: label {quoted(row['fine'])} with coarse "
            f"{quoted(row['coarse'])}, but {where} puts it under {quoted(parents[row['fine']])}; "
            "correct one of the two"
        )
    return records.assign(coarse=records["coarse"].where(records["coarse"] != "", parent)), classes


def _clean(records, name):
    """The labels stripped and in one Unicode form, so that equal-looking ones are equal."""
    if name not in records:
        return ""
    forms = {label: paths.nfc(label).strip() for label in records[name].unique()}
    odd = next((label for label, form in forms.items() if not form.isprintable()), None)
    if odd is not None:
        row = records[records[name] == odd].iloc[0]
        raise UserError(f"{row['path']}: label {quoted(odd)} has odd characters; rewrite it")
    return records[name].map(forms).astype(str)


def _from_records(records, origin):
    """A taxonomy out of the labels: derived where a coarse column gives parents, else flat."""
    labels = sorted(set(records["fine"]) - {""})
    known = records[(records["fine"] != "") & (records["coarse"] != "")]
    pairs = known.drop_duplicates(["fine", "coarse"])
    if pairs.empty and not (records["coarse"] != "").any():
        return taxonomy.flat(labels)
    twice = pairs[pairs.duplicated("fine")]
    if len(twice):
        row = twice.iloc[0]
        first = pairs[pairs["fine"] == row["fine"]].iloc[0]
        raise UserError(
            f"{_place(row, origin)}: label {quoted(row['fine'])} is under coarse "
            f"{quoted(row['coarse'])} for '{row['path']}' and under {quoted(first['coarse'])} for "
            f"'{first['path']}'; a label has one group: correct one, or rename the label"
        )
    parents = dict(zip(pairs["fine"], pairs["coarse"]))
    orphan = next((label for label in labels if label not in parents), None)
    if orphan is not None:
        row = records[records["fine"] == orphan].iloc[0]
        raise UserError(
            f"{_place(row, origin)}: label {quoted(orphan)} has no group in the column coarse, "
            "which is in use; name its group, or give data.taxonomy"
        )
    if all(label == parent for label, parent in parents.items()):
        return taxonomy.flat(labels)
    fine = {label: {"coarse": parents[label]} for label in labels}
    return taxonomy.from_dict({"name": "derived", "fine": fine})


def _joined(records, name, valid, place):
    """The records with one spelling of each label: the valid one, else the most common."""
    counts = records[name][records[name] != ""].value_counts()
    spelled = {}
    # Of two that are as common, small letters come first.
    given = sorted(counts.index, key=lambda label: (-counts[label], label.swapcase()))
    for label in (*valid, *given):
        spelled.setdefault(spelling(label), label)
    new = {label: spelled[spelling(label)] for label in counts.index if label not in valid}
    others = [f"{quoted(a)} ({counts[a]:,}) as {quoted(b)}" for a, b in new.items() if a != b]
    if not others:
        return records
    left_out.tell(
        log,
        f"{place}: labels that differ in case, space or Unicode form alone are taken as one: "
        f"{left_out.few(sorted(others))}",
    )
    return records.assign(**{name: records[name].replace(new)})


def spelling(label: str) -> str:
    """What all spellings of a label share: no capitals, plain spaces and letters.

    Example:

    >>> spelling(" Basal\\xa0 Cell") == spelling("basal cell")
    True
    """
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _tell_near_twins(classes, place):
    """Say which classes differ in signs, accents or the plural alone; they may be meant so."""
    alike = {}
    for label in classes.fine:
        alike.setdefault(class_map.plain_name(label), []).append(label)
    # Names in other scripts have no letters left.
    twins = [" and ".join(map(quoted, same)) for key, same in alike.items() if key and same[1:]]
    if twins:
        left_out.tell(
            log,
            f"{place}: may be one class in two spellings: {left_out.few(twins)}; write them alike "
            "if they are",
        )


def _unknown(wrong, name, kind, valid, where, origin):
    row = wrong.iloc[0]
    label = row[name]
    more = f" ({len(wrong)} photos)" if len(wrong) > 1 else ""
    raise UserError(
        f"{_place(row, origin)}: unknown {kind} {quoted(label)} for '{row['path']}'{more}; "
        f"{where} knows: {', '.join(valid)}"
    )


def _place(row, origin):
    return f"{origin}: line {row.name}" if origin else f"folder of '{row['path']}'"

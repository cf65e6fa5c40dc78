"""One word for one thing in the tables of all data sets: sex, skin tone, age, unknown."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dermssl.core import left_out
from dermssl.core.errors import UserError
from dermssl.data import csv_tables

MAX_AGE = 120  # years
MOSTLY = 0.5  # of the lesion ids are of several patients, or of the patients named: no slips
NAME = re.compile(r"(?=.*[^\W\d_]{2})[^\d_]+")  # letters, and no number
OWN_NUMBERS = ("source", "split")  # -1 may be one of them
# What people write where they have nothing, besides words for "unknown".
NO_WORD = (
    *csv_tables.UNKNOWN, "-", "--", ".", "n.a.", "#n/a", "k.a.", "tbd", "missing", "not available",
    "unbekannt",
)  # fmt: skip
MALE = ("m", "male", "man", "mann", "homme", "hombre", "maschio", "masculino", "männlich", "varón")
FEMALE = (
    "f", "female", "woman", "w", "frau", "femenino", "feminino", "femme", "femmina", "mujer",
    "weiblich",
)  # fmt: skip
SEX = dict.fromkeys(MALE, "male") | dict.fromkeys(FEMALE, "female")
BAND = re.compile(r"(\d+) ?(?:-|–|to) ?(\d+)")  # 40-49
OPEN = re.compile(r"(?:[>≥]=? ?(\d+)|(\d+) ?\+)")  # 85+, >85
FITZPATRICK = ("I", "II", "III", "IV", "V", "VI")
# The types as tables write them: III, 3, 3.0 (before this table, ".0" goes) and FST3.
FITZPATRICK_WORDS = {
    word: tone for number, tone in enumerate(FITZPATRICK, 1)
    for word in (tone.lower(), str(number), f"fst{number}")
}  # fmt: skip
NO_TONE = ("", "-1", "none_selected", *csv_tables.UNKNOWN)

log = logging.getLogger(__name__)


def clean(records: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Records without words for "unknown", sex as male or female, ages checked.

    Args:
        records: text columns of the index, indexed by line. Labels stay as they are.
        file: the table, for errors.

    Raises:
        UserError: an age is no number of years.

    Example:

    >>> table = pd.DataFrame({"sex": ["F", "MALE", "unknown"], "age": ["55.0", "40", ""]})
    >>> clean(table, Path("labels.csv")).to_numpy().tolist()
    [['female', '55'], ['male', '40'], ['', '']]
    """
    records = records.copy()
    for name in records.columns.difference(["path", "fine", "coarse"]):
        unknown = NO_WORD if name in OWN_NUMBERS else (*NO_WORD, "-1")
        records[name] = records[name].mask(records[name].str.lower().isin(unknown), "")
    if "split" in records:
        records["split"] = records["split"].str.lower()
    if "sex" in records:
        given = records["sex"].str.lower()
        # In Spanish M is mujer, beside H for hombre or V for varón.
        spanish = bool(given.isin(("h", "v", "hombre", "mujer", "varón")).any())
        words = given.map(SEX).mask(given.eq("m") & spanish)
        records["sex"] = words.where(words.notna(), records["sex"])
    if "patient_id" in records:
        _tell_names(records["patient_id"], file)
    if {"lesion_id", "patient_id"} <= {*records}:
        records["lesion_id"] = _lesions(records, file)
    if "age" in records:
        years = {text: _age(text) for text in records["age"].unique()}
        if odd := [text for text, age in years.items() if age is None]:
            line = records.index[records["age"] == odd[0]][0]
            raise UserError(
                f"{file}: line {line}: age {csv_tables.quoted(odd[0])}; "
                f"write years from 0 to {MAX_AGE}, or leave it blank"
            )
        bands = records["age"].map(lambda text: bool(BAND.fullmatch(text) or OPEN.fullmatch(text)))
        if bands.any():
            left_out.tell(
                log,
                f"{file}: {bands.sum():,} ages are bands, such as "
                f"{csv_tables.quoted(records['age'][bands].iloc[0])}: taken as the band's middle, "
                "of an open one as its end",
            )
        records["age"] = records["age"].map(years)
    return records


def _tell_names(column, file):
    """Say that patients are named, where they are: ids are copied into runs and reports."""
    ids = [text for text in column.unique() if text]
    names = sum(bool(NAME.fullmatch(text)) for text in ids)
    if names > MOSTLY * len(ids):
        left_out.tell(
            log,
            f"{file}: {names:,} of {len(ids):,} patient ids look like names; runs and reports copy "
            "them: write pseudonyms instead",
        )


def _lesions(records, file):
    """Lesion ids, with the patient's before those that begin anew in each patient.

    Hospitals number so: 1, 2, 3. Taken as ids, they would tie all patients together.
    """
    known = records[(records["lesion_id"] != "") & (records["patient_id"] != "")]
    patients = known.groupby("lesion_id")["patient_id"].nunique()
    if not len(patients) or (patients > 1).mean() < MOSTLY:
        return records["lesion_id"]
    left_out.tell(
        log,
        f"{file}: {(patients > 1).sum():,} of {len(patients):,} lesion ids, such as "
        f"{csv_tables.quoted(patients.idxmax())}, are those of several patients: lesions are taken "
        "as numbered within each patient",
    )
    both = records["patient_id"] + "/" + records["lesion_id"]
    return both.where(records.index.isin(known.index), records["lesion_id"])


def _age(text):
    """Years as text: "55" for "55.0", "45" for "40-50", "85" for "85+"; None for no years."""
    if not text:
        return ""
    if band := BAND.fullmatch(text):
        low, high = map(int, band.groups())
        years = (low + high) / 2 if low < high <= MAX_AGE else math.nan
    elif end := OPEN.fullmatch(text):
        years = float(end[1] or end[2])
    else:
        try:
            years = float(text.replace(",", "."))
        except ValueError:
            return None
        if "_" in text:  # Python's own way to write numbers
            return None
    return repr(years).removesuffix(".0") if 0 <= years <= MAX_AGE else None


def skin_tones(column: pd.Series, words: Mapping[str, str], file: Path) -> pd.Series:
    """A data set's skin tones in one spelling; those that aren't in its scale are left blank.

    Args:
        column: text, indexed by line.
        words: the scale, its words in lower case -> how they are written here.
        file: the table, for the line that says how many aren't in the scale.

    Example:

    >>> skin_tones(pd.Series(["3.0", "FST6", "-1"]), FITZPATRICK_WORDS, Path("x.csv")).tolist()
    ['III', 'VI', '']
    """
    plain = column.str.lower().str.removesuffix(".0")
    tones = plain.map(words).fillna("").astype(str)
    odd = column[(tones == "") & ~plain.isin(NO_TONE)]
    if len(odd):
        left_out.tell(
            log,
            f"{file}: {len(odd):,} skin tones are left blank, such as "
            f"{csv_tables.quoted(odd.iloc[0])} in line {odd.index[0]}: not in the data set's scale",
        )
    return tones

"""Write the synthetic data set: drawn skin-lesion photos for demos, tests and benchmarks.

HAM10000 in small and without a download: its seven diagnoses and their imbalance, several
photos a lesion, several lesions a patient, all Fitzpatrick skin tones, and the usual
artefacts. It is drawn, not diagnosed: a score on it says that the machinery works, never
that a model would help a patient.

Patient, lesion and photo each have a random stream of their own, keyed by (seed, number).
So record k is the same whatever `n` is: a smaller set is the start of a larger one.
"""

import itertools
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from dermssl.core import taxonomy
from dermssl.core.errors import UserError
from dermssl.data.records import SYNTHETIC
from dermssl.data.synthetic.camera import photograph
from dermssl.data.synthetic.lesions import scene

COLUMNS = [  # of labels.csv
    *("filename", "label", "coarse", "lesion_id", "patient_id"),
    *("site", "sex", "age", "skin_tone", "source"),
]

# Lesions of each class in every 50. HAM10000 has 67, 11, 11, 5, 3.3, 1.4 and 1.1 in 100; the
# two rarest are held at one in 50, which gives at least a dozen lesions of each at n >= 1000.
BLOCK = {"nv": 32, "mel": 6, "bkl": 5, "bcc": 3, "akiec": 2, "vasc": 1, "df": 1}

LESIONS_OF_PATIENT = (0.55, 0.22, 0.12, 0.07, 0.04)  # chance of 1, 2, ... 5
PHOTOS_OF_LESION = (0.75, 0.17, 0.06, 0.02)  # chance of 1, 2, 3, 4; the mean is 1.35

# The set opens with one lesion of each class, so this many photos always show them all.
MIN_RECORDS = len(BLOCK) * len(PHOTOS_OF_LESION)
MIN_SIZE = 24  # pixels; below it no dermoscopic structure is left

SKIN_TONES = {"I": 0.17, "II": 0.36, "III": 0.27, "IV": 0.11, "V": 0.06, "VI": 0.03}
# Shares of HAM10000's localizations. Site, sex and age say nothing about the class here.
SITES = {
    "back": 0.24,
    "lower extremity": 0.22,
    "trunk": 0.15,
    "upper extremity": 0.12,
    "abdomen": 0.10,
    "face": 0.08,
    "chest": 0.04,
    "foot": 0.03,
    "neck": 0.02,
}

PATIENT, LESION, PHOTO, CLASSES = range(4)  # kinds of random stream


def stream(seed, kind, number):
    """The generator of one patient, lesion, photo or block of classes."""
    key = np.array([seed, kind << 48 | number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def records(n=2000, seed=0):
    """The rows of the data set without its pixels: a DataFrame of n rows with `COLUMNS`."""
    _check(n, MIN_SIZE, seed)
    return pd.DataFrame((row for _, row in itertools.islice(_photos(seed), n)), columns=COLUMNS)


def generate(n=2000, size=64, seed=0):
    """Draw the data set in memory.

    Args:
        n: number of photos, at least `MIN_RECORDS`.
        size: pixels a side, at least `MIN_SIZE`.
        seed: 0 to 2**63 - 1; another seed, another data set.

    Returns:
        images: uint8 (n, size, size, 3) RGB.
        table: DataFrame of n rows with `COLUMNS`; row k belongs to image k.
    """
    _check(n, size, seed)
    images, rows = np.empty((n, size, size, 3), np.uint8), []
    for number, (row, image) in enumerate(_drawn(n, size, seed)):
        images[number] = image
        rows.append(row)
    return images, pd.DataFrame(rows, columns=COLUMNS)


def write(folder, n=2000, size=64, seed=0):
    """Write the data set as `images/SYN_000000.jpg ...` and `labels.csv`.

    Writing again gives the same bytes; photos of a larger set written before are removed.
    `labels.csv` comes last, so a folder that has one is whole.

    Args:
        folder: made if it isn't there; file names in `labels.csv` are relative to it.
        n, size, seed: as for `generate`.

    Returns:
        The folder, a `Path`.
    """
    _check(n, size, seed)
    folder = Path(folder)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: can't make this folder ({error.strerror})") from error
    labels = folder / "labels.csv"
    labels.unlink(missing_ok=True)
    rows = []
    for row, image in _drawn(n, size, seed):
        _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        (folder / row["filename"]).write_bytes(code.tobytes())
        rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS)
    current = {folder / name for name in table["filename"]}
    for stale in set(folder.glob("images/SYN_??????.jpg")) - current:
        stale.unlink()
    unfinished = folder / "labels.csv.tmp"
    table.to_csv(unfinished, index=False, lineterminator="\n")
    shutil.copy(taxonomy.BUILT_IN / "ham10000.toml", folder / "taxonomy.toml")
    os.replace(unfinished, labels)
    return folder


def _drawn(n, size, seed):
    """(row, uint8 (size, size, 3)) for the first n photos; each lesion is painted once."""
    painted = None
    for number, (lesion, row) in enumerate(itertools.islice(_photos(seed), n)):
        if lesion != painted:
            rng = stream(seed, LESION, lesion)
            subject, painted = scene(rng, row["label"], row["skin_tone"], size), lesion
        yield row, photograph(stream(seed, PHOTO, number), subject, size)


def _photos(seed):
    """(lesion number, row of `COLUMNS`) for every photo of the endless data set, in order."""
    classes = taxonomy.load("ham10000")
    coarse = dict(zip(classes.fine, classes.parents))
    labels, lesion, photo = _labels(seed), 0, 0
    for patient in itertools.count():
        rng = stream(seed, PATIENT, patient)
        person = {
            "patient_id": f"PAT_{patient:06d}",
            "sex": str(rng.choice(["female", "male"])),
            "age": int(np.clip(5 * round(rng.normal(52, 17) / 5), 5, 85)),  # in steps of 5
            "skin_tone": _pick(rng, SKIN_TONES),
        }
        for _ in range(1 + rng.choice(len(LESIONS_OF_PATIENT), p=LESIONS_OF_PATIENT)):
            label, site = next(labels), _pick(rng, SITES)
            row = {"label": label, "coarse": coarse[label], "lesion_id": f"LES_{lesion:06d}"}
            for _ in range(1 + rng.choice(len(PHOTOS_OF_LESION), p=PHOTOS_OF_LESION)):
                name = f"images/SYN_{photo:06d}.jpg"
                yield lesion, {"filename": name, **row, **person, "site": site, "source": SYNTHETIC}
                photo += 1
            lesion += 1


def _labels(seed):
    """The class of each lesion: `BLOCK` shuffled, over and over; one of each class first."""
    pool = [label for label, count in BLOCK.items() for _ in range(count)]
    for number in itertools.count():
        block = [str(label) for label in stream(seed, CLASSES, number).permutation(pool)]
        if number == 0:
            opening = dict.fromkeys(block)
            for label in opening:
                block.remove(label)
            block = [*opening, *block]
        yield from block


def _pick(rng, shares):
    return str(rng.choice(list(shares), p=list(shares.values())))


def _check(n, size, seed):
    limits = {"n": (n, MIN_RECORDS, 999_999), "size": (size, MIN_SIZE, 1024)}
    limits["seed"] = (seed, 0, 2**63 - 1)
    for name, (value, low, high) in limits.items():
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise UserError(
                f"synthetic data: {name} is {value!r}; give a whole number from {low} to {high}"
            )

"""Rank photos by how far they stand from the others: pages of text, noise, landscapes.

With embeddings by the distance to the k-th nearest neighbour (Ramaswamy et al. 2000); a
few off-topic photos of one kind are no neighbours enough for one another. Without, by simple
measures of the pixels. A rare diagnosis or another camera stands apart, too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

NEIGHBOUR = 10  # k: fewer copies of an off-topic photo than this don't hide one another
ROWS = 512  # of a chunk of the distances
# Robust standard deviations from the median, from which a photo stands apart by its embedding,
# or by a measure of its pixels. Of 8,014 photos of HAM10000 15 are beyond the first.
APART, ODD = 4.0, 5.0
TINY = 64  # pixels of the shorter side; below, and below half the usual, a photo is tiny
UNIFORM = 6.0  # grey levels; a photo that varies less is nearly one colour
# Of each measure: the least spread, so that equal photos make no stranger of a small step, and
# the words for below and above.
MEASURES = {
    "brightness": (2.0, "unusually dark", "unusually bright"),
    "contrast": (2.0, "unusually flat", "unusually contrasty"),
    "warmth": (2.0, "unusually little red against blue", "unusually much red against blue"),
    "detail": (0.5, "unusually smooth", "unusually rough"),
    "shape": (0.05, "unusually narrow", "unusually wide"),
}


def distances(features: np.ndarray, k: int = NEIGHBOUR) -> np.ndarray:
    """float (n,): the distance to the k-th nearest other photo, of embeddings of length 1.

    The mean stays in: it is what all photos of the topic have in common. Nine planted pages,
    landscapes, noises and drawings among 8,014 photos of HAM10000 (a MobileNet with ImageNet
    weights) take ranks 1 to 8 and 22; without the mean 7 to 3,984.

    Args:
        features: float (n, d).
        k: int; of fewer photos the farthest one counts.

    >>> distances(np.array([[1.0, 0], [2, 0], [3, 0], [-1, 0]]), k=1).round(3).tolist()
    [0.0, 0.0, 0.0, 2.0]
    """
    vectors = np.asarray(features, np.float32)
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    k = min(k, len(vectors) - 1)
    if k < 1:
        return np.zeros(len(vectors))
    parts = []
    for start in range(0, len(vectors), ROWS):
        cosine = vectors[start : start + ROWS] @ vectors.T
        rows = np.arange(len(cosine))
        cosine[rows, start + rows] = -np.inf  # no photo is its own neighbour
        nearest = -np.partition(-cosine, k - 1, axis=1)[:, k - 1]
        parts.append(np.sqrt(np.maximum(0, 2 - 2 * nearest)))
    return np.concatenate(parts)


def robust_z(values: np.ndarray, least: float = 1e-9) -> np.ndarray:
    """How far each value lies from the median, in units of 1.4826 times the median deviation.

    The unit is `least` at least.

    >>> robust_z(np.array([0.0, 1, 2, 3, 100])).round(1).tolist()
    [-1.3, -0.7, 0.0, 0.7, 66.1]
    """
    values = np.asarray(values, float)
    if not len(values):
        return values
    centre = np.nanmedian(values)
    spread = 1.4826 * np.nanmedian(np.abs(values - centre))
    return (values - centre) / max(spread, least)


def find(seen: pd.DataFrame, features: np.ndarray | None) -> pd.DataFrame:
    """Readable photos: those of one colour and tiny ones, then those that stand most apart.

    Args:
        seen: `perceptual_hash.Survey.table`.
        features: float (n, d), embeddings of the same rows, or None.

    Returns:
        DataFrame: row, distance, times_median (NaN without embeddings), score (robust standard
        deviations), apart (bool), reasons (of the pixels, in words).
    """
    rows = np.flatnonzero((seen["error"] == "").to_numpy())
    own = seen.iloc[rows]
    z = pd.DataFrame(
        {name: robust_z(_measure(own, name), least) for name, (least, *_) in MEASURES.items()}
    )
    reasons, plain = _reasons(own, z)
    table = pd.DataFrame({"row": rows, "distance": np.nan, "times_median": np.nan})
    by_pixels = z.abs().max(axis=1).to_numpy() if len(z) else np.zeros(0)
    if features is None:
        table["score"] = by_pixels
        table["apart"] = by_pixels >= ODD
    else:
        table["distance"] = distances(features[rows])
        median = max(float(table["distance"].median()), 1e-12) if len(table) else 1.0
        table["times_median"] = table["distance"] / median
        table["score"] = robust_z(table["distance"].to_numpy())
        table["apart"] = table["score"] >= APART
    table["reasons"] = reasons
    # A network may find one colour quite usual: what is plainly of no use comes first all the same.
    table["apart"] |= plain
    order = np.lexsort((table["row"], -table["score"], ~plain))
    return table.iloc[order].reset_index(drop=True)


def _measure(seen, name):
    if name == "shape":
        return np.log(seen["width"].astype(float) / seen["height"].astype(float)).to_numpy()
    return seen[name].to_numpy(float)


def _reasons(seen, z):
    """Words for each photo, and whether it is plainly of no use: one colour, or tiny."""
    side = seen[["width", "height"]].min(axis=1)
    usual = side.median() if len(side) else 0
    tiny = ((side < TINY) & (side < usual / 2)).to_numpy()
    uniform = ((seen["contrast"] < UNIFORM) | seen["flat"].astype(bool)).to_numpy()
    words = []
    for k in range(len(seen)):
        own = ["nearly one colour"] * bool(uniform[k]) + ["tiny"] * bool(tiny[k])
        for name, (_, below, above) in MEASURES.items():
            value = z[name].iloc[k]
            if abs(value) >= ODD:
                own.append(below if value < 0 else above)
        words.append("; ".join(own))
    return words, tiny | uniform

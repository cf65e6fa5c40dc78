"""Project embeddings to a plane, and measure how far to trust the picture.

Embeddings are compared by their angle, as NT-Xent does, so they are scaled to length 1 first.
"""

import warnings

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.core.errors import UserError, unknown_name
from dermssl.evaluation import validate
from dermssl.training.ssl_health import embedding_quality

PERPLEXITY = 30.0  # the usual one; van der Maaten & Hinton (2008) advise 5 to 50
DIMENSIONS = 50  # kept by PCA before t-SNE, as in the paper's experiments
NEIGHBOURS = 10
MOST = 5000  # photos whose pairs are all compared: 200 MB
BLOCK = 256  # photos compared with all others at once: 10 MB for 5,000


def perplexity_for(n: int, asked: float | None = None) -> float:
    """The perplexity to use with n photos: as asked, else 30, or a third of them if they are few.

    Raises:
        UserError: one was asked for that n photos can't have.

    Example:

    >>> perplexity_for(1000), perplexity_for(31)
    (30.0, 10.0)
    """
    if n < 8:
        raise UserError(f"{n} photos; a plane of embeddings needs 8 or more")
    if asked is None:
        return min(PERPLEXITY, (n - 1) / 3)
    if not 1 <= asked < n:
        raise UserError(
            f"embeddings.perplexity {asked:g}; it must be at least 1 and below the {n} photos"
        )
    return float(asked)


def unit(h: np.ndarray) -> np.ndarray:
    """Embeddings as float64 of length 1.

    Args:
        h: float (n, d).

    Raises:
        UserError: they aren't numbers, or all the same: the backbone has collapsed.
    """
    h = np.asarray(h, dtype=np.float64)
    if not np.isfinite(h).all():
        raise UserError("the embeddings hold values that are no numbers; the run has diverged")
    h = embedding_quality.unit(h)
    if np.ptp(h, axis=0).max(initial=0) < 1e-6:
        raise UserError("all embeddings are the same (a collapsed run); there is nothing to see")
    return h


def tsne(h: np.ndarray, perplexity: float, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton, 2008; Barnes-Hut, 2014), started from PCA.

    Args:
        h: float64 (n, d), from `unit`.
        perplexity: about how many neighbours a photo has.
        seed: int.

    Returns:
        float32 (n, 2). Distances between far groups, and their sizes, mean nothing.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if min(h.shape) > DIMENSIONS:
        h = PCA(DIMENSIONS, svd_solver="full").fit_transform(h)
    made = TSNE(
        2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1
    )
    return made.fit_transform(h).astype(np.float32)


def umap(h: np.ndarray, perplexity: float, seed: int = 0) -> np.ndarray:
    """UMAP (McInnes et al., 2018), its number of neighbours that of t-SNE's perplexity.

    Raises:
        UserError: umap-learn isn't installed; it is an extra.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise UserError(
            "embeddings.umap: umap-learn isn't installed; use pip install 'dermssl[umap]'"
        ) from error
    with warnings.catch_warnings():  # that a seed means one thread
        warnings.simplefilter("ignore")
        made = UMAP(n_neighbors=max(2, round(perplexity)), metric="cosine", random_state=seed)
        return np.asarray(made.fit_transform(h), dtype=np.float32)


LAYOUTS = {"tsne": tsne, "umap": umap}
TITLES = {"tsne": "t-SNE", "umap": "UMAP"}


def lay_out(name: str, h: np.ndarray, perplexity: float, seed: int = 0) -> np.ndarray:
    """A layout by its name; see the functions."""
    if name not in LAYOUTS:
        raise unknown_name("layout", name, LAYOUTS)
    return LAYOUTS[name](h, perplexity, seed)


def trustworthiness(h: np.ndarray, plane: np.ndarray) -> float:
    """How far neighbours in the plane are neighbours in the embedding (Venna & Kaski, 2001).

    Args:
        h: float64 (n, d).
        plane: float (n, 2).

    Returns:
        float in 0..1, over 10 neighbours; about 0.5 for a random plane. Of more than 5,000 photos
        as many are drawn, since every pair of them is compared.
    """
    from sklearn import manifold

    if len(h) > MOST:
        rows = np.random.Generator(np.random.Philox(key=0)).permutation(len(h))[:MOST]
        h, plane = h[rows], plane[rows]
    k = min(NEIGHBOURS, (len(h) - 1) // 2 - 1)
    return float(manifold.trustworthiness(h, plane, n_neighbors=max(1, k)))


def same_class(
    h: np.ndarray, labels: npt.ArrayLike, groups: npt.ArrayLike, k: int = NEIGHBOURS
) -> tuple[np.ndarray, np.ndarray]:
    """Of each photo's nearest photos of other lesions, the share that has its class.

    Args:
        h: float64 (n, d), from `unit`.
        labels: (n,) class names, "" unknown: those neither ask nor answer.
        groups: (n,) lesion or patient ids; a photo of the same one is no evidence.
        k: number of neighbours.

    Returns:
        share float (n,) and chance float (n,): the share among all photos of other lesions.
        NaN where the label is unknown or no other lesion is there.
    """
    labels, groups = np.asarray(labels, dtype=object), np.asarray(groups, dtype=object)
    validate.same_length(h=h, labels=labels, groups=groups)
    share, chance = np.full(len(h), np.nan), np.full(len(h), np.nan)
    known = np.flatnonzero(labels != "")
    h, labels, groups = h[known], pd.factorize(labels[known])[0], pd.factorize(groups[known])[0]
    for start in range(0, len(known), BLOCK):
        rows = slice(start, start + BLOCK)
        own = groups[rows, None] == groups
        same = labels[rows, None] == labels
        near = np.argsort(np.where(own, np.inf, -(h[rows] @ h.T)), axis=1, kind="stable")[:, :k]
        asked, there = ~np.take_along_axis(own, near, axis=1), (~own).sum(axis=1)
        hits = (np.take_along_axis(same, near, axis=1) & asked).sum(axis=1)
        share[known[rows]] = validate.ratio(hits, asked.sum(axis=1))
        chance[known[rows]] = validate.ratio((same & ~own).sum(axis=1), there)
    return share, chance

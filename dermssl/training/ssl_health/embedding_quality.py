"""Measures of how good an embedding is: geometry, pairs of views, and probes.

Everything here is a function of arrays: no network, no state, no randomness but a stated seed.
"""

import warnings

import numpy as np
from scipy import special

from dermssl.evaluation import validate

NEIGHBOURS = 5  # of the k-NN probe: a rare class has few photos in its half
INVERSE_PENALTY = 0.1  # of the linear probe: a few hundred photos, often over 1,000 dimensions
ROUNDS = 200  # of the linear probe's solver; it stops by itself before


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors on the unit sphere.

    Args:
        vectors: float (n, d).

    Returns:
        float64 (n, d); rows of zeros stay zeros.

    Example:

    >>> unit(np.array([[3.0, 4.0]])).tolist()
    [[0.6, 0.8]]
    """
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2:
        raise ValueError(f"vectors have shape {vectors.shape}; expected (n, d)")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)


def alignment(first: np.ndarray, second: np.ndarray, alpha: float = 2) -> float:
    """Mean distance of the two views of a photo, to the power `alpha` (Wang & Isola 2020).

    Args:
        first, second: float (n, d), normalised here.
        alpha: float over 0.

    Returns:
        float in [0, 2^alpha]: 0 where both views lie on one point, 2 for directions at random
        (alpha 2). A collapsed model has 0, too: read it beside `uniformity`.
    """
    validate.same_length(first=first, second=second)
    if not len(first):
        return np.nan
    distance = np.linalg.norm(unit(first) - unit(second), axis=1)
    return float(np.mean(distance**alpha))


def uniformity(vectors: np.ndarray, t: float = 2) -> float:
    """log of the mean Gaussian potential exp(-t |u - v|^2) over all pairs (Wang & Isola 2020).

    Args:
        vectors: float (n, d), normalised here.
        t: float over 0.

    Returns:
        float, 0 where all lie on one point; the lower the more evenly spread. Its least value in
        expectation is `uniformity_on_sphere(d, t)`. NaN with fewer than two vectors.
    """
    vectors = unit(vectors)
    n = len(vectors)
    if n < 2:
        return np.nan
    squared = (vectors**2).sum(axis=1)
    distances = squared[:, None] + squared[None] - 2 * vectors @ vectors.T
    above = np.triu_indices(n, 1)
    potentials = -t * distances[above].clip(min=0)
    return float(special.logsumexp(potentials) - np.log(len(potentials)))


def uniformity_on_sphere(dimension: int, t: float = 2) -> float:
    """`uniformity` of vectors uniform on the unit sphere in `dimension` dimensions.

    `-2t + log 0F1(; d/2; t^2)`, as |u - v|^2 = 2 - 2 u.v and E exp(k u.v) = 0F1(; d/2; k^2/4)
    (the constant of the von Mises-Fisher distribution), with k = 2t.
    """
    return float(-2 * t + np.log(special.hyp0f1(dimension / 2, t**2)))


def effective_rank(vectors: np.ndarray) -> float:
    """RankMe: exp of the entropy of the normalised singular values (Garrido et al. 2023).

    The matrix is not centred, as in the paper: vectors that are all equal have rank 1.

    Args:
        vectors: float (n, d).

    Returns:
        float in [1, min(n, d)]: d where the covariance is a multiple of the identity; NaN where
        all vectors are 0 or there are none.
    """
    vectors = np.asarray(vectors, np.float64)
    if not vectors.any():
        return np.nan
    singular = np.linalg.svd(vectors, compute_uv=False)
    return float(np.exp(special.entr(singular / singular.sum()).sum()))


def dimension_spread(vectors: np.ndarray) -> np.ndarray:
    """Standard deviation of each dimension of the unit vectors, times the root of d.

    Args:
        vectors: float (n, d), normalised here.

    Returns:
        float64 (d,): about 1 each for vectors uniform on the sphere, whose deviation is
        1/sqrt(d), and 0 after a collapse (Chen & He 2021, section 4.1).
    """
    vectors = unit(vectors)
    return vectors.std(axis=0) * np.sqrt(vectors.shape[1])


def pair_accuracy(first: np.ndarray, second: np.ndarray) -> float:
    """Share of views whose nearest neighbour by cosine, among all others, is their partner.

    Where k neighbours are equally near, the partner among them, it is found with 1/k: a model
    that maps all to one point gets 1 / (2n - 1), which is chance, whatever the order.

    Args:
        first, second: float (n, d), the views of n photos.

    Returns:
        float in [0, 1]; NaN with fewer than two photos.
    """
    validate.same_length(first=first, second=second)
    n = len(first)
    if n < 2:
        return np.nan
    both = unit(np.concatenate([first, second]))
    cosine = both @ both.T
    np.fill_diagonal(cosine, -np.inf)
    return _partners_found(cosine)


def nearest_pairs(first: np.ndarray, second: np.ndarray) -> float:
    """`pair_accuracy` by Euclidean distance, for features whose length tells something.

    Args:
        first, second: float (n, d).
    """
    validate.same_length(first=first, second=second)
    if len(first) < 2:
        return np.nan
    both = np.concatenate([first, second]).astype(np.float64)
    squared = (both**2).sum(axis=1)
    near = 2 * both @ both.T - squared[:, None] - squared[None]
    np.fill_diagonal(near, -np.inf)
    return _partners_found(near)


def _partners_found(near):
    """From similarities (2n, 2n); ties with the partner share the one right answer."""
    n = len(near) // 2
    rows = np.arange(2 * n)
    partner = near[rows, (rows + n) % (2 * n)][:, None]
    # Rounding must not break a tie: a collapsed model would win or lose by it.
    width = 1e-9 * max(1.0, np.abs(partner).max())
    nearer = (near > partner + width).sum(axis=1)
    ties = (np.abs(near - partner) <= width).sum(axis=1)  # the partner itself is one
    return float(np.mean((nearer == 0) / ties))


def halves(labels: np.ndarray, groups: np.ndarray, seed: int = 0) -> np.ndarray | None:
    """Deal labelled records into two halves: stratified, no group in both.

    Args:
        labels: int (n,).
        groups: (n,), lesion or patient ids.
        seed: int.

    Returns:
        int64 (n,), 0 or 1; -1 for a record whose class is not in both halves. None where fewer
        than two classes are left.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    labels, groups = np.asarray(labels), np.asarray(groups)
    validate.same_length(labels=labels, groups=groups)
    half = np.full(len(labels), -1, np.int64)
    if len(np.unique(groups)) < 2 or np.bincount(labels).max() < 2:
        return None
    deal = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # of classes with one member, which are left out below
        warnings.simplefilter("ignore", UserWarning)
        for number, (_, rows) in enumerate(deal.split(labels, labels, groups)):
            half[rows] = number
    shared = np.intersect1d(labels[half == 0], labels[half == 1])
    half[~np.isin(labels, shared)] = -1
    return half if len(shared) > 1 else None


def knn_probe(vectors: np.ndarray, labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Classes by a vote of the `NEIGHBOURS` nearest vectors (cosine) of the other half.

    A vote weighs 1 / the size of its class there: a class with fewer members than half of the
    neighbours could never win otherwise.

    Args:
        vectors: float (n, d).
        labels: int (n,), 0 and up.
        half: int (n,), 0 or 1, as from `halves`.

    Returns:
        int64 (n,): what each record is taken for by those of the other half.
    """
    from sklearn.neighbors import KNeighborsClassifier

    def predicted(known, y, asked):
        model = KNeighborsClassifier(min(NEIGHBOURS, len(known)), metric="cosine").fit(known, y)
        votes = model.predict_proba(asked) / np.unique(y, return_counts=True)[1]
        return model.classes_[votes.argmax(axis=1)]

    return _crossed(predicted, unit(vectors), labels, half)


def linear_probe(vectors: np.ndarray, labels: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Classes by a logistic regression on the other half, its classes weighted alike.

    Arguments and result are those of `knn_probe`; the vectors are standardised by the half that
    is fitted.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def predicted(known, y, asked):
        model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=ROUNDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return make_pipeline(StandardScaler(), model).fit(known, y).predict(asked)

    return _crossed(predicted, unit(vectors), labels, half)


def _crossed(predicted, vectors, labels, half):
    """Each half predicted from the other one."""
    labels, half = np.asarray(labels), np.asarray(half)
    validate.same_length(vectors=vectors, labels=labels, half=half)
    classes = np.empty(len(labels), np.int64)
    for side in (0, 1):
        known, asked = half == side, half != side
        classes[asked] = predicted(vectors[known], labels[known], vectors[asked])
    return classes

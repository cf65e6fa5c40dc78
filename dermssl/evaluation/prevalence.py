"""How common each class is among photos without labels, and what wrong shares cost.

A model's probabilities hold where classes are as common as they were assumed to be. Elsewhere,
if the photos of each class look the same and only their shares differ (label shift), the shares
can be found from the probabilities alone, by EM (Saerens, Latinne & Decaestecker 2002):

    P'(k | x) = P(k | x) q(k) / p(k), normalised;    q(k) <- mean of P'(k | x)

The shares p that the probabilities were made for are the mean probabilities of the run's own
held-out photos: photos of the same kind then give q = p (Alexandari, Kundaje & Shrikumar 2020).
Where photos of a class look different elsewhere, too, EM answers with wrong shares and says
nothing; so it stands beside the true ones wherever those are known.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from dermssl.core.errors import UserError
from dermssl.evaluation import validate
from dermssl.evaluation.bootstrap import Replicates, replicates

FLOOR = (
    1e-4  # the least share: EM never leaves 0, and a class of which there is none stays possible
)
STEPS = 500
LEAST_SPREAD = 1e-3  # standard deviation of some class, below which the photos look all alike
TOLERANCE = 1e-6  # largest change of a share in a step at which EM ends


def source_shares(p: npt.ArrayLike) -> np.ndarray:
    """The shares that probabilities (n, K) were made for: their mean over the run's own photos.

    None is below `FLOOR`.
    """
    p = validate.probabilities(p)
    if not len(p):
        raise UserError("p holds no record; source shares need the run's validation records")
    return _normalised(p.mean(axis=0))


def corrected(p: npt.ArrayLike, source: npt.ArrayLike, shares: npt.ArrayLike) -> np.ndarray:
    """Probabilities for photos among which classes have other shares (Saerens 2002, eq. 2.4).

    Args:
        p: float (n, K), made for the shares `source`.
        source: float (K,), each above 0.
        shares: float (K,), those of the photos.

    Returns:
        float64 (n, K), rows summing to 1.

    Example:

    >>> corrected([[0.5, 0.5]], [0.5, 0.5], [0.9, 0.1]).tolist()
    [[0.9, 0.1]]
    """
    given, before, after = validate.probabilities(p), _shares(source, "source"), _shares(shares)
    validate.same_length(classes=given.T, source=before, shares=after)
    weighted = given * (after / before)
    total = weighted.sum(axis=1, keepdims=True)
    # All of a record's probability on classes without a share: nothing is left to scale.
    return np.where(total > 0, weighted / np.where(total > 0, total, 1), given)


def estimate(p: npt.ArrayLike, source: npt.ArrayLike) -> np.ndarray:
    """The shares of the classes among photos without labels, by EM.

    Args:
        p: float (n, K), their probabilities, made for the shares `source`.
        source: float (K,), each above 0.

    Returns:
        float64 (K,), summing to 1, none below `FLOOR`. NaN without photos.

    Example:

    >>> p = np.array([[0.99, 0.01]] * 9 + [[0.01, 0.99]])
    >>> estimate(p, [0.5, 0.5]).round(2).tolist()
    [0.91, 0.09]
    """
    p = validate.probabilities(p)
    return _em(p, _checked_source(p, source), np.ones((len(p), 1)))[:, 0]


def with_intervals(
    p: npt.ArrayLike,
    source: npt.ArrayLike,
    groups: Collection | None = None,
    n_resamples: int = 1000,
) -> Replicates:
    """`estimate` on the photos and on draws of whole lesions or patients.

    Args:
        p, source: as of `estimate`. That `source` is itself an estimate isn't covered.
        groups: (n,), as of `bootstrap.cluster_codes`.
        n_resamples: draws of the bootstrap.

    Returns:
        `Replicates` of K shares; its `intervals()` are theirs. They are undefined where the
        probabilities are all but the same for every photo: they tell nothing of shares, and EM
        stays where it began.
    """
    p = validate.probabilities(p)
    source, n = _checked_source(p, source), len(p)

    def kernel(tally):
        return _em(p, source, tally(np.arange(n), n).astype(np.float64))

    drawn = replicates(kernel, groups, n, n_resamples=n_resamples)
    if not len(p) or p.std(axis=0).max() < LEAST_SPREAD:
        return drawn._replace(draws=np.full_like(drawn.draws, np.nan))
    return drawn


def _em(p, source, weights):
    """Shares (K, draws) by EM over records that count `weights` (n, draws) times."""
    ratio, total = p / source, weights.sum(axis=0)
    if not len(p):
        return np.full((p.shape[1], weights.shape[1]), np.nan)
    q = np.repeat(source[:, None], weights.shape[1], axis=1)
    for _ in range(STEPS):
        evidence = ratio @ q  # (n, draws)
        part = np.divide(weights, evidence, out=np.zeros_like(evidence), where=evidence > 0)
        new = _normalised(q * (ratio.T @ part) / np.maximum(total, 1))
        change = np.abs(new - q).max()
        q = new
        if change < TOLERANCE:
            break
    return q


def _normalised(q):
    q = np.maximum(q, FLOOR)
    return q / q.sum(axis=0)


def _checked_source(p, source):
    source = _shares(source, "source")
    validate.same_length(classes=p.T, source=source)
    if (source <= 0).any():
        raise UserError(f"source holds {source.min():g}; every class needs a share above 0")
    return source


def _shares(values, name="shares"):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise UserError(f"{name} is {values}; expected one share a class, none below 0")
    return values / values.sum()

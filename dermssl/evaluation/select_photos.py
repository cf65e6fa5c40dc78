"""Select the photos to explain: most confident correct and wrong predictions, and every class."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermssl.evaluation import validate


def choose(
    y: npt.ArrayLike, p: npt.ArrayLike, count: int = 6, groups: npt.ArrayLike | None = None
) -> dict[str, np.ndarray]:
    """Rows worth a look, the same for the same predictions.

    Args:
        y: int (n,), fine classes; -1 is never chosen.
        p: float (n, F).
        count: most hits, and most misses.
        groups: (n,) lesion or patient ids; hits and misses show none twice. None: each its own.

    Returns:
        dict of group -> int64 array of rows. "hits": right, the surest first. "misses": wrong,
        the surest first. "classes": for each class with records, the one in the middle by
        P(true class), so neither a lucky nor an unlucky one (the lower middle of an even number).
        Ties go to the earlier row. A group without rows is left out.
    """
    p = validate.probabilities(p)
    y = validate.labels(y, "y", p.shape[1])
    validate.same_length(y=y, p=p)
    order = np.argsort(-p.max(axis=1), kind="stable")
    order = order[y[order] >= 0]
    right = p.argmax(axis=1) == y
    found = {"hits": order[right[order]], "misses": order[~right[order]]}
    for name, rows in found.items():
        first = rows if groups is None else rows[~pd.Series(np.asarray(groups)[rows]).duplicated()]
        found[name] = first[:count]
    middle = []
    for k in np.unique(y[y >= 0]):
        rows = np.flatnonzero(y == k)
        rows = rows[np.argsort(p[rows, k], kind="stable")]
        middle.append(rows[(len(rows) - 1) // 2])
    found["classes"] = np.array(middle, dtype=np.int64)
    return {name: rows for name, rows in found.items() if len(rows)}

"""All scalar metrics of one model's predictions, and the table of its classes.

The metrics live by kind in `confusion`, `ranking`, `hierarchy` and `calibration`, and are
re-exported here. `plan` lists what is reported, and on which arrays; `summarise` scores it,
`statistics.summary_intervals` puts intervals around it, so both always mean the same number.

A number the data can't define (one class only, a class without records, no labels) is NaN.
"""

import numpy as np
import pandas as pd

from dermssl.evaluation import checks
from dermssl.evaluation.confusion import (
    confusion,
    per_class,
)
from dermssl.evaluation.ranking import (
    average_precision,
    roc_auc,
)


def per_class_table(y, p_fine, taxonomy):
    """One row a fine class, one-vs-rest, at the argmax decision.

    Returns:
        DataFrame: `fine`, `title`, `coarse`, `support`, `sensitivity`, `specificity`,
        `precision`, `f1`, `roc_auc`, `average_precision`; NaN where undefined, as in
        `confusion.per_class`.
    """
    p = checks.probabilities(p_fine, "p_fine", len(taxonomy.fine))
    y = checks.labels(y, "y", len(taxonomy.fine))
    figures = per_class(confusion(y, p.argmax(axis=1), p.shape[1]))
    truths = [np.where(y < 0, -1, y == k) for k in range(p.shape[1])]
    return pd.DataFrame(
        {
            "fine": taxonomy.fine,
            "title": taxonomy.titles,
            "coarse": taxonomy.parents,
            "support": figures["support"],
            "sensitivity": figures["recall"],
            "specificity": figures["specificity"],
            "precision": figures["precision"],
            "f1": figures["f1"],
            "roc_auc": [roc_auc(truth, p[:, k]) for k, truth in enumerate(truths)],
            "average_precision": [
                average_precision(truth, p[:, k]) for k, truth in enumerate(truths)
            ],
        }
    )

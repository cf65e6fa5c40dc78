"""What a score rests on."""

import numpy as np

from dermssl.evaluation import metric_tables
from dermssl.evaluation.predictions import Arrays


def arrays(y, y_coarse, groups):
    p = np.full((len(y), 2), 0.5)
    return Arrays(np.array(y), np.array(y_coarse), p, p, np.array(groups, dtype=object))


def test_groups_are_those_of_the_level_that_is_scored():
    groups = ["lesion_id=a", "lesion_id=a", "lesion_id=b", "path=c.jpg"]
    both = metric_tables.counts(arrays([0, 1, -1, -1], [0, 1, 0, 1], groups))
    assert both == {"n": 4, "n_fine": 2, "n_coarse": 4, "n_groups": 1, "grouped_by": "lesion"}
    coarse = metric_tables.counts(arrays([-1] * 4, [0, 1, 0, -1], groups))
    assert (coarse["n_fine"], coarse["n_coarse"], coarse["n_groups"]) == (0, 3, 2)
    assert metric_tables.counts(arrays([-1] * 4, [0, 1, 0, 1], groups))["grouped_by"] == "group"

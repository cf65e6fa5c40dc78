"""How good a mistake is: metrics over the two levels of a taxonomy, and its malignancy axis.

All are means of one value a record; the `*_by_record` functions give those values, NaN for a
record that doesn't count, which is what the bootstrap resamples.
"""

import numpy as np

from dermssl.evaluation import validate


def full_path_accuracy(y, predicted, predicted_coarse, taxonomy):
    """Share of records right at both levels (the hierarchy's exact match).

    With P(coarse) = sum of P(fine), the likeliest group needn't hold the likeliest fine class,
    so a record may be right at one level only.

    Args:
        y: int [n], fine classes, -1 left out.
        predicted, predicted_coarse: int [n], the predicted index at each level.
        taxonomy: a `Taxonomy`.

    Returns:
        float in 0..1; NaN without a labelled record.
    """
    return validate.mean_known(full_path_by_record(y, predicted, predicted_coarse, taxonomy))


def tree_distance(y, predicted, taxonomy):
    """Mean distance between true and predicted leaf: half the edges of the path between them.

    The tree is root - coarse - fine: 0 for the same class, 1 for a sibling in the same coarse
    group, 2 for a class of another group (Bertinetto 2020 calls this the height of the lowest
    common ancestor).

    Returns:
        float in 0..2; NaN without a labelled record.
    """
    return validate.mean_known(tree_distance_by_record(y, predicted, taxonomy))


def coarse_given_wrong_fine(y, predicted, taxonomy, predicted_coarse=None):
    """Among the records whose fine class is wrong, the share whose coarse group is right.

    `predicted_coarse` defaults to the parent of the predicted fine class.

    Returns:
        float in 0..1; NaN if no fine class is wrong.
    """
    return validate.mean_known(coarse_if_wrong_by_record(y, predicted, taxonomy, predicted_coarse))


def full_path_by_record(y, predicted, predicted_coarse, taxonomy):
    """float [n]: 1 right at both levels, 0 not, NaN unknown."""
    y, predicted, parent = _leaves(y, predicted, taxonomy)
    coarse = validate.predictions(predicted_coarse, "predicted_coarse", len(taxonomy.coarse))
    validate.same_length(y=y, predicted_coarse=coarse)
    return np.where(y < 0, np.nan, (y == predicted) & (parent[y] == coarse))


def tree_distance_by_record(y, predicted, taxonomy):
    """float [n]: 0, 1 or 2 as in `tree_distance`, NaN unknown."""
    y, predicted, parent = _leaves(y, predicted, taxonomy)
    distance = (y != predicted).astype(float) + (parent[y] != parent[predicted])
    return np.where(y < 0, np.nan, distance)


def coarse_if_wrong_by_record(y, predicted, taxonomy, predicted_coarse=None):
    """float [n]: 1 or 0 for a wrong fine class in the right or wrong group, else NaN."""
    y, predicted, parent = _leaves(y, predicted, taxonomy)
    coarse = parent[predicted]
    if predicted_coarse is not None:
        coarse = validate.predictions(predicted_coarse, "predicted_coarse", len(taxonomy.coarse))
        validate.same_length(y=y, predicted_coarse=coarse)
    return np.where((y < 0) | (y == predicted), np.nan, parent[y] == coarse)


def has_malignancy(taxonomy):
    """Whether every fine class states its malignancy, with some malignant and some not."""
    malignant = [entry == "malignant" for entry in taxonomy.malignancy]
    return all(taxonomy.malignancy) and any(malignant) and not all(malignant)


def malignant_labels(y, taxonomy):
    """int64 [n]: 1 malignant, 0 benign or premalignant, -1 unknown.

    None if the taxonomy doesn't hold the axis (see `has_malignancy`).
    """
    if not has_malignancy(taxonomy):
        return None
    y = validate.labels(y, "y", len(taxonomy.fine))
    return np.where(y < 0, -1, _malignant(taxonomy)[y])


def p_malignant(p_fine, taxonomy):
    """P(malignant) = sum of P(fine) over the malignant classes (premalignant isn't one).

    Returns:
        float64 [n]; None if the taxonomy doesn't hold the axis.
    """
    if not has_malignancy(taxonomy):
        return None
    return validate.probabilities(p_fine, "p_fine", len(taxonomy.fine)) @ _malignant(taxonomy)


def _malignant(taxonomy):
    return np.array([entry == "malignant" for entry in taxonomy.malignancy], dtype=np.int64)


def _leaves(y, predicted, taxonomy):
    y = validate.labels(y, "y", len(taxonomy.fine))
    predicted = validate.predictions(predicted, "predicted", len(taxonomy.fine))
    validate.same_length(y=y, predicted=predicted)
    return y, predicted, taxonomy.parent_index

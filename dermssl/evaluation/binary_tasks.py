"""One question with two answers at a time: malignant or not, this class or another.

A target is a yes/no reading of the fine classes with the probability of yes, on which the
clinical metrics are defined: sensitivity and specificity at a threshold, areas, net benefit.
"""

from dataclasses import dataclass, field

import numpy as np

from dermssl.core.errors import unknown_name
from dermssl.evaluation import hierarchy

MELANOMA = "mel"
AUTO = "auto"
DECISION = 0.5  # the threshold at which a yes is likelier than a no
MALIGNANT = "malignant"


@dataclass(frozen=True, eq=False)
class Target:
    """A yes/no question.

    Attributes:
        name: "malignant", or the fine class.
        title: as printed.
        is_class: whether it is one fine class.
        y: int64 [n]; 1 yes, 0 no, -1 unknown.
        score: float [n], the probability of yes.
    """

    name: str
    title: str
    is_class: bool
    y: np.ndarray = field(repr=False)
    score: np.ndarray = field(repr=False)

    @property
    def kind(self):
        """ "class", or "axis" for malignancy: a fine class may have the axis's name."""
        return "class" if self.is_class else "axis"

    @property
    def n(self):
        """Records with a known answer."""
        return int((self.y >= 0).sum())

    @property
    def n_positive(self):
        """Records whose answer is yes."""
        return int((self.y == 1).sum())


def chosen_class(name, taxonomy):
    """The fine class that a `--class` names, or None.

    Args:
        name: a fine class; "auto" for melanoma ("mel") where the taxonomy has it, the second of
            two classes without a malignancy axis, else none.
        taxonomy: a `Taxonomy`.
    """
    if name != AUTO:
        if name not in taxonomy.fine:
            raise unknown_name("--class", name, taxonomy.fine)
        return name
    if MELANOMA in taxonomy.fine:
        return MELANOMA
    if len(taxonomy.fine) == 2 and not hierarchy.has_malignancy(taxonomy):
        return taxonomy.fine[1]
    return None


def one_class(y, p_fine, taxonomy, name):
    """A fine class against the rest."""
    k = taxonomy.fine.index(name)
    truth = np.where(y < 0, -1, y == k).astype(np.int64)
    return Target(name, taxonomy.titles[k], True, truth, p_fine[:, k])


def malignancy(y, p_fine, taxonomy):
    """Malignant against the rest (premalignant is rest); None without the axis."""
    truth = hierarchy.malignant_labels(y, taxonomy)
    if truth is None:
        return None
    return Target(MALIGNANT, "malignant", False, truth, hierarchy.p_malignant(p_fine, taxonomy))


def binary_tasks_of(y, p_fine, taxonomy, name=AUTO):
    """The targets of a taxonomy: its malignancy axis first, then the chosen class."""
    found = [malignancy(y, p_fine, taxonomy)]
    if chosen := chosen_class(name, taxonomy):
        found.append(one_class(y, p_fine, taxonomy, chosen))
    return tuple(target for target in found if target)


def called_positive(target, threshold):
    """float [n]: 1 or 0 for a yes called yes or no, NaN for the others; its mean: sensitivity.

    All NaN where the threshold is: nobody chose one, so nothing was called.
    """
    asked = (target.y == 1) & ~np.isnan(threshold)
    return np.where(asked, (target.score >= threshold).astype(float), np.nan)


def called_negative(target, threshold):
    """float [n]: 1 or 0 for a no called no or yes, NaN for the others; its mean: specificity.

    All NaN where the threshold is, as in `called_positive`.
    """
    asked = (target.y == 0) & ~np.isnan(threshold)
    return np.where(asked, (target.score < threshold).astype(float), np.nan)


def plan(target, specificity=0.9, min_sensitivity=0.8):
    """What is reported of a target: name -> (metric name, y, predicted, options).

    `sensitivity` and `specificity` are those at 0.5.
    """
    y, score = target.y, target.score
    return {
        "auc": ("roc_auc", y, score, {}),
        "average_precision": ("average_precision", y, score, {}),
        "partial_auc": ("partial_auc", y, score, {"min_sensitivity": min_sensitivity}),
        "sensitivity_at_specificity": (
            "sensitivity_at_specificity", y, score, {"specificity": specificity},
        ),
        "sensitivity": ("mean", None, called_positive(target, DECISION), {}),
        "specificity": ("mean", None, called_negative(target, DECISION), {}),
    }  # fmt: skip

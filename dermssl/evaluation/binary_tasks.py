"""Binary tasks derived from the fine classes, such as malignant against the rest.

A target is a yes/no reading of the fine classes with the probability of yes, on which the
clinical metrics are defined: sensitivity and specificity at a threshold, areas, net benefit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dermssl.core.errors import unknown_name
from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation.bootstrap_metrics import PlannedMetric

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
        y: int64 (n,); 1 yes, 0 no, -1 unknown.
        score: float (n,), the probability of yes.
    """

    name: str
    title: str
    is_class: bool
    y: np.ndarray = field(repr=False)
    score: np.ndarray = field(repr=False)

    @property
    def kind(self) -> str:
        """ "class", or "axis" for malignancy: a fine class may have the axis's name."""
        return "class" if self.is_class else "axis"

    @property
    def n(self) -> int:
        """Records with a known answer."""
        return int((self.y >= 0).sum())

    @property
    def n_positive(self) -> int:
        """Records whose answer is yes."""
        return int((self.y == 1).sum())


def chosen_class(name: str, taxonomy: Taxonomy) -> str | None:
    """The fine class that `evaluate.one_class` names, or None.

    Args:
        name: a fine class; "auto" for melanoma ("mel") where the taxonomy has it, the second of
            two classes without a malignancy axis, else none.
        taxonomy: a `Taxonomy`.
    """
    if name != AUTO:
        if name not in taxonomy.fine:
            raise unknown_name("evaluate.one_class", name, taxonomy.fine)
        return name
    if MELANOMA in taxonomy.fine:
        return MELANOMA
    if len(taxonomy.fine) == 2 and not has_malignancy(taxonomy):
        return taxonomy.fine[1]
    return None


def one_class(y: np.ndarray, p_fine: np.ndarray, taxonomy: Taxonomy, name: str) -> Target:
    """A fine class against the rest."""
    k = taxonomy.fine.index(name)
    truth = np.where(y < 0, -1, y == k).astype(np.int64)
    return Target(name, taxonomy.titles[k], True, truth, p_fine[:, k])


def malignancy(y: np.ndarray, p_fine: np.ndarray, taxonomy: Taxonomy) -> Target | None:
    """Malignant against the rest (premalignant is rest); None without the axis."""
    truth, score = malignant_labels(y, taxonomy), p_malignant(p_fine, taxonomy)
    if truth is None or score is None:
        return None
    return Target(MALIGNANT, "malignant", False, truth, score)


def binary_tasks_of(
    y: np.ndarray, p_fine: np.ndarray, taxonomy: Taxonomy, name: str = AUTO
) -> tuple[Target, ...]:
    """The targets of a taxonomy: its malignancy axis first, then the chosen class."""
    targets = [malignancy(y, p_fine, taxonomy)]
    if chosen := chosen_class(name, taxonomy):
        targets.append(one_class(y, p_fine, taxonomy, chosen))
    return tuple(target for target in targets if target)


def called_positive(target: Target, threshold: float) -> np.ndarray:
    """float (n,): 1 or 0 for a yes called yes or no, NaN for the others; its mean: sensitivity.

    All NaN where the threshold is: nobody chose one, so nothing was called.
    """
    asked = (target.y == 1) & ~np.isnan(threshold)
    return np.where(asked, (target.score >= threshold).astype(float), np.nan)


def called_negative(target: Target, threshold: float) -> np.ndarray:
    """float (n,): 1 or 0 for a no called no or yes, NaN for the others; its mean: specificity.

    All NaN where the threshold is, as in `called_positive`.
    """
    asked = (target.y == 0) & ~np.isnan(threshold)
    return np.where(asked, (target.score < threshold).astype(float), np.nan)


def plan(
    target: Target, specificity: float = 0.9, min_sensitivity: float = 0.8
) -> dict[str, PlannedMetric]:
    """What is reported of a target: name -> `PlannedMetric`.

    `sensitivity` and `specificity` are those at 0.5.
    """
    y, score = target.y, target.score
    partial, at = {"min_sensitivity": min_sensitivity}, {"specificity": specificity}
    return {
        "auc": PlannedMetric("roc_auc", y, score),
        "average_precision": PlannedMetric("average_precision", y, score),
        "partial_auc": PlannedMetric("partial_auc", y, score, partial),
        "sensitivity_at_specificity": PlannedMetric("sensitivity_at_specificity", y, score, at),
        "sensitivity": PlannedMetric("mean", None, called_positive(target, DECISION)),
        "specificity": PlannedMetric("mean", None, called_negative(target, DECISION)),
    }


def has_malignancy(taxonomy: Taxonomy) -> bool:
    """Whether every fine class states its malignancy, with some malignant and some not."""
    malignant = _is_malignant(taxonomy)
    return all(taxonomy.malignancy) and bool(malignant.any() and not malignant.all())


def malignant_labels(y: np.ndarray, taxonomy: Taxonomy) -> np.ndarray | None:
    """int64 (n,): 1 malignant, 0 benign or premalignant, -1 unknown.

    None if the taxonomy doesn't hold the axis (see `has_malignancy`).
    """
    if not has_malignancy(taxonomy):
        return None
    y = np.asarray(y)
    return np.where(y < 0, -1, _is_malignant(taxonomy)[y])


def p_malignant(p_fine: np.ndarray, taxonomy: Taxonomy) -> np.ndarray | None:
    """P(malignant) = sum of P(fine) over the malignant classes (premalignant isn't one).

    Returns:
        float64 (n,); None if the taxonomy doesn't hold the axis.
    """
    if not has_malignancy(taxonomy):
        return None
    return np.asarray(p_fine, dtype=np.float64) @ _is_malignant(taxonomy)


def malignant_classes(taxonomy: Taxonomy) -> list[str]:
    """The fine classes whose probabilities `p_malignant` sums."""
    return [name for name, yes in zip(taxonomy.fine, _is_malignant(taxonomy)) if yes]


def _is_malignant(taxonomy):
    return np.array([entry == MALIGNANT for entry in taxonomy.malignancy], dtype=np.int64)

"""How common each class is in another place: assumed, re-estimated, true; and what that costs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dermssl.core.taxonomy import Taxonomy
from dermssl.data.class_map import COARSE, FINE, MALIGNANCY
from dermssl.evaluation import binary_tasks, bootstrap, metric_tables, prevalence
from dermssl.evaluation.bootstrap import Replicates
from dermssl.evaluation.bootstrap_metrics import PlannedMetric
from dermssl.evaluation.interval import Interval
from dermssl.evaluation.predictions import Arrays
from dermssl.studies.external import levels

EM = "re-estimated without labels (EM)"
ALL_MALIGNANT = "malignant, all"


def table(
    level: str,
    taxonomy: Taxonomy,
    source: np.ndarray,
    drawn: Replicates,
    given: Arrays,
    n_resamples: int,
) -> pd.DataFrame:
    """A row a class of the level, and one of all malignant ones where fine classes have them.

    Args:
        level: of `levels.LEVELS`.
        taxonomy: the run's.
        source: float (F,), the shares that the run assumes.
        drawn: from `prevalence.with_intervals`, of the fine classes.
        given: `Arrays` of the level, as predict gives them.
        n_resamples: draws of the bootstrap.

    Returns:
        DataFrame: `class`, `records`, `assumed`, `mean_p`; `re-estimated` and `true`, each an
        `Interval`.
    """
    at = levels.taxonomy_at(level, taxonomy)
    rows = _rows(level, at.titles, given.y, given.p_fine, taxonomy, source, drawn)
    if level == FINE and binary_tasks.has_malignancy(taxonomy):
        y = binary_tasks.malignant_labels(given.y, taxonomy)
        p = levels.probabilities_at(MALIGNANCY, given.p_fine, given.p_coarse, taxonomy)
        titles = ("benign, all", ALL_MALIGNANT)
        rows += _rows(MALIGNANCY, titles, y, p, taxonomy, source, drawn)[1:]
    plan = {row["class"]: PlannedMetric("mean", None, row.pop("is")) for row in rows}
    true = metric_tables.intervals(bootstrap.score(plan, given.groups, n_resamples=n_resamples))
    return pd.DataFrame([{**row, "true": true[row["class"]]} for row in rows])


def claim(level: str, taxonomy: Taxonomy, drawn: Replicates, confidence: float) -> Interval:
    """The re-estimated share that the findings speak of: malignant ones, else the last class."""
    axis = level != COARSE and binary_tasks.has_malignancy(taxonomy)
    at = MALIGNANCY if axis else level
    return drawn._replace(
        sample=levels.shares_at(at, drawn.sample[:, None], taxonomy)[-1],
        draws=levels.shares_at(at, drawn.draws, taxonomy)[-1:],
    ).intervals(confidence)[0]


def _rows(level, titles, y, p, taxonomy, source, drawn):
    known = y >= 0
    estimates = drawn._replace(
        sample=levels.shares_at(level, drawn.sample[:, None], taxonomy)[:, 0],
        draws=levels.shares_at(level, drawn.draws, taxonomy),
    ).intervals()
    assumed = levels.shares_at(level, source, taxonomy)
    return [
        {
            "class": title, "records": int((y == k).sum()), "assumed": float(assumed[k]),
            "mean_p": float(p[known, k].mean()) if known.any() else np.nan,
            "re-estimated": estimates[k],
            "is": np.where(known, (y == k).astype(float), np.nan),
        }
        for k, title in enumerate(titles)
    ]  # fmt: skip


def log_losses(
    level: str,
    taxonomy: Taxonomy,
    source: np.ndarray,
    given: Arrays,
    again: Arrays,
    n_resamples: int,
) -> pd.DataFrame:
    """Log loss by what is assumed of the class shares: right ones, wrong ones, none.

    Args:
        level, taxonomy, source, given, n_resamples: as of `table`.
        again: `Arrays` of the level, with re-estimated shares.

    Returns:
        DataFrame: `shares` in words, `log_loss`, an `Interval`.
    """
    at, y = levels.taxonomy_at(level, taxonomy), given.y
    base = levels.shares_at(level, source, taxonomy)
    counts = np.bincount(y[y >= 0], minlength=len(at.fine)).astype(float)
    true = np.maximum(counts / max(1, counts.sum()), prevalence.FLOOR)
    cases = {
        "the true ones of these photos": true,
        "all classes equally common": np.full(len(base), 1 / len(base)),
    }
    positive = np.array([kind == binary_tasks.MALIGNANT for kind in at.malignancy])
    if positive.any() and not positive.all():
        for factor, words in ((0.5, "half"), (2.0, "twice")):
            wrong = true * np.where(positive, factor, 1)
            cases[f"the true ones, malignant {words} as likely"] = wrong
    corrected = {title: _corrected(given, base, shares, at) for title, shares in cases.items()}
    cases_of = {"the run's (as predict gives them)": given, EM: again, **corrected}
    rows = []
    for title, one in cases_of.items():
        draws = metric_tables.score([one], at, n_resamples, ("log_loss",))
        rows.append({"shares": title, "log_loss": metric_tables.intervals(draws)["log_loss"]})
    return pd.DataFrame(rows)


def _corrected(given, base, shares, at):
    p = prevalence.corrected(given.p_fine, base, shares)
    return given._replace(p_fine=p, p_coarse=p @ at.matrix.astype(np.float64))

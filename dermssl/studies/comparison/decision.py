"""Net benefit of one model less that of another, as a comparison shows it.

Of each model's ensemble: the mean over its runs of the probabilities that `dermssl.predict` gives,
since a threshold is chosen on that scale. Ensembles don't vary by training, so the bounds
cover the choice of lesions alone, and no verdict follows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermssl.core.taxonomy import Taxonomy
from dermssl.evaluation import binary_tasks, calibrator, curves
from dermssl.evaluation.binary_tasks import Target
from dermssl.evaluation.contrasts import Contrast
from dermssl.evaluation.run_groups import Comparison, RunGroup
from dermssl.reporting import figures, report
from dermssl.reporting.figures import MUTED, PALETTE, Curve

COLUMNS = (
    "labels", "a", "b", "question", "threshold", "benefit_a", "benefit_b", "difference", "low",
    "high", "band_low", "band_high",
)  # fmt: skip


def ensemble(model: RunGroup, taxonomy: Taxonomy) -> Target | None:
    """The yes/no question of a model's mean calibrated probabilities; None without one."""
    p = []
    for member in model.members:
        raw = member.arrays
        fitted = calibrator.of_run(member.predictions)
        p.append(fitted.apply(raw.p_fine, raw.p_coarse, taxonomy)[0])
    tasks = binary_tasks.binary_tasks_of(model.arrays[0].y, np.mean(p, axis=0), taxonomy)
    return next(iter(tasks), None)


def differences(
    contrasts: Sequence[Contrast], taxonomy: Taxonomy, n_resamples: int = 1000
) -> pd.DataFrame:
    """Every contrast at every threshold.

    Args:
        contrasts: of a comparison.
        taxonomy: of its runs.
        n_resamples: draws of the bootstrap.

    Returns:
        DataFrame of `COLUMNS`: net benefit of the ensembles of a and of b, their difference with
        pointwise 95% bounds, and a band that holds at all thresholds together; empty without a
        yes/no question.
    """
    parts = []
    models = {id(model): model for one in contrasts for model in (one.a, one.b)}
    ensembles = {key: ensemble(model, taxonomy) for key, model in models.items()}
    for one in contrasts:
        a, b = (ensembles[id(model)] for model in (one.a, one.b))
        if a is None or b is None or not 0 < a.n_positive < a.n:
            continue
        groups = one.a.arrays[0].groups
        found = curves.decision_difference(a, b, groups, n_resamples=n_resamples)
        found = found.rename(columns={"a": "benefit_a", "b": "benefit_b"})
        names = {"labels": str(one.a.labels), "a": one.a.arm, "b": one.b.arm, "question": a.title}
        parts.append(found.assign(**names)[list(COLUMNS)])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS))


def sentences(contrasts: Sequence[Contrast], table: pd.DataFrame) -> list[str]:
    """Where one ensemble's net benefit is shown to be higher, at all thresholds together."""
    said = []
    for one in contrasts:
        rows = table[(table["labels"] == str(one.a.labels))
                     & (table["a"] == one.a.arm) & (table["b"] == one.b.arm)]  # fmt: skip
        if rows.empty:
            continue
        parts = []
        sides = (("a higher", rows["band_low"] > 0), ("a lower", rows["band_high"] < 0))
        for word, wins in sides:
            at = rows.loc[wins, "threshold"]
            if len(at):
                gaps = "" if len(at) == round((at.max() - at.min()) / 0.01) + 1 else ", with gaps"
                parts.append(f"{word} one at thresholds from {at.min():g} to {at.max():g}{gaps}")
        shown = " and ".join(parts) or "none that is shown to differ at any threshold"
        said.append(
            f"With {one.a.labels_text}, against the net benefit of {one.b.title}'s ensemble "
            f"({rows['question'].iloc[0]}), that of {one.a.title} has {shown}."
        )
    return said


def draw(path: Path, contrasts: Sequence[Contrast], table: pd.DataFrame) -> Path:
    """A panel a number of labels: each difference with its band."""
    labels = list(dict.fromkeys(table["labels"]))
    figure, panels = figures.new(0.6 + 7.0 * len(labels), 4.6, 1, len(labels))
    for axes, label in zip(panels, labels):
        lines = []
        shown = [one for one in contrasts if str(one.a.labels) == label]
        for number, one in enumerate(shown):
            rows = table[(table["labels"] == label) & (table["a"] == one.a.arm)
                         & (table["b"] == one.b.arm)]  # fmt: skip
            if rows.empty:
                continue
            name = figures.wrap(f"{one.a.title} − {one.b.title}", 30)
            style = ("-", "--", ":")[number % 3]
            bounds = (rows["band_low"], rows["band_high"])
            colour = PALETTE[number % len(PALETTE)]
            lines.append(Curve(rows["threshold"], rows["difference"], name, colour, style,
                               bounds=bounds))  # fmt: skip
        axes.axhline(0, color=MUTED, linewidth=1.0)
        title = shown[0].a.labels_text
        figures.titled(axes, title, "threshold: act where P is at least this",
                       "difference in net benefit per photo")  # fmt: skip
        figures.lines(axes, lines, "right")
        axes.set_xlim(0, 1)
    figures.headline(
        figure, "Does acting on one model do more good than on the other?",
        "bands hold at all thresholds of a line together, over lesions alone",
    )  # fmt: skip
    return figures.save(figure, path)


def section(
    compared: Comparison, contrasts: Sequence[Contrast], table: pd.DataFrame
) -> report.Section | None:
    """The report's section; None where the classes ask no yes/no question."""
    if table.empty:
        return None
    target = ensemble(compared.models[0], compared.taxonomy)
    share = f"{target.n_positive / target.n:.0%}" if target else "n/a"
    text = (
        "Of the ensembles (mean over runs of the probabilities as `dermssl.predict` gives them), "
        f"at the prevalence of these photos ({share}); over lesions alone, not over training, so "
        "no verdict follows. `decision_differences.csv` has every threshold."
    )
    return report.Section("Decisions", [
        report.Figure("decision_differences.png", "Difference in net benefit by threshold"),
        report.Bullets(list(map(report.escaped, sentences(contrasts, table)))),
        report.Text(text),
    ])  # fmt: skip

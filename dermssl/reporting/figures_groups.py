"""A picture of how a run does by subgroup: a row a group, a dot with its interval a metric."""

import textwrap

import numpy as np

from dermssl.evaluation.subgroups import BALANCED, FEW, SENSITIVITY, SPECIFICITY
from dermssl.reporting import figures
from dermssl.reporting.figures import GRID, INK, MUTED, PALETTE
from dermssl.reporting.subgroup_words import AXES

COLOURS = {BALANCED: PALETTE[0], SENSITIVITY: PALETTE[3], SPECIFICITY: PALETTE[2]}


def groups(path, made, basis):
    """The groups of an evaluation.

    Args:
        path: of the PNG.
        made: `evaluated.Evaluation` with groups.
        basis: str, what the numbers rest on.
    """
    asked = made.question
    overall = {BALANCED: made.intervals["balanced_accuracy"].estimate}
    titles = {BALANCED: "balanced accuracy"}
    if asked and "fixed_sensitivity" in asked.found:
        what = figures.plain(textwrap.shorten(asked.target.title, 30, placeholder=" …"))
        overall[SENSITIVITY] = asked.found["fixed_sensitivity"].estimate
        overall[SPECIFICITY] = asked.found["fixed_specificity"].estimate
        titles |= {SENSITIVITY: f"{what}: sensitivity", SPECIFICITY: f"{what}: specificity"}
    rows, y = [], 0.0
    for axis in dict.fromkeys(group.axis for group in made.groups):
        rows.append((y, axis, None))
        for group in made.groups:
            if group.axis == axis:
                y += 1.0
                rows.append((y, None, group))
        y += 1.4
    figure, every = figures.new(3.2 + 2.9 * len(titles), 1.5 + 0.33 * y, 1, len(titles))
    for axes, (metric, title) in zip(every, titles.items()):
        _panel(axes, rows, metric, overall[metric], made)
        figures.titled(axes, title)
        axes.grid(False, axis="y")
        axes.set(xlim=(-0.03, 1.03), ylim=(rows[-1][0] + 0.7, -0.7), yticks=[])
        axes.spines["left"].set_visible(False)
    _names(every[0], rows)
    figure.supxlabel(
        f"dot: estimate · bar: 95% interval · dashed: all {basis} · hollow: some classes have too "
        f"few lesions here and are left out\ngrey: fewer than {FEW} photos",
        x=0.012, ha="left", fontsize=8.5, color=MUTED,
    )  # fmt: skip
    return figures.save(figure, path)


def _names(axes, rows):
    across = axes.get_yaxis_transform()
    for y, axis, group in rows:
        if group is None:
            title = AXES[axis] + (", years" if axis == "age" else "")
            axes.text(-0.06, y, title, transform=across, ha="right", va="center", fontsize=10,
                      color=INK, fontweight="bold")  # fmt: skip
            continue
        name = textwrap.shorten(group.value, 26, placeholder=" …") or group.value[:24]
        text = f"{figures.plain(name)}  (n = {group.n:,})"
        axes.text(-0.06, y, text, transform=across, ha="right", va="center", fontsize=9.5,
                  color=MUTED if group.n < FEW else INK)  # fmt: skip


def _panel(axes, rows, metric, overall, made):
    if not np.isnan(overall):
        axes.axvline(overall, color=MUTED, linewidth=1.1, linestyle=(0, (2, 3)), zorder=1)
    for y, _, group in rows:
        if group is None:
            continue
        axes.axhline(y, color=GRID, linewidth=1, zorder=0)
        interval = group.found.get(metric)
        if interval is None or np.isnan(interval.estimate):
            axes.text(0.5, y, "n/a", ha="center", va="center", fontsize=8, color=MUTED)
            continue
        colour = "#9AA5B1" if group.n < FEW else COLOURS[metric]
        hollow = metric == BALANCED and (group.few or group.missing)
        if interval.is_defined:
            axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=5, alpha=0.35,
                      solid_capstyle="round", zorder=2)  # fmt: skip
        axes.scatter(
            interval.estimate, y, s=46, zorder=3, linewidth=1.6, edgecolor=colour,
            facecolor="white" if hollow else colour,
        )  # fmt: skip
